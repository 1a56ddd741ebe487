package oidctest

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// ErrUseNonce is the error of a proof without the nonce that the provider
// demands (RFC 9449, sections 8 and 9).
var ErrUseNonce = errors.New("use_dpop_nonce")

// Proof checks the proof of possession in r as RFC 9449, section 4.3, has it,
// and returns the thumbprint of its key. url is what r was sent to. token is
// empty at a token endpoint, and nonce where none is demanded. Each proof is
// good for one use.
func (p *Provider) Proof(r *http.Request, url, token, nonce string) (thumbprint string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proof(r, url, token, nonce)
}

func (p *Provider) proof(r *http.Request, url, token, nonce string) (thumbprint string, err error) {
	headers := r.Header["Dpop"]
	if len(headers) != 1 {
		return "", fmt.Errorf("%d DPoP headers, want 1", len(headers))
	}
	signed, err := jwt.ParseSigned(headers[0], []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", err
	}
	header := signed.Headers[0]
	if header.ExtraHeaders["typ"] != "dpop+jwt" || header.JSONWebKey == nil || !header.JSONWebKey.IsPublic() {
		return "", errors.New("want the type dpop+jwt and a public key")
	}
	var claims struct {
		ID          string `json:"jti"`
		Method      string `json:"htm"`
		URL         string `json:"htu"`
		IssuedAt    int64  `json:"iat"`
		AccessToken string `json:"ath"`
		Nonce       string `json:"nonce"`
	}
	if err := signed.Claims(header.JSONWebKey, &claims); err != nil {
		return "", err
	}
	ath := ""
	if token != "" {
		hash := sha256.Sum256([]byte(token))
		ath = base64.RawURLEncoding.EncodeToString(hash[:])
	}
	age := p.Now().Add(p.set.Ahead).Sub(time.Unix(claims.IssuedAt, 0)).Abs()
	switch {
	case claims.Method != r.Method || claims.URL != url:
		return "", fmt.Errorf("proof for %s %s, want %s %s", claims.Method, claims.URL, r.Method, url)
	case claims.AccessToken != ath:
		return "", errors.New("proof of another token")
	case age > time.Minute:
		return "", fmt.Errorf("proof is %v from now", age)
	case claims.ID == "" || p.proofs[claims.ID]:
		return "", errors.New("proof was used before")
	case nonce != "" && claims.Nonce != nonce:
		return "", ErrUseNonce
	}
	p.proofs[claims.ID] = true
	sum, err := header.JSONWebKey.Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

// binding returns the thumbprint of the key that a token request wants its
// tokens bound to: empty without a proof. It answers a wrong proof itself.
func (p *Provider) binding(w http.ResponseWriter, r *http.Request) (thumbprint string, ok bool) {
	if r.Header["Dpop"] == nil || p.set.IgnoresProofs {
		return "", true
	}
	if p.set.Nonce != "" {
		w.Header().Set("DPoP-Nonce", p.set.Nonce)
	}
	thumbprint, err := p.proof(r, strings.TrimSuffix(p.URL, "/")+"/protocol/openid-connect/token", "", p.set.Nonce)
	switch {
	case errors.Is(err, ErrUseNonce):
		refuse(w, http.StatusBadRequest, "use_dpop_nonce", "Authorization server requires nonce in DPoP proof")
	case err != nil:
		refuse(w, http.StatusBadRequest, "invalid_dpop_proof", err.Error())
	}
	return thumbprint, err == nil
}
