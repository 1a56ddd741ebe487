package observe

import (
	"net/http/httptest"
	"testing"
)

// Nothing is sent unless the environment says where to.
func TestTelemetryIsOff(t *testing.T) {
	const endpoint = "http://127.0.0.1:4318"
	for _, test := range []struct {
		name  string
		env   map[string]string
		parts int // that are sent: traces and metrics
		wrong bool
	}{
		{"nothing is set", nil, 0, false},
		{"an endpoint", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}, 2, false},
		{"an endpoint for traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint + "/v1/traces"}, 1, false},
		{"an endpoint for metrics", map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint + "/v1/metrics"}, 1, false},
		{"no metrics", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_METRICS_EXPORTER": "none"}, 1, false},
		{"neither", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none"}, 0, false},
		{"disabled", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SDK_DISABLED": "true"}, 0, false},
		{"a protocol that is not spoken", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			telemetry, err := NewTelemetry(t.Context(), func(name string) string { return test.env[name] })
			if (err != nil) != test.wrong {
				t.Fatal(err)
			}
			if err == nil && len(telemetry.shutdown) != test.parts {
				t.Errorf("%d parts are sent, want %d", len(telemetry.shutdown), test.parts)
			}
		})
	}
}

// Without telemetry the caller's trace context goes on to the model server as it is.
func TestNoTelemetry(t *testing.T) {
	telemetry := NoTelemetry()
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	ctx, span := telemetry.Begin(t.Context(), r, true)
	call := telemetry.Call(ctx, r.Header, "iris", "oip", "infer", "127.0.0.1", 80)
	call.First()
	call.End("allowed", 200)
	span.End("/", &Record{})
	if got := r.Header.Get("Traceparent"); got != "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" || span.TraceID() != "" {
		t.Errorf("traceparent %q, trace %q", got, span.TraceID())
	}
}

// BenchmarkNoTelemetry is what a request pays where nothing is sent.
func BenchmarkNoTelemetry(b *testing.B) {
	telemetry := NoTelemetry()
	r := httptest.NewRequest("POST", "/", nil)
	record := &Record{Method: "POST", Status: 200, Code: "allowed"}
	b.ReportAllocs()
	for b.Loop() {
		ctx, span := telemetry.Begin(b.Context(), r, false)
		call := telemetry.Call(ctx, r.Header, "iris", "oip", "infer", "127.0.0.1", 80)
		call.First()
		call.End("allowed", 200)
		span.End("/", record)
	}
}
