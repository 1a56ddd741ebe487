package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// raw sends a request as it is written here, and returns the connection and
// the first answer, which may be an informational one.
func (f *fixture) raw(t *testing.T, request string) (*bufio.Reader, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	return reader, response
}

// A caller is told to go on with its body only when it may call the model and
// the length fits (RFC 9110, section 10.1.1): before, anybody could have the
// API wait for bodies that it refuses.
func TestContinue(t *testing.T) {
	f := newFixture(t)
	valid := "Authorization: Bearer " + f.issuer.Token("RS256") + "\r\n"
	for _, test := range []struct {
		name, path, headers string
		length, status      int
		code                string
	}{
		{"a length that fits", inferIris, valid, len(irisRow), 100, ""},
		{"no type, as tritonclient has it", inferIris, valid, len(irisRow), 100, ""},
		{"a length that is too large", inferIris, valid, maxBody + 1, 413, "body_too_large"},
		{"no credential", inferIris, "", len(irisRow), 401, "no_credential"},
		{"a token that is none", inferIris, "Authorization: Bearer x\r\n", len(irisRow), 401, "token_malformed"},
		{"a model that is not theirs", "/v2/models/forbidden/infer", valid, len(irisRow), 404, "model_unknown"},
		{"another method", "/v2/models/iris", valid, len(irisRow), 405, "method_not_allowed"},
		{"back-channel logout", "/backchannel-logout", "", 10, 417, "expectation_failed"},
		{"admin callback", "/admin/k_push_not_before", "", 10, 417, "expectation_failed"},
		{"health", "/healthz", "", 10, 417, "expectation_failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, response := f.raw(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: api\r\n%sContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", test.path, test.headers, test.length))
			if response.StatusCode != test.status {
				t.Fatalf("%s, want %d", response.Status, test.status)
			}
			if test.code != "" {
				body := make([]byte, 1000)
				n, _ := io.ReadFull(response.Body, body)
				checkRefusal(t, response, string(body[:n]), test.path, test.status, test.code)
			}
		})
	}
}

// A chunked request ends its connection: whether it had a Content-Length, too,
// by which a proxy before us may have counted, net/http doesn't say (RFC 9112,
// section 6.1; CWE-444). What follows on the connection is not read.
func TestChunkedRequestEndsItsConnection(t *testing.T) {
	f := newFixture(t)
	token := f.issuer.Token("RS256")
	body := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(irisRow), irisRow)
	for name, length := range map[string]string{"chunked": "", "chunked, with a length": "Content-Length: 4\r\n", "the length first": "Content-Length: 0\r\n"} {
		t.Run(name, func(t *testing.T) {
			reader, response := f.raw(t, "POST "+inferIris+" HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer "+token+
				"\r\nContent-Type: application/json\r\n"+length+"Transfer-Encoding: chunked\r\n\r\n"+body+
				"GET /healthz HTTP/1.1\r\nHost: api\r\n\r\n")
			_, err := io.Copy(io.Discard, response.Body)
			if err != nil || response.StatusCode != http.StatusOK || !response.Close {
				t.Errorf("%s, closes %v, %v", response.Status, response.Close, err)
			}
			if rest, _ := io.ReadAll(reader); len(rest) > 0 {
				t.Errorf("another request was answered: %s", rest)
			}
		})
	}
}

// Connection can't take away what is judged (RFC 9110, section 7.6.1).
func TestConnectionTakesNothingAway(t *testing.T) {
	got := make(chan http.Header, 1)
	f := newFixture(t, upstreamOf(t, "elsewhere", func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	token := f.issuer.Token("RS256")
	_, response := f.raw(t, "POST /v2/models/elsewhere/infer HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer "+token+
		"\r\nConnection: close, Content-Type, Authorization\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	if response.StatusCode != http.StatusOK {
		t.Fatal(response.Status)
	}
	if h := <-got; h.Get("Content-Type") != "application/json" || h.Get("Authorization") != "" {
		t.Errorf("the model's server got %v", h)
	}
}

// Headers of more than 64 KiB get a code, whether it is one or many.
func TestHeadersTooLarge(t *testing.T) {
	f := newFixture(t)
	for name, headers := range map[string]map[string]string{
		"one":  {"X-Long": strings.Repeat("x", maxHeaderBytes)},
		"name": {strings.Repeat("x", maxHeaderBytes): "x"},
		"many": func() map[string]string {
			all := map[string]string{}
			for i := range 1000 {
				all[fmt.Sprint("X-", i)] = strings.Repeat("x", 64)
			}
			return all
		}(),
	} {
		r, err := http.NewRequest("GET", f.url+"/v2", nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range headers {
			r.Header.Set(name, value)
		}
		response, body := send(t, r)
		t.Run(name, func(t *testing.T) {
			checkRefusal(t, response, body, "/v2", http.StatusRequestHeaderFieldsTooLarge, "headers_too_large")
		})
	}
	r, err := http.NewRequest("GET", f.url+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Long", strings.Repeat("x", maxHeaderBytes-1000))
	if response, body := send(t, r); response.StatusCode != http.StatusOK {
		t.Errorf("below the bound: %s: %s", response.Status, body)
	}
}

// While draining, each answer ends its connection, so that none is idle and
// about to be used when the listener closes.
func TestDrainEndsConnections(t *testing.T) {
	f := newFixture(t)
	for _, draining := range []bool{false, true} {
		if draining {
			f.gateway.Drain()
		}
		for _, path := range []string{"/healthz", "/v2/models/iris", "/v2"} {
			response, _ := f.do(t, "GET", path, f.issuer.Token("RS256"), "", "")
			if response.StatusCode != http.StatusOK || response.Close != draining {
				t.Errorf("%s, draining %v: %s, closes %v", path, draining, response.Status, response.Close)
			}
		}
	}
}

// An answer of a model that a browser shows as a page runs and sends nothing.
func TestAnswersAreNoPages(t *testing.T) {
	f := newFixture(t, upstreamOf(t, "elsewhere", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Security-Policy", "default-src *")
		_, _ = io.WriteString(w, "<script>steal()</script>")
	}))
	response, _ := f.do(t, "GET", "/v2/models/elsewhere", f.issuer.Token("RS256"), "", "")
	policy := strings.Split(response.Header.Get("Content-Security-Policy"), "; ")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "sandbox"} {
		if !strings.Contains(strings.Join(policy, "\n")+"\n", want+"\n") {
			t.Errorf("the policy lacks %s: %q", want, policy)
		}
	}
	if len(response.Header["Content-Security-Policy"]) != 1 || response.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", response.Header)
	}
}

// What people read with curl has no escapes for HTML.
func TestAnswersArePlain(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/v2", "/nothing"} {
		if _, body := f.do(t, "GET", path, "", "", ""); !strings.Contains(body, "<token>") {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// tritonclient sends no Content-Type. That counts as JSON with a token, and
// never with a session: a page of another site can send that without asking
// (Fetch, "CORS-safelisted request-header").
func TestNoContentType(t *testing.T) {
	got := make(chan []string, 1)
	f := newFixture(t, upstreamOf(t, "elsewhere", func(_ http.ResponseWriter, r *http.Request) { got <- r.Header["Content-Type"] }))
	token := f.issuer.Token("RS256")
	if response, body := f.do(t, "POST", inferIris, token, "", irisRow); response.StatusCode != http.StatusOK {
		t.Errorf("embedded: %s: %s", response.Status, body)
	}
	if response, body := f.do(t, "POST", "/v2/models/elsewhere/infer", token, "", irisRow); response.StatusCode != http.StatusOK {
		t.Errorf("elsewhere: %s: %s", response.Status, body)
	} else if types := <-got; types != nil {
		t.Errorf("the model's server got the types %q", types)
	}

	s := newSite(t)
	p := s.person()
	p.signIn()
	r, err := http.NewRequest("POST", s.url+inferIris, strings.NewReader(irisRow))
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(p.cookie())
	response, body := send(t, r)
	checkRefusal(t, response, body, inferIris, http.StatusUnsupportedMediaType, "media_type_unsupported")
}
