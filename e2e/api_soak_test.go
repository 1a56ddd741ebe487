package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// soakSample is what the API's own metrics said at one moment.
type soakSample struct {
	at                                 time.Duration
	goroutines, heap, resident, opened float64
}

// TestSoak asks the API for a long time, with everything that leaves something
// behind: tokens that were never seen, keys that nobody publishes, streams that their
// callers leave, connections that are not used again. Afterwards it has as many
// goroutines and open files as before. SOAK says how long, as `make soak` does; from
// five minutes on the memory must be flat, too. With SOAK_TABLE it writes down what it saw.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("SOAK"), "5s"))
	if err != nil {
		t.Fatalf("SOAK: %v", err)
	}
	far := newFaults(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		streamOn(w, r)
	}))
	config := strings.NewReplacer("realm: example-realm", "realm: soak", "\n\n  keycloak-model-api:clients:", fmt.Sprintf(`
    - {name: talks, protocol: openai, roles: [model-api-access], upstream: {url: '%s'}}

  keycloak-model-api:clients:`, far.URL)).Replace(e.devConfig(t))
	st := e.up(t, config, devSecrets())
	admin := "127.0.0.1:" + freePort(t)
	a := e.startAPI(t, st, "-admin-listen", admin)
	s := &soak{t: t, api: a, admin: "http://" + admin}
	token := st.token(t, st.clientCredentials("my-api-client")).AccessToken
	s.token.Store(&token)

	s.load(time.Second, st) // so that what is made once is there
	before := s.rest()
	samples := s.watch(length, st)
	after := s.rest()
	if s.wrong.Load() != nil {
		t.Errorf("a wrong answer: %s", *s.wrong.Load())
	}
	if after.goroutines > before.goroutines+5 {
		t.Errorf("%v goroutines before and %v after", before.goroutines, after.goroutines)
	}
	if after.opened > before.opened+5 {
		t.Errorf("%v open files before and %v after", before.opened, after.opened)
	}
	if length >= 5*time.Minute {
		// The first quarter fills the caches, which are bounded.
		quarter := len(samples) / 4
		first, last := mostHeap(samples[quarter:2*quarter]), mostHeap(samples[3*quarter:])
		if last > first*1.15 {
			t.Errorf("the heap grows: at most %.1f MiB in the second quarter, %.1f MiB in the last", first/(1<<20), last/(1<<20))
		}
	}
	if s.sent.Load() < 100 {
		t.Errorf("only %d requests: that is no load", s.sent.Load())
	}
	if file := os.Getenv("SOAK_TABLE"); file != "" {
		writeFile(t, file, []byte(s.table(samples, before, after)))
		writeFile(t, strings.TrimSuffix(file, ".md")+".svg", soakPlot(samples))
	}
}

func mostHeap(samples []soakSample) (most float64) {
	for _, s := range samples {
		most = max(most, s.heap)
	}
	return most
}

type soak struct {
	t     *testing.T
	api   *api
	admin string
	token atomic.Pointer[string] // a fresh one
	sent  atomic.Int64
	wrong atomic.Pointer[string]
}

// watch loads the API and looks at its metrics sixty times meanwhile.
func (s *soak) watch(length time.Duration, st *stack) (samples []soakSample) {
	begun := time.Now()
	done := make(chan struct{})
	go func() { defer close(done); s.load(length, st) }()
	tick := time.NewTicker(length / 60)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return samples
		case <-tick.C:
			sample := s.sample()
			sample.at = time.Since(begun)
			samples = append(samples, sample)
		}
	}
}

// rest waits until what was under way has ended, and looks.
func (s *soak) rest() (sample soakSample) {
	s.t.Helper()
	last := -1.0
	eventually(s.t, 30*time.Second, "the API is at rest", func() error {
		time.Sleep(300 * time.Millisecond)
		sample = s.sample()
		if sample.goroutines != last {
			last = sample.goroutines
			return fmt.Errorf("%v goroutines", last)
		}
		return nil
	})
	return sample
}

// load asks for the time: four callers with an access token, one with wrong ones,
// one that leaves streams, one that gets new tokens from Keycloak.
func (s *soak) load(length time.Duration, st *stack) {
	end := time.Now().Add(length)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	each := func(pause time.Duration, do func()) {
		all.Go(func() {
			for time.Now().Before(end) {
				do()
				time.Sleep(pause)
			}
		})
	}
	ask := func(token string, want ...int) {
		y := &tally{}
		y.ask(client, s.api.URL, "iris", token, want...)
		s.sent.Add(1)
		if y.wrong+y.lost > 0 {
			s.wrong.CompareAndSwap(nil, &y.first)
		}
	}
	for range 4 {
		each(2*time.Millisecond, func() { ask(*s.token.Load(), http.StatusOK) })
	}
	each(5*time.Millisecond, func() {
		ask(unknownKey(*s.token.Load()), http.StatusUnauthorized, http.StatusServiceUnavailable, http.StatusTooManyRequests)
	})
	each(100*time.Millisecond, func() { s.leaveStream() })
	each(500*time.Millisecond, func() {
		got := st.tryToken(s.t, st.clientCredentials("my-api-client"))
		ask(got.AccessToken, http.StatusOK)
		s.token.Store(&got.AccessToken)
	})
	all.Wait()
}

// leaveStream begins a stream and closes the connection after its first bytes.
func (s *soak) leaveStream() {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.api.URL, "http://"))
	if err != nil {
		said := err.Error()
		s.wrong.CompareAndSwap(nil, &said)
		return
	}
	defer conn.Close()
	const body = `{"model":"talks","stream":true,"messages":[{"role":"user","content":"go on"}]}`
	_, _ = fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		*s.token.Load(), len(body), body)
	_, _ = conn.Read(make([]byte, 512))
}

// sample reads the API's metrics.
func (s *soak) sample() (sample soakSample) {
	response, err := http.Get(s.admin + "/metrics")
	if err != nil {
		s.t.Error(err)
		return sample
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Error(err)
	}
	for name, into := range map[string]*float64{
		"go_goroutines": &sample.goroutines, "go_memstats_heap_inuse_bytes": &sample.heap,
		"process_resident_memory_bytes": &sample.resident, "process_open_fds": &sample.opened,
	} {
		_, rest, found := strings.Cut(string(text), "\n"+name+" ")
		value, _, _ := strings.Cut(rest, "\n")
		if *into, err = strconv.ParseFloat(value, 64); err != nil || !found {
			s.t.Errorf("the metric %s is %q", name, value)
		}
	}
	return sample
}

// table is what docs/operations.md shows.
func (s *soak) table(samples []soakSample, before, after soakSample) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!-- Written by make soak. -->\n# A long run\n\n")
	fmt.Fprintf(&b, "%d requests in %v. Every answer was the right one.\n\n", s.sent.Load(), samples[len(samples)-1].at.Round(time.Second))
	b.WriteString("| | goroutines | heap in use | resident | open files |\n|---|---:|---:|---:|---:|\n")
	row := func(name string, v soakSample) {
		fmt.Fprintf(&b, "| %s | %.0f | %.1f MiB | %.1f MiB | %.0f |\n", name, v.goroutines, v.heap/(1<<20), v.resident/(1<<20), v.opened)
	}
	row("before, at rest", before)
	for i, name := range []string{"after a quarter", "half-way", "after three quarters", "at the end"} {
		row(name, samples[(i+1)*len(samples)/4-1])
	}
	row("after, at rest", after)
	fmt.Fprintf(&b, "\n![Heap and goroutines](soak.svg)\n\nMeasured on %s with %d cores and %s, Keycloak beside it on the same ones.\n",
		time.Now().UTC().Format("2 January 2006"), runtime.NumCPU(), runtime.Version())
	return b.String()
}

// soakPlot draws heap and goroutines over time, each to its own largest value.
func soakPlot(samples []soakSample) []byte {
	const width, height, left, top = 640.0, 200.0, 20.0, 40.0
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="13">`, width+2*left, height+2*top)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/><path d="M%g %gH%g" stroke="#999"/>`, left, height+top, width+left)
	end := samples[len(samples)-1].at.Seconds()
	for i, line := range []struct {
		color, name string
		value       func(soakSample) float64
		unit        float64
	}{
		{"#5746ba", "heap in use, at most %.1f MiB", func(s soakSample) float64 { return s.heap }, 1 << 20},
		{"#a3263b", "goroutines, at most %.0f", func(s soakSample) float64 { return s.goroutines }, 1},
	} {
		most := line.value(slices.MaxFunc(samples, func(x, y soakSample) int { return cmp.Compare(line.value(x), line.value(y)) }))
		var points strings.Builder
		for _, s := range samples {
			fmt.Fprintf(&points, "%.1f,%.1f ", left+width*s.at.Seconds()/end, top+height*(1-line.value(s)/most))
		}
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/>`, line.color, strings.TrimSpace(points.String()))
		fmt.Fprintf(&b, `<text x="%g" y="%g" fill="%s">`+line.name+`</text>`, left+float64(i)*width/2, top/2, line.color, most/line.unit)
	}
	fmt.Fprintf(&b, `<text x="%g" y="%g" text-anchor="end">%v</text></svg>`+"\n", width+left, height+1.6*top, samples[len(samples)-1].at.Round(time.Second))
	return b.Bytes()
}
