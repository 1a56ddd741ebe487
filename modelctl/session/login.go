package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/oauth2"

	"keycloak-model-api/internal/look"
)

// browserTimeout is how long a person has to sign in by the browser. (A device
// code brings its own end.)
const browserTimeout = 10 * time.Minute

// LoginDevice signs in by the device authorization grant (RFC 8628) with PKCE.
// s names the API, the issuer and the client; prompt shows the person where to
// go and what to type.
func (m *Manager) LoginDevice(ctx context.Context, s Session, prompt func(uri, completeURI, code string)) (*Session, error) {
	p, err := m.discover(ctx, s.Issuer, s.ClientID)
	if err != nil {
		return nil, err
	}
	if p.oauth.Endpoint.DeviceAuthURL == "" {
		return nil, errors.New("session: the issuer has no device authorization grant: sign in without -device")
	}
	key, err := m.newKey(p)
	if err != nil {
		return nil, err
	}
	ctx = p.proving(ctx, key)
	verifier := oauth2.GenerateVerifier()
	da, err := p.oauth.DeviceAuth(ctx, oauth2.S256ChallengeOption(verifier))
	if err != nil {
		return nil, fmt.Errorf("session: asking for a device code: %w", describe(err))
	}
	da.Interval = min(max(da.Interval, 0), 3600) // x/oauth2 panics at what is no time to wait; 0 is its default
	prompt(da.VerificationURI, da.VerificationURIComplete, da.UserCode)
	tok, err := p.oauth.DeviceAccessToken(ctx, da, oauth2.VerifierOption(verifier))
	e, _ := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case e != nil && e.ErrorCode == "expired_token", errors.Is(err, context.DeadlineExceeded) && !time.Now().Before(da.Expiry):
		return nil, errors.New("session: the code has expired: run modelctl login -device again")
	case e != nil && e.ErrorCode == "access_denied":
		return nil, errors.New("session: the sign-in was refused on the other device")
	case err != nil:
		return nil, fmt.Errorf("session: signing in: %w", describe(err))
	}
	return m.finish(ctx, p, s, tok, key, "", nil)
}

// LoginBrowser signs in by the authorization code flow with PKCE and a redirect
// to a port of this computer (RFC 8252). s names the API, the issuer and the
// client; open shows the URL to the person's browser.
func (m *Manager) LoginBrowser(ctx context.Context, s Session, open func(authURL string)) (*Session, error) {
	return m.loginBrowser(ctx, s, nil, open)
}

func (m *Manager) loginBrowser(ctx context.Context, s Session, up *StepUp, open func(authURL string)) (*Session, error) {
	p, err := m.discover(ctx, s.Issuer, s.ClientID)
	if err != nil {
		return nil, err
	}
	key, err := m.newKey(p)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("session: opening a port for the browser's answer: %w", err)
	}
	p.oauth.RedirectURL = "http://" + listener.Addr().String() + "/callback"
	ctx, cancel := context.WithTimeout(p.proving(ctx, key), browserTimeout)
	defer cancel()

	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	cb := &callback{host: listener.Addr().String(), state: state, done: make(chan outcome, 1)}
	cb.finish = func(q url.Values) (*Session, error) {
		code, err := p.checkAuthorizationResponse(q, s.Issuer)
		if err != nil {
			return nil, err
		}
		tok, err := p.oauth.Exchange(ctx, code, oauth2.VerifierOption(verifier))
		if err != nil {
			return nil, fmt.Errorf("session: exchanging the authorization code: %w", describe(err))
		}
		return m.finish(ctx, p, s, tok, key, nonce, up)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /callback", cb)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends by Shutdown
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second) // lets the page reach the browser
		defer cancel()
		_ = server.Shutdown(ctx)
	}()

	options := []oauth2.AuthCodeOption{oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)}
	if key != nil { // binds the code, too (RFC 9449 section 10)
		options = append(options, oauth2.SetAuthURLParam("dpop_jkt", key.thumbprint))
	}
	if up != nil {
		options = append(options, up.options(s.Username)...)
	}
	open(p.oauth.AuthCodeURL(state, options...))
	select {
	case o := <-cb.done:
		return o.session, o.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("session: nobody signed in within %s: run modelctl login again", browserTimeout)
		}
		return nil, context.Cause(ctx)
	}
}

// callback takes the browser's answer, once. An answer with another state is
// refused and changes nothing, so that no web page can end the sign-in.
type callback struct {
	host   string // host and port that the browser must ask for
	state  string
	finish func(url.Values) (*Session, error)
	taken  atomic.Bool
	done   chan outcome
}

type outcome struct {
	session *Session
	err     error
}

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	state := q["state"]
	switch {
	case r.Host != c.host: // a name that was made to point here (DNS rebinding)
		page(w, http.StatusBadRequest, "Wrong address", "This page answers only at the address that the sign-in named.")
	case len(state) != 1 || subtle.ConstantTimeCompare([]byte(state[0]), []byte(c.state)) != 1:
		page(w, http.StatusBadRequest, "Not this sign-in",
			"This answer does not belong to the sign-in that is waiting in the terminal. Start again from there.")
	case !c.taken.CompareAndSwap(false, true):
		page(w, http.StatusGone, "Used already", "This answer was used before. The terminal says what came of it.")
	default:
		s, err := c.finish(q)
		if err != nil {
			page(w, http.StatusBadRequest, "Sign-in failed", "The terminal says why. You may close this page.")
		} else {
			page(w, http.StatusOK, "Signed in", "You may close this page and go back to the terminal.")
		}
		c.done <- outcome{s, err}
	}
}

// page writes a small page of fixed text in the look of the playground:
// nothing of the request is in it.
func page(w http.ResponseWriter, status int, title, text string) {
	style := sha256.Sum256([]byte(look.Style))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; frame-ancestors 'none'; base-uri 'none'",
		base64.StdEncoding.EncodeToString(style[:])))
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%[1]s – modelctl</title>
<style>%[3]s</style>
</head>
<body>
<header class="top"><span class="brand">modelctl</span></header>
<main class="message"><h1>%[1]s</h1><p>%[2]s</p></main>
</body>
</html>
`, title, text, look.Style)
}

// checkAuthorizationResponse returns the code of a response whose state is
// right. The issuer comes first: the error of another issuer says nothing
// (RFC 9207 section 2.4).
func (p *provider) checkAuthorizationResponse(q url.Values, issuer string) (code string, err error) {
	for _, name := range []string{"iss", "code", "error"} {
		if len(q[name]) > 1 { // RFC 6749 section 3.1
			return "", fmt.Errorf("session: the authorization response repeats %s", name)
		}
	}
	if iss := q.Get("iss"); (p.sendsIss || q.Has("iss")) && iss != issuer {
		return "", fmt.Errorf("session: the authorization response comes from the issuer %q, expected %q: "+
			"somebody may be mixing up sign-ins", iss, issuer)
	}
	switch e := q.Get("error"); {
	case e == "access_denied":
		return "", errors.New("session: the sign-in was refused")
	case e != "":
		return "", fmt.Errorf("session: the issuer refuses the sign-in: %s (%s)", e, q.Get("error_description"))
	case q.Get("code") == "":
		return "", errors.New("session: the authorization response has no code")
	}
	return q.Get("code"), nil
}

// newKey makes the key for a sign-in, nil for one with bearer tokens.
func (m *Manager) newKey(p *provider) (*proofKey, error) {
	if m.Bearer {
		return nil, nil
	}
	if !slices.Contains(p.proofAlgorithms, string(proofAlgorithm)) {
		return nil, fmt.Errorf("session: the issuer can't bind tokens to a key (DPoP with %s): "+
			"where bearer tokens will do, modelctl login -bearer", proofAlgorithm)
	}
	return newProofKey()
}

// finish verifies the ID token and stores the session in place of the one
// before. key is nil for bearer tokens, nonce is empty in a flow that has none,
// up is nil for a sign-in that is no step-up.
func (m *Manager) finish(ctx context.Context, p *provider, s Session, tok *oauth2.Token, key *proofKey, nonce string, up *StepUp) (*Session, error) {
	raw, _ := tok.Extra("id_token").(string)
	if raw == "" {
		return nil, errors.New("session: the issuer gives no ID token: allow the scope openid to the client")
	}
	id, err := p.oidc.VerifierContext(ctx, &oidc.Config{ClientID: s.ClientID}).Verify(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("session: the ID token: %w", err)
	}
	if nonce != "" && subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1 {
		return nil, errors.New("session: the ID token belongs to another sign-in (nonce)")
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(tok.AccessToken); err != nil {
			return nil, fmt.Errorf("session: the ID token belongs to another access token: %w", err)
		}
	}
	var claims jsontext.Value
	if err := id.Claims(&claims); err != nil {
		return nil, fmt.Errorf("session: the claims of the ID token: %w", err)
	}
	before := s.Subject
	s.Person = Person{}
	if err := json.Unmarshal(claims, &s.Person); err != nil {
		return nil, fmt.Errorf("session: the claims of the ID token: %w", err)
	}
	if err := up.check(claims, before, s.Subject); err != nil {
		return nil, err
	}
	t, err := newTokens(tok, key)
	if err != nil {
		return nil, err
	}
	if key != nil {
		s.Thumbprint = key.thumbprint
	}

	unlock, err := m.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// The old tokens go, the new session comes, then its tokens: whenever this
	// ends early, no tokens are with a session that they don't belong to.
	if before, err := m.Session(); err == nil && *before != s {
		if err := m.forget(ctx, before); err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(s, jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	if err := writeFile(m.path("session.json"), data); err != nil {
		return nil, err
	}
	file, err := m.save(ctx, &s, t)
	if err != nil {
		return nil, err
	}
	if file != "" {
		m.Notice("This system has no keyring that works: the tokens are in " + file + ", which only you may read (mode 0600).")
	}
	return &s, nil
}
