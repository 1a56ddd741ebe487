package e2e

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// TestContract runs the API's own tools on a real realm: the contract suite,
// and explain on good and bad tokens.
func TestContract(t *testing.T) {
	st := e.up(t, strings.Replace(e.devConfig(t), "realm: example-realm", "realm: contract", 1), devSecrets())
	a := e.startAPI(t, st)

	t.Run("every attack of the contract suite is refused", func(t *testing.T) {
		out, err := e.apiTool(t, []string{"CONTRACT_CLIENT_SECRET=" + st.clientSecret("my-api-client")}, "",
			"contract", "-stack", st.File, "-url", a.URL+"/v2/models", "-client-id", "my-api-client")
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	good := st.token(t, st.clientCredentials("my-api-client"))
	noRole := st.token(t, st.clientCredentials("model-serving-api"))
	for _, tt := range []struct {
		name, token, model, want string
		accepted                 bool
	}{
		{"a good token", good.AccessToken, "iris", "The token is accepted.", true},
		{"a token without the role", noRole.AccessToken, "iris", "role_missing", false},
		{"a model that is not there", good.AccessToken, "no-such", "model_unknown", false},
		{"a token of another realm", adminToken(t), "iris", "issuer_unknown", false},
		{"no token at all", "not-a-token", "iris", "token_malformed", false},
	} {
		t.Run("explain "+tt.name, func(t *testing.T) {
			out, err := e.apiTool(t, nil, tt.token, "explain", "-stack", st.File, "-model", tt.model)
			if (err == nil) != tt.accepted || !strings.Contains(out, tt.want) {
				t.Errorf("%v, want %q\n%s", err, tt.want, out)
			}
			if i := strings.LastIndex(tt.token, "."); i > 0 && strings.Contains(out, tt.token[i+1:]) {
				t.Error("the signature is printed")
			}
		})
	}
}

// apiTool runs a subcommand of the API and returns what it prints.
func (s *suite) apiTool(t *testing.T, env []string, stdin string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), s.program("api"), args...)
	command.Env = append(command.Environ(), env...)
	command.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	return out.String(), err
}
