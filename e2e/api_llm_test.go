package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"testing"
)

// llmKey is what LiteLLM wants to see.
const llmKey = "sk-a-master-key-of-the-tests"

// claudeStream is a stream of Anthropic's API, shortened.
const claudeStream = `event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"m","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello from behind the API."}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}}

event: message_stop
data: {"type":"message_stop"}

`

// startLiteLLM runs LiteLLM's proxy, which makes its answers up, until the test ends.
func startLiteLLM(t *testing.T) (url string) {
	t.Helper()
	environment, port := installPython(t, "litellm"), freePort(t)
	command := python(t, environment, filepath.Join(environment, "bin", "litellm"), "--config", testdata(t, "litellm", "config.yaml"), "--host", "127.0.0.1", "--port", port)
	command.Env = append(command.Env, "LITELLM_MASTER_KEY="+llmKey, "LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_TELEMETRY=False", "NO_PROXY=*")
	llm := launch(t, "LiteLLM", port, command)
	llm.await(t, "/health/liveliness")
	return llm.URL
}

// The official clients of OpenAI and Anthropic get, with nothing but a base URL
// and an access token as their key, what LiteLLM answers, and raise the error of
// each refusal that its status stands for.
func TestLanguageModels(t *testing.T) {
	llm := startLiteLLM(t)
	environment := installPython(t, "llmclients")
	// LiteLLM makes up no stream of Anthropic's, and none breaks off.
	streams := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if r.URL.Path == "/v1/messages" {
			_, _ = io.WriteString(w, claudeStream)
			return
		}
		_, _ = io.WriteString(w, `data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":[{"index":0,"delta":{"content":"Hel"}}]}`+"\n\n"+`data: {"id`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer streams.Close()
	const password = "correct horse battery staple 4D"
	st := e.up(t, fmt.Sprintf(`
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: language
  keycloak-model-api:models:
    - {name: 'org/talks:8b', protocol: openai, roles: [talkers], upstream: {url: '%[1]s/v1', model: talks, credential: LLM_KEY}}
    - {name: vectors, protocol: openai, roles: [talkers], allow: {actions: [embeddings, metadata]}, upstream: {url: '%[1]s', credential: LLM_KEY}}
    - {name: secret, protocol: openai, upstream: {url: '%[1]s', credential: LLM_KEY}}
    - {name: broken, protocol: openai, roles: [talkers], upstream: {url: '%[2]s'}}
    - {name: claude, protocol: anthropic, roles: [talkers], upstream: {url: '%[1]s', credential: LLM_KEY, credentialHeader: x-api-key}}
    - {name: claude-stream, protocol: anthropic, roles: [talkers], upstream: {url: '%[2]s'}}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [talkers]}
`, llm, streams.URL), secretsOf{"clientSecrets": {"model-api": "an-api-client-secret-of-the-tests"}, "initialPasswords": {"ada": password}})
	st.Env = []string{"LLM_KEY=" + llmKey}
	a := e.startAPI(t, st)

	got := runClient[any](t, python(t, environment, testdata(t, "llmclients", "calls.py"), a.URL), "TOKEN="+st.token(t, st.password("ada", password)).AccessToken)
	const hello = "Hello from behind the API."
	raised := func(name string, status float64, code string) map[string]any {
		return map[string]any{"raised": name, "status": status, "code": code}
	}
	for name, want := range map[string]any{
		"models":              []any{"broken", "org/talks:8b", "vectors"},
		"model":               "org/talks:8b",
		"chat":                hello,
		"chat stream":         map[string]any{"text": hello, "several": true},
		"embeddings":          1.0, // LiteLLM makes up one for however many
		"key in both headers": hello,
		"401":                 raised("AuthenticationError", 401, "token_malformed"),
		"403":                 raised("PermissionDeniedError", 403, "action_refused"),
		"404":                 raised("NotFoundError", 404, "model_unknown"),
		"404 of others":       raised("NotFoundError", 404, "model_unknown"),
		"413":                 raised("APIStatusError", 413, "body_too_large"),
		"steering":            raised("BadRequestError", 400, "member_refused"),
		"cut stream":          map[string]any{"raised": "APIError", "message": "The model's server can't be reached."},
		"claude models":       []any{"claude", "claude-stream"},
		"messages":            hello,
		"messages stream":     hello,
		"claude 401":          raised("AuthenticationError", 401, "token_malformed"),
		"claude 404":          raised("NotFoundError", 404, "model_unknown"),
		"claude 413":          raised("ContentTooLargeError", 413, "body_too_large"),
	} {
		if !reflect.DeepEqual(got[name], want) {
			t.Errorf("%s: got %v, want %v", name, got[name], want)
		}
	}
}
