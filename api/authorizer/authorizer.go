// Package authorizer is the face of the API for proxies that pass requests on to
// model servers themselves and ask only whether they may: Envoy's external
// authorization over HTTP and gRPC, auth_request of nginx, ForwardAuth of Traefik,
// and HAProxy. It decides nothing: each question becomes one for the gateway.
package authorizer

import (
	"crypto/subtle"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// Config is what New needs. Every field is required, unless its comment says
// otherwise.
type Config struct {
	// Judge answers a question, as gateway.Authorizer does: about the request whose
	// method and target stand in these two headers.
	Judge                      http.Handler
	MethodHeader, TargetHeader string

	// Secret returns what a proxy must send in HeaderSecret. Nil where its certificate
	// says that it is one.
	Secret func() string

	Logger *slog.Logger
}

// HeaderSecret is where a proxy shows that it is one.
const HeaderSecret = "X-Authorize-Secret"

// New returns a handler with these paths:
//
//	/authorize, and all below it, with which Envoy's HTTP service begins its paths
//	/authorize-nginx, where all refusals but 401 have the status 403
//	the gRPC service envoy.service.auth.v3.Authorization
func New(c Config) http.Handler {
	grpc := newGRPC(c)
	mux := func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case path == "/authorize" || strings.HasPrefix(path, "/authorize/"):
			c.Judge.ServeHTTP(w, r)
		case path == "/authorize-nginx":
			c.Judge.ServeHTTP(&nginxWriter{w}, r)
		case isGRPC(r):
			grpc.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	}
	return c.forProxies(http.HandlerFunc(mux))
}

// forProxies serves next to whoever shows the secret, which goes no further.
func (c Config) forProxies(next http.Handler) http.Handler {
	if c.Secret == nil {
		return next
	}
	told := rate.Sometimes{Interval: time.Minute}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown := r.Header[HeaderSecret]
		if len(shown) != 1 || subtle.ConstantTimeCompare([]byte(shown[0]), []byte(c.Secret())) != 1 {
			told.Do(func() {
				c.Logger.Warn("a question to the authorizer has no secret, or another one", "address", r.RemoteAddr, "header", HeaderSecret)
			})
			http.Error(w, "This is for the proxies of this API, which show a secret in "+HeaderSecret+".", http.StatusForbidden)
			return
		}
		r.Header.Del(HeaderSecret)
		next.ServeHTTP(w, r)
	})
}

// nginxWriter gives refusals a status that nginx passes on: it makes 500 of all but
// 2xx, 401 and 403 (ngx_http_auth_request_module).
type nginxWriter struct{ http.ResponseWriter }

func (w *nginxWriter) WriteHeader(status int) {
	if status >= 300 && status != http.StatusUnauthorized {
		status = http.StatusForbidden
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController set deadlines.
func (w *nginxWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
