package bearer

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"keycloak-model-api/internal/clock"
)

// verified is a token that passed every check, without the token itself.
type verified struct {
	principal  Principal
	issuer     *trusted
	key        *signingKey
	thumbprint string // `cnf.jkt`; empty for a token that isn't sender-constrained

	hash                        [32]byte     // SHA-256 of the whole token
	notBefore, issuedAt, expiry int64        // Unix seconds
	at                          clock.Moment // when it was verified
	until                       int64        // Unix seconds; then it is verified again
	weight                      int64        // in the cache
	by                          *weighed
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
// slots grow with the tokens, since the garbage collector reads all of them in
// each of its rounds: room for 100,000 tokens would cost a server that has few
// a tenth of its time. Refusals are never in it.
//
// As in shares, a principal's tokens weigh at most as much as is left free for
// the others', and take no slot from another's that still count.
type cache struct {
	slots   atomic.Pointer[slots]
	largest int // number of slots that they may grow to
	limit   int64

	mu     sync.Mutex // one writer at a time
	weight int64      // of all entries
	held   map[identity]*weighed
}

// weighed is what one principal has in the cache.
type weighed struct {
	of     identity
	weight int64
}

// slots are a set-associative table of atomic pointers: the hash picks a set,
// and a token is in one of the set's few slots or nowhere.
type slots struct {
	entries []atomic.Pointer[verified]
	mask    uint64 // number of sets - 1
}

const (
	slotsPerSet = 8 // pointers fill one cache line
	fewestSlots = 1 << 10
	growth      = 4
)

// newCache makes a cache of at most limit typical tokens, or none if limit < 0.
// It grows to at least twice as many slots, so that a set hardly ever fills
// before the cache does.
func newCache(limit int) *cache {
	if limit < 0 {
		return nil
	}
	largest := slotsPerSet << bits.Len64(uint64(max(2*limit/slotsPerSet, 1)-1))
	c := &cache{largest: largest, limit: int64(limit), held: map[identity]*weighed{}}
	c.slots.Store(newSlots(min(fewestSlots, largest)))
	return c
}

// newSlots makes n slots, a power of two.
func newSlots(n int) *slots {
	return &slots{entries: make([]atomic.Pointer[verified], n), mask: uint64(n/slotsPerSet - 1)}
}

// place returns the set of a hash and the slot in it that is looked at first.
func (s *slots) place(hash *[32]byte) (set []atomic.Pointer[verified], first uint64) {
	h := binary.LittleEndian.Uint64(hash[:])
	at := (h & s.mask) * slotsPerSet
	return s.entries[at : at+slotsPerSet : at+slotsPerSet], h >> 61
}

// get returns the entry of a token, or nil.
func (c *cache) get(hash *[32]byte) *verified {
	if c == nil {
		return nil
	}
	set, first := c.slots.Load().place(hash)
	for i := range uint64(slotsPerSet) {
		if e := set[(first+i)%slotsPerSet].Load(); e != nil && e.hash == *hash {
			return e
		}
	}
	return nil
}

// put adds e, which nobody else has yet. A cache without room for its principal
// doesn't take it.
func (c *cache) put(e *verified) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	of := identity{e.principal.Issuer, e.principal.Subject}
	if e.by = c.held[of]; e.by == nil {
		e.by = &weighed{of: of}
	}
	s := c.slots.Load()
	slot := s.room(e)
	if slot == nil {
		return
	}
	if old := slot.Load(); old != nil {
		slot.Store(nil)
		c.count(old, -old.weight)
	}
	if e.by.weight+e.weight > c.limit-c.weight {
		return
	}
	slot.Store(e)
	c.count(e, e.weight)
	if len(s.entries) < c.largest && 2*c.weight > int64(len(s.entries)) {
		c.grow(s)
	}
}

// count adds to the weights what an entry brings or takes. The caller has the
// lock.
func (c *cache) count(e *verified, weight int64) {
	c.weight += weight
	if e.by.weight += weight; e.by.weight == 0 {
		delete(c.held, e.by.of)
	} else {
		c.held[e.by.of] = e.by
	}
}

// grow puts the entries of s into more slots. The caller has the lock.
func (c *cache) grow(s *slots) {
	more := newSlots(min(growth*len(s.entries), c.largest))
	for i := range s.entries {
		if e := s.entries[i].Load(); e != nil {
			if slot := more.room(e); slot != nil && slot.Load() == nil {
				slot.Store(e)
			} else {
				c.count(e, -e.weight)
			}
		}
	}
	c.slots.Store(more)
}

// room returns the slot for e: that of an older entry of the same token,
// otherwise a free one, otherwise one of an entry that has ended, otherwise the
// one of the principal's own whose entry ends first, otherwise nil.
func (s *slots) room(e *verified) (slot *atomic.Pointer[verified]) {
	set, first := s.place(&e.hash)
	now := e.at.Unix()
	until := int64(math.MaxInt64) // of slot's entry; 0 if it is free or has ended
	for i := range uint64(slotsPerSet) {
		next := &set[(first+i)%slotsPerSet]
		switch x := next.Load(); {
		case x != nil && x.hash == e.hash:
			return next
		case (x == nil || x.until <= now) && until > 0:
			slot, until = next, 0
		case x != nil && x.by == e.by && x.until < until:
			slot, until = next, x.until
		}
	}
	return slot
}

// sweep drops the entries that can't be used any more.
func (c *cache) sweep(now clock.Moment, ttl time.Duration, skew int64) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slots.Load()
	for i := range s.entries {
		if e := s.entries[i].Load(); e != nil && !e.usable(now, ttl, skew) {
			s.entries[i].Store(nil)
			c.count(e, -e.weight)
		}
	}
}
