package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"go.opentelemetry.io/otel"
	"golang.org/x/time/rate"

	"keycloak-model-api/api/gateway"
	"keycloak-model-api/api/limit"
	"keycloak-model-api/api/observe"
	"keycloak-model-api/api/upstream"
	"keycloak-model-api/internal/cli"
	"keycloak-model-api/policy"
)

// flushTimeout is how long the end of the program waits for whoever reads the log.
const flushTimeout = 2 * time.Second

// garbage is how much of it may gather, in percent of what is in use, before it is
// collected. What is in use is small, and nearly all that a request makes is garbage
// when it ends: with Go's 100 a tenth of the time or more goes to the
// collector. The environment's GOGC and GOMEMLIMIT count as ever.
const garbage = 300

// serve is what the program does without a command.
func (e environment) serve() *command {
	s := newSettings(e.getenv)
	return &command{cli.Command{
		Summary: "Serves the models of the stack's access policy to callers whose access token\nallows it. Each flag can also be set by the environment variable that it names.",
		Flags:   s.flags,
	}, func(ctx context.Context) error {
		config, err := s.config()
		return serve(ctx, config, err, e.getenv, e.stdout, e.stderr)
	}}
}

// serve runs the API until ctx ends, then lets requests that are under way finish.
// wrong is what is wrong with config. It logs to stderr.
func serve(ctx context.Context, config Config, wrong error, getenv func(string) string, stdout, stderr io.Writer) error {
	seen := digestOf(config.Stack) // before it is read: a change in between is one
	outputs, stackErr := readStack(config.Stack)
	if stackErr == nil {
		stackErr = gateway.CheckModels(outputs.Policy, getenv)
	}
	if err := errors.Join(wrong, stackErr); err != nil {
		return &usageError{err}
	}

	if getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	listener, err := listen("listen", config.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	publicURL := config.PublicURL
	if publicURL == "" {
		publicURL = config.scheme() + "://" + listener.Addr().String()
	}

	metrics := observe.NewMetrics(time.Now)
	telemetry, err := observe.NewTelemetry(ctx, getenv)
	if err != nil {
		return &usageError{err}
	}

	// A reader of the log that dies is a failure of the log, not the API's end.
	signal.Ignore(syscall.SIGPIPE)
	log, audit, flush, err := newLogs(config, stdout, stderr)
	if err != nil {
		return &usageError{err}
	}
	defer flush()
	defer sendTelemetry(telemetry, log)()
	secure, err := certificates(config, log)
	if err != nil {
		return &usageError{err}
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()    // after the last request
	logging.Disable() // of the library, whose logger is for the process and writes text: the store logs
	shared, err := newStore(config.Redis, config.RedisKeys, outputs.Issuer, getenv, log)
	if err != nil {
		return &usageError{err}
	}
	if shared != nil {
		defer shared.Close()
		if err := shared.Check(ctx); err != nil {
			return err
		}
	}
	o := config.gateway()
	o.Outputs, o.PublicURL, o.Getenv = outputs, publicURL, getenv
	o.Audit, o.Metrics, o.Telemetry, o.Store, o.Logger = audit, metrics, telemetry, shared, log
	g, err := gateway.New(background, o)
	if err != nil {
		return &usageError{err}
	}

	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go watch(background, config.Stack, seen, hup, func() { reload(g, config.Stack, metrics, log) })
	if err := serveAdmin(background, config, metrics, log); err != nil {
		return err
	}
	stopAuthorizer, err := serveAuthorizer(config, g, getenv, log)
	if err != nil {
		return err
	}
	defer stopAuthorizer()
	log.Info("listening", "address", listener.Addr().String(), "url", publicURL, "issuer", outputs.Issuer)
	return listenUntil(ctx, listener, newServer(g, secure, log), g, config, log)
}

// gateway returns what c says of the gateway.
func (c Config) gateway() gateway.Options {
	return gateway.Options{
		StripPrefix: c.StripPrefix, IssuerInternalURL: c.IssuerInternalURL, CORSOrigins: c.corsOrigins(),
		ClockSkew: c.ClockSkew, KeyMaxAge: c.KeyMaxAge,
		NotBeforeInterval: c.NotBeforeInterval, IntrospectionTTL: c.IntrospectionTTL,
		SessionIdle: c.SessionIdle, SessionLifetime: c.SessionLifetime,
		UpstreamDeadlines: upstream.Deadlines{FirstByte: c.UpstreamFirstByte, Idle: c.UpstreamIdle, Total: c.UpstreamTimeout},
		StreamGrace:       c.StreamGrace, MaxBody: c.MaxBody, TrustedProxies: c.trustedProxies(),
		LimitsWithoutRedis: limit.Without(c.LimitsWithoutRedis),
	}
}

// sendTelemetry has what OpenTelemetry says about itself logged, and returns how
// the last of what it measured is sent.
func sendTelemetry(telemetry *observe.Telemetry, log *slog.Logger) (last func()) {
	// It has one handler for the process, which writes to the standard logger.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry could not be sent", "err", err) }))
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := telemetry.Shutdown(ctx); err != nil {
			log.Warn("telemetry could not be sent", "err", err)
		}
	}
}

// listen opens the address, or takes a socket that is open already.
func listen(flag, address string) (net.Listener, error) {
	descriptor, inherited, err := inheritedSocket(address)
	if err != nil {
		return nil, fmt.Errorf("api: -%s: %w", flag, err)
	}
	if !inherited {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("api: -%s: %w", flag, err)
		}
		return listener, nil
	}
	file := os.NewFile(descriptor, address)
	defer file.Close() // the listener has a copy
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("api: -%s: %s is no listening socket: %w", flag, address, err)
	}
	return listener, nil
}

// inheritedSocket returns the file descriptor that an address such as fd:3 names.
func inheritedSocket(address string) (descriptor uintptr, inherited bool, err error) {
	number, inherited := strings.CutPrefix(address, "fd:")
	if !inherited {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n < 3 {
		return 0, true, fmt.Errorf("%q names no file descriptor from 3 on, such as fd:3", address)
	}
	return uintptr(n), true, nil
}

// newLogs starts the log and the audit records, which stand in it unless
// config.Audit names another place. flush is the end of both.
func newLogs(config Config, stdout, stderr io.Writer) (log *slog.Logger, audit *observe.Audit, flush func(), err error) {
	format := jsonLines
	if config.Log == "text" {
		format = func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) }
	}
	queue := observe.NewLog(stderr, func(lost uint64) { log.Error("lines of the log were lost", "count", lost) })
	log = slog.New(format(queue))
	records, form := queue, observe.InLog(format)
	if config.Audit != "" {
		out := stdout
		if config.Audit != "stdout" {
			if out, err = observe.OpenFile(config.Audit, config.AuditMaxSize, int(config.AuditKeep), time.Now); err != nil {
				return nil, nil, nil, fmt.Errorf("api: -audit: %w", err)
			}
		}
		records = observe.NewLog(out, func(lost uint64) { log.Error("audit records were lost", "count", lost) })
		form = observe.InLog(jsonLines)
	}
	if config.AuditFormat == "ocsf" {
		form = observe.OCSF(time.Now)
	}
	return log, observe.NewAudit(records, observe.OnFailure(config.AuditFailure), form, time.Now), func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		_ = records.Close(ctx) // there is nowhere left to tell
		_ = queue.Close(ctx)
	}, nil
}

func jsonLines(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }

// readStack reads the file that -stack names.
func readStack(path string) (*policy.Outputs, error) {
	outputs, err := policy.ReadOutputs(path)
	if err != nil {
		return nil, fmt.Errorf("api: -stack: %w", err)
	}
	return outputs, nil
}

// serveAdmin serves operators until ctx ends, if there is an address for that.
func serveAdmin(ctx context.Context, config Config, metrics *observe.Metrics, log *slog.Logger) error {
	if config.AdminListen == "" {
		return nil
	}
	listener, err := listen("admin-listen", onLoopback(config.AdminListen))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics.Handler())
	server := &http.Server{
		Handler: mux, ReadTimeout: readHeaderTimeout, WriteTimeout: adminTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	context.AfterFunc(ctx, func() { server.Close() })
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the operators' listener has failed", "err", err)
		}
	}()
	log.Info("operators' listener", "address", listener.Addr().String(), "path", "/metrics")
	return nil
}

// Bounds of one connection. A caller that is slower than these is cut off; those
// of one request are the gateway's.
const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 256 << 10 // the gateway refuses with a code from 64 KiB on
	minDrain          = 100 * time.Millisecond
	adminTimeout      = 30 * time.Second // one answer to an operator
)

// listenUntil serves until ctx ends. Then nothing is ready any more, and after
// config.DrainDelay no new request is taken; it returns when those under way
// are answered, or config.ShutdownTimeout has passed.
func listenUntil(ctx context.Context, listener net.Listener, server *http.Server, g *gateway.Gateway, config Config, log *slog.Logger) error {
	failed := make(chan error, 1)
	go func() { failed <- serveOn(server, listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("api: %w", err)
	case <-ctx.Done():
	}
	// From here on each answer ends its connection. So those in use have ended
	// when Shutdown closes the idle ones, and it cuts off no request that is
	// just arriving.
	g.Drain()
	delay := max(config.DrainDelay, minDrain)
	log.Info("draining: not ready, new requests are still taken", "for", delay.String())
	select {
	case err := <-failed:
		return fmt.Errorf("api: %w", err)
	case <-time.After(delay):
	}
	log.Info("stopping: requests under way may finish", "within", config.ShutdownTimeout.String())
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), config.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(bound); err != nil {
		server.Close()
		return fmt.Errorf("api: not all requests finished within %v: %w", config.ShutdownTimeout, err)
	}
	return nil
}

// newServer returns a server whose bounds are those of one connection. secure is nil
// for one without TLS.
func newServer(handler http.Handler, secure *tls.Config, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		TLSConfig:         secure,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         protocols(secure != nil),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100},
		ErrorLog:          stdlog.New(&fewLines{to: slog.NewLogLogger(log.Handler(), slog.LevelWarn).Writer(), rate: rate.NewLimiter(1, 10)}, "", 0),
		// Else net/http itself answers OPTIONS * with 200.
		DisableGeneralOptionsHandler: true,
	}
}

// fewLines drops what comes too often: strangers decide how often a connection
// fails, such as before there is TLS on it (CWE-779).
type fewLines struct {
	to   io.Writer
	rate *rate.Limiter
}

func (f *fewLines) Write(line []byte) (int, error) {
	if !f.rate.Allow() {
		return len(line), nil
	}
	return f.to.Write(line)
}

// protocols are HTTP/1.1 and HTTP/2: over TLS, or without it for callers that begin
// with HTTP/2, which proxies and meshes in front of the API speak (RFC 9113, section 3.3).
func protocols(secure bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(secure)
	p.SetUnencryptedHTTP2(!secure)
	return p
}
