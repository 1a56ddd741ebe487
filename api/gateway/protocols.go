package gateway

import (
	"fmt"
	"net/http"
	"strings"

	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/protocol/oip"
	"keycloak-model-api/api/protocol/openai"
)

// protocols are all that the API speaks.
func protocols() []*protocol.Protocol {
	return []*protocol.Protocol{oip.Protocol(), openai.Protocol()}
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
			if prefix, ok := strings.CutSuffix(route.Path, "{model...}"); ok {
				prefixes = append(prefixes, prefix)
			}
		}
	}
	return prefixes
}
