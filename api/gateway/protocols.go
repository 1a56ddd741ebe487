package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/protocol/anthropic"
	"keycloak-model-api/api/protocol/oip"
	"keycloak-model-api/api/protocol/openai"
	"keycloak-model-api/api/protocol/paths"
)

// protocols are all that the API speaks. Where two own a request it is the first one's.
func protocols() []*protocol.Protocol {
	return []*protocol.Protocol{oip.Protocol(), anthropic.Protocol(), openai.Protocol(), paths.Protocol()}
}

// named returns the protocol that the policy calls by this name.
func named(all []*protocol.Protocol, name string) (*protocol.Protocol, error) {
	for _, p := range all {
		if p.Name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("there is no protocol %q", name)
}

// probe says whether a path is one that load balancers ask all the time.
func (g *Gateway) probe(path string) bool {
	if path == "/healthz" || path == "/readyz" {
		return true
	}
	for _, p := range g.protocols {
		if p.Live != "" && (path == p.Live || path == p.Ready) {
			return true
		}
	}
	return false
}

// protocolOf returns the protocol that a request is of; nil for none.
func (g *Gateway) protocolOf(r *http.Request) *protocol.Protocol {
	for _, p := range g.protocols {
		if p.Owns(r) {
			return p
		}
	}
	return nil
}

// namesWithSlashes returns with what paths begin whose rest is the name of a
// model, which may hold slashes and colons there.
func namesWithSlashes(all []*protocol.Protocol) (prefixes []string) {
	for _, p := range all {
		for _, route := range p.Routes {
			if prefix, ok := strings.CutSuffix(route.Path, "{model...}"); ok && !slices.Contains(prefixes, prefix) {
				prefixes = append(prefixes, prefix)
			}
		}
	}
	return prefixes
}

// offer is one route of a protocol.
type offer struct {
	protocol *protocol.Protocol
	route    *protocol.Route
}

// offers returns the routes of all protocols by their path, which several may
// have: for different protocols or methods.
func (g *Gateway) offers() map[string][]offer {
	all := map[string][]offer{}
	for _, p := range g.protocols {
		for i := range p.Routes {
			all[p.Routes[i].Path] = append(all[p.Routes[i].Path], offer{p, &p.Routes[i]})
		}
	}
	return all
}

// dispatch serves a path by the route of the protocol that owns the request, and
// of its method where there are several.
func (g *Gateway) dispatch(offers []offer) http.Handler {
	if len(offers) == 1 {
		return g.guard(offers[0].protocol, offers[0].route)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var chosen offer
		var others []string
		for _, o := range offers {
			fits := o.route.Method == r.Method || o.route.Method == http.MethodGet && r.Method == http.MethodHead
			if o.protocol == recordOf(r).protocol && (chosen.route == nil || fits) {
				chosen = o
			}
			if o.protocol == recordOf(r).protocol {
				others = append(others, o.route.Method)
			}
		}
		g.guard(chosen.protocol, chosen.route, others...).ServeHTTP(w, r)
	})
}
