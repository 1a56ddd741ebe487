package gateway

import (
	"io"
	"net/http"
	"time"

	"keycloak-model-api/api/refusal"
)

// maxHeaderBytes bounds the request line and the headers: four times the
// largest token.
const maxHeaderBytes = 64 << 10

// A caller is cut off that sends no part of its body for readIdle, or takes no
// part of the answer for writeIdle. How long both take in all is bounded by
// nothing here: a large upload and a long stream may last.
const (
	readIdle  = 30 * time.Second
	writeIdle = 60 * time.Second
)

// setDeadlines bounds how long the first part of a body may take. It takes back
// what the request before had on this connection. A ResponseWriter that has no
// deadlines is the business of whoever made it.
func setDeadlines(c *http.ResponseController, r *http.Request) {
	if r.ContentLength == 0 {
		// A deadline would cancel the request (net/http's connReader).
		_ = c.SetReadDeadline(time.Time{})
	} else {
		_ = c.SetReadDeadline(time.Now().Add(readIdle))
	}
	_ = c.SetWriteDeadline(time.Time{})
}

// upload reads the body of a request, each part in its time. Its errors are
// *refusal.Error.
type upload struct {
	body     io.Reader
	deadline http.ResponseController
	set      time.Time // when the deadline was set last
}

func newUpload(w http.ResponseWriter, body io.Reader) *upload {
	return &upload{body, *http.NewResponseController(w), time.Now()}
}

func (u *upload) Read(b []byte) (int, error) {
	if now := time.Now(); now.Sub(u.set) > time.Second { // each time would cost more than it is worth
		u.set = now
		_ = u.deadline.SetReadDeadline(now.Add(readIdle))
	}
	n, err := u.body.Read(b)
	switch err {
	case nil:
	case io.EOF:
		// What the caller sends next is for the next request. A deadline would cancel
		// this one, however long a model may take.
		_ = u.deadline.SetReadDeadline(time.Time{})
	default:
		err = bodyRefusal(err)
	}
	return n, err
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
