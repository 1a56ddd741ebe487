// Package servicekey exchanges service keys for access tokens, by client
// credentials at the issuer (RFC 6749, section 4.4), which stays the only one that
// knows who may have one. Keycloak does not slow down who guesses the secret of a
// client (keycloak#30077), so this package does: only clients that the policy names
// are asked for, one request at a time for each and at a bounded rate for all.
package servicekey

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/issuer"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/internal/clock"
	"keycloak-model-api/policy"
)

const (
	// keptFor is how long a key counts without asking again. A disabled client and a
	// new secret are seen after it, in streams up to 5 s later, and one request.
	keptFor = 50 * time.Second
	// margin is how long a token must still live to be used, at most.
	margin = 10 * time.Second

	requestTimeout = 4 * time.Second // one exchange at the issuer
	outageWait     = time.Second     // between two exchanges while the issuer fails
	renewWait      = time.Second     // between two exchanges since a not-before refuses the token

	// Of keys that are not known to be good, for all clients.
	perSecond = 20
	burst     = 50
)

// Config says whose keys are taken. Every field is required but HTTPClient.
type Config struct {
	Issuer      string               // of the stack
	InternalURL string               // where it is reached; empty for Issuer
	Verify      Verify               // the check of an access token
	Keyed       func(id string) bool // whether the policy in force lets a client have a key
	HTTPClient  *http.Client         // reaches the issuer; nil for http.DefaultTransport
	Now         func() time.Time     // the wall clock; nil for the system's
	Logger      *slog.Logger
}

// Verify returns who an access token speaks for. The error is a *refusal.Error.
type Verify func(ctx context.Context, token string) (*bearer.Principal, error)

// Exchange takes keys. It is safe for concurrent use.
type Exchange struct {
	config Config
	clock  clock.Clock
	issuer *issuer.Issuer
	tries  *rate.Limiter // of keys that are not known to be good

	mu      sync.Mutex
	clients map[string]*client // by id; only of those that the policy has named
}

// New makes an Exchange.
func New(c Config) *Exchange {
	var transport http.RoundTripper
	if c.HTTPClient != nil {
		transport = c.HTTPClient.Transport
	}
	return &Exchange{
		config: c, clock: clock.New(c.Now), tries: rate.NewLimiter(perSecond, burst), clients: map[string]*client{},
		issuer: issuer.New(issuer.Config{URL: c.Issuer, InternalURL: c.InternalURL}, transport, requestTimeout),
	}
}

// Key is what a request came with.
type Key struct {
	ClientID string // that the key names; nothing says so yet
	hash     [sha256.Size]byte
	secret   string
}

// Fingerprint is what records tell of the key: the first 8 hex digits of its
// SHA-256.
func (k *Key) Fingerprint() string { return hex.EncodeToString(k.hash[:4]) }

// Is says whether a credential is a service key, rather than an access token.
func Is(credential string) bool { return strings.HasPrefix(credential, policy.ServiceKeyPrefix) }

// Parse reads a key. The error is a *refusal.Error.
func Parse(text string) (*Key, error) {
	id, secret, err := policy.ParseServiceKey(text)
	if err != nil {
		return nil, refusal.New(refusal.ServiceKeyMalformed, err)
	}
	return &Key{ClientID: id, hash: sha256.Sum256([]byte(text)), secret: secret}, nil
}

// Grant is what a key stands for at this moment.
type Grant struct {
	Principal *bearer.Principal
	Token     string // access token; it never leaves the API but to the issuer
}

// Redeem returns what a key stands for. The error is a *refusal.Error. That the
// issuer can't be asked never refuses a key that is still kept, nor lets another
// one in.
func (x *Exchange) Redeem(ctx context.Context, k *Key) (*Grant, error) {
	if !x.config.Keyed(k.ClientID) {
		return nil, refusal.New(refusal.ServiceKeyRefused, errors.New("servicekey: the policy lets no client of this id have a key"))
	}
	c := x.client(k.ClientID)
	kept := c.kept(k.hash, x.clock.Now())
	if kept == nil {
		var err error
		if kept, err = x.exchange(ctx, c, k); err != nil {
			return nil, err
		}
	}
	grant, err := x.verified(ctx, k, kept)
	var refused *refusal.Error
	if errors.As(err, &refused) && refused.Code == refusal.TokenRevoked && x.clock.Now().Youngest(kept.at) >= renewWait {
		// A not-before ends tokens, not keys. Once: what the issuer gives now must do.
		if kept, err = x.exchange(ctx, c, k); err == nil {
			grant, err = x.verified(ctx, k, kept)
		}
	}
	return grant, err
}

// verified checks the access token of a key as any other.
func (x *Exchange) verified(ctx context.Context, k *Key, kept *kept) (*Grant, error) {
	p, err := x.config.Verify(ctx, kept.token)
	if err != nil {
		return nil, err
	}
	if p.ClientID != k.ClientID {
		return nil, refusal.New(refusal.ServiceKeyRefused, fmt.Errorf("servicekey: the issuer gave a token of client %.80q for the key of %.80q", p.ClientID, k.ClientID))
	}
	return &Grant{Principal: p, Token: kept.token}, nil
}

func (x *Exchange) client(id string) *client {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.clients[id]
	if c == nil {
		c = &client{}
		x.clients[id] = c
	}
	return c
}

// client is what is known of one client: the last key that was good, with its
// token, and the exchange that is under way.
type client struct {
	mu     sync.Mutex
	good   *kept // of the last good key, however old; nil for none
	flight *flight

	failure error             // why the issuer could not be asked last; nil if it could
	failed  clock.Moment      // when
	asked   [sha256.Size]byte // about which key
}

// kept is the token of a key that the issuer took.
type kept struct {
	hash  [sha256.Size]byte
	token string
	at    clock.Moment  // when the exchange began
	until time.Duration // how long it counts from then on
}

// kept returns the token of a key that need not be exchanged again, or nil.
func (c *client) kept(hash [sha256.Size]byte, now clock.Moment) *kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.good
	if g == nil || g.hash != hash || now.Stepped(g.at) || now.Oldest(g.at) >= g.until {
		return nil
	}
	return g
}

// flight is one exchange under way, which all who have the same key wait for.
type flight struct {
	hash   [sha256.Size]byte
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when kept and err are there
	kept   *kept
	err    error
}

// errOvertaken ends the exchange of a key that is not known to be good.
var errOvertaken = errors.New("servicekey: a key that was good before went first")

// exchange returns the token of a key from the issuer, and keeps it.
func (x *Exchange) exchange(ctx context.Context, c *client, k *Key) (*kept, error) {
	f, err := x.begin(c, k)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
		return f.kept, f.err
	case <-ctx.Done():
		return nil, refusal.New(refusal.CallerGone, ctx.Err())
	}
}

// begin returns the exchange of a key that is under way, or starts it. For each
// client one is under way: a key that was good ends that of another one, which
// could be anybody's guess; the other one is told to come again.
func (x *Exchange) begin(c *client, k *Key) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wasGood := c.good != nil && c.good.hash == k.hash
	now := x.clock.Now()
	switch {
	case c.flight != nil && c.flight.hash == k.hash:
		return c.flight, nil
	case c.failing(now) && (!wasGood || c.asked == k.hash):
		// What a guess has failed by keeps no good key away.
		return nil, c.failure
	case c.flight != nil && wasGood:
		c.flight.cancel(errOvertaken)
	case c.flight != nil:
		return nil, refusal.New(refusal.ServiceKeyWaits, errors.New("servicekey: another key of the client is being checked"))
	case !wasGood && !x.tries.AllowN(now.Time(), 1):
		return nil, refusal.New(refusal.ServiceKeyWaits, fmt.Errorf("servicekey: more than %d new keys a second", perSecond))
	}
	// It serves all who wait for it, so that none of them ends it.
	ctx, cancel := context.WithCancelCause(context.Background())
	f := &flight{hash: k.hash, cancel: cancel, done: make(chan struct{})}
	c.flight = f
	go func() {
		f.kept, f.err = x.ask(ctx, k, now)
		cancel(nil)
		c.ended(f, x.clock.Now())
		close(f.done)
	}()
	return f, nil
}

func (c *client) failing(now clock.Moment) bool {
	return c.failure != nil && !now.Stepped(c.failed) && now.Youngest(c.failed) < outageWait
}

// ended takes over what became of a flight.
func (c *client) ended(f *flight, now clock.Moment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flight == f {
		c.flight = nil
	}
	var refused *refusal.Error
	errors.As(f.err, &refused)
	switch {
	case f.err == nil:
		c.good, c.failure = f.kept, nil
	case refused.Code == refusal.ServiceKeyRefused:
		c.failure = nil
		if c.good != nil && c.good.hash == f.hash {
			c.good = nil
		}
	case refused.Code == refusal.ServiceKeyUnavailable:
		c.failure, c.failed, c.asked = f.err, now, f.hash
	}
}

// ask exchanges a key at the issuer. The error is a *refusal.Error.
func (x *Exchange) ask(ctx context.Context, k *Key, now clock.Moment) (*kept, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	metadata, err := x.issuer.Metadata(ctx)
	if err != nil {
		return nil, x.unavailable(ctx, k, err)
	}
	grant, err := x.issuer.Grant(ctx, metadata.Token, k.ClientID, k.secret)
	var answer *issuer.StatusError
	switch {
	case errors.As(err, &answer) && (answer.Code == "invalid_client" || answer.Code == "unauthorized_client"):
		return nil, refusal.New(refusal.ServiceKeyRefused, err)
	case err != nil:
		if answer == nil || answer.Status == http.StatusNotFound {
			x.issuer.Forget() // it may have moved
		}
		return nil, x.unavailable(ctx, k, err)
	}
	lives := time.Duration(grant.ExpiresIn) * time.Second
	return &kept{hash: k.hash, token: grant.AccessToken, at: now, until: min(keptFor, lives-min(margin, lives/5))}, nil
}

func (x *Exchange) unavailable(ctx context.Context, k *Key, err error) *refusal.Error {
	if context.Cause(ctx) == errOvertaken {
		return refusal.New(refusal.ServiceKeyWaits, errOvertaken)
	}
	x.config.Logger.Warn("a service key could not be exchanged", "client", k.ClientID, "err", err)
	return refusal.New(refusal.ServiceKeyUnavailable, err)
}
