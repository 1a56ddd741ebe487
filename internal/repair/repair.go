// Package repair finds the way out where every pulumi up fails: what Keycloak has and
// the state has not, or the other way round. It prints commands and runs none.
package repair

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"keycloak-model-api/internal/adopt"
	"keycloak-model-api/internal/cli"
	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/monitor"
)

// Step is one fault and the commands that end it, for a POSIX shell.
type Step struct {
	Fault    string
	Commands []string
}

// Live is what Keycloak has.
type Live struct {
	Realm []byte                         // as keycloak.Admin.Read returns it
	Users []map[string]any               // those of declared names, and those with an address of a declared user that is not there
	Steps map[string][]keycloak.FlowStep // of the program's flows that are there, by alias
}

// State is what pulumi stack export says of a stack.
type State struct {
	ids     map[string][]string // by URN; two where a resource waits for its deletion
	pending []string            // URNs of operations whose end nobody saw
}

// ParseState reads the file of pulumi stack export.
func ParseState(text []byte) (*State, error) {
	type res struct{ URN, ID string }
	var file struct {
		Deployment struct {
			Resources []res
			Pending   []struct{ Resource res } `json:"pending_operations"`
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("repair: the state is not what pulumi stack export writes: %w", err)
	}
	if len(file.Deployment.Resources)+len(file.Deployment.Pending) == 0 {
		return nil, errors.New("repair: the state has no resources: export it by pulumi stack export --file state.json")
	}
	s := &State{ids: map[string][]string{}}
	for _, r := range file.Deployment.Resources {
		s.ids[r.URN] = append(s.ids[r.URN], r.ID)
	}
	for _, op := range file.Deployment.Pending {
		s.pending = append(s.pending, op.Resource.URN)
	}
	slices.Sort(s.pending)
	return s, nil
}

const (
	roleType   = "keycloak:index/role:Role"
	userType   = "keycloak:index/user:User"
	flowType   = "keycloak:authentication/flow:Flow"
	clientType = "keycloak:openid/client:Client"
)

// givenRoles are the resources that give a role to a service account.
var givenRoles = []string{
	"keycloak:openid/clientServiceAccountRealmRole:ClientServiceAccountRealmRole",
	"keycloak:openid/clientServiceAccountRole:ClientServiceAccountRole",
}

// Find returns the steps in the order in which to take them. Without a state, which
// may be nil, it names what could be at fault.
func Find(resources []*monitor.Resource, live Live, state *State) ([]Step, error) {
	var realm representation
	if err := json.Unmarshal(live.Realm, &realm); err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	export, err := withUsers(live)
	if err != nil {
		return nil, err
	}
	found, err := adopt.Find(resources, export)
	if err != nil {
		return nil, err
	}
	var steps []Step
	add := func(s Step) {
		if len(s.Commands) > 0 {
			steps = append(steps, s)
		}
	}
	add(state.unfinished())
	add(lostRoles(resources, found, state))
	for _, r := range found.Missing {
		switch r.Type {
		case userType:
			add(renamedUser(realm, r, live.Users, state))
		case clientType:
			add(otherCase(realm, r))
		}
	}
	add(strayFlows(realm, resources, state))
	add(straySteps(realm, resources, live.Steps, state))
	imports, err := imports(found, state)
	if err != nil {
		return nil, err
	}
	add(imports)
	return steps, nil
}

// representation is what the steps need of a realm.
type representation struct {
	Realm               string
	EditUsernameAllowed bool
	Clients             []struct{ ID, ClientID string }
	Flows               []struct{ ID, Alias string } `json:"authenticationFlows"`
}

// withUsers is the realm with its users, as kc.sh export has them.
func withUsers(live Live) ([]byte, error) {
	var all map[string]any
	if err := json.Unmarshal(live.Realm, &all); err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	all["users"] = live.Users
	return json.Marshal(all)
}

// unfinished are operations that a killed up has left in the state.
func (s *State) unfinished() Step {
	if s == nil || len(s.pending) == 0 {
		return Step{}
	}
	return Step{
		Fault: fmt.Sprintf("The state has operations whose end nobody saw: %s. First make sure that no other up runs: a CLI that was "+
			"killed may\n"+
			"leave its provider alive. In a terminal a plain pulumi refresh asks about each", strings.Join(s.pending, ", ")),
		Commands: []string{"pulumi cancel --yes", "pulumi refresh --clear-pending-creates --yes"},
	}
}

// lostRoles are roles that a service account shall have and the realm has not, and
// those that the state has twice: the provider then asks for a role without a name.
func lostRoles(resources []*monitor.Resource, found adopt.Result, state *State) Step {
	missing := map[string]bool{}
	for _, r := range found.Missing {
		if r.Type == roleType {
			missing[cmp.Or(r.Text("name"), r.Name)] = true
		}
	}
	var urns []string
	for _, r := range resources {
		if !slices.Contains(givenRoles, r.Type) {
			continue
		}
		var ids []string
		if state != nil {
			ids = state.ids[r.URN]
		}
		broken := len(ids) > 1 || slices.ContainsFunc(ids, func(id string) bool {
			return strings.HasPrefix(id, "/") ||
				strings.HasSuffix(id, "/")
		})
		if broken || missing[r.Text("role")] && (state == nil || len(ids) > 0) {
			urns = append(urns, r.URN)
		}
	}
	if len(urns) == 0 {
		return Step{}
	}
	slices.Sort(urns)
	list, err := json.Marshal(urns)
	if err != nil {
		return Step{}
	}
	return Step{
		Fault: "A role that a service account holds was deleted by hand: GET .../roles/: 400 at every refresh and up. What gives it has " +
			"to\n" +
			"leave the state, where it may stand twice, so that pulumi state delete refuses. state.json is the copy to go back to",
		Commands: []string{
			"pulumi stack export --file state.json",
			"jq " + cli.Quote(".deployment.resources |= map(select(.urn as $urn | "+string(list)+" | index($urn) | not))") + " " +
				"state.json >repaired.json",
			"pulumi stack import --file repaired.json",
			"pulumi up --refresh",
		},
	}
}

// renamedUser is a declared user whom somebody gave another name: the next up wants to
// make one with the same address.
func renamedUser(realm representation, r *monitor.Resource, users []map[string]any, state *State) Step {
	name, email := r.Text("username"), r.Text("email")
	for _, u := range users {
		id, _ := u["id"].(string)
		known := state != nil && slices.Contains(state.ids[r.URN], id)
		if !known && (email == "" || u["email"] != email) {
			continue
		}
		at := " -r " + cli.Quote(realm.Realm)
		commands := []string{"kcadm.sh update users/" + id + at + " -s username=" + cli.Quote(name)}
		if !realm.EditUsernameAllowed {
			commands = []string{
				"kcadm.sh update realms/" + cli.Quote(realm.Realm) + " -s editUsernameAllowed=true", commands[0],
				"kcadm.sh update realms/" + cli.Quote(realm.Realm) + " -s editUsernameAllowed=false",
			}
		}
		return Step{
			Fault: fmt.Sprintf("User %s has the username %v in Keycloak: 409 at every up. To keep the new name, change it in the "+
				"configuration and\n"+
				"take the old user out of the state; to take it back:", name, u["username"]),
			Commands: commands,
		}
	}
	return Step{}
}

// otherCase is a client whose id changed only in case.
func otherCase(realm representation, r *monitor.Resource) Step {
	want := r.Text("clientId")
	for _, c := range realm.Clients {
		if strings.EqualFold(c.ClientID, want) {
			return Step{
				Fault: fmt.Sprintf("Client %s is in the realm as %s: 409 at every up. Either write the id as it is, or make it anew. "+
					"That gives it a\n"+
					"new id, and needs two ups: one with the client left out of the configuration, then one with it", want, c.ClientID),
				Commands: []string{"pulumi up    # without the client", "pulumi up    # with it"},
			}
		}
	}
	return Step{}
}

// strayFlows are flows of the program that Keycloak has and the state has not. What is
// in them is in neither, so they are made again: Keycloak refuses to delete one that
// is bound.
func strayFlows(realm representation, resources []*monitor.Resource, state *State) Step {
	if state == nil {
		return Step{}
	}
	s := Step{Fault: "Flows of the stack are in Keycloak and not in the state: 409 ... already exists at every up, which makes them again"}
	for _, r := range resources {
		if r.Type != flowType || len(state.ids[r.URN]) > 0 {
			continue
		}
		for _, f := range realm.Flows {
			if f.Alias == r.Text("alias") {
				s.Commands = append(s.Commands, "kcadm.sh delete authentication/flows/"+f.ID+" -r "+cli.Quote(realm.Realm))
			}
		}
	}
	return s
}

// straySteps are steps in flows of the program that Keycloak has and the state has not.
// The up that made them was killed before it had put anything into them. The provider
// adds a step at the end, which is where they stand, so they are made again.
func straySteps(realm representation, resources []*monitor.Resource, live map[string][]keycloak.FlowStep, state *State) Step {
	if state == nil {
		return Step{}
	}
	known := map[string]bool{}
	for _, ids := range state.ids {
		for _, id := range ids {
			known[id] = true
		}
	}
	var names, commands []string
	stray := func(path, name string) {
		names = append(names, name)
		commands = append(commands, "kcadm.sh delete authentication/"+path+" -r "+cli.Quote(realm.Realm))
	}
	for _, r := range resources {
		if r.Type != flowType || len(state.ids[r.URN]) == 0 {
			continue
		}
		above := math.MaxInt // level of the stray step that the others are below
		for _, s := range live[r.Text("alias")] {
			switch {
			case s.Level > above:
				continue
			case !known[cmp.Or(s.FlowID, s.ID)]:
				above = s.Level
				stray("executions/"+s.ID, fmt.Sprintf("%q in %s", s.Name, r.Text("alias")))
				continue
			case s.ConfigID != "" && !known[s.ConfigID]:
				stray("config/"+s.ConfigID, fmt.Sprintf("the configuration of %q in %s", s.Name, r.Text("alias")))
			}
			above = math.MaxInt
		}
	}
	return Step{
		Fault: "Steps of the stack's flows are in Keycloak and not in the state: an up was killed, or somebody added them by hand. A " +
			"flow below\n" +
			"another gives 409 ... already exists at every up, any other step would be there twice. The next up makes again what is " +
			"declared.\n" +
			"These are: " + strings.Join(names, ", "),
		Commands: commands,
	}
}

// imports are objects that Keycloak has and the state has not.
func imports(found adopt.Result, state *State) (Step, error) {
	objects := found.Found
	fault := "These objects are in Keycloak. Where an up says 409 ... already exists, run the line of that object: the state does not " +
		"have it"
	if state != nil {
		fault = "These objects are in Keycloak and not in the state: 409 ... already exists at every up. An up was killed, Keycloak " +
			"restarted\n" +
			"meanwhile, or somebody made them by hand"
		objects = slices.DeleteFunc(slices.Clone(objects), func(o adopt.Object) bool { return len(state.ids[o.Resource.URN]) > 0 })
	}
	var lines strings.Builder
	if err := adopt.WriteLines(&lines, objects); err != nil {
		return Step{}, err
	}
	var commands []string
	if lines.Len() > 0 {
		commands = strings.Split(strings.TrimSuffix(lines.String(), "\n"), "\n")
	}
	return Step{Fault: fault, Commands: commands}, nil
}

// Write writes the steps as a script with comments.
func Write(w io.Writer, steps []Step) error {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "# %s.\n", strings.ReplaceAll(strings.TrimSuffix(s.Fault, ":"), "\n", "\n# "))
		for _, c := range s.Commands {
			fmt.Fprintln(&b, c)
		}
		b.WriteString("\n")
	}
	if len(steps) > 0 {
		b.WriteString("# Then look at what is left to change.\npulumi preview --diff\npulumi up\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Lookup finds a user that may have another name than the declared one: by its id in
// the state, otherwise by its address.
type Lookup struct{ ID, Email string }

// Lookups are those of declared users that are not among the users, by username.
func Lookups[T any](resources []*monitor.Resource, users map[string]T, state *State) []Lookup {
	var all []Lookup
	for _, r := range resources {
		if _, there := users[r.Text("username")]; r.Type != userType || there {
			continue
		}
		switch {
		case state != nil && len(state.ids[r.URN]) > 0:
			all = append(all, Lookup{ID: state.ids[r.URN][0]})
		case r.Text("email") != "":
			all = append(all, Lookup{Email: r.Text("email")})
		}
	}
	return all
}

// Flows are the aliases of the flows that the resources declare.
func Flows(resources []*monitor.Resource) []string {
	var aliases []string
	for _, r := range resources {
		if r.Type == flowType {
			aliases = append(aliases, r.Text("alias"))
		}
	}
	return aliases
}
