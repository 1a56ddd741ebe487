package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// upstreamConfig has two models that run in MLServer: flowers behind a
// recorder, vault without one. Its %s are their URLs.
const upstreamConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: upstream
  keycloak-model-api:models:
    - {name: flowers, upstream: {url: '%s', credential: FLOWERS_CREDENTIAL}}
    - {name: vault, upstream: {url: '%s'}}
  keycloak-model-api:groups:
    - {name: botany, roles: [model-flowers]}
    - {name: treasury, roles: [model-vault]}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, groups: [botany]}
    - {username: eve, email: eve@example.com, firstName: Eve, lastName: Adams, password: permanent, groups: [treasury]}
    - {username: nobody, email: nobody@example.com, firstName: No, lastName: Body, password: permanent}
`

// upstreamCredential is what the server of flowers wants to see.
const upstreamCredential = "a-credential-for-mlserver-in-the-tests"

// TestUpstream puts the API in front of MLServer, a model server of others
// that speaks the Open Inference Protocol v2.
func TestUpstream(t *testing.T) {
	ml := startMLServer(t)
	between := recordTo(t, ml.URL)
	const password = "correct horse battery staple 4D"
	st := e.up(t, fmt.Sprintf(upstreamConfig, between.URL, ml.URL), secretsOf{
		"clientSecrets":    {"model-api": "an-api-client-secret-of-the-tests"},
		"initialPasswords": {"ada": password, "eve": password, "nobody": password},
	})
	st.Env = []string{"FLOWERS_CREDENTIAL=" + upstreamCredential}
	a := e.startAPI(t, st)
	ada := st.token(t, st.password("ada", password)).AccessToken
	eve := st.token(t, st.password("eve", password)).AccessToken
	nobody := st.token(t, st.password("nobody", password)).AccessToken
	direct := &api{URL: ml.URL}

	// The id makes answers equal: without one MLServer draws it at random.
	const twoFlowers = `{"id":"two","inputs":[{"name":"input","shape":[2,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2,6.3,3.3,6.0,2.5]}]}`
	const inferFlowers = "/v2/models/flowers/infer"

	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		text                     string
	}{
		{"metadata", http.MethodGet, "/v2/models/flowers", "", 200, `"datatype":"FP64","shape":[-1,4]`},
		{"ready", http.MethodGet, "/v2/models/flowers/ready", "", 200, ""},
		{"inference", http.MethodPost, inferFlowers, twoFlowers, 200, `"data":["setosa","virginica"]`},
		{"one of the outputs", http.MethodPost, inferFlowers, strings.Replace(twoFlowers, `"inputs"`, `"outputs":[{"name":"species"}],"inputs"`, 1), 200, `"setosa"`},
		{"refusal by the model", http.MethodPost, inferFlowers, `{"inputs":[{"name":"input","shape":[1,3],"datatype":"FP64","data":[5.1,3.5,1.4]}]}`, 400, `{"error":"the input has the shape [1, 3], want [n, 4]"}`},
		{"refusal of a datatype", http.MethodPost, inferFlowers, strings.Replace(twoFlowers, "FP64", "FP65", 1), 422, `"FP65"`},
		{"refusal of a request without inputs", http.MethodPost, inferFlowers, `{"id":"two"}`, 422, "Field required"},
		{"refusal of what is not JSON", http.MethodPost, inferFlowers, `{"id":`, 422, "JSON decode error"},
		{"failure on data that do not fit their shape", http.MethodPost, inferFlowers, strings.Replace(twoFlowers, "[2,4]", "[3,4]", 1), 500, "Internal Server Error"},
	} {
		t.Run("as the server says it: "+tt.name, func(t *testing.T) {
			want, got := direct.do(t, tt.method, tt.path, "", tt.body), a.do(t, tt.method, tt.path, ada, tt.body)
			got.want(t, tt.status, tt.text)
			if got.Status != want.Status || got.Body != want.Body || got.Header.Get("Content-Type") != want.Header.Get("Content-Type") {
				t.Errorf("through the API: %d %s %s\ndirectly: %d %s %s", got.Status, got.Header.Get("Content-Type"), got.Body, want.Status, want.Header.Get("Content-Type"), want.Body)
			}
			for name := range got.Header {
				if name == "Server" || strings.HasPrefix(name, "Ce-") {
					t.Errorf("the answer shows the server's header %s", name)
				}
			}
		})
	}

	t.Run("compression is between caller and server", func(t *testing.T) {
		body := fmt.Sprintf(`{"id":"many","inputs":[{"name":"input","shape":[100,4],"datatype":"FP64","data":[%s]}]}`, strings.Repeat("5.1,3.5,1.4,0.2,", 99)+"5.1,3.5,1.4,0.2")
		r := request(t, http.MethodPost, a.URL+inferFlowers, ada, body)
		r.Header.Set("Accept-Encoding", "gzip") // by hand, otherwise net/http undoes it
		got := send(t, http.DefaultClient, r)
		if got.Status != http.StatusOK || got.Header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("answer is %d, Content-Encoding %q", got.Status, got.Header.Get("Content-Encoding"))
		}
		unzipped, err := gzip.NewReader(strings.NewReader(got.Body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(unzipped)
		if err != nil {
			t.Fatal(err)
		}
		if want := direct.do(t, http.MethodPost, inferFlowers, "", body); string(answer) != want.Body {
			t.Errorf("through the API: %s\ndirectly: %s", answer, want.Body)
		}
	})

	t.Run("who may call it", func(t *testing.T) {
		before := between.count()
		unknown := a.do(t, http.MethodPost, "/v2/models/no-such/infer", ada, twoFlowers)
		unknown.want(t, http.StatusNotFound, "model_unknown")
		for _, tt := range []struct{ name, method, path, token string }{
			{"inference", http.MethodPost, inferFlowers, eve},
			{"metadata", http.MethodGet, "/v2/models/flowers", eve},
			{"ready", http.MethodGet, "/v2/models/flowers/ready", eve},
			{"a model of the same server", http.MethodPost, "/v2/models/vault/infer", ada},
		} {
			got := a.do(t, tt.method, tt.path, tt.token, "")
			if got.Status != unknown.Status || got.Body != unknown.Body || !slices.Equal(names(got.Header), names(unknown.Header)) {
				t.Errorf("%s without its role: %d %v %s, want what an unknown one gets: %d %v %s", tt.name, got.Status, names(got.Header), got.Body, unknown.Status, names(unknown.Header), unknown.Body)
			}
		}
		a.do(t, http.MethodPost, inferFlowers, nobody, twoFlowers).want(t, http.StatusForbidden, "role_missing")
		a.do(t, http.MethodPost, inferFlowers, "", twoFlowers).want(t, http.StatusUnauthorized, "no_credential")
		if after := between.count(); after != before {
			t.Errorf("%d refused requests arrived at the server", after-before)
		}
		a.do(t, http.MethodGet, "/v2/models", ada, "").want(t, http.StatusOK, `{"models":[{"name":"flowers"}]}`)
		a.do(t, http.MethodGet, "/v2/models", eve, "").want(t, http.StatusOK, `{"models":[{"name":"vault"}]}`)
		a.do(t, http.MethodPost, "/v2/models/vault/infer", eve, twoFlowers).want(t, http.StatusOK, `"setosa"`)
	})

	t.Run("what arrives at the server", func(t *testing.T) {
		r := request(t, http.MethodPost, a.URL+inferFlowers+"?subject=root", ada, twoFlowers)
		r.Header.Set("Cookie", "theme=a-cookie-of-the-caller")
		r.Header.Set("Accept-Encoding", "identity")
		r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		for _, name := range []string{"Proxy-Authorization", "X-Principal-Subject", "X-Principal-Roles", "X-Request-Id", "X-Forwarded-For", "X-Forwarded-User", "X-Real-Ip", "Forwarded", "Ce-Id"} {
			r.Header.Set(name, "smuggled")
		}
		answer := send(t, http.DefaultClient, r)
		answer.want(t, http.StatusOK, `"setosa"`)
		claim, err := claims(ada)
		if err != nil {
			t.Fatal(err)
		}

		got := between.last()
		want := http.Header{
			"Authorization":       {"Bearer " + upstreamCredential},
			"X-Principal-Issuer":  {st.output("issuer")},
			"X-Principal-Subject": {claim["sub"].(string)},
			"X-Principal-Client":  {"model-api"},
			"X-Request-Id":        {answer.Header.Get("X-Request-Id")},
			"Content-Type":        {"application/json"},
			"Content-Length":      {fmt.Sprint(len(twoFlowers))},
			"Accept-Encoding":     {"identity"},
			"Traceparent":         {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		}
		if !maps.EqualFunc(got.header, want, slices.Equal) {
			t.Errorf("headers are %v, want %v", got.header, want)
		}
		if got.uri != inferFlowers {
			t.Errorf("the server is asked for %s, want %s", got.uri, inferFlowers)
		}
		if got.body != twoFlowers {
			t.Errorf("the body is %s, want %s", got.body, twoFlowers)
		}
		if strings.Contains(answer.Body+fmt.Sprint(answer.Header), upstreamCredential) {
			t.Error("the caller sees the credential of the API")
		}
	})

	// MLServer lets everybody unload models: nothing of it but what the API
	// answers for may be reached.
	t.Run("the rest of the server stays shut", func(t *testing.T) {
		direct.do(t, http.MethodPost, "/v2/repository/index", "", "{}").want(t, http.StatusOK, "READY")
		before := between.count()
		for _, path := range []string{
			"/v2/repository/models/flowers/load", "/v2/repository/models/flowers/unload", "/v2/models/flowers/infer_stream",
			"/v2/models/flowers/docs", "/v2/docs", "/metrics",
			"/v2/models/flowers/../../repository/index", "/v2/models/../repository/index", "/v2/models/..%2Frepository/infer",
			"/v2/models/flowers%2F..%2Fvault/infer", "/v2/models/flowers/infer/../../vault/infer", "/v2//models/flowers/infer", "/v2/models/flowers/infer/",
		} {
			if got := a.do(t, http.MethodPost, path, ada, twoFlowers); got.Status != http.StatusNotFound && got.Status != http.StatusBadRequest {
				t.Errorf("POST %s is answered %d %s", path, got.Status, got.Body)
			}
		}
		if after := between.count(); after != before {
			t.Errorf("%d requests arrived at the server, the last is %s", after-before, between.last().uri)
		}
	})

	// A frozen process takes connections and never answers.
	t.Run("a server that hangs", func(t *testing.T) {
		impatient := e.startAPI(t, st, "-upstream-timeout", "1s")
		ml.signal(t, syscall.SIGSTOP)
		defer ml.signal(t, syscall.SIGCONT)
		got := impatient.do(t, http.MethodPost, "/v2/models/vault/infer", eve, twoFlowers)
		got.want(t, http.StatusGatewayTimeout, `{"error":`)
		got.want(t, http.StatusGatewayTimeout, `"code":"upstream_timeout"`)
	})
	t.Run("a server that is back from a pause", func(t *testing.T) {
		a.do(t, http.MethodPost, "/v2/models/vault/infer", eve, twoFlowers).want(t, http.StatusOK, `"setosa"`)
	})
	t.Run("a server that is down", func(t *testing.T) {
		ml.stop(t)
		got := a.do(t, http.MethodPost, "/v2/models/vault/infer", eve, twoFlowers)
		got.want(t, http.StatusBadGateway, `{"error":`)
		got.want(t, http.StatusBadGateway, `"code":"upstream_unreachable"`)
		a.do(t, http.MethodGet, "/readyz", "", "").want(t, http.StatusOK, "") // the API itself is well
	})
	t.Run("a server that is up again", func(t *testing.T) {
		ml.start(t)
		a.do(t, http.MethodPost, "/v2/models/vault/infer", eve, twoFlowers).want(t, http.StatusOK, `"setosa"`)
	})

	for _, secret := range []string{upstreamCredential, ada, eve, strings.Split(ada, ".")[2], "a-cookie-of-the-caller", password} {
		if strings.Contains(a.log.String(), secret) {
			t.Error("the API's log holds a secret")
		}
	}
}

// names are the names of headers, in order.
func names(h http.Header) []string { return slices.Sorted(maps.Keys(h)) }

// request is a request in JSON with an access token.
func request(t *testing.T, method, address, token, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// recorder is a proxy that keeps what passes.
type recorder struct {
	URL  string
	mu   sync.Mutex
	seen []recorded
}

// recorded is one request.
type recorded struct {
	uri    string
	header http.Header
	body   string
}

// recordTo starts a recorder in front of a server.
func recordTo(t *testing.T, server string) *recorder {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	next := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) },
		// MLServer closes a connection after a failure, and this proxy could
		// not send its next request again.
		Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		r.seen = append(r.seen, recorded{request.RequestURI, request.Header.Clone(), string(body)})
		r.mu.Unlock()
		request.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, request)
	}))
	t.Cleanup(proxy.Close)
	r.URL = proxy.URL
	return r
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

func (r *recorder) last() recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seen) == 0 {
		return recorded{}
	}
	return r.seen[len(r.seen)-1]
}

// mlServer is MLServer with the models of testdata/mlserver, on loopback.
type mlServer struct {
	URL         string
	environment string // folder of the virtual environment
	variables   []string
	log         lockedBuffer
	command     *exec.Cmd
	end         context.CancelFunc
	ended       chan error
}

// startMLServer installs MLServer if it isn't yet, and runs it until the test
// ends.
func startMLServer(t *testing.T) *mlServer {
	t.Helper()
	port := freePort(t)
	m := &mlServer{URL: "http://127.0.0.1:" + port, environment: installPython(t, "mlserver")}
	m.variables = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(),
		"MLSERVER_HOST=127.0.0.1", "MLSERVER_HTTP_PORT=" + port, "MLSERVER_GRPC_PORT=" + freePort(t), "MLSERVER_METRICS_PORT=" + freePort(t),
		"MLSERVER_DEBUG=false",        // otherwise it answers failures with its stack trace
		"MLSERVER_PARALLEL_WORKERS=0", // one process
		"PYTHONPATH=" + testdata(t, "mlserver"), "PYTHONPYCACHEPREFIX=" + filepath.Join(m.environment, "pycache"),
	}
	m.start(t)
	t.Cleanup(func() {
		m.stop(t)
		if t.Failed() {
			t.Logf("MLServer's log:\n%s", m.log.String())
		}
	})
	return m
}

// start runs the server and waits until its models are loaded.
func (m *mlServer) start(t *testing.T) {
	t.Helper()
	var ctx context.Context
	ctx, m.end = context.WithCancel(context.Background())
	bin := filepath.Join(m.environment, "bin")
	m.command = exec.CommandContext(ctx, filepath.Join(bin, "python"), filepath.Join(bin, "mlserver"), "start", testdata(t, "mlserver"))
	m.command.Cancel = func() error { return m.command.Process.Signal(syscall.SIGTERM) }
	m.command.WaitDelay = 20 * time.Second // then it is killed
	m.command.Dir = t.TempDir()
	m.command.Env = m.variables
	m.command.Stdout, m.command.Stderr = &m.log, &m.log
	if err := m.command.Start(); err != nil {
		t.Fatalf("starting MLServer: %v: remove %s to have it installed anew", err, m.environment)
	}
	m.ended = make(chan error, 1)
	go func() { m.ended <- m.command.Wait() }()
	eventually(t, time.Minute, "MLServer is ready", func() error {
		select {
		case err := <-m.ended:
			m.ended <- err
			t.Fatalf("MLServer ended: %v: remove %s to have it installed anew\n%s", err, m.environment, m.log.String())
		default:
		}
		res, err := http.Get(m.URL + "/v2/health/ready")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("/v2/health/ready answers %s", res.Status)
		}
		return nil
	})
}

// stop ends the server, and is nothing to one that has ended.
func (m *mlServer) stop(t *testing.T) {
	m.end()
	err := <-m.ended
	m.ended <- err
	if errors.Is(err, exec.ErrWaitDelay) {
		t.Error("MLServer had to be killed")
	}
}

func (m *mlServer) signal(t *testing.T, s os.Signal) {
	if err := m.command.Process.Signal(s); err != nil {
		t.Error(err)
	}
}

// testdata is the absolute path of a file in testdata.
func testdata(t *testing.T, elem ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{"testdata"}, elem...)...))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
