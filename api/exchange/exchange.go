// Package exchange gets access tokens for model servers, in the name of who calls
// (RFC 8693). Each is for one audience alone. It carries no act: a model server that
// wants to know who passed it on checks azp.
package exchange

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/singleflight"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/issuer"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/internal/clock"
)

const (
	requestTimeout = 5 * time.Second
	margin         = 10 * time.Second // that a token must still live when it is sent
	maxKept        = 10_000           // tokens
)

// Config says by which client tokens are exchanged. Every field is required but
// InternalURL, HTTPClient and Now.
type Config struct {
	Issuer                 string
	InternalURL            string // where the issuer is reached; empty for Issuer
	ClientID, ClientSecret string
	Keys                   oidc.KeySet                   // of the issuer
	Revoked                func(*bearer.Principal) error // whether the issuer has taken back what was said of a principal
	HTTPClient             *http.Client                  // nil for http.DefaultTransport
	Now                    func() time.Time              // the wall clock; nil for the system's
	Logger                 *slog.Logger
}

// Exchange is safe for concurrent use.
type Exchange struct {
	config  Config
	clock   clock.Clock
	issuer  *issuer.Issuer
	flights singleflight.Group

	mu   sync.Mutex
	kept map[key]*kept
}

// key is what was exchanged: the SHA-256 of a token, and for whom.
type key struct {
	token    [sha256.Size]byte
	audience string
}

// kept is an exchanged token.
type kept struct {
	token string
	who   *bearer.Principal
	at    clock.Moment
	lives time.Duration // from then on
}

// New makes an Exchange.
func New(c Config) *Exchange {
	var transport http.RoundTripper
	if c.HTTPClient != nil {
		transport = c.HTTPClient.Transport
	}
	return &Exchange{
		config: c, clock: clock.New(c.Now), kept: map[key]*kept{},
		issuer: issuer.New(issuer.Config{URL: c.Issuer, InternalURL: c.InternalURL}, transport, requestTimeout),
	}
}

// Token returns an access token of a principal for a model server. The token is the
// one that the principal was made of, which has just been checked. The error is a
// *refusal.Error.
func (x *Exchange) Token(ctx context.Context, who *bearer.Principal, token, audience string) (string, error) {
	k := key{sha256.Sum256([]byte(token)), audience}
	if e := x.find(k); e != nil {
		return e.token, nil
	}
	flight := x.flights.DoChan(string(k.token[:])+audience, func() (any, error) {
		// It serves all who wait for it: its own time-out ends it.
		return x.ask(context.WithoutCancel(ctx), who, token, k)
	})
	select {
	case done := <-flight:
		if done.Err != nil {
			return "", done.Err
		}
		return done.Val.(string), nil
	case <-ctx.Done():
		return "", refusal.New(refusal.CallerGone, ctx.Err())
	}
}

// find returns a token that still lives and whose principal's is not revoked.
func (x *Exchange) find(k key) *kept {
	now := x.clock.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.kept[k]
	if e == nil {
		return nil
	}
	if !x.alive(e, now) {
		delete(x.kept, k)
		return nil
	}
	return e
}

func (x *Exchange) alive(e *kept, now clock.Moment) bool {
	return !now.Stepped(e.at) && now.Oldest(e.at) < e.lives && x.config.Revoked(e.who) == nil
}

// keep remembers a token until the earlier expiry of both.
func (x *Exchange) keep(k key, e *kept) {
	now := x.clock.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.kept) >= maxKept {
		for other, old := range x.kept {
			if !x.alive(old, now) {
				delete(x.kept, other)
			}
		}
	}
	for other := range x.kept { // any one, so that nobody fills it for others
		if len(x.kept) < maxKept {
			break
		}
		delete(x.kept, other)
	}
	x.kept[k] = e
}

// ask exchanges a token at the issuer. The error is a *refusal.Error.
func (x *Exchange) ask(ctx context.Context, who *bearer.Principal, token string, k key) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	now := x.clock.Now()
	metadata, err := x.issuer.Metadata(ctx)
	if err != nil {
		return "", x.unavailable(err)
	}
	got, err := x.issuer.Exchange(ctx, metadata.Token, x.config.ClientID, x.config.ClientSecret, token, k.audience)
	var answer *issuer.StatusError
	switch {
	case errors.As(err, &answer) && answer.Status < 500 && answer.Status != http.StatusNotFound && answer.Status != http.StatusTooManyRequests:
		if answer.Code == "invalid_request" && answer.Description == "Invalid token" { // how Keycloak says so
			return "", refusal.New(refusal.TokenInactive, err)
		}
		x.config.Logger.Error("the issuer gives no token for a model server", "audience", k.audience, "err", err, "description", fmt.Sprintf("%.200q", answer.Description))
		return "", refusal.New(refusal.ExchangeRefused, err)
	case err != nil:
		x.issuer.Forget()
		return "", x.unavailable(err)
	}
	expiry, err := x.check(ctx, who, got, k.audience)
	if err != nil {
		x.config.Logger.Error("the issuer gives a token that is not the one for a model server", "audience", k.audience, "err", err)
		return "", refusal.New(refusal.ExchangeRefused, err)
	}
	earlier := min(expiry, who.Expiry.Unix())
	lives := time.Duration(earlier-now.Unix())*time.Second - margin
	if lives > 0 {
		x.keep(k, &kept{token: got, who: who, at: now, lives: lives})
	}
	return got, nil
}

func (x *Exchange) unavailable(err error) *refusal.Error {
	x.config.Logger.Warn("a token could not be exchanged", "err", err)
	return refusal.New(refusal.ExchangeUnavailable, err)
}

// check returns when a token expires, in Unix seconds, after it has found that it is of
// this principal, by our client, and for this audience and no other.
func (x *Exchange) check(ctx context.Context, who *bearer.Principal, token, audience string) (expiry int64, err error) {
	payload, err := x.config.Keys.VerifySignature(ctx, token)
	if err != nil {
		return 0, err
	}
	var claims struct {
		Issuer   string         `json:"iss"`
		Subject  string         `json:"sub"`
		Party    string         `json:"azp"`
		Type     string         `json:"typ"`
		Audience jsontext.Value `json:"aud"`
		Expiry   int64          `json:"exp"`
	}
	if err := issuer.Decode(payload, &claims); err != nil {
		return 0, fmt.Errorf("exchange: %w", err)
	}
	var one string
	if json.Unmarshal(claims.Audience, &one) != nil {
		var list []string
		if json.Unmarshal(claims.Audience, &list) == nil && len(list) == 1 {
			one = list[0]
		}
	}
	switch {
	case claims.Issuer != x.config.Issuer:
		return 0, fmt.Errorf("exchange: iss is %.200q", claims.Issuer)
	case one != audience:
		return 0, fmt.Errorf("exchange: aud is %.200s, want %q alone", claims.Audience, audience)
	case claims.Subject != who.Subject:
		return 0, errors.New("exchange: sub is another one than the caller's")
	case claims.Party != x.config.ClientID:
		return 0, fmt.Errorf("exchange: azp is %.200q, want %q", claims.Party, x.config.ClientID)
	case claims.Type != "Bearer":
		return 0, fmt.Errorf("exchange: typ is %.40q, want Bearer", claims.Type)
	case claims.Expiry <= x.clock.Now().Unix():
		return 0, errors.New("exchange: it has expired")
	}
	return claims.Expiry, nil
}
