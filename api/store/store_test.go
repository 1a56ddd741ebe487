package store_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"keycloak-model-api/api/store"
	"keycloak-model-api/internal/redistest"
)

const issuer = "https://id.example.com/realms/a"

// newKey returns a line of a file of keys.
func newKey(name string) string {
	key := make([]byte, 32)
	rand.Read(key)
	return name + " " + base64.StdEncoding.EncodeToString(key) + "\n"
}

func sealer(t *testing.T, lines ...string) *store.Sealer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.ReadSealer(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t *testing.T, c store.Config) *store.Store {
	t.Helper()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Issuer == "" {
		c.Issuer = issuer
	}
	if c.Sealer == nil {
		c.Sealer = sealer(t, newKey("k1"))
	}
	s, err := store.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// What stands in Redis can be read and written by others: a value that was
// changed, moved to another record or sealed by somebody else is none.
func TestSealedValues(t *testing.T) {
	first, second := newKey("k1"), newKey("k2")
	one := sealer(t, first)
	sealed := one.Seal("session", "a", []byte("secret"))
	if bytes.Contains(sealed, []byte("secret")) || bytes.Equal(sealed, one.Seal("session", "a", []byte("secret"))) {
		t.Error("the value can be read or compared")
	}
	changed := bytes.Clone(sealed)
	changed[len(changed)-1] ^= 1
	for _, row := range []struct {
		name      string
		by        *store.Sealer
		kind, key string
		value     []byte
		want      string // of the error; empty for none
	}{
		{"as it was sealed", one, "session", "a", sealed, ""},
		{"after a rotation", sealer(t, second, first), "session", "a", sealed, ""},
		{"the key is gone", sealer(t, second), "session", "a", sealed, "key k1, which is not among ours"},
		{"another key of the same name", sealer(t, newKey("k1")), "session", "a", sealed, "another key"},
		{"of another record", one, "session", "b", sealed, "another record"},
		{"of another kind", one, "revoked", "a", sealed, "another record"},
		{"between kind and key", one, "sessio", "n\x00a", sealed, "another record"},
		{"changed", one, "session", "a", changed, "was changed"},
		{"cut off", one, "session", "a", sealed[:10], "cut off"},
		{"empty", one, "session", "a", nil, "not sealed"},
		{"not sealed", one, "session", "a", []byte(`{"sub":"admin"}`), "not sealed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			plain, err := row.by.Open(row.kind, row.key, row.value)
			switch {
			case row.want == "" && (err != nil || string(plain) != "secret"):
				t.Errorf("%q, %v", plain, err)
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
}

func TestFilesOfKeys(t *testing.T) {
	good := newKey("k1")
	for _, row := range []struct{ name, text, want string }{
		{"one key", good, ""},
		{"comments and empty lines", "# keys\n\n" + good + newKey("k2"), ""},
		{"empty", "# nothing\n", "there is no key"},
		{"a key without a name", strings.Fields(good)[1], "line 1: want a name"},
		{"a name with a separator", "a:b " + strings.Fields(good)[1], "line 1: want a name"},
		{"16 bytes", "k1 " + base64.StdEncoding.EncodeToString(make([]byte, 16)), "line 1: want a name and 32 bytes"},
		{"one name twice", good + newKey("k1"), "line 2: there is a key k1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keys")
			if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := store.ReadSealer(path)
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %q", err, row.want)
			}
			if err != nil && strings.Contains(err.Error(), strings.Fields(good)[1]) {
				t.Errorf("the error has a key in it: %v", err)
			}
		})
	}
	if _, err := store.ReadSealer(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestURLs(t *testing.T) {
	for _, row := range []struct{ url, want string }{
		{"redis://localhost", ""},
		{"rediss://api:hunter2@redis.example.com:6380/3", ""},
		{"unix:///run/redis/redis.sock", ""},
		{"redis://a:6379?addr=b:6379", ""},
		{"redis://a?cluster=true", ""},
		{"redis://sentinel:26379?master_name=main&addr=other:26379", ""},
		{"", "no URL of Redis"},
		{"localhost:6379", "no URL of Redis"},
		{"http://localhost:6379", "no URL of Redis"},
		{"redis://api:hunter2@a:b:c", "can't be read"},
		{"redis://localhost/zero", "no number of a database"},
		{"redis://localhost/1?cluster=true", "no database but 0"},
		{"redis://localhost?password=hunter2", `parameter "password"`},
	} {
		t.Run(row.url, func(t *testing.T) {
			s, err := store.New(store.Config{URL: row.url, Issuer: issuer})
			if s != nil {
				defer s.Close()
			}
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %q", err, row.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error has the password in it: %v", err)
			}
		})
	}
}

// A Redis that would forget a logout, or that the replicas would read in two
// ways, is refused at the start.
func TestCheck(t *testing.T) {
	ours := newKey("k1")
	good := redistest.Start(t)
	password := redistest.Start(t, "--user", "api", "on", ">hunter2", "~model-api:*", "+@read", "+@write", "+@connection", "+@scripting", "+info", "+time", "--user", "default", "off")
	for _, row := range []struct {
		name   string
		config store.Config
		want   string
	}{
		{"good", store.Config{URL: good.URL(), Sealer: sealer(t, ours)}, ""},
		{"the same keys", store.Config{URL: good.URL(), Sealer: sealer(t, newKey("k2"), ours)}, ""}, // seals anew
		{"a key that the others have given up", store.Config{URL: good.URL(), Sealer: sealer(t, ours)}, "give all replicas the same -redis-keys"},
		{"another issuer's keys", store.Config{URL: good.URL(), Issuer: issuer + "2"}, ""},
		{"eviction un-revokes", store.Config{URL: redistest.Start(t, "--maxmemory-policy", "allkeys-lru").URL()}, "set maxmemory-policy noeviction"},
		{"eviction of what expires", store.Config{URL: redistest.Start(t, "--maxmemory-policy", "volatile-ttl").URL()}, "set maxmemory-policy noeviction"},
		{"nobody there", store.Config{URL: "unix:///nowhere/redis.sock"}, "redis can't be used"},
		{"a user with a password", store.Config{URL: "unix://api:hunter2@" + strings.TrimPrefix(password.URL(), "unix://")}, ""},
		{"the password from elsewhere", store.Config{
			URL: "unix://api@" + strings.TrimPrefix(password.URL(), "unix://"), Password: func() string { return "hunter2" },
			Issuer: issuer + "3",
		}, ""},
		{"a wrong password", store.Config{URL: "unix://api:hunter3@" + strings.TrimPrefix(password.URL(), "unix://")}, "WRONGPASS"},
		{"no password", store.Config{URL: password.URL()}, "NOAUTH"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := open(t, row.config).Check(t.Context())
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %q", err, row.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter") {
				t.Errorf("the error has the password in it: %v", err)
			}
		})
	}
}

// TLS is for the name that the URL has, by a certificate authority that the
// system or SSL_CERT_FILE trusts.
func TestTLS(t *testing.T) {
	folder := t.TempDir()
	certificate, key := filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	selfSigned(t, certificate, key)
	t.Setenv("SSL_CERT_FILE", certificate) // before anything in this process asks for the roots
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	listener.Close()
	redistest.Start(t, "--tls-port", port, "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no",
		"--user", "api", "on", ">hunter2", "~model-api:*", "+@read", "+@write", "+@connection", "+@scripting", "+info", "+time", "--user", "default", "off")
	for _, row := range []struct{ url, want string }{
		{"rediss://api:hunter2@127.0.0.1:" + port, ""},
		{"rediss://api:hunter3@127.0.0.1:" + port, "WRONGPASS"},
		{"rediss://api:hunter2@localhost:" + port, "certificate"}, // it is for 127.0.0.1
		{"redis://api:hunter2@127.0.0.1:" + port, "redis can't be used"},
	} {
		err := open(t, store.Config{URL: row.url}).Check(t.Context())
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.url, err, row.want)
		}
	}
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T, certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The names of records tell nothing of what they are about, differ for each
// issuer, and those of one kind are on one node of a cluster.
func TestNames(t *testing.T) {
	a, b := open(t, store.Config{URL: "redis://localhost"}), open(t, store.Config{URL: "redis://localhost", Issuer: issuer + "2"})
	names := map[string]bool{}
	for _, name := range []string{
		a.Key("session", "x"), a.Key("session", "y"), a.Key("state", "x"), b.Key("session", "x"),
		a.Key("session", "x", "y"), a.Key("session", "xy"), a.Key("session", "x1:y"),
	} {
		if names[name] || strings.HasSuffix(name, "x") {
			t.Errorf("%s is there twice, or tells what it is about", name)
		}
		names[name] = true
	}
	tag := func(name string) string { return name[strings.Index(name, "{"):strings.Index(name, "}")] }
	if tag(a.Key("session", "x")) != tag(a.Key("session", "y")) || tag(a.Key("session", "x")) == tag(b.Key("session", "x")) {
		t.Error("hash tags are not those of kind and issuer")
	}
}

// A Redis that is gone or hangs costs one command the time to notice, not every
// one, and is used again when it is back.
func TestAway(t *testing.T) {
	server := redistest.Start(t)
	var log bytes.Buffer
	s := open(t, store.Config{URL: server.URL(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	set := func() error { return s.Set(t.Context(), "a", "b", 0).Err() }
	if err := set(); err != nil || !s.Status().Up {
		t.Fatal(err)
	}
	for _, away := range []struct {
		name      string
		stop, end func()
	}{{"stopped", server.Stop, server.Start}, {"paused", server.Pause, server.Resume}} {
		before := s.Status().Failures
		away.stop()
		if err := set(); err == nil || errors.Is(err, store.ErrAway) {
			t.Errorf("%s: the first command: %v", away.name, err)
		}
		if err := set(); !errors.Is(err, store.ErrAway) {
			t.Errorf("%s: the next one waits: %v", away.name, err)
		}
		if status := s.Status(); status.Up || status.Failures == before {
			t.Errorf("%s: %+v", away.name, status)
		}
		away.end()
		waitFor(t, away.name+": used again", func() bool { return set() == nil })
		if !s.Status().Up {
			t.Errorf("%s: not up", away.name)
		}
	}
	if got := log.String(); strings.Count(got, "redis does not answer") != 2 || strings.Count(got, "redis answers again") != 2 {
		t.Errorf("log: %s", got)
	}
	// A caller who leaves says nothing of Redis; neither does a refusal of it.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.Set(gone, "a", "b", 0).Err()
	if err := s.HGet(t.Context(), "a", "b").Err(); !redis.HasErrorPrefix(err, "WRONGTYPE") || !s.Status().Up {
		t.Errorf("%v, %+v", err, s.Status())
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}
