package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

const proxyConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: behind-a-path
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
    - {clientId: portal, kind: web, redirectUris: [%s], postLogoutRedirectUris: [%s]}
    - {clientId: model-cli, kind: cli}
  keycloak-model-api:users:
    - {username: ml-api-user, email: ml-api-user@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [model-iris]}
`

// proxied is an API under a path behind a real proxy, as docs/browser.md shows it.
type proxied struct {
	name  string
	block int      // which of the page's blocks in the proxy's language
	flags []string // of the API
	tls   bool

	port, site string
	api        *api
	config     string // of the proxy
}

func (p *proxied) language() string { return strings.Fields(p.name)[0] }

// TestBehindAPath signs in by a browser and by modelctl, and calls a model, through
// proxies that take the path off and that leave it.
func TestBehindAPath(t *testing.T) {
	proxies := []*proxied{
		{name: "nginx takes it off", block: 0},
		{name: "nginx leaves it", block: 1, flags: []string{"-strip-prefix"}},
		{name: "haproxy takes it off", block: 0},
		{name: "haproxy leaves it", block: 1, flags: []string{"-strip-prefix"}},
		{name: "nginx with TLS", block: 0, tls: true}, // for cookies with the prefix __Host-
	}
	var redirects, after []string
	for _, p := range proxies {
		p.port = freePort(t)
		p.site = "http://127.0.0.1:" + p.port + "/ml"
		if p.tls {
			p.site = "https://127.0.0.1:" + p.port + "/ml"
		}
		redirects, after = append(redirects, p.site+"/callback"), append(after, p.site+"/")
	}
	const password = "correct horse battery staple 5E"
	st := e.up(t, fmt.Sprintf(proxyConfig, `"`+strings.Join(redirects, `", "`)+`"`, `"`+strings.Join(after, `", "`)+`"`), secretsOf{
		"clientSecrets":    {"model-api": "an-api-client-secret-of-the-tests", "portal": "a-web-client-secret-of-the-tests"},
		"initialPasswords": {"ml-api-user": password},
	})
	chromium := startChromium(t, "ignore-certificate-errors")
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			p.api = e.startAPI(t, st, append(p.flags, "-public-url", p.site)...)
			p.config = documentedProxy(t, p)
			stop := p.start(t, p.config)
			t.Run("browser", func(t *testing.T) { p.browser(t, chromium, password) })
			if p.tls {
				return
			}
			t.Run("discovery", func(t *testing.T) { p.discovery(t) })
			t.Run("modelctl", func(t *testing.T) { p.modelctl(t, st, password) })
			t.Run("what is not the API's", func(t *testing.T) { p.outside(t) })
			t.Run("doctor", func(t *testing.T) { p.doctor(t, st, stop) })
		})
	}
}

// browser signs in, calls a model and signs out.
func (p *proxied) browser(t *testing.T, chromium *chromium, password string) {
	b := chromium.visit(t, p.site+"/")
	b.see("Try a model")
	b.do(chromedp.Click("a.button"))
	b.signIn("ml-api-user", password)
	b.see("Sepal length")
	if where := b.eval("location.href"); !strings.HasPrefix(where, p.site+"/") {
		t.Errorf("the sign-in ends at %s", where)
	}
	b.noSecret()
	b.do(chromedp.Click("#predict button"), chromedp.WaitVisible("table.bars"))
	b.see("Versicolor") // as the style sheet writes it
	b.do(chromedp.Click("header button"))
	b.see("Try a model")
	if where := b.eval("location.href"); where != p.site+"/" {
		t.Errorf("the sign-out ends at %s", where)
	}
}

// discovery goes from the challenge to the metadata at the host's root (RFC 9728,
// sections 3.1 and 5.1).
func (p *proxied) discovery(t *testing.T) {
	refused := get(t, p.site+"/v2")
	refused.want(t, http.StatusUnauthorized, "no_credential")
	address := "http://127.0.0.1:" + p.port + "/.well-known/oauth-protected-resource/ml"
	if challenge := refused.Header.Get("WWW-Authenticate"); !strings.Contains(challenge, `resource_metadata="`+address+`"`) {
		t.Errorf("the challenge is %s, want the metadata at %s", challenge, address)
	}
	get(t, address).want(t, http.StatusOK, `"resource":"`+p.site+`"`)
}

// modelctl signs in, with proofs of possession and without, and calls a model. A
// proof names the address that the caller sees (RFC 9449, section 4.3).
func (p *proxied) modelctl(t *testing.T, st *stack, password string) {
	m := &modelctl{t: t, dir: t.TempDir()}
	m.signIn(p.site, st.output("issuer"), password)
	m.run("whoami").want(0, "bound to a key of this computer")
	flowers := filepath.Join(m.dir, "flowers.csv")
	writeFile(t, flowers, []byte("5.1,3.5,1.4,0.2\n6.0,2.9,4.5,1.5\n"))
	m.run("models").want(0, "iris")
	m.run("predict", "iris", flowers).want(0, "versicolor")
	m.run("logout").want(0, "")

	another := &modelctl{t: t, dir: t.TempDir()}
	another.signIn(p.site, st.output("issuer"), password, "-bearer")
	token := another.run("token")
	token.want(0, "")
	through := &api{URL: p.site}
	through.infer(t, strings.TrimSpace(token.stdout.String())).want(t, http.StatusOK, "setosa")
}

// outside asks for what leads to nothing, or to nothing but a refusal.
func (p *proxied) outside(t *testing.T) {
	host := "http://127.0.0.1:" + p.port
	for _, address := range []string{host + "/healthz", host + "/v2/models", host + "/mlx/healthz", p.site + "/ml/healthz", host + "/ml/%2e%2e/healthz"} {
		if got := get(t, address); got.Status/100 == 2 || strings.Contains(got.Body, `"live"`) {
			t.Errorf("GET %s is answered %d %s", address, got.Status, got.Body)
		}
	}
	get(t, p.site+"/healthz").want(t, http.StatusOK, `{"live":true}`)
}

// doctor finds nothing wrong, and the one thing that is easily forgotten.
func (p *proxied) doctor(t *testing.T, st *stack, stop func()) {
	levels, failed, output := e.doctor(t, st, "-public-url", p.site)
	if failed || levels["resource metadata"] != "" || !strings.Contains(output, `"resource metadata"`) {
		t.Errorf("findings %v\n%s", levels, output)
	}
	stop()
	forgotten := strings.ReplaceAll(p.config, "oauth-protected-resource/ml", "forgotten")
	if forgotten == p.config {
		t.Fatalf("the configuration does not name the metadata:\n%s", p.config)
	}
	p.start(t, forgotten)
	if levels, failed, output := e.doctor(t, st, "-public-url", p.site); !failed || levels["resource metadata"] != "failure" {
		t.Errorf("without the metadata: findings %v\n%s", levels, output)
	}
}

func get(t *testing.T, address string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, http.DefaultClient, r)
}

var bindLine = regexp.MustCompile(`(?m)^( *bind ).*$`)

// documentedProxy is the configuration of docs/browser.md with the addresses of
// the test, and what surrounds it in a file.
func documentedProxy(t *testing.T, p *proxied) string {
	t.Helper()
	blocks := shownIn(t, "browser.md", p.language())
	if len(blocks) != 2 {
		t.Fatalf("docs/browser.md has %d configurations of %s, want 2", len(blocks), p.language())
	}
	block := strings.ReplaceAll(blocks[p.block], "127.0.0.1:8000", strings.TrimPrefix(p.api.URL, "http://"))
	listen := "127.0.0.1:" + p.port
	if p.language() == "haproxy" {
		if len(bindLine.FindAllString(block, -1)) != 1 {
			t.Fatalf("want one line bind:\n%s", block)
		}
		return "defaults\n    mode http\n    timeout connect 5s\n    timeout client 90s\n    timeout server 90s\n\n" +
			bindLine.ReplaceAllString(block, "${1}"+listen) + "\n"
	}
	dir := t.TempDir()
	if p.tls {
		listen += " ssl;\n    ssl_certificate " + loopbackCertificate(t, dir) + ";\n    ssl_certificate_key " + filepath.Join(dir, "key.pem")
	}
	return nginxAround(dir, listen, block)
}

// nginxAround is a configuration of nginx with block in its one server. It is one
// process, which is whoever runs the tests, with its files in a folder of the test's.
func nginxAround(dir, listen, block string) string {
	text := "daemon off;\nmaster_process off;\npid " + filepath.Join(dir, "pid") + ";\nerror_log stderr;\nevents {}\nhttp {\n  access_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += "  " + kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	return text + "  server {\n    listen " + listen + ";\n" + block + "\n  }\n}\n"
}

// loopbackCertificate writes a certificate of 127.0.0.1 and its key.
func loopbackCertificate(t *testing.T, dir string) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "certificate.pem")
	writeFile(t, file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	writeFile(t, filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	return file
}

// start runs the proxy until the test ends, or until stop.
func (p *proxied) start(t *testing.T, config string) (stop func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), p.language()+".conf")
	writeFile(t, file, []byte(config))
	args := []string{"-e", "stderr", "-c", file}
	if p.language() == "haproxy" {
		args = []string{"-db", "-f", file}
	}
	return startProxy(t, exec.Command(findSbin(t, p.language()), args...), p.port)
}
