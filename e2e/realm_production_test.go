package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/oauth2"

	"keycloak-model-api/internal/keycloak"
)

// productionConfig is a stack as a platform team would run it. Its %s is the
// public key set of the client nightly.
const productionConfig = `
config:
  keycloak-model-api:environment: prod
  keycloak-model-api:hardening: strict
  keycloak-model-api:exemptions:
    - {resource: production, rule: second-factor-in-prod, reason: The test of sign-ins has the second factor}
  keycloak-model-api:realm: production
  keycloak-model-api:lifetimes: {accessToken: 90s, ssoIdle: 20m, deviceCode: 4m}
  keycloak-model-api:events: {keepFor: 240h}
  keycloak-model-api:signingKeys:
    - {name: es256-2026, algorithm: ES256, priority: 200}
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
    - {name: flowers, embedded: iris, roles: [botanist], introspect: true}
    - {name: vault, embedded: iris, roles: [curator]}
  keycloak-model-api:roles:
    - {name: auditor, description: Nothing that a model asks for}
  keycloak-model-api:groups:
    - {name: everyone, default: true}
    - {name: botany, roles: [model-iris]}
    - {name: roses, parent: botany, roles: [botanist]}
    - {name: visitors, roles: [model-api-access]}
  keycloak-model-api:userAttributes:
    - {name: cost-center, displayName: Cost center}
  keycloak-model-api:users:
    - username: ada
      email: ada@example.com
      firstName: Ada
      lastName: Lovelace
      attributes: {cost-center: "42"}
      roles: [auditor]
      groups: [roses]
    - {username: eve, email: eve@example.com, firstName: Eve, lastName: Adams, groups: [visitors]}
    - {username: mallory, email: mallory@example.com, firstName: Mal, lastName: Lory}
    - {username: newcomer, email: new@example.com, firstName: New, lastName: Comer, groups: [botany], requiredActions: [UPDATE_PROFILE]}
  keycloak-model-api:clients:
    - clientId: model-api
      kind: api
      clientRoles: [metrics.reader]
      mappers:
        - {name: feature store, type: audience, value: feature-store}
    - clientId: portal
      kind: web
      redirectUris: [https://portal.example.com/callback]
      accessTokenType: at+jwt
      mappers:
        - {name: cost center, type: userAttribute, claim: cost_center, value: cost-center}
        - {name: groups, type: groups}
        - {name: purpose, type: hardcoded, claim: purpose, value: portal}
    - clientId: nightly
      kind: service
      authentication: jwt
      jwks: '%s'
      roles: [model-iris]
      serviceAccountRoles: [model-iris, botanist]
      accessTokenLifetime: 60s
    - clientId: metrics
      kind: service
      serviceAccountRoles: [model-iris]
      serviceAccountClientRoles: {model-api: [metrics.reader]}
    - {clientId: light, kind: service, lightweight: true, serviceAccountRoles: [model-iris]}
    - {clientId: bound, kind: service, dpop: true, serviceAccountRoles: [model-iris]}
    - clientId: user-sync
      kind: service
      clientRoles: [runner]
      serviceAccountRoles: [model-iris, auditor]
      serviceAccountClientRoles: {realm-management: [view-users], model-api: [metrics.reader], user-sync: [runner]}
      serviceAccountGroups: [visitors]
    - {clientId: feature-store, kind: service}
    - {clientId: model-cli, kind: cli}
`

// The strict password policy wants 15 characters.
const (
	firstPassword = "a first password of the tests 1A"
	ownPassword   = "a password of my own 1A"
)

func productionSecrets() secretsOf {
	s := secretsOf{"clientSecrets": {}, "initialPasswords": {}}
	for _, client := range []string{"model-api", "portal", "metrics", "light", "bound", "user-sync", "feature-store"} {
		s["clientSecrets"][client] = "the-secret-of-" + client + "-in-the-tests"
	}
	for _, user := range []string{"ada", "eve", "mallory", "newcomer"} {
		s["initialPasswords"][user] = firstPassword
	}
	return s
}

// TestProduction makes a hardened realm and calls models as its users and
// services do.
func TestProduction(t *testing.T) {
	nightly := newClientKey(t, "nightly-1")
	st := e.up(t, fmt.Sprintf(productionConfig, publicSet(t, nightly)), productionSecrets())

	// The Keycloak of the tests speaks plain HTTP, which this realm refuses.
	if got := st.tryToken(t, st.clientCredentials("metrics")); got.AccessToken != "" || !strings.Contains(got.Description, "HTTPS required") {
		t.Errorf("over plain HTTP the realm answers %q, %q", got.Error, got.Description)
	}
	requireTLS := func(from string) {
		t.Helper()
		// The life of device codes goes back to the default where it is left out.
		change := map[string]any{"sslRequired": from, "oauth2DeviceCodeLifespan": 240}
		if err := e.admin.Do(t.Context(), http.MethodPut, "/realms/production", change, nil); err != nil {
			t.Fatal(err)
		}
	}
	requireTLS("none")
	// A service account's user appears with its first token.
	for _, client := range []string{"model-api", "metrics", "light", "user-sync", "feature-store"} {
		st.token(t, st.clientCredentials(client))
	}
	st.token(t, st.assertion(t, "nightly", nightly))
	st.boundToken(t, "bound", newKey(t))
	requireTLS("all")
	compare(t, st)
	requireTLS("none")

	a := e.startAPI(t, st, "-introspection-ttl", "100ms")
	portal := st.relyingParty("portal", "https://portal.example.com/callback")
	ada := newPerson(t).signIn(t, portal, loginForm("ada", firstPassword), newPassword(ownPassword)).AccessToken
	eve := newPerson(t).signIn(t, portal, loginForm("eve", firstPassword), newPassword(ownPassword))

	t.Run("a temporary password is good for one login", func(t *testing.T) {
		pg := newPerson(t).open(t, portal.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
		if pg = pg.submit(t, loginForm("ada", firstPassword)); !strings.Contains(pg.Body, "kc-form-login") {
			t.Errorf("the first password still leads to %s", pg.URL)
		}
		newPerson(t).signIn(t, portal, loginForm("ada", ownPassword))
	})
	t.Run("a required action comes before the first token", func(t *testing.T) {
		// Profile and password, in the order of this version of Keycloak.
		both := newPassword(ownPassword)
		maps.Copy(both, url.Values{"email": {"new@example.com"}, "firstName": {"Newer"}, "lastName": {"Comer"}})
		newPerson(t).signIn(t, portal, loginForm("newcomer", firstPassword), both, both)
	})
	t.Run("tokens carry the roles of models and nothing else", func(t *testing.T) {
		wantClaims(t, ada, "ES256", "at+jwt", 90*time.Second, map[string]any{
			"aud":          "model-api",
			"azp":          "portal",
			"realm_access": roles("botanist", "model-api-access", "model-iris"),
			// A default group is joined by every new user.
			"groups":          []any{"/botany/roses", "/everyone"},
			"cost_center":     "42",
			"purpose":         "portal",
			"resource_access": nil,
		})
	})
	t.Run("a model for each role", func(t *testing.T) {
		for _, model := range []string{"iris", "flowers"} {
			a.call(t, model, ada).want(t, http.StatusOK, "setosa")
		}
		a.do(t, http.MethodGet, "/v2/models", ada, "").want(t, http.StatusOK, `{"models":[{"name":"iris"},{"name":"flowers"}]}`)
		a.do(t, http.MethodGet, "/v2/models", eve.AccessToken, "").want(t, http.StatusOK, `{"models":[]}`)
	})
	t.Run("an unknown and a forbidden model look alike", func(t *testing.T) {
		forbidden, unknown := a.call(t, "vault", ada), a.call(t, "no-such", ada)
		if forbidden.Status != http.StatusNotFound || forbidden.Status != unknown.Status || forbidden.Body != unknown.Body {
			t.Errorf("forbidden is %d %s, unknown is %d %s", forbidden.Status, forbidden.Body, unknown.Status, unknown.Body)
		}
		a.call(t, "iris", eve.AccessToken).want(t, http.StatusNotFound, "model_unknown")
	})
	t.Run("a service with a key for a secret", func(t *testing.T) {
		token := st.token(t, st.assertion(t, "nightly", nightly)).AccessToken
		wantClaims(t, token, "ES256", "JWT", time.Minute, map[string]any{
			"aud":          "model-api",
			"realm_access": roles("model-api-access", "model-iris"), // not botanist, which the account has
		})
		a.call(t, "iris", token).want(t, http.StatusOK, "setosa")
		a.call(t, "flowers", token).want(t, http.StatusNotFound, "model_unknown")
		if got := st.tryToken(t, st.assertion(t, "nightly", newClientKey(t, nightly.KeyID))); got.AccessToken != "" {
			t.Error("an assertion by another key gets a token")
		}
	})
	t.Run("client roles of a service", func(t *testing.T) {
		token := st.token(t, st.clientCredentials("metrics")).AccessToken
		wantClaims(t, token, "ES256", "JWT", 90*time.Second, map[string]any{
			"aud":             "model-api",
			"realm_access":    roles("model-api-access", "model-iris"),
			"resource_access": map[string]any{"model-api": roles("metrics.reader")},
		})
		a.call(t, "iris", token).want(t, http.StatusOK, "setosa")
	})
	t.Run("roles that no model asks for, and Keycloak's own, reach the tokens of their service alone", func(t *testing.T) {
		token := st.token(t, st.clientCredentials("user-sync")).AccessToken
		wantClaims(t, token, "ES256", "JWT", 90*time.Second, map[string]any{
			"aud":          []any{"model-api", "realm-management"},
			"realm_access": roles("auditor", "model-api-access", "model-iris"),
			"resource_access": map[string]any{
				"model-api":        roles("metrics.reader"),
				"realm-management": roles("query-groups", "query-users", "view-users"), // a composite
				"user-sync":        roles("runner"),
			},
		})
		a.call(t, "iris", token).want(t, http.StatusOK, "setosa")
		for client, want := range map[string]int{"user-sync": http.StatusOK, "metrics": http.StatusForbidden} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.keycloak.BaseURL+"/admin/realms/production/users", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+st.token(t, st.clientCredentials(client)).AccessToken)
			if got := send(t, http.DefaultClient, r); got.Status != want {
				t.Errorf("the users of the realm are answered to %s by %d %s, want %d", client, got.Status, got.Body, want)
			}
		}
	})
	t.Run("a lightweight token is asked about", func(t *testing.T) {
		token := st.token(t, st.clientCredentials("light")).AccessToken
		wantClaims(t, token, "ES256", "JWT", 90*time.Second, map[string]any{"aud": nil, "realm_access": nil})
		a.call(t, "iris", token).want(t, http.StatusOK, "setosa")
	})
	t.Run("RFC 9449: a token that is bound to a key", func(t *testing.T) {
		key := newKey(t)
		token := st.boundToken(t, "bound", key)
		address := a.URL + "/v2/models/iris/infer"
		proof := dpopProof(t, key, http.MethodPost, address, token)
		a.callBound(t, token, proof).want(t, http.StatusOK, "setosa")
		a.callBound(t, token, proof).want(t, http.StatusUnauthorized, "dpop_proof_replayed")
		a.callBound(t, token, dpopProof(t, newKey(t), http.MethodPost, address, token)).want(t, http.StatusUnauthorized, "dpop_proof_invalid")
		a.call(t, "iris", token).want(t, http.StatusUnauthorized, "sender_constraint") // as a bearer token
	})
	t.Run("RFC 8693: exchange for a narrower audience", func(t *testing.T) {
		exchanged := func(audience string) string {
			form := url.Values{
				"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {"model-api"}, "client_secret": {st.clientSecret("model-api")},
				"subject_token": {ada}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
			}
			if audience != "" {
				form.Set("audience", audience)
			}
			return st.token(t, form).AccessToken
		}
		wide := exchanged("")
		wantClaims(t, wide, "ES256", "JWT", 0, map[string]any{"aud": []any{"feature-store", "model-api"}, "azp": "model-api", "realm_access": roles("botanist", "model-api-access", "model-iris")})
		a.call(t, "iris", wide).want(t, http.StatusOK, "setosa")
		narrow := exchanged("feature-store")
		wantClaims(t, narrow, "ES256", "JWT", 0, map[string]any{"aud": "feature-store", "azp": "model-api"})
		a.call(t, "iris", narrow).want(t, http.StatusUnauthorized, "audience_wrong")
	})
	t.Run("RFC 9700 section 4.14: a refresh token is good for one use", func(t *testing.T) {
		form := url.Values{"grant_type": {"refresh_token"}, "client_id": {"portal"}, "client_secret": {st.clientSecret("portal")}, "refresh_token": {eve.RefreshToken}}
		st.token(t, form)
		if got := st.tryToken(t, form); got.Error != "invalid_grant" {
			t.Errorf("the second use is answered %q", got.Error)
		}
	})
	t.Run("RFC 7636: PKCE is demanded", func(t *testing.T) {
		pg := newPerson(t).open(t, portal.AuthCodeURL("s"))
		if back := pg.URL.Query(); back.Get("error") != "invalid_request" || !strings.Contains(back.Get("error_description"), "code_challenge") {
			t.Errorf("without a challenge Keycloak leads to %s", pg.URL)
		}
	})
	t.Run("flows that nobody asked for are off", func(t *testing.T) {
		got := st.tryToken(t, url.Values{"grant_type": {"password"}, "client_id": {"portal"}, "client_secret": {st.clientSecret("portal")}, "username": {"ada"}, "password": {ownPassword}})
		if got.Error != "unauthorized_client" {
			t.Errorf("the password grant is answered %q", got.Error)
		}
		pg := newPerson(t).open(t, portal.AuthCodeURL("s", oauth2.SetAuthURLParam("response_type", "token"), oauth2.SetAuthURLParam("nonce", "n")))
		if !strings.Contains(pg.URL.Fragment+pg.URL.RawQuery, "error=unauthorized_client") {
			t.Errorf("the implicit flow leads to %s", pg.URL)
		}
	})
	t.Run("lifetimes", func(t *testing.T) {
		if left := eve.Extra("refresh_expires_in"); left != float64(20*60) {
			t.Errorf("a refresh token lives %v s, want the session's idle time", left)
		}
		var device struct {
			ExpiresIn int `json:"expires_in"`
		}
		st.post(t, "/protocol/openid-connect/auth/device", url.Values{
			"client_id": {"model-cli"}, "code_challenge_method": {"S256"}, "code_challenge": {oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())},
		}, &device)
		wantSeconds(t, "a device code", device.ExpiresIn, 240)
	})
	t.Run("events are kept", func(t *testing.T) {
		var kept struct {
			Expiration int `json:"eventsExpiration"`
		}
		var logins, changes []struct {
			Type string `json:"type"`
		}
		for path, out := range map[string]any{"events/config": &kept, "events?type=LOGIN": &logins, "admin-events": &changes} {
			if err := e.admin.Do(t.Context(), http.MethodGet, "/realms/production/"+path, nil, out); err != nil {
				t.Fatal(err)
			}
		}
		if kept.Expiration != 10*24*60*60 || len(logins) == 0 || len(changes) == 0 {
			t.Errorf("%d logins and %d changes are kept for %d s", len(logins), len(changes), kept.Expiration)
		}
	})
	t.Run("usernames, addresses and names are checked as in a realm with Keycloak's own user profile", func(t *testing.T) {
		for _, tt := range []struct{ what, key, value, refusal string }{
			{"an email address that is none", "email", "nope", "error-invalid-email"},
			{"markup for a first name", "firstName", "<b>", "error-person-name-invalid-character"},
			{"markup for a last name", "lastName", "<b>", "error-person-name-invalid-character"},
			{"a first name of 256 characters", "firstName", strings.Repeat("a", 256), "error-invalid-length-too-long"},
			{"a username with a space", "username", "a b", "error-username-invalid-character"},
			{"a username of two characters", "username", "ab", "error-invalid-length"},
			{"a username in Cyrillic", "username", "\u0430\u0430\u0430", "error-username-invalid-character"},
		} {
			user := map[string]any{"username": "unchecked", "email": "unchecked@example.com", "firstName": "Un", "lastName": "Checked"}
			user[tt.key] = tt.value
			err := e.admin.Do(t.Context(), http.MethodPost, "/realms/production/users", user, nil)
			if !keycloak.IsStatus(err, http.StatusBadRequest) || !strings.Contains(err.Error(), tt.refusal) {
				t.Errorf("%s is answered %v, want 400 with %s", tt.what, err, tt.refusal)
			}
		}
		// What Keycloak gives back is what was sent, texts for numbers included.
		var profile struct {
			Attributes []struct {
				Name        string         `json:"name"`
				Validations map[string]any `json:"validations"`
			} `json:"attributes"`
		}
		if err := e.admin.Do(t.Context(), http.MethodGet, "/realms/production/users/profile", nil, &profile); err != nil {
			t.Fatal(err)
		}
		none, most := map[string]any{}, map[string]any{"max": "255"}
		want := map[string]map[string]any{
			"username":    {"length": map[string]any{"min": "3", "max": "255"}, "username-prohibited-characters": none, "up-username-not-idn-homograph": none},
			"email":       {"email": none, "length": most},
			"firstName":   {"length": most, "person-name-prohibited-characters": none},
			"lastName":    {"length": most, "person-name-prohibited-characters": none},
			"cost-center": nil,
		}
		got := map[string]map[string]any{}
		for _, a := range profile.Attributes {
			got[a.Name] = a.Validations
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("validators (-want +got):\n%s", diff)
		}
	})
	t.Run("weak passwords are refused", func(t *testing.T) {
		if err := tryCreateUser(t, st, "weak", "Short-1!"); !keycloak.IsStatus(err, http.StatusBadRequest) {
			t.Errorf("a password of 8 characters is answered %v", err)
		}
	})
	t.Run("guessing passwords locks the user out", func(t *testing.T) {
		pg := newPerson(t).open(t, portal.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
		for range 5 {
			pg = pg.submit(t, loginForm("mallory", "wrong"))
		}
		if pg = pg.submit(t, loginForm("mallory", firstPassword)); !strings.Contains(pg.Body, "kc-form-login") {
			t.Errorf("after five wrong passwords the right one leads to %s", pg.URL)
		}
	})
}

// call sends a request to a model.
func (a *api) call(t testing.TB, model, token string) answer {
	t.Helper()
	return a.do(t, http.MethodPost, "/v2/models/"+model+"/infer", token, irisRequest)
}

// callBound calls the model iris with a token that is bound to a key.
func (a *api) callBound(t *testing.T, token, proof string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL+"/v2/models/iris/infer", strings.NewReader(irisRequest))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "DPoP "+token)
	r.Header.Set("DPoP", proof)
	return send(t, http.DefaultClient, r)
}

// wantClaims holds a token against what the configuration says of it. A nil
// stands for a claim that must not be there, a lifetime of 0 for any.
func wantClaims(t *testing.T, token, algorithm, typ string, lifetime time.Duration, want map[string]any) {
	t.Helper()
	h, err := header(token)
	if err != nil {
		t.Fatal(err)
	}
	if h["alg"] != algorithm || h["typ"] != typ {
		t.Errorf("the header is %v, want alg %s and typ %s", h, algorithm, typ)
	}
	c, err := claims(token)
	if err != nil {
		t.Fatal(err)
	}
	if lifetime != 0 {
		wantSeconds(t, "the token", int(c["exp"].(float64)-c["iat"].(float64)), int(lifetime.Seconds()))
	}
	for name, value := range want {
		if got, want := sorted(c[name]), sorted(value); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// wantSeconds holds a lifetime against the configured one. Keycloak reads its clock
// more than once for one answer, and counts whole seconds from there: a busy one
// leaves a few less, or one more.
func wantSeconds(t *testing.T, what string, got, want int) {
	t.Helper()
	if got < want-5 || got > want+1 {
		t.Errorf("%s lives %d s, want %d", what, got, want)
	}
}

// roles is realm_access as Keycloak writes it.
func roles(names ...any) map[string]any { return map[string]any{"roles": names} }

// sorted puts the lists in a claim in order, since Keycloak's have none.
func sorted(claim any) any {
	switch v := claim.(type) {
	case []any:
		slices.SortFunc(v, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	case map[string]any:
		for _, member := range v {
			sorted(member)
		}
	}
	return claim
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newClientKey is a key that a client signs its assertions with.
func newClientKey(t *testing.T, id string) jose.JSONWebKey {
	t.Helper()
	return jose.JSONWebKey{Key: newKey(t), KeyID: id, Algorithm: "ES256", Use: "sig"}
}

// assertion is the form of a client-credentials grant with private_key_jwt
// (RFC 7523).
func (s *stack) assertion(t *testing.T, clientID string, key jose.JSONWebKey) url.Values {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: clientID, Subject: clientID, Audience: jwt.Audience{s.output("issuer")},
		ID: rand.Text(), IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute)),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return url.Values{
		"grant_type": {"client_credentials"}, "client_assertion": {signed},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}
}

// dpopProof is a proof of RFC 9449, section 4.2. An empty token makes one for
// the token endpoint.
func dpopProof(t *testing.T, key *ecdsa.PrivateKey, method, address, token string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": address, "iat": time.Now().Unix()}
	if token != "" {
		hash := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(hash[:])
	}
	proof, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

// boundToken is a service's token that is bound to a key.
func (s *stack) boundToken(t *testing.T, clientID string, key *ecdsa.PrivateKey) string {
	t.Helper()
	address := s.output("issuer") + "/protocol/openid-connect/token"
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(s.clientCredentials(clientID).Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("DPoP", dpopProof(t, key, http.MethodPost, address, ""))
	var got tokens
	if err := json.Unmarshal([]byte(send(t, http.DefaultClient, r).Body), &got); err != nil {
		t.Fatal(err)
	}
	if got.TokenType != "DPoP" {
		t.Fatalf("token type %q, %s: %s", got.TokenType, got.Error, got.Description)
	}
	return got.AccessToken
}

// post sends a form to an endpoint of the realm and reads the JSON answer.
func (s *stack) post(t *testing.T, path string, form url.Values, out any) {
	t.Helper()
	res, err := http.PostForm(s.output("issuer")+path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
}
