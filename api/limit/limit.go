// Package limit counts what callers use, in the memory of this process or in a
// Redis that several replicas share, and says when a limit of the policy is reached.
//
// Requests are counted when they begin. Tokens are charged when an answer has
// ended, since only then they are known: a running answer is not cut off, and the
// next request is refused.
package limit

import (
	"context"
	"maps"
	"sync"
	"time"

	"keycloak-model-api/policy"
)

// Kind is what is counted.
type Kind string

// What is counted.
const (
	Requests   Kind = "requests"
	Tokens     Kind = "tokens"
	Concurrent Kind = "concurrent"
)

// State is how much of one bound is left.
type State struct {
	Owner     string // whom the limit is for: such as "client batch", or "" for the principal
	Kind      Kind
	Window    time.Duration // 0 for Concurrent
	Limit     int64
	Remaining int64         // never below 0
	Reset     time.Duration // until more is left: whole seconds, at least one
}

// Counter counts requests. Its methods may be called by several goroutines at once.
type Counter interface {
	// Begin counts a request of a principal against its quotas, all or none. The
	// State is the bound that was reached; without a Kind the request may go on. The
	// Lease may be nil.
	Begin(ctx context.Context, issuer, subject string, quotas []policy.Quota) (*Lease, State, error)
}

// Limiter is a Counter in the memory of this process.
type Limiter struct {
	now func() time.Time

	mu     sync.Mutex
	counts map[owner]*count
	swept  time.Time
}

// New makes a Limiter. now tells the time of the windows.
func New(now func() time.Time) *Limiter {
	return &Limiter{now: now, counts: map[owner]*count{}, swept: now()}
}

// owner is what a count belongs to: a principal by issuer and subject, or a pool.
type owner struct{ issuer, subject, pool string }

// count is what one owner has used.
type count struct {
	requests, tokens [len(windows)]window
	running          int64
	until            time.Time // from then on it says nothing any more
}

// windows are the times of policy.Rate.Per. The first slides, the others are fixed.
var windows = [...]time.Duration{time.Minute, time.Hour, 24 * time.Hour}

// window counts in a span of time and the one before.
type window struct {
	start     int64 // Unix seconds
	n, before int64
}

// Lease is a request that is under way. End must be called once.
type Lease struct {
	limiter *Limiter
	held    []held
	shared  *sharedLease // of several replicas; nil for one of this process
}

type held struct {
	quota policy.Quota
	count *count
}

// ownerOf is whose a quota of a principal is.
func ownerOf(issuer, subject string, q policy.Quota) owner {
	if q.Owner == "" {
		return owner{issuer: issuer, subject: subject}
	}
	return owner{pool: q.Owner}
}

// Begin implements Counter. There is never an error.
func (l *Limiter) Begin(_ context.Context, issuer, subject string, quotas []policy.Quota) (*Lease, State, error) {
	lease := &Lease{limiter: l, held: make([]held, 0, len(quotas))}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.sweep(now)
	for _, q := range quotas {
		key := ownerOf(issuer, subject, q)
		c := l.counts[key]
		if c == nil {
			c = &count{}
			l.counts[key] = c
		}
		c.roll(now)
		lease.held = append(lease.held, held{q, c})
	}
	if reached := lease.reached(now); reached.Kind != "" {
		return nil, reached, nil
	}
	for _, h := range lease.held {
		h.count.running++
		for i := range windows {
			h.count.requests[i].n++
		}
		h.count.until = now.Add(2 * longest(h.quota.Limit))
	}
	return lease, State{}, nil
}

// reached is the bound that is reached, of several the one that lasts longest.
func (l *Lease) reached(now time.Time) (reached State) {
	for _, h := range l.held {
		h.states(now, func(s State) {
			if s.Remaining == 0 && s.Reset >= reached.Reset {
				reached = s
			}
		})
	}
	return reached
}

// End ends the request, which used so many tokens. Of a nil Lease it does nothing.
func (l *Lease) End(tokens int64) {
	switch {
	case l == nil:
		return
	case l.shared != nil:
		l.shared.end(tokens)
		return
	}
	l.limiter.mu.Lock()
	defer l.limiter.mu.Unlock()
	now := l.limiter.now()
	for _, h := range l.held {
		h.count.roll(now)
		h.count.running--
		for i := range windows {
			h.count.tokens[i].n += tokens
		}
	}
}

// States calls f for each bound of the request, as it is after its beginning. Of a
// nil Lease there are none.
func (l *Lease) States(f func(State)) {
	if l == nil {
		return
	}
	if l.shared != nil {
		for _, h := range l.held {
			h.states(l.shared.now, f)
		}
		return
	}
	l.limiter.mu.Lock()
	defer l.limiter.mu.Unlock()
	now := l.limiter.now()
	for _, h := range l.held {
		h.count.roll(now)
		h.states(now, f)
	}
}

// states calls f for each bound.
func (h *held) states(now time.Time, f func(State)) {
	if bound := int64(h.quota.Concurrent); bound > 0 {
		f(State{Owner: h.quota.Owner, Kind: Concurrent, Limit: bound, Remaining: max(bound-h.count.running, 0), Reset: time.Second})
	}
	for _, kind := range []struct {
		kind  Kind
		rate  *policy.Rate
		count *[len(windows)]window
	}{{Requests, &h.quota.Requests, &h.count.requests}, {Tokens, &h.quota.Tokens, &h.count.tokens}} {
		for i, bound := range kind.rate.Per() {
			if bound == 0 {
				continue
			}
			remaining, reset := kind.count[i].left(now, i, bound)
			f(State{Owner: h.quota.Owner, Kind: kind.kind, Window: windows[i], Limit: bound, Remaining: remaining, Reset: reset})
		}
	}
}

// left is how much of a bound is left in the i-th window, and how long it takes
// until there is more: for a full one, until one more fits. It counts in whole
// seconds, so that who waits as long as told gets through.
func (w *window) left(now time.Time, i int, bound int64) (remaining int64, reset time.Duration) {
	length := int64(windows[i] / time.Second)
	passed := now.Unix() - w.start
	used, wait := w.n, length-passed
	if i == 0 {
		// The minute before counts for the part of it that the sliding minute still
		// covers, as if its use had been even.
		used += (w.before*(length-passed) + length - 1) / length
		switch free := bound - 1; {
		case used <= free:
		case w.n <= free:
			wait = length - (free-w.n)*length/w.before - passed
		default: // this minute has to become the one before
			wait += length - free*length/w.n
		}
	}
	// A clock that was set back makes the window longer. Nobody is told to wait for
	// more than two of them.
	return max(bound-used, 0), time.Duration(min(max(wait, 1), 2*length)) * time.Second
}

// roll begins the windows that now lies in.
func (c *count) roll(now time.Time) {
	for i, length := range windows {
		seconds := int64(length / time.Second)
		start := now.Unix() - now.Unix()%seconds
		for _, w := range []*window{&c.requests[i], &c.tokens[i]} {
			switch {
			case start <= w.start: // the same, or the clock was set back: nothing is forgotten
			case start == w.start+seconds:
				*w = window{start: start, before: w.n}
			default:
				*w = window{start: start}
			}
		}
	}
}

// longest is the longest window of a limit.
func longest(l *policy.Limit) time.Duration {
	length := windows[0]
	for _, rate := range []policy.Rate{l.Requests, l.Tokens} {
		for i, bound := range rate.Per() {
			if bound > 0 {
				length = max(length, windows[i])
			}
		}
	}
	return length
}

// sweep forgets, once a minute, the counts that say nothing any more.
func (l *Limiter) sweep(now time.Time) {
	if now.Sub(l.swept).Abs() < time.Minute {
		return
	}
	l.swept = now
	maps.DeleteFunc(l.counts, func(_ owner, c *count) bool { return c.running == 0 && now.After(c.until) })
}
