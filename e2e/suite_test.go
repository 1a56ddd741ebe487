// Package e2e tests the whole product on a real Keycloak, which is booted once
// for all tests: the compiled stack gives it realms, the compiled API answers.
// It is one package since one package is one process, with one Keycloak. A file's
// name begins with what it is about:
//
//   - realm_: what a configuration makes of Keycloak: users, keys, lifetimes, clients.
//   - api_: what the API answers to tokens, to browsers, and while Keycloak is away.
//   - command_: dev, doctor, contract and modelctl, as people run them.
//   - suite_: what all of them share.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
)

// suite is what all tests share.
type suite struct {
	root     string // of the checkout
	bin      string // folder of the compiled programs
	keycloak *keycloak.Server
	admin    *keycloak.Admin

	certificate, certificateKey string // files of a server on loopback that Keycloak trusts
}

// e is set by TestMain and only read after that.
var e *suite

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "pulumi" {
		os.Exit(pulumiMain(os.Args[1:]))
	}
	flag.Parse()
	code, err := runSuite(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func runSuite(m *testing.M) (code int, err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "keycloak-model-api-e2e")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	root, err := filepath.Abs("..")
	if err != nil {
		return 1, err
	}
	e = &suite{root: root, bin: filepath.Join(dir, "bin")}

	built := make(chan error, 1)
	go func() { built <- e.build() }()
	distribution, err := keycloak.Fetch(ctx, keycloak.FetchOptions{Home: os.Getenv("KEYCLOAK_HOME"), Progress: os.Stderr})
	if err != nil {
		return 1, err
	}
	if e.certificate, e.certificateKey, err = newCertificate(dir); err != nil {
		return 1, err
	}
	os.Setenv("JAVA_OPTS_APPEND", os.Getenv("JAVA_OPTS_APPEND")+" -Dkc.truststore-paths="+e.certificate)
	e.keycloak, err = keycloak.Start(ctx, keycloak.Options{Distribution: distribution, DataDir: filepath.Join(dir, "keycloak"), Progress: os.Stderr})
	if err != nil {
		return 1, err
	}
	defer func() {
		if code != 0 {
			copyLog(e.keycloak.LogFile)
		}
		err = errors.Join(err, e.keycloak.Stop(ctx))
	}()
	e.admin = keycloak.NewAdmin(e.keycloak.BaseURL, e.keycloak.Admin)
	if err := <-built; err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// copyLog shows the end of Keycloak's log after a failure.
func copyLog(file string) {
	content, err := os.ReadFile(file)
	if err != nil {
		return
	}
	fmt.Fprintf(os.Stderr, "--- the end of Keycloak's log\n%s\n", content[max(0, len(content)-8000):])
}

// build compiles every program that the tests start, in one call of go build.
func (s *suite) build() error {
	command := exec.Command("go", "build", "-trimpath", "-o", s.bin+string(filepath.Separator), ".", "./api", "./modelctl", "./dev/stack")
	command.Dir = s.root
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func (s *suite) program(name string) string { return filepath.Join(s.bin, name) }

// stack is a configuration that has become a realm in Keycloak.
type stack struct {
	Outputs map[string]any
	File    string        // the outputs as the API reads them
	Model   *render.Realm // what was declared
	Env     []string      // more environment of its APIs: credentials of model servers
	secrets map[string]map[string]string
}

func (s *stack) output(name string) string { v, _ := s.Outputs[name].(string); return v }

// clientSecret of a client that the stack declares.
func (s *stack) clientSecret(id string) string { return s.secrets["clientSecrets"][id] }

// secretsOf are what the tests give a stack: one secret object after the other. A key
// that is one secret has it under the name "".
type secretsOf map[string]map[string]string

// Secrets of the dev stack.
func devSecrets() secretsOf {
	return secretsOf{
		"clientSecrets": {
			"model-serving-api": "an-api-client-secret-of-the-tests",
			"my-api-client":     "a-web-client-secret-of-the-tests",
		},
		"initialPasswords": {"ml-api-user": "correct horse battery staple 1A"},
	}
}

// devConfig is Pulumi.dev.yaml.
func (s *suite) devConfig(t testing.TB) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(s.root, "Pulumi.dev.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// declare runs the compiled stack on a configuration (the text of a
// Pulumi.<stack>.yaml) without any server.
func (s *suite) declare(t testing.TB, yaml string, secrets secretsOf) (*monitor.Result, error) {
	t.Helper()
	dir := t.TempDir()
	project, err := os.ReadFile(filepath.Join(s.root, "Pulumi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "Pulumi.yaml"), project)
	writeFile(t, filepath.Join(dir, "Pulumi.e2e.yaml"), []byte(yaml))
	config, err := monitor.LoadConfig(dir, "e2e", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	config.Values["keycloak:url"] = s.keycloak.BaseURL
	for key, entries := range secrets {
		if value, one := entries[""]; one {
			config.AddSecret(key, value)
		} else if err := config.AddSecrets(key, entries); err != nil {
			t.Fatal(err)
		}
	}
	return render.Run(t.Context(), monitor.Program{
		Binary: s.program("keycloak-model-api"),
		Dir:    dir,
		Env:    []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")},
		Config: config,
		Log:    testLog{t},
	})
}

// up makes the realm of a configuration in Keycloak, and removes it when the
// test ends.
func (s *suite) up(t testing.TB, yaml string, secrets secretsOf) *stack {
	t.Helper()
	result, err := s.declare(t, yaml, secrets)
	if err != nil {
		t.Fatal(err)
	}
	realms, err := render.Build(result.Resources)
	if err != nil {
		t.Fatal(err)
	}
	if len(realms) != 1 {
		t.Fatalf("the stack declares %d realms, want 1", len(realms))
	}
	if err := realms[0].Apply(t.Context(), s.admin); err != nil {
		t.Fatal(err)
	}
	outputs, err := result.OutputsJSON(true)
	if err != nil {
		t.Fatal(err)
	}
	st := &stack{File: filepath.Join(t.TempDir(), "stack.json"), Model: realms[0], secrets: secrets}
	writeFile(t, st.File, outputs)
	if err := json.Unmarshal(outputs, &st.Outputs); err != nil {
		t.Fatal(err)
	}
	realm := st.output("realm_name")
	t.Cleanup(func() {
		if err := s.admin.DeleteRealm(context.Background(), realm); err != nil {
			t.Errorf("removing realm %s: %v", realm, err)
		}
	})
	return st
}

// api is a running API.
type api struct {
	URL     string
	log     *lockedBuffer
	command *exec.Cmd
	ended   chan error
}

// startAPI starts the compiled API for a stack on a free port and waits until
// it is ready. It is stopped when the test ends.
func (s *suite) startAPI(t testing.TB, st *stack, args ...string) *api {
	t.Helper()
	return s.startAPIOn(t, freePort(t), st, args...)
}

// startAPIOn does it on a port that the realm knows.
func (s *suite) startAPIOn(t testing.TB, port string, st *stack, args ...string) *api {
	t.Helper()
	a := s.launchAPI(t, port, st, args...)
	a.awaitReady(t)
	return a
}

// launchAPI does it without waiting.
func (s *suite) launchAPI(t testing.TB, port string, st *stack, args ...string) *api {
	t.Helper()
	a := &api{URL: "http://127.0.0.1:" + port, log: new(lockedBuffer), ended: make(chan error, 1)}
	args = append([]string{"-stack", st.File, "-listen", strings.TrimPrefix(a.URL, "http://")}, args...)
	a.command = exec.Command(s.program("api"), args...)
	a.command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, st.Env...)
	a.command.Stdout, a.command.Stderr = a.log, a.log
	for kind, secrets := range st.secrets {
		for name, value := range secrets {
			used.add(kind+" "+name, value)
		}
	}
	for _, variable := range st.Env {
		name, value, _ := strings.Cut(variable, "=")
		used.add(name, value)
	}
	if err := a.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { a.ended <- a.command.Wait() }()
	t.Cleanup(func() { a.stop(t) })
	return a
}

func (a *api) awaitReady(t testing.TB) {
	t.Helper()
	eventually(t, 20*time.Second, "the API is ready", func() error {
		select {
		case err := <-a.ended:
			a.ended <- err
			t.Fatalf("the API ended: %v\n%s", err, a.log)
		default:
		}
		res, err := http.Get(a.URL + "/readyz")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz answers %s", res.Status)
		}
		return nil
	})
}

func (a *api) stop(t testing.TB) {
	_ = a.command.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-a.ended:
		a.ended <- err
	case <-time.After(30 * time.Second):
		_ = a.command.Process.Kill()
		t.Error("the API did not stop within 30 s of SIGTERM")
	}
	used.checkNone(t, "the API's log", a.log.String())
	if t.Failed() {
		t.Logf("the API's log:\n%s", a.log)
	}
}

// answer is a response with its body read.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// irisRequest asks for the class of one flower, an Iris setosa.
const irisRequest = `{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2]}]}`

// infer sends a request to the model iris. An empty token sends none.
func (a *api) infer(t testing.TB, token string) answer {
	t.Helper()
	return a.do(t, http.MethodPost, "/v2/models/iris/infer", token, irisRequest)
}

func (a *api) do(t testing.TB, method, path, token, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, a.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return send(t, http.DefaultClient, request)
}

func send(t testing.TB, client *http.Client, request *http.Request) answer {
	t.Helper()
	res, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	used.addMessage(request, res)
	return answer{res.StatusCode, res.Header, string(body)}
}

// want fails the test unless the answer has the status and holds the text.
func (a answer) want(t testing.TB, status int, text string) {
	t.Helper()
	if a.Status != status || !strings.Contains(a.Body, text) {
		t.Errorf("answer is %d %s (%s), want %d with %q", a.Status, a.Body, a.Header.Get("WWW-Authenticate"), status, text)
	}
}

// tokens is an answer of the token endpoint.
type tokens struct {
	AccessToken      string `json:"access_token"`
	RefreshToken     string `json:"refresh_token"`
	IDToken          string `json:"id_token"`
	TokenType        string `json:"token_type"`
	Scope            string `json:"scope"`
	ExpiresIn        int    `json:"expires_in"`
	RefreshExpiresIn int    `json:"refresh_expires_in"`
	Error            string `json:"error"`
	Description      string `json:"error_description"`
}

// token asks the token endpoint of the stack's realm and fails the test if
// there is no access token.
func (s *stack) token(t testing.TB, form url.Values) tokens {
	t.Helper()
	got := s.tryToken(t, form)
	if got.AccessToken == "" {
		t.Fatalf("the token endpoint answers %s: %s", got.Error, got.Description)
	}
	return got
}

func (s *stack) tryToken(t testing.TB, form url.Values) tokens {
	t.Helper()
	res, err := http.PostForm(s.output("issuer")+"/protocol/openid-connect/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got tokens
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	used.addTokens(got)
	return got
}

// password is the form of the password grant with model-serving-api.
func (s *stack) password(user, password string) url.Values {
	return url.Values{
		"grant_type": {"password"}, "scope": {"openid"},
		"client_id": {s.output("client_id")}, "client_secret": {s.output("client_secret")},
		"username": {user}, "password": {password},
	}
}

// clientCredentials is the form of that grant.
func (s *stack) clientCredentials(id string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {s.clientSecret(id)}}
}

// eventually repeats try until it returns nil, and fails the test after the
// limit with the last error.
func eventually(t testing.TB, limit time.Duration, what string, try func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("not within %v: %s: %v", limit, what, err)
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer is a buffer that a child process and a test may use at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// testLog writes to the test's log.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}
