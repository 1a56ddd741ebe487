package bearer

import (
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
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
// for Config.MaxLifetime, after which no token that it is for can be alive.
// An earlier revocation of the same is replaced only by a later one.
func (v *Verifier) Revoke(r Revocation) error {
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
	issuer.denied.add(key, r.UpTo.Unix(), v.forget())
	return nil
}

// denied is what a deny-list entry is about.
type denied struct {
	kind deniedKind
	id   string
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

// denyList holds for each denied thing the last second (Unix) whose tokens are
// refused. It is read on every request and hardly ever written: the maps are
// never changed, only replaced, so reading takes no lock.
type denyList struct {
	used   atomic.Bool // there is, or was, an entry
	mu     sync.Mutex  // one writer at a time
	seed   maphash.Seed
	shards [denyShards]atomic.Pointer[map[denied]int64]
	limit  int          // of entries in each shard
	floor  atomic.Int64 // the last second whose tokens are refused, whoever's they are
}

// denyShards bounds what one write copies.
const denyShards = 64

func (l *denyList) shard(key denied) *atomic.Pointer[map[denied]int64] {
	return &l.shards[maphash.String(l.seed, key.id)%denyShards]
}

// add denies key up to a second and drops what no living token can match. A
// full shard gives up its older half for a floor that denies at least as much.
func (l *denyList) add(key denied, upTo, forget int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.used.Store(true)
	if key.kind == wholeIssuer {
		l.floor.Store(max(l.floor.Load(), upTo))
		return
	}
	shard := l.shard(key)
	next := map[denied]int64{}
	if current := shard.Load(); current != nil {
		maps.Copy(next, *current)
	}
	maps.DeleteFunc(next, func(_ denied, upTo int64) bool { return upTo < forget })
	if at, ok := next[key]; !ok || at < upTo {
		next[key] = upTo
	}
	if len(next) > l.limit {
		median := slices.Sorted(maps.Values(next))[len(next)/2]
		l.floor.Store(max(l.floor.Load(), median))
		maps.DeleteFunc(next, func(_ denied, upTo int64) bool { return upTo <= median })
	}
	shard.Store(&next)
}

// covers returns why a token is refused, or nil.
func (l *denyList) covers(p *Principal, issuedAt int64) error {
	if !l.used.Load() {
		return nil
	}
	refused := func(kind deniedKind, upTo int64) error {
		return fmt.Errorf("%s: refuses tokens issued up to %s", kind, unix(upTo).UTC().Format(time.RFC3339))
	}
	if floor := l.floor.Load(); issuedAt <= floor {
		return refused(wholeIssuer, floor)
	}
	for _, key := range [...]denied{{bySession, p.SessionID}, {bySubject, p.Subject}, {byClient, p.ClientID}} {
		if key.id == "" {
			continue
		}
		if upTo, ok := l.upTo(key); ok && issuedAt <= upTo {
			return refused(key.kind, upTo)
		}
	}
	return nil
}

// upTo returns the last second for which key is denied.
func (l *denyList) upTo(key denied) (int64, bool) {
	if m := l.shard(key).Load(); m != nil {
		upTo, ok := (*m)[key]
		return upTo, ok
	}
	return 0, false
}

func newDenyList(limit int) *denyList {
	return &denyList{seed: maphash.MakeSeed(), limit: limit / denyShards}
}
