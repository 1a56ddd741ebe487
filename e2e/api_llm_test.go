package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// llmKey is what LiteLLM wants to see.
const llmKey = "sk-a-master-key-of-the-tests"

// Streams as OpenAI and Anthropic send them, shortened.
const (
	claudeStream = `event: message_start
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
	toolStream = `data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":""}}]},"finish_reason":null}]}

data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]},"finish_reason":null}]}

data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"Oslo\"}"}}]},"finish_reason":null}]}

data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: [DONE]

`
	cutStream = `data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":[{"index":0,"delta":{"content":"Hel"}}]}` + "\n\n" + `data: {"id`
)

// languageServer is a model server for what LiteLLM can't be made to do. A model's
// name says what it does, with or without claude- before it.
type languageServer struct {
	mu    sync.Mutex
	asked map[string]int // how often flaky and slow were, by their name and the message
	end   chan struct{}  // closed when the test ends
}

func (l *languageServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Model    string
		Stream   bool
		Messages []struct{ Content any }
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || len(request.Messages) == 0 {
		http.Error(w, fmt.Sprint("the body is none of a request: ", err), http.StatusBadRequest)
		return
	}
	if request.Stream {
		w.Header().Set("Content-Type", "text/event-stream")
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	model := strings.TrimPrefix(request.Model, "claude-")
	switch model {
	case "stream":
		_, _ = io.WriteString(w, claudeStream)
	case "broken":
		_, _ = io.WriteString(w, cutStream)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "tools":
		if request.Stream {
			_, _ = io.WriteString(w, toolStream)
			return
		}
		_, _ = io.WriteString(w, `{"id":"1","object":"chat.completion","created":0,"model":"m","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":null,
			"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Oslo\"}"}}]}}]}`)
	case "headers":
		// None of these may reach a caller.
		for _, name := range []string{"Set-Cookie", "Access-Control-Allow-Origin", "Server", "X-Powered-By", "Location", "Www-Authenticate"} {
			w.Header().Set(name, "of-the-server")
		}
		names, _ := json.Marshal(slices.Sorted(maps.Keys(r.Header)))
		say(w, r, string(names))
	case "busy":
		events := map[string]string{"/v1/chat/completions": toolStream, "/v1/messages": claudeStream}[r.URL.Path]
		first, _, _ := strings.Cut(events, "\n\n")
		_, _ = io.WriteString(w, first+"\n\n")
		_ = http.NewResponseController(w).Flush()
		<-l.end
	case "flaky":
		if l.count("flaky", request.Messages[0].Content) < 3 {
			w.Header().Set("Retry-After-Ms", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"error":{"message":"overloaded","type":"server_error","param":null,"code":null}}`)
			return
		}
		say(w, r, "the third time")
	case "slow":
		l.count("slow", request.Messages[0].Content)
		<-r.Context().Done()
	default:
		http.NotFound(w, r)
	}
}

// count counts a request to a model by the text of its message.
func (l *languageServer) count(model string, content any) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := fmt.Sprint(model, " for ", content)
	l.asked[key]++
	return l.asked[key]
}

// say answers with a text, in the shape of the path's API.
func say(w http.ResponseWriter, r *http.Request, text string) {
	quoted, _ := json.Marshal(text)
	if r.URL.Path == "/v1/messages" {
		_, _ = fmt.Fprintf(w, `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":%s}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}`, quoted)
		return
	}
	_, _ = fmt.Fprintf(w, `{"id":"1","object":"chat.completion","created":0,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":%s}}]}`, quoted)
}

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

// languageConfig has the models that TestLanguageModels calls. Its %s are the URLs
// of LiteLLM and of a languageServer.
const languageConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: language
  keycloak-model-api:models:
    - {name: 'org/talks:8b', protocol: openai, roles: [talkers], upstream: {url: '%[1]s/v1', model: talks, credential: LLM_KEY}}
    - {name: vectors, protocol: openai, roles: [talkers], allow: {actions: [embeddings, metadata]}, upstream: {url: '%[1]s', credential: LLM_KEY}}
    - {name: secret, protocol: openai, upstream: {url: '%[1]s', credential: LLM_KEY}}
    - {name: broken, protocol: openai, roles: [talkers], upstream: {url: '%[2]s'}}
    - {name: tools, protocol: openai, roles: [talkers], upstream: {url: '%[2]s'}}
    - {name: headers, protocol: openai, roles: [talkers], upstream: {url: '%[2]s', credential: LLM_KEY}}
    - {name: busy, protocol: openai, roles: [talkers], upstream: {url: '%[2]s'}}
    - {name: flaky, protocol: openai, roles: [talkers], upstream: {url: '%[2]s'}}
    - {name: slow, protocol: openai, roles: [talkers], upstream: {url: '%[2]s'}}
    - {name: claude, protocol: anthropic, roles: [talkers], upstream: {url: '%[1]s', credential: LLM_KEY, credentialHeader: x-api-key}}
    - {name: claude-counts, protocol: anthropic, roles: [talkers], allow: {actions: [count_tokens]}, upstream: {url: '%[1]s', credential: LLM_KEY, credentialHeader: x-api-key}}
    - {name: claude-stream, protocol: anthropic, roles: [talkers], upstream: {url: '%[2]s'}}
    - {name: claude-headers, protocol: anthropic, roles: [talkers], upstream: {url: '%[2]s', credential: LLM_KEY, credentialHeader: x-api-key}}
    - {name: claude-busy, protocol: anthropic, roles: [talkers], upstream: {url: '%[2]s'}}
  keycloak-model-api:limits:
    - {model: busy, concurrent: 1}
    - {model: claude-busy, concurrent: 1}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [talkers]}
`

// Each client of OpenAI's and Anthropic's APIs gets, with nothing but a base URL
// and an access token as its key, what the model server answers, and raises the
// error of each refusal that its status stands for.
func TestLanguageModels(t *testing.T) {
	llm := startLiteLLM(t)
	clients, llamaIndex := installPython(t, "llmclients"), installPython(t, "llamaindex")
	node := installNode(t, "openai@"+openaiNodeVersion)
	server := &languageServer{asked: map[string]int{}, end: make(chan struct{})}
	upstream := httptest.NewServer(server)
	defer upstream.Close()
	defer close(server.end)
	const password = "correct horse battery staple 4D"
	st := e.up(t, fmt.Sprintf(languageConfig, llm, upstream.URL), secretsOf{"clientSecrets": {"model-api": "an-api-client-secret-of-the-tests"}, "initialPasswords": {"ada": password}})
	st.Env = []string{"LLM_KEY=" + llmKey}
	a, impatient := e.startAPI(t, st), e.startAPI(t, st, "-upstream-timeout", "1s")
	// It can't fetch the realm's keys, so it can check no token.
	outage := e.launchAPI(t, freePort(t), st, "-issuer-internal-url", "http://127.0.0.1:"+freePort(t)+"/realms/language")
	eventually(t, 20*time.Second, "the API without its issuer answers", func() error {
		_, err := http.Get(outage.URL + "/healthz")
		return err
	})
	token := st.token(t, st.password("ada", password)).AccessToken
	keepBusy(t, a, token)
	to := callsTo{a.URL, outage.URL, impatient.URL, token}

	for _, client := range []struct {
		name string
		came map[string]any
		own  map[string]any // beside what all have
	}{
		{"python", runClient[any](t, python(t, clients, testdata(t, "llmclients", "calls.py")), to.env()...), ownOfPython},
		{"langchain", runClient[any](t, python(t, clients, testdata(t, "llmclients", "langchain_calls.py")), to.env()...), nil},
		{"llamaindex", runClient[any](t, python(t, llamaIndex, testdata(t, "llmclients", "llamaindex_calls.py")), to.env()...), nil},
		{"node", runClient[any](t, nodeScript(node, testdata(t, "llmclients", "calls.mjs")), to.env()...), map[string]any{"headers": headersWith("Authorization", "Openai-Beta")}},
		{"go", to.callGo(t), map[string]any{"headers": headersWith("Authorization", "Openai-Beta")}},
	} {
		want := maps.Clone(ofAllClients)
		maps.Copy(want, client.own)
		for name, want := range want {
			got := client.came[name]
			if expected, isMap := want.(map[string]any); isMap { // other members may be there
				all, _ := got.(map[string]any)
				got = maps.Collect(func(yield func(string, any) bool) {
					for key := range expected {
						if !yield(key, all[key]) {
							return
						}
					}
				})
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s: got %v, want %v", client.name, name, client.came[name], want)
			}
		}
		// The first try and the two that the client makes by itself. LlamaIndex repeats all
		// of that once more where it came to nothing.
		for model, want := range map[string]int{"flaky": 3, "slow": map[bool]int{true: 6, false: 3}[client.name == "llamaindex"]} {
			if n := server.asked[model+" for "+client.name]; n != want {
				t.Errorf("%s asked %s %d times, want %d", client.name, model, n, want)
			}
		}
	}

	got := a.do(t, http.MethodPost, "/v1/chat/completions", token, `{"model":"headers","messages":[{"role":"user","content":"Hello"}]}`)
	got.want(t, http.StatusOK, "Authorization")
	for name, values := range got.Header {
		if slices.Contains(values, "of-the-server") {
			t.Errorf("the answer has the server's header %s", name)
		}
	}
}

// keepBusy holds the one request that each of the busy models takes at once.
func keepBusy(t *testing.T, a *api, token string) {
	for path, model := range map[string]string{"/v1/chat/completions": "busy", "/v1/messages": "claude-busy"} {
		body := `{"model":"` + model + `","stream":true,"max_tokens":1,"messages":[{"role":"user","content":"Hello"}]}`
		res, err := http.DefaultClient.Do(request(t, http.MethodPost, a.URL+path, token, body))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s answers %s", model, res.Status)
		}
	}
}

// refused is what a client raises for one of our refusals.
func refused(status float64, code string) map[string]any {
	return map[string]any{"status": status, "code": code}
}

// headersWith are the names of the headers that arrive at a model server: ours, those of
// HTTP, and more.
func headersWith(more ...string) []any {
	names := append([]string{"Accept", "Content-Length", "Content-Type", "X-Principal-Client", "X-Principal-Issuer", "X-Principal-Subject", "X-Request-Id"}, more...)
	slices.Sort(names)
	var list []any
	for _, name := range names {
		list = append(list, name)
	}
	return list
}

// hello is what LiteLLM says.
const hello = "Hello from behind the API."

// ofAllClients is what each client of OpenAI's API gets.
var ofAllClients = map[string]any{
	"chat":         hello,
	"chat stream":  map[string]any{"text": hello, "several": true},
	"tools":        []any{"weather", map[string]any{"city": "Oslo"}},
	"headers":      headersWith("Authorization"),
	"tools stream": []any{"weather", map[string]any{"city": "Oslo"}},
	"401":          refused(401, "token_malformed"),
	"403":          refused(403, "action_refused"),
	"404":          refused(404, "model_unknown"),
	"413":          refused(413, "body_too_large"),
	"429":          refused(429, "limit_reached"),
	"503":          refused(503, "keys_unavailable"),
	"repeated":     "the third time",
	"time-out":     refused(504, "upstream_timeout"),
}

// ownOfPython is what the clients of Python get beside.
var ownOfPython = map[string]any{
	"401":                 map[string]any{"raised": "AuthenticationError"},
	"403":                 map[string]any{"raised": "PermissionDeniedError"},
	"404":                 map[string]any{"raised": "NotFoundError"},
	"404 of others":       refused(404, "model_unknown"),
	"steering":            map[string]any{"raised": "BadRequestError", "status": 400.0, "code": "member_refused"},
	"cut stream":          map[string]any{"raised": "APIError", "message": "The model's server can't be reached."},
	"headers":             headersWith("Authorization", "Openai-Beta"),
	"claude headers":      headersWith("Anthropic-Beta", "Anthropic-Version", "X-Api-Key"),
	"models":              []any{"broken", "busy", "flaky", "headers", "org/talks:8b", "slow", "tools", "vectors"},
	"model":               "org/talks:8b",
	"embeddings":          1.0, // LiteLLM makes up one for however many
	"key in both headers": hello,
	"claude models":       []any{"claude", "claude-busy", "claude-counts", "claude-headers", "claude-stream"},
	"messages":            hello,
	"messages stream":     hello,
	"claude 401":          map[string]any{"raised": "AuthenticationError", "status": 401.0, "code": "token_malformed"},
	"claude 403":          refused(403, "action_refused"),
	"claude 404":          map[string]any{"raised": "NotFoundError", "status": 404.0, "code": "model_unknown"},
	"claude 413":          map[string]any{"raised": "ContentTooLargeError", "status": 413.0, "code": "body_too_large"},
	"claude 429":          refused(429, "limit_reached"),
	"claude 503":          refused(503, "keys_unavailable"),
}
