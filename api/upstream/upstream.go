// Package upstream forwards the inference requests of one model to the server
// that runs it. What the outside says about itself stays outside: only the
// headers that inference needs go in, beside those that the API vouches for,
// and only the headers that an answer needs come out.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// The headers that tell the upstream who calls. Nobody but the API can set
// them.
const (
	HeaderRequestID = "X-Request-Id"
	HeaderIssuer    = "X-Principal-Issuer"
	HeaderSubject   = "X-Principal-Subject"
	HeaderClient    = "X-Principal-Client"
)

// Identity is who calls, as far as the upstream may know.
type Identity struct {
	RequestID string
	Issuer    string // `iss` of the verified token
	Subject   string // `sub` of the verified token
	Client    string // `azp` of the verified token
}

// Headers that pass, inwards and outwards. The lists are of what may pass, so
// that a header which nobody thought of doesn't: Authorization, Cookie, DPoP,
// Forwarded, X-Forwarded-*, X-Real-Ip, X-User and their spellings with
// underscores never get in, Set-Cookie and CORS headers never out.
var (
	passIn  = []string{"Accept", "Accept-Encoding", "Content-Encoding", "Content-Type", "Inference-Header-Content-Length", "Traceparent", "Tracestate"}
	passOut = []string{"Content-Encoding", "Content-Length", "Content-Type", "Inference-Header-Content-Length", "Retry-After"}
)

// Upstream is a model server.
type Upstream struct {
	base       *url.URL
	credential string // empty for none
	timeout    time.Duration
	proxy      *httputil.ReverseProxy
	fail       func(http.ResponseWriter, *http.Request, *Error)
}

// Error is why an exchange with the upstream failed.
type Error struct {
	Code    string // upstream_timeout, upstream_unreachable, upstream_refused or caller_gone
	Status  int    // 502, 504 for upstream_timeout, 499 for caller_gone
	Message string // for the caller
	cause   error  // for the log
}

func (e *Error) Error() string { return fmt.Sprintf("upstream: %s: %v", e.Code, e.cause) }
func (e *Error) Unwrap() error { return e.cause }

// Config is what New needs.
type Config struct {
	URL        string            // of the model server, without /v2
	Credential string            // bearer token for the model server; empty for none
	Timeout    time.Duration     // of one exchange, from the request to the end of the answer
	Transport  http.RoundTripper // shared by all upstreams, see Transport

	// Fail answers the caller, whose request it is given, when the upstream
	// can't.
	Fail func(http.ResponseWriter, *http.Request, *Error)

	// Broken hears of an answer that breaks off after it has begun.
	Broken func(*http.Request, *Error)
}

// Transport returns the connections to all upstreams. It asks for no
// compression by itself, so what the caller accepts decides.
func Transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	t.MaxIdleConnsPerHost = 32
	return t
}

// New returns the upstream that c describes.
func New(c Config) (*Upstream, error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("upstream: %q is not an http or https URL", c.URL)
	}
	if strings.ContainsFunc(c.Credential, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("upstream: the credential has a space, a line break or a character outside ASCII in it")
	}
	u := &Upstream{base: base, credential: c.Credential, timeout: c.Timeout, fail: c.Fail}
	u.proxy = &httputil.ReverseProxy{
		Rewrite:        u.rewrite,
		ModifyResponse: u.modify,
		ErrorHandler:   u.failed,
		Transport:      plain{c.Transport, c.Broken},
		ErrorLog:       log.New(io.Discard, "", 0), // Broken hears of it
	}
	return u, nil
}

// exchange is what the steps of one Forward share.
type exchange struct {
	caller *http.Request
	who    Identity
}

type exchangeKey struct{}

// Forward sends r to the upstream and its answer to w. The path of r must be
// canonical and free of escapes, since it goes out as it is.
func (u *Upstream) Forward(w http.ResponseWriter, r *http.Request, who Identity) {
	ctx, cancel := context.WithTimeout(r.Context(), u.timeout)
	defer cancel()
	ctx = context.WithValue(ctx, exchangeKey{}, exchange{r, who})
	w.Header()["Content-Type"] = nil // else net/http guesses one where the upstream gives none
	in := r.WithContext(ctx)
	in.Header = maps.Clone(r.Header) // ReverseProxy copies the rest
	in.Header.Del("Upgrade")         // which it would look at before rewrite does
	u.proxy.ServeHTTP(w, in)
}

func (u *Upstream) rewrite(p *httputil.ProxyRequest) {
	p.Out.URL = &url.URL{ // without the query: the protocol has none
		Scheme: u.base.Scheme, Host: u.base.Host, Path: strings.TrimSuffix(u.base.Path, "/") + p.In.URL.Path,
	}
	p.Out.Host = ""

	h := http.Header{}
	for _, name := range passIn {
		if values := p.Out.Header[name]; len(values) > 0 {
			h[name] = values
		}
	}
	who := p.In.Context().Value(exchangeKey{}).(exchange).who
	h.Set(HeaderRequestID, who.RequestID)
	h.Set(HeaderIssuer, who.Issuer)
	h.Set(HeaderSubject, who.Subject)
	h.Set(HeaderClient, who.Client)
	if u.credential != "" {
		h.Set("Authorization", "Bearer "+u.credential)
	}
	p.Out.Header = h
	p.Out.Trailer = nil // like headers, set by the caller
	if p.Out.Method != http.MethodPost {
		// A server that leaves such a body unread could take it for the next
		// request, which no policy has judged.
		p.Out.Body, p.Out.ContentLength, p.Out.TransferEncoding = http.NoBody, 0, nil
	}
}

// modify refuses answers that are not for the caller and drops the headers
// that aren't.
func (u *Upstream) modify(r *http.Response) error {
	switch {
	case r.StatusCode == http.StatusUnauthorized, r.StatusCode == http.StatusForbidden, r.StatusCode == http.StatusProxyAuthRequired:
		// About our credential, not about the caller's.
		return &Error{"upstream_refused", http.StatusBadGateway, "The model's server does not accept this API.", fmt.Errorf("answered %s", r.Status)}
	case r.StatusCode < 200, r.StatusCode >= 300 && r.StatusCode < 400:
		return &Error{"upstream_refused", http.StatusBadGateway, "The model's server gave no answer that can be passed on.", fmt.Errorf("answered %s", r.Status)}
	case slices.ContainsFunc(r.Header["Content-Type"], isPage):
		// Of a proxy on the way, as a rule. A browser would show it as ours.
		return &Error{"upstream_refused", http.StatusBadGateway, "The model's server gave no answer that can be passed on.", fmt.Errorf("answered %s with a page", r.Status)}
	}
	h := http.Header{}
	for _, name := range passOut {
		if values := r.Header[name]; len(values) > 0 {
			h[name] = values
		}
	}
	r.Header = h
	return nil
}

func isPage(contentType string) bool {
	mediaType := strings.ToLower(contentType)
	return strings.HasPrefix(mediaType, "text/html") || strings.HasPrefix(mediaType, "application/xhtml+xml")
}

// failed is called when there is no answer to pass on.
func (u *Upstream) failed(w http.ResponseWriter, out *http.Request, err error) {
	u.fail(w, out.Context().Value(exchangeKey{}).(exchange).caller, reason(err))
}

// reason returns the Error that err stands for.
func reason(err error) *Error {
	var refused *Error
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{"upstream_timeout", http.StatusGatewayTimeout, "The model's server did not answer in time.", err}
	case errors.Is(err, context.Canceled): // for the record: nobody gets this answer
		return &Error{"caller_gone", 499, "The caller has left.", err}
	}
	return &Error{"upstream_unreachable", http.StatusBadGateway, "The model's server can't be reached.", err}
}

// plain keeps back what ReverseProxy would pass on past modify: informational
// answers (1xx), which it learns of by a trace in the request's context, and
// trailers, which the transport adds to the response that it returned.
type plain struct {
	next   http.RoundTripper
	broken func(*http.Request, *Error)
}

func (p plain) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := p.next.RoundTrip(r.WithContext(valueless{r.Context()}))
	if err != nil {
		return nil, err
	}
	withoutTrailers := *response
	withoutTrailers.Trailer = nil
	withoutTrailers.Body = body{response.Body, func(err error) {
		p.broken(r.Context().Value(exchangeKey{}).(exchange).caller, reason(err))
	}}
	return &withoutTrailers, nil
}

// body is that of an answer. It tells of an error that ends it.
type body struct {
	io.ReadCloser
	broken func(error)
}

func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.broken(err)
	}
	return n, err
}

// valueless is a context with the end of another but none of its values.
type valueless struct{ context.Context }

func (valueless) Value(any) any { return nil }

// Credential returns the secret that a policy names: the environment variable
// name or, when that is empty, the content of the file that name_FILE names.
func Credential(name string, getenv func(string) string) (string, error) {
	if secret := getenv(name); secret != "" {
		return secret, nil
	}
	path := getenv(name + "_FILE")
	if path == "" {
		return "", fmt.Errorf("upstream: set %s to the bearer token for the model's server, or %s_FILE to a file that holds it", name, name)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("upstream: %s_FILE: %w", name, err)
	}
	secret := strings.TrimSpace(string(content))
	if secret == "" {
		return "", fmt.Errorf("upstream: %s_FILE: %s is empty", name, path)
	}
	return secret, nil
}
