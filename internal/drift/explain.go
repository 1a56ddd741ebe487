package drift

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/internal/cli"
	"keycloak-model-api/internal/render"
)

func propertyKey(key string) resource.PropertyKey { return resource.PropertyKey(key) }

// facts are what the comparison leaves aside of a live realm and the report needs.
type facts struct {
	keyIDs  map[string]string // ids of key providers, by name
	flowIDs map[string]string // ids of flows that are not below another, by alias
	fields  map[string]any    // of the representation
}

func factsOf(live []byte) (facts, error) {
	f := facts{keyIDs: map[string]string{}, flowIDs: map[string]string{}}
	var realm struct {
		Components map[string][]struct{ ID, Name string }
		Flows      []struct {
			ID, Alias string
			TopLevel  bool
		} `json:"authenticationFlows"`
	}
	if err := errors.Join(json.Unmarshal(live, &realm), json.Unmarshal(live, &f.fields)); err != nil {
		return f, fmt.Errorf("drift: %w", err)
	}
	for _, c := range realm.Components[keyProviders] {
		f.keyIDs[c.Name] = c.ID
	}
	for _, flow := range realm.Flows {
		if flow.TopLevel {
			f.flowIDs[flow.Alias] = flow.ID
		}
	}
	return f, nil
}

// otherSecrets are the clients whose secret is not the declared one.
func (p *program) otherSecrets(live facts) []string {
	var ids []string
	clients, _ := live.fields["clients"].([]any)
	for _, c := range clients {
		rep, _ := c.(map[string]any)
		id, _ := rep["clientId"].(string)
		got, _ := rep["secret"].(string)
		declared := p.named[clientType+" "+id]
		if declared == nil || strings.Trim(got, "*") == "" || declared.Text("clientAuthenticatorType") == "client-jwt" {
			continue // a client that proves itself by a key has a secret that nobody uses
		}
		if want := declared.Text("clientSecret"); want != "" && want != got {
			ids = append(ids, id)
		}
	}
	return ids
}

// explain says of some differences what they mean, and how to end them.
func explain(f *Finding, d render.Difference, p *program, live facts) {
	k, realm := d.Keys, p.realm.Text("realm")
	switch section := k[0]; {
	case section == "components" && k[1] == keyProviders && len(k) == 3 && d.Want == nil:
		f.Note = explainKey(k[2])
		f.Remedy = []string{fmt.Sprintf("kcadm.sh delete components/%s -r %s", live.keyIDs[k[2]], cli.Quote(realm))}
	case section == "clients":
		explainClient(f, d)
	case section == "authenticationFlows" && len(k) == 2 && d.Want == nil && strings.HasPrefix(k[1], ownFlows):
		f.Note = "a flow of the stack, or one below it, of a configuration before this one: an up that was killed left it, and no up " +
			"sees it"
		if id := live.flowIDs[k[1]]; id != "" {
			f.Remedy = []string{fmt.Sprintf("kcadm.sh delete authentication/flows/%s -r %s", id, cli.Quote(realm))}
		}
	case slices.Contains(bindingKeys, section):
		f.Note = "the flow that is bound decides which factors a sign-in asks for"
		if alias, _ := d.Want.(string); p.declares(alias, "keycloak:authentication/flow:Flow") {
			f.Note += "; sessions from before it is bound go on: after the up, go run ./dev end-sessions -before NOW"
		}
	case section == "users" && strings.HasPrefix(k[1], "service-account-") && f.Refresh && f.Plain == "":
		f.Note = "give it back before any up --refresh, after which the provider asks for a role without a name and fails with 400 at " +
			"every up"
		f.Remedy = giveBack(realm, k, d.Want)
	}
	if f.Refresh && f.Plain == "" && f.Note == "" {
		f.Note = "taken away by hand: a plain up does not see it"
	}
}

// explainKey says of a key provider that no resource declares what that means.
func explainKey(name string) string {
	note := "no up sees this key provider, and its keys stay published"
	if strings.HasPrefix(name, "fallback-") {
		note = "Keycloak made this key provider itself while it had no active key of the algorithm; no up sees it, and it stays published"
	}
	return note + ". Remove it when the last token that it signed has expired"
}

func explainClient(f *Finding, d render.Difference) {
	switch k := d.Keys; {
	case len(k) == 4 && k[2] == "attributes" && k[3] == "acr.loa.map" && d.Got != nil:
		f.Note = "the client's own map of levels wins over the realm's: what the client calls a level may be another one"
		f.Remedy = []string{"admin console: Clients, " + k[1] + ", Advanced, ACR to LoA Mapping"}
	case len(k) > 2 && k[2] == "authenticationFlowBindingOverrides":
		f.Note = "this client's sign-ins take another flow than the realm's"
	}
}

// giveBack are the commands that give a service account its roles again.
func giveBack(realm string, keys []string, want any) []string {
	command := "kcadm.sh add-roles -r " + cli.Quote(realm) + " --uusername " + cli.Quote(keys[1])
	if keys[2] == "clientRoles" && len(keys) > 3 {
		command += " --cclientid " + cli.Quote(keys[3])
	}
	roles, _ := stringsOf(want)
	for _, role := range roles {
		command += " --rolename " + cli.Quote(role)
	}
	if len(roles) == 0 {
		return nil
	}
	return []string{command}
}

// ownFlows is how the aliases of the stack's flows begin.
const ownFlows = "model-api-"

var secretKey = regexp.MustCompile(`(?i)(secret|password|bindcredential|private_?key|api_?key|token)$`)

// sections hold objects, whose path says enough of one that is there or not.
var sections = []string{
	"clients", "clientScopes", "users", "groups", "roles", "components", "scopeMappings", "clientScopeMappings",
	"identityProviders", "identityProviderMappers", "requiredActions", "authenticationFlows", "authenticatorConfig",
}

// there is said of such an object.
const there = "there"

// shown is a value as people may see it: what may be a secret is masked.
func shown(keys []string, v any) any {
	if v == nil {
		return nil
	}
	last := keys[len(keys)-1]
	if isObject(v) && slices.Contains(sections, keys[0]) && last != "authenticationFlowBindingOverrides" {
		return there
	}
	return masked(last, v)
}

func isObject(v any) bool { _, ok := v.(map[string]any); return ok }

func masked(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = masked(k, e)
		}
		return out
	case string, []any, []string:
		if secretKey.MatchString(key) && v != "" {
			return "(secret)"
		}
	}
	return v
}
