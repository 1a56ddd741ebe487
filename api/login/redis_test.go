package login

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/internal/redistest"
)

// cluster are several replicas of a site that share a Redis.
type cluster struct {
	server *redistest.Server
	issuer *oidctest.Provider
	sites  []*site
	change func(*Config)
}

func newCluster(t *testing.T, n int, change func(*Config)) *cluster {
	t.Helper()
	issuer := &oidctest.Issuer{URL: issuerURL, Audience: "model-serving-api", Now: time.Now}
	issuer.Publish(key())
	c := &cluster{redistest.Start(t), oidctest.NewProvider(issuer, "my-api-client", "my-api-client-secret"), nil, change}
	for range n {
		c.add(t)
	}
	return c
}

// add starts one more replica.
func (c *cluster) add(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, issuer: c.issuer, log: &bytes.Buffer{}, logger: slog.New(slog.DiscardHandler)}
	shared := c.server.Store(t, issuerURL)
	var err error
	s.verifier, err = bearer.New(t.Context(), bearer.Config{
		Issuers: []bearer.Issuer{{URL: issuerURL}}, Audience: c.issuer.Audience, HTTPClient: c.issuer.Client(), Logger: s.logger, Store: shared,
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the keys", func() bool { return s.verifier.Ready() == nil })
	config := Config{
		Issuer: issuerURL, ClientID: c.issuer.ClientID, ClientSecret: c.issuer.ClientSecret, PublicURL: publicURL,
		Verifier: s.verifier, Idle: 30 * time.Minute, Lifetime: 10 * time.Hour, Store: shared, HTTPClient: c.issuer.Client(), Logger: s.logger,
	}
	if c.change != nil {
		c.change(&config)
	}
	if s.login, err = New(config); err != nil {
		t.Fatal(err)
	}
	s.handler = s.routes()
	c.sites = append(c.sites, s)
	return s
}

// at is the browser at another replica.
func (b *browser) at(s *site) *browser { return &browser{s, b.cookies} }

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// A sign-in may begin at one replica, come back at a second one, and be used at a
// third; and it ends on all of them, wherever it ends. No sticky sessions.
func TestSessionsOnAllReplicas(t *testing.T) {
	c := newCluster(t, 3, nil)
	for name, end := range map[string]func(b *browser, s *site){
		"signed out": func(b *browser, s *site) {
			b.at(s).do(httptest.NewRequest(http.MethodPost, publicURL+"/logout", nil))
		},
		"a back-channel logout of the session": func(_ *browser, s *site) {
			if n, err := s.login.EndSession(t.Context(), "yN3bqkT0a8rD5sWm2xQvJ7Lc", "", time.Now()); n != 1 || err != nil {
				t.Errorf("%d ended, %v", n, err)
			}
		},
		"a back-channel logout of the person": func(b *browser, s *site) {
			if n, err := s.login.EndSession(t.Context(), "", c.issuer.Claims()["sub"].(string), time.Now()); n != 1 || err != nil {
				t.Errorf("%d ended, %v", n, err)
			}
		},
	} {
		b := c.sites[0].browser()
		callback := b.authorize(b.begin("/models/iris"))
		if response, body := b.at(c.sites[1]).get(callback); response.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s: callback: %d %s", name, response.StatusCode, body)
		}
		cookies := map[string]*http.Cookie{}
		for n, cookie := range b.cookies {
			cookies[n] = cookie
		}
		for _, s := range append(c.sites, c.add(t)) { // and one that starts later
			b.at(s).wantSignedIn()
		}
		end(b, c.sites[2])
		for _, s := range c.sites {
			(&browser{s, cookies}).want(http.StatusUnauthorized, string(refusal.SessionEnded))
		}
	}
}

// One state is redeemed once, however many callbacks come with it, wherever they
// come: it is taken before the code is sent to the issuer (RFC 9700, section 2.1.1).
func TestStateOnceOnAllReplicas(t *testing.T) {
	c := newCluster(t, 3, nil)
	b := c.sites[0].browser()
	callback := b.authorize(b.begin("/"))
	stranger := &browser{c.sites[1], map[string]*http.Cookie{}}
	if response, body := stranger.get(callback); response.StatusCode != 400 {
		t.Errorf("in another browser: %d %s", response.StatusCode, body)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[int]int{}
	for n := range 30 {
		copied := map[string]*http.Cookie{}
		for name, cookie := range b.cookies {
			copied[name] = cookie
		}
		all.Go(func() {
			response, _ := (&browser{c.sites[n%3], copied}).get(callback)
			mu.Lock()
			defer mu.Unlock()
			answers[response.StatusCode]++
		})
	}
	all.Wait()
	if answers[http.StatusSeeOther] != 1 || answers[http.StatusBadRequest] != 29 {
		t.Errorf("answers %v, want one sign-in", answers)
	}
}

// A refresh token that works once is used once, though requests come to all
// replicas at the same time.
func TestRefreshOnceOnAllReplicas(t *testing.T) {
	c := newCluster(t, 3, nil)
	b := c.sites[0].browser()
	c.issuer.Set(func(set *oidctest.Settings) { set.Lifetime = 20 }) // due at once
	b.signIn()
	c.issuer.Set(func(set *oidctest.Settings) { set.Lifetime = 300 })
	before := c.issuer.Count("refresh_token")
	var all sync.WaitGroup
	for n := range 30 {
		all.Go(func() { b.at(c.sites[n%3]).wantSignedIn() })
	}
	all.Wait()
	if got := c.issuer.Count("refresh_token") - before; got != 1 {
		t.Errorf("%d refreshes, want 1", got)
	}
}

// A person has at most maxSessions sessions on all replicas together.
func TestSessionsOfOnePersonOnAllReplicas(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.issuer.Set(func(set *oidctest.Settings) {
		set.ID, set.Access = oidctest.Claims{"sub": "busy"}, oidctest.Claims{"sub": "busy"}
	})
	var browsers []*browser
	for n := range maxSessions + 3 {
		b := c.sites[n%3].browser()
		b.signIn()
		browsers = append(browsers, b)
		browsers[0].at(c.sites[(n+1)%3]).get("/") // that it is in use makes it no younger
	}
	for n, b := range browsers {
		if b = b.at(c.sites[n/2%3]); n < 3 {
			b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
		} else {
			b.wantSignedIn()
		}
	}
	if got := len(c.sites[1].found("", "busy")); got != maxSessions {
		t.Errorf("%d sessions are kept", got)
	}
}

// A session that ended while a request had it is not brought back, also where the
// lock was lost.
func TestEndedSessionStaysEnded(t *testing.T) {
	c := newCluster(t, 2, nil)
	b := c.sites[0].browser()
	b.signIn()
	id := b.cookies["__Host-session"].Value
	ctx, g, err := c.sites[0].login.load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.sites[1].login.drop(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	var refused *refusal.Error
	if err := c.sites[0].login.store(ctx, g); !errors.As(err, &refused) || refused.Code != refusal.SessionEnded {
		t.Errorf("stored again: %v", err)
	}
	b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
}

// Ages hold on each replica, by its clock and by that of Redis.
func TestAgesOfSharedSessions(t *testing.T) {
	c := newCluster(t, 2, func(c *Config) { c.Idle = time.Second })
	b := c.sites[0].browser()
	b.signIn()
	b.at(c.sites[1]).wantSignedIn()
	kept := c.sites[0].login.kept.(*shared)
	if ttl := kept.PTTL(t.Context(), kept.Key(sessionKind, b.cookies["__Host-session"].Value)).Val(); ttl <= 0 || ttl > time.Second {
		t.Errorf("Redis keeps it for %v", ttl)
	}
	until(t, "idle for too long", func() bool {
		time.Sleep(1100 * time.Millisecond)
		response, _ := b.at(c.sites[1]).get("/")
		return response.StatusCode == http.StatusUnauthorized
	})
	now := time.Now()
	for _, row := range []struct {
		name            string
		began, used     time.Time
		tooOld, stepped bool
	}{
		{"young", now, now, false, false},
		{"idle", now.Add(-2 * time.Minute), now.Add(-2 * time.Minute), true, false},
		{"at the end of its lifetime", now.Add(-2 * time.Hour), now, true, false},
		{"the clock was set back by 25 h", now.Add(25 * time.Hour), now.Add(25 * time.Hour), false, true},
	} {
		g := &grant{Began: row.began, Used: row.used}
		if old, stepped := kept.tooOld("", g, time.Minute, time.Hour), kept.stepped("", g); old != row.tooOld || stepped != row.stepped {
			t.Errorf("%s: too old %t, stepped %t", row.name, old, stepped)
		}
	}
}

// Who reads Redis finds no token, no cookie and no name; who writes to it can't give
// one session's content to another.
func TestSessionsInRedisAreSealed(t *testing.T) {
	c := newCluster(t, 1, nil)
	b := c.sites[0].browser()
	b.signIn()
	waiting := c.sites[0].browser()
	state := waiting.begin("/")
	kept := c.sites[0].login.kept.(*shared)
	var everything strings.Builder
	for _, name := range kept.Keys(t.Context(), "*").Val() {
		everything.WriteString(name + "\n" + kept.Dump(t.Context(), name).Val() + "\n")
	}
	for _, secret := range append(c.issuer.Sensitive(), b.cookies["__Host-session"].Value, c.issuer.Claims()["sub"].(string), "yN3bqkT0a8rD5sWm2xQvJ7Lc", state) {
		if strings.Contains(everything.String(), secret) {
			t.Errorf("Redis holds %s", secret)
		}
	}
	other := c.sites[0].browser()
	other.signIn()
	value := kept.Get(t.Context(), kept.Key(sessionKind, b.cookies["__Host-session"].Value)).Val()
	if err := kept.Set(t.Context(), kept.Key(sessionKind, other.cookies["__Host-session"].Value), value, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	other.want(http.StatusServiceUnavailable, string(refusal.StoreFailed))
	b.wantSignedIn()
}

// While Redis is away nobody can sign in or use a session, and nobody is signed
// out. A Redis that was paused has all of them again; one that lost them ends them.
func TestSessionsWhileRedisIsAway(t *testing.T) {
	c := newCluster(t, 2, nil)
	b := c.sites[0].browser()
	b.signIn()
	refused := func() {
		t.Helper()
		b.want(http.StatusServiceUnavailable, string(refusal.StoreFailed))
		response, body := c.sites[1].browser().get("/login")
		wantFailure(t, response, body, http.StatusServiceUnavailable, refusal.StoreFailed)
		if _, err := c.sites[1].login.EndSession(context.Background(), "", "busy", time.Now()); err == nil {
			t.Error("a logout is said to be done")
		}
	}
	c.server.Pause()
	refused()
	c.server.Resume()
	until(t, "signed in again", func() bool {
		response, _ := b.at(c.sites[1]).get("/")
		return response.StatusCode == http.StatusOK
	})
	c.server.Stop()
	refused()
	c.server.Start()
	until(t, "the session has ended", func() bool {
		response, _ := b.at(c.sites[1]).get("/")
		return response.StatusCode == http.StatusUnauthorized
	})
	b.signIn()
	b.at(c.sites[1]).wantSignedIn()
}
