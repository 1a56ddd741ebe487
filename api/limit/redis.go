package limit

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"keycloak-model-api/api/store"
	"keycloak-model-api/policy"
)

// Without is what becomes of requests with limits while Redis is away.
type Without string

// What becomes of them.
const (
	Open   Without = "open"   // they are let through
	Closed Without = "closed" // they are refused
	Local  Without = "local"  // each replica lets its part of the limits through
)

// Shared counts for several replicas, in a Redis. Its time is that of Redis.
type Shared struct {
	store    *store.Store
	scripts  scripts
	without  Without
	own      *Limiter // while Redis is away
	id       string   // of this replica
	replicas atomic.Int64
	missed   atomic.Uint64
}

// The kinds of records: those of one script have one hash tag.
const (
	countKind   = "limits"
	replicaKind = "replicas"
)

const (
	beatEvery  = time.Second
	beatFor    = 5 * time.Second // after which a replica that says nothing is gone
	leaseFor   = time.Minute     // after which a request of a replica that died is none
	leaseRenew = 20 * time.Second
)

// NewShared makes a Shared, which counts the replicas until ctx ends. now is the
// clock of the limits while Redis is away.
func NewShared(ctx context.Context, s *store.Store, without Without, now func() time.Time) (*Shared, error) {
	l := &Shared{store: s, scripts: newScripts(timeOfRedis), without: without, own: New(now), id: rand.Text()}
	if err := l.beat(ctx); err != nil {
		return nil, fmt.Errorf("limit: %w", err)
	}
	go func() {
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = l.beat(ctx) // which the store logs
			case <-ctx.Done():
				return
			}
		}
	}()
	return l, nil
}

// beatScript says that ARGV[1] is there, and returns how many were within ARGV[2] ms.
var beatScript = redis.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])`)

// beat counts this replica and the others.
func (s *Shared) beat(ctx context.Context) error {
	n, err := beatScript.Run(ctx, s.store, []string{s.store.Key(replicaKind)}, s.id, beatFor.Milliseconds()).Int64()
	if err == nil {
		s.replicas.Store(n)
	}
	return err
}

// Replicas returns how many replicas there were when Redis last said so.
func (s *Shared) Replicas() int64 { return s.replicas.Load() }

// Missed returns how many requests with limits Redis did not count since the start.
func (s *Shared) Missed() uint64 { return s.missed.Load() }

// scripts check and charge in one step.
type scripts struct{ begin, end *redis.Script }

// timeOfRedis is the time that all replicas share, in seconds.
const timeOfRedis = `redis.call('TIME')[1]`

// newScripts returns the scripts, which take the time from an expression.
func newScripts(time string) scripts {
	common := "local now = tonumber(" + time + ")" + windowsOfKeys
	return scripts{redis.NewScript(common + beginScript), redis.NewScript(common + endScript)}
}

// windowsOfKeys is what both scripts begin with: counted reads the windows of a key,
// kept writes them. It does what Limiter.roll does.
const windowsOfKeys = `
local lengths = {60, 3600, 86400}
local fields = {}
for _, kind in ipairs({'r', 't'}) do
	for i = 1, 3 do
		for _, part in ipairs({'s', 'n', 'b'}) do fields[#fields + 1] = kind .. i .. part end
	end
end

local function counted(key)
	local c = redis.call('HMGET', key, unpack(fields))
	for w = 0, 5 do
		local at, length = 3 * w + 1, lengths[w % 3 + 1]
		local s, n, b = tonumber(c[at] or 0), tonumber(c[at + 1] or 0), tonumber(c[at + 2] or 0)
		local start = now - now % length
		if start == s + length then
			s, n, b = start, 0, n
		elseif start > s then
			s, n, b = start, 0, 0
		end
		c[at], c[at + 1], c[at + 2] = s, n, b
	end
	return c
end

local function kept(key, c, seconds)
	local all = {}
	for i, field in ipairs(fields) do
		all[2 * i - 1], all[2 * i] = field, string.format('%.0f', c[i])
	end
	redis.call('HSET', key, unpack(all))
	redis.call('EXPIRE', key, seconds)
end
`

// beginScript counts a request, all or none. KEYS are for each owner the counts and
// the leases; ARGV the lease, the seconds that it lives, and for each owner the
// bounds, 0 for none: at once, requests and tokens a minute, hour and day; then the
// seconds that the counts are kept. It returns whether the request was let through,
// the time, and for each owner the windows and how many are under way.
const beginScript = `
local all, full = {}, false
for o = 1, #KEYS / 2 do
	local bounds = {}
	for i = 1, 8 do bounds[i] = tonumber(ARGV[2 + 8 * (o - 1) + i]) end
	local c = counted(KEYS[2 * o - 1])
	redis.call('ZREMRANGEBYSCORE', KEYS[2 * o], '-inf', now)
	c[19] = redis.call('ZCARD', KEYS[2 * o])
	if bounds[1] > 0 and c[19] >= bounds[1] then full = true end
	for w = 0, 5 do
		local used, bound = c[3 * w + 2], bounds[w + 2]
		if w % 3 == 0 then used = used + math.ceil(c[3 * w + 3] * (60 - (now - c[3 * w + 1])) / 60) end
		if bound > 0 and used >= bound then full = true end
	end
	all[o] = {c, bounds}
end
local reply = {full and 0 or 1, now}
for o, owner in ipairs(all) do
	local c, bounds = owner[1], owner[2]
	if not full then
		for w = 0, 2 do c[3 * w + 2] = c[3 * w + 2] + 1 end
		kept(KEYS[2 * o - 1], c, bounds[8])
		if bounds[1] > 0 then
			c[19] = c[19] + 1
			redis.call('ZADD', KEYS[2 * o], now + ARGV[2], ARGV[1])
			redis.call('EXPIRE', KEYS[2 * o], ARGV[2])
		end
	end
	for i = 1, 19 do reply[#reply + 1] = c[i] end
end
return reply`

// endScript ends the lease ARGV[1], which used ARGV[2] tokens. KEYS are those of
// beginScript; the rest of ARGV is for how many seconds the counts of each are kept.
const endScript = `
for o = 1, #KEYS / 2 do
	redis.call('ZREM', KEYS[2 * o], ARGV[1])
	if tonumber(ARGV[2]) > 0 then
		local c = counted(KEYS[2 * o - 1])
		for w = 3, 5 do c[3 * w + 2] = c[3 * w + 2] + ARGV[2] end
		kept(KEYS[2 * o - 1], c, ARGV[2 + o])
	end
end
return 0`

// renewScript lets the lease ARGV[1] live for ARGV[2] seconds more in each of KEYS,
// also where a Redis that started anew has forgotten it.
var renewScript = redis.NewScript(`
local ends = redis.call('TIME')[1] + ARGV[2]
for _, key in ipairs(KEYS) do
	redis.call('ZADD', key, ends, ARGV[1])
	redis.call('EXPIRE', key, ARGV[2])
end
return 0`)

// Begin implements Counter. An error means that the request must be refused, since
// Redis is away.
func (s *Shared) Begin(ctx context.Context, issuer, subject string, quotas []policy.Quota) (*Lease, State, error) {
	lease, reached, err := s.begin(ctx, issuer, subject, quotas)
	if err == nil {
		return lease, reached, nil
	}
	s.missed.Add(1)
	switch {
	case ctx.Err() != nil || s.without == Closed:
		return nil, State{}, fmt.Errorf("limit: %w", err)
	case s.without == Open:
		return nil, State{}, nil
	}
	return s.own.Begin(ctx, issuer, subject, parts(quotas, s.Replicas()))
}

// parts are quotas divided by n, of which each bound leaves at least one.
func parts(quotas []policy.Quota, n int64) []policy.Quota {
	divided := make([]policy.Quota, len(quotas))
	for i, q := range quotas {
		limit := *q.Limit
		for _, bound := range []*int64{
			&limit.Requests.Minute, &limit.Requests.Hour, &limit.Requests.Day, &limit.Tokens.Minute, &limit.Tokens.Hour, &limit.Tokens.Day,
		} {
			*bound = part(*bound, n)
		}
		limit.Concurrent = int(part(int64(limit.Concurrent), n))
		divided[i] = policy.Quota{Owner: q.Owner, Limit: &limit}
	}
	return divided
}

func part(bound, n int64) int64 {
	if bound == 0 {
		return 0
	}
	return max(bound/max(n, 1), 1)
}

// sharedLease is what a Lease has of Redis.
type sharedLease struct {
	of     *Shared
	id     string
	keys   []string // of beginScript
	keep   []any    // seconds, for endScript
	leases []string // of those keys the leases that must be renewed
	now    time.Time

	mu    sync.Mutex
	ended bool
	renew *time.Timer
}

func (s *Shared) begin(ctx context.Context, issuer, subject string, quotas []policy.Quota) (*Lease, State, error) {
	shared := &sharedLease{of: s, id: rand.Text()}
	args := []any{shared.id, int(leaseFor.Seconds())}
	for _, q := range quotas {
		owner := ownerOf(issuer, subject, q)
		leases := s.store.Key(countKind, "leases", owner.issuer, owner.subject, owner.pool)
		shared.keys = append(shared.keys, s.store.Key(countKind, "counts", owner.issuer, owner.subject, owner.pool), leases)
		if q.Concurrent > 0 {
			shared.leases = append(shared.leases, leases)
		}
		args = append(args, q.Concurrent)
		for _, rate := range []*policy.Rate{&q.Requests, &q.Tokens} {
			for _, bound := range rate.Per() {
				args = append(args, bound)
			}
		}
		keep := int(2 * longest(q.Limit).Seconds())
		args, shared.keep = append(args, keep), append(shared.keep, keep)
	}
	reply, err := s.scripts.begin.Run(ctx, s.store, shared.keys, args...).Int64Slice()
	const head, each = 2, 19
	if err == nil && len(reply) != head+each*len(quotas) {
		err = fmt.Errorf("redis answered with %d numbers", len(reply))
	}
	if err != nil {
		return nil, State{}, err
	}
	shared.now = time.Unix(reply[1], 0)
	lease := &Lease{shared: shared}
	for i, q := range quotas {
		lease.held = append(lease.held, held{q, countOf(reply[head+each*i:][:each])})
	}
	if reply[0] == 0 {
		return nil, lease.reached(shared.now), nil
	}
	if len(shared.leases) > 0 {
		shared.renew = time.AfterFunc(leaseRenew, shared.again)
	}
	return lease, State{}, nil
}

// countOf is a count as beginScript returns it.
func countOf(numbers []int64) *count {
	c := &count{running: numbers[len(numbers)-1]}
	for w := range 2 * len(windows) {
		of := &c.requests
		if w >= len(windows) {
			of = &c.tokens
		}
		of[w%len(windows)] = window{numbers[3*w], numbers[3*w+1], numbers[3*w+2]}
	}
	return c
}

// again renews the lease while the request is under way.
func (l *sharedLease) again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	// What isn't renewed now may be the next time, and ends by itself.
	_ = renewScript.Run(context.Background(), l.of.store, l.leases, l.id, int(leaseFor.Seconds())).Err()
	l.renew.Reset(leaseRenew)
}

// end charges the tokens. What Redis can't be told is not charged: the store counts
// the failure.
func (l *sharedLease) end(tokens int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.renew != nil {
		l.renew.Stop()
	}
	args := append([]any{l.id, tokens}, l.keep...)
	_ = l.of.scripts.end.Run(context.Background(), l.of.store, l.keys, args...).Err()
}
