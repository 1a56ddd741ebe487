package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"html"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

const mailConfig = `
config:
  keycloak-model-api:environment: staging
  keycloak-model-api:protect: false
  keycloak-model-api:realm: letters
  keycloak-model-api:displayName: Models
  keycloak-model-api:displayNameHtml: <b>Models</b>
  keycloak-model-api:events: {types: [LOGIN, LOGIN_ERROR, RESET_PASSWORD], listeners: [jboss-logging, email], keepAdminFor: 720h}
  keycloak-model-api:lifetimes:
    {login: 20m, loginAction: 4m, userMail: 10m, adminMail: 6h, rememberMeIdle: 48h, rememberMeMax: 72h, devicePolling: 7s}
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api}
    - {clientId: portal, kind: web, redirectUris: [https://portal.example.com/callback]}
    - clientId: partner
      kind: web
      rootUrl: https://partner.example.com
      redirectUris: [https://partner.example.com/callback]
      consentRequired: true
      loginTheme: keycloak
      offlineIdle: 24h
      offlineMax: 48h
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, roles: [model-iris]}
`

// realmSettings is everything that a realm as a whole can be told, to lay over a
// configuration. PORT is that of the mail server.
const realmSettings = `
  keycloak-model-api:smtp:
    host: 127.0.0.1
    port: PORT
    from: noreply@example.com
    fromDisplayName: Example models
    replyTo: help@example.com
    replyToDisplayName: Help
    envelopeFrom: bounces@example.com
    starttls: true
    user: mailer
  keycloak-model-api:login: {resetPassword: true, verifyEmail: true, rememberMe: true, registration: true, editUsername: true}
  keycloak-model-api:themes: {login: keycloak.v2, account: keycloak.v3, admin: keycloak.v2, email: keycloak}
  keycloak-model-api:locales: {supported: [en, de], default: de}
  keycloak-model-api:realmAttributes: {tenant: acme}
  keycloak-model-api:passwordPolicy: length(14) and notUsername and maxLength(80)
  keycloak-model-api:otp: {type: hotp, algorithm: HmacSHA256, digits: 8, period: 60s, initialCounter: 3, lookAhead: 0}
  keycloak-model-api:webAuthn:
    relyingPartyName: Models
    algorithms: [ES256, Ed25519]
    attestation: direct
    attachment: cross-platform
    residentKey: false
    userVerification: preferred
    timeout: 2m
    avoidSameAuthenticator: true
    aaguids: [ee882879-721c-4913-9775-3dfcce97072a]
  keycloak-model-api:passkeys: {relyingPartyName: Models, algorithms: [ES512], residentKey: true, attachment: platform, timeout: 90s}
  keycloak-model-api:bruteForce: {maxFailures: 7, waitIncrement: 2m, maxWait: 20m, resetAfter: 6h, quickLoginCheck: 500ms, quickLoginWait: 30s, permanent: true}
  keycloak-model-api:headers: {frameOptions: DENY, contentSecurityPolicyReportOnly: "default-src 'self'"}
  keycloak-model-api:requiredActions:
    - {alias: TERMS_AND_CONDITIONS, default: true, priority: 30}
    - {alias: VERIFY_PROFILE, enabled: false}
`

const mailPassword = "a-mail-password-of-the-tests"

// TestMail resets a forgotten password by a mail that goes through a server which
// takes nothing without STARTTLS and a password, and signs in by what it leads to.
func TestMail(t *testing.T) {
	server := startMail(t)
	st := e.up(t, strings.ReplaceAll(mailConfig+realmSettings, "PORT", server.port), secretsOf{
		"clientSecrets":    {"model-api": "a-secret-of-the-tests-1", "portal": "a-secret-of-the-tests-2", "partner": "a-secret-of-the-tests-3"},
		"initialPasswords": {"ada": firstPassword},
		"smtpPassword":     {"": mailPassword},
	})
	st.token(t, st.clientCredentials("model-api"))
	compare(t, st)

	portal := st.relyingParty("portal", "https://portal.example.com/callback")
	verifier := oauth2.GenerateVerifier()
	pg := newPerson(t).open(t, portal.AuthCodeURL("a-state", oauth2.S256ChallengeOption(verifier)))
	if !strings.Contains(pg.Body, `lang="de"`) {
		t.Errorf("the login page is not German: %s", pg.Body)
	}
	if !strings.Contains(pg.Body, "<b>Models</b>") {
		t.Error("the login page lacks the name in HTML")
	}
	forgotten := regexp.MustCompile(`href="([^"]*/login-actions/reset-credentials[^"]*)"`).FindStringSubmatch(pg.Body)
	if forgotten == nil {
		t.Fatalf("no link to reset a password: %s", pg.Body)
	}
	link, err := pg.URL.Parse(html.UnescapeString(forgotten[1]))
	if err != nil {
		t.Fatal(err)
	}
	pg = pg.person.open(t, link.String())
	pg.submit(t, url.Values{"username": {"ada"}})

	letter := server.next(t)
	if letter.Sender != "bounces@example.com" || len(letter.To) != 1 || letter.To[0] != "ada@example.com" || !strings.HasPrefix(letter.TLS, "TLS") {
		t.Errorf("the envelope is %q, %q, %q", letter.Sender, letter.To, letter.TLS)
	}
	wantHeader(t, letter, "From", "Example models", "noreply@example.com")
	wantHeader(t, letter, "Reply-To", "Help", "help@example.com")
	if subject, err := new(mime.WordDecoder).DecodeHeader(letter.message.Header.Get("Subject")); err != nil || !strings.Contains(subject, "Passwort") {
		t.Errorf("the subject is not German: %q, %v", subject, err)
	}
	pg = pg.person.open(t, letter.link(t))
	// What every new user must do comes first, by its priority, then a second mail that
	// verifies the address, and the new password last.
	if !strings.Contains(pg.Body, `data-page-id="login-terms"`) {
		t.Fatalf("the terms are not asked for at %s (%d): %s", pg.URL, pg.Status, pg.Body)
	}
	pg.submit(t, url.Values{"accept": {"Akzeptieren"}})
	pg = pg.person.open(t, server.next(t).link(t))
	pg = pg.submit(t, newPassword(ownPassword))
	if pg.URL.Query().Get("code") == "" {
		t.Fatalf("the new password leads to %s (%d): %s", pg.URL, pg.Status, pg.Body)
	}
	newPerson(t).signIn(t, portal, loginForm("ada@example.com", ownPassword))
	var users []struct{ EmailVerified bool }
	if err := e.admin.Do(t.Context(), http.MethodGet, "/realms/letters/users?username=ada", nil, &users); err != nil {
		t.Fatal(err)
	}
	if len(users) != 1 || !users[0].EmailVerified {
		t.Errorf("the address is not verified: %v", users)
	}
}

// mailServer is aiosmtpd, which turns each mail into a file.
type mailServer struct{ port, folder string }

// letter is one mail as the server got it.
type letter struct {
	Sender  string `json:"from"`
	To      []string
	TLS     string
	Content string

	message *mail.Message
}

func startMail(t *testing.T) *mailServer {
	t.Helper()
	s := &mailServer{port: freePort(t), folder: t.TempDir()}
	command := exec.Command(filepath.Join(installPython(t, "smtp"), "bin", "python"), testdata(t, "smtp", "server.py"),
		s.port, e.certificate, e.certificateKey, "mailer", s.folder)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "SMTP_PASSWORD=" + mailPassword}
	output := new(lockedBuffer)
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("the mail server: %s", output)
		}
	})
	eventually(t, 20*time.Second, "the mail server listens", func() error {
		c, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		return c.Close()
	})
	return s
}

// next returns the only mail there is, and takes it away.
func (s *mailServer) next(t *testing.T) *letter {
	t.Helper()
	l := &letter{}
	eventually(t, 20*time.Second, "a mail arrives", func() error {
		files, err := filepath.Glob(filepath.Join(s.folder, "*.json"))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("there is none (%v)", err)
		}
		content, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		if err := json.Unmarshal(content, l); err != nil {
			return err
		}
		return os.Remove(files[0])
	})
	message, err := mail.ReadMessage(strings.NewReader(l.Content))
	if err != nil {
		t.Fatal(err)
	}
	l.message = message
	return l
}

// link is where a mail sends its reader.
func (l *letter) link(t *testing.T) string {
	t.Helper()
	link := regexp.MustCompile(`https?://\S+/login-actions/action-token\S+`).FindString(l.text(t))
	if link == "" {
		t.Fatalf("the mail has no link: %s", l.text(t))
	}
	return link
}

// text is the plain part of a mail.
func (l *letter) text(t *testing.T) string {
	t.Helper()
	_, params, err := mime.ParseMediaType(l.message.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	part, err := multipart.NewReader(strings.NewReader(l.Content[strings.Index(l.Content, "\r\n\r\n"):]), params["boundary"]).NextRawPart()
	if err != nil {
		t.Fatal(err)
	}
	var body io.Reader = part
	if part.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
		body = quotedprintable.NewReader(part)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func wantHeader(t *testing.T, l *letter, name, person, address string) {
	t.Helper()
	got, err := l.message.Header.AddressList(name)
	if err != nil || len(got) != 1 || got[0].Name != person || got[0].Address != address {
		t.Errorf("%s is %v (%v), want %s <%s>", name, got, err, person, address)
	}
}

// newCertificate writes a certificate for 127.0.0.1, and its key.
func newCertificate(dir string) (certificate, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return "", "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	certificate, key = filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: signed}, key: {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			return "", "", err
		}
	}
	return certificate, key, nil
}
