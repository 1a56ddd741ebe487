package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"keycloak-model-api/internal/keycloak"
)

const endingConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: ending
  keycloak-model-api:models:
    - {name: iris, embedded: iris, roles: [botanist]}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [botanist]}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, adminUrl: API/admin}
    - clientId: portal
      kind: web
      roles: [botanist]
      redirectUris: [https://portal.example.com/callback]
      optionalScopes: [offline_access]
`

// TestEndSessions ends what began before a time, as one does after a second factor was
// switched on: no cookie, refresh token, offline token or access token of before is
// good for anything, and what began after stays.
func TestEndSessions(t *testing.T) {
	const password = "correct horse battery staple 1A"
	port := freePort(t)
	config := strings.ReplaceAll(endingConfig, "API", "http://127.0.0.1:"+port)
	st := e.up(t, config, secretsOf{
		"clientSecrets":    {"model-api": "a-secret-of-the-tests-1", "portal": "a-secret-of-the-tests-2"},
		"initialPasswords": {"ada": password},
	})
	a := e.startAPIOn(t, port, st)
	account := reader(t, "ending", keycloak.EndSessionsRoles...)
	end := func(t *testing.T, before string) string {
		t.Helper()
		out, stderr, exit := stackCommand(t, config, account, "-keycloak", e.keycloak.BaseURL, "-before", before, "end-sessions")
		if exit != 0 {
			t.Fatalf("exit status %d\n%s", exit, stderr)
		}
		return out
	}
	portal, offline := st.relyingParty("portal", "https://portal.example.com/callback"), st.relyingParty("portal", "https://portal.example.com/callback")
	offline.Scopes = append(offline.Scopes, "offline_access")

	ada := newPerson(t)
	first := ada.signIn(t, portal, loginForm("ada", password))
	lasting := ada.signIn(t, offline)
	a.infer(t, first.AccessToken).want(t, http.StatusOK, "setosa")
	time.Sleep(1100 * time.Millisecond) // Keycloak counts whole seconds
	between := time.Now().UTC().Format(time.RFC3339)
	grace := newPerson(t)
	later := grace.signIn(t, portal, loginForm("ada", password))

	readers := reader(t, "ending", keycloak.ReadRoles...)
	unchanged := func(t *testing.T) {
		t.Helper()
		if report, stderr, exit := runDrift(t, config, readers); exit != 0 {
			t.Errorf("the realm's settings were changed: exit status %d\n%s\n%+v", exit, stderr, report)
		}
	}
	gone := func(t *testing.T, what, token string) {
		t.Helper()
		if got := st.tryToken(t, st.refresh("portal", token)); got.Error != "invalid_grant" {
			t.Errorf("%s: a refresh is answered %q, want invalid_grant", what, got.Error)
		}
	}
	askedAgain := func(t *testing.T, who *person) {
		t.Helper()
		if pg := who.open(t, portal.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))); !strings.Contains(pg.Body, "password") {
			t.Errorf("the browser's session goes on: %s", pg.URL)
		}
	}
	t.Run("a time that has passed", func(t *testing.T) {
		if out := end(t, between); !strings.Contains(out, "Sessions ended: 2, of which offline: 1") {
			t.Errorf("%s", out)
		}
		gone(t, "session from before", first.RefreshToken)
		gone(t, "offline session from before", lasting.RefreshToken)
		askedAgain(t, ada)
		a.infer(t, first.AccessToken).want(t, http.StatusUnauthorized, "token_revoked")
		a.infer(t, later.AccessToken).want(t, http.StatusOK, "setosa")
		later.RefreshToken = st.token(t, st.refresh("portal", later.RefreshToken)).RefreshToken
		unchanged(t)
	})
	t.Run("now", func(t *testing.T) {
		if out := end(t, "NOW"); !strings.Contains(out, "Sessions ended: 1, of which offline: 0") || !strings.Contains(out, "Told http://127.0.0.1:"+port) {
			t.Errorf("%s", out)
		}
		gone(t, "session from before", later.RefreshToken)
		askedAgain(t, grace)
		a.infer(t, later.AccessToken).want(t, http.StatusUnauthorized, "token_revoked")
		fresh := grace.signIn(t, portal, loginForm("ada", password))
		a.infer(t, fresh.AccessToken).want(t, http.StatusOK, "setosa")
		unchanged(t)
	})
	t.Run("an earlier time takes nothing back", func(t *testing.T) {
		out := end(t, between)
		if strings.Contains(out, between) {
			t.Errorf("the not-before was lowered: %s", out)
		}
		gone(t, "session from before", later.RefreshToken)
	})
	t.Run("an account without one of the roles", func(t *testing.T) {
		_, stderr, exit := stackCommand(t, config, reader(t, "ending", "manage-users", "view-clients"),
			"-keycloak", e.keycloak.BaseURL, "-before", "NOW", "end-sessions")
		if exit != 1 || !strings.Contains(stderr, "end-sessions needs the roles manage-realm") {
			t.Errorf("exit status %d\n%s", exit, stderr)
		}
	})
	t.Run("a time that is none", func(t *testing.T) {
		if _, stderr, exit := stackCommand(t, config, account, "-keycloak", e.keycloak.BaseURL, "-before", "yesterday", "end-sessions"); exit != 1 ||
			!strings.Contains(stderr, `"yesterday" is neither NOW nor a time`) {
			t.Errorf("exit status %d\n%s", exit, stderr)
		}
	})
}
