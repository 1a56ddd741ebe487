package drift

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"keycloak-model-api/internal/monitor"
)

// usernames are those that the program declares.
func (p *program) usernames() []string {
	var names []string
	for _, r := range p.resources {
		if r.Type == userType {
			names = append(names, r.Text("username"))
		}
	}
	slices.Sort(names)
	return names
}

// Usernames are the users that the resources declare.
func Usernames(resources []*monitor.Resource) []string {
	return (&program{resources: resources}).usernames()
}

// userPart is a finding with the keys of its path.
type userPart struct {
	Finding
	keys []string
}

// userDifferences compares a declared user with the live one. People's own doings,
// such as required actions and passwords, are not compared.
func (p *program) userDifferences(name string, live map[string]any) []userPart {
	declared := p.named[userType+" "+name]
	var parts []userPart
	add := func(f Finding, keys ...string) {
		keys = append([]string{"users", name}, keys...)
		f.Path = strings.Join(keys, ".")
		parts = append(parts, userPart{f, keys})
	}
	if live == nil {
		f := Finding{Declared: map[string]any{"username": name}}
		missing(&f, "user "+name)
		f.Note += "; if somebody gave the user another name, every up that makes it fails with 409: go run ./dev repair"
		add(f)
		return parts
	}
	changes := "changes user " + name
	value := func(key string) any { return monitor.Plain(declared.Inputs[propertyKey(key)]) }
	for _, key := range []string{"email", "firstName", "lastName", "enabled"} {
		want := value(key)
		if want == nil && key == "enabled" {
			want = true
		}
		if got := live[key]; !same(want, got) {
			add(Finding{Declared: want, Live: got, Plain: changes, Refresh: true}, key)
		}
	}
	wanted, _ := value("attributes").(map[string]any)
	got, _ := live["attributes"].(map[string]any)
	for _, key := range keysOf(wanted, got) {
		var first any
		if values, ok := got[key].([]any); ok && len(values) > 0 {
			first = values[0]
		}
		if !same(wanted[key], first) {
			add(Finding{Declared: wanted[key], Live: first, Plain: changes, Refresh: true}, "attributes", key)
		}
	}
	if f, differs := verification(declared, live); differs {
		f.Plain = changes
		add(f, "emailVerified")
	}
	if links, n := linksOf(live), len(linksOf(declaredLinks(value("federatedIdentities")))); len(links) > n {
		add(Finding{
			Live: links, Plain: changes,
			Note: "a plain up that changes the user cuts the links to identity providers: change users by up --refresh, which keeps them",
		}, "federatedIdentities")
	}
	return append(parts, p.memberships(name, declared, live)...)
}

// verification is a difference in whether the address is verified. Where the
// configuration says nothing of it, the stack ignores it, but a plain up sends what the
// state has, and so does one that changes the address after a refresh.
func verification(declared *monitor.Resource, live map[string]any) (Finding, bool) {
	want := monitor.Plain(declared.Inputs["emailVerified"]) == true
	got, _ := live["emailVerified"].(bool)
	f := Finding{Declared: want, Live: got}
	switch {
	case want == got:
		return f, false
	case !slices.Contains(declared.IgnoreChanges, "emailVerified"):
		f.Refresh = true
	case !same(monitor.Plain(declared.Inputs["email"]), live["email"]):
		f.Note = "another address than the declared one was verified. An up --refresh that writes the declared one says that it is " +
			"verified, too: " +
			"write emailVerified: false for this user in the same up (docs/users.md)"
	default:
		f.Note = "the person verified the address: change users by up --refresh, which keeps that"
	}
	return f, true
}

func declaredLinks(v any) map[string]any { return map[string]any{"federatedIdentities": v} }

// linksOf are the identity providers that a user is linked to.
func linksOf(user map[string]any) []string {
	var links []string
	data, _ := user["federatedIdentities"].([]any)
	for _, l := range data {
		o, _ := l.(map[string]any)
		links = append(links, fmt.Sprint(o["identityProvider"]))
	}
	slices.Sort(links)
	return links
}

// memberships are the roles and groups that the stack gives the user and the realm
// lacks, and those that somebody else gave it.
func (p *program) memberships(name string, declared *monitor.Resource, live map[string]any) []userPart {
	var parts []userPart
	compare := func(key string, want []string, byDefault ...string) {
		got, _ := stringsOf(live[key])
		if lost := without(want, got); len(lost) > 0 {
			parts = append(parts, userPart{Finding{Path: "users." + name + "." + key, Declared: lost, Refresh: true},
				[]string{"users", name, key}})
		}
		if more := without(got, append(byDefault, want...)); len(more) > 0 {
			parts = append(parts, userPart{Finding{Path: "users." + name + "." + key, Live: more}, []string{"users", name, key}})
		}
	}
	var roles, groups, inherited []string
	for _, r := range p.resources {
		switch {
		case r.Type == "keycloak:index/userRoles:UserRoles" && r.Text("userId") == declared.ID:
			roles = p.names("keycloak:index/role:Role", monitor.Plain(r.Inputs["roleIds"]), nameOf)
		case r.Type == "keycloak:index/userGroups:UserGroups" && r.Text("userId") == declared.ID:
			groups = p.names("keycloak:index/group:Group", monitor.Plain(r.Inputs["groupIds"]), p.groupPath)
		case r.Type == "keycloak:index/defaultGroups:DefaultGroups":
			inherited = p.names("keycloak:index/group:Group", monitor.Plain(r.Inputs["groupIds"]), p.groupPath)
		}
	}
	realm := ""
	if p.realm != nil {
		realm = p.realm.Text("realm")
	}
	compare("realmRoles", roles, "default-roles-"+strings.ToLower(realm))
	compare("groups", groups, inherited...)
	return parts
}

// names are those of the resources with the ids.
func (p *program) names(typ string, ids any, name func(*monitor.Resource) string) []string {
	list, _ := stringsOf(ids)
	var names []string
	for _, id := range list {
		if r := p.byID[typ+" "+id]; r != nil {
			names = append(names, name(r))
		}
	}
	return names
}

func (p *program) groupPath(r *monitor.Resource) string {
	if parent := p.byID["keycloak:index/group:Group "+r.Text("parentId")]; parent != nil {
		return p.groupPath(parent) + "/" + nameOf(r)
	}
	return "/" + nameOf(r)
}

// same takes what is missing, empty and false for one.
func same(x, y any) bool {
	empty := func(v any) bool { return v == nil || v == "" || v == false }
	return reflect.DeepEqual(x, y) || empty(x) && empty(y)
}

func keysOf(maps ...map[string]any) []string {
	var keys []string
	for _, m := range maps {
		for k := range m {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
