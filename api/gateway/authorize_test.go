package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keycloak-model-api/api/upstream"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

const methodHeader, targetHeader = "X-Original-Method", "X-Original-Uri"

// ask asks as a proxy does about a request, whose headers h become those of the
// check.
func (f *fixture) ask(t *testing.T, method, target, body string, h http.Header) (*http.Response, string) {
	t.Helper()
	server := httptest.NewServer(f.gateway.Authorizer(methodHeader, targetHeader))
	t.Cleanup(server.Close)
	r, err := http.NewRequest("GET", server.URL+"/authorize", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = h.Clone()
	if method != "" {
		r.Header.Add(methodHeader, method)
	}
	if target != "" {
		r.Header.Add(targetHeader, target)
	}
	return send(t, r)
}

func bearerOf(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {jsonType}}
}

// An allowed request is answered with who calls, and goes nowhere.
func TestAuthorizerAllows(t *testing.T) {
	forwarded := false
	forward := func(http.ResponseWriter, *http.Request) { forwarded = true }
	f := newFixture(t, upstreamOf(t, "tensors", forward), openAIOf(t, "talks", forward), anthropicOf(t, "org/claude", forward),
		policy.Model{Name: "flow", Protocol: policy.ProtocolPaths, Upstream: &policy.Upstream{URL: "http://flow.example", Paths: []string{"POST /invocations"}}})
	token := f.issuer.Token("RS256")
	anthropic := http.Header{"X-Api-Key": {token}, "Anthropic-Version": {"2023-06-01"}, "Content-Type": {jsonType}}
	for _, row := range []struct {
		name, method, target, body string
		headers                    http.Header
		model, action              string
	}{
		{"infer, whose body stays at the proxy", "POST", "/v2/models/tensors/infer", "", bearerOf(token), "tensors", "infer"},
		{"a body that is sent all the same", "POST", "/v2/models/tensors/infer", "{}", bearerOf(token), "tensors", "infer"},
		{"metadata", "GET", "/v2/models/tensors", "", bearerOf(token), "tensors", "metadata"},
		{"chat with its body", "POST", "/v1/chat/completions", `{"model":"talks"}`, bearerOf(token), "talks", "chat"},
		{"a stream, whose body nobody can change", "POST", "/v1/chat/completions", `{"model":"talks","stream":true}`, bearerOf(token), "talks", "chat"},
		{"responses that ask for no storage", "POST", "/v1/responses", `{"model":"talks","store":false}`, bearerOf(token), "talks", "responses"},
		{"a key header of Anthropic's clients", "POST", "/v1/messages", `{"model":"org/claude"}`, anthropic, "org/claude", "messages"},
		{"a listed path", "POST", "/models/flow/invocations", "", bearerOf(token), "flow", "infer"},
	} {
		t.Run(row.name, func(t *testing.T) {
			response, body := f.ask(t, row.method, row.target, row.body, row.headers)
			if response.StatusCode != 200 || body != "" {
				t.Fatalf("%s: %s", response.Status, body)
			}
			claims := f.issuer.Claims()
			for name, want := range map[string]any{upstream.HeaderIssuer: f.issuer.URL, upstream.HeaderSubject: claims["sub"], upstream.HeaderClient: "my-api-client"} {
				if got := response.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %v", name, got, want)
				}
			}
			records := f.decisions(t)
			last := records[len(records)-1]
			if last["model"] != row.model || last["action"] != row.action || last["path"] != row.target || last["method"] != row.method || last["code"] != "allowed" {
				t.Errorf("the record is %v", last)
			}
		})
	}
	if forwarded {
		t.Error("a request went to the model server")
	}
	checkNoToken(t, f, token)
}

// What the API would refuse is refused with the same code, and what only a proxy
// can get wrong is refused too.
func TestAuthorizerRefuses(t *testing.T) {
	renamed := openAIOf(t, "renamed", nil)
	renamed.Upstream.Model = "meta-llama/Llama-3.1-8B-Instruct"
	f := newFixture(t, openAIOf(t, "talks", nil), renamed, upstreamOf(t, "tensors", nil))
	token := f.issuer.Token("RS256")
	good := bearerOf(token)
	with := func(name string, values ...string) http.Header {
		h := good.Clone()
		h[name] = values
		return h
	}
	const infer, chat, talks = "/v2/models/tensors/infer", "/v1/chat/completions", `{"model":"talks"}`
	for _, row := range []struct {
		name, method, target, body string
		headers                    http.Header
		status                     int
		code                       string
	}{
		{"no credential", "POST", infer, "", http.Header{}, 401, "no_credential"},
		{"no credential where the body is missing", "POST", chat, "", http.Header{}, 401, "no_credential"},
		{"two credentials", "POST", infer, "", with("Authorization", "Bearer "+token, "Bearer "+f.issuer.Token("ES256")), 400, "several_credentials"},
		{"two credentials that a proxy has joined (RFC 9110, 5.3)", "POST", infer, "", with("Authorization", "Bearer "+token+",Bearer "+token), 400, "malformed_credential"},
		{"a model that the caller may not see", "POST", "/v2/models/forbidden/infer", "", good, 404, "model_unknown"},
		{"a wrong method", "DELETE", infer, "", good, 405, "method_not_allowed"},
		{"a method in lower case", "post", infer, "", good, 405, "method_not_allowed"},
		{"two methods in one header", "POST, GET", infer, "", good, 405, "method_not_allowed"},
		{"no method", "", infer, "", good, 400, "target_refused"},
		{"no target", "POST", "", "", good, 400, "target_refused"},
		{"a method of the caller beside the proxy's", "POST", infer, "", with(methodHeader, "GET"), 400, "target_refused"},
		{"a target of the caller beside the proxy's", "POST", infer, "", with(targetHeader, "/v2/models/iris/infer"), 400, "target_refused"},
		{"a query, which the proxy would pass on", "POST", infer + "?a=b", "", good, 400, "target_refused"},
		{"an empty query", "POST", infer + "?", "", good, 400, "target_refused"},
		{"a fragment", "POST", infer + "#a", "", good, 400, "target_refused"},
		{"an absolute target (RFC 9112, 3.2.2)", "POST", "http://127.0.0.1:8000" + infer, "", good, 400, "target_refused"},
		{"the target of CONNECT", "CONNECT", "127.0.0.1:8000", "", good, 400, "target_refused"},
		{"CVE-2019-9901: a dot segment", "POST", "/v2/models/forbidden/../tensors/infer", "", good, 400, "path_not_canonical"},
		{"CVE-2019-9901: an escaped dot segment", "POST", "/v2/models/tensors/%2e%2e/forbidden/infer", "", good, 400, "path_not_canonical"},
		{"an escaped slash", "POST", "/v2/models%2ftensors/infer", "", good, 400, "path_not_canonical"},
		{"two slashes", "POST", "//v2/models/tensors/infer", "", good, 400, "path_not_canonical"},
		{"a semicolon", "POST", infer + ";a", "", good, 400, "path_not_canonical"},
		{"a list, which the API alone filters", "GET", "/v2/models", "", good, 404, "not_found"},
		{"a list of OpenAI's", "GET", "/v1/models", "", good, 404, "not_found"},
		{"what the API tells of a model itself", "GET", "/v1/models/talks", "", good, 404, "not_found"},
		{"a probe", "GET", "/healthz", "", good, 404, "not_found"},
		{"the issuer's callbacks", "POST", "/admin/k_logout", "", good, 404, "not_found"},
		{"metadata of the API", "GET", metadataPath, "", good, 404, "not_found"},
		{"the sign-in", "GET", "/login", "", good, 404, "not_found"},
		{"a body that the proxy did not send", "POST", chat, "", good, 403, "body_not_sent"},
		{"a body that Envoy cut off", "POST", chat, talks, with(partialBody, "true"), 403, "body_not_sent"},
		{"a mark of the caller beside Envoy's", "POST", chat, talks, with(partialBody, "false", "true"), 403, "body_not_sent"},
		{"a body that names the model twice", "POST", chat, `{"model":"talks","Model":"x"}`, good, 400, "body_malformed"},
		{"a body that steers the model server", "POST", chat, `{"model":"talks","api_base":"http://x"}`, good, 400, "member_refused"},
		{"a compressed body", "POST", chat, talks, with("Content-Encoding", "gzip"), 415, "encoding_unsupported"},
		{"a form, which may hold a token", "POST", infer, "", with("Content-Type", "application/x-www-form-urlencoded"), 400, "form_body"},
		{"responses that would be stored", "POST", "/v1/responses", talks, good, 403, "body_would_change"},
		{"a name that the model server does not know", "POST", chat, `{"model":"renamed"}`, good, 403, "body_would_change"},
	} {
		t.Run(row.name, func(t *testing.T) {
			response, body := f.ask(t, row.method, row.target, row.body, row.headers)
			if response.StatusCode != row.status || !strings.Contains(body, `"`+row.code+`"`) {
				t.Errorf("%s: %s, want %d %s", response.Status, body, row.status, row.code)
			}
			if h := response.Header; h.Get(HeaderAuthorizeCode) != row.code || h.Get(HeaderAuthorizeStatus) == "" || h.Get(upstream.HeaderSubject) != "" {
				t.Errorf("headers %v", h)
			}
			records := f.decisions(t)
			if last := records[len(records)-1]; last["code"] != row.code {
				t.Errorf("the record is %v", last)
			}
		})
	}
}

// A request that the API does not judge for a proxy stays without the headers that
// tell one what to answer.
func TestOnlyProxiesGetTheirHeaders(t *testing.T) {
	f := newFixture(t)
	response, _ := f.do(t, "GET", "/v2", "", "", "")
	if response.Header.Get(HeaderAuthorizeStatus) != "" || response.Header.Get(HeaderAuthorizeCode) != "" {
		t.Errorf("headers %v", response.Header)
	}
}

// Proofs of possession are of the original request (RFC 9449, section 4.3), and
// each counts once.
func TestAuthorizerProofs(t *testing.T) {
	f := newFixture(t)
	proven := f.proven(t, inferIris, nil)
	if response, body := f.ask(t, "GET", "/v2/models/iris", "", proven().Header); response.StatusCode != 401 || !strings.Contains(body, "dpop_proof_invalid") {
		t.Errorf("a proof of another request: %s: %s", response.Status, body)
	}
	if response, body := f.ask(t, "POST", inferIris, "", proven().Header); response.StatusCode != 200 {
		t.Errorf("%s: %s", response.Status, body)
	}
	if response, body := f.ask(t, "POST", inferIris, "", proven().Header); response.StatusCode != 401 || !strings.Contains(body, "dpop_proof_replayed") {
		t.Errorf("a proof that was used: %s: %s", response.Status, body)
	}
}

// Requests count against the limits, whoever passes them on.
func TestAuthorizerLimits(t *testing.T) {
	f := newFixture(t)
	f.limited(t, policy.Limit{Role: "model-api-access", Requests: policy.Rate{Day: 2}, Concurrent: 1})
	h := bearerOf(f.issuer.Token("RS256"))
	for range 2 {
		if response, body := f.ask(t, "POST", inferIris, "", h); response.StatusCode != 200 || response.Header.Get("RateLimit") == "" {
			t.Fatalf("%s: %s", response.Status, body)
		}
	}
	response, body := f.ask(t, "POST", inferIris, "", h)
	if response.StatusCode != 429 || response.Header.Get(HeaderAuthorizeStatus) != "429" || response.Header.Get("Retry-After") == "" {
		t.Errorf("%s: %s", response.Status, body)
	}
	if response, body := f.do(t, "POST", inferIris, f.issuer.Token("RS256"), jsonType, irisRow); response.StatusCode != 429 {
		t.Errorf("the API counts apart: %s: %s", response.Status, body)
	}
}

// The target has the path of the public URL, as the caller wrote it.
func TestAuthorizerBelowAPath(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	options := testOptions(issuer, io.Discard)
	options.PublicURL = "https://api.example.com/ml"
	g := newGateway(t, options)
	waitFor(t, "the issuer's keys", func() bool { return g.verifier.Ready() == nil })
	f := &fixture{issuer: issuer, gateway: g}
	for target, want := range map[string]int{
		"/ml/v2/models/iris/infer": 200, "/v2/models/iris/infer": 400, "/mlx/v2/models/iris/infer": 400, "/ml": 400, "/ml/ml/v2/models/iris/infer": 404,
	} {
		if response, body := f.ask(t, "POST", target, "", bearerOf(issuer.Token("RS256"))); response.StatusCode != want {
			t.Errorf("%s: %s: %s, want %d", target, response.Status, body, want)
		}
	}
}

// A browser's session is no credential for a proxy that asks, which may have
// dropped what tells another site's page (CWE-352).
func TestAuthorizerTakesNoSession(t *testing.T) {
	s := newSite(t)
	p := s.person()
	p.signIn()
	f := &fixture{gateway: s.gateway}
	h := http.Header{"Cookie": {p.cookie().String()}, "Content-Type": {jsonType}}
	if response, body := f.ask(t, "POST", inferIris, "", h); response.StatusCode != 401 || !strings.Contains(body, "no_credential") {
		t.Errorf("%s: %s", response.Status, body)
	}
	h.Set("Authorization", "Bearer "+s.issuer.Token("RS256"))
	if response, body := f.ask(t, "POST", inferIris, "", h); response.StatusCode != 400 || !strings.Contains(body, "several_credentials") {
		t.Errorf("beside a token: %s: %s", response.Status, body)
	}
}
