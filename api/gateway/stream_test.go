package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/refusal"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// ticking is a model server that sends an event each second, for ever.
type ticking struct{ gone chan struct{} }

func (s ticking) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, ContentLength: -1,
		Body: tick{r.Context(), s.gone},
	}, nil
}

type tick struct {
	ctx  context.Context
	gone chan struct{}
}

func (s tick) Read(b []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		return copy(b, "data: {}\n\n"), nil
	case <-s.ctx.Done():
		return 0, context.Cause(s.ctx)
	}
}

func (s tick) Close() error { close(s.gone); return nil }

// answered is what a caller gets of a stream.
type answered struct {
	*httptest.ResponseRecorder
	broken bool
}

func (a *answered) take(h http.Handler, r *http.Request) {
	defer func() {
		if broken := recover(); broken == http.ErrAbortHandler {
			a.broken = true
		} else if broken != nil {
			panic(broken)
		}
	}()
	h.ServeHTTP(a, r)
}

// A stream ends within 5 s of what the issuer or the policy takes back, with an
// error that the caller sees as such, never with the end of a whole one. Expiry
// alone ends it after a while, since access tokens live for minutes.
func TestStreamsEnd(t *testing.T) {
	const ever = 24 * time.Hour
	for _, test := range []struct {
		name   string
		expiry time.Duration // of the token
		grace  time.Duration
		after  time.Duration // until something happens
		happen func(*testing.T, *Gateway, *oidctest.Issuer)
		code   string
		within time.Duration // of that
	}{
		{"logout", ever, 0, time.Minute, logOut, "token_revoked", 5 * time.Second},
		{"a policy without the model", ever, 0, time.Minute, func(t *testing.T, g *Gateway, i *oidctest.Issuer) {
			if err := g.Reload(&policy.Outputs{Issuer: i.URL, Audience: i.Audience, Policy: testPolicy()}); err != nil {
				t.Fatal(err)
			}
		}, "model_unknown", 5 * time.Second},
		{"a policy with another role", ever, 0, time.Minute, func(t *testing.T, g *Gateway, i *oidctest.Issuer) {
			stricter := *g.access.Load().policy
			stricter.BaseRole = "another"
			if err := g.Reload(&policy.Outputs{Issuer: i.URL, Audience: i.Audience, Policy: &stricter}); err != nil {
				t.Fatal(err)
			}
		}, "role_missing", 5 * time.Second},
		{"expiry", 5 * time.Minute, 10 * time.Minute, 15*time.Minute + 30*time.Second, nothingHappens, "token_expired", 5 * time.Second},
		{"expiry without a grace", 5 * time.Minute, 0, 5*time.Minute + 30*time.Second, nothingHappens, "token_expired", 5 * time.Second},
		{"logout after the expiry", 5 * time.Minute, time.Hour, 30 * time.Minute, logOut, "token_revoked", 5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			issuer := oidctest.New("https://id.example/realms/example-realm")
			log := &syncBuffer{}
			options := testOptions(issuer, log)
			synctest.Test(t, func(t *testing.T) {
				g, gone := streamingGateway(t, issuer, options, test.grace)
				r := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(`{"model":"talks","stream":true}`))
				r.Header = http.Header{"Content-Type": {jsonType}, "Authorization": {"Bearer " + issuer.Token("RS256", oidctest.Claims{"exp": time.Now().Add(test.expiry).Unix()})}}
				began, got := time.Now(), &answered{ResponseRecorder: httptest.NewRecorder()}
				go func() {
					time.Sleep(test.after)
					test.happen(t, g, issuer)
				}()
				got.take(g, r)
				took := time.Since(began) - test.after
				<-gone
				if took < 0 || took > test.within {
					t.Errorf("ended %v after it", took)
				}
				body := got.Body.String()
				last := body[strings.LastIndex(strings.TrimSuffix(body, "\n\n"), "\n\n")+2:]
				if !got.broken || got.Code != 200 || !strings.HasPrefix(last, `data: {"error":{`) || !strings.Contains(last, fmt.Sprintf(`"code":%q`, test.code)) {
					t.Errorf("%d, broken %v: ends with %s", got.Code, got.broken, last)
				}
				if strings.Contains(body, "[DONE]") {
					t.Error("it looks whole")
				}
			})
			f := &fixture{log: log}
			if records := f.decisions(t); len(records) != 1 || records[0]["code"] != test.code || records[0]["status"] != 200.0 {
				t.Errorf("records %v", records)
			}
		})
	}
}

// A request that is refused before the model server has sent a byte gets a status, and
// with 401 a challenge (RFC 9110, section 15.5.2).
func TestRefusedBeforeTheFirstByte(t *testing.T) {
	issuer := oidctest.New("https://id.example/realms/example-realm")
	options := testOptions(issuer, io.Discard)
	synctest.Test(t, func(t *testing.T) {
		g, _ := streamingGateway(t, issuer, options, 0)
		access, err := newAccess(options.Outputs.Policy, deadlines(time.Minute), slow{50 * time.Second}, nil)
		if err != nil {
			t.Fatal(err)
		}
		g.access.Store(access)
		r := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(`{"model":"talks"}`))
		r.Header = http.Header{"Content-Type": {jsonType}, "Authorization": {"Bearer " + issuer.Token("RS256")}}
		go func() {
			time.Sleep(10 * time.Second)
			logOut(t, g, issuer)
		}()
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if challenge := w.Header().Values("WWW-Authenticate"); w.Code != 401 || len(challenge) != 2 || !strings.Contains(challenge[0], `error="invalid_token"`) {
			t.Errorf("%d %s with the challenges %q", w.Code, w.Body, challenge)
		}
	})
}

func nothingHappens(*testing.T, *Gateway, *oidctest.Issuer) {}

func logOut(t *testing.T, g *Gateway, i *oidctest.Issuer) {
	now := time.Now().Unix()
	key := i.Key("RS256")
	form := url.Values{"logout_token": {oidctest.Sign(key, oidctest.Header{"alg": "RS256", "typ": "logout+jwt", "kid": key.ID}, oidctest.Claims{
		"iss": i.URL, "aud": "my-api-client", "iat": now, "exp": now + 120, "jti": "a1", "typ": "Logout", "sub": i.Claims()["sub"], "sid": i.Claims()["sid"],
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})}}
	r := httptest.NewRequest("POST", "/backchannel-logout", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	if g.ServeHTTP(w, r); w.Code != http.StatusOK && w.Code != http.StatusNoContent {
		t.Errorf("logout: %d %s", w.Code, w.Body)
	}
}

// streamingGateway returns a gateway whose model talks streams for ever, and what
// tells that its request has ended. It is made in a bubble.
func streamingGateway(t *testing.T, issuer *oidctest.Issuer, options Options, grace time.Duration) (*Gateway, chan struct{}) {
	t.Helper()
	options.HTTPClient, options.UpstreamDeadlines, options.StreamGrace = issuer.Client(), deadlines(time.Minute), grace
	p := options.Outputs.Policy
	p.Clients = append(p.Clients, policy.Client{ClientID: "my-api-client", Kind: "web"})
	p.Models = append(p.Models, policy.Model{Name: "talks", Protocol: policy.ProtocolOpenAI, Allow: policy.Conditions{Roles: []string{"model-api-access"}}, Upstream: &policy.Upstream{URL: "http://talks"}})
	g := newGateway(t, options)
	gone := make(chan struct{})
	access, err := newAccess(p, options.UpstreamDeadlines, ticking{gone}, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.access.Store(access)
	synctest.Wait() // the keys are there
	return g, gone
}

// A caller that takes nothing is cut off, and so is its stream: CWE-400.
func TestCallerThatReadsNothing(t *testing.T) {
	issuer := oidctest.New("https://id.example/realms/example-realm")
	options := testOptions(issuer, io.Discard)
	synctest.Test(t, func(t *testing.T) {
		g, gone := streamingGateway(t, issuer, options, 0)
		conns := make(chan net.Conn, 1)
		server := &http.Server{Handler: g}
		go func() { _ = server.Serve(once{conns}) }()
		here, there := net.Pipe()
		conns <- there
		defer func() { close(conns); here.Close(); _ = server.Shutdown(t.Context()) }()
		body := `{"model":"talks","stream":true}`
		fmt.Fprintf(here, "POST /v1/chat/completions HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n%s",
			len(body), issuer.Token("RS256"), body)
		began := time.Now()
		<-gone
		if took := time.Since(began); took < writeIdle || took > writeIdle+5*time.Second {
			t.Errorf("cut off after %v", took)
		}
	})
}

// A body may take as long as its parts come: no deadline is for the whole.
func TestSlowUpload(t *testing.T) {
	for _, test := range []struct {
		name   string
		pause  time.Duration
		status string
	}{
		{"parts come", 25 * time.Second, "404"}, // of a model that is not there, which is known at the end
		{"a part does not come", 35 * time.Second, "408"},
	} {
		t.Run(test.name, func(t *testing.T) {
			issuer := oidctest.New("https://id.example/realms/example-realm")
			options := testOptions(issuer, io.Discard)
			synctest.Test(t, func(t *testing.T) {
				g, _ := streamingGateway(t, issuer, options, 0)
				conns := make(chan net.Conn, 1)
				server := &http.Server{Handler: g}
				go func() { _ = server.Serve(once{conns}) }()
				here, there := net.Pipe()
				conns <- there
				sent := make(chan struct{})
				defer func() { close(conns); here.Close(); _ = server.Shutdown(t.Context()); <-sent }()
				body := `{"model":"nothing"}`
				go func() {
					defer close(sent)
					fmt.Fprintf(here, "POST /v1/chat/completions HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n",
						len(body), issuer.Token("RS256"))
					for _, c := range body {
						time.Sleep(test.pause)
						if _, err := io.WriteString(here, string(c)); err != nil {
							return
						}
					}
				}()
				status := make([]byte, len("HTTP/1.1 200"))
				if _, err := io.ReadFull(here, status); err != nil || !strings.HasSuffix(string(status), test.status) {
					t.Errorf("got %q, %v, want %s", status, err, test.status)
				}
			})
		})
	}
}

// What passes to a model that the path names takes no memory, however large it
// is, in either direction.
func TestLargeBodiesPass(t *testing.T) {
	const size = 256 << 20
	f := newFixture(t, upstreamOf(t, "large", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if n != size || err != nil || r.ContentLength != size {
			t.Errorf("the model server got %d of %d bytes, %v", n, r.ContentLength, err)
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.Copy(w, io.LimitReader(zeros{}, size))
	}))
	f.gateway.options.MaxBody = 0
	r, err := http.NewRequest("POST", f.url+"/v2/models/large/infer", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = size
	r.Header = http.Header{"Content-Type": {"application/octet-stream"}, "Authorization": {"Bearer " + f.issuer.Token("RS256")}}
	done, peak := make(chan struct{}), make(chan uint64)
	runtime.GC() // what other tests have left doesn't count
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	go func() {
		highest := before.HeapAlloc
		for {
			select {
			case <-done:
				peak <- highest
				return
			case <-time.After(10 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				highest = max(highest, m.HeapAlloc)
			}
		}
	}()
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	close(done)
	if highest := <-peak - before.HeapAlloc; n != size || err != nil || response.StatusCode != 200 || highest > size/2 {
		t.Errorf("%s: %d bytes, %v, %d MiB of memory", response.Status, n, err, highest>>20)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A body that passes and breaks off, or is larger than is set, is refused for
// that reason, not as a fault of the model server.
func TestPassingBodyRefused(t *testing.T) {
	f := newFixture(t, upstreamOf(t, "large", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	f.gateway.options.MaxBody = 2 * heldBody
	r, err := http.NewRequest("POST", f.url+"/v2/models/large/infer", io.MultiReader(bytes.NewReader(make([]byte, 2*heldBody+1))))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Content-Type": {"application/octet-stream"}, "Authorization": {"Bearer " + f.issuer.Token("RS256")}}
	response, body := send(t, r)
	checkRefusal(t, response, body, "/v2/models/large/infer", 413, "body_too_large")
	if !response.Close {
		t.Error("the connection goes on in the middle of a body")
	}

	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	broken := io.MultiReader(bytes.NewReader(make([]byte, heldBody+1)), leaving(leave))
	r, err = http.NewRequestWithContext(ctx, "POST", f.url+"/v2/models/large/infer", broken)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Content-Type": {"application/octet-stream"}, "Authorization": {"Bearer " + f.issuer.Token("RS256")}}
	if response, err := http.DefaultTransport.RoundTrip(r); err == nil {
		response.Body.Close()
	}
	waitFor(t, "the record", func() bool { return len(f.decisions(t)) == 2 })
	if code := f.decisions(t)[1]["code"]; code != string(refusal.BodyUnreadable) && code != string(refusal.CallerGone) {
		t.Errorf("recorded as %v", code)
	}
}

// leaving is the end of a body whose caller leaves.
type leaving context.CancelFunc

func (l leaving) Read([]byte) (int, error) { l(); return 0, errors.New("left") }
