package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"keycloak-model-api/modelctl/session"
)

// asAnother runs f as another user of this computer, as far as files go. The thread
// ends with the goroutine, since it can't be trusted with anything else after that.
func asAnother(t *testing.T, f func()) {
	t.Helper()
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		const nobody = 65534
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0); errno != 0 {
			t.Errorf("setfsuid: %v", errno)
			return
		}
		f()
	}()
	<-done
}

// A second user of the computer reaches the port, where the key is missing, and can
// neither connect to the socket nor read the key. As root the test becomes that user;
// as anybody else it takes the modes at their word.
func TestSecondUser(t *testing.T) {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { // so that only the files themselves keep anybody out
			t.Fatal(err)
		}
	}
	a := newAPI(t)
	name, file := filepath.Join(dir, "proxy.sock"), filepath.Join(dir, "proxy.json")
	l, err := ListenUnix(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{API: a.URL, Host: "localhost", Key: testKey, Now: time.Now, Access: func(context.Context) (*session.Access, error) {
		return &session.Access{Session: &session.Session{API: a.URL}, Token: "the-access-token"}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, l) }()
	defer func() { stop(); <-ended }()
	if err := (&Running{URL: "http://localhost", Socket: name, Key: testKey, PID: 1}).Write(file); err != nil {
		t.Fatal(err)
	}

	own := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", name)
	}}}
	defer own.CloseIdleConnections()
	r, err := http.NewRequest("GET", "http://localhost/v2/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", testKey)
	response, err := own.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("its owner gets %s", response.Status)
	}

	for _, f := range []string{name, file} {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
	if os.Getuid() != 0 {
		return
	}
	asAnother(t, func() {
		if _, err := os.ReadFile(file); !errors.Is(err, os.ErrPermission) {
			t.Errorf("the key can be read: %v", err)
		}
		s, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer syscall.Close(s)
		if err := syscall.Connect(s, &syscall.SockaddrUnix{Name: name}); !errors.Is(err, syscall.EACCES) {
			t.Errorf("the socket can be connected to: %v", err)
		}
	})
}
