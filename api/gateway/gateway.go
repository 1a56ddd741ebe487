// Package gateway is the API as an http.Handler: every route, the order in
// which a request is judged, and the audit record of each decision.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/embedded"
	"keycloak-model-api/api/embedded/iris"
	"keycloak-model-api/api/exchange"
	"keycloak-model-api/api/limit"
	"keycloak-model-api/api/login"
	"keycloak-model-api/api/observe"
	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/responses"
	"keycloak-model-api/api/servicekey"
	"keycloak-model-api/api/store"
	"keycloak-model-api/api/upstream"
	"keycloak-model-api/policy"
)

// Options says what the gateway serves and within which bounds. Every field
// is required, unless its comment says otherwise.
type Options struct {
	// Outputs of the stack: the issuer, our clients there, and the policy.
	Outputs *policy.Outputs

	// PublicURL is the API's URL as its callers see it. It stands in what they
	// compare: htu of DPoP proofs, redirect URIs, metadata.
	PublicURL string

	// StripPrefix takes the path of PublicURL off requests, for a proxy that
	// leaves it there.
	StripPrefix bool

	// IssuerInternalURL is where the issuer is reached, for everything but the
	// browser. Default: the issuer's own URL.
	IssuerInternalURL string

	// CORSOrigins are the origins whose pages may call the API, compared
	// exactly. Default: none.
	CORSOrigins []string

	ClockSkew         time.Duration // tolerance for exp, nbf and iat
	KeyMaxAge         time.Duration // how long keys are used without asking again
	NotBeforeInterval time.Duration // between two questions for the issuer's not-before
	IntrospectionTTL  time.Duration // how long an answer of the issuer about a token counts
	SessionIdle       time.Duration // a browser's session ends after this time without a request
	SessionLifetime   time.Duration // and after this one whatever happens
	UpstreamDeadlines upstream.Deadlines
	StreamGrace       time.Duration // how long an answer goes on after the access token has expired

	// MaxBody is the largest body of a request, in bytes. Default: 16 MiB where
	// the body names the model, 1 MiB for a model that the API holds, otherwise none.
	MaxBody int64

	// Getenv gives the credentials of model servers by the names in the policy.
	Getenv func(string) string

	// HTTPClient reaches the issuer. Default: http.DefaultTransport.
	HTTPClient *http.Client

	// TrustedProxies are the addresses whose X-Forwarded-For is believed, for the
	// audit records. Default: none.
	TrustedProxies []netip.Prefix

	Audit   *observe.Audit   // gets a record of each decision
	Metrics *observe.Metrics // counts them. Default: some that nobody reads

	// Telemetry traces requests. Default: observe.NoTelemetry.
	Telemetry *observe.Telemetry

	// Store is what several replicas share. Default: none, and the gateway knows
	// only what it has heard itself.
	Store *store.Store

	// LimitsWithoutRedis is what becomes of requests with limits while Store is away.
	// Default: limit.Local.
	LimitsWithoutRedis limit.Without

	Logger *slog.Logger // gets everything else
}

// Gateway is the API as an http.Handler.
type Gateway struct {
	options  Options
	handler  http.Handler
	verifier *bearer.Verifier
	// sessionEnded is called for each logout that the issuer reports. May be nil.
	sessionEnded func(context.Context, bearer.Logout) error
	login        *login.Login // of people with a browser; nil where they can't sign in
	keys         *servicekey.Exchange
	exchange     *exchange.Exchange // of tokens; nil where the outputs name no client for that
	transport    http.RoundTripper

	authenticators []authenticator
	protocols      []*protocol.Protocol

	access   atomic.Pointer[access] // replaced as a whole by Reload
	reloads  sync.Mutex             // one Reload at a time
	limiter  limit.Counter          // lasts longer than a policy
	owners   *responses.Owners      // of what model servers keep, likewise
	failures failures               // bad credentials by address
	draining atomic.Bool            // not ready, since the program is about to end
	log      *slog.Logger
	now      func() time.Time
}

// New returns a gateway whose work in the background, such as fetching keys,
// lasts until ctx ends. The error lists everything that is wrong with o. The
// issuer need not be there yet: until it is, requests get 503.
func New(ctx context.Context, o Options) (*Gateway, error) {
	if o.Metrics == nil {
		o.Metrics = observe.NewMetrics(time.Now)
	}
	if o.Telemetry == nil {
		o.Telemetry = observe.NoTelemetry()
	}
	transport := upstream.Transport()
	context.AfterFunc(ctx, transport.CloseIdleConnections)
	g := &Gateway{options: o, transport: transport, protocols: protocols(), limiter: limit.New(time.Now), owners: responses.New(time.Now), log: o.Logger, now: time.Now}

	access, accessErr := newAccess(o.Outputs.Policy, o.UpstreamDeadlines, transport, o.Getenv)
	config := bearer.StackConfig(o.Outputs, o.IssuerInternalURL)
	config.Skew, config.KeyMaxAge = o.ClockSkew, o.KeyMaxAge
	config.NotBeforeInterval, config.IntrospectionTTL = o.NotBeforeInterval, o.IntrospectionTTL
	config.PublicURL, config.ResourceMetadata = o.PublicURL, metadataURL(o.PublicURL)
	config.HTTPClient, config.Checked, config.Logger, config.Store = o.HTTPClient, g.tokenChecked, o.Logger, o.Store
	verifier, err := bearer.New(ctx, config)
	if err := errors.Join(accessErr, err); err != nil {
		return nil, err
	}
	g.verifier = verifier
	g.enforce(access)
	g.keys, g.exchange = g.keyExchange(), g.tokenExchange()
	sources := observe.Sources{KeySets: g.keySets, LostRecords: o.Audit.Lost}
	if o.Store != nil {
		shared, err := limit.NewShared(ctx, o.Store, o.LimitsWithoutRedis, time.Now)
		if err != nil {
			return nil, err
		}
		g.limiter = shared
		sources.Redis = func() observe.Redis {
			status := o.Store.Status()
			return observe.Redis{Up: status.Up, Failures: status.Failures, Uncounted: shared.Missed()}
		}
	}
	o.Metrics.Watch(sources)
	if err := g.signPeopleIn(); err != nil {
		g.log.Warn("nobody can sign in with a browser", "err", err)
	}
	g.authenticators = g.allAuthenticators()
	g.handler = g.routes()
	return g, nil
}

// ServeHTTP answers one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handler.ServeHTTP(w, r) }

// Drain makes the gateway tell a load balancer that it is not ready any more.
// It goes on answering, and each answer ends its connection.
func (g *Gateway) Drain() { g.draining.Store(true) }

// Reload takes over the policy of outputs; with an error, the one from before
// stays in force. Keys and verified tokens stay, so what they depend on must
// be what it was.
func (g *Gateway) Reload(outputs *policy.Outputs) error {
	g.reloads.Lock()
	defer g.reloads.Unlock()
	access, err := newAccess(outputs.Policy, g.options.UpstreamDeadlines, g.transport, g.options.Getenv)
	before := g.options.Outputs
	if outputs.Issuer != before.Issuer || outputs.Audience != before.Audience || outputs.Policy.Claims != before.Policy.Claims {
		err = errors.Join(err, errors.New("gateway: the issuer, the audience or the policy's claims have changed: start the API again"))
	}
	if err != nil {
		return err
	}
	access.generation = g.access.Load().generation + 1
	g.enforce(access)
	clients := func(o *policy.Outputs) [6]string {
		return [6]string{o.ClientID, o.ClientSecret, o.OIDCClientID, o.OIDCClientSecret, o.ExchangeClientID, o.ExchangeClientSecret}
	}
	if clients(outputs) != clients(before) {
		g.log.Warn("the API's own clients or their secrets have changed in the stack's outputs: start the API again, it reads them once")
	}
	return nil
}

// Generation is how many policies have been in force since the start, the one
// in force included.
func (g *Gateway) Generation() uint64 { return g.access.Load().generation }

// enforce lets access decide from now on. Requests under way keep theirs.
func (g *Gateway) enforce(a *access) {
	g.access.Store(a)
	var models, clients []string
	for _, m := range a.policy.Models {
		models = append(models, m.Name)
	}
	for _, c := range a.policy.Clients {
		clients = append(clients, c.ClientID)
	}
	g.options.Metrics.PolicyLoaded(a.generation, models, clients, a.groups)
}

// tokenChecked counts the check of an access token.
func (g *Gateway) tokenChecked(refused *refusal.Error, cached bool) {
	var code refusal.Code
	if refused != nil {
		code = refused.Code
	}
	g.options.Metrics.TokenChecked(string(code), cached)
}

// keySets says how the signing keys are.
func (g *Gateway) keySets() (all []observe.KeySet) {
	for _, s := range g.verifier.KeySets() {
		all = append(all, observe.KeySet(s))
	}
	return all
}

// CheckModels says which models of a policy can't be served, without asking
// anything of a model server.
func CheckModels(p *policy.Policy, getenv func(string) string) error {
	_, err := newAccess(p, upstream.Deadlines{}, nil, getenv)
	return err
}

// access is a policy with its models ready to be called.
type access struct {
	generation uint64 // 1 for the first policy
	policy     *policy.Policy
	models     map[string]*served
	keyed      map[string]bool // client ids that may have a service key
	groups     []string        // that the policy names
}

// groupsOf are the groups of a principal that the policy names.
func (a *access) groupsOf(who *bearer.Principal) (named []string) {
	for _, group := range a.groups {
		if slices.Contains(who.Groups, group) {
			named = append(named, group)
		}
	}
	return named
}

// served is one model of the policy: it is either embedded or upstream.
type served struct {
	protocol string                   // its name
	trim     string                   // with what paths begin that the model server's does not have, or has in its URL
	lists    func(*http.Request) bool // whether a request may be sent to the model server; nil for all
	embedded *embedded.Model
	upstream *upstream.Upstream
	audience string // of the token that the upstream gets; empty for none
	host     string // of the upstream
	port     int
}

// newAccess prepares the models of a policy. The error lists all that can't
// be served.
func newAccess(p *policy.Policy, deadlines upstream.Deadlines, transport http.RoundTripper, getenv func(string) string) (*access, error) {
	a := &access{generation: 1, policy: p, models: map[string]*served{}, keyed: map[string]bool{}, groups: p.Groups()}
	for _, c := range p.Clients {
		a.keyed[c.ClientID] = c.Key
	}
	var errs []error
	all := protocols()
	for _, m := range p.Models {
		ready, err := newServed(m, all, deadlines, transport, getenv)
		if err != nil {
			errs = append(errs, fmt.Errorf("gateway: model %s: %w", m.Name, err))
		}
		a.models[m.Name] = ready
	}
	return a, errors.Join(errs...)
}

func newServed(m policy.Model, all []*protocol.Protocol, deadlines upstream.Deadlines, transport http.RoundTripper, getenv func(string) string) (*served, error) {
	speaks, err := named(all, cmp.Or(m.Protocol, policy.ProtocolOIP))
	if err != nil {
		return nil, err
	}
	if m.Embedded != "" {
		embedded, err := embeddedModel(m.Embedded, m.Name)
		return &served{protocol: speaks.Name, embedded: embedded}, err
	}
	var credential *upstream.Secret
	var header string
	if m.Upstream.Credential != nil {
		if credential, err = upstream.NewSecret(m.Upstream.Credential.Env, getenv); err != nil {
			return nil, err
		}
		header = m.Upstream.Credential.Header
	}
	if m.Upstream.TLS != nil {
		if transport, err = upstream.TransportFor(m.Upstream.TLS); err != nil {
			return nil, err
		}
	}
	u, err := upstream.New(upstream.Config{
		URL: m.Upstream.URL, Credential: credential, CredentialHeader: header, Deadlines: deadlines, Transport: transport, MediaTypes: speaks.AnswerTypes,
		HeadersIn: speaks.HeadersIn, HeadersOut: speaks.HeadersOut,
		Fail:   refuse,
		Event:  speaks.Event,
		Begins: func(r *http.Request, stream bool) { recordOf(r).begins(stream) },
		Broken: func(r *http.Request, e *refusal.Error) {
			record := recordOf(r)
			record.code, record.cause = e.Code, e
		},
	})
	if err != nil {
		return nil, err
	}
	s := &served{protocol: speaks.Name, upstream: u, audience: m.Upstream.Audience}
	s.host, s.port = serverOf(m.Upstream.URL)
	if base, err := url.Parse(m.Upstream.URL); err == nil && speaks.Version != "" && policy.EndsInVersion(base) {
		s.trim = speaks.Version
	}
	if speaks.Name == policy.ProtocolPaths {
		s.trim = "/models/" + m.Name
		s.lists = func(r *http.Request) bool { return m.Upstream.Lists(r.Method, strings.TrimPrefix(r.URL.Path, s.trim)) }
	}
	return s, nil
}

// serverOf returns host and port of an http or https URL.
func serverOf(address string) (host string, port int) {
	u, err := url.Parse(address)
	if err != nil {
		return "", 0
	}
	if port, err = strconv.Atoi(u.Port()); err == nil {
		return u.Hostname(), port
	}
	if u.Scheme == "https" {
		return u.Hostname(), 443
	}
	return u.Hostname(), 80
}

// embeddedModel returns the model that the API holds under kind.
func embeddedModel(kind, name string) (*embedded.Model, error) {
	switch kind {
	case "iris":
		return iris.New(name)
	}
	return nil, fmt.Errorf("there is no embedded model %q: there is iris", kind)
}
