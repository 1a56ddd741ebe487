package bearer_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logoutToken is a logout token as Keycloak makes them, with changes.
func logoutToken(i *oidctest.Issuer, header oidctest.Header, changes ...oidctest.Claims) string {
	key := i.Key("RS256")
	now := time.Now().Unix()
	claims := oidctest.Claims{
		"iss": i.URL, "aud": "my-web-client", "sub": i.Claims()["sub"], "sid": i.Claims()["sid"], "jti": "696079b3", "typ": "Logout",
		"iat": now, "exp": now + 120, "events": map[string]any{logoutEvent: map[string]any{}},
	}
	for _, change := range changes {
		for name, value := range change {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
	}
	h := oidctest.Header{"alg": "RS256", "typ": "logout+jwt", "kid": key.ID}
	for name, value := range header {
		if h[name] = value; value == nil {
			delete(h, name)
		}
	}
	return oidctest.Sign(key, h, claims)
}

// rawLogoutToken is one with text after the opening brace of good claims.
func rawLogoutToken(i *oidctest.Issuer, text string) string {
	good, err := base64.RawURLEncoding.DecodeString(strings.Split(logoutToken(i, nil), ".")[1])
	if err != nil {
		panic(err)
	}
	key := i.Key("RS256")
	return oidctest.Sign(key, oidctest.Header{"alg": "RS256", "typ": "logout+jwt", "kid": key.ID}, json.RawMessage("{"+text+string(good[1:])))
}

func policyClients() []string { return []string{"my-web-client", "other-client"} }

// A callback whose key can't be fetched was not refused: the issuer hears when to
// try again, and then it is carried out.
func TestCallbacksWhileKeysAreUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, nil)
		synctest.Wait()
		issuer.SetKeySet("nothing")
		issuer.Rotate("RS256")
		callbacks := map[string]func() *http.Response{
			"back-channel logout": func() *http.Response {
				return postForm(v.BackchannelLogout(policyClients, nil), url.Values{"logout_token": {logoutToken(issuer, nil)}})
			},
			"not-before": func() *http.Response {
				return post(v.KeycloakNotBefore(issuer.URL, "model-serving-api"), "text/plain", action(issuer, nil))
			},
		}
		for name, send := range callbacks {
			response := send()
			body, err := io.ReadAll(response.Body)
			seconds, retryErr := strconv.Atoi(response.Header.Get("Retry-After"))
			if err != nil || response.StatusCode != 503 || retryErr != nil || seconds < 1 || seconds > 5 || !strings.Contains(string(body), string(bearer.KeyNotChecked)) {
				t.Errorf("%s: %d %s, Retry-After %d", name, response.StatusCode, body, seconds)
			}
		}
		issuer.SetKeySet(nil)
		time.Sleep(5 * time.Second)
		for name, send := range callbacks {
			if got := send().StatusCode; got/100 != 2 {
				t.Errorf("%s: %d when it is tried again", name, got)
			}
		}
	})
}

// postForm sends a form to a handler and returns the answer.
func postForm(h http.Handler, form url.Values) *http.Response {
	return post(h, "application/x-www-form-urlencoded", form.Encode())
}

func post(h http.Handler, contentType, body string) *http.Response {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// OpenID Connect Back-Channel Logout 1.0, section 2.6, one row for each rule.
func TestLogoutTokens(t *testing.T) {
	issuer := newIssuer()
	stranger := oidctest.New("https://id.example/realms/other-realm")
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for _, row := range []struct {
		name   string
		token  string
		status int
	}{
		{"as Keycloak sends it", logoutToken(issuer, nil), 200},
		{"aud is an array with one of the policy's clients", logoutToken(issuer, nil, oidctest.Claims{"aud": []string{"x", "other-client"}}), 200},
		{"sid alone", logoutToken(issuer, nil, oidctest.Claims{"sub": nil}), 200},
		{"sub alone", logoutToken(issuer, nil, oidctest.Claims{"sid": nil}), 200},

		{"2.4: neither sub nor sid", logoutToken(issuer, nil, oidctest.Claims{"sub": nil, "sid": nil}), 400},
		{"2.4: a nonce", logoutToken(issuer, nil, oidctest.Claims{"nonce": "n"}), 400},
		{"2.4: no events", logoutToken(issuer, nil, oidctest.Claims{"events": nil}), 400},
		{"2.4: another event", logoutToken(issuer, nil, oidctest.Claims{"events": map[string]any{"x": map[string]any{}}}), 400},
		{"2.4: the event is no object", logoutToken(issuer, nil, oidctest.Claims{"events": map[string]any{logoutEvent: true}}), 400},
		{"2.4: the event is null", logoutToken(issuer, nil, oidctest.Claims{"events": map[string]any{logoutEvent: nil}}), 400},
		{"2.4: no jti", logoutToken(issuer, nil, oidctest.Claims{"jti": nil}), 400},
		{"2.4: no iat", logoutToken(issuer, nil, oidctest.Claims{"iat": nil}), 400},
		{"2.4: no exp", logoutToken(issuer, nil, oidctest.Claims{"exp": nil}), 400},
		{"2.6: aud of no client of the policy", logoutToken(issuer, nil, oidctest.Claims{"aud": "unknown"}), 400},
		{"2.6: no aud", logoutToken(issuer, nil, oidctest.Claims{"aud": nil}), 400},
		{"2.6: expired", logoutToken(issuer, nil, oidctest.Claims{"exp": at(-time.Minute)}), 400},
		{"2.6: iat too long ago", logoutToken(issuer, nil, oidctest.Claims{"iat": at(-time.Hour)}), 400},
		{"2.6: iat in the future", logoutToken(issuer, nil, oidctest.Claims{"iat": at(time.Hour)}), 400},
		{"2.6: another issuer", logoutToken(issuer, nil, oidctest.Claims{"iss": "https://id.example/realms/x"}), 400},
		{"2.6: key of another realm", logoutToken(stranger, nil, oidctest.Claims{"iss": issuer.URL}), 400},
		{"2.6: signature", logoutToken(issuer, nil)[:len(logoutToken(issuer, nil))-8], 400},
		{"2.6: alg none", logoutToken(issuer, oidctest.Header{"alg": "none"}), 400},
		{"RFC 8725 3.11: no header typ, as signed user info may have none", logoutToken(issuer, oidctest.Header{"typ": nil}), 400},
		{"RFC 8259 4: sid twice", rawLogoutToken(issuer, `"sid":"other",`), 400},
		{"SID beside sid", logoutToken(issuer, nil, oidctest.Claims{"SID": "other"}), 400},
		{"ISS alone", logoutToken(issuer, nil, oidctest.Claims{"iss": nil, "ISS": issuer.URL}), 400},
		{"sub is a number", logoutToken(issuer, nil, oidctest.Claims{"sub": 1}), 400},
		{"RFC 8725 3.11: header typ JWT", logoutToken(issuer, oidctest.Header{"typ": "JWT"}), 400},
		{"RFC 8725 3.12: an access token", issuer.Token("RS256"), 400},
		{"RFC 8725 3.12: an ID token with the event", logoutToken(issuer, nil, oidctest.Claims{"typ": "ID"}), 400},
		{"no token", "", 400},
		{"100,000 dots", strings.Repeat(".", 100_000), 400},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := newVerifier(t, issuer, nil)
			// Before the rows were made, however slowly they run.
			token := issuer.Token("RS256", oidctest.Claims{"iat": time.Now().Unix() - 20})
			response := postForm(v.BackchannelLogout(policyClients, nil), url.Values{"logout_token": {row.token}})
			if response.StatusCode != row.status || response.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("answer %d, %v, want %d", response.StatusCode, response.Header, row.status)
			}
			_, err := v.Check(request(token))
			if revoked := code(err) == bearer.TokenRevoked; revoked != (row.status == 200) {
				t.Errorf("the access token: %v", err)
			}
		})
	}
}

func TestLogoutRequests(t *testing.T) {
	issuer := newIssuer()
	v := newVerifier(t, issuer, nil)
	h := v.BackchannelLogout(policyClients, nil)
	token := logoutToken(issuer, nil)
	if got := post(h, "application/json", `{"logout_token":"`+token+`"}`).StatusCode; got != 400 {
		t.Errorf("JSON: %d", got)
	}
	if got := postForm(h, url.Values{"logout_token": {token, token}}).StatusCode; got != 400 {
		t.Errorf("two tokens: %d", got)
	}
	if got := postForm(h, url.Values{"logout_token": {token}, "x": {strings.Repeat("x", 1<<20)}}).StatusCode; got != 400 {
		t.Errorf("1 MiB: %d", got)
	}
	r := httptest.NewRequest("POST", "/?logout_token="+token, nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 400 {
		t.Errorf("token in the query: %d", w.Code)
	}
	w = httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil)); w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d, %v", w.Code, w.Header())
	}
	if _, err := v.Check(request(issuer.Token("RS256"))); err != nil {
		t.Errorf("none of them may have an effect: %v", err)
	}
}

// What a logout ends, and what it must leave alone.
func TestLogoutReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, nil)
		var heard []bearer.Logout
		h := v.BackchannelLogout(policyClients, func(_ context.Context, l bearer.Logout) error {
			heard = append(heard, l)
			return nil
		})
		old, otherSession := issuer.Token("RS256"), issuer.Token("RS256", oidctest.Claims{"sid": "other"})
		otherUser := issuer.Token("RS256", oidctest.Claims{"sub": "other", "sid": "third"})
		check := func(name, token string, want bearer.Code) {
			t.Helper()
			if _, err := v.Check(request(token)); code(err) != want {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		check("before, and now cached", old, "")
		time.Sleep(10 * time.Second)
		logout := logoutToken(issuer, nil)
		postForm(h, url.Values{"logout_token": {logout}})
		check("of the session", old, bearer.TokenRevoked)
		check("of another session", otherSession, "")
		time.Sleep(time.Second)
		offline := issuer.Token("RS256")
		check("issued later to an offline session, which keeps its sid", offline, "")
		postForm(h, url.Values{"logout_token": {logout}})
		check("after a replay of the logout token", offline, "")
		postForm(h, url.Values{"logout_token": {logoutToken(issuer, nil, oidctest.Claims{"sid": nil})}})
		check("of the user's other session", otherSession, bearer.TokenRevoked)
		check("of another user", otherUser, "")
		if len(heard) != 3 || heard[0].SessionID != "yN3bqkT0a8rD5sWm2xQvJ7Lc" || heard[2].SessionID != "" || heard[2].Subject == "" {
			t.Errorf("heard %+v", heard)
		}
	})
}

// What one issuer says is about its own tokens, though another has given the
// same sub and sid.
func TestRevocationOfOneIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newIssuer(), oidctest.New("https://id.example/realms/other-realm")
		v := newVerifier(t, one, func(c *bearer.Config) {
			c.Issuers = append(c.Issuers, bearer.Issuer{URL: two.URL})
			c.HTTPClient = oidctest.Client(one, two)
		})
		synctest.Wait()
		ofOne, ofTwo := one.Token("RS256"), two.Token("RS256")
		check := func(name, token string, want bearer.Code) {
			t.Helper()
			if _, err := v.Check(request(token)); code(err) != want {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		time.Sleep(2 * time.Second)
		logouts := v.BackchannelLogout(policyClients, nil)
		if got := postForm(logouts, url.Values{"logout_token": {logoutToken(two, nil, oidctest.Claims{"iss": one.URL})}}).StatusCode; got != 400 {
			t.Errorf("logout of one, signed by two: %d", got)
		}
		if got := post(v.KeycloakNotBefore(one.URL, one.Audience), "text/plain", action(two, nil)).StatusCode; got != 400 {
			t.Errorf("not-before of one, signed by two: %d", got)
		}
		check("of one, untouched", ofOne, "")
		for _, changes := range []oidctest.Claims{nil, {"sid": nil}} {
			if got := postForm(logouts, url.Values{"logout_token": {logoutToken(one, nil, changes)}}).StatusCode; got != 200 {
				t.Errorf("logout of one: %d", got)
			}
		}
		if got := post(v.KeycloakNotBefore(one.URL, one.Audience), "text/plain", action(one, nil)).StatusCode; got != 204 {
			t.Errorf("not-before of one: %d", got)
		}
		check("of one", ofOne, bearer.TokenRevoked)
		check("of two", ofTwo, "")
	})
}

// Back-Channel Logout 1.0, section 2.8: the issuer hears of a failure. Our own
// part is done all the same.
func TestLogoutHookFails(t *testing.T) {
	issuer := newIssuer()
	v := newVerifier(t, issuer, nil)
	token := issuer.Token("RS256") // not of the second after
	h := v.BackchannelLogout(policyClients, func(context.Context, bearer.Logout) error { return errors.New("store is down") })
	if got := postForm(h, url.Values{"logout_token": {logoutToken(issuer, nil)}}).StatusCode; got != 400 {
		t.Errorf("status %d", got)
	}
	if _, err := v.Check(request(token)); code(err) != bearer.TokenRevoked {
		t.Errorf("the access token: %v", err)
	}
}

// action is an admin action as Keycloak signs them, with changes.
func action(i *oidctest.Issuer, changes oidctest.Claims) string {
	key := i.Key("RS256")
	now := time.Now().Unix()
	claims := oidctest.Claims{
		"id": "6602180d-1795318655175", "expiration": now + 30, "resource": i.Audience, "action": "PUSH_NOT_BEFORE", "notBefore": now,
	}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return oidctest.Sign(key, oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": key.ID}, claims)
}

func TestAdminCallbacks(t *testing.T) {
	const plain = "text/plain; charset=ISO-8859-1"
	issuer, stranger := newIssuer(), oidctest.New("https://id.example/realms/other-realm")
	logout := oidctest.Claims{"action": "LOGOUT"}
	sessions := oidctest.Claims{"action": "LOGOUT", "notBefore": 0, "keycloakSessionIds": []any{issuer.Claims()["sid"]}}
	for _, row := range []struct {
		name, path, token, contentType string
		status                         int
		revoked                        bool
	}{
		{"k_push_not_before", "push", action(issuer, nil), plain, 204, true},
		{"k_logout of everybody", "logout", action(issuer, logout), plain, 204, true},
		{"k_logout of sessions", "logout", action(issuer, sessions), plain, 204, true},
		{"not-before of long ago", "push", action(issuer, oidctest.Claims{"notBefore": 1}), plain, 204, false},
		{"not-before 0, taken back", "push", action(issuer, oidctest.Claims{"notBefore": 0}), plain, 204, false},
		{"of another client", "push", action(issuer, oidctest.Claims{"resource": "other"}), plain, 400, false},
		{"expired", "push", action(issuer, oidctest.Claims{"expiration": time.Now().Unix() - 60}), plain, 400, false},
		{"without expiration", "push", action(issuer, oidctest.Claims{"expiration": 0}), plain, 400, false},
		{"of the other kind", "logout", action(issuer, nil), plain, 400, false},
		{"of another realm's key", "push", action(stranger, nil), plain, 400, false},
		{"RFC 8725 3.12: an access token with mapped claims", "push", issuer.Token("RS256", oidctest.Claims{
			"action": "PUSH_NOT_BEFORE", "resource": issuer.Audience, "notBefore": time.Now().Unix(), "expiration": time.Now().Unix() + 30}), plain, 400, false},
		{"an access token", "push", issuer.Token("RS256"), plain, 400, false},
		{"ISS: null beside all members", "push", oidctest.Sign(issuer.Key("RS256"), oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": issuer.Key("RS256").ID}, json.RawMessage(fmt.Sprintf(
			`{"id":"1","action":"PUSH_NOT_BEFORE","resource":%q,"notBefore":%d,"expiration":%d,"ISS":null}`, issuer.Audience, time.Now().Unix(), time.Now().Unix()+30))), plain, 400, false},
		{"RFC 8725 3.12: an ID token", "push", action(issuer, oidctest.Claims{"iss": issuer.URL, "aud": "my-web-client", "typ": "ID", "iat": 1, "exp": 1 << 40}), plain, 400, false},
		{"RFC 8725 3.12: signed user info with mapped claims", "push", action(issuer, oidctest.Claims{"sub": "alice"}), plain, 400, false},
		{"RFC 8725 3.12: a JARM response with mapped claims", "push", action(issuer, oidctest.Claims{"iss": issuer.URL, "aud": "my-web-client", "exp": 1 << 40, "code": "c", "state": "s"}), plain, 400, false},
		{"RFC 8725 3.12: a logout token with mapped claims", "logout", logoutToken(issuer, nil, oidctest.Claims{
			"id": "1", "action": "LOGOUT", "resource": issuer.Audience, "notBefore": time.Now().Unix(), "expiration": time.Now().Unix() + 30}), plain, 400, false},
		{"jti beside all members", "push", action(issuer, oidctest.Claims{"jti": "1"}), plain, 400, false},
		{"azp beside all members", "push", action(issuer, oidctest.Claims{"azp": "my-web-client"}), plain, 400, false},
		{"scope beside all members", "push", action(issuer, oidctest.Claims{"scope": ""}), plain, 400, false},
		{"iat beside all members", "push", action(issuer, oidctest.Claims{"iat": 1}), plain, 400, false},
		{"exp beside all members", "push", action(issuer, oidctest.Claims{"exp": 1 << 40}), plain, 400, false},
		{"typ beside all members", "push", action(issuer, oidctest.Claims{"typ": "Bearer"}), plain, 400, false},
		{"Action beside action", "push", action(issuer, oidctest.Claims{"Action": "PUSH_NOT_BEFORE"}), plain, 400, false},
		{"NotBefore for notBefore", "push", action(issuer, oidctest.Claims{"notBefore": nil, "NotBefore": time.Now().Unix()}), plain, 400, false},
		{"sessions in a push", "push", action(issuer, oidctest.Claims{"keycloakSessionIds": []any{"x"}}), plain, 400, false},
		{"action twice", "push", oidctest.Sign(issuer.Key("RS256"), oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": issuer.Key("RS256").ID}, json.RawMessage(fmt.Sprintf(
			`{"id":"1","action":"LOGOUT","action":"PUSH_NOT_BEFORE","resource":%q,"notBefore":%d,"expiration":%d}`, issuer.Audience, time.Now().Unix(), time.Now().Unix()+30))), plain, 400, false},
		{"without id", "push", action(issuer, oidctest.Claims{"id": nil}), plain, 400, false},
		{"empty id", "push", action(issuer, oidctest.Claims{"id": ""}), plain, 400, false},
		{"without notBefore", "push", action(issuer, oidctest.Claims{"notBefore": nil}), plain, 400, false},
		{"5 minutes ahead, and the skew", "push", action(issuer, oidctest.Claims{"expiration": time.Now().Unix() + 325}), plain, 204, true},
		{"further ahead", "push", action(issuer, oidctest.Claims{"expiration": time.Now().Unix() + 400}), plain, 400, false},
		{"expiration is a string", "push", action(issuer, oidctest.Claims{"expiration": "99999999999"}), plain, 400, false},
		{"a form", "push", action(issuer, nil), "application/x-www-form-urlencoded", 400, false},
		{"nothing", "push", "", plain, 400, false},
		{"1 MiB", "push", strings.Repeat("x", 1<<20), plain, 400, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := newVerifier(t, issuer, nil)
			old := issuer.Token("RS256", oidctest.Claims{"iat": time.Now().Unix() - 10})
			h := map[string]http.Handler{"push": v.KeycloakNotBefore(issuer.URL, issuer.Audience), "logout": v.KeycloakLogout(issuer.URL, issuer.Audience)}[row.path]
			if got := post(h, row.contentType, row.token).StatusCode; got != row.status {
				t.Errorf("status %d, want %d", got, row.status)
			}
			_, err := v.Check(request(old))
			if (code(err) == bearer.TokenRevoked) != row.revoked {
				t.Errorf("the access token: %v", err)
			}
			if row.name == "k_push_not_before" {
				// Keycloak refuses what is older than its not-before, not what
				// is of the same second.
				if _, err := v.Check(request(issuer.Token("RS256", oidctest.Claims{"iat": time.Now().Unix() + 1}))); err != nil {
					t.Errorf("a new token: %v", err)
				}
			}
		})
	}
}

// An action is carried out once, however long it can still be sent, and an
// earlier not-before takes nothing back. The clock steps don't make us forget.
func TestAdminActionOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		var offset atomic.Int64
		v := newVerifier(t, issuer, func(c *bearer.Config) {
			c.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		})
		synctest.Wait()
		old := issuer.Token("RS256")
		time.Sleep(10 * time.Second)
		push := v.KeycloakNotBefore(issuer.URL, issuer.Audience)
		once := action(issuer, oidctest.Claims{"id": "1", "expiration": time.Now().Unix() + 300})
		answers := func(token string) string {
			response := post(push, "text/plain", token)
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(response.StatusCode, " ", string(body))
		}
		if got := answers(once); got != "204 " {
			t.Errorf("the first time: %s", got)
		}
		time.Sleep(4 * time.Minute)
		if got := answers(once); !strings.Contains(got, "400 ") || !strings.Contains(got, "action_repeated") {
			t.Errorf("the second time: %s", got)
		}
		offset.Store(int64(25 * time.Hour))
		answers(action(issuer, oidctest.Claims{"id": "2", "expiration": time.Now().Add(25 * time.Hour).Unix()}))
		offset.Store(0)
		if got := answers(once); !strings.Contains(got, "action_repeated") {
			t.Errorf("after the clock went ahead and back: %s", got)
		}
		if got := answers(action(issuer, oidctest.Claims{"id": "3", "notBefore": 1})); got != "204 " {
			t.Errorf("an earlier not-before: %s", got)
		}
		if _, err := v.Check(request(old)); code(err) != bearer.TokenRevoked {
			t.Errorf("the access token after an earlier not-before: %v", err)
		}
	})
}

// A login in the very second of a logout that has no `sid` is refused for a
// second, and no longer. What is older by its own `auth_time` stays refused.
func TestLoginInTheSecondOfALogout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, nil)
		synctest.Wait()
		now := time.Now().Unix()
		before := issuer.Token("RS256", oidctest.Claims{"iat": now - 1, "auth_time": now - 1})
		older := issuer.Token("RS256", oidctest.Claims{"auth_time": now - 1, "jti": "refreshed"})
		login := issuer.Token("RS256", oidctest.Claims{"auth_time": now, "sid": "new"})
		cached := issuer.Token("RS256", oidctest.Claims{"auth_time": nil, "sid": "newer"})
		check := func(name, token string, want bearer.Code) {
			t.Helper()
			if _, err := v.Check(request(token)); code(err) != want {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		check("cached", cached, "")
		logout := logoutToken(issuer, nil, oidctest.Claims{"sid": nil})
		h := v.BackchannelLogout(policyClients, nil)
		postForm(h, url.Values{"logout_token": {logout}})
		check("a token of before", before, bearer.TokenRevoked)
		check("a token of that second, of a session of before", older, bearer.TokenRevoked)
		check("a login of that second", login, bearer.LogoutJustNow)
		check("a cached token of that second", cached, bearer.LogoutJustNow)
		_, err := v.Check(request(login))
		refused, _ := errors.AsType[*bearer.Error](err)
		w := httptest.NewRecorder()
		v.WriteChallenge(w, refused)
		if refused.Status != 401 || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Header().Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("status %d, %v", refused.Status, w.Header())
		}
		time.Sleep(time.Second)
		postForm(h, url.Values{"logout_token": {logout}})
		check("the login, a second later, the logout replayed", login, "")
		check("the cached one", cached, "")
		check("the token of before", before, bearer.TokenRevoked)
		check("the one of a session of before", older, bearer.TokenRevoked)
	})
}

// A logout stays in force though the clock goes ahead by more than any token
// lives and back (golang/go#24595 for the suspend, which looks the same).
func TestStepsForgetNoLogout(t *testing.T) {
	for _, claims := range []oidctest.Claims{nil, {"sid": nil}} {
		synctest.Test(t, func(t *testing.T) {
			issuer := newIssuer()
			var offset atomic.Int64
			v := newVerifier(t, issuer, func(c *bearer.Config) {
				c.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
			})
			synctest.Wait()
			token := issuer.Token("RS256")
			time.Sleep(time.Second)
			h := v.BackchannelLogout(policyClients, nil)
			postForm(h, url.Values{"logout_token": {logoutToken(issuer, nil, claims)}})
			for _, step := range []time.Duration{25 * time.Hour, -25 * time.Hour} {
				offset.Store(int64(step))
				for n := range 1000 { // in every part of the list something is written
					err := v.Revoke(t.Context(), bearer.Revocation{Issuer: issuer.URL, Session: fmt.Sprint(step, n), UpTo: time.Now().Add(step)})
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			offset.Store(0)
			if _, err := v.Check(request(token)); code(err) != bearer.TokenRevoked {
				t.Errorf("%v: %v", claims, err)
			}
		})
	}
}

// One user's logouts don't fill the deny list for others (CWE-770): they end as
// one entry for all of that user's tokens.
func TestLogoutsOfOneUserAreJoined(t *testing.T) {
	issuer := newIssuer()
	issuer.Key("EdDSA")
	v := newVerifier(t, issuer, func(c *bearer.Config) { c.LimitRevocations(64 * 100) })
	now := time.Now().Unix()
	of := func(subject, sid string, iat int64) string {
		return issuer.Token("EdDSA", oidctest.Claims{"sub": subject, "sid": sid, "iat": iat, "exp": now + 3600})
	}
	logout := func(subject, sid string, iat int64) {
		t.Helper()
		key := issuer.Key("EdDSA")
		token := oidctest.Sign(key, oidctest.Header{"alg": "EdDSA", "typ": "logout+jwt", "kid": key.ID}, oidctest.Claims{
			"iss": issuer.URL, "aud": "my-web-client", "sub": subject, "sid": sid, "jti": sid, "iat": iat, "exp": now + 120, "events": map[string]any{logoutEvent: map[string]any{}},
		})
		if got := postForm(v.BackchannelLogout(policyClients, nil), url.Values{"logout_token": {token}}).StatusCode; got != 200 {
			t.Fatalf("logout: %d", got)
		}
	}
	logout("alice", "of-alice", now-100)
	for n := range 4000 {
		logout("flooder", fmt.Sprint("session-", n), now-60)
	}
	for name, row := range map[string]struct {
		token string
		want  bearer.Code
	}{
		"the other user's ended session":  {of("alice", "of-alice", now-100), bearer.TokenRevoked},
		"her other session":               {of("alice", "other", now-100), ""},
		"another user's, far older":       {of("bob", "of-bob", now-200), ""},
		"the flooder's first session":     {of("flooder", "session-0", now-60), bearer.TokenRevoked},
		"the flooder's last session":      {of("flooder", "session-3999", now-60), bearer.TokenRevoked},
		"a session the flooder still has": {of("flooder", "living", now-60), bearer.TokenRevoked},
		"the flooder's next token":        {of("flooder", "living", now-59), ""},
	} {
		if _, err := v.Check(request(row.token)); code(err) != row.want {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
}

// What an issuer revokes stays revoked though its clock is ahead of ours, within
// the skew.
func TestAdminCallbacksOfAnIssuerAhead(t *testing.T) {
	issuer := newIssuer()
	then := time.Now().Unix() + 20
	old := issuer.Token("RS256", oidctest.Claims{"iat": then})
	for name, action := range map[string]string{
		"everybody": action(issuer, oidctest.Claims{"action": "LOGOUT", "notBefore": then + 1, "expiration": then + 31}),
		"a session": action(issuer, oidctest.Claims{
			"action": "LOGOUT", "notBefore": 0, "expiration": then + 31, "keycloakSessionIds": []any{issuer.Claims()["sid"]},
		}),
	} {
		t.Run(name, func(t *testing.T) {
			v := newVerifier(t, issuer, nil)
			if _, err := v.Check(request(old)); err != nil {
				t.Fatal(err)
			}
			if got := post(v.KeycloakLogout(issuer.URL, issuer.Audience), "text/plain", action).StatusCode; got != 204 {
				t.Errorf("status %d", got)
			}
			if _, err := v.Check(request(old)); code(err) != bearer.TokenRevoked {
				t.Errorf("the access token: %v", err)
			}
		})
	}
}

// withCredentials gives the API a client of the issuer.
func withCredentials(c *bearer.Config) {
	c.Issuers[0].ClientID, c.Issuers[0].ClientSecret = "model-serving-api", "api secret:+"
}

// A push that got lost is made up for by asking, and what was learnt outlives
// an outage.
func TestNotBeforeIsPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		// Its Basic credentials are form-encoded (RFC 6749, section 2.3.1),
		// which the stand-in doesn't undo.
		issuer.Secrets["model-serving-api"] = url.QueryEscape("api secret:+")
		v := newVerifier(t, issuer, withCredentials)
		old := issuer.Token("RS256")
		time.Sleep(5 * time.Second)
		issuer.SetNotBefore(time.Now())
		fresh := issuer.Token("RS256")
		time.Sleep(30 * time.Second)
		check := func(name, token string, want bearer.Code) {
			t.Helper()
			if _, err := v.Check(request(token)); code(err) != want {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		check("after one interval", old, bearer.TokenRevoked)
		check("of the same second", fresh, "")
		issuer.SetOutage(true)
		time.Sleep(time.Minute)
		check("during an outage", old, bearer.TokenRevoked)
		check("during an outage", fresh, "")
		issuer.SetOutage(false)
		issuer.SetNotBefore(time.Now().Add(time.Hour))
		time.Sleep(30 * time.Second)
		check("not-before in the future", fresh, bearer.TokenRevoked)
		issuer.SetNotBefore(time.Unix(0, 0))
		time.Sleep(31 * time.Second)
		check("after it was taken back", issuer.Token("RS256"), "")
	})
}

// A clock that is half a minute off is taken as it is; one that is ten minutes off
// makes the API unready: it would refuse what is good, or let pass what has expired.
func TestClockOfTheIssuer(t *testing.T) {
	for _, test := range []struct {
		name string
		off  time.Duration // our clock's
		want bearer.Code
	}{
		{"half a minute behind", -29 * time.Second, ""},
		{"half a minute ahead", 29 * time.Second, ""},
		{"ten minutes behind: each token would be of the future", -10 * time.Minute, bearer.ClockWrong},
		{"ten minutes ahead: each token would have expired", 10 * time.Minute, bearer.ClockWrong},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := newIssuer()
				issuer.Secrets["model-serving-api"] = url.QueryEscape("api secret:+")
				var off atomic.Int64
				v := newVerifier(t, issuer, func(c *bearer.Config) {
					withCredentials(c)
					c.Now = func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
				})
				token := issuer.Token("RS256", oidctest.Claims{"exp": time.Now().Add(time.Hour).Unix()})
				if _, err := v.Check(request(token)); err != nil {
					t.Fatal(err) // also fills the cache
				}
				off.Store(int64(test.off))
				time.Sleep(31 * time.Second)
				for _, token := range []string{token, issuer.Token("RS256")} {
					if _, err := v.Check(request(token)); code(err) != test.want {
						t.Errorf("got %v, want %q", err, test.want)
					}
				}
				if ready := v.Ready(); (ready == nil) != (test.want == "") {
					t.Errorf("ready: %v", ready)
				}
				off.Store(0)
				time.Sleep(31 * time.Second)
				if _, err := v.Check(request(issuer.Token("RS256"))); err != nil || v.Ready() != nil {
					t.Errorf("set right again: %v, ready: %v", err, v.Ready())
				}
			})
		})
	}
}

// A full deny list gives up entries, never refusals.
func TestDenyListIsBounded(t *testing.T) {
	issuer := newIssuer()
	v := newVerifier(t, issuer, func(c *bearer.Config) { c.LimitRevocations(128) })
	now := time.Now()
	session := func(n int) string { return fmt.Sprint("session-", n) }
	issued := func(n int) time.Time { return now.Add(time.Duration(n-3000) * time.Second / 10) }
	for n := range 3000 {
		if err := v.Revoke(t.Context(), bearer.Revocation{Issuer: issuer.URL, Session: session(n), UpTo: issued(n)}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3000 {
		token := issuer.Token("RS256", oidctest.Claims{"sid": session(n), "iat": issued(n).Unix()})
		if _, err := v.Check(request(token)); code(err) != bearer.TokenRevoked {
			t.Fatalf("session %d: %v", n, err)
		}
	}
	if _, err := v.Check(request(issuer.Token("RS256", oidctest.Claims{"iat": now.Unix() + 1}))); err != nil {
		t.Errorf("a new token: %v", err)
	}
}

// A logout token that is signed by a new key ends its session: the key is fetched
// for it, though its claims are those of no access token. Before the first fetch
// every key is new.
func TestLogoutByANewKey(t *testing.T) {
	for name, wait := range map[string]bool{"before the first fetch": false, "after a rotation": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := newIssuer()
				v := newVerifier(t, issuer, nil)
				if wait {
					synctest.Wait()
					issuer.Rotate("RS256")
				}
				if got := postForm(v.BackchannelLogout(policyClients, nil), url.Values{"logout_token": {logoutToken(issuer, nil)}}).StatusCode; got != 200 {
					t.Errorf("%d, want 200", got)
				}
			})
		})
	}
}
