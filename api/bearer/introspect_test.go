package bearer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
)

// introspection answers as the endpoint of an issuer does.
type introspection struct {
	issuer *oidctest.Issuer
	calls  atomic.Int64
	mu     sync.Mutex
	answer any // JSON; nil for 500
	delay  time.Duration
	sent   *http.Request
	body   string
}

func (i *introspection) set(answer any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

func (i *introspection) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/token/introspect") {
		return i.issuer.Client().Transport.RoundTrip(r)
	}
	i.calls.Add(1)
	time.Sleep(i.delay)
	i.mu.Lock()
	defer i.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	i.sent, i.body = r, string(body)
	w := httptest.NewRecorder()
	if i.answer == nil {
		w.WriteHeader(http.StatusInternalServerError)
	} else if raw, ok := i.answer.(string); ok {
		io.WriteString(w, raw)
	} else if err := json.NewEncoder(w).Encode(i.answer); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func (i *introspection) configure(c *bearer.Config) {
	withCredentials(c)
	c.NotBeforeInterval = -1
	c.HTTPClient = &http.Client{Transport: i}
}

// active is the answer of Keycloak about a token with the claims given.
func active(claims oidctest.Claims) oidctest.Claims {
	answer := maps.Clone(claims)
	maps.Copy(answer, oidctest.Claims{"active": true, "client_id": claims["azp"], "token_type": "Bearer"})
	return answer
}

// lightweight takes out of a token what Keycloak leaves out of lightweight ones.
var lightweight = oidctest.Claims{"aud": nil, "sub": nil, "realm_access": nil, "resource_access": nil, "preferred_username": nil, "allowed-origins": nil}

func TestLightweightTokens(t *testing.T) {
	issuer := newIssuer()
	full := issuer.Claims()
	light := issuer.Token("RS256", lightweight)
	change := func(changes oidctest.Claims) oidctest.Claims { return active(issuer.Claims(changes)) }
	for _, row := range []struct {
		name   string
		token  string
		answer any
		want   bearer.Code
	}{
		{"active", light, active(full), ""},
		{"RFC 7662 2.2: not active", light, map[string]any{"active": false}, bearer.TokenInactive},
		{"not active, with claims", light, change(oidctest.Claims{"active": false}), ""}, // overwritten below
		{"RFC 7662 2.2: active is a string", light, `{"active":"true"}`, bearer.IntrospectionUnavailable},
		{"RFC 7662 2.2: no active", light, `{}`, bearer.IntrospectionUnavailable},
		{"active twice", light, `{"active":false,"active":true,"aud":"model-serving-api","sub":"s"}`, bearer.IntrospectionUnavailable},
		{"not active, and ACTIVE", light, `{"active":false,"ACTIVE":true,"aud":"model-serving-api","sub":"s"}`, bearer.IntrospectionUnavailable},
		{"garbage", light, `<html>`, bearer.IntrospectionUnavailable},
		{"duplicate members", light, `{"active":true,"aud":"model-serving-api","aud":"x","sub":"s"}`, bearer.IntrospectionUnavailable},
		{"the endpoint fails", light, nil, bearer.IntrospectionUnavailable},
		{"2 MiB", light, `{"active":true,"x":"` + strings.Repeat("x", 2<<20) + `"}`, bearer.IntrospectionUnavailable},
		{"another audience", light, change(oidctest.Claims{"aud": "other"}), bearer.AudienceWrong},
		{"no audience", light, change(oidctest.Claims{"aud": nil}), bearer.AudienceWrong},
		{"no subject", light, change(oidctest.Claims{"sub": nil}), bearer.SubjectMissing},
		{"the answer is about another token (jti)", light, change(oidctest.Claims{"jti": "other"}), bearer.IntrospectionUnavailable},
		{"the answer is of another issuer", light, change(oidctest.Claims{"iss": "https://x.example"}), bearer.IntrospectionUnavailable},
		{"signed times win over the answer's", issuer.Token("RS256", lightweight, oidctest.Claims{"exp": time.Now().Unix() - 60}), active(full), bearer.TokenExpired},
		{"signed type wins over the answer's", issuer.Token("RS256", lightweight, oidctest.Claims{"typ": "ID"}), active(full), bearer.TokenTypeWrong},
		{"bad signature", flip(light, 2), active(full), bearer.SignatureInvalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			endpoint := &introspection{issuer: issuer, answer: row.answer}
			if row.name == "not active, with claims" {
				answer := change(nil)
				answer["active"] = false
				endpoint.answer, row.want = answer, bearer.TokenInactive
			}
			v := newVerifier(t, issuer, endpoint.configure)
			p, err := v.Check(request(row.token))
			if code(err) != row.want {
				t.Fatalf("%v, want %q", err, row.want)
			}
			// Only what could be accepted so far is asked about.
			if asked := endpoint.calls.Load() == 1; asked == slices.Contains([]bearer.Code{bearer.TokenExpired, bearer.TokenTypeWrong, bearer.SignatureInvalid}, row.want) {
				t.Errorf("%d requests", endpoint.calls.Load())
			}
			if err == nil && (p.Subject != full["sub"] || !p.HasRealmRole("model-api-access") || p.Username != "ml-api-user" || p.SessionID == "") {
				t.Errorf("principal %+v", p)
			}
		})
	}
	t.Run("without credentials of our own it is a wrong audience", func(t *testing.T) {
		v := newVerifier(t, issuer, nil)
		if _, err := v.Check(request(light)); code(err) != bearer.AudienceWrong {
			t.Error(err)
		}
	})
}

// The roles and the subject of this moment are the answer's; a token that lost
// all its roles has none, whatever it says itself.
func TestIntrospectTakesRolesFromTheAnswer(t *testing.T) {
	issuer := newIssuer()
	endpoint := &introspection{issuer: issuer, answer: active(issuer.Claims(oidctest.Claims{"realm_access": nil, "resource_access": nil}))}
	v := newVerifier(t, issuer, endpoint.configure)
	token := issuer.Token("RS256")
	if p, err := v.Check(request(token)); err != nil || !p.HasRealmRole("model-api-access") {
		t.Fatalf("without asking: %+v, %v", p, err)
	}
	p, err := v.Introspect(request(token))
	if err != nil || len(p.RealmRoles) != 0 || len(p.ClientRoles) != 0 {
		t.Errorf("asked: %+v, %v", p, err)
	}
	if endpoint.calls.Load() != 1 {
		t.Errorf("%d requests, want 1: a token with aud is only asked about on demand", endpoint.calls.Load())
	}
	id, secret, _ := endpoint.sent.BasicAuth()
	if id != "model-serving-api" || secret != "api+secret%3A%2B" || !strings.Contains(endpoint.body, "token_type_hint=access_token") {
		t.Errorf("sent %q %q", id, endpoint.body)
	}
}

// An answer counts for its time and not longer, and many requests with one
// token make one request to the issuer.
func TestIntrospectionCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		endpoint := &introspection{issuer: issuer, answer: active(issuer.Claims()), delay: time.Second}
		v := newVerifier(t, issuer, endpoint.configure)
		token := issuer.Token("RS256")
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if _, err := v.Introspect(request(token)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := endpoint.calls.Load(); got != 1 {
			t.Errorf("%d requests for 100 at once", got)
		}
		endpoint.set(map[string]any{"active": false})
		if _, err := v.Introspect(request(token)); err != nil {
			t.Errorf("within the time: %v", err)
		}
		time.Sleep(5 * time.Second)
		for range 10 {
			if _, err := v.Introspect(request(token)); code(err) != bearer.TokenInactive {
				t.Errorf("after it: %v", err)
			}
		}
		if got := endpoint.calls.Load(); got != 2 {
			t.Errorf("%d requests, want 2", got)
		}
	})
}

// TestIntrospectionCacheIsShared: one user's tokens don't push out the answers
// about another's (CWE-770).
func TestIntrospectionCacheIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		issuer.Key("EdDSA")
		endpoint := &introspection{issuer: issuer, answer: map[string]any{"active": false}}
		v := newVerifier(t, issuer, endpoint.configure)
		ask := func(subject string, n int) {
			t.Helper()
			token := issuer.Token("EdDSA", oidctest.Claims{"sub": subject, "jti": fmt.Sprint(n)})
			if _, err := v.Introspect(request(token)); code(err) != bearer.TokenInactive {
				t.Fatal(err)
			}
		}
		ask("alice", 0)
		for n := range 11_000 {
			ask("flooder", n)
		}
		ask("bob", 0)
		before := endpoint.calls.Load()
		ask("alice", 0)
		ask("bob", 0)
		ask("flooder", 0)
		if got := endpoint.calls.Load(); got != before {
			t.Errorf("%d answers were forgotten", got-before)
		}
	})
}

// An answer is as old as the larger of both clocks' ages, and of no known age
// after a step or a suspend. No token lives longer than 24 h.
func TestStepsForgetAnswers(t *testing.T) {
	for _, step := range []time.Duration{6 * time.Second, -6 * time.Second, 20 * time.Hour, -20 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			issuer := newIssuer()
			endpoint := &introspection{issuer: issuer, answer: active(issuer.Claims())}
			var offset atomic.Int64
			v := newVerifier(t, issuer, func(c *bearer.Config) {
				endpoint.configure(c)
				c.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
			})
			synctest.Wait()
			at := time.Now().Unix() + min(0, int64(step/time.Second))
			token := issuer.Token("RS256", oidctest.Claims{"iat": at, "exp": at + 24*3600})
			if _, err := v.Introspect(request(token)); err != nil {
				t.Fatal(err)
			}
			endpoint.set(map[string]any{"active": false})
			offset.Store(int64(step))
			if _, err := v.Introspect(request(token)); code(err) != bearer.TokenInactive {
				t.Errorf("after a step of %v: %v", step, err)
			}
		})
	}
}

// While the issuer fails or hangs there is a 503 within a bounded time, and
// few requests.
func TestIntrospectionOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		endpoint := &introspection{issuer: issuer}
		v := newVerifier(t, issuer, endpoint.configure)
		token := issuer.Token("RS256")
		for range 50 {
			if _, err := v.Introspect(request(token)); code(err) != bearer.IntrospectionUnavailable {
				t.Fatal(err)
			}
		}
		if got := endpoint.calls.Load(); got != 1 {
			t.Errorf("%d requests in one second of an outage", got)
		}
		endpoint.set(active(issuer.Claims()))
		time.Sleep(1100 * time.Millisecond)
		if _, err := v.Introspect(request(token)); err != nil {
			t.Errorf("after the outage: %v", err)
		}
		endpoint.delay = time.Minute
		begun := time.Now()
		if _, err := v.Introspect(request(issuer.Token("RS256", oidctest.Claims{"jti": "x"}))); code(err) != bearer.IntrospectionUnavailable || time.Since(begun) != 2*time.Second {
			t.Errorf("hanging: %v after %v", err, time.Since(begun))
		}
		if _, err := v.Check(request(token)); err != nil {
			t.Errorf("a token that nobody needs to ask about: %v", err)
		}
		time.Sleep(2 * time.Minute) // the request that hangs ends
	})
}

func TestExplain(t *testing.T) {
	issuer := newIssuer()
	v := newVerifier(t, issuer, nil)
	good := issuer.Token("RS256")
	for _, row := range []struct {
		name    string
		token   string
		refused map[string]bearer.Code
		skipped string // one check that can't be made
	}{
		{"good", good, nil, ""},
		{"DPoP", issuer.Token("RS256", oidctest.Claims{"typ": "DPoP", "cnf": map[string]any{"jkt": "x"}}), nil, ""},
		{"several mistakes at once", issuer.Token("RS256", oidctest.Claims{"aud": "other", "exp": 1, "typ": "ID"}),
			map[string]bearer.Code{"audience": bearer.AudienceWrong, "times": bearer.TokenExpired, "type": bearer.TokenTypeWrong}, "revocation"},
		{"refresh token", oidctest.Sign(&oidctest.Key{Private: []byte("secret")}, oidctest.Header{"alg": "HS512", "typ": "JWT", "kid": "x"}, issuer.Claims(oidctest.Claims{"typ": "Refresh", "aud": issuer.URL})),
			map[string]bearer.Code{"algorithm": bearer.AlgorithmRefused, "audience": bearer.AudienceWrong, "type": bearer.TokenTypeWrong}, "signature"},
		{"another realm", oidctest.New("https://id.example/realms/x").Token("RS256"), map[string]bearer.Code{"issuer": bearer.IssuerUnknown}, "key"},
		{"not a token", "x", map[string]bearer.Code{"shape": bearer.TokenMalformed}, "audience"},
		{"too large", strings.Repeat("x", 1<<20), map[string]bearer.Code{"size": bearer.TokenTooLarge}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			steps, p := v.Explain(context.Background(), row.token)
			if (p != nil) != (len(row.refused) == 0) {
				t.Errorf("principal %v", p)
			}
			signature := row.token[strings.LastIndexByte(row.token, '.')+1:]
			for _, s := range steps {
				if s.Code != row.refused[s.Check] || (s.Code != "") != (s.Verdict == bearer.Refused) {
					t.Errorf("%s: %s %q, want %q", s.Check, s.Verdict, s.Code, row.refused[s.Check])
				}
				if s.Expected == "" || s.Verdict == bearer.Refused && s.Fix == "" {
					t.Errorf("%s says too little: %+v", s.Check, s)
				}
				if s.Check == row.skipped && s.Verdict != bearer.Skipped {
					t.Errorf("%s was made", s.Check)
				}
				if len(signature) > 8 && strings.Contains(s.Found+s.Cause+s.Fix, signature) {
					t.Errorf("%s prints the signature", s.Check)
				}
			}
			// Explain and Check agree.
			_, err := v.Verify(context.Background(), row.token)
			if row.name != "DPoP" && (err == nil) != (p != nil) {
				t.Errorf("Verify: %v", err)
			}
		})
	}
}
