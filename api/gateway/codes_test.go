package gateway

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"keycloak-model-api/api/refusal"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// given are the codes that the handlers of this package's tests gave: in answers and
// in the log.
var given = struct {
	sync.Mutex
	codes map[string]bool
	flush []func() // of the logs
}{codes: map[string]bool{}}

func give(codes ...string) {
	given.Lock()
	defer given.Unlock()
	for _, code := range codes {
		given.codes[code] = true
	}
}

// loggedCode is what a record says, or how the reason begins for which the issuer's
// own call was refused: it gets the error that its specification has.
var loggedCode = regexp.MustCompile(`"(?:code|err)":"([a-z_]+)[":]`)

// giveLogged notes the codes in lines of the log.
func giveLogged(lines []byte) {
	for _, found := range loggedCode.FindAllSubmatch(lines, -1) {
		give(string(found[1]))
	}
}

// TestMain runs the tests and, where all of them ran, demands that the whole handler
// gave each code at least once. A new code needs a test here that provokes it.
func TestMain(m *testing.M) {
	status := m.Run()
	filter := func(name string) bool { return flag.Lookup(name).Value.String() != "" }
	if status == 0 && !filter("test.run") && !filter("test.skip") && !filter("test.bench") && !filter("test.list") && !filter("test.fuzz") {
		given.Lock()
		flush := given.flush
		given.Unlock()
		for _, f := range flush {
			f()
		}
		for _, row := range refusal.All() {
			// The front page for who is not signed in shows no code: TestPlayground.
			if !given.codes[string(row.Code)] && row.Code != refusal.NoSession {
				fmt.Printf("no test of this package provokes %s through the whole handler\n", row.Code)
				status = 1
			}
		}
	}
	os.Exit(status)
}

// Tokens that no issuer of ours makes, and that a caller may send all the same.
func TestTokensNobodyMakes(t *testing.T) {
	f := newFixture(t)
	i, key := f.issuer, f.issuer.Key("RS256")
	now := time.Now().Unix()
	sign := func(signer *oidctest.Key, header oidctest.Header) string {
		return oidctest.Sign(signer, header, i.Claims())
	}
	for _, row := range []struct{ name, token, code string }{
		{"17 KiB", i.Token("RS256", oidctest.Claims{"x": strings.Repeat("x", 13<<10)}), "token_too_large"},
		{"RFC 7516 9: encrypted", "a.b.c.d.e", "token_encrypted"},
		{"RFC 7515 4: a header that is no object", base64.RawURLEncoding.EncodeToString([]byte("[]")) + ".e30.e30", "header_malformed"},
		{"RFC 7515 4.1.11: crit", sign(key, oidctest.Header{"alg": "RS256", "kid": key.ID, "crit": []string{"exp"}}), "critical_header"},
		{"RFC 7515 4.1.4: without kid", sign(key, oidctest.Header{"alg": "RS256", "typ": "JWT"}), "key_id_missing"},
		{"RFC 8725 3.1: key of another algorithm", sign(oidctest.NewKey(key.ID, "ES256"), oidctest.Header{"alg": "ES256", "typ": "JWT", "kid": key.ID}), "key_mismatch"},
		{"a year", i.Token("RS256", oidctest.Claims{"exp": now + 365*86400}), "lifetime_too_long"},
	} {
		t.Run(row.name, func(t *testing.T) {
			response, body := f.do(t, "POST", inferIris, row.token, "application/json", irisRow)
			checkRefusal(t, response, body, inferIris, http.StatusUnauthorized, row.code)
		})
	}
}

// RFC 9449, sections 4.3 and 7.1: a token that is bound needs a good proof.
func TestProofRefused(t *testing.T) {
	for proof, code := range map[string]string{"": "dpop_proof_missing", "x": "dpop_proof_invalid"} {
		f := newFixture(t)
		r := f.proven(t, inferIris, nil)()
		r.Header.Del("DPoP")
		if proof != "" {
			r.Header.Set("DPoP", proof)
		}
		response, body := send(t, r)
		checkRefusal(t, response, body, inferIris, http.StatusUnauthorized, code)
	}
}

// What an authenticator finds at fault reaches the caller. A share of the memory for
// proofs is full after 100,000 of them, which package bearer tests with fewer.
func TestAuthenticatorFails(t *testing.T) {
	for _, row := range []struct {
		err    error
		status int
		code   string
	}{
		{refusal.New(refusal.ProofsTooMany, nil), http.StatusTooManyRequests, "dpop_proofs_too_many"},
		{errors.New("no refusal"), http.StatusInternalServerError, "internal"},
	} {
		f := newFixture(t)
		f.gateway.authenticators = []authenticator{func(*http.Request) (*credential, error) { return nil, row.err }}
		response, body := f.do(t, "POST", inferIris, f.issuer.Token("RS256"), "application/json", irisRow)
		checkRefusal(t, response, body, inferIris, row.status, row.code)
	}
}

// A model server that says nothing.
func TestModelServerIsSilent(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	options := testOptions(issuer, &syncBuffer{})
	options.UpstreamDeadlines = deadlines(20 * time.Millisecond)
	options.Outputs.Policy.Models = append(options.Outputs.Policy.Models,
		policy.Model{Name: "silent", Allow: policy.Conditions{Roles: []string{"model-api-access"}}, Upstream: &policy.Upstream{URL: server.URL}})
	g := newGateway(t, options)
	waitFor(t, "the issuer's keys", func() bool { return g.verifier.Ready() == nil })
	front := httptest.NewServer(g)
	defer front.Close()
	f := &fixture{issuer: issuer, gateway: g, url: front.URL}
	response, body := f.do(t, "GET", "/v2/models/silent", issuer.Token("RS256"), "", "")
	checkRefusal(t, response, body, "/v2/models/silent", http.StatusGatewayTimeout, "upstream_timeout")
}

// The issuer does not answer about a token that it has to be asked about.
func TestIssuerCannotBeAsked(t *testing.T) {
	s := newSite(t, policy.Model{Name: "asked", Embedded: "iris", Introspect: true, Allow: policy.Conditions{Roles: []string{"model-api-access"}}})
	s.issuer.SetOutage(true)
	f := &fixture{issuer: s.issuer.Issuer, gateway: s.gateway, url: s.url}
	response, body := f.do(t, "GET", "/v2/models/asked", s.issuer.Token("RS256"), "", "")
	checkRefusal(t, response, body, "/v2/models/asked", http.StatusServiceUnavailable, "introspection_unavailable")
}

// A logout without sid in the very second of a token, and an admin action that comes
// a second time.
func TestIssuerSaysSo(t *testing.T) {
	s := newSite(t)
	f := &fixture{issuer: s.issuer.Issuer, gateway: s.gateway, url: s.url}
	key := s.issuer.Key("RS256")
	for range 10 { // the second may be over before the request comes
		now := time.Now().Unix()
		token := s.issuer.Token("RS256", oidctest.Claims{"iat": now, "auth_time": now, "jti": rand.Text()})
		logout := oidctest.Sign(key, oidctest.Header{"alg": "RS256", "typ": "logout+jwt", "kid": key.ID}, oidctest.Claims{
			"iss": s.issuer.URL, "aud": s.issuer.ClientID, "iat": now, "exp": now + 120, "jti": rand.Text(), "typ": "Logout", "sub": s.issuer.Claims()["sub"],
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		})
		form := url.Values{"logout_token": {logout}}.Encode()
		if response, body := f.do(t, "POST", "/backchannel-logout", "", "application/x-www-form-urlencoded", form); response.StatusCode != http.StatusOK {
			t.Fatalf("logout: %d %s", response.StatusCode, body)
		}
		response, body := f.do(t, "GET", "/v2/models/iris", token, "", "")
		if response.StatusCode == http.StatusOK {
			continue
		}
		checkRefusal(t, response, body, "/v2/models/iris", http.StatusUnauthorized, "logout_just_now")
		break
	}

	now := time.Now().Unix()
	push := oidctest.Sign(key, oidctest.Header{"alg": "RS256", "kid": key.ID}, oidctest.Claims{
		"id": "1", "action": "PUSH_NOT_BEFORE", "resource": s.issuer.Audience, "expiration": now + 30, "notBefore": 1,
	})
	for _, status := range []int{http.StatusNoContent, http.StatusBadRequest} {
		response, body := f.do(t, "POST", "/admin/k_push_not_before", "", "text/plain", push)
		if response.StatusCode != status {
			t.Errorf("push: %d %s, want %d", response.StatusCode, body, status)
		}
	}
}

// What the issuer sends back with a browser, and what it gives for the code.
func TestCallbackRefused(t *testing.T) {
	answers := func(v url.Values) func(*oidctest.Settings) {
		return func(set *oidctest.Settings) { set.Response = v }
	}
	for _, row := range []struct {
		name   string
		set    func(*oidctest.Settings)
		status int
		code   string
	}{
		{"no code", answers(url.Values{"code": nil}), http.StatusBadRequest, "callback_malformed"},
		{"RFC 9207 2.4: another issuer", answers(url.Values{"iss": {"https://evil.example"}}), http.StatusBadRequest, "issuer_mismatch"},
		{"an unknown code", answers(url.Values{"code": {"code-x"}}), http.StatusBadRequest, "code_refused"},
		{"a level that was not reached", answers(url.Values{"code": nil, "error": {"unmet_authentication_requirements"}}), http.StatusForbidden, "level_not_reached"},
		{"OpenID Connect Core 3.1.3.7: another nonce", func(set *oidctest.Settings) { set.ID = oidctest.Claims{"nonce": "x"} }, http.StatusBadGateway, "id_token_refused"},
		{"an access token for another API", func(set *oidctest.Settings) { set.Access = oidctest.Claims{"aud": "account"} }, http.StatusBadGateway, "access_token_refused"},
		{"RFC 9700 2.1.1: an issuer without PKCE", func(set *oidctest.Settings) {
			set.Metadata = oidctest.Claims{"code_challenge_methods_supported": []string{"plain"}}
		}, http.StatusBadGateway, "issuer_unfit"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t)
			s.issuer.Set(row.set)
			s.person().want(row.status, nil, "GET", "/login", "")
			if log := s.log.String(); !strings.Contains(log, `"code":"`+row.code+`"`) {
				t.Errorf("the log lacks %s: %s", row.code, log)
			}
		})
	}
}

// A request of a session that another one refreshes waits for it. Where it ends
// before that, nothing is known of the session.
func TestSessionIsBusy(t *testing.T) {
	s := newSite(t)
	s.issuer.Set(func(set *oidctest.Settings) { set.Lifetime = 10 }) // refreshed by every request
	p := s.person()
	p.signIn()
	get := func(ctx context.Context) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", s.url+"/models/iris", nil)
		r.Header.Set("Accept", "text/html")
		r.AddCookie(p.cookie())
		s.gateway.ServeHTTP(w, r.WithContext(ctx))
		return w
	}
	asked, answer := make(chan bool), make(chan bool)
	s.issuer.Override(func(http.ResponseWriter, *http.Request) {
		asked <- true
		<-answer
	})
	var first sync.WaitGroup
	first.Go(func() { get(t.Context()) })
	<-asked
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if w := get(gone); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "session_store_failed") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	s.issuer.Override(nil)
	close(answer)
	first.Wait()
}
