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

// descs are the metrics of a sourceCollector.
func descs() (age, fetches, failures, lost *prometheus.Desc) {
	return keySetDesc("model_api_key_set_age_seconds", "Time since the issuer's signing keys were fetched. Absent without keys."),
		keySetDesc("model_api_key_set_fetches_total", "How often the issuer was asked for its signing keys."),
		keySetDesc("model_api_key_set_fetch_failures_total", "How often it was asked in vain."),
		prometheus.NewDesc("model_api_audit_lost_records_total", "Audit records that could not be written. Where they stand in the log, its other lines count, too.", nil, nil)
}

// Describe implements prometheus.Collector.
func (c sourceCollector) Describe(out chan<- *prometheus.Desc) {
	age, fetches, failures, lost := descs()
	out <- age
	out <- fetches
	out <- failures
	out <- lost
}

// Collect implements prometheus.Collector.
func (c sourceCollector) Collect(out chan<- prometheus.Metric) {
	age, fetches, failures, lost := descs()
	sources := c.sources.Load()
	if sources.LostRecords != nil {
		out <- prometheus.MustNewConstMetric(lost, prometheus.CounterValue, float64(sources.LostRecords()))
	}
	if sources.KeySets == nil {
		return
	}
	for _, keys := range sources.KeySets() {
		if keys.Age >= 0 {
			out <- prometheus.MustNewConstMetric(age, prometheus.GaugeValue, keys.Age.Seconds(), keys.Issuer)
		}
		out <- prometheus.MustNewConstMetric(fetches, prometheus.CounterValue, float64(keys.Fetches), keys.Issuer)
		out <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(keys.Failures), keys.Issuer)
	}
}
