package oidctest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Provider is an issuer that people sign in to: the authorization code flow
// and the device authorization grant, both with PKCE, refresh tokens that work
// once, revocation, and RP-initiated logout. The person always agrees. Set
// changes its settings while it runs.
type Provider struct {
	*Issuer
	// ClientID is of the only client, ClientSecret empty for a public one.
	ClientID, ClientSecret string

	mu        sync.Mutex
	set       Settings
	grants    map[string]url.Values // by authorization or device code: what was asked for
	refresh   map[string]bool       // refresh tokens: true until used or revoked
	access    map[string]bool       // access tokens: true until revoked
	bound     map[string]string     // tokens that are bound to a key, with its thumbprint (RFC 9449)
	proofs    map[string]bool       // ids of the proofs that were used
	sensitive []string
	polls     []time.Time
	counts    map[string]int
}

// Settings are what a test may change.
type Settings struct {
	Lifetime    int      // seconds that access tokens live
	Device      []string // error codes for the first polls of a device code
	Interval    int      // seconds between polls; 0: the answer leaves it out
	CodeLives   int      // seconds that a device code lives
	Status      int      // not 0: the token endpoint answers with it
	Ended       bool     // every refresh token is refused
	IgnoresPKCE bool

	Nonce         string        // not empty: proofs at the token endpoint must carry it (RFC 9449, section 8)
	IgnoresProofs bool          // tokens are never bound to a key
	Ahead         time.Duration // of the clock that proofs are judged by

	Metadata Claims     // changes to the metadata
	ID       Claims     // changes to ID tokens
	Access   Claims     // changes to access tokens
	Token    Claims     // changes to token responses
	Response url.Values // changes to authorization responses; nil values remove
}

// NewProvider lets people sign in to an issuer that has had no request yet.
func NewProvider(issuer *Issuer, clientID, clientSecret string) *Provider {
	p := &Provider{
		Issuer: issuer, ClientID: clientID, ClientSecret: clientSecret,
		set:    Settings{Lifetime: 300, CodeLives: 600, Interval: 1},
		grants: map[string]url.Values{}, refresh: map[string]bool{}, access: map[string]bool{}, counts: map[string]int{},
		bound: map[string]string{}, proofs: map[string]bool{},
	}
	issuer.mu.Lock()
	defer issuer.mu.Unlock()
	issuer.amend = p.amend
	const at = "/protocol/openid-connect"
	issuer.endpoints = map[string]http.HandlerFunc{
		at + "/auth": p.authorize, at + "/auth/device": p.device, at + "/token": p.token, at + "/revoke": p.revoke, at + "/logout": p.logout,
	}
	return p
}

// Set changes the settings.
func (p *Provider) Set(change func(*Settings)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.set)
}

// Valid reports whether the provider made this access token and it still
// counts.
func (p *Provider) Valid(accessToken string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.access[accessToken]
}

// BoundTo returns the thumbprint of the key that a token is bound to, empty
// for a bearer token.
func (p *Provider) BoundTo(token string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bound[token]
}

// Revoke ends every access token, as a change of keys would.
func (p *Provider) Revoke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.access)
}

// Sensitive returns what no log or page may hold: every token, code and
// verifier so far, and the client's secret.
func (p *Provider) Sensitive() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(append(slices.Clone(p.sensitive), p.ClientSecret), func(s string) bool { return s == "" })
}

// Polls returns when the device code was polled.
func (p *Provider) Polls() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.polls)
}

// Count returns how often a grant type was asked for, or "revoke".
func (p *Provider) Count(what string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[what]
}

// Code makes a code as if a browser had signed in at an authorization URL,
// such as an attacker's own.
func (p *Provider) Code(authorizationURL string) string {
	u, err := url.Parse(authorizationURL)
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.grant("code-", u.Query())
}

func (p *Provider) amend(metadata Claims) {
	p.mu.Lock()
	defer p.mu.Unlock()
	endpoints := p.URL + "/protocol/openid-connect"
	metadata.apply(Claims{
		"device_authorization_endpoint":                  endpoints + "/auth/device",
		"revocation_endpoint":                            endpoints + "/revoke",
		"authorization_response_iss_parameter_supported": true,
		"code_challenge_methods_supported":               []string{"plain", "S256"},
		"dpop_signing_alg_values_supported":              []string{"ES256", "RS256"},
	}, p.set.Metadata)
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := r.URL.Query()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || !strings.HasSuffix(redirect.Path, "/callback") || q.Get("client_id") != p.ClientID ||
		q.Get("response_type") != "code" ||
		p.ClientSecret == "" && (redirect.Scheme != "http" || redirect.Hostname() != "127.0.0.1") || // RFC 8252, section 7.3
		!strings.Contains(q.Get("scope"), "openid") || !asksPKCE(q) {
		http.Error(w, "invalid authorization request", http.StatusBadRequest)
		return
	}
	response := url.Values{"code": {p.grant("code-", q)}, "state": {q.Get("state")}, "iss": {p.URL},
		"session_state": {"yN3bqkT0a8rD5sWm2xQvJ7Lc"}}
	for name, values := range p.set.Response {
		response[name] = values // none of a nil value is encoded
	}
	redirect.RawQuery = response.Encode()
	http.Redirect(w, r, redirect.String(), http.StatusFound)
}

func (p *Provider) device(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isClient(r) {
		refuse(w, http.StatusUnauthorized, "invalid_client", "Invalid client or Invalid client credentials")
		return
	}
	if !asksPKCE(r.PostForm) {
		refuse(w, http.StatusBadRequest, "invalid_request", "Missing parameter: code_challenge_method")
		return
	}
	answer := Claims{
		"device_code": p.grant("device-", r.PostForm), "user_code": "WDJB-MJHT", "expires_in": p.set.CodeLives,
		"verification_uri": p.URL + "/device", "verification_uri_complete": p.URL + "/device?user_code=WDJB-MJHT",
	}
	if p.set.Interval != 0 {
		answer["interval"] = p.set.Interval
	}
	writeJSON(w, http.StatusOK, answer)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	grantType := r.PostFormValue("grant_type")
	p.counts[grantType]++
	if p.set.Status != 0 {
		w.WriteHeader(p.set.Status)
		return
	}
	if !p.isClient(r) {
		refuse(w, http.StatusUnauthorized, "invalid_client", "Invalid client or Invalid client credentials")
		return
	}
	thumbprint, ok := p.binding(w, r)
	if !ok {
		return
	}
	invalid := func(code, description string) { refuse(w, http.StatusBadRequest, code, description) }
	var nonce string
	var level Claims
	switch grantType {
	case "authorization_code":
		asked, ok := p.grants[r.PostFormValue("code")]
		delete(p.grants, r.PostFormValue("code"))
		if !ok || r.PostFormValue("redirect_uri") != asked.Get("redirect_uri") {
			invalid("invalid_grant", "Code not valid")
			return
		}
		if !p.provesPKCE(asked, r.PostForm) {
			invalid("invalid_grant", "PKCE verification failed: Code mismatch")
			return
		}
		if jkt := asked.Get("dpop_jkt"); jkt != "" && jkt != thumbprint { // RFC 9449, section 10
			invalid("invalid_grant", "DPoP proof key does not match dpop_jkt")
			return
		}
		nonce, level = asked.Get("nonce"), p.level(asked.Get("claims"))
	case "urn:ietf:params:oauth:grant-type:device_code":
		p.polls = append(p.polls, time.Now())
		if len(p.set.Device) > 0 {
			code := p.set.Device[0]
			p.set.Device = p.set.Device[1:]
			invalid(code, "")
			return
		}
		asked, ok := p.grants[r.PostFormValue("device_code")]
		if !ok || !p.provesPKCE(asked, r.PostForm) {
			invalid("invalid_grant", "PKCE verification failed: Code mismatch")
			return
		}
		delete(p.grants, r.PostFormValue("device_code"))
	case "refresh_token":
		old := r.PostFormValue("refresh_token")
		if p.set.Ended || !p.refresh[old] {
			clear(p.refresh) // as Keycloak ends the session when a refresh token is used again
			invalid("invalid_grant", "Session not active")
			return
		}
		if p.bound[old] != "" && p.bound[old] != thumbprint { // RFC 9449, section 5: of public clients
			invalid("invalid_dpop_proof", "DPoP proof and token binding verification failed")
			return
		}
		p.refresh[old] = false
	default:
		invalid("unsupported_grant_type", "Unsupported grant_type")
		return
	}

	tokenType, confirmation := "Bearer", any(nil)
	if thumbprint != "" {
		tokenType, confirmation = "DPoP", Claims{"jkt": thumbprint}
	}
	access := p.Token("RS256", Claims{
		"azp": p.ClientID, "jti": rand.Text(), "exp": p.Now().Unix() + int64(p.set.Lifetime), "typ": tokenType, "cnf": confirmation,
	}, level, p.set.Access)
	hash := sha256.Sum256([]byte(access))
	id := Claims{
		"typ": "ID", "aud": p.ClientID, "azp": p.ClientID, "realm_access": nil, "resource_access": nil, "allowed-origins": nil, "scope": nil,
		"at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]),
	}
	if nonce != "" {
		id["nonce"] = nonce
	}
	idToken, refresh := p.Token("RS256", id, level, p.set.ID), "refresh-"+rand.Text()
	p.access[access], p.refresh[refresh] = true, true
	p.bound[access], p.bound[refresh] = thumbprint, thumbprint
	p.sensitive = append(p.sensitive, access, idToken, refresh)
	answer := Claims{
		"access_token": access, "token_type": tokenType, "expires_in": p.set.Lifetime,
		"refresh_token": refresh, "refresh_expires_in": 1800, "id_token": idToken, "scope": "openid email profile",
	}
	answer.apply(p.set.Token)
	writeJSON(w, http.StatusOK, answer)
}

// level is what a sign-in says that reached the level which the parameter claims
// demands (OpenID Connect Core, section 5.5.1.1), as Keycloak does with the
// mapper for the session note loa-map.
func (p *Provider) level(claims string) Claims {
	var demand struct {
		ID struct {
			ACR struct {
				Essential bool     `json:"essential"`
				Values    []string `json:"values"`
			} `json:"acr"`
		} `json:"id_token"`
	}
	if json.Unmarshal([]byte(claims), &demand) != nil || !demand.ID.ACR.Essential || len(demand.ID.ACR.Values) != 1 {
		return nil
	}
	acr, now := demand.ID.ACR.Values[0], p.Now().Unix()
	return Claims{"acr": acr, "auth_time": now, "loa_map": fmt.Sprintf(`{"1":%d,%q:%d}`, now, acr, now)}
}

func (p *Provider) revoke(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	token := r.PostFormValue("token")
	if !p.isClient(r) || !p.refresh[token] {
		refuse(w, http.StatusBadRequest, "invalid_token", "")
		return
	}
	p.refresh[token] = false
	p.counts["revoke"]++
}

func (p *Provider) logout(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := r.ParseForm(); err != nil || r.Method != http.MethodPost || r.URL.RawQuery != "" {
		http.Error(w, "expected a form POST", http.StatusBadRequest)
		return
	}
	clear(p.refresh)
	http.Redirect(w, r, r.PostForm.Get("post_logout_redirect_uri"), http.StatusFound)
}

// isClient authenticates the client, a public one by its id alone.
func (p *Provider) isClient(r *http.Request) bool {
	if p.ClientSecret == "" {
		return r.PostFormValue("client_id") == p.ClientID
	}
	id, secret, _ := r.BasicAuth()
	return id == p.ClientID && secret == p.ClientSecret
}

// grant returns a code for what was asked for.
func (p *Provider) grant(prefix string, asked url.Values) (code string) {
	code = prefix + rand.Text()
	p.sensitive = append(p.sensitive, code)
	p.grants[code] = asked
	return code
}

func asksPKCE(v url.Values) bool {
	return v.Get("code_challenge") != "" && v.Get("code_challenge_method") == "S256"
}

func (p *Provider) provesPKCE(asked, proof url.Values) bool {
	verifier := proof.Get("code_verifier")
	p.sensitive = append(p.sensitive, verifier)
	hash := sha256.Sum256([]byte(verifier))
	return p.set.IgnoresPKCE || asked.Get("code_challenge") == base64.RawURLEncoding.EncodeToString(hash[:])
}

func refuse(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, Claims{"error": code, "error_description": description})
}
