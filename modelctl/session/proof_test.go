package session_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zalando/go-keyring"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/modelctl/session"
)

// Every token of a login is bound to its key, and the key to the login.
func TestTokensAreBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer, sessions, s := fixture(t)
		thumbprints := map[string]bool{}
		for range 2 {
			signIn(t, sessions, s)
			for range 2 {
				access, err := sessions.Access(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				bound := issuer.BoundTo(access.Token)
				if bound == "" || bound != access.Session.Thumbprint {
					t.Errorf("token bound to %q, session to %q", bound, access.Session.Thumbprint)
				}
				thumbprints[bound] = true
				time.Sleep(5 * time.Minute) // the next is refreshed
			}
		}
		if len(thumbprints) != 2 {
			t.Errorf("%d keys for two sign-ins", len(thumbprints))
		}
	})
}

func TestBearerTokensOnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer, sessions, s := fixture(t)
		sessions.Bearer = true
		signIn(t, sessions, s)
		time.Sleep(5 * time.Minute)
		access, err := (&session.Manager{Dir: sessions.Dir, HTTP: issuer.Client()}).Access(t.Context()) // as any later command
		if err != nil {
			t.Fatal(err)
		}
		if bound := issuer.BoundTo(access.Token); bound != "" || access.Session.Thumbprint != "" {
			t.Errorf("bound to %q", bound)
		}
	})
}

// signInByBrowser is signIn without the wait between polls, for tests on the
// wall clock.
func signInByBrowser(t *testing.T, issuer *oidctest.Provider, k *session.Manager, s session.Session) {
	t.Helper()
	if _, err := k.LoginBrowser(t.Context(), s, func(authURL string) { go visit(t, issuer.Client(), authURL, nil) }); err != nil {
		t.Fatal(err)
	}
}

// A nonce that the issuer demands is sent, also where it changes (RFC 9449,
// section 8), in every flow.
func TestNonceOfTheIssuer(t *testing.T) {
	issuer, sessions, s := fixture(t)
	nonce := func(n string) { issuer.Set(func(set *oidctest.Settings) { set.Nonce, set.Lifetime = n, 1 }) }
	nonce("one")
	signInByBrowser(t, issuer, sessions, s)
	nonce("two")
	signIn(t, sessions, s)
	nonce("three")
	if _, err := sessions.Access(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := issuer.Count("refresh_token"); got != 2 {
		t.Errorf("%d requests, want one without the nonce and one with it", got)
	}
	if err := sessions.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A server that never has enough is asked twice, not for ever.
func TestNonceIsTriedOnce(t *testing.T) {
	issuer, sessions, s := fixture(t)
	signInByBrowser(t, issuer, sessions, s)
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		w.Header().Set("DPoP-Nonce", strings.Repeat("n", calls))
		w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	access := accessFor(t, sessions, server.URL)
	resp, err := access.Client(time.Minute).Post(server.URL+"/v2/models/iris/infer", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if calls != 2 {
		t.Errorf("%d calls, want 2", calls)
	}
}

// accessFor returns the sessions's access with the API at another address, such
// as that of a test server.
func accessFor(t *testing.T, sessions *session.Manager, api string) *session.Access {
	t.Helper()
	access, err := sessions.Access(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	access.Session.API = api
	return access
}

// The token goes to the API of its session and nowhere else, whatever the
// caller asks for.
func TestTokenGoesToItsAPIOnly(t *testing.T) {
	issuer, sessions, s := fixture(t)
	signInByBrowser(t, issuer, sessions, s)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was sent") }))
	defer server.Close()
	access := accessFor(t, sessions, server.URL+"/models")
	for _, target := range []string{server.URL, server.URL + "/", server.URL + "/models-of-others", "http://" + server.Listener.Addr().String() + "/v2/models"} {
		resp, err := access.Client(time.Minute).Get(target)
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s: no error", target)
		} else if strings.Contains(err.Error(), access.Token) {
			t.Errorf("%s: the error holds the token", target)
		}
	}
}

// A false API that names the real issuer gets a token and a proof. At the real
// API they are worth nothing: the proof names the false one (htu, RFC 9449,
// section 4.3), and without a proof the token is refused.
func TestFalseAPIHasNothing(t *testing.T) {
	issuer, sessions, s := fixture(t)
	real := httptest.NewUnstartedServer(nil)
	realURL := "http://" + real.Listener.Addr().String()
	verifier, err := bearer.New(t.Context(), bearer.Config{
		Issuers: []bearer.Issuer{{URL: issuer.URL}}, Audience: issuer.Audience, PublicURL: realURL, HTTPClient: issuer.Client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	real.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := verifier.Check(r); err != nil {
			refusal, _ := errors.AsType[*bearer.Error](err)
			http.Error(w, string(refusal.Code), http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "welcome")
	})
	real.Start()
	defer real.Close()
	stolen := make(chan http.Header, 1)
	falseAPI := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.Header.Clone() }))
	defer falseAPI.Close()

	signInByBrowser(t, issuer, sessions, s)
	ask := func(client *http.Client, base string, header http.Header) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/v2/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(body))
	}
	if got := ask(accessFor(t, sessions, realURL).Client(time.Minute), realURL, http.Header{}); got != "welcome" {
		t.Fatalf("the person's own call: %s", got)
	}
	ask(accessFor(t, sessions, falseAPI.URL).Client(time.Minute), falseAPI.URL, http.Header{})
	sent := <-stolen
	token := strings.TrimPrefix(sent.Get("Authorization"), "DPoP ")
	if issuer.BoundTo(token) == "" || sent.Get("DPoP") == "" {
		t.Fatalf("the false API got %v", sent)
	}
	for _, tt := range []struct {
		name, authorization, proof, want string
	}{
		{"as it came", "DPoP " + token, sent.Get("DPoP"), "dpop_proof_invalid"},
		{"without the proof", "DPoP " + token, "", "dpop_proof_missing"},
		{"as a bearer token", "Bearer " + token, "", "sender_constraint"},
	} {
		header := http.Header{"Authorization": {tt.authorization}}
		if tt.proof != "" {
			header.Set("DPoP", tt.proof)
		}
		if got := ask(http.DefaultClient, realURL, header); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestKeyIsKept(t *testing.T) {
	t.Run("in a file that only the person reads", func(t *testing.T) {
		issuer, sessions, s := fixture(t)
		signInByBrowser(t, issuer, sessions, s)
		data, err := os.ReadFile(filepath.Join(sessions.Dir, "tokens.json"))
		if err != nil || !strings.Contains(string(data), `"key"`) {
			t.Errorf("tokens.json has no key (%v)", err)
		}
	})
	t.Run("in the keyring, for one login", func(t *testing.T) {
		keyring.MockInit()
		issuer, sessions, s := fixture(t)
		sessions.Keyring = true
		signInByBrowser(t, issuer, sessions, s)
		item := func() string {
			data, err := keyring.Get("modelctl "+api, "key of "+sessions.Dir)
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
		first := item()
		signInByBrowser(t, issuer, sessions, s)
		if item() == first {
			t.Error("two logins have one key")
		}
		if err := sessions.Logout(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Get("modelctl "+api, "key of "+sessions.Dir); !errors.Is(err, keyring.ErrNotFound) {
			t.Errorf("the key is left in the keyring (%v)", err)
		}
	})
	t.Run("with its tokens: those of another key are not used", func(t *testing.T) {
		issuer, sessions, s := fixture(t)
		signInByBrowser(t, issuer, sessions, s)
		file := filepath.Join(sessions.Dir, "tokens.json")
		old, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		signInByBrowser(t, issuer, sessions, s)
		if err := os.WriteFile(file, old, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sessions.Access(t.Context()); !errors.Is(err, session.ErrSignedOut) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("not quoted when it is damaged", func(t *testing.T) {
		issuer, sessions, s := fixture(t)
		signInByBrowser(t, issuer, sessions, s)
		file := filepath.Join(sessions.Dir, "tokens.json")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before, after, _ := strings.Cut(string(data), `"key":{`)
		after = strings.Replace(after, `"value":"`, `"value":"zq9`, 1)
		if err := os.WriteFile(file, []byte(before+`"key":{`+after), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sessions.Access(t.Context()); err == nil || !strings.Contains(err.Error(), "damaged") || strings.Contains(err.Error(), "zq9") {
			t.Errorf("got %v", err)
		}
	})
}

func TestTrust(t *testing.T) {
	_, sessions, s := fixture(t)
	if issuer, err := sessions.Trusted(api); err != nil || issuer != "" {
		t.Errorf("trusts %q before anything was confirmed (%v)", issuer, err)
	}
	for _, pair := range [][2]string{{api, s.Issuer}, {api + "/other", "https://other.example.com"}, {api, "https://new.example.com"}} {
		if err := sessions.Trust(t.Context(), pair[0], pair[1]); err != nil {
			t.Fatal(err)
		}
		if issuer, err := sessions.Trusted(pair[0]); err != nil || issuer != pair[1] {
			t.Errorf("%s: trusts %q, want %q (%v)", pair[0], issuer, pair[1], err)
		}
	}
	if issuer, err := sessions.Trusted(api + "/x"); err != nil || issuer != "" {
		t.Errorf("trusts %q below an API that was confirmed (%v)", issuer, err)
	}
	if err := os.WriteFile(filepath.Join(sessions.Dir, "trust.json"), []byte(`{"`+api+`":"a","`+api+`":"b"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sessions.Trusted(api); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged file: %v", err)
	}
}
