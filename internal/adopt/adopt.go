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
		if r.Type == realmType {
			declared = declared || r.Text("realm") == realm.Realm
		}
		id, importable := f.find(r)
		switch {
		case !importable:
		case id == "":
			result.Missing = append(result.Missing, r)
		default:
			result.Found = append(result.Found, Object{r, id})
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
		Realm  []named
		Client map[string][]named
	}
	Groups       []group
	ClientScopes []struct {
		named
		ProtocolMappers []named
	}
	Clients []struct {
		ID              string
		ClientID        string
		ProtocolMappers []named
	}
	Users             []struct{ ID, Username string }
	IdentityProviders []identityProvider
	Mappers           []struct {
		named
		IdentityProviderAlias string
	} `json:"identityProviderMappers"`
	Components map[string][]component
}

type named struct{ ID, Name string }

type identityProvider struct{ Alias string }

type group struct {
	named
	SubGroups []group
}

type component struct {
	named
	SubComponents map[string][]component
}

const (
	realmType = "keycloak:index/realm:Realm"

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
func (f *finder) find(r *monitor.Resource) (id string, importable bool) {
	realm := f.realm
	switch r.Type {
	case realmType:
		if r.Text("realm") == realm.Realm {
			return realm.Realm, true
		}
		return "", true
	case "keycloak:index/role:Role":
		roles := realm.Roles.Realm
		if client := r.Text("clientId"); client != "" {
			roles = realm.Roles.Client[f.names[client]]
		}
		return f.prefixed(byName(roles, name(r))), true
	case "keycloak:index/group:Group":
		path := f.paths[r.Text("parentId")] + "/" + name(r)
		f.paths[r.ID] = path
		return f.prefixed(byPath(realm.Groups, "", path)), true
	case "keycloak:index/user:User":
		for _, u := range realm.Users {
			if u.Username == r.Text("username") {
				return f.prefixed(u.ID), true
			}
		}
		return "", true
	case "keycloak:openid/client:Client":
		if own := r.Inputs["import"]; own.IsBool() && own.BoolValue() {
			// The program takes over a client of Keycloak's own. An import by hand would
			// set this input to false, so that the next up would replace the client.
			return "", false
		}
		f.names[r.ID] = r.Text("clientId")
		for _, c := range realm.Clients {
			if c.ClientID == r.Text("clientId") {
				f.ids[r.ID] = c.ID
				return f.prefixed(c.ID), true
			}
		}
		return "", true
	case "keycloak:openid/clientScope:ClientScope":
		for _, s := range realm.ClientScopes {
			if s.Name == name(r) {
				f.ids[r.ID] = s.ID
				return f.prefixed(s.ID), true
			}
		}
		return "", true
	case "keycloak:oidc/identityProvider:IdentityProvider", "keycloak:oidc/googleIdentityProvider:GoogleIdentityProvider":
		alias := r.Text("alias")
		if strings.HasSuffix(r.Type, ":GoogleIdentityProvider") {
			alias = "google"
		}
		if slices.Contains(realm.IdentityProviders, identityProvider{alias}) {
			return f.prefixed(alias), true
		}
		return "", true
	case "keycloak:ldap/userFederation:UserFederation":
		for _, c := range realm.Components[storageProviders] {
			if c.Name == name(r) {
				f.ids[r.ID] = c.ID
				return f.prefixed(c.ID), true
			}
		}
		return "", true
	case "keycloak:index/realmKeystoreEcdsaGenerated:RealmKeystoreEcdsaGenerated",
		"keycloak:index/realmKeystoreRsaGenerated:RealmKeystoreRsaGenerated",
		"keycloak:index/realmKeystoreRsa:RealmKeystoreRsa":
		if r.ImportID != "" {
			return "", false // the program imports it itself
		}
		for _, c := range realm.Components[keyProviders] {
			if c.Name == name(r) {
				return f.prefixed(c.ID), true
			}
		}
		return "", true
	}
	switch {
	case strings.HasPrefix(r.Type, "keycloak:openid/") && strings.HasSuffix(r.Type, "ProtocolMapper"),
		r.Type == "keycloak:index/genericProtocolMapper:GenericProtocolMapper":
		return f.protocolMapper(r), true
	case strings.HasPrefix(r.Type, "keycloak:ldap/"):
		return f.ldapMapper(r), true
	case strings.HasSuffix(r.Type, "IdentityMapper"), strings.HasSuffix(r.Type, "IdentityProviderMapper"),
		strings.HasSuffix(r.Type, "IdentityProviderMapping"):
		for _, m := range realm.Mappers {
			if m.Name == name(r) && m.IdentityProviderAlias == r.Text("identityProviderAlias") {
				return f.prefixed(m.IdentityProviderAlias, m.ID), true
			}
		}
		return "", true
	}
	return "", false
}

func (f *finder) protocolMapper(r *monitor.Resource) string {
	if scope := r.Text("clientScopeId"); scope != "" {
		for _, s := range f.realm.ClientScopes {
			if s.ID == f.ids[scope] {
				return f.prefixed("client-scope", s.ID, byName(s.ProtocolMappers, name(r)))
			}
		}
		return ""
	}
	for _, c := range f.realm.Clients {
		if c.ID == f.ids[r.Text("clientId")] {
			return f.prefixed("client", c.ID, byName(c.ProtocolMappers, name(r)))
		}
	}
	return ""
}

func (f *finder) ldapMapper(r *monitor.Resource) string {
	for _, c := range f.realm.Components[storageProviders] {
		if c.ID != f.ids[r.Text("ldapUserFederationId")] {
			continue
		}
		for _, m := range c.SubComponents[ldapMappers] {
			if m.Name == name(r) {
				return f.prefixed(c.ID, m.ID)
			}
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

func byName(list []named, name string) string {
	for _, e := range list {
		if e.Name == name {
			return e.ID
		}
	}
	return ""
}

func byPath(groups []group, above, path string) string {
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
