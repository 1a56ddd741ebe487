package session_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/zalando/go-keyring"

	"keycloak-model-api/internal/look"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/modelctl/session"
)

const api = "https://models.example.com"

// fixture is an issuer without a network and a sessions in a folder of its own.
func fixture(t *testing.T) (*oidctest.Provider, *session.Manager, session.Session) {
	t.Helper()
	issuer := oidctest.NewProvider(oidctest.New("https://issuer.example.com/realms/example-realm"), "model-cli", "")
	sessions := &session.Manager{Dir: filepath.Join(t.TempDir(), "modelctl"), HTTP: issuer.Client(), Notice: func(string) {}}
	return issuer, sessions, session.Session{API: api, Issuer: issuer.URL, ClientID: issuer.ClientID}
}

func noPrompt(string, string, string) {}

func signIn(t *testing.T, k *session.Manager, s session.Session) {
	t.Helper()
	if _, err := k.LoginDevice(t.Context(), s, noPrompt); err != nil {
		t.Fatal(err)
	}
}

func TestLoginDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, sessions, s := fixture(t)
		var shown []string
		who, err := sessions.LoginDevice(t.Context(), s, func(uri, complete, code string) { shown = []string{uri, complete, code} })
		if err != nil {
			t.Fatal(err)
		}
		want := session.Session{API: api, Issuer: s.Issuer, ClientID: s.ClientID, Thumbprint: who.Thumbprint, Person: session.Person{
			Subject: "6b0c2a7e-3f0d-4d5b-9c1a-8f2e4d6a7b90", Username: "ml-api-user", Name: "Model User", Email: "user@example.com",
		}}
		if diff := cmp.Diff(want, *who); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{s.Issuer + "/device", s.Issuer + "/device?user_code=WDJB-MJHT", "WDJB-MJHT"}, shown); diff != "" {
			t.Error(diff)
		}
	})
}

// The clock of a synctest bubble is exact, so these are no timing assertions.
func TestDevicePolling(t *testing.T) {
	for _, tt := range []struct {
		name     string
		interval int
		answers  []string
		want     []int // seconds between polls, the first after the device code
	}{
		{"waits the interval (RFC 8628 section 3.5)", 3, []string{"authorization_pending", "authorization_pending"}, []int{3, 3, 3}},
		{"five seconds when the answer names none (section 3.2)", 0, []string{"authorization_pending"}, []int{5, 5}},
		{"five seconds when it is no time to wait (CWE-1284)", -1, []string{"authorization_pending"}, []int{5, 5}},
		{"slow_down adds five seconds for good (section 3.5)", 1, []string{"slow_down", "authorization_pending", "slow_down"}, []int{1, 6, 6, 11}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer, sessions, s := fixture(t)
				issuer.Set(func(set *oidctest.Settings) { set.Interval, set.Device = tt.interval, tt.answers })
				last := time.Now()
				signIn(t, sessions, s)
				var got []int
				for _, at := range issuer.Polls() {
					got = append(got, int(at.Sub(last).Seconds()))
					last = at
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestLoginDeviceRefused(t *testing.T) {
	pending := strings.Split(strings.Repeat("authorization_pending ", 100), " ")
	for _, tt := range []struct {
		name   string
		change func(*oidctest.Settings)
		want   string
	}{
		{"denied by the person (RFC 8628 section 3.5)", func(s *oidctest.Settings) { s.Device = []string{"access_denied"} }, "refused on the other device"},
		{"expired, says the issuer (RFC 8628 section 3.5)", func(s *oidctest.Settings) { s.Device = []string{"expired_token"} }, "code has expired"},
		{"expired, says the clock", func(s *oidctest.Settings) { s.Device, s.CodeLives = pending, 20 }, "code has expired"},
		{"unknown client", func(s *oidctest.Settings) { s.Device = []string{"invalid_client"} }, "is -client-id right"},
		{"an interval beyond all time (CWE-190)", func(s *oidctest.Settings) { s.Interval = 10_000_000_000 }, "code has expired"},
		{"no device grant", func(s *oidctest.Settings) {
			s.Metadata = oidctest.Claims{"device_authorization_endpoint": nil}
		}, "no device authorization grant"},
		{"endpoint without TLS (RFC 8628 section 3.1)", func(s *oidctest.Settings) {
			s.Metadata = oidctest.Claims{"device_authorization_endpoint": "http://issuer.example.com/device"}
		}, "in the clear"},
		{"authorization endpoint that is a program's argument", func(s *oidctest.Settings) {
			s.Metadata = oidctest.Claims{"authorization_endpoint": "file:///etc/passwd"}
		}, "authorization_endpoint"},
		{"metadata of another issuer (OpenID Connect Discovery section 4.3)", func(s *oidctest.Settings) {
			s.Metadata = oidctest.Claims{"issuer": "https://evil.example.com"}
		}, "calls itself"},
		{"ID token of another issuer (OpenID Connect Core section 3.1.3.7)", func(s *oidctest.Settings) {
			s.ID = oidctest.Claims{"iss": "https://evil.example.com"}
		}, "different provider"},
		{"ID token for another client (OpenID Connect Core section 3.1.3.7)", func(s *oidctest.Settings) {
			s.ID = oidctest.Claims{"aud": "other-client"}
		}, "expected audience"},
		{"expired ID token (OpenID Connect Core section 3.1.3.7)", func(s *oidctest.Settings) {
			s.ID = oidctest.Claims{"exp": 1}
		}, "expired"},
		{"ID token of another access token (OpenID Connect Core section 3.1.3.8)", func(s *oidctest.Settings) {
			s.ID = oidctest.Claims{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}
		}, "another access token"},
		{"unsigned ID token (RFC 8725 section 2.1)", func(s *oidctest.Settings) {
			s.Token = oidctest.Claims{"id_token": "eyJhbGciOiJub25lIn0.e30."}
		}, "ID token"},
		{"no ID token", func(s *oidctest.Settings) { s.Token = oidctest.Claims{"id_token": nil} }, "no ID token"},
		{"no refresh token", func(s *oidctest.Settings) { s.Token = oidctest.Claims{"refresh_token": nil} }, "no refresh token"},
		{"token that is bound to no key (RFC 9449 section 5)", func(s *oidctest.Settings) { s.IgnoresProofs = true }, "modelctl login -bearer"},
		{"issuer that can't bind tokens (RFC 9449 section 5.1)", func(s *oidctest.Settings) {
			s.Metadata = oidctest.Claims{"dpop_signing_alg_values_supported": []string{"RS256"}}
		}, "modelctl login -bearer"},
		{"access token that would break a header (RFC 6749 appendix A.12)", func(s *oidctest.Settings) {
			s.ID, s.Token = oidctest.Claims{"at_hash": nil}, oidctest.Claims{"access_token": "a\r\nb"}
		}, "characters that no token has"},
		{"proof from a clock that is wrong (RFC 9449 section 4.3)", func(s *oidctest.Settings) { s.Ahead = 5 * time.Minute }, "is the clock of this computer right"},
		{"issuer in another case, which a lax reader takes (RFC 8259 section 4)", func(s *oidctest.Settings) {
			s.Metadata = oidctest.Claims{"issuer": nil, "Issuer": "https://issuer.example.com/realms/example-realm"}
		}, "in another case"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer, sessions, s := fixture(t)
				issuer.Set(tt.change)
				_, err := sessions.LoginDevice(t.Context(), s, noPrompt)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want an error that says %q", err, tt.want)
				}
				for _, secret := range issuer.Sensitive() {
					if err != nil && strings.Contains(err.Error(), secret) {
						t.Errorf("the error holds the secret %s", secret)
					}
				}
				if _, err := sessions.Session(); !errors.Is(err, session.ErrSignedOut) {
					t.Errorf("after a refused sign-in there is a session (%v)", err)
				}
			})
		})
	}
}

// An ID token's claims describe the person; they must not move the session to
// another API or issuer, though Keycloak has a claim named clientId.
func TestClaimsDoNotChangeTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer, sessions, s := fixture(t)
		issuer.Set(func(set *oidctest.Settings) {
			set.ID = oidctest.Claims{"api": "https://evil.example.com", "issuer": "https://evil.example.com", "clientId": "evil"}
			set.ID["\u017fub"] = "evil" // encoding/json takes a long s for an s
		})
		signIn(t, sessions, s)
		got, err := sessions.Session()
		if err != nil {
			t.Fatal(err)
		}
		if got.API != api || got.Issuer != s.Issuer || got.ClientID != s.ClientID || got.Subject == "evil" {
			t.Errorf("session became %+v", got)
		}
	})
}

// visit is a browser that follows redirects; edit changes the last address.
func visit(t *testing.T, client *http.Client, authURL string, edit func(*url.URL, *http.Request)) (int, string) {
	t.Helper()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Get(authURL)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	callback, err := resp.Location()
	if err != nil {
		t.Errorf("the issuer answered %d: %v", resp.StatusCode, err)
		return 0, ""
	}
	return get(t, callback, edit)
}

func get(t *testing.T, callback *url.URL, edit func(*url.URL, *http.Request)) (int, string) {
	t.Helper()
	req := &http.Request{Method: http.MethodGet, URL: callback, Header: http.Header{}}
	if edit != nil {
		edit(callback, req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	if csp := resp.Header.Get("Content-Security-Policy"); resp.StatusCode != http.StatusNotFound && !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("page with Content-Security-Policy %q", csp)
	}
	return resp.StatusCode, string(body)
}

func TestLoginBrowser(t *testing.T) {
	issuer, sessions, s := fixture(t)
	pages := make(chan string, 1)
	who, err := sessions.LoginBrowser(t.Context(), s, func(authURL string) {
		go func() {
			_, page := visit(t, issuer.Client(), authURL, nil)
			pages <- page
		}()
	})
	if err != nil {
		t.Fatal(err)
	}
	if who.Username != "ml-api-user" {
		t.Errorf("signed in as %+v", who)
	}
	page := <-pages
	if !strings.Contains(page, "Signed in") || strings.Contains(page, "<script") {
		t.Errorf("page is %s", page)
	}
}

// The page has the look of the playground, which its own policy lets in.
func TestPageHasTheLookOfThePlayground(t *testing.T) {
	issuer, sessions, s := fixture(t)
	type answer struct {
		header http.Header
		page   string
	}
	answers := make(chan answer, 1)
	_, err := sessions.LoginBrowser(t.Context(), s, func(authURL string) {
		go func() {
			client := http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.URL.Hostname() == "127.0.0.1" {
					return http.DefaultTransport.RoundTrip(r)
				}
				return issuer.Client().Transport.RoundTrip(r)
			})}
			resp, err := client.Get(authURL)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			page, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Error(err)
			}
			answers <- answer{resp.Header, string(page)}
		}()
	})
	if err != nil {
		t.Fatal(err)
	}
	got := <-answers
	_, rest, _ := strings.Cut(got.page, "<style>")
	style, _, ok := strings.Cut(rest, "</style>")
	hash := sha256.Sum256([]byte(style))
	want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
	if !ok || style != look.Style || !strings.Contains(got.header.Get("Content-Security-Policy"), want) {
		t.Errorf("policy %q, want %s", got.header.Get("Content-Security-Policy"), want)
	}
}

func TestLoginBrowserRefused(t *testing.T) {
	set := func(name, value string) func(*oidctest.Settings) {
		return func(s *oidctest.Settings) { s.Response = url.Values{name: {value}} }
	}
	for _, tt := range []struct {
		name   string
		change func(*oidctest.Settings)
		want   string
	}{
		{"response of another issuer (RFC 9207 section 2.4)", set("iss", "https://evil.example.com"), "mixing up"},
		{"response without iss (RFC 9207 section 2.4)", set("iss", ""), "mixing up"},
		{"another issuer's iss, though none is announced (RFC 9207 section 2.4)", func(s *oidctest.Settings) {
			s.Metadata = oidctest.Claims{"authorization_response_iss_parameter_supported": nil}
			s.Response = url.Values{"iss": {"https://evil.example.com"}}
		}, "mixing up"},
		{"repeated code (RFC 6749 section 3.1)", func(s *oidctest.Settings) { s.Response = url.Values{"code": {"a", "b"}} }, "repeats code"},
		{"somebody else's code (RFC 9700 section 4.5)", set("code", "injected"), "invalid_grant"},
		{"refused by the person", set("error", "access_denied"), "refused"},
		{"refused by the issuer", set("error", "invalid_scope"), "invalid_scope"},
		{"no code", set("code", ""), "no code"},
		{"nonce of another sign-in (OpenID Connect Core section 3.1.3.7)", func(s *oidctest.Settings) {
			s.ID = oidctest.Claims{"nonce": "other"}
		}, "another sign-in (nonce)"},
		{"no nonce (OpenID Connect Core section 3.1.3.7)", func(s *oidctest.Settings) {
			s.ID = oidctest.Claims{"nonce": nil}
		}, "another sign-in (nonce)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			issuer, sessions, s := fixture(t)
			issuer.Set(tt.change)
			pages := make(chan string, 1)
			_, err := sessions.LoginBrowser(t.Context(), s, func(authURL string) {
				go func() {
					_, page := visit(t, issuer.Client(), authURL, nil)
					pages <- page
				}()
			})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error that says %q", err, tt.want)
			}
			if page := <-pages; !strings.Contains(page, "Sign-in failed") {
				t.Errorf("page is %s", page)
			}
			if _, err := sessions.Session(); !errors.Is(err, session.ErrSignedOut) {
				t.Errorf("after a refused sign-in there is a session (%v)", err)
			}
		})
	}
}

// What does not belong to the sign-in is refused and does not end it.
func TestCallbackIgnoresStrangers(t *testing.T) {
	issuer, sessions, s := fixture(t)
	done := make(chan struct{})
	_, err := sessions.LoginBrowser(t.Context(), s, func(authURL string) {
		go func() {
			defer close(done)
			u, err := url.Parse(authURL)
			if err != nil {
				t.Error(err)
				return
			}
			q := u.Query()
			callback := q.Get("redirect_uri")
			for _, tt := range []struct {
				name, target, host string
				want               int
			}{
				{"wrong state (RFC 6749 section 10.12)", callback + "?code=x&state=wrong", "", 400},
				{"no state (RFC 6749 section 10.12)", callback + "?code=x", "", 400},
				{"right state and another", callback + "?code=x&state=" + q.Get("state") + "&state=y", "", 400},
				{"name that was made to point here (DNS rebinding)", callback + "?code=x&state=" + q.Get("state"), "evil.example.com", 400},
				{"another path", strings.Replace(callback, "/callback", "/", 1), "", 404},
			} {
				target, err := url.Parse(tt.target)
				if err != nil {
					t.Error(err)
					return
				}
				if got, _ := get(t, target, func(_ *url.URL, r *http.Request) { r.Host = tt.host }); got != tt.want {
					t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
				}
			}
			if got, _ := visit(t, issuer.Client(), authURL, nil); got != http.StatusOK {
				t.Errorf("the person's own answer got %d", got)
			}
		}()
	})
	<-done
	if err != nil {
		t.Fatal(err)
	}
}

func TestLoginBrowserInterrupted(t *testing.T) {
	_, sessions, s := fixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := sessions.LoginBrowser(ctx, s, func(string) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer, sessions, s := fixture(t)
		signIn(t, sessions, s)
		first, err := sessions.Access(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Minute)
		again, err := sessions.Access(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if again.Token != first.Token {
			t.Error("refreshed with a minute to go")
		}
		time.Sleep(31 * time.Second)
		fresh, err := sessions.Access(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if fresh.Token == first.Token || !issuer.Valid(fresh.Token) {
			t.Error("not refreshed with 29 seconds to go")
		}
		if left := time.Until(fresh.SessionExpires); left != 30*time.Minute {
			t.Errorf("session left is %s", left)
		}
		// Each refresh token works once: a second refresh proves that the new one was stored.
		time.Sleep(5 * time.Minute)
		if _, err := sessions.Access(t.Context()); err != nil {
			t.Errorf("after rotation: %v", err)
		}
	})
}

func TestAccessOfEndedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer, sessions, s := fixture(t)
		signIn(t, sessions, s)
		issuer.Set(func(set *oidctest.Settings) { set.Ended = true })
		time.Sleep(5 * time.Minute)
		if _, err := sessions.Access(t.Context()); !errors.Is(err, session.ErrSignedOut) {
			t.Errorf("got %v", err)
		}
		if _, err := os.Stat(filepath.Join(sessions.Dir, "tokens.json")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the useless tokens are still there (%v)", err)
		}
	})
}

func TestAccessWhileTheIssuerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer, sessions, s := fixture(t)
		signIn(t, sessions, s)
		issuer.SetOutage(true)
		if _, err := sessions.Access(t.Context()); err != nil {
			t.Errorf("a token that lives: %v", err)
		}
		time.Sleep(5 * time.Minute)
		if _, err := sessions.Access(t.Context()); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		issuer.SetOutage(false)
		if _, err := sessions.Access(t.Context()); err != nil {
			t.Errorf("when the issuer is back: %v", err)
		}
	})
}

// The answer to a refresh is stored though the person gave up waiting: with
// rotation the old refresh token is spent.
func TestRefreshIsNotInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer, sessions, s := fixture(t)
		signIn(t, sessions, s)
		time.Sleep(5 * time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		next := sessions.HTTP.Transport
		sessions.HTTP.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			cancel()
			return next.RoundTrip(r)
		})
		if _, err := sessions.Access(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if _, err := sessions.Access(t.Context()); err != nil {
			t.Errorf("the refresh after it: %v", err)
		}
		if got := issuer.Count("refresh_token"); got != 2 {
			t.Errorf("%d refreshes", got)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Managers with files of their own behave as processes do. The refresh tokens
// work once, so a second refresh would fail.
func TestOneRefreshForMany(t *testing.T) {
	issuer, sessions, s := fixture(t)
	issuer.Set(func(set *oidctest.Settings) { set.Lifetime = 1 })
	signIn(t, sessions, s)
	issuer.Set(func(set *oidctest.Settings) { set.Lifetime = 300 })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			other := &session.Manager{Dir: sessions.Dir, HTTP: issuer.Client(), Notice: func(string) {}}
			if _, err := other.Access(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := issuer.Count("refresh_token"); got != 1 {
		t.Errorf("%d refreshes, want 1", got)
	}
}

func TestLogout(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*oidctest.Provider)
		revoked int
		want    string
	}{
		{"revokes the refresh token (RFC 7009)", func(*oidctest.Provider) {}, 1, ""},
		{"forgets while the issuer is down", func(i *oidctest.Provider) { i.SetOutage(true) }, 0, session.ErrUnavailable.Error()},
		{"forgets where nothing can be revoked", func(i *oidctest.Provider) {
			i.Set(func(s *oidctest.Settings) { s.Metadata = oidctest.Claims{"revocation_endpoint": nil} })
		}, 0, "no revocation endpoint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer, sessions, s := fixture(t)
				signIn(t, sessions, s)
				tt.change(issuer)
				err := sessions.Logout(t.Context())
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if got := issuer.Count("revoke"); got != tt.revoked {
					t.Errorf("%d revoked", got)
				}
				if files := secretsIn(t, sessions.Dir, issuer); len(files) > 0 {
					t.Errorf("tokens are left in %v", files)
				}
				if err := sessions.Logout(t.Context()); !errors.Is(err, session.ErrSignedOut) {
					t.Errorf("a second logout: %v", err)
				}
			})
		})
	}
}

// secretsIn returns the files below dir that hold a secret of the issuer.
func secretsIn(t *testing.T, dir string, issuer *oidctest.Provider) (files []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range issuer.Sensitive() {
			if strings.Contains(string(data), secret) {
				files = append(files, e.Name())
				break
			}
		}
	}
	return files
}

func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer, sessions, s := fixture(t)
		var notices []string
		sessions.Notice = func(text string) { notices = append(notices, text) }
		signIn(t, sessions, s)
		if diff := cmp.Diff([]string{"tokens.json"}, secretsIn(t, sessions.Dir, issuer)); diff != "" {
			t.Error(diff)
		}
		if len(notices) != 1 || !strings.Contains(notices[0], "tokens.json") {
			t.Errorf("notices are %q", notices)
		}
		if runtime.GOOS != "windows" {
			for name, want := range map[string]os.FileMode{"": 0o700, "tokens.json": 0o600, "session.json": 0o600, "lock": 0o600} {
				info, err := os.Stat(filepath.Join(sessions.Dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if got := info.Mode().Perm(); got != want {
					t.Errorf("%q has mode %o, want %o", name, got, want)
				}
			}
		}
		time.Sleep(5 * time.Minute)
		if _, err := sessions.Access(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(notices) != 1 {
			t.Errorf("said again: %q", notices)
		}
	})
}

func TestDamagedFileIsNotQuoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, sessions, s := fixture(t)
		signIn(t, sessions, s)
		if err := os.WriteFile(filepath.Join(sessions.Dir, "tokens.json"), []byte("zq9secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sessions.Access(t.Context()); err == nil || !strings.Contains(err.Error(), "damaged") || strings.Contains(err.Error(), "invalid character") {
			t.Errorf("got %v", err)
		}
	})
}

func TestKeyring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keyring.MockInit()
		issuer, sessions, s := fixture(t)
		sessions.Keyring = true
		sessions.Notice = func(text string) { t.Errorf("notice: %s", text) }
		signIn(t, sessions, s)
		if files := secretsIn(t, sessions.Dir, issuer); len(files) > 0 {
			t.Errorf("tokens are in %v", files)
		}
		var item struct {
			Value string `json:"value"`
		}
		data, err := keyring.Get("modelctl "+api, "access token of "+sessions.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(data), &item); err != nil || !issuer.Valid(item.Value) {
			t.Errorf("the keyring holds %q (%v)", data, err)
		}
		for range 2 {
			time.Sleep(5 * time.Minute)
			if _, err := sessions.Access(t.Context()); err != nil {
				t.Fatal(err)
			}
		}

		if err := sessions.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, item := range []string{"access token", "refresh token"} {
			if _, err := keyring.Get("modelctl "+api, item+" of "+sessions.Dir); !errors.Is(err, keyring.ErrNotFound) {
				t.Errorf("%s is left in the keyring (%v)", item, err)
			}
		}
	})
}

func TestKeyringThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keyring.MockInitWithError(errors.New("no such service"))
		issuer, sessions, s := fixture(t)
		sessions.Keyring = true
		signIn(t, sessions, s)
		if diff := cmp.Diff([]string{"tokens.json"}, secretsIn(t, sessions.Dir, issuer)); diff != "" {
			t.Error(diff)
		}
		time.Sleep(5 * time.Minute)
		if _, err := sessions.Access(t.Context()); err != nil {
			t.Error(err)
		}
		if err := sessions.Logout(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A keyring that can't be read is an error that says so, not a lost sign-in.
func TestKeyringThatIsLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keyring.MockInit()
		_, sessions, s := fixture(t)
		sessions.Keyring = true
		signIn(t, sessions, s)
		keyring.MockInitWithError(errors.New("locked"))
		if _, err := sessions.Access(t.Context()); err == nil || errors.Is(err, session.ErrSignedOut) || !strings.Contains(err.Error(), "keyring: locked") {
			t.Errorf("got %v", err)
		}
	})
}

// A sign-in to another API leaves nothing of the one before.
func TestLoginReplacesTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keyring.MockInit()
		_, sessions, s := fixture(t)
		sessions.Keyring = true
		signIn(t, sessions, s)
		if _, err := keyring.Get("modelctl "+api, "refresh token of "+sessions.Dir); err != nil {
			t.Fatal(err)
		}
		s.API = "https://other.example.com"
		signIn(t, sessions, s)
		if _, err := keyring.Get("modelctl "+api, "refresh token of "+sessions.Dir); !errors.Is(err, keyring.ErrNotFound) {
			t.Errorf("the old refresh token is left (%v)", err)
		}
		if _, err := sessions.Access(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Whoever looks during a sign-in to another API never gets the token of one
// with the session of the other: it would go to the wrong API, and a refresh
// token to the wrong issuer.
func TestLoginReplacesTheSessionAtOnce(t *testing.T) {
	issuer, sessions, s := fixture(t)
	check := func() {
		access, err := (&session.Manager{Dir: sessions.Dir, HTTP: issuer.Client()}).Access(t.Context())
		if errors.Is(err, session.ErrSignedOut) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(access.Token, ".")[1])
		if err != nil || !strings.Contains(string(payload), `"`+access.Session.API+`"`) {
			t.Errorf("session of %s with the token %s (%v)", access.Session.API, payload, err)
		}
	}
	signInTo := func(api string) {
		issuer.Set(func(set *oidctest.Settings) { set.Access = oidctest.Claims{"aud": api} })
		s.API = api
		if _, err := sessions.LoginBrowser(t.Context(), s, func(authURL string) { go visit(t, issuer.Client(), authURL, nil) }); err != nil {
			t.Fatal(err)
		}
	}
	sessions.Notice = func(string) { check() } // in the middle of the sign-in
	signInTo("https://one.example.com")
	signInTo("https://two.example.com")

	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					check()
				}
			}
		})
	}
	for i := range 10 {
		signInTo([]string{"https://one.example.com", "https://two.example.com"}[i%2])
	}
	close(stop)
	readers.Wait()
}

func TestCheckURL(t *testing.T) {
	for raw, ok := range map[string]bool{
		"https://models.example.com":        true,
		"https://models.example.com/base":   true,
		"http://127.0.0.1:8000":             true,
		"http://localhost:8000":             true,
		"http://[::1]:8000":                 true,
		"http://models.example.com":         false,
		"http://127.0.0.1.evil.example.com": false,
		"http://127.evil":                   false,
		"https://user@models.example.com":   false,
		"https://models.example.com?x":      false,
		"javascript:alert(1)":               false,
		"https://mоdels.example.com":        false, // a Cyrillic letter (CWE-1007)
		"https://xn--mdels-4ye.example.com": true,
		"file:///etc/passwd":                false,
		"models.example.com":                false,
		"":                                  false,
	} {
		if err := session.CheckURL(raw); (err == nil) != ok {
			t.Errorf("%q: %v", raw, err)
		}
	}
}
