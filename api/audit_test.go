package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/internal/oidctest"
)

// TestMain lets a test run the API as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_RUN_API") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is the API with a pipe for its log.
type process struct {
	url    string
	log    *os.File // the end of the pipe that reads
	issuer *oidctest.Issuer
	ended  chan error
}

func startProcess(t *testing.T, flags ...string) *process {
	t.Helper()
	issuer := oidctest.Start()
	t.Cleanup(issuer.Close)
	stack := filepath.Join(t.TempDir(), "stack.json")
	writeStack(t, stack, issuer.URL, issuer.Audience, testPolicy())
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0], append([]string{"-listen", "127.0.0.1:0", "-stack", stack}, flags...)...)
	command.Env = append(os.Environ(), "TEST_RUN_API=1")
	command.Stderr = writer
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	p := &process{log: reader, issuer: issuer, ended: make(chan error, 1)}
	go func() { p.ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		reader.Close()
	})
	for lines := bufio.NewScanner(reader); p.url == "" && lines.Scan(); {
		var line struct{ Msg, URL string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			p.url = line.URL
		}
	}
	if p.url == "" {
		t.Fatal("the API does not listen")
	}
	waitFor(t, "the keys", func() bool { return p.get(t, "/readyz", "") == http.StatusOK })
	return p
}

// get returns the status of an answer, which must come within seconds.
func (p *process) get(t *testing.T, path, token string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	response.Body.Close()
	return response.StatusCode
}

// The reader of the log dies: the API goes on. SIGPIPE would end it.
func TestReaderOfTheLogDies(t *testing.T) {
	for _, test := range []struct {
		onFailure string
		want      int
	}{
		{"drop", http.StatusOK},
		{"refuse", http.StatusServiceUnavailable},
	} {
		t.Run(test.onFailure, func(t *testing.T) {
			p := startProcess(t, "-audit-failure", test.onFailure)
			token := p.issuer.Token("RS256")
			if got := p.get(t, "/v2/models", token); got != http.StatusOK {
				t.Fatalf("with a reader: %d", got)
			}
			p.log.Close()
			// The first request after that finds out, when its record is written.
			waitFor(t, "the outcome", func() bool { return p.get(t, "/v2/models", token) == test.want })
			waitFor(t, "the readiness", func() bool { return p.get(t, "/readyz", "") == test.want })
			for range 50 {
				if got := p.get(t, "/v2/models", ""); got != http.StatusUnauthorized {
					t.Fatalf("without a credential: %d", got)
				}
			}
			select {
			case err := <-p.ended:
				t.Fatalf("the API ended: %v", err)
			default:
			}
		})
	}
}

// Nobody reads the log: its pipe fills, and neither strangers nor callers wait.
func TestReaderOfTheLogIsStuck(t *testing.T) {
	p := startProcess(t)
	token := p.issuer.Token("RS256")
	for range 600 { // a pipe holds 64 KiB, a record takes some 300 bytes
		if got := p.get(t, "/v2/models", token); got != http.StatusOK {
			t.Fatalf("with a full pipe: %d", got)
		}
	}
	for range 100 {
		if got := p.get(t, "/v2/models/iris", ""); got != http.StatusUnauthorized {
			t.Fatalf("without a credential: %d", got)
		}
	}
	// Its reader comes back, and finds every record.
	counted := make(chan int, 1)
	go func() {
		n := 0
		for lines := bufio.NewScanner(p.log); lines.Scan(); {
			if strings.Contains(lines.Text(), `"code":"allowed"`) {
				if n++; n == 600 {
					break
				}
			}
		}
		counted <- n
	}()
	select {
	case n := <-counted:
		if n != 600 {
			t.Errorf("%d records of 600", n)
		}
	case <-time.After(30 * time.Second):
		t.Error("not all records came")
	}
}

// Records can stand in a file of their own, or on stdout, as JSON whatever the
// format of the log.
func TestAuditApart(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	for _, test := range []struct{ format, want string }{
		{"json", `"msg":"decision"`},
		{"ocsf", `"class_uid":6003`},
	} {
		t.Run(test.format, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			g := start(t, issuer, testPolicy(), "-audit", path, "-audit-format", test.format)
			r, err := http.NewRequest("GET", g.url+"/v2/models/iris", nil)
			if err != nil {
				t.Fatal(err)
			}
			token := issuer.Token("RS256")
			r.Header.Set("Authorization", "Bearer "+token)
			send(t, r)
			var record string
			waitFor(t, "the record", func() bool {
				content, err := os.ReadFile(path)
				record = string(content)
				return err == nil && strings.HasSuffix(record, "\n")
			})
			var member map[string]any
			if err := json.Unmarshal([]byte(record), &member); err != nil || !strings.Contains(record, test.want) {
				t.Errorf("the file has %s", record)
			}
			if log := g.log.String(); strings.Contains(log, test.want) || strings.Contains(record, token) {
				t.Errorf("the log has the record, too:\n%s", log)
			}
		})
	}
	stack := filepath.Join(t.TempDir(), "stack.json")
	writeStack(t, stack, issuer.URL, issuer.Audience, testPolicy())
	err := run(t.Context(), []string{"-listen", "127.0.0.1:0", "-stack", stack, "-audit", filepath.Join(t.TempDir(), "missing", "audit.log")},
		func(string) string { return "" }, strings.NewReader(""), &syncBuffer{}, &syncBuffer{})
	if exitCode(err) != 2 || !strings.Contains(fmt.Sprint(err), "-audit: ") {
		t.Errorf("a file in a folder that is missing: %v", err)
	}
}
