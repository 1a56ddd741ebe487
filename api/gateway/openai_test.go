package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

const jsonType = "application/json"

// openAIOf is a model of OpenAI's protocol whose server is handler.
func openAIOf(t *testing.T, name string, handler http.HandlerFunc) policy.Model {
	t.Helper()
	m := upstreamOf(t, name, handler)
	m.Protocol = policy.ProtocolOpenAI
	return m
}

// sent is what a model server got.
type sent struct {
	header http.Header
	uri    string
	body   string
}

// keeping answers with JSON and keeps what came.
func keeping(into *sent) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*into = sent{r.Header, r.RequestURI, string(body)}
		w.Header().Set("Content-Type", jsonType)
		_, _ = io.WriteString(w, `{"object":"chat.completion"}`)
	}
}

// The model server gets the body with its own name for the model, and with no
// other byte changed.
func TestOpenAI(t *testing.T) {
	var got sent
	named := openAIOf(t, "org/talks:8b", keeping(&got))
	named.Upstream.Model = "meta-llama/Llama-3.1-8B-Instruct"
	plain := openAIOf(t, "plain", keeping(&got))
	f := newFixture(t, named, plain)
	for _, test := range []struct{ name, path, body, want string }{
		{"chat", "/v1/chat/completions", ` {"messages":[{"role":"user","content":"\u00e9\/"}], "model" : "org/talks:8b","x":1.50}`, ` {"messages":[{"role":"user","content":"\u00e9\/"}], "model" : "meta-llama/Llama-3.1-8B-Instruct","x":1.50}`},
		{"completions", "/v1/completions", `{"model":"plain","prompt":"a"}`, `{"model":"plain","prompt":"a"}`},
		{"embeddings", "/v1/embeddings", `{"model":"plain","input":["a"]}`, `{"model":"plain","input":["a"]}`},
		{"responses are not stored", "/v1/responses", `{"model":"plain","input":"a"}`, `{"store":false,"model":"plain","input":"a"}`},
		{"whatever the caller asks for", "/v1/responses", `{"model":"plain","store":true,"input":"a","previous_response_id":null}`, `{"model":"plain","store":false,"input":"a","previous_response_id":null}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got = sent{}
			response, body := f.do(t, "POST", test.path, f.issuer.Token("RS256"), jsonType, test.body)
			if response.StatusCode != 200 || body != `{"object":"chat.completion"}` {
				t.Fatalf("%s: %s", response.Status, body)
			}
			if got.body != test.want || got.uri != test.path {
				t.Errorf("the model server got %s with %s, want %s", got.uri, got.body, test.want)
			}
		})
	}
	records := f.decisions(t)
	if first, last := records[0], records[len(records)-1]; first["model"] != "org/talks:8b" || first["action"] != "chat" || last["action"] != "responses" || last["code"] != "allowed" {
		t.Errorf("records %v", records)
	}
}

// Every refusal has the shape that OpenAI's clients read, on every status.
func TestOpenAIRefusals(t *testing.T) {
	page := openAIOf(t, "page", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Set-Cookie", "a=b")
	})
	closed := openAIOf(t, "closed", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":{"message":"Incorrect API key provided: sk-upstream"}}`)
	})
	moved := openAIOf(t, "moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	secret := openAIOf(t, "secret", func(http.ResponseWriter, *http.Request) { t.Error("the model server was asked") })
	secret.Allow.Roles = []string{"model-secret"}
	quiet := openAIOf(t, "quiet", func(http.ResponseWriter, *http.Request) { t.Error("the model server was asked") })
	quiet.Allow.Actions = []string{"embeddings"}
	talks := openAIOf(t, "talks", func(http.ResponseWriter, *http.Request) { t.Error("the model server was asked") })
	f := newFixture(t, page, closed, moved, secret, quiet, talks)
	good := f.issuer.Token("RS256")
	norole := f.issuer.Token("RS256", oidctest.Claims{"realm_access": nil})
	const chat = "/v1/chat/completions"
	large := `{"model":"talks","x":"` + strings.Repeat("x", maxBody) + `"}`
	for _, test := range []struct {
		name, method, path, token, contentType, body string
		status                                       int
		kind, code                                   string
	}{
		{"no credential", "POST", chat, "", jsonType, `{"model":"talks"}`, 401, "authentication_error", "no_credential"},
		{"a bad token", "GET", "/v1/models", "x", "", "", 401, "authentication_error", "token_malformed"},
		{"no base role", "POST", chat, norole, jsonType, `{"model":"talks"}`, 403, "permission_error", "role_missing"},
		{"an action that is not the caller's", "POST", chat, good, jsonType, `{"model":"quiet"}`, 403, "permission_error", "action_refused"},
		{"an unknown model", "POST", chat, good, jsonType, `{"model":"none"}`, 404, "invalid_request_error", "model_unknown"},
		{"a model of others", "POST", chat, good, jsonType, `{"model":"secret"}`, 404, "invalid_request_error", "model_unknown"},
		{"a model of another protocol", "POST", chat, good, jsonType, `{"model":"iris"}`, 404, "invalid_request_error", "model_unknown"},
		{"a model of others in the list", "GET", "/v1/models/secret", good, "", "", 404, "invalid_request_error", "model_unknown"},
		{"the metadata that are not allowed", "GET", "/v1/models/quiet", good, "", "", 403, "permission_error", "action_refused"},
		{"another method of a model of others", "DELETE", "/v1/models/secret", good, "", "", 404, "invalid_request_error", "model_unknown"},
		{"a path that is none", "POST", "/v1/files", good, jsonType, "{}", 404, "invalid_request_error", "not_found"},
		{"another method", "GET", chat, good, "", "", 405, "invalid_request_error", "method_not_allowed"},
		{"a stored response", "GET", "/v1/responses/resp_1", good, "", "", 404, "invalid_request_error", "response_unknown"},
		{"a body that is too large", "POST", chat, good, jsonType, large, 413, "invalid_request_error", "body_too_large"},
		{"another media type", "POST", chat, good, "text/plain", `{"model":"talks"}`, 415, "invalid_request_error", "media_type_unsupported"},
		{"a form", "POST", chat, good, "application/x-www-form-urlencoded", `model=talks`, 400, "invalid_request_error", "form_body"},
		{"two names", "POST", chat, good, jsonType, `{"model":"talks","Model":"secret"}`, 400, "invalid_request_error", "body_malformed"},
		{"a member that steers", "POST", chat, good, jsonType, `{"model":"talks","api_base":"http://169.254.169.254"}`, 400, "invalid_request_error", "member_refused"},
		{"the state of others", "POST", "/v1/responses", good, jsonType, `{"model":"talks","previous_response_id":"resp_1"}`, 400, "invalid_request_error", "state_refused"},
		{"a conversation of others", "POST", "/v1/responses", good, jsonType, `{"model":"talks","conversation":{"id":"conv_1"}}`, 400, "invalid_request_error", "state_refused"},
		{"a page of the model server", "POST", chat, good, jsonType, `{"model":"page"}`, 502, "server_error", "upstream_refused"},
		{"the model server refuses us", "POST", chat, good, jsonType, `{"model":"closed"}`, 502, "server_error", "upstream_refused"},
		{"the model server redirects", "POST", chat, good, jsonType, `{"model":"moved"}`, 502, "server_error", "upstream_refused"},
		{"a path of two readings", "GET", "/v1//models", good, "", "", 400, "invalid_request_error", "path_not_canonical"},
	} {
		t.Run(test.name, func(t *testing.T) {
			response, body := f.do(t, test.method, test.path, test.token, test.contentType, test.body)
			checkOpenAIRefusal(t, response, body, test.status, test.kind, test.code)
		})
	}
	t.Run("a body that is too large, in chunks", func(t *testing.T) {
		r, err := http.NewRequest("POST", f.url+chat, io.NopCloser(strings.NewReader(large)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Authorization": {"Bearer " + good}, "Content-Type": {jsonType}}
		response, body := send(t, r)
		checkOpenAIRefusal(t, response, body, 413, "invalid_request_error", "body_too_large")
		if !response.Close {
			t.Error("the connection goes on in the middle of a body")
		}
	})
	t.Run("a body that is compressed", func(t *testing.T) {
		r, err := http.NewRequest("POST", f.url+chat, strings.NewReader(`{"model":"talks"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Authorization": {"Bearer " + good}, "Content-Type": {jsonType}, "Content-Encoding": {"gzip"}}
		response, body := send(t, r)
		checkOpenAIRefusal(t, response, body, 415, "invalid_request_error", "encoding_unsupported")
	})
	t.Run("unknown and of others are the same", func(t *testing.T) {
		_, unknown := f.do(t, "POST", chat, good, jsonType, `{"model":"nothing"}`)
		_, others := f.do(t, "POST", chat, good, jsonType, `{"model":"secret","api_base":"x"}`)
		if unknown != others {
			t.Errorf("%s and %s", unknown, others)
		}
	})
}

func checkOpenAIRefusal(t *testing.T, response *http.Response, body string, status int, kind, code string) {
	t.Helper()
	var got struct {
		Error *struct {
			Message, Type, Code string
			Param               *string
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || got.Error == nil {
		t.Fatalf("%s: not the protocol's error: %s", response.Status, body)
	}
	if response.StatusCode != status || got.Error.Type != kind || got.Error.Code != code || got.Error.Message == "" || !strings.Contains(body, `"param":`) {
		t.Errorf("got %s: %s, want %d %s %s", response.Status, body, status, kind, code)
	}
	h := response.Header
	if h.Get("Content-Type") != jsonType || h.Get("Set-Cookie") != "" || h.Get("Location") != "" || strings.Contains(body, "sk-upstream") {
		t.Errorf("headers %v: %s", h, body)
	}
	if (status == 401) != (h.Get("WWW-Authenticate") != "") && status != 400 {
		t.Errorf("%d has the challenge %q", status, h.Get("WWW-Authenticate"))
	}
}

// The list shows what the caller may call by this protocol, and nothing more.
func TestOpenAIModels(t *testing.T) {
	secret := openAIOf(t, "secret", nil)
	secret.Allow.Roles = []string{"model-secret"}
	f := newFixture(t, openAIOf(t, "org/talks:8b", nil), secret, openAIOf(t, "plain", nil))
	token := f.issuer.Token("RS256")
	_, body := f.do(t, "GET", "/v1/models", token, "", "")
	model := func(name string) string {
		return fmt.Sprintf(`{"id":%q,"object":"model","created":0,"owned_by":"keycloak-model-api"}`, name)
	}
	want := `{"data":[` + model("org/talks:8b") + "," + model("plain") + `],"object":"list"}`
	if strings.TrimSpace(body) != want {
		t.Errorf("got %s, want %s", body, want)
	}
	for _, path := range []string{"/v1/models/org/talks:8b", "/v1/models/org%2Ftalks%3A8b"} {
		if _, body := f.do(t, "GET", path, token, "", ""); strings.TrimSpace(body) != model("org/talks:8b") {
			t.Errorf("%s: got %s", path, body)
		}
	}
}

// A model server's URL may name its version or not.
func TestOpenAIBaseURL(t *testing.T) {
	var got sent
	base := openAIOf(t, "m", keeping(&got))
	host := base.Upstream.URL
	for url, want := range map[string]string{"": "/v1/embeddings", "/": "/v1/embeddings", "/v1": "/v1/embeddings", "/v1/": "/v1/embeddings", "/openai/v4": "/openai/v4/embeddings", "/v1/serve": "/v1/serve/v1/embeddings"} {
		base.Upstream = &policy.Upstream{URL: host + url}
		f := newFixture(t, base)
		if f.do(t, "POST", "/v1/embeddings", f.issuer.Token("RS256"), jsonType, `{"model":"m"}`); got.uri != want {
			t.Errorf("%s: the model server got %s, want %s", url, got.uri, want)
		}
	}
}

// Of the headers of OpenAI's clients only those go on that the model server must
// see: an organization or project is the choice of who pays, and X-Stainless-*
// tell of the caller's computer (openai-python, _base_client.py).
func TestOpenAIHeaders(t *testing.T) {
	var got sent
	m := openAIOf(t, "m", keeping(&got))
	m.Body = &policy.Body{Principal: "safety_identifier"}
	f := newFixture(t, m)
	r, err := http.NewRequest("POST", f.url+"/v1/chat/completions?api-version=1", bytes.NewReader([]byte(`{"model":"m","safety_identifier":"somebody else"}`)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Authorization": {"Bearer " + f.issuer.Token("RS256")}, "Content-Type": {jsonType}, "Openai-Beta": {"responses=v1"}}
	for _, name := range []string{"OpenAI-Organization", "OpenAI-Project", "X-Stainless-Lang", "X-Stainless-Retry-Count", "User-Agent", "Cookie", "Idempotency-Key", "X-Client-Request-Id"} {
		r.Header.Set(name, "smuggled")
	}
	send(t, r)
	for name, values := range got.header {
		if strings.Contains(strings.Join(values, ""), "smuggled") || name == "Authorization" {
			t.Errorf("the model server got %s: %q", name, values)
		}
	}
	id := sha256.Sum256([]byte(f.issuer.URL + "\x00" + fmt.Sprint(f.issuer.Claims()["sub"])))
	if want := fmt.Sprintf(`{"model":"m","safety_identifier":"%x"}`, id); got.header.Get("Openai-Beta") != "responses=v1" || got.uri != "/v1/chat/completions" || got.body != want {
		t.Errorf("the model server got %s %v %s, want %s", got.uri, got.header, got.body, want)
	}
}
