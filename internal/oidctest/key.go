package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for the algorithms of 256 bits
	_ "crypto/sha512" // and for the larger ones
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Key is a signing key: an *rsa.PrivateKey, *ecdsa.PrivateKey or
// ed25519.PrivateKey, or the []byte of an HMAC.
type Key struct {
	ID        string
	Algorithm string
	Private   any
}

// NewKey makes a key for a JOSE algorithm. It panics for an unknown one.
func NewKey(id, algorithm string) *Key {
	key := &Key{ID: id, Algorithm: algorithm}
	var err error
	switch algorithm {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		key.Private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		key.Private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key.Private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		key.Private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, key.Private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("oidctest: no algorithm %q", algorithm)
	}
	if err != nil {
		panic(err)
	}
	return key
}

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey { return k.Private.(crypto.Signer).Public() }

// JWK returns the public key as it is published.
func (k *Key) JWK() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Public(), KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"}
}

// Header is a JOSE header.
type Header map[string]any

// Sign makes a token of any header and claims: values that marshal to JSON, or
// json.RawMessage for what doesn't. The algorithm is the header's `alg`.
func Sign(key *Key, header, claims any) string {
	signed := encode(header) + "." + encode(claims)
	h := struct {
		Algorithm string `json:"alg"`
	}{key.Algorithm}
	// A header that is wrong on purpose is signed with the key's algorithm.
	_ = json.Unmarshal(marshal(header), &h)
	return signed + "." + base64.RawURLEncoding.EncodeToString(key.Signature(h.Algorithm, signed))
}

// Signature signs a message with an algorithm, the key's own or, for a
// forgery, another one.
func (k *Key) Signature(algorithm, message string) []byte {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[algorithm[max(0, len(algorithm)-3):]]
	if hash == 0 {
		hash = crypto.SHA256
	}
	h := hash.New()
	h.Write([]byte(message))
	digest := h.Sum(nil)

	var signature []byte
	var err error
	switch private := k.Private.(type) {
	case []byte:
		mac := hmac.New(hash.New, private)
		mac.Write([]byte(message))
		signature = mac.Sum(nil)
	case *rsa.PrivateKey:
		var options crypto.SignerOpts = hash
		if strings.HasPrefix(algorithm, "PS") {
			options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		}
		signature, err = private.Sign(rand.Reader, digest, options)
	case *ecdsa.PrivateKey:
		size := (private.Params().N.BitLen() + 7) / 8
		r, s, signErr := ecdsa.Sign(rand.Reader, private, digest)
		if err = signErr; err == nil {
			signature = make([]byte, 2*size)
			r.FillBytes(signature[:size])
			s.FillBytes(signature[size:])
		}
	case ed25519.PrivateKey:
		signature = ed25519.Sign(private, []byte(message))
	default:
		err = fmt.Errorf("oidctest: no key of type %T", private)
	}
	if err != nil {
		panic(err)
	}
	return signature
}

func encode(v any) string { return base64.RawURLEncoding.EncodeToString(marshal(v)) }

// marshal leaves a json.RawMessage as it is: it may be wrong on purpose.
func marshal(v any) []byte {
	if raw, ok := v.(json.RawMessage); ok {
		return raw
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
