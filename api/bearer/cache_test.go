package bearer_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
)

// TestCacheUnderPressure: many tokens in a cache far too small, from many
// goroutines, and nobody is ever taken for another.
func TestCacheUnderPressure(t *testing.T) {
	issuer := newIssuer()
	issuer.Key("EdDSA")
	v := newVerifier(t, issuer, func(c *bearer.Config) { c.CacheEntries = 8 })
	tokens := make([]string, 64)
	for i := range tokens {
		tokens[i] = issuer.Token("EdDSA", oidctest.Claims{"sub": strconv.Itoa(i)})
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 4 * len(tokens) {
				i := (n*(g+1) + g) % len(tokens)
				p, err := v.Check(request(tokens[i]))
				if err != nil || p.Subject != strconv.Itoa(i) {
					t.Errorf("token %d: %v, %v", i, p, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestCacheGrows: what was verified before the cache grew is still known after,
// while many goroutines add to it. A set that is full loses one in a hundred.
func TestCacheGrows(t *testing.T) {
	const goroutines, each = 8, 400
	issuer := newIssuer()
	issuer.Key("EdDSA")
	v := newVerifier(t, issuer, nil)
	var again atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			verified := map[string]*bearer.Principal{}
			for n := range each {
				subject := strconv.Itoa(g*each + n)
				token := issuer.Token("EdDSA", oidctest.Claims{"sub": subject})
				p, err := v.Verify(t.Context(), token)
				if err != nil || p.Subject != subject {
					t.Errorf("subject %s: %v, %v", subject, p, err)
					return
				}
				verified[token] = p
			}
			for token, p := range verified {
				if now, err := v.Verify(t.Context(), token); err != nil || now.Subject != p.Subject {
					t.Errorf("subject %s the second time: %v, %v", p.Subject, now, err)
				} else if now != p {
					again.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := again.Load(); n > goroutines*each/10 {
		t.Errorf("%d of %d tokens were verified twice", n, goroutines*each)
	}
}

// TestCacheIsShared: a user who gets tokens as fast as Keycloak gives them
// takes no room from others (CWE-770).
func TestCacheIsShared(t *testing.T) {
	issuer := newIssuer()
	issuer.Key("EdDSA")
	v := newVerifier(t, issuer, func(c *bearer.Config) { c.CacheEntries = 200 })
	verify := func(claims oidctest.Claims) (again func() bool) {
		token := issuer.Token("EdDSA", claims)
		p, err := v.Verify(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		return func() bool {
			now, err := v.Verify(t.Context(), token)
			return err == nil && now == p
		}
	}
	count := func(cached []func() bool) (n int) {
		for _, again := range cached {
			if again() {
				n++
			}
		}
		return n
	}
	var flooder, others []func() bool
	for i := range 25 {
		others = append(others, verify(oidctest.Claims{"sub": strconv.Itoa(i)}))
	}
	for i := range 1000 {
		flooder = append(flooder, verify(oidctest.Claims{"jti": strconv.Itoa(i)}))
	}
	for i := range 25 {
		others = append(others, verify(oidctest.Claims{"sub": strconv.Itoa(25 + i)}))
	}
	// A set may be full.
	if n := count(others); n < 45 {
		t.Errorf("%d of 50 tokens of others are kept", n)
	}
	if n := count(flooder); n > 100 {
		t.Errorf("%d tokens of one user are kept, want at most half of 200", n)
	}
}

// TestCachedTokenExpires: a hit still checks the times, within the skew.
func TestCachedTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, nil)
		synctest.Wait()
		start := time.Now()
		r := request(issuer.Token("RS256", oidctest.Claims{"exp": time.Now().Unix() + 60}))
		for _, c := range []struct {
			after time.Duration
			want  bearer.Code
		}{{0, ""}, {89 * time.Second, ""}, {90 * time.Second, bearer.TokenExpired}, {2 * time.Minute, bearer.TokenExpired}} {
			time.Sleep(c.after - time.Since(start))
			if _, err := v.Check(r); code(err) != c.want {
				t.Errorf("after %v: %v, want %q", c.after, err, c.want)
			}
		}
	})
}

// TestAnotherConfiguration: what one configuration accepted is nothing to the
// next one, since each has a cache of its own.
func TestAnotherConfiguration(t *testing.T) {
	issuer := newIssuer()
	token := issuer.Token("RS256")
	if _, err := newVerifier(t, issuer, nil).Check(request(token)); err != nil {
		t.Fatal(err)
	}
	p, err := newVerifier(t, issuer, func(c *bearer.Config) { c.Audience = "other-api" }).Check(request(token))
	wantCode(t, p, err, bearer.AudienceWrong)
}
