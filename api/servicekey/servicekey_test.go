package servicekey

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

const goodSecret = "b1946ac92492d2347c6235b4d2611184a3f07c1e5d8b9620c7d4e5f60718293a"

// bench is an Exchange in front of an issuer that is asked without a network.
type bench struct {
	*testing.T
	*Exchange
	issuer   *oidctest.Issuer
	verifier *bearer.Verifier
	keyed    map[string]bool
	ahead    atomic.Int64 // of the wall clock
	asked    atomic.Int32 // for tokens

	mu     sync.Mutex
	answer func(*http.Request) (status int, body string) // of the token endpoint; 0 for the issuer's. May be nil
}

// inBubble runs a test with a bench, under a virtual clock.
func inBubble(t *testing.T, test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, keyed: map[string]bool{"batch": true, "nightly": true}}
		now := func() time.Time { return time.Now().Add(time.Duration(b.ahead.Load())) }
		b.issuer = oidctest.New("http://issuer.example/realms/r")
		b.issuer.Now = now
		b.issuer.Secrets["batch"], b.issuer.Secrets["nightly"], b.issuer.Secrets["other"] = goodSecret, goodSecret, goodSecret
		transport := b.issuer.Client().Transport
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/token") {
				b.asked.Add(1)
				b.mu.Lock()
				answer := b.answer
				b.mu.Unlock()
				status, body := 0, ""
				if answer != nil {
					status, body = answer(r)
				}
				if err := r.Context().Err(); err != nil {
					return nil, err
				}
				if status != 0 {
					return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
				}
			}
			return transport.RoundTrip(r)
		})}
		log := slog.New(slog.DiscardHandler)
		var err error
		b.verifier, err = bearer.New(t.Context(), bearer.Config{
			Issuers: []bearer.Issuer{{URL: b.issuer.URL}}, Audience: b.issuer.Audience, HTTPClient: client, Now: now, Logger: log,
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.Exchange = New(Config{
			Issuer: b.issuer.URL, Verify: b.verifier.Verify, Keyed: func(id string) bool { return b.keyed[id] },
			HTTPClient: client, Now: now, Logger: log,
		})
		test(b)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (b *bench) answers(by func(*http.Request) (status int, body string)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = by
}

// waits has the token endpoint wait before it answers.
func (b *bench) waits(wait func(*http.Request)) {
	b.answers(func(r *http.Request) (int, string) { wait(r); return 0, "" })
}

func (b *bench) secret(id, secret string) {
	b.issuer.SetSecret(id, secret)
}

func key(t testing.TB, id, secret string) *Key {
	t.Helper()
	text, err := policy.NewServiceKey(id, secret)
	if err != nil {
		t.Fatal(err)
	}
	k, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// redeem returns the code that the key of a client is refused with; empty for a
// principal, which must be of that client.
func (b *bench) redeem(id, secret string) refusal.Code {
	b.Helper()
	grant, err := b.Redeem(context.Background(), key(b, id, secret))
	var refused *refusal.Error
	switch {
	case errors.As(err, &refused):
		return refused.Code
	case err != nil:
		b.Fatal(err)
	case grant.Principal.ClientID != id || grant.Token == "":
		b.Fatalf("the key of %s is that of %+v", id, grant.Principal)
	}
	return ""
}

func (b *bench) want(code refusal.Code, id, secret string) {
	b.Helper()
	if got := b.redeem(id, secret); got != code {
		b.Errorf("the key of %s: code %q, want %q", id, got, code)
	}
}

// requests are those for tokens since the last call.
func (b *bench) requests(want int32) {
	b.Helper()
	if got := b.asked.Swap(0); got != want {
		b.Errorf("the issuer was asked %d times, want %d", got, want)
	}
}

// A key is exchanged once a minute, however often it comes and from however many
// callers at once.
func TestKeyIsExchangedOnceAMinute(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.waits(func(*http.Request) { time.Sleep(time.Second) })
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { b.want("", "batch", goodSecret) })
		}
		all.Wait()
		time.Sleep(48 * time.Second)
		b.want("", "batch", goodSecret)
		b.requests(1)
		time.Sleep(2 * time.Second)
		b.want("", "batch", goodSecret)
		b.requests(1)
	})
}

// What Keycloak takes back is seen within 60 s: a new secret, a disabled client.
func TestKeyEndsWithinAMinute(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.want("", "batch", goodSecret)
		b.secret("batch", "another")
		time.Sleep(55 * time.Second)
		for range 3 {
			b.want(refusal.ServiceKeyRefused, "batch", goodSecret)
		}
		b.want("", "batch", "another")
	})
}

// Only ids that the policy names reach Keycloak, and a key ends with the policy.
func TestOnlyKeyedClientsReachTheIssuer(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.want(refusal.ServiceKeyRefused, "other", goodSecret)
		b.want(refusal.ServiceKeyRefused, "nobody", goodSecret)
		b.requests(0)
		b.want("", "batch", goodSecret)
		b.keyed["batch"] = false
		b.want(refusal.ServiceKeyRefused, "batch", goodSecret)
	})
}

// keycloak#30077: nothing slows down who guesses secrets, so this does: one request
// at a time for a client, a bounded rate for all.
func TestGuessesAreSlow(t *testing.T) {
	inBubble(t, func(b *bench) {
		release := make(chan struct{})
		b.waits(func(*http.Request) { <-release })
		var first sync.WaitGroup
		first.Go(func() { b.want(refusal.ServiceKeyRefused, "batch", "guess") })
		synctest.Wait()
		for i := range 100 {
			b.want(refusal.ServiceKeyWaits, "batch", fmt.Sprint("guess ", i))
		}
		close(release)
		first.Wait()
		b.requests(1)

		for i := range 200 {
			b.redeem("batch", fmt.Sprint("guess ", i))
		}
		b.requests(burst - 1)
		time.Sleep(time.Second)
		for i := range 200 {
			b.redeem([]string{"batch", "nightly"}[i%2], fmt.Sprint("guess ", i))
		}
		b.requests(perSecond)
	})
}

// A wrong key never delays, evicts or blocks a key that was good.
func TestGuessesHoldUpNoGoodKey(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.want("", "batch", goodSecret)
		for i := range 200 { // until the rate is used up
			b.redeem("batch", fmt.Sprint("guess ", i))
		}
		b.requests(burst)
		b.want("", "batch", goodSecret) // still kept
		b.requests(0)

		time.Sleep(time.Minute)
		b.waits(func(r *http.Request) {
			if _, secret, _ := r.BasicAuth(); secret != goodSecret {
				<-r.Context().Done()
			}
		})
		var guess sync.WaitGroup
		guess.Go(func() { b.want(refusal.ServiceKeyWaits, "batch", "guess") })
		synctest.Wait()
		began := time.Now()
		b.want("", "batch", goodSecret)
		if d := time.Since(began); d != 0 {
			b.Errorf("it took %v", d)
		}
		guess.Wait()
		b.requests(2)

		// Nor by an answer that says nothing of the key.
		time.Sleep(time.Minute)
		b.answers(func(r *http.Request) (int, string) {
			if _, secret, _ := r.BasicAuth(); secret == "odd" {
				return http.StatusInternalServerError, ""
			}
			return 0, ""
		})
		b.want(refusal.ServiceKeyUnavailable, "batch", "odd")
		b.want("", "batch", goodSecret)
	})
}

// An outage never turns a no into a yes. A key that counts goes on until it would
// be exchanged again.
func TestOutage(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.want("", "batch", goodSecret)
		b.want(refusal.ServiceKeyRefused, "nightly", "wrong")
		b.issuer.SetOutage(true)
		b.want(refusal.ServiceKeyUnavailable, "nightly", "wrong")
		b.want("", "batch", goodSecret)
		time.Sleep(55 * time.Second)
		b.asked.Store(0)
		for range 10 {
			b.want(refusal.ServiceKeyUnavailable, "batch", goodSecret)
		}
		b.requests(1) // a second
		b.issuer.SetOutage(false)
		time.Sleep(time.Second)
		b.want("", "batch", goodSecret)
		b.want(refusal.ServiceKeyRefused, "nightly", "wrong")
	})
}

// A not-before ends tokens, not keys: the key is exchanged anew, once.
func TestNotBefore(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.want("", "batch", goodSecret)
		time.Sleep(10 * time.Second)
		revoke := func(upTo time.Time) {
			if err := b.verifier.Revoke(context.Background(), bearer.Revocation{Issuer: b.issuer.URL, UpTo: upTo}); err != nil {
				b.Fatal(err)
			}
		}
		revoke(time.Now().Add(-time.Second))
		b.want("", "batch", goodSecret)
		b.want("", "batch", goodSecret)
		b.requests(2)

		// One that refuses what is new, too, makes no loop.
		time.Sleep(10 * time.Second)
		revoke(time.Now().Add(20 * time.Second))
		for range 50 {
			b.want(refusal.TokenRevoked, "batch", goodSecret)
		}
		b.requests(1)
		time.Sleep(21 * time.Second)
		b.want("", "batch", goodSecret)
		b.requests(1)
	})
}

// A clock that is set by 25 hours, or a suspended machine, makes no key younger.
func TestClockSteps(t *testing.T) {
	for _, step := range []time.Duration{25 * time.Hour, -25 * time.Hour} {
		inBubble(t, func(b *bench) {
			b.want("", "batch", goodSecret)
			b.ahead.Store(int64(step))
			b.secret("batch", "another")
			b.want(refusal.ServiceKeyRefused, "batch", goodSecret)
		})
	}
}

// A token of somebody else, which an issuer would not give, is none of the key's.
func TestTokenOfAnotherClient(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.answers(func(*http.Request) (int, string) {
			return http.StatusOK, fmt.Sprintf(`{"access_token":%q,"expires_in":300}`, b.issuer.Token("RS256"))
		})
		b.want(refusal.ServiceKeyRefused, "batch", goodSecret)
	})
}

// A caller that leaves ends nothing for the others.
func TestCallerLeaves(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.waits(func(*http.Request) { time.Sleep(time.Second) })
		ctx, leave := context.WithCancel(context.Background())
		var all sync.WaitGroup
		all.Go(func() {
			_, err := b.Redeem(ctx, key(b, "batch", goodSecret))
			var refused *refusal.Error
			if !errors.As(err, &refused) || refused.Code != refusal.CallerGone {
				b.Errorf("the one who left: %v", err)
			}
		})
		synctest.Wait()
		all.Go(func() { b.want("", "batch", goodSecret) })
		leave()
		all.Wait()
		b.requests(1)
	})
}
