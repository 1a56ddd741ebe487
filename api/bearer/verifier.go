package bearer

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"keycloak-model-api/api/issuer"
	"keycloak-model-api/internal/clock"
)

// Verifier checks credentials against one configuration that never changes.
// It is safe for concurrent use.
type Verifier struct {
	config  Config
	clock   clock.Clock
	issuers []*trusted
	paths   paths
	cache   *cache
	interned
	proofs, actions once            // used up
	replies         *shares[[]byte] // introspection answers
}

// trusted is what a Verifier knows of one configured issuer.
type trusted struct {
	*issuer.Issuer
	keys         *keySet
	denied       *denyList
	feed         *feed // nil where replicas share nothing
	introspector introspector
	apart        atomic.Int64 // ns: the issuer's clock less ours, as last seen
}

// cacheTTL bounds the time for which a token isn't verified again; the token's
// own expiry bounds it too.
const cacheTTL = 5 * time.Minute

// New makes a Verifier and begins to fetch the keys of every issuer, without
// waiting for them: until they are there, Check answers 503. The keys are kept
// up to date until ctx ends. The error lists everything that is wrong with c, or
// says that a Store can't be read.
func New(ctx context.Context, c Config) (*Verifier, error) {
	c = c.withDefaults()
	paths, err := newPaths(c.Claims)
	if err := errors.Join(c.validate(), err); err != nil {
		return nil, err
	}
	v := &Verifier{
		config:  c,
		clock:   clock.New(c.Now),
		paths:   paths,
		cache:   newCache(c.CacheEntries),
		proofs:  newProofs(c),
		actions: newActions(c),
		replies: newReplies(c),
	}
	for _, i := range c.Issuers {
		known := &trusted{Issuer: issuer.New(i, c.HTTPClient.Transport, fetchTimeout), denied: newDenyList(&c)}
		known.keys = newKeySet(known.Issuer, &c, v.clock)
		if c.Store != nil {
			known.feed = newFeed(&c, known.URL, known.denied, v.clock)
			last, err := known.feed.catchUp(ctx)
			if err != nil {
				return nil, err
			}
			go known.feed.follow(ctx, last)
		}
		v.issuers = append(v.issuers, known)
		go known.keys.maintain(ctx)
		if i.ClientID != "" && c.NotBeforeInterval > 0 {
			go v.followNotBefore(ctx, known)
		}
	}
	go v.sweep(ctx)
	return v, nil
}

// sweep frees the memory of what has expired, every minute.
func (v *Verifier) sweep(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			v.cache.sweep(v.clock.Now(), cacheTTL, v.skew())
		case <-ctx.Done():
			return
		}
	}
}

// Check returns who r speaks for, and uses up its proof of possession. The
// error is an *Error. It reads no body.
func (v *Verifier) Check(r *http.Request) (*Principal, error) {
	principal, proof, err := v.Authenticate(r)
	if err == nil {
		err = proof.Use()
	}
	if err != nil {
		return nil, err
	}
	return principal, nil
}

// Authenticate is Check for who decides something before the proof is used:
// nothing may be done for the principal until Proof.Use has returned nil. The
// proof is nil where the scheme is Bearer.
func (v *Verifier) Authenticate(r *http.Request) (*Principal, *Proof, error) {
	scheme, token, refusal := v.credential(r)
	if refusal != nil {
		return nil, nil, refusal
	}
	found, cached, refusal := v.verify(r.Context(), scheme, token, false)
	var proof *Proof
	if refusal == nil && scheme == DPoP {
		proof, refusal = v.prove(r, found, &found.hash)
	}
	if v.config.Checked != nil {
		v.config.Checked(refusal, cached)
	}
	if refusal != nil {
		refusal.DPoP = scheme == DPoP
		return nil, nil, refusal
	}
	return &found.principal, proof, nil
}

// Revoked returns an *Error if the issuer has taken back, since p was returned,
// what p was made of: by a logout or a not-before.
// That the token has expired meanwhile is not looked at.
func (v *Verifier) Revoked(p *Principal) error {
	known := v.issuer([]byte(p.Issuer))
	if known == nil {
		return refuse(IssuerUnknown, nil)
	}
	// What can't be ordered in the second of a logout is decided after it.
	if refusal := known.denied.covers(p, p.IssuedAt.Unix(), v.clock.Now()); refusal != nil && refusal.Code != LogoutJustNow {
		return refusal
	}
	return nil
}

// Verify returns who a token speaks for that didn't come in a request. The
// error is an *Error. Sender-constrained tokens are refused: their proof is
// made for a request.
func (v *Verifier) Verify(ctx context.Context, token string) (*Principal, error) {
	found, _, refusal := v.verify(ctx, Bearer, token, false)
	if refusal != nil {
		return nil, refusal
	}
	return &found.principal, nil
}

// verify returns a verified token from the cache, or verifies it; cached tells
// which. What can change while a token lives is checked either way. What the
// issuer was asked about, because of ask or since the token is a lightweight
// one, has a cache of its own.
func (v *Verifier) verify(ctx context.Context, scheme Scheme, token string, ask bool) (found *verified, cached bool, refused *Error) {
	if len(token) > maxTokenBytes {
		return nil, false, refuse(TokenTooLarge, nil)
	}
	hash := sha256.Sum256(view(token))
	now := v.clock.Now()
	if e := v.cache.get(&hash); !ask && e != nil && e.usable(now, cacheTTL, v.skew()) && e.matches(scheme) &&
		e.issuer.denied.covers(&e.principal, e.issuedAt, now) == nil && e.issuer.clockWrong() == nil {
		return e, true, nil
	}
	c := &tokenCheck{v: v, ctx: ctx, scheme: scheme, token: token, now: now.Unix(), ask: ask}
	c.found.hash = hash
	for i := range checks {
		if refusal := checks[i].run(c); refusal != nil {
			return nil, false, refusal
		}
	}
	e := c.found
	e.at = now
	e.until = min(e.expiry+v.skew(), c.now+int64(cacheTTL/time.Second))
	e.weight = weight(len(token))
	if !c.asked {
		v.cache.put(&e)
	}
	return &e, false, nil
}

// matches tells whether the token may come with scheme: sender-constrained
// ones with DPoP, all others with Bearer (RFC 9449, section 7).
func (e *verified) matches(scheme Scheme) bool { return (scheme == DPoP) == (e.thumbprint != "") }

func (v *Verifier) skew() int64 { return int64(v.config.Skew / time.Second) }

// issuerURLs returns the URLs of the configured issuers.
func (v *Verifier) issuerURLs() []string {
	var urls []string
	for _, known := range v.issuers {
		urls = append(urls, known.URL)
	}
	return urls
}

// issuer returns the configured issuer whose URL is iss, byte for byte, or nil.
func (v *Verifier) issuer(iss []byte) *trusted {
	for _, known := range v.issuers {
		if known.URL == string(iss) {
			return known
		}
	}
	return nil
}

// Ready returns nil when tokens of at least one issuer can be judged: its keys are
// there, and its clock agrees with ours. Otherwise it returns what is in the way of
// each issuer's.
func (v *Verifier) Ready() error {
	var errs []error
	for _, i := range v.issuers {
		err := i.keys.ready()
		if err == nil {
			err = i.clockWrong()
		}
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// KeySetStatus is what there is to say of the signing keys of one issuer.
type KeySetStatus struct {
	Issuer            string
	Age               time.Duration // since the fetch that gave them began; negative without keys
	Fetches, Failures uint64        // that ended since the start; those that failed are among them
}

// KeySets returns the status of each issuer's keys.
func (v *Verifier) KeySets() []KeySetStatus {
	var all []KeySetStatus
	for _, i := range v.issuers {
		all = append(all, i.keys.status())
	}
	return all
}

// KeySet returns the key set of a configured issuer for go-oidc's verifiers of
// ID tokens and logout tokens, or nil for another issuer. It allows the same
// algorithms and fetches within the same bounds.
func (v *Verifier) KeySet(issuerURL string) oidc.KeySet {
	if known := v.issuer([]byte(issuerURL)); known != nil {
		return remoteKeys{v, known}
	}
	return nil
}

type remoteKeys struct {
	v      *Verifier
	issuer *trusted
}

// VerifySignature implements oidc.KeySet. The error is an *Error.
func (k remoteKeys) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	c := &tokenCheck{v: k.v, ctx: ctx, token: jwt}
	c.found.issuer = k.issuer
	refusal := c.pass((*tokenCheck).size, (*tokenCheck).shape, (*tokenCheck).algorithm, (*tokenCheck).key, (*tokenCheck).signature)
	if refusal != nil {
		return nil, refusal
	}
	return c.payload, nil
}
