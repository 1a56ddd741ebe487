// Package redistest runs a real redis-server for tests, which may stop it, pause
// it and start it again.
package redistest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"keycloak-model-api/api/store"
	"keycloak-model-api/internal/child"
)

// Server is a redis-server at a Unix socket, or at a port, which holds its records in memory
// unless its settings say otherwise.
type Server struct {
	t       testing.TB
	folder  string
	at      string // its socket
	url     string
	args    []string
	command *exec.Cmd
	process *child.Process
}

// Start starts a redis-server with further settings, such as "--port", "0". It
// stops when the test ends.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	// Not t.TempDir, whose paths may be longer than a socket's address can be.
	folder, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, folder: folder}
	s.at = filepath.Join(folder, "redis.sock")
	s.url = "unix://" + s.at
	key := make([]byte, 32)
	rand.Read(key)
	if err := os.WriteFile(s.Keys(), []byte("test "+base64.StdEncoding.EncodeToString(key)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = slices.Concat([]string{
		"--unixsocket", s.at, "--dir", folder, "--port", "0", "--save", "", "--maxmemory-policy", "noeviction",
	}, settings)
	s.Start()
	t.Cleanup(func() {
		s.Stop()
		os.RemoveAll(folder)
	})
	return s
}

// URL is where the server is.
func (s *Server) URL() string { return s.url }

// StartCluster starts a cluster of one node, which refuses a script whose keys could
// be on several.
func StartCluster(t testing.TB) *Server {
	t.Helper()
	port, bus := freePort(t), freePort(t)
	// The last of two equal settings counts.
	s := Start(t, "--port", port, "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", bus)
	s.url = "redis://127.0.0.1:" + port + "?cluster=true"
	s.send("CLUSTER ADDSLOTSRANGE 0 16383")
	for end := time.Now().Add(patience); !strings.Contains(s.send("CLUSTER INFO"), "cluster_state:ok"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the cluster does not form")
		}
	}
	return s
}

// StartSentinel starts a primary, a replica of it, and a sentinel that makes the
// replica the primary when that has been gone for half a second. The URL of the
// primary is that of the sentinel.
func StartSentinel(t testing.TB) (primary, replica *Server) {
	t.Helper()
	ports := []string{freePort(t), freePort(t), freePort(t)}
	primary = Start(t, "--port", ports[0], "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
	replica = Start(t, "--port", ports[1], "--bind", "127.0.0.1", "--replicaof", "127.0.0.1", ports[0])
	sentinel := &Server{t: t, folder: primary.folder}
	settings := filepath.Join(primary.folder, "sentinel.conf") // which the sentinel writes, too
	text := fmt.Sprintf(`port %s
bind 127.0.0.1
unixsocket %s
sentinel monitor main 127.0.0.1 %s 1
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 2000
`, ports[2], filepath.Join(primary.folder, "sentinel.sock"), ports[0])
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel.at, sentinel.args = filepath.Join(primary.folder, "sentinel.sock"), []string{settings, "--sentinel"}
	sentinel.Start()
	t.Cleanup(sentinel.Stop)
	for end := time.Now().Add(patience); !strings.Contains(replica.send("INFO replication"), "master_link_status:up") ||
		!strings.Contains(sentinel.send("SENTINEL MASTERS"), "num-slaves\r\n$1\r\n1"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the sentinel does not see the replica")
		}
	}
	primary.url = "redis://127.0.0.1:" + ports[2] + "?master_name=main"
	return primary, replica
}

// freePort returns a port that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// send returns the beginning of what the server answers to a command.
func (s *Server) send(command string) string {
	conn, err := net.Dial("unix", s.at)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		return ""
	}
	answer := make([]byte, 4096)
	n, _ := conn.Read(answer)
	return string(answer[:n])
}

// Keys is a file with the key that all replicas of this server's API have.
func (s *Server) Keys() string { return filepath.Join(s.folder, "keys") }

// Store is what one replica opens. It is closed when the test ends.
func (s *Server) Store(t testing.TB, issuer string) *store.Store {
	t.Helper()
	sealer, err := store.ReadSealer(s.Keys())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := store.New(store.Config{URL: s.URL(), Sealer: sealer, Issuer: issuer, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened
}

// patience bounds the start of a server and its end.
const patience = 20 * time.Second

// Start starts a server that was stopped, and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.command = exec.Command("redis-server", s.args...)
	var err error
	if s.process, err = child.Start(s.command); err != nil {
		s.t.Fatalf("%v: the tests need redis-server: make prerequisites installs it", err)
	}
	for end := time.Now().Add(patience); !s.answers(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("redis-server does not answer")
		}
	}
}

// answers tells whether the server takes commands. One that asks for a user does.
func (s *Server) answers() bool {
	answer := s.send("PING")
	return strings.HasPrefix(answer, "+PONG") || strings.HasPrefix(answer, "-NOAUTH")
}

// Stop ends the server, which writes what its settings have it keep.
func (s *Server) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = s.command.Process.Signal(syscall.SIGCONT) // where it was paused
	s.process.Stop(ctx)
}

// Pause lets the server hang: it keeps its connections and answers nothing.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// Kill ends the server as a crash does.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.command.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}
