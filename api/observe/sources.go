package observe

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// sourceCollector turns what Sources say at the moment into metrics.
type sourceCollector struct{ sources *atomic.Pointer[Sources] }

// The issuer is the one of the configuration.
func keySetDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, []string{"issuer"}, nil)
}

// The metrics of a sourceCollector.
const (
	keySetAge = iota
	keySetFetches
	keySetFailures
	lostRecords
	redisUp
	redisFailures
	redisUncounted
)

func descs() []*prometheus.Desc {
	return []*prometheus.Desc{
		keySetAge:      keySetDesc("model_api_key_set_age_seconds", "Time since the issuer's signing keys were fetched. Absent without keys."),
		keySetFetches:  keySetDesc("model_api_key_set_fetches_total", "How often the issuer was asked for its signing keys."),
		keySetFailures: keySetDesc("model_api_key_set_fetch_failures_total", "How often it was asked in vain."),
		lostRecords: prometheus.NewDesc("model_api_audit_lost_records_total",
			"Audit records that could not be written. Where they stand in the log, its other lines count, too.", nil, nil),
		redisUp:       prometheus.NewDesc("model_api_redis_up", "1 if Redis answered the last time that it was asked, otherwise 0. Absent without Redis.", nil, nil),
		redisFailures: prometheus.NewDesc("model_api_redis_failures_total", "Commands that Redis did not answer, or with an error.", nil, nil),
		redisUncounted: prometheus.NewDesc("model_api_redis_uncounted_requests_total",
			"Requests with limits that Redis did not count, since it was away.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c sourceCollector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range descs() {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (c sourceCollector) Collect(out chan<- prometheus.Metric) {
	all := descs()
	counter := func(which int, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(all[which], prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(which int, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(all[which], prometheus.GaugeValue, value, labels...)
	}
	sources := c.sources.Load()
	if sources.LostRecords != nil {
		counter(lostRecords, sources.LostRecords())
	}
	if sources.Redis != nil {
		redis, up := sources.Redis(), 0.0
		if redis.Up {
			up = 1
		}
		gauge(redisUp, up)
		counter(redisFailures, redis.Failures)
		counter(redisUncounted, redis.Uncounted)
	}
	if sources.KeySets == nil {
		return
	}
	for _, keys := range sources.KeySets() {
		if keys.Age >= 0 {
			gauge(keySetAge, keys.Age.Seconds(), keys.Issuer)
		}
		counter(keySetFetches, keys.Fetches, keys.Issuer)
		counter(keySetFailures, keys.Failures, keys.Issuer)
	}
}
