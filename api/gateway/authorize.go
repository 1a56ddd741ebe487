package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/upstream"
)

// Headers of answers to a proxy that asks: the status and the code of a refusal,
// for proxies that can't take the status as it is.
const (
	HeaderAuthorizeStatus = "X-Authorize-Status"
	HeaderAuthorizeCode   = "X-Authorize-Code"
)

// partialBody is how Envoy says that it did not send the body whole.
const partialBody = "X-Envoy-Auth-Partial-Body"

// Authorizer returns the handler for proxies that ask whether they may pass a
// request on to a model server. Each sends the headers of that request, its method
// in the header methodHeader and its target, as it came, in targetHeader. Its own
// method and path don't count.
//
// The request is judged and recorded as if it had come here. A refusal is what the
// caller would have got. Otherwise the answer is 200 with the headers that tell the
// model server who calls, and nothing is passed on.
func (g *Gateway) Authorizer(methodHeader, targetHeader string) http.Handler {
	mux := http.NewServeMux()
	for path, offers := range g.offers() {
		mux.Handle(path, g.dispatch(offers))
	}
	mux.Handle("/", g.guard(nil, nil))
	judge := g.edge(canonical(namesWithSlashes(g.protocols), mux))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		original, err := originalOf(r, methodHeader, targetHeader, pathOf(g.options.PublicURL))
		g.audited(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			recordOf(r).asked = true
			if err != nil {
				refuse(w, r, refusal.New(refusal.TargetRefused, err))
				return
			}
			judge.ServeHTTP(w, r)
		})).ServeHTTP(w, original)
	})
}

// originalOf returns the request that a proxy asks about, without the path of the
// public URL. A target that two programs could read in two ways is an error, and
// then the request is one for "/".
func originalOf(r *http.Request, methodHeader, targetHeader, path string) (*http.Request, error) {
	original := *r
	original.Header = r.Header.Clone()
	original.Header.Del(methodHeader)
	original.Header.Del(targetHeader)
	original.URL, original.RequestURI = &url.URL{Path: "/"}, "/"
	methods, targets := r.Header.Values(methodHeader), r.Header.Values(targetHeader)
	if len(methods) != 1 || len(targets) != 1 {
		return &original, fmt.Errorf("gateway: %d headers %s and %d headers %s, want one each", len(methods), methodHeader, len(targets), targetHeader)
	}
	original.Method = methods[0]
	u, err := url.ParseRequestURI(targets[0])
	if err != nil || u.EscapedPath() != targets[0] {
		return &original, errors.New("gateway: the target is not a path alone")
	}
	rest, under := strings.CutPrefix(targets[0], path)
	if !under || !strings.HasPrefix(rest, "/") {
		return &original, errors.New("gateway: the target is not below the path of the public URL")
	}
	original.RequestURI = rest
	original.URL = u
	return withPath(&original, rest), nil
}

// askedBody returns r with a body only where it names the model. One that did not
// come whole can't be read.
func askedBody(r *http.Request, named bool) *http.Request {
	out := *r
	partial := r.Header[partialBody]
	switch {
	case !named:
		out.Body, out.ContentLength = http.NoBody, 0
	case r.ContentLength == 0 || len(partial) > 0 && (len(partial) > 1 || partial[0] != "false"):
		out.Body, out.ContentLength = io.NopCloser(notSent{}), -1
	}
	return &out
}

// notSent is a body that the proxy did not send.
type notSent struct{}

func (notSent) Read([]byte) (int, error) { return 0, refusal.New(refusal.BodyNotSent, nil) }

// permit tells a proxy that it may pass on the request of c, whose body, where the
// route reads it, is the one that was judged. It has answered unless there is an error.
func (g *Gateway) permit(w http.ResponseWriter, r *http.Request, c *call, judged []byte) error {
	switch {
	case c.model == nil || c.route.Local:
		return refusal.New(refusal.NotFound, errors.New("gateway: the answer is the API's own, which a proxy can't ask for"))
	case c.model.audience != "":
		return refusal.New(refusal.NotFound, errors.New("gateway: the model's server gets a token from the API itself, which a proxy can't pass on"))
	case !bytes.Equal(c.sent, judged):
		return refusal.New(refusal.BodyWouldChange, nil)
	}
	record := recordOf(r)
	record.allow()
	if c.route.HasBody() && c.name != "" {
		lease, done := g.begin(w, r, c)
		if done {
			return nil
		}
		lease.End(0) // how long the answer takes and what it uses nobody tells us
	}
	h := w.Header()
	h.Set(upstream.HeaderIssuer, upstream.HeaderValue(c.principal.Issuer))
	h.Set(upstream.HeaderSubject, upstream.HeaderValue(c.principal.Subject))
	h.Set(upstream.HeaderClient, upstream.HeaderValue(c.principal.ClientID))
	w.WriteHeader(http.StatusOK)
	return nil
}
