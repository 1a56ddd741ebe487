package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// metadataPath is where RFC 9728, section 3, puts the metadata.
const metadataPath = "/.well-known/oauth-protected-resource"

// metadataURL returns the address of the metadata of the resource at
// publicURL: the well-known path goes before the resource's own
// (RFC 9728, section 3.1), where a proxy that strips that must send it on.
func metadataURL(publicURL string) string {
	u, err := url.Parse(publicURL)
	if err != nil {
		return ""
	}
	u.Path = metadataPath + pathOf(publicURL)
	return u.String()
}

// pathOf returns the path of a URL without a slash at its end.
func pathOf(publicURL string) string {
	u, err := url.Parse(publicURL)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.Path, "/")
}

// resourceMetadata tells a client that has no token whom to ask for one
// (RFC 9728, section 3.2).
func (g *Gateway) resourceMetadata(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]any{
		"resource":                 g.options.PublicURL,
		"authorization_servers":    []string{g.options.Outputs.Issuer},
		"bearer_methods_supported": []string{"header"},
		"resource_name":            "keycloak-model-api",
	})
}

// clientIDs returns the clients that the policy knows.
func (g *Gateway) clientIDs() []string {
	clients := g.access.Load().policy.Clients
	ids := make([]string, 0, len(clients))
	for _, c := range clients {
		ids = append(ids, c.ClientID)
	}
	return ids
}

// What a page of another origin may send, and read of an answer, beside what each may
// (Fetch, "CORS-safelisted request-header" and "response-header name"). Each name is
// written out: * would not cover Authorization. What the clients of OpenAI and Anthropic
// send from a browser is among them, though OpenAI-Organization and OpenAI-Project,
// which choose who pays, and X-Stainless-* go to no model server.
var (
	corsRequest = strings.Join([]string{
		"Api-Key", "Authorization", "DPoP", "X-Api-Key", "Content-Type", "Inference-Header-Content-Length",
		"Anthropic-Beta", "Anthropic-Dangerous-Direct-Browser-Access", "Anthropic-Version",
		"OpenAI-Beta", "OpenAI-Organization", "OpenAI-Project", "User-Agent",
		"X-Stainless-Arch", "X-Stainless-Helper", "X-Stainless-Helper-Method", "X-Stainless-Lang", "X-Stainless-OS", "X-Stainless-Package-Version",
		"X-Stainless-Retry-Count", "X-Stainless-Runtime", "X-Stainless-Runtime-Version", "X-Stainless-Timeout",
	}, ", ")
	corsResponse = strings.Join([]string{
		"Inference-Header-Content-Length", "OpenAI-Processing-Ms", "OpenAI-Version", "RateLimit", "RateLimit-Policy", "Request-Id",
		"Retry-After", "Retry-After-Ms", "WWW-Authenticate", "X-Request-Id", "X-Should-Retry",
		"X-RateLimit-Limit-Requests", "X-RateLimit-Limit-Tokens", "X-RateLimit-Remaining-Requests", "X-RateLimit-Remaining-Tokens",
		"X-RateLimit-Reset-Requests", "X-RateLimit-Reset-Tokens",
	}, ", ")
)

// cors answers browsers for pages of the configured origins. Cookies are not
// allowed to come along, and a preflight, which never has a token, is answered
// without one. With no origin configured it does nothing.
func (g *Gateway) cors(next http.Handler) http.Handler {
	if len(g.options.CORSOrigins) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if !slices.Contains(g.options.CORSOrigins, origin) {
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Origin", origin)
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE")
			h.Set("Access-Control-Allow-Headers", corsRequest)
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		h.Set("Access-Control-Expose-Headers", corsResponse)
		next.ServeHTTP(w, r)
	})
}
