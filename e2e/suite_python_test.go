package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// installPython returns the folder of a virtual environment that holds what
// testdata/NAME/requirements.txt names, and nothing that this requires beside. It
// is made once, in the user's cache folder, for all checkouts.
func installPython(t *testing.T, name string) string {
	t.Helper()
	requirements := testdata(t, name, "requirements.txt")
	content, err := os.ReadFile(requirements)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "keycloak-model-api")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	environment := filepath.Join(cache, fmt.Sprintf("%s-%.8x", name, sha256.Sum256(content)))

	lock := flock.New(environment + ".lock")
	if err := lock.Lock(); err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	if _, err := os.Stat(environment); err == nil {
		return environment
	}
	// What a killed test has left; nobody uses it while we have the lock.
	left, err := filepath.Glob(environment + ".new-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range left {
		os.RemoveAll(dir)
	}
	fresh, err := os.MkdirTemp(cache, filepath.Base(environment)+".new-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(fresh)

	t.Logf("installing %s in %s", name, environment)
	for _, command := range installation(t, name, fresh, requirements) {
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s can't be installed: %s: %v\n%s\nIt takes Python 3.11 or 3.12 with venv (python3-venv on Debian and Ubuntu), and a package index that pip and uv reach.", name, strings.Join(command.Args, " "), err, out)
		}
	}
	if err := os.Rename(fresh, environment); err != nil {
		t.Fatal(err)
	}
	return environment
}

// installation are the commands that make an environment in a folder. pip brings
// uv, and uv the rest: it takes a tenth of pip's time.
func installation(t *testing.T, name, folder, requirements string) []*exec.Cmd {
	t.Helper()
	python := filepath.Join(folder, "bin", "python")
	if name == "uv" {
		return []*exec.Cmd{
			exec.Command(findPython(t), "-m", "venv", folder),
			exec.Command(python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--requirement", requirements),
		}
	}
	uv := filepath.Join(installPython(t, "uv"), "bin", "uv")
	// Relocatable, since the folder gets another name.
	venv := exec.Command(uv, "venv", "--quiet", "--clear", "--relocatable", "--no-python-downloads", "--python", findPython(t), folder)
	install := exec.Command(uv, "pip", "install", "--quiet", "--no-deps", "--python", python, "--requirement", requirements)
	install.Env = append(os.Environ(), "UV_HTTP_TIMEOUT=180")
	return []*exec.Cmd{venv, install}
}

// findPython returns an interpreter that the pinned packages are for.
func findPython(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "python3.12", "python3.11"} {
		out, err := exec.Command(name, "-c", "import sys; print(sys.executable if (3, 11) <= sys.version_info < (3, 13) else '')").Output()
		if python := strings.TrimSpace(string(out)); err == nil && python != "" {
			return python
		}
	}
	t.Fatal("there is no Python 3.11 or 3.12 (python3, python3.12, python3.11): install one, with venv")
	return ""
}

// python is a command of an environment: its interpreter with arguments. It
// sees a folder of its own as the user's, and no proxy.
func python(t *testing.T, environment string, args ...string) *exec.Cmd {
	t.Helper()
	bin := filepath.Join(environment, "bin")
	command := exec.Command(filepath.Join(bin, "python"), args...)
	command.Env = []string{
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + t.TempDir(),
		// Compiled modules stay with the environment, and out of testdata.
		"PYTHONPYCACHEPREFIX=" + filepath.Join(environment, "pycache"),
	}
	return command
}

// runClient runs a program that prints a JSON object: what came of each of its calls.
func runClient[T any](t *testing.T, command *exec.Cmd, env ...string) map[string]T {
	t.Helper()
	var stderr strings.Builder
	command.Env, command.Stderr = append(command.Env, env...), &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command.Args, " "), err, stderr.String())
	}
	var came map[string]T
	if err := json.Unmarshal(out, &came); err != nil {
		t.Fatalf("%s printed %s: %v", strings.Join(command.Args, " "), out, err)
	}
	return came
}

// program is a server that runs until the test ends.
type program struct {
	URL   string
	name  string
	log   lockedBuffer
	ended chan error
}

// launch starts a server that will listen on a port of loopback.
func launch(t *testing.T, name, port string, command *exec.Cmd) *program {
	t.Helper()
	p := &program{URL: "http://127.0.0.1:" + port, name: name, ended: make(chan error, 1)}
	ctx, end := context.WithCancel(context.Background())
	run := exec.CommandContext(ctx, command.Path, command.Args[1:]...)
	run.Cancel = func() error { return run.Process.Signal(syscall.SIGTERM) }
	run.WaitDelay = 20 * time.Second // then it is killed
	run.Dir, run.Env = t.TempDir(), command.Env
	run.Stdout, run.Stderr = &p.log, &p.log
	if err := run.Start(); err != nil {
		t.Fatalf("starting %s: %v: remove its environment to have it installed anew", name, err)
	}
	go func() { p.ended <- run.Wait() }()
	t.Cleanup(func() {
		end()
		if err := <-p.ended; errors.Is(err, exec.ErrWaitDelay) {
			t.Errorf("%s had to be killed", name)
		}
		if t.Failed() {
			t.Logf("the log of %s:\n%s", name, p.log.String())
		}
	})
	return p
}

// await waits until the server answers 200 for a path.
func (p *program) await(t *testing.T, path string) {
	t.Helper()
	eventually(t, 3*time.Minute, p.name+" is ready", func() error {
		select {
		case err := <-p.ended:
			p.ended <- err
			t.Fatalf("%s ended: %v\n%s", p.name, err, p.log.String())
		default:
		}
		res, err := http.Get(p.URL + path)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("it answers %s", res.Status)
		}
		return nil
	})
}
