package config

import (
	"strings"
	"testing"

	"keycloak-model-api/policy"
)

const keySecret = "b1946ac92492d2347c6235b4d2611184a3f07c1e5d8b9620c7d4e5f60718293a" // 64 hex digits

// keyed is a stack with a client that has a service key, and more keys of it.
func keyed(more, rest string) string {
	return "clients:\n  - {clientId: api, kind: api}\n  - {clientId: batch, kind: service, key: true" + more +
		"}\nclientSecrets: {api: a-secret, batch: " + keySecret + "}\n" + rest
}

// Whoever reads a key has its client's secret, so that the client must not be able to do
// anything but call the API.
func TestClientsWithServiceKeys(t *testing.T) {
	for _, test := range []struct{ name, more, rest, want string }{
		{"code flow", `, standardFlow: true, redirectUris: ["https://w/cb"]`, "", "clients[1].standardFlow: client batch has a service key"},
		{"password grant", ", directAccessGrants: true", "", "clients[1].directAccessGrants: client batch has"},
		{"device grant", ", deviceGrant: true", "", "clients[1].deviceGrant: client batch has"},
		{"full scope", ", fullScope: true", "", "clients[1].fullScope: client batch has"},
		{"token exchange", ", tokenExchange: true", "", "clients[1].tokenExchange: client batch has"},
		{"private_key_jwt", `, authentication: jwt, jwksUrl: "https://s/jwks"`, "", "clients[1].authentication: client batch has"},
		{"DPoP", ", dpop: true", "", "clients[1].dpop: client batch has"},
		{"lightweight tokens", ", lightweight: true", "", "clients[1].lightweight: client batch has"},
		{"roles of realm-management", ", serviceAccountClientRoles: {realm-management: [view-users]}", "", "clients[1].serviceAccountClientRoles: client batch has"},
		{"roles of its own, by which tokens name it", ", clientRoles: [r]", "", "clients[1].clientRoles: client batch has"},
		{"another audience", ", mappers: [{name: m, type: audience, value: other}]", "", "clients[1].mappers: client batch has"},
		{"offline tokens", ", defaultScopes: [offline_access]", "", "clients[1].defaultScopes: client batch has"},
		{"offline tokens on request", ", optionalScopes: [offline_access]", "", "clients[1].optionalScopes: client batch has"},
		{"no service account", ", serviceAccount: false", "", "clients[1].serviceAccount: client batch has a service key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := parse(t, keyed(test.more, test.rest), false, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want %q: %v", test.want, err)
			}
		})
	}
	for _, test := range []struct{ name, text, want string }{
		{"of another kind", "clients: [{clientId: api, kind: api, key: true}]", "clients[0].key: a client of kind api can't have a service key"},
		{"in the audience of others' tokens", "clients:\n  - {clientId: api, kind: api, mappers: [{name: m, type: audience, value: batch}]}\n  - {clientId: batch, kind: service, key: true}\nclientSecrets: {api: s, batch: " + keySecret + "}",
			"clients[0].mappers[0].value: client batch has a service key, whose reader could introspect"},
		{"a short secret", strings.ReplaceAll(keyed("", ""), keySecret, keySecret[:63]), `clientSecrets["batch"]: client batch has a service key, so its secret must be 256 random bits`},
		{"a secret of one character", strings.ReplaceAll(keyed("", ""), keySecret, strings.Repeat("x", 100)), `clientSecrets["batch"]: client batch has a service key, so its secret must be`},
		{"a secret of words", strings.ReplaceAll(keyed("", ""), keySecret, "correct-horse-battery-staple"), `clientSecrets["batch"]: client batch has a service key, so its secret must be`},
		{"a secret that is too long", strings.ReplaceAll(keyed("", ""), keySecret, strings.Repeat(keySecret, 6)), `clientSecrets["batch"]: can't stand in a service key: the service key would have`},
		{"in strict", "hardening: strict\nsignIn: {secondFactor: required}\n" + keyed("", ""), "clients[1].key: hardening strict refuses service keys"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := parse(t, test.text, false, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want %q: %v", test.want, err)
			}
			if err != nil && strings.Contains(err.Error(), keySecret[:20]) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
	const exempt = "exemptions: [{resource: batch, rule: no-service-key, reason: The notebook takes nothing else}]\n"
	for _, text := range []string{
		keyed("", ""), strings.ReplaceAll(keyed("", ""), keySecret, "hLm3n9WvQz7KfTq0bYxR5sJpD2uEa8gCi1oV4tXkMwZ"), // 43 letters and digits
		"hardening: strict\nsignIn: {secondFactor: required}\n" + exempt + keyed("", ""),
	} {
		c, _, err := parse(t, text, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := (policy.Client{ClientID: "batch", Kind: "service", Key: true}); c.Policy().Clients[1] != want {
			t.Errorf("the policy has %v, want %v", c.Policy().Clients[1], want)
		}
	}
}
