package bearer

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"keycloak-model-api/api/issuer"
	"keycloak-model-api/api/store"
	"keycloak-model-api/policy"
)

// Config says whose tokens are accepted, for whom, and within which bounds.
// Every field but Issuers and Audience may be left out. New validates the whole
// at once.
type Config struct {
	// Issuers whose access tokens are accepted. Each has a key set of its
	// own; a key of one never verifies a token of another. At least one.
	Issuers []Issuer

	// Audience that every token must carry in `aud`: the client id of this
	// resource server. Required (RFC 8725, section 3.9). It is also the `realm`
	// of the challenge (RFC 9110, section 11.5).
	Audience string

	// Claims says where the issuer puts roles, groups and the username.
	Claims ClaimPaths

	// Skew is how far the clocks of issuer and API may differ, for `exp`,
	// `nbf` and `iat` alike. At least 30 s, at most 5 minutes. Default 30 s.
	Skew time.Duration

	// PublicURL is the address that callers use for this API, with the path
	// prefix that a proxy strips, if any. DPoP proofs must name it in `htu`;
	// without it the DPoP scheme is refused. Default: none.
	PublicURL string

	// ResourceMetadata is the URL of this API's protected-resource metadata
	// (RFC 9728), named in every challenge. Default: none.
	ResourceMetadata string

	// KeyMaxAge is the longest time for which fetched keys are used without
	// asking again while the issuer answers: the bound after which a removed
	// key stops working. Fetches happen in the background, at 4/5 of it. While
	// the issuer can't be asked, known keys go on for an hour, or KeyMaxAge if
	// that is longer; then every token gets 503. Default 5 minutes.
	KeyMaxAge time.Duration

	// CacheEntries bounds the cache of verified tokens. 100,000 typical
	// tokens take less than 64 MiB; one of more than 2 KiB counts as several.
	// Negative turns the cache off. Default 100,000.
	CacheEntries int

	// NotBeforeInterval is how often an issuer with a ClientID is asked for
	// its not-before: the bound after which it holds here when the push was
	// lost. Negative turns asking off. Default 30 s.
	NotBeforeInterval time.Duration

	// IntrospectionTTL is how long an introspection answer counts: the bound
	// after which a revoked token is refused where the issuer is asked.
	// Default 5 s.
	IntrospectionTTL time.Duration

	// Checked is called with the outcome of each Authenticate that came to a
	// token: nil or the refusal, and whether the token was in the cache. It must
	// not wait. Default: none.
	Checked func(refused *Error, cached bool)

	// Store is what several replicas share: revocations, used proofs and admin
	// actions. Default: none, and the Verifier knows only what it has heard itself.
	Store *store.Store

	// HTTPClient is used to fetch metadata and keys. Its time-out and its
	// redirect policy are replaced by ours. Default: http.DefaultTransport.
	HTTPClient *http.Client

	// Now is the wall clock that `exp`, `nbf` and `iat` are held against.
	// Ages are measured by it and by the monotonic clock: package clock.
	// Default: time.Now.
	Now func() time.Time

	// Logger gets what happens to keys and sessions, never a token.
	// Default: slog.Default().
	Logger *slog.Logger

	limits limits
}

// limits bound what is remembered to refuse. Only tests make them small.
type limits struct {
	proofs      int // used DPoP proofs, of at most 200 bytes each
	revocations int // deny-list entries of each issuer
}

var usualLimits = limits{proofs: 200_000, revocations: 200_000}

// Issuer is one OpenID provider; with Keycloak, one realm.
type Issuer = issuer.Config

// StackConfig returns what a stack says of the Config: its issuer with our client
// there, the audience, and where tokens carry roles and groups. internalURL is the
// issuer as it is reached from here; empty for its own URL.
func StackConfig(stack *policy.Outputs, internalURL string) Config {
	claims := stack.Policy.Claims
	return Config{
		Issuers: []Issuer{{
			URL: stack.Issuer, InternalURL: internalURL, ClientID: stack.ClientID, ClientSecret: stack.ClientSecret,
		}},
		Audience: stack.Audience,
		Claims:   ClaimPaths{RealmRoles: claims.RealmRoles, ClientRoles: claims.ClientRoles, Groups: claims.Groups},
	}
}

// withDefaults returns c with every zero field filled in.
func (c Config) withDefaults() Config {
	c.Issuers = slices.Clone(c.Issuers)
	for i := range c.Issuers {
		c.Issuers[i].InternalURL = cmp.Or(c.Issuers[i].InternalURL, c.Issuers[i].URL)
	}
	c.Skew = cmp.Or(c.Skew, 30*time.Second)
	c.KeyMaxAge = cmp.Or(c.KeyMaxAge, 5*time.Minute)
	c.CacheEntries = cmp.Or(c.CacheEntries, 100_000)
	c.NotBeforeInterval = cmp.Or(c.NotBeforeInterval, 30*time.Second)
	c.IntrospectionTTL = cmp.Or(c.IntrospectionTTL, 5*time.Second)
	c.limits = cmp.Or(c.limits, usualLimits)
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// validate returns every mistake in c, which has its defaults, at once, or nil.
func (c Config) validate() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("bearer: "+format, args...))
	}
	if len(c.Issuers) == 0 {
		wrong("Issuers is empty: name at least one issuer")
	}
	for i, issuer := range c.Issuers {
		errs = append(errs, validateIssuer(issuer, i))
		if slices.ContainsFunc(c.Issuers[:i], func(other Issuer) bool { return other.URL == issuer.URL }) {
			wrong("Issuers[%d].URL: %q is listed twice", i, issuer.URL)
		}
	}
	if c.Audience == "" {
		wrong("Audience is empty: give the client id of this resource server")
	}
	within := func(field string, d, low, high time.Duration) {
		if d < low || d > high {
			wrong("%s is %v: give %v to %v", field, d, low, high)
		}
	}
	within("Skew", c.Skew, 30*time.Second, 5*time.Minute)
	within("KeyMaxAge", c.KeyMaxAge, time.Second, 24*time.Hour)
	within("IntrospectionTTL", c.IntrospectionTTL, 100*time.Millisecond, time.Minute)
	if c.NotBeforeInterval > 0 {
		within("NotBeforeInterval", c.NotBeforeInterval, 100*time.Millisecond, time.Hour)
	}
	if c.CacheEntries > 10_000_000 {
		wrong("CacheEntries is %d: give at most 10,000,000", c.CacheEntries)
	}
	for field, address := range map[string]string{"PublicURL": c.PublicURL, "ResourceMetadata": c.ResourceMetadata} {
		if address == "" {
			continue
		}
		if err := baseURL(address); err != nil {
			wrong("%s: %w", field, err)
		}
	}
	return errors.Join(errs...)
}

// validateIssuer returns the mistakes in the issuer that Config lists at index.
func validateIssuer(i Issuer, index int) error {
	var errs []error
	if err := baseURL(i.URL); err != nil {
		errs = append(errs, fmt.Errorf("bearer: Issuers[%d].URL: %w", index, err))
	}
	if err := baseURL(i.InternalURL); err != nil {
		errs = append(errs, fmt.Errorf("bearer: Issuers[%d].InternalURL: %w", index, err))
	}
	if (i.ClientID == "") != (i.ClientSecret == "") {
		errs = append(errs, fmt.Errorf("bearer: Issuers[%d]: give ClientID and ClientSecret, or neither", index))
	}
	return errors.Join(errs...)
}

// baseURL checks that s is an absolute http(s) URL without user, query and
// fragment.
func baseURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return err
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.User != nil, u.RawQuery != "", u.ForceQuery, strings.Contains(s, "#"):
		return fmt.Errorf("%q is not a URL such as https://host/path", s)
	}
	return nil
}
