package bearer_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/internal/redistest"
)

// replica returns a Verifier that shares a Redis with others.
func replica(t *testing.T, server *redistest.Server, issuer *oidctest.Issuer) *bearer.Verifier {
	t.Helper()
	return newVerifier(t, issuer, func(c *bearer.Config) {
		c.PublicURL, c.Store = "https://api.example", server.Store(t, issuer.URL)
		c.LimitProofs(100)
	})
}

// accepts tells whether a replica takes a token.
func accepts(t *testing.T, v *bearer.Verifier, token string) bool {
	t.Helper()
	for {
		switch _, err := v.Verify(t.Context(), token); code(err) {
		case "":
			return true
		case bearer.TokenRevoked:
			return false
		case bearer.LogoutJustNow, bearer.KeysUnavailable:
			time.Sleep(50 * time.Millisecond)
		default:
			t.Fatal(err)
		}
	}
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// What one replica hears of holds on all of them, and on one that starts later.
func TestRevocationsReachAllReplicas(t *testing.T) {
	server, issuer := redistest.Start(t), newIssuer()
	one, other := replica(t, server, issuer), replica(t, server, issuer)
	before := time.Now().Add(-time.Minute).Unix()
	token := func(name string) string {
		return issuer.Token("RS256", oidctest.Claims{"sub": name, "sid": "session-" + name, "azp": "client-" + name, "iat": before, "auth_time": before})
	}
	bystander := token("bystander")
	logout := func(claims oidctest.Claims) func() *http.Response {
		return func() *http.Response {
			return postForm(one.BackchannelLogout(policyClients, nil), url.Values{"logout_token": {logoutToken(issuer, nil, claims)}})
		}
	}
	for _, row := range []struct {
		name string
		do   func() *http.Response
	}{
		{"session", logout(oidctest.Claims{"sub": "session", "sid": "session-session"})},
		{"subject", logout(oidctest.Claims{"sub": "subject", "sid": nil})},
		{"admin", func() *http.Response {
			return post(one.KeycloakLogout(issuer.URL, issuer.Audience), "text/plain",
				action(issuer, oidctest.Claims{"action": "LOGOUT", "notBefore": 0, "keycloakSessionIds": []string{"session-admin"}}))
		}},
		{"client", func() *http.Response {
			err := one.Revoke(t.Context(), bearer.Revocation{Issuer: issuer.URL, Client: "client-client", UpTo: time.Now()})
			if err != nil {
				t.Error(err)
			}
			return &http.Response{StatusCode: 200}
		}},
	} {
		good := token(row.name)
		if !accepts(t, other, good) || !accepts(t, one, good) {
			t.Fatalf("%s: the token is no good", row.name)
		}
		if got := row.do().StatusCode; got/100 != 2 {
			t.Fatalf("%s: %d", row.name, got)
		}
		until(t, row.name+": refused by the other replica", func() bool { return !accepts(t, other, good) })
		if accepts(t, replica(t, server, issuer), good) { // which asks Redis before it starts
			t.Errorf("%s: accepted by a replica that started later", row.name)
		}
	}
	if !accepts(t, one, bystander) || !accepts(t, other, bystander) {
		t.Fatal("others' tokens are refused")
	}
	if got := post(one.KeycloakNotBefore(issuer.URL, issuer.Audience), "text/plain", action(issuer, oidctest.Claims{"id": "push"})).StatusCode; got != 204 {
		t.Fatalf("not-before: %d", got)
	}
	until(t, "not-before: refused by the other replica", func() bool { return !accepts(t, other, bystander) })
	if accepts(t, replica(t, server, issuer), bystander) {
		t.Error("not-before: accepted by a replica that started later")
	}
}

// While Redis is away, a revocation holds where it was heard, the issuer hears that
// the others don't know, and they know as soon as Redis is back. What Redis itself
// has lost, by a restart or a failover, is told again.
func TestRevocationsWhileRedisIsAway(t *testing.T) {
	for _, away := range []struct {
		name       string
		stop, back func(*redistest.Server)
	}{
		{"restarted, with nothing left in it", (*redistest.Server).Stop, (*redistest.Server).Start},
		{"paused", (*redistest.Server).Pause, (*redistest.Server).Resume},
	} {
		t.Run(away.name, func(t *testing.T) {
			server, issuer := redistest.Start(t), newIssuer()
			one, other := replica(t, server, issuer), replica(t, server, issuer)
			token := func(sid string) string { return issuer.Token("RS256", oidctest.Claims{"sid": sid}) }
			logout := func(sid string) *http.Response {
				return postForm(one.BackchannelLogout(policyClients, nil), url.Values{"logout_token": {logoutToken(issuer, nil, oidctest.Claims{"sid": sid})}})
			}
			earlier, during := token("earlier"), token("during")
			if got := logout("earlier").StatusCode; got != 200 {
				t.Fatal(got)
			}
			until(t, "heard by the other replica", func() bool { return !accepts(t, other, earlier) })

			away.stop(server)
			response := logout("during")
			body, _ := io.ReadAll(response.Body)
			if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "shared_state_unavailable") {
				t.Errorf("while Redis is away: %s: %s", response.Status, body)
			}
			if accepts(t, one, during) || !accepts(t, other, during) {
				t.Error("while Redis is away: refused by the replica that heard of it, and by no other")
			}
			if accepts(t, other, earlier) {
				t.Error("while Redis is away: what was known is forgotten")
			}
			away.back(server)
			until(t, "heard by the other replica once Redis is back", func() bool { return !accepts(t, other, during) })
			if late := replica(t, server, issuer); accepts(t, late, earlier) || accepts(t, late, during) {
				t.Error("accepted by a replica that started after that")
			}
		})
	}
}

// A verifier that can't read what the others know doesn't start.
func TestNoStartWithoutRevocations(t *testing.T) {
	server, issuer := redistest.Start(t), newIssuer()
	shared := server.Store(t, issuer.URL)
	server.Stop()
	_, err := bearer.New(t.Context(), bearer.Config{
		Issuers: []bearer.Issuer{{URL: issuer.URL}}, Audience: issuer.Audience, HTTPClient: issuer.Client(), Store: shared,
	})
	if err == nil || !strings.Contains(err.Error(), "can't be read") {
		t.Error(err)
	}
}

// Who can write to Redis can't revoke, and keeps no revocation from being read.
func TestForgedRevocations(t *testing.T) {
	server, issuer := redistest.Start(t), newIssuer()
	one, other := replica(t, server, issuer), replica(t, server, issuer)
	direct, elsewhere := server.Store(t, issuer.URL), server.Store(t, "https://other.example")
	stream := direct.Key("revoked", issuer.URL)
	if err := one.Revoke(t.Context(), bearer.Revocation{Issuer: issuer.URL, Session: "one", UpTo: time.Now()}); err != nil {
		t.Fatal(err)
	}
	good := []byte(`{"k":2,"i":"` + fmt.Sprint(issuer.Claims()["sub"]) + `","u":99999999999}`)
	for _, value := range [][]byte{
		nil, []byte("x"), good, direct.Seal("session", stream, good), direct.Seal("revoked", stream+"2", good),
		elsewhere.Seal("revoked", elsewhere.Key("revoked", "https://other.example"), good), direct.Seal("revoked", stream, []byte(`{"k":9}`)),
	} {
		if err := direct.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: []any{"v", value}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Revoke(t.Context(), bearer.Revocation{Issuer: issuer.URL, Session: "two", UpTo: time.Now()}); err != nil {
		t.Fatal(err)
	}
	until(t, "the one after the forged ones", func() bool { return !accepts(t, other, issuer.Token("RS256", oidctest.Claims{"sid": "two"})) })
	if !accepts(t, other, issuer.Token("RS256", oidctest.Claims{"sid": "three"})) {
		t.Error("a forged revocation holds")
	}
}

// RFC 9449, section 11.1, for several replicas: of all uses of one proof exactly
// one passes, wherever they come.
func TestOneProofPassesOnceOnAllReplicas(t *testing.T) {
	server, issuer := redistest.Start(t), newIssuer()
	replicas := []*bearer.Verifier{replica(t, server, issuer), replica(t, server, issuer), replica(t, server, issuer)}
	h := &holder{key: oidctest.NewKey("", "ES256")}
	for _, v := range replicas {
		until(t, "the keys", func() bool { return v.Ready() == nil })
	}
	for range 3 {
		r := h.request(h.boundToken(issuer, "alice"))
		var passed, replayed atomic.Int64
		var all sync.WaitGroup
		for n := range 99 {
			all.Go(func() {
				switch _, err := replicas[n%len(replicas)].Check(r); code(err) {
				case "":
					passed.Add(1)
				case bearer.ProofReplayed:
					replayed.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if passed.Load() != 1 || replayed.Load() != 98 {
			t.Errorf("%d passed, %d were refused as replayed", passed.Load(), replayed.Load())
		}
	}
}

// A principal's share is of what all replicas remember (CWE-770).
func TestSharesOfProofsOnAllReplicas(t *testing.T) {
	server, issuer := redistest.Start(t), newIssuer()
	replicas := []*bearer.Verifier{replica(t, server, issuer), replica(t, server, issuer), replica(t, server, issuer)}
	h := &holder{key: oidctest.NewKey("", "ES256")}
	for _, v := range replicas {
		until(t, "the keys", func() bool { return v.Ready() == nil })
	}
	passed := 0
	flooder := h.boundToken(issuer, "flooder")
	for n := range 120 { // fewer than one replica alone refuses
		switch _, err := replicas[n%len(replicas)].Check(h.request(flooder)); code(err) {
		case "":
			passed++
		case bearer.ProofsTooMany:
		default:
			t.Fatal(err)
		}
	}
	if passed != 50 {
		t.Errorf("%d proofs passed, want half of 100", passed)
	}
	if _, err := replicas[0].Check(h.request(h.boundToken(issuer, "somebody"))); err != nil {
		t.Errorf("another principal: %v", err)
	}
}

// While Redis is away nobody can tell whether a proof was used: it is refused, and
// one that was used before passes after that neither, also where Redis has
// forgotten it. Tokens without a proof are not affected.
func TestProofsWhileRedisIsAway(t *testing.T) {
	server, issuer := redistest.Start(t), newIssuer()
	v := replica(t, server, issuer)
	h := &holder{key: oidctest.NewKey("", "ES256")}
	token := h.boundToken(issuer, "alice")
	used := h.request(token)
	until(t, "the keys", func() bool { return v.Ready() == nil })
	if _, err := v.Check(used); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if _, err := v.Check(h.request(token)); code(err) != bearer.SharedStateUnavailable {
		t.Errorf("a new proof: %v", err)
	}
	if _, err := v.Verify(t.Context(), issuer.Token("RS256")); err != nil {
		t.Errorf("a token without a proof: %v", err)
	}
	server.Start()
	until(t, "a new proof passes", func() bool { _, err := v.Check(h.request(token)); return err == nil })
	if _, err := v.Check(used); code(err) != bearer.ProofReplayed {
		t.Errorf("the used one, after Redis forgot it: %v", err)
	}
}

// An admin action is carried out once by all replicas together; while nobody can
// tell, it is carried out rather than refused.
func TestAdminActionOnceOnAllReplicas(t *testing.T) {
	server, issuer := redistest.Start(t), newIssuer()
	one, other := replica(t, server, issuer), replica(t, server, issuer)
	send := func(v *bearer.Verifier, token string) (int, string) {
		response := post(v.KeycloakLogout(issuer.URL, issuer.Audience), "text/plain", token)
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
	logout := func(sid string) string {
		return action(issuer, oidctest.Claims{"id": sid, "action": "LOGOUT", "notBefore": 0, "keycloakSessionIds": []string{sid}})
	}
	first := logout("first")
	if status, body := send(one, first); status != 204 {
		t.Fatal(status, body)
	}
	if status, body := send(other, first); status != 400 || !strings.Contains(body, "action_repeated") {
		t.Errorf("again, by another replica: %d %s", status, body)
	}
	server.Stop()
	if status, body := send(one, logout("second")); status != 503 || accepts(t, one, issuer.Token("RS256", oidctest.Claims{"sid": "second"})) {
		t.Errorf("while Redis is away: %d %s", status, body)
	}
}

// A failover to a node that lacks the last writes: what was revoked stays revoked,
// since those who know it tell it again, and a proof that was used does not pass
// again where it was used.
func TestFailoverWithLostWrites(t *testing.T) {
	primary, node := redistest.StartSentinel(t)
	issuer := newIssuer()
	one, other := replica(t, primary, issuer), replica(t, primary, issuer)
	lost, after := issuer.Token("RS256", oidctest.Claims{"sid": "lost"}), issuer.Token("RS256", oidctest.Claims{"sid": "after"})
	logout := func(sid string) int {
		return postForm(one.BackchannelLogout(policyClients, nil), url.Values{"logout_token": {logoutToken(issuer, nil, oidctest.Claims{"sid": sid})}}).StatusCode
	}
	h := &holder{key: oidctest.NewKey("", "ES256")}
	used := h.request(h.boundToken(issuer, "alice"))
	until(t, "the keys", func() bool { return one.Ready() == nil })

	node.Pause() // it gets nothing of what comes now
	if got := logout("lost"); got != 200 {
		t.Fatal(got)
	}
	if _, err := one.Check(used); err != nil {
		t.Fatal(err)
	}
	until(t, "heard by the other replica", func() bool { return !accepts(t, other, lost) })
	primary.Kill()
	node.Resume()
	until(t, "revocations to be told to all", func() bool { return logout("after") == 200 })
	until(t, "heard by the other replica", func() bool { return !accepts(t, other, after) })
	if accepts(t, one, lost) || accepts(t, other, lost) {
		t.Error("forgotten by who knew it")
	}
	if _, err := one.Check(used); code(err) != bearer.ProofReplayed {
		t.Errorf("the used proof: %v", err)
	}
	until(t, "told again", func() bool { return !accepts(t, replica(t, primary, issuer), lost) })
}
