package e2e

import (
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"
)

// stepUpConfig is a realm with models that ask for a second factor.
const stepUpConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: step-up
  keycloak-model-api:signIn:
    secondFactor: optional
    levels: [{level: 2, maxAge: 12s}]
  keycloak-model-api:models:
    - {name: iris, embedded: iris, roles: [caller], authentication: {level: 2}}
    - {name: vault, embedded: iris, roles: [caller], authentication: {level: 2, maxAge: 5s}}
    - {name: nightly, embedded: iris, roles: [caller], authentication: {level: 2, serviceAccounts: true}}
    - {name: asked, embedded: iris, roles: [caller], authentication: {level: 2}, introspect: true}
  keycloak-model-api:users:
    - {username: max, email: max@example.com, firstName: Max, lastName: Muster, password: permanent, roles: [caller]}
    - {username: eve, email: eve@example.com, firstName: Eve, lastName: Adams, password: permanent, roles: [caller]}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api}
    - {clientId: portal, kind: web, redirectUris: [SITE/callback]}
    - {clientId: other, kind: web, redirectUris: [https://other.example.com/callback]}
    - {clientId: light, kind: web, lightweight: true, redirectUris: [https://light.example.com/callback]}
    - {clientId: batch, kind: service, serviceAccountRoles: [caller]}
    - {clientId: light-batch, kind: service, lightweight: true, serviceAccountRoles: [caller]}
    - {clientId: model-cli, kind: cli}
`

const levelAge = 12 * time.Second // of stepUpConfig

// stepUpSecrets are those of stepUpConfig.
func stepUpSecrets() secretsOf {
	s := secretsOf{"clientSecrets": {}, "initialPasswords": {"max": signInPassword, "eve": signInPassword}}
	for _, client := range []string{"model-api", "portal", "other", "light", "batch", "light-batch"} {
		s["clientSecrets"][client] = "the-secret-of-" + client + "-in-the-tests"
	}
	return s
}

// level2 is how a client demands the level.
const level2 = `{"id_token":{"acr":{"essential":true,"values":["2"]}}}`

// challenge checks a refusal that asks for a step-up, and returns its max_age.
func (a answer) challenge(t testing.TB, what string) (maxAge string) {
	t.Helper()
	header := a.Header.Get("WWW-Authenticate")
	if a.Status != http.StatusUnauthorized || !strings.Contains(a.Body, "insufficient_authentication") ||
		!strings.Contains(header, `error="insufficient_user_authentication"`) || !strings.Contains(header, `acr_values="2"`) {
		t.Fatalf("%s: %d %s, %s", what, a.Status, a.Body, header)
	}
	if found := regexp.MustCompile(`max_age="(\d+)"`).FindStringSubmatch(header); found != nil {
		return found[1]
	}
	return ""
}

func (a *api) ask(t testing.TB, model, token string) answer {
	t.Helper()
	return a.do(t, http.MethodPost, "/v2/models/"+model+"/infer", token, irisRequest)
}

// TestStepUp holds the API against what Keycloak says of levels (RFC 9470).
func TestStepUp(t *testing.T) {
	port := freePort(t)
	st := e.up(t, strings.ReplaceAll(stepUpConfig, "SITE", "http://127.0.0.1:"+port), stepUpSecrets())
	compare(t, st)
	setRealm(t, st, map[string]any{"otpPolicyLookAheadWindow": 100}) // so that codes of later steps do
	app := giveApp(t, st, "max")
	a := e.startAPIOn(t, port, st)
	portal, other := st.relyingParty("portal", a.URL+"/callback"), st.relyingParty("other", "https://other.example.com/callback")
	verifier := oauth2.GenerateVerifier()
	refresh := func(t *testing.T, rp *oauth2.Config, token string) tokens {
		t.Helper()
		return st.token(t, url.Values{
			"grant_type": {"refresh_token"}, "client_id": {rp.ClientID}, "client_secret": {rp.ClientSecret}, "refresh_token": {token},
		})
	}
	signIn := func(t *testing.T, p *person, rp *oauth2.Config, parameters ...string) *oauth2.Token {
		t.Helper()
		pg := p.authorize(t, rp, verifier, parameters...).submit(t, loginForm("max", signInPassword))
		pg.wantCode(t, "max")
		return pg.submit(t, otpForm(app)).exchange(t, rp, verifier)
	}

	t.Run("the time of the level decides", func(t *testing.T) {
		max := newPerson(t)
		first := signIn(t, max, portal)
		for range 2 { // the second time the token comes from the cache
			a.infer(t, first.AccessToken).want(t, http.StatusOK, "setosa")
		}
		time.Sleep(levelAge + 2*time.Second)
		if got := a.infer(t, first.AccessToken).challenge(t, "a cached token"); got != "" {
			t.Errorf("max_age is %q where the model has none", got)
		}
		said, err := e.apiTool(t, nil, first.AccessToken, "explain", "-stack", st.File, "-model", "iris")
		if err == nil || !strings.Contains(said, "expected  level 2 at most 12s ago by the claim loa_map") || !strings.Contains(said, "code      insufficient_authentication") {
			t.Errorf("explain says %v, %s", err, said)
		}
		a.do(t, http.MethodGet, "/v2/models", first.AccessToken, "").want(t, http.StatusOK, `"iris"`)
		a.do(t, http.MethodGet, "/v2/models/iris", first.AccessToken, "").want(t, http.StatusOK, "iris")

		again := refresh(t, portal, first.RefreshToken)
		a.infer(t, again.AccessToken).challenge(t, "a refreshed token")
		if c, err := claims(again.AccessToken); err != nil || c["acr"] != "2" {
			t.Errorf("acr is %v (%v): this test needs one that survives", c["acr"], err)
		}
		// Single sign-on at another client brings nothing new.
		if back := max.authorize(t, other, verifier); back.URL.Query().Get("code") == "" {
			t.Fatalf("no single sign-on: %s", back.text())
		}
		again = refresh(t, portal, again.RefreshToken)
		a.infer(t, again.AccessToken).challenge(t, "after single sign-on elsewhere")

		// The demanded level asks for the factor alone, and then counts for each
		// token of the session, the old refresh token's too.
		pg := max.authorize(t, portal, verifier, "claims", level2, "login_hint", "max").withPassword(t)
		pg.wantCode(t, "step-up")
		second := pg.submit(t, otpForm(app)).exchange(t, portal, verifier)
		a.infer(t, second.AccessToken).want(t, http.StatusOK, "setosa")
		a.do(t, http.MethodPost, "/v2/models/asked/infer", second.AccessToken, irisRequest).want(t, http.StatusOK, "setosa")
		// What the issuer says of the old token is as of now (RFC 9470, section 6.2).
		a.ask(t, "iris", again.AccessToken).challenge(t, "a token of before")
		a.ask(t, "asked", again.AccessToken).want(t, http.StatusOK, "setosa")
	})

	t.Run("a sign-in by password alone at another client", func(t *testing.T) {
		max := newPerson(t)
		first := signIn(t, max, portal)
		a.infer(t, first.AccessToken).want(t, http.StatusOK, "setosa")
		// The factor is taken away, so that the password is enough for the session.
		takeApp(t, st, "max")
		time.Sleep(levelAge + 2*time.Second)
		max.authorize(t, other, verifier, "prompt", "login").submit(t, url.Values{"password": {signInPassword}}).exchange(t, other, verifier)
		again := refresh(t, portal, first.RefreshToken)
		c, err := claims(again.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		if since := time.Since(time.Unix(int64(c["auth_time"].(float64)), 0)); c["acr"] != "2" || since > 5*time.Second {
			t.Errorf("acr %v, auth_time %v ago: this test needs a session that looks fresh", c["acr"], since)
		}
		a.infer(t, again.AccessToken).challenge(t, "after a sign-in by password alone")
		if maxAge := a.ask(t, "vault", again.AccessToken).challenge(t, "the model's own time"); maxAge != "0" {
			t.Errorf("max_age %s would ask for nothing", maxAge)
		}
		app = giveApp(t, st, "max")
	})

	t.Run("without a factor", func(t *testing.T) {
		eve := newPerson(t)
		token := eve.authorize(t, portal, verifier).submit(t, loginForm("eve", signInPassword)).exchange(t, portal, verifier)
		a.infer(t, token.AccessToken).challenge(t, "eve")
		eve.authorize(t, portal, verifier, "claims", level2).withPassword(t).wantText(t, "eve's step-up", "/realms/step-up/account and try again")
		newPerson(t).authorize(t, portal, verifier, "claims", level2).submit(t, loginForm("eve", signInPassword)).
			wantText(t, "eve's sign-in at the level", "/realms/step-up/account and try again")
	})

	t.Run("the model's own time asks for the password too", func(t *testing.T) {
		max := newPerson(t)
		first := signIn(t, max, portal)
		a.ask(t, "vault", first.AccessToken).want(t, http.StatusOK, "setosa")
		time.Sleep(7 * time.Second)
		a.infer(t, first.AccessToken).want(t, http.StatusOK, "setosa")
		maxAge := a.ask(t, "vault", first.AccessToken).challenge(t, "past the model's own time")
		pg := max.authorize(t, portal, verifier, "claims", level2, "max_age", maxAge, "login_hint", "max").withPassword(t)
		pg.wantCode(t, "after the password")
		second := pg.submit(t, otpForm(app)).exchange(t, portal, verifier)
		a.ask(t, "vault", second.AccessToken).want(t, http.StatusOK, "setosa")
	})

	t.Run("offline tokens never count", func(t *testing.T) {
		offline := *portal
		offline.Scopes = []string{"openid", "offline_access"}
		first := signIn(t, newPerson(t), &offline)
		a.infer(t, first.AccessToken).want(t, http.StatusForbidden, "offline_token_refused")
		a.infer(t, refresh(t, portal, first.RefreshToken).AccessToken).want(t, http.StatusForbidden, "offline_token_refused")
		narrowed := st.token(t, url.Values{
			"grant_type": {"refresh_token"}, "client_id": {"portal"}, "client_secret": {portal.ClientSecret},
			"refresh_token": {first.RefreshToken}, "scope": {"openid"},
		})
		a.infer(t, narrowed.AccessToken).want(t, http.StatusForbidden, "offline_token_refused")
	})

	t.Run("service accounts", func(t *testing.T) {
		for _, client := range []string{"batch", "light-batch"} {
			token := st.token(t, st.clientCredentials(client)).AccessToken
			a.infer(t, token).want(t, http.StatusForbidden, "which a service account can't do")
			a.ask(t, "nightly", token).want(t, http.StatusOK, "setosa")
		}
	})

	t.Run("lightweight tokens", func(t *testing.T) {
		light := st.relyingParty("light", "https://light.example.com/callback")
		token := signIn(t, newPerson(t), light)
		a.infer(t, token.AccessToken).want(t, http.StatusOK, "setosa")
		time.Sleep(levelAge + 2*time.Second)
		a.infer(t, token.AccessToken).challenge(t, "a lightweight token")
	})

	t.Run("modelctl", func(t *testing.T) {
		m, max := &modelctl{t: t, dir: t.TempDir()}, newPerson(t)
		finish := func(command *run) {
			t.Helper()
			pg := max.open(t, command.address(`http://\S+/auth\?\S+`))
			if strings.Contains(pg.Body, `name="username"`) {
				pg = pg.submit(t, loginForm("max", signInPassword))
			}
			pg = pg.withPassword(t)
			pg.wantCode(t, "modelctl")
			back := pg.submit(t, otpForm(app))
			res, err := http.Get(back.URL.String())
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
		}
		m.env = []string{"BROWSER=true"} // the test's own person opens what is shown
		login := m.start("login", "-api", a.URL, "-issuer", st.output("issuer"))
		finish(login)
		login.want(0, "Signed in")
		flowers := filepath.Join(m.dir, "flowers.csv")
		writeFile(t, flowers, []byte("5.1,3.5,1.4,0.2\n"))
		m.run("predict", "iris", flowers).want(0, "setosa")
		time.Sleep(levelAge + 2*time.Second)
		m.run("models").want(0, "iris")
		predict := m.start("predict", "iris", flowers)
		finish(predict)
		predict.want(0, "setosa")
		if !strings.Contains(predict.output(), "Model iris asks for a sign-in of level 2") {
			t.Errorf("it doesn't say why: %s", predict.output())
		}
		m.run("predict", "iris", flowers).want(0, "setosa")

		time.Sleep(levelAge + 2*time.Second)
		m.env = []string{"BROWSER=false"}
		m.run("predict", "iris", flowers).want(1, "the device flow has no levels")
	})

	t.Run("the playground", func(t *testing.T) {
		b := startChromium(t).visit(t, a.URL+"/login")
		b.signIn("max", signInPassword)
		b.giveCode(app.code())
		b.see("Sepal length")
		b.fill("#predict [name='0.0']", "5.55")
		b.do(chromedp.Click("#predict button"), chromedp.WaitVisible("table.bars"))
		b.do(chromedp.Sleep(levelAge + 2*time.Second))
		b.do(chromedp.Click("#predict button"))
		b.see("not older than 12s")
		b.see("Max Muster") // nobody was signed out
		tab := b.tab(t, b.eval(`document.querySelector("#result a").href`))
		tab.do(chromedp.WaitVisible("#password"), chromedp.SetValue("#password", signInPassword), chromedp.Click("#kc-login"))
		tab.giveCode(app.code())
		tab.see("Sepal length")
		b.do(chromedp.Click("#predict button"), chromedp.WaitVisible("table.bars"))
		if kept := b.eval(`document.querySelector("#predict [name='0.0']").value`); kept != "5.55" {
			t.Errorf("the value is %s", kept)
		}
		b.noSecret()
	})
}

// giveCode types a one-time code where Keycloak asks for it.
func (p *browserPage) giveCode(code string) {
	p.t.Helper()
	p.do(chromedp.WaitVisible("#otp"), chromedp.SetValue("#otp", code), chromedp.Click("#kc-login"))
}

// withPassword types the password once more where the page asks for it.
func (pg *screen) withPassword(t *testing.T) *screen {
	t.Helper()
	if strings.Contains(pg.Body, `name="password"`) {
		return pg.submit(t, url.Values{"password": {signInPassword}})
	}
	return pg
}

// takeApp takes a user's authenticator app away.
func takeApp(t *testing.T, st *stack, username string) {
	t.Helper()
	user := "/realms/" + st.output("realm_name") + "/users/" + userID(t, st, username)
	var credentials []struct{ ID, Type string }
	if err := e.admin.Do(t.Context(), http.MethodGet, user+"/credentials", nil, &credentials); err != nil {
		t.Fatal(err)
	}
	for _, c := range credentials {
		if c.Type != "otp" {
			continue
		}
		if err := e.admin.Do(t.Context(), http.MethodDelete, user+"/credentials/"+c.ID, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
}
