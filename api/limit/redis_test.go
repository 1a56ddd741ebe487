package limit

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"keycloak-model-api/internal/redistest"
	"keycloak-model-api/policy"
)

func newReplicas(t *testing.T, server *redistest.Server, n int, without Without) (all []*Shared) {
	t.Helper()
	for range n {
		s, err := NewShared(t.Context(), server.Store(t, "https://issuer"), without, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	until(t, "each to know how many they are", func() bool {
		for _, s := range all {
			if s.Replicas() != int64(n) {
				return false
			}
		}
		return true
	})
	return all
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// underLoad begins n requests at the same time at all replicas, which end with so
// many tokens, and returns how many were let through.
func underLoad(t *testing.T, all []*Shared, n int, quotas []policy.Quota, tokens int64, end bool) (passed int64) {
	t.Helper()
	var through atomic.Int64
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			lease, reached, err := all[i%len(all)].Begin(t.Context(), "https://issuer", "ada", quotas)
			if err != nil || lease == nil && reached.Kind == "" {
				t.Error(err)
				return
			}
			if lease != nil {
				through.Add(1)
				if end {
					lease.End(tokens)
				}
			}
		})
	}
	group.Wait()
	return through.Load()
}

// Three replicas under load let no more requests through than the limit says: check
// and count are one step.
func TestSharedRequests(t *testing.T) {
	all := newReplicas(t, redistest.Start(t), 3, Closed)
	for _, row := range []struct {
		name   string
		quotas []policy.Quota
	}{
		{"a principal's day", one("", policy.Limit{Requests: policy.Rate{Day: 50}})},
		{"a pool's hour and minute", one("model iris", policy.Limit{Requests: policy.Rate{Minute: 1000, Hour: 50}})},
		{"two pools, of which the smaller holds", append(one("client batch", policy.Limit{Requests: policy.Rate{Day: 80}}), one("group /a", policy.Limit{Requests: policy.Rate{Day: 50}})...)},
	} {
		if passed := underLoad(t, all, 200, row.quotas, 0, true); passed != 50 {
			t.Errorf("%s: %d requests passed, want 50", row.name, passed)
		}
	}
	// What the smaller pool refused was not charged to the larger one.
	if passed := underLoad(t, all, 100, one("client batch", policy.Limit{Requests: policy.Rate{Day: 80}}), 0, true); passed != 30 {
		t.Errorf("%d more requests passed, want 30", passed)
	}
	if passed := underLoad(t, all, 3, one("", policy.Limit{Requests: policy.Rate{Day: 51}}), 0, true); passed != 1 {
		t.Errorf("%d requests passed after the policy changed, want 1", passed)
	}
}

// No more requests are under way than the limit says, and one that ended makes room.
func TestSharedConcurrency(t *testing.T) {
	all := newReplicas(t, redistest.Start(t), 3, Closed)
	quotas := one("model iris", policy.Limit{Concurrent: 5})
	first, _, err := all[0].Begin(t.Context(), "", "ada", quotas)
	if err != nil {
		t.Fatal(err)
	}
	if passed := underLoad(t, all, 60, quotas, 0, false); passed != 4 {
		t.Errorf("%d began beside the first, want 4", passed)
	}
	lease, reached, err := all[1].Begin(t.Context(), "", "eve", quotas)
	if lease != nil || err != nil || reached.Kind != Concurrent || reached.Owner != "model iris" || reached.Reset != time.Second {
		t.Errorf("%v, %+v, %v", lease, reached, err)
	}
	first.shared.again() // while it is under way
	first.End(0)
	first.shared.again() // it has ended: nothing is renewed
	if passed := underLoad(t, all, 3, quotas, 0, false); passed != 1 {
		t.Errorf("%d began after one had ended, want 1", passed)
	}
}

// A lease of a replica that died ends by itself.
func TestLeaseEndsByItself(t *testing.T) {
	server := redistest.Start(t)
	all := newReplicas(t, server, 2, Closed)
	quotas := one("model iris", policy.Limit{Concurrent: 1})
	dead, _, err := all[0].Begin(t.Context(), "", "ada", quotas)
	if err != nil {
		t.Fatal(err)
	}
	dead.shared.renew.Stop() // it can't renew any more
	key := dead.shared.leases[0]
	if ttl := all[0].store.TTL(t.Context(), key).Val(); ttl <= 0 || ttl > leaseFor {
		t.Errorf("the lease is kept for %v", ttl)
	}
	// The time that it ends by passes.
	if err := all[0].store.ZAdd(t.Context(), key, redis.Z{Score: float64(time.Now().Add(-time.Second).Unix()), Member: dead.shared.id}).Err(); err != nil {
		t.Fatal(err)
	}
	if lease, _, err := all[1].Begin(t.Context(), "", "eve", quotas); lease == nil {
		t.Errorf("refused: %v", err)
	}
}

// Tokens are charged at the end. More than the limit is used only by the answers
// that were under way: that is the slack which the documentation states.
func TestSharedTokens(t *testing.T) {
	all := newReplicas(t, redistest.Start(t), 3, Closed)
	quotas := one("", policy.Limit{Tokens: policy.Rate{Day: 1000}, Concurrent: 4})
	var used, passed atomic.Int64
	var group sync.WaitGroup
	for n := range 12 {
		group.Go(func() {
			for range 20 {
				lease, _, err := all[n%3].Begin(t.Context(), "", "ada", quotas)
				if err != nil {
					t.Error(err)
				}
				if lease != nil {
					used.Add(60)
					passed.Add(1)
					lease.End(60)
				}
			}
		})
	}
	group.Wait()
	if got := used.Load(); got < 1000 || got >= 1000+4*60 {
		t.Errorf("%d tokens were used by %d requests, want 1000 and less than what 4 under way use", got, passed.Load())
	}
	lease, reached, err := all[1].Begin(t.Context(), "", "ada", quotas)
	if lease != nil || err != nil || reached.Kind != Tokens || reached.Remaining != 0 || reached.Limit != 1000 {
		t.Errorf("%v, %+v, %v", lease, reached, err)
	}
}

// The script counts windows as the memory does: both take the same requests at the
// same times, on the clock of the test, and say the same of each bound.
func TestScriptCountsAsMemoryDoes(t *testing.T) {
	server := redistest.Start(t)
	s := newReplicas(t, server, 1, Closed)[0]
	quotas := one("", policy.Limit{Requests: policy.Rate{Minute: 7, Hour: 60, Day: 100}, Tokens: policy.Rate{Minute: 100, Hour: 800, Day: 1500}})
	c := start()
	memory := New(c.time)
	s.scripts = newScripts(`redis.call('GET', 'clock')`)
	for step, wait := range []int{0, 1, 1, 5, 20, 30, 1, 1, 1, 40, 59, 60, 61, 10, 10, 119, 300, 3600, 1, 3540, 60, 7200, 30, 86400, 1, 1, 1, 172800, 1} {
		c.pass(time.Duration(wait) * time.Second)
		if err := s.store.Set(t.Context(), "clock", c.time().Unix(), 0).Err(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			own, ownReached, _ := memory.Begin(t.Context(), "", "ada", quotas)
			lease, reached, err := s.Begin(t.Context(), "", "ada", quotas)
			if err != nil || (own == nil) != (lease == nil) || ownReached != reached {
				t.Fatalf("step %d: memory %v %+v, Redis %v %+v, %v", step, own != nil, ownReached, lease != nil, reached, err)
			}
			var want, got []State
			own.States(func(s State) { want = append(want, s) })
			lease.States(func(s State) { got = append(got, s) })
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("step %d: memory %+v, Redis %+v", step, want[i], got[i])
				}
			}
			own.End(13)
			lease.End(13)
		}
	}
}

// While Redis is away, requests with limits are let through, refused, or counted by
// each replica against its part; and by Redis again once it is back.
func TestLimitsWhileRedisIsAway(t *testing.T) {
	for _, row := range []struct {
		without Without
		passed  int64 // of 60 at three replicas
		refused int64 // without an answer
	}{{Open, 60, 0}, {Closed, 0, 60}, {Local, 9, 0}, {"", 9, 0}} {
		t.Run(string(row.without), func(t *testing.T) {
			server := redistest.Start(t)
			all := newReplicas(t, server, 3, row.without)
			quotas := one("", policy.Limit{Requests: policy.Rate{Day: 10}})
			server.Stop()
			passed, refused := int64(0), int64(0)
			for n := range 60 {
				lease, reached, err := all[n%3].Begin(t.Context(), "", "ada", quotas)
				switch {
				case err != nil:
					refused++
				case reached.Kind == "":
					passed++
				}
				lease.States(func(State) {})
				lease.End(5)
			}
			if passed != row.passed || refused != row.refused {
				t.Errorf("%d passed, %d got no answer", passed, refused)
			}
			if got := all[0].Missed() + all[1].Missed() + all[2].Missed(); got != 60 {
				t.Errorf("%d requests are counted as not counted", got)
			}
			server.Start()
			until(t, "Redis to be used again", func() bool { return all[0].store.Status().Up && all[1].store.Status().Up && all[2].store.Status().Up })
			if passed := underLoad(t, all, 60, quotas, 0, true); passed != 10 {
				t.Errorf("%d passed once Redis was back, want 10", passed)
			}
		})
	}
}

// Each bound leaves every replica at least one.
func TestParts(t *testing.T) {
	got := parts(one("", policy.Limit{Requests: policy.Rate{Minute: 10, Day: 2}, Tokens: policy.Rate{Hour: 900}, Concurrent: 4}), 3)[0]
	want := policy.Limit{Requests: policy.Rate{Minute: 3, Day: 1}, Tokens: policy.Rate{Hour: 300}, Concurrent: 1}
	if *got.Limit != want {
		t.Errorf("%+v, want %+v", *got.Limit, want)
	}
	if got := parts(one("", want), 0)[0]; *got.Limit != want {
		t.Errorf("before anybody counted: %+v", *got.Limit)
	}
}
