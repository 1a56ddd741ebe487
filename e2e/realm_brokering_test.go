package e2e

import (
	"net/http"
	"strings"
	"testing"

	"golang.org/x/oauth2"
)

// partnerConfig is a realm that stands for somebody else's OpenID provider.
const partnerConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: partner
  keycloak-model-api:roles:
    - {name: scientist}
  keycloak-model-api:userAttributes:
    - {name: department}
  keycloak-model-api:users:
    - {username: marie, email: marie@partner.example, emailVerified: true, firstName: Marie, lastName: Curie, password: permanent, roles: [scientist], attributes: {department: physics}}
    - {username: visitor, email: visitor@partner.example, emailVerified: true, firstName: V, lastName: V, password: permanent}
  keycloak-model-api:clients:
    - {clientId: partner-api, kind: api}
    - clientId: example-corp
      kind: web
      redirectUris: [KEYCLOAK/realms/brokered/broker/partner/endpoint]
      roles: [scientist]
      mappers:
        - {name: roles, type: realmRoles, claim: partner_roles}
        - {name: department, type: userAttribute, claim: department, value: department}
`

// brokeredConfig is a realm whose users come from the partner.
const brokeredConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: brokered
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
  keycloak-model-api:userAttributes:
    - {name: department}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api}
    - clientId: portal
      kind: web
      redirectUris: [https://portal.example.com/callback]
      mappers:
        - {name: department, type: userAttribute, claim: department, value: department}
  keycloak-model-api:identityProviders:
    - alias: partner
      issuer: KEYCLOAK/realms/partner
      authorizationUrl: KEYCLOAK/realms/partner/protocol/openid-connect/auth
      tokenUrl: KEYCLOAK/realms/partner/protocol/openid-connect/token
      jwksUrl: KEYCLOAK/realms/partner/protocol/openid-connect/certs
      clientId: example-corp
      trustEmail: true
      roleMappings:
        - {claim: partner_roles, value: scientist, role: model-iris}
      attributeMappings: {department: department}
`

// TestBrokering signs users in at another OpenID provider, whose claims decide
// which models they may call.
func TestBrokering(t *testing.T) {
	at := func(config string) string { return strings.ReplaceAll(config, "KEYCLOAK", e.keycloak.BaseURL) }
	const password = "correct horse battery staple 1A"
	partner := e.up(t, at(partnerConfig), secretsOf{
		"clientSecrets":    {"partner-api": "a-secret-of-the-tests-1", "example-corp": "a-secret-of-the-tests-2"},
		"initialPasswords": {"marie": password, "visitor": password},
	})
	st := e.up(t, at(brokeredConfig), secretsOf{
		"clientSecrets":     {"model-api": "a-secret-of-the-tests-3", "portal": "a-secret-of-the-tests-4"},
		"federationSecrets": {"partner": "a-secret-of-the-tests-2"},
	})
	partner.token(t, partner.clientCredentials("partner-api"))
	st.token(t, st.clientCredentials("model-api"))
	compare(t, partner)
	compare(t, st)
	a := e.startAPI(t, st)

	portal := st.relyingParty("portal", "https://portal.example.com/callback")
	portal.Endpoint.AuthURL += "?kc_idp_hint=partner" // skips our own login page
	signIn := func(user string) *oauth2.Token {
		t.Helper()
		return newPerson(t).signIn(t, portal, loginForm(user, password))
	}
	marie := signIn("marie").AccessToken
	wantClaims(t, marie, "RS256", "JWT", 0, map[string]any{
		"iss": st.output("issuer"), "aud": "model-api", "preferred_username": "marie", "department": "physics",
		"realm_access": roles("model-api-access", "model-iris"),
	})
	a.infer(t, marie).want(t, http.StatusOK, "setosa")
	a.infer(t, signIn("visitor").AccessToken).want(t, http.StatusForbidden, "role_missing")

	// What the partner takes away is gone at the next login.
	takeRole(t, partner, "marie", "scientist")
	a.infer(t, signIn("marie").AccessToken).want(t, http.StatusForbidden, "role_missing")

	// The partner's own tokens are no tokens of ours.
	a.infer(t, partner.token(t, partner.clientCredentials("partner-api")).AccessToken).want(t, http.StatusUnauthorized, "issuer")
}

// userID of a user, as an administrator looks it up.
func userID(t *testing.T, st *stack, username string) string {
	t.Helper()
	var users []struct {
		ID string `json:"id"`
	}
	path := "/realms/" + st.output("realm_name") + "/users?exact=true&username=" + username
	if err := e.admin.Do(t.Context(), http.MethodGet, path, nil, &users); err != nil || len(users) != 1 {
		t.Fatalf("%d users %s: %v", len(users), username, err)
	}
	return users[0].ID
}

// takeRole takes a realm role from a user, as an administrator would.
func takeRole(t *testing.T, st *stack, username, role string) {
	t.Helper()
	mapRole(t, http.MethodDelete, st, username, role)
}

// giveRole is its opposite.
func giveRole(t *testing.T, st *stack, username, role string) {
	t.Helper()
	mapRole(t, http.MethodPost, st, username, role)
}

func mapRole(t *testing.T, method string, st *stack, username, role string) {
	t.Helper()
	realm := "/realms/" + st.output("realm_name")
	var representation map[string]any
	if err := e.admin.Do(t.Context(), http.MethodGet, realm+"/roles/"+role, nil, &representation); err != nil {
		t.Fatal(err)
	}
	path := realm + "/users/" + userID(t, st, username) + "/role-mappings/realm"
	if err := e.admin.Do(t.Context(), method, path, []any{representation}, nil); err != nil {
		t.Fatal(err)
	}
}
