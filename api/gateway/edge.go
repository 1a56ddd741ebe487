package gateway

import (
	"net/http"
	"time"

	"keycloak-model-api/api/refusal"
)

// maxHeaderBytes bounds the request line and the headers: four times the
// largest token.
const maxHeaderBytes = 64 << 10

// Bounds of one request. A caller that is slower than these is cut off.
const (
	bodyTimeout  = 30 * time.Second
	answerMargin = 5 * time.Second
)

// setDeadlines bounds one request, and not the connection: how long its body may
// take, and how long until the last byte of the answer. A ResponseWriter that
// has no deadlines is the business of whoever made it.
func (g *Gateway) setDeadlines(w http.ResponseWriter) {
	c, now := http.NewResponseController(w), time.Now()
	_ = c.SetReadDeadline(now.Add(bodyTimeout))
	_ = c.SetWriteDeadline(now.Add(bodyTimeout + g.options.UpstreamTimeout + answerMargin))
}

// edge judges what net/http leaves to its handlers, before anything of the
// request is looked at.
func (g *Gateway) edge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A chunked request may have come with a Content-Length, too, which
		// net/http drops: then whoever counted by that one sends another request
		// next than we would read (RFC 9112, section 6.1).
		chunked := len(r.TransferEncoding) > 0
		if chunked || g.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		switch {
		case headerBytes(r) > maxHeaderBytes:
			refuse(w, r, refusal.New(refusal.HeadersTooLarge, nil))
		case r.Header.Get("Expect") != "" && recordOf(r).protocol == nil:
			// Only who may call a model is told to go on (RFC 9110, section
			// 10.1.1). Elsewhere anybody would be.
			refuse(w, r, refusal.New(refusal.ExpectationFailed, nil))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// headerBytes is about how many bytes of the request came before its body.
func headerBytes(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			n += len(name) + len(value) + len(": \r\n")
		}
	}
	return n
}
