// Package scripts tests the shell scripts for operators.
package scripts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pulumi": func() {
		if err := pulumi(os.Args[1:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
	}})
}

// pulumi stands for the CLI: its configuration is a file, and up copies it to
// what Keycloak has, or fails if UP_FAILS is set. It writes down its arguments.
func pulumi(args []string, stdin io.Reader, stdout io.Writer) error {
	log, err := os.OpenFile("calls", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintln(log, strings.Join(args, " "))

	secrets := map[string]string{}
	text, err := os.ReadFile("config.json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &secrets); err != nil {
		return err
	}
	key := args[len(args)-1]
	call := func(command string) bool { return strings.HasPrefix(strings.Join(args, " ")+" ", command+" ") }
	switch {
	case call("config get"):
		value, ok := secrets[key]
		if !ok {
			return fmt.Errorf("configuration key %q not found", key)
		}
		fmt.Fprint(stdout, value)
	case call("config set"):
		value, err := io.ReadAll(stdin)
		if err != nil {
			return err
		}
		if !slices.Contains(args, "--secret") {
			return errors.New("not encrypted")
		}
		secrets[key] = string(value)
		text, err := json.Marshal(secrets)
		if err != nil {
			return err
		}
		return os.WriteFile("config.json", text, 0o600)
	case call("up"):
		if !slices.Contains(args, "--yes") { // the scripts have no terminal
			return errors.New("--yes or --skip-preview must be passed in to proceed when running in non-interactive mode")
		}
		if os.Getenv("UP_FAILS") != "" {
			return errors.New("update failed")
		}
		return os.WriteFile("keycloak.json", text, 0o600)
	}
	return nil
}

func TestScripts(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("SCRIPTS", here)
			for _, name := range []string{"bash", "env"} { // for a script whose PATH lacks them
				path, err := exec.LookPath(name)
				if err != nil {
					return err
				}
				env.Setenv(strings.ToUpper(name), path)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// nowhere FILE GLOB…: the text of FILE stands in none of the others.
			"nowhere": func(ts *testscript.TestScript, _ bool, args []string) {
				secret := ts.ReadFile(args[0])
				if len(secret) < 32 {
					ts.Fatalf("%s is too short for a secret: %d characters", args[0], len(secret))
				}
				for _, name := range args[1:] {
					text, err := os.ReadFile(ts.MkAbs(name))
					if errors.Is(err, fs.ErrNotExist) {
						text = []byte(ts.ReadFile(name)) // stdout, stderr
					}
					if strings.Contains(string(text), secret) {
						ts.Fatalf("%s holds the secret", name)
					}
				}
			},
		},
	})
}
