// Package proxy lets the tools of one person call an API through a listener on this
// computer, which puts that person's access token into each request. Loopback is
// no authorization: other users of the computer, and pages in the person's browser,
// reach it too. So a tool needs the key that each start makes.
package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"keycloak-model-api/modelctl/session"
)

// Config says what a proxy is for. Every field is required but AnyKey.
type Config struct {
	API    string // URL of the one API, without a slash at the end
	Host   string // what the header Host must be: host and port of the listener
	Key    string // that tools send; see NewKey
	AnyKey bool   // takes requests without the key
	// Access returns the person's access token.
	Access func(context.Context) (*session.Access, error)
	Now    func() time.Time
}

// NewKey returns a key that nobody can guess.
func NewKey() string { return "modelctl-" + rand.Text() + rand.Text() }

// keptFor is how long an access token is used without looking for a fresher one.
// It lives for at least half a minute when Access returns it.
const keptFor = 10 * time.Second

// Proxy is an http.Handler.
type Proxy struct {
	config  Config
	api     *url.URL
	forward *httputil.ReverseProxy
	next    *http.Transport

	mu        sync.Mutex
	transport http.RoundTripper // with the token
	token     string
	taken     time.Time
}

// New makes a proxy. The error says why the API's URL is none.
func New(c Config) (*Proxy, error) {
	api, err := url.Parse(c.API)
	if err != nil {
		return nil, err
	}
	p := &Proxy{config: c, api: api, next: http.DefaultTransport.(*http.Transport).Clone()}
	p.next.DisableCompression = true // what the tool accepts decides
	p.forward = &httputil.ReverseProxy{
		Transport: p, Rewrite: p.rewrite, ModifyResponse: answer, ErrorHandler: fail, FlushInterval: -1,
		ErrorLog: log.New(io.Discard, "", 0), // the tool is told
	}
	return p, nil
}

// Serve answers requests until ctx ends, and then lets those under way finish for
// a moment.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: p, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(io.Discard, "", 0), DisableGeneralOptionsHandler: true,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if server.Shutdown(bound) != nil {
		_ = server.Close() // what is still under way breaks off
	}
	p.next.CloseIdleConnections()
	return nil
}

// ServeHTTP passes one request on to the API.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if refused := p.check(r); refused != nil {
		refused.write(w)
		return
	}
	p.forward.ServeHTTP(w, r)
}

// refusal is an answer of the proxy itself.
type refusal struct {
	status        int
	code, message string
}

// check returns why a request is not one of the person's tools, or nil.
func (p *Proxy) check(r *http.Request) *refusal {
	switch {
	// CONNECT and the absolute form are for proxies to anywhere (RFC 9112, 3.2.2 and 3.2.3).
	case !strings.HasPrefix(r.RequestURI, "/"):
		return &refusal{400, "not_for_this_api", "This proxy is for one API: send a path, not a URL."}
	// A page whose name leads to this computer sends its own name (DNS rebinding).
	case r.Host != p.config.Host:
		return &refusal{403, "wrong_host", "Use the address that modelctl setup prints: http://" + p.config.Host + "."}
	// Only browsers send these (Fetch, 3.1; Fetch Metadata, 2.4).
	case len(r.Header["Origin"]) > 0, !fetchedByNobody(r.Header["Sec-Fetch-Site"]):
		return &refusal{403, "browser_refused", "Pages in a browser can't use this proxy."}
	case !p.config.AnyKey && !p.hasKey(r.Header):
		return &refusal{401, "wrong_key", "Send the key of this start of the proxy: modelctl setup prints it."}
	case path.Clean(r.URL.Path) != strings.TrimSuffix(r.URL.Path, "/") && r.URL.Path != "/":
		return &refusal{400, "path_not_canonical", "Use a path without empty and dot segments."}
	}
	return nil
}

func fetchedByNobody(values []string) bool {
	for _, v := range values {
		if v != "none" {
			return false
		}
	}
	return true
}

// carriers are the headers in which tools send a key, and what else says who somebody
// is: none of it goes to the API.
var carriers = []string{"Authorization", "X-Api-Key", "Api-Key", "Cookie", "Dpop", "Proxy-Authorization"}

// hasKey says whether one of the first carriers holds the key, and none another one.
func (p *Proxy) hasKey(h http.Header) bool {
	found := false
	for _, name := range carriers[:3] {
		for _, value := range h[name] {
			if name == "Authorization" {
				scheme, rest, _ := strings.Cut(value, " ")
				if value = strings.TrimLeft(rest, " "); !strings.EqualFold(scheme, "Bearer") {
					return false
				}
			}
			if subtle.ConstantTimeCompare([]byte(value), []byte(p.config.Key)) != 1 {
				return false
			}
			found = true
		}
	}
	return found
}

// rewrite makes a request to the API of one to the proxy.
func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	out := r.Out
	out.Host = ""
	out.URL.Scheme, out.URL.Host = p.api.Scheme, p.api.Host
	if out.URL.RawPath != "" {
		out.URL.RawPath = p.api.EscapedPath() + out.URL.RawPath
	}
	out.URL.Path = p.api.Path + out.URL.Path
	for _, name := range append(carriers, "Upgrade", "Connection") {
		out.Header.Del(name)
	}
	if out.Header["User-Agent"] == nil {
		out.Header.Set("User-Agent", "") // otherwise net/http sends its own
	}
}

// RoundTrip sends a request with the person's token. It follows no redirect.
func (p *Proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	transport, err := p.authorized(r.Context())
	if err != nil {
		return nil, err
	}
	if err := repeatable(r); err != nil {
		return nil, err
	}
	return transport.RoundTrip(r)
}

// maxRepeated is the largest body, in bytes, that can be sent once more, with the
// nonce that the API demands in a proof (RFC 9449, section 9).
const maxRepeated = 1 << 20

// repeatable lets the body of r be read again, unless it is large or of no known size.
func repeatable(r *http.Request) error {
	if r.Body == nil || r.ContentLength <= 0 || r.ContentLength > maxRepeated {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, err = r.GetBody()
	return err
}

// authorized returns what adds the token to requests. It stays the same while the
// token does: it remembers nonces.
func (p *Proxy) authorized(ctx context.Context) (http.RoundTripper, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.config.Now()
	if p.transport != nil && now.Sub(p.taken) < keptFor && !now.Before(p.taken) {
		return p.transport, nil
	}
	access, err := p.config.Access(ctx)
	if err != nil {
		p.transport = nil
		return nil, err
	}
	if p.transport == nil || access.Token != p.token {
		p.transport, p.token = access.Transport(p.next), access.Token
	}
	p.taken = now
	return p.transport, nil
}

// errRedirect says that the API answered with a redirect, which no tool may follow
// with the key of this proxy.
var errRedirect = errors.New("the API answers with a redirect: is its URL right?")

// answer takes from the API's answer what is not for the tool.
func answer(r *http.Response) error {
	if r.StatusCode >= 300 && r.StatusCode < 400 && r.StatusCode != http.StatusNotModified {
		return errRedirect
	}
	r.Header.Del("Set-Cookie")
	r.Header.Del("DPoP-Nonce")
	for name := range r.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			r.Header.Del(name)
		}
	}
	return nil
}

// fail answers for an API that didn't.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	refused := &refusal{502, "api_unreachable", "The API can't be reached."}
	switch {
	case errors.Is(err, session.ErrSignedOut):
		refused = &refusal{401, "signed_out", "You are not signed in to the API: run modelctl login."}
	case errors.Is(err, session.ErrUnavailable):
		refused = &refusal{503, "issuer_unavailable", "The issuer is not available, so there is no access token. Try again in a moment."}
	case errors.Is(err, errRedirect):
		refused.message = "The API answers with a redirect, which is not followed: is its URL right?"
	case r.Context().Err() != nil:
		return // the tool has left
	}
	refused.write(w)
}

// write answers in a shape that the clients of OpenAI and of Anthropic both read.
func (e *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch e.status {
	case http.StatusUnauthorized: // RFC 9110, 15.5.2
		h.Set("WWW-Authenticate", `Bearer realm="modelctl proxy"`)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(5))
	}
	w.WriteHeader(e.status)
	kind := "invalid_request_error"
	if e.status == http.StatusUnauthorized {
		kind = "authentication_error"
	}
	body, _ := json.Marshal(map[string]any{ // of strings
		"type":  "error",
		"error": map[string]any{"message": "modelctl: " + e.message, "type": kind, "code": e.code, "param": nil},
	}, json.Deterministic(true))
	_, _ = w.Write(body)
}
