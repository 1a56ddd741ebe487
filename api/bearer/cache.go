package bearer

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"time"
)

// verified is a token that passed every check, without the token itself.
type verified struct {
	principal  Principal
	issuer     *issuer
	key        *signingKey
	thumbprint string // `cnf.jkt`; empty for a token that isn't sender-constrained

	hash                        [32]byte // SHA-256 of the whole token
	notBefore, issuedAt, expiry int64    // Unix seconds
	until                       int64    // Unix seconds; then it is verified again
	weight                      int64    // in the cache
}

// weight is for how many typical tokens a token of a size counts. What is kept
// of one grows with it, by its lists of roles and groups.
func weight(bytes int) int64 { return 1 + int64(bytes)>>11 }

// usable tells whether the checks whose outcome changes with time still pass.
// What it refuses is checked in full, which finds the reason.
func (e *verified) usable(now, skew int64) bool {
	return now < e.until && now < e.expiry+skew &&
		now+skew >= e.notBefore && now+skew >= e.issuedAt &&
		!e.key.retired.Load()
}

// cache remembers verified tokens by the SHA-256 of the whole token. It belongs
// to one Verifier, whose configuration never changes: another configuration is
// another cache.
//
// It is a set-associative table of atomic pointers: the hash picks a set, and
// a token is in one of the set's few ways or nowhere. Reading takes no lock,
// and the limit on the weight bounds the memory. Refusals are never in it.
type cache struct {
	ways  []atomic.Pointer[verified]
	mask  uint64       // number of sets - 1
	total atomic.Int64 // weight of all entries
	limit int64        // of total; goroutines that add at once can pass it by one entry each
}

// waysPerSet pointers fill one cache line.
const waysPerSet = 8

// newCache makes a cache of at most limit typical tokens, or none if limit < 0.
// It has twice as many ways, so that a set hardly ever fills before the cache
// does.
func newCache(limit int) *cache {
	if limit < 0 {
		return nil
	}
	sets := uint64(1) << bits.Len64(uint64(max(2*limit/waysPerSet, 1)-1))
	return &cache{ways: make([]atomic.Pointer[verified], sets*waysPerSet), mask: sets - 1, limit: int64(limit)}
}

// place returns the set of a hash and the way in it that is looked at first.
func (c *cache) place(hash *[32]byte) (set []atomic.Pointer[verified], first uint64) {
	h := binary.LittleEndian.Uint64(hash[:])
	at := (h & c.mask) * waysPerSet
	return c.ways[at : at+waysPerSet : at+waysPerSet], h >> 61
}

// get returns the entry of a token, or nil.
func (c *cache) get(hash *[32]byte) *verified {
	if c == nil {
		return nil
	}
	set, first := c.place(hash)
	for i := range uint64(waysPerSet) {
		if e := set[(first+i)%waysPerSet].Load(); e != nil && e.hash == *hash {
			return e
		}
	}
	return nil
}

// put adds e, in the place of an older entry of the same token, else in a free
// way, else in the place of the entry of its set that ends first. A cache that
// is full elsewhere doesn't take it.
func (c *cache) put(e *verified) {
	if c == nil {
		return
	}
	set, first := c.place(&e.hash)
	var way *atomic.Pointer[verified]
	var old *verified
	for i := range uint64(waysPerSet) {
		w := &set[(first+i)%waysPerSet]
		x := w.Load()
		if x != nil && x.hash == e.hash {
			w.CompareAndSwap(x, e)
			return
		}
		switch {
		case way == nil, old != nil && (x == nil || x.until < old.until):
			way, old = w, x
		}
	}
	more := e.weight
	if old != nil {
		more -= old.weight
	}
	if more > 0 && c.total.Load()+more > c.limit {
		return
	}
	// Losing the race to another token costs one more verification.
	if way.CompareAndSwap(old, e) {
		c.total.Add(more)
	}
}

// sweep drops the entries that can't be used any more.
func (c *cache) sweep(now time.Time, skew int64) {
	if c == nil {
		return
	}
	for i := range c.ways {
		way := &c.ways[i]
		if e := way.Load(); e != nil && !e.usable(now.Unix(), skew) && way.CompareAndSwap(e, nil) {
			c.total.Add(-e.weight)
		}
	}
}
