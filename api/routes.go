package main

import "net/http"

// routes returns the whole API.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()

	// Public. Nothing else is.
	mux.Handle("/healthz", public(s.live))
	mux.Handle("/readyz", public(s.ready))
	mux.Handle("/v2/health/live", public(s.live))
	mux.Handle("/v2/health/ready", public(s.ready))
	mux.Handle(metadataPath, public(s.resourceMetadata))

	// For the issuer, which signs what it says: docs/revocation.md.
	mux.Handle("/backchannel-logout", s.verifier.BackchannelLogout(s.clientIDs, s.sessionEnded))
	mux.Handle("/admin/k_logout", s.verifier.KeycloakLogout(s.issuer, s.clientID))
	mux.Handle("/admin/k_push_not_before", s.verifier.KeycloakNotBefore(s.issuer, s.clientID))

	// For callers with an access token and the base role; with {model} in the
	// path, for those who may call that model.
	mux.Handle("/v2", s.guard(http.MethodGet, "server", s.describeServer))
	mux.Handle("/v2/models", s.guard(http.MethodGet, "list", s.listModels))
	mux.Handle("/v2/models/{model}", s.guard(http.MethodGet, "metadata", s.describeModel))
	mux.Handle("/v2/models/{model}/ready", s.guard(http.MethodGet, "ready", s.modelReady))
	mux.Handle("/v2/models/{model}/infer", s.guard(http.MethodPost, "infer", s.infer))
	handler := s.audited(canonical(s.cors(mux)))
	nothing := s.guard("", "", nothingHere)

	// For people. Who is signed in is what the session cookie says, which
	// counts for the paths above, too.
	mux.Handle("/openapi.json", public(openAPI))
	if s.login != nil {
		pages := s.playground(handler)
		mux.Handle("/{$}", pageOf(pages.Home, http.MethodGet))
		mux.Handle("/models/{model}", pageOf(pages.Home, http.MethodGet, http.MethodPost))
		mux.Handle("/login", pageOf(pages.SignIn, http.MethodGet))
		mux.Handle("/callback", pageOf(pages.Callback, http.MethodGet))
		mux.Handle("/logout", pageOf(pages.SignOut, http.MethodPost))
		mux.Handle("/static/{file}", pageOf(pages.Static, http.MethodGet))
		nothing = forBrowsers(pages.NotFound, nothing)
	}
	mux.Handle("/", nothing)

	return handler
}
