package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"keycloak-model-api/internal/render"
)

// TestRoad goes the whole road of the dev stack: its realm, its tokens, the
// API's answers.
func TestRoad(t *testing.T) {
	st := e.up(t, e.devConfig(t), devSecrets())
	a := e.startAPI(t, st)
	user := st.password("ml-api-user", devSecrets()["initialPasswords"]["ml-api-user"])

	t.Run("password grant", func(t *testing.T) {
		a.infer(t, st.token(t, user).AccessToken).want(t, http.StatusOK, `"setosa"`)
	})
	t.Run("client credentials", func(t *testing.T) {
		a.infer(t, st.token(t, st.clientCredentials("my-api-client")).AccessToken).want(t, http.StatusOK, `"setosa"`)
	})
	t.Run("authorization code with PKCE", func(t *testing.T) {
		a.infer(t, codeGrant(t, st, "ml-api-user", user.Get("password")).AccessToken).want(t, http.StatusOK, `"setosa"`)
	})
	t.Run("health is public", func(t *testing.T) {
		for _, path := range []string{"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"} {
			a.do(t, http.MethodGet, path, "", "").want(t, http.StatusOK, "")
		}
	})
	t.Run("no credential", func(t *testing.T) {
		got := a.infer(t, "")
		got.want(t, http.StatusUnauthorized, `"error"`)
		if challenge := got.Header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, "Bearer") || strings.Contains(challenge, "error=") {
			t.Errorf("challenge is %q: RFC 6750 section 3.1 wants no error code without a credential", challenge)
		}
	})
	t.Run("service account without the role", func(t *testing.T) {
		a.infer(t, st.token(t, st.clientCredentials("model-serving-api")).AccessToken).want(t, http.StatusForbidden, "model-api-access")
	})
	t.Run("user without the role", func(t *testing.T) {
		createUser(t, st, "no-role", "correct horse battery staple 2B")
		a.infer(t, st.token(t, st.password("no-role", "correct horse battery staple 2B")).AccessToken).want(t, http.StatusForbidden, "model-api-access")
	})
	t.Run("unknown model", func(t *testing.T) {
		a.do(t, http.MethodPost, "/v2/models/no-such/infer", st.token(t, user).AccessToken, irisRequest).want(t, http.StatusNotFound, `"error"`)
	})

	token := st.token(t, user)
	forged := func(header map[string]any, sign func(signed string) []byte) string {
		payload := strings.Split(token.AccessToken, ".")[1]
		h, err := json.Marshal(header)
		if err != nil {
			t.Fatal(err)
		}
		signed := base64.RawURLEncoding.EncodeToString(h) + "." + payload
		return signed + "." + base64.RawURLEncoding.EncodeToString(sign(signed))
	}
	parts := strings.Split(token.AccessToken, ".")
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	signature[10] ^= 1
	for _, tt := range []struct {
		name, token string
	}{
		{"tampered signature", parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(signature)},
		{"RFC 8725 section 2.1: alg none", forged(map[string]any{"alg": "none", "typ": "JWT"}, func(string) []byte { return nil })},
		{"RFC 8725 section 2.1: HS256 with the client secret", forged(map[string]any{"alg": "HS256", "typ": "JWT"}, func(signed string) []byte {
			mac := hmac.New(sha256.New, []byte(st.output("client_secret")))
			mac.Write([]byte(signed))
			return mac.Sum(nil)
		})},
		{"OpenID Connect Core section 2: ID token", token.IDToken},
		{"RFC 6749 section 1.5: refresh token", token.RefreshToken},
		{"token of another realm", adminToken(t)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := a.infer(t, tt.token)
			got.want(t, http.StatusUnauthorized, `"error"`)
			if !strings.Contains(got.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Errorf("challenge is %q, want invalid_token", got.Header.Get("WWW-Authenticate"))
			}
		})
	}

	t.Run("no secret in the log", func(t *testing.T) {
		for _, secret := range []string{parts[2], token.RefreshToken, st.output("client_secret"), user.Get("password")} {
			if strings.Contains(a.log.String(), secret) {
				t.Error("the log holds a secret")
			}
		}
	})
}

// TestExpired waits for a token of the shortest life to end: its expiry and
// the clock skew.
func TestExpired(t *testing.T) {
	t.Parallel()
	config := strings.Replace(e.devConfig(t), "keycloak-model-api:realm: example-realm", "keycloak-model-api:realm: expiring\n  keycloak-model-api:lifetimes: {accessToken: 5s}", 1)
	st := e.up(t, config, devSecrets())
	a := e.startAPI(t, st)
	token := st.token(t, st.password("ml-api-user", devSecrets()["initialPasswords"]["ml-api-user"])).AccessToken
	a.infer(t, token).want(t, http.StatusOK, "setosa")
	eventually(t, time.Minute, "the token is refused", func() error {
		if got := a.infer(t, token); got.Status != http.StatusUnauthorized || !strings.Contains(got.Body, "token_expired") {
			return fmt.Errorf("%d %s", got.Status, got.Body)
		}
		return nil
	})
}

// TestRealmIsWhatTheStackDeclares compares Keycloak's export of the dev
// stack's realm with what was rendered, field by field.
func TestRealmIsWhatTheStackDeclares(t *testing.T) {
	config := strings.Replace(e.devConfig(t), "realm: example-realm", "realm: compared", 1)
	st := e.up(t, config, devSecrets())
	// A service account's user appears with its first token.
	st.token(t, st.clientCredentials("model-serving-api"))
	st.token(t, st.clientCredentials("my-api-client"))
	compare(t, st)
}

// compare fails the test for each difference between a realm in Keycloak and
// the model that it was made from.
func compare(t *testing.T, st *stack) {
	t.Helper()
	export, err := e.admin.PartialExport(t.Context(), st.output("realm_name"))
	if err != nil {
		t.Fatal(err)
	}
	differences, err := render.Compare(st.Model, export)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range differences {
		t.Error(d)
	}
	// An account that may only read sees the same, but for one flow.
	read, err := e.admin.Read(t.Context(), st.output("realm_name"))
	if err != nil {
		t.Fatal(err)
	}
	if differences, err = render.Compare(st.Model, read); err != nil {
		t.Fatal(err)
	}
	for _, d := range differences {
		if d.Path != "authenticationFlows.saml ecp" {
			t.Errorf("read, not exported: %v", d)
		}
	}
}

// createUser makes a user by hand, as an administrator would.
func createUser(t *testing.T, st *stack, name, password string) {
	t.Helper()
	if err := tryCreateUser(t, st, name, password); err != nil {
		t.Fatal(err)
	}
}

func tryCreateUser(t *testing.T, st *stack, name, password string) error {
	return e.admin.Do(t.Context(), http.MethodPost, "/realms/"+st.output("realm_name")+"/users", map[string]any{
		"username": name, "enabled": true, "email": name + "@example.com", "firstName": "A", "lastName": "B",
		"credentials": []any{map[string]any{"type": "password", "value": password, "temporary": false}},
	}, nil)
}

// adminToken is a good access token of the realm master.
func adminToken(t *testing.T) string {
	t.Helper()
	token, err := e.admin.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// codeGrant signs in to my-api-client by Keycloak's own form.
func codeGrant(t *testing.T, st *stack, username, password string) *oauth2.Token {
	t.Helper()
	return newPerson(t).signIn(t, st.relyingParty("my-api-client", "https://my.api/callback"), loginForm(username, password))
}
