package bearer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
)

// These tests run on the fake clock of synctest: minutes of key ages and
// outages pass at once, and every duration is exact.

func code(err error) bearer.Code {
	var e *bearer.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestKeysComeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		issuer.SetOutage(true)
		v := newVerifier(t, issuer, nil)
		token := issuer.Token("RS256")
		_, err := v.Check(request(token))
		if code(err) != bearer.KeysUnavailable {
			t.Errorf("before there are keys: %v", err)
		}
		if v.Ready() == nil {
			t.Error("ready without keys")
		}
		issuer.SetOutage(false)
		time.Sleep(6 * time.Second)
		if err := v.Ready(); err != nil {
			t.Error(err)
		}
		if _, err := v.Check(request(token)); err != nil {
			t.Errorf("after the issuer came up: %v", err)
		}
	})
}

// forged returns a token of nobody's key under a key id, good in every other way.
func forged(issuer *oidctest.Issuer, id string, changes ...oidctest.Claims) string {
	header := oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": id}
	return oidctest.Sign(&oidctest.Key{Private: []byte("x")}, header, issuer.Claims(changes...))
}

// TestUnknownKeys: 1,000 random key ids a second at an issuer that takes 300 ms
// for an answer. Each is refused by a fetch of its own, of which there is one a
// second; a real new key works within 2 s, and no good request is refused.
func TestUnknownKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, func(c *bearer.Config) {
			inner := c.HTTPClient.Transport
			c.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				time.Sleep(300 * time.Millisecond)
				return inner.RoundTrip(r)
			})}
		})
		time.Sleep(10 * time.Second)
		_, before := issuer.Requests()
		const seconds = 5
		var wg sync.WaitGroup
		for n := range seconds * 1000 {
			wg.Go(func() {
				time.Sleep(time.Duration(n) * time.Millisecond)
				if _, err := v.Check(request(forged(issuer, fmt.Sprint("random-", n)))); code(err) != bearer.KeyUnknown {
					t.Errorf("unknown kid: %v", err)
				}
			})
		}
		good := func(key *oidctest.Key) (took time.Duration) {
			token := oidctest.Sign(key, oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": key.ID}, issuer.Claims())
			start := time.Now()
			if _, err := v.Check(request(token)); err != nil {
				t.Errorf("key %s: %v", key.ID, err)
			}
			return time.Since(start)
		}
		known := issuer.Key("RS256")
		for range 100 * seconds {
			wg.Go(func() {
				if took := good(known); took != 0 {
					t.Errorf("a known key waited %v", took)
				}
			})
			time.Sleep(5 * time.Millisecond)
			if time.Now().UnixMilli()%500 == 0 {
				next := issuer.Rotate("RS256")
				for range 10 {
					wg.Go(func() {
						if took := good(next); took > 2*time.Second {
							t.Errorf("a new key took %v", took)
						}
					})
				}
			}
		}
		wg.Wait()
		if _, after := issuer.Requests(); after-before > seconds+2 {
			t.Errorf("%d fetches in %d s, want one a second", after-before, seconds)
		}
		if err := v.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// TestFetchOfBeforeIsNoEvidence: the fetch under way when a request comes may
// have been answered before the key was published.
func TestFetchOfBeforeIsNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, func(c *bearer.Config) {
			inner := c.HTTPClient.Transport
			c.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				response, err := inner.RoundTrip(r)
				time.Sleep(500 * time.Millisecond) // on its way back
				return response, err
			})}
		})
		time.Sleep(10 * time.Second)
		go v.Check(request(forged(issuer, "random"))) // begins a fetch
		time.Sleep(250 * time.Millisecond)
		issuer.Rotate("RS256")
		start := time.Now()
		if _, err := v.Check(request(issuer.Token("RS256"))); err != nil {
			t.Errorf("a key that was published during a fetch: %v", err)
		}
		if took := time.Since(start); took != 1250*time.Millisecond { // the next second's fetch
			t.Errorf("took %v", took)
		}
	})
}

// TestUnknownKeyWhileIssuerFails: without a fetch nobody knows whether the
// issuer has the key, so it is 503, and the callers come back spread.
func TestUnknownKeyWhileIssuerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, nil)
		time.Sleep(11 * time.Second)
		known := issuer.Token("RS256")
		issuer.SetOutage(true)
		issuer.Rotate("RS256")
		unknown := issuer.Token("RS256")
		waits := map[string]bool{}
		var refused *bearer.Error
		for range 60 {
			_, err := v.Check(request(unknown))
			if !errors.As(err, &refused) || refused.Code != bearer.KeyNotChecked || refused.Status != http.StatusServiceUnavailable {
				t.Fatalf("unknown kid while the issuer fails: %v, want %s", err, bearer.KeyNotChecked)
			}
			w := httptest.NewRecorder()
			v.WriteChallenge(w, refused)
			waits[w.Header().Get("Retry-After")] = true
			if w.Header().Get("WWW-Authenticate") != "" {
				t.Error("a challenge, though nothing is said against the token")
			}
		}
		for wait := range waits {
			if !slices.Contains([]string{"1", "2", "3", "4", "5"}, wait) {
				t.Errorf("Retry-After: %s", wait)
			}
		}
		if len(waits) < 2 {
			t.Errorf("Retry-After is always %v", waits)
		}
		if _, err := v.Check(request(known)); err != nil {
			t.Errorf("known key during the outage: %v", err)
		}
		if err := v.Ready(); err != nil {
			t.Errorf("unknown keys make it unready: %v", err)
		}
		issuer.SetOutage(false)
		if _, err := v.Check(request(unknown)); err != nil {
			t.Errorf("the new key after the outage: %v", err)
		}
	})
}

// TestHopelessTokensFetchNothing: what would be refused under any key costs no
// fetch and no place among those who wait, whatever its kid.
func TestHopelessTokensFetchNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, nil)
		time.Sleep(11 * time.Second)
		now := time.Now().Unix()
		_, before := issuer.Requests()
		start := time.Now()
		for _, c := range []struct {
			name, token string
			want        bearer.Code
		}{
			{"iss", forged(issuer, "random", oidctest.Claims{"iss": "https://id.attacker.example"}), bearer.IssuerUnknown},
			{"aud", forged(issuer, "random", oidctest.Claims{"aud": "other-api"}), bearer.AudienceWrong},
			{"no aud", forged(issuer, "random", oidctest.Claims{"aud": nil}), bearer.AudienceWrong},
			{"aud is a number", forged(issuer, "random", oidctest.Claims{"aud": 1}), bearer.ClaimsMalformed},
			{"exp", forged(issuer, "random", oidctest.Claims{"exp": now - 60}), bearer.TokenExpired},
			{"no exp", forged(issuer, "random", oidctest.Claims{"exp": nil}), bearer.ClaimsMalformed},
			{"iat", forged(issuer, "random", oidctest.Claims{"iat": now + 60}), bearer.IssuedInFuture},
			{"typ", forged(issuer, "random", oidctest.Claims{"typ": "ID"}), bearer.TokenTypeWrong},
			{"header typ", oidctest.Sign(&oidctest.Key{Private: []byte("x")}, oidctest.Header{"alg": "RS256", "typ": "logout+jwt", "kid": "random"}, issuer.Claims()), bearer.TokenTypeWrong},
			{"alg", oidctest.Sign(&oidctest.Key{Private: []byte("x")}, oidctest.Header{"alg": "HS256", "typ": "JWT", "kid": "random"}, issuer.Claims()), bearer.AlgorithmRefused},
			{"no kid", oidctest.Sign(issuer.Key("RS256"), oidctest.Header{"alg": "RS256", "typ": "JWT"}, issuer.Claims()), bearer.KeyIDMissing},
		} {
			if _, err := v.Check(request(c.token)); code(err) != c.want {
				t.Errorf("%s: %v, want %s", c.name, err, c.want)
			}
		}
		if _, after := issuer.Requests(); after != before || time.Since(start) != 0 {
			t.Errorf("%d fetches in %v, want none", after-before, time.Since(start))
		}
	})
}

// TestLightweightTokenOfANewKey: a token without aud isn't hopeless where the
// issuer is asked for it.
func TestLightweightTokenOfANewKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, func(c *bearer.Config) {
			c.Issuers[0].ClientID, c.Issuers[0].ClientSecret = issuer.Audience, "secret"
			c.NotBeforeInterval = -1
		})
		time.Sleep(11 * time.Second)
		issuer.Rotate("RS256")
		_, err := v.Check(request(issuer.Token("RS256", oidctest.Claims{"aud": nil})))
		if code(err) != bearer.IntrospectionUnavailable { // past the signature
			t.Errorf("a lightweight token of a new key: %v", err)
		}
	})
}

// TestManyWait: those who wait for keys are bounded; the rest hear at once to
// come back, and known keys go on.
func TestManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, nil)
		time.Sleep(11 * time.Second)
		issuer.Override(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		var atOnce atomic.Int64
		var wg sync.WaitGroup
		for n := range 3000 {
			wg.Go(func() {
				start := time.Now()
				if _, err := v.Check(request(forged(issuer, fmt.Sprint(n)))); code(err) != bearer.KeyNotChecked {
					t.Errorf("while the issuer hangs: %v", err)
				}
				if time.Since(start) == 0 {
					atOnce.Add(1)
				}
			})
		}
		synctest.Wait()
		if _, err := v.Check(request(issuer.Token("RS256"))); err != nil {
			t.Errorf("a known key: %v", err)
		}
		wg.Wait()
		if n := atOnce.Load(); n != 3000-2048 {
			t.Errorf("%d of 3000 were refused at once, want all but 2048", n)
		}
		issuer.Override(nil)
		time.Sleep(time.Minute)
		if _, err := v.Check(request(forged(issuer, "afterwards"))); code(err) != bearer.KeyUnknown {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestBadSignatureFetchesNothing: go-oidc's remote key set fetches here.
func TestBadSignatureFetchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, nil)
		synctest.Wait()
		time.Sleep(time.Minute)
		_, before := issuer.Requests()
		bad := flip(issuer.Token("RS256"), 2)
		for range 1000 {
			if _, err := v.Check(request(bad)); code(err) != bearer.SignatureInvalid {
				t.Fatal(err)
			}
		}
		if _, after := issuer.Requests(); after != before {
			t.Errorf("%d fetches, want none", after-before)
		}
	})
}

// TestHangingIssuer: nobody waits longer than 2 s on a fetch.
func TestHangingIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, nil)
		synctest.Wait()
		time.Sleep(11 * time.Second)
		issuer.Override(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		issuer.Rotate("RS256")
		token := issuer.Token("RS256")
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				start := time.Now()
				if _, err := v.Check(request(token)); code(err) != bearer.KeyNotChecked {
					t.Errorf("while the issuer hangs: %v", err)
				}
				if waited := time.Since(start); waited > 2*time.Second {
					t.Errorf("waited %v", waited)
				}
			})
		}
		wg.Wait()
		if _, fetched := issuer.Requests(); fetched != 2 {
			t.Errorf("%d fetches, want the first and one for all", fetched)
		}
		time.Sleep(time.Minute) // the fetch ends by its own time-out
	})
}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, nil)
		synctest.Wait()
		issuer.SetOutage(true)
		fresh := func() *http.Request { return request(issuer.Token("RS256")) }
		for range 59 {
			time.Sleep(time.Minute)
			if _, err := v.Check(fresh()); err != nil {
				t.Fatalf("within the bound: %v", err)
			}
		}
		cached := fresh()
		if _, err := v.Check(cached); err != nil {
			t.Fatal(err)
		}
		time.Sleep(75 * time.Second)
		for name, r := range map[string]*http.Request{"fresh": fresh(), "cached": cached} {
			if _, err := v.Check(r); code(err) != bearer.KeysUnavailable {
				t.Errorf("%s token beyond the bound: %v", name, err)
			}
		}
		if v.Ready() == nil {
			t.Error("ready beyond the bound")
		}
		issuer.SetOutage(false)
		time.Sleep(6 * time.Second)
		if _, err := v.Check(fresh()); err != nil {
			t.Errorf("after the outage: %v", err)
		}
	})
}

func TestRemovedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, nil)
		synctest.Wait()
		old := issuer.Key("RS256")
		token := issuer.Token("RS256", oidctest.Claims{"exp": time.Now().Unix() + 3600})
		if _, err := v.Check(request(token)); err != nil {
			t.Fatal(err)
		}
		issuer.Rotate("RS256")
		issuer.Withdraw(old.ID)
		time.Sleep(5 * time.Minute)
		if _, err := v.Check(request(token)); code(err) != bearer.KeyUnknown {
			t.Errorf("cached token of a removed key: %v", err)
		}
	})
}

// TestRotationUnderLoad: a key that is published before it signs costs no
// refusal, cached or not.
func TestRotationUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, nil)
		synctest.Wait()
		var wg sync.WaitGroup
		next := oidctest.NewKey("next", "RS256")
		signing := atomic.Pointer[oidctest.Key]{}
		signing.Store(issuer.Key("RS256"))
		for range 4 {
			wg.Go(func() {
				for range 200 {
					key := signing.Load()
					token := oidctest.Sign(key, oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": key.ID}, issuer.Claims())
					for range 3 {
						if _, err := v.Check(request(token)); err != nil {
							t.Errorf("key %s: %v", key.ID, err)
						}
						time.Sleep(time.Second)
					}
				}
			})
		}
		issuer.Publish(next)
		time.Sleep(5 * time.Minute)
		signing.Store(next)
		wg.Wait()
	})
}

// TestClockSteps moves the wall clock under tokens and keys.
func TestClockSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		var step atomic.Int64
		v := newVerifier(t, issuer, func(c *bearer.Config) {
			c.Now = func() time.Time { return time.Now().Add(time.Duration(step.Load())) }
		})
		synctest.Wait()
		token := issuer.Token("RS256")
		for _, c := range []struct {
			step time.Duration
			want bearer.Code
		}{{0, ""}, {24 * time.Hour, bearer.TokenExpired}, {0, ""}, {-24 * time.Hour, bearer.IssuedInFuture}, {-20 * time.Second, ""}, {0, ""}} {
			step.Store(int64(c.step))
			if _, err := v.Check(request(token)); code(err) != c.want {
				t.Errorf("clock %v off: %v, want %q", c.step, err, c.want)
			}
			if err := v.Ready(); err != nil {
				t.Errorf("clock %v off: %v", c.step, err)
			}
		}
	})
}

// TestStepsEmptyWhatGrants: after a step of the wall clock, or a suspend, which
// looks the same, nobody knows how old keys and verified tokens are
// (golang/go#24595): the issuer is asked before anything is accepted again.
func TestStepsEmptyWhatGrants(t *testing.T) {
	for _, step := range []time.Duration{6 * time.Second, -6 * time.Second, 25 * time.Hour, -25 * time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := newIssuer()
				var offset atomic.Int64
				v := newVerifier(t, issuer, func(c *bearer.Config) {
					c.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
				})
				synctest.Wait()
				now := time.Now().Unix()
				token := issuer.Token("RS256", oidctest.Claims{"iat": now - 60, "exp": now + 3600})
				if step > time.Hour || step < -time.Hour {
					at := now + int64(step/time.Second)
					token = issuer.Token("RS256", oidctest.Claims{"iat": at, "exp": at + 3600})
				} else if _, err := v.Check(request(token)); err != nil {
					t.Fatal(err)
				}
				issuer.Withdraw(issuer.Key("RS256").ID)
				issuer.Rotate("ES256")
				offset.Store(int64(step))
				if _, err := v.Check(request(token)); code(err) != bearer.KeyUnknown {
					t.Errorf("a token of a removed key: %v, want %s", err, bearer.KeyUnknown)
				}
				issuer.SetOutage(true)
				offset.Add(int64(step))
				at := now + 2*int64(step/time.Second)
				current := issuer.Token("RS256", oidctest.Claims{"iat": at, "exp": at + 3600})
				if _, err := v.Check(request(current)); code(err) != bearer.KeysUnavailable {
					t.Errorf("while the issuer fails: %v, want %s", err, bearer.KeysUnavailable)
				}
				issuer.SetOutage(false)
				time.Sleep(6 * time.Second)
				if err := v.Ready(); err != nil {
					t.Errorf("after the issuer came back: %v", err)
				}
			})
		})
	}
}

// TestHostileIssuer is about what an issuer, or somebody in between, answers.
// Every answer comes after good keys are known; none may make the API use it.
func TestHostileIssuer(t *testing.T) {
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
	}
	good := newIssuer()
	for _, c := range []struct {
		name, source string
		answer       http.HandlerFunc
	}{
		{"not JSON", "RFC 7517, section 5", text("<html>sign in</html>")},
		{"empty", "RFC 7517, section 5", text("")},
		{"half", "RFC 7517, section 5", text(`{"keys":[`)},
		{"no keys", "RFC 7517, section 5.1", text(`{}`)},
		{"empty key set", "RFC 7517, section 5.1", text(`{"keys":[]}`)},
		{"garbage keys", "RFC 7517, section 5", text(`{"keys":[null,1,"x",{},{"kty":"RSA"},{"kty":"OKP","kid":"x","crv":"Ed448","x":"AA"}]}`)},
		{"duplicate members", "RFC 7517, section 4", text(`{"keys":[],"keys":[]}`)},
		{"100 MB", "RFC 8725, section 3.11", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"keys":[`))
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 2 { // in memory; over 1 MiB is over
				w.Write(chunk)
			}
		}},
		{"200 keys", "RFC 8725, section 3.11", text(`{"keys":[` + strings.Repeat(`{},`, 199) + `{}]}`)},
		{"500", "RFC 9110, section 15.6", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }},
		{"404", "RFC 9110, section 15.5", http.NotFound},
		{"redirect to another host", "RFC 8725, section 3.10", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://id.attacker.example/jwks", http.StatusFound)
		}},
		{"redirect to plain HTTP", "RFC 8725, section 3.10", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.URL.Host+r.URL.Path, http.StatusFound)
		}},
		{"redirect in circles", "RFC 9110, section 15.4", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}},
		{"discovery of another issuer", "OpenID Connect Discovery 1.0, section 4.3", text(`{"issuer":"https://id.attacker.example/realms/example-realm","jwks_uri":"https://id.attacker.example/jwks"}`)},
		{"discovery in another case", "OpenID Connect Discovery 1.0, section 4.3", text(`{"ISSUER":"` + good.URL + `","JWKS_URI":"https://id.attacker.example/jwks"}`)},
		{"discovery with a file", "OpenID Connect Discovery 1.0, section 3", text(`{"issuer":"` + good.URL + `","jwks_uri":"file:///etc/passwd"}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := newIssuer()
				hosts := recorder{inner: issuer.Client().Transport}
				v := newVerifier(t, issuer, func(c *bearer.Config) { c.HTTPClient = &http.Client{Transport: &hosts} })
				synctest.Wait()
				issuer.Override(c.answer)
				time.Sleep(10 * time.Minute)
				if _, err := v.Check(request(issuer.Token("RS256"))); err != nil {
					t.Errorf("a good token: %v (%s)", err, c.source)
				}
				// The same from the start: 503, and later all is well.
				v = newVerifier(t, issuer, func(c *bearer.Config) { c.HTTPClient = &http.Client{Transport: &hosts} })
				synctest.Wait()
				if _, err := v.Check(request(issuer.Token("RS256"))); code(err) != bearer.KeysUnavailable {
					t.Errorf("without keys: %v", err)
				}
				issuer.Override(nil)
				time.Sleep(10 * time.Second)
				if _, err := v.Check(request(issuer.Token("RS256"))); err != nil {
					t.Errorf("after it ended: %v", err)
				}
				for _, host := range hosts.seen() {
					if host != "https://id.example" {
						t.Errorf("%s was asked", host)
					}
				}
			})
		})
	}
}

// recorder notes which hosts are asked.
type recorder struct {
	inner http.RoundTripper
	mu    sync.Mutex
	hosts []string
}

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	r.mu.Lock()
	r.hosts = append(r.hosts, request.URL.Scheme+"://"+request.URL.Host)
	r.mu.Unlock()
	return r.inner.RoundTrip(request)
}

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hosts
}

// TestHostileKeys are keys that never verify, beside a good one. The token is
// signed with the private half of the hostile key.
func TestHostileKeys(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	rs256, es256 := oidctest.NewKey("hostile", "RS256"), oidctest.NewKey("hostile", "ES256")
	secret := []byte("0123456789abcdef0123456789abcdef")
	public := rs256.JWK()
	encryption := public
	encryption.Use = "enc"
	wrongAlgorithm := public
	wrongAlgorithm.Algorithm = "RSA-OAEP"
	p := es256.Public().(*ecdsa.PublicKey)
	coordinates, err := p.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	coordinates[64] ^= 1 // no longer on the curve
	b64 := base64.RawURLEncoding.EncodeToString
	for _, c := range []struct {
		name, source string
		jwk          any
		sign         *oidctest.Key
		algorithm    string
		want         bearer.Code
	}{
		{"use enc", "RFC 7517, section 4.2", encryption, rs256, "RS256", bearer.KeyUnknown},
		{"alg of encryption", "RFC 7517, section 4.4", wrongAlgorithm, rs256, "RS256", bearer.KeyUnknown},
		{"key_ops without verify", "RFC 7517, section 4.3", with(public, "key_ops", []string{"encrypt"}), rs256, "RS256", bearer.KeyUnknown},
		{"private key", "RFC 7517, section 9.2", jose.JSONWebKey{Key: rs256.Private, KeyID: "hostile", Algorithm: "RS256", Use: "sig"}, rs256, "RS256", bearer.KeyUnknown},
		{"symmetric key", "RFC 8725, section 2.1", jose.JSONWebKey{Key: secret, KeyID: "hostile", Use: "sig"}, &oidctest.Key{Private: secret}, "HS256", bearer.AlgorithmRefused},
		{"symmetric key for HS256", "RFC 8725, section 2.1", jose.JSONWebKey{Key: secret, KeyID: "hostile", Use: "sig", Algorithm: "HS256"}, &oidctest.Key{Private: secret}, "HS256", bearer.AlgorithmRefused},
		{"RSA of 1024 bits", "RFC 7518, section 3.3", jose.JSONWebKey{Key: small.Public(), KeyID: "hostile", Algorithm: "RS256", Use: "sig"}, &oidctest.Key{Private: small}, "RS256", bearer.KeyUnknown},
		{"point off the curve", "RFC 8725, section 3.4; CVE-2015-7940", map[string]any{
			"kty": "EC", "crv": elliptic.P256().Params().Name, "kid": "hostile", "alg": "ES256", "use": "sig", "x": b64(coordinates[1:33]), "y": b64(coordinates[33:]),
		}, es256, "ES256", bearer.KeyUnknown},
		{"curve and alg disagree", "RFC 7518, section 3.4", with(es256.JWK(), "alg", "ES384"), es256, "ES256", bearer.KeyUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := newIssuer()
				v := publishing(t, issuer, c.jwk, issuer.Key("RS256").JWK())
				token := oidctest.Sign(c.sign, oidctest.Header{"alg": c.algorithm, "typ": "JWT", "kid": "hostile"}, issuer.Claims())
				p, err := v.Check(request(token))
				if wantCode(t, p, err, c.want); t.Failed() {
					t.Log(c.source)
				}
				if _, err := v.Check(request(issuer.Token("RS256"))); err != nil {
					t.Errorf("the good key beside it: %v", err)
				}
			})
		})
	}
}

// TestDuplicateKeyIDs: RFC 7517, section 4.5, allows keys of different types
// under one id. Each verifies only its own.
func TestDuplicateKeyIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		one, two, three := oidctest.NewKey("same", "RS256"), oidctest.NewKey("same", "ES256"), oidctest.NewKey("same", "RS256")
		v := publishing(t, issuer, one.JWK(), two.JWK(), three.JWK(), one.JWK())
		for _, key := range []*oidctest.Key{one, two, three} {
			token := oidctest.Sign(key, oidctest.Header{"alg": key.Algorithm, "typ": "JWT", "kid": "same"}, issuer.Claims())
			if _, err := v.Check(request(token)); err != nil {
				t.Errorf("%s: %v", key.Algorithm, err)
			}
		}
		stranger := oidctest.NewKey("same", "RS256")
		token := oidctest.Sign(stranger, oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": "same"}, issuer.Claims())
		if _, err := v.Check(request(token)); code(err) != bearer.SignatureInvalid {
			t.Errorf("a fourth key: %v", err)
		}
	})
}

// publishing makes a verifier of an issuer that publishes the given JWKs.
func publishing(t *testing.T, issuer *oidctest.Issuer, keys ...any) *bearer.Verifier {
	issuer.SetKeySet(map[string]any{"keys": keys})
	v := newVerifier(t, issuer, nil)
	synctest.Wait()
	return v
}

// TestInternalAddress: discovery and keys by another address than `iss`.
func TestInternalAddress(t *testing.T) {
	for _, c := range []struct {
		name string
		jwks string // as discovery gives it
	}{
		{"public jwks_uri", "https://id.example/realms/example-realm/protocol/openid-connect/certs"},
		{"hostname-backchannel-dynamic", "http://keycloak.internal:8080/realms/example-realm/protocol/openid-connect/certs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := newIssuer()
				transport := recorder{inner: roundTrip(func(r *http.Request) (*http.Response, error) {
					if strings.HasSuffix(r.URL.Path, "openid-configuration") {
						w := httptest.NewRecorder()
						fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer.URL, c.jwks)
						return w.Result(), nil
					}
					return issuer.Client().Transport.RoundTrip(r)
				})}
				v := newVerifier(t, issuer, func(c *bearer.Config) {
					c.Issuers[0].InternalURL = "http://keycloak.internal:8080/realms/example-realm"
					c.HTTPClient = &http.Client{Transport: &transport}
				})
				synctest.Wait()
				if _, err := v.Check(request(issuer.Token("RS256"))); err != nil {
					t.Error(err)
				}
				for _, host := range transport.seen() {
					if host != "http://keycloak.internal:8080" {
						t.Errorf("%s was asked", host)
					}
				}
			})
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// with returns a JWK with one member changed.
func with(key jose.JSONWebKey, name string, value any) map[string]any {
	b, err := key.MarshalJSON()
	if err != nil {
		panic(err)
	}
	var members map[string]any
	if err := json.Unmarshal(b, &members); err != nil {
		panic(err)
	}
	members[name] = value
	return members
}

// What there is to say of keys: their age, and how often they were fetched.
func TestKeySetStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := oidctest.New("https://id.example/realms/example-realm")
		v, err := bearer.New(t.Context(), bearer.Config{Issuers: []bearer.Issuer{{URL: issuer.URL}}, Audience: issuer.Audience, HTTPClient: issuer.Client()})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := bearer.KeySetStatus{Issuer: issuer.URL, Fetches: 1}
		if got := v.KeySets(); len(got) != 1 || got[0] != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		time.Sleep(time.Minute)
		if got := v.KeySets()[0].Age; got != time.Minute {
			t.Errorf("age %v after a minute", got)
		}
	})
}

// Keys that could not be fetched have no age, and each failure counts.
func TestKeySetStatusWithoutKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := oidctest.New("https://id.example/realms/example-realm")
		v, err := bearer.New(t.Context(), bearer.Config{
			Issuers: []bearer.Issuer{{URL: issuer.URL + "/gone"}}, Audience: issuer.Audience, HTTPClient: issuer.Client(),
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if got := v.KeySets()[0]; got.Age >= 0 || got.Fetches != 2 || got.Failures != 2 {
			t.Errorf("got %+v, want no age and two failures", got)
		}
	})
}
