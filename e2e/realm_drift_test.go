package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keycloak-model-api/internal/drift"
	"keycloak-model-api/internal/keycloak"
)

const driftConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: drifting
  keycloak-model-api:lifetimes:
    ssoIdle: 20m
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
  keycloak-model-api:roles:
    - {name: analyst}
  keycloak-model-api:groups:
    - {name: everyone, default: true}
    - {name: botany, roles: [model-iris]}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: none, groups: [botany]}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api}
    - clientId: portal
      kind: web
      redirectUris: ["https://portal.example.com/callback"]
    - {clientId: nightly, kind: service, serviceAccountRoles: [model-iris]}
`

var driftSecrets = secretsOf{"clientSecrets": {
	"model-api": "a-secret-of-the-tests-1", "portal": "a-secret-of-the-tests-2", "nightly": "a-secret-of-the-tests-3",
}}

// stackCommand runs the compiled ./dev/stack for a configuration, as dev does.
func stackCommand(t *testing.T, yaml string, env []string, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	dir := t.TempDir()
	project, err := os.ReadFile(filepath.Join(e.root, "Pulumi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "Pulumi.yaml"), project)
	writeFile(t, filepath.Join(dir, "Pulumi.e2e.yaml"), []byte(yaml))
	command := exec.Command(e.program("stack"), append([]string{
		"-dir", dir, "-stack", "e2e", "-program", e.program("keycloak-model-api"), "-state", filepath.Join(dir, ".dev")}, args...)...)
	command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err = command.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

// runDrift compares the live realm with a configuration.
func runDrift(t *testing.T, yaml string, env []string) (report drift.Report, stderr string, exit int) {
	t.Helper()
	out, stderr, exit := stackCommand(t, yaml, env, "-json", "-keycloak", e.keycloak.BaseURL, "drift")
	if strings.HasPrefix(out, "{") {
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	} else {
		stderr += out
	}
	return report, stderr, exit
}

// reader makes an account of the realm master with roles of one realm, and returns
// the environment that names it.
func reader(t *testing.T, realm string, roles ...string) []string {
	t.Helper()
	id := "reader-of-" + strings.Join(append([]string{realm}, roles...), "-")
	admin := func(method, path string, in, out any) {
		t.Helper()
		if err := e.admin.Do(t.Context(), method, "/realms/master"+path, in, out); err != nil {
			t.Fatal(err)
		}
	}
	client, err := e.admin.Create(t.Context(), "/realms/master/clients", map[string]any{
		"clientId": id, "secret": "a-secret", "serviceAccountsEnabled": true, "standardFlowEnabled": false,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.admin.Do(t.Context(), http.MethodDelete, "/realms/master/clients/"+client, nil, nil) })
	var account struct{ ID string }
	admin(http.MethodGet, "/clients/"+client+"/service-account-user", nil, &account)
	var of []struct{ ID string }
	admin(http.MethodGet, "/clients?clientId="+realm+"-realm", nil, &of)
	var all, given []map[string]any
	admin(http.MethodGet, "/clients/"+of[0].ID+"/roles", nil, &all)
	for _, role := range all {
		if slices.Contains(roles, role["name"].(string)) {
			given = append(given, role)
		}
	}
	admin(http.MethodPost, "/users/"+account.ID+"/role-mappings/clients/"+of[0].ID, given, nil)
	return []string{"KEYCLOAK_CLIENT_ID=" + id, "KEYCLOAK_CLIENT_SECRET=a-secret"}
}

// TestDrift changes a live realm by hand and has an account that may only read tell
// what the next up would do about it.
func TestDrift(t *testing.T) {
	st := e.up(t, driftConfig, driftSecrets)
	account := reader(t, "drifting", keycloak.ReadRoles...)
	if report, stderr, exit := runDrift(t, driftConfig, account); exit != 0 {
		t.Fatalf("a realm as declared: exit status %d\n%s\n%+v", exit, stderr, report)
	}
	t.Run("an account without one of the roles", func(t *testing.T) {
		for i, role := range keycloak.ReadRoles {
			others := slices.Delete(slices.Clone(keycloak.ReadRoles), i, i+1)
			_, stderr, exit := runDrift(t, driftConfig, reader(t, "drifting", others...))
			if exit != 2 || !strings.Contains(stderr, "reading it needs the roles view-realm") {
				t.Errorf("without %s: exit status %d\n%s", role, exit, stderr)
			}
		}
	})
	driftByHand(t, st)
	report, stderr, exit := runDrift(t, driftConfig, account)
	if exit != 1 {
		t.Fatalf("exit status %d\n%s", exit, stderr)
	}
	lost, left := map[string]string{}, map[string]bool{}
	for _, f := range report.Overwritten {
		lost[f.Path] = f.When()
	}
	for _, f := range report.Left {
		left[f.Path] = true
		if strings.HasSuffix(f.Path, ".fallback-ES256") && (len(f.Remedy) != 1 || !strings.HasPrefix(f.Remedy[0], "kcadm.sh delete components/")) {
			t.Errorf("no way to remove the key provider: %v", f.Remedy)
		}
	}
	for path, want := range map[string]string{
		"smtpServer":            "by a plain up that changes the realm, and by every up --refresh",
		"accessTokenLifespan":   "by a plain up that changes the realm, and by every up --refresh",
		"ssoSessionIdleTimeout": "by a plain up that changes the realm, and by every up --refresh",
		"browserFlow":           "by a plain up that changes the realm; up --refresh keeps it",
		"clients.portal.authenticationFlowBindingOverrides": "by a plain up that changes client portal, and by every up --refresh",
		"clients.portal.redirectUris":                       "by a plain up that changes client portal, and by every up --refresh",
		"users.ada.emailVerified":                           "by a plain up that changes user ada; up --refresh keeps it",
		"users.ada.federatedIdentities":                     "by a plain up that changes user ada; up --refresh keeps it",
		"roles.realm.analyst":                               "by up --refresh only",
	} {
		if lost[path] != want {
			t.Errorf("%s is lost %q, want %q", path, lost[path], want)
		}
		delete(lost, path)
	}
	for _, path := range []string{
		"components.org.keycloak.keys.KeyProvider.fallback-ES256", "clients.portal.attributes.acr.loa.map", "roles.realm.by-hand",
		"identityProviders.corporate", "authenticationFlows.copy of browser",
	} {
		if !left[path] {
			t.Errorf("%s is not among what is left", path)
		}
	}
	if len(lost) > 0 {
		t.Errorf("lost, too: %v", slices.Sorted(maps.Keys(lost)))
	}
	t.Run("lines to paste", func(t *testing.T) { pasteDeclarations(t, report, account) })
	t.Run("another name for the realm", func(t *testing.T) {
		_, said, exit := runDrift(t, strings.Replace(driftConfig, "realm: drifting", "realm: drifted", 1), account)
		if exit != 1 || !strings.Contains(said, "Realm drifted does not exist, and realm drifting was made by this stack") {
			t.Errorf("exit status %d\n%s", exit, said)
		}
	})
}

// driftByHand does what people do in the admin console.
func driftByHand(t *testing.T, st *stack) {
	t.Helper()
	const realm = "/realms/drifting"
	do := func(method, path string, in, out any) {
		t.Helper()
		if err := e.admin.Do(t.Context(), method, realm+path, in, out); err != nil {
			t.Fatal(err)
		}
	}
	do(http.MethodPost, "/authentication/flows/browser/copy", map[string]any{"newName": "copy of browser"}, nil)
	var flows []struct{ ID, Alias string }
	do(http.MethodGet, "/authentication/flows", nil, &flows)
	copied := flows[slices.IndexFunc(flows, func(f struct{ ID, Alias string }) bool { return f.Alias == "copy of browser" })].ID

	var settings map[string]any
	do(http.MethodGet, "", nil, &settings)
	settings["accessTokenLifespan"], settings["ssoSessionIdleTimeout"] = 600, 900
	settings["browserFlow"] = "copy of browser"
	settings["smtpServer"] = map[string]any{"host": "mail.example.com", "from": "realm@example.com", "auth": "true", "user": "realm", "password": "hunter2"}
	do(http.MethodPut, "", settings, nil)

	var portals []map[string]any
	do(http.MethodGet, "/clients?clientId=portal", nil, &portals)
	portal := portals[0]
	portal["redirectUris"] = []string{"https://portal.example.com/callback", "https://other.example.com/callback"}
	portal["authenticationFlowBindingOverrides"] = map[string]any{"browser": copied}
	portal["attributes"].(map[string]any)["acr.loa.map"] = `{"gold":2}`
	do(http.MethodPut, "/clients/"+portal["id"].(string), portal, nil)

	do(http.MethodPost, "/identity-provider/instances", map[string]any{
		"alias": "corporate", "providerId": "oidc", "config": map[string]any{
			"authorizationUrl": "https://sso.example.com/a", "tokenUrl": "https://sso.example.com/t", "clientId": "x", "clientSecret": "hunter2"},
	}, nil)
	var users []map[string]any
	do(http.MethodGet, "/users?username=ada", nil, &users)
	ada := users[0]
	ada["emailVerified"] = true
	do(http.MethodPut, "/users/"+ada["id"].(string), ada, nil)
	do(http.MethodPost, "/users/"+ada["id"].(string)+"/federated-identity/corporate", map[string]any{"userId": "1", "userName": "ada"}, nil)

	do(http.MethodPost, "/roles", map[string]any{"name": "by-hand", "description": "Made by hand"}, nil)
	do(http.MethodDelete, "/roles/analyst", nil, nil)
	key := keyProvider{Name: "fallback-ES256", Type: "ecdsa-generated", Config: map[string][]string{"priority": {"-100"}, "ecdsaEllipticCurveKey": {"P-256"}}}
	key.create(t, st)
}

// pasteDeclarations puts what drift offers into the configuration, after which what it
// names is no difference.
func pasteDeclarations(t *testing.T, report drift.Report, account []string) {
	yaml := driftConfig
	paste := func(key string, replace ...string) []string {
		i := slices.IndexFunc(report.Declarable, func(d drift.Declaration) bool { return d.Key == "keycloak-model-api:"+key })
		if i < 0 {
			t.Fatalf("nothing is offered for %s", key)
		}
		d := report.Declarable[i]
		if !strings.Contains(yaml, "  "+d.Lines[0]+"\n") {
			t.Fatalf("no %q in the configuration", d.Lines[0])
		}
		for _, old := range replace {
			yaml = strings.Replace(yaml, old, "", 1)
		}
		yaml = strings.Replace(yaml, "  "+d.Lines[0]+"\n", "  "+strings.Join(d.Lines, "\n  ")+"\n", 1)
		return d.Paths
	}
	ended := append(paste("lifetimes", "    ssoIdle: 20m\n"), paste("roles")...)
	ended = append(ended, paste("clients", "    - clientId: portal\n      kind: web\n      redirectUris: [\"https://portal.example.com/callback\"]\n")...)
	yaml = strings.Replace(yaml, "    - clientId: portal\n", "    - clientId: portal\n      kind: web\n", 1)
	after, stderr, exit := runDrift(t, yaml, account)
	if exit != 1 {
		t.Fatalf("exit status %d\n%s\n%s", exit, stderr, yaml)
	}
	for _, f := range append(after.Overwritten, after.Left...) {
		if slices.Contains(ended, f.Path) {
			t.Errorf("%s still differs: %v, declared %v", f.Path, f.Live, f.Declared)
		}
	}
}
