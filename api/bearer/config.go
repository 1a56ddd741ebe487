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
)

// Config says whose tokens are accepted, for whom, and within which bounds.
// The zero value of every field but Issuers and Audience means the default
// that its comment gives. New validates the whole at once.
type Config struct {
	// Issuers whose access tokens are accepted. Each has a key set of its
	// own; a key of one never verifies a token of another. At least one.
	Issuers []Issuer

	// Audience that every token must carry in `aud`: the client id of this
	// resource server. Required (RFC 8725, section 3.9).
	Audience string

	// Algorithms a token may be signed with, by their JOSE names. Symmetric
	// ones and `none` can't be allowed. Default: every one of
	// RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA.
	Algorithms []string

	// HeaderTypes are the values of the JOSE header `typ` that an access
	// token may have, compared without regard to case; an empty string
	// allows its absence. Tokens with `at+jwt` follow the rules of RFC 9068.
	// Default: JWT, at+jwt, application/at+jwt.
	HeaderTypes []string

	// AuthorizedParties are the clients (`azp`, else `client_id`) whose
	// tokens are accepted. Default: any client of the issuer.
	AuthorizedParties []string

	// Claims says where the issuer puts roles, groups and the username.
	Claims ClaimPaths

	// Skew is how far the clocks of issuer and API may differ, for `exp`,
	// `nbf` and `iat` alike. At least 30 s, at most 5 minutes. Default 30 s.
	Skew time.Duration

	// MaxLifetime is the longest time from `iat` to `exp` that is believed.
	// Deny-list entries are kept this long, so no token outlives its
	// revocation. Default 24 h.
	MaxLifetime time.Duration

	// MaxTokenBytes bounds a token before anything in it is decoded.
	// Default 16 KiB.
	MaxTokenBytes int

	// PublicURL is the address that callers use for this API, with the path
	// prefix that a proxy strips, if any. DPoP proofs must name it in `htu`;
	// without it the DPoP scheme is refused. Default: none.
	PublicURL string

	// ProofMaxAge is how old a DPoP proof may be, to which Skew is added.
	// Proofs are remembered for that time to refuse replays. Default 30 s.
	ProofMaxAge time.Duration

	// MaxProofs bounds the memory for used proofs, of at most 200 bytes each.
	// A principal may have as many there as are left free for the others;
	// beyond that its own proofs get 429. Default 200,000.
	MaxProofs int

	// Realm is the `realm` of the challenge (RFC 9110, section 11.5).
	// Default: Audience.
	Realm string

	// ResourceMetadata is the URL of this API's protected-resource metadata
	// (RFC 9728), named in every challenge. Default: none.
	ResourceMetadata string

	// KeyMaxAge is the longest time for which fetched keys are used without
	// asking again while the issuer answers: the bound after which a removed
	// key stops working. Fetches happen in the background, at 4/5 of it.
	// Default 5 minutes.
	KeyMaxAge time.Duration

	// KeyOutageBound is how long known keys keep working while the issuer
	// can't be asked, from the last fetch that succeeded. Afterwards every
	// token gets 503. Default 1 h.
	KeyOutageBound time.Duration

	// CacheEntries bounds the cache of verified tokens. 100,000 typical
	// tokens take less than 64 MiB; one of more than 2 KiB counts as several.
	// Negative turns the cache off.
	// Default 100,000.
	CacheEntries int

	// CacheTTL bounds the time for which a token isn't verified again; the
	// token's own expiry bounds it too. Default 5 minutes.
	CacheTTL time.Duration

	// MaxRevocations bounds the deny list of each issuer. When it is full, the
	// oldest half gives way to one entry that refuses all tokens issued up to
	// its youngest: those who hold one have to refresh it. Default 200,000.
	MaxRevocations int

	// NotBeforeInterval is how often an issuer with a ClientID is asked for
	// its not-before: the bound after which it holds here when the push was
	// lost. Negative turns asking off. Default 30 s.
	NotBeforeInterval time.Duration

	// IntrospectionTTL is how long an introspection answer counts: the bound
	// after which a revoked token is refused where the issuer is asked.
	// Default 5 s.
	IntrospectionTTL time.Duration

	// WriteError writes the body of a refusal, after Middleware has set the
	// challenge. Default: WriteProblem.
	WriteError func(http.ResponseWriter, *http.Request, *Error)

	// HTTPClient is used to fetch metadata and keys. Its time-out and its
	// redirect policy are replaced by ours. Default: http.DefaultTransport.
	HTTPClient *http.Client

	// Now is the wall clock that `exp`, `nbf` and `iat` are held against.
	// Ages are measured by it and by the monotonic clock: package clock.
	// Default: time.Now.
	Now func() time.Time

	// Logger gets refusals and what happens to the keys, never a token.
	// Default: slog.Default().
	Logger *slog.Logger
}

// Issuer is one OpenID provider; with Keycloak, one realm.
type Issuer struct {
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

// ClaimPaths are paths into the token's claims as Keycloak's mappers write
// them: dots separate, `\.` is a dot within a name, and `${client_id}` stands
// for every client.
type ClaimPaths struct {
	RealmRoles  string // Default realm_access.roles
	ClientRoles string // Default resource_access.${client_id}.roles
	Groups      string // Default groups
	Username    string // Default preferred_username
}

// withDefaults returns c with every zero field filled in.
func (c Config) withDefaults() Config {
	if len(c.Algorithms) == 0 {
		c.Algorithms = Algorithms()
	}
	if len(c.HeaderTypes) == 0 {
		c.HeaderTypes = []string{"JWT", "at+jwt", "application/at+jwt"}
	}
	c.Issuers = slices.Clone(c.Issuers)
	for i := range c.Issuers {
		c.Issuers[i].InternalURL = cmp.Or(c.Issuers[i].InternalURL, c.Issuers[i].URL)
	}
	c.Claims.RealmRoles = cmp.Or(c.Claims.RealmRoles, "realm_access.roles")
	c.Claims.ClientRoles = cmp.Or(c.Claims.ClientRoles, "resource_access.${client_id}.roles")
	c.Claims.Groups = cmp.Or(c.Claims.Groups, "groups")
	c.Claims.Username = cmp.Or(c.Claims.Username, "preferred_username")
	c.Skew = cmp.Or(c.Skew, 30*time.Second)
	c.MaxLifetime = cmp.Or(c.MaxLifetime, 24*time.Hour)
	c.MaxTokenBytes = cmp.Or(c.MaxTokenBytes, 16<<10)
	c.ProofMaxAge = cmp.Or(c.ProofMaxAge, 30*time.Second)
	c.MaxProofs = cmp.Or(c.MaxProofs, 200_000)
	c.Realm = cmp.Or(c.Realm, c.Audience)
	c.KeyMaxAge = cmp.Or(c.KeyMaxAge, 5*time.Minute)
	c.KeyOutageBound = cmp.Or(c.KeyOutageBound, time.Hour)
	c.CacheEntries = cmp.Or(c.CacheEntries, 100_000)
	c.CacheTTL = cmp.Or(c.CacheTTL, 5*time.Minute)
	c.MaxRevocations = cmp.Or(c.MaxRevocations, 200_000)
	c.NotBeforeInterval = cmp.Or(c.NotBeforeInterval, 30*time.Second)
	c.IntrospectionTTL = cmp.Or(c.IntrospectionTTL, 5*time.Second)
	if c.WriteError == nil {
		c.WriteError = WriteProblem
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Validate returns every mistake in c at once, or nil.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("bearer: "+format, args...))
	}
	if len(c.Issuers) == 0 {
		wrong("Issuers is empty: name at least one issuer")
	}
	seen := map[string]bool{}
	for i, issuer := range c.Issuers {
		if err := baseURL(issuer.URL); err != nil {
			wrong("Issuers[%d].URL: %w", i, err)
		}
		if err := baseURL(issuer.InternalURL); err != nil {
			wrong("Issuers[%d].InternalURL: %w", i, err)
		}
		if (issuer.ClientID == "") != (issuer.ClientSecret == "") {
			wrong("Issuers[%d]: give ClientID and ClientSecret, or neither", i)
		}
		if seen[issuer.URL] {
			wrong("Issuers[%d].URL %q stands there twice", i, issuer.URL)
		}
		seen[issuer.URL] = true
	}
	if c.Audience == "" {
		wrong("Audience is empty: give the client id of this resource server")
	}
	for _, name := range c.Algorithms {
		if _, ok := algorithms[name]; !ok {
			wrong("Algorithms: %q is not one of %s", name, strings.Join(Algorithms(), " "))
		}
	}
	for _, path := range []struct{ field, value string }{
		{"RealmRoles", c.Claims.RealmRoles}, {"Groups", c.Claims.Groups}, {"Username", c.Claims.Username},
	} {
		if p := parsePath(path.value); slices.Contains(p, "") || slices.Contains(p, anyClient) {
			wrong("Claims.%s: %q is not a path such as realm_access.roles", path.field, path.value)
		}
	}
	if p := parsePath(c.Claims.ClientRoles); slices.Contains(p, "") || slices.Index(p, anyClient) < 1 {
		wrong("Claims.ClientRoles: %q is not a path such as resource_access.${client_id}.roles", c.Claims.ClientRoles)
	}
	within := func(field string, d, low, high time.Duration) {
		if d < low || d > high {
			wrong("%s is %v: give %v to %v", field, d, low, high)
		}
	}
	within("Skew", c.Skew, 30*time.Second, 5*time.Minute)
	within("MaxLifetime", c.MaxLifetime, time.Minute, 366*24*time.Hour)
	within("ProofMaxAge", c.ProofMaxAge, time.Second, 5*time.Minute)
	within("KeyMaxAge", c.KeyMaxAge, time.Second, 24*time.Hour)
	within("KeyOutageBound", c.KeyOutageBound, c.KeyMaxAge, 7*24*time.Hour)
	within("CacheTTL", c.CacheTTL, time.Second, time.Hour)
	within("IntrospectionTTL", c.IntrospectionTTL, 100*time.Millisecond, time.Minute)
	if c.NotBeforeInterval > 0 {
		within("NotBeforeInterval", c.NotBeforeInterval, 100*time.Millisecond, time.Hour)
	}
	if c.MaxRevocations < 2*denyShards {
		wrong("MaxRevocations is %d: give at least %d", c.MaxRevocations, 2*denyShards)
	}
	if c.MaxTokenBytes < 1<<10 || c.MaxTokenBytes > 256<<10 {
		wrong("MaxTokenBytes is %d: give 1024 to 262144", c.MaxTokenBytes)
	}
	if c.MaxProofs < 2 {
		wrong("MaxProofs is %d: give at least 2", c.MaxProofs)
	}
	if c.CacheEntries > 10_000_000 {
		wrong("CacheEntries is %d: give at most 10,000,000", c.CacheEntries)
	}
	if c.PublicURL != "" {
		if err := baseURL(c.PublicURL); err != nil {
			wrong("PublicURL: %w", err)
		}
	}
	if c.ResourceMetadata != "" {
		if err := baseURL(c.ResourceMetadata); err != nil {
			wrong("ResourceMetadata: %w", err)
		}
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

// anyClient is the element of ClaimPaths.ClientRoles that stands for every
// client, in the notation of Keycloak's own role mappers.
const anyClient = "${client_id}"

// parsePath splits a claim path at its dots; `\.` is a dot within a name.
func parsePath(s string) []string {
	parts := []string{""}
	for i := 0; i < len(s); i++ {
		last := &parts[len(parts)-1]
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '.' || s[i+1] == '\\'):
			i++
			*last += s[i : i+1]
		case s[i] == '.':
			parts = append(parts, "")
		default:
			*last += s[i : i+1]
		}
	}
	return parts
}
