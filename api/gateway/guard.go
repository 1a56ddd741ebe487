package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/observe"
	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/responses"
	"keycloak-model-api/api/stepup"
	"keycloak-model-api/api/upstream"
	"keycloak-model-api/api/usage"
	"keycloak-model-api/policy"
)

// call is a request with a valid credential and the base role.
type call struct {
	protocol *protocol.Protocol // nil where there is no route
	route    *protocol.Route
	methods  []string // of the path, where it has several routes
	name     string   // of the model; empty where the route has none

	credential *credential
	principal  *bearer.Principal // as of the last look at it
	access     *access           // the policy that decided, the same for the whole request
	model      *served           // nil where the route has none
	rules      protocol.Rules    // of that model
	sent       []byte            // the body as it came, of a route that reads it
	keeps      bool              // the model's server keeps the response
	hideUsage  bool              // the caller did not ask for the usage that a stream tells
}

// visible are the protocol's models that the principal may see.
func (c *call) visible() (models []protocol.Listed) {
	for _, m := range c.access.policy.Visible(c.principal.ForPolicy()) {
		if s := c.access.models[m.Name]; s.protocol == c.protocol.Name {
			models = append(models, protocol.Listed{Name: m.Name, Model: s.embedded})
		}
	}
	return models
}

// owner is what the principal's responses of a model belong to.
func (c *call) owner(model string) responses.Owner {
	return responses.Owner{Issuer: c.principal.Issuer, Subject: c.principal.Subject, Model: model}
}

// unserved says why the model, which c may call, does not have what r asks for; nil
// if it has.
func (c *call) unserved(r *http.Request) *refusal.Error {
	m, version := c.model, r.PathValue("version")
	switch {
	case m == nil:
		return nil
	case m.lists != nil && !m.lists(r), m.embedded != nil && c.route.Answer == nil:
		return refusal.New(refusal.NotFound, nil)
	case m.embedded != nil && version != "" && !slices.Contains(m.embedded.Metadata.Versions, version):
		return refusal.New(refusal.ModelUnknown, nil)
	}
	return nil
}

// guard serves a route of a protocol to whoever may use it, in this order: a
// valid credential, the base role, the model, the action, the method. A refusal for
// one of these reads no body, but for a route where the body names the model. Without a
// route it tells callers with the base role that there is nothing. The methods are those
// that the path takes where it has several routes.
func (g *Gateway) guard(p *protocol.Protocol, route *protocol.Route, methods ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.run(w, r, &call{protocol: p, route: route, methods: methods}); err != nil {
			g.refuseError(w, r, err)
		}
	})
}

// run is guard for one request. It has answered unless there is an error.
func (g *Gateway) run(w http.ResponseWriter, r *http.Request, asked *call) error {
	record, route, name := recordOf(r), asked.route, r.PathValue("model")
	record.name(route, name)
	credential, err := g.authenticate(r)
	if err != nil {
		return err
	}
	c, err := g.admit(record, credential)
	if err != nil {
		return err
	}
	c.protocol, c.route, c.methods, c.name = asked.protocol, route, asked.methods, name
	if route == nil {
		return refusal.New(refusal.NotFound, nil)
	}
	if record.asked {
		r = askedBody(r, route.Reads())
	}
	var request *protocol.Request
	if route.Reads() && name == "" {
		if request, err = g.readRequest(w, r, c); err != nil {
			return err
		}
		c.name = request.Model
		record.name(route, c.name)
	}
	if id := r.PathValue("response"); id != "" {
		owner, _ := g.owners.Of(id)
		if owner != c.owner(owner.Model) {
			return refusal.New(refusal.ResponseUnknown, nil)
		}
		c.name = owner.Model
		record.name(route, c.name)
	}
	if c.name != "" {
		if err := g.choose(r.Context(), record, c); err != nil {
			return err
		}
	}
	if refused := c.unserved(r); refused != nil {
		return refused
	}
	body, err := g.bodyOf(w, r, c, request)
	if err != nil {
		return err
	}
	if record.asked {
		return g.permit(w, r, c, body.Head)
	}
	record.allow()
	return g.perform(w, r, c, body)
}

// readRequest reads a body that the route reads. The error is a *refusal.Error.
func (g *Gateway) readRequest(w http.ResponseWriter, r *http.Request, c *call) (*protocol.Request, error) {
	if refused := c.methodAllowed(w, r); refused != nil {
		return nil, refused
	}
	body, err := g.readBody(w, r, c)
	if err != nil {
		return nil, err
	}
	if c.route.ReadForm != nil {
		return c.route.ReadForm(r.Header.Get("Content-Type"), body.Rest)
	}
	c.sent = body.Head
	return c.route.Read(body.Head)
}

// bodyOf returns the body for c's model: that of the request, which is nil where it
// has not been read. The error is a *refusal.Error.
func (g *Gateway) bodyOf(w http.ResponseWriter, r *http.Request, c *call, request *protocol.Request) (body upstream.Body, err error) {
	if refused := c.methodAllowed(w, r); refused != nil {
		return body, refused
	}
	if !c.route.Reads() {
		if c.route.HasBody() {
			return g.readBody(w, r, c)
		}
		return body, nil
	}
	if request == nil {
		if request, err = g.readRequest(w, r, c); err != nil {
			return body, err
		}
	}
	body.Head, err = request.For(c.rules)
	if body.Rest = request.Rest; body.Rest != nil {
		if body.Length = r.ContentLength; body.Length >= 0 {
			body.Length += request.Grows
		}
	}
	c.hideUsage, c.keeps = request.HideUsage, request.Keeps
	return body, err
}

// allowed is the code of a request that was not refused.
const allowed refusal.Code = "allowed"

// admit judges what holds for all models, in this order: the base role, whether
// the decision can be recorded, the use of the credential. A caller without the
// base role takes no room in the memory for proofs. The error is a *refusal.Error.
func (g *Gateway) admit(record *record, by *credential) (*call, error) {
	record.principal = by.principal
	access := g.access.Load()
	record.generation, record.groups = access.generation, access.groupsOf(by.principal)
	if _, decision := access.policy.Decide(by.principal.ForPolicy(), "", ""); decision == policy.NoBaseRole {
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
	return &call{credential: by, principal: by.principal, access: access}, nil
}

// choose judges whether c may do what its route is for with its model, which is
// one of its protocol. The error is a *refusal.Error.
func (g *Gateway) choose(ctx context.Context, record *record, c *call) error {
	model, decision := c.access.policy.Decide(c.principal.ForPolicy(), c.name, c.route.Action)
	if model != nil && model.Introspect {
		var err error
		if c.principal, err = c.credential.introspect(ctx); err != nil {
			return err
		}
		// The roles are those of this moment.
		record.principal, record.groups = c.principal, c.access.groupsOf(c.principal)
		model, decision = c.access.policy.Decide(c.principal.ForPolicy(), c.name, c.route.Action)
	}
	switch {
	case decision == policy.NoBaseRole:
		return refusal.New(refusal.RoleMissing, nil, c.access.policy.BaseRole)
	case model != nil && c.access.models[model.Name].protocol != c.protocol.Name:
		return refusal.New(refusal.ModelUnknown, nil)
	case decision == policy.ActionRefused:
		return refusal.New(refusal.ActionRefused, nil, strings.Join(model.Allow.Actions, ", "))
	case decision != policy.Allow:
		return refusal.New(refusal.ModelUnknown, nil)
	}
	if stepup.Asked(c.route.Action) {
		if refused := stepup.Check(model.Authentication, c.principal, g.now(), g.options.ClockSkew); refused != nil {
			refused.DPoP = c.credential.dpop
			return refused
		}
	}
	c.model = c.access.models[model.Name]
	c.rules = protocol.Rules{Body: model.Body, Metered: c.route.Metered && !record.asked}
	if model.Upstream != nil {
		c.rules.Model = model.Upstream.Model
	}
	if model.Stateful && !record.asked { // where the answer comes past here
		c.rules.Owns = func(id string) bool {
			owner, ok := g.owners.Of(id)
			return ok && owner == c.owner(model.Name)
		}
	}
	if model.Body != nil && model.Body.Principal != "" {
		id := sha256.Sum256([]byte(c.principal.Issuer + "\x00" + c.principal.Subject))
		c.rules.Principal = hex.EncodeToString(id[:])
	}
	return nil
}

// refuseError answers a request for which run has an error.
func (g *Gateway) refuseError(w http.ResponseWriter, r *http.Request, err error) {
	var refused *refusal.Error
	if !errors.As(err, &refused) {
		refused = refusal.New(refusal.Internal, err, "The credential could not be checked.")
	}
	if g.failures.tooMany(callerAddress(r, g.options.TrustedProxies), refused.Code, g.now()) {
		refused = refusal.New(refusal.CredentialsTooOften, refused)
	}
	refuse(w, r, refused)
}

// public serves GET and HEAD to everybody.
func public(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := methodAllowed(w, r, http.MethodGet); err != nil {
			refuse(w, r, err)
			return
		}
		next(w, r)
	})
}

// methodAllowed refuses a request without the route's method. The refusal names all
// that the path takes (RFC 9110, section 15.5.6).
func (c *call) methodAllowed(w http.ResponseWriter, r *http.Request) *refusal.Error {
	if refused := methodAllowed(w, r, c.route.Method); refused == nil || len(c.methods) == 0 {
		return refused
	}
	return methodAllowed(w, r, c.methods...)
}

// methodAllowed refuses a request without one of these methods. HEAD goes with GET.
func methodAllowed(w http.ResponseWriter, r *http.Request, methods ...string) *refusal.Error {
	if i := slices.Index(methods, http.MethodGet); i >= 0 {
		methods = slices.Insert(slices.Clone(methods), i+1, http.MethodHead)
	}
	if slices.Contains(methods, r.Method) {
		return nil
	}
	list := strings.Join(methods, ", ")
	w.Header().Set("Allow", list)
	return refusal.New(refusal.MethodNotAllowed, nil, list)
}

// record is what the audit log says about one request. It holds no token.
type record struct {
	id         string
	asked      bool              // a proxy asks for whoever sent it, and passes it on itself
	admitted   bool              // its record must be written
	principal  *bearer.Principal // nil without a valid credential
	model      string            // as the caller wrote it, cut to what a line holds
	action     string
	allowed    bool         // by the policy
	code       refusal.Code // of the decision, or of the failure after it; empty where nothing was decided
	cause      error        // of a refusal
	key        string       // which service key it came with; empty for none
	status     int
	route      string // pattern of its path; empty for none
	span       *observe.Span
	call       *observe.Call                             // of the model's server; nil without one
	exchange   observe.Exchange                          // with the model's server; zero without one
	usage      *usage.Usage                              // of a language model; nil for none
	challenge  func(http.ResponseWriter, *refusal.Error) // writes the headers of a refusal
	protocol   *protocol.Protocol                        // that owns the path, and shapes a refusal; nil for none
	generation uint64                                    // of the policy that decided; 0 where none did
	groups     []string                                  // of the principal that this policy names
}

// name notes what a request is about. A nil route is none.
func (d *record) name(route *protocol.Route, model string) {
	if route != nil {
		d.action, d.route = route.Action, route.Path
	}
	if d.model = withoutCredential(model); len(d.model) > 80 {
		d.model = fmt.Sprintf("%.80s", d.model)
	}
}

// allow notes that the policy allows the request.
func (d *record) allow() { d.allowed, d.code = true, allowed }

// begins notes that the model's server begins to answer, a stream with its first event.
func (d *record) begins(stream bool) {
	d.exchange.First(stream)
	if stream {
		d.call.First()
	}
}

type recordKey struct{}

// recordOf returns the record of a request that came through audited.
func recordOf(r *http.Request) *record { return r.Context().Value(recordKey{}).(*record) }

// audited gives each request an id of ours and writes one audit record for
// each that something was decided about.
func (g *Gateway) audited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := g.now()
		g.options.Metrics.Begin()
		record := &record{id: rand.Text(), protocol: g.protocolOf(r), challenge: g.verifier.WriteChallenge}
		ctx := context.WithValue(r.Context(), recordKey{}, record)
		if !g.probe(r.URL.Path) {
			ctx, record.span = g.options.Telemetry.Begin(ctx, r, fromTrusted(r, g.options.TrustedProxies))
		}
		h := w.Header()
		h[upstream.HeaderRequestID] = []string{record.id}
		h["Cache-Control"], h["X-Content-Type-Options"], h["Content-Security-Policy"] = noStore, noSniff, noPage
		answer := &statusWriter{ResponseWriter: w, controller: http.NewResponseController(w), request: r, record: record}
		setDeadlines(answer.controller, r)

		// Deferred, since a proxied answer that breaks off ends in a panic
		// that net/http wants.
		defer func() {
			answer.bound(true) // what is written and not sent is sent from here on
			ctx, took := context.WithoutCancel(r.Context()), g.now().Sub(started)
			said := record.said(r, took)
			g.options.Metrics.End(said)
			located := func() *observe.Record {
				said.Address, said.Path = callerAddress(r, g.options.TrustedProxies), shownPath(r.URL.EscapedPath())
				return said
			}
			switch {
			case record.admitted:
				g.options.Audit.Decided(ctx, located())
			case record.code != "":
				g.options.Audit.Refused(ctx, said.Code, located)
			}
			record.span.End(record.route, said)
		}()
		next.ServeHTTP(answer, r.WithContext(ctx))
	})
}

// Headers of every answer, made once. What a model's server answers is no page of
// our origin, and where a browser shows it as one, it runs and sends nothing.
var (
	noStore = []string{"no-store"}
	noSniff = []string{"nosniff"}
	noPage  = []string{"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"}
)

// shownPath is a path as a record may hold it: cut to what a line holds, which is
// less than any access token, and without what looks like a credential.
func shownPath(path string) string {
	path = withoutCredential(path)
	if len(path) > maxShownPath {
		path = path[:maxShownPath] + "…"
	}
	return path
}

// withoutCredential cuts text where a JSON Web Token or a service key may begin.
func withoutCredential(text string) string {
	for _, begins := range []string{"eyJ", policy.ServiceKeyPrefix} {
		if i := strings.Index(text, begins); i >= 0 {
			text = text[:i] + "…"
		}
	}
	return text
}

const maxShownPath = 120 // bytes

// said is what is counted and recorded of d, apart from where r came from.
func (d *record) said(r *http.Request, took time.Duration) *observe.Record {
	o := &observe.Record{
		Request: d.id, Trace: d.span.TraceID(), Method: r.Method, Action: d.action, Model: d.model,
		Allowed: d.allowed, Code: string(d.code), Status: d.status, Admitted: d.admitted, Took: took,
		Policy: d.generation, Groups: d.groups, Cause: d.cause, Key: d.key, Usage: (*observe.Usage)(d.usage),
	}
	if p := d.principal; p != nil {
		o.Issuer, o.Subject, o.Username, o.Client, o.Session = p.Issuer, p.Subject, p.Username, p.ClientID, p.SessionID
	}
	return o
}

// statusWriter notes the status for the audit record, lets no refusal without a
// valid token wait for the body, and no 401 go without a challenge (RFC 9110, section
// 15.5.2).
type statusWriter struct {
	http.ResponseWriter
	controller *http.ResponseController // of that
	request    *http.Request
	record     *record
	bounded    time.Time // when the caller's time was set last
}

func (w *statusWriter) WriteHeader(status int) {
	w.record.status = status
	if status == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" { // a page
		w.record.challenge(w, refusal.New(refusal.NoCredential, nil))
	}
	// Otherwise net/http reads up to 256 KiB of an unread body before it answers.
	if status >= 400 && w.record.principal == nil && w.request.ProtoMajor == 1 && w.request.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.record.status == 0 {
		w.record.status = http.StatusOK
	}
	w.bound(true)
	defer w.bound(false)
	return w.ResponseWriter.Write(b)
}

// FlushError sends what was written.
func (w *statusWriter) FlushError() error {
	w.bound(true)
	defer w.bound(false)
	return w.controller.Flush()
}

// bound sets the time that the caller has to take what is written, at the
// beginning of each write, but at most once a second. In HTTP/2 it is taken back at
// the end: there it would end a stream on which nothing is written (net/http,
// onWriteTimeout).
func (w *statusWriter) bound(on bool) {
	switch now := time.Now(); {
	case on && (w.request.ProtoMajor > 1 || now.Sub(w.bounded) > time.Second):
		w.bounded = now
		_ = w.controller.SetWriteDeadline(now.Add(writeIdle))
	case !on && w.request.ProtoMajor > 1:
		_ = w.controller.SetWriteDeadline(time.Time{})
	}
}

// Unwrap lets http.ResponseController set deadlines.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
