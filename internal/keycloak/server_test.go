package keycloak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tests of this file run against a stand-in for kc.sh, to get at failures
// that a real Keycloak doesn't have at will. The real one is booted by the
// end-to-end tests.

func TestMain(m *testing.M) {
	if os.Getenv("TEST_STANDIN") != "" {
		standIn(os.Args[1:])
		return
	}
	os.Exit(m.Run())
}

// standIn answers as Keycloak does to Start.
func standIn(args []string) {
	flag := func(name string) string {
		for _, arg := range args {
			if value, ok := strings.CutPrefix(arg, name+"="); ok {
				return value
			}
		}
		return ""
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch os.Getenv("TEST_STANDIN") {
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		ctx = context.Background()
	case "new":
		os.WriteFile(databaseH2, []byte("accounts"), 0o600)
	}
	fmt.Println("arguments", args)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health/ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /realms/master/protocol/openid-connect/token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if os.Getenv("TEST_STANDIN") == "refuses" || r.FormValue("client_secret") != os.Getenv("KC_BOOTSTRAP_ADMIN_CLIENT_SECRET") {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"error":"invalid_client"}`)
			return
		}
		io.WriteString(w, `{"access_token":"a","token_type":"Bearer","expires_in":60}`)
	})
	for _, port := range []string{flag("--http-port"), flag("--http-management-port")} {
		l, err := net.Listen("tcp", flag("--http-host")+":"+port)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		go http.Serve(l, mux)
	}
	<-ctx.Done()
}

// home is an unpacked Keycloak whose kc.sh is the script; $STANDIN in it is
// this test, which behaves as kind says.
func home(t *testing.T, kind, script string) *Distribution {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("STANDIN", exe)
	t.Setenv("TEST_STANDIN", kind)
	dir := t.TempDir()
	writeFile(t, dir, "bin/kc.sh", "#!/bin/sh\n"+script+"\n", 0o755)
	return &Distribution{home: dir}
}

// asKeycloak runs the server as a child, as kc.sh does.
const asKeycloak = `trap 'kill -TERM $PID; wait $PID' TERM; "$STANDIN" "$@" & PID=$!; wait $PID`

func start(t *testing.T, d *Distribution, data string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{Distribution: d, DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	return s
}

func TestStartAndStop(t *testing.T) {
	data := filepath.Join(t.TempDir(), "a b;c") // not to be quoted anywhere
	s := start(t, home(t, "new", asKeycloak), data)
	for path, mode := range map[string]os.FileMode{"": 0o700, adminFile: 0o600, logFile: 0o600} {
		info, err := os.Stat(filepath.Join(data, path))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v, %v; want mode %o", path, info, err, mode)
		}
	}
	if s.Admin.ClientSecret == "" || s.Console.Password == "" || s.Admin.ClientSecret == s.Console.Password {
		t.Error("the admins have no secrets of their own")
	}
	log, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(log), s.Admin.ClientSecret) || strings.Contains(string(log), s.Console.Password) {
		t.Error("a secret is among the arguments, which any user of the computer can see")
	}
	if err := s.Err(); err != nil {
		t.Errorf("error while it runs: %v", err)
	}
	for range 2 {
		if err := s.Stop(t.Context()); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	<-s.Done()
	if err := s.Err(); err != nil {
		t.Errorf("error after Stop: %v", err)
	}
	wantNoProcess(t, data)

	again := start(t, home(t, "new", asKeycloak), data)
	if again.Admin != s.Admin || again.Console != s.Console {
		t.Error("the credentials of the last time were not used")
	}
}

// The port is in what a person types, and in the admin console's address.
func TestAnotherPortIsAnnounced(t *testing.T) {
	if l, err := net.Listen("tcp", "127.0.0.1:8080"); err == nil {
		defer l.Close() // otherwise somebody has it already
	}
	var out strings.Builder
	s, err := Start(t.Context(), Options{Distribution: home(t, "new", asKeycloak), DataDir: t.TempDir(), Progress: &out})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if want := "Port 8080 is taken: Keycloak takes " + strings.TrimPrefix(s.BaseURL, "http://127.0.0.1:") + "\n"; !strings.Contains(out.String(), want) {
		t.Errorf("it says %q, want %q", out.String(), want)
	}
}

func TestStopKillsWhatIgnoresIt(t *testing.T) {
	data := t.TempDir()
	s := start(t, home(t, "deaf", asKeycloak), data)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	wantNoProcess(t, data)
}

func TestTheServerThatEndsByItself(t *testing.T) {
	data := t.TempDir()
	s := start(t, home(t, "yes", asKeycloak), data)
	// Only kc.sh is killed; what it started must not outlive it.
	syscall.Kill(s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.Done()
	wantError(t, s.Err(), "keycloak: ended by itself (signal: killed); its log ends with:\narguments")
	wantNoProcess(t, data)
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestBootFailureShowsTheEndOfTheLog(t *testing.T) {
	d := home(t, "yes", `i=0; while [ $i -lt 1000 ]; do echo "line $i"; i=$((i+1)); done; echo 'ERROR: no such option' >&2; exit 2`)
	_, err := Start(t.Context(), Options{Distribution: d, DataDir: t.TempDir()})
	wantError(t, err, "ended by itself (exit status 2); its log ends with:\nline 981\n")
	wantError(t, err, "line 999\nERROR: no such option")
}

func TestBootIsCancelled(t *testing.T) {
	data := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			if text, _ := os.ReadFile(filepath.Join(data, logFile)); len(text) > 0 {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, err := Start(ctx, Options{Distribution: home(t, "yes", `echo booting; sleep 600`), DataDir: data})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
	wantNoProcess(t, data)
}

// Two servers on one H2 file: the second dies with an error of H2's that says
// nothing of what to do.
func TestSecondServerOnTheSameData(t *testing.T) {
	data := t.TempDir()
	start(t, home(t, "yes", asKeycloak), data)
	_, err := Start(t.Context(), Options{Distribution: home(t, "yes", asKeycloak), DataDir: data})
	wantError(t, err, fmt.Sprintf("%s is in use by another server: stop process %d, which started it", data, os.Getpid()))
}

// The lock is the server's, not ours: it holds while an orphan ends.
func TestTheServerKeepsTheLock(t *testing.T) {
	data := t.TempDir()
	s := start(t, home(t, "yes", asKeycloak), data)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := lock(ctx, filepath.Join(data, lockFile), cancel)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("lock while the server runs: %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantNoProcess(t, data)
}

func TestTheDatabaseAndItsAdmin(t *testing.T) {
	t.Run("credentials gone", func(t *testing.T) {
		data := t.TempDir()
		writeFile(t, data, databaseH2, "", 0o600)
		_, err := Start(t.Context(), Options{Distribution: home(t, "yes", asKeycloak), DataDir: data})
		wantError(t, err, "its "+adminFile+" is gone, which names the admin: delete the folder "+data+" and start again")
	})
	t.Run("credentials unreadable", func(t *testing.T) {
		data := t.TempDir()
		writeFile(t, data, adminFile, `{"username":"admin"}`, 0o600)
		_, err := Start(t.Context(), Options{Distribution: home(t, "yes", asKeycloak), DataDir: data})
		wantError(t, err, "delete the folder "+data)
	})
	t.Run("credentials refused", func(t *testing.T) {
		data := t.TempDir()
		_, err := Start(t.Context(), Options{Distribution: home(t, "refuses", asKeycloak), DataDir: data})
		wantError(t, err, "refuses the admin of its "+adminFile+": delete the folder "+data+" and start again")
	})
	t.Run("left by a first boot that was cut off", func(t *testing.T) {
		data := t.TempDir()
		if _, err := loadAdmin(data); err != nil {
			t.Fatal(err)
		}
		writeFile(t, data, databaseH2, "half of the tables", 0o600)
		if _, err := loadAdmin(data); err != nil {
			t.Fatal(err)
		}
		wantEntries(t, data, adminFile)
	})
	t.Run("kept once a boot is through", func(t *testing.T) {
		data := t.TempDir()
		s := start(t, home(t, "new", asKeycloak), data)
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := loadAdmin(data); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(data, databaseH2)); err != nil {
			t.Error(err)
		}
	})
}

func TestImportFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rendered")
	writeFile(t, filepath.Dir(file), "rendered", `{"realm":"r"}`, 0o600)
	data := t.TempDir()
	d := home(t, "yes", asKeycloak)
	s, err := Start(t.Context(), Options{Distribution: d, DataDir: data, ImportFile: file})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	log, _ := os.ReadFile(s.LogFile)
	text, err := os.ReadFile(filepath.Join(data, importDir, "realm.json"))
	if !strings.Contains(string(log), "-Dkeycloak.migration.dir="+filepath.Join(data, importDir)) || string(text) != `{"realm":"r"}` {
		t.Errorf("%s\n%s, %v", log, text, err)
	}
	// It must not be imported by the next boot.
	start(t, d, data)
	if _, err := os.Stat(filepath.Join(data, importDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy is still there (%v)", err)
	}
	_, err = Start(t.Context(), Options{Distribution: d, DataDir: t.TempDir(), ImportFile: file + ".gone"})
	wantError(t, err, "keycloak: import: open "+file+".gone")
}

// The engine's client is stood in for by a script that shows its arguments and
// takes the server's place.
func TestContainer(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "podman", `#!/bin/sh
echo "$@"
for arg; do case "$arg" in
127.0.0.1:*:8080) http=${arg#*:}; http=${http%:*};;
127.0.0.1:*:9000) management=${arg#*:}; management=${management%:*};;
esac; done
exec "$STANDIN" --http-host=127.0.0.1 --http-port=$http --http-management-port=$management
`, 0o755)
	home(t, "yes", "")
	s := start(t, &Distribution{engine: filepath.Join(dir, "podman")}, t.TempDir())
	log, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"run --rm --name " + s.container, "-e KC_BOOTSTRAP_ADMIN_CLIENT_SECRET ", image + " start-dev --health-enabled=true\n"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("arguments have no %q: %s", want, log)
		}
	}
	if strings.Contains(string(log), s.Admin.ClientSecret) {
		t.Error("the secret is among the arguments")
	}
}

func TestEnviron(t *testing.T) {
	got := environ([]string{"HOME=/h", "KC_DB=postgres", "KEYCLOAK_URL=u", "JAVA_OPTS_APPEND=-Xmx1g"},
		map[string]string{"JAVA_OPTS_APPEND": "-a", "KC_DEBUG": "false"})
	slices.Sort(got)
	want := []string{"HOME=/h", "JAVA_OPTS_APPEND=-a -Xmx1g", "KC_DEBUG=false", "KEYCLOAK_URL=u"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestChoosePort(t *testing.T) {
	for _, host := range []string{"127.0.0.1", ""} {
		t.Run("taken on "+strconv.Quote(host), func(t *testing.T) {
			l, err := net.Listen("tcp", host+":0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			taken := l.Addr().(*net.TCPAddr).Port
			got, err := ChoosePort(taken)
			if err != nil || got == strconv.Itoa(taken) || got == "0" {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
	t.Run("free", func(t *testing.T) {
		// Any of them may be another program's by the time of the call.
		var got string
		for range 20 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			free := l.Addr().(*net.TCPAddr).Port
			l.Close()
			if got, err = ChoosePort(free); err != nil {
				t.Fatal(err)
			}
			if got == strconv.Itoa(free) {
				return
			}
		}
		t.Errorf("a free port is not taken 20 times, but ports such as %s", got)
	})
}

// wantNoProcess fails if a process of the server that used data is left. Each
// of them has its lock. (A process group may still have dead members that init
// has not collected.)
func wantNoProcess(t *testing.T, data string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f, err := lock(ctx, filepath.Join(data, lockFile), cancel)
	if err != nil {
		t.Error("a process of the server is left")
		return
	}
	f.Close()
}
