package gateway

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// ledger is a model that asks for a second factor.
func ledger(a policy.Authentication) policy.Model {
	return policy.Model{Name: "ledger", Embedded: "iris", Allow: policy.Conditions{Roles: []string{"model-api-access"}}, Authentication: &a}
}

// reached is what Keycloak says of levels that were reached so many seconds ago.
func reached(secondsAgo map[string]int) oidctest.Claims {
	times := map[string]int64{}
	for level, s := range secondsAgo {
		times[level] = time.Now().Unix() - int64(s)
	}
	text, err := json.Marshal(times)
	if err != nil {
		panic(err)
	}
	return oidctest.Claims{"acr": "2", "loa_map": string(text)}
}

// Whoever may call a model that asks for a second factor is asked to sign in
// again where the last one is too long ago (RFC 9470), by the whole handler.
func TestStepUp(t *testing.T) {
	level2 := policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m"}
	shorter := policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m", MaxAge: "5m"}
	exempt := policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m", ServiceAccounts: true}
	const challenge = `Bearer realm="model-serving-api", error="insufficient_user_authentication", error_description=`
	for _, row := range []struct {
		name   string
		asked  policy.Authentication
		claims []oidctest.Claims
		status int
		code   string
		want   string // in the challenge
	}{
		{"second factor a minute ago", level2, []oidctest.Claims{reached(map[string]int{"1": 60, "2": 60})}, 200, "", ""},
		{"second factor too long ago", level2, []oidctest.Claims{reached(map[string]int{"1": 0, "2": 1000})}, 401, "insufficient_authentication", `, acr_values="2"`},
		{"password alone", level2, []oidctest.Claims{{"acr": "1", "loa_map": `{"1":4000000000}`}}, 401, "insufficient_authentication", `, acr_values="2"`},
		{"acr 2, no times", level2, []oidctest.Claims{{"acr": "2"}}, 401, "insufficient_authentication", `, acr_values="2"`},
		{"the model's own time is over", shorter, []oidctest.Claims{reached(map[string]int{"2": 400}), {"auth_time": time.Now().Unix() - 400}},
			401, "insufficient_authentication", `, acr_values="2", max_age="300"`},
		{"the model's own time is over, the password is new", shorter, []oidctest.Claims{reached(map[string]int{"2": 400})},
			401, "insufficient_authentication", `, acr_values="2", max_age="0"`},
		{"no acr", level2, []oidctest.Claims{reached(map[string]int{"2": 1}), {"acr": nil}}, 403, "sign_in_untold", ""},
		{"offline token", level2, []oidctest.Claims{reached(map[string]int{"2": 1}), {"scope": "openid offline_access"}}, 403, "offline_token_refused", ""},
		{"offline token without the scope, which a refresh can leave out (RFC 6749, 6)", level2,
			[]oidctest.Claims{reached(map[string]int{"2": 1}), {"jti": "ofrtrt:ebdae814-6427-5a73-2acc-43fc45c236c0"}}, 403, "offline_token_refused", ""},
		{"service account", level2, []oidctest.Claims{oidctest.ServiceAccount("batch")}, 403, "service_account_refused", ""},
		{"exempt service account", exempt, []oidctest.Claims{oidctest.ServiceAccount("batch")}, 200, "", ""},
		{"exempt service account with a lightweight token, which has no client_id", exempt,
			[]oidctest.Claims{oidctest.ServiceAccount("batch"), {"client_id": nil, "jti": "trltcc:9416803d-07ab-171d-9b24-1c568129940c"}}, 200, "", ""},
		{"no session and no client credentials, where service accounts are exempt", exempt, []oidctest.Claims{{"sid": nil}}, 403, "service_account_refused", ""},
		{"a person who names a client_id, where service accounts are exempt", exempt, []oidctest.Claims{{"client_id": "batch"}}, 401, "insufficient_authentication", ""},
		{"times that are none", level2, []oidctest.Claims{{"loa_map": `{"2":"now"}`}}, 401, "claims_malformed", `error="invalid_token"`},
		{"a level twice (RFC 7519, 4)", level2, []oidctest.Claims{{"loa_map": `{"2":1,"2":4000000000}`}}, 401, "claims_malformed", `error="invalid_token"`},
		{"times as an object, which no mapper of the stack writes", level2, []oidctest.Claims{{"loa_map": map[string]any{"2": time.Now().Unix()}}}, 401, "claims_malformed", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newFixture(t, ledger(row.asked))
			token := f.issuer.Token("RS256", row.claims...)
			const path = "/v2/models/ledger/infer"
			for range 2 { // the second time from the cache of tokens
				response, body := f.do(t, "POST", path, token, "application/json", irisRow)
				if row.status == http.StatusOK {
					if response.StatusCode != http.StatusOK {
						t.Errorf("got %s: %s", response.Status, body)
					}
					continue
				}
				checkRefusal(t, response, body, path, row.status, row.code)
				got := response.Header.Get("WWW-Authenticate")
				if !strings.Contains(got, row.want) || (got == "") != (row.status == http.StatusForbidden) {
					t.Errorf("challenge %s, want %s", got, row.want)
				}
				if row.code == "insufficient_authentication" && (!strings.HasPrefix(got, challenge) || strings.Contains(got, "max_age") != (row.asked.MaxAge != "")) {
					t.Errorf("challenge %s", got)
				}
			}
		})
	}
}

// Step-up hides no model: lists and what a model says of itself need none. Who
// may not see the model learns nothing of it, not even that it asks for one.
func TestStepUpIsNoInvisibility(t *testing.T) {
	hidden := ledger(policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m"})
	hidden.Name, hidden.Allow.Roles = "hidden", []string{"model-forbidden"}
	f := newFixture(t, ledger(policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m"}), hidden)
	token := f.issuer.Token("RS256")
	for _, path := range []string{"/v2/models", "/v2/models/ledger", "/v2/models/ledger/ready"} {
		if response, body := f.do(t, "GET", path, token, "", ""); response.StatusCode != http.StatusOK || !strings.Contains(body, "ledger") {
			t.Errorf("%s: %s: %s", path, response.Status, body)
		}
	}
	response, body := f.do(t, "POST", "/v2/models/hidden/infer", token, "application/json", irisRow)
	checkRefusal(t, response, body, "/v2/models/hidden/infer", http.StatusNotFound, "model_unknown")
}

// A token with a proof of possession gets the challenge of its scheme
// (RFC 9449, section 7.1).
func TestStepUpWithProof(t *testing.T) {
	f := newFixture(t, ledger(policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m"}))
	response, body := send(t, f.proven(t, "/v2/models/ledger/infer", nil)())
	checkRefusal(t, response, body, "/v2/models/ledger/infer", http.StatusUnauthorized, "insufficient_authentication")
	challenges := response.Header.Values("WWW-Authenticate")
	if len(challenges) != 2 || strings.Contains(challenges[0], "error=") ||
		!strings.Contains(challenges[1], `DPoP realm="model-serving-api", error="insufficient_user_authentication"`) || !strings.Contains(challenges[1], `acr_values="2"`) {
		t.Errorf("challenges %q", challenges)
	}
}

// What the issuer says about a token counts as what is in it (RFC 9470,
// section 6.2): a level that was reached meanwhile, and one that is gone.
func TestStepUpByIntrospection(t *testing.T) {
	for _, row := range []struct {
		name          string
		token, answer oidctest.Claims
		status        int
	}{
		{"reached meanwhile", oidctest.Claims{"acr": "1"}, reached(map[string]int{"2": 1}), 200},
		{"not said by the answer", reached(map[string]int{"2": 1}), oidctest.Claims{"acr": "2", "loa_map": nil}, 401},
		{"no acr in the answer", reached(map[string]int{"2": 1}), oidctest.Claims{"acr": nil}, 403},
		{"client_id of an answer is of no service account (RFC 7662, 2.2)", oidctest.Claims{"sid": nil}, nil, 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t)
			m := ledger(policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m", ServiceAccounts: true})
			m.Introspect = true
			s.serve(m)
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
				for name, value := range row.answer {
					claims[name] = value
					if value == nil {
						delete(claims, name)
					}
				}
				claims["active"], claims["client_id"] = true, claims["azp"]
				answer(w, claims)
			})
			r, err := http.NewRequest("POST", s.url+"/v2/models/ledger/infer", strings.NewReader(irisRow))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+s.issuer.Token("RS256", row.token))
			r.Header.Set("Content-Type", "application/json")
			if response, body := send(t, r); response.StatusCode != row.status {
				t.Errorf("got %s, want %d: %s", response.Status, row.status, body)
			}
		})
	}
}

// serve serves a policy with one more model from now on.
func (s *site) serve(m policy.Model) {
	s.t.Helper()
	outputs := *s.gateway.options.Outputs
	current := *outputs.Policy
	current.Models = append(append([]policy.Model(nil), current.Models...), m)
	outputs.Policy = &current
	if err := s.gateway.Reload(&outputs); err != nil {
		s.t.Fatal(err)
	}
}

// A session is decided about as a token is.
func TestStepUpOfSessions(t *testing.T) {
	for _, row := range []struct {
		claims oidctest.Claims
		status int
	}{{reached(map[string]int{"2": 1}), 200}, {oidctest.Claims{"acr": "1"}, 401}} {
		t.Run(fmt.Sprint(row.status), func(t *testing.T) {
			s := newSite(t)
			s.serve(ledger(policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m"}))
			s.issuer.Set(func(set *oidctest.Settings) { set.Access = row.claims })
			p := s.person()
			p.signIn()
			response, body := p.do("POST", "/v2/models/ledger/infer", irisRow, "Content-Type", "application/json")
			if response.StatusCode != row.status || row.status == 401 && !strings.Contains(body, "insufficient_authentication") {
				t.Errorf("got %s, want %d: %s", response.Status, row.status, body)
			}
		})
	}
}

// The playground asks for a click, signs in again at the level, and keeps what
// the person typed. It asks once.
func TestPlaygroundStepsUp(t *testing.T) {
	s := newSite(t)
	s.serve(ledger(policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m", MaxAge: "5m"}))
	s.issuer.Set(func(set *oidctest.Settings) { set.Access = oidctest.Claims{"acr": "1"} })
	p := s.person()
	p.signIn()
	p.want(http.StatusOK, []string{"Sepal length", ">ledger</a>"}, "GET", "/models/ledger", "")

	const values = "0.0=6.3&0.1=3.3&0.2=6&0.3=2.5"
	const offer = `<a class="button" href="/step-up/ledger" target="_blank">`
	page := p.want(http.StatusUnauthorized, []string{
		"This model asks for a sign-in of level 2 that is not older than 5m.", offer, `value="6.3"`, `value="2.5"`,
	}, "POST", "/models/ledger", values)
	s.wantNoSecret("the page", page)
	if strings.Contains(page, "virginica</p>") {
		t.Error("the model was asked")
	}

	// The issuer signs in at the level, but the times never reach the token: that
	// is said once, and no second step-up is offered.
	s.issuer.Set(func(set *oidctest.Settings) { set.Access = oidctest.Claims{"loa_map": nil} })
	p.want(http.StatusOK, []string{"Sepal length"}, "GET", "/step-up/ledger", "")
	page = p.want(http.StatusUnauthorized, []string{"it did not help", `value="6.3"`}, "POST", "/models/ledger", values)
	if strings.Contains(page, "/step-up/") {
		t.Error("a second step-up is offered at once")
	}

	// As it should be.
	s.issuer.Set(func(set *oidctest.Settings) { set.Access = nil })
	p.want(http.StatusOK, []string{"Sepal length"}, "GET", "/step-up/ledger", "")
	p.want(http.StatusOK, []string{">virginica</p>"}, "POST", "/models/ledger", values)

	// Somebody else ends it, and the session of before goes on.
	s.issuer.Set(func(set *oidctest.Settings) {
		set.ID = oidctest.Claims{"acr": "2", "sub": "somebody-else"}
		set.Access = set.ID
	})
	p.want(http.StatusForbidden, []string{"Somebody else signed in", "step_up_by_another"}, "GET", "/step-up/ledger", "")
	s.issuer.Set(func(set *oidctest.Settings) { set.ID, set.Access = nil, nil })
	p.want(http.StatusOK, []string{">virginica</p>"}, "POST", "/models/ledger", values)

	p.want(http.StatusOK, []string{"Sepal length"}, "GET", "/step-up/iris", "") // which asks for nothing
	p.want(http.StatusNotFound, nil, "GET", "/step-up/forbidden", "")
	s.person().want(http.StatusUnauthorized, []string{"Sign in"}, "GET", "/step-up/ledger", "")
}
