package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"keycloak-model-api/internal/keycloak"
)

// TestRepair brings about what every later up fails at, and takes the way out that
// repair prints. The commands for Keycloak are run as they are printed, by Keycloak's own
// kcadm.sh; of those for Pulumi, the objects of the imports are looked up as the
// provider's importers do.
func TestRepair(t *testing.T) {
	config := strings.Replace(driftConfig, "realm: drifting", "realm: stuck", 1)
	st := e.up(t, config, driftSecrets)
	const realm = "/realms/stuck"
	do := func(method, path string, in, out any) {
		t.Helper()
		if err := e.admin.Do(t.Context(), method, realm+path, in, out); err != nil {
			t.Fatal(err)
		}
	}
	var ada []map[string]any
	do(http.MethodGet, "/users?username=ada", nil, &ada)
	changed := map[string]any{"editUsernameAllowed": true, "oauth2DeviceCodeLifespan": 600}
	do(http.MethodPut, "", changed, nil)
	do(http.MethodPut, "/users/"+ada[0]["id"].(string), map[string]any{"username": "lovelace"}, nil)
	changed["editUsernameAllowed"] = false
	do(http.MethodPut, "", changed, nil)
	var account struct{ ID string }
	var nightly []struct{ ID string }
	do(http.MethodGet, "/clients?clientId=nightly", nil, &nightly)
	do(http.MethodGet, "/clients/"+nightly[0].ID+"/service-account-user", nil, &account)
	var role map[string]any
	do(http.MethodGet, "/roles/model-iris", nil, &role)
	do(http.MethodDelete, "/users/"+account.ID+"/role-mappings/realm", []any{role}, nil)
	key := keyProvider{Name: "fallback-ES256", Type: "ecdsa-generated", Config: map[string][]string{"priority": {"-100"}, "ecdsaEllipticCurveKey": {"P-256"}}}
	key.create(t, st)

	env := reader(t, "stuck", keycloak.ReadRoles...)
	out, stderr, exit := stackCommand(t, config, env, "-keycloak", e.keycloak.BaseURL, "repair")
	if exit != 0 {
		t.Fatalf("exit status %d\n%s", exit, stderr)
	}
	report, _, _ := runDrift(t, config, env)
	var script []string
	for _, f := range append(report.Overwritten, report.Left...) {
		script = append(script, f.Remedy...) // of the mapping and the key
	}
	imports := 0
	for line := range strings.Lines(out) {
		switch {
		case strings.HasPrefix(line, "kcadm.sh "):
			script = append(script, strings.TrimSpace(line))
		case strings.HasPrefix(line, "pulumi import "):
			imports++
			checkImport(t, realm, line)
		}
	}
	if imports < 10 {
		t.Errorf("%d imports in\n%s", imports, out)
	}
	kcadm(t, script)
	report, stderr, exit = runDrift(t, config, env)
	if exit != 0 {
		t.Errorf("after\n%s\nexit status %d, %s\n%+v", strings.Join(script, "\n"), exit, stderr, report)
	}

	// A role that a service account holds, deleted by hand: once what gives it has left
	// the state, the up makes both anew.
	do(http.MethodDelete, "/roles/model-iris", nil, nil)
	out, stderr, _ = stackCommand(t, config, env, "-keycloak", e.keycloak.BaseURL, "repair")
	if !strings.Contains(out, `["urn:pulumi:e2e::`) || !strings.Contains(out, `nightly/model-iris"]`) || !strings.Contains(out, "\npulumi up --refresh\n") {
		t.Errorf("no way out of 400 in\n%s\n%s", out, stderr)
	}
	do(http.MethodPost, "/roles", map[string]any{"name": "model-iris"}, nil)
	do(http.MethodGet, "/roles/model-iris", nil, &role)
	do(http.MethodPost, "/users/"+account.ID+"/role-mappings/realm", []any{role}, nil)
}

var importLine = regexp.MustCompile(`^pulumi import keycloak:(\S+) \S+ stuck(?:/(\S+))? `)

// checkImport reads the object of an import as the provider's importer does.
func checkImport(t *testing.T, realm, line string) {
	t.Helper()
	m := importLine.FindStringSubmatch(line)
	if m == nil {
		t.Errorf("no import: %s", line)
		return
	}
	parts := strings.Split(m[2], "/")
	last := parts[len(parts)-1]
	path := map[string]string{
		"index/realm:Realm": "", "index/role:Role": "/roles-by-id/" + last, "index/group:Group": "/groups/" + last,
		"index/user:User": "/users/" + last, "openid/client:Client": "/clients/" + last, "openid/clientScope:ClientScope": "/client-scopes/" + last,
	}
	at, known := path[m[1]]
	if strings.HasSuffix(m[1], "ProtocolMapper") && len(parts) == 3 {
		at, known = "/"+parts[0]+"s/"+parts[1]+"/protocol-mappers/models/"+last, true
	}
	if !known {
		t.Errorf("how is this imported? %s", line)
		return
	}
	if err := e.admin.Do(t.Context(), http.MethodGet, realm+at, nil, nil); err != nil {
		t.Errorf("%s: %v", line, err)
	}
}

// kcadm runs commands of Keycloak's command line as an administrator.
func kcadm(t *testing.T, commands []string) {
	t.Helper()
	home := os.Getenv("KEYCLOAK_HOME")
	if home == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		home = filepath.Join(cache, "keycloak-model-api", "keycloak-"+keycloak.Version)
	}
	script := append([]string{"kcadm.sh config credentials --server \"$SERVER\" --realm master --client \"$CLIENT\""}, commands...)
	bash := exec.Command("bash", "-e", "-c", strings.Join(script, "\n"))
	bash.Env = append(slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "HOME=") }),
		"PATH="+filepath.Join(home, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+t.TempDir(),
		"SERVER="+e.keycloak.BaseURL, "CLIENT="+e.keycloak.Admin.ClientID, "KC_CLI_CLIENT_SECRET="+e.keycloak.Admin.ClientSecret)
	if out, err := bash.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, strings.Join(commands, "\n"), out)
	}
}

const stuckFlowsConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: stuck-flows
  keycloak-model-api:signIn: {secondFactor: optional}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
`

// TestRepairOfFlows kills an up in the midst of a flow, as far as Keycloak can tell: the
// steps that it was making are there and not in the state. The next up gets 409 for a
// flow below another, and makes any other step twice.
func TestRepairOfFlows(t *testing.T) {
	secrets := secretsOf{"clientSecrets": {"model-api": "a-secret-of-the-tests-1"}}
	e.up(t, stuckFlowsConfig, secrets)
	const realm = "/realms/stuck-flows/authentication"
	declared, err := e.declare(t, stuckFlowsConfig, secrets)
	if err != nil {
		t.Fatal(err)
	}
	type res struct {
		URN string `json:"urn"`
		ID  string `json:"id"`
	}
	var state struct {
		Deployment struct {
			Resources []res `json:"resources"`
		} `json:"deployment"`
	}
	know := func(urn, id string) { state.Deployment.Resources = append(state.Deployment.Resources, res{urn, id}) }
	flows := map[string]string{} // alias by beginning
	for _, r := range declared.Resources {
		know(r.URN, "known")
		if r.Type == "keycloak:authentication/flow:Flow" {
			flows[strings.TrimPrefix(r.Text("alias")[:len(r.Text("alias"))-9], "model-api-")] = r.Text("alias")
		}
	}
	steps := func(alias string) []keycloak.FlowStep {
		t.Helper()
		all, err := e.admin.FlowSteps(t.Context(), "stuck-flows", alias)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	// What the up was making goes, and what the state has is kept in mind.
	browser := steps(flows["browser"])
	last := slices.IndexFunc(browser, func(s keycloak.FlowStep) bool { return strings.HasSuffix(s.Name, "-second-factor") })
	lost := browser[last]
	if err := e.admin.Do(t.Context(), http.MethodDelete, realm+"/executions/"+lost.ID, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, alias := range flows {
		for _, s := range steps(alias) {
			for _, id := range []string{s.ID, s.FlowID, s.ConfigID} {
				if id != "" {
					know("urn:pulumi:e2e::p::a:b:C::"+id, id)
				}
			}
		}
	}
	// What the provider sends.
	makeFlow := func() error {
		_, err := e.admin.Create(t.Context(), realm+"/flows/"+flows["browser"]+"-forms/executions/flow", map[string]any{"alias": lost.Name, "type": "basic-flow"})
		return err
	}
	makeStep := func(at string) string {
		t.Helper()
		id, err := e.admin.Create(t.Context(), realm+"/flows/"+at+"/executions/execution", map[string]any{"provider": "deny-access-authenticator"})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if err := makeFlow(); err != nil {
		t.Fatal(err)
	}
	makeStep(flows["direct-grant"])
	configured := makeStep(flows["reset-credentials"])
	know("urn:pulumi:e2e::p::a:b:C::"+configured, configured)
	if _, err := e.admin.Create(t.Context(), realm+"/executions/"+configured+"/config", map[string]any{"alias": "left", "config": map[string]string{}}); err != nil {
		t.Fatal(err)
	}
	if err := makeFlow(); !keycloak.IsStatus(err, http.StatusConflict) {
		t.Fatalf("the flow is made again: %v", err)
	}

	file := filepath.Join(t.TempDir(), "state.json")
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, text)
	env := reader(t, "stuck-flows", keycloak.ReadRoles...)
	run := func() (string, []string) {
		t.Helper()
		out, stderr, exit := stackCommand(t, stuckFlowsConfig, env, "-keycloak", e.keycloak.BaseURL, "-stack-state", file, "repair")
		if exit != 0 {
			t.Fatalf("exit status %d\n%s", exit, stderr)
		}
		var script []string
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "kcadm.sh ") {
				script = append(script, strings.TrimSpace(line))
			}
		}
		return out, script
	}
	out, script := run()
	if len(script) != 3 || !strings.Contains(out, lost.Name) {
		t.Errorf("want three steps, among them %s, in\n%s", lost.Name, out)
	}
	kcadm(t, script)
	if out, script := run(); len(script) > 0 {
		t.Errorf("after it\n%s", out)
	}
	if err := makeFlow(); err != nil {
		t.Errorf("the up makes the flow: %v", err)
	}
}
