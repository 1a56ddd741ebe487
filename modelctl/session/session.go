// Package session keeps one person's sign-in at an OpenID provider on this
// computer: it signs in, stores the tokens, hands out access tokens that live,
// and signs out.
//
// A session belongs to one API. Its tokens are never given out for another.
package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gofrs/flock"
	"golang.org/x/oauth2"
)

var (
	// ErrSignedOut says that there is no session, or that the issuer has ended it.
	ErrSignedOut = errors.New("not signed in")
	// ErrUnavailable says that the issuer can't be reached or answers with a 5xx.
	ErrUnavailable = errors.New("the issuer is not available")
)

const (
	// skew is how long an access token must still live to be handed out: time
	// for the call that it is for, and for clocks that differ.
	skew = 30 * time.Second
	// refreshTimeout bounds one refresh, which no Ctrl-C interrupts.
	refreshTimeout = time.Minute
)

// Session says who is signed in, and where. It holds no secret.
type Session struct {
	API      string `json:"api"`      // URL of the API that the tokens are for
	Issuer   string `json:"issuer"`   // issuer URL, exactly as in the iss claim
	ClientID string `json:"clientId"` // public client that the person signed in through

	// Thumbprint is of the key that the tokens are bound to (RFC 9449), one for
	// each sign-in. Empty: bearer tokens, which other programs can use, too.
	Thumbprint string `json:"jkt,omitempty"`

	Person
}

// Person is who signed in, from the verified ID token.
type Person struct {
	Subject  string `json:"sub"`
	Username string `json:"preferred_username,omitempty"`
	Name     string `json:"name,omitempty"`
	Email    string `json:"email,omitempty"`
}

// Access is an access token that lives for at least half a minute, unless the
// issuer's tokens live shorter than that.
type Access struct {
	Session        *Session // that the token belongs to
	Token          string
	SessionExpires time.Time // end of the session if nothing is called until then; zero when the issuer does not say

	key *proofKey // that the token is bound to; nil for a bearer token
}

// Manager keeps the session in a folder, and its tokens in the system's keyring
// or in that folder.
type Manager struct {
	Dir     string       // folder of the session, made with mode 0700 when missing
	Keyring bool         // try the system's keyring first
	Bearer  bool         // sign in for bearer tokens, which are bound to no key
	HTTP    *http.Client // speaks to the issuer; see NewHTTP
	Notice  func(string) // takes what the person should know
}

// Session returns the session, or ErrSignedOut.
func (m *Manager) Session() (*Session, error) {
	data, err := os.ReadFile(m.path("session.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrSignedOut
	}
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	var s Session
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("session: %s is damaged, sign in again: %w", m.path("session.json"), err)
	}
	return &s, nil
}

// Access returns an access token, refreshed when needed. Of several processes
// one refreshes and the others wait for its result. The error is ErrSignedOut
// when the session has ended and ErrUnavailable when the issuer can't tell.
func (m *Manager) Access(ctx context.Context) (*Access, error) {
	s, t, err := m.current(ctx)
	if err != nil {
		return nil, err
	}
	if t.fresh() {
		return t.access(s)
	}
	unlock, err := m.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, t, err = m.current(ctx) // again: another process may have refreshed, or signed out, meanwhile
	if err != nil {
		return nil, err
	}
	if t.fresh() {
		return t.access(s)
	}
	// With rotation the old refresh token is spent once the issuer has answered.
	// Whatever the person does, that answer is stored.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
	defer cancel()
	t, err = m.refresh(ctx, s, t)
	if err != nil {
		return nil, err
	}
	return t.access(s)
}

func (m *Manager) current(ctx context.Context) (*Session, *tokens, error) {
	s, err := m.Session()
	if err != nil {
		return nil, nil, err
	}
	t, err := m.load(ctx, s)
	return s, t, err
}

// refresh stores the new tokens before it returns them. The lock is held.
func (m *Manager) refresh(ctx context.Context, s *Session, old *tokens) (*tokens, error) {
	p, err := m.discover(ctx, s.Issuer, s.ClientID)
	if err != nil {
		return nil, err
	}
	key, err := old.key()
	if err != nil {
		return nil, err
	}
	tok, err := p.oauth.TokenSource(p.proving(ctx, key), &oauth2.Token{RefreshToken: old.Refresh.Value}).Token()
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok && e.ErrorCode == "invalid_grant" {
		if err := m.forget(ctx, s); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: the session has ended", ErrSignedOut)
	}
	if err != nil {
		return nil, fmt.Errorf("session: refreshing the access token: %w", describe(err))
	}
	t, err := newTokens(tok, key)
	if err != nil {
		return nil, err
	}
	if _, err := m.save(ctx, s, t); err != nil {
		return nil, err
	}
	return t, nil
}

// Logout forgets the session, then revokes its refresh token at the issuer
// (RFC 7009), which ends the session there. Any error but ErrSignedOut says
// what could not be ended; unless it is about a file of the session, the
// tokens are forgotten all the same.
func (m *Manager) Logout(ctx context.Context) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := m.Session()
	if err != nil {
		return err
	}
	t, loadErr := m.load(ctx, s)
	if err := m.forget(ctx, s); err != nil {
		return err
	}
	if err := os.Remove(m.path("session.json")); err != nil {
		return fmt.Errorf("session: %w", err)
	}
	if errors.Is(loadErr, ErrSignedOut) {
		return nil // the issuer had ended the session before
	}
	if loadErr != nil {
		return loadErr
	}
	p, err := m.discover(ctx, s.Issuer, s.ClientID)
	if err != nil {
		return err
	}
	key, err := t.key()
	if err != nil {
		return err
	}
	return p.revoke(ctx, t.Refresh.Value, key)
}

// lock keeps other processes of this user from changing the tokens.
func (m *Manager) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	l := flock.New(m.path("lock"), flock.SetPermissions(0o600))
	if _, err := l.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return nil, fmt.Errorf("session: waiting for %s: %w", l.Path(), err)
	}
	return func() { _ = l.Close() }, nil
}

func (m *Manager) path(name string) string { return filepath.Join(m.Dir, name) }

// NewHTTP returns a client that is fit to carry tokens: it follows no redirect,
// which could carry them to another host, and gives up after timeout.
func NewHTTP(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// CheckURL reports why tokens must not travel to raw: they need https, or http
// to this computer (RFC 6750 section 5.3, RFC 8252 section 7.3).
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%q is not an https URL, such as https://models.example.com", raw)
	case strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' }): // looks like another name (CWE-1007)
		return fmt.Errorf("%q has characters outside ASCII: write its host as xn--… and the rest in %%XX", raw)
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q would carry tokens in the clear: use https (http only for this computer)", raw)
}

func isLoopback(host string) bool {
	return host == "localhost" || host == "::1" || strings.HasPrefix(host, "127.") && strings.Trim(host, "0123456789.") == ""
}
