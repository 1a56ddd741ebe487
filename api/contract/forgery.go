package contract

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// forgery makes tokens from a good one without the issuer's private keys.
type forgery struct {
	head, payload, signature string // of the good token, encoded
	header, claims           map[string]any
	public                   *jose.JSONWebKey // that the good token is signed with
	encryption               *jose.JSONWebKey // that the issuer publishes beside it

	rsa *rsa.PrivateKey   // ours
	ec  *ecdsa.PrivateKey // ours
}

func newForgery(t Target) (forgery, error) {
	var f forgery
	parts := strings.Split(t.Token, ".")
	if len(parts) != 3 {
		return f, errors.New("contract: the good access token is not a signed JSON Web Token")
	}
	f.head, f.payload, f.signature = parts[0], parts[1], parts[2]
	for i, into := range []*map[string]any{&f.header, &f.claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			return f, fmt.Errorf("contract: the good access token can't be read: %w", err)
		}
	}
	id, _ := f.header["kid"].(string)
	for i, key := range t.Keys.Keys {
		if key.KeyID == id && key.Use != "enc" {
			f.public = &t.Keys.Keys[i]
		}
		if key.Use == "enc" {
			f.encryption = &t.Keys.Keys[i]
		}
	}
	if f.public == nil {
		return f, fmt.Errorf("contract: the issuer doesn't publish the key %q of the good access token", id)
	}
	var err error
	if f.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return f, fmt.Errorf("contract: %w", err)
	}
	if f.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return f, fmt.Errorf("contract: %w", err)
	}
	return f, nil
}

// ownKeys are our public keys, under the id of the issuer's.
func (f *forgery) ownKeys() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{f.ownKey()}}
}

func (f *forgery) ownKey() jose.JSONWebKey {
	return jose.JSONWebKey{Key: f.rsa.Public(), KeyID: f.public.KeyID, Algorithm: "RS256", Use: "sig"}
}

// with returns the good token's header with changes; nil removes a member.
func (f *forgery) with(changes map[string]any) map[string]any { return changed(f.header, changes) }

func changed(from, changes map[string]any) map[string]any {
	to := maps.Clone(from)
	maps.Copy(to, changes)
	maps.DeleteFunc(to, func(_ string, value any) bool { return value == nil })
	return to
}

// ours signs a header and the good claims with our RSA key.
func (f *forgery) ours(header map[string]any) string {
	return f.sign(header, f.claims, func(message string) []byte {
		digest := sha256.Sum256([]byte(message))
		signature, err := rsa.SignPKCS1v15(rand.Reader, f.rsa, crypto.SHA256, digest[:])
		return must(signature, err)
	})
}

// hmac signs with a secret, as HS256.
func (f *forgery) hmac(secret []byte) string {
	return f.sign(f.with(map[string]any{"alg": "HS256"}), f.claims, func(message string) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(message))
		return mac.Sum(nil)
	})
}

// es256 signs with our key on P-256, or has any signature given.
func (f *forgery) es256(signature []byte) string {
	return f.sign(f.with(map[string]any{"alg": "ES256"}), f.claims, func(message string) []byte {
		if signature != nil {
			return signature
		}
		digest := sha256.Sum256([]byte(message))
		r, s, err := ecdsa.Sign(rand.Reader, f.ec, digest[:])
		made := make([]byte, 64)
		must(r, err).FillBytes(made[:32])
		s.FillBytes(made[32:])
		return made
	})
}

func (f *forgery) sign(header, claims map[string]any, signature func(string) []byte) string {
	message := encode(header) + "." + encode(claims)
	return message + "." + base64.RawURLEncoding.EncodeToString(signature(message))
}

// publicKey is the issuer's key in PEM, DER or JSON: what a confused verifier
// may take for the secret of an HMAC.
func (f *forgery) publicKey(form string) []byte {
	if form == "JWK" {
		return must(json.Marshal(f.public))
	}
	der := must(x509.MarshalPKIXPublicKey(f.public.Key))
	if form == "DER" {
		return der
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// encrypted puts the good token into a JWE for the issuer's encryption key.
func (f *forgery) encrypted(token string) string {
	encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.RSA_OAEP, Key: f.encryption.Key, KeyID: f.encryption.KeyID},
		(&jose.EncrypterOptions{}).WithContentType("JWT"))
	object := must(must(encrypter, err).Encrypt([]byte(token)))
	return must(object.CompactSerialize())
}

func encode(v any) string { return base64.RawURLEncoding.EncodeToString(must(json.Marshal(v))) }

// must is for what fails only if this package is wrong.
func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Errorf("contract: %w", err))
	}
	return v
}
