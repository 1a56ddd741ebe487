package upstream

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/api/refusal"
)

// BenchmarkForward stands beside httputil.ReverseProxy on the same transport,
// which does less: it holds nothing back and checks nothing.
func BenchmarkForward(b *testing.B) {
	for _, size := range []int{200, 20_000, 200_000} {
		body := strings.Repeat("x", size)
		model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header()["Content-Type"] = []string{"application/json"}
			w.Header()["Content-Length"] = []string{fmt.Sprint(size)}
			_, _ = io.WriteString(w, body)
		}))
		target, err := url.Parse(model.URL)
		if err != nil {
			b.Fatal(err)
		}
		transport := Transport()
		u, err := New(Config{URL: model.URL, Credential: secretOf("secret"), Deadlines: within(time.Minute), Transport: transport, MediaTypes: []string{"application/json"},
			Fail: func(_ http.ResponseWriter, _ *http.Request, e *refusal.Error) { b.Error(e) }})
		if err != nil {
			b.Fatal(err)
		}
		proxy := &httputil.ReverseProxy{Transport: transport, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
		for name, handler := range map[string]http.HandlerFunc{
			"ours": func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					b.Error(err)
				}
				u.Forward(w, r, r.URL.Path, Body{Head: body}, who)
			},
			"ReverseProxy": proxy.ServeHTTP,
		} {
			b.Run(fmt.Sprint(name, "/", size), func(b *testing.B) {
				b.ReportAllocs()
				front := httptest.NewServer(handler)
				defer front.Close()
				client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100, DialContext: (&net.Dialer{}).DialContext}}
				defer client.CloseIdleConnections()
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						response, err := client.Post(front.URL+"/v2/models/m/infer", "application/json", strings.NewReader(body[:200]))
						if err != nil {
							b.Error(err)
							return
						}
						_, _ = io.Copy(io.Discard, response.Body)
						response.Body.Close()
					}
				})
			})
		}
		transport.CloseIdleConnections()
		model.Close()
	}
}
