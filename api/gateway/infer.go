package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"

	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/responses"
	"keycloak-model-api/api/upstream"
	"keycloak-model-api/api/usage"
)

// live says that the process answers.
func (g *Gateway) live(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]bool{"live": true})
}

// ready says whether new requests are welcome and tokens can be verified.
func (g *Gateway) ready(w http.ResponseWriter, r *http.Request) {
	// Who only asks whether this is ready is told no: nothing was decided about a
	// principal, and each start would raise an alarm.
	defer func() { recordOf(r).code = "" }()
	if g.draining.Load() {
		refuse(w, r, refusal.New(refusal.ShuttingDown, nil))
		return
	}
	if err := g.verifier.Ready(); err != nil {
		refuse(w, r, refusal.New(refusal.KeysUnavailable, err))
		return
	}
	if err := g.options.Audit.Unready(); err != nil {
		refuse(w, r, refusal.New(refusal.AuditUnavailable, err))
		return
	}
	answer(w, readiness{Ready: true, LostRecords: g.options.Audit.Lost()})
}

// readiness is the answer of an API that is ready.
type readiness struct {
	Ready       bool   `json:"ready"`
	LostRecords uint64 `json:"lost_records,omitempty"` // lines of the log, audit records among them
}

// perform lets the model, or the protocol where there is none, answer a request
// that was allowed. It has answered unless there is an error.
func (g *Gateway) perform(w http.ResponseWriter, r *http.Request, c *call, body upstream.Body) error {
	token, err := g.tokenFor(r.Context(), c)
	if err != nil {
		return err
	}
	if c.route.HasBody() && c.name != "" {
		lease, done := g.begin(w, r, c)
		if done {
			return nil
		}
		// Deferred, since an answer that breaks off ends in a panic.
		defer func() { lease.End(recordOf(r).usage.Total()) }()
	}
	if c.model != nil && c.model.upstream != nil && !c.route.Local {
		g.forward(w, r, c, body, token)
		return nil
	}
	request := protocol.Call{Header: r.Header, Body: body.Head, Name: c.name}
	if c.model != nil {
		request.Model = c.model.embedded
	} else {
		request.Models = c.visible()
	}
	v, err := c.route.Answer(request)
	var refused *refusal.Error
	switch {
	case errors.As(err, &refused):
		return refused
	case err != nil:
		return refusal.New(refusal.Internal, err, "The model failed.")
	}
	if binary, ok := v.(*protocol.Binary); ok {
		maps.Copy(w.Header(), binary.Header)
		_, _ = w.Write(binary.Body) // who does not get it is gone
		return nil
	}
	answer(w, v)
	return nil
}

// checkContentType demands one of the accepted media types.
func checkContentType(r *http.Request, accepted []string) *refusal.Error {
	said := r.Header["Content-Type"]
	if len(said) == 1 && slices.Contains(accepted, said[0]) {
		return nil
	}
	mediaType, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	for _, a := range accepted {
		if err == nil && mediaType == a && len(said) == 1 {
			if charset := parameters["charset"]; charset == "" || strings.EqualFold(charset, "utf-8") {
				return nil
			}
		}
	}
	return refusal.New(refusal.MediaTypeUnsupported, err, accepted[0])
}

// Bounds of a body in bytes, where Options.MaxBody sets none. Agents send long
// conversations, in which the model's name may come last.
const (
	heldBody   = 1 << 20  // of one that is held in memory
	namingBody = 16 << 20 // where the body names the model
	formBody   = 32 << 20 // of a form with a file, which is not held
)

// readBody reads the body of r, which must have a media type of c's protocol. What is
// read here must not be compressed; of what only passes, a large part stays unread. A
// body that says that it is too large is not asked for: the first Read is what
// answers 100 Continue. The error is a *refusal.Error.
func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request, c *call) (body upstream.Body, err error) {
	passes := c.model != nil && c.model.upstream != nil && !c.route.Reads()
	// tritonclient, the client of the Open Inference Protocol, sends no media type. Pages of other
	// sites can do so without asking first, so never with a cookie (Fetch, "CORS-safelisted").
	untyped := len(r.Header["Content-Type"]) == 0 && !c.credential.session
	types := c.protocol.RequestTypes
	if c.route.ReadForm != nil {
		types = []string{"multipart/form-data"}
	}
	if refused := checkContentType(r, types); refused != nil && !untyped {
		return body, refused
	}
	if !passes && r.Header.Get("Content-Encoding") != "" {
		return body, refusal.New(refusal.EncodingUnsupported, nil)
	}
	limit := g.bodyLimit(c.route, passes)
	if r.ContentLength > limit {
		return body, bodyRefusal(&http.MaxBytesError{Limit: limit})
	}
	var from io.Reader = newUpload(w, http.MaxBytesReader(w, r.Body, limit))
	if c.route.Watch != nil {
		if from, err = c.route.Watch(from, r.Header, c.rules.Body); err != nil {
			return body, err
		}
	}
	if c.route.ReadForm != nil {
		return upstream.Body{Rest: from}, nil
	}
	most := math.MaxInt
	if passes {
		most = heldBody
	}
	body.Head, err = readHead(from, r.ContentLength, most)
	if passes && len(body.Head) == heldBody && r.ContentLength != heldBody {
		body.Rest, body.Length = from, r.ContentLength
	}
	return body, err
}

// readHead reads a body of which length is said, or -1, to its end or so far. Room is
// made as it comes: never more than 64 KiB, or three times what has come, ahead.
func readHead(from io.Reader, length int64, most int) (head []byte, err error) {
	const atOnce = 64 << 10
	left := max(length, 0) + bytes.MinRead // more than is said, so that the end is seen
	head = make([]byte, 0, min(left, atOnce))
	for err == nil && len(head) < most {
		if len(head) == cap(head) {
			head = slices.Grow(head, int(min(max(left-int64(len(head)), bytes.MinRead), int64(3*len(head)))))
		}
		var n int
		n, err = from.Read(head[len(head):min(cap(head), most)])
		head = head[:len(head)+n]
	}
	if err == io.EOF {
		err = nil
	}
	return head, err
}

// bodyLimit returns how large a body may be, in bytes. One that passes on to
// where its path says may have any size unless one is set, since it takes no
// memory here.
func (g *Gateway) bodyLimit(route *protocol.Route, passes bool) int64 {
	switch {
	case g.options.MaxBody > 0:
		return g.options.MaxBody
	case passes:
		return math.MaxInt64
	case route.ReadForm != nil:
		return formBody
	case route.Read != nil:
		return namingBody
	}
	return heldBody
}

// bodyRefusal says why a body could not be read.
func bodyRefusal(err error) *refusal.Error {
	var tooLarge *http.MaxBytesError
	var refused *refusal.Error
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &tooLarge):
		return refusal.New(refusal.BodyTooLarge, err, tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refusal.New(refusal.BodyTooSlow, err)
	}
	return refusal.New(refusal.BodyUnreadable, err)
}

// forward passes a request on to the model's server. While it is under way, it is
// decided about again.
func (g *Gateway) forward(w http.ResponseWriter, r *http.Request, c *call, body upstream.Body, token string) {
	record := recordOf(r)
	if c.route.Metered {
		r.Header.Del("Accept-Encoding") // what is compressed can't be read
		metered := usage.NewWriter(w, len(body.Head), c.hideUsage)
		defer func() {
			used := metered.End()
			record.usage = &used
		}()
		w = metered
	}
	if c.keeps {
		w = responses.NewWriter(w, func(id string) { g.owners.Keep(id, c.owner(c.name)) })
	}
	record.exchange = g.options.Metrics.Exchange(record.model)
	record.call = g.options.Telemetry.Call(r.Context(), r.Header, record.model, c.model.protocol, record.action, c.model.host, c.model.port)
	defer func() { // it may end in a panic
		record.exchange.End()
		record.call.End(string(record.code), record.status)
	}()
	ctx, stop := watch(r.Context(), func(ctx context.Context) error { return g.decideAgain(ctx, c) })
	defer stop()
	defer func() {
		if id := r.PathValue("response"); r.Method == http.MethodDelete && record.status >= 200 && record.status < 300 {
			g.owners.Forget(id)
		}
	}()
	c.model.upstream.Forward(w, r.WithContext(ctx), strings.TrimPrefix(r.URL.Path, c.model.trim), body, upstream.Identity{
		RequestID: record.id,
		Issuer:    c.principal.Issuer,
		Subject:   c.principal.Subject,
		Client:    c.principal.ClientID,
		Token:     token,
	})
}
