package bearer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"keycloak-model-api/api/issuer"
	"keycloak-model-api/internal/clock"
)

// Bounds of one fetch and of waiting for it.
const (
	fetchTimeout  = 5 * time.Second // one request for metadata or keys
	fetchInterval = time.Second     // from the begin of one fetch to the begin of the next
	waitTimeout   = 2 * time.Second // a request that waits for a fetch
	maxRetryDelay = 5 * time.Second // between two fetches by schedule while the issuer fails

	// maxWaiting bounds the requests that wait for keys of one issuer. It holds
	// 1,000 a second, each for waitTimeout.
	maxWaiting = 2048
)

// keySet holds the signing keys of one issuer. Only maintain fetches, so one
// fetch is under way at a time. It fetches by its schedule, and earlier for
// requests that wait.
//
// Keys are as old as the larger of both clocks' ages. After a step of the wall
// clock or a suspend nobody knows for how long they were not asked for: they
// don't verify until they are fetched again.
type keySet struct {
	issuer *issuer.Issuer
	maxAge time.Duration
	bound  time.Duration // how long keys work without a fetch that succeeds
	log    *slog.Logger
	clock  clock.Clock

	keys   atomic.Pointer[fetched] // nil until there are some and after an outage beyond bound
	wanted chan struct{}           // holds one value while a request waits for a fetch to begin

	mu      sync.Mutex
	waiting int           // requests
	begun   int           // number of fetches that began
	ended   int           // number of fetches that ended
	failed  uint64        // of them, without keys
	lastErr error         // of the last fetch that ended
	end     chan struct{} // closed at the end of a fetch, and replaced
}

// fetched are the keys of one fetch.
type fetched struct {
	keys []*signingKey
	at   clock.Moment // when it began
}

func newKeySet(i *issuer.Issuer, c *Config, clock clock.Clock) *keySet {
	return &keySet{
		issuer: i, maxAge: c.KeyMaxAge, bound: max(c.KeyMaxAge, time.Hour),
		clock: clock, log: c.Logger.With("issuer", i.URL),
		wanted: make(chan struct{}, 1), end: make(chan struct{}),
	}
}

// current returns the keys that verify at the moment. Several may have one id;
// then each that fits the algorithm is tried.
func (s *keySet) current() []*signingKey {
	last := s.keys.Load()
	if last == nil || s.stale(last) {
		return nil
	}
	return last.keys
}

// stale tells whether keys are too old to verify, or of an age that nobody
// knows.
func (s *keySet) stale(f *fetched) bool {
	now := s.clock.Now()
	return now.Stepped(f.at) || now.Oldest(f.at) >= s.bound
}

// having returns the current keys if one of them has the id, and
// otherwise nil.
func (s *keySet) having(id string) []*signingKey {
	keys := s.current()
	for _, key := range keys {
		if key.id == id {
			return keys
		}
	}
	return nil
}

// lookup returns the current keys, one of which has the id. For an unknown id
// it waits for a fetch that begins after the call: no other fetch shows that
// the issuer doesn't publish the key. Without that evidence the refusal has
// status 503.
func (s *keySet) lookup(ctx context.Context, id string) ([]*signingKey, *Error) {
	if keys := s.having(id); keys != nil {
		return keys, nil
	}
	err := s.await(ctx, id)
	if keys := s.having(id); keys != nil {
		return keys, nil
	}
	switch {
	case s.current() == nil:
		return nil, refuse(KeysUnavailable, cmp.Or(err, errNoCurrentKeys))
	case err != nil:
		return nil, refuse(KeyNotChecked, fmt.Errorf("kid %.80q is unknown so far: %w", id, err))
	}
	return nil, refuse(KeyUnknown, fmt.Errorf("kid %.80q is not in the key set", id))
}

var (
	errNoCurrentKeys = errors.New("bearer: the keys are of unknown age, since the clock stepped")
	errManyWaiting   = fmt.Errorf("bearer: %d requests wait for the keys already", maxWaiting)
	errSlowIssuer    = errors.New("bearer: the issuer takes too long to give its keys")
)

// await returns when a key with the id is there, or how the first fetch that
// began after the call ended. It waits no longer than waitTimeout.
func (s *keySet) await(ctx context.Context, id string) error {
	s.mu.Lock()
	switch {
	case s.keys.Load() == nil && s.lastErr != nil:
		defer s.mu.Unlock()
		return s.lastErr // nobody can be verified: the schedule asks again
	case s.waiting >= maxWaiting:
		defer s.mu.Unlock()
		return errManyWaiting
	}
	s.waiting++
	next := s.begun + 1
	select {
	case s.wanted <- struct{}{}:
	default: // others want it too
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
	}()

	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	for {
		s.mu.Lock()
		ended, err, end := s.ended, s.lastErr, s.end
		s.mu.Unlock()
		if ended >= next {
			return err
		}
		if s.having(id) != nil {
			return nil
		}
		select {
		case <-end:
		case <-timer.C:
			return errSlowIssuer
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refresh fetches the keys once and wakes the requests that wait.
func (s *keySet) refresh(ctx context.Context) error {
	s.mu.Lock()
	s.begun++
	select {
	case <-s.wanted: // all who wait now wait for this fetch
	default:
	}
	s.mu.Unlock()
	began := s.clock.Now()
	keys, err := s.fetch(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		s.publish(keys, began)
	} else {
		s.log.Warn("keys could not be fetched", "err", err)
		if last := s.keys.Load(); last != nil && s.stale(last) {
			s.log.Error("keys are not used any more: too old, or of unknown age since the clock stepped, and the issuer can't be asked",
				"bound", s.bound)
			s.publish(nil, began)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.lastErr = s.begun, err
	if err != nil {
		s.failed++
	}
	close(s.end)
	s.end = make(chan struct{})
	return err
}

// publish makes keys the current ones. Keys that were there before keep their
// identity; those that are gone are retired, and with them what they verified.
func (s *keySet) publish(keys []*signingKey, at clock.Moment) {
	var before []*signingKey
	if last := s.keys.Load(); last != nil {
		before = last.keys
	}
	for i, key := range keys {
		if at := slices.IndexFunc(before, key.same); at >= 0 {
			keys[i] = before[at]
		} else {
			s.log.Info("signing key added", "kid", key.id, "alg", key.algorithm)
		}
	}
	if keys == nil {
		s.keys.Store(nil)
	} else {
		s.keys.Store(&fetched{keys, at})
	}
	for _, key := range before {
		if !slices.Contains(keys, key) {
			key.retired.Store(true)
			s.log.Info("signing key removed", "kid", key.id)
		}
	}
}

// maintain keeps the keys young until ctx ends. The first fetch begins at
// once; later ones at 4/5 of maxAge after one that succeeded, soon after one
// that failed, and for requests that wait, at most once in fetchInterval.
func (s *keySet) maintain(ctx context.Context) {
	retry := time.Second
	for {
		interval := time.NewTimer(fetchInterval)
		wait := s.maxAge * 4 / 5
		if err := s.refresh(ctx); err != nil {
			wait = min(retry, wait)
			retry = min(2*retry, maxRetryDelay)
		} else {
			retry = time.Second
		}
		if !s.pause(ctx, wait) {
			return
		}
		select {
		case <-interval.C:
		case <-ctx.Done():
			return
		}
	}
}

// pause waits, or until a request wants a fetch or the clock steps, and tells
// whether ctx goes on. Timers stand still while the machine is suspended, so
// it looks every second.
func (s *keySet) pause(ctx context.Context, wait time.Duration) bool {
	began := s.clock.Now()
	for left := wait; left > 0; {
		timer := time.NewTimer(min(left, time.Second))
		select {
		case <-timer.C:
		case <-s.wanted:
			timer.Stop()
			return true
		case <-ctx.Done():
			timer.Stop()
			return false
		}
		now := s.clock.Now()
		if now.Stepped(began) {
			s.log.Warn("the wall clock was set or the machine suspended: the keys are fetched again")
			return true
		}
		left = wait - now.Oldest(began)
	}
	return ctx.Err() == nil
}

// fetch gets the keys, and first where they are when that isn't known. After
// an error the next one asks where again.
func (s *keySet) fetch(ctx context.Context) (keys []*signingKey, err error) {
	defer func() {
		if err != nil {
			s.issuer.Forget()
		}
	}()
	metadata, err := s.issuer.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	if metadata.JWKS == "" {
		return nil, errors.New("bearer: the issuer has no jwks_uri")
	}
	answer, err := s.issuer.Get(ctx, metadata.JWKS)
	if err != nil {
		return nil, err
	}
	keys, ignored, err := parseKeySet(answer.Body)
	if len(ignored) > 0 {
		s.log.Debug("published keys ignored", "keys", ignored)
	}
	return keys, err
}

// status says how old the keys are and how their fetches went.
func (s *keySet) status() KeySetStatus {
	age := time.Duration(-1)
	if last := s.keys.Load(); last != nil {
		age = s.clock.Now().Oldest(last.at)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return KeySetStatus{Issuer: s.issuer.URL, Age: age, Fetches: uint64(s.ended), Failures: s.failed}
}

// ready returns nil when there are keys, and otherwise why there are none. A
// key id that is unknown to them has no say in it.
func (s *keySet) ready() error {
	if s.keys.Load() != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Errorf("bearer: no keys of issuer %s: %w", s.issuer.URL, cmp.Or(s.lastErr, errNotFetched))
}

var errNotFetched = errors.New("bearer: keys were not fetched yet")
