package gateway

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/login"
	"keycloak-model-api/api/refusal"
)

// credential is what a request has proved about who sends it.
type credential struct {
	principal *bearer.Principal
	session   bool // of a browser
	dpop      bool // a token with a proof of possession

	// use takes up what works once, such as a proof of possession. Nothing may
	// be done for the principal before it has returned nil.
	use func() error
	// token returns the access token that stands for the principal.
	token func() string
	// introspect asks the issuer, and returns the principal as of this moment.
	introspect func(context.Context) (*bearer.Principal, error)
	// again returns the credential as of this moment, for a request that is under
	// way. An access token that has expired counts for a while, since it lives for
	// minutes and an answer may take longer. The error is a *refusal.Error.
	again func(context.Context) (*credential, error)
}

// An authenticator takes a credential of its kind out of a request. The error
// is a *refusal.Error; refusal.NoCredential if the request has none of this kind. It
// reads no body.
type authenticator func(*http.Request) (*credential, error)

// allAuthenticators returns all ways to prove who one is. A service key is looked for
// first, so that no parser of tokens sees one.
func (g *Gateway) allAuthenticators() []authenticator {
	if g.login == nil {
		return []authenticator{g.byServiceKey, g.byToken, g.byKeyHeader}
	}
	return []authenticator{g.byServiceKey, g.byToken, g.byKeyHeader, g.bySession}
}

// authenticate takes the one credential out of a request.
func (g *Gateway) authenticate(r *http.Request) (*credential, error) {
	if err := keyInQuery(r); err != nil {
		return nil, err
	}
	key, err := keyHeader(r)
	if err != nil {
		return nil, err
	}
	if (len(r.Header["Authorization"]) > 0 || key != "") && len(r.CookiesNamed(login.CookieName(g.options.PublicURL))) > 0 {
		return nil, refusal.New(refusal.SeveralCredentials, errors.New("both a header and the session cookie"))
	}
	var none error
	for _, authenticator := range g.authenticators {
		c, err := authenticator(r)
		var refused *refusal.Error
		if err == nil || !errors.As(err, &refused) || refused.Code != refusal.NoCredential {
			return c, err
		}
		if none == nil || refused.Cause != nil { // the one that has something to say
			none = err
		}
	}
	return nil, none
}

// byToken authenticates by an access token in the header Authorization.
func (g *Gateway) byToken(r *http.Request) (*credential, error) {
	principal, proof, err := g.verifier.Authenticate(r)
	if err != nil {
		return nil, err
	}
	c := &credential{
		principal: principal, dpop: proof != nil, use: proof.Use,
		token:      func() string { _, token, _ := g.verifier.Credential(r); return token },
		introspect: func(context.Context) (*bearer.Principal, error) { return g.verifier.Introspect(r) },
	}
	c.again = func(context.Context) (*credential, error) { return g.tokenAgain(c) }
	return c, nil
}

// tokenAgain is again for an access token.
func (g *Gateway) tokenAgain(c *credential) (*credential, error) {
	now, expiry := g.now(), c.principal.Expiry.Add(g.options.ClockSkew)
	switch {
	case now.After(expiry.Add(g.options.StreamGrace)):
		return nil, refusal.New(refusal.TokenExpired, errors.New("during the answer"))
	case now.After(expiry):
		// The issuer would say that it is not active.
		late := *c
		late.introspect = func(context.Context) (*bearer.Principal, error) { return c.principal, nil }
		c = &late
	}
	return c, g.verifier.Revoked(c.principal)
}

// keyHeaders are where clients of OpenAI, Anthropic and Azure send what they have
// been given as a key. It counts where a protocol for models owns the path.
var keyHeaders = []string{"X-Api-Key", "Api-Key"}

// keyHeader returns what the key headers of r hold; empty for nothing. Some
// clients send one credential in two places: what is the same is one. The error
// is a *refusal.Error.
func keyHeader(r *http.Request) (key string, err error) {
	if recordOf(r).protocol == nil {
		return "", nil
	}
	for _, name := range keyHeaders {
		for _, value := range r.Header[name] {
			switch {
			case value == "":
			case key == "":
				key = value
			case !same(key, value):
				return "", refusal.New(refusal.SeveralCredentials, errors.New("two keys in x-api-key and api-key"))
			}
		}
	}
	if values := r.Header["Authorization"]; key != "" && len(values) > 0 && values[0] != "" {
		_, token, _ := strings.Cut(values[0], " ")
		if !same(key, strings.TrimLeft(token, " ")) {
			return "", refusal.New(refusal.SeveralCredentials, errors.New("another credential in Authorization than in x-api-key or api-key"))
		}
	}
	return key, nil
}

// same compares in a time that tells nothing of where the two differ.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// keyInQuery refuses a key in the URL, where clients of other APIs send theirs: it
// may have been logged on the way.
func keyInQuery(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	for name := range r.URL.Query() {
		switch strings.ToLower(name) {
		case "key", "api-key", "api_key", "x-api-key":
			return refusal.New(refusal.TokenInQuery, errors.New("a key in the query"))
		}
	}
	return nil
}

// byKeyHeader authenticates by an access token in one of keyHeaders. A token that
// is bound to a key is refused there: it has no proof.
func (g *Gateway) byKeyHeader(r *http.Request) (*credential, error) {
	key, err := keyHeader(r)
	if err != nil {
		return nil, err
	}
	if key == "" {
		return nil, refusal.New(refusal.NoCredential, nil)
	}
	principal, err := g.verifier.Verify(r.Context(), key)
	if err != nil {
		return nil, err
	}
	c := &credential{
		principal: principal, use: func() error { return nil }, token: func() string { return key },
		introspect: func(ctx context.Context) (*bearer.Principal, error) { return g.verifier.IntrospectToken(ctx, key) },
	}
	c.again = func(context.Context) (*credential, error) { return g.tokenAgain(c) }
	return c, nil
}

// bySession authenticates by the cookie of a session that goes on. A proxy that
// asks can't do so for a browser: whether another site's page sent the request is
// told by headers that proxies drop.
func (g *Gateway) bySession(r *http.Request) (*credential, error) {
	if recordOf(r).asked {
		return nil, refusal.New(refusal.NoCredential, nil)
	}
	session, err := g.login.Session(r)
	var refused *refusal.Error
	if errors.As(err, &refused) && (refused.Code == refusal.NoSession || refused.Code == refusal.SessionEnded) {
		return nil, refusal.New(refusal.NoCredential, err)
	} else if err != nil {
		return nil, err
	}
	return g.ofSession(r, session), nil
}

// ofSession is the credential of a browser that signed in and sent r.
func (g *Gateway) ofSession(r *http.Request, s *login.Session) *credential {
	return &credential{
		principal: s.Principal, session: true, use: func() error { return nil }, introspect: s.Introspect, token: s.AccessToken,
		again: func(ctx context.Context) (*credential, error) { return g.bySession(r.WithContext(ctx)) },
	}
}
