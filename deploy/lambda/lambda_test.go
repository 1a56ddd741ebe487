package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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

// environment is that of a function for the issuer, with models at a server.
func environment(t *testing.T, issuer *oidctest.Issuer, server string) map[string]string {
	t.Helper()
	outputs, err := json.Marshal(map[string]any{"issuer": issuer.URL, "audience": issuer.Audience, "policy": &policy.Policy{
		Version: policy.Version, BaseRole: "model-api-access", Clients: []policy.Client{},
		Models: []policy.Model{{Name: "iris", Embedded: "iris"}, {Name: "far", Upstream: &policy.Upstream{URL: server}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{function.StackJSON: string(outputs), function.PublicURL: "https://f.example", function.Stateless: "true"}
}

// modelServer streams two events, and breaks off after the first where the request
// is for the model's readiness.
func modelServer(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		if strings.HasSuffix(r.URL.Path, "/ready") {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "data: 2\n\n")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

const irisRow = `{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2]}]}`

// format2 is an event of a function URL or an HTTP API.
func format2(method, path, body string, headers map[string]string) map[string]any {
	return map[string]any{
		"version": "2.0", "rawPath": path, "headers": headers, "body": body,
		"requestContext": map[string]any{"http": map[string]any{"method": method, "sourceIp": "192.0.2.7"}},
	}
}

// balanced is an event of a load balancer.
func balanced(method, path, body string, headers map[string][]string) map[string]any {
	return map[string]any{"httpMethod": method, "path": path, "multiValueHeaders": headers, "body": body, "requestContext": map[string]any{"elb": map[string]any{}}}
}

// Each kind of event is judged as the request that it was: the list of its headers,
// and its path as it came.
func TestEvents(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	values := environment(t, issuer, modelServer(t))
	api, err := function.New(t.Context(), func(name string) string { return values[name] }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	bearer := "Bearer " + issuer.Token("RS256")
	one := func(more ...string) map[string]string {
		h := map[string]string{"authorization": bearer, "content-type": "application/json"}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = more[i+1]
		}
		return h
	}
	many := map[string][]string{"authorization": {bearer}, "content-type": {"application/json"}, "x-forwarded-for": {"198.51.100.1, 192.0.2.7"}}
	encoded := format2("POST", "/v2/models/iris/infer", "eyJpbnB1dHMiOltdfQ==", one())
	encoded["isBase64Encoded"] = true
	query := format2("GET", "/v2/models", "", one())
	query["rawQueryString"] = "access_token=x"
	asked := balanced("GET", "/v2/models", "", many)
	asked["multiValueQueryStringParameters"] = map[string][]string{"api-key": {"x"}}
	for _, row := range []struct {
		name   string
		event  map[string]any
		status int
		text   string
	}{
		{"format 2.0", format2("POST", "/v2/models/iris/infer", irisRow, one()), 200, "setosa"},
		{"a load balancer", balanced("POST", "/v2/models/iris/infer", irisRow, many), 200, "setosa"},
		{"a body in base64", encoded, 400, "bad_tensor"},
		{"no credential", format2("GET", "/v2/models", "", nil), 401, "no_credential"},
		{"Authorization twice, joined by a comma", format2("GET", "/v2/models", "", one("authorization", bearer+","+bearer)), 400, "malformed_credential"},
		{"Authorization twice, in a list", balanced("GET", "/v2/models", "", map[string][]string{"authorization": {bearer, bearer}}), 400, "several_credentials"},
		{"a dot segment", format2("GET", "/v2/x/../models", "", one()), 400, "path_not_canonical"},
		{"an escaped dot segment", format2("GET", "/v2/%2e%2e/models", "", one()), 400, "path_not_canonical"},
		{"two slashes", format2("GET", "//v2/models", "", one()), 400, "path_not_canonical"},
		{"a question mark that was unescaped", format2("GET", "/v2/models?x", "", one()), 400, "path_not_canonical"},
		{"a host in the path", format2("GET", "http://other/v2/models", "", one()), 400, "path_not_canonical"},
		{"a token in the query", query, 400, "token_in_query"},
		{"a key in a balancer's query", asked, 400, "token_in_query"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text, err := json.Marshal(row.event)
			if err != nil {
				t.Fatal(err)
			}
			var e event
			if err := json.Unmarshal(text, &e); err != nil {
				t.Fatal(err)
			}
			r, err := e.request(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got *reply
			for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
				if got, err = held(api, r, false); err != nil || got.Status != 503 { // the keys are being fetched
					break
				}
				r, _ = e.request(t.Context())
			}
			if err != nil || got.Status != row.status || !strings.Contains(got.Body, row.text) {
				t.Errorf("got %+v, %v, want %d %s", got, err, row.status, row.text)
			}
		})
	}
	for name, text := range map[string]string{"no event": `{}`, "format 1.0": `{"version":"1.0","path":"/","httpMethod":"GET"}`, "no path": `{"version":"2.0"}`} {
		var e event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		if _, err := e.request(t.Context()); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// What a function lacks is said at once.
func TestEnvironment(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	for _, missing := range []string{function.StackJSON, function.PublicURL, function.Stateless} {
		values := environment(t, issuer, "http://m")
		delete(values, missing)
		if _, err := function.New(t.Context(), func(name string) string { return values[name] }, io.Discard); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

// posted is what the function told the runtime API.
type posted struct {
	path, kind string
	failure    string // which ended the answer; empty for none
	body       []byte
}

// runtimeAPI hands events to the compiled function, as AWS's service does (Lambda's
// runtime API, version 2018-06-01), and returns what it answers to each.
func runtimeAPI(t *testing.T, env map[string]string, events ...any) []posted {
	t.Helper()
	next, answers := make(chan any, len(events)), make(chan posted, len(events))
	for _, e := range events {
		next <- e
	}
	ended := make(chan struct{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const base = "/2018-06-01/runtime/invocation/"
		if r.URL.Path == base+"next" {
			select {
			case e := <-next:
				w.Header().Set("Lambda-Runtime-Aws-Request-Id", fmt.Sprint(len(next)))
				w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(time.Minute).UnixMilli()))
				_ = json.NewEncoder(w).Encode(e)
			case <-ended:
			}
			return
		}
		body, _ := io.ReadAll(r.Body)
		answers <- posted{strings.TrimPrefix(r.URL.Path, base), r.Header.Get("Content-Type"), r.Trailer.Get("Lambda-Runtime-Function-Error-Type"), body}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(api.Close)
	t.Cleanup(func() { close(ended) })

	binary := filepath.Join(t.TempDir(), "bootstrap")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	command := exec.Command(binary)
	command.Env = []string{"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(api.URL, "http://")}
	for name, value := range env {
		command.Env = append(command.Env, name+"="+value)
	}
	var log bytes.Buffer
	command.Stdout, command.Stderr = &log, &log
	began := time.Now()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()
	var all []posted
	for range events {
		select {
		case a := <-answers:
			if len(all) == 0 {
				t.Logf("the first answer came %v after the start", time.Since(began).Round(time.Millisecond))
			}
			all = append(all, a)
		case <-time.After(time.Minute):
			t.Fatalf("no answer: %s", log.String())
		}
	}
	return all
}

// The compiled function answers events by Lambda's runtime API.
func TestRuntime(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	header := map[string]string{"authorization": "Bearer " + issuer.Token("RS256"), "content-type": "application/json"}
	got := runtimeAPI(t, environment(t, issuer, "http://m"),
		format2("GET", "/healthz", "", nil), format2("GET", "/v2/models", "", nil), format2("POST", "/v2/models/iris/infer", irisRow, header))
	for i, want := range []string{`"live":true`, "no_credential", "setosa"} {
		var answer reply
		if err := json.Unmarshal(got[i].body, &answer); err != nil || !strings.Contains(answer.Body, want) || !strings.HasSuffix(got[i].path, "/response") {
			t.Errorf("answer %d is %s: %s, %v", i, got[i].path, got[i].body, err)
		}
	}
}

// A stream goes on as it comes, and one that breaks off does not look whole.
func TestStream(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	env := environment(t, issuer, modelServer(t))
	env["API_STREAM"] = "true"
	header := map[string]string{"authorization": "Bearer " + issuer.Token("RS256")}
	warm := format2("GET", "/healthz", "", nil)
	got := runtimeAPI(t, env, warm, format2("GET", "/v2/models/far", "", header), format2("GET", "/v2/models/far/ready", "", header))
	for i, a := range got {
		prelude, _, ok := bytes.Cut(a.body, make([]byte, 8))
		if a.kind != "application/vnd.awslambda.http-integration-response" || !ok || !json.Valid(prelude) {
			t.Errorf("answer %d is %q of type %s", i, a.body, a.kind)
		}
	}
	if whole := got[1]; !bytes.HasSuffix(whole.body, []byte("\x00data: 1\n\ndata: 2\n\n")) || whole.failure != "" {
		t.Errorf("the stream is %q, failure %q", whole.body, whole.failure)
	}
	if cut := got[2]; !bytes.Contains(cut.body, []byte("\x00data: 1\n\n")) || bytes.Contains(cut.body, []byte("data: 2")) || cut.failure == "" {
		t.Errorf("the broken stream is %q, failure %q", cut.body, cut.failure)
	}
}
