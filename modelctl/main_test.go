package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/zalando/go-keyring"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/modelctl/proxy"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"modelctl": func() {
			keyring.MockInitWithError(errors.New("no keyring in tests")) // whatever the machine has
			var stdout, stderr io.Writer = os.Stdout, os.Stderr
			if os.Getenv("ON_TERMINAL") != "" {
				tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
				if err != nil {
					panic(err)
				}
				stdout = tty
			}
			if name := os.Getenv("OUTPUT_LOG"); name != "" {
				log, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
				if err != nil {
					panic(err)
				}
				stderr = io.MultiWriter(stderr, log)
				if len(os.Args) < 2 || os.Args[1] != "token" {
					stdout = io.MultiWriter(stdout, log)
				}
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			code := run(ctx, os.Args[1:], os.Getenv, os.Stdin, stdout, stderr)
			stop()
			os.Exit(code)
		},
		// A browser whose user agrees to everything: it saves the last page.
		"browser": func() {
			resp, err := http.Get(os.Args[1])
			if err != nil {
				panic(err)
			}
			page, err := io.ReadAll(resp.Body)
			if err != nil {
				panic(err)
			}
			if err := os.WriteFile(os.Getenv("PAGE"), page, 0o600); err != nil {
				panic(err)
			}
		},
	})
}

// TestScripts runs the command as a person would, in processes of its own,
// against an issuer and an API that live in this one. After each script no
// output of the command may hold a secret, what token prints apart.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			issuer := oidctest.NewProvider(oidctest.Start(), "model-cli", "")
			env.Defer(issuer.Close)
			api := newFakeAPI(issuer)
			env.Defer(api.server.Close)
			env.Values["issuer"], env.Values["api"] = issuer, api
			log := filepath.Join(env.WorkDir, "output.log")
			env.Setenv("OUTPUT_LOG", log)
			env.Setenv("PAGE", filepath.Join(env.WorkDir, "page.html"))
			env.Setenv("BROWSER", "browser")
			env.Setenv("MODELCTL_CONFIG", filepath.Join(env.WorkDir, "config"))
			env.Setenv("MODELCTL_API", api.server.URL)
			env.Setenv("API", api.server.URL)
			env.Setenv("ISSUER", issuer.URL)
			env.Defer(func() {
				output, err := os.ReadFile(log)
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					env.T().Fatal(err)
				}
				for _, secret := range issuer.Sensitive() {
					if strings.Contains(string(output), secret) {
						env.T().Fatal("the output holds the secret ", secret)
					}
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"issuer": cmdIssuer,
			"api":    cmdAPI,
			"page":   cmdPage,
			"proxy":  cmdProxy,
			"status": cmdStatus,
		},
	})
}

// cmdStatus is "status CODE modelctl …": runs it and compares its exit status.
func cmdStatus(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if e, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](err); ok {
		got = strconv.Itoa(e.ExitCode())
	} else {
		ts.Check(err)
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

// cmdProxy is "proxy up", which waits until one runs, or "proxy STATUS METHOD PATH
// BODY TEXT": sends a request with the proxy's key, and wants that status and text.
func cmdProxy(ts *testscript.TestScript, _ bool, args []string) {
	file := filepath.Join(ts.Getenv("MODELCTL_CONFIG"), "proxy.json")
	running, err := proxy.ReadRunning(file)
	for end := time.Now().Add(time.Minute); args[0] == "up" && err != nil && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		running, err = proxy.ReadRunning(file)
	}
	ts.Check(err)
	if args[0] == "up" {
		return
	}
	r, err := http.NewRequest(args[1], running.URL+args[2], strings.NewReader(args[3]))
	ts.Check(err)
	r.Header.Set("Authorization", "Bearer "+running.Key)
	r.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{DisableKeepAlives: true}
	if running.Socket != "" {
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", running.Socket) }
	}
	response, err := transport.RoundTrip(r)
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	if strconv.Itoa(response.StatusCode) != args[0] || !strings.Contains(string(body), args[4]) {
		ts.Fatalf("%s %s: %s %s", args[1], args[2], response.Status, body)
	}
}

// cmdPage is "page TEXT": waits until the page that the browser saved last says
// so. The browser is not done when modelctl is.
func cmdPage(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		page, err := os.ReadFile(ts.Getenv("PAGE"))
		if err == nil && strings.Contains(string(page), args[0]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("the page is %q, %v", page, err)
		}
	}
}

// cmdIssuer changes the issuer, or counts what it did.
func cmdIssuer(ts *testscript.TestScript, _ bool, args []string) {
	issuer := ts.Value("issuer").(*oidctest.Provider)
	number := func() int {
		n, err := strconv.Atoi(args[len(args)-1])
		ts.Check(err)
		return n
	}
	switch args[0] {
	case "down":
		issuer.SetOutage(true)
	case "up":
		issuer.SetOutage(false)
	case "ended":
		issuer.Set(func(s *oidctest.Settings) { s.Ended = true })
	case "lifetime":
		issuer.Set(func(s *oidctest.Settings) { s.Lifetime = number() })
	case "device":
		issuer.Set(func(s *oidctest.Settings) { s.Device = args[1:] })
	case "nonce":
		issuer.Set(func(s *oidctest.Settings) { s.Nonce = args[1] })
	case "no-dpop":
		issuer.Set(func(s *oidctest.Settings) { s.Metadata = oidctest.Claims{"dpop_signing_alg_values_supported": nil} })
	case "iss":
		issuer.Set(func(s *oidctest.Settings) { s.Response = url.Values{"iss": args[1:]} })
	case "id": // "issuer id CLAIM VALUE" of ID tokens; without a value as before
		issuer.Set(func(s *oidctest.Settings) {
			if s.ID = nil; len(args) > 2 {
				s.ID = oidctest.Claims{args[1]: args[2]}
			}
		})
	case "no-levels": // the times of levels don't reach access tokens
		issuer.Set(func(s *oidctest.Settings) { s.Access = oidctest.Claims{"loa_map": nil} })
	case "levels":
		issuer.Set(func(s *oidctest.Settings) { s.Access = nil })
	case "name":
		issuer.Set(func(s *oidctest.Settings) { s.ID = oidctest.Claims{"name": args[1] + "\x1b[2J"} })
	case "revoke":
		issuer.Revoke()
	case "count":
		if got := issuer.Count(args[1]); got != number() {
			ts.Fatalf("%s: %d, want %d", args[1], got, number())
		}
	default:
		ts.Fatalf("issuer can't %q", args)
	}
}

// cmdAPI changes the API: "api answer STATUS TYPE BODY", "api metadata JSON",
// "api path PATH" below which all is, "api nonce NONCE" that proofs must carry,
// "api step-up PARAMETERS" of the challenge for inference without level 2.
func cmdAPI(ts *testscript.TestScript, _ bool, args []string) {
	api := ts.Value("api").(*fakeAPI)
	api.mu.Lock()
	defer api.mu.Unlock()
	switch args[0] {
	case "answer":
		var err error
		api.status, err = strconv.Atoi(args[1])
		ts.Check(err)
		api.contentType, api.body = args[2], args[3]
	case "metadata":
		api.metadata = args[1]
	case "path":
		api.path = args[1]
	case "nonce":
		api.nonce = args[1]
	case "step-up":
		api.stepUp = args[1]
	default:
		ts.Fatalf("api can't %q", args)
	}
}

// fakeAPI has one model, iris, whose class is always the second.
type fakeAPI struct {
	server *httptest.Server
	issuer *oidctest.Provider

	mu          sync.Mutex
	path        string // below which all of it is
	metadata    string // its metadata, when not the right ones
	nonce       string // not empty: that proofs must carry (RFC 9449, section 9)
	stepUp      string // parameters of the challenge for inference without level 2 (RFC 9470)
	status      int    // not 0: the answer of every endpoint but the metadata
	contentType string
	body        string
}

func (a *fakeAPI) url() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.server.URL + a.path
}

// ServeHTTP strips the path, as a proxy before the API may, but not that of
// the metadata, which stand at the root of the host (RFC 9728, section 3.1).
func (a *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	path, metadata := a.path, a.metadata
	a.mu.Unlock()
	if r.URL.Path == "/.well-known/oauth-protected-resource"+path {
		if metadata != "" {
			fmt.Fprint(w, metadata)
			return
		}
		writeJSON(w, map[string]any{"resource": a.url(), "authorization_servers": []string{a.issuer.URL}})
		return
	}
	http.StripPrefix(path, a.endpoints()).ServeHTTP(w, r)
}

func newFakeAPI(issuer *oidctest.Provider) *fakeAPI {
	api := &fakeAPI{issuer: issuer}
	api.server = httptest.NewUnstartedServer(api)
	api.server.Start() // its handler reads server
	return api
}

func (a *fakeAPI) endpoints() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/models", a.protect(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"models": []any{map[string]any{"name": "iris"}, map[string]any{"name": "sleepy"}}})
	}))
	mux.HandleFunc("GET /v2/models/iris", a.protect(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"name":"iris","platform":"embedded","parameters":{"content_type":"np"},
			"inputs":[{"name":"features","datatype":"FP64","shape":[-1,4],"parameters":{"tags":["é<"]}}],
			"outputs":[{"name":"label","datatype":"BYTES","shape":[-1]},{"name":"probabilities","datatype":"FP64","shape":[-1,3]}]}`)
	}))
	mux.HandleFunc("GET /v2/models/sleepy", a.protect(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	mux.HandleFunc("POST /v2/models/iris/infer", a.protect(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		parameters := a.stepUp
		a.mu.Unlock()
		if parameters != "" && levelOf(r) != "2" {
			h := w.Header()
			h.Add("WWW-Authenticate", `Bearer realm="api", resource_metadata="https://x"`)
			h.Add("WWW-Authenticate", `DPoP realm="api", error="insufficient_user_authentication", error_description="acr_values=9", `+parameters)
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"This model asks for a sign-in of level 2."}`)
			return
		}
		var request struct {
			Inputs []tensor `json:"inputs"`
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || len(request.Inputs) != 1 || request.Inputs[0].Name != "features" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"model iris takes one input, features"}`)
			return
		}
		n := request.Inputs[0].Shape[0]
		var labels []string
		var probabilities []float64
		for range n {
			labels = append(labels, "versicolor")
			probabilities = append(probabilities, 0.0123456, 0.9, 0.0876544)
		}
		writeJSON(w, map[string]any{"model_name": "iris", "outputs": []any{
			map[string]any{"name": "label", "datatype": "BYTES", "shape": []int{n}, "data": labels},
			map[string]any{"name": "probabilities", "datatype": "FP64", "shape": []int{n, 3}, "data": probabilities},
		}})
	}))
	mux.HandleFunc("/v2/", a.protect(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error":"no model of that name"}`)
	}))
	return mux
}

// levelOf is the claim acr of the token that r carries.
func levelOf(r *http.Request) string {
	var claims struct {
		ACR    string `json:"acr"`
		Levels string `json:"loa_map"`
	}
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if parts := strings.Split(token, "."); len(parts) == 3 {
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil && json.Unmarshal(payload, &claims) == nil && claims.Levels != "" {
			return claims.ACR
		}
	}
	return ""
}

func (a *fakeAPI) protect(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		status, contentType, body := a.status, a.contentType, a.body
		a.mu.Unlock()
		if status != 0 {
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return
		}
		err := a.check(r)
		if errors.Is(err, oidctest.ErrUseNonce) {
			a.mu.Lock()
			nonce := a.nonce
			a.mu.Unlock()
			w.Header().Set("DPoP-Nonce", nonce)
			w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce", error_description="the proof needs a nonce"`)
		}
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			writeJSON(w, map[string]string{"error": err.Error()})
			return
		}
		next(w, r)
	}
}

// check is what RFC 6750 and RFC 9449, section 7, ask of an API: a bound token
// comes with its proof, and only as DPoP.
func (a *fakeAPI) check(r *http.Request) error {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	bound := a.issuer.BoundTo(token)
	switch {
	case !a.issuer.Valid(token):
		return errors.New("the token is not valid")
	case bound == "" && scheme == "Bearer":
		return nil
	case bound == "" || scheme != "DPoP":
		return errors.New("wrong scheme")
	}
	a.mu.Lock()
	nonce := a.nonce
	a.mu.Unlock()
	thumbprint, err := a.issuer.Proof(r, a.url()+r.URL.Path, token, nonce)
	if err == nil && thumbprint != bound {
		err = errors.New("proof of another key")
	}
	return err
}

func writeJSON(w http.ResponseWriter, body any) {
	_ = json.NewEncoder(w).Encode(body) // a client that has gone away is not the test's business
}

// A model's server answers what it likes: its shapes are not believed.
func TestPredictionRowsOfAnyShape(t *testing.T) {
	for _, shape := range []string{"[1000000000000000]", "[1000000000]", "[2,2]", "[0]", "[-1]", "[]"} {
		answer := `{"outputs":[{"name":"class","datatype":"BYTES","shape":` + shape + `,"data":["setosa"]}]}`
		if rows, err := predictionRows([]byte(answer)); err == nil {
			t.Errorf("shape %s of one value makes the table %q", shape, rows)
		}
	}
}

// Control characters that JSON allows in a string steer a terminal, too
// (CWE-150): C1 controls such as CSI, DEL, and what reverses the direction. The
// JSON says the same without them.
func TestJSONDoesNotSteerTheTerminal(t *testing.T) {
	var stdout strings.Builder
	c := &command{stdout: &stdout}
	answer := "{\"label\":\"setosa é \u009b2J\u007f\u202e\U000e0001\"}"
	if err := c.printJSON(json.RawMessage(answer)); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"label\": \"setosa é \\u009b2J\\u007f\\u202e\\udb40\\udc01\"\n}\n"; stdout.String() != want {
		t.Errorf("got %q, want %q", stdout.String(), want)
	}
	var got, want any
	if err := errors.Join(json.Unmarshal([]byte(stdout.String()), &got), json.Unmarshal([]byte(answer), &want)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q: %v", got, want, err)
	}
	stdout.Reset()
	if err := c.printJSON(json.RawMessage("[\"\x9b2J\"]")); err != nil || strings.Contains(stdout.String(), "\x9b") {
		t.Errorf("got %q: %v", stdout.String(), err)
	}
}

// A token that was made in the second of a logout may be refused for that
// second; the call is sent once more by itself, and no more than once.
func TestRefusedForOneSecond(t *testing.T) {
	for _, tt := range []struct {
		name       string
		status     int
		retryAfter string
		refusals   int
		calls      int
		waits      time.Duration
		ok         bool
	}{
		{"refused for one second", 401, "1", 1, 2, time.Second, true},
		{"refused again", 401, "1", 2, 2, time.Second, false},
		{"refused for good", 401, "", 1, 1, 0, false},
		{"refused for long", 401, "60", 1, 1, 0, false},
		{"not able for one second (RFC 9110 section 15.6.4)", 503, "1", 1, 2, time.Second, true},
		{"failed, perhaps after the model ran", 500, "1", 1, 1, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var bodies []string
				api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					if bodies = append(bodies, string(body)); len(bodies) > tt.refusals {
						return
					}
					w.Header().Set("Retry-After", tt.retryAfter)
					w.WriteHeader(tt.status)
				})
				c := &client{api: "https://models.example.com", http: &http.Client{Transport: inMemory{api}}}
				start := time.Now()
				_, err := c.infer(t.Context(), "iris", []byte("{}"))
				if (err == nil) != tt.ok || len(bodies) != tt.calls || bodies[len(bodies)-1] != "{}" || time.Since(start) != tt.waits {
					t.Errorf("got %v after %v with the bodies %q", err, time.Since(start), bodies)
				}
			})
		})
	}
}

type inMemory struct{ handler http.Handler }

func (t inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	t.handler.ServeHTTP(w, r)
	return w.Result(), nil
}
