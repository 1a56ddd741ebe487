package bearer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"keycloak-model-api/internal/clock"
)

// Bounds of one fetch and of waiting for it.
const (
	fetchTimeout  = 5 * time.Second // one request for metadata or keys
	waitTimeout   = 2 * time.Second // a caller waiting on a fetch
	maxRetryDelay = 5 * time.Second // between attempts while the issuer fails
	maxBody       = 1 << 20
)

// keySet holds the signing keys of one issuer. Keys are only ever fetched by
// the schedule in maintain and by refresh, one fetch at a time.
//
// Keys are as old as the larger of both clocks' ages. After a step of the wall
// clock or a suspend nobody knows for how long they were not asked for: they
// don't verify until they are fetched again.
type keySet struct {
	issuer   Issuer
	maxAge   time.Duration
	bound    time.Duration // how long keys work without a fetch that succeeds
	cooldown time.Duration
	client   *http.Client
	log      *slog.Logger
	clock    clock.Clock

	keys atomic.Pointer[fetched] // nil until there are some and after an outage beyond bound

	mu      sync.Mutex
	flight  chan struct{} // closed when the fetch under way ends; nil when there is none
	started clock.Moment  // of the last fetch
	lastErr error         // of the last fetch
	jwksURI string        // from discovery; empty to ask again
}

// fetched are the keys of one fetch.
type fetched struct {
	keys []*signingKey
	at   clock.Moment // when it began
}

func newKeySet(issuer Issuer, c *Config, clock clock.Clock) *keySet {
	client := *c.HTTPClient
	client.Timeout = fetchTimeout
	client.CheckRedirect = sameHost
	return &keySet{
		issuer: issuer, maxAge: c.KeyMaxAge, bound: c.KeyOutageBound, cooldown: c.UnknownKeyCooldown,
		client: &client, clock: clock, log: c.Logger.With("issuer", issuer.URL),
		lastErr: errors.New("bearer: keys were not fetched yet"),
	}
}

// sameHost refuses redirects that leave the host, or the scheme, that was
// configured.
func sameHost(r *http.Request, via []*http.Request) error {
	if len(via) > 3 || r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme {
		return fmt.Errorf("bearer: redirect to %s://%s refused", r.URL.Scheme, r.URL.Host)
	}
	return nil
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

// having returns the current keys if one of them has the id, else nil.
func (s *keySet) having(id string) []*signingKey {
	keys := s.current()
	for _, key := range keys {
		if key.id == id {
			return keys
		}
	}
	return nil
}

// lookup returns the current keys if one of them has the id, and asks the
// issuer for an unknown one when the cool-down allows. Neither keys nor an
// error means that the issuer has no such key.
func (s *keySet) lookup(ctx context.Context, id string) ([]*signingKey, error) {
	if keys := s.having(id); keys != nil {
		return keys, nil
	}
	err := s.refresh(ctx)
	if keys := s.having(id); keys != nil {
		return keys, nil
	}
	return nil, err
}

// refresh waits for a fetch that began within the last cool-down, or begins
// one, and returns how it ended. It waits no longer than waitTimeout.
func (s *keySet) refresh(ctx context.Context) error {
	s.mu.Lock()
	if s.flight == nil {
		if now := s.clock.Now(); s.started != (clock.Moment{}) && !now.Stepped(s.started) && now.Youngest(s.started) < s.cooldown {
			defer s.mu.Unlock()
			return s.lastErr
		}
		s.begin()
	}
	flight := s.flight
	s.mu.Unlock()

	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	select {
	case <-flight:
	case <-timer.C:
		return errors.New("bearer: the issuer takes too long to give its keys")
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastErr
}

// begin starts a fetch. The caller holds mu and knows that none is under way.
func (s *keySet) begin() {
	flight := make(chan struct{})
	began := s.clock.Now()
	s.flight, s.started = flight, began
	jwksURI := s.jwksURI
	go func() {
		defer close(flight)
		// The fetch serves all who wait for it, so no single request's
		// context ends it; its time-out does.
		keys, jwksURI, err := s.fetch(context.Background(), jwksURI)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flight, s.lastErr, s.jwksURI = nil, err, jwksURI
		if err == nil {
			s.publish(keys, began)
		} else if last := s.keys.Load(); last != nil && s.stale(last) {
			s.log.Error("keys are not used any more: too old, or of unknown age since the clock stepped, and the issuer can't be asked", "bound", s.bound)
			s.publish(nil, began)
		}
		if err != nil {
			s.log.Warn("keys could not be fetched", "err", err)
		}
	}()
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
// once; later ones at 4/5 of maxAge after one that succeeded, and soon after
// one that failed.
func (s *keySet) maintain(ctx context.Context) {
	retry := time.Second
	for {
		s.mu.Lock()
		if s.flight == nil {
			s.begin()
		}
		flight := s.flight
		s.mu.Unlock()
		<-flight

		wait := s.maxAge * 4 / 5
		if s.failed() {
			wait = min(retry, wait)
			retry = min(2*retry, maxRetryDelay)
		} else {
			retry = time.Second
		}
		if !s.pause(ctx, wait) {
			return
		}
	}
}

// pause waits, or until the clock steps, and tells whether ctx goes on. Timers
// stand still while the machine is suspended, so it looks every second.
func (s *keySet) pause(ctx context.Context, wait time.Duration) bool {
	began := s.clock.Now()
	for left := wait; left > 0; {
		timer := time.NewTimer(min(left, time.Second))
		select {
		case <-timer.C:
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
	return true
}

func (s *keySet) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastErr != nil
}

// fetch gets the keys, and first where they are when jwksURI is empty. On an
// error it returns no jwksURI, so that the next attempt asks again.
func (s *keySet) fetch(ctx context.Context, jwksURI string) ([]*signingKey, string, error) {
	if jwksURI == "" {
		body, err := s.get(ctx, strings.TrimSuffix(s.issuer.InternalURL, "/")+"/.well-known/openid-configuration")
		if err != nil {
			return nil, "", err
		}
		published, err := parseDiscovery(body, s.issuer.URL)
		if err != nil {
			return nil, "", err
		}
		jwksURI = s.internal(published)
	}
	body, err := s.get(ctx, jwksURI)
	if err != nil {
		return nil, "", err
	}
	keys, ignored, err := parseKeySet(body)
	if len(ignored) > 0 {
		s.log.Debug("published keys ignored", "keys", ignored)
	}
	if err != nil {
		return nil, "", err
	}
	return keys, jwksURI, nil
}

// internal moves an address below the issuer's public URL to its internal one.
func (s *keySet) internal(address string) string {
	public := strings.TrimSuffix(s.issuer.URL, "/") + "/"
	if rest, ok := strings.CutPrefix(address, public); ok {
		return strings.TrimSuffix(s.issuer.InternalURL, "/") + "/" + rest
	}
	return address
}

// get fetches a JSON document, bounded in time and size.
func (s *keySet) get(ctx context.Context, address string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("bearer: %w", err)
	}
	r.Header.Set("Accept", "application/json")
	response, err := s.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("bearer: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("bearer: %s answered %s", address, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("bearer: %s: %w", address, err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("bearer: %s answered more than %d bytes", address, maxBody)
	}
	return body, nil
}

// ready returns nil when there are keys, else why there are none.
func (s *keySet) ready() error {
	if s.keys.Load() != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Errorf("bearer: no keys of issuer %s: %w", s.issuer.URL, s.lastErr)
}
