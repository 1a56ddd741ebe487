package observe

import (
	"net/http"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// other is the label of each model, client and status that nobody has
// configured: callers and model servers decide how many of those there are.
const other = "other"

// Buckets in seconds: a small model that the API holds answers within a
// millisecond, a large one that writes a long answer takes minutes.
var (
	durationBuckets  = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320}
	firstByteBuckets = []float64{.001, .0025, .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40}
)

// Metrics are the numbers that the API says of itself. Every label value is one
// that the operator or the program has chosen. They are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	now      func() time.Time
	known    atomic.Pointer[names]
	sources  atomic.Pointer[Sources]

	inFlight  prometheus.Gauge
	requests  *handles[requestLabels, prometheus.Counter]
	durations *handles[routeLabels, prometheus.Observer]
	checks    *handles[checkLabels, prometheus.Counter]
	servers   *handles[string, server]

	generation       prometheus.Gauge
	reloads, refused prometheus.Counter
}

// names are the models and clients of the policy.
type names struct{ models, clients map[string]struct{} }

type (
	requestLabels struct {
		model, action, client, code string
		status                      int
	}
	routeLabels struct{ model, action string }
	checkLabels struct {
		outcome string
		cached  bool
	}
)

// server are the metrics of one model's server.
type server struct {
	duration, firstByte prometheus.Observer
	openStreams         prometheus.Gauge
}

// Sources are asked for what the gateway's parts count themselves, each time
// that somebody reads the metrics.
type Sources struct {
	KeySets     func() []KeySet
	LostRecords func() uint64
	Redis       func() Redis // nil where replicas share none
}

// Redis is what there is to say of what several replicas share.
type Redis struct {
	Up        bool   // it answered the last time that it was asked
	Failures  uint64 // commands without an answer, or with an error for one
	Uncounted uint64 // requests with limits that it did not count
}

// KeySet is what there is to say of the signing keys of one issuer.
type KeySet struct {
	Issuer            string
	Age               time.Duration // since they were fetched; negative without keys
	Fetches, Failures uint64        // since the start
}

// NewMetrics returns metrics of which nothing has happened yet.
func NewMetrics(now func() time.Time) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), now: now}
	m.known.Store(&names{})
	m.sources.Store(&Sources{})
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(), sourceCollector{&m.sources},
	)

	m.inFlight = m.gauge("model_api_requests_in_flight", "Requests that are being answered.")
	requests := m.counters("model_api_requests_total",
		"Requests that were answered. The code is allowed, or why the request was refused or failed; empty where nothing was decided.",
		"model", "action", "client", "code", "status")
	m.requests = newHandles(func(l requestLabels) prometheus.Counter {
		return requests.WithLabelValues(l.model, l.action, l.client, l.code, status(l.status))
	})
	durations := m.histograms("model_api_request_duration_seconds",
		"Time from the first look at an admitted request to the last byte of its answer.", durationBuckets, "model", "action")
	m.durations = newHandles(func(l routeLabels) prometheus.Observer { return durations.WithLabelValues(l.model, l.action) })
	checks := m.counters("model_api_token_checks_total",
		"Access tokens that were checked. The outcome is ok or the code of the refusal; the cache is hit or miss.", "outcome", "cache")
	m.checks = newHandles(func(l checkLabels) prometheus.Counter {
		cache := "miss"
		if l.cached {
			cache = "hit"
		}
		return checks.WithLabelValues(l.outcome, cache)
	})

	exchanges := m.histograms("model_api_model_server_duration_seconds",
		"Time that a model server took from the request to the last byte of its answer.", durationBuckets, "model")
	firstBytes := m.histograms("model_api_model_server_first_byte_seconds",
		"Time from the request to a model server to the first event of a stream, or to the headers of another answer.", firstByteBuckets, "model")
	streams := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "model_api_open_streams", Help: "Event streams of model servers that are being passed on.",
	}, []string{"model"})
	m.registry.MustRegister(streams)
	m.servers = newHandles(func(model string) server {
		return server{exchanges.WithLabelValues(model), firstBytes.WithLabelValues(model), streams.WithLabelValues(model)}
	})

	m.generation = m.gauge("model_api_policy_generation", "How many policies have been in force since the start, this one included.")
	m.reloads = m.counters("model_api_policy_reloads_total", "Policies that took the place of another, and those that were refused.").WithLabelValues()
	m.refused = m.counters("model_api_policy_reload_failures_total", "Policies that were refused, so that the one before stayed in force.").WithLabelValues()
	return m
}

func (m *Metrics) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	m.registry.MustRegister(g)
	return g
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}

// Handler serves the metrics as Prometheus reads them.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Watch names the sources, which are none before.
func (m *Metrics) Watch(s Sources) { m.sources.Store(&s) }

// PolicyLoaded says that a policy with these models and clients is in force. It
// is the first of generation 1.
func (m *Metrics) PolicyLoaded(generation uint64, models, clients []string) {
	m.known.Store(&names{setOf(models), setOf(clients)})
	m.generation.Set(float64(generation))
	if generation > 1 {
		m.reloads.Inc()
	}
}

// PolicyRefused says that a policy was refused that was to take the place of
// the one in force.
func (m *Metrics) PolicyRefused() {
	m.reloads.Inc()
	m.refused.Inc()
}

// Begin counts a request as under way. Exactly one call of End must follow.
func (m *Metrics) Begin() { m.inFlight.Inc() }

// End counts a request that was answered.
func (m *Metrics) End(r *Record) {
	m.inFlight.Dec()
	known := m.known.Load()
	model, client := label(known.models, r.Model), label(known.clients, r.Client)
	m.requests.of(requestLabels{model, r.Action, client, r.Code, r.Status}).Inc()
	if r.Admitted {
		m.durations.of(routeLabels{model, r.Action}).Observe(r.Took.Seconds())
	}
}

// TokenChecked counts the check of an access token. The code is empty for a
// token that was accepted.
func (m *Metrics) TokenChecked(code string, cached bool) {
	if code == "" {
		code = "ok"
	}
	m.checks.of(checkLabels{code, cached}).Inc()
}

// Exchange is one request to a model server and its answer. The zero value is
// none, of which First and End do nothing.
type Exchange struct {
	server server
	now    func() time.Time
	began  time.Time
	stream bool
}

// Exchange begins one with the server of a model.
func (m *Metrics) Exchange(model string) Exchange {
	return Exchange{server: m.servers.of(label(m.known.Load().models, model)), now: m.now, began: m.now()}
}

// First says that the answer begins: with the first event of a stream, or
// with its headers.
func (e *Exchange) First(stream bool) {
	if e.now == nil {
		return
	}
	e.server.firstByte.Observe(e.now().Sub(e.began).Seconds())
	if stream && !e.stream {
		e.stream = true
		e.server.openStreams.Inc()
	}
}

// End says that the exchange is over, however it went.
func (e *Exchange) End() {
	if e.now == nil {
		return
	}
	e.server.duration.Observe(e.now().Sub(e.began).Seconds())
	if e.stream {
		e.server.openStreams.Dec()
	}
}

// label returns a name that is among the known ones, and other for another one.
func label(known map[string]struct{}, name string) string {
	if _, ok := known[name]; ok || name == "" {
		return name
	}
	return other
}

// status is the label of a status code. Model servers choose some of them.
func status(code int) string {
	if http.StatusText(code) == "" {
		return other
	}
	return strconv.Itoa(code)
}

func setOf(names []string) map[string]struct{} {
	set := make(map[string]struct{}, len(names))
	for _, name := range names {
		set[name] = struct{}{}
	}
	return set
}

// buildInfo says what runs.
func buildInfo() prometheus.Collector {
	labels := prometheus.Labels{"version": "unknown", "revision": "unknown", "go_version": "unknown"}
	if info, ok := debug.ReadBuildInfo(); ok {
		labels["version"], labels["go_version"] = info.Main.Version, info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				labels["revision"] = s.Value
			}
		}
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "model_api_build_info", Help: "Always 1. The labels say which version runs.", ConstLabels: labels,
	})
	g.Set(1)
	return g
}
