package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"keycloak-model-api/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"dev": main})
}

// TestCommand runs the scripts in testdata: the command line as a person types
// it. The stack's program is the real one, compiled by the real go in this
// checkout, where the build cache knows it; its configuration is in the
// script's folder, and there the secrets stay.
func TestCommand(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			bin := filepath.Join(env.WorkDir, "bin")
			inRoot := "#!/bin/sh\ncd " + cli.Quote(root) + " && exec " + cli.Quote(goTool) + ` "$@"` + "\n"
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			for _, name := range []string{"HOME", "GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOPROXY", "XDG_CACHE_HOME"} {
				if value, set := os.LookupEnv(name); set {
					env.Setenv(name, value)
				}
			}
			return errors.Join(
				os.Mkdir(bin, 0o755),
				os.WriteFile(filepath.Join(bin, "go"), []byte(inRoot), 0o755),
				copyFile(filepath.Join(root, "Pulumi.yaml"), env.WorkDir),
				copyFile(filepath.Join(root, "Pulumi.dev.yaml"), env.WorkDir))
		},
	})
}

func copyFile(file, dir string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, filepath.Base(file)), content, 0o644)
}
