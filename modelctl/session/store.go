package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/zalando/go-keyring"
	"golang.org/x/oauth2"
)

// tokens are what the issuer gave last. Each is one item in the keyring, since
// keyrings bound an item's size (Windows: 2560 bytes).
type tokens struct {
	Access  token `json:"access"`
	Refresh token `json:"refresh"`      // its end is the session's, if nothing is called until then
	Key     token `json:"key,omitzero"` // that both are bound to, see proofKey.encode; none for bearer tokens
}

type token struct {
	Session string    `json:"session"` // that it belongs to: its key
	Value   string    `json:"value"`
	Expires time.Time `json:"expires,omitzero"` // zero: the issuer did not say
}

// Names of the keyring's items.
const (
	accessItem  = "access token"
	refreshItem = "refresh token"
	keyItem     = "key"
)

// keyringTimeout bounds one call of the keyring, which may ask the person to
// unlock it, or wait for ever where nobody can be asked.
const keyringTimeout = 30 * time.Second

// newTokens takes what the issuer gave, bound to key unless that is nil.
func newTokens(t *oauth2.Token, key *proofKey) (*tokens, error) {
	switch {
	case key == nil && !strings.EqualFold(t.Type(), "Bearer"):
		return nil, fmt.Errorf("session: the issuer gives tokens of type %q, expected Bearer: sign in without -bearer", t.Type())
	case key != nil && !strings.EqualFold(t.Type(), "DPoP"): // RFC 9449 section 5
		return nil, fmt.Errorf("session: the issuer gives tokens of type %q, expected DPoP, bound to this computer's key: "+
			"where bearer tokens will do, modelctl login -bearer", t.Type())
	case strings.ContainsFunc(t.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }): // RFC 6749 appendix A.12
		return nil, errors.New("session: the issuer gives an access token with characters that no token has")
	}
	if t.RefreshToken == "" {
		return nil, errors.New("session: the issuer gives no refresh token: turn refresh tokens on for the client")
	}
	out := &tokens{
		Access:  token{Value: t.AccessToken, Expires: t.Expiry},
		Refresh: token{Value: t.RefreshToken},
	}
	if key != nil {
		var err error
		if out.Key.Value, err = key.encode(); err != nil {
			return nil, err
		}
	}
	// Keycloak's extension; 0 is a session without end.
	if s, ok := t.Extra("refresh_expires_in").(float64); ok && s > 0 {
		out.Refresh.Expires = time.Now().Add(time.Duration(s) * time.Second)
	}
	return out, nil
}

func (t *tokens) fresh() bool {
	return t.Access.Value != "" && time.Until(t.Access.Expires) > skew
}

func (t *tokens) access(s *Session) (*Access, error) {
	key, err := t.key()
	if err != nil {
		return nil, err
	}
	return &Access{Session: s, Token: t.Access.Value, SessionExpires: t.Refresh.Expires, key: key}, nil
}

// key returns the key that the tokens are bound to, nil for bearer tokens.
func (t *tokens) key() (*proofKey, error) {
	if t.Key.Value == "" {
		return nil, nil
	}
	return parseProofKey(t.Key.Value)
}

// belongTo reports whether the tokens are those of s.
func (t *tokens) belongTo(s *Session) bool {
	return t.Refresh.Session == s.id() &&
		(t.Access.Value == "" || t.Access.Session == s.id()) &&
		(t.Key.Value == "") == (s.Thumbprint == "") && (t.Key.Value == "" || t.Key.Session == s.id())
}

// id tells sessions apart.
func (s *Session) id() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{s.API, s.Issuer, s.ClientID, s.Subject, s.Thumbprint}, " ")))
	return hex.EncodeToString(sum[:8])
}

// load reads the tokens of s, or returns ErrSignedOut, also where the tokens
// are those of another session: of a sign-in that is under way or was cut off.
func (m *Manager) load(ctx context.Context, s *Session) (*tokens, error) {
	t, err := m.loadAny(ctx, s)
	if err == nil && !t.belongTo(s) {
		return nil, ErrSignedOut
	}
	return t, err
}

// loadAny reads the tokens that are there. The file comes first: it is there
// only when the keyring failed at the last save.
func (m *Manager) loadAny(ctx context.Context, s *Session) (*tokens, error) {
	t, err := m.loadFile()
	if !errors.Is(err, os.ErrNotExist) {
		return t, err
	}
	if !m.Keyring {
		return nil, ErrSignedOut
	}
	t = &tokens{}
	if err := m.getItem(ctx, s, refreshItem, &t.Refresh); errors.Is(err, keyring.ErrNotFound) {
		return nil, ErrSignedOut
	} else if err != nil {
		return nil, fmt.Errorf("session: reading the system's keyring: %w", err)
	}
	for item, into := range map[string]*token{accessItem: &t.Access, keyItem: &t.Key} {
		if err := m.getItem(ctx, s, item, into); err != nil && !errors.Is(err, keyring.ErrNotFound) {
			return nil, fmt.Errorf("session: reading the system's keyring: %w", err)
		}
	}
	return t, nil
}

func (m *Manager) loadFile() (*tokens, error) {
	name := m.path("tokens.json")
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var t tokens
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("session: %s is damaged: sign in again", name) // the cause could quote a token
	}
	return &t, nil
}

// save keeps the tokens of s in the keyring, otherwise in a file with mode 0600, and
// returns the name of that file.
func (m *Manager) save(ctx context.Context, s *Session, t *tokens) (file string, err error) {
	t.Access.Session, t.Refresh.Session = s.id(), s.id()
	if t.Key.Value != "" {
		t.Key.Session = s.id()
	}
	if m.Keyring && m.saveKeyring(ctx, s, t) == nil {
		if err := removeFile(m.path("tokens.json")); err != nil {
			return "", err
		}
		return "", nil
	}
	data, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("session: %w", err)
	}
	file = m.path("tokens.json")
	if err := writeFile(file, data); err != nil {
		return "", err
	}
	if m.Keyring { // what the keyring still holds is spent
		_ = m.forgetKeyring(ctx, s)
	}
	return file, nil
}

// saveKeyring writes the key and the refresh token first: without them the
// session is lost, without the access token the next call only refreshes.
func (m *Manager) saveKeyring(ctx context.Context, s *Session, t *tokens) error {
	if t.Key.Value != "" {
		if err := m.setItem(ctx, s, keyItem, t.Key); err != nil {
			return err
		}
	}
	if err := m.setItem(ctx, s, refreshItem, t.Refresh); err != nil {
		return err
	}
	err := m.setItem(ctx, s, accessItem, t.Access)
	if errors.Is(err, keyring.ErrSetDataTooBig) {
		return m.deleteItem(ctx, s, accessItem)
	}
	return err
}

// forget removes the tokens of s from where they are.
func (m *Manager) forget(ctx context.Context, s *Session) error {
	err := os.Remove(m.path("tokens.json"))
	inKeyring := errors.Is(err, os.ErrNotExist)
	if err != nil && !inKeyring {
		return fmt.Errorf("session: %w", err)
	}
	if !m.Keyring {
		return nil
	}
	if err := m.forgetKeyring(ctx, s); err != nil && inKeyring {
		return fmt.Errorf("session: removing the tokens from the system's keyring: %w", err)
	}
	return nil
}

func (m *Manager) forgetKeyring(ctx context.Context, s *Session) error {
	return errors.Join(m.deleteItem(ctx, s, refreshItem), m.deleteItem(ctx, s, accessItem), m.deleteItem(ctx, s, keyItem))
}

func (m *Manager) getItem(ctx context.Context, s *Session, item string, t *token) error {
	var data string
	err := bounded(ctx, func() (err error) { data, err = keyring.Get(service(s), m.account(item)); return err })
	if err != nil {
		return err
	}
	if json.Unmarshal([]byte(data), t) != nil {
		return fmt.Errorf("item %q of %q is damaged: sign in again", item, service(s))
	}
	return nil
}

func (m *Manager) setItem(ctx context.Context, s *Session, item string, t token) error {
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return bounded(ctx, func() error { return keyring.Set(service(s), m.account(item), string(data)) })
}

func (m *Manager) deleteItem(ctx context.Context, s *Session, item string) error {
	err := bounded(ctx, func() error { return keyring.Delete(service(s), m.account(item)) })
	if errors.Is(err, keyring.ErrNotFound) {
		return nil
	}
	return err
}

// service and account name an item. Managers with folders of their own, whose
// locks differ, share none.
func service(s *Session) string               { return "modelctl " + s.API }
func (m *Manager) account(item string) string { return item + " of " + m.Dir }

func bounded(ctx context.Context, call func() error) error {
	ctx, cancel := context.WithTimeout(ctx, keyringTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer: %w", ctx.Err())
	}
}

func removeFile(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("session: %w", err)
	}
	return nil
}

// writeFile replaces the file at once, with mode 0600: a reader sees the old
// content or the new.
func writeFile(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // makes it with mode 0600
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("session: %w", err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if err = f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
