// Package doctor compares a live realm, as a client sees it, with the stack's
// outputs and the access policy. It asks for two tokens and starts sign-ins that
// it never finishes; it changes nothing. With an account it also looks at what no
// client sees.
package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-json-experiment/json/jsontext"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/issuer"
	"keycloak-model-api/api/store"
	"keycloak-model-api/internal/cli"
	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/policy"
)

// Options says which realm is examined, and for which API.
type Options struct {
	Outputs     *policy.Outputs // of the stack, with their secrets
	InternalURL string          // of the issuer as this computer reaches it. Default: its own URL
	PublicURL   string          // of the API as its callers see it: sign-in and sign-out lead back there
	Skew        time.Duration   // how far the clocks of the issuer and the API may differ
	Admin       *keycloak.Admin // with view-clients of the realm, for what no client sees. May be nil
	Store       *store.Store    // what replicas share. Default: none
}

// doctor looks at one realm.
type doctor struct {
	stack     *policy.Outputs
	config    bearer.Config
	publicURL string
	skew      time.Duration
	admin     *keycloak.Admin
	issuer    *issuer.Issuer
	browser   *http.Client // follows no redirect
	now       func() time.Time

	findings  []Finding
	clockSeen bool
}

// Finding is the outcome of one check.
type Finding struct {
	Check  string `json:"check"`
	Level  string `json:"level"` // ok, warning or failure
	Found  string `json:"found"`
	Change string `json:"change,omitempty"` // the setting, unless ok
}

func (d *doctor) ok(check, format string, args ...any) {
	d.findings = append(d.findings, Finding{check, "ok", fmt.Sprintf(format, args...), ""})
}

func (d *doctor) warn(check, change, format string, args ...any) {
	d.findings = append(d.findings, Finding{check, "warning", fmt.Sprintf(format, args...), change})
}

func (d *doctor) fail(check, change, format string, args ...any) {
	d.findings = append(d.findings, Finding{check, "failure", fmt.Sprintf(format, args...), change})
}

// Examine makes all checks that can be made. The error is for options that can't
// work.
func Examine(ctx context.Context, o Options) ([]Finding, error) {
	d := &doctor{
		stack: o.Outputs, config: bearer.StackConfig(o.Outputs, o.InternalURL),
		publicURL: strings.TrimRight(o.PublicURL, "/"), skew: o.Skew, admin: o.Admin, now: time.Now,
		browser: &http.Client{
			Timeout:       askTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	d.issuer = issuer.New(d.config.Issuers[0], nil, askTimeout)
	d.config.Skew, d.config.NotBeforeInterval, d.config.Logger = d.skew, -1, slog.New(slog.DiscardHandler) // nothing is followed
	if err := d.examine(ctx); err != nil {
		return nil, err
	}
	if o.Store != nil {
		d.redis(ctx, o.Store)
	}
	return d.findings, nil
}

// redis makes the checks that the API makes at its start.
func (d *doctor) redis(ctx context.Context, s *store.Store) {
	if err := s.Check(ctx); err != nil {
		for line := range strings.Lines(err.Error()) {
			what, change, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "store: "), ": ")
			d.fail("redis", change, "%s", what)
		}
		return
	}
	d.ok("redis", "it forgets nothing when its memory is full, and is sealed by the same keys for all replicas")
}

// Print writes the findings, as JSON or for people. The error counts the failures.
func Print(w io.Writer, findings []Finding, asJSON bool) error {
	failures := 0
	for _, f := range findings {
		if f.Level == "failure" {
			failures++
		}
	}
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(findings); err != nil {
			return fmt.Errorf("doctor: %w", err)
		}
	} else {
		for _, f := range findings {
			// What an issuer says must not steer the terminal.
			fmt.Fprintf(w, "%-8s %-32s %s\n", f.Level, strings.Map(cli.Printable, f.Check), strings.Map(cli.Printable, f.Found))
			if f.Change != "" {
				fmt.Fprintf(w, "%-8s %-32s change: %s\n", "", "", f.Change)
			}
		}
	}
	if failures > 0 {
		return fmt.Errorf("doctor: %d of %d checks failed", failures, len(findings))
	}
	return nil
}

// examine makes all checks that can be made.
func (d *doctor) examine(ctx context.Context) error {
	meta := d.discovery(ctx)
	if meta == nil {
		return nil // nothing else can be asked
	}
	d.endpoints(meta)
	d.keys(ctx, meta)

	background, stop := context.WithCancel(ctx)
	defer stop()
	verifier, err := bearer.New(background, d.config)
	if err != nil {
		return fmt.Errorf("doctor: %w", err)
	}
	token := d.token(ctx, meta, verifier, d.stack.ClientID, d.stack.ClientSecret)
	if d.stack.OIDCClientID != "" && d.stack.OIDCClientID != d.stack.ClientID {
		if other := d.token(ctx, meta, verifier, d.stack.OIDCClientID, d.stack.OIDCClientSecret); other != "" {
			token = other
		}
	}
	if !d.clockSeen {
		d.warn("clock", "Give a client of the stack file a service account: a token tells the issuer's time.", "the issuer gives no time")
	}
	d.introspection(ctx, meta, token)
	d.signIn(ctx, meta)
	d.signOut(ctx, meta)
	d.resourceMetadata(ctx)
	d.levels(ctx)
	d.fallbackKeys(ctx)
	return nil
}

const (
	fixReach    = "Make the issuer reachable from here, or give -issuer-internal-url. Its own URL is stack configuration publicUrl (otherwise keycloak:url) and realm."
	fixHostname = "Keycloak: --hostname must be the URL that clients use; stack configuration publicUrl must be the same, with base path and without /realms."
)

func (d *doctor) discovery(ctx context.Context) *issuer.Metadata {
	sent := d.now()
	answer, err := d.issuer.Get(ctx, d.issuer.Discovery())
	var refused *issuer.StatusError
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusNotFound:
		d.fail("discovery", "Make the realm: pulumi up, or go run ./dev. Its name is stack configuration realm, Keycloak's base path stands in publicUrl.", "there is no such realm (404)")
		return nil
	case err != nil:
		d.fail("discovery", fixReach, "%s", outcome(err))
		return nil
	}
	meta, err := issuer.ParseMetadata(answer.Body)
	if err != nil {
		d.fail("discovery", fixReach, "the answer is no discovery document: %v", err)
		return nil
	}
	d.ok("discovery", "%s", d.stack.Issuer)
	if meta.Issuer == d.stack.Issuer {
		d.ok("issuer", "%s", meta.Issuer)
	} else {
		d.fail("issuer", fixHostname, "the realm calls itself %q, the stack %q: tokens are refused", meta.Issuer, d.stack.Issuer)
	}
	// A proxy's Date is the time of its own clock, but Keycloak by itself sends
	// none; then the first token tells.
	if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		d.clock(sent, date)
	}
	return meta
}

// clock compares the issuer's time, in whole seconds, with that of the request.
// It does so once.
func (d *doctor) clock(sent, theirs time.Time) {
	const change = "Set the clocks of Keycloak and the API by NTP. The API tolerates -clock-skew."
	if d.clockSeen {
		return
	}
	d.clockSeen = true
	off := theirs.Sub(sent.Truncate(time.Second)).Abs()
	switch {
	case off > d.skew:
		d.fail("clock", change, "the issuer's is %v apart, more than the %v that the API tolerates", off, d.skew)
	case off > d.skew/3:
		d.warn("clock", change, "the issuer's is %v apart", off)
	default:
		d.ok("clock", "the issuer's is at most %v apart", off+time.Second)
	}
}

// endpoints checks where clients are sent.
func (d *doctor) endpoints(meta *issuer.Metadata) {
	issuer, err := url.Parse(d.stack.Issuer)
	if err != nil {
		d.fail("transport", fixHostname, "%v", err)
		return
	}
	if ip := net.ParseIP(issuer.Hostname()); issuer.Scheme != "https" && issuer.Hostname() != "localhost" && !ip.IsLoopback() {
		d.fail("transport", "Keycloak: serve TLS, or set --proxy-headers behind a proxy that does; stack configuration publicUrl begins with https://, and hardening is baseline or strict.", "%s is not encrypted: tokens and passwords can be read on the way", d.stack.Issuer)
	} else {
		d.ok("transport", "%s", issuer.Scheme)
	}
	same := true
	for _, endpoint := range []struct{ name, url string }{
		{"authorization_endpoint", meta.Authorization}, {"token_endpoint", meta.Token}, {"end_session_endpoint", meta.EndSession},
		{"introspection_endpoint", meta.Introspection}, {"jwks_uri", meta.JWKS},
	} {
		u, err := url.Parse(endpoint.url)
		switch {
		case endpoint.url == "" || err != nil:
			d.fail("endpoints", "Keycloak: the proxy before it must pass on discovery unchanged.", "discovery has no %s", endpoint.name)
			same = false
		case u.Scheme != issuer.Scheme || u.Host != issuer.Host:
			d.fail("endpoints", fixHostname, "%s is on %s://%s, the issuer on %s://%s", endpoint.name, u.Scheme, u.Host, issuer.Scheme, issuer.Host)
			same = false
		}
	}
	if same {
		d.ok("endpoints", "all on %s", issuer.Host)
	}
	if d.stack.JWKSURI != meta.JWKS {
		d.fail("endpoints", "Run pulumi up and write the stack file again: it is of another Keycloak.", "jwks_uri is %q, the stack's output %q", meta.JWKS, d.stack.JWKSURI)
	}
	if !slices.Contains(meta.ChallengeMethods, "S256") {
		d.fail("endpoints", "Keycloak: use a version that supports PKCE.", "PKCE with S256 is not among %q", meta.ChallengeMethods)
	}
}

// keys checks the key set (RFC 7517, section 5).
func (d *doctor) keys(ctx context.Context, meta *issuer.Metadata) {
	const change = "Keycloak: Realm settings → Keys → Providers; stack configuration signingKeys and retireGeneratedKey (docs/keys.md)."
	answer, err := d.issuer.Get(ctx, meta.JWKS)
	if err != nil {
		d.fail("keys", fixReach, "%s: %s", meta.JWKS, outcome(err))
		return
	}
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := issuer.Decode(answer.Body, &set); err != nil {
		d.fail("keys", change, "no key set: %v", err)
		return
	}
	var usable []string
	for i, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err != nil {
			d.warn("keys", change, "key %d can't be read: %v", i, err)
			continue
		}
		bits, weak := strength(key.Key)
		switch {
		case !key.IsPublic():
			d.fail("keys", "Disable this key at once and sign in again everywhere. Keycloak never publishes such a key: find out what stands before it.", "key %q is published with its private half", key.KeyID)
		case key.Use != "sig":
			// For encryption: nobody verifies by it.
		case weak:
			d.fail("keys", change, "key %q has %d bits: RFC 7518 demands more", key.KeyID, bits)
		case !slices.Contains(bearer.Algorithms(), key.Algorithm):
			d.warn("keys", change, "key %q is for %q, which the API does not take: tokens that it signs are refused", key.KeyID, key.Algorithm)
		default:
			usable = append(usable, key.Algorithm)
		}
	}
	if usable == nil {
		d.fail("keys", change, "the realm publishes no key that the API can verify by")
		return
	}
	slices.Sort(usable)
	d.ok("keys", "%s", strings.Join(usable, ", "))
}

// strength returns the size of a public key and whether it is too small.
func strength(key any) (bits int, weak bool) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen(), k.N.BitLen() < 2048 // RFC 7518, section 3.3
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize, k.Curve.Params().BitSize < 256
	case ed25519.PublicKey:
		return 256, false
	}
	return 0, false // go-jose reads no other public key
}

// askTimeout bounds each request to the issuer.
const askTimeout = 10 * time.Second

// longLived is the lifetime of access tokens from which on a stolen one is worth
// a warning.
const longLived = 15 * time.Minute

// token gets a token for a client by client credentials and checks it as the
// API does. It returns "" if there is none.
func (d *doctor) token(ctx context.Context, meta *issuer.Metadata, verifier *bearer.Verifier, clientID, secret string) string {
	check := "token " + clientID
	if secret == "" {
		d.warn(check, "Write the stack file with pulumi stack output api --json --show-secrets.", "the stack file has no secret of the client: it can't be checked")
		return ""
	}
	sent := d.now()
	reply, err := d.issuer.Grant(ctx, meta.Token, clientID, secret)
	refused := &issuer.StatusError{}
	errors.As(err, &refused)
	switch {
	case err == nil:
	case refused.Code == "unauthorized_client" && strings.Contains(refused.Description, "service account"):
		d.ok(check, "the client has no service account, so it gets no token of its own: check one of a user with go run ./api explain")
		return ""
	case refused.Code == "unauthorized_client" || refused.Code == "invalid_client":
		d.fail(check, fmt.Sprintf("Run pulumi up, and write the stack file again, with --show-secrets. Stack configuration: clients, and clientSecrets[%q].", clientID), "the client or its secret is refused: %s", refused.Description)
		return ""
	default:
		d.fail(check, fixReach, "no token: %s %s", outcome(err), refused.Description)
		return ""
	}
	steps, principal := verifier.Explain(ctx, reply.AccessToken)
	for _, step := range steps {
		if step.Verdict == bearer.Refused {
			d.fail(check, step.Fix, "the API refuses it at the check %s: %s; expected %s, found %s", step.Check, step.Code, step.Expected, step.Found)
		}
	}
	claims, err := claimsOf(reply.AccessToken)
	if err != nil {
		return reply.AccessToken // Explain has said so
	}
	if claims.IssuedAt != nil {
		d.clock(sent, claims.IssuedAt.Time())
	}
	if claims.IssuedAt != nil && claims.Expiry != nil {
		if lifetime := claims.Expiry.Time().Sub(claims.IssuedAt.Time()); lifetime > longLived {
			d.warn(check, fmt.Sprintf("Stack configuration: lifetimes.accessToken, or accessTokenLifetime of client %s; hardening baseline sets 5m.", clientID), "it lives for %v: a stolen one is good for that long", lifetime)
		}
	}
	if slices.Contains(claims.Audience, "account") {
		d.warn(check, fmt.Sprintf("Stack configuration: fullScope: false for client %s.", clientID), "account is in its audience: it opens Keycloak's own account API too")
	}
	if principal == nil {
		return reply.AccessToken
	}
	d.ok(check, "accepted, typ and audience as the API wants them")
	d.roles(clientID, principal.RealmRoles)
	return reply.AccessToken
}

// roles compares the realm roles in a token with those that the policy knows.
// Only these can be seen: a client can't list a realm's roles.
func (d *doctor) roles(clientID string, roles []string) {
	seen := slices.DeleteFunc(d.stack.Policy.RealmRoles(), func(r string) bool { return !slices.Contains(roles, r) })
	check := "roles " + clientID
	switch {
	case len(seen) == 0:
		d.ok(check, "none of the policy's: its service account may call no model")
	case !slices.Contains(seen, d.stack.Policy.BaseRole):
		d.fail(check, fmt.Sprintf("Run pulumi up: each role of a model must contain %s. Stack configuration: the roles of client %s, if it names its own, must list it too.", d.stack.Policy.BaseRole, clientID), "%s without the base role %s: it is refused", strings.Join(seen, ", "), d.stack.Policy.BaseRole)
	default:
		d.ok(check, "%s", strings.Join(seen, ", "))
	}
}

// introspection asks about a token as the API does (RFC 7662).
func (d *doctor) introspection(ctx context.Context, meta *issuer.Metadata, token string) {
	if token == "" || d.stack.ClientSecret == "" {
		return
	}
	payload, err := d.issuer.Introspect(ctx, meta.Introspection, token)
	switch {
	case err != nil:
		d.fail("introspection", "Stack outputs client_id and client_secret must be those of the client of kind api: run pulumi up and write the stack file again.", "%s", outcome(err))
	case payload == nil:
		d.fail("introspection", fmt.Sprintf("Keycloak: the client of the token needs an Audience mapper for %s with Add to token introspection on. Stack configuration: list the client under clients.", d.stack.Audience), "Keycloak calls a fresh token inactive")
	default:
		d.ok("introspection", "%s may ask, and a fresh token is active", d.stack.ClientID)
	}
}

// challenge is the code_challenge of a verifier that is thrown away.
var challenge = url.Values{"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"}}

// signIn begins sign-ins and looks at how Keycloak takes them.
func (d *doctor) signIn(ctx context.Context, meta *issuer.Metadata) {
	const setting = "Stack configuration, client %s: "
	for _, c := range d.stack.Policy.Clients {
		redirect := ""
		switch {
		case c.ClientID == d.stack.OIDCClientID:
			redirect = d.publicURL + "/callback"
		case c.Kind == "cli":
			redirect = "http://127.0.0.1/callback" // what the kind has by default
		default:
			continue // nobody tells where it is
		}
		check, client := "sign-in "+c.ClientID, fmt.Sprintf(setting, c.ClientID)
		begin := func(redirect, responseType string, more url.Values) string {
			query := url.Values{"client_id": {c.ClientID}, "redirect_uri": {redirect}, "response_type": {responseType}, "scope": {"openid"}, "state": {"doctor"}, "nonce": {"doctor"}}
			for key, values := range more {
				query[key] = values
			}
			answer, err := d.get(ctx, meta.Authorization, query)
			return signInOutcome(answer, err, redirect)
		}
		switch got := begin(redirect, "code", challenge); {
		case got == "begun":
			d.ok(check, "begins, and leads back to %s", redirect)
		case c.Kind == "cli":
			d.warn(check, client+"with redirectUris of its own it can't be checked.", "%s is refused: %s", redirect, got)
			continue
		default:
			d.fail(check, client+"list "+redirect+" in redirectUris and set standardFlow; or give -public-url, the API's URL.", "%s is refused: %s", redirect, got)
			continue
		}

		switch got := begin(redirect, "code", nil); {
		case got != "begun":
			d.ok("pkce "+c.ClientID, "demanded")
		case c.Public || c.Kind == "cli":
			d.fail("pkce "+c.ClientID, client+"pkce: true.", "a public client takes a code without PKCE: whoever catches the code has the token (RFC 9700, 2.1.1)")
		default:
			d.warn("pkce "+c.ClientID, client+"pkce: true. The API always sends it.", "not demanded (RFC 9700, 2.1.1)")
		}

		exact := true
		for _, other := range []string{"https://doctor.invalid/callback", redirect + "/doctor"} {
			if begin(other, "code", challenge) == "begun" {
				exact = false
				d.fail("redirects "+c.ClientID, client+"redirectUris in full, without *.", "%s is taken too: codes can be led astray (RFC 9700, 4.1)", other)
			}
		}
		if exact {
			d.ok("redirects "+c.ClientID, "others are refused")
		}

		if begin(redirect, "token", nil) == "begun" {
			d.fail("implicit flow "+c.ClientID, "Keycloak: Clients → "+c.ClientID+" → Capability config → Implicit flow off; the stack never turns it on.", "is on: tokens stand in URLs (RFC 9700, 2.1.2)")
		}
	}
}

// signInOutcome is "begun" if the authorization endpoint asks the user to sign
// in, otherwise why not.
func signInOutcome(answer *http.Response, err error, redirect string) string {
	if err != nil {
		return err.Error()
	}
	location := answer.Header.Get("Location")
	if answer.StatusCode/100 == 3 && strings.HasPrefix(location, redirect) {
		u, err := url.Parse(location)
		if err != nil {
			return "a malformed redirect"
		}
		for _, part := range []string{u.RawQuery, u.Fragment} {
			if values, err := url.ParseQuery(part); err == nil && values.Get("error") != "" {
				return strings.TrimSpace(values.Get("error") + " " + values.Get("error_description"))
			}
		}
		return "begun" // signed in at once
	}
	if answer.StatusCode/100 == 2 || answer.StatusCode/100 == 3 {
		return "begun"
	}
	return fmt.Sprintf("status %d", answer.StatusCode)
}

// signOut checks where a logout may lead (RP-Initiated Logout 1.0, section 3).
func (d *doctor) signOut(ctx context.Context, meta *issuer.Metadata) {
	if d.stack.OIDCClientID == "" {
		return
	}
	taken := func(uri string) (string, bool) {
		answer, err := d.get(ctx, meta.EndSession, url.Values{"client_id": {d.stack.OIDCClientID}, "post_logout_redirect_uri": {uri}})
		if err != nil {
			return err.Error(), false
		}
		return fmt.Sprintf("status %d", answer.StatusCode), answer.StatusCode < 400
	}
	change := fmt.Sprintf("Stack configuration, client %s: postLogoutRedirectUris", d.stack.OIDCClientID)
	ours := d.publicURL + "/"
	if got, ok := taken(ours); ok {
		d.ok("sign-out", "may lead back to %s", ours)
	} else {
		d.fail("sign-out", change+" must list "+ours+"; or give -public-url, the API's URL.", "may not lead back to %s: %s", ours, got)
	}
	if _, ok := taken("https://doctor.invalid/"); ok {
		d.fail("sign-out", change+" in full, without *.", "may lead to any site")
	}
	if meta.BackchannelLogout {
		d.ok("back-channel logout", "supported; which URL Keycloak calls can't be seen from here: backchannelLogoutUrl of the client must be %s/backchannel-logout", d.publicURL)
	} else {
		d.warn("back-channel logout", "Keycloak: use a version that supports it, otherwise a session ends at the API only when its token does.", "not supported")
	}
}

// resourceMetadata checks of an API under a path that the metadata, which stand at
// the root of its host (RFC 9728, section 3.1), are the API's: a proxy has to
// send two places on, and the second is easily forgotten.
func (d *doctor) resourceMetadata(ctx context.Context) {
	u, err := url.Parse(d.publicURL)
	if err != nil || u.Path == "" {
		return
	}
	const check = "resource metadata"
	address := u.Scheme + "://" + u.Host + "/.well-known/oauth-protected-resource" + u.Path
	change := "Proxy: send " + address + " on to the API as it is (docs/browser.md, Behind a path), and start the API with -public-url " + d.publicURL + "."
	answer, err := d.issuer.Get(ctx, address)
	if refused := (*issuer.StatusError)(nil); err != nil && !errors.As(err, &refused) {
		d.warn(check, "Start the API and its proxy, or run this where they can be reached.", "it can't be checked: %v", err)
		return
	}
	var document struct {
		Resource string   `json:"resource"`
		Issuers  []string `json:"authorization_servers"`
	}
	if err == nil {
		err = issuer.Decode(answer.Body, &document)
	}
	switch {
	case err != nil:
		d.fail(check, change, "%s is not answered by the API, so clients find no issuer: %s", address, outcome(err))
	case document.Resource != d.publicURL:
		d.fail(check, change, "%s is of the resource %q, not of %q: clients refuse it (RFC 9728, section 3.3)", address, document.Resource, d.publicURL)
	case !slices.Contains(document.Issuers, d.stack.Issuer):
		d.fail(check, "Start the API with this stack file, or give the one that it has by -stack.", "%s names the issuers %q, the stack %q", address, document.Issuers, d.stack.Issuer)
	default:
		d.ok(check, "%s", address)
	}
}

// outcome is why the issuer gave nothing.
func outcome(err error) string {
	var refused *issuer.StatusError
	if errors.As(err, &refused) {
		return strings.TrimSpace(fmt.Sprintf("status %d %s", refused.Status, refused.Code))
	}
	return err.Error()
}

// get asks as a browser does. The body is not read.
func (d *doctor) get(ctx context.Context, endpoint string, query url.Values) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.issuer.Internal(endpoint)+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := d.browser.Do(r)
	if err != nil {
		return nil, err
	}
	return response, response.Body.Close()
}

// claims are what the doctor looks at in an access token that Explain has judged.
type claims struct {
	IssuedAt *jwt.NumericDate `json:"iat"`
	Expiry   *jwt.NumericDate `json:"exp"`
	Audience jwt.Audience     `json:"aud"`
}

func claimsOf(token string) (c claims, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, errors.New("not a JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return c, err
	}
	return c, issuer.Decode(payload, &c)
}
