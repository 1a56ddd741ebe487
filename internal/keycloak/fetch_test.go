package keycloak

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFetchWithoutAWayToRun(t *testing.T) {
	const (
		clientOnly = `echo 'Cannot connect to the Docker daemon' >&2; exit 1`
		answers    = `[ "$1" = info ] || [ "$*" = "pull ` + image + `" ]`
		noNetwork  = `[ "$1" = info ]`
	)
	tests := []struct {
		name     string
		commands map[string]string
		want     string // in the error, or
		engine   string // the engine that is used
	}{
		{"no Maven", map[string]string{"java": java17}, "no Maven (mvn) found, which fetches Keycloak: install Maven, or set KEYCLOAK_HOME", ""},
		{"no Maven, Docker without its engine", map[string]string{"java": java17, "docker": clientOnly}, "install Maven", ""},
		{"no Maven, Docker", map[string]string{"java": java17, "docker": answers}, "", "docker"},
		{"no Maven, Docker without its engine, Podman", map[string]string{"java": java17, "docker": clientOnly, "podman": answers}, "", "podman"},
		{"the image can't be had", map[string]string{"java": java17, "docker": noNetwork}, "pull " + image + ": exit status 1", ""},
		{"no Java, Maven is no use", map[string]string{"mvn": "exit 0"}, "no Java found", ""},
		{"no Java, Podman", map[string]string{"mvn": "exit 0", "podman": answers}, "", "podman"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			commands(t, tt.commands)
			d, err := Fetch(t.Context(), FetchOptions{CacheDir: t.TempDir()})
			wantError(t, err, tt.want)
			if tt.engine != "" && (d == nil || filepath.Base(d.engine) != tt.engine) {
				t.Errorf("engine is %v, want %s", d, tt.engine)
			}
		})
	}
}

func TestFetchUsesAnUnpackedHome(t *testing.T) {
	commands(t, map[string]string{"java": java17})
	home := t.TempDir()
	_, err := Fetch(t.Context(), FetchOptions{Home: home})
	wantError(t, err, "KEYCLOAK_HOME "+home+" is no unpacked Keycloak")

	writeFile(t, home, "bin/kc.sh", "", 0o755)
	d, err := Fetch(t.Context(), FetchOptions{Home: home})
	if err != nil || d.home != home {
		t.Errorf("got %v, %v; want %s", d, err, home)
	}
}

func TestFetchOnceThenFromTheCache(t *testing.T) {
	commands(t, map[string]string{"java": java17}) // no mvn
	cache := t.TempDir()
	home := filepath.Join(cache, "keycloak-"+Version)
	writeFile(t, home, "bin/kc.sh", "", 0o755)
	d, err := Fetch(t.Context(), FetchOptions{CacheDir: cache})
	if err != nil || d.home != home {
		t.Errorf("got %v, %v; want %s", d, err, home)
	}
}

// A download that isn't what was pinned is never unpacked, and neither our copy
// nor Maven's stays, which would be handed out again.
func TestFetchRefusesAWrongDownload(t *testing.T) {
	repository := t.TempDir()
	cached := filepath.Join(artifactDir(repository), archiveName)
	writeFile(t, filepath.Dir(cached), archiveName, "not Keycloak", 0o644)
	commands(t, map[string]string{"java": java17, "mvn": `
		for arg; do case "$arg" in -DoutputDirectory=*) out="${arg#*=}";; esac; done
		echo "[DEBUG] Using local repository at ` + repository + `"
		cp "` + cached + `" "$out"`})
	cache := t.TempDir()
	_, err := Fetch(t.Context(), FetchOptions{CacheDir: cache})
	wantError(t, err, "is not what was pinned: SHA-256 ")
	if _, err := os.Stat(cached); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Maven's copy is still there (%v)", err)
	}
	wantEntries(t, cache, "keycloak-"+Version+".lock")
}

func TestFetchFailures(t *testing.T) {
	tests := []struct {
		name, mvn, want string
	}{
		{"no network, one sentence", `echo '[ERROR] Failed to execute goal on project standalone-pom: Could not resolve: Could not transfer artifact a:b:pom:1 from/to central (https://repo.maven.apache.org/maven2): repo.maven.apache.org: Name or service not known'; echo '[ERROR] Re-run Maven'; exit 1`,
			"can't reach its repository to fetch Keycloak " + Version + ": connect this computer to the network, name a mirror or proxy in Maven's settings.xml, or set KEYCLOAK_HOME to an unpacked Keycloak"},
		{"no network the first time, without plugins", `echo "[ERROR] No plugin found for prefix 'dependency' in the current project"; exit 1`, "can't reach its repository"},
		{"Maven's reason is shown", `echo '[INFO] Scanning'; echo '[ERROR] Could not transfer artifact'; exit 1`, "(exit status 1): Could not transfer artifact"},
		{"nothing where the file should be", `exit 0`, "left no " + archiveName},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			commands(t, map[string]string{"java": java17, "mvn": tt.mvn})
			cache := t.TempDir()
			writeFile(t, cache, "keycloak-"+Version+".new-1/half", "left by a killed process", 0o644)
			_, err := Fetch(t.Context(), FetchOptions{CacheDir: cache})
			wantError(t, err, tt.want)
			wantEntries(t, cache, "keycloak-"+Version+".lock")
		})
	}
}

func TestFetchIsCancelled(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "started")
	commands(t, map[string]string{"java": java17, "mvn": `echo > "` + fifo + `"; exec sleep 600`})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if _, err := os.Stat(fifo); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	cache := t.TempDir()
	if _, err := Fetch(ctx, FetchOptions{CacheDir: cache}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
	wantEntries(t, cache, "keycloak-"+Version+".lock")
}

func TestDownloadShowsItsProgress(t *testing.T) {
	repository := t.TempDir()
	partial := filepath.Join(artifactDir(repository), archiveName+".123.tmp")
	writeFile(t, filepath.Dir(partial), archiveName+".sha1", "a small file", 0o644)
	writeFile(t, filepath.Dir(partial), filepath.Base(partial), strings.Repeat("x", 1_000_000), 0o644)
	commands(t, map[string]string{"mvn": `echo "[DEBUG] Using local repository at ` + repository + `"`})
	var out bytes.Buffer
	got, err := download(t.Context(), "mvn", t.TempDir(), &out)
	if err != nil || got != repository {
		t.Errorf("got %q, %v; want %q", got, err, repository)
	}
	if !strings.Contains(out.String(), "1.0 MB of 176.4 MB") {
		t.Errorf("progress is %q", out.String())
	}
}

func TestVerify(t *testing.T) {
	const sum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" // of "test"
	dir := t.TempDir()
	writeFile(t, dir, "right", "test", 0o644)
	writeFile(t, dir, "truncated", "tes", 0o644)
	wantError(t, verify(filepath.Join(dir, "right"), sum), "")
	wantError(t, verify(filepath.Join(dir, "truncated"), sum), "of 3 bytes, expected "+sum)
	wantEntries(t, dir, "right")
}

func writeFile(t *testing.T, dir, name, text string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// wantEntries fails unless dir has exactly these.
func wantEntries(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s has %q, want %q", dir, got, want)
	}
}
