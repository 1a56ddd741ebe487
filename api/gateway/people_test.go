package gateway

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// site is the whole API with a sign-in for browsers.
type site struct {
	t       *testing.T
	issuer  *oidctest.Provider
	gateway *Gateway
	url     string
	log     *syncBuffer
}

func newSite(t *testing.T, more ...policy.Model) *site {
	t.Helper()
	issuer := oidctest.NewProvider(oidctest.Start(), "my-api-client", "my-api-client-secret")
	t.Cleanup(issuer.Close)
	front := httptest.NewUnstartedServer(nil)
	s := &site{t: t, issuer: issuer, url: "http://" + front.Listener.Addr().String(), log: &syncBuffer{}}
	options := testOptions(issuer.Issuer, s.log)
	options.PublicURL = s.url
	options.Outputs.ClientID, options.Outputs.ClientSecret = issuer.Audience, "s3cret"
	options.Outputs.OIDCClientID, options.Outputs.OIDCClientSecret = issuer.ClientID, issuer.ClientSecret
	options.Outputs.Policy.Models = append(options.Outputs.Policy.Models, more...)
	options.Outputs.Policy.Clients = []policy.Client{{ClientID: issuer.ClientID, Kind: "web"}}
	options.NotBeforeInterval, options.IntrospectionTTL = -1, 100*time.Millisecond
	s.gateway = newGateway(t, options)
	waitFor(t, "the issuer's keys", func() bool { return s.gateway.verifier.Ready() == nil })
	front.Config.Handler = s.gateway
	front.Start()
	t.Cleanup(front.Close)
	return s
}

// person is a browser that follows redirects and keeps cookies.
type person struct {
	*http.Client
	s *site
}

func (s *site) person() *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &person{&http.Client{Jar: jar}, s}
}

// do sends a request as a browser would for a page of ours; headers are pairs.
func (p *person) do(method, path, body string, headers ...string) (*http.Response, string) {
	p.s.t.Helper()
	r, err := http.NewRequest(method, p.s.url+path, strings.NewReader(body))
	if err != nil {
		p.s.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := p.Do(r)
	if err != nil {
		p.s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		p.s.t.Fatal(err)
	}
	return response, string(content)
}

// want checks a page: its status, some of its words, and what holds for all.
func (p *person) want(status int, words []string, method, path, body string, headers ...string) string {
	p.s.t.Helper()
	response, page := p.do(method, path, body, headers...)
	if response.StatusCode != status {
		p.s.t.Errorf("%s %s: %d, want %d", method, path, response.StatusCode, status)
	}
	for _, word := range words {
		if !strings.Contains(page, word) {
			p.s.t.Errorf("%s %s: the page lacks %q: %s", method, path, word, page)
		}
	}
	p.s.checkPage(response, page)
	return page
}

// inline is what the Content-Security-Policy would block.
var inline = regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style| style=| on[a-z]+="|javascript:|(src|href)="(https?:)?//`)

func (s *site) checkPage(response *http.Response, page string) {
	s.t.Helper()
	h := response.Header
	csp := h.Get("Content-Security-Policy")
	for _, directive := range []string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'",
		"form-action 'self' " + strings.TrimSuffix(s.issuer.URL, "/realms/example-realm"),
	} {
		if !strings.Contains(csp+";", directive+";") {
			s.t.Errorf("policy %q lacks %q", csp, directive)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
		s.t.Errorf("policy %q", csp)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Referrer-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := h.Get(name); got != want {
			s.t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if found := inline.FindString(page); found != "" {
		s.t.Errorf("the page has %q", found)
	}
}

// wantNoSecret checks text for tokens, codes, verifiers and the client secret.
func (s *site) wantNoSecret(where, text string) {
	s.t.Helper()
	for _, secret := range s.issuer.Sensitive() {
		if strings.Contains(text, secret) {
			s.t.Errorf("%s holds a secret: %s", where, secret)
		}
	}
}

func (p *person) signIn() string {
	p.s.t.Helper()
	return p.want(http.StatusOK, []string{"Model User"}, "GET", "/login", "")
}

func (p *person) cookie() *http.Cookie {
	p.s.t.Helper()
	u, err := url.Parse(p.s.url)
	if err != nil {
		p.s.t.Fatal(err)
	}
	for _, c := range p.Jar.Cookies(u) {
		if c.Name == "insecure-loopback-session" {
			return c
		}
	}
	p.s.t.Fatal("no session cookie")
	return nil
}

// A language model has a page of its own, by whatever name; one that no page can
// ask, or that the person may not ask, has none.
func TestChatPages(t *testing.T) {
	var got sent
	vectors := openAIOf(t, "vectors", nil)
	vectors.Allow.Actions = []string{"embeddings", "metadata"}
	mute := openAIOf(t, "mute", nil)
	mute.Allow.Actions = []string{"metadata"}
	sealed := openAIOf(t, "sealed", nil)
	sealed.Allow.Roles = []string{"model-forbidden"}
	paths := upstreamOf(t, "echo", nil)
	paths.Protocol, paths.Upstream.Paths = policy.ProtocolPaths, []string{"POST /echo"}
	s := newSite(t, openAIOf(t, "org/talks:8b", keeping(&got)), vectors, mute, sealed, anthropicOf(t, "claude", nil), paths)
	p := s.person()
	p.want(http.StatusUnauthorized, []string{`href="/login?return_to=/chat/org/talks:8b"`}, "GET", "/chat/org/talks:8b", "")
	page := p.signIn()
	for _, name := range []string{"mute", "sealed", "echo"} {
		if strings.Contains(page, name) {
			t.Errorf("the page names %s", name)
		}
	}
	for _, test := range []struct {
		path  string
		words []string
	}{
		{"/chat/org/talks:8b", []string{`data-path="/v1/chat/completions"`, "chat.js", `href="?as=completions"`, "system prompt", s.url + "/v1</code>"}},
		{"/chat/org%2Ftalks%3A8b", []string{`data-path="/v1/chat/completions"`}},
		{"/chat/org/talks:8b?as=completions", []string{`data-path="/v1/completions"`, "Text to go on with"}},
		{"/chat/org/talks:8b?as=%3Cb%3E", []string{`data-path="/v1/chat/completions"`}},
		{"/chat/vectors", []string{`data-path="/v1/embeddings"`, "one on each line"}},
		{"/chat/claude", []string{`data-path="/v1/messages"`, "anthropic-version"}},
	} {
		page := p.want(http.StatusOK, test.words, "GET", test.path, "")
		s.wantNoSecret(test.path, page)
	}
	if page := p.want(http.StatusOK, nil, "GET", "/chat/vectors", ""); strings.Contains(page, "?as=") || strings.Contains(page, "temperature") {
		t.Error("a model with one action has ways to choose")
	}
	for _, path := range []string{"/chat/mute", "/chat/sealed", "/chat/nosuch", "/chat/iris", "/models/vectors", "/chat/echo"} {
		p.want(http.StatusNotFound, []string{"nothing here"}, "GET", path, "")
	}
	// What the script sends: the cookie counts, for requests of this origin alone.
	const body = `{"model":"org/talks:8b","messages":[{"role":"user","content":"hi"}]}`
	headers := []string{"Accept", "*/*", "Content-Type", "application/json", "Origin", s.url}
	if response, answer := p.do("POST", "/v1/chat/completions", body, headers...); response.StatusCode != http.StatusOK || got.body != body || got.header.Get("Cookie") != "" {
		t.Errorf("%s %s; the model's server got %+v", response.Status, answer, got)
	}
	elsewhere := append(slices.Clone(headers), "Origin", "https://elsewhere.example", "Sec-Fetch-Site", "cross-site")
	if response, answer := p.do("POST", "/v1/chat/completions", body, elsewhere...); response.StatusCode != http.StatusForbidden {
		t.Errorf("%s %s", response.Status, answer)
	}
}

func TestPlayground(t *testing.T) {
	s := newSite(t)
	p := s.person()
	p.want(http.StatusOK, []string{"Sign in", `href="/login"`}, "GET", "/", "")
	p.want(http.StatusUnauthorized, []string{"Sign in", `href="/login?return_to=/models/iris"`}, "GET", "/models/iris", "")
	page := p.signIn()
	for _, word := range []string{
		"ml-api-user", `<span class="chip">model-api-access</span>`, ">10 hours</time>, or after 30 minutes without use",
		"Sepal length", `data-min="4.3"`, `data-max="7.9"`, "modelctl login -bearer -api '" + s.url + "'", "FP64, n × 4", "setosa, versicolor, virginica", "$TOKEN", "urllib.request", "http.NewRequest",
	} {
		if !strings.Contains(page, word) {
			t.Errorf("the page lacks %q", word)
		}
	}
	if strings.Contains(page, "forbidden") {
		t.Error("the page names a model that this person may not call")
	}
	s.wantNoSecret("the page", page)

	// The form works without a script.
	page = p.want(http.StatusOK, []string{"setosa", "versicolor", ">virginica</p>", `width="100.0%"`}, "POST", "/models/iris",
		"0.0=6.3&0.1=3.3&0.2=6&0.3=2.5")
	s.wantNoSecret("the page", page)
	p.want(http.StatusBadRequest, []string{"Petal width is not a number"}, "POST", "/models/iris", "0.0=6&0.1=3&0.2=6&0.3=x")
	p.want(http.StatusBadRequest, []string{"Sepal length is not a number"}, "POST", "/models/iris", "0.0=NaN&0.1=3&0.2=6&0.3=1")
	p.want(http.StatusForbidden, []string{"another site"}, "POST", "/models/iris", "", "Sec-Fetch-Site", "cross-site")

	// The same answer, word by word, for a model that is not there and one
	// that this person may not call.
	if p.want(http.StatusNotFound, nil, "GET", "/models/forbidden", "") != p.want(http.StatusNotFound, nil, "GET", "/models/nothing", "") {
		t.Error("a forbidden and an unknown model can be told apart")
	}
	p.want(http.StatusNotFound, []string{"nothing here"}, "GET", "/nothing", "")
	s.wantNoSecret("the log", s.log.String())
}

// Form fields of the person's own making reach the page as text.
func TestPageEscapes(t *testing.T) {
	s := newSite(t)
	s.issuer.Set(func(set *oidctest.Settings) { set.ID = oidctest.Claims{"name": `<script>alert(1)</script>"'`} })
	p := s.person()
	page := p.want(http.StatusOK, []string{"&lt;script&gt;alert(1)"}, "GET", "/login", "")
	if strings.Contains(page, "<script>alert") {
		t.Error(page)
	}
}

// A session is a credential like a token: for what, and for how long, is
// decided in the same place.
func TestSessionAsCredential(t *testing.T) {
	s := newSite(t)
	p := s.person()
	p.signIn()
	session := "insecure-loopback-session=" + p.cookie().Value
	token := "Bearer " + s.issuer.Token("RS256")
	tests := []struct {
		name    string
		method  string
		path    string
		headers []string
		status  int
		code    string
	}{
		{"metadata", "GET", "/v2/models/iris", []string{"Cookie", session}, 200, ""},
		{"inference", "POST", inferIris, []string{"Cookie", session, "Sec-Fetch-Site", "same-origin"}, 200, ""},
		{"a model of another role", "GET", "/v2/models/forbidden", []string{"Cookie", session}, 404, "model_unknown"},
		{"RFC 6750 2: two credentials", "GET", "/v2/models", []string{"Cookie", session, "Authorization", token}, 400, "several_credentials"},
		{"token alone", "GET", "/v2/models", []string{"Authorization", token}, 200, ""},
		{"an id that is not ours", "GET", "/v2/models", []string{"Cookie", "insecure-loopback-session=x"}, 401, "no_credential"},
		{"the cookie by its other name", "GET", "/v2/models", []string{"Cookie", "__Host-session=" + p.cookie().Value}, 401, "no_credential"},
		{"an empty credential beside it", "GET", "/v2/models", []string{"Cookie", session, "Authorization", ""}, 400, "several_credentials"},
		{"a token in the query", "GET", "/v2/models?access_token=x", []string{"Cookie", session}, 400, "token_in_query"},
		{"two session cookies", "GET", "/v2/models", []string{"Cookie", session + "; insecure-loopback-session=x"}, 400, "several_sessions"},
		{"cross-site request forgery", "POST", inferIris, []string{"Cookie", session, "Sec-Fetch-Site", "cross-site"}, 403, "cross_origin"},
		{"the same of an old browser", "POST", inferIris, []string{"Cookie", session, "Origin", "https://evil.example"}, 403, "cross_origin"},
		{"a bearer request of another site is CORS's business", "POST", inferIris, []string{"Authorization", token, "Sec-Fetch-Site", "cross-site"}, 200, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			body := ""
			if test.method == "POST" {
				body = irisRow
			}
			r, err := http.NewRequest(test.method, s.url+test.path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			for i := 0; i < len(test.headers); i += 2 {
				r.Header.Set(test.headers[i], test.headers[i+1])
			}
			response, answer := send(t, r)
			if test.code != "" {
				checkRefusal(t, response, answer, test.path, test.status, test.code)
			} else if response.StatusCode != test.status {
				t.Errorf("%d %s", response.StatusCode, answer)
			}
		})
	}
	s.wantNoSecret("the log", s.log.String())
	if strings.Contains(s.log.String(), p.cookie().Value) {
		t.Error("the log holds the session id")
	}
}

// A page that calls a model leaves one record, of what it did and for whom.
func TestPageIsOneRecord(t *testing.T) {
	s := newSite(t)
	p := s.person()
	p.signIn()
	f := fixture{issuer: s.issuer.Issuer, log: s.log}
	for _, test := range []struct{ method, path, body, action, code string }{
		{"GET", "/models/iris", "", "metadata", "allowed"},
		{"POST", "/models/iris", "0.0=6.3&0.1=3.3&0.2=6&0.3=2.5", "infer", "allowed"},
		{"POST", "/models/iris", `request={"inputs":[]}`, "infer", "bad_tensor"},
	} {
		s.gateway.access.Store(copyOf(s.gateway.access.Load())) // what the model says of itself counts no more
		before := len(f.decisions(t))
		p.do(test.method, test.path, test.body)
		made := f.decisions(t)[before:]
		if len(made) != 1 {
			t.Fatalf("%v: records %v", test, made)
		}
		if got := made[0]; got["action"] != test.action || got["code"] != test.code || got["model"] != "iris" || got["subject"] == nil || got["path"] != test.path {
			t.Errorf("%v: %v", test, got)
		}
	}
}

// copyOf is the same access with a policy that counts as a new one.
func copyOf(a *access) *access {
	p := *a.policy
	return &access{policy: &p, models: a.models}
}

// A model that asks the issuer about tokens asks about the one of a session,
// and takes the roles of this moment.
func TestSessionIsIntrospected(t *testing.T) {
	s := newSite(t)
	p := s.person()
	p.signIn()
	strict := copyOf(s.gateway.access.Load())
	strict.policy.Models = slices.Clone(strict.policy.Models)
	strict.policy.Models[0].Introspect = true
	s.gateway.access.Store(strict)
	for _, active := range []bool{true, false} {
		time.Sleep(2 * s.gateway.options.IntrospectionTTL) // the answer before counts no more
		s.issuer.Override(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/token/introspect") {
				answer(w, map[string]any{"issuer": s.issuer.URL, "jwks_uri": s.issuer.URL + "/keys", "introspection_endpoint": s.issuer.URL + "/token/introspect"})
				return
			}
			claims := map[string]any{}
			payload, err := base64.RawURLEncoding.DecodeString(strings.Split(r.FormValue("token"), ".")[1])
			if err != nil || json.Unmarshal(payload, &claims) != nil {
				t.Error("not asked about an access token")
			}
			claims["active"] = active
			answer(w, claims)
		})
		r, err := http.NewRequest("GET", s.url+"/v2/models/iris", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(p.cookie())
		response, body := send(t, r)
		if active && response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", response.Status, body)
		} else if !active {
			checkRefusal(t, response, body, "/v2/models/iris", http.StatusUnauthorized, "token_inactive")
		}
	}
}

func TestSignOut(t *testing.T) {
	s := newSite(t)
	p := s.person()
	p.signIn()
	cookie := p.cookie()

	p.want(http.StatusOK, []string{"Sign out?", `<form method="post" action="/logout"`}, "GET", "/logout", "")
	p.want(http.StatusForbidden, []string{"another site"}, "POST", "/logout", "", "Sec-Fetch-Site", "cross-site")
	p.want(http.StatusOK, []string{"Predict"}, "GET", "/", "")

	page := p.want(http.StatusOK, []string{
		`method="post" action="` + s.issuer.URL + `/protocol/openid-connect/logout"`, `name="id_token_hint"`, `name="post_logout_redirect_uri" value="` + s.url + `/"`, "Continue",
	}, "POST", "/logout", "")
	if strings.Contains(page, "refresh-") || strings.Contains(page, s.issuer.ClientSecret) {
		t.Error("the page holds more than the hint")
	}
	p.want(http.StatusOK, []string{"Sign in"}, "GET", "/", "")
	r, err := http.NewRequest("GET", s.url+"/v2/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(cookie)
	response, body := send(t, r)
	checkRefusal(t, response, body, "/v2/models", 401, "no_credential")
}

// OpenID Connect Back-Channel Logout 1.0: the session ends at once.
func TestBackchannelLogoutEndsSession(t *testing.T) {
	s := newSite(t)
	p := s.person()
	p.signIn()
	key := s.issuer.Key("RS256")
	now := time.Now().Unix()
	token := oidctest.Sign(key, oidctest.Header{"alg": "RS256", "typ": "logout+jwt", "kid": key.ID}, oidctest.Claims{
		"iss": s.issuer.URL, "aud": s.issuer.ClientID, "iat": now, "exp": now + 120, "jti": "a1", "typ": "Logout",
		"sub": "6b0c2a7e-3f0d-4d5b-9c1a-8f2e4d6a7b90", "sid": "yN3bqkT0a8rD5sWm2xQvJ7Lc",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})
	response, err := http.PostForm(s.url+"/backchannel-logout", url.Values{"logout_token": {token}})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s; log: %s", response.Status, s.log)
	}
	p.want(http.StatusUnauthorized, []string{"Your session has ended", `href="/login"`}, "GET", "/", "")
	// Said once: then it is the front page again.
	p.want(http.StatusOK, []string{"Try a model"}, "GET", "/", "")
}

// What may go wrong has a page that says what to do.
func TestFailurePages(t *testing.T) {
	tests := []struct {
		name   string
		set    func(*oidctest.Settings)
		status int
		words  []string
	}{
		{"no role", func(set *oidctest.Settings) {
			set.Access = oidctest.Claims{"realm_access": map[string]any{"roles": []string{"offline_access"}}}
		}, 403, []string{"You may not call any model yet", `<code class="role">model-api-access</code>`, "Model User", "Sign out"}},
		{"access_denied", func(set *oidctest.Settings) { set.Response = url.Values{"code": nil, "error": {"access_denied"}} }, 403, []string{"You did not sign in", `href="/login"`}},
		{"another error, whose text is not shown", func(set *oidctest.Settings) {
			set.Response = url.Values{"code": nil, "error": {"server_error"}, "error_description": {"<b>call 555-0100</b>"}}
		}, 502, []string{"The sign-in did not work", "sign_in_failed"}},
		{"state", func(set *oidctest.Settings) { set.Response = url.Values{"state": {"x"}} }, 400, []string{"not begun in this browser", "state_mismatch"}},
		{"the token endpoint is down", func(set *oidctest.Settings) { set.Status = 500 }, 503, []string{"identity provider is not answering", "Try again", `href="/login"`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			s.issuer.Set(test.set)
			p := s.person()
			if page := p.want(test.status, test.words, "GET", "/login", ""); strings.Contains(page, "555") {
				t.Error("the page shows what somebody else wrote")
			}
			s.wantNoSecret("the log", s.log.String())
		})
	}
	t.Run("the issuer is down", func(t *testing.T) {
		s := newSite(t)
		s.issuer.SetOutage(true)
		s.person().want(503, []string{"identity provider is not answering", "Try again"}, "GET", "/login", "")
	})
	t.Run("no model for this person", func(t *testing.T) {
		s := newSite(t)
		narrow := *s.gateway.access.Load()
		narrow.policy = testPolicy()
		narrow.policy.Models = narrow.policy.Models[1:]
		s.gateway.access.Store(&narrow)
		page := s.person().want(403, []string{"No model is open to you yet"}, "GET", "/login", "")
		if strings.Contains(page, "model-forbidden") {
			t.Error("the page names the role of a model that this person may not know of")
		}
	})
}

// Programs get problem details where browsers get a page.
func TestNotFoundForPrograms(t *testing.T) {
	s := newSite(t)
	r, err := http.NewRequest("GET", s.url+"/nothing", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, body := send(t, r)
	checkRefusal(t, response, body, "/nothing", 401, "no_credential")
	r.Header.Set("Authorization", "Bearer "+s.issuer.Token("RS256"))
	r.Header.Set("Accept", "text/html")
	response, body = send(t, r)
	checkRefusal(t, response, body, "/nothing", 404, "not_found")
}

func TestStatic(t *testing.T) {
	s := newSite(t)
	p := s.person()
	_, page := p.do("GET", "/", "")
	assets := regexp.MustCompile(`/static/[a-z.]+\?v=[0-9a-f]{12}`).FindAllString(page, -1)
	if len(assets) < 3 {
		t.Fatalf("assets %q", assets)
	}
	for _, asset := range assets {
		response, _ := p.do("GET", asset, "")
		if response.StatusCode != 200 || response.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d, %s", asset, response.StatusCode, response.Header.Get("Cache-Control"))
		}
		unversioned, _, _ := strings.Cut(asset, "?")
		response, _ = p.do("GET", unversioned, "", "If-None-Match", response.Header.Get("ETag"))
		if response.StatusCode != http.StatusNotModified || response.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %d, %s", unversioned, response.StatusCode, response.Header.Get("Cache-Control"))
		}
	}
	p.want(http.StatusNotFound, nil, "GET", "/static/nothing.css", "")
}

// Without a client, or at a URL where cookies can't be kept safe, there are no
// pages, and the reason is in the log.
func TestNoSignIn(t *testing.T) {
	s := newSite(t)
	for _, test := range []struct{ publicURL, clientID, want string }{
		{s.url, "", "oidc_client_id"},
		{"http://models.example.com", s.issuer.ClientID, "need https"},
	} {
		log := &syncBuffer{}
		options := testOptions(s.issuer.Issuer, log)
		options.PublicURL = test.publicURL
		options.Outputs.OIDCClientID, options.Outputs.OIDCClientSecret = test.clientID, "x"
		bare := newGateway(t, options)
		if !strings.Contains(log.String(), test.want) {
			t.Errorf("log: %s", log)
		}
		for _, path := range []string{"/", "/login", "/callback", "/static/style.css"} {
			w := httptest.NewRecorder()
			bare.ServeHTTP(w, httptest.NewRequest("GET", fmt.Sprintf("http://api%s", path), nil))
			if w.Code != http.StatusUnauthorized {
				t.Errorf("%s: %d", path, w.Code)
			}
		}
	}
}

// A page asks the model that it shows, once for a while, and no other one: with
// a name of no model one request asked all model servers.
func TestPagesAskOneModel(t *testing.T) {
	s := newSite(t)
	var mu sync.Mutex
	asked := map[string]int{}
	models := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.Method+" "+r.URL.Path]++
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			_, _ = io.WriteString(w, `{"outputs":[{"name":"sum","datatype":"INT64","shape":[1],"data":[9007199254740993]}]}`)
			return
		}
		_, _ = io.WriteString(w, `{"name":"x","platform":"sums","inputs":[{"name":"a","datatype":"INT64","shape":[-1]},{"name":"why","datatype":"BYTES","shape":[1]}],"outputs":[]}`)
	}))
	t.Cleanup(models.Close)
	upstreams := []policy.Model{}
	for _, name := range []string{"one", "two", "three"} {
		upstreams = append(upstreams, policy.Model{Name: name, Allow: policy.Conditions{Roles: []string{"model-api-access"}}, Upstream: &policy.Upstream{URL: models.URL}})
	}
	access, err := newAccess(testPolicy(upstreams...), deadlines(10*time.Second), http.DefaultTransport, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	s.gateway.access.Store(access)
	p := s.person()
	p.signIn()
	p.want(http.StatusNotFound, nil, "GET", "/models/nosuch", "")
	p.want(http.StatusNotFound, nil, "GET", "/models/forbidden", "")
	if len(asked) > 0 {
		t.Errorf("for a model that is not there: %v", asked)
	}
	page := p.want(http.StatusOK, []string{"sums", `name="0.0"`, `name="1.0"`, "INT64, n"}, "GET", "/models/one", "")
	for _, name := range []string{"two", "three", "iris"} {
		if !strings.Contains(page, `href="/models/`+name+`"`) {
			t.Errorf("the page doesn't lead to %s", name)
		}
	}
	p.want(http.StatusOK, []string{"9007199254740993"}, "POST", "/models/one", "0.0=1&1.0=%22it's%22")
	p.want(http.StatusOK, []string{"9007199254740993"}, "POST", "/models/one", url.Values{"request": {`{"inputs":[]}`}}.Encode())
	p.want(http.StatusBadRequest, []string{"not JSON"}, "POST", "/models/one", "request=%7B")
	p.want(http.StatusBadRequest, []string{"a is not a whole number"}, "POST", "/models/one", "0.0=1.5&1.0=")
	if len(asked) != 2 || asked["GET /v2/models/one"] != 1 || asked["POST /v2/models/one/infer"] != 2 {
		t.Errorf("%v", asked)
	}
}

// A proxy may take the path of the public URL off requests, or leave it there:
// sign-in, pages, API and metadata work behind both, and what leads back to us
// has the path.
func TestBehindAPath(t *testing.T) {
	const path = "/ml/v1"
	for name, strips := range map[string]bool{"the proxy strips": true, "the proxy keeps": false} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			front := httptest.NewUnstartedServer(nil)
			s.url = "http://" + front.Listener.Addr().String()
			options := s.gateway.options
			options.PublicURL, options.StripPrefix = s.url+path, !strips
			s.gateway = newGateway(t, options)
			waitFor(t, "the issuer's keys", func() bool { return s.gateway.verifier.Ready() == nil })
			backend := httptest.NewServer(s.gateway)
			t.Cleanup(backend.Close)
			target, err := url.Parse(backend.URL)
			if err != nil {
				t.Fatal(err)
			}
			proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target); p.SetXForwarded() }}
			var api http.Handler = proxy
			if strips {
				api = http.StripPrefix(path, proxy)
			}
			mux := http.NewServeMux()
			mux.Handle(path+"/", api)
			mux.Handle(metadataPath+path, proxy) // RFC 9728, section 3.1: at the host's root
			front.Config.Handler = mux
			front.Start()
			t.Cleanup(front.Close)

			p := s.person()
			page := p.want(http.StatusOK, []string{"Model User", `action="` + path + `/models/iris"`, `href="` + path + `/models/iris"`, "modelctl login -bearer -api '" + s.url + path + "'"}, "GET", path+"/login?return_to=/models/iris", "")
			for _, link := range regexp.MustCompile(`(?:href|src|action)="(/[^"]*)"`).FindAllStringSubmatch(page, -1) {
				if !strings.HasPrefix(link[1], path+"/") {
					t.Errorf("the page leads to %s", link[1])
				}
				if strings.Contains(link[1], "/static/") {
					p.do("GET", link[1], "")
				}
			}
			p.want(http.StatusOK, []string{"virginica</p>"}, "POST", path+"/models/iris", "0.0=6.3&0.1=3.3&0.2=6&0.3=2.5")
			p.want(http.StatusOK, []string{`name="post_logout_redirect_uri" value="` + s.url + path + `/"`}, "POST", path+"/logout", "")
			p.want(http.StatusOK, []string{"Try a model", `href="` + path + `/login"`}, "GET", path+"/", "")

			// From the challenge to the metadata to the resource.
			r, err := http.NewRequest("GET", s.url+path+"/v2/models", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, _ := send(t, r)
			at := regexp.MustCompile(`resource_metadata="([^"]+)"`).FindStringSubmatch(response.Header.Get("WWW-Authenticate"))
			if response.StatusCode != 401 || len(at) != 2 || at[1] != s.url+metadataPath+path {
				t.Fatalf("%d, %q", response.StatusCode, response.Header.Get("WWW-Authenticate"))
			}
			r, err = http.NewRequest("GET", at[1], nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = "evil.example" // CWE-644: none of the answer is of Host or X-Forwarded-*
			for _, header := range []string{"X-Forwarded-Host", "X-Forwarded-Prefix", "X-Forwarded-Proto", "Forwarded"} {
				r.Header.Set(header, "evil.example")
			}
			response, body := send(t, r)
			if response.StatusCode != 200 || !strings.Contains(body, `"resource":"`+s.url+path+`"`) || strings.Contains(body, "evil") {
				t.Errorf("%d %s", response.StatusCode, body)
			}
			r, err = http.NewRequest("GET", s.url+path+"/v2/models", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+s.issuer.Token("RS256"))
			if response, body = send(t, r); response.StatusCode != 200 {
				t.Errorf("%d %s", response.StatusCode, body)
			}
			// A path that is doubled leads nowhere: what the proxy keeps shut
			// under the path stays so.
			for _, doubled := range []string{path + path + "/v2/models", path + path + "/healthz"} {
				r, err = http.NewRequest("GET", s.url+doubled, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+s.issuer.Token("RS256"))
				if response, body = send(t, r); response.StatusCode != 404 {
					t.Errorf("%s: %d %s", doubled, response.StatusCode, body)
				}
			}
		})
	}
}
