package repair

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/monitor"
)

const (
	stackURN = "urn:pulumi:prod::p::pulumi:pulumi:Stack::p-prod"
	given    = "keycloak:openid/clientServiceAccountRealmRole:ClientServiceAccountRealmRole"
)

func registered(typ, name string, inputs map[string]any) *monitor.Resource {
	return &monitor.Resource{
		URN: urn(typ, name), Type: typ, Name: name, ID: "ours-" + name, Custom: true, Parent: stackURN, Inputs: resource.NewPropertyMapFromMap(inputs),
	}
}

func urn(typ, name string) string { return "urn:pulumi:prod::p::" + typ + "::" + name }

var program = []*monitor.Resource{
	registered("keycloak:index/realm:Realm", "demo", map[string]any{"realm": "demo"}),
	registered(roleType, "model-iris", map[string]any{"realmId": "demo", "name": "model-iris"}),
	registered(clientType, "nightly", map[string]any{"realmId": "demo", "clientId": "nightly"}),
	registered(given, "nightly/model-iris", map[string]any{"realmId": "demo", "role": "model-iris"}),
	registered("keycloak:authentication/flow:Flow", "browser flow", map[string]any{"realmId": "demo", "alias": "model-api-browser-1"}),
	registered(userType, "ada", map[string]any{"realmId": "demo", "username": "ada", "email": "ada@example.com"}),
}

// liveRealm is a realm that has all of the program, and then is changed.
func liveRealm(change func(realm map[string]any)) []byte {
	realm := map[string]any{
		"realm": "demo", "roles": map[string]any{"realm": []any{map[string]any{"id": "role-id", "name": "model-iris"}}},
		"clients": []any{map[string]any{"id": "client-id", "clientId": "nightly"}},
	}
	if change != nil {
		change(realm)
	}
	text, _ := json.Marshal(realm)
	return text
}

// state is one that has all of the program, but for what is left out.
func state(t *testing.T, leftOut ...string) map[string]any {
	t.Helper()
	var resources []any
	for _, r := range program {
		if !slices.Contains(leftOut, r.Name) {
			resources = append(resources, map[string]any{"urn": r.URN, "id": "id-of-" + r.Name, "type": r.Type})
		}
	}
	return map[string]any{"version": 3, "deployment": map[string]any{"resources": resources}}
}

// Each fault has its way out, and a sound stack has none.
func TestWaysOut(t *testing.T) {
	ada := map[string]any{"id": "id-of-ada", "username": "ada", "email": "ada@example.com"}
	edited := map[string]any{"id": "id-of-ada", "username": "lovelace", "email": "ada@example.com"}
	noRole := func(r map[string]any) { r["roles"] = nil }
	taken := "pulumi stack export --file state.json"
	for _, tt := range []struct {
		name  string
		realm func(map[string]any)
		user  map[string]any
		state map[string]any
		want  []string // first words of each command
	}{
		{"sound", nil, ada, state(t), nil},
		{"killed before the client was in the state", nil, ada, state(t, "nightly"), []string{
			"pulumi import keycloak:openid/client:Client nightly demo/client-id --generate-code=false --yes"}},
		{"killed in the midst of an operation", nil, ada, func() map[string]any {
			s := state(t, "model-iris")
			s["deployment"].(map[string]any)["pending_operations"] = []any{
				map[string]any{"type": "creating", "resource": map[string]any{"urn": urn(roleType, "model-iris")}}}
			return s
		}(), []string{
			"pulumi cancel --yes", "pulumi refresh --clear-pending-creates --yes",
			"pulumi import keycloak:index/role:Role model-iris demo/role-id --generate-code=false --yes"}},
		{"role deleted by hand that a service account holds", noRole, ada, state(t), []string{
			taken, "jq '.deployment.resources", "pulumi stack import --file repaired.json", "pulumi up --refresh"}},
		{"the same after a refresh has lost its name", nil, ada, func() map[string]any {
			s := state(t, "nightly/model-iris")
			d := s["deployment"].(map[string]any)
			d["resources"] = append(d["resources"].([]any), map[string]any{"urn": urn(given, "nightly/model-iris"), "id": "/"})
			return s
		}(), []string{taken, "jq '.deployment", "pulumi stack import", "pulumi up --refresh"}},
		{"role not made yet", noRole, ada, state(t, "model-iris", "nightly/model-iris"), nil},
		{"username edited", nil, edited, state(t), []string{
			"kcadm.sh update realms/demo -s editUsernameAllowed=true", "kcadm.sh update users/id-of-ada -r demo -s username=ada",
			"kcadm.sh update realms/demo -s editUsernameAllowed=false"}},
		{"username edited where people may", func(r map[string]any) { r["editUsernameAllowed"] = true }, edited, state(t), []string{
			"kcadm.sh update users/id-of-ada -r demo -s username=ada"}},
		{"flow that a killed up left", func(r map[string]any) {
			r["authenticationFlows"] = []any{map[string]any{"id": "flow-id", "alias": "model-api-browser-1"}, map[string]any{"id": "b", "alias": "browser"}}
		}, ada, state(t, "browser flow"), []string{"kcadm.sh delete authentication/flows/flow-id -r demo"}},
		{"flow that the state has", func(r map[string]any) {
			r["authenticationFlows"] = []any{map[string]any{"id": "flow-id", "alias": "model-api-browser-1"}}
		}, ada, state(t), nil},
		{"client id in another case", func(r map[string]any) {
			r["clients"] = []any{map[string]any{"id": "client-id", "clientId": "Nightly"}}
		}, ada, state(t, "nightly"), []string{"pulumi up    # without the client", "pulumi up    # with it"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := commands(t, Live{Realm: liveRealm(tt.realm), Users: []map[string]any{tt.user}}, tt.state)
			if len(got) != len(tt.want) {
				t.Fatalf("%q, want %q", got, tt.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("%s, want %s", got[i], tt.want[i])
				}
			}
		})
	}
}

// commands are those of all ways out.
func commands(t *testing.T, live Live, state map[string]any) []string {
	t.Helper()
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseState(text)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := Find(program, live, s)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, step := range steps {
		all = append(all, step.Commands...)
	}
	return all
}

// Of a flow, an up that was killed leaves the step that it was making. The steps below
// go with it.
func TestStraySteps(t *testing.T) {
	flow := func(id, of string, level int) keycloak.FlowStep {
		return keycloak.FlowStep{ID: id, Name: of, FlowID: "flow-" + of, Level: level}
	}
	step := func(id, config string, level int) keycloak.FlowStep {
		return keycloak.FlowStep{ID: id, Name: "Step " + id, ConfigID: config, Level: level}
	}
	for _, tt := range []struct {
		name  string
		steps []keycloak.FlowStep
		state []string // ids that the state has
		want  []string
	}{
		{"whole", []keycloak.FlowStep{step("a", "", 0), flow("b", "forms", 0), step("c", "d", 1)}, []string{"a", "flow-forms", "c", "d"}, nil},
		{"a flow below", []keycloak.FlowStep{step("a", "", 0), flow("b", "forms", 0)}, []string{"a"}, []string{"executions/b"}},
		{"a flow below with steps, and another", []keycloak.FlowStep{flow("b", "forms", 0), step("c", "d", 1), flow("e", "deep", 1), step("f", "", 2), step("g", "", 0)},
			nil, []string{"executions/b", "executions/g"}},
		{"a step, which would be there twice", []keycloak.FlowStep{flow("b", "forms", 0), step("c", "", 1)}, []string{"flow-forms"}, []string{"executions/c"}},
		{"a configuration", []keycloak.FlowStep{flow("b", "forms", 0), step("c", "d", 1)}, []string{"flow-forms", "c"}, []string{"config/d"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := state(t)
			d := s["deployment"].(map[string]any)
			for i, id := range tt.state {
				d["resources"] = append(d["resources"].([]any), map[string]any{"urn": urn("a:b:C", fmt.Sprint(i)), "id": id})
			}
			live := Live{Realm: liveRealm(nil), Steps: map[string][]keycloak.FlowStep{"model-api-browser-1": tt.steps},
				Users: []map[string]any{{"id": "id-of-ada", "username": "ada", "email": "ada@example.com"}}}
			var want []string
			for _, at := range tt.want {
				want = append(want, "kcadm.sh delete authentication/"+at+" -r demo")
			}
			if diff := cmp.Diff(want, commands(t, live, s)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Without a state every object that Keycloak has may be the one of the 409.
func TestWithoutState(t *testing.T) {
	user := map[string]any{"id": "u", "username": "ada"}
	steps, err := Find(program, Live{Realm: liveRealm(nil), Users: []map[string]any{user}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := Write(&b, steps); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"demo demo ", "nightly demo/client-id ", "model-iris demo/role-id ", "ada demo/u ", "pulumi preview --diff"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	// Comments stay comments: a script of them alone does nothing.
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "pulumi ") && line != "\n" {
			t.Errorf("no command: %s", line)
		}
	}
}

// A user with another name is found by its id in the state, otherwise by its address.
func TestLookups(t *testing.T) {
	text, err := json.Marshal(state(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseState(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		state *State
		users map[string]bool
		want  string
	}{
		{s, nil, "[{id-of-ada }]"},
		{nil, nil, "[{ ada@example.com}]"},
		{s, map[string]bool{"ada": true}, "[]"},
	} {
		if got := fmt.Sprint(Lookups(program, tt.users, tt.state)); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

func TestParseState(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"no JSON", "is not what pulumi stack export writes"},
		{"{}", "has no resources"},
	} {
		if _, err := ParseState([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.text, err)
		}
	}
}
