package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/internal/oidctest"
)

// A file is taken over once for each change, whole, and however it gets there.
func TestWatch(t *testing.T) {
	write := func(t *testing.T, path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		change func(t *testing.T, path string) // takes virtual time, or none
		want   string                          // what each reload finds, after the first content
	}{
		{"nothing", func(t *testing.T, path string) {}, ""},
		{"the same content again", func(t *testing.T, path string) { write(t, path, "one") }, ""},
		{"written in place", func(t *testing.T, path string) { write(t, path, "two") }, "two"},
		{"moved into place", func(t *testing.T, path string) {
			write(t, path+".new", "two")
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}, "two"},
		{"written in two parts", func(t *testing.T, path string) {
			write(t, path, "tw")
			time.Sleep(watchInterval)
			write(t, path, "two")
		}, "two"},
		{"gone and back within an interval", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			time.Sleep(watchInterval)
			write(t, path, "one")
		}, ""},
		{"gone", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, "missing"},
		{"changed and changed back", func(t *testing.T, path string) {
			write(t, path, "two")
			time.Sleep(10 * watchInterval)
			write(t, path, "one")
		}, "two one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "stack.json")
			write(t, path, "one")
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var found []string
				go watch(ctx, path, digestOf(path), nil, func() {
					content, err := os.ReadFile(path)
					if err != nil {
						content = []byte("missing")
					}
					found = append(found, string(content))
				})
				time.Sleep(watchInterval / 2)
				test.change(t, path)
				time.Sleep(10 * watchInterval)
				synctest.Wait()
				if got := strings.Join(found, " "); got != test.want {
					t.Errorf("reloads found %q, want %q", got, test.want)
				}
			})
		})
	}
}

// A ConfigMap that is mounted is a link to a file below a link to a directory:
// kubelet moves the link to the directory (Kubernetes' AtomicWriter).
func TestReloadOfConfigMap(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	mount := t.TempDir()
	publish := func(version string, role string) {
		t.Helper()
		directory := filepath.Join(mount, ".."+version)
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		p := testPolicy()
		p.Models[1].Allow.Roles = []string{role}
		writeStack(t, filepath.Join(directory, "stack.json"), issuer.URL, issuer.Audience, p)
		if err := os.Symlink(".."+version, filepath.Join(mount, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("one", "nobody-has-this")
	stack := filepath.Join(mount, "stack.json")
	if err := os.Symlink(filepath.Join("..data", "stack.json"), stack); err != nil {
		t.Fatal(err)
	}
	g := startOn(t, stack)
	status := func() int {
		r, err := http.NewRequest("GET", g.url+"/v2/models/forbidden", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+issuer.Token("RS256"))
		response, _ := send(t, r)
		return response.StatusCode
	}
	if got := status(); got != http.StatusNotFound {
		t.Fatalf("before: %d", got)
	}
	publish("two", "offline_access")
	waitFor(t, "the change", func() bool { return status() == http.StatusOK })

	// A broken one says all that is wrong, and changes nothing.
	broken := filepath.Join(mount, "..two", "stack.json")
	bad := testPolicy()
	bad.Models[0].Embedded, bad.Models[1].Name = "", "a model"
	writeStack(t, broken, issuer.URL, issuer.Audience, bad)
	waitFor(t, "the refusal", func() bool { return strings.Contains(g.log.String(), "policy not reloaded") })
	if log := g.log.String(); !strings.Contains(log, "set either embedded or upstream") || !strings.Contains(log, "a model") {
		t.Errorf("not everything that is wrong is said:\n%s", log)
	}
	if got := status(); got != http.StatusOK {
		t.Errorf("after a broken file: %d", got)
	}
}
