package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
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
	setRealm(t, st, map[string]any{"otpPolicyLookAheadWindow": 100}) // so that codes of later steps do
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
			back := person.open(t, again.String())
			if back.URL.Query().Get("code") != "" {
				t.Errorf("without %v the page gets a code", without)
			}
			if len(without) == 2 {
				back.wantCode(t, "the page without "+fmt.Sprint(without))
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
	t.Run("Keycloak's own clients ask for it too", func(t *testing.T) {
		for client, path := range map[string]string{
			"account": "/realms/sign-in/account/", "account-console": "/realms/sign-in/account/", "security-admin-console": "/admin/sign-in/console/",
		} {
			own := st.relyingParty(client, e.keycloak.BaseURL+path)
			newPerson(t).authorize(t, own, verifier).submit(t, loginForm("ada", signInPassword)).wantCode(t, client)
		}
	})
	t.Run("the device grant asks for it too", func(t *testing.T) {
		var device struct {
			DeviceCode string `json:"device_code"`
			URL        string `json:"verification_uri_complete"`
		}
		st.post(t, "/protocol/openid-connect/auth/device", url.Values{
			"client_id": {"model-cli"}, "code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
		}, &device)
		newPerson(t).open(t, device.URL).submit(t, loginForm("ada", signInPassword)).wantCode(t, "device")
		if got := st.tryToken(t, url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {"model-cli"},
			"device_code": {device.DeviceCode}, "code_verifier": {verifier},
		}); got.AccessToken != "" || got.Error != "authorization_pending" {
			t.Errorf("after the password alone the device gets %q", got.Error)
		}
	})
	t.Run("the password grant takes the code", func(t *testing.T) {
		for _, user := range []string{"ada", "bob", "max"} {
			noPasswordGrant(t, st, user)
		}
		st.token(t, st.password("eve", signInPassword))
		with := st.password("ada", signInPassword)
		with.Set("totp", ada.code())
		if levels := levelsOf(t, st.token(t, with).AccessToken); len(levels) != 0 {
			t.Errorf("the password grant brings the levels %v", levels)
		}
		form := st.password("eve", signInPassword) // who needs no second factor
		form.Set("client_id", "admin-cli")
		form.Del("client_secret")
		if got := st.tryPassword(t, form); strings.Contains(got.Body, "access_token") || got.Status < 400 {
			t.Errorf("admin-cli: eve gets %d %s", got.Status, got.Body)
		}
	})
	t.Run("nobody enrols by the password alone", func(t *testing.T) {
		withPassword(t, "bob", "kc_action", "CONFIGURE_TOTP").wantText(t, "bob", "Your account needs a second factor")
		withPassword(t, "max", "kc_action", "CONFIGURE_TOTP").wantCode(t, "max")
		withPassword(t, "max", "kc_action", "webauthn-register").wantCode(t, "max")
		withPassword(t, "eve", "kc_action", "CONFIGURE_TOTP").wantText(t, "eve, who has none", "totpSecret")
	})
	t.Run("a factor that was set up counts", func(t *testing.T) {
		person := newPerson(t)
		setup := person.authorize(t, portal, verifier, "kc_action", "CONFIGURE_TOTP").submit(t, loginForm("eve", signInPassword))
		eve := &authenticatorApp{secret: hidden(t, setup, "totpSecret")}
		token := setup.submit(t, url.Values{"totp": {eve.code()}, "userLabel": {"app"}}).exchange(t, portal, verifier)
		if levels := levelsOf(t, token.AccessToken); levels["2"] != 0 {
			t.Errorf("setting up a factor brings the levels %v", levels)
		}
		stepUp := person.authorize(t, portal, verifier, "acr_values", "2").submit(t, loginForm("eve", signInPassword))
		stepUp.wantCode(t, "eve")
		if levels := levelsOf(t, stepUp.submit(t, otpForm(eve)).exchange(t, portal, verifier).AccessToken); levels["2"] == 0 {
			t.Errorf("levels are %v", levels)
		}
	})
	t.Run("who registers needs it too", func(t *testing.T) {
		setRealm(t, st, map[string]any{"registrationAllowed": true, "defaultGroups": []string{"/staff"}})
		form := newPerson(t).authorize(t, portal, verifier, "prompt", "create")
		back := form.submit(t, url.Values{
			"username": {"newcomer"}, "email": {"newcomer@example.com"}, "firstName": {"New"}, "lastName": {"Comer"},
			"password": {signInPassword}, "password-confirm": {signInPassword},
		})
		back.wantText(t, "the newcomer", "Your account needs a second factor")
	})
}

// everybodyConfig is a realm in which nobody signs in without a second factor,
// which is set up at the first sign-in, and level 2 is good for two seconds.
const everybodyConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: everybody
  keycloak-model-api:signIn: {secondFactor: required, enrol: onFirstLogin, levels: [{level: 2, maxAge: 2s}]}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent}
    - {username: bob, email: bob@example.com, firstName: Bob, lastName: Builder, password: permanent}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api}
    - {clientId: portal, kind: web, redirectUris: [https://portal.example.com/callback]}
`

// TestSignInOfEverybody enrols at the first sign-in, lets a level run out, and
// resets a password.
func TestSignInOfEverybody(t *testing.T) {
	st := e.up(t, everybodyConfig, secretsOf{
		"clientSecrets":    {"model-api": "a-secret-of-the-tests-1", "portal": "a-secret-of-the-tests-2"},
		"initialPasswords": {"ada": signInPassword, "bob": signInPassword},
	})
	st.token(t, st.clientCredentials("model-api"))
	compare(t, st)
	mail := receiveMail(t)
	setRealm(t, st, map[string]any{
		"otpPolicyLookAheadWindow": 100, "resetPasswordAllowed": true,
		"smtpServer": map[string]string{"host": "127.0.0.1", "port": mail.port, "from": "realm@example.com"},
	})
	portal := st.relyingParty("portal", "https://portal.example.com/callback")
	verifier := oauth2.GenerateVerifier()
	person := newPerson(t)

	setup := person.authorize(t, portal, verifier, "acr_values", "1").submit(t, loginForm("ada", signInPassword))
	setup.wantText(t, "the first sign-in", "totpSecret")
	ada := &authenticatorApp{secret: hidden(t, setup, "totpSecret")}
	first := setup.submit(t, url.Values{"totp": {ada.code()}, "userLabel": {"app"}}).exchange(t, portal, verifier)
	if levels := levelsOf(t, first.AccessToken); levels["2"] == 0 {
		t.Errorf("after the enrolment the levels are %v", levels)
	}

	t.Run("a level runs out, the session does not", func(t *testing.T) {
		time.Sleep(4 * time.Second)
		again := person.authorize(t, portal, verifier).exchange(t, portal, verifier)
		if diff := cmp.Diff(levelsOf(t, first.AccessToken), levelsOf(t, again.AccessToken)); diff != "" {
			t.Errorf("levels of the same session (-first +again):\n%s", diff)
		}
		for _, parameters := range [][]string{
			{"acr_values", "2"},
			{"claims", `{"id_token":{"acr":{"essential":true,"values":["2"]}}}`},
			{"kc_action", "CONFIGURE_TOTP"}, // a further factor
		} {
			pg := person.authorize(t, portal, verifier, parameters...).submit(t, loginForm("ada", signInPassword))
			pg.wantCode(t, fmt.Sprint(parameters))
			if pg = pg.submit(t, otpForm(ada)); parameters[0] == "kc_action" {
				pg.wantText(t, "after both", "totpSecret")
			} else if at := levelsOf(t, pg.exchange(t, portal, verifier).AccessToken)["2"]; at <= levelsOf(t, first.AccessToken)["2"] {
				t.Errorf("%v: level 2 is of %d", parameters, at)
			}
			time.Sleep(4 * time.Second)
		}
	})
	t.Run("a new password by email asks for the factor and ends in a sign-in", func(t *testing.T) {
		const anotherPassword = "another horse battery staple 2B"
		somebody := newPerson(t)
		form := somebody.authorize(t, portal, verifier)
		link := resetLink.FindStringSubmatch(form.Body)
		if link == nil {
			t.Fatalf("no link to reset a password: %s", form.text())
		}
		somebody.open(t, e.keycloak.BaseURL+html.UnescapeString(link[1])).submit(t, url.Values{"username": {"ada"}})
		code := somebody.open(t, mail.link(t))
		code.wantCode(t, "the link of the email")
		change := code.submit(t, otpForm(ada))
		change.wantText(t, "after the code", "password-new")
		end := change.submit(t, newPassword(anotherPassword))
		if end.URL.Query().Get("code") != "" {
			t.Error("a new password is a sign-in")
		}
		newPerson(t).authorize(t, portal, verifier).submit(t, loginForm("ada", anotherPassword)).wantCode(t, "the new password")
	})
	t.Run("a new password by email is no way round a factor that is still to be set up", func(t *testing.T) {
		somebody := newPerson(t)
		link := resetLink.FindStringSubmatch(somebody.authorize(t, portal, verifier).Body)
		somebody.open(t, e.keycloak.BaseURL+html.UnescapeString(link[1])).submit(t, url.Values{"username": {"bob"}})
		end := somebody.open(t, mail.link(t)).submit(t, newPassword(signInPassword))
		if end.URL.Query().Get("code") != "" {
			t.Error("a new password is a sign-in")
		}
	})
	t.Run("the account console enrols nobody who has a factor", func(t *testing.T) {
		console := st.relyingParty("account-console", e.keycloak.BaseURL+"/realms/everybody/account/")
		newPerson(t).authorize(t, console, verifier).submit(t, loginForm("bob", signInPassword)).wantText(t, "bob", "totpSecret")
	})
}

// passkeysConfig is a realm whose people may sign in by a passkey. PORTAL is a
// server of the tests.
const passkeysConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: passkeys
  keycloak-model-api:signIn: {secondFactor: optional, factors: [passkey], passkeys: true}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent}
    - {username: bob, email: bob@example.com, firstName: Bob, lastName: Builder, password: permanent}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
    - {clientId: portal, kind: web, redirectUris: [PORTAL/callback]}
`

// TestSignInByPasskey sets up a passkey in Chromium, whose virtual authenticator
// verifies the person, and signs in by it alone. A passkey needs a domain: Keycloak
// is called localhost.
func TestSignInByPasskey(t *testing.T) {
	landed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "back at the portal") }))
	t.Cleanup(landed.Close)
	st := e.up(t, strings.ReplaceAll(passkeysConfig, "PORTAL", landed.URL), secretsOf{
		"clientSecrets":    {"model-api": "a-secret-of-the-tests-1", "portal": "a-secret-of-the-tests-2"},
		"initialPasswords": {"ada": signInPassword, "bob": signInPassword},
	})
	st.token(t, st.clientCredentials("model-api"))
	compare(t, st)
	portal := st.relyingParty("portal", landed.URL+"/callback")
	for _, endpoint := range []*string{&portal.Endpoint.AuthURL, &portal.Endpoint.TokenURL} {
		*endpoint = strings.Replace(*endpoint, "//127.0.0.1:", "//localhost:", 1)
	}
	verifier := oauth2.GenerateVerifier()
	address := func(parameters ...string) string {
		options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
		for i := 0; i < len(parameters); i += 2 {
			options = append(options, oauth2.SetAuthURLParam(parameters[i], parameters[i+1]))
		}
		return portal.AuthCodeURL("a-state", options...)
	}
	b := startChromium(t).visit(t, "about:blank")
	call(t, b, webauthn.Enable, webauthn.EnableParams{})
	call(t, b, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
	call(t, b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: "window.prompt = () => 'my laptop'"})
	levels := func() map[string]int64 {
		t.Helper()
		b.see("back at the portal")
		at, err := url.Parse(b.eval("location.href"))
		if err != nil {
			t.Fatal(err)
		}
		token, err := portal.Exchange(t.Context(), at.Query().Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		return levelsOf(t, token.AccessToken)
	}

	b.open(address("kc_action", "webauthn-register-passwordless"))
	b.signIn("ada", signInPassword)
	b.press("#registerWebAuthn")
	if got := levels(); got["1"] == 0 || got["2"] != 0 {
		t.Errorf("setting up a passkey brings the levels %v", got)
	}

	t.Run("a passkey alone is level 2", func(t *testing.T) {
		call(t, b, network.ClearBrowserCookies, cdp.Empty{})
		b.open(address())
		b.do(chromedp.Click("#try-another-way"))
		b.do(chromedp.Click("li:last-child [role=button]"))
		b.press("#authenticateWebAuthnButton")
		if got := levels(); got["2"] == 0 {
			t.Errorf("levels are %v", got)
		}
	})
	t.Run("the password alone is no sign-in any more", func(t *testing.T) {
		call(t, b, network.ClearBrowserCookies, cdp.Empty{})
		b.open(address("acr_values", "1"))
		b.signIn("ada", signInPassword)
		b.press("#authenticateWebAuthnButton") // of the second factor
		if got := levels(); got["2"] == 0 {
			t.Errorf("levels are %v", got)
		}
		noPasswordGrant(t, st, "ada")
	})
	t.Run("a security key is a second factor", func(t *testing.T) {
		call(t, b, network.ClearBrowserCookies, cdp.Empty{})
		b.open(address("kc_action", "webauthn-register"))
		b.signIn("bob", signInPassword)
		b.press("#registerWebAuthn")
		if got := levels(); got["1"] == 0 || got["2"] != 0 {
			t.Errorf("setting one up brings the levels %v", got)
		}
		for _, parameters := range [][]string{{"acr_values", "1"}, {"kc_action", "webauthn-register-passwordless"}} {
			call(t, b, network.ClearBrowserCookies, cdp.Empty{})
			b.open(address(parameters...))
			b.signIn("bob", signInPassword)
			b.press("#authenticateWebAuthnButton")
			if parameters[0] == "kc_action" {
				b.do(chromedp.WaitVisible("#registerWebAuthn"))
			} else if got := levels(); got["2"] == 0 {
				t.Errorf("levels are %v", got)
			}
		}
		noPasswordGrant(t, st, "bob")
	})
}

// noPasswordGrant asks for a token by the password alone, with a client of the stack
// and with Keycloak's own command line.
func noPasswordGrant(t *testing.T, st *stack, user string) {
	t.Helper()
	ours, own := st.password(user, signInPassword), st.password(user, signInPassword)
	own.Set("client_id", "admin-cli")
	own.Del("client_secret")
	for _, form := range []url.Values{ours, own} {
		if got := st.tryPassword(t, form); strings.Contains(got.Body, "access_token") || got.Status < 400 {
			t.Errorf("%s: %s gets %d %s by the password alone", form.Get("client_id"), user, got.Status, got.Body)
		}
	}
}

// press clicks on what Keycloak's scripts wait for until it is gone: a click
// before the script is there does nothing.
func (p *browserPage) press(selector string) {
	p.t.Helper()
	p.do(chromedp.WaitVisible(selector))
	eventually(p.t, 20*time.Second, selector+" does something", func() error {
		js := fmt.Sprintf(`(() => { const at = document.querySelector(%q); if (at) at.click(); return at ? "there" : "gone" })()`, selector)
		if got, err := p.tryEval(js); err != nil || got != "gone" {
			return fmt.Errorf("%s, %v", got, err)
		}
		return nil
	})
}

func call[P, R any](t *testing.T, b *browserPage, command cdp.Command[P, R], parameters P) {
	t.Helper()
	if _, err := chromedp.Call(b.ctx, command, parameters); err != nil {
		t.Fatal(err)
	}
}

var (
	resetLink = regexp.MustCompile(`href="([^"]*/login-actions/reset-credentials[^"]*)"`)
	mailLink  = regexp.MustCompile(`http://127\.0\.0\.1:\d+/realms/\S+/login-actions/action-token\S+`)
)

// mailbox takes emails over SMTP (RFC 5321), without TLS.
type mailbox struct {
	port  string
	mails chan string
}

func receiveMail(t *testing.T) *mailbox {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	m := &mailbox{port: port, mails: make(chan string, 10)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go m.serve(c)
		}
	}()
	return m
}

func (m *mailbox) serve(c net.Conn) {
	defer c.Close()
	text := textproto.NewConn(c)
	_ = text.PrintfLine("220 tests")
	for {
		line, err := text.ReadLine()
		if err != nil {
			return
		}
		switch command := strings.ToUpper(line); {
		case strings.HasPrefix(command, "DATA"):
			_ = text.PrintfLine("354 go on")
			body, err := text.ReadDotBytes()
			if err != nil {
				return
			}
			decoded, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body)))
			if err != nil {
				decoded = body
			}
			m.mails <- string(decoded)
			_ = text.PrintfLine("250 taken")
		case strings.HasPrefix(command, "QUIT"):
			_ = text.PrintfLine("221 bye")
			return
		default:
			_ = text.PrintfLine("250 yes")
		}
	}
}

// link is that of the next email.
func (m *mailbox) link(t *testing.T) string {
	t.Helper()
	select {
	case mail := <-m.mails:
		link := mailLink.FindString(mail)
		if link == "" {
			t.Fatalf("the email has no link: %s", mail)
		}
		return link
	case <-time.After(time.Minute):
		t.Fatal("no email within a minute")
		return ""
	}
}

// TestSignInAfterIdentityProvider asks those who sign in at another provider for
// a second factor of this realm, unless that provider is trusted with it.
func TestSignInAfterIdentityProvider(t *testing.T) {
	at := func(config string) string { return strings.ReplaceAll(config, "KEYCLOAK", e.keycloak.BaseURL) }
	partner := e.up(t, at(partnerConfig), secretsOf{
		"clientSecrets":    {"partner-api": "a-secret-of-the-tests-1", "example-corp": "a-secret-of-the-tests-2"},
		"initialPasswords": {"marie": signInPassword, "visitor": signInPassword},
	})
	createUser(t, partner, "double", signInPassword)
	createUser(t, partner, "single", signInPassword)
	for _, tt := range []struct{ name, factor string }{{"asked", ""}, {"trusted", "      secondFactor: trust\n"}} {
		t.Run(tt.name, func(t *testing.T) {
			config := strings.Replace(brokeredConfig, "      trustEmail: true\n", "      trustEmail: true\n"+tt.factor, 1) +
				"  keycloak-model-api:signIn: {secondFactor: required, for: [model-iris, curator]}\n  keycloak-model-api:roles: [{name: curator}]\n"
			st := e.up(t, at(config), secretsOf{
				"clientSecrets":     {"model-api": "a-secret-of-the-tests-3", "portal": "a-secret-of-the-tests-4"},
				"federationSecrets": {"partner": "a-secret-of-the-tests-2"},
			})
			st.token(t, st.clientCredentials("model-api"))
			compare(t, st)
			setRealm(t, st, map[string]any{"otpPolicyLookAheadWindow": 100})
			portal := st.relyingParty("portal", "https://portal.example.com/callback")
			portal.Endpoint.AuthURL += "?kc_idp_hint=partner"
			verifier := oauth2.GenerateVerifier()
			signIn := func(user string, parameters ...string) *screen {
				return newPerson(t).authorize(t, portal, verifier, parameters...).submit(t, loginForm(user, signInPassword))
			}
			levels := func(pg *screen) map[string]int64 { return levelsOf(t, pg.exchange(t, portal, verifier).AccessToken) }

			if got := levels(signIn("visitor")); got["1"] == 0 || got["2"] != 0 {
				t.Errorf("who needs none: levels are %v", got)
			}
			// Somebody of the provider has the address of a user here: to be that user takes
			// the user's password and the second factor (keycloak#25335).
			link := func(user string) *screen {
				createUser(t, st, user, signInPassword)
				return signIn(user).submit(t, url.Values{"submitAction": {"linkAccount"}})
			}
			confirm := link("double")
			double := giveApp(t, st, "double")
			asked := confirm.submit(t, loginForm("double", signInPassword))
			asked.wantCode(t, "a link to an account that has a factor")
			if linked := asked.submit(t, otpForm(double)); tt.factor != "" {
				linked.exchange(t, portal, verifier)
			}
			confirm = link("single")
			giveRole(t, st, "single", "curator") // which no claim of the provider takes away
			confirm.submit(t, loginForm("single", signInPassword)).wantText(t, "a link to an account that needs a factor", "Your account needs a second factor")
			if tt.factor != "" {
				if got := levels(signIn("marie")); got["1"] == 0 || got["2"] != 0 {
					t.Errorf("the provider's factor: levels are %v", got)
				}
				signIn("marie", "acr_values", "2").wantText(t, "a level that the provider has not brought", "second factor")
				return
			}
			// The first sign-in, and the next one.
			signIn("marie").wantText(t, "marie", "Your account needs a second factor")
			app := giveApp(t, st, "marie")
			for range 2 {
				pg := signIn("marie", "acr_values", "1")
				pg.wantCode(t, "marie")
				if got := levels(pg.submit(t, otpForm(app))); got["2"] == 0 {
					t.Errorf("levels are %v", got)
				}
			}
		})
	}
}

// hidden is the value of a hidden field.
func hidden(t *testing.T, pg *screen, name string) string {
	t.Helper()
	for _, field := range hiddenField.FindAllStringSubmatch(pg.Body, -1) {
		if field[1] == name {
			return field[2]
		}
	}
	t.Fatalf("no field %s at %s: %s", name, pg.URL, pg.text())
	return ""
}

// setRealm changes settings of the realm, as an administrator would.
func setRealm(t *testing.T, st *stack, settings map[string]any) {
	t.Helper()
	realm := "/realms/" + st.output("realm_name")
	var rep map[string]any
	if err := e.admin.Do(t.Context(), http.MethodGet, realm, nil, &rep); err != nil {
		t.Fatal(err)
	}
	maps.Copy(rep, settings)
	if err := e.admin.Do(t.Context(), http.MethodPut, realm, rep, nil); err != nil {
		t.Fatal(err)
	}
}

// tryPassword sends a password grant, whose refusal by a flow is no JSON.
func (s *stack) tryPassword(t *testing.T, form url.Values) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.output("issuer")+"/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(t, http.DefaultClient, r)
}
