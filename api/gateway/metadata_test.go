package gateway

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// RFC 9728, section 3.1: the well-known path goes between host and path.
func TestMetadataURL(t *testing.T) {
	for public, want := range map[string]string{
		"https://api.example.com":         "https://api.example.com/.well-known/oauth-protected-resource",
		"https://api.example.com/":        "https://api.example.com/.well-known/oauth-protected-resource",
		"https://api.example.com/models/": "https://api.example.com/.well-known/oauth-protected-resource/models",
	} {
		if got := metadataURL(public); got != want {
			t.Errorf("%s: %s, want %s", public, got, want)
		}
	}
}

func TestResourceMetadata(t *testing.T) {
	f := newFixture(t)
	f.gateway.options.PublicURL = "https://api.example.com"
	response, body := f.do(t, "GET", metadataPath, "", "", "")
	var got struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Methods  []string `json:"bearer_methods_supported"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || response.StatusCode != 200 {
		t.Fatalf("%d %s: %v", response.StatusCode, body, err)
	}
	if got.Resource != "https://api.example.com" || len(got.Servers) != 1 || got.Servers[0] != f.issuer.URL || len(got.Methods) != 1 || got.Methods[0] != "header" {
		t.Errorf("metadata %s", body)
	}
}

func TestCORS(t *testing.T) {
	f := newFixture(t)
	const allowed = "https://app.example.com"
	f.gateway.options.CORSOrigins = []string{allowed}
	on := httptest.NewServer(f.gateway.routes())
	defer on.Close()
	for _, row := range []struct {
		name, base, method, origin, asks string
		status                           int
		allow                            string
	}{
		{"preflight needs no token", on.URL, "OPTIONS", allowed, "POST", 204, allowed},
		{"preflight of another origin", on.URL, "OPTIONS", "https://app.example.com.evil.example", "POST", 401, ""},
		{"preflight of the same host over http", on.URL, "OPTIONS", "http://app.example.com", "POST", 401, ""},
		{"preflight of null", on.URL, "OPTIONS", "null", "POST", 401, ""},
		{"OPTIONS that is no preflight", on.URL, "OPTIONS", allowed, "", 401, allowed},
		{"a refusal can be read", on.URL, "GET", allowed, "", 401, allowed},
		{"off by default", f.url, "OPTIONS", allowed, "POST", 401, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, err := http.NewRequest(row.method, row.base+"/v2/models", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Origin", row.origin)
			if row.asks != "" {
				r.Header.Set("Access-Control-Request-Method", row.asks)
			}
			response, _ := send(t, r)
			h := response.Header
			if response.StatusCode != row.status || h.Get("Access-Control-Allow-Origin") != row.allow {
				t.Errorf("%d, origin %q", response.StatusCode, h.Get("Access-Control-Allow-Origin"))
			}
			if h.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("credentials are allowed")
			}
			if row.base == on.URL && h.Get("Vary") != "Origin" {
				t.Errorf("Vary is %q", h.Get("Vary"))
			}
		})
	}
}

// A page gets to send what the official clients send from a browser: read from the
// sources of openai 6.49.0, @anthropic-ai/sdk 1.14.0 and Azure's client in the former.
// Their preflight needs each header by its name (Fetch, "CORS-preflight fetch").
func TestCORSOfOfficialClients(t *testing.T) {
	f := newFixture(t)
	f.gateway.options.CORSOrigins = []string{"https://app.example.com"}
	stainless := "x-stainless-lang x-stainless-package-version x-stainless-os x-stainless-arch x-stainless-runtime x-stainless-runtime-version " +
		"x-stainless-retry-count x-stainless-timeout x-stainless-helper-method "
	for _, test := range []struct{ name, sends, reads string }{
		{"openai", stainless + "authorization content-type user-agent openai-organization openai-project openai-beta", "x-request-id retry-after retry-after-ms x-should-retry"},
		{"openai for Azure", stainless + "api-key content-type user-agent", "x-request-id"},
		{"anthropic", stainless + "x-stainless-helper x-api-key authorization content-type user-agent anthropic-version anthropic-beta anthropic-dangerous-direct-browser-access",
			"request-id retry-after retry-after-ms x-should-retry"},
		{"of the Open Inference Protocol", "authorization dpop content-type inference-header-content-length", "inference-header-content-length www-authenticate ratelimit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest("OPTIONS", "/v1/messages", nil)
			r.Header = http.Header{"Origin": {"https://app.example.com"}, "Access-Control-Request-Method": {"POST"}}
			preflight, answer := httptest.NewRecorder(), httptest.NewRecorder()
			f.gateway.routes().ServeHTTP(preflight, r)
			f.gateway.routes().ServeHTTP(answer, func() *http.Request {
				r := httptest.NewRequest("GET", "/v1/models", nil)
				r.Header.Set("Origin", "https://app.example.com")
				return r
			}())
			for _, list := range []struct{ names, in string }{
				{test.sends, preflight.Header().Get("Access-Control-Allow-Headers")},
				{test.reads, answer.Header().Get("Access-Control-Expose-Headers")},
			} {
				listed := strings.Split(strings.ToLower(list.in), ", ")
				for _, name := range strings.Fields(list.names) {
					if !slices.Contains(listed, name) {
						t.Errorf("%s is not in %s", name, list.in)
					}
				}
				if slices.Contains(listed, "*") || slices.Contains(listed, "cookie") {
					t.Errorf("too much is in %s", list.in)
				}
			}
		})
	}
}

// The routes for the issuer take its word without a credential, and nobody
// else's; a model with introspect asks the issuer and takes its roles.
func TestRevocationRoutes(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	inactive := false
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/token/introspect") {
			issuer.ServeHTTP(w, r)
			return
		}
		answer := issuer.Claims(oidctest.Claims{"active": !inactive, "realm_access": map[string]any{"roles": []string{"model-api-access", "model-forbidden"}}})
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer front.Close()
	// Reached by an internal address, to which the endpoints move along.
	f := newFixture(t)
	options := testOptions(issuer, f.log)
	options.IssuerInternalURL = front.URL + "/realms/example-realm"
	options.Outputs.ClientID, options.Outputs.ClientSecret = issuer.Audience, "s"
	options.NotBeforeInterval, options.IntrospectionTTL = -1, 100*time.Millisecond
	options.Outputs.Policy = testPolicy(policy.Model{Name: "asked", Allow: policy.Conditions{Roles: []string{"model-iris", "model-api-access"}}, Embedded: "iris", Introspect: true})
	options.Outputs.Policy.Clients = []policy.Client{{ClientID: "my-web-client", Kind: "web"}}
	api := httptest.NewServer(newGateway(t, options))
	defer api.Close()
	f.url = api.URL

	token := issuer.Token("RS256")
	if response, body := f.do(t, "GET", "/v2/models/asked", token, "", ""); response.StatusCode != 200 {
		t.Fatalf("asked: %d %s", response.StatusCode, body)
	}
	if response, _ := f.do(t, "GET", "/v2/models/forbidden", token, "", ""); response.StatusCode != 404 {
		t.Error("the roles of an answer hold for other models")
	}
	inactive = true
	waitFor(t, "the answer to age", func() bool {
		response, _ := f.do(t, "GET", "/v2/models/asked", token, "", "")
		return response.StatusCode == 401
	})
	response, body := f.do(t, "GET", "/v2/models/asked", token, "", "")
	checkRefusal(t, response, body, "/v2/models/asked", 401, "token_inactive")
	if response, _ := f.do(t, "GET", "/v2/models/iris", token, "", ""); response.StatusCode != 200 {
		t.Errorf("iris: %d", response.StatusCode)
	}

	for _, path := range []string{"/backchannel-logout", "/admin/k_logout", "/admin/k_push_not_before"} {
		if response, _ := f.do(t, "POST", path, token, "text/plain", token); response.StatusCode != 400 {
			t.Errorf("%s with an access token: %d", path, response.StatusCode)
		}
	}
	key := issuer.Key("RS256")
	now := time.Now().Unix()
	logout := oidctest.Sign(key, oidctest.Header{"alg": "RS256", "typ": "logout+jwt", "kid": key.ID}, oidctest.Claims{
		"iss": issuer.URL, "aud": "my-web-client", "sid": issuer.Claims()["sid"], "jti": "1", "iat": now, "exp": now + 120,
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})
	form := url.Values{"logout_token": {logout}}.Encode()
	if response, body := f.do(t, "POST", "/backchannel-logout", "", "application/x-www-form-urlencoded", form); response.StatusCode != 200 {
		t.Fatalf("logout: %d %s", response.StatusCode, body)
	}
	response, body = f.do(t, "GET", "/v2/models/iris", token, "", "")
	checkRefusal(t, response, body, "/v2/models/iris", 401, "token_revoked")
	// With another session, the not-before is what refuses.
	other := issuer.Token("RS256", oidctest.Claims{"sid": "other", "iat": now - 5})
	push := oidctest.Sign(key, oidctest.Header{"alg": "RS256", "kid": key.ID}, oidctest.Claims{
		"id": "1", "action": "PUSH_NOT_BEFORE", "resource": issuer.Audience, "expiration": now + 30, "notBefore": now,
	})
	if response, body := f.do(t, "POST", "/admin/k_push_not_before", "", "text/plain", push); response.StatusCode != 204 {
		t.Fatalf("push: %d %s", response.StatusCode, body)
	}
	response, body = f.do(t, "GET", "/v2/models/iris", other, "", "")
	checkRefusal(t, response, body, "/v2/models/iris", 401, "token_revoked")
}
