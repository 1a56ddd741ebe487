package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestUp does what a stranger does: make up in a fresh copy of the checkout, the
// pasted commands, Ctrl-C. No end of it leaves a process behind.
func TestUp(t *testing.T) {
	dir := copyCheckout(t)
	const ready = "Ctrl-C stops everything."
	prepared := filepath.Join(dir, ".dev", "keycloak", "prepared")
	// Under nohup SIGHUP is ignored, and would be in make up, too.
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)
	t.Run("first time, with the usual port of the API taken", func(t *testing.T) {
		if l, err := net.Listen("tcp", "127.0.0.1:8000"); err == nil {
			defer l.Close() // otherwise somebody has it already
		}
		u := makeUp(t, dir)
		u.waitFor(t, ready)
		u.paste(t)
		u.checkFiles(t, dir)
		u.interrupt(t)
		u.says(t, "Port 8000 is taken", "Stopping")
		if _, err := os.Stat(prepared); err != nil {
			t.Errorf("no realm was made for the next start: %v", err)
		}
	})
	t.Run("second time, then Keycloak dies", func(t *testing.T) {
		u := makeUp(t, dir)
		u.waitFor(t, ready)
		u.paste(t)
		t.Logf("from make up to the first prediction: %v", time.Since(u.start).Round(100*time.Millisecond))
		if out := u.out.String(); strings.Contains(out, "Downloading") || strings.Contains(out, "Unpacking") {
			t.Errorf("something was downloaded:\n%s", out)
		}
		if _, err := os.Stat(prepared); !os.IsNotExist(err) {
			t.Errorf("a realm in use passes for one that was made anew (%v)", err)
		}
		u.kill(t, "io.quarkus.bootstrap.runner.QuarkusEntryPoint")
		u.says(t, "keycloak: ended by itself (", "its log ends with:")
	})
	t.Run("third time, then the API dies", func(t *testing.T) {
		u := makeUp(t, dir)
		u.waitFor(t, ready)
		u.kill(t, filepath.Join(dir, ".dev", "bin", "api"))
		u.says(t, "dev: the API ended by itself (signal: killed); its log ends with:")
	})
	t.Run("fourth time, then the terminal closes", func(t *testing.T) {
		u := makeUp(t, dir)
		u.waitFor(t, ready)
		u.hangUp(t)
	})
	t.Run("Ctrl-C during the boot", func(t *testing.T) {
		u := makeUp(t, dir)
		u.waitFor(t, "Starting Keycloak")
		u.interrupt(t)
	})
}

// TestUpOnAnotherKeycloak has the realm made in a Keycloak that runs already, as
// docs/pulumi.md tells it.
func TestUpOnAnotherKeycloak(t *testing.T) {
	dir := copyCheckout(t)
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", "bin/", "./dev")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	account := []string{"KEYCLOAK_CLIENT_ID=" + e.keycloak.Admin.ClientID, "KEYCLOAK_CLIENT_SECRET=" + e.keycloak.Admin.ClientSecret}
	dev := func(t *testing.T, env ...string) *upRun {
		t.Helper()
		return startUp(t, dir, append(account, env...), filepath.Join(dir, "bin", "dev"), "-keycloak", e.keycloak.BaseURL+"/")
	}
	ends := func(t *testing.T, u *upRun, want string) {
		t.Helper()
		select {
		case <-u.ended:
		case <-time.After(5 * time.Minute):
			t.Fatalf("it goes on:\n%s", u.out)
		}
		if u.command.ProcessState.ExitCode() != 1 || !strings.Contains(u.out.String(), want) || strings.Contains(u.out.String(), "Ready.") {
			t.Errorf("%v, want %q in\n%s", u.command.ProcessState, want, u.out)
		}
	}
	t.Cleanup(func() { _ = e.admin.DeleteRealm(context.Background(), "example-realm") })
	for _, name := range []string{"first time", "second time, which replaces the realm"} {
		t.Run(name, func(t *testing.T) {
			u := dev(t)
			u.waitFor(t, "Ctrl-C stops everything.")
			u.paste(t)
			u.interrupt(t)
		})
	}
	t.Run("the realm stays", func(t *testing.T) {
		if _, err := e.admin.Realm(t.Context(), "example-realm"); err != nil {
			t.Error(err)
		}
	})
	t.Run("the port of the API is taken", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ends(t, dev(t, "API_LISTEN="+l.Addr().String()), "set API_LISTEN to another host:port")
	})
	t.Run("a wrong secret", func(t *testing.T) {
		ends(t, dev(t, "KEYCLOAK_CLIENT_SECRET=wrong"), "keycloak: log in to "+e.keycloak.BaseURL)
	})
	t.Run("a realm of somebody else", func(t *testing.T) {
		if err := e.admin.DeleteRealm(t.Context(), "example-realm"); err != nil {
			t.Fatal(err)
		}
		if err := e.admin.CreateRealm(t.Context(), map[string]any{"realm": "example-realm", "displayName": "Theirs"}); err != nil {
			t.Fatal(err)
		}
		ends(t, dev(t), "was not made by this tool")
		text, err := e.admin.Realm(t.Context(), "example-realm")
		if err != nil || !bytes.Contains(text, []byte("Theirs")) {
			t.Errorf("the realm was touched: %v", err)
		}
	})
}

// copyCheckout copies what git knows of, or would add.
func copyCheckout(t *testing.T) string {
	t.Helper()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = e.root
	files, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "it's a checkout") // which the pasted commands must quote
	for name := range strings.SplitSeq(strings.TrimRight(string(files), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(e.root, name))
		if os.IsNotExist(err) {
			continue // deleted and not committed
		} else if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(e.root, name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// upRun is one make up.
type upRun struct {
	command *exec.Cmd
	out     *lockedBuffer
	start   time.Time
	ended   chan struct{}
}

// makeUp starts make up as a terminal does.
func makeUp(t *testing.T, dir string) *upRun {
	t.Helper()
	// What would lead pulumi up to another Keycloak.
	env := []string{"KEYCLOAK_URL=http://127.0.0.1:1", "KEYCLOAK_BASE_PATH=/auth", "KEYCLOAK_USER=nobody"}
	return startUp(t, dir, env, "make", "up")
}

// startUp starts a command with its own process group, which gets Ctrl-C.
func startUp(t *testing.T, dir string, env []string, name string, args ...string) *upRun {
	t.Helper()
	u := &upRun{command: exec.Command(name, args...), out: new(lockedBuffer), start: time.Now(), ended: make(chan struct{})}
	u.command.Dir = dir
	u.command.Env = append(os.Environ(), env...)
	u.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	u.command.Stdout, u.command.Stderr = u.out, u.out
	u.command.WaitDelay = 5 * time.Second
	if err := u.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		u.command.Wait()
		close(u.ended)
	}()
	t.Cleanup(func() {
		select {
		case <-u.ended:
		default:
			children := descendants(t, u.command.Process.Pid)
			syscall.Kill(-u.command.Process.Pid, syscall.SIGINT)
			u.waitForEnd(t, children)
		}
	})
	return u
}

// waitFor waits for text on the screen. The first time compiles the Pulumi SDK.
func (u *upRun) waitFor(t *testing.T, text string) {
	t.Helper()
	eventually(t, 15*time.Minute, fmt.Sprintf("make up says %q", text), func() error {
		select {
		case <-u.ended:
			t.Fatalf("make up ended:\n%s", u.out)
		default:
		}
		if !strings.Contains(u.out.String(), text) {
			return fmt.Errorf("it says:\n%s", u.out)
		}
		return nil
	})
}

// paste runs the commands on the screen in bash, in a folder of its own.
func (u *upRun) paste(t *testing.T) {
	t.Helper()
	var commands strings.Builder
	inside := false
	for line := range strings.Lines(u.out.String()) {
		command, indented := strings.CutPrefix(line, "  ")
		inside = indented && (inside || strings.HasPrefix(command, "TOKEN=") || strings.HasPrefix(command, "curl "))
		if inside {
			commands.WriteString(line)
		}
	}
	bash := exec.Command("bash")
	bash.Dir = t.TempDir()
	bash.Stdin = strings.NewReader(commands.String())
	out, err := bash.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("setosa")) {
		t.Errorf("the pasted commands\n%sanswer (%v)\n%s", commands.String(), err, out)
	}
}

// checkFiles checks that secrets are in files for the owner alone, and nowhere
// on the screen.
func (u *upRun) checkFiles(t *testing.T, dir string) {
	t.Helper()
	for name, want := range map[string]os.FileMode{
		"": 0o700 | os.ModeDir, "stack.json": 0o600, "secrets.json": 0o600, "curl-secrets": 0o600, "keycloak/admin.json": 0o600, "api.log": 0o600, "api.url": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, ".dev", name))
		if err != nil {
			t.Error(err)
		} else if info.Mode() != want {
			t.Errorf(".dev/%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
	secrets, err := os.ReadFile(filepath.Join(dir, ".dev", "secrets.json"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, ".dev", "api.log"))
	if err != nil {
		t.Fatal(err)
	}
	used.checkNone(t, ".dev/api.log", string(log))
	made := 0
	for word := range strings.SplitSeq(string(secrets), `"`) {
		if strings.HasSuffix(word, "-a7") {
			made++
			if strings.Contains(u.out.String(), word) {
				t.Errorf("a secret is on the screen:\n%s", u.out)
			}
			if strings.Contains(string(log), word) {
				t.Error("a secret is in .dev/api.log")
			}
		}
	}
	if made != 3 {
		t.Errorf("%d secrets were made, want 3", made)
	}
}

// interrupt is Ctrl-C, after which no process may be left.
func (u *upRun) interrupt(t *testing.T) {
	t.Helper()
	children := descendants(t, u.command.Process.Pid)
	if len(children) < 2 {
		t.Errorf("make up runs only %v", children)
	}
	if err := syscall.Kill(-u.command.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	u.waitForEnd(t, children)
}

// hangUp is what the end of a terminal sends, by the kernel and by the shell.
func (u *upRun) hangUp(t *testing.T) {
	t.Helper()
	children := descendants(t, u.command.Process.Pid)
	for range 2 {
		if err := syscall.Kill(-u.command.Process.Pid, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, time.Minute, "all processes end", func() error {
		left := processes(t)
		for pid, args := range children {
			if p, ok := left[pid]; ok && p.args == args {
				return fmt.Errorf("process %d is left: %s", pid, args)
			}
		}
		return nil
	})
	u.says(t, "Stopping")
}

// kill kills the one process of u whose arguments hold text, upon which all must
// end with an error.
func (u *upRun) kill(t *testing.T, text string) {
	t.Helper()
	children := descendants(t, u.command.Process.Pid)
	killed := 0
	for pid, args := range children {
		if strings.Contains(args, text) && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if killed != 1 {
		t.Fatalf("%d processes with %q were killed, want 1 of %v", killed, text, children)
	}
	u.waitForEnd(t, children)
	if u.command.ProcessState.Success() {
		t.Error("the exit status is 0")
	}
}

func (u *upRun) says(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(u.out.String(), text) {
			t.Errorf("it does not say %q:\n%s", text, u.out)
		}
	}
}

func (u *upRun) waitForEnd(t *testing.T, children map[int]string) {
	t.Helper()
	select {
	case <-u.ended:
	case <-time.After(time.Minute):
		t.Fatalf("make up still runs after a minute:\n%s", u.out)
	}
	left := processes(t)
	for pid, args := range children {
		if p, ok := left[pid]; ok && p.args == args {
			t.Errorf("process %d is left: %s", pid, args)
		}
	}
}

type process struct {
	parent int
	args   string
}

// processes are those that run, by id, without those that have ended and wait
// for their parent to notice.
func processes(t *testing.T) map[int]process {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args=").Output()
	if err != nil {
		t.Fatalf("ps: %v", err)
	}
	all := map[int]process{}
	lines := bufio.NewReader(bytes.NewReader(out))
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return all
		}
		fields := strings.Fields(line)
		if len(fields) < 4 || strings.HasPrefix(fields[2], "Z") {
			continue
		}
		pid, _ := strconv.Atoi(fields[0])
		parent, _ := strconv.Atoi(fields[1])
		all[pid] = process{parent, strings.Join(fields[3:], " ")}
	}
}

// descendants are the processes that root has started, and those that they have,
// with their arguments.
func descendants(t *testing.T, root int) map[int]string {
	t.Helper()
	all := processes(t)
	found := map[int]string{root: all[root].args}
	for grown := true; grown; {
		grown = false
		for _, pid := range slices.Sorted(maps.Keys(all)) {
			_, known := found[pid]
			if _, ours := found[all[pid].parent]; ours && !known {
				found[pid] = all[pid].args
				grown = true
			}
		}
	}
	return found
}
