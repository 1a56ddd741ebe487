package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// revokingConfig knows the address of its API, which Keycloak calls.
const revokingConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: revoking
  keycloak-model-api:models:
    - {name: iris, embedded: iris, roles: [botanist]}
    - {name: careful, embedded: iris, roles: [botanist], introspect: true}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [botanist]}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, adminUrl: API/admin}
    - clientId: portal
      kind: web
      directAccessGrants: true
      redirectUris: [https://portal.example.com/callback]
      backchannelLogoutUrl: API/backchannel-logout
`

// TestRevocation takes tokens back in each way that Keycloak has, as
// docs/revocation.md lists them, and waits for the first refusal.
func TestRevocation(t *testing.T) {
	const password = "correct horse battery staple 1A"
	port := freePort(t)
	st := e.up(t, strings.ReplaceAll(revokingConfig, "API", "http://127.0.0.1:"+port), secretsOf{
		"clientSecrets":    {"model-api": "a-secret-of-the-tests-1", "portal": "a-secret-of-the-tests-2"},
		"initialPasswords": {"ada": password},
	})
	st.token(t, st.clientCredentials("model-api"))
	compare(t, st)
	// Keycloak calls the first; the second has to ask.
	a := e.startAPIOn(t, port, st, "-introspection-ttl", "100ms", "-not-before-interval", "1h")
	unreached := e.startAPI(t, st, "-not-before-interval", "200ms")

	login := st.password("ada", password)
	login.Set("client_id", "portal")
	login.Set("client_secret", st.clientSecret("portal"))
	// signIn returns a token that both APIs have accepted, so that they have it
	// in their caches.
	signIn := func(t *testing.T) tokens {
		t.Helper()
		got := st.token(t, login)
		for _, api := range []*api{a, unreached} {
			api.infer(t, got.AccessToken).want(t, http.StatusOK, "setosa")
		}
		a.call(t, "careful", got.AccessToken).want(t, http.StatusOK, "setosa")
		return got
	}
	admin := func(t *testing.T, method, path string, in any) {
		t.Helper()
		if err := e.admin.Do(t.Context(), method, "/realms/revoking"+path, in, nil); err != nil {
			t.Fatal(err)
		}
	}
	ada := userID(t, st, "ada")

	t.Run("an administrator ends one session", func(t *testing.T) {
		ended, other := signIn(t).AccessToken, signIn(t).AccessToken
		c, err := claims(ended)
		if err != nil {
			t.Fatal(err)
		}
		admin(t, http.MethodDelete, "/sessions/"+c["sid"].(string), nil)
		a.infer(t, ended).want(t, http.StatusUnauthorized, "token_revoked")
		a.infer(t, other).want(t, http.StatusOK, "setosa")
	})
	t.Run("an administrator ends all sessions of a user", func(t *testing.T) {
		one, two := signIn(t).AccessToken, signIn(t).AccessToken
		admin(t, http.MethodPost, "/users/"+ada+"/logout", nil)
		a.infer(t, one).want(t, http.StatusUnauthorized, "token_revoked")
		a.infer(t, two).want(t, http.StatusUnauthorized, "token_revoked")
	})
	t.Run("the user signs out", func(t *testing.T) {
		token := signIn(t)
		st.form(t, "/protocol/openid-connect/logout", url.Values{"refresh_token": {token.RefreshToken}})
		a.infer(t, token.AccessToken).want(t, http.StatusUnauthorized, "token_revoked")
	})
	t.Run("the user signs out of a client that asks for no session", func(t *testing.T) {
		one, two := signIn(t), signIn(t)
		demandSession := func(value string) {
			change(t, "revoking", "portal", func(client map[string]any) {
				client["attributes"].(map[string]any)["backchannel.logout.session.required"] = value
			})
		}
		demandSession("false")
		defer demandSession("true")
		time.Sleep(time.Second) // without sid, nothing orders what is of the logout's own second
		st.form(t, "/protocol/openid-connect/logout", url.Values{"refresh_token": {one.RefreshToken}})
		a.infer(t, one.AccessToken).want(t, http.StatusUnauthorized, "token_revoked")
		a.infer(t, two.AccessToken).want(t, http.StatusUnauthorized, "token_revoked")
		time.Sleep(time.Second) // times in tokens are whole seconds
	})
	t.Run("RFC 7009: a token is revoked, which only Keycloak knows", func(t *testing.T) {
		token := signIn(t).AccessToken
		st.form(t, "/protocol/openid-connect/revoke", url.Values{"token": {token}})
		refusedSoon(t, "the model that asks", func() answer { return a.call(t, "careful", token) }, http.StatusUnauthorized, "token_inactive")
		a.infer(t, token).want(t, http.StatusOK, "setosa")
	})
	t.Run("a role is taken away", func(t *testing.T) {
		token := signIn(t).AccessToken
		takeRole(t, st, "ada", "botanist")
		refusedSoon(t, "the model that asks", func() answer { return a.call(t, "careful", token) }, http.StatusForbidden, "role_missing")
		a.infer(t, token).want(t, http.StatusOK, "setosa")
		giveRole(t, st, "ada", "botanist")
	})
	enable := func(on bool) map[string]any { return map[string]any{"enabled": on} }
	t.Run("a user is disabled", func(t *testing.T) {
		token := signIn(t).AccessToken
		admin(t, http.MethodPut, "/users/"+ada, enable(false))
		refusedSoon(t, "the model that asks", func() answer { return a.call(t, "careful", token) }, http.StatusUnauthorized, "token_inactive")
		a.infer(t, token).want(t, http.StatusOK, "setosa")
		admin(t, http.MethodPut, "/users/"+ada, enable(true))
	})
	t.Run("a client is disabled", func(t *testing.T) {
		token := signIn(t).AccessToken
		change(t, "revoking", "portal", func(client map[string]any) { client["enabled"] = false })
		refusedSoon(t, "the model that asks", func() answer { return a.call(t, "careful", token) }, http.StatusUnauthorized, "token_inactive")
		a.infer(t, token).want(t, http.StatusOK, "setosa")
		change(t, "revoking", "portal", func(client map[string]any) { client["enabled"] = true })
	})
	t.Run("a password is reset, and Keycloak keeps the session", func(t *testing.T) {
		token := signIn(t)
		admin(t, http.MethodPut, "/users/"+ada+"/reset-password", map[string]any{"type": "password", "value": password})
		time.Sleep(200 * time.Millisecond) // longer than an answer is kept
		later := st.token(t, st.refresh("portal", token.RefreshToken)).AccessToken
		for _, still := range []string{token.AccessToken, later} {
			a.call(t, "careful", still).want(t, http.StatusOK, "setosa")
		}
	})
	t.Run("not-before of the API's client is pushed", func(t *testing.T) {
		own := st.token(t, st.clientCredentials("model-api")).AccessToken
		a.infer(t, own).want(t, http.StatusForbidden, "role_missing")
		token := signIn(t).AccessToken
		id := change(t, "revoking", "model-api", func(client map[string]any) { client["notBefore"] = time.Now().Unix() + 1 })
		admin(t, http.MethodPost, "/clients/"+id+"/push-revocation", nil)
		// It is for all tokens that are meant for the API, whoever got them.
		a.infer(t, own).want(t, http.StatusUnauthorized, "token_revoked")
		a.infer(t, token).want(t, http.StatusUnauthorized, "token_revoked")
		change(t, "revoking", "model-api", func(client map[string]any) { client["notBefore"] = 0 })
		time.Sleep(2 * time.Second) // times in tokens are whole seconds
	})
	t.Run("not-before is pushed", func(t *testing.T) {
		token := signIn(t).AccessToken
		admin(t, http.MethodPut, "", map[string]any{"notBefore": time.Now().Unix() + 1})
		admin(t, http.MethodPost, "/push-revocation", nil)
		a.infer(t, token).want(t, http.StatusUnauthorized, "token_revoked")
		refusedSoon(t, "the API that asks for it", func() answer { return unreached.infer(t, token) }, http.StatusUnauthorized, "token_revoked")
		time.Sleep(2 * time.Second) // times in tokens are whole seconds
		signIn(t)
	})
	t.Run("an administrator ends all sessions of the realm", func(t *testing.T) {
		token := signIn(t).AccessToken
		time.Sleep(time.Second) // tokens of that second stay good
		admin(t, http.MethodPost, "/logout-all", nil)
		a.infer(t, token).want(t, http.StatusUnauthorized, "token_revoked")
		refusedSoon(t, "the API that asks for it", func() answer { return unreached.infer(t, token) }, http.StatusUnauthorized, "token_revoked")
	})
}

// refusedSoon waits for what an API finds out by itself.
func refusedSoon(t *testing.T, who string, try func() answer, status int, code string) {
	t.Helper()
	eventually(t, 10*time.Second, who+" refuses", func() error {
		if got := try(); got.Status != status || !strings.Contains(got.Body, code) {
			return fmt.Errorf("%d %s", got.Status, got.Body)
		}
		return nil
	})
}
