package gateway

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// exchanging is a fixture whose model tensors gets exchanged tokens.
func exchanging(t *testing.T, got *sent) *fixture {
	t.Helper()
	issuer := oidctest.Start()
	t.Cleanup(issuer.Close)
	issuer.Secrets["model-exchange"] = "its-secret"
	log := &syncBuffer{}
	options := testOptions(issuer, log)
	tensors := upstreamOf(t, "tensors", keeping(got))
	tensors.Upstream.Identity, tensors.Upstream.Audience = policy.IdentityExchange, "triton"
	options.Outputs.Policy.Models = append(options.Outputs.Policy.Models, tensors)
	options.Outputs.ExchangeClientID, options.Outputs.ExchangeClientSecret = "model-exchange", "its-secret"
	g := newGateway(t, options)
	waitFor(t, "the issuer's keys", func() bool { return g.verifier.Ready() == nil })
	front := httptest.NewServer(g)
	t.Cleanup(front.Close)
	return &fixture{issuer, g, front.URL, log}
}

// A model server gets a token for itself alone, in the name of who calls, beside the
// headers. The caller's own token stays here, whichever way it came.
func TestTokenExchange(t *testing.T) {
	var got sent
	f := exchanging(t, &got)
	key := keyedClient(t, f.issuer, f.gateway.access.Load().policy)
	f.gateway.access.Load().keyed["batch"] = true
	token := f.issuer.Token("RS256")
	for _, headers := range []http.Header{{"Authorization": {"Bearer " + token}}, {"X-Api-Key": {token}}, {"X-Api-Key": {key}}} {
		got = sent{}
		response, body := f.with(t, "POST", "/v2/models/tensors/infer", "{}", headers)
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%v: %s %s", headers, response.Status, body)
		}
		_, passed, _ := strings.Cut(got.header.Get("Authorization"), "Bearer ")
		var claims struct{ Aud, Sub, Azp string }
		parts := strings.Split(passed, ".")
		if len(parts) != 3 {
			t.Fatalf("the model server got %v", got.header)
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Aud != "triton" || claims.Azp != "model-exchange" || claims.Sub != got.header.Get("X-Principal-Subject") {
			t.Errorf("the model server got a token of %+v for %s", claims, got.header.Get("X-Principal-Subject"))
		}
		if passed == token || got.header["X-Api-Key"] != nil {
			t.Error("the caller's own credential got through")
		}
		checkNoToken(t, f, passed)
	}
	// Other models get none.
	if response, _ := f.do(t, "POST", inferIris, token, "application/json", irisRow); response.StatusCode != http.StatusOK {
		t.Errorf("iris: %s", response.Status)
	}
}

// keycloak#51014: a token that is bound to a key can't be exchanged, and the refusal
// says so. Without an exchange no model server is asked.
func TestTokenExchangeRefused(t *testing.T) {
	var got sent
	f := exchanging(t, &got)
	const path = "/v2/models/tensors/infer"
	r := f.proven(t, path, nil)()
	response, body := send(t, r)
	checkRefusal(t, response, body, path, http.StatusForbidden, "exchange_bound_token")
	if !strings.Contains(body, "bound to a key") {
		t.Errorf("it does not say so: %s", body)
	}
	token := f.issuer.Token("RS256")
	f.issuer.SetSecret("model-exchange", "another")
	response, body = f.do(t, "POST", path, token, "application/json", "{}")
	checkRefusal(t, response, body, path, http.StatusBadGateway, "exchange_refused")
	f.issuer.SetOutage(true)
	response, body = f.do(t, "POST", path, token, "application/json", "{}")
	checkRefusal(t, response, body, path, http.StatusServiceUnavailable, "exchange_unavailable")
	f.issuer.SetOutage(false)
	if got.header != nil {
		t.Errorf("the model server got %v", got.header)
	}
}
