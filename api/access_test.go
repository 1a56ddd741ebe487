package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keycloak-model-api/internal/oidctest"
)

// The realm of the configuration comes from a file or from standard input.
func TestAccess(t *testing.T) {
	issuer := oidctest.New("https://id.example/realms/example-realm")
	stack := filepath.Join(t.TempDir(), "stack.json")
	writeStack(t, stack, issuer.URL, issuer.Audience, testPolicy())
	realm := `{"users": [{"username": "ada", "enabled": true, "realmRoles": ["model-api-access"]}, {"username": "bob", "enabled": true}]}`
	file := filepath.Join(t.TempDir(), "realm.json")
	if err := os.WriteFile(file, []byte(realm), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		args  string
		exit  int
		holds string // of the output or the error
	}{
		{"a review", "-realm - -format csv", 0, "name,kind,model,may call,actions,why\nada,person,iris,yes,infer generate metadata ready,model-api-access (assigned)\n"},
		{"from a file", "-format markdown -realm " + file, 0, "| ada | person | iris | yes |"},
		{"one user", "-realm - -for bob", 0, "no role model-api-access"},
		{"nobody of that name", "-realm - -for eve", 1, `no user "eve"`},
		{"no account for the live realm", "", 2, "KEYCLOAK_CLIENT_ID"},
		{"an unknown format", "-realm - -format xlsx", 2, "xlsx"},
		{"no such file", "-realm " + file + ".missing", 2, "-realm"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			args := append([]string{"access", "-stack", stack}, strings.Fields(test.args)...)
			err := run(t.Context(), args, func(string) string { return "" }, strings.NewReader(realm), &out, &out)
			if err != nil {
				out.WriteString(err.Error())
			}
			exit := 0
			if err != nil {
				exit = exitCode(err)
			}
			if exit != test.exit || !strings.Contains(out.String(), test.holds) {
				t.Errorf("exit status %d:\n%s", exit, out.String())
			}
		})
	}
}
