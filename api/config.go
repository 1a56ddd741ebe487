package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"keycloak-model-api/api/limit"
	"keycloak-model-api/api/observe"
	"keycloak-model-api/api/store"
)

// Config is everything that can be set for `go run ./api`. Each field is one
// flag and one environment variable: the flag -public-url is
// API_PUBLIC_URL. A flag wins over its variable. The tags are what -h prints.
type Config struct {
	// Listen is host:port, or fd:N for a socket that is open already; port 0 takes
	// a free one, which the log names.
	Listen string `flag:"listen" default:"127.0.0.1:8000" doc:"Address to listen on, or fd:3 for a listening socket that the parent process hands over as that file descriptor."`

	// AdminListen is off unless it is set: a port that nobody asked for is one more
	// that has to be closed.
	AdminListen string `flag:"admin-listen" doc:"Address of the operators' listener, with GET /metrics for Prometheus: :9464 is port 9464 of 127.0.0.1. There is no access control there, so keep it in a private network. Default: none."`

	// TLSCertificate and TLSKey are files, which are read again when they change.
	TLSCertificate string `flag:"tls-certificate" doc:"File with the certificate of this API and those between it and its authority, in PEM: callers are then served over TLS. A new one is taken over within seconds. Default: none, for a proxy that does so."`
	TLSKey         string `flag:"tls-key" doc:"File with the private key of -tls-certificate, in PEM."`

	// AuthorizeListen is for proxies that pass requests on themselves.
	AuthorizeListen   string `flag:"authorize-listen" doc:"Address of the listener for proxies that ask /authorize before they pass a request on to a model server themselves: :8001 is port 8001 of 127.0.0.1. They show the secret of the environment variable API_AUTHORIZE_SECRET, or of the file that API_AUTHORIZE_SECRET_FILE names, or a certificate. Default: none."`
	AuthorizeClientCA string `flag:"authorize-client-ca" doc:"File with the authorities of the certificates that those proxies show, in PEM: the listener is then served over TLS with -tls-certificate, and nobody can ask without such a certificate. Default: none, the secret alone counts."`
	AuthorizeMethod   string `flag:"authorize-method" default:"X-Original-Method" doc:"Header in which those proxies send the method of the request."`
	AuthorizeTarget   string `flag:"authorize-target" default:"X-Original-Uri" doc:"Header in which those proxies send the target of the request, as the caller wrote it."`

	// Stack holds the outputs of the stack, of which the policy is read again
	// when the file changes.
	Stack string `flag:"stack" default:".dev/stack.json" doc:"File with the stack's outputs, written by go run ./dev, or by pulumi stack output api --json --show-secrets. A changed policy in it is taken over without a restart, within seconds or on SIGHUP; one that is wrong is refused, and the one before stays in force."`

	// Log is the format of stderr: of the log, and of the audit records that stand in it.
	Log string `flag:"log" default:"json" doc:"Format of the log: json, an object a line for programs, or text for people."`

	// Audit is empty, stdout or a path.
	Audit string `flag:"audit" doc:"Where the audit records go, one JSON object a line: stdout, or a file, which only its owner can read. Default: among the lines of the log."`

	// AuditFormat ocsf is JSON wherever it goes.
	AuditFormat string `flag:"audit-format" default:"json" doc:"Form of the audit records: json, as docs/operations.md lists their members, or ocsf, events of the class API Activity (6003) of the Open Cybersecurity Schema Framework."`

	// AuditMaxSize and AuditKeep are for a file.
	AuditMaxSize int64 `flag:"audit-max-size" default:"104857600" doc:"A file of audit records begins anew before it grows beyond so many bytes; the old one stays beside it with the time in its name. 0: never."`
	AuditKeep    int64 `flag:"audit-keep" default:"0" doc:"How many old files of audit records are kept, the newest. 0: all."`

	// PublicURL stands in what callers compare: htu of DPoP proofs, redirect
	// URIs, metadata.
	PublicURL string `flag:"public-url" doc:"URL of this API as its callers see it. Default: http:// or https:// and the address to listen on."`

	// StripPrefix is for proxies that route by path and send it on whole.
	StripPrefix bool `flag:"strip-prefix" doc:"Take the path of -public-url off requests: the proxy in front leaves it there. Default: the proxy takes it off."`

	// IssuerInternalURL is for discovery and keys only; tokens must still
	// carry the issuer of the stack.
	IssuerInternalURL string `flag:"issuer-internal-url" doc:"URL of the issuer as this API reaches it, such as http://keycloak:8080/realms/example-realm, where the public one can't be reached. Default: the issuer of the stack."`

	// ClockSkew is the tolerance for exp, nbf and iat.
	ClockSkew time.Duration `flag:"clock-skew" default:"30s" doc:"How far the clocks of the issuer and this API may differ, 30s to 5m."`

	// NotBeforeInterval needs the outputs client_id and client_secret.
	NotBeforeInterval time.Duration `flag:"not-before-interval" default:"30s" doc:"How often the issuer is asked for its not-before, the bound for a revocation whose push was lost."`

	// IntrospectionTTL is for models with introspect and lightweight tokens.
	IntrospectionTTL time.Duration `flag:"introspection-ttl" default:"5s" doc:"How long an answer of the issuer about a token counts, where it is asked."`

	// CORSOrigins are compared exactly; credentials are never allowed.
	CORSOrigins string `flag:"cors-origins" doc:"Origins whose pages may call this API, such as https://app.example.com, separated by commas. Default: none."`

	// KeyMaxAge is how long a key that the realm has removed may still verify,
	// and how long a new key must be published before it signs.
	KeyMaxAge time.Duration `flag:"key-max-age" default:"5m" doc:"Longest time for which the realm's keys are used without asking for them again, 1s to 24h. A new key must be published that long before it signs."`

	// SessionIdle and SessionLifetime are for people with a browser. A session
	// also ends with the one at the issuer, within the life of an access token.
	SessionIdle     time.Duration `flag:"session-idle" default:"30m" doc:"A browser's session ends after this time without a request."`
	SessionLifetime time.Duration `flag:"session-lifetime" default:"10h" doc:"A browser's session ends after this time whatever happens."`

	// MaxBody bounds what one request can make the API hold in memory.
	MaxBody int64 `flag:"max-body" doc:"Largest body of a request, in bytes. Default: 16 MiB where the body names the model, as with OpenAI's API, otherwise 1 MiB."`

	// UpstreamTimeout is for what is no event stream, UpstreamIdle for those that are.
	UpstreamTimeout   time.Duration `flag:"upstream-timeout" default:"10m" doc:"Longest time that a model's server may take for an answer that is no event stream, up to its last byte."`
	UpstreamFirstByte time.Duration `flag:"upstream-first-byte" default:"10m" doc:"Longest time that a model's server may take until its answer begins."`
	UpstreamIdle      time.Duration `flag:"upstream-idle" default:"5m" doc:"Longest time between two parts of an event stream."`

	// StreamGrace is for access tokens: sessions of browsers renew theirs.
	StreamGrace time.Duration `flag:"stream-grace" default:"10m" doc:"How long an answer goes on after the access token has expired; 0 ends it then. A revocation ends it within 5 seconds."`

	// AuditFailure is refuse or drop.
	AuditFailure string `flag:"audit-failure" default:"drop" doc:"What becomes of requests while what takes the audit records is stuck or can't be written, so that some might be lost. refuse: 503, and not ready. drop: they go on, and /readyz counts the lost ones."`

	// TrustedProxies are for the address in the audit records alone.
	TrustedProxies string `flag:"trusted-proxies" doc:"Addresses of the proxies in front of this API, such as 10.0.0.0/8, separated by commas: only their X-Forwarded-For is believed. Default: none."`

	// Redis is for several replicas. Its password comes from the environment or a
	// file, since the flags of a process can be read by others.
	Redis string `flag:"redis" doc:"Redis that all replicas share, such as rediss://USER@redis.example.com:6379: docs/redis.md. Its password stands in the environment variable API_REDIS_PASSWORD, or in the file that API_REDIS_PASSWORD_FILE names. Default: none, and each replica knows only what it has heard itself."`

	// RedisKeys seal what stands in Redis.
	RedisKeys string `flag:"redis-keys" doc:"File with the keys by which records in Redis are sealed, the same for all replicas: a name and 32 bytes in base64 a line. The first line seals, the others open what is older."`

	// LimitsWithoutRedis is open, closed or local.
	LimitsWithoutRedis string `flag:"limits-without-redis" default:"local" doc:"What becomes of requests with limits while Redis is away. local: each replica counts by itself, against the limits divided by the number of replicas. closed: they get 503. open: they are let through."`

	// DrainDelay is for a load balancer, which goes on sending until it has
	// asked for the readiness again.
	DrainDelay time.Duration `flag:"drain-delay" default:"0s" doc:"How long new requests are still taken after SIGTERM or Ctrl-C, while /readyz already answers 503: at least 100ms. Behind a load balancer: longer than it takes to notice."`

	// ShutdownTimeout is for requests that are under way.
	ShutdownTimeout time.Duration `flag:"shutdown-timeout" default:"25s" doc:"How long requests that are under way may take to finish after SIGTERM or Ctrl-C, once no new ones are taken."`
}

// settings are a Config that its defaults and the environment have filled, and the
// flags that set it. wrong is what could not be read.
type settings struct {
	Config
	flags *flag.FlagSet
	wrong []error
}

func newSettings(getenv func(string) string) *settings {
	s := &settings{flags: flag.NewFlagSet("api", flag.ContinueOnError)}
	fields := reflect.ValueOf(&s.Config).Elem()
	for i := range fields.NumField() {
		field, tag := fields.Field(i), fields.Type().Field(i).Tag
		name, usage := tag.Get("flag"), tag.Get("doc")
		set := func(source string) func(string) error {
			return func(value string) error {
				if err := setField(field, value); err != nil {
					s.wrong = append(s.wrong, fmt.Errorf("api: %s: %w", source, err))
				}
				return nil // so that the mistakes after it are found too
			}
		}
		if value := tag.Get("default"); value != "" {
			_ = set("default of -" + name)(value)
			usage += " Default: " + value + "."
		}
		if value := getenv(envName(name)); value != "" {
			_ = set(envName(name))(value)
		}
		usage = envName(name) + ": " + usage
		if field.Kind() == reflect.Bool {
			s.flags.BoolFunc(name, usage, set("-"+name))
		} else {
			s.flags.Func(name, usage, func(value string) error {
				if name == "redis" {
					s.wrong = append(s.wrong, checkRedisFlag(value))
				}
				return set("-" + name)(value)
			})
		}
	}
	return s
}

// config returns the Config once the flags are read. The error lists everything that
// is wrong.
func (s *settings) config() (Config, error) {
	return s.Config, errors.Join(append(s.wrong, s.validate()...)...)
}

// validate returns everything in c that can't work, with nil among it, apart
// from what bearer.Config says about its own part.
func (c Config) validate() (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("api: "+format, args...)) }
	errs = append(errs, checkListen("listen", c.Listen))
	if c.AdminListen != "" {
		errs = append(errs, checkListen("admin-listen", c.AdminListen))
	}
	if c.AuthorizeListen != "" {
		errs = append(errs, checkListen("authorize-listen", c.AuthorizeListen))
	}
	if (c.TLSCertificate == "") != (c.TLSKey == "") {
		wrong("-tls-certificate, -tls-key: give both, or none")
	}
	if c.AuthorizeClientCA != "" && (c.AuthorizeListen == "" || c.TLSCertificate == "") {
		wrong("-authorize-client-ca: it needs -authorize-listen and -tls-certificate")
	}
	method, target := http.CanonicalHeaderKey(c.AuthorizeMethod), http.CanonicalHeaderKey(c.AuthorizeTarget)
	if !headerName.MatchString(method) || !headerName.MatchString(target) || method == target {
		wrong("-authorize-method, -authorize-target: %q and %q: give the names of two headers", c.AuthorizeMethod, c.AuthorizeTarget)
	}
	errs = append(errs, checkPublicURL(c.PublicURL), checkInternalURL(c.IssuerInternalURL), checkClockSkew(c.ClockSkew))
	for _, origin := range c.corsOrigins() {
		if u, err := url.Parse(origin); err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			wrong("-cors-origins: %q is not an origin such as https://app.example.com", origin)
		}
	}
	if c.Log != "json" && c.Log != "text" {
		wrong("-log: %q is neither json nor text", c.Log)
	}
	if c.AuditFormat != "json" && c.AuditFormat != "ocsf" {
		wrong("-audit-format: %q is neither json nor ocsf", c.AuditFormat)
	}
	if c.AuditMaxSize < 0 || c.AuditKeep < 0 {
		wrong("-audit-max-size, -audit-keep: %d and %d: give 0 or more", c.AuditMaxSize, c.AuditKeep)
	}
	if c.AuditFailure != string(observe.Refuse) && c.AuditFailure != string(observe.Drop) {
		wrong("-audit-failure: %q is neither refuse nor drop", c.AuditFailure)
	}
	for _, text := range list(c.TrustedProxies) {
		if _, err := prefix(text); err != nil {
			wrong("-trusted-proxies: %q is not an address such as 10.0.0.1 or 10.0.0.0/8", text)
		}
	}
	if c.NotBeforeInterval <= 0 {
		wrong("-not-before-interval: %v is not a time to wait: use one such as 30s", c.NotBeforeInterval)
	}
	if c.IntrospectionTTL <= 0 {
		wrong("-introspection-ttl: %v is not a time: use one such as 5s", c.IntrospectionTTL)
	}
	if c.SessionIdle < time.Second || c.SessionLifetime < c.SessionIdle {
		wrong("-session-idle, -session-lifetime: %v and %v: give at least 1s, and a lifetime that is not the shorter", c.SessionIdle, c.SessionLifetime)
	}
	if c.MaxBody != 0 && c.MaxBody < 1024 {
		wrong("-max-body: %d bytes are too few for an inference request: use at least 1024", c.MaxBody)
	}
	for name, d := range map[string]time.Duration{
		"upstream-timeout": c.UpstreamTimeout, "upstream-first-byte": c.UpstreamFirstByte, "upstream-idle": c.UpstreamIdle,
	} {
		if d <= 0 {
			wrong("-%s: %v is not a time to wait: use one such as 60s", name, d)
		}
	}
	if c.StreamGrace < 0 {
		wrong("-stream-grace: %v is not a time to wait: use one such as 10m, or 0s", c.StreamGrace)
	}
	switch limit.Without(c.LimitsWithoutRedis) {
	case limit.Open, limit.Closed, limit.Local:
	default:
		wrong("-limits-without-redis: %q is neither open nor closed nor local", c.LimitsWithoutRedis)
	}
	if (c.Redis == "") != (c.RedisKeys == "") {
		wrong("-redis, -redis-keys: give both, or neither")
	}
	if c.DrainDelay < 0 {
		wrong("-drain-delay: %v is not a time to wait: use one such as 10s, or 0s", c.DrainDelay)
	}
	if c.ShutdownTimeout <= 0 {
		wrong("-shutdown-timeout: %v is not a time to wait: use one such as 25s", c.ShutdownTimeout)
	}
	return errs
}

// headerName is of a header that no proxy drops: some do so where there is an underscore.
var headerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)

// checkListen says why nothing can listen on an address.
func checkListen(flag, address string) error {
	if _, inherited, err := inheritedSocket(address); inherited && err != nil {
		return fmt.Errorf("api: -%s: %w", flag, err)
	} else if inherited {
		return nil // the parent process has chosen the address
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("api: -%s: %q is not host:port, such as 127.0.0.1:8000", flag, address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("api: -%s: port %q is not a number from 0 to 65535", flag, port)
	}
	return nil
}

// onLoopback is an address, of the loopback interface unless it names another.
func onLoopback(address string) string {
	if strings.HasPrefix(address, ":") {
		return "127.0.0.1" + address
	}
	return address
}

// scheme is that of the listener's URL.
func (c Config) scheme() string {
	if c.TLSCertificate != "" {
		return "https"
	}
	return "http"
}

// These flags are the subcommands', too. A URL may be left out.

func checkPublicURL(text string) error {
	return checkURL("public-url", text, "https://api.example.com")
}

func checkInternalURL(text string) error {
	return checkURL("issuer-internal-url", text, "http://keycloak:8080/realms/example-realm")
}

func checkURL(flag, text, example string) error {
	u, err := url.Parse(text)
	if text != "" && (err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		return fmt.Errorf("api: -%s: %q is not a URL such as %s", flag, text, example)
	}
	return nil
}

// checkRedisFlag refuses a password where other users of the computer see it.
func checkRedisFlag(url string) error {
	if url != "" && store.HasPassword(url) {
		return errors.New("api: -redis: give the password by API_REDIS_PASSWORD or API_REDIS_PASSWORD_FILE: others can read the flags of a process")
	}
	return nil
}

func checkClockSkew(d time.Duration) error {
	if d < 30*time.Second || d > 5*time.Minute {
		return fmt.Errorf("api: -clock-skew: %v is not within 30s and 5m", d)
	}
	return nil
}

// corsOrigins returns the origins of CORSOrigins.
func (c Config) corsOrigins() []string { return list(c.CORSOrigins) }

// trustedProxies returns the addresses of TrustedProxies, which is valid.
func (c Config) trustedProxies() (prefixes []netip.Prefix) {
	for _, text := range list(c.TrustedProxies) {
		if p, err := prefix(text); err == nil {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

// prefix reads an address or a range of addresses.
func prefix(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return address.Prefix(address.BitLen())
	}
	return netip.ParsePrefix(text)
}

// list returns the elements of a list, which commas or spaces separate.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

func envName(flag string) string {
	return "API_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// setField sets a field of Config from text.
func setField(field reflect.Value, value string) error {
	switch field.Interface().(type) {
	case string:
		field.SetString(value)
	case bool:
		on, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		field.SetBool(on)
	case time.Duration:
		d, err := time.ParseDuration(value)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 30s or 5m", value)
		}
		field.SetInt(int64(d))
	case int64:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", value)
		}
		field.SetInt(n)
	}
	return nil
}
