package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/deploy/function"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// The compiled function answers by the server of Google's functions framework. Paths
// come as they were sent: the framework's own router neither cleans nor follows them.
func TestFunction(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	outputs, err := json.Marshal(map[string]any{"issuer": issuer.URL, "audience": issuer.Audience, "policy": &policy.Policy{
		Version: policy.Version, BaseRole: "model-api-access", Clients: []policy.Client{}, Models: []policy.Model{{Name: "iris", Embedded: "iris"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	address := start(t, []string{function.StackJSON + "=" + string(outputs), function.PublicURL + "=https://f.example", function.Stateless + "=true"})
	token := "Authorization: Bearer " + issuer.Token("RS256") + "\r\n"
	for _, row := range []struct {
		name, target, headers string
		status                int
		text                  string
	}{
		{"health", "/healthz", "", 200, `"live":true`},
		{"no credential", "/v2/models", "", 401, "no_credential"},
		{"models", "/v2/models", token, 200, "iris"},
		{"Authorization twice", "/v2/models", token + token, 400, "several_credentials"},
		{"a dot segment", "/v2/x/../models", token, 0, ""},
		{"an escaped dot segment", "/v2/%2e%2e/v2/models", token, 0, ""},
		{"two slashes", "//v2/models", token, 0, ""},
		{"a token in the query", "/v2/models?access_token=x", "", 400, "token_in_query"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, "GET "+row.target+" HTTP/1.1\r\nHost: f.example\r\nConnection: close\r\n"+row.headers+"\r\n")
			answer, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, _ := io.ReadAll(answer.Body)
			if row.status == 0 { // refused by the API, or sent away by the framework: never served as another path
				if answer.StatusCode < 300 {
					t.Errorf("%s: %s", answer.Status, body)
				}
				return
			}
			if answer.StatusCode != row.status || !strings.Contains(string(body), row.text) {
				t.Errorf("%s: %s, want %d %s", answer.Status, body, row.status, row.text)
			}
		})
	}
}

// An answer that breaks off does not end as if it were whole.
func TestBrokenAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(breakingOff(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err == nil || string(body) != "data: 1\n\n" {
		t.Errorf("got %q, %v", body, err)
	}
}

// start runs the function on a free port until the test ends.
func start(t *testing.T, environment []string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	listener.Close()
	binary := filepath.Join(t.TempDir(), "function")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var log bytes.Buffer
	command := exec.Command(binary)
	command.Env = append(environment, "HOST=127.0.0.1", "PORT="+port)
	command.Stdout, command.Stderr = &log, &log
	began := time.Now()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for until := began.Add(20 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			continue
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			t.Logf("ready %v after the start", time.Since(began).Round(time.Millisecond))
			return address
		}
	}
	t.Fatal("the function is not ready")
	return ""
}
