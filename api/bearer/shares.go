package bearer

import (
	"errors"
	"sync"
	"time"

	"keycloak-model-api/internal/clock"
)

// shares is a table of bounded size that holds what principals leave in it for
// a time. None may have more entries than are left free for the others, so
// that nobody keeps another out (CWE-770): n who take all they can get leave
// 1/(n+1) of the table. Live entries are never evicted.
type shares[V any] struct {
	limit  int
	keep   time.Duration // for which an entry is live
	grants bool          // whether an entry grants something or refuses it: package clock

	mu      sync.Mutex
	entries map[[32]byte]*shared[V]
	held    map[identity]*share
	order   []*shared[V] // as they were put in or last looked at
}

// identity is who a principal is.
type identity struct{ issuer, subject string }

// share is what one principal has in the table.
type share struct {
	of      identity
	entries int
}

type shared[V any] struct {
	key    [32]byte
	value  V
	by     *share
	at     clock.Moment
	looked clock.Moment // when it was last found live, or put in
}

var (
	errThere = errors.New("there is a live entry already")
	errFull  = errors.New("the principal's share is full")
)

func newShares[V any](limit int, keep time.Duration, grants bool) *shares[V] {
	return &shares[V]{limit: limit, keep: keep, grants: grants, entries: map[[32]byte]*shared[V]{}, held: map[identity]*share{}}
}

func (s *shares[V]) live(e *shared[V], now clock.Moment) bool {
	if s.grants {
		return now.Oldest(e.at) < s.keep && !now.Stepped(e.at)
	}
	return now.Youngest(e.at) < s.keep
}

// get returns the live value of a key, and whether there is one.
func (s *shares[V]) get(key [32]byte, now clock.Moment) (value V, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[key]; e != nil && s.live(e, now) {
		return e.value, true
	}
	return value, false
}

// put adds a value in one step with the look whether there is one: the error is
// errThere or errFull.
func (s *shares[V]) put(key [32]byte, of identity, value V, now clock.Moment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	if e := s.entries[key]; e != nil {
		if s.live(e, now) {
			return errThere
		}
		s.remove(e)
	}
	by := s.held[of]
	if by == nil {
		by = &share{of: of}
	}
	if by.entries >= s.limit-len(s.entries) {
		return errFull
	}
	s.held[of] = by
	by.entries++
	e := &shared[V]{key: key, value: value, by: by, at: now, looked: now}
	s.entries[key] = e
	s.order = append(s.order, e)
	return nil
}

// forget removes what is no longer live. After a step of the clock some are
// live for longer than those behind them: they go to the end of the order.
func (s *shares[V]) forget(now clock.Moment) {
	for len(s.order) > 0 && now.Oldest(s.order[0].looked) >= s.keep {
		e := s.order[0]
		s.order[0], s.order = nil, s.order[1:]
		switch {
		case s.entries[e.key] != e: // replaced
		case s.live(e, now):
			e.looked = now
			s.order = append(s.order, e)
		default:
			s.remove(e)
		}
	}
}

func (s *shares[V]) remove(e *shared[V]) {
	delete(s.entries, e.key)
	if e.by.entries--; e.by.entries == 0 {
		delete(s.held, e.by.of)
	}
}
