// Package login signs people in with their browser: the authorization code
// flow of OpenID Connect with PKCE, and a session on the server that is the
// second way, beside a bearer token, to show a credential. It writes no page:
// what goes wrong is returned as a *refusal.Error.
package login

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/issuer"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/store"
)

// The names of the session cookie. A browser takes a `__Host-` cookie only
// with Secure and for exactly this host, so that no other host can set it. On
// plain http on loopback there is no such protection, as the name says.
const (
	hostSession     = "__Host-session"
	loopbackSession = "insecure-loopback-session"
)

// maxSessions is how many sessions a person can have. With one more, their
// oldest ends.
const maxSessions = 10

// Config says who signs people in, and for whom. All fields are required
// unless their comment says otherwise.
type Config struct {
	// Issuer is the exact issuer URL, one of the Verifier's.
	Issuer string

	// InternalURL is the issuer as this API reaches it. Default: Issuer.
	InternalURL string

	// ClientID and ClientSecret are of a confidential client whose redirect
	// URIs hold PublicURL + "/callback", and whose post-logout redirect URIs
	// hold PublicURL + "/".
	ClientID, ClientSecret string

	// PublicURL is this site as browsers see it: https, or http on loopback.
	// It may have a path, which requests come without.
	PublicURL string

	// Verifier accepts or refuses the access tokens.
	Verifier *bearer.Verifier

	// Idle ends a session after this time without a request. Lifetime ends it
	// whatever happens.
	Idle, Lifetime time.Duration

	// Store is what several replicas share. Default: none, and sessions are those of
	// this process.
	Store *store.Store

	// HTTPClient reaches the issuer. Default: http.DefaultTransport.
	HTTPClient *http.Client

	// Logger gets who signs in and out and what goes wrong in the background,
	// never a token or cookie.
	Logger *slog.Logger
}

// Login is the relying party. It is safe for concurrent use.
type Login struct {
	issuer      string
	publicURL   *url.URL
	secure      bool // cookies need https
	discovery   discovery
	idTokens    *oidc.IDTokenVerifier
	verifier    *bearer.Verifier
	sessions    *scs.SessionManager
	kept        sessionStore
	sealer      *store.Sealer // of sign-ins under way
	crossOrigin *http.CrossOriginProtection
	client      *http.Client
	logger      *slog.Logger
}

// New makes a Login. It asks the issuer nothing yet. The error lists all that
// is wrong with c.
func New(c Config) (*Login, error) {
	public, err := c.validate()
	if err != nil {
		return nil, err
	}
	var transport http.RoundTripper
	if c.HTTPClient != nil {
		transport = c.HTTPClient.Transport
	}
	asked := issuer.New(issuer.Config{URL: c.Issuer, InternalURL: c.InternalURL}, transport, askTimeout)
	l := &Login{
		issuer: c.Issuer, publicURL: public, secure: public.Scheme == "https",
		verifier: c.Verifier, client: asked.Client(), logger: c.Logger,
		discovery: discovery{
			issuer: asked,
			client: oauth2.Config{
				ClientID: c.ClientID, ClientSecret: c.ClientSecret,
				RedirectURL: public.JoinPath("/callback").String(), Scopes: []string{oidc.ScopeOpenID},
			},
		},
		idTokens: oidc.NewVerifier(c.Issuer, c.Verifier.KeySet(c.Issuer), &oidc.Config{
			ClientID: c.ClientID,
			SupportedSigningAlgs: []string{
				oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512,
				oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
			},
		}),
		crossOrigin: http.NewCrossOriginProtection(),
	}
	if err := l.crossOrigin.AddTrustedOrigin(public.Scheme + "://" + public.Host); err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	if c.Store != nil {
		l.kept, l.sealer = newShared(c.Store, c.Lifetime), c.Store.Sealer
	} else if l.sealer, err = store.RandomSealer(); err != nil {
		return nil, fmt.Errorf("login: %w", err)
	} else {
		l.kept = newMemory()
	}
	// Not scs.New, which starts a store of its own.
	l.sessions = &scs.SessionManager{IdleTimeout: c.Idle, Lifetime: c.Lifetime, Store: l.kept, Codec: scs.GobCodec{}}
	return l, nil
}

func (c *Config) validate() (public *url.URL, err error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("login: "+format, args...)) }
	if c.ClientID == "" || c.ClientSecret == "" {
		wrong("the client has no id or no secret: give the stack's outputs oidc_client_id and oidc_client_secret")
	}
	public, err = url.Parse(strings.TrimSuffix(c.PublicURL, "/"))
	switch {
	case err != nil || !plainHost.MatchString(public.Host) || !ownPath.MatchString("/"+strings.TrimPrefix(public.EscapedPath(), "/")) || public.RawQuery != "" || public.User != nil:
		wrong("public URL %q is not one such as https://api.example.com or https://example.com/models, of letters, digits and -._~", c.PublicURL)
	case public.Scheme != "https" && (public.Scheme != "http" || !loopback(public.Hostname())):
		wrong("public URL %q: session cookies need https, or http on loopback such as http://127.0.0.1:8000", c.PublicURL)
	}
	if c.Verifier == nil || c.Verifier.KeySet(c.Issuer) == nil {
		wrong("the verifier doesn't know issuer %q", c.Issuer)
	}
	if c.Idle <= 0 || c.Lifetime < c.Idle {
		wrong("idle time %v and lifetime %v: give positive times, the lifetime not the shorter", c.Idle, c.Lifetime)
	}
	return public, errors.Join(errs...)
}

var plainHost = regexp.MustCompile(`^[A-Za-z0-9.:\[\]-]+$`)

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// CookieName is the name of the session cookie of a site with a public URL.
func CookieName(publicURL string) string {
	if strings.HasPrefix(publicURL, "http://") {
		return loopbackSession + cookieSuffix(publicURL)
	}
	return hostSession + cookieSuffix(publicURL)
}

// cookieSuffix tells the cookies of two sites on one host apart: their names
// do, since a __Host- cookie has no other Path than "/". Who else is on the host
// shares our origin and could send our requests anyway, whatever the Path; the
// prefix keeps other hosts of the domain from setting our cookies.
func cookieSuffix(publicURL string) string {
	u, err := url.Parse(publicURL)
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(strings.TrimSuffix(u.Path, "/"), "/", "+") // which no path of ours has
}

// CookieName is the name of the session cookie.
func (l *Login) CookieName() string { return CookieName(l.PublicURL()) }

// loginCookieName is the name of the cookie that binds a sign-in to the
// browser that began it. It holds a random id, too.
func (l *Login) loginCookieName() string {
	name := "insecure-loopback-login"
	if l.secure {
		name = "__Host-login"
	}
	return name + cookieSuffix(l.PublicURL())
}

// setCookie sets a cookie for at most maxAge, for the time that the browser is
// open with 0, or deletes it with a negative one.
func (l *Login) setCookie(w http.ResponseWriter, name, value string, maxAge time.Duration) {
	cookie := &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(maxAge / time.Second),
		HttpOnly: true, Secure: l.secure, SameSite: http.SameSiteLaxMode,
	}
	if maxAge < 0 {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// Forget deletes the session cookie in the browser.
func (l *Login) Forget(w http.ResponseWriter) { l.setCookie(w, l.CookieName(), "", -1) }

// Begin answers GET /login: it sends the browser to the issuer. The parameter
// return_to is the path of ours to come back to. The error is a *refusal.Error.
func (l *Login) Begin(w http.ResponseWriter, r *http.Request) error {
	// The issuer leads back to the public URL, where the cookie of another name
	// for loopback would be missing. Elsewhere a proxy may change the Host.
	// Once, so that no proxy of that kind sends the browser round in circles.
	if !l.secure && r.Host != l.publicURL.Host && !r.URL.Query().Has("moved") {
		there := l.publicURL.JoinPath("/login")
		there.RawQuery = url.Values{"moved": {"1"}, "return_to": {returnPath(r.URL.Query().Get("return_to"))}}.Encode()
		http.Redirect(w, r, there.String(), http.StatusSeeOther)
		return nil
	}
	return l.send(w, r, pending{ReturnTo: returnPath(r.URL.Query().Get("return_to"))})
}

// StepUp sends the browser of a session to the issuer to sign in again, as
// refused asks for (RFC 9470), and from there to the path of ours. One of the
// classes acr satisfies it. Only the person of the session can come back. The
// error is a *refusal.Error.
func (l *Login) StepUp(w http.ResponseWriter, r *http.Request, s *Session, refused *refusal.Error, acr []string, path string) error {
	claims, err := json.Marshal(map[string]any{"id_token": map[string]any{
		"acr": map[string]any{"essential": true, "values": []string{refused.ACR}},
	}})
	if err != nil {
		return refusal.New(refusal.Internal, err, "The sign-in could not be begun.")
	}
	options := []oauth2.AuthCodeOption{
		oauth2.SetAuthURLParam("claims", string(claims)), // OpenID Connect Core, section 5.5.1.1
		oauth2.SetAuthURLParam("login_hint", s.Principal.Username),
	}
	if refused.MaxAge != "" {
		options = append(options, oauth2.SetAuthURLParam("max_age", refused.MaxAge))
	}
	return l.send(w, r, pending{ReturnTo: returnPath(path), Subject: s.Principal.Subject, ACR: acr}, options...)
}

// send sends the browser to the issuer for a sign-in, of which begun says what
// is special about it.
func (l *Login) send(w http.ResponseWriter, r *http.Request, begun pending, options ...oauth2.AuthCodeOption) error {
	p, err := l.discovery.get(r.Context())
	if err != nil {
		return err
	}
	browser := rand.Text()
	if cookies := r.CookiesNamed(l.loginCookieName()); len(cookies) == 1 && len(cookies[0].Value) == len(browser) {
		browser = cookies[0].Value // of a sign-in in another tab
	}
	begun.Verifier, begun.Nonce, begun.Begun = oauth2.GenerateVerifier(), rand.Text(), time.Now()
	if begun.Name, err = l.kept.add(r.Context()); err != nil {
		return refusal.New(refusal.StoreFailed, err)
	}
	state, err := seal(l.sealer, begun, browser)
	if err != nil {
		return refusal.New(refusal.StoreFailed, err)
	}
	l.setCookie(w, l.loginCookieName(), browser, pendingFor)
	options = append(options, oidc.Nonce(begun.Nonce), oauth2.S256ChallengeOption(begun.Verifier))
	http.Redirect(w, r, p.oauth.AuthCodeURL(state, options...), http.StatusSeeOther)
	return nil
}

// Callback answers GET /callback, where the issuer leads back to. The error is
// a *refusal.Error.
func (l *Login) Callback(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(query[name]) > 1 {
			return refusal.New(refusal.CallbackMalformed, errors.New("more than one "+name))
		}
	}

	begun, err := l.pendingOf(r)
	if failed := (*refusal.Error)(nil); errors.As(err, &failed) {
		return err
	} else if err != nil {
		// In another tab the person may have signed in meanwhile. Nothing of
		// this request is used.
		if _, err := l.Session(r); err == nil {
			http.Redirect(w, r, l.publicURL.Path+"/", http.StatusSeeOther)
			return nil
		}
		return refusal.New(refusal.StateMismatch, err)
	}
	p, err := l.discovery.get(r.Context())
	if err != nil {
		return err
	}
	// RFC 9207, section 2.4, for answers of both kinds.
	if iss := query.Get("iss"); iss != l.issuer && (p.sendsIss || query.Has("iss")) {
		return refusal.New(refusal.IssuerMismatch, fmt.Errorf("iss is %q", clip(iss)))
	}
	switch name := query.Get("error"); {
	case name == "access_denied":
		return refusal.New(refusal.AccessDenied, nil)
	case name == "unmet_authentication_requirements": // the specification of that name
		return refusal.New(refusal.LevelNotReached, errors.New("the issuer says so"))
	case name != "":
		return refusal.New(refusal.SignInFailed, fmt.Errorf("error is %q", clip(name)))
	case query.Get("code") == "":
		return refusal.New(refusal.CallbackMalformed, errors.New("no code"))
	}

	g, err := l.redeem(r.Context(), p, query.Get("code"), begun)
	if err != nil {
		return err
	}
	// The sign-in is used up: no other answer for it counts.
	l.setCookie(w, l.loginCookieName(), "", -1)
	if err := l.start(w, r, g); err != nil {
		return err
	}
	l.logger.InfoContext(r.Context(), "signed in", "subject", g.Subject, "session", g.SessionID)
	http.Redirect(w, r, l.publicURL.Path+begun.ReturnTo, http.StatusSeeOther)
	return nil
}

// pendingOf returns the sign-in that this browser began, once: however many
// callbacks come with one state, one of them reaches the issuer. It is a
// *refusal.Error if nobody can tell.
func (l *Login) pendingOf(r *http.Request) (p pending, err error) {
	cookies := r.CookiesNamed(l.loginCookieName())
	if len(cookies) != 1 {
		return p, fmt.Errorf("%d login cookies", len(cookies))
	}
	if p, err = open(l.sealer, r.URL.Query().Get("state"), cookies[0].Value, time.Now()); err != nil {
		return p, err
	}
	waiting, err := l.kept.take(r.Context(), p.Name)
	if err != nil {
		return p, refusal.New(refusal.StoreFailed, err)
	} else if !waiting {
		return p, errors.New("the state is used up")
	}
	return p, nil
}

// redeem exchanges the code for tokens and checks that they are the answer to
// this sign-in (OpenID Connect Core, section 3.1.3.7).
func (l *Login) redeem(ctx context.Context, p *provider, code string, begun pending) (*grant, error) {
	token, err := p.oauth.Exchange(l.withClient(ctx), code, oauth2.VerifierOption(begun.Verifier))
	if err != nil {
		return nil, tokenEndpointError(err, refusal.CodeRefused)
	}
	raw, _ := token.Extra("id_token").(string)
	id, claims, err := l.verifyIDToken(ctx, raw)
	if err != nil {
		return nil, err
	}
	switch {
	case id.Nonce != begun.Nonce:
		return nil, refusal.New(refusal.IDTokenRefused, errors.New("the nonce is not of this sign-in"))
	case claims.AuthorizedParty != "" && claims.AuthorizedParty != p.oauth.ClientID, claims.AuthorizedParty == "" && len(id.Audience) > 1:
		return nil, refusal.New(refusal.IDTokenRefused, fmt.Errorf("azp is %q", clip(claims.AuthorizedParty)))
	case begun.Subject != "" && id.Subject != begun.Subject:
		return nil, refusal.New(refusal.OtherPerson, nil)
	case begun.ACR != nil && !slices.Contains(begun.ACR, claims.ACR):
		return nil, refusal.New(refusal.LevelNotReached, fmt.Errorf("acr is %q, asked for %q", clip(claims.ACR), begun.ACR))
	case id.AccessTokenHash != "" && id.VerifyAccessToken(token.AccessToken) != nil:
		return nil, refusal.New(refusal.IDTokenRefused, errors.New("at_hash is not of the access token"))
	}
	principal, err := l.verify(ctx, token.AccessToken)
	if refused := (*bearer.Error)(nil); errors.As(err, &refused) && refused.Retry() {
		return nil, refused // it was not judged: the person can try again
	} else if err != nil {
		return nil, refusal.New(refusal.TokenRefused, err)
	}
	if principal.Subject != id.Subject || principal.Issuer != l.issuer {
		return nil, refusal.New(refusal.TokenRefused, errors.New("the access token and the ID token are not of the same subject"))
	}
	name := claims.Name
	if name == "" {
		name = principal.Username
	}
	return &grant{
		AccessToken: token.AccessToken, RefreshToken: token.RefreshToken, IDToken: raw, Expiry: token.Expiry,
		Subject: id.Subject, SessionID: claims.SessionID, Name: name, Begun: principal.IssuedAt,
		SteppedUp: begun.steppedUp(),
	}, nil
}

// idClaims are the claims of an ID token that decide something (OpenID Connect
// Core, section 2). Of those without a type, only the names matter: go-oidc,
// which checks them, takes other cases for them.
type idClaims struct {
	Issuer          any    `json:"iss"`
	Subject         any    `json:"sub"`
	Audience        any    `json:"aud"`
	Expiry          any    `json:"exp"`
	NotBefore       any    `json:"nbf"`
	IssuedAt        any    `json:"iat"`
	Nonce           any    `json:"nonce"`
	AccessTokenHash any    `json:"at_hash"`
	AuthorizedParty string `json:"azp"`
	SessionID       string `json:"sid"`
	Name            string `json:"name"`
	ACR             string `json:"acr"`
}

// verifyIDToken checks an ID token. The error is a *refusal.Error, refusal.IssuerUnavailable if
// its key can't be had.
func (l *Login) verifyIDToken(ctx context.Context, raw string) (*oidc.IDToken, *idClaims, error) {
	// The signature by itself first: of this error go-oidc keeps only the text.
	payload, err := l.verifier.KeySet(l.issuer).VerifySignature(ctx, raw)
	if refused := (*bearer.Error)(nil); errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable {
		return nil, nil, refusal.New(refusal.IssuerUnavailable, err)
	}
	claims := &idClaims{}
	if err == nil {
		err = issuer.Decode(payload, claims)
	}
	if err != nil {
		return nil, nil, refusal.New(refusal.IDTokenRefused, err)
	}
	id, err := l.idTokens.Verify(ctx, raw)
	if err != nil {
		return nil, nil, refusal.New(refusal.IDTokenRefused, err)
	}
	return id, claims, nil
}

// start makes a session with an id that nobody can have known before, and ends
// the one that the browser had.
func (l *Login) start(w http.ResponseWriter, r *http.Request, g *grant) error {
	for _, before := range r.CookiesNamed(l.CookieName()) {
		if _, err := l.drop(r.Context(), before.Value); err != nil {
			var failed *refusal.Error
			if !errors.As(err, &failed) || failed.Code != refusal.SessionEnded {
				return err
			}
		}
	}
	ctx, err := l.sessions.Load(r.Context(), "") // a new one, whose id store makes
	if err != nil {
		return refusal.New(refusal.StoreFailed, err)
	}
	if err := l.store(ctx, g); err != nil {
		return err
	}
	l.setCookie(w, l.CookieName(), l.sessions.Token(ctx), 0)
	oldest, err := l.kept.oldest(r.Context(), g.Subject, maxSessions)
	if err != nil {
		return refusal.New(refusal.StoreFailed, err)
	}
	for _, id := range oldest {
		if _, err := l.drop(r.Context(), id); err != nil {
			var failed *refusal.Error
			if !errors.As(err, &failed) || failed.Code != refusal.SessionEnded {
				return err
			}
		}
		l.logger.InfoContext(r.Context(), "oldest session ended", "subject", g.Subject, "kept", maxSessions)
	}
	return nil
}

// Farewell is the request that ends the session at the issuer too, to be sent
// by the browser as a form POST (OpenID Connect RP-Initiated Logout 1.0,
// section 2).
type Farewell struct {
	URL                   string // end_session_endpoint
	IDTokenHint           string
	ClientID              string
	PostLogoutRedirectURI string
}

// Logout answers POST /logout: it ends the session and returns what the
// browser sends to the issuer, or nil where there is nothing to end. The
// caller writes the answer. The error is a *refusal.Error.
func (l *Login) Logout(w http.ResponseWriter, r *http.Request) (*Farewell, error) {
	if err := l.crossOrigin.Check(r); err != nil {
		return nil, refusal.New(refusal.CrossOrigin, err)
	}
	var ended *grant
	for _, cookie := range r.CookiesNamed(l.CookieName()) {
		g, err := l.drop(r.Context(), cookie.Value)
		var failed *refusal.Error
		if errors.As(err, &failed) && failed.Code != refusal.SessionEnded {
			return nil, err
		}
		if g != nil {
			ended = g
			l.logger.InfoContext(r.Context(), "signed out", "subject", g.Subject, "session", g.SessionID)
		}
	}
	l.Forget(w)
	p := l.discovery.found.Load()
	if ended == nil || p == nil || p.endSession == "" {
		return nil, nil
	}
	return &Farewell{URL: p.endSession, IDTokenHint: ended.IDToken, ClientID: p.oauth.ClientID, PostLogoutRedirectURI: l.PublicURL() + "/"}, nil
}

// IssuerOrigin is the scheme and host of the issuer, where forms may lead.
func (l *Login) IssuerOrigin() string {
	u, err := url.Parse(l.issuer)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// PublicURL is this site as browsers see it, without a slash at the end.
func (l *Login) PublicURL() string { return l.publicURL.String() }

// Path is the path of PublicURL, such as /models; empty where it has none. Links
// begin with it, requests come without it.
func (l *Login) Path() string { return l.publicURL.Path }

// withClient makes x/oauth2 use our HTTP client.
func (l *Login) withClient(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, l.client)
}

// clip shortens text from outside for the log.
func clip(s string) string { return s[:min(len(s), 60)] }
