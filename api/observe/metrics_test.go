package observe

import (
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// scrape returns the samples of the program's own metrics, one a line.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	var own strings.Builder
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "model_api_") {
			own.WriteString(line)
		}
	}
	return own.String()
}

// A label is a name that the policy has, or other, whatever a caller writes: a
// label of a caller's choice fills memory and disk (CWE-770), and carries what a
// caller writes to whoever looks at a dashboard.
func TestLabels(t *testing.T) {
	m := NewMetrics(time.Now)
	m.PolicyLoaded(1, []string{"iris"}, []string{"my-api-client"})
	for i := range 1000 {
		for _, r := range []*Record{
			{Model: fmt.Sprint("x", i), Client: fmt.Sprint("client", i), Action: "infer", Code: "model_unknown", Status: 404, Admitted: true},
			{Model: "iris", Client: "my-api-client", Action: "infer", Code: "allowed", Status: 600 + i, Admitted: true},
			{Model: "iris\"} 1\nmodel_api_up{x=\"", Code: "no_credential", Status: 401},
			{Status: 200},
		} {
			m.Begin()
			m.End(r)
		}
		e := m.Exchange(fmt.Sprint("x", i))
		e.End()
	}
	got := scrape(t, m)
	for _, want := range []string{
		`model_api_requests_total{action="infer",client="other",code="model_unknown",model="other",status="404"} 1000`,
		`model_api_requests_total{action="infer",client="my-api-client",code="allowed",model="iris",status="other"} 1000`,
		`model_api_requests_total{action="",client="",code="no_credential",model="other",status="401"} 1000`,
		`model_api_requests_total{action="",client="",code="",model="",status="200"} 1000`,
		`model_api_request_duration_seconds_count{action="infer",model="other"} 1000`,
		`model_api_model_server_duration_seconds_count{model="other"} 1000`,
		`model_api_requests_in_flight 0`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "model_api_requests_total{"); n != 4 {
		t.Errorf("%d series of requests, want 4:\n%s", n, got)
	}
}

// The name of a model that leaves the policy is other from then on, and its
// counters stay where they were.
func TestPolicyLoaded(t *testing.T) {
	m := NewMetrics(time.Now)
	m.PolicyLoaded(1, []string{"iris"}, nil)
	request := &Record{Model: "iris", Action: "infer", Code: "allowed", Status: 200}
	m.Begin()
	m.End(request)
	m.PolicyLoaded(2, nil, nil)
	m.PolicyRefused()
	m.Begin()
	m.End(request)
	got := scrape(t, m)
	for _, want := range []string{
		`code="allowed",model="iris",status="200"} 1`, `code="allowed",model="other",status="200"} 1`,
		"model_api_policy_generation 2", "model_api_policy_reloads_total 2", "model_api_policy_reload_failures_total 1",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// What a model server takes is measured to its first byte and to its last, and
// a stream is open in between.
func TestExchange(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	m := NewMetrics(func() time.Time { return now })
	m.PolicyLoaded(1, []string{"chat"}, nil)
	e := m.Exchange("chat")
	now = now.Add(200 * time.Millisecond)
	e.First(true)
	if got := scrape(t, m); !strings.Contains(got, `model_api_open_streams{model="chat"} 1`+"\n") {
		t.Errorf("no open stream in\n%s", got)
	}
	now = now.Add(30 * time.Second)
	e.End()
	var none Exchange
	none.First(true)
	none.End()
	got := scrape(t, m)
	for _, want := range []string{
		`model_api_open_streams{model="chat"} 0`,
		`model_api_model_server_first_byte_seconds_bucket{model="chat",le="0.1"} 0`,
		`model_api_model_server_first_byte_seconds_bucket{model="chat",le="0.25"} 1`,
		`model_api_model_server_duration_seconds_bucket{model="chat",le="20"} 0`,
		`model_api_model_server_duration_seconds_bucket{model="chat",le="40"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// The keys of an issuer that was never reached have no age: 0 would say that
// they are fresh.
func TestSources(t *testing.T) {
	m := NewMetrics(time.Now)
	m.Watch(Sources{
		LostRecords: func() uint64 { return 7 },
		Redis:       func() Redis { return Redis{false, 5, 3} },
		KeySets: func() []KeySet {
			return []KeySet{{"https://a.example", 90 * time.Second, 3, 1}, {"https://b.example", -1, 2, 2}}
		},
	})
	got := scrape(t, m)
	for _, want := range []string{
		"model_api_audit_lost_records_total 7",
		"model_api_redis_up 0",
		"model_api_redis_failures_total 5",
		"model_api_redis_uncounted_requests_total 3",
		`model_api_key_set_age_seconds{issuer="https://a.example"} 90`,
		`model_api_key_set_fetches_total{issuer="https://a.example"} 3`,
		`model_api_key_set_fetch_failures_total{issuer="https://b.example"} 2`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, `age_seconds{issuer="https://b.example"}`) {
		t.Errorf("keys that are not there have an age:\n%s", got)
	}
}

// used are metrics of which each has a sample.
func used() *Metrics {
	m := NewMetrics(time.Now)
	m.PolicyLoaded(1, []string{"iris"}, nil)
	m.Begin()
	m.End(&Record{Model: "iris", Action: "infer", Code: "allowed", Status: 200, Admitted: true})
	m.TokenChecked("", true)
	e := m.Exchange("iris")
	e.First(true)
	e.End()
	m.Watch(Sources{
		LostRecords: func() uint64 { return 0 }, KeySets: func() []KeySet { return []KeySet{{Issuer: "i"}} },
		Redis: func() Redis { return Redis{Up: true} },
	})
	return m
}

// Names, units and help are as Prometheus wants them.
func TestNames(t *testing.T) {
	m := used()
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// BenchmarkMetrics is what one request to a model server adds.
func BenchmarkMetrics(b *testing.B) {
	m := NewMetrics(time.Now)
	m.PolicyLoaded(1, []string{"iris", "chat"}, []string{"my-api-client"})
	request := &Record{Model: "chat", Client: "my-api-client", Action: "infer", Code: "allowed", Status: 200, Admitted: true, Took: time.Millisecond}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			m.Begin()
			m.TokenChecked("", true)
			e := m.Exchange("chat")
			e.First(false)
			e.End()
			m.End(request)
		}
	})
}

// The table of the documentation has each metric with its labels, and no other.
func TestDocumentation(t *testing.T) {
	content, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(model_api_\\w+)` \\| ([^|]*)\\|").FindAllStringSubmatch(string(content), -1) {
		labels := strings.FieldsFunc(row[2], func(r rune) bool { return r == ',' || r == ' ' })
		slices.Sort(labels)
		documented[row[1]] = strings.Join(labels, ",")
	}
	families, err := used().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]string{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "model_api_") {
			continue
		}
		var labels []string
		for _, l := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		there[family.GetName()] = strings.Join(labels, ",")
	}
	if diff := cmp.Diff(there, documented); diff != "" {
		t.Errorf("docs/operations.md differs from the metrics (-metrics +page):\n%s", diff)
	}
}
