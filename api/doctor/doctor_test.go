package doctor

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// realm answers as Keycloak does where a fault does not answer instead.
type realm struct {
	*oidctest.Issuer
	url       string
	token     oidctest.Claims // changes to the tokens of service accounts
	redirects []string        // "*" takes all
	pkce      bool
	implicit  bool
	fault     func(w http.ResponseWriter, r *http.Request, path string) bool
}

// newRealm is a realm without a fault. Its URL is as a client sees it.
func newRealm(t *testing.T) *realm {
	t.Helper()
	k := &realm{redirects: []string{"http://127.0.0.1:8000/callback", "http://127.0.0.1:8000/", "http://127.0.0.1/callback"}, pkce: true}
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	k.url = server.URL + "/realms/example-realm"
	k.Issuer = oidctest.New(k.url)
	k.Secrets = map[string]string{"model-serving-api": "s3cret", "my-api-client": "s3cret"}
	k.token = oidctest.Claims{"aud": k.Audience}
	return k
}

func (k *realm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/realms/example-realm")
	query := r.URL.Query()
	taken := func(uri string) bool { return k.redirects[0] == "*" || slices.Contains(k.redirects, uri) }
	back := func(parameters url.Values) {
		http.Redirect(w, r, query.Get("redirect_uri")+"?"+parameters.Encode(), http.StatusFound)
	}
	switch {
	case k.fault != nil && k.fault(w, r, path):
	case path == "/.well-known/openid-configuration":
		answer(w, k.metadata())
	case path == "/protocol/openid-connect/auth":
		switch {
		case !taken(query.Get("redirect_uri")):
			http.Error(w, "Invalid parameter: redirect_uri", http.StatusBadRequest)
		case query.Get("response_type") != "code" && !k.implicit:
			back(url.Values{"error": {"unauthorized_client"}})
		case k.pkce && query.Get("code_challenge_method") != "S256":
			back(url.Values{"error": {"invalid_request"}, "error_description": {"Missing parameter: code_challenge_method"}})
		}
	case path == "/protocol/openid-connect/logout":
		if !taken(query.Get("post_logout_redirect_uri")) {
			http.Error(w, "Invalid redirect uri", http.StatusBadRequest)
		}
	case path == "/protocol/openid-connect/token/introspect":
		answer(w, map[string]bool{"active": true})
	case path == "/protocol/openid-connect/token":
		id, secret, _ := r.BasicAuth()
		if k.Secrets[id] != secret {
			w.WriteHeader(http.StatusUnauthorized)
			answer(w, map[string]string{"error": "unauthorized_client", "error_description": "Invalid client or Invalid client credentials"})
			return
		}
		answer(w, map[string]string{"access_token": k.Token("RS256", oidctest.ServiceAccount(id), k.token)})
	default:
		k.Issuer.ServeHTTP(w, r)
	}
}

func (k *realm) metadata() map[string]any {
	endpoints := k.url + "/protocol/openid-connect"
	return map[string]any{
		"issuer": k.url, "authorization_endpoint": endpoints + "/auth", "token_endpoint": endpoints + "/token",
		"introspection_endpoint": endpoints + "/token/introspect", "end_session_endpoint": endpoints + "/logout",
		"jwks_uri": endpoints + "/certs", "code_challenge_methods_supported": []string{"plain", "S256"}, "backchannel_logout_supported": true,
	}
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// options are of the stack of a realm.
func options(issuer string) Options {
	return Options{PublicURL: "http://127.0.0.1:8000/", Skew: 30 * time.Second, Outputs: &policy.Outputs{
		Issuer: issuer, JWKSURI: issuer + "/protocol/openid-connect/certs", Audience: "model-serving-api",
		ClientID: "model-serving-api", ClientSecret: "s3cret", OIDCClientID: "my-api-client", OIDCClientSecret: "s3cret",
		Policy: &policy.Policy{
			Version: policy.Version, BaseRole: "model-api-access",
			Models: []policy.Model{{Name: "iris", Allow: policy.Conditions{Roles: []string{"model-iris"}}, Embedded: "iris"}},
			Clients: []policy.Client{
				{ClientID: "model-serving-api", Kind: "api"}, {ClientID: "my-api-client", Kind: "web"}, {ClientID: "modelctl", Kind: "cli", Public: true},
			},
		},
	}}
}

// examine returns the findings that are not ok, and what Print says of all.
func examine(t *testing.T, o Options) (bad []Finding, err error) {
	t.Helper()
	all, err := Examine(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = Print(&out, all, true)
	var printed []Finding
	if jsonErr := json.Unmarshal(out.Bytes(), &printed); jsonErr != nil || !slices.Equal(printed, all) {
		t.Fatalf("%v (%v): %s", jsonErr, err, out.String())
	}
	if strings.Contains(out.String(), "s3cret") || strings.Contains(out.String(), "eyJ") {
		t.Errorf("a secret or a token is in the output:\n%s", out.String())
	}
	for _, f := range all {
		if (f.Level == "ok") != (f.Change == "") {
			t.Errorf("%s is %s with the change %q", f.Check, f.Level, f.Change)
		}
		if f.Level != "ok" {
			bad = append(bad, f)
		}
	}
	return bad, err
}

func TestDoctorFindsNothingWrong(t *testing.T) {
	k := newRealm(t)
	bad, err := examine(t, options(k.url))
	if err != nil || len(bad) > 0 {
		t.Errorf("error %v, findings %v", err, bad)
	}
}

func TestDoctorFindsFaults(t *testing.T) {
	// with changes the discovery document.
	with := func(k *realm, changes map[string]any) {
		k.fault = func(w http.ResponseWriter, _ *http.Request, path string) bool {
			if path != "/.well-known/openid-configuration" {
				return false
			}
			meta := k.metadata()
			maps.Copy(meta, changes)
			answer(w, meta)
			return true
		}
	}
	// answering answers one path.
	answering := func(k *realm, path string, status int, body any) {
		k.fault = func(w http.ResponseWriter, _ *http.Request, p string) bool {
			if p != path {
				return false
			}
			w.WriteHeader(status)
			answer(w, body)
			return true
		}
	}
	for _, test := range []struct {
		name  string
		fault func(k *realm)
		want  []string // "level check: part of what was found"
	}{
		{"no such realm", func(k *realm) { answering(k, "/.well-known/openid-configuration", 404, nil) },
			[]string{"failure discovery: no such realm"}},
		{"no discovery document", func(k *realm) { answering(k, "/.well-known/openid-configuration", 200, "a login page") },
			[]string{"failure discovery: no discovery document"}},
		{"an issuer in another case, which encoding/json takes", func(k *realm) { with(k, map[string]any{"Issuer": k.url}) },
			[]string{"failure discovery: in another case"}},
		{"two key sets in a discovery document (RFC 8259, 4)", func(k *realm) {
			answering(k, "/.well-known/openid-configuration", 200, json.RawMessage(`{"issuer":"a","jwks_uri":"https://a/b","jwks_uri":"https://a/c"}`))
		}, []string{"failure discovery: duplicate"}},
		{"two access tokens in an answer (RFC 8259, 4)", func(k *realm) {
			answering(k, "/protocol/openid-connect/token", 200, json.RawMessage(`{"access_token":"a","access_token":"b"}`))
		}, []string{"failure token model-serving-api: duplicate", "failure token my-api-client: duplicate"}},
		{"another issuer (RFC 8414, 3.3)", func(k *realm) { with(k, map[string]any{"issuer": k.url + "/"}) },
			// bearer takes no keys from such a document
			[]string{"failure issuer: the realm calls itself", "failure token model-serving-api: keys_unavailable", "failure token my-api-client: keys_unavailable"}},
		{"endpoints of the inner host", func(k *realm) {
			with(k, map[string]any{"jwks_uri": "http://localhost" + strings.TrimPrefix(k.url, "http://127.0.0.1") + "/protocol/openid-connect/certs"})
		}, []string{"failure endpoints: jwks_uri is on http://localhost", "failure endpoints: the stack's output"}},
		{"no end_session_endpoint", func(k *realm) { with(k, map[string]any{"end_session_endpoint": ""}) },
			[]string{"failure endpoints: no end_session_endpoint", "failure sign-out: may not lead back"}},
		{"PKCE is not known", func(k *realm) { with(k, map[string]any{"code_challenge_methods_supported": []string{"plain"}}) },
			[]string{"failure endpoints: PKCE with S256"}},
		{"no back-channel logout", func(k *realm) { with(k, map[string]any{"backchannel_logout_supported": false}) },
			[]string{"warning back-channel logout: not supported"}},
		{"clock far off", func(k *realm) { k.fault = date(time.Now().Add(-2 * time.Minute)) },
			[]string{"failure clock: apart, more than"}},
		{"clock somewhat off", func(k *realm) { k.fault = date(time.Now().Add(20 * time.Second)) },
			[]string{"warning clock: apart"}},
		{"no time but in tokens, as from Keycloak itself", func(k *realm) {
			k.fault = noDate
			k.Now = func() time.Time { return time.Now().Add(-20 * time.Second) }
		}, []string{"warning clock: apart"}},
		{"no time at all", func(k *realm) {
			k.fault = noDate
			k.Secrets = map[string]string{}
		}, []string{"failure token model-serving-api: refused", "failure token my-api-client: refused", "warning clock: no time"}},
		{"token from the future", func(k *realm) {
			k.Now = func() time.Time { return time.Now().Add(5 * time.Minute) }
		}, []string{"failure token model-serving-api: times", "failure token my-api-client: times"}},

		{"no key set", func(k *realm) { answering(k, "/protocol/openid-connect/certs", 503, nil) },
			[]string{"failure keys: status 503", "failure token model-serving-api: keys_unavailable", "failure token my-api-client: keys_unavailable"}},
		{"a key of 1024 bits (RFC 7518, 3.3)", func(k *realm) { addKey(k, weakKey) },
			[]string{"failure keys: 1024 bits"}},
		{"a private key is published", func(k *realm) { addKey(k, ecKey("ES256", true)) },
			[]string{"failure keys: private half"}},
		{"a symmetric key is published", func(k *realm) { addKey(k, `{"kty":"oct","kid":"hmac","use":"sig","alg":"HS256","k":"c2VjcmV0"}`) },
			[]string{"failure keys: private half"}},
		{"a key for an algorithm that is not taken", func(k *realm) { addKey(k, ecKey("ES256K", false)) },
			[]string{"warning keys: "}},

		{"the stack file's secret is old", func(k *realm) { k.Secrets["my-api-client"] = "rotated" },
			[]string{"failure token my-api-client: the client or its secret is refused"}},
		{"no audience mapper", func(k *realm) { k.token["aud"] = "account" },
			[]string{"failure token model-serving-api: audience", "warning token model-serving-api: account", "failure token my-api-client: audience", "warning token my-api-client: account"}},
		{"account in the audience", func(k *realm) { k.token["aud"] = []string{k.Audience, "account"} },
			[]string{"warning token model-serving-api: account", "warning token my-api-client: account"}},
		{"no sub: scope basic is missing", func(k *realm) { k.token["sub"] = nil },
			[]string{"failure token model-serving-api: subject_missing", "failure token my-api-client: subject_missing"}},
		{"an ID token's typ", func(k *realm) { k.token["typ"] = "ID" },
			[]string{"failure token model-serving-api: type", "failure token my-api-client: type"}},
		{"a token of a day", func(k *realm) { k.token["exp"] = time.Now().Add(23 * time.Hour).Unix() },
			[]string{"warning token model-serving-api: it lives", "warning token my-api-client: it lives"}},
		{"a model's role without the base role", func(k *realm) {
			k.token["realm_access"] = map[string]any{"roles": []string{"model-iris"}}
		}, []string{"failure roles model-serving-api: model-iris without", "failure roles my-api-client: model-iris without"}},
		{"no roles at all is no fault", func(k *realm) { k.token["realm_access"] = nil }, nil},

		{"introspection is not allowed", func(k *realm) {
			answering(k, "/protocol/openid-connect/token/introspect", 403, map[string]string{"error": "access_denied"})
		},
			[]string{"failure introspection: status 403"}},
		{"introspection knows no audience", func(k *realm) {
			answering(k, "/protocol/openid-connect/token/introspect", 200, map[string]bool{"active": false})
		},
			[]string{"failure introspection: inactive"}},

		{"PKCE is not demanded (RFC 9700, 2.1.1)", func(k *realm) { k.pkce = false },
			[]string{"warning pkce my-api-client: not demanded", "failure pkce modelctl: a public client"}},
		{"the API's redirect URI is not registered", func(k *realm) { k.redirects = k.redirects[1:] },
			[]string{"failure sign-in my-api-client: status 400"}},
		{"the command line's redirect URI is not the default", func(k *realm) { k.redirects = k.redirects[:2] },
			[]string{"warning sign-in modelctl: status 400"}},
		{"a wildcard redirect URI (RFC 9700, 4.1)", func(k *realm) { k.redirects = []string{"*"} },
			[]string{"failure redirects my-api-client: https://doctor.invalid", "failure redirects my-api-client: /callback/doctor",
				"failure redirects modelctl: https://doctor.invalid", "failure redirects modelctl: /callback/doctor", "failure sign-out: any site"}},
		{"the implicit flow is on (RFC 9700, 2.1.2)", func(k *realm) { k.implicit, k.pkce = true, false },
			[]string{"warning pkce my-api-client: not demanded", "failure implicit flow my-api-client: is on", "failure pkce modelctl: a public client", "failure implicit flow modelctl: is on"}},
		{"the post-logout redirect URI is not registered", func(k *realm) { k.redirects = slices.Delete(k.redirects, 1, 2) },
			[]string{"failure sign-out: may not lead back"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := newRealm(t)
			test.fault(k)
			bad, err := examine(t, options(k.url))
			var got []string
			for i, f := range bad {
				line := f.Level + " " + f.Check + ": " + f.Found
				if i < len(test.want) {
					head, part, _ := strings.Cut(test.want[i], ": ")
					if strings.HasPrefix(line, head+": ") && strings.Contains(f.Found, part) {
						line = test.want[i]
					}
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			failed := slices.ContainsFunc(bad, func(f Finding) bool { return f.Level == "failure" })
			if failed != (err != nil) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// Where a model asks how its caller signed in (RFC 9470), an account sees whether the
// tokens of clients can say it.
func TestDoctorOfLevels(t *testing.T) {
	levels := map[string]string{
		"user.session.note": "loa-map", "claim.name": "loa_map", "access.token.claim": "true", "jsonType.label": "String",
	}
	without := func(key, value string) map[string]string {
		changed := maps.Clone(levels)
		changed[key] = value
		return changed
	}
	const noMapper = "failure levels modelctl: no mapper puts the session note loa-map into its tokens"
	for _, tt := range []struct {
		name   string
		scopes string            // default scopes of modelctl
		config map[string]string // of the mapper in model-api
		own    map[string]string // of a mapper of modelctl itself
		status int
		want   string
	}{
		{"all there", "basic acr model-api", levels, nil, 200, ""},
		{"no acr", "basic model-api", levels, nil, 200, "failure levels modelctl: the client lacks the default scopes acr:"},
		{"neither", "model-api", levels, nil, 200, "failure levels modelctl: the client lacks the default scopes acr, basic:"},
		{"without the scope of the mapper", "basic acr", levels, nil, 200, noMapper},
		{"a mapper of its own", "basic acr", levels, levels, 200, ""},
		{"no mapper", "basic acr model-api", nil, nil, 200, noMapper},
		{"another note", "basic acr model-api", without("user.session.note", "acr"), nil, 200, noMapper},
		{"another claim", "basic acr model-api", without("claim.name", "loa"), nil, 200, noMapper},
		{"in ID tokens alone", "basic acr model-api", without("access.token.claim", "false"), nil, 200, noMapper},
		{"not by introspection", "basic acr model-api", without("introspection.token.claim", "false"), nil, 200, noMapper},
		{"an account that may not look", "", nil, nil, 403, "failure levels: 403"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newRealm(t)
			mappers := func(config map[string]string) []map[string]any {
				return []map[string]any{{"protocolMapper": "oidc-usersessionmodel-note-mapper", "config": config}}
			}
			k.fault = func(w http.ResponseWriter, r *http.Request, path string) bool {
				at, admin := strings.CutPrefix(path, "/admin/realms/example-realm")
				scopes := "basic acr model-api"
				if strings.Contains(at, "modelctl") {
					scopes = tt.scopes
				}
				switch {
				case path == "/realms/master/protocol/openid-connect/token":
					answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "expires_in": 60})
				case !admin:
					return false
				case at == "/components":
					answer(w, []any{})
				case tt.status != http.StatusOK:
					w.WriteHeader(tt.status)
				case at == "/client-scopes":
					answer(w, []map[string]any{{"name": "basic"}, {"name": "acr"}, {"name": "model-api", "protocolMappers": mappers(tt.config)}})
				case at == "/clients":
					id := r.URL.Query().Get("clientId")
					client := map[string]any{"id": "id-of-" + id}
					if id == "modelctl" {
						client["protocolMappers"] = mappers(tt.own)
					} else {
						client["protocolMappers"] = mappers(levels)
					}
					answer(w, []any{client})
				default:
					var given []map[string]string
					for name := range strings.FieldsSeq(scopes) {
						given = append(given, map[string]string{"name": name})
					}
					answer(w, given)
				}
				return true
			}
			o := options(k.url)
			o.Outputs.RealmName = "example-realm"
			o.Outputs.Policy.Models[0].Authentication = &policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m"}
			o.Admin = keycloak.NewAdmin(strings.TrimSuffix(k.url, "/realms/example-realm"), keycloak.Credentials{ClientID: "reader", ClientSecret: "s"})
			bad, _ := examine(t, o)
			got := ""
			for _, f := range bad {
				got += f.Level + " " + f.Check + ": " + f.Found + "\n"
			}
			if (tt.want == "") != (got == "") || strings.Count(got, "\n") > 1 || !strings.Contains(got, strings.TrimPrefix(tt.want, "failure levels: ")) {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
	k := newRealm(t)
	o := options(k.url)
	o.Outputs.Policy.Models[0].Authentication = &policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m"}
	if bad, err := examine(t, o); err != nil || len(bad) != 1 || bad[0].Level != "warning" || bad[0].Check != "levels" {
		t.Errorf("without an account: %v, %v", bad, err)
	}
}

// A key provider that Keycloak made itself stays published, and no up sees it.
func TestDoctorOfFallbackKeys(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		status       int
		want         string
	}{
		{"none", `[{"id":"1","name":"es256-2027"}]`, 200, ""},
		{"one", `[{"id":"1","name":"es256-2027"},{"id":"2","name":"fallback-ES256"}]`, 200, "failure key providers: Keycloak made fallback-ES256 itself"},
		{"an account that may not look", `{}`, 403, "warning key providers: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newRealm(t)
			k.fault = func(w http.ResponseWriter, _ *http.Request, path string) bool {
				switch path {
				case "/realms/master/protocol/openid-connect/token":
					answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "expires_in": 60})
				case "/admin/realms/example-realm/components":
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(tt.status)
					_, _ = io.WriteString(w, tt.answer)
				default:
					return false
				}
				return true
			}
			o := options(k.url)
			o.Outputs.RealmName = "example-realm"
			o.Admin = keycloak.NewAdmin(strings.TrimSuffix(k.url, "/realms/example-realm"), keycloak.Credentials{ClientID: "reader", ClientSecret: "s"})
			bad, _ := examine(t, o)
			got := ""
			for _, f := range bad {
				got += f.Level + " " + f.Check + ": " + f.Found + "\n"
			}
			if (tt.want == "") != (got == "") || !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if strings.Contains(tt.want, "failure") && !strings.Contains(bad[0].Change, "components/2 -r example-realm") {
				t.Errorf("the way to remove it: %s", bad[0].Change)
			}
		})
	}
}

// A proxy in front of an API under a path has to send the metadata on, too
// (RFC 9728, section 3.1).
func TestDoctorOfAnAPIUnderAPath(t *testing.T) {
	const metadataPath = "/.well-known/oauth-protected-resource/ml"
	for _, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter, self, issuer string)
		want   string // level and part of what was found
	}{
		{"routed", func(w http.ResponseWriter, self, issuer string) {
			answer(w, map[string]any{"resource": self, "authorization_servers": []string{issuer}})
		}, ""},
		{"the proxy's own page", func(w http.ResponseWriter, _, _ string) { http.Error(w, "<h1>Not here</h1>", http.StatusNotFound) }, "failure status 404"},
		{"a page with status 200", func(w http.ResponseWriter, _, _ string) { _, _ = w.Write([]byte("<h1>Welcome</h1>")) }, "failure is not answered by the API"},
		{"the host's root is another API", func(w http.ResponseWriter, self, issuer string) {
			answer(w, map[string]any{"resource": strings.TrimSuffix(self, "/ml"), "authorization_servers": []string{issuer}})
		}, "failure clients refuse it"},
		{"another issuer's", func(w http.ResponseWriter, self, _ string) {
			answer(w, map[string]any{"resource": self, "authorization_servers": []string{"https://id.example.com/realms/other"}})
		}, "failure names the issuers"},
		{"nothing listens", nil, "warning it can't be checked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newRealm(t)
			var self string
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != metadataPath {
					t.Errorf("asks for %s", r.URL.Path)
				}
				tt.answer(w, self, k.url)
			}))
			defer proxy.Close()
			if tt.answer == nil {
				proxy.Close()
			}
			self = proxy.URL + "/ml"
			k.redirects = append(k.redirects, self+"/callback", self+"/")
			o := options(k.url)
			o.PublicURL = self
			bad, err := examine(t, o)
			if tt.want == "" {
				if err != nil || len(bad) > 0 {
					t.Errorf("error %v, findings %v", err, bad)
				}
				return
			}
			level, part, _ := strings.Cut(tt.want, " ")
			if len(bad) != 1 || bad[0].Check != "resource metadata" || bad[0].Level != level || !strings.Contains(bad[0].Found, part) {
				t.Errorf("findings %v, want %s", bad, tt.want)
			}
			if (err != nil) != (level == "failure") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// date sets the header Date.
func date(now time.Time) func(w http.ResponseWriter, r *http.Request, path string) bool {
	return func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		return false
	}
}

// noDate keeps net/http from setting the header Date.
func noDate(w http.ResponseWriter, _ *http.Request, _ string) bool {
	w.Header()["Date"] = nil
	return false
}

// addKey publishes a key beside the realm's own.
func addKey(k *realm, key string) {
	k.fault = func(w http.ResponseWriter, _ *http.Request, path string) bool {
		if path != "/protocol/openid-connect/certs" {
			return false
		}
		own, err := json.Marshal(k.JWKS().Keys[0])
		if err != nil {
			return false
		}
		answer(w, map[string]any{"keys": []json.RawMessage{own, json.RawMessage(key)}})
		return true
	}
}

// weakKey is public, of 1024 bits. Go makes no such key any more.
const weakKey = `{"use":"sig","kty":"RSA","kid":"weak","alg":"RS256","n":"xdnRGJAc980nqwEqSERWlm_kE5h24ozZ0-NhFMZE65JOVe2mwldZzPR_GbHvNJ2kQTwyvGlqrkoQs9FFCMhUThUQX_tuKhOMpK2_bZ1M3aGcFvNmLnhacpOC-JlGQsVQ4a7ifOmL4EMXNb-or5U_zXOUZFpI0a__5i0Gxowk96M","e":"AQAB"}`

// ecKey is a new key, said to be for an algorithm, with its private half or not.
func ecKey(algorithm string, private bool) string {
	key := oidctest.NewKey("other", "ES256")
	jwk := key.JWK()
	jwk.Algorithm = algorithm
	if private {
		jwk.Key = key.Private
	}
	text, err := json.Marshal(jwk)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestDoctorWithoutIssuer(t *testing.T) {
	k := newRealm(t)
	dead := httptest.NewServer(nil)
	dead.Close()
	o := options(k.url)
	o.InternalURL = dead.URL
	bad, err := examine(t, o)
	if err == nil || len(bad) != 1 || bad[0].Check != "discovery" || !strings.Contains(bad[0].Change, "-issuer-internal-url") {
		t.Errorf("error %v, findings %v", err, bad)
	}
}

func TestDoctorByAnInnerAddress(t *testing.T) {
	k := newRealm(t)
	inner := k.url
	k.url = "https://id.example.com/realms/example-realm"
	k.URL = k.url
	o := options(k.url)
	o.InternalURL = inner
	bad, err := examine(t, o)
	if err != nil || len(bad) > 0 {
		t.Errorf("error %v, findings %v", err, bad)
	}
}

func TestDoctorOfAnUnencryptedIssuer(t *testing.T) {
	k := newRealm(t)
	inner := k.url
	k.url = "http://id.example.com/realms/example-realm"
	k.URL = k.url
	o := options(k.url)
	o.InternalURL = inner
	bad, err := examine(t, o)
	if err == nil || len(bad) != 1 || bad[0].Check != "transport" {
		t.Errorf("error %v, findings %v", err, bad)
	}
}

// The doctor looks for roles where the policy says that tokens carry them.
func TestDoctorReadsRolesAsThePolicySays(t *testing.T) {
	k := newRealm(t)
	k.token["realm_access"], k.token["api"] = nil, map[string]any{"roles": []string{"model-iris"}}
	o := options(k.url)
	o.Outputs.Policy.Claims.RealmRoles = "api.roles"
	bad, err := examine(t, o)
	if err == nil || len(bad) != 2 || bad[0].Check != "roles model-serving-api" || bad[1].Check != "roles my-api-client" {
		t.Errorf("error %v, findings %v", err, bad)
	}
}

func TestDoctorText(t *testing.T) {
	k := newRealm(t)
	k.token["azp"] = "\x1b[2J"
	k.pkce = false
	findings, err := Examine(t.Context(), options(k.url))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = Print(&out, findings, false)
	if err == nil || !strings.Contains(err.Error(), "1 of ") {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{"ok       issuer", "failure  pkce modelctl", "change: Stack configuration, client modelctl: pkce: true."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
	if strings.ContainsRune(out.String(), '\x1b') {
		t.Error("an escape sequence of a token reaches the terminal")
	}
}
