package gateway

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

func newVerifier(t *testing.T, issuer *oidctest.Issuer) *bearer.Verifier {
	t.Helper()
	v, err := bearer.New(t.Context(), bearer.Config{Issuers: []bearer.Issuer{{URL: issuer.URL}}, Audience: issuer.Audience})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPrediction(t *testing.T) {
	f := newFixture(t)
	response, body := f.do(t, "POST", inferIris, f.issuer.Token("RS256"), "application/json; charset=utf-8", irisRow)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", response.Status, body)
	}
	var got struct {
		ModelName string `json:"model_name"`
		ID        string
		Outputs   []struct {
			Name, Datatype string
			Shape          []int
			Data           []any
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if got.ModelName != "iris" || got.ID != "1" || len(got.Outputs) != 2 {
		t.Fatalf("got %s", body)
	}
	if label := got.Outputs[0]; label.Name != "label" || label.Datatype != "BYTES" || label.Data[0] != "setosa" {
		t.Errorf("label: %+v", label)
	}
	sum := 0.0
	for _, p := range got.Outputs[1].Data {
		sum += p.(float64)
	}
	if p := got.Outputs[1]; p.Datatype != "FP64" || len(p.Shape) != 2 || math.Abs(sum-1) > 1e-9 {
		t.Errorf("probabilities: %+v", p)
	}
}

func TestOutputsCanBeChosen(t *testing.T) {
	f := newFixture(t)
	request := strings.Replace(irisRow, `{"id"`, `{"outputs":[{"name":"label"}],"id"`, 1)
	_, body := f.do(t, "POST", inferIris, f.issuer.Token("RS256"), "application/json", request)
	if !strings.Contains(body, `"label"`) || strings.Contains(body, `"probabilities"`) {
		t.Errorf("got %s", body)
	}
}

// A client's own token has no session and no user, and calls models likewise.
func TestServiceAccount(t *testing.T) {
	f := newFixture(t)
	token := f.issuer.Token("RS256", oidctest.ServiceAccount("my-api-client"))
	if response, body := f.do(t, "POST", inferIris, token, "application/json", irisRow); response.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", response.Status, body)
	}
}

func TestGet(t *testing.T) {
	f := newFixture(t)
	token := f.issuer.Token("RS256")
	tests := []struct{ name, path, token, want string }{
		{"liveness", "/healthz", "", `"live":true`},
		{"readiness", "/readyz", "", `"ready":true`},
		{"protocol liveness", "/v2/health/live", "", `"live":true`},
		{"protocol readiness", "/v2/health/ready", "", `"ready":true`},
		{"health with a bad token", "/healthz", "garbage", `"live":true`},
		{"server metadata", "/v2", token, `"name":"keycloak-model-api"`},
		{"models that the caller may call", "/v2/models", token, `{"models":[{"name":"iris"}]}`},
		{"model metadata", "/v2/models/iris", token, `"inputs":[{"name":"input","datatype":"FP64","shape":[-1,4]`},
		{"model readiness", "/v2/models/iris/ready", token, `{"name":"iris","ready":true}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			response, body := f.do(t, "GET", test.path, test.token, "", "")
			if response.StatusCode != http.StatusOK || !strings.Contains(body, test.want) {
				t.Errorf("%s: %s, want %s", response.Status, body, test.want)
			}
			response, body = f.do(t, "HEAD", test.path, test.token, "", "")
			if response.StatusCode != http.StatusOK || body != "" {
				t.Errorf("HEAD: %s: %q", response.Status, body)
			}
		})
	}
}

// Roles decide on every request, whatever was decided for the token before.
func TestModelRole(t *testing.T) {
	f := newFixture(t)
	token := f.issuer.Token("RS256", oidctest.Claims{"realm_access": map[string]any{"roles": []string{"model-api-access", "model-forbidden"}}})
	if response, body := f.do(t, "POST", "/v2/models/forbidden/infer", token, "application/json", irisRow); response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", response.Status, body)
	}
	stricter := testPolicy()
	stricter.Models[1].Allow.Roles = []string{"model-stricter"}
	if err := f.gateway.Reload(&policy.Outputs{Issuer: f.issuer.URL, Audience: f.issuer.Audience, Policy: stricter}); err != nil {
		t.Fatal(err)
	}
	response, body := f.do(t, "POST", "/v2/models/forbidden/infer", token, "application/json", irisRow)
	checkRefusal(t, response, body, "/v2/models/forbidden/infer", http.StatusNotFound, "model_unknown")
}

// One record for each decision says who asked for what and what came of it.
func TestAudit(t *testing.T) {
	f := newFixture(t)
	token := f.issuer.Token("RS256")
	response, _ := f.do(t, "POST", inferIris, token, "application/json", irisRow)
	f.do(t, "POST", "/v2/models/forbidden/infer", token, "application/json", irisRow)
	f.do(t, "GET", "/v2", "", "", "")
	f.do(t, "GET", "/v2//models", token, "", "")
	f.do(t, "GET", "/v2/models/"+strings.Repeat("x", 10_000), "", "", "") // CWE-779
	f.do(t, "GET", "/healthz", "", "", "")                                // nothing to decide

	waitFor(t, "five audit records", func() bool { return len(f.decisions(t)) == 5 })
	got := f.decisions(t)
	wants := []map[string]any{
		{
			"request": response.Header.Get("X-Request-Id"), "method": "POST", "path": inferIris, "action": "infer", "model": "iris",
			"decision": "allow", "code": "allowed", "status": 200.0, "policy": 1.0,
			"issuer": f.issuer.URL, "subject": f.issuer.Claims()["sub"], "username": f.issuer.Claims()["preferred_username"],
			"client": "my-api-client", "session": f.issuer.Claims()["sid"],
		},
		{"action": "infer", "model": "forbidden", "decision": "refuse", "code": "model_unknown", "status": 404.0, "client": "my-api-client"},
		{"action": "server", "model": "", "decision": "refuse", "code": "no_credential", "status": 401.0, "subject": nil, "policy": nil},
		{"code": "path_not_canonical", "status": 400.0, "subject": nil},
		{"action": "metadata", "model": strings.Repeat("x", 80), "code": "no_credential"},
	}
	for i, want := range wants {
		for name, value := range want {
			if got[i][name] != value {
				t.Errorf("record %d: %s is %v, want %v", i, name, got[i][name], value)
			}
		}
	}
	checkNoToken(t, f, token)
}

// An answer that breaks off, or whose caller leaves, is not on record as if it
// had arrived, nor as a fault of the model's server where it is none. Nothing
// goes to the standard logger, whose lines are not JSON.
func TestAuditOfBrokenAnswers(t *testing.T) {
	var stray syncBuffer
	log.SetOutput(&stray)
	defer log.SetOutput(os.Stderr)
	asked := make(chan struct{}, 1)
	f := newFixture(t, upstreamOf(t, "half", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}), upstreamOf(t, "long", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}), upstreamOf(t, "slow", func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	get := func(ctx context.Context, model string) *http.Response {
		r, err := http.NewRequestWithContext(ctx, "GET", f.url+"/v2/models/"+model, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+f.issuer.Token("RS256"))
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			return nil
		}
		defer response.Body.Close()
		if _, err = io.ReadAll(response.Body); err == nil && response.StatusCode == http.StatusOK {
			t.Errorf("%s: the answer is whole", model)
		}
		return response
	}
	if response := get(t.Context(), "half"); response == nil || response.StatusCode != http.StatusBadGateway {
		t.Errorf("half: got %v, want 502", response)
	}
	get(t.Context(), "long")
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-asked
		leave()
	}()
	get(ctx, "slow")

	waitFor(t, "three audit records", func() bool { return len(f.decisions(t)) == 3 })
	for i, want := range []map[string]any{
		{"model": "half", "decision": "allow", "code": "upstream_unreachable", "status": 502.0},
		{"model": "long", "code": "upstream_unreachable", "status": 200.0},
		{"model": "slow", "code": "caller_gone"},
	} {
		got := f.decisions(t)[i]
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s: %s is %v, want %v", want["model"], name, got[name], value)
			}
		}
		if got["cause"] == nil {
			t.Errorf("%s: no cause", want["model"])
		}
	}
	if stray.String() != "" {
		t.Errorf("standard logger: %s", stray.String())
	}
}

// upstreamOf is a model that everybody may call, at a server of its own.
func upstreamOf(t *testing.T, name string, handler http.HandlerFunc) policy.Model {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return policy.Model{Name: name, Allow: policy.Conditions{Roles: []string{"model-api-access"}}, Upstream: &policy.Upstream{URL: server.URL}}
}
