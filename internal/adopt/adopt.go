// Package adopt finds what a program declares in the export of a realm that was
// there before, so that pulumi import can take it into the stack's state.
package adopt

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
)

// Object is a resource of the program that the realm has already.
type Object struct {
	Resource *monitor.Resource
	ID       string // in the form in which the provider imports it, such as my-realm/UUID
}

// Result is what Find found. Each resource of the program that has an identity of
// its own in Keycloak is in one of the two.
type Result struct {
	Found   []Object
	Missing []*monitor.Resource // the next up makes them
}

// Find looks for the resources in the export of a realm: one by the admin console
// (partial, without users) or by kc.sh export. A resource that only connects two
// objects, such as the roles of a user, is in neither list: making it once more
// changes nothing, so the next up makes it.
func Find(resources []*monitor.Resource, export []byte) (Result, error) {
	var realm realm
	if err := json.Unmarshal(export, &realm); err != nil {
		return Result{}, fmt.Errorf("adopt: the export is not a realm as JSON: %w", err)
	}
	if realm.Realm == "" {
		return Result{}, errors.New("adopt: the export is not of one realm: it has no name of a realm")
	}
	f := finder{&realm, map[string]string{}, map[string]string{}, map[string]string{}}
	var result Result
	declared := false
	for _, r := range resources {
		if !r.Custom {
			continue
		}
		if render.PlaceOf(r.Type) == render.Itself {
			declared = declared || r.Text("realm") == realm.Realm
		}
		importID, importable := f.find(r)
		switch {
		case !importable:
		case importID == "":
			result.Missing = append(result.Missing, r)
		default:
			result.Found = append(result.Found, Object{r, importID})
		}
	}
	slices.SortFunc(result.Found, func(x, y Object) int { return byTypeAndName(x.Resource, y.Resource) })
	slices.SortFunc(result.Missing, byTypeAndName)
	if !declared {
		return Result{}, fmt.Errorf("adopt: the export is of realm %q, which the program does not declare", realm.Realm)
	}
	return result, nil
}

// byTypeAndName is the same in every run, which the order of registration is not.
func byTypeAndName(x, y *monitor.Resource) int {
	return cmp.Or(cmp.Compare(x.Type, y.Type), cmp.Compare(x.Name, y.Name))
}

// realm is what Find reads of an export.
type realm struct {
	Realm string
	Roles struct {
		Realm  []object
		Client map[string][]object
	}
	Groups            []object
	ClientScopes      []object
	Clients           []object
	Users             []object
	IdentityProviders []object
	IdentityMappers   []object `json:"identityProviderMappers"`
	Components        map[string][]object
}

// object is any object of an export, with what tells it from others of its kind.
type object struct {
	ID, Name, ClientID, Username, Alias string

	IdentityProviderAlias string
	SubGroups             []object
	ProtocolMappers       []object
	SubComponents         map[string][]object
}

const (
	keyProviders     = "org.keycloak.keys.KeyProvider"
	storageProviders = "org.keycloak.storage.UserStorageProvider"
	ldapMappers      = "org.keycloak.storage.ldap.mappers.LDAPStorageMapper"
)

// finder remembers the ids in Keycloak of what it has found, since resources refer
// to each other by the ids of the run that registered them.
type finder struct {
	realm *realm
	ids   map[string]string // by the resource's id
	paths map[string]string // of groups, by the resource's id
	names map[string]string // client ids, by the resource's id
}

// find returns the import id of the resource, empty if the export has no such
// object, and whether it is one that can be imported at all. The forms are those
// of the importers of the Terraform provider that v5.4.0 wraps.
func (f *finder) find(r *monitor.Resource) (importID string, importable bool) {
	switch render.PlaceOf(r.Type) {
	case render.Itself:
		if r.Text("realm") == f.realm.Realm {
			return f.realm.Realm, true
		}
		return "", true
	case render.Roles:
		roles := f.realm.Roles.Realm
		if client := r.Text("clientId"); client != "" {
			roles = f.realm.Roles.Client[f.names[client]]
		}
		return f.prefixed(byName(roles, name(r))), true
	case render.Groups:
		path := f.paths[r.Text("parentId")] + "/" + name(r)
		f.paths[r.ID] = path
		return f.prefixed(byPath(f.realm.Groups, "", path)), true
	case render.Users:
		return f.prefixed(id(f.realm.Users, func(o object) bool { return o.Username == r.Text("username") })), true
	case render.Clients:
		// Where the program takes over a client of Keycloak's own, an import by hand
		// would set this input to false, so that the next up would replace the client.
		own := r.Inputs["import"]
		f.names[r.ID] = r.Text("clientId")
		f.ids[r.ID] = id(f.realm.Clients, func(o object) bool { return o.ClientID == r.Text("clientId") })
		return f.prefixed(f.ids[r.ID]), !own.IsBool() || !own.BoolValue()
	case render.ClientScopes:
		f.ids[r.ID] = byName(f.realm.ClientScopes, name(r))
		return f.prefixed(f.ids[r.ID]), true
	case render.IdentityProviders:
		alias := r.Text("alias")
		if strings.HasSuffix(r.Type, ":GoogleIdentityProvider") {
			alias = "google"
		}
		if slices.ContainsFunc(f.realm.IdentityProviders, func(o object) bool { return o.Alias == alias }) {
			return f.prefixed(alias), true
		}
		return "", true
	case render.IdentityMappers:
		alias := r.Text("identityProviderAlias")
		return f.prefixed(alias, id(f.realm.IdentityMappers, func(o object) bool {
			return o.Name == name(r) && o.IdentityProviderAlias == alias
		})), true
	case render.ProtocolMappers:
		return f.protocolMapper(r), true
	case render.Federations:
		f.ids[r.ID] = byName(f.realm.Components[storageProviders], name(r))
		return f.prefixed(f.ids[r.ID]), true
	case render.FederationMappers:
		return f.federationMapper(r), true
	case render.Keys:
		// What the program imports itself is not for pulumi import.
		return f.prefixed(byName(f.realm.Components[keyProviders], name(r))), r.ImportID == ""
	}
	return "", false
}

func (f *finder) protocolMapper(r *monitor.Resource) string {
	kind, owners, owner := "client", f.realm.Clients, r.Text("clientId")
	if scope := r.Text("clientScopeId"); scope != "" {
		kind, owners, owner = "client-scope", f.realm.ClientScopes, scope
	}
	for _, o := range owners {
		if o.ID == f.ids[owner] {
			return f.prefixed(kind, o.ID, byName(o.ProtocolMappers, name(r)))
		}
	}
	return ""
}

func (f *finder) federationMapper(r *monitor.Resource) string {
	for _, c := range f.realm.Components[storageProviders] {
		if c.ID == f.ids[r.Text("ldapUserFederationId")] {
			return f.prefixed(c.ID, byName(c.SubComponents[ldapMappers], name(r)))
		}
	}
	return ""
}

// prefixed is the realm's name and the parts with slashes between, or empty if the
// last part is.
func (f *finder) prefixed(parts ...string) string {
	if parts[len(parts)-1] == "" {
		return ""
	}
	return f.realm.Realm + "/" + strings.Join(parts, "/")
}

// id is that of the first object that matches, or "".
func id(list []object, matches func(object) bool) string {
	if i := slices.IndexFunc(list, matches); i >= 0 {
		return list[i].ID
	}
	return ""
}

func byName(list []object, name string) string {
	return id(list, func(o object) bool { return o.Name == name })
}

func byPath(groups []object, above, path string) string {
	for _, g := range groups {
		at := above + "/" + g.Name
		if at == path {
			return g.ID
		}
		if id := byPath(g.SubGroups, at, path); id != "" {
			return id
		}
	}
	return ""
}

// name is the name in Keycloak: the resource's, where the program gives no other.
func name(r *monitor.Resource) string {
	if n := r.Text("name"); n != "" {
		return n
	}
	return r.Name
}
