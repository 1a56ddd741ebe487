package login

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"time"
)

// pending is a sign-in that was begun. It travels as the parameter `state`,
// sealed under a key of this process and bound to the browser by its login
// cookie: who is not signed in takes no memory here, and several tabs can sign
// in at once.
type pending struct {
	Verifier string    `json:"v"` // PKCE code verifier (RFC 7636)
	Nonce    string    `json:"n"` // OpenID Connect Core, section 3.1.2.1
	ReturnTo string    `json:"r"`
	Begun    time.Time `json:"t"`
}

// pendingFor is how long a sign-in may take: as long as Keycloak's login page
// waits by default.
const pendingFor = 30 * time.Minute

// sealer encrypts and authenticates pending sign-ins.
type sealer struct{ aead cipher.AEAD }

func newSealer() (sealer, error) {
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sealer{aead}, err
}

// seal returns p for the browser with a login cookie.
func (s sealer) seal(p pending, browser string) (string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, text, []byte(browser))), nil
}

// open returns what was sealed for this browser.
func (s sealer) open(state, browser string, now time.Time) (p pending, err error) {
	text, err := base64.RawURLEncoding.DecodeString(state)
	if err != nil {
		return p, errors.New("the state is not ours")
	}
	if text, err = s.aead.Open(nil, nil, text, []byte(browser)); err != nil {
		return p, errors.New("the state is not ours, or of another browser")
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, err
	}
	if age := now.Sub(p.Begun); age > pendingFor {
		return p, errors.New("the sign-in was begun " + age.Round(time.Second).String() + " ago")
	}
	return p, nil
}

// ownPath is what a path of ours looks like: segments of letters, digits and
// "-._~", none of which begins with a dot. What can't be written so is not
// repaired.
var ownPath = regexp.MustCompile(`^/([A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*)?$`)

// returnPath returns where to go after the sign-in: s if it can only be a path
// of this site that doesn't begin the next sign-in, else "/". An open redirect
// (RFC 9700, section 4.11) would lend our name to another site's page.
func returnPath(s string) string {
	if len(s) > 200 || !ownPath.MatchString(s) || s == "/login" || s == "/callback" || s == "/logout" {
		return "/"
	}
	return s
}
