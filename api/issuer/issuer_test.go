package issuer_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/api/issuer"
)

// TestInternalAddress: only what is below the issuer's URL moves.
func TestInternalAddress(t *testing.T) {
	const public, internal = "https://id.example/realms/a", "http://keycloak:8080/realms/a"
	for _, row := range []struct {
		name, address, want string
	}{
		{"below", public + "/protocol/openid-connect/token", internal + "/protocol/openid-connect/token"},
		{"a realm whose name begins alike", "https://id.example/realms/ab/token", "https://id.example/realms/ab/token"},
		{"a host whose name ends alike", "https://id.example.attacker.example/realms/a/token", "https://id.example.attacker.example/realms/a/token"},
		{"the issuer within another URL", "https://attacker.example/?u=" + public + "/token", "https://attacker.example/?u=" + public + "/token"},
		{"internal already (hostname-backchannel-dynamic)", internal + "/token", internal + "/token"},
		{"another host", "https://other.example/token", "https://other.example/token"},
	} {
		for _, c := range []issuer.Config{{URL: public, InternalURL: internal}, {URL: public, InternalURL: internal + "/"}} {
			if got := issuer.New(c, nil, time.Second).Internal(row.address); got != row.want {
				t.Errorf("%s: %s, want %s", row.name, got, row.want)
			}
		}
		if got := issuer.New(issuer.Config{URL: public}, nil, time.Second).Internal(row.address); got != row.address {
			t.Errorf("%s: without an internal URL: %s", row.name, got)
		}
	}
	got := issuer.New(issuer.Config{URL: public + "/", InternalURL: internal}, nil, time.Second).Internal(public + "/token")
	if got != internal+"/token" {
		t.Errorf("of an issuer that ends with a slash: %s", got)
	}
}

// TestDecode: what encoding/json would read, and another reader would not.
func TestDecode(t *testing.T) {
	type claims struct {
		Session string `json:"sid"`
		Name    string `json:"name,omitempty"`
	}
	for _, row := range []struct {
		name, source, document string
		ok                     bool
	}{
		{"exact names", "RFC 7519, section 4", `{"sid":"a","name":"b"}`, true},
		{"others beside them", "RFC 7519, section 4", `{"sid":"a","Other":1,"other":2}`, true},
		{"absent", "RFC 7519, section 4", `{}`, true},
		{"a duplicate", "RFC 7519, section 4", `{"sid":"a","sid":"b"}`, false},
		{"a duplicate of an unknown member", "RFC 7519, section 4", `{"x":1,"x":2}`, false},
		{"a duplicate further down", "RFC 8259, section 4", `{"x":{"y":1,"y":2}}`, false},
		{"a duplicate by an escape", "RFC 8259, section 8.3", `{"sid":"a","s\u0069d":"b"}`, false},
		{"another case beside it", "encoding/json", `{"sid":"a","SID":"b"}`, false},
		{"another case alone", "encoding/json", `{"Sid":"b"}`, false},
		{"another case by Unicode folding", "encoding/json", `{"ſid":"b"}`, false},
		{"another case of a name with options", "encoding/json", `{"NAME":"b"}`, false},
		{"another type", "RFC 7519, section 4", `{"sid":1}`, false},
		{"not an object", "RFC 7519, section 7.2", `["sid"]`, false},
		{"two documents", "RFC 8259, section 2", `{"sid":"a"}{"sid":"b"}`, false},
		{"bad UTF-8", "RFC 8259, section 8.1", "{\"sid\":\"\xff\"}", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var c claims
			if err := issuer.Decode([]byte(row.document), &c); (err == nil) != row.ok {
				t.Errorf("%v (%s)", err, row.source)
			}
		})
	}
}

// TestMetadata: only a document of the issuer, read strictly, says where to ask.
func TestMetadata(t *testing.T) {
	const url = "https://id.example/realms/a"
	for _, row := range []struct {
		name, source, document string
		ok                     bool
	}{
		{"good", "OpenID Connect Discovery 1.0, section 3", `{"issuer":"` + url + `","jwks_uri":"` + url + `/certs","token_endpoint":"` + url + `/token"}`, true},
		{"another issuer", "section 4.3", `{"issuer":"` + url + `/","jwks_uri":"` + url + `/certs"}`, false},
		{"no issuer", "section 4.3", `{"jwks_uri":"` + url + `/certs"}`, false},
		{"issuer in another case", "encoding/json", `{"Issuer":"` + url + `"}`, false},
		{"a second issuer in another case", "encoding/json", `{"issuer":"` + url + `","ISSUER":"x"}`, false},
		{"a second issuer", "RFC 8259, section 4", `{"issuer":"x","issuer":"` + url + `"}`, false},
		{"token_endpoint in another case", "encoding/json", `{"issuer":"` + url + `","Token_Endpoint":"https://attacker.example/token"}`, false},
		{"a second jwks_uri", "RFC 8259, section 4", `{"issuer":"` + url + `","jwks_uri":"` + url + `/certs","jwks_uri":"https://attacker.example/certs"}`, false},
		{"a file", "section 3", `{"issuer":"` + url + `","jwks_uri":"file:///etc/passwd"}`, false},
		{"a user in an address", "RFC 3986, section 7.5", `{"issuer":"` + url + `","token_endpoint":"https://u:p@id.example/token"}`, false},
		{"no URL", "section 3", `{"issuer":"` + url + `","end_session_endpoint":"://"}`, false},
		{"a page", "section 4.2", `<html>sign in</html>`, false},
		{"empty", "section 4.2", ``, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			i := issuer.New(issuer.Config{URL: url}, answers(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, row.document) }), time.Second)
			m, err := i.Metadata(t.Context())
			var unfit *issuer.UnfitError
			if (err == nil) != row.ok || (m != nil) != row.ok || err != nil && !errors.As(err, &unfit) {
				t.Errorf("%v, %v (%s)", m, err, row.source)
			}
		})
	}
}

// answers is a transport that asks a handler.
type answers http.HandlerFunc

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	a(w, r)
	response := w.Result()
	response.Request = r
	return response, nil
}

// TestMetadataIsKept until somebody finds that it is wrong, and never what failed.
func TestMetadataIsKept(t *testing.T) {
	asked, status := 0, http.StatusOK
	i := issuer.New(issuer.Config{URL: "https://id.example"}, answers(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(status)
		io.WriteString(w, `{"issuer":"https://id.example"}`)
	}), time.Second)
	ask := func(ok bool, want int) {
		t.Helper()
		if _, err := i.Metadata(t.Context()); (err == nil) != ok || asked != want {
			t.Errorf("%v, asked %d times, want %d", err, asked, want)
		}
	}
	status = http.StatusBadGateway
	ask(false, 1)
	status = http.StatusOK
	ask(true, 2)
	ask(true, 2)
	i.Forget()
	ask(true, 3)
}

// TestGrant: what is sent, and what of the answer counts.
func TestGrant(t *testing.T) {
	for _, row := range []struct {
		name, source string
		status       int
		answer       string
		code         string // of the StatusError
		ok           bool
	}{
		{"good", "RFC 6749, section 4.4.3", 200, `{"access_token":"t","id_token":"i","not-before-policy":7}`, "", true},
		{"refused", "RFC 6749, section 5.2", 401, `{"error":"invalid_client","error_description":"s3cret"}`, "invalid_client", false},
		{"refused by a proxy", "RFC 9110, section 15.6", 502, `<html>`, "", false},
		{"no token", "RFC 6749, section 5.1", 200, `{}`, "", false},
		{"two tokens", "RFC 8259, section 4", 200, `{"access_token":"t","access_token":"u"}`, "", false},
		{"another case", "encoding/json", 200, `{"access_token":"t","ACCESS_TOKEN":"u"}`, "", false},
		{"not-before in another case", "encoding/json", 200, `{"access_token":"t","Not-Before-Policy":0}`, "", false},
		{"not-before is no number", "Keycloak", 200, `{"access_token":"t","not-before-policy":"0"}`, "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			i := issuer.New(issuer.Config{URL: "https://id.example"}, answers(func(w http.ResponseWriter, r *http.Request) {
				id, secret, _ := r.BasicAuth()
				if sent := fmt.Sprint(r.Method, r.URL, id, secret, r.PostFormValue("grant_type"), r.PostFormValue("scope")); sent != "POSThttps://id.example/tokena%3Abs3+cretclient_credentialsopenid" {
					t.Errorf("sent %s", sent)
				}
				w.WriteHeader(row.status)
				io.WriteString(w, row.answer)
			}), time.Second)
			g, err := i.Grant(t.Context(), "https://id.example/token", "a:b", "s3 cret", "openid")
			if (err == nil) != row.ok || row.ok && (g.AccessToken != "t" || g.IDToken != "i" || *g.NotBefore != 7) {
				t.Errorf("%v, %v (%s)", g, err, row.source)
			}
			var refused *issuer.StatusError
			if got := errors.As(err, &refused); got != (row.status != 200) || got && (refused.Status != row.status || refused.Code != row.code) {
				t.Errorf("%#v", err)
			}
			if err != nil && strings.Contains(err.Error(), "s3") {
				t.Errorf("the error holds what must not be logged: %v", err)
			}
		})
	}
}

// TestIntrospect: an answer that two readers may take differently is none.
func TestIntrospect(t *testing.T) {
	for _, row := range []struct {
		name, source, answer string
		active, ok           bool
	}{
		{"active", "RFC 7662, section 2.2", `{"active":true,"sub":"a"}`, true, true},
		{"not active", "RFC 7662, section 2.2", `{"active":false}`, false, true},
		{"without active", "RFC 7662, section 2.2", `{"sub":"a"}`, false, false},
		{"active is null", "RFC 7662, section 2.2", `{"active":null}`, false, false},
		{"active is text", "RFC 7662, section 2.2", `{"active":"true"}`, false, false},
		{"active twice", "RFC 8259, section 4", `{"active":true,"active":true}`, false, false},
		{"active in another case", "encoding/json", `{"Active":true}`, false, false},
		{"not active in another case beside it", "encoding/json", `{"active":true,"ACTIVE":false}`, false, false},
		{"a second subject in another case", "encoding/json", `{"active":true,"sub":"a","SUB":"b"}`, false, false},
		{"a second audience in another case", "encoding/json", `{"active":true,"aud":"a","Aud":"b"}`, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := issuer.Config{URL: "https://id.example", ClientID: "api", ClientSecret: "s3cret"}
			i := issuer.New(c, answers(func(w http.ResponseWriter, r *http.Request) {
				if id, secret, _ := r.BasicAuth(); id != "api" || secret != "s3cret" || r.PostFormValue("token") != "t" {
					t.Errorf("sent %s %s %s", id, secret, r.PostFormValue("token"))
				}
				io.WriteString(w, row.answer)
			}), time.Second)
			payload, err := i.Introspect(t.Context(), "https://id.example/introspect", "t")
			if (err == nil) != row.ok || (payload != nil) != row.active {
				t.Errorf("%q, %v (%s)", payload, err, row.source)
			}
		})
	}
}

// TestBounds of a request: no other host gets what is sent, and no answer fills
// the memory.
func TestBounds(t *testing.T) {
	for _, row := range []struct {
		name   string
		answer http.HandlerFunc
		ok     bool
	}{
		{"redirect within the host", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				http.Redirect(w, r, "/moved", http.StatusTemporaryRedirect)
			}
		}, true},
		{"redirect to another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://attacker.example/", http.StatusTemporaryRedirect)
		}, false},
		{"redirect to plain HTTP", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://id.example/", http.StatusTemporaryRedirect)
		}, false},
		{"redirect in circles", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/keys", http.StatusTemporaryRedirect)
		}, false},
		{"more than 1 MiB", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20+1)) }, false},
		{"1 MiB", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			i := issuer.New(issuer.Config{URL: "https://id.example"}, answers(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Scheme+r.URL.Host != "httpsid.example" {
					t.Errorf("%s was asked", r.URL)
				}
				row.answer(w, r)
			}), time.Second)
			if _, err := i.Get(t.Context(), "https://id.example/keys"); (err == nil) != row.ok {
				t.Error(err)
			}
			if _, err := i.Grant(t.Context(), "https://id.example/keys", "a", "b"); !row.ok && err == nil {
				t.Error("a secret went elsewhere")
			}
		})
	}
}

func FuzzMetadata(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"issuer":"https://a","jwks_uri":"https://a/k"}`, `{"issuer":"https://a","jwks_uri":"file:///k"}`,
		`{"issuer":"https://a","jwks_uri":"https://u:p@a/k"}`, `{"issuer":"https://b"}`, `{"issuer":"https://a","issuer":"https://a"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		m, err := issuer.ParseMetadata(document)
		if err == nil && m.JWKS != "" && !strings.HasPrefix(strings.ToLower(m.JWKS), "http") {
			t.Errorf("jwks_uri %q", m.JWKS)
		}
	})
}
