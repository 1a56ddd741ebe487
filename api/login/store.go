package login

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2/memstore"

	"keycloak-model-api/internal/clock"
)

// store keeps the sessions in memory: scs reads them by their ids, a logout
// finds them by the names that the issuer has for them, without a walk over
// all. A session leaves both when it is deleted or expires.
type store struct {
	*memstore.MemStore

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

func newStore() *store {
	return &store{
		MemStore: memstore.NewWithCleanupInterval(0), // expired sessions are deleted below
		indexed:  map[string]*indexed{}, sessions: map[named]map[string]bool{}, clock: clock.New(nil),
	}
}

// index lets a session be found until it expires. It reports false for one that
// is not new and has expired meanwhile.
func (s *store) index(id string, g *grant, expires time.Time, fresh bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	entry := &indexed{names: [2]named{{sid: g.SessionID}, {sub: g.Subject}}, number: s.count, began: now, used: now}
	switch before := s.indexed[id]; {
	case before != nil:
		entry.number, entry.began = before.number, before.began
		s.forget(id)
	case !fresh:
		return false
	default:
		s.count++
	}
	entry.expires = time.AfterFunc(time.Until(expires), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.indexed[id] == entry { // otherwise it was used meanwhile
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
	return true
}

// find returns the ids of the session sid, or without one of all sessions of
// the subject.
func (s *store) find(sid, sub string) []string {
	name := named{sid: sid}
	if sid == "" {
		name = named{sub: sub}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.sessions[name]))
}

// tooOld reports whether a session has lived or rested for longer than it may, by
// the clock that says more: the wall clock is set back, the monotonic one stands
// still while the machine is suspended.
func (s *store) tooOld(id string, idle, lifetime time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry, now := s.indexed[id], s.clock.Now()
	return entry == nil || now.Oldest(entry.began) >= lifetime || now.Oldest(entry.used) >= idle
}

// stepped reports whether the clock was set or the machine suspended since the
// session was used.
func (s *store) stepped(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := s.indexed[id]
	return entry != nil && s.clock.Now().Stepped(entry.used)
}

// oldest returns the ids of a subject's sessions beyond the newest n.
func (s *store) oldest(sub string, n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := slices.SortedFunc(maps.Keys(s.sessions[named{sub: sub}]), func(a, b string) int {
		return cmp.Compare(s.indexed[a].number, s.indexed[b].number)
	})
	return ids[:max(0, len(ids)-n)]
}

// Delete deletes a session, if it is there.
func (s *store) Delete(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(id)
	return s.MemStore.Delete(id)
}

// forget takes a session out of the index. The caller has the lock.
func (s *store) forget(id string) {
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
