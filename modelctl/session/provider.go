package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"keycloak-model-api/api/issuer"
)

// provider is the issuer as its metadata describes it.
type provider struct {
	oidc       *oidc.Provider
	oauth      oauth2.Config
	http       *http.Client
	revocation string // RFC 7009 endpoint; empty when there is none
	sendsIss   bool   // authorization responses carry iss (RFC 9207)

	proofAlgorithms []string // of DPoP proofs (RFC 9449 section 5.1)
}

// idAlgorithms are the asymmetric algorithms that may sign an ID token.
var idAlgorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

// discover reads the issuer's metadata. Every endpoint in it must be fit to
// carry tokens, and to be handed to a browser.
func (m *Manager) discover(ctx context.Context, url, clientID string) (*provider, error) {
	p := &provider{http: &http.Client{
		Transport:     unavailable{m.HTTP.Transport},
		CheckRedirect: m.HTTP.CheckRedirect,
		Timeout:       m.HTTP.Timeout,
	}}
	metadata, err := issuer.New(issuer.Config{URL: url}, p.http.Transport, p.http.Timeout).Metadata(ctx)
	if e, ok := errors.AsType[*issuer.MismatchError](err); ok {
		return nil, fmt.Errorf("session: the issuer at %s calls itself %q: sign in with -issuer set to exactly that, if you trust it", url, e.Found)
	}
	_, unfit := errors.AsType[*issuer.UnfitError](err)
	switch {
	case unfit, errors.Is(err, ErrUnavailable):
		return nil, fmt.Errorf("session: reading the metadata of the issuer %s: %w", url, err)
	case err != nil:
		return nil, fmt.Errorf("session: there is no OpenID issuer at %s, check its URL: %w", url, err)
	}
	for _, e := range []struct {
		name, url string
		required  bool
	}{
		{"authorization_endpoint", metadata.Authorization, true},
		{"token_endpoint", metadata.Token, true},
		{"jwks_uri", metadata.JWKS, true},
		{"device_authorization_endpoint", metadata.Device, false},
		{"revocation_endpoint", metadata.Revocation, false},
	} {
		if e.url == "" && !e.required {
			continue
		}
		if err := CheckURL(e.url); err != nil {
			return nil, fmt.Errorf("session: the metadata of the issuer %s: %s: %w", url, e.name, err)
		}
	}
	p.oidc = (&oidc.ProviderConfig{
		IssuerURL: metadata.Issuer, AuthURL: metadata.Authorization, TokenURL: metadata.Token, DeviceAuthURL: metadata.Device, JWKSURL: metadata.JWKS,
		Algorithms: slices.DeleteFunc(slices.Clone(metadata.IDAlgorithms), func(a string) bool { return !slices.Contains(idAlgorithms, a) }),
	}).NewProvider(p.context(ctx))
	p.revocation, p.sendsIss, p.proofAlgorithms = metadata.Revocation, metadata.SendsIssuer, metadata.ProofAlgorithms
	p.oauth = oauth2.Config{
		ClientID: clientID,
		Endpoint: p.oidc.Endpoint(),
		Scopes:   []string{oidc.ScopeOpenID, "profile", "email"},
	}
	p.oauth.Endpoint.AuthStyle = oauth2.AuthStyleInParams // a public client has nothing to probe for
	return p, nil
}

// context makes the libraries use the client that follows no redirect.
func (p *provider) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.http)
}

// client sends proofs of key with its requests to the issuer. key may be nil.
func (p *provider) client(key *proofKey) *http.Client {
	if key == nil {
		return p.http
	}
	client := *p.http
	client.Transport = newProver(key, "", p.http.Transport)
	return &client
}

// proving makes the library for OAuth use client.
func (p *provider) proving(ctx context.Context, key *proofKey) context.Context {
	return oidc.ClientContext(ctx, p.client(key))
}

// revoke ends the session that the refresh token belongs to (RFC 7009).
func (p *provider) revoke(ctx context.Context, refreshToken string, key *proofKey) error {
	if p.revocation == "" {
		return errors.New("session: the issuer has no revocation endpoint: the session there ends when it is idle")
	}
	form := url.Values{"token": {refreshToken}, "token_type_hint": {"refresh_token"}, "client_id": {p.oauth.ClientID}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.revocation, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.client(key).Do(req)
	if err != nil {
		return fmt.Errorf("session: revoking the refresh token: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("session: revoking the refresh token: the issuer answered %d", resp.StatusCode)
	}
	return nil
}

// unavailable turns a request that got no answer, or a 5xx, into ErrUnavailable.
type unavailable struct{ next http.RoundTripper }

func (u unavailable) RoundTrip(req *http.Request) (*http.Response, error) {
	next := u.next
	if next == nil {
		next = http.DefaultTransport
	}
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if resp.StatusCode >= 500 {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%w: it answered %d", ErrUnavailable, resp.StatusCode)
	}
	return resp, nil
}

// describe says what an OAuth error response says, and no more: the body of a
// response that is none could hold anything.
func describe(err error) error {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return err
	}
	switch e.ErrorCode {
	case "":
		return fmt.Errorf("the issuer answered %d", e.Response.StatusCode)
	case "invalid_dpop_proof":
		return fmt.Errorf("%s (%s): is the clock of this computer right?", e.ErrorCode, e.ErrorDescription)
	case "invalid_client", "unauthorized_client":
		return fmt.Errorf("%s (%s): is -client-id right, and may that client do this?", e.ErrorCode, e.ErrorDescription)
	}
	return fmt.Errorf("%s (%s)", e.ErrorCode, e.ErrorDescription)
}
