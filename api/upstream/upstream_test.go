package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/fresh"
	"keycloak-model-api/api/refusal"
)

var who = Identity{RequestID: "request-1", Issuer: "https://kc/realms/r", Subject: "subject-1", Client: "client-1"}

// within are deadlines of which each is d.
func within(d time.Duration) Deadlines { return Deadlines{FirstByte: d, Idle: d, Total: d} }

// proxied returns the URL of a server that forwards everything to model.
func proxied(t *testing.T, timeout time.Duration, credential string, model http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(model)
	t.Cleanup(server.Close)
	return proxiedTo(t, server.URL+"/base", timeout, credential)
}

func proxiedTo(t *testing.T, url string, timeout time.Duration, credential string) string {
	t.Helper()
	transport := Transport()
	t.Cleanup(transport.CloseIdleConnections)
	u, err := New(Config{
		URL: url, Credential: secretOf(credential), Deadlines: within(timeout), Transport: transport, MediaTypes: []string{"application/json", "text/plain", "text/event-stream"},
		Fail: func(w http.ResponseWriter, r *http.Request, e *refusal.Error) {
			http.Error(w, string(e.Code)+" "+r.URL.Path, e.Status)
		},
		Broken: func(*http.Request, *refusal.Error) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.Forward(w, r, r.URL.Path, Body{Head: read(t, r.Body)}, who)
	}))
	t.Cleanup(front.Close)
	return front.URL
}

func read(t *testing.T, body io.Reader) []byte {
	all, err := io.ReadAll(body)
	if err != nil {
		t.Error(err)
	}
	return all
}

func do(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	response, err := http.DefaultTransport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// await returns when the upstream's request has ended, within a minute.
func await(t *testing.T, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the upstream's request did not end")
	}
}

// Nothing that the outside says about identity, credentials or routing gets
// in, in whatever spelling; what the API vouches for does.
func TestHeadersIn(t *testing.T) {
	var got *http.Request
	var body string
	url := proxied(t, time.Minute, "upstream-secret", func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, body = r, string(b)
	})
	r, err := http.NewRequest("POST", url+"/v2/models/m/infer?subject=admin", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"Authorization", "Proxy-Authorization", "Cookie", "DPoP", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host",
		"X-Forwarded-Proto", "X-Forwarded-User", "X-Forwarded-Email", "X_Forwarded_User", "X-Real-Ip", "X-Remote-User", "Remote-User",
		"X-Auth-Request-User", "X-Principal-Subject", "X_Principal_Subject", "X-Principal-Roles", "X-Request-Id", "X-Original-Url",
		"X-Rewrite-Url", "X-Http-Method-Override", "Via", "Te", "Upgrade", "Keep-Alive", "Origin", "Referer", "User-Agent", "Range", "Expect-Ct",
		// A model server that takes "_" and "." for "-" (oauth2-proxy, CVE-2025-64484; Traefik, CVE-2026-88011).
		"X.Principal.Subject", "X.Principal-Subject", "X_Principal_Client", "X_Forwarded_Email", "X-Envoy-Original-Path",
	} {
		r.Header[name] = []string{"smuggled"}
	}
	r.Header["x-principal-subject"] = []string{"smuggled"}
	// RFC 9110, section 7.6.1: fields that Connection names go no further. It
	// must strip neither what the API adds nor what it has judged (Traefik,
	// CVE-2024-45410 and, in lower case, CVE-2026-29054; fabio, CVE-2025-48865).
	r.Header["Connection"] = []string{"X-Principal-Subject, x-principal-client, Authorization, X-Request-Id, Content-Type, traceparent"}
	r.Header["Content-Type"] = []string{"application/json"}
	r.Header["Accept-Encoding"] = []string{"gzip"} // otherwise net/http adds none beside Range
	r.Header["Traceparent"] = []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	response, _ := do(t, r)
	if response.StatusCode != http.StatusOK {
		t.Fatal(response.Status)
	}

	want := map[string]string{
		"Authorization": "Bearer upstream-secret", "X-Request-Id": "request-1", "X-Principal-Issuer": "https://kc/realms/r",
		"X-Principal-Subject": "subject-1", "X-Principal-Client": "client-1", "Content-Type": "application/json",
		"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Content-Length": "2", "Accept-Encoding": "gzip",
	}
	for name, values := range got.Header {
		if len(values) != 1 || values[0] != want[name] {
			t.Errorf("%s: %q, want %q", name, values, want[name])
		}
	}
	for name := range want {
		if got.Header.Get(name) == "" {
			t.Errorf("%s is missing", name)
		}
	}
	if got.RequestURI != "/base/v2/models/m/infer" || body != "{}" || got.Host == strings.TrimPrefix(url, "http://") {
		t.Errorf("got %s %q on %s", got.RequestURI, body, got.Host)
	}
}

// The path goes out behind that of the URL in the policy, whatever its end.
func TestPathOut(t *testing.T) {
	got := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.RequestURI }))
	defer server.Close()
	for base, want := range map[string]string{"": "/v2/models/m", "/": "/v2/models/m", "/a/b": "/a/b/v2/models/m", "/a/b/": "/a/b/v2/models/m"} {
		r, err := http.NewRequest("GET", proxiedTo(t, server.URL+base, time.Minute, "")+"/v2/models/m", nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, body := do(t, r); response.StatusCode != http.StatusOK {
			t.Errorf("%q: %s: %s", base, response.Status, body)
		} else if uri := <-got; uri != want {
			t.Errorf("%q: the upstream got %s, want %s", base, uri, want)
		}
	}
}

// A caller's trailers could carry what its headers may not.
func TestTrailersIn(t *testing.T) {
	var got http.Header
	url := proxied(t, time.Minute, "", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got = r.Trailer
	})
	r, err := http.NewRequest("POST", url+"/v2/models/m/infer", io.NopCloser(strings.NewReader("{}")))
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = -1
	r.Trailer = http.Header{"X-Principal-Subject": {"smuggled"}}
	do(t, r)
	if len(got) > 0 {
		t.Errorf("trailers arrived: %v", got)
	}
}

// A body where the protocol has none does not go out: a model's server that
// leaves it unread would take it for the next request on the connection, which
// no policy has judged (CWE-444).
func TestBodyOfGet(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		for name, length := range map[string]int64{"with a length": 5, "chunked": -1} {
			t.Run(method+" "+name, func(t *testing.T) {
				var got []byte
				var header http.Header
				url := proxied(t, time.Minute, "", func(_ http.ResponseWriter, r *http.Request) {
					got, _ = io.ReadAll(r.Body)
					header = r.Header
					if r.ContentLength != 0 || r.TransferEncoding != nil {
						t.Errorf("length %d, encoding %q", r.ContentLength, r.TransferEncoding)
					}
				})
				r, err := http.NewRequest(method, url+"/v2/models/m", io.NopCloser(strings.NewReader("POST ")))
				if err != nil {
					t.Fatal(err)
				}
				r.ContentLength = length
				if response, body := do(t, r); response.StatusCode != http.StatusOK {
					t.Fatalf("%s: %s", response.Status, body)
				}
				if len(got) > 0 || header == nil {
					t.Errorf("the upstream got %q with %v", got, header)
				}
			})
		}
	}
}

// Cookies, CORS and challenges of the upstream are not the API's; trailers and
// informational answers are ways around that.
func TestHeadersOut(t *testing.T) {
	url := proxied(t, time.Minute, "", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Set-Cookie", "early=1")
		h.Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		for _, name := range []string{"Set-Cookie", "Access-Control-Allow-Origin", "WWW-Authenticate", "Server", "X-Powered-By", "Location", "X-Request-Id", "Clear-Site-Data", "Content-Security-Policy"} {
			h.Set(name, "upstream")
		}
		h.Set("Content-Type", "application/json")
		h.Set("Retry-After", "7")
		h.Set("Trailer", "Server-Timing")
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"error":"busy"}`)
		http.NewResponseController(w).Flush() // trailers need a chunked body
		h.Set("Server-Timing", "late")
		h.Set(http.TrailerPrefix+"Set-Cookie", "late=1")
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /v2/models/m HTTP/1.1\r\nHost: api\r\nTe: trailers\r\nConnection: close\r\n\r\n")
	raw, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	answer := string(raw)
	if !strings.HasPrefix(answer, "HTTP/1.1 429 ") || !strings.Contains(answer, "Retry-After: 7\r\n") || !strings.Contains(answer, `{"error":"busy"}`) {
		t.Errorf("got %s", answer)
	}
	for _, bad := range []string{"early", "late", "Link", "upstream", "Set-Cookie", "103"} {
		if strings.Contains(answer, bad) {
			t.Errorf("%q got out: %s", bad, answer)
		}
	}
}

// Answers that are not for the caller.
func TestAnswersRefused(t *testing.T) {
	for _, status := range []int{101, 301, 302, 304, 307, 401, 403, 407} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			url := proxied(t, time.Minute, "", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", "http://169.254.169.254/")
				w.Header().Set("WWW-Authenticate", "Bearer")
				if status == 101 {
					w.Header().Set("Connection", "Upgrade")
					w.Header().Set("Upgrade", "x")
				}
				w.WriteHeader(status)
			})
			r, err := http.NewRequest("GET", url+"/v2/models/m", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "x")
			response, body := do(t, r)
			if response.StatusCode != http.StatusBadGateway || strings.TrimSpace(body) != "upstream_refused /v2/models/m" {
				t.Errorf("%s: %s", response.Status, body)
			}
			if response.Header.Get("Location") != "" || response.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("headers %v", response.Header)
			}
		})
	}
}

// What isn't one of the protocol's media types is no answer of a model, and a
// browser could show it as a page of the API's.
func TestMediaTypes(t *testing.T) {
	tests := map[string]struct {
		types  []string
		passed bool
	}{
		"JSON":                              {[]string{"application/json"}, true},
		"JSON in capitals with a parameter": {[]string{"Application/JSON; charset=utf-8"}, true},
		"text":                              {[]string{"text/plain; charset=utf-8"}, true},
		"none":                              {nil, true},

		"HTML":          {[]string{"Text/HTML; charset=utf-8"}, false},
		"XHTML":         {[]string{"application/xhtml+xml"}, false},
		"XHTML as XML":  {[]string{"text/xml"}, false},
		"XML":           {[]string{"application/xml"}, false},
		"SVG":           {[]string{"image/svg+xml"}, false}, // with foreignObject it holds HTML
		"PDF":           {[]string{"application/pdf"}, false},
		"MathML":        {[]string{"application/mathml+xml"}, false},
		"web archive":   {[]string{"multipart/related"}, false},
		"replaced page": {[]string{"multipart/x-mixed-replace; boundary=x"}, false},
		"any":           {[]string{"*/*"}, false},
		"empty":         {[]string{""}, false},
		"no media type": {[]string{"json"}, false},
		"bad parameter": {[]string{"application/json; charset"}, false},
		// Which of several counts is the reader's choice (RFC 9110, section 8.3;
		// WHATWG Fetch, "extract a MIME type" takes the last).
		"HTML in a second field":    {[]string{"application/json", "text/html"}, false},
		"JSON in a second field":    {[]string{"application/json", "application/json"}, false},
		"HTML after JSON in a list": {[]string{"application/json, text/html"}, false},
		"HTML after text in a list": {[]string{"text/plain, text/html"}, false},
		"HTML in a quoted string":   {[]string{`text/plain; a="b, text/html"`}, false},
	}
	for name, test := range tests {
		for _, status := range []int{200, 404, 503} {
			t.Run(fmt.Sprint(name, " ", status), func(t *testing.T) {
				response, body := pageOf(t, test.types, status)
				if test.passed && (response.StatusCode != status || !slices.Equal(response.Header["Content-Type"], test.types)) {
					t.Errorf("%s %q: %s", response.Status, response.Header["Content-Type"], body)
				}
				if !test.passed && (response.StatusCode != http.StatusBadGateway || strings.TrimSpace(body) != "upstream_refused /v2/models/m") {
					t.Errorf("%s: %s", response.Status, body)
				}
			})
		}
	}
}

// An answer without a type stays without one: net/http would guess that this
// one is a page.
func TestTypeNotGuessed(t *testing.T) {
	response, body := pageOf(t, nil, 200)
	if got := response.Header["Content-Type"]; got != nil || !strings.Contains(body, "<script>") {
		t.Errorf("Content-Type %q, body %q", got, body)
	}
}

// pageOf is what becomes of a page that the upstream sends with the given
// types.
func pageOf(t *testing.T, types []string, status int) (*http.Response, string) {
	t.Helper()
	url := proxied(t, time.Minute, "", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = types
		w.WriteHeader(status)
		io.WriteString(w, "<!doctype html><script>steal()</script>")
	})
	r, err := http.NewRequest("GET", url+"/v2/models/m", nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, r)
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	r, err := http.NewRequest("GET", proxiedTo(t, "http://"+address, time.Minute, "")+"/v2/models/m", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, body := do(t, r)
	if response.StatusCode != http.StatusBadGateway || strings.TrimSpace(body) != "upstream_unreachable /v2/models/m" {
		t.Errorf("%s: %s", response.Status, body)
	}
}

// An upstream that doesn't answer in time is 504, and its request is ended.
func TestSlow(t *testing.T) {
	ended := make(chan struct{})
	url := proxied(t, 50*time.Millisecond, "", func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(ended)
	})
	r, err := http.NewRequest("GET", url+"/v2/models/m", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, body := do(t, r)
	if response.StatusCode != http.StatusGatewayTimeout || strings.TrimSpace(body) != "upstream_timeout /v2/models/m" {
		t.Errorf("%s: %s", response.Status, body)
	}
	await(t, ended)
}

// A caller that goes away ends the upstream's work.
func TestCallerGone(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	url := proxied(t, time.Minute, "", func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	r, err := http.NewRequestWithContext(ctx, "GET", url+"/v2/models/m", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-begun
		cancel()
	}()
	if _, err := http.DefaultTransport.RoundTrip(r); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	await(t, ended)
}

// Nothing is upgraded, and a caller who asks for it, even for a protocol whose
// name httputil.ReverseProxy refuses, gets the answer all the same.
func TestUpgradeIgnored(t *testing.T) {
	url := proxied(t, time.Minute, "", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}")
	})
	r, err := http.NewRequest("GET", url+"/v2/models/m", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "\u00e9")
	if response, body := do(t, r); response.StatusCode != http.StatusOK || body != "{}" {
		t.Errorf("%s: %s", response.Status, body)
	}
}

// What the upstream has sent reaches the caller before it sends more.
func TestStreaming(t *testing.T) {
	more := make(chan struct{})
	url := proxied(t, time.Minute, "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
		io.WriteString(w, "data: 2\n\n")
	})
	response, err := http.Get(url + "/v2/models/m")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	var got []string
	for lines.Scan() {
		if line := lines.Text(); line != "" {
			got = append(got, line)
			if len(got) == 1 {
				close(more) // only once the first has arrived
			}
		}
	}
	if !slices.Equal(got, []string{"data: 1", "data: 2"}) {
		t.Errorf("got %q", got)
	}
}

// Compression is between caller and upstream: the API neither asks for it nor
// undoes it.
func TestCompressionPasses(t *testing.T) {
	url := proxied(t, time.Minute, "", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") == "gzip" {
			w.Header().Set("Content-Encoding", "gzip")
		}
		io.WriteString(w, "not really gzip")
	})
	for _, encoding := range []string{"gzip", "identity"} {
		r, err := http.NewRequest("GET", url+"/v2/models/m", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", encoding)
		response, body := do(t, r)
		if got := response.Header.Get("Content-Encoding"); (got == "gzip") != (encoding == "gzip") || body != "not really gzip" {
			t.Errorf("%s: Content-Encoding %q, body %q", encoding, got, body)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]Config{
		"no URL":         {},
		"another scheme": {URL: "ftp://host"},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// secretOf is a credential that never changes; none for an empty text.
func secretOf(text string) *Secret {
	if text == "" {
		return nil
	}
	return &Secret{value: text}
}

// A secret in a file is replaced without a restart, as a mounted one of
// Kubernetes is, and what is no secret leaves the one from before in force.
func TestSecretRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		write("one\n")
		s, err := NewSecret("UP", func(name string) string { return map[string]string{"UP_FILE": path}[name] })
		if err != nil {
			t.Fatal(err)
		}
		want := func(after time.Duration, value string) {
			t.Helper()
			if time.Sleep(after); s.Value() != value {
				t.Errorf("got %s, want %s", s.Value(), value)
			}
		}
		write("two\n")
		want(fresh.For-1, "one")
		want(1, "two")
		write("")
		want(fresh.For, "two")
		write("a line\nand another")
		want(fresh.For, "two")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		want(fresh.For, "two")
		write("three")
		want(fresh.For, "three")
	})
}

// The credential goes where the model server looks for it, in place of what a
// caller sends there.
func TestCredentialHeader(t *testing.T) {
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer server.Close()
	u, err := New(Config{URL: server.URL, Credential: secretOf("secret"), CredentialHeader: "x-api-key", Deadlines: within(time.Minute), Transport: http.DefaultTransport})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/v1/messages", nil)
	r.Header = http.Header{"X-Api-Key": {"of the caller"}, "Api-Key": {"of the caller"}, "Authorization": {"Bearer of the caller"}}
	u.Forward(httptest.NewRecorder(), r, "/v1/messages", Body{}, who)
	if v := got["X-Api-Key"]; len(v) != 1 || v[0] != "secret" || got["Authorization"] != nil || got["Api-Key"] != nil {
		t.Errorf("the model server got %v", got)
	}
}

func TestCredential(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		env         map[string]string
		want, wrong string
	}{
		"environment":           {map[string]string{"UP": "from-env"}, "from-env", ""},
		"environment over file": {map[string]string{"UP": "from-env", "UP_FILE": path}, "from-env", ""},
		"file":                  {map[string]string{"UP_FILE": path}, "from-file", ""},
		"neither":               {nil, "", "set UP to"},
		"a line break within":   {map[string]string{"UP": "hunter2\r\nX-Principal-Subject: admin"}, "", "line break"},
		"outside ASCII":         {map[string]string{"UP": "hunter2ä"}, "", "outside ASCII"},
		"more than one word":    {map[string]string{"UP": "Bearer hunter2"}, "", "has a space"},
		"no such file":          {map[string]string{"UP_FILE": path + ".none"}, "", "UP_FILE"},
		"empty file":            {map[string]string{"UP_FILE": empty}, "", "is empty"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			secret, err := NewSecret("UP", func(name string) string { return test.env[name] })
			got := ""
			if err == nil {
				got = secret.Value()
			}
			if got != test.want || (err != nil) != (test.wrong != "") || err != nil && (!strings.Contains(err.Error(), test.wrong) || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
