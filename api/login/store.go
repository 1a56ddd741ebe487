package login

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"keycloak-model-api/internal/clock"
)

// sessionStore keeps sessions and sign-ins that were begun, in this process or in
// a Redis that all replicas share.
type sessionStore interface {
	scs.Store

	// lock lets one request at a time use a session. It waits until ctx ends.
	lock(ctx context.Context, id string) (unlock func(), err error)
	// index lets a session be found until it expires. It reports false for one that
	// is not new and has expired meanwhile.
	index(ctx context.Context, id string, g *grant, expires time.Time, fresh bool) (bool, error)
	// find returns the ids of the session sid, or without one of all sessions of the
	// subject.
	find(ctx context.Context, sid, sub string) ([]string, error)
	// oldest returns the ids of a subject's sessions beyond the newest n.
	oldest(ctx context.Context, sub string, n int) ([]string, error)
	// tooOld reports whether a session has lived or rested for longer than it may.
	tooOld(id string, g *grant, idle, lifetime time.Duration) bool
	// stepped reports whether nobody can say how old a session is, since the clock
	// was set or the machine suspended after it was used.
	stepped(id string, g *grant) bool

	// add returns the name of a sign-in that begins now.
	add(ctx context.Context) (name string, err error)
	// take reports whether the sign-in had not come back before. It says so once.
	take(ctx context.Context, name string) (bool, error)
}

// memory keeps the sessions in this process: scs reads them by their ids, a logout
// finds them by the names that the issuer has for them, without a walk over
// all. A session leaves both when it is deleted or expires.
type memory struct {
	*memstore.MemStore
	*begun
	locks

	mu       sync.Mutex
	indexed  map[string]*indexed       // by id
	sessions map[named]map[string]bool // the ids of each name
	count    uint64                    // of the sessions so far
	clock    clock.Clock
}

// named is a session at the issuer or all of a subject: one field is set.
type named struct{ sid, sub string }

type indexed struct {
	names   [2]named
	number  uint64 // grows with each session
	expires *time.Timer

	began, used clock.Moment
}

func newMemory() *memory {
	return &memory{
		begun: newBegun(maxBegun), locks: locks{held: map[string]*sessionLock{}},
		MemStore: memstore.NewWithCleanupInterval(0), // expired sessions are deleted below
		indexed:  map[string]*indexed{}, sessions: map[named]map[string]bool{}, clock: clock.New(nil),
	}
}

func (s *memory) index(_ context.Context, id string, g *grant, expires time.Time, fresh bool) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	entry := &indexed{names: [2]named{{sid: g.SessionID}, {sub: g.Subject}}, number: s.count, began: now, used: now}
	switch before := s.indexed[id]; {
	case before != nil:
		entry.number, entry.began = before.number, before.began
		s.forget(id)
	case !fresh:
		return false, nil
	default:
		s.count++
	}
	entry.expires = time.AfterFunc(time.Until(expires), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.indexed[id] == entry { // else it was used meanwhile
			s.forget(id)
			_ = s.MemStore.Delete(id) // which can't fail
		}
	})
	s.indexed[id] = entry
	for _, name := range entry.names {
		if s.sessions[name] == nil {
			s.sessions[name] = map[string]bool{}
		}
		s.sessions[name][id] = true
	}
	return true, nil
}

func (s *memory) find(_ context.Context, sid, sub string) ([]string, error) {
	name := named{sid: sid}
	if sid == "" {
		name = named{sub: sub}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.sessions[name])), nil
}

// tooOld goes by the clock that says more: the wall clock is set back, the
// monotonic one stands still while the machine is suspended.
func (s *memory) tooOld(id string, _ *grant, idle, lifetime time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry, now := s.indexed[id], s.clock.Now()
	return entry == nil || now.Oldest(entry.began) >= lifetime || now.Oldest(entry.used) >= idle
}

func (s *memory) stepped(id string, _ *grant) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := s.indexed[id]
	return entry != nil && s.clock.Now().Stepped(entry.used)
}

func (s *memory) oldest(_ context.Context, sub string, n int) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := slices.SortedFunc(maps.Keys(s.sessions[named{sub: sub}]), func(a, b string) int {
		return cmp.Compare(s.indexed[a].number, s.indexed[b].number)
	})
	return ids[:max(0, len(ids)-n)], nil
}

// Delete deletes a session, if it is there.
func (s *memory) Delete(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(id)
	return s.MemStore.Delete(id)
}

// forget takes a session out of the index. The caller has the lock.
func (s *memory) forget(id string) {
	entry := s.indexed[id]
	if entry == nil {
		return
	}
	entry.expires.Stop()
	delete(s.indexed, id)
	for _, name := range entry.names {
		delete(s.sessions[name], id)
		if len(s.sessions[name]) == 0 {
			delete(s.sessions, name)
		}
	}
}
