package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestOutage cuts the API off from Keycloak.
func TestOutage(t *testing.T) {
	const careful = "\n    - {name: careful, embedded: iris, roles: [model-api-access], introspect: true}\n\n  keycloak-model-api:clients:"
	config := strings.Replace(e.devConfig(t), "realm: example-realm", "realm: outage", 1)
	st := e.up(t, strings.Replace(config, "\n\n  keycloak-model-api:clients:", careful, 1), devSecrets())
	keycloak, err := url.Parse(e.keycloak.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	line := newLine(t, keycloak)
	login := st.clientCredentials("my-api-client")

	// The API starts without Keycloak, and says so.
	a := e.launchAPI(t, freePort(t), st, "-key-max-age", "1s", "-introspection-ttl", "100ms",
		"-issuer-internal-url", "http://"+line.address+"/realms/outage")
	token := st.token(t, login).AccessToken
	eventually(t, 20*time.Second, "the API listens", func() error {
		res, err := http.Get(a.URL + "/healthz")
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
	early := a.infer(t, token)
	early.want(t, http.StatusServiceUnavailable, "keys_unavailable")
	if early.Header.Get("Retry-After") == "" || early.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("the headers are %v: want Retry-After, and no challenge that blames the token", early.Header)
	}
	a.do(t, http.MethodGet, "/readyz", "", "").want(t, http.StatusServiceUnavailable, "")

	line.mend(t)
	a.awaitReady(t)
	a.infer(t, token).want(t, http.StatusOK, "setosa")
	a.call(t, "careful", token).want(t, http.StatusOK, "setosa")

	// Known keys outlast their age.
	line.cut()
	eventually(t, 20*time.Second, "the API misses Keycloak", func() error {
		if !strings.Contains(a.log.String(), "keys could not be fetched") {
			return fmt.Errorf("%s", a.log)
		}
		return nil
	})
	time.Sleep(2 * time.Second)
	a.infer(t, token).want(t, http.StatusOK, "setosa")
	a.infer(t, st.token(t, login).AccessToken).want(t, http.StatusOK, "setosa") // never seen before
	got := a.call(t, "careful", token)
	got.want(t, http.StatusServiceUnavailable, "introspection_unavailable")
	if got.Header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}

	line.mend(t)
	eventually(t, 20*time.Second, "the model that asks answers again", func() error {
		if got := a.call(t, "careful", token); got.Status != http.StatusOK {
			return fmt.Errorf("%d %s", got.Status, got.Body)
		}
		return nil
	})
}

// line is a network line to Keycloak, cut at first. It is a reverse proxy that
// keeps Keycloak's host, after which a Keycloak without a fixed one names itself.
type line struct {
	address string
	handler http.Handler
	server  *http.Server
}

func newLine(t *testing.T, target *url.URL) *line {
	t.Helper()
	l := &line{address: "127.0.0.1:" + freePort(t), handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
	}}
	t.Cleanup(l.cut)
	return l
}

// mend lets requests through.
func (l *line) mend(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", l.address)
	if err != nil {
		t.Fatal(err)
	}
	l.server = &http.Server{Handler: l.handler}
	go l.server.Serve(listener)
}

// cut ends all connections and takes no new ones.
func (l *line) cut() {
	if l.server != nil {
		l.server.Close()
	}
}
