package upstream

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"keycloak-model-api/api/refusal"
)

// held is how many bytes of an answer are held back until its end has come.
// As long as nothing was sent, a failure can still become a status.
const held = 64 << 10

// eventStream is the media type whose answers are passed on as they come
// (WHATWG HTML, section 9.2).
const eventStream = "text/event-stream"

// progress is how much of an answer its caller has.
type progress int

const (
	nothing     progress = iota
	part                 // it can't be told from a whole answer but by how the connection ends
	wholeEvents          // of an event stream, to which another event can be added
)

// pass sends the upstream's answer to r to w: all at once when it fits the
// buffer, otherwise in parts, and an event stream event by event. Of the answer
// only the status, the headers of passOut and the body come through: neither
// informational answers nor trailers do.
func (u *Upstream) pass(w http.ResponseWriter, r *http.Request, answer *http.Response, watch *watch) (progress, error) {
	mediaType, err := u.check(answer)
	if err != nil {
		return nothing, err
	}
	stream := mediaType == eventStream
	watch.answer(stream)
	if stream && answer.ContentLength < 0 && answer.Header.Get("Content-Encoding") == "" {
		return u.passEvents(w, r, answer, watch)
	}
	buffer := u.buffers.Get().(*[held]byte)
	defer u.buffers.Put(buffer)
	atLeast := held
	if stream {
		atLeast = 1 // nobody waits for a part that has come
	}
	if !stream {
		u.config.Begins(r, false)
	}
	n, err := fill(answer.Body, buffer[:], atLeast)
	if err != nil && err != io.EOF {
		return nothing, err
	}
	length := answer.ContentLength
	if length < 0 && err == io.EOF && r.Method != http.MethodHead {
		length = int64(n)
	}
	u.begin(w, r, answer, length, stream)
	flush := func() error { return nil }
	if answer.ContentLength < 0 && err == nil {
		flush = http.NewResponseController(w).Flush
	}
	for {
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return part, callerGone(err)
			}
			_ = flush() // the next Write reports an error
		}
		if err == io.EOF {
			return part, nil
		} else if err != nil {
			return part, err
		}
		if n, err = answer.Body.Read(buffer[:]); stream {
			watch.event()
		}
	}
}

// begin sends the head of the answer. A length of -1 is not known.
func (u *Upstream) begin(w http.ResponseWriter, r *http.Request, answer *http.Response, length int64, stream bool) {
	h := w.Header()
	h["Content-Type"] = nil // otherwise net/http guesses one where the upstream gives none
	for _, name := range u.out {
		if values := answer.Header[name]; len(values) > 0 {
			h[name] = values
		}
	}
	if length >= 0 && answer.StatusCode != http.StatusNoContent { // which has none (RFC 9110, section 8.6)
		h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	}
	if stream {
		u.config.Begins(r, true)
	}
	w.WriteHeader(answer.StatusCode)
}

// fill reads at least so many bytes into b, unless an error ends it before.
// Unlike io.ReadAtLeast it keeps io.EOF, which ends a whole answer, apart from
// io.ErrUnexpectedEOF, with which net/http reports one that broke off.
func fill(r io.Reader, b []byte, atLeast int) (n int, err error) {
	for n < atLeast && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

// check refuses answers that are not for the caller. It returns the media
// type, which is empty where the upstream gives none: with nosniff a browser
// makes no page of that (WHATWG MIME Sniffing, section 7.1).
func (u *Upstream) check(answer *http.Response) (mediaType string, err error) {
	switch status := answer.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusProxyAuthRequired:
		// About our credential, not about the caller's.
		return "", refusal.New(refusal.UpstreamRefused, fmt.Errorf("answered %s", answer.Status), "does not accept this API")
	case status < 200, status >= 300 && status < 400:
		return "", notPassedOn(fmt.Errorf("answered %s", answer.Status))
	}
	values := answer.Header["Content-Type"]
	if len(values) == 0 {
		return "", nil
	}
	// Of several values, or a list in one, readers may take the first or the
	// last (WHATWG Fetch, "extract a MIME type"), so that neither may be.
	if len(values) == 1 && slices.Contains(u.config.MediaTypes, values[0]) {
		return values[0], nil
	}
	if len(values) == 1 && !strings.Contains(values[0], ",") {
		if mediaType, _, err = mime.ParseMediaType(values[0]); err == nil && slices.Contains(u.config.MediaTypes, mediaType) {
			return mediaType, nil
		}
	}
	// Of a proxy on the way, as a rule. A browser could show it as a page of ours.
	return "", notPassedOn(fmt.Errorf("answered %s with the media type %.200q", answer.Status, values))
}

func notPassedOn(cause error) *refusal.Error {
	return refusal.New(refusal.UpstreamRefused, cause, "gave no answer that can be passed on")
}
