package gateway

import (
	"bufio"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"keycloak-model-api/api/login"
	"keycloak-model-api/api/observe"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

const inferIris = "/v2/models/iris/infer"

// Each token that is not a valid access token of this realm for this API is
// refused with 401, its code, and a challenge (RFC 6750, section 3).
func TestTokenRefused(t *testing.T) {
	f := newFixture(t)
	other := oidctest.Start()
	defer other.Close()
	i := f.issuer
	key := i.Key("RS256")
	now := time.Now().Unix()
	sign := func(header oidctest.Header, signer *oidctest.Key, changes ...oidctest.Claims) string {
		full := oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": key.ID}
		for name, value := range header {
			full[name] = value
		}
		return oidctest.Sign(signer, full, i.Claims(changes...))
	}
	publicDER, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER})
	valid := i.Token("RS256")
	parts := strings.Split(valid, ".")
	encode := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}

	tests := []struct{ name, token, code string }{
		{"RFC 7519 4.1.4: expired", i.Token("RS256", oidctest.Claims{"iat": now - 600, "exp": now - 300}), "token_expired"},
		{"RFC 7519 4.1.5: not yet valid", i.Token("RS256", oidctest.Claims{"nbf": now + 300}), "token_not_yet_valid"},
		{"issued in the far future", i.Token("RS256", oidctest.Claims{"iat": now + 3600, "exp": now + 7200}), "issued_in_future"},
		{"tampered claims", parts[0] + "." + encode(i.Claims(oidctest.Claims{"sub": "admin"})) + "." + parts[2], "signature_invalid"},
		{"signed by a key of one's own under a known kid", sign(nil, oidctest.NewKey(key.ID, "RS256")), "signature_invalid"},
		{"RFC 8725 2.1: alg none", encode(oidctest.Header{"alg": "none", "typ": "JWT"}) + "." + parts[1] + ".", "algorithm_refused"},
		{"RFC 8725 2.1: HS256 with the client secret", sign(oidctest.Header{"alg": "HS256"}, &oidctest.Key{Private: []byte("client-secret")}), "algorithm_refused"},
		{"CVE-2015-9235: HS256 with the public key", sign(oidctest.Header{"alg": "HS256"}, &oidctest.Key{Private: publicPEM}), "algorithm_refused"},
		{"RFC 8725 3.11: ID token", i.Token("RS256", oidctest.Claims{"typ": "ID", "aud": i.Audience}), "token_type_wrong"},
		{"refresh token", i.Token("RS256", oidctest.Claims{"typ": "Refresh"}), "token_type_wrong"},
		{"logout token", i.Token("RS256", oidctest.Claims{"typ": "Logout"}), "token_type_wrong"},
		{"RFC 8725 3.9: audience of another API", i.Token("RS256", oidctest.Claims{"aud": "account"}), "audience_wrong"},
		{"no audience", i.Token("RS256", oidctest.Claims{"aud": nil}), "audience_wrong"},
		{"no subject", i.Token("RS256", oidctest.Claims{"sub": nil}), "subject_missing"},
		{"RFC 9449 7.2: bound token as Bearer", i.Token("RS256", oidctest.Claims{"cnf": map[string]any{"jkt": "x"}}), "sender_constraint"},
		{"token of another realm", other.Token("RS256"), "issuer_unknown"},
		{"key of another realm under our issuer", oidctest.Sign(other.Key("RS256"), oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": "foreign"}, i.Claims()), "key_unknown"},
		{"not a token", "opaque", "token_malformed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, path := range []string{inferIris, "/somewhere"} {
				response, body := f.do(t, "POST", path, test.token, "application/json", irisRow)
				checkRefusal(t, response, body, path, http.StatusUnauthorized, test.code)
				challenge := response.Header.Get("WWW-Authenticate")
				if !strings.HasPrefix(challenge, "Bearer ") || !strings.Contains(challenge, `error="invalid_token"`) {
					t.Errorf("challenge %q", challenge)
				}
			}
			checkNoToken(t, f, test.token)
		})
	}
}

// checkNoToken fails if the log holds the claims or the signature of a token.
func checkNoToken(t *testing.T, f *fixture, token string) {
	t.Helper()
	parts := strings.Split(token, ".")
	for _, part := range parts[1:] {
		if len(part) > 20 && strings.Contains(f.log.String(), part) {
			t.Errorf("the log holds a part of the token: %s", part)
		}
	}
}

// What is wrong with a request beside its token.
func TestRequestRefused(t *testing.T) {
	f := newFixture(t,
		policy.Model{Name: "described", Embedded: "iris", Allow: policy.Conditions{Actions: []string{"metadata"}}},
		policy.Model{Name: "others", Embedded: "iris", Allow: policy.Conditions{Clients: []string{"another-client"}}})
	valid := f.issuer.Token("RS256")
	withoutBase := f.issuer.Token("RS256", oidctest.Claims{"realm_access": map[string]any{"roles": []string{"offline_access"}}})
	clientRole := f.issuer.Token("RS256", oidctest.Claims{
		"realm_access":    nil,
		"resource_access": map[string]any{"model-serving-api": map[string]any{"roles": []string{"model-api-access"}}},
	})
	json, form := "application/json", "application/x-www-form-urlencoded"

	tests := []struct {
		name, method, path, token, contentType, body string
		status                                       int
		code                                         string
	}{
		{"infer without a token", "POST", inferIris, "", json, irisRow, 401, "no_credential"},
		{"server metadata without a token", "GET", "/v2", "", "", "", 401, "no_credential"},
		{"model list without a token", "GET", "/v2/models", "", "", "", 401, "no_credential"},
		{"model metadata without a token", "GET", "/v2/models/iris", "", "", "", 401, "no_credential"},
		{"model readiness without a token", "GET", "/v2/models/iris/ready", "", "", "", 401, "no_credential"},
		{"unknown health path without a token", "GET", "/v2/health/startup", "", "", "", 401, "no_credential"},
		{"unknown path without a token", "GET", "/admin", "", "", "", 401, "no_credential"},
		{"root without a token", "GET", "/", "", "", "", 401, "no_credential"},
		{"wrong method without a token", "DELETE", inferIris, "", "", "", 401, "no_credential"},
		{"RFC 6750 2.3: token in the query", "POST", inferIris + "?access_token=" + valid, "", json, irisRow, 400, "token_in_query"},
		{"RFC 6750 2.2: form body", "POST", inferIris, valid, form, "access_token=" + valid, 400, "form_body"},

		{"no base role", "POST", inferIris, withoutBase, json, irisRow, 403, "role_missing"},
		{"no base role, model list", "GET", "/v2/models", withoutBase, "", "", 403, "role_missing"},
		{"no base role, unknown model", "GET", "/v2/models/none", withoutBase, "", "", 403, "role_missing"},
		{"no base role, unknown path", "GET", "/nothing", withoutBase, "", "", 403, "role_missing"},
		{"a client's role of the base role's name", "POST", inferIris, clientRole, json, irisRow, 403, "role_missing"},

		{"action that the model does not take", "POST", "/v2/models/described/infer", valid, json, irisRow, 403, "action_refused"},
		{"action that the model does not take, wrong method", "DELETE", "/v2/models/described/ready", valid, "", "", 403, "action_refused"},
		{"model of another client", "GET", "/v2/models/others", valid, "", "", 404, "model_unknown"},
		{"unknown model", "POST", "/v2/models/none/infer", valid, json, irisRow, 404, "model_unknown"},
		{"forbidden model", "POST", "/v2/models/forbidden/infer", valid, json, irisRow, 404, "model_unknown"},
		{"forbidden model, metadata", "GET", "/v2/models/forbidden", valid, "", "", 404, "model_unknown"},
		{"forbidden model, readiness", "GET", "/v2/models/forbidden/ready", valid, "", "", 404, "model_unknown"},
		{"forbidden model, wrong method", "DELETE", "/v2/models/forbidden/infer", valid, "", "", 404, "model_unknown"},
		{"name in another case", "POST", "/v2/models/IRIS/infer", valid, json, irisRow, 404, "model_unknown"},
		{"version that the model does not have", "POST", "/v2/models/iris/versions/2/infer", valid, json, irisRow, 404, "model_unknown"},
		{"version of a model of another role", "GET", "/v2/models/forbidden/versions/1", valid, "", "", 404, "model_unknown"},
		{"text of a model that has none", "POST", "/v2/models/iris/generate", valid, json, "{}", 404, "not_found"},
		{"loading a model", "POST", "/v2/repository/models/iris/load", valid, json, "{}", 404, "not_found"},
		{"unloading a model", "POST", "/v2/repository/models/iris/unload", valid, json, "{}", 404, "not_found"},
		{"registering shared memory (Triton)", "POST", "/v2/systemsharedmemory/region/x/register", valid, json, "{}", 404, "not_found"},
		{"index that is asked for something else", "POST", "/v2/repository/index", valid, json, `{"ready":1}`, 400, "body_malformed"},
		{"index that is asked twice", "POST", "/v2/repository/index", valid, json, `{"ready":true,"ready":false}`, 400, "body_malformed"},
		{"unknown path", "GET", "/v3", valid, "", "", 404, "not_found"},
		{"root", "GET", "/", valid, "", "", 404, "not_found"},

		{"GET of infer", "GET", inferIris, valid, "", "", 405, "method_not_allowed"},
		{"POST of metadata", "POST", "/v2/models/iris", valid, json, "{}", 405, "method_not_allowed"},
		{"POST of health", "POST", "/v2/health/live", "", json, "{}", 405, "method_not_allowed"},
		{"POST of healthz", "POST", "/healthz", "", json, "{}", 405, "method_not_allowed"},

		{"text", "POST", inferIris, valid, "text/plain", irisRow, 415, "media_type_unsupported"},
		{"another charset", "POST", inferIris, valid, "application/json; charset=utf-16", irisRow, 415, "media_type_unsupported"},

		{"body one byte too large", "POST", inferIris, valid, json, strings.Repeat(" ", maxBody+1), 413, "body_too_large"},
		{"empty body", "POST", inferIris, valid, json, "", 400, "bad_tensor"},
		{"not JSON", "POST", inferIris, valid, json, "data", 400, "bad_tensor"},
		{"three features", "POST", inferIris, valid, json, `{"inputs":[{"name":"input","shape":[1,3],"datatype":"FP64","data":[1,2,3]}]}`, 400, "bad_tensor"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			response, body := f.do(t, test.method, test.path, test.token, test.contentType, test.body)
			path, _, _ := strings.Cut(test.path, "?")
			checkRefusal(t, response, body, path, test.status, test.code)
			if got := response.Header.Get("Allow"); (got != "") != (test.status == 405) {
				t.Errorf("Allow: %q", got)
			}
			challenge := response.Header.Get("WWW-Authenticate")
			if (test.status == 401) != (challenge != "") && test.status != 400 {
				t.Errorf("challenge %q", challenge)
			}
			if test.code == "no_credential" && strings.Contains(challenge, "error") {
				t.Errorf("RFC 6750, section 3.1: no error without a credential, got %q", challenge)
			}
			if test.token != "" {
				checkNoToken(t, f, test.token)
			}
		})
	}
}

// RFC 6750, section 2: one method of sending the token in a request.
func TestTwoAuthorizationHeaders(t *testing.T) {
	f := newFixture(t)
	r, err := http.NewRequest("GET", f.url+"/v2", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header["Authorization"] = []string{"Bearer " + f.issuer.Token("RS256"), "Bearer x"}
	response, body := send(t, r)
	checkRefusal(t, response, body, "/v2", http.StatusBadRequest, "several_credentials")
}

// RFC 9110, section 15.5.16: a body in an encoding that we don't undo.
func TestContentEncodingRefused(t *testing.T) {
	f := newFixture(t)
	r, err := http.NewRequest("POST", f.url+inferIris, strings.NewReader(irisRow))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+f.issuer.Token("RS256"))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Encoding", "gzip")
	response, body := send(t, r)
	checkRefusal(t, response, body, inferIris, http.StatusUnsupportedMediaType, "encoding_unsupported")
}

// Who may not call a model must not learn that it exists.
func TestForbiddenModelAnswersLikeAnUnknownOne(t *testing.T) {
	f := newFixture(t)
	token := f.issuer.Token("RS256")
	for _, request := range []struct{ method, path string }{
		{"GET", "/v2/models/%s"}, {"GET", "/v2/models/%s/ready"}, {"POST", "/v2/models/%s/infer"}, {"PUT", "/v2/models/%s/infer"},
	} {
		var answers [2]string
		for i, name := range []string{"unknown", "forbidden"} {
			response, body := f.do(t, request.method, fmt.Sprintf(request.path, name), token, "", "")
			response.Header.Del("X-Request-Id")
			response.Header.Del("Date")
			answers[i] = fmt.Sprint(response.StatusCode, response.Header, body)
		}
		if answers[0] != answers[1] {
			t.Errorf("%s %s:\n unknown   %s\n forbidden %s", request.method, request.path, answers[0], answers[1])
		}
	}
}

// A key that the issuer could not be asked about is no verdict on the token,
// and no failure of this API: anybody can make up key ids.
func TestKeyNotChecked(t *testing.T) {
	f := newFixture(t)
	known := f.issuer.Token("RS256")
	if response, _ := f.do(t, "POST", inferIris, known, "application/json", irisRow); response.StatusCode != http.StatusOK {
		t.Fatalf("a known key: %s", response.Status)
	}
	f.issuer.SetOutage(true)
	f.issuer.Rotate("RS256")
	response, body := f.do(t, "POST", inferIris, f.issuer.Token("RS256"), "application/json", irisRow)
	checkRefusal(t, response, body, inferIris, http.StatusServiceUnavailable, "key_not_checked")
	if wait, err := strconv.Atoi(response.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 5 || len(response.Header.Values("Retry-After")) != 1 {
		t.Errorf("Retry-After: %q, want 1 to 5 seconds", response.Header.Values("Retry-After"))
	}
	for _, path := range []string{"/readyz", "/v2/health/ready"} {
		if response, _ := f.do(t, "GET", path, "", "", ""); response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
	if response, _ := f.do(t, "POST", inferIris, known, "application/json", irisRow); response.StatusCode != http.StatusOK {
		t.Errorf("a known key afterwards: %s", response.Status)
	}
}

// An issuer that can't be asked is neither the caller's fault nor a reason to
// let the caller in.
func TestKeysUnavailable(t *testing.T) {
	f := newFixture(t)
	down := oidctest.Start()
	defer down.Close()
	down.SetOutage(true)
	verifier := newVerifier(t, down)
	f.gateway.verifier = verifier

	response, body := f.do(t, "POST", inferIris, down.Token("RS256"), "application/json", irisRow)
	checkRefusal(t, response, body, inferIris, http.StatusServiceUnavailable, "keys_unavailable")
	if response.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	for _, path := range []string{"/readyz", "/v2/health/ready"} {
		response, body = f.do(t, "GET", path, "", "", "")
		checkRefusal(t, response, body, path, http.StatusServiceUnavailable, "keys_unavailable")
		if response.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
	if response, _ := f.do(t, "GET", "/healthz", "", "", ""); response.StatusCode != http.StatusOK {
		t.Errorf("/healthz: %s", response.Status)
	}
	// The infer request is on the record, those of a probe are no alarm.
	if log := f.log.String(); strings.Count(log, `"code":"keys_unavailable"`) != 1 || strings.Contains(log, "/readyz") {
		t.Errorf("the log is\n%s", log)
	}
}

// A caller without a valid token can't make the API wait for a body, whatever
// it is refused for: the body is announced and never sent.
func TestRefusalReadsNoBody(t *testing.T) {
	s := newSite(t)
	ended := "\r\nCookie: " + login.CookieName(s.url) + "=of-a-session-that-ended"
	for _, test := range []struct {
		name, path, header string
		status             int
	}{
		{"no credential", inferIris, "", http.StatusUnauthorized},
		{"bad token", inferIris, "\r\nAuthorization: Bearer x", http.StatusUnauthorized},
		{"asks before it sends", inferIris, "\r\nExpect: 100-continue", http.StatusUnauthorized},
		{"session that ended", inferIris, ended, http.StatusUnauthorized},
		{"two sessions", inferIris, ended + ended, http.StatusBadRequest},
		{"session by another site's page", inferIris, ended + "\r\nSec-Fetch-Site: cross-site", http.StatusForbidden},
		{"path not canonical", "/v2//models", "", http.StatusBadRequest},
		{"method of a public path", "/healthz", "", http.StatusMethodNotAllowed},
		{"method of a page", "/login", "", http.StatusMethodNotAllowed},
		{"sign-out by another site's page", "/logout", "\r\nSec-Fetch-Site: cross-site", http.StatusForbidden},
		{"page without a session", "/models/iris", "", http.StatusUnauthorized},
		{"nothing there", "/nothing", "", http.StatusUnauthorized},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: api%s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n", test.path, test.header)
			if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("no answer while the body is missing: %v", err)
			}
			defer response.Body.Close()
			if response.StatusCode != test.status || !response.Close {
				t.Errorf("got %s, close %v", response.Status, response.Close)
			}
		})
	}
}

// A body that stops on its way is the caller's fault, and the model hears of
// none of it.
func TestBodyThatStops(t *testing.T) {
	f := newFixture(t)
	for _, test := range []struct {
		name, code string
		err        error
		status     int
	}{
		{"breaks off", "body_unreadable", io.ErrUnexpectedEOF, http.StatusBadRequest},
		{"does not go on", "body_too_slow", os.ErrDeadlineExceeded, http.StatusRequestTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", inferIris, io.MultiReader(strings.NewReader("{"), iotest.ErrReader(test.err)))
			r.Header.Set("Authorization", "Bearer "+f.issuer.Token("RS256"))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			f.gateway.ServeHTTP(w, r)
			checkRefusal(t, w.Result(), w.Body.String(), inferIris, test.status, test.code)
		})
	}
}

// An instance that is about to stop, and one that can record nothing, are not
// ready.
func TestNotReady(t *testing.T) {
	f := newFixture(t)
	f.gateway.Drain()
	response, body := f.do(t, "GET", "/readyz", "", "", "")
	checkRefusal(t, response, body, "/readyz", http.StatusServiceUnavailable, "shutting_down")

	f = newFixture(t)
	queue := observe.NewLog(io.Discard, func(uint64) {})
	f.gateway.options.Audit = observe.NewAudit(queue, observe.Refuse, observe.InLog(func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }), time.Now)
	for range 1_000_000 { // until no record has a place any more
		if f.gateway.options.Audit.Admit() != nil {
			break
		}
	}
	response, body = f.do(t, "GET", "/v2", f.issuer.Token("RS256"), "", "")
	checkRefusal(t, response, body, "/v2", http.StatusServiceUnavailable, "audit_unavailable")
	if response.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}
