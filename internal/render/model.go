// Package render turns what a Pulumi program registers for the Keycloak
// provider into Keycloak's own representations, with the values that the
// provider sends for what is left out: as calls of the Admin REST API that make
// the realm, as one file for an import, and as text for a preview.
package render

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"keycloak-model-api/internal/monitor"
)

// Realm is a realm with all that a program declares in it.
type Realm struct {
	Name string

	settings  object // of the RealmRepresentation
	roles     []*role
	groups    []*group // of the top level
	users     []*user
	scopes    []*scope
	clients   []*client
	keys      []*component
	ldap      []*component
	profile   object   // of users; nil leaves Keycloak's
	actions   []object // required actions
	providers []*identityProvider
	flows     []*flow
	bindings  object // of flows, of the RealmRepresentation

	defaultRoles  []string // realm roles in default-roles-<realm>; nil leaves Keycloak's
	defaultGroups []*group

	base    *base
	secrets map[string]bool // every secret string, to be masked in what people see
}

// role is a realm role, or a role of a client.
type role struct {
	ID         string
	Client     string // clientId, empty for a realm role
	Name       string
	rep        object
	composites []*role
	builtin    bool // made by Keycloak, with an id of Keycloak's
}

type group struct {
	id, name   string
	attributes object
	parent     *group
	children   []*group
	roles      []*role
}

func (g *group) path() string {
	if g.parent != nil {
		return g.parent.path() + "/" + g.name
	}
	return "/" + g.name
}

type user struct {
	id, username string
	rep          object
	attributes   object
	roles        []*role
	groups       []*group
	onlyRoles    bool // without default-roles-<realm>
	onlyGroups   bool // without the default groups
	ownActions   bool // required actions are declared, which replace the default ones
	federated    []object
}

// client is an OIDC client. Its service account has the roles accountRoles and is
// in the groups accountGroups alone.
type client struct {
	id, clientID   string
	rep            object
	serviceAccount bool
	accountRoles   []*role
	accountGroups  []*group
	defaultScopes  []string // nil: the realm's
	optionalScopes []string // nil: the realm's
	mappers        []object
	mappings       []*role // role scope mappings
	builtin        bool
	imported       bool // one of Keycloak's own, of which the program says what it is like
}

type scope struct {
	id, name string
	rep      object
	mappers  []object
	mappings []*role
}

// component is a key provider, an LDAP federation or a mapper of one.
type component struct {
	id, name   string
	providerID string
	config     object
	children   []*component

	overlay        bool // changes the built-in component of that name
	deleteDefaults bool // of a federation: without the mappers that Keycloak makes
}

type identityProvider struct {
	alias, providerID string
	rep               object
	mappers           []object
}

// builder holds what is found so far, by the ids that resources refer to.
type builder struct {
	realms     map[string]*Realm
	roles      map[string]*role
	groups     map[string]*group
	users      map[string]*user
	accounts   map[string]*client // by the id of their service account
	clients    map[string]*client
	scopes     map[string]*scope
	ldap       map[string]*component
	identities map[string]*identityProvider // by realm/alias
	flows      map[string]*flow
	steps      map[string]*step
	built      []*inputs
	links      []func() // what refers to resources of its own pass
}

// Build makes the realms that the resources of a program declare, sorted by
// name. An unknown resource type or input is an error that names it; all are
// reported at once.
func Build(resources []*monitor.Resource) ([]*Realm, error) {
	b := &builder{
		realms: map[string]*Realm{}, roles: map[string]*role{}, groups: map[string]*group{},
		users: map[string]*user{}, accounts: map[string]*client{}, clients: map[string]*client{},
		scopes: map[string]*scope{}, ldap: map[string]*component{}, identities: map[string]*identityProvider{},
		flows: map[string]*flow{}, steps: map[string]*step{},
	}
	// Programs register concurrently; sorted, the same program is always
	// rendered the same.
	resources = slices.SortedFunc(slices.Values(resources), func(x, y *monitor.Resource) int {
		return cmp.Or(cmp.Compare(x.URN, y.URN), cmp.Compare(x.ID, y.ID))
	})
	var errs []error
	for pass := first; pass <= last; pass++ {
		for _, r := range resources {
			if !r.Custom || r.Type == "pulumi:pulumi:Stack" || strings.HasPrefix(r.Type, "pulumi:providers:") {
				continue
			}
			kind, known := kinds[r.Type]
			switch {
			case !known && pass == first:
				errs = append(errs, fmt.Errorf("render: %q: resource type %s is not one that can be rendered", r.Name, r.Type))
			case known && kind.pass == pass:
				if err := b.build(r, kind); err != nil {
					errs = append(errs, err)
				}
			}
		}
	}
	for _, link := range b.links {
		link()
	}
	for _, in := range b.built {
		errs = append(errs, in.finish()...)
	}
	var realms []*Realm
	for _, r := range b.realms {
		r.settle()
		errs = append(errs, r.orderSteps())
		realms = append(realms, r)
	}
	slices.SortFunc(realms, func(x, y *Realm) int { return cmp.Compare(x.Name, y.Name) })
	return realms, errors.Join(errs...)
}

func (b *builder) build(r *monitor.Resource, k kind) error {
	in := newInputs(r, func(string) {})
	b.built = append(b.built, in)
	if r.ImportID != "" && !k.imports {
		in.fail("it is imported (%s): the local way makes a realm and has nothing to import from", r.ImportID)
	}
	name := in.str(cmp.Or(k.realmKey, "realmId"))
	if k.pass == first {
		if b.realms[name] != nil {
			in.fail("realm %q is declared twice", name)
		}
		base, err := baseFor(name)
		if err != nil {
			return err
		}
		b.realms[name] = &Realm{Name: name, settings: object{}, bindings: object{}, base: base, secrets: map[string]bool{}}
		for _, id := range base.clients() {
			b.clients[builtinClientID(name, id)] = &client{clientID: id, builtin: true}
		}
		for _, role := range base.roles(name) {
			b.roles[role.ID] = role
		}
	}
	realm := b.realms[name]
	if realm == nil {
		in.values, in.nested = nil, nil // the rest can't be judged without it
		in.fail("the program declares no realm %q", name)
		return nil
	}
	in.secret = func(s string) { realm.secrets[s] = true }
	k.build(b, realm, in)
	return nil
}

// settle orders what the passes have collected.
func (r *Realm) settle() {
	slices.SortFunc(r.roles, func(x, y *role) int {
		return cmp.Or(cmp.Compare(x.Client, y.Client), cmp.Compare(x.Name, y.Name))
	})
	slices.SortFunc(r.users, func(x, y *user) int { return cmp.Compare(x.username, y.username) })
	slices.SortFunc(r.clients, func(x, y *client) int { return cmp.Compare(x.clientID, y.clientID) })
	slices.SortFunc(r.scopes, func(x, y *scope) int { return cmp.Compare(x.name, y.name) })
	sortGroups(r.groups)

	// Keycloak drops the attributes of users that the profile doesn't list.
	declared := map[string]bool{}
	if r.profile != nil {
		for _, a := range r.profile["attributes"].([]object) {
			declared[a["name"].(string)] = true
		}
	}
	for _, u := range r.users {
		for name := range u.attributes {
			if !declared[name] {
				delete(u.attributes, name)
			}
		}
	}
}

func sortGroups(groups []*group) {
	slices.SortFunc(groups, func(x, y *group) int { return cmp.Compare(x.name, y.name) })
	for _, g := range groups {
		sortGroups(g.children)
	}
}

// defaultScopesOf are the client scopes of a client by default: its own list,
// or what Keycloak gives.
func (r *Realm) defaultScopesOf(c *client) []string {
	if c.defaultScopes != nil {
		return c.defaultScopes
	}
	scopes := slices.Clone(r.base.openidDefaultScopes())
	if c.serviceAccount {
		scopes = append(scopes, "service_account")
	}
	slices.Sort(scopes)
	return scopes
}

func (r *Realm) optionalScopesOf(c *client) []string {
	if c.optionalScopes != nil {
		return c.optionalScopes
	}
	return r.base.strings("defaultOptionalClientScopes")
}

// defaultRole is the role that users have by default.
func (r *Realm) defaultRole() string { return "default-roles-" + strings.ToLower(r.Name) }
