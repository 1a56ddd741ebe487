package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// chaosTime is how long each fault lasts: what the environment says in CHAOS, for
// `make chaos`, or one second, which shows as well that no answer is wrong.
func chaosTime(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(cmp.Or(os.Getenv("CHAOS"), "1s"))
	if err != nil {
		t.Fatalf("CHAOS: %v", err)
	}
	return d
}

// faults is an HTTP server that answers by what it is told to do at the moment.
type faults struct {
	*httptest.Server
	handler atomic.Pointer[http.Handler]
	right   http.Handler
}

func newFaults(t *testing.T, right http.Handler) *faults {
	f := &faults{right: right}
	f.heal()
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*f.handler.Load()).ServeHTTP(w, r) }))
	t.Cleanup(f.Server.Close)
	t.Cleanup(f.CloseClientConnections) // of those that hang
	return f
}

func (f *faults) hurt(by http.HandlerFunc) {
	var h http.Handler = by
	f.handler.Store(&h)
}

func (f *faults) heal() { f.handler.Store(&f.right) }

// The ways in which a server fails.
func hangs(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // otherwise net/http does not notice that the caller has left
	<-r.Context().Done()
}

func answers(status int, mediaType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func resets(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }

func breaksOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"model_name":`)
	panic(http.ErrAbortHandler)
}

func malformed(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_, _ = io.WriteString(conn, "HTTP/1.1 two hundred\r\n\r\n")
		_ = conn.Close()
	}
}

// tally counts the answers of one fault.
type tally struct {
	mu                  sync.Mutex
	sent, served, later int // later: 5xx and 429, where the fault is the reason
	wrong, lost         int
	first               string // of what should not be
}

func (y *tally) add(kind *int, what string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.sent++
	*kind++
	if kind == &y.wrong || kind == &y.lost {
		y.first = cmp.Or(y.first, what)
	}
}

// ask sends one request, and counts its answer: 200 is served, one of the other
// statuses in want is as it should be.
func (y *tally) ask(client *http.Client, base, model, token string, want ...int) {
	r, err := http.NewRequest(http.MethodPost, base+"/v2/models/"+model+"/infer", strings.NewReader(irisRequest))
	if err != nil {
		y.add(&y.lost, err.Error())
		return
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(r)
	if err != nil {
		y.add(&y.lost, err.Error())
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		y.add(&y.lost, err.Error())
	case !slices.Contains(want, response.StatusCode):
		y.add(&y.wrong, fmt.Sprintf("%s with %q: %s %s, want one of %v", model, token[:min(len(token), 10)], response.Status, body, want))
	case response.StatusCode == http.StatusOK:
		y.add(&y.served, "")
	default:
		y.add(&y.later, "")
	}
}

// chaos is the API between a Keycloak and a model server that both fail as told.
type chaos struct {
	t         *testing.T
	api       *api
	keycloak  *faults
	far       *faults
	good, bad []string
	client    *http.Client
	time      time.Duration
}

// chaosCase is one fault. far are the statuses that good requests to the model of the
// model server may have beside 200, iris those to the model that the API holds.
type chaosCase struct {
	name       string
	hurt, heal func()
	iris, far  []int
}

// TestChaos hurts what is around the API, under load. No credential that is not good
// may pass, no good one may be refused for a fault of others, no answer may be lost,
// and what is not hurt works as if nothing were. With CHAOS_TABLE it writes down what
// it saw.
func TestChaos(t *testing.T) {
	c := newChaos(t)
	var rows [][]string
	for _, test := range c.cases() {
		t.Run(test.name, func(t *testing.T) {
			y := &tally{}
			test.hurt()
			c.load(y, test)
			test.heal()
			healed := time.Now()
			eventually(t, 30*time.Second, "everything works again", func() error {
				again := &tally{}
				for range 5 {
					again.ask(c.client, c.api.URL, "iris", c.good[0], http.StatusOK)
					again.ask(c.client, c.api.URL, "far", c.good[0], http.StatusOK)
				}
				if again.wrong+again.lost > 0 {
					return fmt.Errorf("%s", again.first)
				}
				return nil
			})
			recovered := time.Since(healed)
			if y.wrong+y.lost > 0 {
				t.Errorf("%d wrong and %d lost of %d, such as: %s", y.wrong, y.lost, y.sent, y.first)
			}
			if y.served == 0 {
				t.Errorf("nothing was served: that is no load")
			}
			rows = append(rows, []string{test.name, fmt.Sprint(y.sent), fmt.Sprint(y.served), fmt.Sprint(y.later), fmt.Sprint(y.wrong), fmt.Sprint(y.lost), recovered.Round(10 * time.Millisecond).String()})
		})
	}
	if file := os.Getenv("CHAOS_TABLE"); file != "" {
		writeFile(t, file, []byte(chaosTable(rows, c.time)))
	}
}

func newChaos(t *testing.T) *chaos {
	address, err := url.Parse(e.keycloak.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	c := &chaos{t: t, time: chaosTime(t)}
	c.keycloak = newFaults(t, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(address) }})
	c.far = newFaults(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/v1/chat/completions" {
			streamOn(w, r)
			return
		}
		answers(http.StatusOK, "application/json", `{"model_name":"far","outputs":[]}`)(w, r)
	}))
	config := strings.NewReplacer("realm: example-realm", "realm: chaos", "\n\n  keycloak-model-api:clients:", fmt.Sprintf(`
    - {name: far, roles: [model-api-access], upstream: {url: '%[1]s'}}
    - {name: talks, protocol: openai, roles: [model-api-access], upstream: {url: '%[1]s'}}

  keycloak-model-api:clients:`, c.far.URL)).Replace(e.devConfig(t))
	st := e.up(t, config, devSecrets())
	c.api = e.startAPI(t, st, "-key-max-age", "1s", "-upstream-first-byte", "500ms", "-not-before-interval", "1s",
		"-issuer-internal-url", c.keycloak.URL+"/realms/chaos")
	for range 20 {
		c.good = append(c.good, st.token(t, st.clientCredentials("my-api-client")).AccessToken)
	}
	parts := strings.Split(c.good[0], ".")
	c.bad = []string{"", "garbage", parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-8] + "AAAAAAAA", parts[0] + "." + parts[1] + "."}
	c.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 20 * time.Second}
	t.Cleanup(c.client.CloseIdleConnections)
	return c
}

// streamOn sends an event every 50 ms until its caller leaves.
func streamOn(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, `data: {"choices":[{"delta":{"content":"on "}}]}`+"\n\n"); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		time.Sleep(50 * time.Millisecond)
	}
}

// load asks both models with good credentials, and one with bad ones and with key ids
// that nobody publishes, for the time of a fault.
func (c *chaos) load(y *tally, test chaosCase) {
	var all sync.WaitGroup
	end := time.Now().Add(c.time)
	for worker := range 3 {
		all.Go(func() {
			for i := worker; time.Now().Before(end); i += 3 {
				token := c.good[i%len(c.good)]
				y.ask(c.client, c.api.URL, "iris", token, append([]int{http.StatusOK}, test.iris...)...)
				y.ask(c.client, c.api.URL, "far", token, append([]int{http.StatusOK}, test.far...)...)
				y.ask(c.client, c.api.URL, "iris", c.bad[i%len(c.bad)], http.StatusUnauthorized, http.StatusTooManyRequests)
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	all.Go(func() { // apart, since each of them waits for the keys to be fetched
		for time.Now().Before(end) {
			y.ask(c.client, c.api.URL, "iris", unknownKey(c.good[0]), http.StatusUnauthorized, http.StatusServiceUnavailable, http.StatusTooManyRequests)
		}
	})
	all.Wait()
}

// unknownKey returns the token with a key id that nobody publishes.
func unknownKey(token string) string {
	_, rest, _ := strings.Cut(token, ".")
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"RS256","typ":"JWT","kid":%q}`, rand.Text())) + "." + rest
}

// cases are the faults: Keycloak's, the model server's, and callers'.
func (c *chaos) cases() []chaosCase {
	of := func(f *faults, by http.HandlerFunc) (hurt, heal func()) { return func() { f.hurt(by) }, f.heal }
	var all []chaosCase
	add := func(name string, iris, far []int, hurt, heal func()) {
		all = append(all, chaosCase{name, hurt, heal, iris, far})
	}
	for _, fault := range []struct {
		name string
		by   http.HandlerFunc
	}{
		{"Keycloak resets each connection", resets},
		{"Keycloak hangs", hangs},
		{"Keycloak takes ten seconds", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(10 * time.Second):
				c.keycloak.right.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		}},
		{"Keycloak answers 500", answers(500, "text/plain", "Internal Server Error")},
		{"Keycloak answers with a page", answers(200, "text/html", "<h1>We'll be back soon</h1>")},
		{"Keycloak answers with other JSON", answers(200, "application/json", `{"keys":"none"}`)},
		{"Keycloak breaks off", breaksOff},
		{"Keycloak is no HTTP server", malformed},
	} {
		hurt, heal := of(c.keycloak, fault.by)
		add(fault.name, nil, nil, hurt, heal)
	}
	for _, fault := range []struct {
		name string
		by   http.HandlerFunc
		want int
	}{
		{"The model server resets each connection", resets, 502},
		{"The model server hangs", hangs, 504},
		{"The model server answers 500", answers(500, "application/json", `{"error":"out of memory"}`), 500},
		{"The model server breaks off", breaksOff, 502},
		{"The model server is no HTTP server", malformed, 502},
		{"The model server answers with a page", answers(200, "text/html", "<h1>Hello</h1>"), 502},
	} {
		hurt, heal := of(c.far, fault.by)
		add(fault.name, nil, []int{fault.want}, hurt, heal)
	}
	many := 200 // what a second is enough for
	if c.time > 2*time.Second {
		many = 1000
	}
	idle, release := c.crowd(many*5, func(net.Conn) {})
	add(fmt.Sprintf("%d idle connections", many*5), nil, nil, idle, release)
	slow, release2 := c.crowd(many, func(conn net.Conn) { _, _ = io.WriteString(conn, "POST /v2/models/iris/infer HTTP/1.1\r\nHost: x\r\n") })
	add(fmt.Sprintf("%d callers that stop within their headers", many), nil, nil, slow, release2)
	bombs, release3 := c.crowd(20, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Bomb: "+strings.Repeat("a", 2<<20)+"\r\n\r\n")
	})
	add("Headers of 2 MiB", nil, nil, bombs, release3)
	streams, release4 := c.crowd(many, func(conn net.Conn) {
		const body = `{"model":"talks","stream":true,"messages":[{"role":"user","content":"go on"}]}`
		_, _ = fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			c.good[0], len(body), body)
		go func() { _, _ = io.Copy(io.Discard, conn) }()
	})
	add(fmt.Sprintf("%d open streams", many), nil, nil, streams, release4)
	return all
}

// crowd opens n connections and does something with each.
func (c *chaos) crowd(n int, do func(net.Conn)) (open, release func()) {
	var mu sync.Mutex
	var conns []net.Conn
	return func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					for range n / 20 {
						conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(c.api.URL, "http://"))
						if err != nil {
							c.t.Errorf("connecting: %v", err)
							return
						}
						mu.Lock()
						conns = append(conns, conn)
						mu.Unlock()
						do(conn)
					}
				})
			}
			all.Wait()
		}, func() {
			for _, conn := range conns {
				_ = conn.Close()
			}
		}
}

// chaosTable is what docs/operations.md shows.
func chaosTable(rows [][]string, each time.Duration) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!-- Written by make chaos. -->\n# Faults under load\n\n")
	fmt.Fprintf(&b, "Each fault lasted %v. Good and bad credentials asked a model that the API holds and one of a model server.\n", each)
	b.WriteString("\"Refused\" are bad credentials, and good requests that the fault itself stopped, with the status that stands for it.\n")
	b.WriteString("The last column is the time from the end of the fault until everything worked again.\n\n")
	b.WriteString("| fault | requests | served | refused | wrong answers | lost | recovered after |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	fmt.Fprintf(&b, "\nMeasured on %s with %d cores and %s, Keycloak beside it on the same ones.\n", time.Now().UTC().Format("2 January 2006"), runtime.NumCPU(), runtime.Version())
	return b.String()
}
