package login

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/refusal"
)

// Session is a signed-in browser.
type Session struct {
	Principal *bearer.Principal
	Name      string        // for people to read: full name, otherwise username
	Ends      time.Time     // when it ends whatever happens
	Idle      time.Duration // it ends sooner after this time without a request

	steppedUp   steppedUp
	accessToken string
	verifier    *bearer.Verifier
}

// AccessToken returns the token that Principal was made of, for the issuer alone.
func (s *Session) AccessToken() string { return s.accessToken }

// grant is what a session holds on the server.
type grant struct {
	AccessToken  string    `json:"access_token"`
	RefreshToken string    `json:"refresh_token"` // empty if the issuer gave none
	IDToken      string    `json:"id_token"`      // the hint at logout
	Expiry       time.Time `json:"expiry"`        // of the access token

	Subject   string    `json:"sub"`
	SessionID string    `json:"sid"` // at the issuer
	Name      string    `json:"name"`
	Begun     time.Time `json:"begun"` // by the issuer's clock
	SteppedUp steppedUp `json:"stepped_up,omitzero"`
	RetryAt   time.Time `json:"retry_at"` // no refresh before, after one that the issuer did not answer

	// By our clock, for replicas that share sessions.
	Began time.Time `json:"session_began"`
	Used  time.Time `json:"session_used"`
}

// steppedUp says that a session began by a step-up.
type steppedUp struct {
	For string    `json:"for"` // the path that it was for
	At  time.Time `json:"at"`
}

// stepUpOnce is for how long another step-up would bring what the last one did.
const stepUpOnce = time.Minute

// SteppedUp says whether the person has just come back from a step-up for a path
// of ours. What is refused all the same is not helped by another one.
func (s *Session) SteppedUp(path string) bool {
	return s.steppedUp.For == path && time.Since(s.steppedUp.At) < stepUpOnce
}

// grantKey is the one value of a session in the store.
const grantKey = "grant"

const (
	// refreshAhead is how long before its expiry an access token is replaced.
	refreshAhead = 30 * time.Second
	// refreshRetry is how long an issuer that did not answer is left alone.
	refreshRetry = 5 * time.Second
)

// Session returns the session that r's cookie names, with a token that this
// API accepts now: it is refreshed before it expires, and verified each time,
// so that a revocation ends the session. The error is a *refusal.Error; refusal.NoSession
// means that r has no session cookie. It reads no body.
func (l *Login) Session(r *http.Request) (*Session, error) {
	cookies := r.CookiesNamed(l.CookieName())
	if len(cookies) == 0 {
		return nil, refusal.New(refusal.NoSession, nil)
	}
	if len(cookies) > 1 {
		return nil, refusal.New(refusal.SeveralSessions, nil)
	}
	if err := l.crossOrigin.Check(r); err != nil {
		return nil, refusal.New(refusal.CrossOrigin, err)
	}

	// A refresh token works once, and a session that ended must not be stored
	// again: one request at a time for each session, which is short unless it
	// refreshes.
	id := cookies[0].Value
	unlock, err := l.kept.lock(r.Context(), id)
	if err != nil {
		return nil, refusal.New(refusal.StoreFailed, err)
	}
	defer unlock()

	ctx, g, err := l.load(r.Context(), id)
	if err != nil {
		return nil, err
	}
	if err := l.renew(ctx, id, g); err != nil {
		return nil, err
	}
	principal, err := l.verify(ctx, g.AccessToken)
	switch refused := (*bearer.Error)(nil); {
	case errors.As(err, &refused) && (refused.Status == http.StatusServiceUnavailable || refused.Code == bearer.LogoutJustNow || refused.Code == bearer.TokenExpired && !g.RetryAt.IsZero()):
		// The issuer may be back soon, and the session with it. What a refresh
		// brought is kept: the refresh token from before is spent.
		if err := l.store(ctx, g); err != nil {
			return nil, err
		}
		return nil, refusal.New(refusal.IssuerUnavailable, err)
	case err != nil:
		return nil, l.end(ctx, err)
	case principal.Subject != g.Subject:
		return nil, l.end(ctx, errors.New("the access token is of another subject"))
	}
	if err := l.store(ctx, g); err != nil {
		return nil, err
	}
	return &Session{Principal: principal, Name: g.Name, Ends: l.sessions.Deadline(ctx), Idle: l.sessions.IdleTimeout, steppedUp: g.SteppedUp, accessToken: g.AccessToken, verifier: l.verifier}, nil
}

// renew refreshes the access token of g where it is time to. After a step of the
// clock or a suspend nobody knows how old the session is, so that only the
// issuer's word counts. The error is a *refusal.Error.
func (l *Login) renew(ctx context.Context, id string, g *grant) error {
	now, unsure := time.Now(), l.kept.stepped(id, g)
	if unsure && g.RefreshToken == "" {
		return l.end(ctx, errors.New("the clock stepped or the machine was suspended, and there is no refresh token"))
	}
	if g.RefreshToken == "" || g.Expiry.Sub(now) >= refreshAhead && !unsure {
		return nil
	}
	var err error
	if wait := g.RetryAt.Sub(now); wait > 0 && wait <= refreshRetry { // not set before the clock was set back
		err = refusal.New(refusal.IssuerUnavailable, errors.New("it did not answer just now"))
	} else if err = l.refresh(ctx, g); err == nil {
		return nil
	} else if failed := (*refusal.Error)(nil); !errors.As(err, &failed) || failed.Code != refusal.IssuerUnavailable {
		return l.end(ctx, err)
	} else {
		l.logger.WarnContext(ctx, "access token not refreshed", "err", err)
		g.RetryAt = now.Add(refreshRetry)
	}
	if !unsure {
		return nil // the token from before works until it expires
	}
	if _, _, failed := l.save(ctx, g); failed != nil {
		return failed
	}
	return err
}

// verify checks an access token, once more after a second if it is of the very
// second in which its user signed out elsewhere: see bearer.LogoutJustNow.
func (l *Login) verify(ctx context.Context, token string) (*bearer.Principal, error) {
	principal, err := l.verifier.Verify(ctx, token)
	if refused := (*bearer.Error)(nil); !errors.As(err, &refused) || refused.Code != bearer.LogoutJustNow {
		return principal, err
	}
	select {
	case <-time.After(time.Second):
		return l.verifier.Verify(ctx, token)
	case <-ctx.Done():
		return nil, err
	}
}

// Introspect asks the issuer about the session's access token, and returns its
// principal as of this moment. The error is a *refusal.Error.
func (s *Session) Introspect(ctx context.Context) (*bearer.Principal, error) {
	return s.verifier.IntrospectToken(ctx, s.accessToken)
}

// load returns the grant of a session, and a context for the store.
func (l *Login) load(ctx context.Context, id string) (context.Context, *grant, error) {
	ctx, err := l.sessions.Load(ctx, id)
	if err != nil {
		return nil, nil, refusal.New(refusal.StoreFailed, err)
	}
	g := &grant{}
	data := l.sessions.GetBytes(ctx, grantKey)
	if data == nil {
		return nil, nil, refusal.New(refusal.SessionEnded, nil)
	}
	if err := json.Unmarshal(data, g); err != nil {
		return nil, nil, refusal.New(refusal.StoreFailed, err)
	}
	if l.kept.tooOld(id, g, l.sessions.IdleTimeout, l.sessions.Lifetime) {
		return nil, nil, l.end(ctx, errors.New("older than it may be"))
	}
	return ctx, g, nil
}

// store keeps g and begins the idle time again.
func (l *Login) store(ctx context.Context, g *grant) error {
	fresh := l.sessions.Token(ctx) == ""
	g.Used = time.Now()
	if fresh {
		g.Began = g.Used
		ctx = context.WithValue(ctx, freshKey{}, true)
	}
	id, expires, err := l.save(ctx, g)
	if err != nil {
		return err
	}
	if there, err := l.kept.index(ctx, id, g, expires, fresh); err != nil {
		return refusal.New(refusal.StoreFailed, err)
	} else if !there {
		return l.end(ctx, errors.New("it expired during the request"))
	}
	return nil
}

// save keeps g. The error is a *refusal.Error.
func (l *Login) save(ctx context.Context, g *grant) (id string, expires time.Time, err error) {
	data, err := json.Marshal(g)
	if err == nil {
		l.sessions.Put(ctx, grantKey, data)
		id, expires, err = l.sessions.Commit(ctx)
	}
	if errors.Is(err, errEnded) {
		return "", time.Time{}, refusal.New(refusal.SessionEnded, err)
	} else if err != nil {
		return "", time.Time{}, refusal.New(refusal.StoreFailed, err)
	}
	return id, expires, nil
}

// end deletes the session of ctx and says why.
func (l *Login) end(ctx context.Context, cause error) error {
	if err := l.sessions.Destroy(ctx); err != nil {
		return refusal.New(refusal.StoreFailed, err)
	}
	return refusal.New(refusal.SessionEnded, cause)
}

// refresh replaces the tokens of g, which may have changed after an error, too.
func (l *Login) refresh(ctx context.Context, g *grant) error {
	p, err := l.discovery.get(ctx)
	if err != nil {
		return err
	}
	// Not cancelled with the request: what the issuer gives in exchange for a
	// refresh token that works once must not be lost.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	token, err := p.oauth.TokenSource(l.withClient(ctx), &oauth2.Token{RefreshToken: g.RefreshToken}).Token()
	if err != nil {
		return tokenEndpointError(err, refusal.SessionEnded)
	}
	g.AccessToken, g.RefreshToken, g.Expiry, g.RetryAt = token.AccessToken, token.RefreshToken, token.Expiry, time.Time{}
	if raw, ok := token.Extra("id_token").(string); ok {
		id, _, err := l.verifyIDToken(ctx, raw)
		if err != nil {
			return err
		}
		if id.Subject != g.Subject { // OpenID Connect Core, section 12.2
			return refusal.New(refusal.IDTokenRefused, errors.New("the refreshed ID token is of another subject"))
		}
		g.IDToken = raw
	}
	return nil
}

// tokenEndpointError tells an issuer that refused, which has the given code,
// from one that did not answer. It leaves out what the issuer wrote, apart
// from the error's name.
func tokenEndpointError(err error, refused refusal.Code) *refusal.Error {
	var answer *oauth2.RetrieveError
	if errors.As(err, &answer) && answer.Response.StatusCode >= 400 && answer.Response.StatusCode < 500 && answer.Response.StatusCode != http.StatusTooManyRequests {
		return refusal.New(refused, errors.New("token endpoint: "+answer.Response.Status+" "+clip(answer.ErrorCode)))
	} else if answer != nil {
		return refusal.New(refusal.IssuerUnavailable, errors.New("token endpoint: "+answer.Response.Status))
	}
	return refusal.New(refusal.IssuerUnavailable, err)
}

// EndSession ends at once what the issuer says has ended (OpenID Connect
// Back-Channel Logout 1.0, section 2.6): the session sid, or without one all
// sessions of the subject. Sessions that began after issuedBefore stay. It
// returns how many ended.
func (l *Login) EndSession(ctx context.Context, sid, sub string, issuedBefore time.Time) (ended int, err error) {
	matches := func(g *grant) bool {
		return (sid != "" || sub != "") && (sid == "" || g.SessionID == sid) && (sub == "" || g.Subject == sub) && !g.Begun.After(issuedBefore)
	}
	ids, err := l.kept.find(ctx, sid, sub)
	if err != nil {
		return 0, refusal.New(refusal.StoreFailed, err)
	}
	for _, id := range ids {
		_, g, err := l.load(ctx, id)
		if err == nil && !matches(g) {
			continue
		} else if err == nil {
			_, err = l.drop(ctx, id)
		}
		var failed *refusal.Error
		if errors.As(err, &failed) && failed.Code == refusal.SessionEnded {
			continue // by itself, meanwhile
		} else if err != nil {
			return ended, err
		}
		ended++
	}
	return ended, nil
}

// drop deletes a session and returns what it held.
func (l *Login) drop(ctx context.Context, id string) (*grant, error) {
	unlock, err := l.kept.lock(ctx, id)
	if err != nil {
		return nil, refusal.New(refusal.StoreFailed, err)
	}
	defer unlock()
	ctx, g, err := l.load(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := l.sessions.Destroy(ctx); err != nil {
		return nil, refusal.New(refusal.StoreFailed, err)
	}
	return g, nil
}

// locks holds one lock for each session that is in use.
type locks struct {
	mu   sync.Mutex
	held map[string]*sessionLock
}

type sessionLock struct {
	free  chan struct{} // holds one value while nobody has the lock
	users int           // who have it or wait for it
}

// lock waits for the lock of id until ctx ends.
func (l *locks) lock(ctx context.Context, id string) (unlock func(), err error) {
	l.mu.Lock()
	s := l.held[id]
	if s == nil {
		s = &sessionLock{free: make(chan struct{}, 1)}
		s.free <- struct{}{}
		l.held[id] = s
	}
	s.users++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(l.held, id)
		}
	}
	select {
	case <-s.free:
		return func() { s.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
