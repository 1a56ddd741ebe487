package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A model server gets a token of Keycloak's for itself alone, in the name of the person or
// the client that calls; the caller's own token does not reach it, and its token is none
// for the API. Tokens that are bound to a key can't be exchanged.
func TestTokenExchange(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		_ = json.NewEncoder(w).Encode(map[string]string{"token": token, "subject": r.Header.Get("X-Principal-Subject")})
	}))
	t.Cleanup(server.Close)
	const password = "correct horse battery staple 9E"
	st := e.up(t, fmt.Sprintf(`
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: exchanging
  keycloak-model-api:models:
    - {name: iris, embedded: iris, roles: [callers]}
    - {name: tensors, roles: [callers], upstream: {url: '%s', identity: exchange, audience: triton}}
    - {name: others, roles: [callers], upstream: {url: '%[1]s', identity: exchange, audience: vllm}}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
    - {clientId: nightly, kind: service, serviceAccountRoles: [callers]}
    - {clientId: triton, kind: resource}
    - {clientId: vllm, kind: resource}
    - {clientId: model-exchange, kind: exchange}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [callers]}
`, server.URL), secretsOf{
		"clientSecrets": {
			"model-api": "an-api-client-secret-of-the-tests", "nightly": "a-service-secret-of-the-tests", "triton": "a-triton-secret-of-the-tests",
			"vllm": "a-vllm-secret-of-the-tests", "model-exchange": "an-exchange-secret-of-the-tests",
		},
		"initialPasswords": {"ada": password},
	})
	a := e.startAPI(t, st)
	for caller, token := range map[string]string{
		"a person": st.token(t, st.password("ada", password)).AccessToken, "a service": st.token(t, st.clientCredentials("nightly")).AccessToken,
	} {
		own, err := claims(token)
		if err != nil {
			t.Fatal(err)
		}
		for model, audience := range map[string]string{"tensors": "triton", "others": "vllm"} {
			got := a.do(t, "POST", "/v2/models/"+model+"/infer", token, "{}")
			got.want(t, 200, `"token"`)
			var passed struct{ Token, Subject string }
			if err := json.Unmarshal([]byte(got.Body), &passed); err != nil {
				t.Fatalf("%s: %v", got.Body, err)
			}
			used.add("exchanged token", passed.Token)
			said, err := claims(passed.Token)
			if err != nil || said["aud"] != audience || said["azp"] != "model-exchange" || said["sub"] != own["sub"] || passed.Subject != own["sub"] {
				t.Errorf("%s: the server of %s got %v, %v", caller, model, said, err)
			}
			for _, claim := range []string{"realm_access", "resource_access", "act", "acr"} {
				if said[claim] != nil {
					t.Errorf("%s: the server of %s got %s %v", caller, model, claim, said[claim])
				}
			}
			a.infer(t, passed.Token).want(t, 401, "audience_wrong")
		}
	}
	// Who signs out ends what is exchanged, too: Keycloak refuses a token of that session.
	signed := st.token(t, st.password("ada", password))
	form := st.password("ada", password)
	form.Set("refresh_token", signed.RefreshToken)
	res, err := http.PostForm(st.output("issuer")+"/protocol/openid-connect/logout", form)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	a.do(t, "POST", "/v2/models/tensors/infer", signed.AccessToken, "{}").want(t, 401, "token_inactive")
}
