package gateway

import (
	"context"
	_ "embed"
	"errors"
	"net/http"
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

// authorize returns r with the credential of its session, if it has one.
func (g *Gateway) authorize(r *http.Request) (*http.Request, error) {
	if g.login == nil {
		return r, nil
	}
	return g.login.Authorize(r)
}

// playground returns the pages, which call models through api.
func (g *Gateway) playground(api http.Handler) *playground.Playground {
	return playground.New(playground.Config{
		Login: g.login, API: api, Logger: g.log,
		Policy: func() *policy.Policy { return g.access.Load().policy },
	})
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
