package session

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-json-experiment/json"
)

// proofAlgorithm signs the proofs: the one that every authorization server
// and resource server knows.
const proofAlgorithm = jose.ES256

// proofKey is the key that the tokens of one sign-in are bound to (RFC 9449).
// Who has the tokens without it has nothing.
type proofKey struct {
	private    *ecdsa.PrivateKey
	signer     jose.Signer
	thumbprint string // RFC 7638, base64url
}

func newProofKey() (*proofKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("session: making a key: %w", err)
	}
	return proofKeyOf(private)
}

// parseProofKey reads what encode made. Its errors quote nothing of it.
func parseProofKey(text string) (*proofKey, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("session: the key of this sign-in is damaged: sign in again")
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		return nil, errors.New("session: the key of this sign-in is damaged: sign in again")
	}
	return proofKeyOf(private)
}

func proofKeyOf(private *ecdsa.PrivateKey) (*proofKey, error) {
	options := (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: proofAlgorithm, Key: private}, options)
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	public := jose.JSONWebKey{Key: private.Public()}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	return &proofKey{private, signer, base64.RawURLEncoding.EncodeToString(sum)}, nil
}

// encode returns the private key: 32 bytes in base64url.
func (k *proofKey) encode() (string, error) {
	raw, err := k.private.Bytes()
	if err != nil {
		return "", fmt.Errorf("session: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// proof makes the proof for one request (RFC 9449, section 4.2). accessToken
// and nonce may be empty.
func (k *proofKey) proof(req *http.Request, accessToken, nonce string) (string, error) {
	target := *req.URL
	target.RawQuery, target.ForceQuery, target.Fragment, target.RawFragment = "", false, "", ""
	claims := map[string]any{"jti": rand.Text(), "htm": req.Method, "htu": target.String(), "iat": time.Now().Unix()}
	if accessToken != "" {
		hash := sha256.Sum256([]byte(accessToken))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(hash[:])
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return jwt.Signed(k.signer).Claims(claims).Serialize()
}

// prover sends each request with a proof, and once again with the nonce that
// the server demands (RFC 9449, sections 8 and 9).
type prover struct {
	key   *proofKey
	token string // that the requests carry; empty for those to the issuer
	next  http.RoundTripper

	mu     sync.Mutex
	nonces map[string]string // by scheme and host: the last that came
}

func newProver(key *proofKey, token string, next http.RoundTripper) *prover {
	return &prover{key: key, token: token, next: next, nonces: map[string]string{}}
}

func (p *prover) RoundTrip(req *http.Request) (*http.Response, error) {
	nonce := p.nonce(req.URL, "")
	resp, err := p.send(req, nonce)
	if err != nil {
		return nil, err
	}
	fresh := p.nonce(req.URL, resp.Header.Get("DPoP-Nonce"))
	if fresh == nonce || !wantsNonce(resp) || req.Body != nil && req.GetBody == nil {
		return resp, nil
	}
	_ = resp.Body.Close()
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	if resp, err = p.send(again, fresh); err != nil {
		return nil, err
	}
	p.nonce(req.URL, resp.Header.Get("DPoP-Nonce"))
	return resp, nil
}

// send sends a copy of req: a RoundTripper changes no request.
func (p *prover) send(req *http.Request, nonce string) (*http.Response, error) {
	proof, err := p.key.proof(req, p.token, nonce)
	if err != nil {
		return nil, fmt.Errorf("session: signing a proof: %w", err)
	}
	signed := req.Clone(req.Context())
	signed.Header.Set("DPoP", proof)
	return p.next.RoundTrip(signed)
}

// nonce returns the nonce for a server, after it has remembered a new one.
func (p *prover) nonce(u *url.URL, fresh string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	origin := u.Scheme + "://" + u.Host
	if fresh != "" {
		p.nonces[origin] = fresh
	}
	return p.nonces[origin]
}

// wantsNonce reports whether a server refused a proof for its nonce: in the
// challenge of a resource server (RFC 9449, section 9) or in the body of an
// authorization server (section 8). The body can still be read afterwards.
func wantsNonce(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		for _, challenge := range resp.Header.Values("WWW-Authenticate") {
			if strings.Contains(challenge, `error="use_dpop_nonce"`) {
				return true
			}
		}
	case http.StatusBadRequest:
		head, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		rest := io.MultiReader(bytes.NewReader(head), resp.Body)
		resp.Body = struct {
			io.Reader
			io.Closer
		}{rest, resp.Body}
		var body struct {
			Error string `json:"error"`
		}
		return err == nil && json.Unmarshal(head, &body) == nil && body.Error == "use_dpop_nonce"
	}
	return false
}

// Client returns a client for the API of the session. Its requests carry the
// access token, and a proof where the token is bound to a key. It follows no
// redirect and sends nothing elsewhere.
func (a *Access) Client(timeout time.Duration) *http.Client {
	client := NewHTTP(timeout)
	client.Transport = a.Transport(http.DefaultTransport)
	return client
}

// Transport is that of Client over another one.
func (a *Access) Transport(next http.RoundTripper) http.RoundTripper {
	if a.key != nil {
		next = newProver(a.key, a.Token, next)
	}
	return &authorized{access: a, next: next}
}

// authorized adds the access token to requests to the API of its session.
type authorized struct {
	access *Access
	next   http.RoundTripper
}

func (t *authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	api, target := t.access.Session.API, req.URL.String()
	if target != api && !strings.HasPrefix(target, api+"/") {
		return nil, fmt.Errorf("session: the token is for %s, not for %s", api, req.URL.Host)
	}
	scheme := "Bearer "
	if t.access.key != nil {
		scheme = "DPoP "
	}
	signed := req.Clone(req.Context())
	signed.Header.Set("Authorization", scheme+t.access.Token)
	return t.next.RoundTrip(signed)
}
