package observe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Names of OpenTelemetry's semantic conventions for HTTP and for generative AI,
// the latter as of its repository semantic-conventions-genai, and our own.
const (
	keyMethod     = attribute.Key("http.request.method")
	keyRoute      = attribute.Key("http.route")
	keyStatus     = attribute.Key("http.response.status_code")
	keyScheme     = attribute.Key("url.scheme")
	keyErrorType  = attribute.Key("error.type")
	keyOperation  = attribute.Key("gen_ai.operation.name")
	keyProvider   = attribute.Key("gen_ai.provider.name")
	keyModel      = attribute.Key("gen_ai.request.model")
	keyServer     = attribute.Key("server.address")
	keyPort       = attribute.Key("server.port")
	keyRequest    = attribute.Key("model_api.request.id")
	keyCode       = attribute.Key("model_api.code")
	scope         = "keycloak-model-api"
	genAIDuration = "gen_ai.server.request.duration"
	genAIFirst    = "gen_ai.server.time_to_first_token"
	httpDuration  = "http.server.request.duration"
)

// Buckets that the conventions name for each of those, in seconds.
var (
	genAIDurationBuckets = []float64{.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
	genAIFirstBuckets    = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
	httpDurationBuckets  = []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
)

// Telemetry sends traces and metrics by OTLP, where the environment says so.
// Otherwise it does nothing. What it sends holds no principal, no query, no
// header, no body, and no text of a model server. It is safe for concurrent use.
type Telemetry struct {
	tracer     trace.Tracer
	on, traces bool // something is sent; traces are
	propagator propagation.TraceContext
	now        func() time.Time
	shutdown   []func(context.Context) error

	duration, first, requests metric.Float64Histogram
}

// NoTelemetry does nothing.
func NoTelemetry() *Telemetry { return &Telemetry{} }

// NewTelemetry returns what OpenTelemetry's environment variables ask for: traces
// where OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set,
// metrics likewise. The exporters, the sampler and the resource read theirs.
func NewTelemetry(ctx context.Context, getenv func(string) string) (*Telemetry, error) {
	t := &Telemetry{tracer: tracenoop.NewTracerProvider().Tracer(scope), now: time.Now}
	traces, metrics := wanted("TRACES", getenv), wanted("METRICS", getenv)
	if getenv("OTEL_SDK_DISABLED") == "true" || !traces && !metrics {
		return NoTelemetry(), nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"} {
		if v := getenv(name); v != "" && v != "http/protobuf" {
			return nil, fmt.Errorf("observe: %s is %q: set http/protobuf, and the collector's port for it, such as 4318", name, v)
		}
	}
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", product), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv()) // the environment wins
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	err = t.measure(metricnoop.NewMeterProvider())
	if err == nil && traces {
		err = t.sendTraces(ctx, about)
	}
	if err == nil && metrics {
		err = t.sendMetrics(ctx, about)
	}
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	return t, nil
}

// wanted tells whether a signal has somewhere to go.
func wanted(signal string, getenv func(string) string) bool {
	return getenv("OTEL_"+signal+"_EXPORTER") != "none" &&
		(getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != "")
}

func (t *Telemetry) sendTraces(ctx context.Context, about *resource.Resource) error {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	t.tracer, t.traces = provider.Tracer(scope), true
	t.on = true
	t.shutdown = append(t.shutdown, provider.Shutdown)
	return nil
}

func (t *Telemetry) sendMetrics(ctx context.Context, about *resource.Resource) error {
	exporter, err := otlpmetrichttp.New(ctx)
	if err != nil {
		return err
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)), sdkmetric.WithResource(about))
	t.shutdown = append(t.shutdown, provider.Shutdown)
	t.on = true
	return t.measure(provider)
}

func (t *Telemetry) measure(provider metric.MeterProvider) error {
	meter := provider.Meter(scope)
	var errs [3]error
	t.duration, errs[0] = meter.Float64Histogram(genAIDuration, metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(genAIDurationBuckets...),
		metric.WithDescription("Generative AI server request duration such as time-to-last byte or last output token."))
	t.first, errs[1] = meter.Float64Histogram(genAIFirst, metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(genAIFirstBuckets...),
		metric.WithDescription("Time to generate first token for successful responses."))
	t.requests, errs[2] = meter.Float64Histogram(httpDuration, metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(httpDurationBuckets...),
		metric.WithDescription("Duration of HTTP server requests."))
	return errors.Join(errs[:]...)
}

// Shutdown sends what is left, until ctx ends.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	var errs []error
	for _, f := range t.shutdown {
		errs = append(errs, f(ctx))
	}
	return errors.Join(errs...)
}

// Span is what is traced of one request. A nil one is nothing.
type Span struct {
	telemetry *Telemetry
	span      trace.Span
}

// Begin begins the trace of a request. The caller's own (W3C Trace Context) goes
// on where its connection is trusted; otherwise it is a link, so that nobody
// outside decides what is sampled or writes into somebody's trace.
func (t *Telemetry) Begin(ctx context.Context, r *http.Request, trusted bool) (context.Context, *Span) {
	if !t.on {
		return ctx, nil
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	if t.traces {
		said := t.propagator.Extract(context.Background(), propagation.HeaderCarrier(r.Header))
		if caller := trace.SpanContextFromContext(said); trusted && caller.IsValid() {
			ctx = trace.ContextWithRemoteSpanContext(ctx, caller)
		} else if caller.IsValid() {
			// Without the state, which is text of the caller's.
			options = append(options, trace.WithLinks(trace.Link{SpanContext: caller.WithTraceState(trace.TraceState{})}))
		}
	}
	ctx, span := t.tracer.Start(ctx, method(r.Method), options...)
	return ctx, &Span{t, span}
}

// TraceID is empty without a trace.
func (s *Span) TraceID() string {
	if s == nil {
		return ""
	}
	if id := s.span.SpanContext().TraceID(); id.IsValid() {
		return id.String()
	}
	return ""
}

// End ends the trace of a request to a route, which is empty for none.
func (s *Span) End(route string, r *Record) {
	if s == nil {
		return
	}
	attributes := make([]attribute.KeyValue, 0, 8)
	attributes = append(attributes, keyMethod.String(method(r.Method)), keyScheme.String("http"), keyStatus.Int(r.Status))
	if route != "" {
		attributes = append(attributes, keyRoute.String(route))
		s.span.SetName(method(r.Method) + " " + route)
	}
	if r.Status >= http.StatusInternalServerError {
		attributes = append(attributes, keyErrorType.String(r.Code))
		s.span.SetStatus(codes.Error, r.Code)
	}
	s.telemetry.requests.Record(context.Background(), r.Took.Seconds(), metric.WithAttributes(attributes...))
	if s.span.IsRecording() {
		s.span.SetAttributes(append(attributes, keyRequest.String(r.Request), keyCode.String(r.Code))...)
	}
	s.span.End()
}

// method is a method of HTTP that has a name (the conventions' _OTHER otherwise).
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return m
	}
	return "_OTHER"
}

// Call is what is traced of a request to a model server. A nil one is nothing.
type Call struct {
	telemetry  *Telemetry
	span       trace.Span
	began      time.Time
	attributes []attribute.KeyValue
	first      bool
}

// Call begins the part of a request that a model server answers. The header gets
// the trace context for it, in place of the caller's, where traces are sent. The
// names are those of the policy.
func (t *Telemetry) Call(ctx context.Context, header http.Header, model, protocol, action, host string, port int) *Call {
	if !t.on {
		return nil
	}
	c := &Call{telemetry: t, began: t.now(), attributes: []attribute.KeyValue{
		keyOperation.String(operation(action)), keyProvider.String(protocol), keyModel.String(model), keyServer.String(host), keyPort.Int(port),
	}}
	ctx, c.span = t.tracer.Start(ctx, operation(action)+" "+model, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(c.attributes...))
	if t.traces {
		header.Del("Traceparent")
		header.Del("Tracestate")
		t.propagator.Inject(ctx, propagation.HeaderCarrier(header))
	}
	return c
}

// First says that the first event of a stream has come.
func (c *Call) First() {
	if c != nil && !c.first {
		c.first = true
		c.telemetry.first.Record(context.Background(), c.telemetry.now().Sub(c.began).Seconds(), metric.WithAttributes(c.attributes...))
	}
}

// End says that the model server has answered, with what came of the request.
func (c *Call) End(code string, status int) {
	if c == nil {
		return
	}
	if code != "allowed" || status >= http.StatusInternalServerError {
		c.attributes = append(c.attributes, keyErrorType.String(code))
		c.span.SetStatus(codes.Error, code)
		c.span.SetAttributes(keyErrorType.String(code))
	}
	c.span.SetAttributes(keyStatus.Int(status))
	c.telemetry.duration.Record(context.Background(), c.telemetry.now().Sub(c.began).Seconds(), metric.WithAttributes(c.attributes...))
	c.span.End()
}

// operation is the conventions' name for an action, or the action itself where
// they have none.
func operation(action string) string {
	switch action {
	case "chat", "messages", "responses":
		return "chat"
	case "completions", "generate":
		return "text_completion"
	}
	return action
}
