package e2e

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
)

// What the review says is what the API decides, for each user, service account
// and model, by the live realm and by the configuration.
func TestAccessReview(t *testing.T) {
	const password = "correct horse battery staple 7C"
	const config = `config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: reviewed
  keycloak-model-api:models:
    - {name: open, embedded: iris, allow: {roles: [model-api-access]}}
    - {name: iris, embedded: iris}
    - {name: vision, embedded: iris, allow: {groups: [vision]}}
    - {name: both, embedded: iris, allow: {roles: [model-iris], groups: [research]}}
    - {name: nightly, embedded: iris, allow: {clients: [batch]}}
  keycloak-model-api:groups:
    - {name: research, roles: [model-iris]}
    - {name: vision, roles: [model-api-access]}
  keycloak-model-api:clients:
    - {clientId: api, kind: api, directAccessGrants: true}
    - {clientId: batch, kind: service, serviceAccountRoles: [model-iris]}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Tester, password: permanent, groups: [vision]}
    - {username: bob, email: bob@example.com, firstName: Bob, lastName: Tester, password: permanent, groups: [research, vision]}
    - {username: carol, email: carol@example.com, firstName: Carol, lastName: Tester, password: permanent, roles: [model-iris]}
    - {username: dan, email: dan@example.com, firstName: Dan, lastName: Tester, password: permanent}
    - {username: eve, email: eve@example.com, firstName: Eve, lastName: Tester, password: permanent, enabled: false, roles: [model-iris]}
`
	people := []string{"ada", "bob", "carol", "dan", "eve"}
	passwords := map[string]string{}
	for _, name := range people {
		passwords[name] = password
	}
	st := e.up(t, config, secretsOf{
		"clientSecrets":    {"api": "an-api-client-secret-of-the-tests", "batch": "a-batch-client-secret-of-the-tests"},
		"initialPasswords": passwords,
	})
	a := e.startAPI(t, st)

	command := exec.Command(e.program("api"), "access", "-stack", st.File, "-format", "csv")
	command.Env = append(command.Environ(), "KEYCLOAK_CLIENT_ID="+e.keycloak.Admin.ClientID, "KEYCLOAK_CLIENT_SECRET="+e.keycloak.Admin.ClientSecret)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	records, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	may := map[string]bool{}
	for _, r := range records[1:] {
		may[r[0]+" "+r[2]] = true
	}

	models := []string{"open", "iris", "vision", "both", "nightly"}
	asked, allowed := 0, 0
	check := func(name string, form url.Values) {
		t.Helper()
		got := st.tryToken(t, form)
		token := got.AccessToken
		if disabled := name == "eve"; disabled != (token == "") {
			t.Errorf("%s gets a token: %v, %s %s", name, token != "", got.Error, got.Description)
		}
		for _, model := range models {
			decided := token != "" && a.do(t, http.MethodGet, "/v2/models/"+model, token, "").Status == http.StatusOK
			if decided != may[name+" "+model] {
				t.Errorf("%s and %s: the API says %v, the review %v\n%s", name, model, decided, !decided, out)
			}
			if asked++; decided {
				allowed++
			}
		}
	}
	for _, name := range people {
		check(name, st.password(name, password))
	}
	check("service-account-batch", st.clientCredentials("batch"))
	if asked != 30 || allowed < 8 || allowed > 20 {
		t.Errorf("%d of %d were allowed: the test compares nothing", allowed, asked)
	}
}
