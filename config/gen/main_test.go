package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGeneratedFilesAreCurrent(t *testing.T) {
	generated, err := files("..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range generated {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: run go generate ./config (-want +got):\n%s", name, diff)
		}
	}
}

// A key whose meaning nobody wrote down would be an empty cell of the reference.
func TestKeyWithoutComment(t *testing.T) {
	dir := t.TempDir()
	const text = "package config\n\ntype Themes struct {\n\t// Pages\n\t// of a login.\n\tLogin string `json:\"login\"`\n\n\tEmail string `json:\"email\"`\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "config.go"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := readDocs(dir)
	if err == nil || !strings.Contains(err.Error(), "Themes has a key without a comment") {
		t.Errorf("got %v", err)
	}
	if got := d["Themes"]["Login"]; got != "Pages of a login." {
		t.Errorf("Login is %q", got)
	}
}
