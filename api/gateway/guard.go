package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/upstream"
	"keycloak-model-api/policy"
)

// call is a request that passed the guard: what its handler may rely on.
type call struct {
	principal *bearer.Principal
	access    *access // the policy that decided, the same for the whole request
	model     *served // of the {model} in the path; nil where there is none
	session   bool    // the credential is that of a browser's session
}

// guard lets a request through to next that has a valid credential, may do this
// action, and has the method. A refusal reads no body. An empty method means any.
func (g *Gateway) guard(method, action string, next func(http.ResponseWriter, *http.Request, *call)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record, name := recordOf(r), r.PathValue("model")
		record.action, record.model = action, fmt.Sprintf("%.80s", name)
		credential, err := g.authenticate(r)
		if err != nil {
			g.refuseCredential(w, r, err)
			return
		}
		c, err := g.decide(r.Context(), record, credential, name, action)
		if err != nil {
			g.refuseCredential(w, r, err)
			return
		}
		if !methodAllowed(w, r, method) {
			return
		}
		record.code = allowed
		next(w, r, c)
	})
}

// allowed is the code of a request that was not refused.
const allowed refusal.Code = "allowed"

// decide judges whether this credential may do an action with a model, or with
// none if its name is empty. It does so in this order: the base role, whether
// the decision can be recorded, the use of the credential, the model, the
// action. A caller without the base role takes no room in the memory for proofs.
// The error is a *refusal.Error.
func (g *Gateway) decide(ctx context.Context, record *record, by *credential, name, action string) (*call, error) {
	principal := by.principal
	record.principal = principal
	access := g.access.Load()
	model, decision := access.policy.Decide(principal.ForPolicy(), name, action)
	if model != nil && model.Introspect {
		var err error
		if principal, err = by.introspect(ctx); err != nil {
			return nil, err
		}
		// The roles are those of this moment.
		record.principal = principal
		model, decision = access.policy.Decide(principal.ForPolicy(), name, action)
	}
	if decision == policy.NoBaseRole {
		return nil, refusal.New(refusal.RoleMissing, nil, access.policy.BaseRole)
	}
	if !record.admitted {
		if err := g.options.Audit.Admit(); err != nil {
			return nil, refusal.New(refusal.AuditUnavailable, err)
		}
		record.admitted = true
	}
	if err := by.use(); err != nil {
		return nil, err
	}
	switch {
	case name != "" && decision == policy.ActionRefused:
		return nil, refusal.New(refusal.ActionRefused, nil, strings.Join(model.Allow.Actions, ", "))
	case name != "" && decision != policy.Allow:
		return nil, refusal.New(refusal.ModelUnknown, nil)
	}
	c := &call{principal: principal, access: access, session: by.session}
	if model != nil {
		c.model = access.models[model.Name]
	}
	return c, nil
}

// refuseCredential answers a request that authenticate or decide refuses.
func (g *Gateway) refuseCredential(w http.ResponseWriter, r *http.Request, err error) {
	var refused *refusal.Error
	if !errors.As(err, &refused) {
		refused = refusal.New(refusal.Internal, err, "The credential could not be checked.")
	}
	if refused.Status == http.StatusUnauthorized || refused.OAuth != "" || refused.Retry() {
		g.verifier.WriteChallenge(w, refused)
	}
	refuse(w, r, refused)
}

// public serves GET and HEAD to everybody.
func public(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if methodAllowed(w, r, http.MethodGet) {
			next(w, r)
		}
	})
}

// methodAllowed answers 405 unless r has the method. HEAD goes with GET, and
// everything with "".
func methodAllowed(w http.ResponseWriter, r *http.Request, method string) bool {
	if method == "" || r.Method == method || r.Method == http.MethodHead && method == http.MethodGet {
		return true
	}
	if method == http.MethodGet {
		method = "GET, HEAD"
	}
	w.Header().Set("Allow", method)
	refuse(w, r, refusal.New(refusal.MethodNotAllowed, nil, method))
	return false
}

// record is what the audit log says about one request. It holds no token.
type record struct {
	id        string
	admitted  bool              // its record must be written
	principal *bearer.Principal // nil without a valid credential
	model     string            // of the path, as the caller wrote it, cut to what a line holds
	action    string
	code      refusal.Code // of the decision, or of the failure after it; empty where nothing was decided
	cause     error        // of a refusal
	status    int
}

type recordKey struct{}

// recordOf returns the record of a request that came through audited.
func recordOf(r *http.Request) *record { return r.Context().Value(recordKey{}).(*record) }

// audited gives each request an id of ours and writes one audit record for
// each that something was decided about.
func (g *Gateway) audited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := g.now()
		record := &record{id: rand.Text()}
		h := w.Header()
		h.Set(upstream.HeaderRequestID, record.id)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		// What a model's server answers is no page of our origin, and where a
		// browser shows it as one, it runs and sends nothing.
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox")

		// Deferred, since a proxied answer that breaks off ends in a panic
		// that net/http wants.
		defer func() {
			ctx, took := context.WithoutCancel(r.Context()), g.now().Sub(started)
			switch {
			case record.admitted:
				g.options.Audit.Decided(ctx, record.attrs(r, g.options.TrustedProxies, took)...)
			case record.code != "":
				g.options.Audit.Refused(ctx, string(record.code), record.attrs(r, g.options.TrustedProxies, took)...)
			}
		}()
		next.ServeHTTP(&statusWriter{w, r, record}, r.WithContext(context.WithValue(r.Context(), recordKey{}, record)))
	})
}

// shownPath is a path as a record may hold it: cut to what a line holds, which is
// less than any access token, and without what looks like one.
func shownPath(path string) string {
	if i := strings.Index(path, "eyJ"); i >= 0 { // the beginning of each JWT
		path = path[:i] + "…"
	}
	if len(path) > maxShownPath {
		path = path[:maxShownPath] + "…"
	}
	return path
}

const maxShownPath = 120 // bytes

// attrs are what the record of r holds: what was decided, and where r came from.
func (d *record) attrs(r *http.Request, trusted []netip.Prefix, took time.Duration) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("request", d.id), slog.String("address", callerAddress(r, trusted)), slog.String("path", shownPath(r.URL.EscapedPath())),
		slog.String("action", d.action), slog.String("model", d.model),
		slog.String("code", string(d.code)), slog.Int("status", d.status), slog.Duration("took", took),
	}
	if d.principal != nil {
		attrs = append(attrs, slog.String("issuer", d.principal.Issuer), slog.String("subject", d.principal.Subject), slog.String("client", d.principal.ClientID))
	}
	if d.cause != nil {
		attrs = append(attrs, slog.String("cause", d.cause.Error()))
	}
	return attrs
}

// statusWriter notes the status for the audit record, and lets no refusal
// without a valid token wait for the body.
type statusWriter struct {
	http.ResponseWriter
	request *http.Request
	record  *record
}

func (w *statusWriter) WriteHeader(status int) {
	w.record.status = status
	// Else net/http reads up to 256 KiB of an unread body before it answers.
	if status >= 400 && w.record.principal == nil && w.request.ProtoMajor == 1 && w.request.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.record.status == 0 {
		w.record.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController flush what an upstream streams.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
