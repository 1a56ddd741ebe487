package access

import (
	"cmp"
	"slices"
	"strings"

	"keycloak-model-api/api/stepup"
	"keycloak-model-api/policy"
)

// Kinds of those who may call.
const (
	Person         = "person"
	ServiceAccount = "service account"
	AnyMember      = "group" // whoever is a member and nothing more
)

// Row says whether somebody may call a model, and why.
type Row struct {
	Name, Kind, Model string
	Allowed           bool
	Actions           []string // that are allowed, where any is
	Reason            string
}

// subject is somebody about whom the policy is asked.
type subject struct {
	name, kind string
	disabled   bool
	has        map[string]string // roles, and how they come to be there
	groups     []string
	clients    []string // that can get a token for it
}

// Review says for each user, service account and group which models of the
// policy it may call. Rows are in the order of names, then of the policy.
//
// A scope that a model asks for counts as there, since a client asks for it with
// each sign-in; the reason names it.
func Review(p *policy.Policy, r *Realm) []Row {
	return review(p, r.subjects(p))
}

// Explain is Review for one user by its name; ok is false if there is none.
func Explain(p *policy.Policy, r *Realm, name string) (rows []Row, ok bool) {
	subjects := slices.DeleteFunc(r.subjects(p), func(s subject) bool { return s.name != name || s.kind == AnyMember })
	return review(p, subjects), len(subjects) > 0
}

func review(p *policy.Policy, subjects []subject) (rows []Row) {
	for i := range subjects {
		for j := range p.Models {
			rows = append(rows, subjects[i].row(p, &p.Models[j]))
		}
	}
	return rows
}

func (r *Realm) subjects(p *policy.Policy) (all []subject) {
	var forPeople []string
	for _, c := range p.Clients {
		if c.Kind != "service" {
			forPeople = append(forPeople, c.ClientID)
		}
	}
	for _, u := range r.Users {
		s := subject{name: u.Name, kind: Person, disabled: !u.Enabled, has: r.effective(u.Roles, u.Groups), groups: u.Groups, clients: forPeople}
		if u.Client != "" {
			s.kind, s.clients = ServiceAccount, []string{u.Client}
		}
		all = append(all, s)
	}
	for _, g := range r.Groups {
		has := r.effective(nil, []string{g.Path})
		r.add(has, r.DefaultRole, "everybody")
		all = append(all, subject{name: g.Path, kind: AnyMember, has: has, groups: []string{g.Path}, clients: forPeople})
	}
	order := []string{Person, ServiceAccount, AnyMember}
	slices.SortStableFunc(all, func(a, b subject) int {
		return cmp.Or(slices.Index(order, a.kind)-slices.Index(order, b.kind), strings.Compare(a.name, b.name))
	})
	return all
}

// row asks the policy itself, with each client that can get a token for s.
func (s *subject) row(p *policy.Policy, m *policy.Model) Row {
	row := Row{Name: s.name, Kind: s.kind, Model: m.Name}
	by := s.deciding(p, m)
	if row.Allowed = by != nil && !s.disabled; !row.Allowed {
		row.Reason = s.missing(p, m)
		return row
	}
	for _, action := range policy.Actions(m.Protocol) {
		if s.kind == ServiceAccount && m.Authentication != nil && !m.Authentication.ServiceAccounts && stepup.Asked(action) {
			continue // nobody signs in for it
		}
		if _, decision := p.Decide(s.principal(by[0], m), m.Name, action); decision == policy.Allow {
			row.Actions = append(row.Actions, action)
		}
	}
	row.Reason = s.met(p, m, by)
	return row
}

// deciding returns the clients by which s may know of m.
func (s *subject) deciding(p *policy.Policy, m *policy.Model) (by []string) {
	clients := s.clients
	if len(clients) == 0 {
		clients = []string{""} // the policy names none
	}
	for _, client := range clients {
		if _, decision := p.Decide(s.principal(client, m), m.Name, ""); decision == policy.Allow {
			by = append(by, client)
		}
	}
	return by
}

// principal is what a token of s says that client got, with the scopes of m.
func (s *subject) principal(client string, m *policy.Model) policy.Principal {
	who := policy.Principal{Groups: s.groups, Scopes: m.Allow.Scopes, ClientID: client, ClientRoles: map[string][]string{}}
	for role := range s.has {
		if i := strings.LastIndex(role, "/"); i >= 0 {
			who.ClientRoles[role[:i]] = append(who.ClientRoles[role[:i]], role[i+1:])
		} else {
			who.RealmRoles = append(who.RealmRoles, role)
		}
	}
	return who
}

// met says what of s meets the conditions of m.
func (s *subject) met(p *policy.Policy, m *policy.Model, by []string) string {
	said := []string{s.role(p.BaseRole)}
	for _, role := range m.Allow.Roles {
		if s.has[role] != "" {
			said = append(said, s.role(role))
			break
		}
	}
	for _, role := range m.Allow.AllRoles {
		said = append(said, s.role(role))
	}
	for _, group := range m.Allow.Groups {
		if slices.Contains(s.groups, group) {
			said = append(said, "in group "+group)
			break
		}
	}
	if m.Allow.Clients != nil {
		said = append(said, "only by client "+strings.Join(by, ", "))
	}
	if m.Allow.Scopes != nil {
		said = append(said, "only with scope "+strings.Join(m.Allow.Scopes, " or "))
	}
	if a := m.Authentication; a != nil && s.kind != ServiceAccount {
		said = append(said, "to be called only after a sign-in of class "+strings.Join(a.ACR, " or "))
	}
	return strings.Join(slices.Compact(said), "; ")
}

func (s *subject) role(name string) string { return name + " (" + s.has[name] + ")" }

// missing says what keeps s from m: everything, in the order of the conditions.
func (s *subject) missing(p *policy.Policy, m *policy.Model) string {
	var said []string
	if s.disabled {
		said = append(said, "the account is disabled")
	}
	if s.has[p.BaseRole] == "" {
		said = append(said, "no role "+p.BaseRole)
	}
	lacks := func(role string) bool { return s.has[role] == "" }
	if m.Allow.Roles != nil && !slices.ContainsFunc(m.Allow.Roles, func(role string) bool { return !lacks(role) }) {
		said = append(said, "no role "+strings.Join(m.Allow.Roles, " or "))
	}
	for _, role := range m.Allow.AllRoles {
		if lacks(role) {
			said = append(said, "no role "+role)
		}
	}
	if m.Allow.Groups != nil && !slices.ContainsFunc(m.Allow.Groups, func(g string) bool { return slices.Contains(s.groups, g) }) {
		said = append(said, "not in group "+strings.Join(m.Allow.Groups, " or "))
	}
	if m.Allow.Clients != nil && !slices.ContainsFunc(m.Allow.Clients, func(c string) bool { return slices.Contains(s.clients, c) }) {
		said = append(said, "only by client "+strings.Join(m.Allow.Clients, ", "))
	}
	return strings.Join(slices.Compact(said), "; ")
}
