package gateway

import "net/http"

// routes returns the whole API.
func (g *Gateway) routes() http.Handler {
	mux := http.NewServeMux()

	// Public. Nothing else is.
	mux.Handle("/healthz", public(g.live))
	mux.Handle("/readyz", public(g.ready))
	for _, p := range g.protocols {
		if p.Live != "" {
			mux.Handle(p.Live, public(g.live))
			mux.Handle(p.Ready, public(g.ready))
		}
	}
	mux.Handle(metadataPath, public(g.resourceMetadata))

	// For the issuer, which signs what it says: docs/revocation.md.
	mux.Handle("/backchannel-logout", g.verifier.BackchannelLogout(g.clientIDs, g.sessionEnded))
	mux.Handle("/admin/k_logout", g.verifier.KeycloakLogout(g.options.Outputs.Issuer, g.options.Outputs.ClientID))
	mux.Handle("/admin/k_push_not_before", g.verifier.KeycloakNotBefore(g.options.Outputs.Issuer, g.options.Outputs.ClientID))

	// For callers with an access token and the base role; with a model in the
	// path or body, for those who may call that model.
	for path, offers := range g.offers() {
		mux.Handle(path, g.dispatch(offers))
	}
	handler := g.audited(g.edge(canonical(append(namesWithSlashes(g.protocols), "/chat/", "/step-up/"), g.cors(mux))))
	nothing := g.guard(nil, nil)

	// For people. Who is signed in is what the session cookie says, which
	// counts for the paths above, too.
	mux.Handle("/openapi.json", public(openAPI))
	if g.login != nil {
		pages := g.playground()
		mux.Handle("/{$}", pageOf(pages.Home, http.MethodGet))
		mux.Handle("/models/{model}", pageOf(pages.Home, http.MethodGet, http.MethodPost))
		mux.Handle("/chat/{model...}", pageOf(pages.Home, http.MethodGet))
		mux.Handle("/step-up/{model...}", pageOf(pages.StepUp, http.MethodGet))
		mux.Handle("/login", pageOf(pages.SignIn, http.MethodGet))
		mux.Handle("/callback", pageOf(pages.Callback, http.MethodGet))
		mux.Handle("/logout", pageOf(pages.SignOut, http.MethodGet, http.MethodPost))
		mux.Handle("/static/{file}", pageOf(pages.Static, http.MethodGet))
		nothing = forBrowsers(pages.NotFound, nothing)
	}
	mux.Handle("/", nothing)

	return underPath(pathOf(g.options.PublicURL), g.options.StripPrefix, handler)
}
