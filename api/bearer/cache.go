package bearer

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"keycloak-model-api/internal/clock"
)

// verified is a token that passed every check, without the token itself.
type verified struct {
	principal  Principal
	issuer     *issuer
	key        *signingKey
	thumbprint string // `cnf.jkt`; empty for a token that isn't sender-constrained

	hash                        [32]byte     // SHA-256 of the whole token
	notBefore, issuedAt, expiry int64        // Unix seconds
	at                          clock.Moment // when it was verified
	until                       int64        // Unix seconds; then it is verified again
	weight                      int64        // in the cache
}

// weight is for how many typical tokens a token of a size counts. What is kept
// of one grows with it, by its lists of roles and groups.
func weight(bytes int) int64 { return 1 + int64(bytes)>>11 }

// usable tells whether the checks whose outcome changes with time still pass.
// What it refuses is checked in full, which finds the reason.
func (e *verified) usable(moment clock.Moment, ttl time.Duration, skew int64) bool {
	now := moment.Unix()
	return now < e.until && now < e.expiry+skew &&
		now+skew >= e.notBefore && now+skew >= e.issuedAt &&
		moment.Oldest(e.at) < ttl && !moment.Stepped(e.at) &&
		!e.key.retired.Load()
}

// cache remembers verified tokens by the SHA-256 of the whole token. It belongs
// to one Verifier, whose configuration never changes: another configuration is
// another cache.
//
// Reading takes no lock, and the limit on the weight bounds the memory. The
// ways grow with the tokens, since the garbage collector reads all of them in
// each of its rounds: room for 100,000 tokens would cost a server that has few
// a tenth of its time. Refusals are never in it.
type cache struct {
	ways    atomic.Pointer[ways]
	largest int   // number of ways that they may grow to
	limit   int64 // of the weight; goroutines that add at once can pass it by one entry each
	growing sync.Mutex
}

// ways are a set-associative table of atomic pointers: the hash picks a set,
// and a token is in one of the set's few ways or nowhere.
type ways struct {
	entries []atomic.Pointer[verified]
	mask    uint64       // number of sets - 1
	weight  atomic.Int64 // of all entries
}

const (
	waysPerSet = 8 // pointers fill one cache line
	fewestWays = 1 << 10
	growth     = 4
)

// newCache makes a cache of at most limit typical tokens, or none if limit < 0.
// It grows to at least twice as many ways, so that a set hardly ever fills
// before the cache does.
func newCache(limit int) *cache {
	if limit < 0 {
		return nil
	}
	largest := waysPerSet << bits.Len64(uint64(max(2*limit/waysPerSet, 1)-1))
	c := &cache{largest: largest, limit: int64(limit)}
	c.ways.Store(newWays(min(fewestWays, largest)))
	return c
}

// newWays makes n ways, a power of two.
func newWays(n int) *ways {
	return &ways{entries: make([]atomic.Pointer[verified], n), mask: uint64(n/waysPerSet - 1)}
}

// place returns the set of a hash and the way in it that is looked at first.
func (w *ways) place(hash *[32]byte) (set []atomic.Pointer[verified], first uint64) {
	h := binary.LittleEndian.Uint64(hash[:])
	at := (h & w.mask) * waysPerSet
	return w.entries[at : at+waysPerSet : at+waysPerSet], h >> 61
}

// get returns the entry of a token, or nil.
func (c *cache) get(hash *[32]byte) *verified {
	if c == nil {
		return nil
	}
	set, first := c.ways.Load().place(hash)
	for i := range uint64(waysPerSet) {
		if e := set[(first+i)%waysPerSet].Load(); e != nil && e.hash == *hash {
			return e
		}
	}
	return nil
}

// put adds e. A cache that is full doesn't take it unless it replaces another.
func (c *cache) put(e *verified) {
	if c == nil {
		return
	}
	w := c.ways.Load()
	w.put(e, c.limit)
	if len(w.entries) < c.largest && 2*w.weight.Load() > int64(len(w.entries)) {
		c.grow(w)
	}
}

// grow puts the entries of w into more ways. What others add to w meanwhile is
// verified once more.
func (c *cache) grow(w *ways) {
	if !c.growing.TryLock() {
		return // another goroutine does it
	}
	defer c.growing.Unlock()
	if c.ways.Load() != w {
		return
	}
	more := newWays(min(growth*len(w.entries), c.largest))
	for i := range w.entries {
		if e := w.entries[i].Load(); e != nil {
			more.put(e, c.limit)
		}
	}
	c.ways.Store(more)
}

// put adds e, in the place of an older entry of the same token, else in a free
// way, else in the place of the entry of its set that ends first. Ways that are
// full elsewhere don't take it.
func (w *ways) put(e *verified, limit int64) {
	set, first := w.place(&e.hash)
	var way *atomic.Pointer[verified]
	var old *verified
	for i := range uint64(waysPerSet) {
		next := &set[(first+i)%waysPerSet]
		x := next.Load()
		if x != nil && x.hash == e.hash {
			next.CompareAndSwap(x, e)
			return
		}
		switch {
		case way == nil, old != nil && (x == nil || x.until < old.until):
			way, old = next, x
		}
	}
	more := e.weight
	if old != nil {
		more -= old.weight
	}
	if more > 0 && w.weight.Load()+more > limit {
		return
	}
	// Losing the race to another token costs one more verification.
	if way.CompareAndSwap(old, e) {
		w.weight.Add(more)
	}
}

// sweep drops the entries that can't be used any more.
func (c *cache) sweep(now clock.Moment, ttl time.Duration, skew int64) {
	if c == nil {
		return
	}
	w := c.ways.Load()
	for i := range w.entries {
		way := &w.entries[i]
		if e := way.Load(); e != nil && !e.usable(now, ttl, skew) && way.CompareAndSwap(e, nil) {
			w.weight.Add(-e.weight)
		}
	}
}
