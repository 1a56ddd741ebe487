package gateway

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"keycloak-model-api/internal/oidctest"
)

// Faults that were published of other gateways, each as a request that got
// through there. docs/threat-model.md has the whole table.
func TestAdvisoriesOfPeers(t *testing.T) {
	f := newFixture(t)
	with := func(headers ...string) func(*http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
		}
	}
	good := f.issuer.Token("RS256")
	tests := []struct {
		name   string
		change func(*http.Request)
		status int
	}{
		{"oauth2-proxy, CVE-2025-54576: a public path in the query", func(r *http.Request) { r.URL.RawQuery = "x=/healthz" }, 401},
		{"oauth2-proxy, CVE-2026-40575: a public path in a header", with("X-Forwarded-Uri", "/healthz"), 401},
		{"oauth2-proxy, CVE-2026-76835: the same by a trusted peer", with("X-Forwarded-Uri", "/healthz", "X-Forwarded-For", "127.0.0.1"), 401},
		{"oauth2-proxy, CVE-2026-34457: a health check by its User-Agent", with("User-Agent", "GoogleHC/1.0"), 401},
		{"the same of a cluster", with("User-Agent", "kube-probe/1.33"), 401},
		{"Envoy, CVE-2023-27487: another original path", with("X-Envoy-Original-Path", "/healthz", "X-Original-Url", "/healthz"), 401},
		{"authentik, CVE-2024-47070: an address that is none", with("X-Forwarded-For", "a"), 401},
		{"Starlette, CVE-2026-48710: a public path in Host", func(r *http.Request) { r.Host = "models.example/healthz?" }, 401},
		{"Next.js, CVE-2025-29927: an inner request", with("X-Middleware-Subrequest", "middleware:middleware"), 401},
		{"another method by a header", with("X-Http-Method-Override", "OPTIONS"), 401},
		{"Envoy, CVE-2025-64527: two tokens", func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + good, "Bearer x.y.z"} }, 400},
		{"LiteLLM, CVE-2026-42208: a statement of SQL as the key", with("Authorization", "Bearer sk-' OR pg_sleep(8) IS NOT NULL --"), 400},
		{"LiteLLM, CVE-2026-35030: the first 20 characters of a token that is cached", with("Authorization", "Bearer "+good[:40]+"x"), 401},
		{"LiteLLM, CVE-2026-59822: a credential that no check knows", with("Authorization", "Bearer sk-unknown"), 401},
		{"Keycloak, GHSA-7fpj-9hr8-28vh: a logout token", with("Authorization",
			"Bearer "+f.issuer.Token("RS256", oidctest.Claims{"typ": "Logout"})), 401},
		{"Argo CD, CVE-2023-22482: a token for another audience", with("Authorization",
			"Bearer "+f.issuer.Token("RS256", oidctest.Claims{"aud": "another"})), 401},
	}
	if response, body := f.do(t, "POST", inferIris, good, "application/json", irisRow); response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", response.Status, body) // also fills the cache
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := http.NewRequest("POST", f.url+inferIris, strings.NewReader(irisRow))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			test.change(r)
			response, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != test.status {
				t.Errorf("got %s, want %d", response.Status, test.status)
			}
		})
	}
}

// A tunnel would share its connection with what comes after it (Traefik,
// CVE-2026-71324; Envoy, CVE-2025-64763): there is none, whoever asks.
func TestNoTunnel(t *testing.T) {
	f := newFixture(t)
	for _, target := range []string{"127.0.0.1:6379", "/v2/models/iris/infer"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\nAuthorization: Bearer %s\r\n\r\n", target, f.issuer.Token("RS256"))
		response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: "POST"})
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode < 400 || response.StatusCode >= 500 {
			t.Errorf("%s: %s", target, response.Status)
		}
	}
}
