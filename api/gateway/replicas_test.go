package gateway

import (
	"net/http"
	"testing"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/internal/redistest"
	"keycloak-model-api/policy"
)

// replicas are several gateways that share a Redis.
func replicas(t *testing.T, server *redistest.Server, n int, change func(*Options), more ...policy.Model) (all []*fixture) {
	t.Helper()
	issuer := oidctest.Start()
	t.Cleanup(issuer.Close)
	for range n {
		all = append(all, newFixtureOf(t, issuer, func(o *Options) {
			o.Store = server.Store(t, issuer.URL)
			o.Outputs.Policy.Models = append(o.Outputs.Policy.Models, more...)
			if change != nil {
				change(o)
			}
		}))
	}
	return all
}

// A request with a proof of possession is answered by one replica of several, and
// by none while nobody can tell whether the proof was used. A bearer token needs no
// Redis.
func TestRequestsWhileRedisIsAway(t *testing.T) {
	server := redistest.Start(t)
	all := replicas(t, server, 2, nil)
	// The same request, wherever it goes.
	request := all[0].proven(t, inferIris, nil)
	to := func(f *fixture) *http.Request {
		r := request()
		r.URL.Host = f.url[len("http://"):]
		return r
	}
	if response, body := send(t, to(all[0])); response.StatusCode != 200 {
		t.Fatal(body)
	}
	response, body := send(t, to(all[1]))
	checkRefusal(t, response, body, inferIris, 401, "dpop_proof_replayed")

	server.Stop()
	request = all[0].proven(t, inferIris, oidctest.Claims{"sub": "somebody else"})
	response, body = send(t, to(all[0]))
	checkRefusal(t, response, body, inferIris, 503, "shared_state_unavailable")
	if response.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if response, body := all[0].do(t, "POST", inferIris, all[0].issuer.Token("RS256"), jsonType, irisRow); response.StatusCode != 200 {
		t.Errorf("a bearer token: %s: %s", response.Status, body)
	}
}
