package e2e

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// signInConfig is a realm in which the members of a group need a second factor.
const signInConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: sign-in
  keycloak-model-api:signIn:
    secondFactor: required
    for: [curator, staff]
    factors: [otp, recoveryCodes]
    levels: [{level: 2, maxAge: 10m}]
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
  keycloak-model-api:roles:
    - {name: curator}
  keycloak-model-api:groups:
    - {name: staff}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [curator, model-iris]}
    - {username: bob, email: bob@example.com, firstName: Bob, lastName: Builder, password: permanent, groups: [staff], roles: [model-iris]}
    - {username: eve, email: eve@example.com, firstName: Eve, lastName: Adams, password: permanent, roles: [model-iris]}
    - {username: max, email: max@example.com, firstName: Max, lastName: Muster, password: permanent, roles: [model-iris]}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
    - {clientId: portal, kind: web, redirectUris: [https://portal.example.com/callback]}
    - {clientId: model-cli, kind: cli}
`

const signInPassword = "correct horse battery staple 1A"

// signInSecrets are those of signInConfig.
func signInSecrets() secretsOf {
	s := secretsOf{
		"clientSecrets":    {"model-api": "a-secret-of-the-tests-1", "portal": "a-secret-of-the-tests-2"},
		"initialPasswords": {},
	}
	for _, user := range []string{"ada", "bob", "eve", "max"} {
		s["initialPasswords"][user] = signInPassword
	}
	return s
}

// authenticatorApp makes one-time codes (RFC 6238), each of another time step,
// since Keycloak takes a code once.
type authenticatorApp struct {
	secret string
	steps  int64
}

func (a *authenticatorApp) code() string {
	step := time.Now().Unix()/30 + a.steps
	a.steps++
	mac := hmac.New(sha1.New, []byte(a.secret))
	_ = binary.Write(mac, binary.BigEndian, step)
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:at+4])&0x7fffffff%1_000_000)
}

// giveApp gives a user an authenticator app, as if they had set it up.
func giveApp(t *testing.T, st *stack, username string) *authenticatorApp {
	t.Helper()
	app := &authenticatorApp{secret: "a secret of " + username + " for tests"}
	secretData, err := json.Marshal(map[string]string{"value": app.secret})
	if err != nil {
		t.Fatal(err)
	}
	realm := "/realms/" + st.output("realm_name")
	var user map[string]any
	if err := e.admin.Do(t.Context(), http.MethodGet, realm+"/users/"+userID(t, st, username), nil, &user); err != nil {
		t.Fatal(err)
	}
	user["credentials"] = []map[string]any{{
		"type": "otp", "secretData": string(secretData),
		"credentialData": `{"subType":"totp","digits":6,"period":30,"counter":0,"algorithm":"HmacSHA1"}`,
	}}
	if err := e.admin.Do(t.Context(), http.MethodPut, realm+"/users/"+userID(t, st, username), user, nil); err != nil {
		t.Fatal(err)
	}
	return app
}

// manyCodes lets tests use codes of later time steps, so that they need not wait.
func manyCodes(t *testing.T, st *stack) {
	t.Helper()
	realm := "/realms/" + st.output("realm_name")
	var rep map[string]any
	if err := e.admin.Do(t.Context(), http.MethodGet, realm, nil, &rep); err != nil {
		t.Fatal(err)
	}
	rep["otpPolicyLookAheadWindow"] = 100
	if err := e.admin.Do(t.Context(), http.MethodPut, realm, rep, nil); err != nil {
		t.Fatal(err)
	}
}

// authorize opens the authorization endpoint with more parameters.
func (p *person) authorize(t *testing.T, rp *oauth2.Config, verifier string, parameters ...string) *screen {
	t.Helper()
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
	for i := 0; i < len(parameters); i += 2 {
		options = append(options, oauth2.SetAuthURLParam(parameters[i], parameters[i+1]))
	}
	return p.open(t, rp.AuthCodeURL("a-state", options...))
}

var markup = regexp.MustCompile(`(?s)<(script|style|head)\b.*?</(script|style|head)>|<[^>]*>|\s+`)

// text is what a person reads on a page.
func (pg *screen) text() string { return markup.ReplaceAllString(pg.Body, " ") }

// asksForCode says whether a page asks for a one-time code.
func (pg *screen) asksForCode() bool { return strings.Contains(pg.Body, `name="otp"`) }

func (pg *screen) wantCode(t *testing.T, what string) {
	t.Helper()
	if !pg.asksForCode() {
		t.Fatalf("%s: no one-time code is asked for at %s (%d): %s", what, pg.URL, pg.Status, pg.text())
	}
}

func (pg *screen) wantText(t *testing.T, what, text string) {
	t.Helper()
	if !strings.Contains(pg.Body, text) {
		t.Fatalf("%s: %s (%d) does not say %q: %s", what, pg.URL, pg.Status, text, pg.text())
	}
}

func otpForm(app *authenticatorApp) url.Values { return url.Values{"otp": {app.code()}} }

// exchange redeems the code with which the browser was sent back.
func (pg *screen) exchange(t *testing.T, rp *oauth2.Config, verifier string) *oauth2.Token {
	t.Helper()
	code := pg.URL.Query().Get("code")
	if code == "" {
		t.Fatalf("the browser was not sent back with a code, but to %s (%d): %s", pg.URL, pg.Status, pg.text())
	}
	token, err := rp.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// levelsOf are the levels in an access token, with the time of each.
func levelsOf(t *testing.T, token string) map[string]int64 {
	t.Helper()
	all, err := claims(token)
	if err != nil {
		t.Fatal(err)
	}
	levels := map[string]int64{}
	if text, ok := all["loa_map"].(string); ok {
		if err := json.Unmarshal([]byte(text), &levels); err != nil {
			t.Fatalf("loa_map is %q: %v", text, err)
		}
	}
	return levels
}

// TestSignIn tries each way in with the password alone.
func TestSignIn(t *testing.T) {
	st := e.up(t, signInConfig, signInSecrets())
	st.token(t, st.clientCredentials("model-api"))
	compare(t, st)
	manyCodes(t, st)
	ada, max := giveApp(t, st, "ada"), giveApp(t, st, "max")
	portal := st.relyingParty("portal", "https://portal.example.com/callback")
	verifier := oauth2.GenerateVerifier()
	withPassword := func(t *testing.T, user string, parameters ...string) *screen {
		t.Helper()
		return newPerson(t).authorize(t, portal, verifier, parameters...).submit(t, loginForm(user, signInPassword))
	}

	t.Run("who needs a second factor is asked for it, whatever level a client asks for", func(t *testing.T) {
		for _, parameters := range [][]string{nil, {"acr_values", "1"}, {"acr_values", "0"}, {"acr_values", "2"}, {"prompt", "login"}, {"max_age", "0"}} {
			pg := withPassword(t, "ada", parameters...)
			pg.wantCode(t, fmt.Sprint(parameters))
			token := pg.submit(t, otpForm(ada)).exchange(t, portal, verifier)
			if levels := levelsOf(t, token.AccessToken); time.Since(time.Unix(levels["2"], 0)) > time.Minute {
				t.Errorf("%v: levels are %v", parameters, levels)
			}
		}
	})
	t.Run("a page that is opened again asks for it too", func(t *testing.T) {
		person := newPerson(t)
		pg := person.authorize(t, portal, verifier).submit(t, loginForm("ada", signInPassword))
		pg.wantCode(t, "after the password")
		for _, without := range [][]string{{}, {"execution"}, {"session_code"}, {"session_code", "execution"}} {
			again := *pg.URL
			query := again.Query()
			for _, key := range without {
				query.Del(key)
			}
			again.RawQuery = query.Encode()
			if back := person.open(t, again.String()); back.URL.Query().Get("code") != "" {
				t.Errorf("without %v the page gets a code", without)
			}
		}
		if back := person.authorize(t, portal, verifier); back.URL.Query().Get("code") != "" {
			t.Error("another request of that browser gets a code")
		}
	})
	t.Run("without one nobody of them signs in", func(t *testing.T) {
		withPassword(t, "bob").wantText(t, "bob", "Your account needs a second factor")
	})
	t.Run("who needs none signs in by the password", func(t *testing.T) {
		token := withPassword(t, "eve").exchange(t, portal, verifier)
		if levels := levelsOf(t, token.AccessToken); levels["1"] == 0 || levels["2"] != 0 {
			t.Errorf("levels are %v", levels)
		}
		withPassword(t, "eve", "acr_values", "2").wantText(t, "eve", "/realms/sign-in/account and try again")
	})
	t.Run("who has one is asked for it", func(t *testing.T) {
		pg := withPassword(t, "max")
		pg.wantCode(t, "max")
		if levels := levelsOf(t, pg.submit(t, otpForm(max)).exchange(t, portal, verifier).AccessToken); levels["2"] == 0 {
			t.Errorf("levels are %v", levels)
		}
	})
}
