// Package issuer asks one OpenID provider: for its metadata and keys, for
// tokens of clients (client credentials), and about tokens (introspection). It
// verifies no token; package bearer does.
package issuer

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Config is one OpenID provider; with Keycloak, one realm.
type Config struct {
	// URL is the exact `iss` of its tokens, and the issuer that its
	// discovery document must name.
	URL string

	// InternalURL is the address for discovery and keys when URL can't be
	// reached from the API. A `jwks_uri` below URL is fetched below
	// InternalURL instead; one that Keycloak already gave with the internal
	// host (hostname-backchannel-dynamic) is taken as it is. Default: URL.
	InternalURL string

	// ClientID and ClientSecret are this resource server's own credentials at
	// the issuer, to ask for its not-before and about tokens. They are sent
	// by client_secret_basic. Default: none, and neither is asked.
	ClientID, ClientSecret string
}

// Issuer asks one provider. It is safe for concurrent use.
type Issuer struct {
	Config
	client *http.Client
	known  atomic.Pointer[Metadata] // nil to ask again
}

// New makes an Issuer that asks by a transport, nil for http.DefaultTransport.
// Each request takes at most timeout.
func New(c Config, transport http.RoundTripper, timeout time.Duration) *Issuer {
	c.InternalURL = cmp.Or(c.InternalURL, c.URL)
	return &Issuer{Config: c, client: &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: sameHost}}
}

// Client returns the client that reaches the issuer, within the time-out of New,
// for libraries that ask by themselves.
func (i *Issuer) Client() *http.Client { return i.client }

// sameHost refuses redirects that leave the host, or the scheme, that was
// configured. A redirect could carry a code, a secret or a token to another host.
func sameHost(r *http.Request, via []*http.Request) error {
	if len(via) > 3 || r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme {
		return fmt.Errorf("issuer: redirect to %s://%s refused", r.URL.Scheme, r.URL.Host)
	}
	return nil
}

// Internal moves an address below the issuer's URL to its internal one. Any
// other, such as one of a realm whose name only begins alike, stays as it is.
func (i *Issuer) Internal(address string) string {
	if rest, ok := strings.CutPrefix(address, strings.TrimSuffix(i.URL, "/")+"/"); ok {
		return strings.TrimSuffix(i.InternalURL, "/") + "/" + rest
	}
	return address
}

// StatusError is an answer of the issuer other than 200.
type StatusError struct {
	Status      int
	Code        string // OAuth error (RFC 6749, section 5.2); empty if there is none
	Description string // error_description. It may be anything: not part of Error
	address     string
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("issuer: %s answered %d %s", e.address, e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		text += fmt.Sprintf(": %.60q", e.Code)
	}
	return text
}

// Answer is a document of the issuer.
type Answer struct {
	Header http.Header
	Body   []byte
}

// maxBody is the most that is read of one answer.
const maxBody = 1 << 20

// Get fetches a JSON document from an address that the issuer publishes, by the
// internal address if it is below the issuer's. The error is a *StatusError if
// the issuer answered.
func (i *Issuer) Get(ctx context.Context, address string) (*Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, i.Internal(address), nil)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return i.do(r)
}

// post sends a form as a confidential client, by client_secret_basic (RFC 6749,
// section 2.3.1).
func (i *Issuer) post(ctx context.Context, address string, form url.Values, clientID, secret string) (*Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, i.Internal(address), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(clientID), url.QueryEscape(secret))
	return i.do(r)
}

func (i *Issuer) do(r *http.Request) (*Answer, error) {
	r.Header.Set("Accept", "application/json")
	response, err := i.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	switch {
	case response.StatusCode != http.StatusOK:
		refused := &StatusError{Status: response.StatusCode, address: r.URL.Redacted()}
		var said struct {
			Code        string `json:"error"`
			Description string `json:"error_description"`
		}
		if err == nil && Decode(body, &said) == nil {
			refused.Code, refused.Description = said.Code, said.Description
		}
		return nil, refused
	case err != nil:
		return nil, fmt.Errorf("issuer: %s: %w", r.URL.Redacted(), err)
	case len(body) > maxBody:
		return nil, fmt.Errorf("issuer: %s answered more than %d bytes", r.URL.Redacted(), maxBody)
	}
	return &Answer{response.Header, body}, nil
}

// Grant is what a client gets for itself.
type Grant struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`        // seconds that it lives; 0 if it is missing
	IDToken     string `json:"id_token"`          // with the scope openid
	NotBefore   *int64 `json:"not-before-policy"` // Unix seconds; Keycloak's own. Nil if it is missing
}

// Grant gets a token for a client's own service account (RFC 6749, section 4.4)
// from the token endpoint. The error is a *StatusError if the issuer refuses.
func (i *Issuer) Grant(ctx context.Context, endpoint, clientID, secret string, scopes ...string) (*Grant, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	answer, err := i.post(ctx, endpoint, form, clientID, secret)
	if err != nil {
		return nil, err
	}
	var g Grant
	if err := Decode(answer.Body, &g); err != nil {
		return nil, fmt.Errorf("issuer: token answer: %w", err)
	}
	if g.AccessToken == "" {
		return nil, fmt.Errorf("issuer: the token answer has no access_token")
	}
	return &g, nil
}

// Exchange gets an access token for an audience, in the place of one that names the
// client in its own audience (RFC 8693, section 2.1). The error is a *StatusError if
// the issuer refuses.
func (i *Issuer) Exchange(ctx context.Context, endpoint, clientID, secret, token, audience string) (string, error) {
	const accessToken = "urn:ietf:params:oauth:token-type:access_token"
	answer, err := i.post(ctx, endpoint, url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {token}, "subject_token_type": {accessToken}, "requested_token_type": {accessToken},
		"audience": {audience},
	}, clientID, secret)
	if err != nil {
		return "", err
	}
	var got struct {
		AccessToken string `json:"access_token"`
		Issued      string `json:"issued_token_type"`
		Type        string `json:"token_type"`
	}
	if err := Decode(answer.Body, &got); err != nil {
		return "", fmt.Errorf("issuer: token answer: %w", err)
	}
	if got.AccessToken == "" || got.Issued != accessToken || !strings.EqualFold(got.Type, "Bearer") {
		return "", fmt.Errorf("issuer: the exchange gave %.80q of type %.20q, want an access token", got.Issued, got.Type)
	}
	return got.AccessToken, nil
}

// Introspect asks about a token as the client of Config (RFC 7662, section 2).
// It returns the whole answer, nil if the token is not active. The error is a
// *StatusError if the issuer refuses.
func (i *Issuer) Introspect(ctx context.Context, endpoint, token string) ([]byte, error) {
	answer, err := i.post(ctx, endpoint, url.Values{"token": {token}, "token_type_hint": {"access_token"}}, i.ClientID, i.ClientSecret)
	if err != nil {
		return nil, err
	}
	var said struct {
		Active   *bool `json:"active"`
		Issuer   any   `json:"iss"` // the rest is here for its names alone: see Decode
		Subject  any   `json:"sub"`
		Audience any   `json:"aud"`
		ID       any   `json:"jti"`
	}
	if err := Decode(answer.Body, &said); err != nil {
		return nil, fmt.Errorf("issuer: introspection answer: %w", err)
	}
	switch {
	case said.Active == nil:
		return nil, fmt.Errorf("issuer: the introspection answer has no active")
	case !*said.Active:
		return nil, nil
	}
	return answer.Body, nil
}
