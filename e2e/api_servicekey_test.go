package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keySecretOf the tests: 256 bits, as clients with a service key need.
const keySecretOf = "b1946ac92492d2347c6235b4d2611184a3f07c1e5d8b9620c7d4e5f60718293a"

// talking is a model server of OpenAI's and Anthropic's APIs that tells who called it.
func talking(t *testing.T) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Authorization")+r.Header.Get("X-Api-Key")+r.Header.Get("Api-Key") != "" {
			w.WriteHeader(http.StatusTeapot) // a credential got through
		}
		if r.URL.Path == "/v1/messages" {
			_, _ = io.WriteString(w, fmt.Sprintf(`{"id":"1","type":"message","role":"assistant","model":"m","stop_reason":"end_turn",`+
				`"content":[{"type":"text","text":"Hello, %s."}],"usage":{"input_tokens":1,"output_tokens":1}}`, r.Header.Get("X-Principal-Client")))
			return
		}
		_, _ = io.WriteString(w, fmt.Sprintf(`{"id":"1","object":"chat.completion","created":0,"model":"m","choices":[{"index":0,"finish_reason":"stop",`+
			`"message":{"role":"assistant","content":"Hello, %s."}}]}`, r.Header.Get("X-Principal-Client")))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// chatWith lets the official client of OpenAI ask a model, and returns what it prints.
func chatWith(t *testing.T, baseURL, key, model string) string {
	t.Helper()
	environment := installPython(t, "llmclients")
	command := exec.CommandContext(t.Context(), filepath.Join(environment, "bin", "python"), testdata(t, "llmclients", "once.py"), model)
	command.Env = []string{"OPENAI_BASE_URL=" + baseURL + "/v1", "OPENAI_API_KEY=" + key, "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=*"}
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("once.py: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// A client with a service key calls models by it, on every protocol's paths, and can
// do nothing else with the secret that is in it. A new secret ends the old key at once
// where it is not kept, and a disabled client is seen within a minute.
func TestServiceKeys(t *testing.T) {
	st := e.up(t, fmt.Sprintf(`
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: keyed
  keycloak-model-api:models:
    - {name: iris, embedded: iris, roles: [callers]}
    - {name: talks, protocol: openai, roles: [callers], upstream: {url: '%s'}}
    - {name: others, protocol: openai, upstream: {url: '%[1]s'}}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api}
    - {clientId: dashboards, kind: service, key: true, serviceAccountRoles: [callers]}
`, talking(t)), secretsOf{"clientSecrets": {"model-api": "an-api-client-secret-of-the-tests", "dashboards": keySecretOf}})
	keys, _ := st.Outputs["service_keys"].(map[string]any)
	key, _ := keys["dashboards"].(string)
	if key == "" {
		t.Fatalf("the outputs have no key: %v", st.Outputs)
	}
	used.add("service key", key)
	a := e.startAPI(t, st)

	a.infer(t, key).want(t, 200, `"setosa"`)
	a.infer(t, key[:len(key)-1]).want(t, 401, "service_key_malformed")
	for _, header := range []string{"X-Api-Key", "Api-Key"} {
		request, err := http.NewRequestWithContext(t.Context(), "POST", a.URL+"/v1/chat/completions", strings.NewReader(`{"model":"talks","messages":[]}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set(header, key)
		send(t, http.DefaultClient, request).want(t, 200, "Hello, dashboards.")
	}
	if got := chatWith(t, a.URL, key, "talks"); got != "Hello, dashboards." {
		t.Errorf("OpenAI's client got %q", got)
	}
	a.do(t, "POST", "/v1/chat/completions", key, `{"model":"others","messages":[]}`).want(t, 404, "model_unknown")
	keyDoesNothingElse(t, st)

	began := time.Now()
	change(t, "keyed", "dashboards", func(client map[string]any) { client["enabled"] = false })
	eventually(t, time.Minute, "the API sees that the client is disabled", func() error {
		if got := a.infer(t, key); got.Status != 401 || !strings.Contains(got.Body, "service_key_refused") {
			return fmt.Errorf("%d %s after %v", got.Status, got.Body, time.Since(began))
		}
		return nil
	})
	change(t, "keyed", "dashboards", func(client map[string]any) { client["enabled"] = true })
	a.infer(t, key).want(t, 200, `"setosa"`)
	change(t, "keyed", "dashboards", func(client map[string]any) { client["secret"] = strings.ToUpper(keySecretOf) })
	e.startAPI(t, st).infer(t, key).want(t, 401, "service_key_refused")
}

// keyDoesNothingElse tries what else Keycloak has for who has a client's secret.
func keyDoesNothingElse(t *testing.T, st *stack) {
	t.Helper()
	own := st.token(t, st.clientCredentials("dashboards")).AccessToken
	said, err := claims(own)
	if err != nil || said["aud"] != "model-api" || said["resource_access"] != nil {
		t.Errorf("its tokens are for %v with client roles %v, want model-api alone: %v", said["aud"], said["resource_access"], err)
	}
	form := st.clientCredentials("dashboards")
	form.Set("scope", "offline_access")
	if got := st.tryToken(t, form); got.RefreshToken != "" {
		t.Error("it gets an offline token")
	}
	form = st.clientCredentials("dashboards")
	form.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
	form.Set("subject_token", own)
	form.Set("subject_token_type", "urn:ietf:params:oauth:token-type:access_token")
	if got := st.tryToken(t, form); got.AccessToken != "" {
		t.Error("it exchanges tokens")
	}
	form = st.clientCredentials("dashboards")
	form.Set("token", own)
	answer, err := http.PostForm(st.output("issuer")+"/protocol/openid-connect/token/introspect", form)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); strings.Contains(string(body), `"active":true`) {
		t.Errorf("it introspects: %s", body)
	}
}
