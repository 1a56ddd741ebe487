package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func readTable(t *testing.T) []block {
	t.Helper()
	table, err := os.ReadFile("../resources.txt")
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := parse(string(table))
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

func TestCommittedCodeIsCurrent(t *testing.T) {
	files, err := generate(readTable(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
		if err != nil {
			t.Errorf("%v: run go generate ./gen", err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is not what resources.txt and the templates give: run go generate ./gen", name)
		}
	}
	err = filepath.WalkDir("../go", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), "../")
		if bytes.HasPrefix(text, []byte("// Code generated")) && files[name] == nil {
			t.Errorf("%s is generated no more: remove it", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGenerateWritesTheFiles(t *testing.T) {
	module := t.TempDir()
	table := "resource keycloak:openid/thing:Thing\n  name  string  required  required\n"
	if err := os.WriteFile(filepath.Join(module, "resources.txt"), []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"-module", module}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(module, "go", "keycloak", "openid", "thing.go"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "func NewThing(ctx *pulumi.Context,") {
		t.Errorf("thing.go has no NewThing:\n%s", text)
	}
}

func TestBadTables(t *testing.T) {
	for _, tc := range []struct{ name, table, want string }{
		{"unknown kind", "resourse a:b/c:C", `line 1: "resourse" is no kind of block`},
		{"no token", "resource", `line 1: "resource": want a kind and a token`},
		{"property first", "\n  a  string  optional  optional", `line 2: "a" stands before the first block`},
		{"missing column", "resource a:b/c:C\n  a  string  optional", `line 2: "a string optional": too few columns`},
		{"misspelt side", "resource a:b/c:C\n  a  string  optionl  -", `line 2: a: "optionl" is not -, optional or required`},
		{"unknown mark", "resource a:b/c:C\n  a  string  -  -  sekret", `line 2: a: unknown mark "sekret"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := parse(tc.table); err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}

	t.Run("type that no block describes", func(t *testing.T) {
		blocks, err := parse("resource keycloak:openid/c:C\n  a  CPart  optional  optional")
		if err != nil {
			t.Fatal(err)
		}
		want := "keycloak:openid/c:C: a has the type CPart, which no block describes"
		if _, err := generate(blocks); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}
