// Package upstream forwards the requests for one model to the server that
// runs it. What the outside says about itself stays outside: only the
// headers that inference needs go in, beside those that the API vouches for,
// and only the headers that an answer needs come out.
package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"keycloak-model-api/api/refusal"
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

	// Token is an access token for the upstream, which it gets as Authorization:
	// Bearer. Empty for none.
	Token string
}

// Headers that pass, inwards and outwards, beside those of Config. The lists are of what may pass, so
// that a header which nobody thought of doesn't: Authorization, Cookie, DPoP,
// Forwarded, X-Forwarded-*, X-Real-Ip, X-User and their spellings with
// underscores never get in, Set-Cookie and CORS headers never out.
//
// A field of these lists is never hop-by-hop, so Connection can't take it away
// (RFC 9110, section 7.6.1): what was judged is what is sent.
var (
	passIn  = []string{"Accept", "Accept-Encoding", "Content-Encoding", "Content-Type", "Traceparent", "Tracestate"}
	passOut = []string{"Content-Encoding", "Content-Type", "Retry-After"}
)

// Upstream is a model server.
type Upstream struct {
	config  Config
	base    url.URL  // its path has no slash at the end
	in, out []string // headers that pass
	buffers sync.Pool
}

// Config is what New needs.
type Config struct {
	URL        string            // of the model server, before the path of a request
	Credential *Secret           // for the model server; nil for none
	Deadlines  Deadlines         // of one exchange
	Transport  http.RoundTripper // shared by all upstreams, see Transport
	MediaTypes []string          // that an answer may have, in lower case and without parameters

	// CredentialHeader is where the credential goes. Empty for Authorization, as a
	// bearer token.
	CredentialHeader string

	// HeadersIn and HeadersOut pass too, inwards and outwards: those of the protocol.
	HeadersIn, HeadersOut []string

	// Fail answers the caller when the upstream can't. Nothing has been sent yet.
	Fail func(http.ResponseWriter, *http.Request, *refusal.Error)

	// Begins is called when an answer that is passed on begins: a stream with its
	// first bytes, another one with its headers. May be nil.
	Begins func(r *http.Request, stream bool)

	// Event returns an event that tells of the failure, with which an event stream
	// ends that breaks off. Nil for none.
	Event func(*refusal.Error) []byte

	// Broken is told of an answer that breaks off after it has begun.
	Broken func(*http.Request, *refusal.Error)
}

// Deadlines bound one exchange, each by itself, so that a stream may last and a
// server that is silent may not. A large body takes as long as its caller needs:
// no time runs before its last byte.
type Deadlines struct {
	FirstByte time.Duration // to the head of the answer
	Idle      time.Duration // between two parts of an event stream
	Total     time.Duration // to the last byte of an answer that is no event stream
}

// Body is that of a request: Head, then Rest, which may be nil. Errors of Rest
// are *refusal.Error.
type Body struct {
	Head   []byte
	Rest   io.Reader
	Length int64 // of the whole where there is a Rest; -1 if nobody knows it
}

// connectTimeout bounds how long a connection to a model server takes.
const connectTimeout = 10 * time.Second

// Transport returns the connections to all upstreams. It asks for no
// compression by itself, so what the caller accepts decides.
func Transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	t.DialContext = (&net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}).DialContext
	t.MaxIdleConns = 0 // no limit but that of each host
	t.MaxIdleConnsPerHost = 256
	t.MaxResponseHeaderBytes = 64 << 10
	return t
}

// New returns the upstream that c describes.
func New(c Config) (*Upstream, error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("upstream: %q is not an http or https URL", c.URL)
	}
	if c.Begins == nil {
		c.Begins = func(*http.Request, bool) {}
	}
	u := &Upstream{config: c, base: url.URL{Scheme: base.Scheme, Host: base.Host, Path: strings.TrimSuffix(base.Path, "/")}}
	u.in, u.out = slices.Concat(passIn, c.HeadersIn), slices.Concat(passOut, c.HeadersOut)
	u.buffers.New = func() any { return new([held]byte) }
	return u, nil
}

// Forward sends r with body to the upstream, there to path, and its answer to w.
// The path must be canonical and free of escapes, since it goes out as it is. Only a
// POST has a body: a server that leaves another unread could take it for the
// next request, which no policy has judged (CWE-444).
//
// It panics with http.ErrAbortHandler when an answer breaks off that has
// begun, so that the caller's connection does, too.
func (u *Upstream) Forward(w http.ResponseWriter, r *http.Request, path string, body Body, who Identity) {
	ctx, watch := newWatch(r.Context(), u.config.Deadlines)
	defer watch.stop()
	out := (&http.Request{
		Method: r.Method,
		URL:    &url.URL{Scheme: u.base.Scheme, Host: u.base.Host, Path: u.base.Path + path}, // no protocol here has a query
		Header: u.header(r.Header, who),
		Body:   http.NoBody,
	}).WithContext(ctx)
	if r.Method == http.MethodPost {
		body.send(out, watch)
	}

	var sent progress
	answer, err := u.config.Transport.RoundTrip(out)
	if err == nil {
		defer answer.Body.Close()
		sent, err = u.pass(w, r, answer, watch)
	}
	if err == nil {
		return
	}
	failure := reason(ctx, err)
	if sent == nothing {
		u.config.Fail(w, r, failure)
		return
	}
	u.config.Broken(r, failure)
	if sent == wholeEvents && u.config.Event != nil && failure.Code != refusal.CallerGone {
		_, _ = w.Write(u.config.Event(failure))
		_ = http.NewResponseController(w).Flush() // who does not get it sees that the connection breaks off
	}
	panic(http.ErrAbortHandler)
}

// send makes b the body of a request.
func (b Body) send(out *http.Request, watch *watch) {
	switch {
	case b.Rest != nil:
		out.ContentLength = b.Length
		out.Body = io.NopCloser(io.MultiReader(bytes.NewReader(b.Head), &uploading{b.Rest, watch}))
	case len(b.Head) > 0:
		out.ContentLength = int64(len(b.Head))
		// Lets the transport repeat what never left, on another connection.
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Head)), nil }
		out.Body, _ = out.GetBody()
	}
}

// header returns the headers of a request to the upstream.
func (u *Upstream) header(in http.Header, who Identity) http.Header {
	h := make(http.Header, 8)
	for _, name := range u.in {
		if values := in[name]; len(values) > 0 {
			h[name] = values
		}
	}
	own := &[...]string{who.RequestID, HeaderValue(who.Issuer), HeaderValue(who.Subject), HeaderValue(who.Client), ""}
	h[HeaderRequestID] = own[0:1:1]
	h[HeaderIssuer] = own[1:2:2]
	h[HeaderSubject] = own[2:3:3]
	h[HeaderClient] = own[3:4:4]
	h["User-Agent"] = own[4:5:5] // otherwise net/http sends its own
	if s := u.config.Credential; s != nil && u.config.CredentialHeader == "" {
		h["Authorization"] = []string{"Bearer " + s.Value()}
	} else if s != nil {
		h.Set(u.config.CredentialHeader, s.Value())
	}
	if who.Token != "" {
		h["Authorization"] = []string{"Bearer " + who.Token}
	}
	return h
}

// reason returns the Error that err stands for, or for which ctx ended.
func reason(ctx context.Context, err error) *refusal.Error {
	var refused *refusal.Error
	switch {
	case errors.As(err, &refused), errors.As(context.Cause(ctx), &refused):
		return refused
	case errors.Is(err, context.DeadlineExceeded):
		return refusal.New(refusal.UpstreamTimeout, err)
	case errors.Is(err, context.Canceled):
		return callerGone(err)
	}
	return refusal.New(refusal.UpstreamUnreachable, err)
}

// callerGone is for the record: nobody gets this answer.
func callerGone(err error) *refusal.Error { return refusal.New(refusal.CallerGone, err) }
