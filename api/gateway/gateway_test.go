package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"keycloak-model-api/api/observe"
	"keycloak-model-api/api/upstream"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// irisRow is an inference request that the iris model answers.
const irisRow = `{"id":"1","inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2]}]}`

const maxBody = 4096

// fixture is the whole handler behind a real HTTP server, with an issuer that
// has real keys.
type fixture struct {
	issuer  *oidctest.Issuer
	gateway *Gateway
	url     string
	log     *syncBuffer
}

// newFixture serves a policy in which everybody with the base role may call
// iris, and nobody of the issuer's users may call forbidden.
func newFixture(t *testing.T, more ...policy.Model) *fixture {
	t.Helper()
	issuer := oidctest.Start()
	t.Cleanup(issuer.Close)
	return newFixtureOf(t, issuer, func(o *Options) { o.Outputs.Policy.Models = append(o.Outputs.Policy.Models, more...) })
}

// newFixtureOf serves the tokens of an issuer with changed options.
func newFixtureOf(t *testing.T, issuer *oidctest.Issuer, change func(*Options)) *fixture {
	t.Helper()
	log := &syncBuffer{}
	options := testOptions(issuer, log)
	change(&options)
	g := newGateway(t, options)
	waitFor(t, "the issuer's keys", func() bool { return g.verifier.Ready() == nil })
	front := httptest.NewServer(g)
	t.Cleanup(front.Close)
	return &fixture{issuer, g, front.URL, log}
}

func newGateway(t *testing.T, o Options) *Gateway {
	t.Helper()
	if err := o.Outputs.Policy.Validate(); err != nil {
		t.Fatal(err)
	}
	g, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// testOptions are those of an API without a client at the issuer, where
// nobody signs in with a browser.
func testOptions(issuer *oidctest.Issuer, log io.Writer) Options {
	queue := observe.NewLog(log, nil)
	if buffer, ok := log.(*syncBuffer); ok {
		buffer.flush = func() { _ = queue.Flush(context.Background()) }
		given.Lock()
		given.flush = append(given.flush, buffer.flush)
		given.Unlock()
	}
	format := func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }
	return Options{
		Outputs:   &policy.Outputs{Issuer: issuer.URL, Audience: issuer.Audience, Policy: testPolicy()},
		PublicURL: "http://127.0.0.1:8000", ClockSkew: 30 * time.Second, SessionIdle: 30 * time.Minute, SessionLifetime: 10 * time.Hour,
		UpstreamDeadlines: deadlines(10 * time.Second), StreamGrace: 10 * time.Minute, MaxBody: maxBody,
		Getenv: func(string) string { return "" },
		Audit:  observe.NewAudit(queue, observe.Drop, observe.InLog(format), time.Now), Logger: slog.New(format(queue)),
	}
}

// deadlines are those of a model server whose answers may take that long.
func deadlines(d time.Duration) upstream.Deadlines {
	return upstream.Deadlines{FirstByte: d, Idle: d, Total: d}
}

func testPolicy(more ...policy.Model) *policy.Policy {
	return &policy.Policy{
		Version: policy.Version, BaseRole: "model-api-access",
		Models: append([]policy.Model{
			{Name: "iris", Allow: policy.Conditions{Roles: []string{"model-api-access"}}, Embedded: "iris"},
			{Name: "forbidden", Allow: policy.Conditions{Roles: []string{"model-forbidden"}}, Embedded: "iris"},
		}, more...),
	}
}

// do sends a request with a token, unless that is empty, and returns the
// answer with its body.
func (f *fixture) do(t *testing.T, method, path, token, contentType, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return send(t, r)
}

func send(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	response, err := http.DefaultTransport.RoundTrip(r.WithContext(ctx)) // follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode == http.StatusUnauthorized && response.Header.Get("WWW-Authenticate") == "" { // RFC 9110, section 15.5.2
		t.Errorf("%s %s: 401 without a challenge", r.Method, r.URL.Path)
	}
	return response, string(body)
}

// checkRefusal checks status, code, and that the error has the shape of its
// path.
func checkRefusal(t *testing.T, response *http.Response, body, path string, status int, code string) {
	t.Helper()
	var got struct {
		Error  string
		Detail string
		Title  string
		Status int
		Code   string
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("status %d, not JSON: %q", response.StatusCode, body)
	}
	give(got.Code)
	if response.StatusCode != status || got.Code != code {
		t.Errorf("got %d %s, want %d %s: %s", response.StatusCode, got.Code, status, code, body)
	}
	if path == "/v2" || strings.HasPrefix(path, "/v2/") {
		if got.Error == "" || got.Title != "" || response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("not the protocol's error: %s: %s", response.Header.Get("Content-Type"), body)
		}
	} else if got.Error != "" || got.Title == "" || got.Detail == "" || got.Status != status || response.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("not problem+json: %s: %s", response.Header.Get("Content-Type"), body)
	}
	if h := response.Header; h.Get("X-Request-Id") == "" || h.Get("Cache-Control") != "no-store" || h.Get("Content-Security-Policy") == "" {
		t.Errorf("headers: %v", response.Header)
	}
}

// decisions returns the audit records so far.
func (f *fixture) decisions(t *testing.T) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(f.log.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if record["msg"] == "decision" {
			all = append(all, record)
		}
	}
	return all
}

// waitFor returns when ready does, or fails the test after ten seconds.
func waitFor(t *testing.T, what string, ready func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !ready() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited too long for %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// syncBuffer is a log that one goroutine reads while others write.
// syncBuffer is what is behind the log. Its text holds all lines so far.
type syncBuffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	flush func()
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	giveLogged(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	if s.flush != nil {
		s.flush()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
