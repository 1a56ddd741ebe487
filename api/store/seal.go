package store

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// Sealer encrypts and authenticates values (XChaCha20-Poly1305) that leave this
// process: for Redis, or for a browser. A value says which key sealed it, and is
// bound to its kind and its key: one that is moved to another record can't be
// opened.
type Sealer struct {
	keys []sealKey // the first one seals, all of them open
}

type sealKey struct {
	id   string
	aead cipher.AEAD
}

// RandomSealer returns a Sealer with a key that nobody else has.
func RandomSealer() (*Sealer, error) {
	key := make([]byte, chacha20poly1305.KeySize)
	rand.Read(key)
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return &Sealer{keys: []sealKey{{"own", aead}}}, nil
}

// ReadSealer returns a Sealer with the keys of a file. Each line is a name and 32
// bytes in base64; the first line is the key that seals, the others are for what
// was sealed before. Lines that begin with # don't count. The errors never
// repeat a key.
func ReadSealer(path string) (*Sealer, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s, err := parseKeys(string(content))
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", path, err)
	}
	return s, nil
}

// keyName is what a key is called: no separator of a value is in it.
var keyName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)

const wantKey = "want a name and 32 bytes in base64, such as from: echo k1 $(openssl rand -base64 32)"

func parseKeys(text string) (*Sealer, error) {
	s := &Sealer{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 || !keyName.MatchString(fields[0]) {
			return nil, fmt.Errorf("line %d: %s", number, wantKey)
		}
		key, err := base64.StdEncoding.DecodeString(fields[1])
		if err != nil || len(key) != chacha20poly1305.KeySize {
			return nil, fmt.Errorf("line %d: %s", number, wantKey)
		}
		if s.key(fields[0]) != nil {
			return nil, fmt.Errorf("line %d: there is a key %s already", number, fields[0])
		}
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		s.keys = append(s.keys, sealKey{fields[0], aead})
	}
	if len(s.keys) == 0 {
		return nil, errors.New("there is no key: " + wantKey)
	}
	return s, nil
}

func (s *Sealer) key(id string) *sealKey {
	for i := range s.keys {
		if s.keys[i].id == id {
			return &s.keys[i]
		}
	}
	return nil
}

// Seal returns the value for the record of a kind with a key.
func (s *Sealer) Seal(kind, key string, plain []byte) []byte {
	first := s.keys[0]
	sealed := append([]byte(first.id), ':')
	nonce := make([]byte, first.aead.NonceSize())
	rand.Read(nonce)
	return first.aead.Seal(append(sealed, nonce...), nonce, plain, bound(kind, key))
}

// Open returns what was sealed for that record. Others may write to Redis: the
// error says that the value is not ours.
func (s *Sealer) Open(kind, key string, sealed []byte) ([]byte, error) {
	id, rest, ok := bytes.Cut(sealed, []byte{':'})
	if !ok || !keyName.Match(id) {
		return nil, errors.New("store: a value is not sealed")
	}
	by := s.key(string(id))
	if by == nil {
		return nil, fmt.Errorf("store: a value is sealed by key %s, which is not among ours", id)
	}
	if len(rest) < by.aead.NonceSize() {
		return nil, errors.New("store: a value is cut off")
	}
	nonce, text := rest[:by.aead.NonceSize()], rest[by.aead.NonceSize():]
	plain, err := by.aead.Open(nil, nonce, text, bound(kind, key))
	if err != nil {
		return nil, fmt.Errorf("store: a value was changed, or sealed for another record or by another key %s", id)
	}
	return plain, nil
}

// bound is what a value is bound to. No kind has a zero byte in it.
func bound(kind, key string) []byte { return []byte(kind + "\x00" + key) }
