package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keycloak-model-api/api/refusal"
)

func newReader(s string) *bufio.Reader { return bufio.NewReader(strings.NewReader(s)) }

// rawModel is a model server that answers each connection's first request with
// these bytes and then closes, or goes silent.
func rawModel(t *testing.T, answer string, silent bool) (url string, requests *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	requests = new(atomic.Int32)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				requests.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(conn, answer)
				if silent {
					<-done
				}
			})
		}
	})
	t.Cleanup(func() {
		close(done)
		listener.Close()
		running.Wait()
	})
	return "http://" + listener.Addr().String(), requests
}

// front forwards everything to the model server at url. What is told of
// answers that broke off comes on the channel.
func front(t *testing.T, url string, timeout time.Duration) (*httptest.Server, chan *refusal.Error) {
	t.Helper()
	transport := Transport()
	t.Cleanup(transport.CloseIdleConnections)
	broken := make(chan *refusal.Error, 10)
	u, err := New(Config{
		URL: url, Deadlines: within(timeout), Transport: transport, MediaTypes: []string{"application/json", "text/event-stream"},
		Fail: func(w http.ResponseWriter, _ *http.Request, e *refusal.Error) {
			http.Error(w, string(e.Code), e.Status)
		},
		Broken: func(_ *http.Request, e *refusal.Error) { broken <- e },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.Forward(w, r, r.URL.Path, Body{Head: read(t, r.Body)}, who)
	}))
	t.Cleanup(server.Close)
	return server, broken
}

const (
	jsonHead   = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nRetry-After: 3\r\n"
	streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	chunked    = "Transfer-Encoding: chunked\r\n\r\n"
)

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

// As long as nothing was sent, an answer that breaks off has a status: a caller
// that sees a closed connection may send its POST again (RFC 9110, section
// 9.2.2; Java's HttpURLConnection does), and the model would run twice.
func TestBreaksOffBeforeAnythingWasSent(t *testing.T) {
	long := strings.Repeat("x", held-1)
	for name, test := range map[string]struct {
		answer string
		silent bool
		status int
		code   string
	}{
		"no answer":                        {"", false, 502, "upstream_unreachable"},
		"half a head":                      {"HTTP/1.1 200 OK\r\nContent-Ty", false, 502, "upstream_unreachable"},
		"12 of 1000 bytes":                 {jsonHead + "Content-Length: 1000\r\n\r\n" + `{"outputs": `, false, 502, "upstream_unreachable"},
		"no byte of 1000":                  {jsonHead + "Content-Length: 1000\r\n\r\n", false, 502, "upstream_unreachable"},
		"chunks without an end":            {jsonHead + chunked + chunk(`{"outputs": `), false, 502, "upstream_unreachable"},
		"half a chunk":                     {jsonHead + chunked + "ff\r\n{", false, 502, "upstream_unreachable"},
		"no chunk":                         {jsonHead + chunked + "no\r\n", false, 502, "upstream_unreachable"},
		"one byte before the buffer":       {jsonHead + chunked + chunk(long), false, 502, "upstream_unreachable"},
		"events without a first":           {streamHead + chunked, false, 502, "upstream_unreachable"},
		"silence":                          {"", true, 504, "upstream_timeout"},
		"silence after the head":           {jsonHead + "Content-Length: 1000\r\n\r\n", true, 504, "upstream_timeout"},
		"silence after 12 bytes":           {jsonHead + "Content-Length: 1000\r\n\r\n" + `{"outputs": `, true, 504, "upstream_timeout"},
		"silence before the first event":   {streamHead + chunked, true, 504, "upstream_timeout"},
		"silence within the first event":   {streamHead + chunked + chunk("data: 1\n"), true, 504, "upstream_timeout"},
		"half an event":                    {streamHead + chunked + chunk("data: 1\n"), false, 502, "upstream_unreachable"},
		"silence before the buffer's end":  {jsonHead + chunked + chunk(long), true, 504, "upstream_timeout"},
		"silence after informational ones": {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n", true, 504, "upstream_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			url, requests := rawModel(t, test.answer, test.silent)
			timeout := time.Minute
			if test.silent {
				timeout = 50 * time.Millisecond
			}
			server, broken := front(t, url, timeout)
			r, err := http.NewRequest("POST", server.URL+"/v2/models/m/infer", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			response, body := do(t, r)
			if response.StatusCode != test.status || strings.TrimSpace(body) != test.code {
				t.Errorf("%s: %s, want %d %s", response.Status, body, test.status, test.code)
			}
			if h := response.Header; h.Get("Content-Encoding") != "" || h.Get("Retry-After") != "" {
				t.Errorf("the answer has headers of the one that broke off: %v", h)
			}
			if n := requests.Load(); n > 1 {
				t.Errorf("the model was asked %d times", n)
			}
			if len(broken) != 0 {
				t.Error("reported as begun")
			}
		})
	}
}

// Once something is out, the caller sees that the rest is missing.
func TestBreaksOffVisibly(t *testing.T) {
	long := strings.Repeat("x", 2*held)
	for name, test := range map[string]struct {
		answer string
		silent bool
		code   string
	}{
		"with a length":              {jsonHead + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(long)+1) + long, false, "upstream_unreachable"},
		"in chunks":                  {jsonHead + chunked + chunk(long), false, "upstream_unreachable"},
		"in events":                  {streamHead + chunked + chunk("data: 1\n\n"), false, "upstream_unreachable"},
		"silence with a length":      {jsonHead + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(long)+1) + long, true, "upstream_timeout"},
		"silence between two events": {streamHead + chunked + chunk("data: 1\n\n"), true, "upstream_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := rawModel(t, test.answer, test.silent)
			timeout := time.Minute
			if test.silent {
				timeout = 3 * time.Second // in which a loaded machine gets to the silence
			}
			server, broken := front(t, url, timeout)
			r, err := http.NewRequest("POST", server.URL+"/v2/models/m/infer", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept-Encoding", "identity")
			response, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if _, err := io.ReadAll(response.Body); response.StatusCode != http.StatusOK || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, then %v", response.Status, err)
			}
			select {
			case e := <-broken:
				if string(e.Code) != test.code {
					t.Errorf("reported as %s, want %s", e.Code, test.code)
				}
			case <-time.After(time.Minute):
				t.Error("nothing was reported")
			}
		})
	}
}

// An answer arrives whole whatever its length is, and one that fits the buffer
// has a length even where the upstream gives none.
func TestAnswersArriveWhole(t *testing.T) {
	for _, size := range []int{0, 1, 2048, held - 1, held, held + 1, 5*held + 7} {
		for _, length := range []bool{true, false} {
			t.Run(fmt.Sprint(size, " bytes, length given: ", length), func(t *testing.T) {
				want := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
				url := proxied(t, time.Minute, "", func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					if length {
						w.Header().Set("Content-Length", fmt.Sprint(size))
					}
					w.WriteHeader(http.StatusOK)
					_ = http.NewResponseController(w).Flush()
					_, _ = w.Write(want)
				})
				r, err := http.NewRequest("GET", url+"/v2/models/m", nil)
				if err != nil {
					t.Fatal(err)
				}
				response, got := do(t, r)
				if response.StatusCode != http.StatusOK || got != string(want) {
					t.Errorf("%s, %d bytes", response.Status, len(got))
				}
				if known := length || size < held; known != (response.ContentLength == int64(size)) {
					t.Errorf("length %d", response.ContentLength)
				}
			})
		}
	}
}

// An answer that has no body has none here either, and HEAD tells the length
// that GET would have (RFC 9110, sections 8.6 and 9.3.2).
func TestAnswersWithoutBody(t *testing.T) {
	for _, test := range []struct {
		method string
		status int
		length string
		want   int64
	}{{"GET", 204, "", 0}, {"GET", 200, "0", 0}, {"HEAD", 200, "7", 7}, {"HEAD", 200, "", -1}, {"HEAD", 404, "9", 9}} {
		url := proxied(t, time.Minute, "", func(w http.ResponseWriter, _ *http.Request) {
			if test.length != "" {
				w.Header().Set("Content-Length", test.length)
			}
			w.WriteHeader(test.status)
			_ = http.NewResponseController(w).Flush()
		})
		r, err := http.NewRequest(test.method, url+"/v2/models/m", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, body := do(t, r)
		if response.StatusCode != test.status || response.ContentLength != test.want || body != "" {
			t.Errorf("%v: %s, length %d, %q", test, response.Status, response.ContentLength, body)
		}
		if test.status == 204 && response.Header["Content-Length"] != nil {
			t.Errorf("204 has a length")
		}
	}
}

// Buffers are used again: what was in one never gets into another answer.
func TestAnswersStayApart(t *testing.T) {
	url := proxied(t, time.Minute, "", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			want := strings.Repeat(fmt.Sprint(i, ";"), 1+i*977)
			response, err := http.Post(url+"/v2/models/m/infer", "application/json", strings.NewReader(want))
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			if got, err := io.ReadAll(response.Body); err != nil || string(got) != want {
				t.Errorf("request %d: got %d bytes, %v", i, len(got), err)
			}
		})
	}
	all.Wait()
}

// An answer may come before the request has left whole; the transport then
// reads on in the body after RoundTrip has returned (golang/go#46866). So the
// body is nobody else's, and no server's body, which ends with its handler.
func TestEarlyAnswer(t *testing.T) {
	url := proxied(t, time.Minute, "", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, "{}")
	})
	body := bytes.Repeat([]byte(" "), 8<<20)
	for range 3 {
		response, err := http.Post(url+"/v2/models/m/infer", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		// A server that closes on unread bytes resets the connection, which may
		// overtake its answer.
		if response.StatusCode != http.StatusRequestEntityTooLarge && response.StatusCode != http.StatusBadGateway {
			t.Error(response.Status)
		}
		response.Body.Close()
	}
}

// roundTrip is a transport of one function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What the transport gets lets it repeat a request that never left (GetBody),
// and send a small one in one packet: net/http sends the head by itself unless
// it knows that the body lies in memory (golang/go#22088).
func TestBodyOut(t *testing.T) {
	body := []byte(`{"inputs":[]}`)
	u, err := New(Config{URL: "http://model", Deadlines: within(time.Minute), Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		again, err := r.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []io.Reader{r.Body, again} {
			if got := read(t, b); !bytes.Equal(got, body) {
				t.Errorf("body %q", got)
			}
		}
		r.Body, _ = r.GetBody()
		var writes countingWriter
		if err := r.Write(&writes); err != nil || writes.n != 1 {
			t.Errorf("sent in %d parts, %v", writes.n, err)
		}
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/v2/models/m/infer", nil)
	u.Forward(httptest.NewRecorder(), r, r.URL.Path, Body{Head: body}, who)
}

type countingWriter struct{ n int }

func (w *countingWriter) Write(b []byte) (int, error) { w.n++; return len(b), nil }

// A caller that leaves in the middle of an answer is on record as that, and
// ends the upstream's work.
func TestCallerGoneWithinAnswer(t *testing.T) {
	ended := make(chan struct{})
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
		}
	}))
	defer model.Close()
	server, broken := front(t, model.URL, time.Minute)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/v2/models/m", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := response.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	leave()
	await(t, ended)
	select {
	case e := <-broken:
		if e.Code != "caller_gone" {
			t.Errorf("reported as %v", e)
		}
	case <-time.After(time.Minute):
		t.Error("nothing was reported")
	}
}

// Principals whom a header can't tell apart arrive apart, and none is taken
// for a failure of the upstream.
func TestPrincipalsStayApart(t *testing.T) {
	seen := map[string]string{}
	for _, client := range []string{"model-cli", "model-cli ", " model-cli", "model-cli\r\n", "\tmodel-cli", "UTF-8''model-cli%20"} {
		var got []string
		model := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = slices.Clone(r.Header[HeaderClient]) }))
		u, err := New(Config{URL: model.URL, Deadlines: within(time.Minute), Transport: http.DefaultTransport, Fail: func(_ http.ResponseWriter, _ *http.Request, e *refusal.Error) { t.Error(e) }})
		if err != nil {
			t.Fatal(err)
		}
		recorder := httptest.NewRecorder()
		u.Forward(recorder, httptest.NewRequest("GET", "/v2/models/m", nil), "/v2/models/m", Body{}, Identity{Issuer: "https://kc", Subject: "s", Client: client})
		model.Close()
		if recorder.Code != http.StatusOK || len(got) != 1 {
			t.Fatalf("%q: %d, arrives as %q", client, recorder.Code, got)
		}
		if other, ok := seen[got[0]]; ok {
			t.Errorf("%q and %q both arrive as %q", client, other, got[0])
		}
		seen[got[0]] = client
		if decode(t, got[0]) != client {
			t.Errorf("%q arrives as %q", client, got[0])
		}
	}
}
