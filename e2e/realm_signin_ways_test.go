package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/render"
)

// waysConfig is a realm in which ada needs a second factor, and the others may have one.
const waysConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: ways
  keycloak-model-api:signIn:
    secondFactor: required
    for: [curator]
    factors: [otp, recoveryCodes]
  keycloak-model-api:login: {rememberMe: true}
  keycloak-model-api:roles:
    - {name: curator}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [curator]}
    - {username: bob, email: bob@example.com, firstName: Bob, lastName: Builder, password: permanent, roles: [curator]}
    - {username: eve, email: eve@example.com, firstName: Eve, lastName: Adams, password: permanent}
    - {username: ivy, email: ivy@example.com, firstName: Ivy, lastName: Green, password: permanent}
    - {username: rex, email: rex@example.com, firstName: Rex, lastName: King, password: permanent}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
    - {clientId: portal, kind: web, redirectUris: [https://portal.example.com/callback]}
    - {clientId: model-cli, kind: cli}
`

// TestSignInOtherWays tries, with the password alone, what is no sign-in form: a
// browser that is remembered, the exchange of a token, setting up and deleting factors
// from any client, and recovery codes.
func TestSignInOtherWays(t *testing.T) {
	secrets := secretsOf{
		"clientSecrets":    {"model-api": "a-secret-of-the-tests-1", "portal": "a-secret-of-the-tests-2"},
		"initialPasswords": {},
	}
	for _, user := range []string{"ada", "bob", "eve", "ivy", "rex"} {
		secrets["initialPasswords"][user] = signInPassword
	}
	st := e.up(t, waysConfig, secrets)
	setRealm(t, st, map[string]any{"otpPolicyLookAheadWindow": 100})
	ada := giveApp(t, st, "ada")
	portal := st.relyingParty("portal", "https://portal.example.com/callback")
	console := st.relyingParty("account-console", e.keycloak.BaseURL+"/realms/ways/account/")
	verifier := oauth2.GenerateVerifier()
	withPassword := func(t *testing.T, user string, parameters ...string) *screen {
		t.Helper()
		return newPerson(t).authorize(t, portal, verifier, parameters...).submit(t, loginForm(user, signInPassword))
	}

	t.Run("every client that people sign in with names the flows", func(t *testing.T) {
		var clients []struct {
			ClientID                           string
			BearerOnly, StandardFlowEnabled    bool
			DirectAccessGrantsEnabled          bool
			AuthenticationFlowBindingOverrides map[string]string
			Attributes                         map[string]string
		}
		if err := e.admin.Do(t.Context(), http.MethodGet, "/realms/ways/clients", nil, &clients); err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, c := range clients {
			device := c.Attributes["oauth2.device.authorization.grant.enabled"] == "true"
			if c.BearerOnly || !c.StandardFlowEnabled && !c.DirectAccessGrantsEnabled && !device {
				continue
			}
			seen++
			if c.AuthenticationFlowBindingOverrides["browser"] == "" || c.AuthenticationFlowBindingOverrides["direct_grant"] == "" {
				t.Errorf("client %s takes the flows that the realm binds: %v", c.ClientID, c.AuthenticationFlowBindingOverrides)
			}
		}
		if seen < 7 { // ours, account, account-console, admin-cli, security-admin-console
			t.Errorf("%d clients sign people in", seen)
		}
	})
	t.Run("a browser that remembers somebody", func(t *testing.T) {
		remembered := loginForm("ada", signInPassword)
		remembered.Set("rememberMe", "on")
		person := newPerson(t)
		person.authorize(t, portal, verifier).submit(t, remembered).wantCode(t, "after the password")
		again := person.authorize(t, portal, verifier)
		if again.URL.Query().Get("code") != "" {
			t.Fatal("the browser is signed in by the password alone")
		}
		if !again.asksForCode() {
			again = again.submit(t, remembered)
		}
		again.wantCode(t, "the next time")
		first := again.submit(t, otpForm(ada)).exchange(t, portal, verifier)
		next := person.authorize(t, portal, verifier).exchange(t, portal, verifier)
		if diff := cmp.Diff(levelsOf(t, first.AccessToken), levelsOf(t, next.AccessToken)); diff != "" || levelsOf(t, next.AccessToken)["2"] == 0 {
			t.Errorf("levels of the remembered session (-first +next):\n%s", diff)
		}
	})
	t.Run("an exchanged token has the levels of its session", func(t *testing.T) {
		exchange := func(t *testing.T, subject string, more ...string) map[string]int64 {
			t.Helper()
			form := url.Values{
				"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {"model-api"},
				"client_secret": {st.clientSecret("model-api")}, "subject_token": {subject},
				"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
			}
			for i := 0; i < len(more); i += 2 {
				form.Set(more[i], more[i+1])
			}
			return levelsOf(t, st.token(t, form).AccessToken)
		}
		eve := withPassword(t, "eve").exchange(t, portal, verifier).AccessToken
		for _, more := range [][]string{nil, {"acr_values", "2"}, {"claims", `{"id_token":{"acr":{"essential":true,"values":["2"]}}}`}} {
			if got := exchange(t, eve, more...); got["1"] == 0 || got["2"] != 0 {
				t.Errorf("%v: levels of the password alone are %v", more, got)
			}
		}
		strong := withPassword(t, "ada").submit(t, otpForm(ada)).exchange(t, portal, verifier).AccessToken
		if diff := cmp.Diff(levelsOf(t, strong), exchange(t, strong)); diff != "" {
			t.Errorf("levels (-subject +exchanged):\n%s", diff)
		}
	})
	t.Run("factors are the business of whoever has given one", func(t *testing.T) {
		actions := []string{"CONFIGURE_TOTP", "CONFIGURE_RECOVERY_AUTHN_CODES", "delete_credential:" + credentialID(t, st, "ada", "otp")}
		for name, client := range map[string]*oauth2.Config{
			"portal": portal, "account-console": console,
			"model-cli":              st.relyingParty("model-cli", "http://127.0.0.1/callback"),
			"security-admin-console": st.relyingParty("security-admin-console", e.keycloak.BaseURL+"/admin/ways/console/"),
		} {
			for _, action := range actions {
				newPerson(t).authorize(t, client, verifier, "kc_action", action).submit(t, loginForm("ada", signInPassword)).wantCode(t, name+", "+action)
			}
			newPerson(t).authorize(t, client, verifier, "kc_action", "CONFIGURE_TOTP").submit(t, loginForm("bob", signInPassword)).
				wantText(t, name+", who has none and needs one", "Your account needs a second factor")
		}
	})
	t.Run("a session from before a factor changes none", func(t *testing.T) {
		person := newPerson(t)
		before := person.authorize(t, console, verifier).submit(t, loginForm("ivy", signInPassword)).exchange(t, console, verifier)
		giveApp(t, st, "ivy")
		id := credentialID(t, st, "ivy", "otp")
		for _, action := range []string{"CONFIGURE_TOTP", "delete_credential:" + id} {
			pg := person.authorize(t, portal, verifier, "kc_action", action)
			if strings.Contains(pg.Body, `name="password"`) {
				pg = pg.submit(t, loginForm("ivy", signInPassword))
			}
			pg.wantCode(t, action)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, e.keycloak.BaseURL+"/realms/ways/account/credentials/"+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+before.AccessToken)
		r.Header.Set("Accept", "application/json")
		if got := send(t, http.DefaultClient, r); got.Status != http.StatusForbidden {
			t.Errorf("the account API answers %d %s to a deletion at level 1", got.Status, got.Body)
		}
		credentialID(t, st, "ivy", "otp")
	})
	t.Run("recovery codes are a factor", func(t *testing.T) {
		setup := withPassword(t, "rex", "kc_action", "CONFIGURE_RECOVERY_AUTHN_CODES")
		codes := strings.Split(hidden(t, setup, "generatedRecoveryAuthnCodes"), ",")
		token := setup.submit(t, url.Values{"userLabel": {"codes"}}).exchange(t, portal, verifier)
		if levels := levelsOf(t, token.AccessToken); levels["2"] != 0 {
			t.Errorf("setting them up brings the levels %v", levels)
		}
		for _, parameters := range [][]string{nil, {"acr_values", "1"}, {"kc_action", "CONFIGURE_TOTP"}} {
			withPassword(t, "rex", parameters...).wantText(t, fmt.Sprint(parameters), `name="recoveryCodeInput"`)
		}
		pg := withPassword(t, "rex").submit(t, url.Values{"recoveryCodeInput": {codes[0]}})
		if levels := levelsOf(t, pg.exchange(t, portal, verifier).AccessToken); levels["2"] == 0 {
			t.Errorf("levels are %v", levels)
		}
		// Each code is good once, and Keycloak says which is next.
		used := withPassword(t, "rex").submit(t, url.Values{"recoveryCodeInput": {codes[0]}})
		used.wantText(t, "a code that was used", `name="recoveryCodeInput"`)
		noPasswordGrant(t, st, "rex")
	})
}

// credentialID is the id of a user's credential of that kind, which must be there.
func credentialID(t *testing.T, st *stack, username, kind string) string {
	t.Helper()
	var credentials []struct{ ID, Type string }
	path := "/realms/" + st.output("realm_name") + "/users/" + userID(t, st, username) + "/credentials"
	if err := e.admin.Do(t.Context(), http.MethodGet, path, nil, &credentials); err != nil {
		t.Fatal(err)
	}
	for _, c := range credentials {
		if c.Type == kind {
			return c.ID
		}
	}
	t.Fatalf("%s has no %s: %v", username, kind, credentials)
	return ""
}

var ofOwnClients = regexp.MustCompile(`^clients\.(account|account-console|admin-cli|security-admin-console)\.attributes\.`)

// leavingConfig is a realm that gives up its second factor. MODE is all of signIn.
const leavingConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: leaving
MODE
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent}
    - {username: bob, email: bob@example.com, firstName: Bob, lastName: Builder, password: permanent}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api}
    - {clientId: portal, kind: web, redirectUris: [https://portal.example.com/callback]}
`

// TestSignInTakenBack goes the way back that docs/sign-in.md describes: off, then
// without the key. An up does by the provider what this test sends to Keycloak, and
// Keycloak must then be as the stack declares it, with nobody locked out. The local way
// makes the realm anew each time.
func TestSignInTakenBack(t *testing.T) {
	secrets := secretsOf{
		"clientSecrets":    {"model-api": "a-secret-of-the-tests-1", "portal": "a-secret-of-the-tests-2"},
		"initialPasswords": {"ada": signInPassword, "bob": signInPassword},
	}
	config := func(signIn string) string { return strings.Replace(leavingConfig, "MODE\n", signIn, 1) }
	off, none := config("  keycloak-model-api:signIn: {secondFactor: \"off\"}\n"), config("")
	st := e.up(t, config("  keycloak-model-api:signIn: {secondFactor: required}\n"), secrets)
	model := func(yaml string) *render.Realm {
		t.Helper()
		result, err := e.declare(t, yaml, secrets)
		if err != nil {
			t.Fatal(err)
		}
		realms, err := render.Build(result.Resources)
		if err != nil {
			t.Fatal(err)
		}
		return realms[0]
	}
	ada := giveApp(t, st, "ada")
	setRealm(t, st, map[string]any{"otpPolicyLookAheadWindow": 100})
	portal := st.relyingParty("portal", "https://portal.example.com/callback")
	verifier := oauth2.GenerateVerifier()
	withPassword := func(user string) *screen {
		t.Helper()
		return newPerson(t).authorize(t, portal, verifier).submit(t, loginForm(user, signInPassword))
	}
	do := func(method, path string, in, out any) error {
		return e.admin.Do(t.Context(), method, "/realms/leaving"+path, in, out)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// nobodyIsLockedOut holds from off on: Keycloak asks for a code whom it always did.
	nobodyIsLockedOut := func() {
		t.Helper()
		withPassword("bob").exchange(t, portal, verifier)
		pg := withPassword("ada")
		pg.wantCode(t, "ada")
		pg.submit(t, otpForm(ada)).exchange(t, portal, verifier)
		newPerson(t).authorize(t, st.relyingParty("account-console", e.keycloak.BaseURL+"/realms/leaving/account/"), verifier).
			submit(t, loginForm("bob", signInPassword)).wantLeft(t)
	}
	withPassword("bob").wantText(t, "before", "Your account needs a second factor")

	var flows []struct{ ID, Alias string }
	must(do(http.MethodGet, "/authentication/flows", nil, &flows))
	flows = slices.DeleteFunc(flows, func(f struct{ ID, Alias string }) bool { return !strings.HasPrefix(f.Alias, "model-api-") })
	if len(flows) < 5 {
		t.Fatalf("flows %v", flows)
	}
	bind := func() {
		t.Helper()
		var realm map[string]any
		must(do(http.MethodGet, "", nil, &realm))
		maps.Copy(realm, map[string]any{
			"browserFlow": "browser", "directGrantFlow": "direct grant", "resetCredentialsFlow": "reset credentials", "registrationFlow": "registration",
		})
		delete(realm["attributes"].(map[string]any), "acr.loa.map")
		realm["otpPolicyLookAheadWindow"] = 1
		must(do(http.MethodPut, "", realm, nil))
	}

	// The key taken out at once: Keycloak's own clients still name the flow.
	bind()
	browser := flows[slices.IndexFunc(flows, func(f struct{ ID, Alias string }) bool { return strings.HasPrefix(f.Alias, "model-api-browser-") })]
	if err := do(http.MethodDelete, "/authentication/flows/"+browser.ID, nil, nil); !keycloak.IsStatus(err, http.StatusInternalServerError) {
		t.Errorf("a flow that clients name is deleted: %v", err)
	}
	withPassword("bob").wantText(t, "still", "Your account needs a second factor")

	// off
	var clients []map[string]any
	must(do(http.MethodGet, "/clients", nil, &clients))
	for _, c := range clients {
		if overrides, _ := c["authenticationFlowBindingOverrides"].(map[string]any); len(overrides) > 0 {
			c["authenticationFlowBindingOverrides"] = map[string]string{"browser": "", "direct_grant": ""}
			must(do(http.MethodPut, "/clients/"+c["id"].(string), c, nil))
		}
	}
	for _, f := range flows {
		must(do(http.MethodDelete, "/authentication/flows/"+f.ID, nil, nil))
	}
	var scopes []struct {
		ID, Name        string
		ProtocolMappers []struct{ ID, Name string }
	}
	must(do(http.MethodGet, "/client-scopes", nil, &scopes))
	for _, s := range scopes {
		for _, m := range s.ProtocolMappers {
			if s.Name == "model-api" && m.Name == "levels" {
				must(do(http.MethodDelete, "/client-scopes/"+s.ID+"/protocol-mappers/models/"+m.ID, nil, nil))
			}
		}
	}
	account := reader(t, "leaving", keycloak.ReadRoles...)
	if report, stderr, exit := runDrift(t, off, account); exit != 0 {
		t.Errorf("not as declared: exit status %d\n%s\n%+v", exit, stderr, report)
	}
	nobodyIsLockedOut()

	// Without the key nobody says anything of Keycloak's own clients, which keep what the
	// provider wrote.
	report, stderr, _ := runDrift(t, none, account)
	for _, f := range append(report.Overwritten, report.Left...) {
		if !ofOwnClients.MatchString(f.Path) {
			t.Errorf("%+v", f)
		}
	}
	if len(report.Left) == 0 {
		t.Error(stderr)
	}
	for _, without := range []string{off, none} {
		must(model(without).Apply(t.Context(), e.admin))
		ada = giveApp(t, st, "ada")
		setRealm(t, st, map[string]any{"otpPolicyLookAheadWindow": 100})
		nobodyIsLockedOut()
	}
}

// wantLeft fails the test unless Keycloak has sent the browser back to the client.
func (pg *screen) wantLeft(t *testing.T) {
	t.Helper()
	if pg.URL.Query().Get("code") == "" && !strings.Contains(pg.URL.Fragment, "code=") {
		text, _ := json.Marshal(pg.text())
		t.Fatalf("the browser is at %s (%d): %s", pg.URL, pg.Status, text)
	}
}
