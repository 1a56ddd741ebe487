package bearer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// check is one check of an access token: what it looks at, for the verifier and
// for a person who asks why a token is refused.
type check struct {
	name string
	run  func(*tokenCheck) *Error

	expected func(*tokenCheck) string
	found    func(*tokenCheck) string // nil where the token holds nothing to show

	// ready tells whether Explain makes the check even after a refusal, since it
	// needs nothing from the checks before. Nil means never.
	ready func(*tokenCheck) bool
	// without tells whether the token passed since the check is not for it. May
	// be nil.
	without func(*tokenCheck) bool
}

// checks are all checks of an access token, in their order. This table is
// what a token has to pass; Verifier.verify runs it to the first refusal, and
// Explain shows all of it.
var checks = [...]check{
	{
		name: "size", run: (*tokenCheck).size,
		expected: func(*tokenCheck) string { return fmt.Sprintf("at most %d bytes", maxTokenBytes) },
		found:    func(c *tokenCheck) string { return fmt.Sprintf("%d bytes", len(c.token)) },
	},
	{
		name: "one credential", run: (*tokenCheck).single,
		expected: func(*tokenCheck) string { return "one token without spaces and commas" },
	},
	{
		name: "shape", run: (*tokenCheck).shape,
		expected: func(*tokenCheck) string { return "header.payload.signature, each base64url of a JSON object" },
	},
	{
		name: "algorithm", run: (*tokenCheck).algorithm,
		expected: func(*tokenCheck) string { return "alg one of " + strings.Join(Algorithms(), " ") + ", no crit" },
		found:    func(c *tokenCheck) string { return "alg " + c.header.algorithm },
	},
	{
		name: "issuer", run: (*tokenCheck).issuer,
		expected: func(c *tokenCheck) string { return "iss " + strings.Join(c.v.issuerURLs(), " or ") },
		found:    func(c *tokenCheck) string { return "iss " + show(c.claims.issuer) },
		ready:    func(c *tokenCheck) bool { return c.payload != nil },
	},
	{
		name: "clock", run: (*tokenCheck).clock,
		expected: func(*tokenCheck) string {
			return fmt.Sprintf("the issuer's clock at most %v from this computer's, as its last token said", maxApart)
		},
	},
	{
		name: "key", run: (*tokenCheck).key,
		expected: func(*tokenCheck) string { return "a published signing key with the token's kid, for its alg" },
		found:    func(c *tokenCheck) string { return "kid " + c.header.keyID },
	},
	{
		name: "signature", run: (*tokenCheck).signature,
		expected: func(*tokenCheck) string { return "made with that key" },
	},
	{
		name: "introspection", run: (*tokenCheck).introspection,
		expected: func(*tokenCheck) string {
			return "active by the issuer's answer, if the token is a lightweight one, without aud"
		},
		found: func(c *tokenCheck) string {
			if !c.asked {
				return ""
			}
			return "active, aud " + show(c.claims.audience)
		},
		without: func(c *tokenCheck) bool { return !c.asked },
	},
	{
		name: "audience", run: (*tokenCheck).audience,
		expected: func(c *tokenCheck) string { return fmt.Sprintf("aud %q, alone or in an array", c.v.config.Audience) },
		found:    func(c *tokenCheck) string { return "aud " + show(c.claims.audience) },
		ready:    (*tokenCheck).issuerKnown,
	},
	{
		name: "times", run: (*tokenCheck).times,
		expected: func(c *tokenCheck) string {
			return fmt.Sprintf("iat and nbf not after now, exp not before now (%s), skew %v, lifetime at most %v",
				date(c.now), c.v.config.Skew, maxLifetime)
		},
		found: func(c *tokenCheck) string {
			return "iat " + showTime(c.claims.issuedAt) + ", nbf " + showTime(c.claims.notBefore) + ", exp " + showTime(c.claims.expiry)
		},
		ready: (*tokenCheck).issuerKnown,
	},
	{
		name: "type", run: (*tokenCheck).types,
		expected: func(*tokenCheck) string {
			return fmt.Sprintf("header typ one of %q, typ Bearer without cnf or DPoP with cnf.jkt, a sub", headerTypes)
		},
		found: func(c *tokenCheck) string {
			return fmt.Sprintf("header typ %q, typ %s, cnf %s, sub %s",
				c.header.mediaType, show(c.claims.typ), show(c.claims.confirmation), show(c.claims.subject))
		},
		ready: (*tokenCheck).issuerKnown,
	},
	{
		name: "revocation", run: (*tokenCheck).revocation,
		expected: func(*tokenCheck) string {
			return "no ended session and no not-before that this process knows of covers the token"
		},
		found: func(c *tokenCheck) string {
			return "sid " + show(c.claims.session) + ", iat " + showTime(c.claims.issuedAt)
		},
	},
}

// Bounds of a token, before anything in it is believed.
const (
	maxTokenBytes = 16 << 10

	// maxLifetime is the longest time from `iat` to `exp` that is believed. The
	// deny list's entries are kept this long, so no token outlives its revocation.
	maxLifetime = 24 * time.Hour
)

// headerTypes are the values of the JOSE header `typ` that an access token may
// have: what Keycloak writes, and RFC 9068, section 4.
var headerTypes = []string{"JWT", "at+jwt", "application/at+jwt"}

// tokenCheck is one token on its way through the checks.
type tokenCheck struct {
	v      *Verifier
	ctx    context.Context
	scheme Scheme // that the token came with; empty if nobody knows
	token  string
	now    int64 // Unix seconds
	ask    bool  // the issuer is to be asked, whatever the token says

	fetches bool // an unknown key is fetched whatever the claims say of an access token

	compact
	claims     claims
	algo       *algorithm
	candidates []*signingKey // current keys of the issuer
	found      verified      // what the checks made out
	asked      bool          // part of it is the issuer's answer
}

// pass makes checks to the first refusal.
func (c *tokenCheck) pass(checks ...func(*tokenCheck) *Error) *Error {
	for _, check := range checks {
		if refusal := check(c); refusal != nil {
			return refusal
		}
	}
	return nil
}

func (c *tokenCheck) issuerKnown() bool { return c.found.issuer != nil }

// size: bounded before anything in it is decoded.
func (c *tokenCheck) size() *Error {
	if len(c.token) > maxTokenBytes {
		return refuse(TokenTooLarge, nil)
	}
	return nil
}

// single: one token, not a list. A cached token has passed this.
func (c *tokenCheck) single() *Error {
	if strings.IndexByte(c.token, ' ') >= 0 || strings.IndexByte(c.token, ',') >= 0 {
		return refuse(MalformedCredential, errors.New("more than one token after the scheme"))
	}
	return nil
}

// shape: a signed JWT in compact serialization, every part readable.
func (c *tokenCheck) shape() (refusal *Error) {
	c.compact, refusal = parseCompact(c.token)
	return refusal
}

// algorithm: one that is allowed, and no extension that we would have to know
// (RFC 7515, section 4.1.11).
func (c *tokenCheck) algorithm() *Error {
	if c.header.critical {
		return refuse(CriticalHeader, nil)
	}
	if c.algo = algorithms[c.header.algorithm]; c.algo == nil {
		return refuse(AlgorithmRefused, fmt.Errorf("alg %.40q, want one of %s", c.header.algorithm, strings.Join(Algorithms(), " ")))
	}
	return nil
}

// issuer: the unverified `iss` picks one configured issuer by exact match and
// does nothing else.
func (c *tokenCheck) issuer() *Error {
	c.claims.payload, c.claims.tops = c.payload, c.v.paths.tops
	if err := json.Unmarshal(c.payload, &c.claims); err != nil {
		return refuse(ClaimsMalformed, err)
	}
	iss, err := text(c.claims.issuer)
	if err != nil {
		return refuse(ClaimsMalformed, fmt.Errorf("iss %w", err))
	}
	if c.found.issuer = c.v.issuer([]byte(iss)); c.found.issuer == nil {
		return refuse(IssuerUnknown, fmt.Errorf("iss %.200q is not configured", iss))
	}
	return nil
}

// clock: whether a token has expired can be told.
func (c *tokenCheck) clock() *Error {
	if err := c.found.issuer.clockWrong(); err != nil {
		return refuse(ClockWrong, err)
	}
	return nil
}

// key: the issuer publishes a key with this `kid`, and it is for this algorithm.
// RFC 7515, section 4.1.4, leaves the `kid` to the issuer, and every Keycloak
// sets it. A token without one is refused also where a single key would fit:
// whether it passes must not depend on how many keys there are.
func (c *tokenCheck) key() *Error {
	if c.header.keyID == "" {
		return refuse(KeyIDMissing, nil)
	}
	set := c.found.issuer.keys
	if set.having(c.header.keyID) == nil && !c.fetches {
		if refusal := c.hopeless(); refusal != nil {
			return refusal
		}
	}
	keys, refusal := set.lookup(c.ctx, c.header.keyID)
	if refusal != nil {
		return refusal
	}
	if !slices.ContainsFunc(keys, c.mayVerify) {
		return refuse(KeyMismatch, fmt.Errorf("key %.80q is not for alg %s", c.header.keyID, c.algo.name))
	}
	c.candidates = keys
	return nil
}

// hopeless tells why a token would be refused whoever signed it, so that
// nothing is fetched for it. Issuer and algorithm were looked at before. What
// comes without claims is no access token, and its own checks are elsewhere.
func (c *tokenCheck) hopeless() *Error {
	if c.claims.payload == nil {
		return nil
	}
	if c.lightweight() {
		return c.pass((*tokenCheck).times, (*tokenCheck).kind)
	}
	return c.pass((*tokenCheck).audience, (*tokenCheck).times, (*tokenCheck).kind)
}

func (c *tokenCheck) mayVerify(key *signingKey) bool {
	return key.id == c.header.keyID && key.fits(c.algo)
}

// signature: it verifies. A wrong one causes no fetch.
func (c *tokenCheck) signature() *Error {
	for _, key := range c.candidates {
		if c.mayVerify(key) && c.algo.verify(key.public, c.algo.hash, c.compact.signed, c.compact.signature) {
			c.found.key = key
			return nil
		}
	}
	return refuse(SignatureInvalid, fmt.Errorf("under key %.80q", c.header.keyID))
}

// audience: `aud` is ours or holds ours.
func (c *tokenCheck) audience() *Error {
	if c.claims.audience == nil {
		return refuse(AudienceWrong, fmt.Errorf("no aud, want %q", c.v.config.Audience))
	}
	list := oneOrMore
	if c.found.key != nil { // verified: many tokens share it
		list = func(raw jsontext.Value) ([]string, error) { return intern(&c.v.interned.audiences, raw, oneOrMore) }
	}
	audiences, err := list(c.claims.audience)
	if err != nil {
		return refuse(ClaimsMalformed, fmt.Errorf("aud %w", err))
	}
	if !slices.Contains(audiences, c.v.config.Audience) {
		return refuse(AudienceWrong, fmt.Errorf("aud %.200q, want %q", audiences, c.v.config.Audience))
	}
	return nil
}

// times: `exp` and `iat` are there, and now is within them and `nbf`, give or
// take the skew.
func (c *tokenCheck) times() *Error {
	var dates [4]int64
	var there [4]bool
	for i, d := range [...]struct {
		name string
		raw  []byte
	}{{"exp", c.claims.expiry}, {"iat", c.claims.issuedAt}, {"nbf", c.claims.notBefore}, {"auth_time", c.claims.authTime}} {
		var err error
		if dates[i], there[i], err = seconds(d.raw); err != nil {
			return refuse(ClaimsMalformed, fmt.Errorf("%s %w", d.name, err))
		}
	}
	if !there[0] || !there[1] {
		return refuse(ClaimsMalformed, errors.New("no exp or no iat"))
	}
	expiry, issuedAt, notBefore := dates[0], dates[1], dates[2]
	skew := c.v.skew()
	when := func(code Code, claim string, at int64) *Error {
		return refuse(code, fmt.Errorf("%s is %s, now is %s, skew %v", claim, date(at), date(c.now), c.v.config.Skew))
	}
	switch {
	case c.now >= expiry+skew:
		return when(TokenExpired, "exp", expiry)
	case c.now+skew < notBefore:
		return when(TokenNotYetValid, "nbf", notBefore)
	case c.now+skew < issuedAt:
		return when(IssuedInFuture, "iat", issuedAt)
	case expiry-issuedAt > int64(maxLifetime/time.Second):
		return refuse(LifetimeTooLong, fmt.Errorf("%d s from iat to exp, want at most %v", expiry-issuedAt, maxLifetime))
	}
	c.found.expiry, c.found.issuedAt, c.found.notBefore = expiry, issuedAt, notBefore
	p := &c.found.principal
	p.Expiry, p.IssuedAt = unix(expiry), unix(issuedAt)
	if p.AuthTime = (time.Time{}); there[3] {
		p.AuthTime = unix(dates[3])
	}
	return nil
}

// kind: an access token by header and claim.
func (c *tokenCheck) kind() *Error {
	mediaType := c.header.mediaType
	if !slices.ContainsFunc(headerTypes, func(t string) bool { return strings.EqualFold(t, mediaType) }) {
		return refuse(TokenTypeWrong, fmt.Errorf("header typ %.40q, want one of %q", mediaType, headerTypes))
	}
	typ, err := text(c.claims.typ)
	if err != nil {
		return refuse(ClaimsMalformed, fmt.Errorf("typ %w", err))
	}
	if typ != string(Bearer) && typ != string(DPoP) {
		return refuse(TokenTypeWrong, fmt.Errorf("typ %.40q, want Bearer or DPoP", typ))
	}
	return nil
}

// types: an access token, whose kind goes with the scheme it came by, with a
// subject. The remaining claims are read here.
func (c *tokenCheck) types() *Error {
	if refusal := c.kind(); refusal != nil {
		return refusal
	}
	typ, err := text(c.claims.typ)
	if err != nil {
		return refuse(ClaimsMalformed, fmt.Errorf("typ %w", err))
	}
	if c.found.thumbprint, err = confirmation(c.claims.confirmation); err != nil {
		return refuse(SenderConstraint, err)
	}
	if bound := c.found.thumbprint != ""; bound != (typ == string(DPoP)) {
		return refuse(SenderConstraint, fmt.Errorf("typ %q, key in cnf: %t", typ, bound))
	}
	if c.scheme != "" && !c.found.matches(c.scheme) {
		return refuse(SenderConstraint, fmt.Errorf("typ %q with scheme %s", typ, c.scheme))
	}
	if err := c.fill(); err != nil {
		return refuse(ClaimsMalformed, err)
	}
	p := &c.found.principal
	if p.Subject == "" {
		return refuse(SubjectMissing, nil)
	}
	// RFC 9068, section 2.2: what a token with this header must have beyond
	// what all must have.
	mediaType := strings.TrimPrefix(strings.ToLower(c.header.mediaType), "application/")
	if mediaType == "at+jwt" && (p.TokenID == "" || p.ClientID == "") {
		return refuse(ClaimsMalformed, errors.New("at+jwt without jti or client_id"))
	}
	return nil
}

// revocation: no deny list covers the token.
func (c *tokenCheck) revocation() *Error {
	return c.found.issuer.denied.covers(&c.found.principal, c.found.issuedAt, c.v.clock.Now())
}
