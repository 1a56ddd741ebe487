package login

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"keycloak-model-api/api/store"
	"keycloak-model-api/internal/clock"
)

// pending is a sign-in that was begun. It travels as the parameter `state`,
// sealed under a key of this process, or of all replicas, and bound to the browser
// by its login cookie. In memory it takes one bit, and several tabs can sign in at
// once.
type pending struct {
	Name     string    `json:"i"` // of this sign-in, in the store
	Verifier string    `json:"v"` // PKCE code verifier (RFC 7636)
	Nonce    string    `json:"n"` // OpenID Connect Core, section 3.1.2.1
	ReturnTo string    `json:"r"`
	Subject  string    `json:"s,omitempty"` // who must come back from a step-up
	ACR      []string  `json:"a,omitempty"` // of which it must bring one
	Begun    time.Time `json:"t"`
}

// steppedUp is what a session remembers of the sign-in.
func (p *pending) steppedUp() steppedUp {
	if p.ACR == nil {
		return steppedUp{}
	}
	return steppedUp{For: p.ReturnTo, At: time.Now()}
}

// pendingFor is how long a sign-in may take: as long as Keycloak's login page
// waits by default.
const pendingFor = 30 * time.Minute

// maxBegun is how many sign-ins can be under way: 4 MiB of bits. To push out
// another's within pendingFor takes 18,000 requests a second.
const maxBegun = 1 << 25

// begun counts sign-ins and knows by one bit each which of the last maxBegun
// have not come back yet. It is safe for concurrent use.
type begun struct {
	mu    sync.Mutex
	count uint64
	bits  []uint64
}

func newBegun(size int) *begun { return &begun{bits: make([]uint64, size/64)} }

func (b *begun) add(context.Context) (name string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	number := b.count
	word, bit := b.place(number)
	*word |= bit
	b.count++
	return strconv.FormatUint(number, 10), nil
}

// take reports false, too, for a sign-in that was pushed out by later ones.
func (b *begun) take(_ context.Context, name string) (bool, error) {
	number, err := strconv.ParseUint(name, 10, 64)
	if err != nil {
		return false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if number >= b.count || b.count-number > uint64(len(b.bits))*64 {
		return false, nil
	}
	word, bit := b.place(number)
	waiting := *word&bit != 0
	*word &^= bit
	return waiting, nil
}

func (b *begun) place(number uint64) (word *uint64, bit uint64) {
	at := number % (uint64(len(b.bits)) * 64)
	return &b.bits[at/64], 1 << (at % 64)
}

// stateKind is what a pending sign-in is sealed as, for the browser with a login
// cookie.
const stateKind = "state"

// seal returns p for the browser with a login cookie.
func seal(by *store.Sealer, p pending, browser string) (string, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(by.Seal(stateKind, browser, text)), nil
}

// open returns what was sealed for this browser.
func open(by *store.Sealer, state, browser string, now time.Time) (p pending, err error) {
	text, err := base64.RawURLEncoding.DecodeString(state)
	if err != nil {
		return p, errors.New("the state is not ours")
	}
	if text, err = by.Open(stateKind, browser, text); err != nil {
		return p, fmt.Errorf("the state is not ours, or of another browser: %w", err)
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, err
	}
	if age := now.Sub(p.Begun); age > pendingFor || age < -clock.Tolerance { // set back since
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
