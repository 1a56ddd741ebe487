package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/gateway"
	"keycloak-model-api/api/upstream"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// writeStack writes outputs as `pulumi stack output --json` prints them.
func writeStack(t *testing.T, path, issuer, audience string, p *policy.Policy) {
	t.Helper()
	content, err := json.Marshal(map[string]any{
		"realm_name": "example-realm", "realm": "Example Realm", "issuer": issuer, "audience": audience,
		"jwks_uri": issuer + "/protocol/openid-connect/certs", "client_id": audience, "client_secret": "s3cret",
		"oidc_client_id": "my-api-client", "oidc_client_secret": "s3cret", "policy": p,
	})
	if err != nil {
		t.Fatal(err)
	}
	// Moved into place, as a reader may look at any time.
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// program is run in this process.
type program struct {
	url   string
	stack string
	log   *syncBuffer
	ended chan error
}

func start(t *testing.T, issuer *oidctest.Issuer, p *policy.Policy, flags ...string) *program {
	t.Helper()
	stack := filepath.Join(t.TempDir(), "stack.json")
	writeStack(t, stack, issuer.URL, issuer.Audience, p)
	return startOn(t, stack, flags...)
}

// startOn runs the program with a stack's outputs in a file.
func startOn(t *testing.T, stack string, flags ...string) *program {
	t.Helper()
	return startWith(t, func(string) string { return "" }, stack, flags...)
}

// startWith runs it with an environment.
func startWith(t *testing.T, getenv func(string) string, stack string, flags ...string) *program {
	t.Helper()
	g := launch(t, getenv, stack, flags...)
	waitFor(t, "the API to be ready", func() bool {
		g.stillRuns(t)
		r, err := http.NewRequest("GET", g.url+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, _ := send(t, r)
		return response.StatusCode == http.StatusOK
	})
	return g
}

// launch runs it until it listens.
func launch(t *testing.T, getenv func(string) string, stack string, flags ...string) *program {
	t.Helper()
	g := &program{stack: stack, log: &syncBuffer{}, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	args := append([]string{"-listen", "127.0.0.1:0", "-stack", g.stack}, flags...)
	go func() {
		g.ended <- run(ctx, args, getenv, strings.NewReader(""), g.log, g.log)
	}()
	waitFor(t, "the API to listen", func() bool {
		g.stillRuns(t)
		for line := range strings.Lines(g.log.String()) {
			var record struct{ Msg, URL string }
			if json.Unmarshal([]byte(line), &record) == nil && record.Msg == "listening" {
				g.url = record.URL
			}
		}
		return g.url != ""
	})
	return g
}

func (g *program) stillRuns(t *testing.T) {
	t.Helper()
	select {
	case err := <-g.ended:
		t.Fatalf("the API ended: %v\n%s", err, g.log)
	default:
	}
}

// address is that of a listener, as the log names it; empty for none.
func (g *program) address(listener string) (address string) {
	for line := range strings.Lines(g.log.String()) {
		var record struct{ Msg, Address string }
		if json.Unmarshal([]byte(line), &record) == nil && record.Msg == listener {
			address = record.Address
		}
	}
	return address
}

// await returns what comes on a channel within a minute.
func await[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(time.Minute):
		t.Fatalf("waited too long for %s", what)
		panic("unreachable")
	}
}

// slowUpstream says on begun when a request has come, and answers after
// release is closed.
func slowUpstream(t *testing.T) (model policy.Model, begun, release chan struct{}) {
	t.Helper()
	begun, release = make(chan struct{}, 1), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Until the body is read, net/http does not notice that a caller is gone.
		_, _ = io.Copy(io.Discard, r.Body)
		begun <- struct{}{}
		select {
		case <-release:
			answer(w, map[string]string{"model_name": "slow"})
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	return policy.Model{Name: "slow", Allow: policy.Conditions{Roles: []string{"model-api-access"}}, Upstream: &policy.Upstream{URL: server.URL}}, begun, release
}

// inferSlow sends a request to the model slow. Its status, or why there is
// none, arrives on the channel.
func (g *program) inferSlow(t *testing.T, issuer *oidctest.Issuer) chan string {
	t.Helper()
	r, err := http.NewRequest("POST", g.url+"/v2/models/slow/infer", strings.NewReader(irisRow))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+issuer.Token("RS256"))
	r.Header.Set("Content-Type", "application/json")
	answered := make(chan string, 1)
	go func() {
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			answered <- err.Error()
			return
		}
		answered <- response.Status + " " + string(body)
	}()
	return answered
}

func awaitUpstream(t *testing.T, begun chan struct{}, answered chan string) {
	t.Helper()
	select {
	case <-begun:
	case got := <-answered:
		t.Fatalf("answered before the upstream was asked: %s", got)
	case <-time.After(time.Minute):
		t.Fatal("waited too long for the upstream to be asked")
	}
}

// SIGTERM: the request under way is answered, no new one is taken, and the
// program ends without an error.
func TestGracefulShutdown(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	slow, begun, release := slowUpstream(t)
	g := start(t, issuer, testPolicy(slow))

	answered := g.inferSlow(t, issuer)
	awaitUpstream(t, begun, answered)
	sendSignal(t, syscall.SIGTERM)
	waitFor(t, "the listener to close", func() bool {
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}).Get(g.url + "/healthz")
		if err == nil {
			response.Body.Close()
		}
		return err != nil
	})
	select {
	case err := <-g.ended:
		t.Fatalf("ended before the request under way did: %v", err)
	default:
	}
	close(release)
	if got := await(t, "the answer", answered); got != "200 OK "+`{"model_name":"slow"}`+"\n" {
		t.Errorf("the request under way got %s, want 200", got)
	}
	if err := await(t, "the end", g.ended); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// A request that never ends doesn't keep the program from ending.
func TestShutdownIsBounded(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	slow, begun, _ := slowUpstream(t)
	g := start(t, issuer, testPolicy(slow), "-shutdown-timeout", "50ms")
	answered := g.inferSlow(t, issuer)
	awaitUpstream(t, begun, answered)
	sendSignal(t, syscall.SIGTERM)
	if err := await(t, "the end", g.ended); err == nil || exitCode(err) != 1 {
		t.Errorf("ended with %v, want an error and exit status 1", err)
	}
}

// A load balancer sends requests until it has seen that the API isn't ready:
// they are served for the drain delay.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 10 * time.Second
		issuer := oidctest.New("https://id.example/realms/example-realm")
		log, audit, flush, err := newLogs(Config{AuditFailure: "drop"}, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		defer flush()
		background, end := context.WithCancel(t.Context())
		defer end()
		g, err := gateway.New(background, gateway.Options{
			Outputs:   &policy.Outputs{Issuer: issuer.URL, Audience: issuer.Audience, Policy: testPolicy()},
			PublicURL: "http://api", ClockSkew: 30 * time.Second, UpstreamDeadlines: upstream.Deadlines{FirstByte: time.Second, Idle: time.Second, Total: time.Second}, MaxBody: 1 << 20,
			HTTPClient: issuer.Client(), Audit: audit, Logger: log,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		listener := newPipeListener()
		ended := make(chan error, 1)
		go func() {
			ended <- listenUntil(ctx, listener, newServer(g, nil, log), g, Config{DrainDelay: delay, ShutdownTimeout: time.Minute}, log)
		}()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: listener.dial}}
		want := func(path string, status int) {
			t.Helper()
			r, err := http.NewRequest("GET", "http://api"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+issuer.Token("RS256"))
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != status {
				t.Errorf("%s: %s, want %d", path, response.Status, status)
			}
		}
		synctest.Wait() // the keys are there
		want("/readyz", http.StatusOK)
		stop()
		for _, wait := range []time.Duration{0, delay - time.Millisecond} {
			time.Sleep(wait)
			synctest.Wait()
			want("/readyz", http.StatusServiceUnavailable)
			want("/v2/health/ready", http.StatusServiceUnavailable)
			want("/healthz", http.StatusOK)
			want("/v2/models/iris", http.StatusOK)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := client.Get("http://api/healthz"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the delay: %v", err)
		}
	})
}

// HTTP/2 without TLS is spoken to callers that begin with it, as proxies do,
// and judged like HTTP/1.1.
func TestCleartextHTTP2(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	g := start(t, issuer, testPolicy())
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	for _, test := range []struct {
		name, token, path, body string
		status                  int
		want                    string
	}{
		{"inference", issuer.Token("RS256"), "/v2/models/iris/infer", irisRow, 200, `"setosa"`},
		{"no token", "", "/v2/models/iris/infer", irisRow, 401, "no_credential"},
		{"a path that can be read in two ways", issuer.Token("RS256"), "/v2//models/iris/infer", irisRow, 400, "path_not_canonical"},
		{"a body that is too large", issuer.Token("RS256"), "/v2/models/iris/infer", strings.Repeat(" ", 2<<20), 413, "body_too_large"},
		{"headers that are too large", strings.Repeat("x", 65<<10), "/v2/models/iris/infer", irisRow, 431, "headers_too_large"},
	} {
		r, err := http.NewRequest("POST", g.url+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		if test.token != "" {
			r.Header.Set("Authorization", "Bearer "+test.token)
		}
		r.Header.Set("Content-Type", "application/json")
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.ProtoMajor != 2 || response.StatusCode != test.status || !strings.Contains(string(body), test.want) {
			t.Errorf("%s: %s %s: %s, %v", test.name, response.Proto, response.Status, body, err)
		}
	}
}

// Callers whose connections are in use when the program is told to stop are
// answered and told to go elsewhere, before idle connections are closed: net/http
// would cut one whose next request is just arriving.
func TestStopCutsNoRequest(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	g := start(t, issuer, testPolicy(), "-drain-delay", "2s")
	token := issuer.Token("RS256")
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	answered := make(chan struct{}, 100)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for {
				// POST, which net/http does not repeat by itself.
				r, err := http.NewRequest("POST", g.url+"/v2/models/iris/infer", strings.NewReader(irisRow))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Authorization", "Bearer "+token)
				response, err := transport.RoundTrip(r)
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
				if err != nil || response.StatusCode != http.StatusOK {
					t.Errorf("not answered: %v", err)
					return
				}
				if response.Close {
					return
				}
				select {
				case answered <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 16 {
		await(t, "answers", answered)
	}
	sendSignal(t, syscall.SIGTERM)
	callers.Wait()
	if err := await(t, "the end", g.ended); err != nil {
		t.Error(err)
	}
}

// pipeListener listens without a network, which synctest can't wait for.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newPipeListener() *pipeListener {
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.close(); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// The outputs of a stack from before version 2 of the policy serve as they did,
// and the stack's upgrade is taken over by a reload: the API is upgraded first.
func TestVersion1Stack(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	text, err := os.ReadFile("../policy/testdata/version1.json")
	if err != nil {
		t.Fatal(err)
	}
	stack := filepath.Join(t.TempDir(), "stack.json")
	old := strings.NewReplacer("https://id.example.com/realms/example-realm", issuer.URL, `"CHURN_TOKEN"`, `""`)
	if err := os.WriteFile(stack, []byte(old.Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startOn(t, stack, "-not-before-interval", "1h")
	ask := func(method, path, body string) (int, string) {
		r, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+issuer.Token("RS256"))
		r.Header.Set("Content-Type", "application/json")
		response, answer := send(t, r)
		return response.StatusCode, strings.TrimSpace(answer)
	}
	check := func() {
		t.Helper()
		if _, got := ask("GET", "/v2/models", ""); got != `{"models":[{"name":"iris"}]}` {
			t.Errorf("models: %s", got)
		}
		if status, got := ask("POST", "/v2/models/iris/infer", irisRow); status != http.StatusOK {
			t.Errorf("inference: %d %s", status, got)
		}
		if status, got := ask("GET", "/v2/models/churn", ""); status != http.StatusNotFound {
			t.Errorf("the model of another role: %d %s", status, got)
		}
	}
	check()
	writeStack(t, stack, issuer.URL, issuer.Audience, testPolicy())
	sendSignal(t, syscall.SIGHUP)
	waitFor(t, "the reload", func() bool { return strings.Contains(g.log.String(), `"policy reloaded"`) })
	check()
}

// SIGHUP takes over a changed policy, keeps the one in force when the file is
// wrong, and asks the issuer for nothing.
func TestReload(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	p := testPolicy()
	g := start(t, issuer, p)
	models := func() string {
		r, _ := http.NewRequest("GET", g.url+"/v2/models", nil)
		r.Header.Set("Authorization", "Bearer "+issuer.Token("RS256"))
		_, body := send(t, r)
		return strings.TrimSpace(body)
	}
	if got := models(); got != `{"models":[{"name":"iris"}]}` {
		t.Fatalf("before: %s", got)
	}
	_, fetches := issuer.Requests()

	p.Models[1].Allow.Roles = []string{"offline_access"}
	writeStack(t, g.stack, issuer.URL, issuer.Audience, p)
	sendSignal(t, syscall.SIGHUP)
	waitFor(t, "the reload", func() bool { return strings.Contains(g.log.String(), `"policy reloaded"`) })
	if got := models(); got != `{"models":[{"name":"iris"},{"name":"forbidden"}]}` {
		t.Errorf("after: %s", got)
	}

	for _, wrong := range []string{"audience", "embedded"} {
		bad, audience := *testPolicy(), issuer.Audience
		if wrong == "audience" {
			audience = "another"
		} else {
			bad.Models[0].Embedded = "rose"
		}
		before := strings.Count(g.log.String(), `"policy not reloaded`)
		writeStack(t, g.stack, issuer.URL, audience, &bad)
		sendSignal(t, syscall.SIGHUP)
		waitFor(t, "the refusal to reload", func() bool { return strings.Count(g.log.String(), `"policy not reloaded`) > before })
		if got := models(); got != `{"models":[{"name":"iris"},{"name":"forbidden"}]}` {
			t.Errorf("after a wrong %s: %s", wrong, got)
		}
	}
	if _, after := issuer.Requests(); after != fetches {
		t.Errorf("the keys were fetched %d times by reloads", after-fetches)
	}
}

func sendSignal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}

// Every mistake is listed at once, and the exit status is 2.
func TestWrongConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := `"issuer":"http://kc/realms/r","audience":"api",`
	model := func(m string) string {
		return `{` + good + `"policy":{"version":1,"issuer":"http://kc/realms/r","audience":"api","baseRole":"b","models":[` + m + `],"clients":[]}}`
	}
	ok := file("ok.json", model(""))

	tests := []struct {
		name string
		args []string
		env  map[string]string
		want []string
	}{
		{"several flags", []string{"-listen", "8000", "-public-url", "api.example.com", "-clock-skew", "1s", "-max-body", "1", "-upstream-timeout", "0s", "-shutdown-timeout", "-1s", "-drain-delay", "-1s", "-stack", filepath.Join(dir, "none.json")}, nil,
			[]string{"-listen:", "-public-url:", "-clock-skew:", "-max-body:", "-upstream-timeout:", "-shutdown-timeout:", "-drain-delay:", "there is no file"}},
		{"variables and a flag", []string{"-max-body", "much", "-stack", ok}, map[string]string{"API_CLOCK_SKEW": "soon", "API_ISSUER_INTERNAL_URL": "http://u:p@kc"},
			[]string{`-max-body: "much"`, `API_CLOCK_SKEW: "soon"`, "-issuer-internal-url:"}},
		{"unknown flag", []string{"-bogus", "-stack", ok}, nil, []string{"-bogus"}},
		{"argument after the flags", []string{"-stack", ok, "more"}, nil, []string{"1 arguments: expected go run ./api [flags]"}},
		{"unknown command", []string{"predict"}, nil, []string{`unknown command "predict": use one of access, contract, doctor, explain`}},
		{"descriptor of a standard stream", []string{"-listen", "fd:2", "-stack", ok}, nil, []string{"from 3 on"}},
		{"format of the log", []string{"-log", "xml", "-stack", ok}, nil, []string{"neither json nor text"}},
		{"port out of range", []string{"-listen", ":70000", "-stack", ok}, nil, []string{"0 to 65535"}},

		{"stack not JSON", []string{"-stack", file("a.json", "issuer: x")}, nil, []string{"not the stack's outputs as JSON"}},
		{"stack without policy", []string{"-stack", file("b.json", `{`+good+`"x":1}`)}, nil, []string{"there is no output policy"}},
		{"stack of another issuer", []string{"-stack", file("c.json", strings.Replace(model(""), `"issuer":"http://kc/realms/r","audience":"api",`, `"issuer":"http://kc/realms/s","audience":"other",`, 1))}, nil, []string{"the outputs are not of one stack"}},
		{"policy of another version", []string{"-stack", file("d.json", strings.Replace(model(""), `"version":1`, `"version":3`, 1))}, nil, []string{"an access policy that this program reads: upgrade it"}},
		{"policy that says more", []string{"-stack", file("e.json", strings.Replace(model(""), `"version":1`, `"version":1,"limits":{}`, 1))}, nil, []string{"limits"}},
		{"introspection without a client", []string{"-stack", file("g.json", model(`{"name":"a","roles":["r"],"embedded":"iris","introspect":true}`))}, nil, []string{"client_secret"}},
		{"models that can't be served", []string{"-stack", file("f.json", model(
			`{"name":"a","roles":["r"],"embedded":"rose"},{"name":"b","roles":["r"],"upstream":{"url":"http://up","credential":"UP_TOKEN"}}`))}, nil,
			[]string{`no embedded model "rose"`, "set UP_TOKEN"}},

		// The issuer of ok can't be reached: it is not asked.
		{"explain: unknown flag", []string{"explain", "-bogus"}, nil, []string{"-bogus", "expected go run ./api explain [flags]"}},
		{"explain: several flags", []string{"explain", "-stack", filepath.Join(dir, "none.json"), "-clock-skew", "1h", "-issuer-internal-url", "kc"}, nil, []string{"there is no file", "-clock-skew: 1h", "-issuer-internal-url:"}},
		{"explain: no token", []string{"explain", "-stack", ok}, nil, []string{"no token on standard input"}},
		{"explain: empty file", []string{"explain", "-stack", ok, "-token-file", file("empty", " \n")}, nil, []string{"-token-file: ", "empty is empty"}},
		{"doctor: unknown flag", []string{"doctor", "-bogus"}, nil, []string{"-bogus", "expected go run ./api doctor [flags]"}},
		{"doctor: several flags", []string{"doctor", "-stack", ok, "-clock-skew", "-1s", "-issuer-internal-url", "kc", "-public-url", "api.example.com"}, nil, []string{"-clock-skew: -1s", "-issuer-internal-url:", "-public-url:"}},
		{"contract: unknown flag", []string{"contract", "-bogus"}, nil, []string{"-bogus", "expected go run ./api contract [flags]"}},
		{"contract: URL of another kind", []string{"contract", "-stack", ok, "-client-id", "x", "-url", "127.0.0.1:8000/v2"}, nil, []string{"-url:"}},
		{"contract: no secret", []string{"contract", "-stack", ok, "-client-id", "x", "-url", "http://127.0.0.1:1/"}, nil, []string{"set CONTRACT_CLIENT_SECRET"}},
		{"contract: no time", []string{"contract", "-stack", ok, "-client-id", "x", "-url", "http://127.0.0.1:1/", "-timeout", "-1s"}, nil, []string{"-timeout:"}},
		{"contract: internal URL", []string{"contract", "-stack", ok, "-client-id", "x", "-url", "http://127.0.0.1:1/", "-issuer-internal-url", "kc"}, map[string]string{"CONTRACT_CLIENT_SECRET": "x"}, []string{"-issuer-internal-url:"}},
		{"contract: no token file", []string{"contract", "-stack", ok, "-token-file", filepath.Join(dir, "none"), "-url", "http://127.0.0.1:1/"}, nil, []string{"api: -token-file:"}},
		{"contract: no token", []string{"contract", "-stack", ok, "-token-file", "-", "-url", "http://127.0.0.1:1/"}, nil, []string{"no token on standard input"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := run(t.Context(), test.args, func(name string) string { return test.env[name] }, strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{})
			if err == nil || exitCode(err) != 2 {
				t.Fatalf("got %v, want an error and exit status 2", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("nothing about %q in:\n%v", want, err)
				}
			}
		})
	}
}

func TestPortTaken(t *testing.T) {
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	stack := filepath.Join(t.TempDir(), "stack.json")
	writeStack(t, stack, "http://kc/realms/r", "api", testPolicy())
	err := run(t.Context(), []string{"-stack", stack, "-listen", taken.Listener.Addr().String()}, func(string) string { return "" }, nil, &bytes.Buffer{}, &bytes.Buffer{})
	if !errors.Is(err, syscall.EADDRINUSE) || exitCode(err) != 1 {
		t.Errorf("got %v, want address in use and exit status 1", err)
	}
}

// parseConfig is the configuration by a command line and the environment.
func parseConfig(args []string, getenv func(string) string) (Config, error) {
	s := newSettings(getenv)
	if err := s.flags.Parse(args); err != nil {
		return s.Config, err
	}
	return s.config()
}

// A flag wins over its variable, a variable over the default.
func TestPrecedence(t *testing.T) {
	env := map[string]string{"API_LISTEN": "127.0.0.1:1", "API_MAX_BODY": "2048"}
	c, err := parseConfig([]string{"-listen", "127.0.0.1:2"}, func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:2" || c.MaxBody != 2048 || c.Stack != ".dev/stack.json" {
		t.Errorf("got %+v", c)
	}
}

// -h names every flag with its variable.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, func(string) string { return "" }, nil, &out, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	config := reflect.TypeFor[Config]()
	for i := range config.NumField() {
		tag := config.Field(i).Tag
		name := tag.Get("flag")
		if name == "" || tag.Get("doc") == "" {
			t.Errorf("%s has no flag or no doc", config.Field(i).Name)
		}
		if !regexp.MustCompile(`(?m)^  -` + name + `( value)? +API_` + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + `\b`).MatchString(out.String()) {
			t.Errorf("-h says nothing of -%s", name)
		}
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if len(line) > 80 {
			t.Errorf("line of %d characters: %s", len(line), line)
		}
	}
}

// go run ./dev holds the port from its start, so that no other server can answer
// in the API's place. Its log is for people.
func TestInheritedSocketAndLogForPeople(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	stack := filepath.Join(t.TempDir(), "stack.json")
	writeStack(t, stack, issuer.URL, issuer.Audience, testPolicy())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	descriptor, err := syscall.Dup(int(file.Fd())) // the program closes it
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended, log := make(chan error, 1), &syncBuffer{}
	go func() {
		ended <- run(ctx, []string{"-listen", fmt.Sprintf("fd:%d", descriptor), "-log", "text", "-stack", stack},
			func(string) string { return "" }, nil, log, log)
	}()
	url := "http://" + l.Addr().String()
	r, err := http.NewRequest("GET", url+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, body := send(t, r); response.StatusCode != http.StatusOK {
		t.Errorf("%s %s", response.Status, body)
	}
	cancel()
	if err := await(t, "the end", ended); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "msg=listening address="+l.Addr().String()+" url="+url) {
		t.Errorf("the log is\n%s", log)
	}
}

// Metrics are on a listener of their own, which is off unless it is asked for, and
// on the loopback interface where the address names no other.
func TestAdminListener(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	g := start(t, issuer, testPolicy(), "-admin-listen", ":0")
	admin := g.address("operators' listener")
	if !strings.HasPrefix(admin, "127.0.0.1:") {
		t.Fatalf("the operators' listener is at %q", admin)
	}
	for _, test := range []struct {
		name, url string
		status    int
		holds     string
	}{
		{"metrics", "http://" + admin + "/metrics", 200, "model_api_build_info{"},
		{"nothing else", "http://" + admin + "/v2/models", 404, ""},
		{"not for callers", g.url + "/metrics", 401, ""},
	} {
		r, err := http.NewRequest("GET", test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, body := send(t, r); response.StatusCode != test.status || !strings.Contains(body, test.holds) {
			t.Errorf("%s: %s %s", test.name, response.Status, body)
		}
	}
}

// Proxies ask at a listener of their own, on the loopback interface where the
// address names no other, and with the secret of the environment alone.
func TestAuthorizeListener(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	stack := filepath.Join(t.TempDir(), "stack.json")
	writeStack(t, stack, issuer.URL, issuer.Audience, testPolicy())
	environment := map[string]string{"API_AUTHORIZE_SECRET": "a-secret-of-the-proxies"}
	g := startWith(t, func(name string) string { return environment[name] }, stack,
		"-authorize-listen", ":0", "-authorize-method", "x-forwarded-method", "-authorize-target", "x-forwarded-uri")
	authorizer := g.address("authorizer's listener")
	if !strings.HasPrefix(authorizer, "127.0.0.1:") {
		t.Fatalf("the authorizer's listener is at %q", authorizer)
	}
	for _, test := range []struct {
		name, url, secret string
		status            int
	}{
		{"a proxy", "http://" + authorizer + "/authorize", "a-secret-of-the-proxies", 200},
		{"without the secret", "http://" + authorizer + "/authorize", "", 403},
		{"nothing else", "http://" + authorizer + "/v2/models/iris", "a-secret-of-the-proxies", 404},
		{"not for callers", g.url + "/authorize", "a-secret-of-the-proxies", 404},
	} {
		r, err := http.NewRequest("GET", test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+issuer.Token("RS256"))
		r.Header.Set("X-Authorize-Secret", test.secret)
		r.Header.Set("X-Forwarded-Method", "GET")
		r.Header.Set("X-Forwarded-Uri", "/v2/models/iris")
		if response, body := send(t, r); response.StatusCode != test.status {
			t.Errorf("%s: %s %s", test.name, response.Status, body)
		}
	}
	if strings.Contains(g.log.String(), "a-secret-of-the-proxies") {
		t.Error("the log holds the secret")
	}
	none := func(string) string { return "" }
	err := run(t.Context(), []string{"-listen", "127.0.0.1:0", "-stack", stack, "-authorize-listen", ":0"}, none, strings.NewReader(""), io.Discard, io.Discard)
	if exitCode(err) != 2 || !strings.Contains(fmt.Sprint(err), "API_AUTHORIZE_SECRET") {
		t.Errorf("without a secret: %v", err)
	}
}
