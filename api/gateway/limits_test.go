package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// limited serves m with limits from now on.
func (f *fixture) limited(t *testing.T, limits ...policy.Limit) {
	t.Helper()
	outputs := *f.gateway.options.Outputs
	current := *outputs.Policy
	current.Limits = limits
	outputs.Policy = &current
	if err := f.gateway.Reload(&outputs); err != nil {
		t.Fatal(err)
	}
}

// A request over a limit is 429 in the protocol's shape, with what every client
// needs to wait; what isn't the model's work is not counted.
func TestLimits(t *testing.T) {
	f := newFixture(t, openAIOf(t, "talks", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		_, _ = io.WriteString(w, `{"choices":[{}],"usage":{"prompt_tokens":30,"completion_tokens":70}}`)
	}))
	f.limited(t, policy.Limit{Role: "model-api-access", Requests: policy.Rate{Day: 3}}, policy.Limit{Model: "talks", Tokens: policy.Rate{Day: 150}})
	ada, bob := f.issuer.Token("RS256"), f.issuer.Token("RS256", oidctest.Claims{"sub": "bob"})
	const chat, infer = "/v1/chat/completions", "/v2/models/iris/infer"
	for range 5 {
		if response, _ := f.do(t, "GET", "/v2/models/iris", ada, "", ""); response.StatusCode != 200 || response.Header.Get("RateLimit") != "" {
			t.Fatalf("metadata: %s, %q", response.Status, response.Header.Get("RateLimit"))
		}
	}
	response, _ := f.do(t, "POST", infer, ada, jsonType, irisRow)
	if got := response.Header.Get("RateLimit-Policy"); response.StatusCode != 200 || got != `"requests-day";q=3;w=86400` {
		t.Errorf("%s with RateLimit-Policy %s", response.Status, got)
	}
	if got := response.Header.Get("RateLimit"); !strings.HasPrefix(got, `"requests-day";r=2;t=`) || response.Header.Get("X-Ratelimit-Limit-Requests") != "" {
		t.Errorf("RateLimit %s, x-ratelimit %q", got, response.Header.Get("X-Ratelimit-Limit-Requests"))
	}
	for _, want := range []string{"1", "0"} { // of requests; the tokens of the second go over
		response, body := f.do(t, "POST", chat, ada, jsonType, `{"model":"talks"}`)
		if got := response.Header.Get("X-Ratelimit-Remaining-Requests"); response.StatusCode != 200 || got != want {
			t.Errorf("%s with %q left, want %s: %s", response.Status, got, want, body)
		}
	}
	response, body := f.do(t, "POST", infer, ada, jsonType, irisRow)
	checkRefusal(t, response, body, infer, http.StatusTooManyRequests, "limit_reached")
	if wait := response.Header.Get("Retry-After"); wait == "" || wait == "0" || !strings.Contains(body, "3 requests a day") || !strings.Contains(body, wait+" s") {
		t.Errorf("Retry-After %q: %s", wait, body)
	}
	// The model's pool is used up for everybody, and another principal's tier is not.
	if response, _ := f.do(t, "POST", infer, bob, jsonType, irisRow); response.StatusCode != 200 {
		t.Errorf("another principal: %s", response.Status)
	}
	response, body = f.do(t, "POST", chat, bob, jsonType, `{"model":"talks"}`)
	if response.StatusCode != 429 || response.Header.Get("Retry-After-Ms") == "" || response.Header.Get("X-Ratelimit-Remaining-Tokens") != "0" ||
		!strings.Contains(body, `"rate_limit_error"`) || !strings.Contains(body, "150 tokens a day for model talks") {
		t.Errorf("%s, %v: %s", response.Status, response.Header, body)
	}
}

// A question how many tokens a request has is none of tokens: it is not charged.
func TestCountOfTokensUsesNone(t *testing.T) {
	f := newFixture(t, anthropicOf(t, "claude", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		_, _ = io.WriteString(w, `{"input_tokens":2095}`)
	}))
	response, body := f.do(t, "POST", "/v1/messages/count_tokens", f.issuer.Token("RS256"), jsonType, `{"model":"claude","messages":[]}`)
	if response.StatusCode != 200 {
		t.Fatalf("%s %s", response.Status, body)
	}
	if record := f.decisions(t)[0]; record["usage"] != nil {
		t.Errorf("the record's usage is %v", record["usage"])
	}
}

// A stream is charged with what it tells, the caller sees no event that it did not
// ask for, and a stream that the caller asked to tell it stays as it is.
func TestUsageOfStreams(t *testing.T) {
	var got sent
	const first, usage, done = "data: {\"choices\":[{}],\"usage\":null}\n\n", "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n", "data: [DONE]\n\n"
	f := newFixture(t, openAIOf(t, "talks", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = sent{r.Header, r.RequestURI, string(body)}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, first+usage+done)
	}))
	for _, row := range []struct{ name, body, sent, answer string }{
		{"not asked for", `{"model":"talks","stream":true}`, `{"stream_options":{"include_usage":true},"model":"talks","stream":true}`, first + done},
		{"declined", `{"model":"talks","stream":true,"stream_options":{"include_usage":false}}`, `{"model":"talks","stream":true,"stream_options":{"include_usage":true}}`, first + done},
		{"asked for", `{"model":"talks","stream":true,"stream_options":{"include_usage":true}}`, `{"model":"talks","stream":true,"stream_options":{"include_usage":true}}`, first + usage + done},
		{"no stream is asked for", `{"model":"talks"}`, `{"model":"talks"}`, first + usage + done},
	} {
		t.Run(row.name, func(t *testing.T) {
			response, body := f.do(t, "POST", "/v1/chat/completions", f.issuer.Token("RS256"), jsonType, row.body)
			if response.StatusCode != 200 || body != row.answer || got.body != row.sent {
				t.Errorf("%s\nsent     %s\nreceived %q", response.Status, got.body, body)
			}
			if got.header.Get("Accept-Encoding") != "" {
				t.Error("the answer may come compressed")
			}
		})
	}
	for _, record := range f.decisions(t) {
		u, _ := record["usage"].(map[string]any)
		if u["input"] != 5.0 || u["output"] != 2.0 || u["estimated"] != false {
			t.Errorf("the record's usage is %v", record["usage"])
		}
	}
}

// Requests under way count until they end, however they end.
func TestConcurrentRequests(t *testing.T) {
	release, begun := make(chan bool), make(chan bool)
	f := newFixture(t, openAIOf(t, "talks", func(w http.ResponseWriter, _ *http.Request) {
		begun <- true
		if !<-release {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", jsonType)
		_, _ = io.WriteString(w, `{}`)
	}))
	f.limited(t, policy.Limit{Model: "talks", Concurrent: 1})
	token := f.issuer.Token("RS256")
	for _, ends := range []bool{false, true} {
		done := make(chan int)
		go func() {
			response, _ := f.do(t, "POST", "/v1/chat/completions", token, jsonType, `{"model":"talks"}`)
			done <- response.StatusCode
		}()
		<-begun
		response, body := f.do(t, "POST", "/v1/chat/completions", token, jsonType, `{"model":"talks"}`)
		if response.StatusCode != 429 || !strings.Contains(body, "1 at once for model talks") {
			t.Errorf("a second at once: %s: %s", response.Status, body)
		}
		release <- ends
		if status := <-done; (status == 200) != ends {
			t.Errorf("the first ended with %d", status)
		}
	}
}

// The records and the metrics name the groups that the policy names, and no others.
func TestGroupsOfTheRecord(t *testing.T) {
	f := newFixture(t, policy.Model{Name: "grouped", Embedded: "iris", Allow: policy.Conditions{Groups: []string{"/research"}}})
	f.limited(t, policy.Limit{Group: "/sales", Shared: true, Requests: policy.Rate{Day: 1}})
	token := f.issuer.Token("RS256", oidctest.Claims{"groups": []string{"/secret", "/sales", "/research"}})
	f.do(t, "POST", "/v2/models/grouped/infer", token, jsonType, irisRow)
	response, _ := f.do(t, "POST", "/v2/models/grouped/infer", token, jsonType, irisRow)
	if response.StatusCode != 429 {
		t.Errorf("the second is %s", response.Status)
	}
	for _, record := range f.decisions(t) {
		if got := fmt.Sprint(record["groups"]); got != "[/research /sales]" {
			t.Errorf("groups %s", got)
		}
	}
	w := httptest.NewRecorder()
	f.gateway.options.Metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`model_api_limits_reached_total{kind="requests",limit="group /sales",window="day"} 1`,
		`model_api_group_requests_total{group="/research",model="grouped"} 2`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(w.Body.String(), "secret") {
		t.Error("a group that the policy does not name is in the metrics")
	}
}
