package bearer

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"keycloak-model-api/internal/clock"
)

// Revocation refuses tokens that an issuer gave out up to a time. At most one
// of Session, Subject and Client is set; with none, it is for all tokens of
// the issuer.
type Revocation struct {
	Issuer  string    // exact `iss`, one of Config.Issuers
	Session string    // `sid`: the end of one session
	Subject string    // `sub`: the end of all sessions of one user
	Client  string    // `azp`: not-before of one client
	UpTo    time.Time // tokens with an `iat` up to and including it are refused
}

// Revoke refuses from now on what r says, verified tokens included. It is kept
// for maxLifetime, after which no token that it is for can be alive.
// An earlier revocation of the same is replaced only by a later one. An *Error says
// that other replicas don't know of it yet.
func (v *Verifier) Revoke(ctx context.Context, r Revocation) error {
	issuer := v.issuer([]byte(r.Issuer))
	if issuer == nil {
		return fmt.Errorf("bearer: revocation for issuer %.200q, which is not configured", r.Issuer)
	}
	key := denied{kind: wholeIssuer}
	set := 0
	for _, k := range []denied{{bySession, r.Session}, {bySubject, r.Subject}, {byClient, r.Client}} {
		if k.id != "" {
			key = k
			set++
		}
	}
	if set > 1 {
		return errors.New("bearer: revocation with more than one of Session, Subject and Client")
	}
	return v.deny(ctx, issuer, key, mark{upTo: r.UpTo.Unix(), at: v.clock.Now()})
}

// denied is what a deny-list entry is about.
type denied struct {
	kind deniedKind
	id   string
}

// mark is what a deny-list entry says.
type mark struct {
	upTo      int64        // last second (Unix) whose tokens are refused
	at        clock.Moment // when that was learned
	subject   string       // of a session that ended, where the issuer said so
	unordered bool         // of the tokens of the last second some may be from after it
}

type deniedKind byte

const (
	wholeIssuer deniedKind = iota
	bySession
	bySubject
	byClient
)

func (k deniedKind) String() string {
	return [...]string{"not-before of the realm", "end of the session", "end of the user's sessions", "not-before of the client"}[k]
}

// above tells whether m refuses more than old.
func (m mark) above(old mark) bool {
	return m.upTo > old.upTo || m.upTo == old.upTo && old.unordered && !m.unordered
}

// denyList holds for each denied thing up to when its tokens are refused. It is
// read on every request and hardly ever written: the maps are never changed,
// only replaced, so reading takes no lock.
//
// An entry is as old as the smaller of both clocks' ages (package clock): a
// step of the clock drops none whose tokens can be alive.
type denyList struct {
	used   atomic.Bool // there is, or was, an entry
	seed   maphash.Seed
	shards [denyShards]atomic.Pointer[map[denied]mark]
	limit  int           // of entries in each shard
	keep   time.Duration // an entry of no future second
	floor  atomic.Int64  // the last second whose tokens are refused, whoever's they are

	mu       sync.Mutex // one writer at a time
	entries  int
	sessions map[string]int // ended sessions with an entry, by subject
}

// denyShards bounds what one write copies.
const denyShards = 64

func (l *denyList) shard(key denied) *atomic.Pointer[map[denied]mark] {
	return &l.shards[maphash.String(l.seed, key.id)%denyShards]
}

// add denies key and drops what no living token can match. A user whose ended
// sessions take more entries than are left free gets one entry for all of them:
// nobody fills the list for others. A full shard gives up its older half for a
// floor that denies at least as much.
func (l *denyList) add(key denied, m mark, now clock.Moment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.used.Store(true)
	if key.kind == wholeIssuer {
		l.floor.Store(max(l.floor.Load(), m.upTo))
		return
	}
	if m.subject != "" && l.sessions[m.subject] >= max(denyShards*l.limit-l.entries, 1) {
		key, m = denied{bySubject, m.subject}, l.joined(m)
	}
	l.change(l.shard(key), func(next map[denied]mark) {
		maps.DeleteFunc(next, func(_ denied, old mark) bool { return l.dead(old, now) })
		// The same again, such as a replay, doesn't make the entry younger.
		if old, ok := next[key]; !ok || m.above(old) {
			next[key] = m
		}
		if len(next) > l.limit {
			times := make([]int64, 0, len(next))
			for _, m := range next {
				times = append(times, m.upTo)
			}
			slices.Sort(times)
			median := times[len(times)/2]
			l.floor.Store(max(l.floor.Load(), median))
			maps.DeleteFunc(next, func(_ denied, m mark) bool { return m.upTo <= median })
		}
	})
}

// joined takes the ended sessions of m's subject out and returns the mark for
// all of that user's tokens that stands for them. The reader finds one or the
// other: the mark comes before the entries go.
func (l *denyList) joined(m mark) mark {
	subject := m.subject
	m = mark{upTo: m.upTo, at: m.at}
	own := func(_ denied, old mark) bool { return old.subject == subject }
	for i := range l.shards {
		if shard := l.shards[i].Load(); shard != nil {
			for key, old := range *shard {
				if own(key, old) {
					m.upTo = max(m.upTo, old.upTo)
				}
			}
		}
	}
	all := denied{bySubject, subject}
	l.change(l.shard(all), func(next map[denied]mark) {
		if old, ok := next[all]; !ok || m.above(old) {
			next[all] = m
		}
	})
	for i := range l.shards {
		l.change(&l.shards[i], func(next map[denied]mark) { maps.DeleteFunc(next, own) })
	}
	return m
}

// change replaces a shard by a changed copy and keeps count.
func (l *denyList) change(shard *atomic.Pointer[map[denied]mark], do func(map[denied]mark)) {
	next := map[denied]mark{}
	if current := shard.Load(); current != nil {
		maps.Copy(next, *current)
	}
	l.count(next, -1)
	do(next)
	l.count(next, 1)
	shard.Store(&next)
}

func (l *denyList) count(shard map[denied]mark, sign int) {
	l.entries += sign * len(shard)
	for _, m := range shard {
		if m.subject == "" {
			continue
		}
		if l.sessions[m.subject] += sign; l.sessions[m.subject] == 0 {
			delete(l.sessions, m.subject)
		}
	}
}

// all returns what is denied and not dead, the floor among it.
func (l *denyList) all(now clock.Moment) iter.Seq2[denied, mark] {
	return func(yield func(denied, mark) bool) {
		if floor := l.floor.Load(); floor > 0 && !yield(denied{kind: wholeIssuer}, mark{upTo: floor}) {
			return
		}
		for i := range l.shards {
			shard := l.shards[i].Load()
			if shard == nil {
				continue
			}
			for key, m := range *shard {
				if !l.dead(m, now) && !yield(key, m) {
					return
				}
			}
		}
	}
}

// dead tells whether no token that m refuses can be alive.
func (l *denyList) dead(m mark, now clock.Moment) bool {
	ahead := min(max(m.upTo-m.at.Unix(), 0), int64(366*24*time.Hour/time.Second))
	return now.Youngest(m.at) > l.keep+time.Duration(ahead)*time.Second
}

// covers returns why a token is refused, or nil.
func (l *denyList) covers(p *Principal, issuedAt int64, now clock.Moment) *Error {
	if !l.used.Load() {
		return nil
	}
	refused := func(kind deniedKind, upTo int64) *Error {
		return refuse(TokenRevoked, fmt.Errorf("%s: refuses tokens issued up to %s", kind, unix(upTo).UTC().Format(time.RFC3339)))
	}
	if floor := l.floor.Load(); issuedAt <= floor {
		return refused(wholeIssuer, floor)
	}
	for _, key := range [...]denied{{bySession, p.SessionID}, {bySubject, p.Subject}, {byClient, p.ClientID}} {
		if key.id == "" {
			continue
		}
		m, ok := l.mark(key)
		switch {
		case !ok || issuedAt > m.upTo:
		case !m.unordered || issuedAt < m.upTo || !p.AuthTime.IsZero() && p.AuthTime.Unix() < m.upTo:
			return refused(key.kind, m.upTo)
		case now.Youngest(m.at) < time.Second:
			return refuse(LogoutJustNow, nil)
		}
	}
	return nil
}

// mark returns what is said of key.
func (l *denyList) mark(key denied) (mark, bool) {
	if m := l.shard(key).Load(); m != nil {
		mark, ok := (*m)[key]
		return mark, ok
	}
	return mark{}, false
}

func newDenyList(c *Config) *denyList {
	return &denyList{seed: maphash.MakeSeed(), limit: c.limits.revocations / denyShards, keep: maxLifetime + 2*c.Skew, sessions: map[string]int{}}
}
