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

// checks are all checks of an access token, in their order. This table is
// what a token has to pass; Verifier.verify runs it to the first refusal.
var checks = [...]struct {
	name string
	run  func(*attempt) *Error
}{
	{"one credential", (*attempt).single},
	{"shape", (*attempt).shape},
	{"algorithm", (*attempt).algorithm},
	{"issuer", (*attempt).issuer},
	{"key", (*attempt).key},
	{"signature", (*attempt).signature},
	{"introspection", (*attempt).introspection},
	{"audience", (*attempt).audience},
	{"times", (*attempt).times},
	{"type", (*attempt).types},
	{"authorized party", (*attempt).party},
	{"revocation", (*attempt).revocation},
}

// attempt is one token on its way through the checks.
type attempt struct {
	v      *Verifier
	ctx    context.Context
	scheme Scheme
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

// single: one token, not a list. A cached token has passed this.
func (a *attempt) single() *Error {
	if strings.IndexByte(a.token, ' ') >= 0 || strings.IndexByte(a.token, ',') >= 0 {
		return refuse(MalformedCredential, errors.New("more than one token after the scheme"))
	}
	return nil
}

// shape: a signed JWT in compact serialization, every part readable.
func (a *attempt) shape() (refusal *Error) {
	a.compact, refusal = parseCompact(a.token)
	return refusal
}

// algorithm: one that is allowed, and no extension that we would have to know
// (RFC 7515, section 4.1.11).
func (a *attempt) algorithm() *Error {
	if a.header.critical {
		return refuse(CriticalHeader, nil)
	}
	if a.algo = a.v.allowed[a.header.algorithm]; a.algo == nil {
		return refuse(AlgorithmRefused, fmt.Errorf("alg %.40q, want one of %s", a.header.algorithm, strings.Join(a.v.config.Algorithms, " ")))
	}
	return nil
}

// issuer: the unverified `iss` picks one configured issuer by exact match and
// does nothing else.
func (a *attempt) issuer() *Error {
	a.claims.payload, a.claims.tops = a.payload, a.v.paths.tops
	if err := json.Unmarshal(a.payload, &a.claims); err != nil {
		return refuse(ClaimsMalformed, err)
	}
	iss, err := text(a.claims.issuer)
	if err != nil {
		return refuse(ClaimsMalformed, fmt.Errorf("iss %w", err))
	}
	if a.found.issuer = a.v.issuer([]byte(iss)); a.found.issuer == nil {
		return refuse(IssuerUnknown, fmt.Errorf("iss %.200q is not configured", iss))
	}
	return nil
}

// key: the issuer publishes a key with this `kid`, and it is for this algorithm.
// RFC 7515, section 4.1.4, leaves the `kid` to the issuer, and every Keycloak
// sets it. A token without one is refused also where a single key would fit:
// whether it passes must not depend on how many keys there are.
func (a *attempt) key() *Error {
	if a.header.keyID == "" {
		return refuse(KeyIDMissing, nil)
	}
	set := a.found.issuer.keys
	if set.having(a.header.keyID) == nil && !a.fetches {
		if refusal := a.hopeless(); refusal != nil {
			return refusal
		}
	}
	keys, refusal := set.lookup(a.ctx, a.header.keyID)
	if refusal != nil {
		return refusal
	}
	if !slices.ContainsFunc(keys, a.mayVerify) {
		return refuse(KeyMismatch, fmt.Errorf("key %.80q is not for alg %s", a.header.keyID, a.algo.name))
	}
	a.candidates = keys
	return nil
}

// hopeless tells why a token would be refused whoever signed it, so that
// nothing is fetched for it. Issuer and algorithm were looked at before. What
// comes without claims is no access token, and its own checks are elsewhere.
func (a *attempt) hopeless() *Error {
	if a.claims.payload == nil {
		return nil
	}
	if !a.lightweight() {
		if refusal := a.audience(); refusal != nil {
			return refusal
		}
	}
	if refusal := a.times(); refusal != nil {
		return refusal
	}
	return a.kind()
}

func (a *attempt) mayVerify(key *signingKey) bool {
	return key.id == a.header.keyID && key.fits(a.algo)
}

// signature: it verifies. A wrong one causes no fetch.
func (a *attempt) signature() *Error {
	for _, key := range a.candidates {
		if a.mayVerify(key) && a.algo.verify(key.public, a.algo.hash, a.compact.signed, a.compact.signature) {
			a.found.key = key
			return nil
		}
	}
	return refuse(SignatureInvalid, fmt.Errorf("under key %.80q", a.header.keyID))
}

// audience: `aud` is ours or holds ours.
func (a *attempt) audience() *Error {
	if a.claims.audience == nil {
		return refuse(AudienceWrong, fmt.Errorf("no aud, want %q", a.v.config.Audience))
	}
	list := oneOrMore
	if a.found.key != nil { // verified: many tokens share it
		list = func(raw jsontext.Value) ([]string, error) { return intern(&a.v.interned.audiences, raw, oneOrMore) }
	}
	audiences, err := list(a.claims.audience)
	if err != nil {
		return refuse(ClaimsMalformed, fmt.Errorf("aud %w", err))
	}
	if !slices.Contains(audiences, a.v.config.Audience) {
		return refuse(AudienceWrong, fmt.Errorf("aud %.200q, want %q", audiences, a.v.config.Audience))
	}
	return nil
}

// times: `exp` and `iat` are there, and now is within them and `nbf`, give or
// take the skew.
func (a *attempt) times() *Error {
	var dates [4]int64
	var there [4]bool
	for i, d := range [...]struct {
		name string
		raw  []byte
	}{{"exp", a.claims.expiry}, {"iat", a.claims.issuedAt}, {"nbf", a.claims.notBefore}, {"auth_time", a.claims.authTime}} {
		var err error
		if dates[i], there[i], err = seconds(d.raw); err != nil {
			return refuse(ClaimsMalformed, fmt.Errorf("%s %w", d.name, err))
		}
	}
	if !there[0] || !there[1] {
		return refuse(ClaimsMalformed, errors.New("no exp or no iat"))
	}
	expiry, issuedAt, notBefore := dates[0], dates[1], dates[2]
	skew := a.v.skew()
	when := func(code Code, claim string, at int64) *Error {
		return refuse(code, fmt.Errorf("%s is %s, now is %s, skew %v", claim, unix(at).UTC().Format(time.RFC3339), unix(a.now).UTC().Format(time.RFC3339), a.v.config.Skew))
	}
	switch {
	case a.now >= expiry+skew:
		return when(TokenExpired, "exp", expiry)
	case a.now+skew < notBefore:
		return when(TokenNotYetValid, "nbf", notBefore)
	case a.now+skew < issuedAt:
		return when(IssuedInFuture, "iat", issuedAt)
	case expiry-issuedAt > int64(a.v.config.MaxLifetime/time.Second):
		return refuse(LifetimeTooLong, fmt.Errorf("%d s from iat to exp, want at most %v", expiry-issuedAt, a.v.config.MaxLifetime))
	}
	a.found.expiry, a.found.issuedAt, a.found.notBefore = expiry, issuedAt, notBefore
	p := &a.found.principal
	p.Expiry, p.IssuedAt = unix(expiry), unix(issuedAt)
	if there[3] {
		p.AuthTime = unix(dates[3])
	}
	return nil
}

// kind: an access token by header and claim.
func (a *attempt) kind() *Error {
	mediaType := a.header.mediaType
	if !slices.ContainsFunc(a.v.config.HeaderTypes, func(t string) bool { return strings.EqualFold(t, mediaType) }) {
		return refuse(TokenTypeWrong, fmt.Errorf("header typ %.40q, want one of %q", mediaType, a.v.config.HeaderTypes))
	}
	typ, err := text(a.claims.typ)
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
func (a *attempt) types() *Error {
	if refusal := a.kind(); refusal != nil {
		return refusal
	}
	typ, err := text(a.claims.typ)
	if err != nil {
		return refuse(ClaimsMalformed, fmt.Errorf("typ %w", err))
	}
	if a.found.thumbprint, err = confirmation(a.claims.confirmation); err != nil {
		return refuse(SenderConstraint, err)
	}
	if bound := a.found.thumbprint != ""; bound != (typ == string(DPoP)) {
		return refuse(SenderConstraint, fmt.Errorf("typ %q, key in cnf: %t", typ, bound))
	}
	if !a.found.matches(a.scheme) {
		return refuse(SenderConstraint, fmt.Errorf("typ %q with scheme %s", typ, a.scheme))
	}
	if err := a.fill(); err != nil {
		return refuse(ClaimsMalformed, err)
	}
	p := &a.found.principal
	if p.Subject == "" {
		return refuse(SubjectMissing, nil)
	}
	// RFC 9068, section 2.2: what a token with this header must have beyond
	// what all must have.
	if strings.EqualFold(strings.TrimPrefix(strings.ToLower(a.header.mediaType), "application/"), "at+jwt") && (p.TokenID == "" || p.ClientID == "") {
		return refuse(ClaimsMalformed, errors.New("at+jwt without jti or client_id"))
	}
	return nil
}

// party: the client is one of the configured ones.
func (a *attempt) party() *Error {
	allowed := a.v.config.AuthorizedParties
	if len(allowed) > 0 && !slices.Contains(allowed, a.found.principal.ClientID) {
		return refuse(PartyUnauthorized, fmt.Errorf("azp %.200q", a.found.principal.ClientID))
	}
	return nil
}

// revocation: no deny list covers the token.
func (a *attempt) revocation() *Error {
	return a.found.issuer.denied.covers(&a.found.principal, a.found.issuedAt, a.v.clock.Now())
}
