package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/refusal"
)

// parts is a body whose parts come one by one; then it fails, or ends.
type parts struct {
	parts []string
	every time.Duration
	err   error
	ctx   context.Context
}

func (p *parts) Read(b []byte) (int, error) {
	select {
	case <-time.After(p.every):
	case <-p.ctx.Done():
		return 0, p.ctx.Err()
	}
	if len(p.parts) == 0 {
		return 0, p.err
	}
	n := copy(b, p.parts[0])
	if p.parts[0] = p.parts[0][n:]; p.parts[0] == "" {
		p.parts = p.parts[1:]
	}
	return n, nil
}

func (p *parts) Close() error { return nil }

// streaming forwards a request to a model server that answers after a while with
// these parts. It returns what the caller got, and whether it broke off.
func streaming(t *testing.T, d Deadlines, after time.Duration, p *parts, length int64) (w *recorder, code refusal.Code) {
	t.Helper()
	u, err := New(Config{
		URL: "http://model", Deadlines: d, MediaTypes: []string{"text/event-stream", "application/json"},
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Body != nil {
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					return nil, err
				}
			}
			select {
			case <-time.After(after):
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
			p.ctx = r.Context()
			mediaType := "text/event-stream"
			if length != -1 {
				mediaType = "application/json"
			}
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {mediaType}}, Body: p, ContentLength: length}, nil
		}),
		Fail:   func(w http.ResponseWriter, _ *http.Request, e *refusal.Error) { code = e.Code; w.WriteHeader(e.Status) },
		Broken: func(_ *http.Request, e *refusal.Error) { code = e.Code },
		Event:  func(e *refusal.Error) []byte { return []byte("error: " + string(e.Code) + "\n\n") },
	})
	if err != nil {
		t.Fatal(err)
	}
	w = &recorder{ResponseRecorder: httptest.NewRecorder()}
	defer func() {
		if broken := recover(); broken != nil && !errors.Is(broken.(error), http.ErrAbortHandler) {
			panic(broken)
		} else if broken != nil {
			w.broken = true
		}
	}()
	u.Forward(w, httptest.NewRequest("POST", "/v1/chat/completions", nil), "/v1/chat/completions", Body{}, who)
	return w, code
}

// recorder notes what was there at each flush.
type recorder struct {
	*httptest.ResponseRecorder
	flushed []string
	broken  bool
}

func (r *recorder) FlushError() error {
	r.flushed = append(r.flushed, r.Body.String())
	return nil
}

// Each event goes out as soon as it is whole. A stream that breaks off never
// looks complete: half an event is not sent, the protocol's own follows, and then
// the connection ends.
func TestEvents(t *testing.T) {
	ever := Deadlines{time.Minute, time.Minute, time.Minute}
	cut := errors.New("connection reset by peer")
	large := "data: " + strings.Repeat("x", 3*held)
	for _, test := range []struct {
		name  string
		parts []string
		err   error
		want  []string // at each flush
		ends  string
	}{
		{"one by one", []string{"data: 1\n\n", "data: 2\n\n"}, io.EOF, []string{"data: 1\n\n", "data: 1\n\ndata: 2\n\n"}, ""},
		{"in parts", []string{"da", "ta: 1\n", "\nda", "ta: 2\n\n"}, io.EOF, []string{"data: 1\n\n", "data: 1\n\ndata: 2\n\n"}, ""},
		{"several at once", []string{"data: 1\n\ndata: 2\n\nda", "ta: 3\n\n"}, io.EOF, []string{"data: 1\n\ndata: 2\n\n", "data: 1\n\ndata: 2\n\ndata: 3\n\n"}, ""},
		{"without an end of the last", []string{"data: 1\n\n", "data: 2"}, io.EOF, []string{"data: 1\n\n", "data: 1\n\ndata: 2"}, ""},
		{"broken between two", []string{"data: 1\n\n"}, cut, []string{"data: 1\n\n", "data: 1\n\nerror: upstream_unreachable\n\n"}, "upstream_unreachable"},
		{"broken within one", []string{"data: 1\n\n", `data: {"cho`}, cut, []string{"data: 1\n\n", "data: 1\n\nerror: upstream_unreachable\n\n"}, "upstream_unreachable"},
		{"broken within a large one, whose parts are out", []string{"data: 1\n\n", large}, cut, nil, "upstream_unreachable"},
		{"none at all", nil, io.EOF, []string{""}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, code := streaming(t, ever, 0, &parts{parts: test.parts, err: test.err}, -1)
			if string(code) != test.ends || w.broken != (test.ends != "") || w.Code != 200 {
				t.Errorf("%d, broken %v with %q, want %q", w.Code, w.broken, code, test.ends)
			}
			got := w.flushed
			if n := len(got); n > 1 && got[n-1] == got[n-2] {
				got = got[:n-1] // of the end
			}
			if test.want != nil && fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if test.want == nil && strings.Contains(w.Body.String(), "error:") {
				t.Error("an event stands within another")
			}
		})
	}
}

// The deadlines are apart: each ends what it is for, and nothing else.
func TestDeadlines(t *testing.T) {
	d := Deadlines{FirstByte: 2 * time.Minute, Idle: time.Minute, Total: 3 * time.Minute}
	events := func(n int) []string { return strings.Split(strings.Repeat("data: 1\n\n,", n)[:10*n-1], ",") }
	for _, test := range []struct {
		name   string
		after  time.Duration
		parts  []string
		every  time.Duration
		length int64
		code   refusal.Code
		took   time.Duration
	}{
		{"a stream of two hours", time.Second, events(240), 30 * time.Second, -1, "", time.Second + 241*30*time.Second},
		{"a stream that is silent", time.Second, events(10), 61 * time.Second, -1, refusal.UpstreamTimeout, 61 * time.Second},
		{"a server that is silent", 2*time.Minute + 1, nil, 0, -1, refusal.UpstreamTimeout, 2 * time.Minute},
		{"an answer in parts", time.Minute, []string{"{", "}"}, 50 * time.Second, 2, refusal.UpstreamTimeout, 3 * time.Minute},
		{"an answer in its time", time.Minute, []string{"{", "}"}, 35 * time.Second, 2, "", time.Minute + 3*35*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				_, code := streaming(t, d, test.after, &parts{parts: test.parts, every: test.every, err: io.EOF}, test.length)
				if took := time.Since(began); code != test.code || took != test.took {
					t.Errorf("ended after %v with %q, want %v and %q", took, code, test.took, test.code)
				}
			})
		})
	}
}

// slowBody is the rest of a body that comes in parts.
type slowBody struct {
	parts int
	every time.Duration
	err   error
}

func (s *slowBody) Read(b []byte) (int, error) {
	time.Sleep(s.every)
	if s.parts--; s.parts < 0 {
		return 0, s.err
	}
	return copy(b, "x"), nil
}

// No time of the model server's runs before it has the request, and what ends
// the body ends the exchange for that reason.
func TestUpload(t *testing.T) {
	for _, test := range []struct {
		name string
		body slowBody
		code refusal.Code
	}{
		{"of an hour", slowBody{120, 30 * time.Second, io.EOF}, ""},
		{"that is too large", slowBody{3, time.Second, refusal.New(refusal.BodyTooLarge, nil, 1)}, refusal.BodyTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got bytes.Buffer
				var code refusal.Code
				u, err := New(Config{
					URL: "http://model", Deadlines: within(time.Minute), MediaTypes: []string{"application/json"},
					Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
						if _, err := got.ReadFrom(r.Body); err != nil {
							return nil, fmt.Errorf("write: %w", err)
						}
						return &http.Response{StatusCode: 200, Body: http.NoBody}, r.Context().Err()
					}),
					Fail: func(_ http.ResponseWriter, _ *http.Request, e *refusal.Error) { code = e.Code },
				})
				if err != nil {
					t.Fatal(err)
				}
				r := httptest.NewRequest("POST", "/v2/models/m/infer", nil)
				r.ContentLength = -1
				u.Forward(httptest.NewRecorder(), r, "/v2/models/m/infer", Body{Head: []byte("head"), Rest: &test.body}, who)
				if code != test.code || code == "" && got.String() != "head"+strings.Repeat("x", 120) {
					t.Errorf("got %q with %d bytes", code, got.Len())
				}
			})
		})
	}
}
