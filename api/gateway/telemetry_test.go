package gateway

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"keycloak-model-api/api/observe"
)

// collector is the part of an OpenTelemetry collector that receives OTLP by HTTP
// (opentelemetry-proto, "OTLP/HTTP").
type collector struct {
	mu      sync.Mutex
	raw     bytes.Buffer // everything that came
	spans   []*trace.Span
	metrics []*metrics.Metric
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s: %s, %v", r.URL.Path, r.Header.Get("Content-Type"), err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw.Write(body)
		switch r.URL.Path {
		case "/v1/traces":
			var message collectortrace.ExportTraceServiceRequest
			if err := proto.Unmarshal(body, &message); err != nil {
				t.Error(err)
			}
			for _, of := range message.ResourceSpans {
				for _, scope := range of.ScopeSpans {
					c.spans = append(c.spans, scope.Spans...)
				}
			}
		case "/v1/metrics":
			var message collectormetrics.ExportMetricsServiceRequest
			if err := proto.Unmarshal(body, &message); err != nil {
				t.Error(err)
			}
			for _, of := range message.ResourceMetrics {
				for _, scope := range of.ScopeMetrics {
					c.metrics = append(c.metrics, scope.Metrics...)
				}
			}
		default:
			t.Errorf("a request to %s", r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	return c
}

// span returns the one of this name and code.
func (c *collector) span(t *testing.T, name, code string) *trace.Span {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, s := range c.spans {
		names = append(names, s.Name)
		if got := attribute(s, "model_api.code"); s.Name == name && (code == "" || got == code) {
			return s
		}
	}
	t.Fatalf("no span %q with the code %q among %q", name, code, names)
	return nil
}

func attribute(s *trace.Span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

const (
	callersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan  = "00f067aa0ba902b7"
)

// Traces and metrics reach a collector by OTLP, under the names of OpenTelemetry's
// conventions, and hold nothing of what a caller or a model server has written.
func TestTelemetry(t *testing.T) {
	c := startCollector(t)
	telemetry, err := observe.NewTelemetry(t.Context(), os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan http.Header, 10)
	f := newFixture(t, upstreamOf(t, "stream", func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: text-of-the-model\n\n")
	}), upstreamOf(t, "broken", func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header
		http.Error(w, `{"error":"text-of-an-error"}`, http.StatusInternalServerError)
	}))
	f.gateway.options.Telemetry = telemetry
	token := f.issuer.Token("RS256")
	send := func(method, path, state string) {
		t.Helper()
		r, err := http.NewRequest(method, f.url+path, strings.NewReader(`{"prompt":"text-of-the-caller"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Traceparent", "00-"+callersTrace+"-"+callersSpan+"-01")
		r.Header.Set("Tracestate", "vendor="+state)
		send(t, r)
	}
	send("POST", "/v2/models/stream/infer", "of-the-caller")
	f.gateway.options.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	send("POST", "/v2/models/broken/infer", "of-the-proxy")
	f.gateway.options.TrustedProxies = nil
	send("GET", "/v2/models/model-of-the-caller?query=of-the-caller", "of-the-caller")
	send("GET", "/healthz", "of-the-caller")
	waitFor(t, "the records", func() bool { return len(f.decisions(t)) == 3 })
	if err := telemetry.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}

	// From a stranger: a trace of our own with a link to the caller's.
	own := c.span(t, "POST /v2/models/{model}/infer", "allowed")
	if id := hex.EncodeToString(own.TraceId); id == callersTrace || f.decisions(t)[0]["trace"] != id || len(own.ParentSpanId) > 0 {
		t.Errorf("the trace is %s, its parent %x, and the record has %v", id, own.ParentSpanId, f.decisions(t)[0]["trace"])
	}
	if len(own.Links) != 1 || hex.EncodeToString(own.Links[0].TraceId) != callersTrace || own.Links[0].TraceState != "" {
		t.Errorf("links %v", own.Links)
	}
	call := c.span(t, "infer stream", "")
	if !bytes.Equal(call.ParentSpanId, own.SpanId) || call.Kind != trace.Span_SPAN_KIND_CLIENT {
		t.Errorf("the call of the model is %v below %x", call.Kind, call.ParentSpanId)
	}
	for key, want := range map[string]string{
		"gen_ai.operation.name": "infer", "gen_ai.provider.name": "oip", "gen_ai.request.model": "stream", "server.address": "127.0.0.1",
	} {
		if got := attribute(call, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	header := <-asked
	want := "00-" + hex.EncodeToString(call.TraceId) + "-" + hex.EncodeToString(call.SpanId) + "-01"
	if header.Get("Traceparent") != want || header.Get("Tracestate") != "" {
		t.Errorf("the model server got %q and %q, want %q and none", header.Get("Traceparent"), header.Get("Tracestate"), want)
	}

	// From a trusted proxy: its trace goes on.
	broken := c.span(t, "infer broken", "")
	if attribute(broken, "error.type") == "" || broken.Status.Code != trace.Status_STATUS_CODE_ERROR {
		t.Errorf("a failure of the model server is %v", broken.Status)
	}
	var proxied *trace.Span
	for _, s := range c.spans {
		if hex.EncodeToString(s.ParentSpanId) == callersSpan {
			proxied = s
		}
	}
	if proxied == nil || hex.EncodeToString(proxied.TraceId) != callersTrace || len(proxied.Links) > 0 {
		t.Errorf("no span is below the trusted caller's: %v", proxied)
	}
	c.span(t, "GET /v2/models/{model}", "model_unknown")
	if n := len(c.spans); n != 5 {
		t.Errorf("%d spans, want 5: probes have none", n)
	}

	var names []string
	for _, m := range c.metrics {
		names = append(names, m.Name+" "+m.Unit)
	}
	for _, want := range []string{"gen_ai.server.request.duration s", "gen_ai.server.time_to_first_token s", "http.server.request.duration s"} {
		if !slices.Contains(names, want) {
			t.Errorf("no metric %s among %q", want, names)
		}
	}
	for _, text := range []string{
		"of-the-caller", "text-of-the-model", "text-of-an-error", token[:30], token[len(token)-30:],
		f.issuer.Claims()["sub"].(string), f.issuer.Claims()["preferred_username"].(string), "my-api-client",
	} {
		if bytes.Contains(c.raw.Bytes(), []byte(text)) {
			t.Errorf("the collector got %q", text)
		}
	}
}
