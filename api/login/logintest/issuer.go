// Package logintest provides an OpenID provider for a browser's sign-in: the
// authorization code flow with PKCE for a confidential client, refresh tokens
// that work once, and RP-initiated logout. Its tokens are those of oidctest.
package logintest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"keycloak-model-api/internal/oidctest"
)

// The issuer's only client.
const (
	ClientID     = "my-api-client"
	ClientSecret = "logintest-client-secret"
)

// Issuer is an http.Handler for its own URLs. Set changes its settings while
// it runs.
type Issuer struct {
	*oidctest.Issuer

	mu      sync.Mutex
	set     Settings
	codes   map[string]url.Values // what was asked for, by code
	refresh map[string]bool       // refresh tokens: true until used
	secrets []string
	counts  map[string]int
	logout  url.Values
}

// Settings are what a test may change. The zero value is a good issuer.
type Settings struct {
	Lifetime     int  // seconds that access tokens live; 0 means 300
	Status       int  // not 0: the token endpoint answers with it
	Ended        bool // every refresh token is refused
	Interactive  bool // the authorization endpoint shows a page with a button
	IgnoresPKCE  bool
	KeepsRefresh bool // refresh tokens work again

	Metadata oidctest.Claims // changes to the metadata
	ID       oidctest.Claims // changes to ID tokens
	Access   oidctest.Claims // changes to access tokens
	Response url.Values      // changes to authorization responses; nil values remove
}

// key signs for all issuers here, since making one takes long.
var key = sync.OnceValue(func() *oidctest.Key { return oidctest.NewKey("rs256-key", "RS256") })

// New makes an issuer at a URL, which it does not listen on.
func New(issuerURL string) *Issuer {
	i := &Issuer{
		Issuer: &oidctest.Issuer{URL: issuerURL, Audience: "model-serving-api", Now: time.Now},
		codes:  map[string]url.Values{}, refresh: map[string]bool{}, counts: map[string]int{},
	}
	i.Publish(key())
	return i
}

// Start makes an issuer that listens on loopback until stop is called.
func Start() (i *Issuer, stop func()) {
	server := httptest.NewUnstartedServer(nil)
	i = New("http://" + server.Listener.Addr().String() + "/realms/example-realm")
	server.Config.Handler = i
	server.Start()
	return i, server.Close
}

// Client returns a client that reaches the issuer without a network.
func (i *Issuer) Client() *http.Client { return &http.Client{Transport: inMemory{i}} }

type inMemory struct{ handler http.Handler }

func (t inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	t.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

// Set changes the settings.
func (i *Issuer) Set(change func(*Settings)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(&i.set)
}

// Secrets returns every token, code and verifier so far.
func (i *Issuer) Secrets() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append(slices.Clone(i.secrets), ClientSecret)
}

// Count returns how often a grant type was asked for, or "logout".
func (i *Issuer) Count(what string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.counts[what]
}

// Logout returns the form of the last RP-initiated logout.
func (i *Issuer) Logout() url.Values {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.logout
}

func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	base, err := url.Parse(i.URL)
	if err != nil {
		panic(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch strings.TrimPrefix(r.URL.Path, base.Path+"/protocol/openid-connect") {
	case "/auth":
		i.authorize(w, r)
	case "/token":
		i.token(w, r)
	case "/logout":
		i.endSession(w, r)
	default:
		recorder := httptest.NewRecorder()
		i.Issuer.ServeHTTP(recorder, r)
		body := recorder.Body.Bytes()
		if recorder.Code == http.StatusOK && strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
			body = i.metadata(body)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(body)
	}
}

func (i *Issuer) metadata(of []byte) []byte {
	m := oidctest.Claims{}
	if err := json.NewDecoder(bytes.NewReader(of)).Decode(&m); err != nil {
		panic(err)
	}
	m["authorization_response_iss_parameter_supported"] = true
	m["code_challenge_methods_supported"] = []string{"plain", "S256"}
	apply(m, i.set.Metadata)
	body, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return body
}

var page = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>Sign in to Example Realm</title>
<h1>Example Realm</h1><form method="post"><button id="kc-login">Sign In</button></form>`))

func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || redirect.Path != "/callback" || q.Get("client_id") != ClientID || q.Get("response_type") != "code" ||
		!strings.Contains(q.Get("scope"), "openid") || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" {
		http.Error(w, "invalid authorization request", http.StatusBadRequest)
		return
	}
	if i.set.Interactive && r.Method == http.MethodGet {
		_ = page.Execute(w, nil)
		return
	}
	response := url.Values{"code": {i.code(q)}, "state": {q.Get("state")}, "iss": {i.URL}, "session_state": {"yN3bqkT0a8rD5sWm2xQvJ7Lc"}}
	maps.Copy(response, i.set.Response)
	maps.DeleteFunc(response, func(_ string, values []string) bool { return values == nil })
	redirect.RawQuery = response.Encode()
	http.Redirect(w, r, redirect.String(), http.StatusFound)
}

// Code makes a code as if a browser had signed in at an authorization URL,
// such as an attacker's own.
func (i *Issuer) Code(authorizationURL string) string {
	u, err := url.Parse(authorizationURL)
	if err != nil {
		panic(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.code(u.Query())
}

func (i *Issuer) code(asked url.Values) string {
	code := i.secret("code-")
	i.codes[code] = asked
	return code
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	grantType := r.PostFormValue("grant_type")
	i.counts[grantType]++
	if i.set.Status != 0 {
		w.WriteHeader(i.set.Status)
		return
	}
	refuse := func(status int, code, description string) {
		reply(w, status, oidctest.Claims{"error": code, "error_description": description})
	}
	if id, secret, _ := r.BasicAuth(); id != ClientID || secret != ClientSecret {
		refuse(http.StatusUnauthorized, "unauthorized_client", "Invalid client or Invalid client credentials")
		return
	}
	var nonce string
	switch grantType {
	case "authorization_code":
		q, ok := i.codes[r.PostFormValue("code")]
		delete(i.codes, r.PostFormValue("code"))
		verifier := r.PostFormValue("code_verifier")
		i.secrets = append(i.secrets, verifier)
		hash := sha256.Sum256([]byte(verifier))
		if !ok || r.PostFormValue("redirect_uri") != q.Get("redirect_uri") {
			refuse(http.StatusBadRequest, "invalid_grant", "Code not valid")
			return
		}
		if !i.set.IgnoresPKCE && q.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(hash[:]) {
			refuse(http.StatusBadRequest, "invalid_grant", "PKCE verification failed: Code mismatch")
			return
		}
		nonce = q.Get("nonce")
	case "refresh_token":
		old := r.PostFormValue("refresh_token")
		if i.set.Ended || !i.refresh[old] {
			clear(i.refresh) // as Keycloak ends the session when a refresh token is used again
			refuse(http.StatusBadRequest, "invalid_grant", "Session not active")
			return
		}
		i.refresh[old] = i.set.KeepsRefresh
	default:
		refuse(http.StatusBadRequest, "unsupported_grant_type", "Unsupported grant_type")
		return
	}
	lifetime := i.set.Lifetime
	if lifetime == 0 {
		lifetime = 300
	}
	now := time.Now().Unix()
	access := i.Token("RS256", oidctest.Claims{"azp": ClientID, "jti": rand.Text(), "exp": now + int64(lifetime)}, i.set.Access)
	hash := sha256.Sum256([]byte(access))
	id := oidctest.Claims{
		"typ": "ID", "aud": ClientID, "azp": ClientID, "realm_access": nil, "resource_access": nil, "allowed-origins": nil, "scope": nil,
		"at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]),
	}
	if nonce != "" {
		id["nonce"] = nonce
	}
	idToken := i.Token("RS256", id, i.set.ID)
	refresh := i.secret("refresh-")
	i.refresh[refresh] = true
	i.secrets = append(i.secrets, access, idToken)
	reply(w, http.StatusOK, oidctest.Claims{
		"access_token": access, "token_type": "Bearer", "expires_in": lifetime,
		"refresh_token": refresh, "refresh_expires_in": 1800, "id_token": idToken, "scope": "openid email profile",
	})
}

func (i *Issuer) endSession(w http.ResponseWriter, r *http.Request) {
	i.counts["logout"]++
	if err := r.ParseForm(); err != nil || r.Method != http.MethodPost || r.URL.RawQuery != "" {
		http.Error(w, "expected a form POST", http.StatusBadRequest)
		return
	}
	i.logout = r.PostForm
	clear(i.refresh)
	http.Redirect(w, r, r.PostForm.Get("post_logout_redirect_uri"), http.StatusFound)
}

func (i *Issuer) secret(prefix string) string {
	s := prefix + rand.Text()
	i.secrets = append(i.secrets, s)
	return s
}

// apply changes m; nil removes a member.
func apply(m, changes oidctest.Claims) {
	maps.Copy(m, changes)
	maps.DeleteFunc(m, func(_ string, value any) bool { return value == nil })
}

func reply(w http.ResponseWriter, status int, body oidctest.Claims) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that has gone away is not the test's business
}
