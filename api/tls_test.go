package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/fresh"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = filepath.Join(a.dir, name+".pem")
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes a certificate of 127.0.0.1 and host, and its key.
func (a *authority) issue(name, host string, use x509.ExtKeyUsage) (certificate, key string) {
	a.t.Helper()
	own := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{host}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{use},
	}, a.cert, own.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate, key = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	writePEM(a.t, certificate, "CERTIFICATE", der)
	writePEM(a.t, key, "PRIVATE KEY", private)
	return certificate, key
}

// client trusts the authority, and shows a certificate where there is one.
func (a *authority) client(certificate, key string) *http.Client {
	a.t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AddCert(a.cert)
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			a.t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	a.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// Callers are served over TLS with HTTP/2, and the authorizer asks proxies for
// certificates of its own authority.
func TestTLS(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	servers, proxies, others := newAuthority(t, "servers"), newAuthority(t, "proxies"), newAuthority(t, "others")
	certificate, key := servers.issue("api", "api.example", x509.ExtKeyUsageServerAuth)
	stack := filepath.Join(t.TempDir(), "stack.json")
	writeStack(t, stack, issuer.URL, issuer.Audience, testPolicy())
	g := launch(t, func(string) string { return "" }, stack,
		"-tls-certificate", certificate, "-tls-key", key, "-authorize-listen", ":0", "-authorize-client-ca", proxies.file)
	if !strings.HasPrefix(g.url, "https://127.0.0.1:") {
		t.Fatalf("the API is at %s", g.url)
	}
	var version string
	waitFor(t, "the API to be ready", func() bool {
		g.stillRuns(t)
		response, err := servers.client("", "").Get(g.url + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		version = response.Proto
		return response.StatusCode == http.StatusOK
	})
	if version != "HTTP/2.0" {
		t.Errorf("the answer is %s", version)
	}
	plain, err := http.Get("http" + strings.TrimPrefix(g.url, "https") + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	plain.Body.Close()
	if plain.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: %s", plain.Status)
	}
	old := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // what must be refused
	if c, err := tls.Dial("tcp", strings.TrimPrefix(g.url, "https://"), old); err == nil {
		c.Close()
		t.Error("TLS 1.1 is taken (RFC 8996)")
	}

	ask := func(certificate, key string) (int, error) {
		r, err := http.NewRequest("GET", "https://"+g.address("authorizer's listener")+"/authorize", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+issuer.Token("RS256"))
		r.Header.Set("X-Original-Method", "GET")
		r.Header.Set("X-Original-Uri", "/v2/models/iris")
		response, err := servers.client(certificate, key).Do(r)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		return response.StatusCode, nil
	}
	if status, err := ask(proxies.issue("nginx", "nginx.example", x509.ExtKeyUsageClientAuth)); status != 200 {
		t.Errorf("a proxy: %d, %v", status, err)
	}
	for name, of := range map[string]func() (string, string){
		"none":                   func() (string, string) { return "", "" },
		"of another authority":   func() (string, string) { return others.issue("nginx", "x", x509.ExtKeyUsageClientAuth) },
		"of the API's authority": func() (string, string) { return servers.issue("nginx", "x", x509.ExtKeyUsageClientAuth) },
		"of a server":            func() (string, string) { return proxies.issue("server", "x", x509.ExtKeyUsageServerAuth) },
	} {
		if status, err := ask(of()); err == nil {
			t.Errorf("a certificate %s: %d", name, status)
		}
	}
}

// A new certificate counts for new connections. Half of one, or none, leaves the one
// from before in use, which the log tells.
func TestCertificatesAreReadAgain(t *testing.T) {
	a, proxies := newAuthority(t, "servers"), newAuthority(t, "proxies")
	certificate, key := a.issue("api", "one.example", x509.ExtKeyUsageServerAuth)
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, nil))
		secure, err := certificates(Config{TLSCertificate: certificate, TLSKey: key}, log)
		if err != nil {
			t.Fatal(err)
		}
		if err := demandCertificates(secure, proxies.file, log); err != nil {
			t.Fatal(err)
		}
		shows := func(want string) {
			t.Helper()
			time.Sleep(fresh.For)
			pair, err := secure.GetCertificate(nil)
			if err != nil || pair.Leaf.DNSNames[0] != want {
				t.Errorf("shows %v, %v, want %s", pair.Leaf.DNSNames, err, want)
			}
		}
		shows("one.example")
		a.issue("api", "two.example", x509.ExtKeyUsageServerAuth)
		shows("two.example")
		if err := os.WriteFile(key, []byte("half of a key"), 0o600); err != nil {
			t.Fatal(err)
		}
		shows("two.example")
		if !strings.Contains(text.String(), "the one from before stays in use") || strings.Contains(text.String(), "half of a key") {
			t.Errorf("the log is %q", text.String())
		}
		a.issue("api", "three.example", x509.ExtKeyUsageServerAuth)
		shows("three.example")

		before, err := secure.GetConfigForClient(nil)
		if err != nil {
			t.Fatal(err)
		}
		writePEM(t, proxies.file, "CERTIFICATE", a.cert.Raw)
		time.Sleep(fresh.For)
		after, err := secure.GetConfigForClient(nil)
		if err != nil || before.ClientCAs.Equal(after.ClientCAs) || after.ClientAuth != tls.RequireAndVerifyClientCert {
			t.Errorf("the authorities are %v after %v, %v", after.ClientCAs, before.ClientCAs, err)
		}
	})
}

// What can't be is said at the start.
func TestTLSIsChecked(t *testing.T) {
	a := newAuthority(t, "a")
	certificate, key := a.issue("api", "api.example", x509.ExtKeyUsageServerAuth)
	_, otherKey := a.issue("other", "api.example", x509.ExtKeyUsageServerAuth)
	for name, c := range map[string]Config{
		"no file": {TLSCertificate: "none.pem", TLSKey: key}, "another key": {TLSCertificate: certificate, TLSKey: otherKey},
	} {
		if _, err := certificates(c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "-tls-certificate") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := demandCertificates(&tls.Config{}, key, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "-authorize-client-ca") {
		t.Errorf("a key for an authority: %v", err)
	}
	for _, flags := range [][]string{
		{"-tls-certificate", certificate}, {"-tls-key", key}, {"-authorize-client-ca", a.file},
		{"-authorize-listen", ":1", "-authorize-client-ca", a.file},
	} {
		if _, err := parseConfig(flags, func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), flags[len(flags)-2]) {
			t.Errorf("%q: %v", flags, err)
		}
	}
}

// Strangers don't fill the log: what fails before a request costs a few lines (CWE-779).
func TestFailedHandshakesAreLoggedRarely(t *testing.T) {
	a := newAuthority(t, "a")
	certificate, key := a.issue("api", "api.example", x509.ExtKeyUsageServerAuth)
	text := &syncBuffer{}
	log := slog.New(slog.NewTextHandler(text, nil))
	secure, err := certificates(Config{TLSCertificate: certificate, TLSKey: key}, log)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(http.NotFoundHandler(), secure, log)
	go func() { _ = serveOn(server, listener) }()
	defer server.Close()
	for range 200 {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "no TLS\r\n\r\n")
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
		c.Close()
	}
	if lines := strings.Count(text.String(), "TLS handshake error"); lines == 0 || lines > 60 {
		t.Errorf("%d lines", lines)
	}
}

// A model server and the API prove to each other who they are, with certificates
// that are in no system's list.
func TestModelServerWithCertificates(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	servers, clients, others := newAuthority(t, "servers"), newAuthority(t, "clients"), newAuthority(t, "others")
	certificate, key := servers.issue("model", "model.example", x509.ExtKeyUsageServerAuth)
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan string, 10)
	model := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown <- r.Proto + " " + r.TLS.PeerCertificates[0].Subject.CommonName
		answer(w, map[string]bool{"ok": true})
	}))
	model.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
	model.TLS.ClientCAs.AddCert(clients.cert)
	model.EnableHTTP2 = true
	model.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	model.StartTLS()
	defer model.Close()

	own, ownKey := clients.issue("api", "x", x509.ExtKeyUsageClientAuth)
	other, otherKey := others.issue("stranger", "x", x509.ExtKeyUsageClientAuth)
	p := testPolicy()
	for name, settings := range map[string]*policy.TLS{
		"good":      {CA: servers.file, Certificate: own, Key: ownKey},
		"named":     {CA: servers.file, Certificate: own, Key: ownKey, ServerName: "model.example"},
		"misnamed":  {CA: servers.file, Certificate: own, Key: ownKey, ServerName: "other.example"},
		"untrusted": {CA: others.file, Certificate: own, Key: ownKey},
		"system":    {Certificate: own, Key: ownKey},
		"anonymous": {CA: servers.file},
		"stranger":  {CA: servers.file, Certificate: other, Key: otherKey},
	} {
		p.Models = append(p.Models, policy.Model{Name: name, Upstream: &policy.Upstream{URL: model.URL, TLS: settings}})
	}
	g := start(t, issuer, p)
	for name, want := range map[string]int{"good": 200, "named": 200, "misnamed": 502, "untrusted": 502, "system": 502, "anonymous": 502, "stranger": 502} {
		r, err := http.NewRequest("GET", g.url+"/v2/models/"+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+issuer.Token("RS256"))
		response, body := send(t, r)
		if response.StatusCode != want {
			t.Errorf("%s: %s: %s, want %d", name, response.Status, body, want)
		}
	}
	if len(shown) != 2 {
		t.Fatalf("%d requests came through, want 2", len(shown))
	}
	for range 2 {
		if got := <-shown; got != "HTTP/2.0 api" {
			t.Errorf("the model server saw %s", got)
		}
	}
	p.Models[len(p.Models)-1].Upstream.TLS = &policy.TLS{CA: "none.pem"}
	writeStack(t, g.stack, issuer.URL, issuer.Audience, p)
	err = run(t.Context(), []string{"-listen", "127.0.0.1:0", "-stack", g.stack}, func(string) string { return "" }, strings.NewReader(""), io.Discard, io.Discard)
	if exitCode(err) != 2 || !strings.Contains(err.Error(), "none.pem") {
		t.Errorf("a file that is missing: %v", err)
	}
}
