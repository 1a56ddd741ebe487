package config

import (
	"strings"
	"testing"

	"keycloak-model-api/policy"
)

// exchangeStack has a model whose server gets exchanged tokens.
const exchangeStack = `
clients:
  - {clientId: api, kind: api}
  - {clientId: triton, kind: resource}
  - {clientId: swap, kind: exchange}
clientSecrets: {api: a, triton: t, swap: s}
models: [{name: m, upstream: {url: "https://m", identity: exchange, audience: triton}}]
`

// A client that exchanges tokens does nothing else, and a model names what it is for.
func TestTokenExchange(t *testing.T) {
	c, _, err := parse(t, exchangeStack, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if u := c.Policy().Models[0].Upstream; u.Identity != policy.IdentityExchange || u.Audience != "triton" || c.Exchange().ClientID != "swap" {
		t.Errorf("the policy has %+v", u)
	}
	for _, test := range []struct{ name, old, now, want string }{
		{"no audience", ", audience: triton", "", "models[0].upstream.audience: is missing"},
		{"an audience without an exchange", "identity: exchange, ", "", "models[0].upstream.audience: is for identity exchange"},
		{"an audience that is no model server", "audience: triton", "audience: api", `models[0].upstream.audience: there is no client "api" of kind resource`},
		{"no client that exchanges", "kind: exchange", "kind: service", "models[0].upstream.identity: needs a client by which"},
		{"two that exchange", "kind: resource", "kind: exchange", "clients[2].kind: client triton exchanges tokens already"},
		{"a credential in the same header", "audience: triton", "audience: triton, credential: KEY", "models[0].upstream.credential: would stand in Authorization"},
		{"one that signs people in", "kind: exchange", `kind: exchange, standardFlow: true, redirectUris: ["https://w/cb"]`, "clients[2].standardFlow: a client of kind exchange must not have it"},
		{"one with a service account", "kind: exchange", "kind: exchange, serviceAccount: true", "clients[2].serviceAccount: a client of kind exchange must not have it"},
		{"one with full scope", "kind: exchange", "kind: exchange, fullScope: true", "clients[2].fullScope: a client of kind exchange must not have it"},
		{"one that may not", "kind: exchange", "kind: exchange, tokenExchange: false", "clients[2].tokenExchange: a client of kind exchange is for that"},
		{"one with a key of a pair", "kind: exchange", `kind: exchange, authentication: jwt, jwksUrl: "https://s/k"`, "clients[2].authentication: a client of kind exchange must not have it"},
		{"a model server that exchanges", "kind: resource", "kind: resource, tokenExchange: true", "clients[1].tokenExchange: a client of kind resource must not have it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := parse(t, strings.Replace(exchangeStack, test.old, test.now, 1), false, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want %q: %v", test.want, err)
			}
		})
	}
}
