package bearer

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

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

// maxProofBytes bounds a DPoP proof before anything in it is decoded.
const maxProofBytes = 8 << 10

// prove checks the proof of possession in r for a token, as RFC 9449,
// section 4.3, has it. It runs for every request, cached token or not.
func (v *Verifier) prove(r *http.Request, token *verified, hash *[32]byte) *Error {
	headers := r.Header["Dpop"]
	if len(headers) != 1 || headers[0] == "" {
		return refuse(ProofMissing, fmt.Errorf("%d DPoP headers, want 1", len(headers)))
	}
	invalid := func(format string, args ...any) *Error { return refuse(ProofInvalid, fmt.Errorf(format, args...)) }
	if len(headers[0]) > maxProofBytes {
		return invalid("proof of %d bytes, want at most %d", len(headers[0]), maxProofBytes)
	}
	proof, refusal := parseCompact(headers[0])
	if refusal != nil {
		return refuse(ProofInvalid, refusal)
	}
	algo := v.allowed[proof.header.algorithm]
	switch {
	case !strings.EqualFold(proof.header.mediaType, "dpop+jwt"):
		return invalid("header typ %.40q, want dpop+jwt", proof.header.mediaType)
	case proof.header.critical:
		return invalid("header has crit")
	case algo == nil:
		return invalid("alg %.40q is not allowed", proof.header.algorithm)
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(proof.header.key, &members); err != nil {
		return invalid("jwk: %w", err)
	}
	public, thumbprint, err := parsePublicKey(members)
	if err != nil {
		return invalid("jwk %w", err)
	}
	if !algo.fits(public) {
		return invalid("jwk is not for alg %s", algo.name)
	}
	if base64.RawURLEncoding.EncodeToString(thumbprint[:]) != token.thumbprint {
		return invalid("jwk is not the key that the token is bound to")
	}
	if !algo.verify(public, algo.hash, proof.signed, proof.signature) {
		return invalid("wrong signature")
	}

	var claims struct {
		ID          string         `json:"jti"`
		Method      string         `json:"htm"`
		URL         string         `json:"htu"`
		IssuedAt    jsontext.Value `json:"iat"`
		AccessToken string         `json:"ath"`
	}
	if err := json.Unmarshal(proof.payload, &claims); err != nil {
		return invalid("claims: %w", err)
	}
	issuedAt, ok, err := seconds(claims.IssuedAt)
	now, age := v.clock.Now().Unix(), int64(v.config.ProofMaxAge.Seconds())
	switch {
	case err != nil || !ok:
		return invalid("iat is missing or no time")
	case issuedAt > now+v.skew() || issuedAt < now-age-v.skew():
		return invalid("iat is %d s from now", issuedAt-now)
	case claims.Method != r.Method:
		return invalid("htm %.20q, want %s", claims.Method, r.Method)
	case claims.AccessToken != base64.RawURLEncoding.EncodeToString(hash[:]):
		return invalid("ath is not of this token")
	case claims.ID == "" || len(claims.ID) > 256:
		return invalid("jti of %d bytes, want 1 to 256", len(claims.ID))
	}
	want := strings.TrimSuffix(v.config.PublicURL, "/") + r.URL.EscapedPath()
	if !sameURL(claims.URL, want) {
		return invalid("htu %.200q, want %q", claims.URL, want)
	}
	return v.proofs.use(token.thumbprint, claims.ID, now)
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

// proofs remembers the proofs that were used and could be used again
// (RFC 9449, section 11.1), in two generations: when the younger one is older
// than any proof may be, the older one is dropped.
type proofs struct {
	limit    int   // of each generation
	lifetime int64 // seconds for which a proof can be valid

	mu           sync.Mutex
	since        int64 // when young began
	young, older map[[32]byte]struct{}
}

func newProofs(c Config) proofs {
	return proofs{limit: c.MaxProofs, lifetime: int64((c.ProofMaxAge + 2*c.Skew).Seconds()) + 1}
}

// use remembers a proof of a key. It refuses one that was used before, and all
// when too many came within their lifetime.
func (p *proofs) use(thumbprint, id string, now int64) *Error {
	key := sha256.Sum256([]byte(thumbprint + " " + id))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = min(p.since, now) // the clock may have stepped back
	if now-p.since > p.lifetime || p.young == nil {
		p.older, p.young, p.since = p.young, map[[32]byte]struct{}{}, now
	}
	_, young := p.young[key]
	_, older := p.older[key]
	switch {
	case young || older:
		return refuse(ProofReplayed, nil)
	case len(p.young) >= p.limit:
		return refuse(ProofsTooMany, fmt.Errorf("%d proofs within %d s", len(p.young), p.lifetime))
	}
	p.young[key] = struct{}{}
	return nil
}
