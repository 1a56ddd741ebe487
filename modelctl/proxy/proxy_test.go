package proxy

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
	"strings"
	"sync"
	"testing"
	"time"

	"keycloak-model-api/modelctl/session"
)

const testKey = "modelctl-KEYOFTHETESTSKEYOFTHETESTS"

// api is what the proxy forwards to; it keeps what came.
type api struct {
	*httptest.Server
	mu     sync.Mutex
	got    []*http.Request
	bodies []string
	answer func(http.ResponseWriter, *http.Request)
}

func newAPI(t *testing.T) *api {
	a := &api{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.got, a.bodies = append(a.got, r), append(a.bodies, string(body))
		answer := a.answer
		a.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) taken() (all []*http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all, a.got = a.got, nil
	return all
}

// bench is a proxy that listens.
type bench struct {
	api  *api
	host string
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	a := newAPI(t)
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		API: a.URL + "/prefix", Host: l.Addr().String(), Key: testKey, Now: time.Now,
		Access: func(context.Context) (*session.Access, error) {
			return &session.Access{Session: &session.Session{API: a.URL + "/prefix"}, Token: "the-access-token"}, nil
		},
	}
	if change != nil {
		change(&c)
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &bench{a, c.Host}
}

// raw sends these bytes and returns the status and the whole answer.
func (b *bench) raw(t *testing.T, request string) (status int, answer string) {
	t.Helper()
	conn, err := net.Dial("tcp", b.host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, fmt.Sprint(response.Header, string(body))
}

// Loopback is no authorization: other users of the computer reach the proxy, and so do
// pages in the person's browser, by DNS rebinding too (CVE-2025-66414, CVE-2025-49596).
func TestRefusals(t *testing.T) {
	b := newBench(t, nil)
	for _, test := range []struct {
		name, line, headers string
		status              int
		code                string
	}{
		{"no key", "GET /v2/models HTTP/1.1", "", 401, "wrong_key"},
		{"another key", "GET /v2/models HTTP/1.1", "Authorization: Bearer modelctl-guess\n", 401, "wrong_key"},
		{"the beginning of the key", "GET /v2/models HTTP/1.1", "Authorization: Bearer " + testKey[:20] + "\n", 401, "wrong_key"},
		{"another scheme", "GET /v2/models HTTP/1.1", "Authorization: Basic " + testKey + "\n", 401, "wrong_key"},
		{"the key beside another", "GET /v2/models HTTP/1.1", "Authorization: Bearer " + testKey + "\nX-Api-Key: sk-other\n", 401, "wrong_key"},
		{"the key twice, once wrong", "GET /v2/models HTTP/1.1", "X-Api-Key: " + testKey + "\nX-Api-Key: x\n", 401, "wrong_key"},
		{"the key in the query", "GET /v2/models?key=" + testKey + " HTTP/1.1", "", 401, "wrong_key"},
		{"the key in a cookie", "GET /v2/models HTTP/1.1", "Cookie: key=" + testKey + "\n", 401, "wrong_key"},
		{"CONNECT", "CONNECT api.example.com:443 HTTP/1.1", "Authorization: Bearer " + testKey + "\n", 400, "not_for_this_api"},
		{"absolute form", "GET http://" + b.host + "/v2/models HTTP/1.1", "Authorization: Bearer " + testKey + "\n", 400, "not_for_this_api"},
		{"absolute form of another host", "GET http://169.254.169.254/latest HTTP/1.1", "Authorization: Bearer " + testKey + "\n", 400, "not_for_this_api"},
		{"asterisk form", "OPTIONS * HTTP/1.1", "Authorization: Bearer " + testKey + "\n", 400, "not_for_this_api"},
		{"an Origin", "POST /v1/chat/completions HTTP/1.1", "Authorization: Bearer " + testKey + "\nOrigin: https://evil.example\n", 403, "browser_refused"},
		{"its own Origin", "POST /v1/chat/completions HTTP/1.1", "Authorization: Bearer " + testKey + "\nOrigin: http://" + b.host + "\n", 403, "browser_refused"},
		{"Origin null", "POST /v1/chat/completions HTTP/1.1", "Authorization: Bearer " + testKey + "\nOrigin: null\n", 403, "browser_refused"},
		{"a preflight", "OPTIONS /v1/chat/completions HTTP/1.1", "Origin: https://evil.example\nAccess-Control-Request-Method: POST\n", 403, "browser_refused"},
		{"cross-site", "GET /v2/models HTTP/1.1", "Authorization: Bearer " + testKey + "\nSec-Fetch-Site: cross-site\n", 403, "browser_refused"},
		{"same-origin", "GET /v2/models HTTP/1.1", "Authorization: Bearer " + testKey + "\nSec-Fetch-Site: same-origin\n", 403, "browser_refused"},
		{"dot segments", "GET /v2/../../admin HTTP/1.1", "Authorization: Bearer " + testKey + "\n", 400, "path_not_canonical"},
		{"escaped dot segments", "GET /v2/%2e%2e/%2e%2e/admin HTTP/1.1", "Authorization: Bearer " + testKey + "\n", 400, "path_not_canonical"},
		{"an empty segment", "GET //evil.example/x HTTP/1.1", "Authorization: Bearer " + testKey + "\n", 400, "path_not_canonical"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, answer := b.raw(t, test.line+"\nHost: "+b.host+"\nConnection: close\n"+test.headers+"\n")
			if status != test.status || !strings.Contains(answer, `"code":"`+test.code+`"`) {
				t.Errorf("%d %s, want %d %s", status, answer, test.status, test.code)
			}
			if strings.Contains(answer, "Access-Control-") || strings.Contains(answer, testKey) {
				t.Errorf("the answer lets pages read it, or holds the key: %s", answer)
			}
		})
	}
	_, port, _ := net.SplitHostPort(b.host)
	for _, host := range []string{"evil.example", "evil.example:" + port, "localhost:" + port, "127.0.0.1", "127.0.0.1:1", "[::1]:" + port, "127.0.0.1:" + port + "."} {
		if status, answer := b.raw(t, "GET /v2/models HTTP/1.1\nHost: "+host+"\nConnection: close\nAuthorization: Bearer "+testKey+"\n\n"); status != 403 {
			t.Errorf("Host %s: %d %s", host, status, answer)
		}
	}
	if n := len(b.api.taken()); n != 0 {
		t.Errorf("the API got %d requests", n)
	}
}

// What a tool sends goes on to the one API, with the person's token in the place of
// whatever says who somebody is.
func TestForwards(t *testing.T) {
	b := newBench(t, nil)
	for _, carrier := range []string{"Authorization: bearer  " + testKey, "X-Api-Key: " + testKey, "Api-Key: " + testKey, "Authorization: Bearer " + testKey + "\nX-Api-Key: " + testKey} {
		status, _ := b.raw(t, "POST /v1/models/org%2Fm:8b/x?a=b%20c HTTP/1.1\nHost: "+b.host+"\nConnection: close, X-Evil\nX-Evil: 1\n"+carrier+`
Cookie: session=x
DPoP: x
Proxy-Authorization: Basic x
X-Forwarded-For: 1.2.3.4
Forwarded: for=1.2.3.4
Upgrade: websocket
Sec-Fetch-Site: none
Content-Type: application/json
X-Stainless-Lang: python
Content-Length: 2

{}`)
		got := b.api.taken()
		if status != 200 || len(got) != 1 {
			t.Fatalf("%s: %d, %d requests", carrier, status, len(got))
		}
		r := got[0]
		if r.RequestURI != "/prefix/v1/models/org%2Fm:8b/x?a=b%20c" || r.Host != strings.TrimPrefix(b.api.URL, "http://") || b.api.bodies[0] != "{}" {
			t.Errorf("%s %s at %s", r.RequestURI, b.api.bodies, r.Host)
		}
		if r.Header.Get("Authorization") != "Bearer the-access-token" || r.Header.Get("X-Stainless-Lang") != "python" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", r.Header)
		}
		for _, name := range []string{"X-Api-Key", "Api-Key", "Cookie", "Dpop", "Proxy-Authorization", "X-Forwarded-For", "Forwarded", "Upgrade", "X-Evil"} {
			if r.Header[name] != nil {
				t.Errorf("%s got through: %v", name, r.Header[name])
			}
		}
	}
}

// Events come one by one, and what the API's answer says to browsers stays here.
func TestAnswers(t *testing.T) {
	b := newBench(t, nil)
	next := make(chan bool)
	b.api.answer = func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Set-Cookie", "a=b")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("X-Request-Id", "1")
		for range 3 {
			_, _ = io.WriteString(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	}
	r, err := http.NewRequest("POST", "http://"+b.host+"/v1/chat/completions", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+testKey)
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for range 3 {
		event := make([]byte, len("data: 1\n\n"))
		if _, err := io.ReadFull(response.Body, event); err != nil {
			t.Fatal(err)
		}
		next <- true
	}
	if h := response.Header; h["Set-Cookie"] != nil || h["Access-Control-Allow-Origin"] != nil || h.Get("X-Request-Id") != "1" {
		t.Errorf("headers %v", h)
	}
}

// A redirect would lead the tool, which has the key, or the token, elsewhere.
func TestFollowsNoRedirect(t *testing.T) {
	b := newBench(t, nil)
	b.api.answer = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://evil.example/", http.StatusTemporaryRedirect)
	}
	status, answer := b.raw(t, "GET /v2/models HTTP/1.1\nHost: "+b.host+"\nConnection: close\nAuthorization: Bearer "+testKey+"\n\n")
	if status != 502 || strings.Contains(answer, "evil.example") || len(b.api.taken()) != 1 {
		t.Errorf("%d %s", status, answer)
	}
}

// What keeps the token away is told to the tool, in a shape that it shows.
func TestWithoutToken(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		code   string
	}{
		{session.ErrSignedOut, 401, "signed_out"}, {fmt.Errorf("it: %w", session.ErrUnavailable), 503, "issuer_unavailable"}, {errors.New("secret detail"), 502, "api_unreachable"},
	} {
		b := newBench(t, func(c *Config) {
			c.Access = func(context.Context) (*session.Access, error) { return nil, test.err }
		})
		status, answer := b.raw(t, "GET /v2/models HTTP/1.1\nHost: "+b.host+"\nConnection: close\nX-Api-Key: "+testKey+"\n\n")
		if status != test.status || !strings.Contains(answer, test.code) || strings.Contains(answer, "secret detail") || len(b.api.taken()) != 0 {
			t.Errorf("%v: %d %s", test.err, status, answer)
		}
	}
}

// The token is looked for again soon, so that a logout and a refresh are seen.
func TestTokenIsFresh(t *testing.T) {
	now, asked := time.Now(), 0
	b := newBench(t, func(c *Config) {
		api := c.API
		c.Now = func() time.Time { return now }
		c.Access = func(context.Context) (*session.Access, error) {
			asked++
			return &session.Access{Session: &session.Session{API: api}, Token: fmt.Sprint("token-", asked)}, nil
		}
	})
	send := func() string {
		b.raw(t, "GET /v2/models HTTP/1.1\nHost: "+b.host+"\nConnection: close\nX-Api-Key: "+testKey+"\n\n")
		return b.api.taken()[0].Header.Get("Authorization")
	}
	first, second := send(), send()
	now = now.Add(keptFor)
	if third := send(); first != "Bearer token-1" || second != first || third != "Bearer token-2" {
		t.Errorf("tokens %s, %s, %s", first, second, third)
	}
}

// -any-key is explicit, and lifts nothing else.
func TestAnyKey(t *testing.T) {
	b := newBench(t, func(c *Config) { c.AnyKey = true })
	for headers, want := range map[string]int{"": 200, "Authorization: Bearer sk-other\n": 200, "Origin: https://evil.example\n": 403} {
		if status, answer := b.raw(t, "GET /v2/models HTTP/1.1\nHost: "+b.host+"\nConnection: close\n"+headers+"\n"); status != want {
			t.Errorf("%q: %d %s", headers, status, answer)
		}
	}
	for _, r := range b.api.taken() {
		if r.Header.Get("Authorization") != "Bearer the-access-token" {
			t.Errorf("the API got %v", r.Header)
		}
	}
}

// The proxy listens for this computer alone.
func TestListenAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:8484": true, "[::1]:8484": true, "127.0.0.1:0": true,
		"0.0.0.0:8484": false, ":8484": false, "[::]:8484": false, "localhost:8484": false, "127.0.0.2:8484": false, "192.168.1.2:8484": false,
		"127.0.0.1": false, "[::ffff:127.0.0.1]:8484": false, "example.com:8484": false, "[::1%lo]:8484": false,
	} {
		if err := CheckListen(address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// A socket is for its owner from the first moment, takes the place of one that nobody
// answers at, and of nothing else.
func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "proxy.sock")
	l, err := ListenUnix(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := ListenUnix(name); err == nil || !strings.Contains(err.Error(), "another program listens") {
		t.Errorf("a second one: %v", err)
	}
	l.(*socket).Listener.Close() // dies, and leaves its file
	if l, err = ListenUnix(name); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("it leaves %v", left)
	}
	if err := os.WriteFile(name, []byte("letters"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(name); err == nil {
		t.Error("it takes the place of a file")
	}
}

// Of the proxy that runs only its owner can read, and who ends removes its own file
// alone.
func TestRunning(t *testing.T) {
	name := filepath.Join(t.TempDir(), "proxy.json")
	if _, err := ReadRunning(name); !errors.Is(err, ErrNotRunning) {
		t.Errorf("none: %v", err)
	}
	first := &Running{URL: "http://127.0.0.1:1", Key: NewKey(), PID: 1}
	second := &Running{URL: "http://127.0.0.1:2", Key: NewKey(), PID: 2}
	for _, r := range []*Running{first, second} {
		if err := r.Write(name); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	_ = first.Forget(name)
	if r, err := ReadRunning(name); err != nil || *r != *second || first.Key == second.Key {
		t.Errorf("read %v, %v", r, err)
	}
	_ = second.Forget(name)
	if _, err := ReadRunning(name); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after its end: %v", err)
	}
}
