package store

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says where Redis is and how its records are sealed.
type Config struct {
	// URL as docs/redis.md has it: redis:// or rediss://USER@HOST:PORT/DB, or
	// unix:///PATH, with addr for further nodes, cluster, and master_name.
	URL string

	// Password returns that of the user, each time that a connection begins.
	// Default: that of the URL.
	Password func() string

	// Sealer has the keys that all replicas share.
	Sealer *Sealer

	// Issuer is whose tokens the records are about: each issuer has its own
	// part of the keys.
	Issuer string

	// Logger gets when Redis goes and comes back, never a key or a value.
	Logger *slog.Logger
}

// Store is a Redis for one issuer. Scripts and commands are sent to it as to any
// Redis; each is sent once, since an answer that got lost says nothing about
// whether it was carried out. Its errors are counted, and while Redis can't be
// reached most commands fail at once with ErrAway.
type Store struct {
	redis.UniversalClient
	*Sealer // of the values
	prefix  string
	log     *slog.Logger

	failures atomic.Uint64
	restAt   atomic.Int64 // when the last failure was, in nanoseconds since origin; 0 while Redis answers
	origin   time.Time
}

// ErrAway is why a command was not sent: Redis did not answer just now.
var ErrAway = errors.New("store: redis does not answer")

const (
	// timeout bounds a connection, a command and its answer.
	timeout = time.Second
	// rest is how long a Redis that doesn't answer is left alone.
	rest = 250 * time.Millisecond
)

// New returns a Store without asking Redis anything. The error says what is
// wrong with c, without a password.
func New(c Config) (*Store, error) {
	o, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	if c.Password != nil {
		user := o.Username
		o.CredentialsProviderContext = func(context.Context) (string, string, error) { return user, c.Password(), nil }
	}
	// Not again by itself: see Store. A Redis that is gone is the hook's business.
	o.MaxRetries, o.DialerRetries = -1, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout, timeout
	o.ContextTimeoutEnabled, o.DisableIdentity = true, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	id := sha256.Sum256([]byte(c.Issuer))
	s := &Store{
		UniversalClient: redis.NewUniversalClient(o), Sealer: c.Sealer, log: c.Logger,
		prefix: "model-api:{" + hex.EncodeToString(id[:8]), origin: time.Now(),
	}
	s.AddHook(hook{s})
	return s, nil
}

// parseURL reads a URL. The library's own parsers know many more parameters,
// among them a password, and differ for each way to run Redis.
func parseURL(text string) (*redis.UniversalOptions, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("store: the URL of Redis can't be read: " + wantURL) // err repeats it, with a password
	}
	o := &redis.UniversalOptions{Username: u.User.Username()}
	o.Password, _ = u.User.Password()
	path := strings.TrimPrefix(u.Path, "/")
	switch {
	case u.Scheme == "unix" && u.Host == "" && path != "":
		o.Addrs, path = []string{u.Path}, ""
	case (u.Scheme == "redis" || u.Scheme == "rediss") && u.Hostname() != "":
		port := u.Port()
		if port == "" {
			port = "6379"
		}
		o.Addrs = []string{net.JoinHostPort(u.Hostname(), port)}
	default:
		return nil, errors.New("store: that is no URL of Redis: " + wantURL)
	}
	if u.Scheme == "rediss" {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12} // for the name that is dialled
	}
	if path != "" {
		if o.DB, err = strconv.Atoi(path); err != nil || o.DB < 0 {
			return nil, fmt.Errorf("store: %q is no number of a database: %s", path, wantURL)
		}
	}
	for name, values := range u.Query() {
		switch name {
		case "addr":
			o.Addrs = append(o.Addrs, values...)
		case "cluster":
			o.IsClusterMode = values[0] == "true"
		case "master_name":
			o.MasterName = values[0]
		default:
			return nil, fmt.Errorf("store: the URL of Redis has a parameter %.40q: there are addr, cluster and master_name", name)
		}
	}
	if len(o.Addrs) > 1 && o.MasterName == "" {
		o.IsClusterMode = true
	}
	if o.IsClusterMode && o.DB != 0 {
		return nil, errors.New("store: a cluster has no database but 0")
	}
	return o, nil
}

const wantURL = "give one such as rediss://user@redis.example.com:6379"

// HasPassword tells whether the URL of a Redis has a password in it, or can't be
// read, so that it might.
func HasPassword(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return true
	}
	_, has := u.User.Password()
	return has
}

// Key is the name of the record of a kind, which what identifies it is hashed
// into. All records of a kind share a hash tag: a script may use several.
func (s *Store) Key(kind string, id ...string) string {
	h := sha256.New()
	for _, part := range id {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return s.prefix + ":" + kind + "}:" + hex.EncodeToString(h.Sum(nil))
}

// Status is what there is to say of Redis.
type Status struct {
	Up       bool   // it answered the last time that it was asked
	Failures uint64 // commands without an answer, or with an error for one, since the start
}

// Status says how Redis is.
func (s *Store) Status() Status { return Status{s.restAt.Load() == 0, s.failures.Load()} }

// hook counts failures, and leaves a Redis alone that doesn't answer: otherwise
// each request would wait for it.
type hook struct{ store *Store }

func (h hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return h.store.try(ctx, []redis.Cmder{cmd}, func() error { return next(ctx, cmd) })
	}
}

func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return h.store.try(ctx, cmds, func() error { return next(ctx, cmds) })
	}
}

// try sends commands, unless Redis is to be left alone.
func (s *Store) try(ctx context.Context, cmds []redis.Cmder, send func() error) error {
	switch cmds[0].Name() {
	case "hello", "auth", "select", "client", "readonly":
		return send() // a connection begins, for a command that may be sent
	case "xread": // it waits on purpose, and its reader waits after a failure
	default:
		if s.mayTry() {
			break
		}
		for _, cmd := range cmds {
			cmd.SetErr(ErrAway)
		}
		return ErrAway
	}
	err := send()
	s.outcome(ctx, err)
	return err
}

// mayTry tells whether a command may be sent: always while Redis answers;
// otherwise one after each rest.
func (s *Store) mayTry() bool {
	at := s.restAt.Load()
	now := int64(time.Since(s.origin))
	return at == 0 || now-at >= int64(rest) && s.restAt.CompareAndSwap(at, now)
}

// outcome takes down whether Redis answered.
func (s *Store) outcome(ctx context.Context, err error) {
	s.count(ctx, err)
	var answer redis.Error
	switch {
	case err == nil || errors.As(err, &answer): // redis.Nil is one
		if s.restAt.Swap(0) != 0 {
			s.log.Info("redis answers again")
		}
	case errors.Is(ctx.Err(), context.Canceled): // the caller has left
		if at := s.restAt.Load(); at != 0 {
			s.restAt.CompareAndSwap(at, 1) // so that somebody else may try
		}
	default:
		if s.restAt.Swap(max(int64(time.Since(s.origin)), 1)) == 0 {
			s.log.Error("redis does not answer", "err", err)
		}
	}
}

// count counts a failure.
func (s *Store) count(ctx context.Context, err error) {
	if err == nil || errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "NOSCRIPT") || errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	s.failures.Add(1)
}
