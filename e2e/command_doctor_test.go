package e2e

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// doctor runs the subcommand on a stack and returns its findings by check, of
// those that are not ok.
func (s *suite) doctor(t *testing.T, st *stack, args ...string) (levels map[string]string, failed bool, output string) {
	t.Helper()
	command := exec.Command(s.program("api"), append([]string{"doctor", "-json", "-stack", st.File}, args...)...)
	out, err := command.Output()
	var findings []struct{ Check, Level, Found string }
	if jsonErr := json.Unmarshal(out, &findings); jsonErr != nil {
		t.Fatalf("%v (%v): %s", jsonErr, err, out)
	}
	levels = map[string]string{}
	for _, f := range findings {
		if f.Level != "ok" && levels[f.Check] != "failure" {
			levels[f.Check] = f.Level
		}
	}
	return levels, err != nil, string(out)
}

func TestDoctorOfTheDevStack(t *testing.T) {
	st := e.up(t, e.devConfig(t), devSecrets())
	levels, failed, output := e.doctor(t, st)
	// The dev stack has full scope and no PKCE: it says so.
	want := map[string]string{"token model-serving-api": "warning", "token my-api-client": "warning", "pkce my-api-client": "warning"}
	if failed || len(levels) != len(want) {
		t.Errorf("failed: %v\n%s", failed, output)
	}
	for check, level := range want {
		if levels[check] != level {
			t.Errorf("%s is %q, want %q\n%s", check, levels[check], level, output)
		}
	}
}

func TestDoctorOfAHardenedStack(t *testing.T) {
	const config = `config:
  keycloak-model-api:environment: staging
  keycloak-model-api:realm: doctored
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
  keycloak-model-api:clients:
    - {clientId: api, kind: api}
    - {clientId: web, kind: web, redirectUris: ["http://127.0.0.1:8000/callback"], postLogoutRedirectUris: ["http://127.0.0.1:8000/"], serviceAccount: true, serviceAccountRoles: [model-iris]}
    - {clientId: modelctl, kind: cli}
`
	st := e.up(t, config, secretsOf{"clientSecrets": {"api": "an-api-client-secret-of-the-tests", "web": "a-web-client-secret-of-the-tests"}})
	levels, failed, output := e.doctor(t, st)
	if failed || len(levels) > 0 {
		t.Errorf("findings %v\n%s", levels, output)
	}
	for _, want := range []string{"model-api-access, model-iris", `"demanded"`, "others are refused"} {
		if !strings.Contains(output, want) {
			t.Errorf("output lacks %q:\n%s", want, output)
		}
	}

	t.Run("what a person changed by hand", func(t *testing.T) {
		change(t, "doctored", "web", func(client map[string]any) {
			client["redirectUris"] = []string{"*"}
			client["implicitFlowEnabled"] = true
			client["secret"] = "another-secret-than-the-stack-has"
			attributes := client["attributes"].(map[string]any)
			attributes["post.logout.redirect.uris"] = "*"
			attributes["pkce.code.challenge.method"] = ""
		})
		levels, failed, output := e.doctor(t, st)
		for check, level := range map[string]string{
			"token web": "failure", "pkce web": "warning", "redirects web": "failure", "implicit flow web": "failure", "sign-out": "failure",
		} {
			if levels[check] != level {
				t.Errorf("%s is %q, want %q\n%s", check, levels[check], level, output)
			}
		}
		if !failed {
			t.Error("the exit status is 0")
		}
	})
}

// change edits a client by the Admin REST API and returns its id there.
func change(t *testing.T, realm, clientID string, edit func(client map[string]any)) string {
	t.Helper()
	var found []map[string]any
	path := "/realms/" + realm + "/clients"
	if err := e.admin.Do(t.Context(), "GET", path+"?clientId="+clientID, nil, &found); err != nil || len(found) != 1 {
		t.Fatalf("%d clients %s, %v", len(found), clientID, err)
	}
	edit(found[0])
	id := found[0]["id"].(string)
	if err := e.admin.Do(t.Context(), "PUT", path+"/"+id, found[0], nil); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestDoctorOfLevels looks, where a model asks how its callers signed in, at what the
// tokens of clients can say of it.
func TestDoctorOfLevels(t *testing.T) {
	const config = `config:
  keycloak-model-api:environment: staging
  keycloak-model-api:realm: levels
  keycloak-model-api:signIn: {secondFactor: optional}
  keycloak-model-api:models:
    - {name: iris, embedded: iris, authentication: {level: 2}}
  keycloak-model-api:clients:
    - {clientId: api, kind: api}
    - {clientId: web, kind: web, redirectUris: ["http://127.0.0.1:8000/callback"], postLogoutRedirectUris: ["http://127.0.0.1:8000/"]}
    - {clientId: modelctl, kind: cli}
`
	st := e.up(t, config, secretsOf{"clientSecrets": {"api": "an-api-client-secret-of-the-tests", "web": "a-web-client-secret-of-the-tests"}})
	if levels, failed, output := e.doctor(t, st); failed || len(levels) != 1 || levels["levels"] != "warning" {
		t.Errorf("without an account: %v\n%s", levels, output)
	}
	for _, variable := range reader(t, "levels", "view-clients", "view-realm") {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	if levels, failed, output := e.doctor(t, st); failed || len(levels) > 0 {
		t.Errorf("findings %v\n%s", levels, output)
	}

	var scopes []struct {
		ID, Name        string
		ProtocolMappers []struct{ ID, Name string }
	}
	do := func(method, path string, out any) {
		t.Helper()
		if err := e.admin.Do(t.Context(), method, "/realms/levels"+path, nil, out); err != nil {
			t.Fatal(err)
		}
	}
	web := change(t, "levels", "web", func(map[string]any) {})
	do("GET", "/client-scopes", &scopes)
	for _, s := range scopes {
		if s.Name == "acr" {
			do("DELETE", "/clients/"+web+"/default-client-scopes/"+s.ID, nil)
		}
	}
	if levels, _, output := e.doctor(t, st); len(levels) != 1 || levels["levels web"] != "failure" || !strings.Contains(output, "lacks the default scopes acr") {
		t.Errorf("without acr: %v\n%s", levels, output)
	}
	for _, s := range scopes {
		for _, m := range s.ProtocolMappers {
			if s.Name == "model-api" && m.Name == "levels" {
				do("DELETE", "/client-scopes/"+s.ID+"/protocol-mappers/models/"+m.ID, nil)
			}
		}
	}
	if levels, _, output := e.doctor(t, st); levels["levels api"] != "failure" || levels["levels modelctl"] != "failure" {
		t.Errorf("without the mapper: %v\n%s", levels, output)
	}
}
