package policy

import (
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// A service key is one string that stands for the id and the secret of a client,
// for programs that can only send one fixed string. It is "kma_1_", base64url of
// the client id, a zero byte and the secret, "_", and the CRC-32 (IEEE) of all
// before that in 8 lower-case hex digits. So it holds only characters of b64token
// (RFC 6750, section 2.1).
const (
	// ServiceKeyPrefix begins each service key, of whatever version.
	ServiceKeyPrefix = "kma_"

	// ServiceKeyPattern is the regular expression for programs that look for secrets.
	ServiceKeyPattern = `kma_1_[A-Za-z0-9_-]{6,497}_[0-9a-f]{8}`

	// MaxServiceKey is the length of the longest service key, in bytes.
	MaxServiceKey = 512

	keyVersion = ServiceKeyPrefix + "1_"
	checkSum   = 1 + 8 // bytes: "_" and the digits
)

var keyEncoding = base64.RawURLEncoding.Strict()

// NewServiceKey returns the key of a client. The error says why there can be none.
func NewServiceKey(clientID, secret string) (string, error) {
	switch {
	case clientID == "" || secret == "":
		return "", errors.New("policy: a service key needs a client id and a secret")
	case strings.Contains(clientID+secret, "\x00"):
		return "", errors.New("policy: a service key holds no client id or secret with a zero byte")
	}
	body := keyVersion + keyEncoding.EncodeToString([]byte(clientID+"\x00"+secret))
	if n := len(body) + checkSum; n > MaxServiceKey {
		return "", fmt.Errorf("policy: the service key would have %d characters, %d at most: shorten the client id or the secret", n, MaxServiceKey)
	}
	return body + sumOf(body), nil
}

// ParseServiceKey returns what a key stands for. It looks at the length, the prefix
// and the check sum before anything else. Its errors quote nothing of the key.
func ParseServiceKey(key string) (clientID, secret string, err error) {
	if len(key) > MaxServiceKey {
		return "", "", fmt.Errorf("policy: the service key has %d characters, %d at most", len(key), MaxServiceKey)
	}
	body := key[:max(0, len(key)-checkSum)]
	encoded, ours := strings.CutPrefix(body, keyVersion)
	switch {
	case !ours:
		return "", "", errors.New("policy: the service key does not begin with " + keyVersion)
	case sumOf(body) != key[len(body):]:
		return "", "", errors.New("policy: the check sum of the service key is wrong: it was cut off or mistyped")
	}
	// The decoder skips line ends, which the check sum does not.
	text, err := keyEncoding.DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return "", "", errors.New("policy: the service key is not base64url")
	}
	clientID, secret, _ = strings.Cut(string(text), "\x00")
	if clientID == "" || secret == "" || strings.Contains(secret, "\x00") {
		return "", "", errors.New("policy: the service key does not hold a client id and a secret")
	}
	return clientID, secret, nil
}

// sumOf is what ends a key that begins with body.
func sumOf(body string) string { return fmt.Sprintf("_%08x", crc32.ChecksumIEEE([]byte(body))) }
