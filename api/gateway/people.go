package gateway

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/login"
	"keycloak-model-api/api/playground"
	"keycloak-model-api/api/upstream"
	"keycloak-model-api/policy"
)

// signPeopleIn makes the sign-in for browsers. The error says why there can be
// none; the API serves bearer tokens all the same.
func (g *Gateway) signPeopleIn() error {
	o := g.options
	if o.Outputs.OIDCClientID == "" {
		return errors.New("gateway: the stack has no output oidc_client_id")
	}
	people, err := login.New(login.Config{
		Issuer: o.Outputs.Issuer, InternalURL: o.IssuerInternalURL,
		ClientID: o.Outputs.OIDCClientID, ClientSecret: o.Outputs.OIDCClientSecret,
		PublicURL: o.PublicURL, Verifier: g.verifier,
		Idle: o.SessionIdle, Lifetime: o.SessionLifetime, Store: o.Store, HTTPClient: o.HTTPClient, Logger: g.log,
	})
	if err != nil {
		return err
	}
	g.login = people
	g.sessionEnded = func(ctx context.Context, ended bearer.Logout) error {
		_, err := people.EndSession(ctx, ended.SessionID, ended.Subject, ended.IssuedAt)
		return err
	}
	return nil
}

// playground returns the pages, which call models by callModel.
func (g *Gateway) playground() *playground.Playground {
	return playground.New(playground.Config{
		Login: g.login, Call: g.callModel, Logger: g.log, Skew: g.options.ClockSkew,
		Policy: func() *policy.Policy { return g.access.Load().policy },
	})
}

// callModel lets the person of a session do an action of the Open Inference
// Protocol with a model on behalf of the page that r asks for. The record of r
// tells of it. It returns the answer as the API gives it; one that breaks off or
// is too large counts as 502.
func (g *Gateway) callModel(r *http.Request, s *login.Session, action, model string, body []byte) (status int, answer []byte) {
	p := g.protocols[0] // whose forms the pages make
	route := p.Route(action)
	record, w := recordOf(r), &held{header: http.Header{}, status: http.StatusOK}
	record.protocol = p
	record.name(route, model)
	// Nothing of what the browser sent goes further.
	program := (&http.Request{Method: route.Method, URL: &url.URL{Path: route.For(model)}, Header: http.Header{}}).WithContext(r.Context())
	if route.HasBody() {
		program.Header.Set("Content-Type", p.RequestTypes[0])
	}
	defer func() {
		// How an answer of a model server ends that broke off.
		if broken := recover(); broken == http.ErrAbortHandler {
			status, answer = http.StatusBadGateway, nil
		} else if broken != nil {
			panic(broken)
		}
	}()
	c, err := g.admit(record, g.ofSession(r, s))
	if err == nil {
		c.protocol, c.route, c.name = p, route, model
		err = g.choose(r.Context(), record, c)
	}
	if err == nil {
		record.allow()
		err = g.perform(w, program, c, upstream.Body{Head: body})
	}
	if err != nil {
		refuseError(w, program, err)
	}
	if w.tooLarge {
		return http.StatusBadGateway, nil
	}
	return w.status, w.body.Bytes()
}

// maxHeld is how many bytes of an answer a page can show.
const maxHeld = 1 << 20

// held keeps the answer of a model for a page.
type held struct {
	header   http.Header
	status   int
	body     bytes.Buffer
	tooLarge bool
}

func (w *held) Header() http.Header { return w.header }

func (w *held) WriteHeader(status int) { w.status = status }

func (w *held) Write(b []byte) (int, error) {
	if w.body.Len()+len(b) > maxHeld {
		w.tooLarge = true
		return 0, io.ErrShortWrite
	}
	return w.body.Write(b)
}

// pageOf serves a page by the given methods. HEAD goes with GET.
func pageOf(page http.HandlerFunc, methods ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := methodAllowed(w, r, methods...); err != nil {
			refuse(w, r, err)
			return
		}
		page(w, r)
	})
}

// forBrowsers answers people by page, and programs by next: those with a
// credential, and those that don't ask for HTML.
func forBrowsers(page http.HandlerFunc, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		browser := strings.Contains(r.Header.Get("Accept"), "text/html") && len(r.Header["Authorization"]) == 0
		if browser && r.Method == http.MethodGet && recordOf(r).protocol == nil {
			page(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

//go:embed openapi.json
var openAPIDocument []byte

// openAPI serves the API's contract (OpenAPI 3.1), which is public: it says
// nothing about this installation.
func openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPIDocument)
}
