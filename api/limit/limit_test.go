package limit

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"keycloak-model-api/policy"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func start() *clock { return &clock{now: time.Date(2026, 3, 1, 23, 58, 0, 0, time.UTC)} }

func one(owner string, l policy.Limit) []policy.Quota {
	return []policy.Quota{{Owner: owner, Limit: &l}}
}

// begin begins n requests and returns how many were let through.
func begin(t *testing.T, l Counter, subject string, quotas []policy.Quota, n int) (passed int, reached State) {
	for range n {
		lease, state, _ := l.Begin(t.Context(), "https://issuer", subject, quotas)
		if lease == nil {
			reached = state
			continue
		}
		passed++
		lease.End(0)
	}
	return passed, reached
}

func TestMinuteSlides(t *testing.T) {
	c := start()
	l := New(c.time)
	quotas := one("", policy.Limit{Requests: policy.Rate{Minute: 60}})
	if passed, reached := begin(t, l, "ada", quotas, 70); passed != 60 || reached.Kind != Requests || reached.Window != time.Minute {
		t.Fatalf("%d passed, then %+v", passed, reached)
	}
	// The sixty count until the minute after, in which they fade away evenly.
	c.pass(60 * time.Second)
	if passed, _ := begin(t, l, "ada", quotas, 1); passed != 0 {
		t.Error("a new minute forgot all of the one before")
	}
	c.pass(15 * time.Second)
	if passed, _ := begin(t, l, "ada", quotas, 60); passed != 15 {
		t.Errorf("%d passed a quarter of a minute later, not 15", passed)
	}
	c.pass(time.Hour)
	if passed, _ := begin(t, l, "ada", quotas, 70); passed != 60 {
		t.Errorf("%d passed an hour later", passed)
	}
}

// Whoever waits as long as they are told gets through, and not a second earlier.
func TestResetIsExact(t *testing.T) {
	for _, bound := range []int64{1, 2, 3, 10, 60, 1000} {
		for _, at := range []time.Duration{0, time.Second, 29 * time.Second, 59 * time.Second, 61 * time.Second, 100 * time.Second} {
			for name, rate := range map[string]policy.Rate{"minute": {Minute: bound}, "hour": {Hour: bound}} {
				c := start()
				l := New(c.time)
				quotas := one("", policy.Limit{Requests: rate})
				begin(t, l, "ada", quotas, int(bound))
				c.pass(at)
				begin(t, l, "ada", quotas, int(bound))
				_, reached := begin(t, l, "ada", quotas, 1)
				if reached.Kind == "" {
					t.Fatalf("%d a %s, after %v: nothing was reached", bound, name, at)
				}
				c.pass(reached.Reset - time.Second)
				if _, early := begin(t, l, "ada", quotas, 1); early.Kind == "" {
					t.Errorf("%d a %s, after %v: free a second before %v", bound, name, at, reached.Reset)
				}
				c.pass(time.Second)
				if passed, _ := begin(t, l, "ada", quotas, 1); passed != 1 {
					t.Errorf("%d a %s, after %v: not free after %v", bound, name, at, reached.Reset)
				}
			}
		}
	}
}

// Hours and days are those of UTC.
func TestFixedWindows(t *testing.T) {
	c := start() // two minutes before midnight
	l := New(c.time)
	quotas := one("", policy.Limit{Requests: policy.Rate{Day: 5}})
	if passed, reached := begin(t, l, "ada", quotas, 6); passed != 5 || reached.Reset != 2*time.Minute {
		t.Errorf("%d passed, then %+v", passed, reached)
	}
	c.pass(2 * time.Minute)
	if passed, _ := begin(t, l, "ada", quotas, 6); passed != 5 {
		t.Errorf("%d passed on the next day", passed)
	}
}

// A tier is counted by issuer and subject, a pool by its name.
func TestOwners(t *testing.T) {
	l := New(start().time)
	tier, pool := one("", policy.Limit{Requests: policy.Rate{Day: 2}}), one("group /research", policy.Limit{Requests: policy.Rate{Day: 2}})
	begin(t, l, "ada", tier, 2)
	if passed, _ := begin(t, l, "bob", tier, 2); passed != 2 {
		t.Error("one principal's use counts for another")
	}
	begin(t, l, "ada", pool, 2)
	if passed, _ := begin(t, l, "bob", pool, 1); passed != 0 {
		t.Error("a pool is not shared")
	}
	if lease, _, _ := l.Begin(t.Context(), "https://other", "ada", tier); lease == nil {
		t.Error("the same subject of another issuer is another principal (OpenID Connect Core, section 5.7)")
	}
	if lease, _, _ := l.Begin(t.Context(), "", "group /research", tier); lease == nil {
		t.Error("a subject can name a pool")
	}
}

// A refused request takes nothing from any quota.
func TestAllOrNone(t *testing.T) {
	l := New(start().time)
	wide, narrow := policy.Limit{Requests: policy.Rate{Day: 10}}, policy.Limit{Requests: policy.Rate{Day: 1}}
	both := []policy.Quota{{Owner: "client batch", Limit: &wide}, {Owner: "model chat", Limit: &narrow}}
	if passed, reached := begin(t, l, "ada", both, 5); passed != 1 || reached.Owner != "model chat" {
		t.Errorf("%d passed, then %+v", passed, reached)
	}
	if passed, _ := begin(t, l, "ada", both[:1], 20); passed != 9 {
		t.Errorf("%d of 9 passed", passed)
	}
}

// Tokens are charged when an answer ends, and may go over once.
func TestTokens(t *testing.T) {
	c := start()
	l := New(c.time)
	quotas := one("", policy.Limit{Tokens: policy.Rate{Minute: 100}})
	first, _, _ := l.Begin(t.Context(), "", "ada", quotas)
	second, _, _ := l.Begin(t.Context(), "", "ada", quotas)
	first.End(500)
	if lease, reached, _ := l.Begin(t.Context(), "", "ada", quotas); lease != nil || reached.Kind != Tokens || reached.Remaining != 0 {
		t.Errorf("a request after the tokens were used: %+v", reached)
	}
	second.End(1)
	c.pass(2 * time.Minute)
	if lease, _, _ := l.Begin(t.Context(), "", "ada", quotas); lease == nil {
		t.Error("tokens of long ago still count")
	}
}

func TestConcurrent(t *testing.T) {
	l := New(start().time)
	quotas := one("model chat", policy.Limit{Concurrent: 2})
	first, _, _ := l.Begin(t.Context(), "", "ada", quotas)
	_, _, _ = l.Begin(t.Context(), "", "bob", quotas)
	if lease, reached, _ := l.Begin(t.Context(), "", "eve", quotas); lease != nil || reached.Kind != Concurrent || reached.Limit != 2 {
		t.Errorf("a third at once: %+v", reached)
	}
	first.End(0)
	if lease, _, _ := l.Begin(t.Context(), "", "eve", quotas); lease == nil {
		t.Error("what has ended still counts")
	}
}

// A clock that is set back by a day and forth again frees nobody.
func TestClockSetBack(t *testing.T) {
	c := start()
	l := New(c.time)
	quotas := one("", policy.Limit{Requests: policy.Rate{Minute: 5, Day: 5}})
	begin(t, l, "ada", quotas, 5)
	for _, step := range []time.Duration{-25 * time.Hour, 25 * time.Hour} {
		c.pass(step)
		if passed, _ := begin(t, l, "ada", quotas, 5); passed != 0 {
			t.Errorf("%d passed after a step of %v", passed, step)
		}
	}
}

// States tell what is left, this request counted.
func TestStates(t *testing.T) {
	l := New(start().time)
	lease, _, _ := l.Begin(t.Context(), "", "ada", one("", policy.Limit{Requests: policy.Rate{Minute: 10, Day: 100}, Tokens: policy.Rate{Hour: 1000}, Concurrent: 3}))
	var got []string
	lease.States(func(s State) {
		got = append(got, fmt.Sprintf("%s/%v %d of %d", s.Kind, s.Window, s.Remaining, s.Limit))
	})
	want := "[concurrent/0s 2 of 3 requests/1m0s 9 of 10 requests/24h0m0s 99 of 100 tokens/1h0m0s 1000 of 1000]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// Of many at once exactly the bound gets through.
func TestAtOnce(t *testing.T) {
	l := New(start().time)
	quotas := one("", policy.Limit{Requests: policy.Rate{Day: 100}})
	var passed sync.Map
	var all sync.WaitGroup
	for i := range 400 {
		all.Go(func() {
			if lease, _, _ := l.Begin(t.Context(), "", "ada", quotas); lease != nil {
				passed.Store(i, true)
				lease.End(1)
			}
		})
	}
	all.Wait()
	n := 0
	passed.Range(func(any, any) bool { n++; return true })
	if n != 100 {
		t.Errorf("%d passed", n)
	}
}

// What is over is forgotten, so that memory is bounded by who calls in a day.
func TestForgets(t *testing.T) {
	c := start()
	l := New(c.time)
	for i := range 1000 {
		begin(t, l, fmt.Sprint(i), one("", policy.Limit{Requests: policy.Rate{Minute: 1}}), 1)
	}
	running, _, _ := l.Begin(t.Context(), "", "ada", one("", policy.Limit{Concurrent: 1}))
	c.pass(5 * time.Minute)
	begin(t, l, "bob", one("", policy.Limit{Requests: policy.Rate{Minute: 1}}), 1)
	if len(l.counts) != 2 {
		t.Errorf("%d counts are left, not those of ada and bob", len(l.counts))
	}
	running.End(0)
}

func BenchmarkBegin(b *testing.B) {
	l := New(time.Now)
	tier, pool := policy.Limit{Requests: policy.Rate{Minute: 1 << 40, Day: 1 << 40}, Tokens: policy.Rate{Day: 1 << 40}}, policy.Limit{Concurrent: 1 << 20}
	quotas := []policy.Quota{{Limit: &tier}, {Owner: "model chat", Limit: &pool}}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			lease, _, _ := l.Begin(b.Context(), "https://issuer", "ada", quotas)
			lease.End(1)
		}
	})
}
