package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// anthropicOf is a model of Anthropic's protocol whose server is handler.
func anthropicOf(t *testing.T, name string, handler http.HandlerFunc) policy.Model {
	t.Helper()
	m := upstreamOf(t, name, handler)
	m.Protocol = policy.ProtocolAnthropic
	return m
}

// with sends a request with these headers.
func (f *fixture) with(t *testing.T, method, path, body string, headers http.Header) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = headers
	if body != "" {
		r.Header.Set("Content-Type", jsonType)
	}
	return send(t, r)
}

// Messages go to the model server with the version and betas that the client
// asks for, and with none of its credentials.
func TestAnthropic(t *testing.T) {
	var got sent
	m := anthropicOf(t, "claude", keeping(&got))
	m.Upstream.Model = "claude-sonnet"
	m.Body = &policy.Body{Principal: "metadata.user_id"}
	f := newFixture(t, m)
	token := f.issuer.Token("RS256")
	for _, path := range []string{"/v1/messages", "/v1/messages/count_tokens"} {
		got = sent{}
		response, body := f.with(t, "POST", path+"?beta=true", `{"model":"claude","messages":[],"metadata":{"user_id":"somebody"}}`, http.Header{
			"X-Api-Key": {token}, "Anthropic-Version": {"2023-06-01"}, "Anthropic-Beta": {"a,b"}, "X-Stainless-Lang": {"python"},
		})
		if response.StatusCode != 200 {
			t.Fatalf("%s: %s", response.Status, body)
		}
		h := got.header
		if got.uri != path || h.Get("Anthropic-Version") != "2023-06-01" || h.Get("Anthropic-Beta") != "a,b" || h["X-Stainless-Lang"] != nil {
			t.Errorf("the model server got %s with %v", got.uri, h)
		}
		if h["X-Api-Key"] != nil || h["Authorization"] != nil || strings.Contains(got.body, token) {
			t.Errorf("the model server got the credential: %v", h)
		}
		if !strings.HasPrefix(got.body, `{"model":"claude-sonnet","messages":[],"metadata":{"user_id":"`) || strings.Contains(got.body, "somebody") {
			t.Errorf("the model server got %s", got.body)
		}
	}
}

// Refusals have Anthropic's shape, on every status.
func TestAnthropicRefusals(t *testing.T) {
	closed := anthropicOf(t, "closed", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	f := newFixture(t, closed, openAIOf(t, "talks", nil))
	good := f.issuer.Token("RS256")
	norole := f.issuer.Token("RS256", oidctest.Claims{"realm_access": nil})
	for _, test := range []struct {
		name, method, path, token, body string
		status                          int
		kind, code                      string
	}{
		{"no credential", "POST", "/v1/messages", "", `{"model":"closed"}`, 401, "authentication_error", "no_credential"},
		{"no credential for the list", "GET", "/v1/models", "", "", 401, "authentication_error", "no_credential"},
		{"no base role", "POST", "/v1/messages", norole, `{"model":"closed"}`, 403, "permission_error", "role_missing"},
		{"an unknown model", "POST", "/v1/messages", good, `{"model":"none"}`, 404, "not_found_error", "model_unknown"},
		{"a model of OpenAI's protocol", "POST", "/v1/messages", good, `{"model":"talks"}`, 404, "not_found_error", "model_unknown"},
		{"one in the list", "GET", "/v1/models/talks", good, "", 404, "not_found_error", "model_unknown"},
		{"a batch, which is kept by the server", "POST", "/v1/messages/batches", good, `{}`, 404, "not_found_error", "not_found"},
		{"too large", "POST", "/v1/messages", good, strings.Repeat(" ", maxBody+1), 413, "request_too_large", "body_too_large"},
		{"tool servers", "POST", "/v1/messages", good, `{"model":"closed","mcp_servers":[]}`, 400, "invalid_request_error", "member_refused"},
		{"the model server refuses us", "POST", "/v1/messages", good, `{"model":"closed"}`, 502, "api_error", "upstream_refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			headers := http.Header{"Anthropic-Version": {"2023-06-01"}}
			if test.token != "" {
				headers.Set("X-Api-Key", test.token)
			}
			response, body := f.with(t, test.method, test.path, test.body, headers)
			var got struct {
				Type  string
				Error struct{ Type, Message, Code string }
			}
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatalf("%s: %s", response.Status, body)
			}
			if response.StatusCode != test.status || got.Type != "error" || got.Error.Type != test.kind || got.Error.Code != test.code || got.Error.Message == "" {
				t.Errorf("got %s: %s, want %d %s %s", response.Status, body, test.status, test.kind, test.code)
			}
			if (test.status == 401) != (response.Header.Get("WWW-Authenticate") != "") {
				t.Errorf("challenge %q", response.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

// The list has the shape that the headers ask for, and the models of that
// protocol.
func TestModelsOfBothShapes(t *testing.T) {
	f := newFixture(t, openAIOf(t, "talks", nil), anthropicOf(t, "org/claude", nil))
	token := "Bearer " + f.issuer.Token("RS256")
	for _, test := range []struct{ path, version, want string }{
		{"/v1/models", "", `{"data":[{"id":"talks","object":"model","created":0,"owned_by":"keycloak-model-api"}],"object":"list"}`},
		{"/v1/models", "2023-06-01", `{"data":[{"type":"model","id":"org/claude","display_name":"org/claude","created_at":"1970-01-01T00:00:00Z"}],"has_more":false,"first_id":"org/claude","last_id":"org/claude"}`},
		{"/v1/models/org%2Fclaude", "2023-06-01", `{"type":"model","id":"org/claude","display_name":"org/claude","created_at":"1970-01-01T00:00:00Z"}`},
	} {
		headers := http.Header{"Authorization": {token}}
		if test.version != "" {
			headers.Set("Anthropic-Version", test.version)
		}
		if _, body := f.with(t, "GET", test.path, "", headers); strings.TrimSpace(body) != test.want {
			t.Errorf("%s for %q: %s", test.path, test.version, body)
		}
	}
}

// Clients of these APIs send what they have as a key, some in two places. What is
// the same is one credential; what is not is refused, wherever it stands.
func TestKeyHeaders(t *testing.T) {
	var got sent
	f := newFixture(t, openAIOf(t, "talks", keeping(&got)), upstreamOf(t, "tensors", keeping(&got)))
	token, other := f.issuer.Token("RS256"), f.issuer.Token("ES256")
	const chat = "/v1/chat/completions"
	for _, test := range []struct {
		name, path string
		headers    http.Header
		status     int
		code       string
	}{
		{"x-api-key", chat, http.Header{"X-Api-Key": {token}}, 200, ""},
		{"api-key (Azure)", chat, http.Header{"Api-Key": {token}}, 200, ""},
		{"at tensors", "/v2/models/tensors/infer", http.Header{"X-Api-Key": {token}}, 200, ""},
		{"the same in both", chat, http.Header{"X-Api-Key": {token}, "Api-Key": {token}}, 200, ""},
		{"the same in Authorization", chat, http.Header{"X-Api-Key": {token}, "Authorization": {"Bearer " + token}}, 200, ""},
		{"empty beside Authorization", chat, http.Header{"X-Api-Key": {""}, "Authorization": {"Bearer " + token}}, 200, ""},
		{"another in Authorization", chat, http.Header{"X-Api-Key": {token}, "Authorization": {"Bearer " + other}}, 400, "several_credentials"},
		{"another scheme in Authorization", chat, http.Header{"X-Api-Key": {token}, "Authorization": {"Basic dTpw"}}, 400, "several_credentials"},
		{"a bad one beside a good one", chat, http.Header{"X-Api-Key": {"x"}, "Authorization": {"Bearer " + token}}, 400, "several_credentials"},
		{"a longer one", chat, http.Header{"X-Api-Key": {token + "x"}, "Authorization": {"Bearer " + token}}, 400, "several_credentials"},
		{"two in one header", chat, http.Header{"X-Api-Key": {token, other}}, 400, "several_credentials"},
		{"two in two headers", chat, http.Header{"X-Api-Key": {token}, "Api-Key": {other}}, 400, "several_credentials"},
		{"beside a cookie", chat, http.Header{"X-Api-Key": {token}, "Cookie": {"insecure-loopback-session=x"}}, 400, "several_credentials"},
		{"a bad one", chat, http.Header{"X-Api-Key": {"sk-x"}}, 401, "token_malformed"},
		{"with a scheme within", chat, http.Header{"X-Api-Key": {"Bearer " + token}}, 400, "malformed_credential"},
		{"in the query", chat + "?key=" + token, http.Header{}, 400, "token_in_query"},
		{"in the query, by another name", chat + "?API-Key=" + token, http.Header{"X-Api-Key": {token}}, 400, "token_in_query"},
		{"in the query, beside another", chat + "?a=b&x-api-key=x", http.Header{"X-Api-Key": {token}}, 400, "token_in_query"},
		{"where no protocol is", "/nothing", http.Header{"X-Api-Key": {token}}, 401, "no_credential"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got = sent{}
			response, body := f.with(t, "POST", test.path, `{"model":"talks"}`, test.headers)
			if response.StatusCode != test.status || test.code != "" && !strings.Contains(body, `"`+test.code+`"`) {
				t.Errorf("got %s: %s, want %d %s", response.Status, body, test.status, test.code)
			}
			if test.status == 401 && response.Header.Get("WWW-Authenticate") == "" { // RFC 9110, 15.5.2
				t.Error("no challenge")
			}
			if test.status == 200 && (got.body == "" || got.header["X-Api-Key"] != nil || got.header["Api-Key"] != nil || got.header["Authorization"] != nil) {
				t.Errorf("the model server got %v", got.header)
			}
		})
	}
	checkNoToken(t, f, token)
}

// What a model lists may be called, and nothing else: no model is deleted by
// accident.
func TestListedPaths(t *testing.T) {
	var got sent
	m := upstreamOf(t, "flow", keeping(&got))
	m.Protocol = policy.ProtocolPaths
	m.Upstream.Paths = []string{"POST /invocations", "GET /jobs/*"}
	secret := m
	secret.Name, secret.Allow.Roles = "secret", []string{"model-secret"}
	f := newFixture(t, m, secret)
	token := f.issuer.Token("RS256")
	for _, test := range []struct {
		name, method, path, uri string
		status                  int
	}{
		{"listed", "POST", "/models/flow/invocations", "/invocations", 200},
		{"listed by *", "GET", "/models/flow/jobs/7", "/jobs/7", 200},
		{"HEAD goes with GET", "HEAD", "/models/flow/jobs/7", "/jobs/7", 200},
		{"another method", "DELETE", "/models/flow/jobs/7", "", 404},
		{"another path", "POST", "/models/flow/api/delete", "", 404},
		{"below a listed one", "POST", "/models/flow/invocations/x", "", 404},
		{"of another's model", "POST", "/models/secret/invocations", "", 404},
		{"of no model", "POST", "/models/none/invocations", "", 404},
		{"of a model of another protocol", "POST", "/models/iris/infer", "", 404},
		{"dot segments", "POST", "/models/flow/jobs/../invocations", "", 400},
		{"escaped", "POST", "/models/flow/jobs%2F7", "", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			got = sent{}
			contentType := ""
			if test.method == "POST" {
				contentType = jsonType
			}
			r, err := http.NewRequest(test.method, f.url, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			r.URL.Opaque = test.path // as it is
			r.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {contentType}}
			response, body := send(t, r)
			if response.StatusCode != test.status || got.uri != test.uri {
				t.Errorf("got %s: %s; the model server got %q, want %d and %q", response.Status, body, got.uri, test.status, test.uri)
			}
			if test.status >= 400 {
				checkRefusal(t, response, body, test.path, test.status, map[int]string{404: codeOf(body), 400: "path_not_canonical"}[test.status])
			}
		})
	}
}

func codeOf(body string) string {
	var got struct{ Code string }
	_ = json.Unmarshal([]byte(body), &got)
	if got.Code == "not_found" || got.Code == "model_unknown" {
		return got.Code
	}
	return "one of the two"
}
