package login

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/store"
	"keycloak-model-api/internal/clock"
	"keycloak-model-api/internal/oidctest"
)

const (
	publicURL = "https://models.example.com"
	issuerURL = "https://id.example.com/realms/example-realm"
)

// key signs for all issuers here, since making one takes long.
var key = sync.OnceValue(func() *oidctest.Key { return oidctest.NewKey("rs256-key", "RS256") })

// site is the relying party behind a handler, and the issuer it trusts. It
// runs in a bubble of synctest, so that time passes only when a test sleeps.
type site struct {
	t        *testing.T
	login    *Login
	verifier *bearer.Verifier
	issuer   *oidctest.Provider
	handler  http.Handler
	log      *bytes.Buffer
	logger   *slog.Logger // to log
}

func inBubble(t *testing.T, test func(*testing.T, *site), options ...func(*Config)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		issuer := &oidctest.Issuer{URL: issuerURL, Audience: "model-serving-api", Now: time.Now}
		issuer.Publish(key())
		s := &site{t: t, issuer: oidctest.NewProvider(issuer, "my-api-client", "my-api-client-secret"), log: &bytes.Buffer{}}
		logger := slog.New(slog.NewJSONHandler(s.log, nil))
		s.logger = logger
		var err error
		s.verifier, err = bearer.New(ctx, bearer.Config{
			Issuers: []bearer.Issuer{{URL: issuerURL}}, Audience: s.issuer.Audience, HTTPClient: s.issuer.Client(), Logger: logger,
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the keys are there
		c := Config{
			Issuer: issuerURL, ClientID: s.issuer.ClientID, ClientSecret: s.issuer.ClientSecret, PublicURL: publicURL,
			Verifier: s.verifier, Idle: 30 * time.Minute, Lifetime: 10 * time.Hour,
			HTTPClient: s.issuer.Client(), Logger: logger,
		}
		for _, option := range options {
			option(&c)
		}
		if s.login, err = New(c); err != nil {
			t.Fatal(err)
		}
		s.handler = s.routes()
		test(t, s)
		for _, secret := range s.issuer.Sensitive() {
			if strings.Contains(s.log.String(), secret) {
				t.Errorf("the log holds a secret: %s", s.log)
			}
		}
	})
}

// routes answers as the pages do, in the fewest words.
func (s *site) routes() http.Handler {
	answer := func(w http.ResponseWriter, err error) {
		if err == nil {
			return
		}
		var failed *refusal.Error
		if !errors.As(err, &failed) {
			s.t.Errorf("not an *refusal.Error: %v", err)
			return
		}
		s.logger.Info("failed", "err", err)
		w.WriteHeader(failed.Status)
		_, _ = io.WriteString(w, string(failed.Code))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) { answer(w, s.login.Begin(w, r)) })
	mux.HandleFunc("/step-up", func(w http.ResponseWriter, r *http.Request) {
		session, err := s.login.Session(r)
		if err == nil {
			challenge := &refusal.Error{ACR: "2", MaxAge: r.FormValue("max_age")}
			err = s.login.StepUp(w, r, session, challenge, []string{"2", "3"}, "/models/ledger")
		}
		answer(w, err)
	})
	mux.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) { answer(w, s.login.Callback(w, r)) })
	mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
		farewell, err := s.login.Logout(w, r)
		answer(w, err)
		if err == nil {
			_ = json.NewEncoder(w).Encode(farewell)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		session, err := s.login.Session(r)
		answer(w, err)
		if err == nil {
			_, _ = io.WriteString(w, "signed in as "+session.Name)
		}
	})
	return mux
}

// kept is where the sessions are.
func (s *site) kept() *memory { return s.login.kept.(*memory) }

// found are the ids of the sessions of a name.
func (s *site) found(sid, sub string) []string {
	ids, err := s.login.kept.find(s.t.Context(), sid, sub)
	if err != nil {
		s.t.Fatal(err)
	}
	return ids
}

// browser keeps cookies and follows no redirect.
type browser struct {
	s       *site
	cookies map[string]*http.Cookie
}

func (s *site) browser() *browser { return &browser{s, map[string]*http.Cookie{}} }

func (b *browser) do(r *http.Request) (*http.Response, string) {
	for _, c := range b.cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	b.s.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c
		}
	}
	return w.Result(), w.Body.String()
}

func (b *browser) get(target string) (*http.Response, string) {
	return b.do(httptest.NewRequest(http.MethodGet, publicURL+strings.TrimPrefix(target, publicURL), nil))
}

// begin goes to /login and returns the authorization URL.
func (b *browser) begin(returnTo string) string {
	b.s.t.Helper()
	response, body := b.get("/login?" + url.Values{"return_to": {returnTo}}.Encode())
	if response.StatusCode != http.StatusSeeOther {
		b.s.t.Fatalf("login: %d %s", response.StatusCode, body)
	}
	return response.Header.Get("Location")
}

// authorize has the issuer agree and returns the callback URL.
func (b *browser) authorize(authorizationURL string) string {
	b.s.t.Helper()
	w := httptest.NewRecorder()
	b.s.issuer.ServeHTTP(w, httptest.NewRequest(http.MethodGet, authorizationURL, nil))
	if w.Code != http.StatusFound {
		b.s.t.Fatalf("authorize: %d %s", w.Code, w.Body)
	}
	return w.Header().Get("Location")
}

// signIn goes the whole way and returns the last answer.
func (b *browser) signIn() *http.Response {
	b.s.t.Helper()
	response, body := b.get(b.authorize(b.begin("/models/iris")))
	if response.StatusCode != http.StatusSeeOther {
		b.s.t.Fatalf("callback: %d %s; log: %s", response.StatusCode, body, b.s.log)
	}
	return response
}

// want checks what the site says to this browser.
func (b *browser) want(status int, body string) {
	b.s.t.Helper()
	response, got := b.get("/")
	if response.StatusCode != status || !strings.HasPrefix(got, body) {
		b.s.t.Errorf("got %d %q, want %d %q", response.StatusCode, got, status, body)
	}
}

func (b *browser) wantSignedIn() { b.s.t.Helper(); b.want(http.StatusOK, "signed in as Model User") }

// wantFailure checks an answer that is an *refusal.Error.
func wantFailure(t *testing.T, response *http.Response, body string, status int, code refusal.Code) {
	t.Helper()
	if response.StatusCode != status || body != string(code) {
		t.Errorf("got %d %q, want %d %q", response.StatusCode, body, status, code)
	}
}

func TestSignIn(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		b.want(http.StatusUnauthorized, string(refusal.NoSession))
		response := b.signIn()
		if got := response.Header.Get("Location"); got != "/models/iris" {
			t.Errorf("leads to %q", got)
		}
		b.wantSignedIn()

		session := b.cookies["__Host-session"]
		if session == nil || !session.Secure || !session.HttpOnly || session.SameSite != http.SameSiteLaxMode || session.Path != "/" || session.Domain != "" {
			t.Errorf("session cookie %v", session)
		}
		if session.MaxAge != 0 || !session.Expires.IsZero() {
			t.Error("the session cookie outlives the browser")
		}
		if len(session.Value) != 43 {
			t.Errorf("session id of %d characters, want 32 random bytes", len(session.Value))
		}
		if len(b.cookies) != 1 {
			t.Errorf("cookies left: %v", b.cookies)
		}
		if subject := s.issuer.Claims()["sub"].(string); !strings.Contains(s.log.String(), `"msg":"signed in","subject":"`+subject+`"`) {
			t.Errorf("the log doesn't say who signed in: %s", s.log)
		}
	})
}

// What goes through the browser's address bar holds no secret: the challenge,
// not the verifier, and a state that only we can read.
func TestAuthorizationRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		u, err := url.Parse(b.begin("/"))
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		for name, want := range map[string]string{
			"response_type": "code", "client_id": s.issuer.ClientID, "redirect_uri": publicURL + "/callback",
			"code_challenge_method": "S256", "scope": "openid",
		} {
			if q.Get(name) != want {
				t.Errorf("%s is %q, want %q", name, q.Get(name), want)
			}
		}
		callback := b.authorize(u.String())
		response, _ := b.get(callback)
		if response.StatusCode != http.StatusSeeOther {
			t.Fatal(response.Status)
		}
		for _, secret := range s.issuer.Sensitive() {
			if strings.Contains(u.String(), secret) || strings.Contains(response.Header.Get("Location"), secret) ||
				strings.Contains(callback, secret) && !strings.HasPrefix(secret, "code-") {
				t.Errorf("a URL holds a secret: %s", secret)
			}
		}
	})
}

func TestReturnPath(t *testing.T) {
	for s, want := range map[string]string{
		"/":                            "/",
		"/models/iris":                 "/models/iris",
		"/models/a.b-c_d~1":            "/models/a.b-c_d~1",
		"":                             "/",
		"models/iris":                  "/",
		"//evil.example":               "/",
		"///evil.example":              "/",
		`/\evil.example`:               "/",
		`\\evil.example`:               "/",
		`/\/evil.example`:              "/",
		"https:evil.example":           "/",
		"https://evil.example":         "/",
		"https:/evil.example":          "/",
		"//evil.example/%2f..":         "/",
		"/%2fevil.example":             "/",
		"/%5cevil.example":             "/",
		"%2f%2fevil.example":           "/",
		"/%09/evil.example":            "/",
		"/\t/evil.example":             "/",
		"/\n/evil.example":             "/",
		"\x00//evil.example":           "/",
		" //evil.example":              "/",
		"/models/iris\r\nX: y":         "/",
		"/models/iris\n":               "/",
		"/../..//evil.example":         "/",
		"/models/../login":             "/",
		"/./evil.example":              "/",
		"/@evil.example":               "/",
		"/models/iris?next=//e":        "/",
		"/models/iris#//e":             "/",
		"javascript:alert(1)":          "/",
		"/javascript:alert(1)":         "/",
		"/models/\u2215evil":           "/",
		"/\uff0fevil.example":          "/",
		"/login":                       "/", // else the next sign-in begins at once
		"/callback":                    "/",
		"/logout":                      "/",
		"/" + strings.Repeat("a", 300): "/",
	} {
		if got := returnPath(s); got != want {
			t.Errorf("%q leads to %q, want %q", s, got, want)
		}
	}
}

func FuzzReturnPath(f *testing.F) {
	for _, s := range []string{"/", "/models/iris", "//evil", `/\evil`, "https:evil", "/%2f"} {
		f.Add(s)
	}
	base, err := url.Parse(publicURL)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := base.Parse(returnPath(s))
		if err != nil || got.Host != base.Host || got.Scheme != base.Scheme || got.User != nil {
			t.Errorf("%q leads to %v, %v", s, got, err)
		}
	})
}

// Each of these callbacks is an attack. None signs the victim in.
func TestCallbackRefused(t *testing.T) {
	edit := func(callback string, change func(url.Values)) string {
		u, err := url.Parse(callback)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		change(q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	tests := []struct {
		name   string
		attack func(*site, *browser) string // the callback that the victim's browser is led to
		status int
		code   refusal.Code
	}{
		{"RFC 6749 10.12: login by another's callback (CSRF)", func(s *site, _ *browser) string {
			attacker := s.browser()
			return attacker.authorize(attacker.begin("/"))
		}, 400, refusal.StateMismatch},
		{"RFC 6749 10.12: the same, while the victim signs in", func(s *site, victim *browser) string {
			victim.begin("/")
			attacker := s.browser()
			return attacker.authorize(attacker.begin("/"))
		}, 400, refusal.StateMismatch},
		{"RFC 9700 4.5: another's code with the victim's state", func(s *site, victim *browser) string {
			attacker := s.browser()
			code := s.issuer.Code(attacker.begin("/"))
			return edit(victim.authorize(victim.begin("/")), func(q url.Values) { q.Set("code", code) })
		}, 400, refusal.CodeRefused},
		{"RFC 9700 4.5: the same where the issuer ignores PKCE: the nonce", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) { set.IgnoresPKCE = true })
			attacker := s.browser()
			code := s.issuer.Code(attacker.begin("/"))
			return edit(victim.authorize(victim.begin("/")), func(q url.Values) { q.Set("code", code) })
		}, 502, refusal.IDTokenRefused},
		{"RFC 9207 2.4: mix-up, the answer of another issuer", func(s *site, victim *browser) string {
			return edit(victim.authorize(victim.begin("/")), func(q url.Values) { q.Set("iss", "https://evil.example") })
		}, 400, refusal.IssuerMismatch},
		{"RFC 9207 2.4: mix-up, iss left out", func(s *site, victim *browser) string {
			return edit(victim.authorize(victim.begin("/")), func(q url.Values) { q.Del("iss") })
		}, 400, refusal.IssuerMismatch},
		{"RFC 9207 2.4: iss is compared byte by byte", func(s *site, victim *browser) string {
			return edit(victim.authorize(victim.begin("/")), func(q url.Values) { q.Set("iss", issuerURL+"/") })
		}, 400, refusal.IssuerMismatch},
		{"RFC 9207 2.4: an error without iss", func(s *site, victim *browser) string {
			return edit(victim.authorize(victim.begin("/")), func(q url.Values) { q.Del("code"); q.Del("iss"); q.Set("error", "access_denied") })
		}, 400, refusal.IssuerMismatch},
		{"state left out", func(s *site, victim *browser) string {
			return edit(victim.authorize(victim.begin("/")), func(q url.Values) { q.Del("state") })
		}, 400, refusal.StateMismatch},
		{"state changed", func(s *site, victim *browser) string {
			return edit(victim.authorize(victim.begin("/")), func(q url.Values) { q.Set("state", q.Get("state")[1:]) })
		}, 400, refusal.StateMismatch},
		{"two states", func(s *site, victim *browser) string {
			return edit(victim.authorize(victim.begin("/")), func(q url.Values) { q.Add("state", "x") })
		}, 400, refusal.CallbackMalformed},
		{"two codes", func(s *site, victim *browser) string {
			return edit(victim.authorize(victim.begin("/")), func(q url.Values) { q.Add("code", "x") })
		}, 400, refusal.CallbackMalformed},
		{"no code", func(s *site, victim *browser) string {
			return edit(victim.authorize(victim.begin("/")), func(q url.Values) { q.Del("code") })
		}, 400, refusal.CallbackMalformed},
		{"two login cookies (cookie tossing)", func(s *site, victim *browser) string {
			callback := victim.authorize(victim.begin("/"))
			victim.cookies["tossed"] = &http.Cookie{Name: "__Host-login", Value: "AAAAAAAAAAAAAAAAAAAAAAAAAA"}
			return callback
		}, 400, refusal.StateMismatch},
		{"a sign-in begun too long ago", func(s *site, victim *browser) string {
			authorization := victim.begin("/")
			time.Sleep(pendingFor + time.Second)
			return victim.authorize(authorization)
		}, 400, refusal.StateMismatch},
		{"the person says no", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) { set.Response = url.Values{"code": nil, "error": {"access_denied"}} })
			return victim.authorize(victim.begin("/"))
		}, 403, refusal.AccessDenied},
		{"the login page timed out", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) {
				set.Response = url.Values{"code": nil, "error": {"temporarily_unavailable"}, "error_description": {"authentication_expired"}}
			})
			return victim.authorize(victim.begin("/"))
		}, 502, refusal.SignInFailed},
		{"OIDC Core 3.1.3.7: ID token without the nonce", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) { set.ID = oidctest.Claims{"nonce": nil} })
			return victim.authorize(victim.begin("/"))
		}, 502, refusal.IDTokenRefused},
		{"OIDC Core 3.1.3.7: ID token of another issuer", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) { set.ID = oidctest.Claims{"iss": "https://evil.example"} })
			return victim.authorize(victim.begin("/"))
		}, 502, refusal.IDTokenRefused},
		{"OIDC Core 3.1.3.7: ID token for another client", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) { set.ID = oidctest.Claims{"aud": "another-client"} })
			return victim.authorize(victim.begin("/"))
		}, 502, refusal.IDTokenRefused},
		{"OIDC Core 3.1.3.7: azp is another client", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) { set.ID = oidctest.Claims{"azp": "another-client"} })
			return victim.authorize(victim.begin("/"))
		}, 502, refusal.IDTokenRefused},
		{"OIDC Core 3.1.3.7: ID token expired", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) { set.ID = oidctest.Claims{"exp": time.Now().Add(-time.Hour).Unix()} })
			return victim.authorize(victim.begin("/"))
		}, 502, refusal.IDTokenRefused},
		{"OIDC Core 3.1.3.8: access token swapped", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) { set.ID = oidctest.Claims{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"} })
			return victim.authorize(victim.begin("/"))
		}, 502, refusal.IDTokenRefused},
		{"encoding/json: azp in another case is another client", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) { set.ID = oidctest.Claims{"AZP": "another-client"} })
			return victim.authorize(victim.begin("/"))
		}, 502, refusal.IDTokenRefused},
		{"encoding/json: sid in another case is another session", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) { set.ID = oidctest.Claims{"sid": nil, "Sid": "of-somebody"} })
			return victim.authorize(victim.begin("/"))
		}, 502, refusal.IDTokenRefused},
		{"encoding/json: a nonce in another case", func(s *site, victim *browser) string {
			to := victim.begin("/")
			s.issuer.Set(func(set *oidctest.Settings) { set.ID = oidctest.Claims{"nonce": nil, "Nonce": nonceOf(to)} })
			return victim.authorize(to)
		}, 502, refusal.IDTokenRefused},
		{"RFC 7519 4: sid twice in the ID token", func(s *site, victim *browser) string {
			to := victim.begin("/")
			twice := s.idTokenWith(to, `"sid":"of-somebody"`)
			s.issuer.Set(func(set *oidctest.Settings) { set.Token = oidctest.Claims{"id_token": twice} })
			return victim.authorize(to)
		}, 502, refusal.IDTokenRefused},
		{"RFC 7519 4: name twice in the ID token", func(s *site, victim *browser) string {
			to := victim.begin("/")
			twice := s.idTokenWith(to, `"name":"Somebody"`)
			s.issuer.Set(func(set *oidctest.Settings) { set.Token = oidctest.Claims{"id_token": twice} })
			return victim.authorize(to)
		}, 502, refusal.IDTokenRefused},
		{"access token of another subject", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) { set.Access = oidctest.Claims{"sub": "another"} })
			return victim.authorize(victim.begin("/"))
		}, 502, refusal.TokenRefused},
		{"access token not for this API", func(s *site, victim *browser) string {
			s.issuer.Set(func(set *oidctest.Settings) { set.Access = oidctest.Claims{"aud": "account"} })
			return victim.authorize(victim.begin("/"))
		}, 502, refusal.TokenRefused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *site) {
				victim := s.browser()
				response, body := victim.get(test.attack(s, victim))
				wantFailure(t, response, body, test.status, test.code)
				if victim.cookies["__Host-session"] != nil {
					t.Error("a session began")
				}
			})
		})
	}
}

// RFC 6749, section 10.5: a callback works once.
func TestCallbackReplayed(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		callback := b.authorize(b.begin("/"))
		loginCookie := *b.cookies["__Host-login"]
		if response, _ := b.get(callback); response.StatusCode != http.StatusSeeOther {
			t.Fatal(response.Status)
		}
		// From the history of the same browser, signed in: nothing happens.
		before := b.cookies["__Host-session"].Value
		response, _ := b.get(callback)
		if response.StatusCode != http.StatusSeeOther || response.Header.Get("Location") != "/" || b.cookies["__Host-session"].Value != before {
			t.Errorf("signed in: %d %v", response.StatusCode, response.Header)
		}
		// Signed out.
		delete(b.cookies, "__Host-session")
		response, body := b.get(callback)
		wantFailure(t, response, body, 400, refusal.StateMismatch)
		// By somebody who also kept the login cookie: the state is used up.
		b.cookies["__Host-login"] = &loginCookie
		response, body = b.get(callback)
		wantFailure(t, response, body, 400, refusal.StateMismatch)
	})
}

// CWE-367: a state is taken before the code is redeemed. 60 callbacks under one
// state made 60 authenticated requests to the issuer.
func TestCallbacksAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		callback := b.authorize(b.begin("/"))
		login := b.cookies["__Host-login"]
		release := make(chan struct{})
		s.login.client.Transport = blocked{s.issuer.Client().Transport, release}
		var all sync.WaitGroup
		var signedIn atomic.Int32
		for range 60 {
			all.Go(func() {
				r := httptest.NewRequest(http.MethodGet, callback, nil)
				r.AddCookie(login)
				w := httptest.NewRecorder()
				s.handler.ServeHTTP(w, r)
				if w.Code == http.StatusSeeOther {
					signedIn.Add(1)
				}
			})
		}
		synctest.Wait() // one waits for the issuer
		close(release)
		all.Wait()
		if asked := s.issuer.Count("authorization_code"); asked != 1 || signedIn.Load() != 1 {
			t.Errorf("%d requests to the issuer and %d sessions, want 1 of each", asked, signedIn.Load())
		}
	})
}

// Sign-ins that strangers begin push out nobody else's, up to maxBegun.
func TestBegun(t *testing.T) {
	b := newBegun(128)
	add := func() string {
		name, err := b.add(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	take := func(name string) bool {
		waiting, err := b.take(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return waiting
	}
	ours, second := add(), add()
	for range 126 {
		add()
	}
	if !take(ours) || take(ours) {
		t.Error("the oldest: want true once")
	}
	add()
	add()
	if take(ours) || take(second) {
		t.Error("a sign-in that was pushed out counts, or the bit of a later one does")
	}
	for number := range uint64(200) {
		if got, want := take(fmt.Sprint(number)), number >= 2 && number < 130; got != want {
			t.Errorf("sign-in %d: %v, want %v", number, got, want)
		}
	}
}

// A person has at most maxSessions sessions. One more ends their oldest, and
// nobody else's.
func TestSessionsOfOnePerson(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		other := s.browser()
		other.signIn()
		s.issuer.Set(func(set *oidctest.Settings) {
			set.ID, set.Access = oidctest.Claims{"sub": "busy"}, oidctest.Claims{"sub": "busy"}
		})
		var browsers []*browser
		for range maxSessions + 3 {
			b := s.browser()
			b.signIn()
			browsers = append(browsers, b)
			browsers[0].get("/") // that it is in use makes it no younger
		}
		for i, b := range browsers {
			if i < 3 {
				b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
			} else {
				b.wantSignedIn()
			}
		}
		other.wantSignedIn()
		if got := len(s.found("", "busy")); got != maxSessions {
			t.Errorf("%d sessions are kept", got)
		}
	})
}

// Two tabs sign in at once: both are led to the playground.
func TestTwoTabsSignIn(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		first, second := b.begin("/models/iris"), b.begin("/models/other")
		for _, tab := range []string{second, first} {
			response, body := b.get(b.authorize(tab))
			if response.StatusCode != http.StatusSeeOther {
				t.Errorf("%d %s", response.StatusCode, body)
			}
		}
		b.wantSignedIn()
	})
}

// RFC 9700, section 2.1.1: an issuer that doesn't say that it checks the
// challenge is not used.
func TestPKCEDowngrade(t *testing.T) {
	for name, methods := range map[string]any{"plain only": []string{"plain"}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *site) {
				s.issuer.Set(func(set *oidctest.Settings) {
					set.Metadata = oidctest.Claims{"code_challenge_methods_supported": methods}
				})
				response, body := s.browser().get("/login")
				wantFailure(t, response, body, 502, refusal.IssuerUnfit)
			})
		})
	}
}

// nonceOf is the nonce of an authorization URL.
func nonceOf(authorizationURL string) string {
	u, err := url.Parse(authorizationURL)
	if err != nil {
		panic(err)
	}
	return u.Query().Get("nonce")
}

// idTokenWith makes the ID token of a sign-in with one more member at its end,
// as JSON, which may be there already.
func (s *site) idTokenWith(authorizationURL, member string) string {
	claims, err := json.Marshal(s.issuer.Claims(oidctest.Claims{
		"typ": "ID", "aud": s.issuer.ClientID, "azp": s.issuer.ClientID, "nonce": nonceOf(authorizationURL),
	}))
	if err != nil {
		s.t.Fatal(err)
	}
	claims = append(bytes.TrimSuffix(claims, []byte("}")), ","+member+"}"...)
	return oidctest.Sign(key(), oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": key().ID}, json.RawMessage(claims))
}

func TestMetadataOfAnotherIssuer(t *testing.T) {
	for name, changes := range map[string]oidctest.Claims{
		"another issuer": {"issuer": "https://evil.example"},
		"encoding/json: another issuer in another case": {"Issuer": issuerURL, "issuer": nil},
		"encoding/json: token_endpoint in another case": {"TOKEN_ENDPOINT": "https://evil.example/token"},
		"encoding/json: end_session in another case":    {"End_Session_Endpoint": "https://evil.example/logout"},
		"no token_endpoint":                             {"token_endpoint": nil},
		"an authorization_endpoint that is no http URL": {"authorization_endpoint": "javascript:alert(1)"},
		"an end_session_endpoint that is no http URL":   {"end_session_endpoint": "javascript:alert(1)"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *site) {
				s.issuer.Set(func(set *oidctest.Settings) { set.Metadata = changes })
				response, body := s.browser().get("/login")
				wantFailure(t, response, body, 502, refusal.IssuerUnfit)
			})
		})
	}
}

// The metadata and tokens come from the internal URL, the browser is sent to
// the public one.
func TestInternalURL(t *testing.T) {
	const internal = "http://keycloak:8080/realms/example-realm"
	var hosts []string
	inBubble(t, func(t *testing.T, s *site) {
		s.login.client.Transport = &hostRecorder{next: s.issuer.Client().Transport, hosts: &hosts}
		b := s.browser()
		if to := b.begin("/"); !strings.HasPrefix(to, issuerURL+"/") {
			t.Errorf("the browser is sent to %s", to)
		}
		b.signIn()
		b.wantSignedIn()
		for _, host := range hosts {
			if host != "keycloak:8080" {
				t.Errorf("asked %s", host)
			}
		}
		if len(hosts) != 2 {
			t.Errorf("asked %d times, want metadata and token", len(hosts))
		}
	}, func(c *Config) { c.InternalURL = internal })
}

type hostRecorder struct {
	next  http.RoundTripper
	hosts *[]string
}

func (h *hostRecorder) RoundTrip(r *http.Request) (*http.Response, error) {
	*h.hosts = append(*h.hosts, r.URL.Host)
	return h.next.RoundTrip(r)
}

// Session fixation: an id that was known before the sign-in is worth nothing
// after it, whether the browser made it up or had it from us.
func TestSessionFixation(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		victim := s.browser()
		const planted = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		victim.cookies["__Host-session"] = &http.Cookie{Name: "__Host-session", Value: planted}
		victim.signIn()
		first := *victim.cookies["__Host-session"]
		if first.Value == planted {
			t.Error("the planted id is in use")
		}
		victim.signIn()
		if victim.cookies["__Host-session"].Value == first.Value {
			t.Error("the id stayed the same over a sign-in")
		}
		for _, id := range []string{planted, first.Value} {
			attacker := s.browser()
			attacker.cookies["__Host-session"] = &http.Cookie{Name: "__Host-session", Value: id}
			attacker.want(http.StatusUnauthorized, string(refusal.SessionEnded))
		}
		victim.wantSignedIn()
	})
}

// Cookie tossing: which of two session cookies is ours can't be told.
func TestTwoSessionCookies(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		b.signIn()
		b.cookies["tossed"] = &http.Cookie{Name: "__Host-session", Value: "other"}
		b.want(http.StatusBadRequest, string(refusal.SeveralSessions))
	})
}

// A request of another site's page carries the cookie only with methods that
// change nothing.
func TestCrossSite(t *testing.T) {
	tests := []struct {
		name, method, fetchSite, origin string
		refused                         bool
	}{
		{"form of another site", "POST", "cross-site", "https://evil.example", true},
		{"form of a sibling host", "POST", "same-site", "https://evil.models.example.com", true},
		{"old browser, another origin", "POST", "", "https://evil.example", true},
		{"sandboxed frame", "POST", "", "null", true},
		{"same host, other scheme", "POST", "cross-site", "http://models.example.com", true},
		{"DELETE of another site", "DELETE", "cross-site", "https://evil.example", true},
		{"our own form", "POST", "same-origin", publicURL, false},
		{"our own form, old browser", "POST", "", publicURL, false},
		{"link on another site", "GET", "cross-site", "", false},
		{"typed address", "GET", "none", "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *site) {
				for _, path := range []string{"/", "/logout"} {
					if path == "/logout" && test.method == "GET" {
						continue // the routes refuse it
					}
					b := s.browser()
					b.signIn()
					r := httptest.NewRequest(test.method, publicURL+path, nil)
					if test.fetchSite != "" {
						r.Header.Set("Sec-Fetch-Site", test.fetchSite)
					}
					if test.origin != "" {
						r.Header.Set("Origin", test.origin)
					}
					response, body := b.do(r)
					if test.refused {
						wantFailure(t, response, body, 403, refusal.CrossOrigin)
						b.wantSignedIn()
					} else if response.StatusCode != http.StatusOK {
						t.Errorf("%s: %d %s", path, response.StatusCode, body)
					}
				}
			})
		})
	}
}

// Tabs that come back at once, with a token about to expire: one refresh, and
// nobody is signed out, though each refresh token works once.
func TestRefreshTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		b.signIn()
		for round := 1; round <= 3; round++ {
			time.Sleep(4*time.Minute + 40*time.Second) // of 5 minutes
			var tabs sync.WaitGroup
			for range 20 {
				tabs.Go(func() {
					tab := s.browser()
					tab.cookies["__Host-session"] = b.cookies["__Host-session"]
					tab.wantSignedIn()
				})
			}
			tabs.Wait()
			if got := s.issuer.Count("refresh_token"); got != round {
				t.Errorf("round %d: %d refreshes", round, got)
			}
		}
	})
}

// A token is not refreshed before it has to be.
func TestNoNeedlessRefresh(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		b.signIn()
		time.Sleep(4 * time.Minute)
		b.wantSignedIn()
		if got := s.issuer.Count("refresh_token"); got != 0 {
			t.Errorf("%d refreshes", got)
		}
	})
}

func TestRefreshRefused(t *testing.T) {
	tests := []struct {
		name string
		set  func(*oidctest.Settings)
	}{
		{"the session at the issuer has ended", func(set *oidctest.Settings) { set.Ended = true }},
		{"OIDC Core 12.2: the new ID token is of another subject", func(set *oidctest.Settings) { set.ID = oidctest.Claims{"sub": "another"} }},
		{"encoding/json: the new ID token has another subject in another case", func(set *oidctest.Settings) { set.ID = oidctest.Claims{"SUB": "another"} }},
		{"the new access token is of another subject", func(set *oidctest.Settings) { set.Access = oidctest.Claims{"sub": "another"} }},
		{"the new access token is not for this API", func(set *oidctest.Settings) { set.Access = oidctest.Claims{"aud": "account"} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *site) {
				b := s.browser()
				b.signIn()
				time.Sleep(5 * time.Minute)
				s.issuer.Set(test.set)
				b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
				// It is gone, and doesn't come back with the issuer.
				s.issuer.Set(func(set *oidctest.Settings) { *set = oidctest.Settings{Lifetime: 300} })
				b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
			})
		})
	}
}

// An issuer that is down ends no session: the token that is there works until
// it expires, then 503, and after the outage the session goes on.
func TestIssuerDown(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		b.signIn()
		s.issuer.Set(func(set *oidctest.Settings) { set.Status = 502 })
		time.Sleep(4*time.Minute + 50*time.Second)
		for range 5 {
			b.wantSignedIn()
		}
		if got := s.issuer.Count("refresh_token"); got != 1 {
			t.Errorf("asked %d times within %v", got, refreshRetry)
		}
		time.Sleep(time.Minute)
		b.want(http.StatusServiceUnavailable, string(refusal.IssuerUnavailable))
		b.want(http.StatusServiceUnavailable, string(refusal.IssuerUnavailable))
		s.issuer.Set(func(set *oidctest.Settings) { set.Status = 0 })
		time.Sleep(refreshRetry)
		b.wantSignedIn()
	})
}

func TestIssuerDownAtSignIn(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		s.issuer.SetOutage(true)
		response, body := b.get("/login")
		wantFailure(t, response, body, 503, refusal.IssuerUnavailable)
		s.issuer.SetOutage(false)
		callback := b.authorize(b.begin("/"))
		s.issuer.Set(func(set *oidctest.Settings) { set.Status = 500 })
		response, body = b.get(callback)
		wantFailure(t, response, body, 503, refusal.IssuerUnavailable)
		s.issuer.Set(func(set *oidctest.Settings) { set.Status = 0 })
		// The state is used up, whatever came of it.
		response, body = b.get(callback)
		wantFailure(t, response, body, 400, refusal.StateMismatch)
		b.signIn()
	})
}

// hideNewKeys has the issuer sign with a key that it doesn't get to publish.
func (s *site) hideNewKeys() {
	time.Sleep(11 * time.Second) // beyond the cool-down, so that the API asks for the key
	s.issuer.SetKeySet("nothing")
	s.issuer.Rotate("RS256")
}

// An ID token whose key can't be fetched was not refused: the person can try
// again.
func TestKeysUnavailableAtSignIn(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		s.hideNewKeys()
		response, body := b.get(b.authorize(b.begin("/")))
		wantFailure(t, response, body, http.StatusServiceUnavailable, refusal.IssuerUnavailable)
	})
}

// The same for an access token by another key than the ID token's.
func TestKeyNotCheckedAtSignIn(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		hidden := oidctest.NewKey("hidden", "RS256")
		access := oidctest.Sign(hidden, oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": hidden.ID}, s.issuer.Claims(oidctest.Claims{"azp": s.issuer.ClientID}))
		s.issuer.Set(func(set *oidctest.Settings) {
			set.ID, set.Token = oidctest.Claims{"at_hash": nil}, oidctest.Claims{"access_token": access}
		})
		s.issuer.SetKeySet("nothing")
		b := s.browser()
		response, body := b.get(b.authorize(b.begin("/")))
		wantFailure(t, response, body, http.StatusServiceUnavailable, refusal.KeyNotChecked)
		s.issuer.SetKeySet(nil)
		s.issuer.Publish(hidden)
		time.Sleep(5 * time.Second)
		if response, body = b.get(b.authorize(b.begin("/"))); response.StatusCode != http.StatusSeeOther {
			t.Errorf("tried again: %d %s", response.StatusCode, body)
		}
	})
}

// New tokens that can't be verified for the moment are kept: the refresh token
// that they were got with doesn't work again.
func TestKeysUnavailableAfterRefresh(t *testing.T) {
	tests := []struct {
		name string
		set  func(*oidctest.Settings)
	}{
		{"with an ID token", func(*oidctest.Settings) {}},
		{"without an ID token", func(set *oidctest.Settings) { set.Token = oidctest.Claims{"id_token": nil} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *site) {
				b := s.browser()
				b.signIn()
				s.issuer.Set(test.set)
				time.Sleep(5 * time.Minute)
				s.hideNewKeys()
				b.want(http.StatusServiceUnavailable, string(refusal.IssuerUnavailable))
				s.issuer.SetKeySet(nil)
				time.Sleep(11 * time.Second)
				b.wantSignedIn()
				if got := s.issuer.Count("refresh_token"); got != 1 {
					t.Errorf("%d refreshes", got)
				}
				time.Sleep(5 * time.Minute)
				b.wantSignedIn()
			})
		})
	}
}

// An issuer that gives no refresh token gives a session as long as its access
// token, not one that seems to wait for the issuer.
func TestNoRefreshToken(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		s.issuer.Set(func(set *oidctest.Settings) { set.Token = oidctest.Claims{"refresh_token": nil} })
		b := s.browser()
		b.signIn()
		time.Sleep(4*time.Minute + 50*time.Second)
		b.wantSignedIn()
		time.Sleep(time.Minute)
		b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
	})
}

// The client's secret, codes and refresh tokens go to no other address than the
// issuer's metadata name (RFC 9700, section 4.12: a 307 repeats the body).
func TestTokenEndpointRedirects(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		callback := b.authorize(b.begin("/"))
		elsewhere := false
		s.login.client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			elsewhere = elsewhere || r.URL.Host == "evil.example"
			w := httptest.NewRecorder()
			http.Redirect(w, r, "https://evil.example/token", http.StatusTemporaryRedirect)
			return w.Result(), nil
		})
		response, body := b.get(callback)
		wantFailure(t, response, body, http.StatusServiceUnavailable, refusal.IssuerUnavailable)
		if elsewhere {
			t.Error("the code went to another host")
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestLifetimes(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *site) {
			b := s.browser()
			b.signIn()
			for range 4 {
				time.Sleep(29 * time.Minute)
				b.wantSignedIn()
			}
			time.Sleep(31 * time.Minute)
			b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
		})
	})
	t.Run("absolute", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *site) {
			b := s.browser()
			b.signIn()
			began := time.Now()
			for time.Since(began) < 9*time.Hour+40*time.Minute {
				time.Sleep(20 * time.Minute)
				b.wantSignedIn()
			}
			time.Sleep(21 * time.Minute)
			b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
		})
	})
}

// A session that grants something is as old as the clock says that says more
// (golang/go#24595: the monotonic one stands still in suspend).
func TestSessionsWhenTheClockSteps(t *testing.T) {
	for name, test := range map[string]struct {
		step  time.Duration
		sleep time.Duration // with a request each 20 minutes
		ended bool
	}{
		"suspended for a day":           {25 * time.Hour, 0, true},
		"set back, within the lifetime": {-25 * time.Hour, 9 * time.Hour, false},
		"set back, beyond the lifetime": {-25 * time.Hour, 10 * time.Hour, true},
		"a step that is small":          {3 * time.Second, 20 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *site) {
				var step time.Duration
				s.kept().clock = clock.New(func() time.Time { return time.Now().Add(step) })
				b := s.browser()
				b.signIn()
				step = test.step
				for range test.sleep / (20 * time.Minute) {
					b.get("/")
					time.Sleep(20 * time.Minute)
				}
				if test.ended {
					b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
				} else {
					b.wantSignedIn()
				}
			})
		})
	}
}

// After a step of the clock or a suspend nobody knows how old a session is: its
// next request asks the issuer, and the access token from before doesn't count.
func TestStepsMakeSessionsAskTheIssuer(t *testing.T) {
	for _, step := range []time.Duration{-25 * time.Hour, -6 * time.Second, 6 * time.Second, 20 * time.Minute, 25 * time.Hour} {
		asked := step < 30*time.Minute // otherwise it was idle for too long
		for name, row := range map[string]struct {
			set       func(*oidctest.Settings) // at the issuer, meanwhile
			status    int
			code      refusal.Code
			refreshes int
		}{
			"alive":                     {func(*oidctest.Settings) {}, http.StatusOK, "", 1},
			"ended at the issuer":       {func(set *oidctest.Settings) { set.Ended = true }, http.StatusUnauthorized, refusal.SessionEnded, 1},
			"the issuer doesn't answer": {func(set *oidctest.Settings) { set.Status = 502 }, http.StatusServiceUnavailable, refusal.IssuerUnavailable, 1},
		} {
			t.Run(fmt.Sprint(step, " ", name), func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *site) {
					var offset time.Duration
					s.kept().clock = clock.New(func() time.Time { return time.Now().Add(offset) })
					b := s.browser()
					b.signIn()
					b.wantSignedIn()
					s.issuer.Set(row.set)
					offset = step
					if !asked {
						b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
						return
					}
					for range 3 { // the issuer that does not answer is left alone
						if row.code == "" {
							b.wantSignedIn()
						} else {
							b.want(row.status, string(row.code))
						}
					}
					if got := s.issuer.Count("refresh_token"); got != row.refreshes {
						t.Errorf("%d refreshes, want %d", got, row.refreshes)
					}
					if row.status == http.StatusServiceUnavailable {
						s.issuer.Set(func(set *oidctest.Settings) { set.Status = 0 })
						time.Sleep(refreshRetry)
						b.wantSignedIn()
					}
				})
			})
		}
	}
	t.Run("without a refresh token", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *site) {
			var offset time.Duration
			s.kept().clock = clock.New(func() time.Time { return time.Now().Add(offset) })
			s.issuer.Set(func(set *oidctest.Settings) { set.Token = oidctest.Claims{"refresh_token": nil} })
			b := s.browser()
			b.signIn()
			b.wantSignedIn()
			offset = -25 * time.Hour
			b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
		})
	})
}

// A sign-in that was begun when the clock was 25 h ahead would take that much
// longer.
func TestSignInWhenTheClockIsSetBack(t *testing.T) {
	s, err := store.RandomSealer()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	state, err := seal(s, pending{Begun: now}, "browser")
	if err != nil {
		t.Fatal(err)
	}
	for age, ok := range map[time.Duration]bool{
		0: true, pendingFor: true, pendingFor + time.Second: false, 25 * time.Hour: false, -25 * time.Hour: false, -6 * time.Second: false, -4 * time.Second: true,
	} {
		if _, err := open(s, state, "browser", now.Add(age)); (err == nil) != ok {
			t.Errorf("after %v: %v", age, err)
		}
	}
}

func TestLogout(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		b.signIn()
		kept := *b.cookies["__Host-session"]
		response, body := b.do(httptest.NewRequest(http.MethodPost, publicURL+"/logout", nil))
		var farewell *Farewell
		if err := json.Unmarshal([]byte(body), &farewell); err != nil || farewell == nil {
			t.Fatalf("%d %s: %v", response.StatusCode, body, err)
		}
		if farewell.URL != issuerURL+"/protocol/openid-connect/logout" || farewell.ClientID != s.issuer.ClientID ||
			farewell.PostLogoutRedirectURI != publicURL+"/" || strings.Count(farewell.IDTokenHint, ".") != 2 {
			t.Errorf("%+v", farewell)
		}
		if len(b.cookies) != 0 {
			t.Errorf("cookies left: %v", b.cookies)
		}
		b.cookies["__Host-session"] = &kept
		b.want(http.StatusUnauthorized, string(refusal.SessionEnded))

		// Once more, signed out.
		if response, body := b.do(httptest.NewRequest(http.MethodPost, publicURL+"/logout", nil)); response.StatusCode != 200 || strings.TrimSpace(body) != "null" {
			t.Errorf("second logout: %d %s", response.StatusCode, body)
		}
	})
}

// A sign-in in the very second of a logout without `sid` works after that
// second: the token is checked once more, and the session goes on.
func TestSignInInTheSecondOfALogout(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		now := time.Now()
		s.issuer.Set(func(set *oidctest.Settings) { set.Access = oidctest.Claims{"auth_time": now.Unix()} })
		signedIn := s.browser()
		signedIn.signIn()
		key := s.issuer.Key("RS256")
		token := oidctest.Sign(key, oidctest.Header{"alg": "RS256", "typ": "logout+jwt", "kid": key.ID}, oidctest.Claims{
			"iss": issuerURL, "aud": "my-api-client", "sub": s.issuer.Claims()["sub"], "jti": "1", "iat": now.Unix(), "exp": now.Unix() + 120,
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		})
		r := httptest.NewRequest("POST", "/", strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.verifier.BackchannelLogout(func() []string { return []string{"my-api-client"} }, nil).ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Fatalf("logout: %d %s", w.Code, w.Body)
		}
		signedIn.wantSignedIn()
		if waited := time.Since(now); waited != time.Second {
			t.Errorf("the session waited %v", waited)
		}
		signedIn.wantSignedIn()
	})
}

// A logout during a refresh wins: the session isn't stored again.
func TestLogoutWhileRefreshing(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		b.signIn()
		time.Sleep(5 * time.Minute)
		release := make(chan struct{})
		s.login.client.Transport = blocked{s.issuer.Client().Transport, release}
		var both sync.WaitGroup
		both.Go(func() { b.wantSignedIn() })
		synctest.Wait() // the refresh is under way
		both.Go(func() {
			if n, err := s.login.EndSession(t.Context(), "yN3bqkT0a8rD5sWm2xQvJ7Lc", "", time.Now()); n != 1 || err != nil {
				t.Errorf("ended %d, %v", n, err)
			}
		})
		synctest.Wait()
		close(release)
		both.Wait()
		b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
	})
}

type blocked struct {
	next    http.RoundTripper
	release chan struct{}
}

func (t blocked) RoundTrip(r *http.Request) (*http.Response, error) {
	<-t.release
	return t.next.RoundTrip(r)
}

// A request whose sender leaves during the refresh doesn't lose the new refresh
// token: the old one doesn't work again.
func TestRefreshOutlivesRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		b.signIn()
		time.Sleep(5 * time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		s.login.client.Transport = leaving{s.issuer.Client().Transport, cancel}
		b.do(httptest.NewRequest(http.MethodGet, publicURL+"/", nil).WithContext(ctx))
		if got := s.issuer.Count("refresh_token"); got != 1 {
			t.Fatalf("%d refreshes", got)
		}
		b.wantSignedIn()
		time.Sleep(5 * time.Minute)
		b.wantSignedIn()
	})
}

// leaving ends the request that waits for an answer, before that arrives.
type leaving struct {
	next  http.RoundTripper
	leave func()
}

func (t leaving) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(r)
	t.leave()
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	return response, err
}

// OpenID Connect Back-Channel Logout 1.0, section 2.6.
func TestEndSession(t *testing.T) {
	const sid, sub = "yN3bqkT0a8rD5sWm2xQvJ7Lc", "6b0c2a7e-3f0d-4d5b-9c1a-8f2e4d6a7b90"
	tests := []struct {
		name, sid, sub string
		before         time.Duration // of the sign-in
		ended          int
	}{
		{"by session", sid, "", -1, 2},
		{"by subject", "", sub, -1, 2},
		{"by both", sid, sub, -1, 2},
		{"another session", "other", "", -1, 0},
		{"another session of this subject", "other", sub, -1, 0},
		{"another subject", "", "other", -1, 0},
		{"neither", "", "", -1, 0},
		{"told of a session before this one", sid, "", 1, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *site) {
				one, two := s.browser(), s.browser()
				one.signIn()
				two.signIn()
				ended, err := s.login.EndSession(t.Context(), test.sid, test.sub, time.Now().Add(-test.before*time.Second))
				if err != nil || ended != test.ended {
					t.Errorf("ended %d, %v, want %d", ended, err, test.ended)
				}
				for _, b := range []*browser{one, two} {
					if test.ended > 0 {
						b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
					} else {
						b.wantSignedIn()
					}
				}
			})
		})
	}
}

// A session is found as long as it lives, and leaves nothing behind in memory,
// however it ends.
func TestSessionsAreForgotten(t *testing.T) {
	const sid = "yN3bqkT0a8rD5sWm2xQvJ7Lc"
	kept := func(s *site) [4]int {
		all, err := s.kept().All()
		if err != nil {
			s.t.Fatal(err)
		}
		return [4]int{len(all), len(s.kept().indexed), len(s.kept().sessions), len(s.found(sid, ""))}
	}
	for name, end := range map[string]func(*site, *browser){
		"idle": func(s *site, _ *browser) { time.Sleep(31 * time.Minute) },
		"at the end of its lifetime": func(s *site, b *browser) {
			for range 30 {
				time.Sleep(20 * time.Minute)
				b.get("/")
			}
		},
		"signed out":      func(_ *site, b *browser) { b.do(httptest.NewRequest(http.MethodPost, publicURL+"/logout", nil)) },
		"signed in again": func(s *site, b *browser) { b.signIn(); time.Sleep(31 * time.Minute) },
		"ended at the issuer": func(s *site, b *browser) {
			s.issuer.Set(func(set *oidctest.Settings) { set.Ended = true })
			time.Sleep(6 * time.Minute)
			b.get("/")
		},
		"a back-channel logout": func(s *site, _ *browser) { _, _ = s.login.EndSession(s.t.Context(), sid, "", time.Now()) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *site) {
				b := s.browser()
				b.signIn()
				time.Sleep(20 * time.Minute)
				b.wantSignedIn() // which begins the idle time again
				time.Sleep(20 * time.Minute)
				if got := kept(s); got != [4]int{1, 1, 2, 1} {
					t.Fatalf("while it lives: %v", got)
				}
				end(s, b)
				synctest.Wait()
				if got := kept(s); got != [4]int{} {
					t.Errorf("left: %v", got)
				}
			})
		})
	}
}

// An expired session's tokens don't stay in memory.
func TestExpiredSessionIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := newMemory()
		if err := kept.Commit("id", []byte("tokens"), time.Now().Add(24*time.Hour)); err != nil { // else Find hides it
			t.Fatal(err)
		}
		if _, err := kept.index(t.Context(), "id", &grant{Subject: "a"}, time.Now().Add(time.Hour), true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, found, _ := kept.Find("id"); found {
			t.Error("it is still there")
		}
	})
}

// A request that found a session just before it expired doesn't bring it back.
func TestSessionExpiresDuringARequest(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		b.signIn()
		id := b.cookies["__Host-session"].Value
		ctx, g, err := s.login.load(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		var refused *refusal.Error
		if err := s.login.store(ctx, g); !errors.As(err, &refused) || refused.Code != refusal.SessionEnded {
			t.Errorf("stored again: %v", err)
		}
		b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
		if all, err := s.kept().All(); err != nil || len(all) != 0 {
			t.Errorf("left: %d, %v", len(all), err)
		}
	})
}

// A session lives by its access token: what revokes that ends it.
func TestRevocationEndsSession(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		b.signIn()
		if err := s.verifier.Revoke(t.Context(), bearer.Revocation{Issuer: issuerURL, Session: "yN3bqkT0a8rD5sWm2xQvJ7Lc", UpTo: time.Now()}); err != nil {
			t.Fatal(err)
		}
		b.want(http.StatusUnauthorized, string(refusal.SessionEnded))
	})
}

// /login at another name of loopback leads to the public one first: the login
// cookie would be missing when the issuer leads back.
func TestOtherLoopbackName(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		response, _ := s.browser().do(httptest.NewRequest(http.MethodGet, "http://localhost:8000/login?return_to=%2Fmodels%2Firis", nil))
		if got := response.Header.Get("Location"); got != "http://127.0.0.1:8000/login?moved=1&return_to=%2Fmodels%2Firis" {
			t.Errorf("leads to %q", got)
		}
	}, func(c *Config) { c.PublicURL = "http://127.0.0.1:8000" })
}

// A proxy may change the Host: that must not send the browser round in circles.
func TestHostChangedByProxy(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		response, _ := s.browser().do(httptest.NewRequest(http.MethodGet, "http://api.internal:8000/login", nil))
		if got := response.Header.Get("Location"); !strings.HasPrefix(got, issuerURL) {
			t.Errorf("leads to %q", got)
		}
	})
}

// Behind a path every link, redirect and URI of ours has it. The cookies keep
// the __Host- prefix, and names of their own.
func TestUnderAPath(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		u, err := url.Parse(b.begin("/models/iris"))
		if err != nil {
			t.Fatal(err)
		}
		if got := u.Query().Get("redirect_uri"); got != publicURL+"/ml/v1/callback" {
			t.Errorf("redirect_uri is %s", got)
		}
		if c := b.cookies["__Host-login+ml+v1"]; c == nil || c.Path != "/" || !c.Secure {
			t.Errorf("cookies %v", b.cookies)
		}
		callback := strings.Replace(b.authorize(u.String()), "/ml/v1/", "/", 1) // as a proxy does
		response, body := b.get(callback)
		if got := response.Header.Get("Location"); got != "/ml/v1/models/iris" {
			t.Errorf("leads to %q: %s", got, body)
		}
		if c := b.cookies["__Host-session+ml+v1"]; c == nil || c.Path != "/" || !c.Secure || s.login.CookieName() != c.Name {
			t.Errorf("cookies %v", b.cookies)
		}
		b.wantSignedIn()
		if response, _ = b.get(callback); response.Header.Get("Location") != "/ml/v1/" {
			t.Errorf("again leads to %q", response.Header.Get("Location"))
		}
		_, body = b.do(httptest.NewRequest(http.MethodPost, publicURL+"/logout", nil))
		if !strings.Contains(body, `"PostLogoutRedirectURI":"`+publicURL+`/ml/v1/"`) {
			t.Errorf("logout: %s", body)
		}
	}, func(c *Config) { c.PublicURL = publicURL + "/ml/v1" })
}

func TestLoopbackCookies(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		w := httptest.NewRecorder()
		if err := s.login.Begin(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8000/login", nil)); err != nil {
			t.Fatal(err)
		}
		cookies := w.Result().Cookies()
		if s.login.CookieName() != "insecure-loopback-session" || len(cookies) != 1 || cookies[0].Name != "insecure-loopback-login" || cookies[0].Secure || !cookies[0].HttpOnly {
			t.Errorf("%s, %v", s.login.CookieName(), cookies)
		}
	}, func(c *Config) { c.PublicURL = "http://127.0.0.1:8000" })
}

func TestConfigRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		good := Config{
			Issuer: issuerURL, ClientID: "a", ClientSecret: "b", PublicURL: publicURL, Verifier: s.verifier,
			Idle: time.Minute, Lifetime: time.Hour,
		}
		if _, err := New(good); err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			change func(*Config)
			want   string
		}{
			"plain http off loopback": {func(c *Config) { c.PublicURL = "http://models.example.com" }, "need https"},
			"public URL with a query": {func(c *Config) { c.PublicURL = "https://example.com/?a=b" }, "such as"},
			"a path that isn't plain": {func(c *Config) { c.PublicURL = "https://example.com/a'b" }, "such as"},
			"a host that isn't one":   {func(c *Config) { c.PublicURL = "https://exam'ple.com" }, "such as"},
			"no secret":               {func(c *Config) { c.ClientSecret = "" }, "oidc_client_secret"},
			"unknown issuer":          {func(c *Config) { c.Issuer = "https://evil.example" }, "doesn't know issuer"},
			"idle beyond lifetime":    {func(c *Config) { c.Idle = 2 * time.Hour }, "not the shorter"},
		} {
			c := good
			test.change(&c)
			if _, err := New(c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A session that the store can't give back is a failure here, not a sign-out.
func TestStoreFails(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		b.signIn()
		if err := s.kept().Commit(b.cookies["__Host-session"].Value, []byte("not a session"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		b.want(http.StatusServiceUnavailable, string(refusal.StoreFailed))
	})
}
