// Package oidctest provides an OpenID provider with real keys for tests and
// benchmarks: discovery, JWKS, a token endpoint, tokens as Keycloak makes
// them, sign-in of people, key rotation and outages, all under the test's
// control.
package oidctest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Issuer is one realm. It is an http.Handler for its own URLs. Its fields may
// be set until the first request, its methods be called at any time.
type Issuer struct {
	// URL is the issuer identifier: `iss` of its tokens.
	URL string
	// Audience is the client id of the resource server, `aud` of its tokens.
	Audience string
	// Now is the clock that tokens are made by. Default time.Now.
	Now func() time.Time
	// Secrets are the confidential clients that the token endpoint serves, by
	// client id.
	Secrets map[string]string

	server *httptest.Server

	mu        sync.Mutex
	endpoints map[string]http.HandlerFunc // a Provider's, by path below URL
	amend     func(metadata Claims)       // a Provider's, or nil
	keys      []*Key                      // published; the first of an algorithm signs
	override  http.Handler
	keySet    any // published instead of keys
	discovery int
	jwks      int
	tokens    int
	notBefore int64
	serial    int
}

// New makes an issuer that listens nowhere: use it as a handler, or through
// Client. It has one RS256 key.
func New(issuerURL string) *Issuer {
	i := &Issuer{URL: issuerURL, Audience: "model-serving-api", Now: time.Now, Secrets: map[string]string{}}
	i.Rotate("RS256")
	return i
}

// Start makes an issuer that listens on loopback until Close. Its URL ends
// with /realms/example-realm.
func Start() *Issuer {
	i := New("")
	i.server = httptest.NewUnstartedServer(i)
	// Before it serves: whoever knew the port before may ask at once.
	i.URL = "http://" + i.server.Listener.Addr().String() + "/realms/example-realm"
	i.server.Start()
	return i
}

// Close ends the server that Start began.
func (i *Issuer) Close() { i.server.Close() }

// Client returns a client whose every request goes to the issuer without a
// network, whatever the host.
func (i *Issuer) Client() *http.Client { return &http.Client{Transport: inMemory{i}} }

type inMemory struct{ handler http.Handler }

func (t inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	t.handler.ServeHTTP(w, r)
	response := w.Result()
	response.Request = r
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return response, nil
}

// Rotate publishes a new key of an algorithm, which signs from now on. Older
// keys stay published. It returns the new key.
func (i *Issuer) Rotate(algorithm string) *Key {
	i.mu.Lock()
	i.serial++
	id := fmt.Sprintf("%s-key-%d", strings.ToLower(algorithm), i.serial)
	i.mu.Unlock()
	key := NewKey(id, algorithm)
	i.Publish(key)
	return key
}

// Publish adds keys, which sign from now on, each for its algorithm.
func (i *Issuer) Publish(keys ...*Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(slices.Clone(keys), i.keys...)
}

// Withdraw removes all keys with an id from the key set.
func (i *Issuer) Withdraw(keyID string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = slices.DeleteFunc(slices.Clone(i.keys), func(k *Key) bool { return k.ID == keyID })
}

// Key returns the key that signs with an algorithm, made if there is none.
func (i *Issuer) Key(algorithm string) *Key {
	i.mu.Lock()
	for _, key := range i.keys {
		if key.Algorithm == algorithm {
			i.mu.Unlock()
			return key
		}
	}
	i.mu.Unlock()
	return i.Rotate(algorithm)
}

// Override answers every request by h until it is called with nil.
func (i *Issuer) Override(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.override = nil
	if h != nil {
		i.override = h
	}
}

// SetOutage lets every request fail with 502, or ends that.
func (i *Issuer) SetOutage(on bool) {
	if !on {
		i.Override(nil)
		return
	}
	i.Override(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
}

// SetNotBefore is the realm's not-before, which token answers carry.
func (i *Issuer) SetNotBefore(t time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.notBefore = t.Unix()
}

// SetSecret changes a client's secret while the issuer serves; "" disables the client.
func (i *Issuer) SetSecret(client, secret string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.Secrets[client] = secret
	if secret == "" {
		delete(i.Secrets, client)
	}
}

// Requests returns how often discovery and the key set were asked for.
func (i *Issuer) Requests() (discovery, jwks int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.discovery, i.jwks
}

// ServeHTTP serves discovery, the key set and the token endpoint.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	base, err := url.Parse(i.URL)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, base.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	i.mu.Lock()
	override := i.override
	switch path {
	case "/.well-known/openid-configuration":
		i.discovery++
	case "/protocol/openid-connect/certs":
		i.jwks++
	}
	endpoint := i.endpoints[path]
	i.mu.Unlock()
	switch {
	case override != nil:
		override.ServeHTTP(w, r)
	case endpoint != nil:
		endpoint(w, r)
	case path == "/.well-known/openid-configuration":
		writeJSON(w, http.StatusOK, i.metadata())
	case path == "/protocol/openid-connect/certs":
		writeJSON(w, http.StatusOK, i.keySetAnswer())
	case path == "/protocol/openid-connect/token" && r.Method == http.MethodPost:
		i.token(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (i *Issuer) metadata() Claims {
	endpoints := i.URL + "/protocol/openid-connect"
	metadata := Claims{
		"issuer":                                i.URL,
		"authorization_endpoint":                endpoints + "/auth",
		"token_endpoint":                        endpoints + "/token",
		"introspection_endpoint":                endpoints + "/token/introspect",
		"end_session_endpoint":                  endpoints + "/logout",
		"jwks_uri":                              endpoints + "/certs",
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256", "PS256", "ES256", "EdDSA"},
	}
	i.mu.Lock()
	amend := i.amend
	i.mu.Unlock()
	if amend != nil {
		amend(metadata)
	}
	return metadata
}

// SetKeySet publishes any JSON value as key set, or the keys again after nil.
func (i *Issuer) SetKeySet(value any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keySet = value
}

func (i *Issuer) keySetAnswer() any {
	i.mu.Lock()
	other := i.keySet
	i.mu.Unlock()
	if other != nil {
		return other
	}
	return i.JWKS()
}

// JWKS returns the published key set. Like Keycloak's it also has a key for
// encryption.
func (i *Issuer) JWKS() jose.JSONWebKeySet {
	i.mu.Lock()
	defer i.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, key := range i.keys {
		set.Keys = append(set.Keys, key.JWK())
	}
	if len(i.keys) > 0 {
		encryption := i.keys[len(i.keys)-1].JWK()
		encryption.KeyID, encryption.Use, encryption.Algorithm = "encryption-key", "enc", "RSA-OAEP"
		set.Keys = append(set.Keys, encryption)
	}
	return set
}

// token is the token endpoint, for the client-credentials grant and for the exchange of
// access tokens (RFC 8693).
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	i.mu.Lock()
	i.tokens++
	known, exists := i.Secrets[id]
	notBefore := i.notBefore
	i.mu.Unlock()
	if !exists || known != secret {
		refuse(w, http.StatusUnauthorized, "unauthorized_client", "Invalid client or Invalid client credentials")
		return
	}
	if r.PostFormValue("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange" {
		i.exchange(w, r, id)
		return
	}
	if grant := r.PostFormValue("grant_type"); grant != "client_credentials" {
		refuse(w, http.StatusBadRequest, "unsupported_grant_type", "Unsupported grant_type")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": i.Token("RS256", ServiceAccount(id)), "expires_in": 300, "refresh_expires_in": 0,
		"token_type": "Bearer", "not-before-policy": notBefore, "scope": "profile email",
	})
}

// exchange gives the subject of a token another one, for the audience that is asked for.
func (i *Issuer) exchange(w http.ResponseWriter, r *http.Request, clientID string) {
	var subject struct {
		Subject string `json:"sub"`
	}
	parts := strings.Split(r.PostFormValue("subject_token"), ".")
	if len(parts) == 3 {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1]) // what is wrong with it has no sub
		_ = json.Unmarshal(payload, &subject)
	}
	if subject.Subject == "" {
		refuse(w, http.StatusBadRequest, "invalid_request", "Invalid token")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": i.Token("RS256", Claims{"aud": r.PostFormValue("audience"), "azp": clientID, "sub": subject.Subject, "realm_access": nil, "resource_access": nil}),
		"expires_in":   300, "token_type": "Bearer", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	// A client that has gone away is not the test's business.
	_ = json.NewEncoder(w).Encode(body)
}

// Claims are the claims of a token, or the members of another document, or
// changes to them: nil removes one.
type Claims map[string]any

func (c Claims) apply(changes ...Claims) {
	for _, change := range changes {
		maps.Copy(c, change)
	}
	maps.DeleteFunc(c, func(_ string, value any) bool { return value == nil })
}

// ServiceAccount returns what sets a client-credentials token apart from a
// user's.
func ServiceAccount(clientID string) Claims {
	return Claims{
		"azp": clientID, "client_id": clientID, "clientHost": "127.0.0.1", "clientAddress": "127.0.0.1",
		"preferred_username": "service-account-" + clientID, "sub": "5c5b7fd0-6f0c-4a0e-b1f7-" + fmt.Sprintf("%012x", len(clientID)),
		"sid": nil, "session_state": nil, "auth_time": nil, "name": nil, "given_name": nil, "family_name": nil, "email": nil,
		"jti": "trrtcc:7d1f3c86-2c3b-4f0e-9a55-0d7f6a0d8a11",
	}
}

// Claims returns the claims of a user's access token as Keycloak 26 has them,
// with changes applied.
func (i *Issuer) Claims(changes ...Claims) Claims {
	now := i.Now().Unix()
	claims := Claims{
		"exp": now + 300, "iat": now, "auth_time": now - 5,
		"jti": "onrtac:0d4fd4b5-4d7c-4e1c-8a3e-5f4c0f6f2c9b",
		"iss": i.URL, "aud": []string{i.Audience, "account"},
		"sub": "6b0c2a7e-3f0d-4d5b-9c1a-8f2e4d6a7b90", "typ": "Bearer", "azp": "my-api-client",
		"sid": "yN3bqkT0a8rD5sWm2xQvJ7Lc", "acr": "1",
		"allowed-origins": []string{"https://my.api"},
		"realm_access": map[string]any{"roles": []string{"model-api-access", "offline_access", "default-roles-example-realm",
			"uma_authorization"}},
		"resource_access": map[string]any{
			"model-serving-api": map[string]any{"roles": []string{"model-iris", "model-digits"}},
			"account":           map[string]any{"roles": []string{"manage-account", "manage-account-links", "view-profile"}},
		},
		"scope": "openid profile email model-api", "email_verified": true, "name": "Model User",
		"preferred_username": "ml-api-user", "given_name": "Model", "family_name": "User", "email": "user@example.com",
	}
	claims.apply(changes...)
	return claims
}

// Token makes an access token of Claims, signed with an algorithm.
func (i *Issuer) Token(algorithm string, changes ...Claims) string {
	key := i.Key(algorithm)
	return Sign(key, Header{"alg": algorithm, "typ": "JWT", "kid": key.ID}, i.Claims(changes...))
}

// Client returns a client that reaches several realms of one host without a
// network, each below its own path.
func Client(issuers ...*Issuer) *http.Client {
	return &http.Client{Transport: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, i := range issuers {
			if base, err := url.Parse(i.URL); err == nil && strings.HasPrefix(r.URL.Path, base.Path+"/") {
				i.ServeHTTP(w, r)
				return
			}
		}
		http.NotFound(w, r)
	})}}
}
