// Package sessiontest provides an issuer that people sign in to, for tests:
// the authorization code flow and the device authorization grant with PKCE,
// refresh tokens that work once, and revocation. The person always agrees.
package sessiontest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"keycloak-model-api/internal/oidctest"
)

// ClientID is the issuer's only client, a public one.
const ClientID = "model-cli"

// Issuer is an http.Handler for its own URLs. Set changes its settings while
// it runs.
type Issuer struct {
	keys *oidctest.Issuer

	mu      sync.Mutex
	set     Settings
	grants  map[string]url.Values // by authorization or device code: what the client asked for
	refresh map[string]bool       // refresh tokens: true until used or revoked
	access  map[string]bool       // access tokens: true until revoked
	secrets []string
	polls   []time.Time
	counts  map[string]int
}

// Settings are what a test may change.
type Settings struct {
	Lifetime  int      // seconds that access tokens live
	Device    []string // error codes for the first polls of a device code
	Interval  int      // seconds between polls; 0: the answer leaves it out
	CodeLives int      // seconds that a device code lives
	Status    int      // not 0: every answer has this status and no body
	Ended     bool     // every refresh token is refused

	Metadata oidctest.Claims // changes to the metadata
	ID       oidctest.Claims // changes to ID tokens
	Response url.Values      // changes to authorization responses
	Token    oidctest.Claims // changes to token responses
}

// New makes an issuer at a URL, which it does not listen on.
func New(issuerURL string) *Issuer {
	return &Issuer{
		keys:    oidctest.New(issuerURL),
		set:     Settings{Lifetime: 300, CodeLives: 600, Interval: 1},
		grants:  map[string]url.Values{},
		refresh: map[string]bool{},
		access:  map[string]bool{},
		counts:  map[string]int{},
	}
}

// Start makes an issuer that listens on loopback until stop is called.
func Start() (i *Issuer, stop func()) {
	server := httptest.NewUnstartedServer(nil)
	i = New("http://" + server.Listener.Addr().String() + "/realms/example-realm")
	server.Config.Handler = i
	server.Start()
	return i, server.Close
}

// URL is the issuer identifier.
func (i *Issuer) URL() string { return i.keys.URL }

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

// Valid reports whether the issuer made this access token and it still counts.
func (i *Issuer) Valid(accessToken string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.access[accessToken]
}

// Revoke ends every access token, as a change of keys would.
func (i *Issuer) Revoke() {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.access)
}

// Secrets returns every token, code and verifier so far.
func (i *Issuer) Secrets() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.secrets)
}

// Polls returns when the device code was polled.
func (i *Issuer) Polls() []time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.polls)
}

// Count returns how often a grant type succeeded, or "revoke".
func (i *Issuer) Count(what string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.counts[what]
}

func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.set.Status != 0 {
		w.WriteHeader(i.set.Status)
		return
	}
	base, err := url.Parse(i.keys.URL)
	if err != nil {
		panic(err)
	}
	switch strings.TrimPrefix(r.URL.Path, base.Path+"/protocol/openid-connect") {
	case "/auth":
		i.authorize(w, r)
	case "/auth/device":
		i.device(w, r)
	case "/token":
		i.token(w, r)
	case "/revoke":
		i.revoke(w, r)
	default:
		recorder := httptest.NewRecorder()
		i.keys.ServeHTTP(recorder, r)
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
	endpoints := i.keys.URL + "/protocol/openid-connect"
	apply(m, oidctest.Claims{
		"device_authorization_endpoint":                  endpoints + "/auth/device",
		"revocation_endpoint":                            endpoints + "/revoke",
		"authorization_response_iss_parameter_supported": true,
	})
	apply(m, i.set.Metadata)
	body, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return body
}

func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || redirect.Scheme != "http" || redirect.Hostname() != "127.0.0.1" || redirect.Path != "/callback" ||
		q.Get("client_id") != ClientID || q.Get("response_type") != "code" || !asksPKCE(q) {
		http.Error(w, "invalid authorization request", http.StatusBadRequest)
		return
	}
	code := i.secret("code-")
	i.grants[code] = q
	response := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {i.keys.URL}}
	for name, values := range i.set.Response {
		response[name] = values
	}
	redirect.RawQuery = response.Encode()
	http.Redirect(w, r, redirect.String(), http.StatusFound)
}

func (i *Issuer) device(w http.ResponseWriter, r *http.Request) {
	if r.PostFormValue("client_id") != ClientID {
		reply(w, http.StatusUnauthorized, oidctest.Claims{"error": "invalid_client", "error_description": "Invalid client or Invalid client credentials"})
		return
	}
	if !asksPKCE(r.PostForm) {
		reply(w, http.StatusBadRequest, oidctest.Claims{"error": "invalid_request", "error_description": "Missing parameter: code_challenge_method"})
		return
	}
	code := i.secret("device-")
	i.grants[code] = r.PostForm
	answer := oidctest.Claims{
		"device_code": code, "user_code": "WDJB-MJHT", "expires_in": i.set.CodeLives,
		"verification_uri": i.keys.URL + "/device", "verification_uri_complete": i.keys.URL + "/device?user_code=WDJB-MJHT",
	}
	if i.set.Interval > 0 {
		answer["interval"] = i.set.Interval
	}
	reply(w, http.StatusOK, answer)
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	grantType := r.PostFormValue("grant_type")
	refuse := func(code, description string) {
		reply(w, http.StatusBadRequest, oidctest.Claims{"error": code, "error_description": description})
	}
	var nonce string
	switch grantType {
	case "authorization_code":
		q, ok := i.grants[r.PostFormValue("code")]
		delete(i.grants, r.PostFormValue("code"))
		if !ok || r.PostFormValue("redirect_uri") != q.Get("redirect_uri") {
			refuse("invalid_grant", "Code not valid")
			return
		}
		if !i.provesPKCE(q, r.PostForm) {
			refuse("invalid_grant", "PKCE verification failed: Code mismatch")
			return
		}
		nonce = q.Get("nonce")
	case "urn:ietf:params:oauth:grant-type:device_code":
		i.polls = append(i.polls, time.Now())
		if len(i.set.Device) > 0 {
			code := i.set.Device[0]
			i.set.Device = i.set.Device[1:]
			refuse(code, "")
			return
		}
		form, ok := i.grants[r.PostFormValue("device_code")]
		if !ok || !i.provesPKCE(form, r.PostForm) {
			refuse("invalid_grant", "PKCE verification failed: Code mismatch")
			return
		}
		delete(i.grants, r.PostFormValue("device_code"))
	case "refresh_token":
		old := r.PostFormValue("refresh_token")
		if i.set.Ended || !i.refresh[old] {
			refuse("invalid_grant", "Session not active")
			return
		}
		i.refresh[old] = false
	default:
		refuse("unsupported_grant_type", "Unsupported grant_type")
		return
	}
	i.counts[grantType]++

	jti := rand.Text()
	access := i.keys.Token("RS256", oidctest.Claims{"azp": ClientID, "jti": jti, "exp": time.Now().Unix() + int64(i.set.Lifetime)})
	hash := sha256.Sum256([]byte(access))
	id := oidctest.Claims{
		"typ": "ID", "aud": ClientID, "azp": ClientID, "realm_access": nil, "resource_access": nil, "allowed-origins": nil, "scope": nil,
		"at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]),
	}
	if nonce != "" {
		id["nonce"] = nonce
	}
	idToken := i.keys.Token("RS256", id, i.set.ID)
	refresh := i.secret("refresh-")
	i.access[access], i.refresh[refresh] = true, true
	i.secrets = append(i.secrets, access, idToken)
	answer := oidctest.Claims{
		"access_token": access, "token_type": "Bearer", "expires_in": i.set.Lifetime,
		"refresh_token": refresh, "refresh_expires_in": 1800, "id_token": idToken, "scope": "openid email profile",
	}
	apply(answer, i.set.Token)
	reply(w, http.StatusOK, answer)
}

func (i *Issuer) revoke(w http.ResponseWriter, r *http.Request) {
	token := r.PostFormValue("token")
	if r.PostFormValue("client_id") != ClientID || !i.refresh[token] {
		reply(w, http.StatusBadRequest, oidctest.Claims{"error": "invalid_token"})
		return
	}
	i.refresh[token] = false
	i.counts["revoke"]++
	w.WriteHeader(http.StatusOK)
}

func (i *Issuer) secret(prefix string) string {
	s := prefix + rand.Text()
	i.secrets = append(i.secrets, s)
	return s
}

func asksPKCE(v url.Values) bool {
	return v.Get("code_challenge") != "" && v.Get("code_challenge_method") == "S256"
}

func (i *Issuer) provesPKCE(asked, proof url.Values) bool {
	verifier := proof.Get("code_verifier")
	i.secrets = append(i.secrets, verifier)
	hash := sha256.Sum256([]byte(verifier))
	return asked.Get("code_challenge") == base64.RawURLEncoding.EncodeToString(hash[:])
}

// apply changes m; nil removes a member.
func apply(m, changes oidctest.Claims) {
	for name, value := range changes {
		if value == nil {
			delete(m, name)
		} else {
			m[name] = value
		}
	}
}

func reply(w http.ResponseWriter, status int, body oidctest.Claims) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that has gone away is not the test's business
}
