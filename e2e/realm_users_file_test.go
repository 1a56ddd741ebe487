package e2e

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// listedConfig takes its users from testdata/users.csv, and their roles from groups.
const listedConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: listed
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
    - {name: vault, embedded: iris, roles: [curator]}
  keycloak-model-api:groups:
    - {name: everyone, default: true, roles: [model-api-access]}
    - {name: data-science, roles: [model-iris]}
    - {name: interns, parent: data-science}
    - {name: leads, roles: [curator]}
  keycloak-model-api:userAttributes:
    - {name: cost-center}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
    - clientId: portal
      kind: web
      redirectUris: [https://portal.example.com/callback]
      mappers:
        - {name: groups, type: groups}
        - {name: cost-center, type: userAttribute, claim: cost_center, value: cost-center}
  keycloak-model-api:usersFile: FILE
`

// TestUsersFile signs in users of a CSV file, whose groups decide which models
// they may call.
func TestUsersFile(t *testing.T) {
	secrets := secretsOf{
		"clientSecrets":    {"model-api": "a-secret-of-the-tests-1", "portal": "a-secret-of-the-tests-2"},
		"initialPasswords": {},
	}
	for _, user := range []string{"ada", "grace", "visitor", "former"} {
		secrets["initialPasswords"][user] = firstPassword
	}
	file := filepath.Join(e.root, "e2e", "testdata", "users.csv")
	st := e.up(t, strings.Replace(listedConfig, "FILE", file, 1), secrets)
	st.token(t, st.clientCredentials("model-api"))
	compare(t, st)
	a := e.startAPI(t, st)
	portal := st.relyingParty("portal", "https://portal.example.com/callback")

	t.Run("password grant", func(t *testing.T) {
		ada := st.token(t, st.password("ada", firstPassword)).AccessToken
		for _, model := range []string{"iris", "vault"} {
			a.call(t, model, ada).want(t, http.StatusOK, "setosa")
		}
	})
	t.Run("attributes and groups", func(t *testing.T) {
		ada := newPerson(t).signIn(t, portal, loginForm("ada", firstPassword)).AccessToken
		wantClaims(t, ada, "RS256", "JWT", 0, map[string]any{
			"email": "ada@example.com", "given_name": "Ada", "family_name": "Lovelace", "cost_center": "42",
			"groups": []any{"/data-science", "/everyone", "/leads"}, "realm_access": roles("curator", "model-api-access", "model-iris"),
		})
	})
	t.Run("a temporary password and a subgroup", func(t *testing.T) {
		grace := newPerson(t).signIn(t, portal, loginForm("grace", firstPassword), newPassword(ownPassword)).AccessToken
		a.call(t, "iris", grace).want(t, http.StatusOK, "setosa")
		a.call(t, "vault", grace).want(t, http.StatusNotFound, "model_unknown")
	})
	t.Run("the default group alone", func(t *testing.T) {
		visitor := st.token(t, st.password("visitor", firstPassword)).AccessToken
		a.do(t, http.MethodGet, "/v2/models", visitor, "").want(t, http.StatusOK, `{"models":[]}`)
		a.call(t, "iris", visitor).want(t, http.StatusNotFound, "model_unknown")
	})
	t.Run("not enabled, or without a password", func(t *testing.T) {
		for user, want := range map[string]string{"former": "Account disabled", "unset": "Invalid user credentials"} {
			if got := st.tryToken(t, st.password(user, firstPassword)); got.Error != "invalid_grant" || got.Description != want {
				t.Errorf("%s is answered %q, %q", user, got.Error, got.Description)
			}
		}
	})
}
