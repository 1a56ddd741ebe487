package bearer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384 and SHA-512
	"math/big"
	"unsafe"
)

// algorithm is one JOSE signature algorithm (RFC 7518, section 3, and
// RFC 8037, section 3.1) and the only kind of key that it goes with.
type algorithm struct {
	name   string
	hash   crypto.Hash
	verify func(key crypto.PublicKey, hash crypto.Hash, message string, signature []byte) bool
	fits   func(key crypto.PublicKey) bool
}

// algorithms are all that are allowed. Symmetric ones and `none` are not among
// them.
var algorithms = map[string]*algorithm{
	"RS256": {"RS256", crypto.SHA256, verifyPKCS1v15, isRSA},
	"RS384": {"RS384", crypto.SHA384, verifyPKCS1v15, isRSA},
	"RS512": {"RS512", crypto.SHA512, verifyPKCS1v15, isRSA},
	"PS256": {"PS256", crypto.SHA256, verifyPSS, isRSA},
	"PS384": {"PS384", crypto.SHA384, verifyPSS, isRSA},
	"PS512": {"PS512", crypto.SHA512, verifyPSS, isRSA},
	"ES256": {"ES256", crypto.SHA256, verifyECDSA, isCurve(elliptic.P256())},
	"ES384": {"ES384", crypto.SHA384, verifyECDSA, isCurve(elliptic.P384())},
	"ES512": {"ES512", crypto.SHA512, verifyECDSA, isCurve(elliptic.P521())},
	"EdDSA": {"EdDSA", 0, verifyEd25519, isEd25519},
}

// Algorithms returns the JOSE names of the algorithms that a token may be
// signed with, in a fixed order.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// Bounds of RSA keys: RFC 7518, section 3.3, demands 2048 bits; beyond 8192
// one verification costs too much.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

func isRSA(key crypto.PublicKey) bool {
	k, ok := key.(*rsa.PublicKey)
	return ok && k.N.BitLen() >= minRSABits && k.N.BitLen() <= maxRSABits
}

func isCurve(curve elliptic.Curve) func(crypto.PublicKey) bool {
	return func(key crypto.PublicKey) bool {
		k, ok := key.(*ecdsa.PublicKey)
		return ok && k.Curve == curve
	}
}

func isEd25519(key crypto.PublicKey) bool {
	k, ok := key.(ed25519.PublicKey)
	return ok && len(k) == ed25519.PublicKeySize
}

func verifyPKCS1v15(key crypto.PublicKey, hash crypto.Hash, message string, signature []byte) bool {
	var room [maxDigest]byte
	return rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), hash, digest(hash, message, room[:0]), signature) == nil
}

func verifyPSS(key crypto.PublicKey, hash crypto.Hash, message string, signature []byte) bool {
	var room [maxDigest]byte
	// RFC 7518, section 3.5: the salt is as long as the hash.
	options := rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	return rsa.VerifyPSS(key.(*rsa.PublicKey), hash, digest(hash, message, room[:0]), signature, &options) == nil
}

// verifyECDSA takes r and s as RFC 7518, section 3.4, has them: each as long
// as the curve's order. A zero r or s never verifies (CVE-2022-21449).
func verifyECDSA(key crypto.PublicKey, hash crypto.Hash, message string, signature []byte) bool {
	k := key.(*ecdsa.PublicKey)
	size := (k.Curve.Params().N.BitLen() + 7) / 8
	if len(signature) != 2*size {
		return false
	}
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	var room [maxDigest]byte
	return ecdsa.Verify(k, digest(hash, message, room[:0]), r, s)
}

func verifyEd25519(key crypto.PublicKey, _ crypto.Hash, message string, signature []byte) bool {
	return ed25519.Verify(key.(ed25519.PublicKey), view(message), signature)
}

const maxDigest = 64

// digest appends the hash of message to room.
func digest(hash crypto.Hash, message string, room []byte) []byte {
	if hash == crypto.SHA256 { // without the allocation of a hash.Hash
		sum := sha256.Sum256(view(message))
		return append(room, sum[:]...)
	}
	h := hash.New()
	h.Write(view(message))
	return h.Sum(room)
}

// view returns the bytes of s without a copy. They must only be read.
func view(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
