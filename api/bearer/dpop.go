package bearer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// otherConfirmations are the kinds of confirmation that can't be checked here
// (RFC 7800, section 3, and RFC 8705, section 3.1).
var otherConfirmations = []string{"jwk", "jwe", "kid", "jku", "x5t#S256"}

// confirmation returns the key thumbprint of a `cnf` claim (RFC 9449,
// section 6.1), empty without the claim. A kind of confirmation that can't be
// checked here is an error; members that nobody knows don't matter (RFC 7800,
// section 3.1): Keycloak adds kc-jkt-type.
func confirmation(raw jsontext.Value) (string, error) {
	if raw == nil {
		return "", nil
	}
	var methods map[string]jsontext.Value
	if err := json.Unmarshal(raw, &methods); err != nil {
		return "", fmt.Errorf("cnf: %w", err)
	}
	for _, other := range otherConfirmations {
		if _, ok := methods[other]; ok {
			return "", fmt.Errorf("cnf has %s, which can't be checked", other)
		}
	}
	thumbprint, err := text(methods["jkt"])
	if err != nil || thumbprint == "" {
		return "", errors.New("cnf has no jkt")
	}
	return thumbprint, nil
}

// proofMaxAge is how old a DPoP proof may be, to which the skew is added. Proofs
// are remembered for that time to refuse replays.
const proofMaxAge = 30 * time.Second

// maxProofBytes bounds a DPoP proof before anything in it is decoded.
const maxProofBytes = 8 << 10

// prove checks the proof of possession in r for a token, as RFC 9449,
// section 4.3, has it, but for its use. It runs for every request, cached token
// or not.
func (v *Verifier) prove(r *http.Request, token *verified, hash *[32]byte) (*Proof, *Error) {
	headers := r.Header["Dpop"]
	if len(headers) != 1 || headers[0] == "" {
		return nil, refuse(ProofMissing, fmt.Errorf("%d DPoP headers, want 1", len(headers)))
	}
	signed, refusal := openProof(headers[0], token.thumbprint)
	if refusal != nil {
		return nil, refusal
	}
	var claims proofClaims
	if err := json.Unmarshal(signed.payload, &claims); err != nil {
		return nil, invalidProof("claims: %w", err)
	}
	if refusal := claims.judge(v, r, hash); refusal != nil {
		return nil, refusal
	}
	return &Proof{
		v: v, key: sha256.Sum256([]byte(token.thumbprint + " " + claims.ID)),
		by: identity{token.principal.Issuer, token.principal.Subject}, ctx: r.Context(),
	}, nil
}

func invalidProof(format string, args ...any) *Error {
	return refuse(ProofInvalid, fmt.Errorf(format, args...))
}

// openProof returns a proof whose signature is by the key with the thumbprint:
// the one that the token is bound to.
func openProof(text, bound string) (compact, *Error) {
	if len(text) > maxProofBytes {
		return compact{}, invalidProof("proof of %d bytes, want at most %d", len(text), maxProofBytes)
	}
	proof, refusal := parseCompact(text)
	if refusal != nil {
		return proof, refuse(ProofInvalid, refusal)
	}
	algo := algorithms[proof.header.algorithm]
	switch {
	case !strings.EqualFold(proof.header.mediaType, "dpop+jwt"):
		return proof, invalidProof("header typ %.40q, want dpop+jwt", proof.header.mediaType)
	case proof.header.critical:
		return proof, invalidProof("header has crit")
	case algo == nil:
		return proof, invalidProof("alg %.40q is not allowed", proof.header.algorithm)
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(proof.header.key, &members); err != nil {
		return proof, invalidProof("jwk: %w", err)
	}
	public, thumbprint, err := parsePublicKey(members)
	switch {
	case err != nil:
		return proof, invalidProof("jwk %w", err)
	case !algo.fits(public):
		return proof, invalidProof("jwk is not for alg %s", algo.name)
	case base64.RawURLEncoding.EncodeToString(thumbprint[:]) != bound:
		return proof, invalidProof("jwk is not the key that the token is bound to")
	case !algo.verify(public, algo.hash, proof.signed, proof.signature):
		return proof, invalidProof("wrong signature")
	}
	return proof, nil
}

// proofClaims are what a proof says (RFC 9449, section 4.2).
type proofClaims struct {
	ID          string         `json:"jti"`
	Method      string         `json:"htm"`
	URL         string         `json:"htu"`
	IssuedAt    jsontext.Value `json:"iat"`
	AccessToken string         `json:"ath"`
}

// judge tells whether they are of this request and token, and fresh (RFC 9449,
// section 4.3). hash is of the whole token.
func (c *proofClaims) judge(v *Verifier, r *http.Request, hash *[32]byte) *Error {
	issuedAt, ok, err := seconds(c.IssuedAt)
	now, age := v.clock.Now().Unix(), int64(proofMaxAge.Seconds())
	want := strings.TrimSuffix(v.config.PublicURL, "/") + r.URL.EscapedPath()
	switch {
	case err != nil || !ok:
		return invalidProof("iat is missing or no time")
	case issuedAt > now+v.skew() || issuedAt < now-age-v.skew():
		return invalidProof("iat is %d s from now", issuedAt-now)
	case c.Method != r.Method:
		return invalidProof("htm %.20q, want %s", c.Method, r.Method)
	case c.AccessToken != base64.RawURLEncoding.EncodeToString(hash[:]):
		return invalidProof("ath is not of this token")
	case c.ID == "" || len(c.ID) > 256:
		return invalidProof("jti of %d bytes, want 1 to 256", len(c.ID))
	case !sameURL(c.URL, want):
		return invalidProof("htu %.200q, want %q", c.URL, want)
	}
	return nil
}

// sameURL compares scheme, host, port and path, and nothing after the path
// (RFC 9449, section 4.3, item 9), after the normalization of scheme and host
// by RFC 3986, section 6.2.
func sameURL(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	return errX == nil && errY == nil && x.User == nil &&
		strings.EqualFold(x.Scheme, y.Scheme) && strings.EqualFold(hostPort(x), hostPort(y)) && path(x) == path(y)
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	return u.Hostname() + ":" + port
}

func path(u *url.URL) string {
	if p := u.EscapedPath(); p != "" {
		return p
	}
	return "/"
}

// Proof is a proof of possession that is right for its request and was not
// used so far as anybody has looked.
type Proof struct {
	v   *Verifier
	key [32]byte
	by  identity
	ctx context.Context // of the request that it is for
}

// Use records the proof, so that it passes once (RFC 9449, section 11.1): of
// all uses of one proof, however many at a time, exactly one returns nil. The
// error is an *Error: the proof was used before, the principal's share of the
// memory for proofs is full, or nobody can tell at the moment. Use of nil, no
// proof, does nothing.
//
// What a caller who may do nothing here sends takes no memory: call it once the
// caller's base role is known, and before anything is done for the caller.
func (p *Proof) Use() error {
	if p == nil {
		return nil
	}
	var refusal *Error
	switch err := p.v.proofs.use(p.ctx, p.key, p.by, p.v.clock.Now()); {
	case err == nil:
		return nil
	case errors.Is(err, errThere):
		refusal = refuse(ProofReplayed, nil)
	case errors.Is(err, errFull):
		refusal = refuse(ProofsTooMany, err)
	default:
		refusal = refuse(SharedStateUnavailable, err)
	}
	refusal.DPoP = true
	return refusal
}

// newProofs makes the memory for used proofs. One is live while its iat could
// pass, so twice the skew longer than it may be old.
func newProofs(c Config) once {
	return c.shareOnce("proofs", newShares[struct{}](c.limits.proofs, proofMaxAge+2*c.Skew+time.Second, false))
}
