package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// tritonModes runs testdata/tritonclient/modes.py against a model of a server: its
// name, the output to look at, and a version or none.
func tritonModes(t *testing.T, environment, server, token string, model ...string) map[string]map[string]any {
	t.Helper()
	arguments := append([]string{testdata(t, "tritonclient", "modes.py"), strings.TrimPrefix(server, "http://")}, model...)
	command := exec.CommandContext(t.Context(), filepath.Join(environment, "bin", "python"), arguments...)
	command.Env = []string{"TOKEN=" + token, "PYTHONDONTWRITEBYTECODE=1"}
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("modes.py: %v\n%s", err, stderr.String())
	}
	var modes map[string]map[string]any
	if err := json.Unmarshal(out, &modes); err != nil {
		t.Fatalf("modes.py printed %s: %v", out, err)
	}
	return modes
}

// tritonclient, the protocol's reference client, gets through the API what it
// gets straight from the model's server, in each of its modes, and from a model that the
// API holds the same in all of them, by its version, too. Compressed requests are
// refused: nobody could see in them what they ask of the server.
func TestTritonClient(t *testing.T) {
	ml := startMLServer(t)
	environment := installPython(t, "tritonclient")
	const password = "correct horse battery staple 4D"
	st := e.up(t, `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: triton
  keycloak-model-api:models:
    - {name: flowers, upstream: {url: '`+ml.URL+`'}}
    - {name: iris, embedded: iris}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [model-flowers, model-iris]}
`, secretsOf{"clientSecrets": {"model-api": "an-api-client-secret-of-the-tests"}, "initialPasswords": {"ada": password}})
	a := e.startAPI(t, st)

	token := st.token(t, st.password("ada", password)).AccessToken
	direct := tritonModes(t, environment, ml.URL, "", "flowers", "distances")
	through := tritonModes(t, environment, a.URL, token, "flowers", "distances")
	if got := through["repository index"]["came"]; !reflect.DeepEqual(got, []any{"flowers", "iris"}) {
		t.Errorf("the index has %v", through["repository index"])
	}
	delete(direct, "repository index") // of all its models
	work := 0
	for name, want := range direct {
		if want["came"] == nil {
			t.Logf("%s: not even straight at MLServer: %v", name, want["failed"])
			continue
		}
		work++
		if name == "gzip in" || name == "deflate in" {
			compressedRefused(t, name, through[name])
		} else if got := through[name]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v through the API, %v directly", name, got, want)
		}
	}
	if work < 8 {
		t.Errorf("only %d modes work straight at MLServer", work)
	}
	for _, version := range [][]string{nil, {"1"}} {
		held := tritonModes(t, environment, a.URL, token, append([]string{"iris", "probabilities"}, version...)...)
		for name, got := range held {
			switch {
			case name == "gzip in" || name == "deflate in":
				compressedRefused(t, name, got)
			case got["came"] == nil:
				t.Errorf("%s of iris: %v", name, got)
			case strings.Contains(name, "out"):
				if !reflect.DeepEqual(got, held["JSON in and out"]) {
					t.Errorf("%s of iris: %v, want %v", name, got, held["JSON in and out"])
				}
			}
		}
	}
}

func compressedRefused(t *testing.T, name string, got map[string]any) {
	t.Helper()
	if failed, _ := got["failed"].(string); !strings.Contains(failed, "[415]") || !strings.Contains(failed, "Content-Encoding") {
		t.Errorf("%s: %v", name, got)
	}
}

// Schemathesis makes requests from the OpenAPI document, good and bad ones, and
// compares the answers of the running API with it.
func TestOpenAPIDocument(t *testing.T) {
	environment := installPython(t, "schemathesis")
	st := e.up(t, e.devConfig(t), devSecrets())
	a := e.startAPI(t, st)
	token := st.token(t, st.password("ml-api-user", "correct horse battery staple 1A")).AccessToken
	command := exec.CommandContext(t.Context(), filepath.Join(environment, "bin", "python"), filepath.Join(environment, "bin", "schemathesis"),
		"--config-file", testdata(t, "schemathesis", "schemathesis.toml"), "run", a.URL+"/openapi.json", "--url", a.URL,
		"--header", "Authorization: Bearer "+token, "--no-color", "--seed", "1", "--max-examples", "20", "--generation-database", "none",
		"--phases", "examples,coverage,fuzzing", "--checks", "all",
		// No schema says what a signature is, or that data are as many as shape says.
		// No model of this stack speaks the protocols under /v1, and who may not know of a
		// model doesn't hear of its methods: 404, not 405. TestContractHolds has the others.
		"--exclude-checks", "positive_data_acceptance,unsupported_method")
	command.Dir = t.TempDir()
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("schemathesis: %v\n%s", err, out)
	}
	if counts := regexp.MustCompile(`(\d+) selected / (\d+) total`).FindSubmatch(out); counts == nil || !bytes.Equal(counts[1], counts[2]) {
		t.Errorf("not every operation was tried:\n%s", out)
	}
}
