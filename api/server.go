package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/login"
	"keycloak-model-api/api/model"
	"keycloak-model-api/api/model/iris"
	"keycloak-model-api/api/upstream"
	"keycloak-model-api/policy"
)

// server is what the handlers need.
type server struct {
	verifier  *bearer.Verifier
	publicURL string
	issuer    string
	clientID  string   // of this API at the issuer
	origins   []string // whose pages may call this API
	// sessionEnded hears of each logout at the issuer; nil if nobody needs to.
	sessionEnded func(context.Context, bearer.Logout) error

	login *login.Login // of people with a browser; nil where they can't sign in

	access   atomic.Pointer[access] // replaced as a whole on SIGHUP
	draining atomic.Bool            // not ready, since the program is about to end
	maxBody  int64
	log      *slog.Logger
	now      func() time.Time
}

// access is a policy with its models ready to be called.
type access struct {
	policy *policy.Policy
	models map[string]*served
}

// served is one model of the policy: exactly one field is set.
type served struct {
	embedded *model.Model
	upstream *upstream.Upstream
}

// newAccess prepares the models of a policy. The error lists all that can't
// be served.
func newAccess(p *policy.Policy, timeout time.Duration, transport http.RoundTripper, getenv func(string) string) (*access, error) {
	a := &access{policy: p, models: map[string]*served{}}
	var errs []error
	for _, m := range p.Models {
		ready, err := newServed(m, timeout, transport, getenv)
		if err != nil {
			errs = append(errs, fmt.Errorf("api: model %s: %w", m.Name, err))
		}
		a.models[m.Name] = ready
	}
	return a, errors.Join(errs...)
}

func newServed(m policy.Model, timeout time.Duration, transport http.RoundTripper, getenv func(string) string) (*served, error) {
	if m.Embedded != "" {
		embedded, err := embeddedModel(m.Embedded, m.Name)
		return &served{embedded: embedded}, err
	}
	var credential string
	if m.Upstream.Credential != "" {
		var err error
		if credential, err = upstream.Credential(m.Upstream.Credential, getenv); err != nil {
			return nil, err
		}
	}
	u, err := upstream.New(upstream.Config{
		URL: m.Upstream.URL, Credential: credential, Timeout: timeout, Transport: transport,
		Fail: func(w http.ResponseWriter, r *http.Request, e *upstream.Error) {
			refuse(w, r, problem{e.Status, e.Code, e.Message, e})
		},
		Broken: func(r *http.Request, e *upstream.Error) {
			record := recordOf(r)
			record.code, record.cause = e.Code, e
		},
	})
	return &served{upstream: u}, err
}

// embeddedModel returns the model that the API holds under kind.
func embeddedModel(kind, name string) (*model.Model, error) {
	switch kind {
	case "iris":
		return iris.New(name)
	}
	return nil, fmt.Errorf("there is no embedded model %q: there is iris", kind)
}

// serve runs the API until ctx ends, then lets requests that are under way
// finish. It logs to stderr, one JSON object a line.
func serve(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	config, err := parseConfig(args, getenv)
	if errors.Is(err, flag.ErrHelp) {
		usage(stdout)
		return nil
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	transport := upstream.Transport()
	defer transport.CloseIdleConnections()
	load := func() (*Stack, *access, error) {
		stack, err := loadStack(config.Stack)
		if err != nil {
			return nil, nil, err
		}
		access, err := newAccess(stack.Policy, config.UpstreamTimeout, transport, getenv)
		return stack, access, err
	}
	stack, access, loadErr := load()
	if err := errors.Join(err, loadErr); err != nil {
		return &usageError{err}
	}

	listener, err := net.Listen("tcp", config.Listen)
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	defer listener.Close()
	publicURL := config.PublicURL
	if publicURL == "" {
		publicURL = "http://" + listener.Addr().String()
	}

	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel() // after the last request
	verifier, err := bearer.New(background, bearer.Config{
		Issuers: []bearer.Issuer{{
			URL: stack.Issuer, InternalURL: config.IssuerInternalURL,
			ClientID: stack.ClientID, ClientSecret: stack.ClientSecret,
		}},
		Audience:          stack.Audience,
		Skew:              config.ClockSkew,
		PublicURL:         publicURL,
		ResourceMetadata:  metadataURL(publicURL),
		SessionCookie:     login.CookieName(publicURL),
		KeyMaxAge:         config.KeyMaxAge,
		KeyOutageBound:    max(config.KeyMaxAge, time.Hour),
		NotBeforeInterval: config.NotBeforeInterval,
		IntrospectionTTL:  config.IntrospectionTTL,
		Logger:            log,
	})
	if err != nil {
		return &usageError{err}
	}
	s := &server{
		verifier: verifier, publicURL: publicURL, issuer: stack.Issuer, clientID: stack.ClientID, origins: config.corsOrigins(),
		maxBody: config.MaxBody, log: log, now: time.Now,
	}
	s.access.Store(access)
	if err := s.signPeopleIn(config, stack); err != nil {
		log.Warn("nobody can sign in with a browser", "err", err)
	}

	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go func() {
		for {
			select {
			case <-hup:
				s.reload(stack, load)
			case <-background.Done():
				return
			}
		}
	}()
	log.Info("listening", "address", listener.Addr().String(), "url", publicURL, "issuer", stack.Issuer)
	return s.listenUntil(ctx, listener, config)
}

// reload takes over a changed policy. Keys and verified tokens stay, so what
// they depend on must stay as it was.
func (s *server) reload(before *Stack, load func() (*Stack, *access, error)) {
	stack, access, err := load()
	if err == nil && (stack.Issuer != before.Issuer || stack.Audience != before.Audience) {
		err = errors.New("api: the issuer or the audience has changed: start the API again")
	}
	if err != nil {
		s.log.Error("policy not reloaded: the one from before stays in force", "err", err)
		return
	}
	s.access.Store(access)
	s.log.Info("policy reloaded", "models", len(access.models))
}

// Bounds of one connection. A caller that is slower than these is cut off.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second // header and body
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10 // four times the largest token
)

// listenUntil serves until ctx ends. Then nothing is ready any more, and after
// config.DrainDelay no new request is taken; it returns when those under way
// are answered, or config.ShutdownTimeout has passed.
func (s *server) listenUntil(ctx context.Context, listener net.Listener, config Config) error {
	server := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + config.UpstreamTimeout + 5*time.Second,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		// Else net/http itself answers OPTIONS * with 200.
		DisableGeneralOptionsHandler: true,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("api: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	if config.DrainDelay > 0 {
		s.log.Info("draining: not ready, new requests are still taken", "for", config.DrainDelay.String())
		select {
		case err := <-failed:
			return fmt.Errorf("api: %w", err)
		case <-time.After(config.DrainDelay):
		}
	}
	s.log.Info("stopping: requests under way may finish", "within", config.ShutdownTimeout.String())
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), config.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(bound); err != nil {
		server.Close()
		return fmt.Errorf("api: not all requests finished within %v: %w", config.ShutdownTimeout, err)
	}
	return nil
}
