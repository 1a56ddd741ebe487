package gateway

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/login"
	"keycloak-model-api/api/playground"
	"keycloak-model-api/api/refusal"
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
		Idle: o.SessionIdle, Lifetime: o.SessionLifetime, HTTPClient: o.HTTPClient, Logger: g.log,
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
		Login: g.login, Call: g.callModel, Logger: g.log,
		Policy: func() *policy.Policy { return g.access.Load().policy },
	})
}

// callModel lets the person of a session do an action with a model on behalf of
// the page that r asks for. The record of r tells of it. It returns the answer
// as the API gives it; one that breaks off or is too large counts as 502.
func (g *Gateway) callModel(r *http.Request, s *login.Session, action, model string, body []byte) (status int, answer []byte) {
	record, w := recordOf(r), &held{header: http.Header{}, status: http.StatusOK}
	record.action, record.model = action, model
	r = asProgram(r, action, model)
	call, err := g.decide(r.Context(), record, ofSession(s), model, action)
	if err != nil {
		g.refuseCredential(w, r, err)
		return w.status, w.body.Bytes()
	}
	record.code = allowed
	defer func() {
		// How an answer of a model server ends that broke off.
		if broken := recover(); broken == http.ErrAbortHandler {
			status, answer = http.StatusBadGateway, nil
		} else if broken != nil {
			panic(broken)
		}
	}()
	if action == "infer" {
		g.predict(w, r, call, body)
	} else {
		g.describeModel(w, r, call)
	}
	if w.tooLarge {
		return http.StatusBadGateway, nil
	}
	return w.status, w.body.Bytes()
}

// asProgram is the request of a program that does what the page r is for. It
// has nothing of what the browser sent.
func asProgram(r *http.Request, action, model string) *http.Request {
	program := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/v2/models/" + model}}
	if action == "infer" {
		program.Method, program.URL.Path = http.MethodPost, program.URL.Path+"/infer"
		program.Header = http.Header{"Content-Type": {"application/json"}}
	}
	return program.WithContext(r.Context())
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
	allowed := slices.Clone(methods)
	if slices.Contains(methods, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(allowed, r.Method) {
			page(w, r)
			return
		}
		list := strings.Join(allowed, ", ")
		w.Header().Set("Allow", list)
		refuse(w, r, refusal.New(refusal.MethodNotAllowed, nil, list))
	})
}

// forBrowsers answers people by page, and programs by next: those with a
// credential, and those that don't ask for HTML.
func forBrowsers(page http.HandlerFunc, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		browser := strings.Contains(r.Header.Get("Accept"), "text/html") && len(r.Header["Authorization"]) == 0
		if browser && r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, "/v2/") {
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
