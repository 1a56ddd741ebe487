package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keycloak-model-api/policy"
)

// Each request is counted once, by what was decided about it.
func TestMetrics(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	f := newFixture(t, upstreamOf(t, "stream", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		close(begun)
		<-release
	}))
	scrape := func() string {
		w := httptest.NewRecorder()
		f.gateway.options.Metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	want := func(lines ...string) {
		t.Helper()
		for _, line := range lines {
			waitFor(t, line, func() bool { return strings.Contains(scrape(), line+"\n") })
		}
	}

	token := f.issuer.Token("RS256")
	f.do(t, "POST", inferIris, token, "application/json", irisRow)
	f.do(t, "POST", inferIris, token, "application/json", irisRow)
	f.do(t, "POST", "/v2/models/forbidden/infer", token, "application/json", irisRow)
	f.do(t, "POST", "/v2/models/unheard-of/infer", token, "application/json", irisRow)
	f.do(t, "GET", "/v2", token[:strings.LastIndex(token, ".")+1]+strings.Repeat("A", 342), "", "")
	f.do(t, "GET", "/healthz", "", "", "")
	want(
		`model_api_requests_total{action="infer",client="other",code="allowed",model="iris",status="200"} 2`,
		`model_api_requests_total{action="infer",client="other",code="model_unknown",model="forbidden",status="404"} 1`,
		`model_api_requests_total{action="infer",client="other",code="model_unknown",model="other",status="404"} 1`,
		`model_api_requests_total{action="server",client="",code="signature_invalid",model="",status="401"} 1`,
		`model_api_requests_total{action="",client="",code="",model="",status="200"} 1`,
		`model_api_request_duration_seconds_count{action="infer",model="iris"} 2`,
		`model_api_token_checks_total{cache="miss",outcome="ok"} 1`,
		`model_api_token_checks_total{cache="hit",outcome="ok"} 3`,
		`model_api_token_checks_total{cache="miss",outcome="signature_invalid"} 1`,
		`model_api_key_set_fetch_failures_total{issuer="`+f.issuer.URL+`"} 0`,
		`model_api_policy_generation 1`,
	)

	// Known as the policy names it from the next policy on.
	named := testPolicy(f.gateway.access.Load().policy.Models[2])
	named.Clients = []policy.Client{{ClientID: "my-api-client", Kind: "web"}}
	if err := f.gateway.Reload(&policy.Outputs{Issuer: f.issuer.URL, Audience: f.issuer.Audience, Policy: named}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.do(t, "POST", "/v2/models/stream/infer", token, "application/json", "{}")
	}()
	<-begun
	want(`model_api_open_streams{model="stream"} 1`, `model_api_requests_in_flight 1`, `model_api_policy_generation 2`,
		`model_api_model_server_first_byte_seconds_count{model="stream"} 1`)
	close(release)
	<-done
	want(`model_api_open_streams{model="stream"} 0`, `model_api_requests_in_flight 0`,
		`model_api_requests_total{action="infer",client="my-api-client",code="allowed",model="stream",status="200"} 1`,
		`model_api_model_server_duration_seconds_count{model="stream"} 1`)
	if got := scrape(); strings.Contains(got, "unheard-of") || strings.Contains(got, token[:20]) {
		t.Error("the metrics hold what a caller wrote")
	}
}
