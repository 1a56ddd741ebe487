package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Tools that know nothing of tokens call models as the person who has signed in, with
// the lines that setup prints for them: the tokens behind it are bound to a key.
func TestModelctlProxy(t *testing.T) {
	yaml := strings.Replace(e.devConfig(t), "realm: example-realm", "realm: proxied", 1)
	server := talking(t)
	yaml = strings.Replace(yaml, "  keycloak-model-api:models:\n", fmt.Sprintf("  keycloak-model-api:models:\n"+
		"    - {name: talks, protocol: openai, roles: [model-api-access], upstream: {url: '%s'}}\n"+
		"    - {name: claude, protocol: anthropic, roles: [model-api-access], upstream: {url: '%[1]s'}}\n", server), 1)
	st := e.up(t, yaml, devSecrets())
	a := e.startAPI(t, st)
	m := &modelctl{t: t, dir: t.TempDir()}
	m.signIn(a.URL, st.output("issuer"), devSecrets()["initialPasswords"]["ml-api-user"])

	proxy := m.start("proxy", "-listen", "127.0.0.1:0")
	eventually(t, 30*time.Second, "the proxy runs", func() error {
		_, err := os.Stat(filepath.Join(m.dir, "proxy.json"))
		return err
	})
	const hello = "Hello, model-cli."
	for _, tool := range []struct{ name, environment, script string }{
		{"openai", "llmclients", `eval "$(modelctl setup openai)"; exec python ` + testdata(t, "llmclients", "once.py") + ` talks`},
		{"anthropic", "llmclients", `eval "$(modelctl setup anthropic)"; exec python -c '
import anthropic
print(anthropic.Anthropic(max_retries=0).messages.create(model="claude", max_tokens=50, messages=[{"role": "user", "content": "Hello"}]).content[0].text)'`},
		{"langchain", "llmclients", `modelctl setup -model talks langchain >tool.py; echo 'print(llm.invoke("Hello").content)' >>tool.py; exec python tool.py`},
		{"llamaindex", "llamaindex", `modelctl setup -model talks llamaindex >tool.py; echo 'print(llm.complete("Hello").text)' >>tool.py; exec python tool.py`},
	} {
		t.Run(tool.name, func(t *testing.T) {
			environment := installPython(t, tool.environment)
			command := exec.CommandContext(t.Context(), "sh", "-c", tool.script)
			command.Dir = t.TempDir()
			command.Env = []string{
				"PATH=" + filepath.Join(environment, "bin") + ":" + e.bin + ":" + os.Getenv("PATH"), "HOME=" + command.Dir,
				"MODELCTL_CONFIG=" + m.dir, "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=*",
			}
			out, err := command.Output()
			if err != nil {
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					t.Logf("%s", exit.Stderr)
				}
				t.Fatal(err)
			}
			if got := strings.TrimSpace(string(out)); got != hello {
				t.Errorf("it got %q, want %q", got, hello)
			}
		})
	}
	key := m.start("key")
	key.want(0, "modelctl-")
	base := proxyURL(t, m)
	for name, headers := range map[string]http.Header{
		"without the key": {}, "with the person's own token": {"Authorization": {"Bearer " + m.tokens().Access.Value}},
		"from a page": {"Authorization": {"Bearer " + strings.TrimSpace(key.stdout.String())}, "Origin": {"https://evil.example"}},
	} {
		request, err := http.NewRequestWithContext(t.Context(), "GET", base+"/v2/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = headers
		res, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 401 && res.StatusCode != 403 {
			t.Errorf("%s: %s %s", name, res.Status, body)
		}
	}
	if err := proxy.command.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	proxy.want(0, "Tools on this computer reach "+a.URL)
	m.run("logout").want(0, "")
}

// proxyURL is where the proxy listens, by the line that setup prints for curl.
func proxyURL(t *testing.T, m *modelctl) string {
	t.Helper()
	curl := m.start("setup", "curl")
	curl.want(0, "/v2/models")
	_, url, _ := strings.Cut(strings.TrimSpace(curl.stdout.String()), "' ")
	return strings.TrimSuffix(url, "/v2/models")
}
