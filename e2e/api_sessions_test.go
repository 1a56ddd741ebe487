package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// lastingConfig sets every lifetime, and clients that override them.
const lastingConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: lasting
  keycloak-model-api:lifetimes:
    accessToken: 100s
    ssoIdle: 20m
    ssoMax: 2h
    clientSessionIdle: 15m
    clientSessionMax: 1h
    offlineIdle: 48h
    offlineMax: 240h
    authorizationCode: 45s
    deviceCode: 4m
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
    - {clientId: brief, kind: service, directAccessGrants: true, accessTokenLifetime: 30s, sessionIdle: 5m}
    - {clientId: ending, kind: service, directAccessGrants: true, sessionMax: 4s}
`

// TestLifetimes holds tokens and sessions against the configured lifetimes, the
// realm's and those that a client overrides.
func TestLifetimes(t *testing.T) {
	t.Parallel() // it waits for a session to end
	const password = "correct horse battery staple 1A"
	secrets := secretsOf{"clientSecrets": {}, "initialPasswords": {"ada": password}}
	for _, client := range []string{"model-api", "brief", "ending"} {
		secrets["clientSecrets"][client] = "the-secret-of-" + client + "-in-the-tests"
	}
	st := e.up(t, lastingConfig, secrets)
	for client := range secrets["clientSecrets"] {
		st.token(t, st.clientCredentials(client))
	}
	compare(t, st)

	const day = 24 * 60 * 60
	var ending tokens
	for _, tt := range []struct {
		name, client, scope string
		access, refresh     int // seconds
	}{
		{"the realm's", "model-api", "openid", 100, 15 * 60},
		{"offline", "model-api", "openid offline_access", 100, 2 * day},
		{"a client's own access token and idle time", "brief", "openid", 30, 5 * 60},
		// The end of the session ends its tokens too.
		{"a client's own session", "ending", "openid", 4, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			form := st.password("ada", password)
			form.Set("client_id", tt.client)
			form.Set("client_secret", st.clientSecret(tt.client))
			form.Set("scope", tt.scope)
			got := st.token(t, form)
			wantClaims(t, got.AccessToken, "RS256", "JWT", time.Duration(tt.access)*time.Second, nil)
			wantSeconds(t, "the access token", got.ExpiresIn, tt.access)
			wantSeconds(t, "the refresh token", got.RefreshExpiresIn, tt.refresh)
			if tt.client == "ending" {
				ending = got
			}
		})
	}
	t.Run("of sessions that no token shows", func(t *testing.T) {
		var realm map[string]any
		if err := e.admin.Do(t.Context(), http.MethodGet, "/realms/lasting", nil, &realm); err != nil {
			t.Fatal(err)
		}
		for field, want := range map[string]any{
			"ssoSessionIdleTimeout": 20 * 60, "ssoSessionMaxLifespan": 2 * 60 * 60, "clientSessionMaxLifespan": 60 * 60,
			"offlineSessionIdleTimeout": 2 * day, "offlineSessionMaxLifespanEnabled": true, "offlineSessionMaxLifespan": 10 * day,
			"accessCodeLifespan": 45, "oauth2DeviceCodeLifespan": 4 * 60,
		} {
			if got := realm[field]; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s is %v, want %v", field, got, want)
			}
		}
	})
	t.Run("the end of a session", func(t *testing.T) {
		time.Sleep(5 * time.Second)
		if got := st.tryToken(t, st.refresh("ending", ending.RefreshToken)); got.Error != "invalid_grant" {
			t.Errorf("a refresh after it is answered %q, %q", got.Error, got.Description)
		}
	})
}

// offlineConfig knows the address of its API, which Keycloak calls.
const offlineConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: offline
  keycloak-model-api:apiUrl: API
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
    - {name: careful, embedded: iris, roles: [model-iris], introspect: true}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [model-iris]}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api}
    - {clientId: portal, kind: web, redirectUris: [https://portal.example.com/callback]}
`

// TestOfflineSession ends an online session and then the offline one that began
// in it, in each way that docs/revocation.md lists.
func TestOfflineSession(t *testing.T) {
	const password = "correct horse battery staple 1A"
	port := freePort(t)
	st := e.up(t, strings.ReplaceAll(offlineConfig, "API", "http://127.0.0.1:"+port), secretsOf{
		"clientSecrets":    {"model-api": "a-secret-of-the-tests-1", "portal": "a-secret-of-the-tests-2"},
		"initialPasswords": {"ada": password},
	})
	a := e.startAPIOn(t, port, st, "-introspection-ttl", "100ms")

	// signIn signs in twice with one browser, at last for when nobody is there:
	// two sessions of one sid. Keycloak gives a new refresh token with each
	// refresh, since hardening rotates them: keep the last one.
	signIn := func(t *testing.T) (online, offline *oauth2.Token) {
		t.Helper()
		portal, ada := st.relyingParty("portal", "https://portal.example.com/callback"), newPerson(t)
		online = ada.signIn(t, portal, loginForm("ada", password))
		portal.Scopes = append(portal.Scopes, "offline_access")
		offline = ada.signIn(t, portal)
		for _, token := range []string{online.AccessToken, offline.AccessToken} {
			a.infer(t, token).want(t, http.StatusOK, "setosa")
		}
		a.call(t, "careful", offline.AccessToken).want(t, http.StatusOK, "setosa")
		if sid := sessionOf(t, offline.AccessToken); sid == "" || sid != sessionOf(t, online.AccessToken) {
			t.Fatalf("the offline session has the sid %q, the online one another", sid)
		}
		return online, offline
	}
	refused := func(t *testing.T, refreshToken string) {
		t.Helper()
		if got := st.tryToken(t, st.refresh("portal", refreshToken)); got.Error != "invalid_grant" {
			t.Errorf("a refresh is answered %q, want invalid_grant", got.Error)
		}
	}

	t.Run("it outlives the online session, and an administrator ends it", func(t *testing.T) {
		online, offline := signIn(t)
		st.form(t, "/protocol/openid-connect/logout", url.Values{"refresh_token": {online.RefreshToken}})
		a.infer(t, online.AccessToken).want(t, http.StatusUnauthorized, "token_revoked")
		refused(t, online.RefreshToken)
		// The logout takes what was issued up to then. Times in tokens are whole seconds.
		a.infer(t, offline.AccessToken).want(t, http.StatusUnauthorized, "token_revoked")
		time.Sleep(time.Second)
		later := st.token(t, st.refresh("portal", offline.RefreshToken))
		if sid := sessionOf(t, later.AccessToken); sid != sessionOf(t, online.AccessToken) {
			t.Errorf("the later token has another sid, %q", sid)
		}
		a.infer(t, later.AccessToken).want(t, http.StatusOK, "setosa")
		a.call(t, "careful", later.AccessToken).want(t, http.StatusOK, "setosa")

		path := "/realms/offline/sessions/" + sessionOf(t, later.AccessToken) + "?isOffline=true"
		if err := e.admin.Do(t.Context(), http.MethodDelete, path, nil, nil); err != nil {
			t.Fatal(err)
		}
		a.infer(t, later.AccessToken).want(t, http.StatusUnauthorized, "token_revoked")
		refused(t, later.RefreshToken)
	})
	t.Run("RFC 7009: its refresh token is revoked, which only Keycloak knows", func(t *testing.T) {
		_, offline := signIn(t)
		st.form(t, "/protocol/openid-connect/revoke", url.Values{"token": {offline.RefreshToken}})
		refused(t, offline.RefreshToken)
		a.infer(t, offline.AccessToken).want(t, http.StatusOK, "setosa")
	})
	t.Run("an administrator ends all sessions of a user who has only offline ones", func(t *testing.T) {
		online, offline := signIn(t)
		st.form(t, "/protocol/openid-connect/logout", url.Values{"refresh_token": {online.RefreshToken}})
		time.Sleep(time.Second)
		later := st.token(t, st.refresh("portal", offline.RefreshToken))
		time.Sleep(time.Second)
		if err := e.admin.Do(t.Context(), http.MethodPost, "/realms/offline/users/"+userID(t, st, "ada")+"/logout", nil, nil); err != nil {
			t.Fatal(err)
		}
		refused(t, later.RefreshToken)
		refusedSoon(t, "the model that asks", func() answer { return a.call(t, "careful", later.AccessToken) }, http.StatusUnauthorized, "token_inactive")
		a.infer(t, later.AccessToken).want(t, http.StatusOK, "setosa")
	})
}

// sessionOf a token is its sid.
func sessionOf(t *testing.T, token string) string {
	t.Helper()
	c, err := claims(token)
	if err != nil {
		t.Fatal(err)
	}
	sid, _ := c["sid"].(string)
	return sid
}

// refresh is the form of that grant.
func (s *stack) refresh(clientID, token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {clientID}, "client_secret": {s.clientSecret(clientID)}, "refresh_token": {token}}
}

// form sends a form of the client portal to an endpoint of the realm that
// answers nothing but success.
func (s *stack) form(t *testing.T, path string, form url.Values) {
	t.Helper()
	form.Set("client_id", "portal")
	form.Set("client_secret", s.clientSecret("portal"))
	res, err := http.PostForm(s.output("issuer")+path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if !slices.Contains([]int{http.StatusOK, http.StatusNoContent}, res.StatusCode) {
		t.Fatalf("%s answers %s", path, res.Status)
	}
}
