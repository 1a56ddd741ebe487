package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// The gateways, by the names that tables use.
const (
	plainProxy = "httputil.ReverseProxy, tuned"
	ourGateway = "api"
	haproxy    = "HAProxy, jwt_verify"
	apache     = "Apache, mod_auth_openidc"
	nginx      = "nginx, no check"
	liteLLM    = "LiteLLM, master key"
)

// program is a server whose processes are watched from outside.
type program struct {
	address string
	cmd     *exec.Cmd
	ended   chan error
	said    *tail
}

// tail keeps the end of what a program says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(len(t.text)-2000, 0):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// missing says what has to be installed for a gateway.
type missing struct{ what string }

func (m missing) Error() string { return m.what }

// startTimeout is for LiteLLM, which takes half a minute on a busy machine.
const startTimeout = 2 * time.Minute

// site is what all gateways stand in, in a folder for their files.
type site struct {
	dir    string
	root   string // of this project
	issuer *oidctest.Issuer
	model  *modelServer
}

// start starts a gateway on the first CPU, and waits until it answers a request
// that it must let through. The error is missing if it is not installed.
func (s *site) start(ctx context.Context, name string, try []byte) (*program, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &program{address: listener.Addr().String(), ended: make(chan error, 1), said: &tail{}}
	listener.Close()
	dir, err := os.MkdirTemp(s.dir, "gateway")
	if err != nil {
		return nil, err
	}
	if p.cmd, err = s.command(ctx, name, dir, p.address); err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 10 * time.Second // then it is killed
	if err := startOn(0, p.cmd); err != nil {
		return nil, err
	}
	go func() { p.ended <- p.cmd.Wait() }()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		if err = p.try(try); err == nil {
			return p, nil
		}
		select {
		case end := <-p.ended:
			p.ended <- end
			return nil, fmt.Errorf("it ended: %w: %s", end, p.said)
		default:
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("it does not answer: %w: %s", err, p.said), p.stop())
		}
	}
}

// try sends one request.
func (p *program) try(request []byte) error {
	c, err := dial(p.address, 1)
	if err != nil {
		return err
	}
	defer c.close()
	return c.connections[0].roundTrip(request)
}

func (p *program) usage(string) (usage, error) { return familyUsage(p.cmd.Process.Pid) }

func (p *program) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return nil
}

// command is that of a gateway, with its configuration written to dir.
func (s *site) command(ctx context.Context, name, dir, address string) (*exec.Cmd, error) {
	switch name {
	case plainProxy:
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, self, "-proxy", s.model.url(), "-listen", address)
		cmd.Env = append(os.Environ(), serveVariable+"=1")
		return cmd, nil
	case ourGateway:
		return s.api(ctx, dir, address)
	case haproxy:
		return s.haproxy(ctx, dir, address)
	case apache:
		return s.apache(ctx, dir, address)
	case nginx:
		return s.nginx(ctx, dir, address)
	case liteLLM:
		return s.liteLLM(ctx, dir, address)
	}
	return nil, fmt.Errorf("no gateway %q", name)
}

// serveProxy is the process of the reverse proxy that all others stand beside.
func serveProxy(ctx context.Context, upstream, address string) error {
	target, err := url.Parse(upstream)
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost, transport.DisableCompression = 0, 2048, true
	server := &http.Server{Addr: address, ReadHeaderTimeout: time.Minute, Handler: &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:  transport,
		BufferPool: &buffers{},
		ErrorLog:   log.New(io.Discard, "", 0),
	}}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[32 << 10]byte); ok {
		return buffer[:]
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buffer []byte) { b.pool.Put((*[32 << 10]byte)(buffer)) }

// api is this project's, with all that it can do for a request turned on: the
// check, the policy, limits (which nobody reaches), metering, audit records in a
// file, metrics.
func (s *site) api(ctx context.Context, dir, address string) (*exec.Cmd, error) {
	binary := filepath.Join(s.dir, "api")
	if _, err := os.Stat(binary); err != nil {
		if err := build(ctx, s.root, binary, "./api"); err != nil {
			return nil, err
		}
	}
	s.issuer.Secrets[audience] = "secret"
	role := policy.Conditions{Roles: []string{audience + "/model-iris"}}
	outputs, err := json.Marshal(policy.Outputs{
		RealmName: "example-realm", Realm: "Example", Issuer: s.issuer.URL, JWKSURI: s.issuer.URL + "/protocol/openid-connect/certs",
		Audience: audience, ClientID: audience, ClientSecret: "secret",
		Policy: &policy.Policy{
			Version: policy.Version, BaseRole: "model-api-access",
			Models: []policy.Model{
				{Name: "iris", Protocol: policy.ProtocolOIP, Upstream: &policy.Upstream{URL: s.model.url()}, Allow: role},
				{Name: "chat", Protocol: policy.ProtocolOpenAI, Upstream: &policy.Upstream{URL: s.model.url()}, Allow: role},
			},
			Clients: []policy.Client{{ClientID: "my-api-client", Kind: "web"}},
			Limits: []policy.Limit{
				{Role: "model-api-access", Requests: policy.Rate{Minute: 1e9}, Tokens: policy.Rate{Day: 1e15}, Concurrent: 1e6},
				{Client: "my-api-client", Requests: policy.Rate{Hour: 1e12}},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	stack := filepath.Join(dir, "stack.json")
	return exec.CommandContext(ctx, binary, "-listen", address, "-admin-listen", "127.0.0.1:0", "-stack", stack,
		"-audit", filepath.Join(dir, "audit.jsonl"), "-audit-keep", "1"), os.WriteFile(stack, outputs, 0o600)
}

// installed finds a program of a package of Debian's.
func installed(name, pkg string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", missing{"not measured: install " + pkg}
}

// haproxy checks signature, issuer, expiry and the first audience: its reader of
// JSON finds no others.
func (s *site) haproxy(ctx context.Context, dir, address string) (*exec.Cmd, error) {
	binary, err := installed("haproxy", "haproxy")
	if err != nil {
		return nil, err
	}
	key, err := s.publicKey(dir)
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer("ADDRESS", address, "MODEL", s.model.Addr().String(), "ISSUER", s.issuer.URL, "AUDIENCE", audience, "KEY", key).Replace(`
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 90s
    timeout server 90s
frontend callers
    bind ADDRESS
    http-request set-var(txn.token) http_auth_bearer
    http-request deny deny_status 401 unless { var(txn.token) -m found }
    http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
    http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
    http-request set-var(txn.now) date()
    http-request deny deny_status 401 unless { var(txn.alg) -m str RS256 }
    http-request deny deny_status 401 unless { var(txn.token),jwt_payload_query('$.iss') -m str ISSUER }
    http-request deny deny_status 401 unless { var(txn.token),jwt_payload_query('$.aud[0]') -m str AUDIENCE }
    http-request deny deny_status 401 if { var(txn.exp),sub(txn.now) -m int lt 0 }
    http-request deny deny_status 401 unless { var(txn.token),jwt_verify(txn.alg,"KEY") -m int 1 }
    default_backend models
backend models
    http-reuse always
    server model MODEL
`)
	config := filepath.Join(dir, "haproxy.cfg")
	return exec.CommandContext(ctx, binary, "-db", "-f", config), os.WriteFile(config, []byte(text), 0o600)
}

// publicKey writes the issuer's key to a file in dir.
func (s *site) publicKey(dir string) (file string, err error) {
	public, err := x509.MarshalPKIXPublicKey(s.issuer.Key("RS256").Public())
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, "key.pem")
	return file, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644)
}

// apacheModules is where Debian puts them.
const apacheModules = "/usr/lib/apache2/modules"

func (s *site) apache(ctx context.Context, dir, address string) (*exec.Cmd, error) {
	binary, err := installed("apache2", "apache2 and libapache2-mod-auth-openidc")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(apacheModules, "mod_auth_openidc.so")); err != nil {
		return nil, missing{"not measured: install libapache2-mod-auth-openidc"}
	}
	key, err := s.publicKey(dir)
	if err != nil {
		return nil, err
	}
	text := ""
	for _, module := range []string{"mpm_event", "authn_core", "authz_core", "authz_user", "proxy", "proxy_http", "auth_openidc"} {
		text += fmt.Sprintf("LoadModule %s_module %s/mod_%s.so\n", module, apacheModules, module)
	}
	if os.Getuid() == 0 {
		text += "User www-data\nGroup www-data\n"
	}
	text += strings.NewReplacer("ADDRESS", address, "MODEL", s.model.url(), "ISSUER", s.issuer.URL, "AUDIENCE", audience, "DIR", dir, "KEYID", s.issuer.Key("RS256").ID, "KEY", key).Replace(`
ServerRoot DIR
ServerName localhost
PidFile DIR/pid
DefaultRuntimeDir DIR
ErrorLog DIR/error.log
Listen ADDRESS
StartServers 16
ServerLimit 16
ThreadLimit 75
ThreadsPerChild 75
MinSpareThreads 1200
MaxSpareThreads 1200
MaxRequestWorkers 1200
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 120
OIDCOAuthVerifyCertFiles KEYID#KEY
OIDCOAuthRemoteUserClaim sub
OIDCCryptoPassphrase a-passphrase-of-the-benchmark
<Location />
    AuthType oauth20
    <RequireAll>
        Require claim iss:ISSUER
        Require claim aud:AUDIENCE
    </RequireAll>
</Location>
ProxyPass / MODEL/ enablereuse=on flushpackets=on
`)
	config := filepath.Join(dir, "apache.conf")
	return exec.CommandContext(ctx, binary, "-DFOREGROUND", "-f", config), os.WriteFile(config, []byte(text), 0o644)
}

func (s *site) nginx(ctx context.Context, dir, address string) (*exec.Cmd, error) {
	binary, err := installed("nginx", "nginx")
	if err != nil {
		return nil, err
	}
	text := "daemon off;\nmaster_process off;\nworker_rlimit_nofile 8192;\npid " + filepath.Join(dir,
		"pid") + ";\nerror_log stderr crit;\n" +
		"events { worker_connections 4096; }\nhttp {\n  access_log off;\n  keepalive_requests 1000000000;\n  client_max_body_size 0;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += "  " + kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	text += "  upstream model { server " + s.model.Addr().String() + "; keepalive 2048; keepalive_requests 1000000000; }\n" +
		"  server {\n    listen " + address + " backlog=4096;\n    location / {\n      proxy_pass http://model;\n      " +
		"proxy_http_version 1.1;\n" +
		"      proxy_set_header Connection \"\";\n      proxy_buffering off;\n      proxy_request_buffering off;\n    }\n  }\n}\n"
	config := filepath.Join(dir, "nginx.conf")
	return exec.CommandContext(ctx, binary, "-e", "stderr", "-c", config), os.WriteFile(config, []byte(text), 0o600)
}

// liteLLMKey is what LiteLLM wants to see.
const liteLLMKey = "sk-a-master-key-of-the-benchmark"

func (s *site) liteLLM(ctx context.Context, dir, address string) (*exec.Cmd, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(cache, "keycloak-model-api", "litellm-*", "bin", "litellm"))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, missing{"not measured: go test -C e2e -run 'TestLanguageModels$' . installs it"}
	}
	text := "model_list:\n  - model_name: chat\n    litellm_params: {model: openai/chat, api_base: \"" + s.model.url() + "/v1\", " +
		"api_key: none}\n" +
		"general_settings:\n  master_key: os.environ/LITELLM_MASTER_KEY\nlitellm_settings: {telemetry: false}\n"
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config, bin := filepath.Join(dir, "config.yaml"), filepath.Dir(found[0])
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "python"), found[0], "--config", config, "--host", host, "--port", port)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + dir, "PYTHONDONTWRITEBYTECODE=1", "LITELLM_LOG=ERROR",
		"LITELLM_MASTER_KEY=" + liteLLMKey, "LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_TELEMETRY=False", "NO_PROXY=*",
	}
	return cmd, os.WriteFile(config, []byte(text), 0o600)
}

// startOn starts a command on one CPU: what it starts itself stays there, too.
func startOn(cpu int, cmd *exec.Cmd) error {
	runtime.LockOSThread() // a new process has the CPUs of the thread that starts it
	defer runtime.UnlockOSThread()
	defer pinThread(cpu)()
	return cmd.Start()
}
