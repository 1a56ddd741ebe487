package bearer

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// signingKey is one public key that may verify. Its address is its identity:
// a key that a later fetch brings again keeps it.
type signingKey struct {
	id         string
	algorithm  string // `alg` of the key; empty when the key doesn't say
	public     crypto.PublicKey
	thumbprint [32]byte    // RFC 7638
	retired    atomic.Bool // it left the key set
}

// fits tells whether k may verify signatures of a. A key is for one
// algorithm: the one that it names, and always one of its own kind
// (RFC 8725, section 3.1).
func (k *signingKey) fits(a *algorithm) bool {
	return (k.algorithm == "" || k.algorithm == a.name) && a.fits(k.public)
}

// same tells whether a newly fetched key is one that we have.
func (k *signingKey) same(other *signingKey) bool {
	return k.id == other.id && k.algorithm == other.algorithm && k.thumbprint == other.thumbprint
}

// maxKeys bounds a key set. A realm with all algorithms has about ten.
const maxKeys = 100

// errNoKeys is the answer of an issuer that publishes nothing to verify with.
// It counts as a failed fetch: Keycloak always has a key, so such an answer is
// a fault on the way.
var errNoKeys = errors.New("bearer: the key set has no usable signing key")

// parseKeySet reads a JWK set (RFC 7517, section 5). Keys that are not public
// asymmetric signature keys are left out and named in ignored: unknown types,
// `use` other than `sig`, private and symmetric keys, points off their curve,
// short RSA keys, and keys without a kid.
func parseKeySet(body []byte) (keys []*signingKey, ignored []string, err error) {
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, nil, fmt.Errorf("bearer: key set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("bearer: key set: %d keys, want at most %d", len(set.Keys), maxKeys)
	}
	for i, raw := range set.Keys {
		key, err := parseKey(raw)
		switch {
		case err != nil:
			ignored = append(ignored, fmt.Sprintf("key %d: %v", i, err))
		case slices.ContainsFunc(keys, key.same):
			ignored = append(ignored, fmt.Sprintf("key %d: stands there twice", i))
		default:
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, ignored, errNoKeys
	}
	return keys, ignored, nil
}

// parseKey reads one public signature key.
func parseKey(raw jsontext.Value) (*signingKey, error) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	var facts struct {
		ID         string   `json:"kid"`
		Use        string   `json:"use"`
		Algorithm  string   `json:"alg"`
		Operations []string `json:"key_ops"`
	}
	if err := json.Unmarshal(raw, &facts); err != nil {
		return nil, err
	}
	switch {
	case facts.ID == "":
		return nil, errors.New("has no kid")
	case facts.Use != "" && facts.Use != "sig":
		return nil, fmt.Errorf("use is %.20q", facts.Use)
	case facts.Operations != nil && !slices.Contains(facts.Operations, "verify"):
		return nil, errors.New("key_ops is without verify")
	case facts.Algorithm != "" && algorithms[facts.Algorithm] == nil:
		return nil, fmt.Errorf("alg %.20q is not supported", facts.Algorithm)
	}
	public, thumbprint, err := parsePublicKey(members)
	if err != nil {
		return nil, err
	}
	key := &signingKey{id: facts.ID, algorithm: facts.Algorithm, public: public, thumbprint: thumbprint}
	for _, a := range algorithms {
		if key.fits(a) {
			return key, nil
		}
	}
	return nil, errors.New("is of no kind, size or curve that its alg allows")
}

// parsePublicKey takes nothing but the key itself from a JWK. Certificates and
// links to them (x5c, x5u) have no effect.
func parsePublicKey(members map[string]jsontext.Value) (crypto.PublicKey, [32]byte, error) {
	var thumbprint [32]byte
	bare := make(map[string]jsontext.Value, 4)
	for name, value := range members {
		switch name {
		case "d", "p", "q", "dp", "dq", "qi", "oth", "k":
			return nil, thumbprint, errors.New("is a private or symmetric key")
		case "kty", "crv", "x", "y", "n", "e":
			bare[name] = value
		}
	}
	b, err := json.Marshal(bare)
	if err != nil {
		return nil, thumbprint, err
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(b); err != nil {
		return nil, thumbprint, err
	}
	if !jwk.Valid() || !jwk.IsPublic() {
		return nil, thumbprint, errors.New("is not a valid public key")
	}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, thumbprint, err
	}
	copy(thumbprint[:], sum)
	return jwk.Key, thumbprint, nil
}
