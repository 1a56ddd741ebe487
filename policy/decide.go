package policy

import (
	"slices"
	"strings"
)

// Decision is the outcome of a policy question.
type Decision int

// The decisions, from best to worst.
const (
	Allow         Decision = iota
	ActionRefused          // the caller may know of the model, but not do this with it
	UnknownModel           // no such model, or one that this caller may not know of: the same answer
	NoBaseRole             // the caller may call no model at all
)

// Principal is what a decision rests on: what a verified token says of a caller.
type Principal struct {
	RealmRoles  []string
	ClientRoles map[string][]string // by client id
	Groups      []string            // full paths
	Scopes      []string
	ClientID    string // the client that got the token
}

// Groups are the groups that the policy names, by their full paths, each once.
func (p *Policy) Groups() (paths []string) {
	for i := range p.Models {
		paths = append(paths, p.Models[i].Allow.Groups...)
	}
	for i := range p.Limits {
		if p.Limits[i].Group != "" {
			paths = append(paths, p.Limits[i].Group)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// Decide says whether a principal may take an action of Actions() on the named
// model; an empty action asks whether it may know of the model. Without the
// base role no question about models is answered; an unknown model and one
// that the principal may not know of are the same answer. The model is nil
// unless the decision is Allow or ActionRefused.
func (p *Policy) Decide(who Principal, model, action string) (*Model, Decision) {
	if !slices.Contains(who.RealmRoles, p.BaseRole) {
		return nil, NoBaseRole
	}
	i := 0
	for i < len(p.Models) && p.Models[i].Name != model { // a copy of each model would cost more than all that follows
		i++
	}
	if i == len(p.Models) || !p.Models[i].Allow.admit(&who) {
		return nil, UnknownModel
	}
	if m := &p.Models[i]; action == "" || anyOf(m.Allow.Actions, func(a string) bool { return a == action }) {
		return m, Allow
	}
	return &p.Models[i], ActionRefused
}

// Visible returns the models that a principal may know of, as Decide says it.
func (p *Policy) Visible(who Principal) []*Model {
	var out []*Model
	for i := range p.Models {
		if m, decision := p.Decide(who, p.Models[i].Name, ""); decision == Allow {
			out = append(out, m)
		}
	}
	return out
}

// AnyCaller says that c asks a caller for nothing beside the base role.
func (c *Conditions) AnyCaller() bool {
	return len(c.Roles)+len(c.AllRoles)+len(c.Groups)+len(c.Clients)+len(c.Scopes) == 0
}

// admit says whether the principal meets every kind of condition but Actions.
func (c *Conditions) admit(who *Principal) bool {
	return anyOf(c.Roles, who.hasRole) &&
		!slices.ContainsFunc(c.AllRoles, func(role string) bool { return !who.hasRole(role) }) &&
		anyOf(c.Groups, func(group string) bool { return slices.Contains(who.Groups, group) }) &&
		anyOf(c.Clients, func(client string) bool { return who.ClientID == client }) &&
		anyOf(c.Scopes, func(scope string) bool { return slices.Contains(who.Scopes, scope) })
}

// anyOf says whether one of the values holds; an absent kind always does.
func anyOf(values []string, holds func(string) bool) bool {
	return values == nil || slices.ContainsFunc(values, holds)
}

// hasRole takes the name of a realm role, or CLIENT/ROLE. A client id may hold
// a slash, the name of a role may not.
func (who *Principal) hasRole(role string) bool {
	if i := strings.LastIndex(role, "/"); i >= 0 {
		return slices.Contains(who.ClientRoles[role[:i]], role[i+1:])
	}
	return slices.Contains(who.RealmRoles, role)
}

// String says in words what c asks of a caller, for people.
func (c Conditions) String() string {
	var said []string
	for _, kind := range []struct {
		values     []string
		one, among string
	}{
		{c.Roles, "role", "one of the roles"},
		{c.AllRoles, "role", "all of the roles"},
		{c.Groups, "group", "one of the groups"},
		{c.Clients, "client", "one of the clients"},
		{c.Scopes, "scope", "one of the scopes"},
		{c.Actions, "only for", "only for"},
	} {
		switch len(kind.values) {
		case 0:
		case 1:
			said = append(said, kind.one+" "+kind.values[0])
		default:
			said = append(said, kind.among+" "+strings.Join(kind.values, ", "))
		}
	}
	if said == nil {
		return "the base role alone"
	}
	return strings.Join(said, "; ")
}

// RealmRoles are the realm roles that the policy names, each once, sorted.
func (p *Policy) RealmRoles() []string {
	names := []string{p.BaseRole}
	for _, m := range p.Models {
		names = append(append(names, m.Allow.Roles...), m.Allow.AllRoles...)
	}
	for _, l := range p.Limits {
		names = append(names, l.Role)
	}
	names = slices.DeleteFunc(names, func(role string) bool { return role == "" || strings.Contains(role, "/") })
	slices.Sort(names)
	return slices.Compact(names)
}
