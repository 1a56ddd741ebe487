package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ImportFile is the realm as one file that Keycloak's --import-realm, its
// Operator and test containers take. It holds what Keycloak puts into every
// realm too, since an import adds nothing of its own where a list is given.
func (r *Realm) ImportFile() ([]byte, error) {
	rep, err := r.representation()
	if err != nil {
		return nil, err
	}
	return r.file(rep)
}

// notForImport is a member that Keycloak's realms have not: it refuses a file
// with it, so that nobody imports a mask as a password.
const notForImport = "secretsAreMasked"

// MaskedFile is the import file for people to read: secrets are masked, and
// Keycloak refuses it.
func (r *Realm) MaskedFile() ([]byte, error) {
	text, err := r.ImportFile()
	if err != nil {
		return nil, err
	}
	var rep object // as JSON has it, so that every string is found
	if err := json.Unmarshal(text, &rep); err != nil {
		return nil, fmt.Errorf("render: realm %s: %w", r.Name, err)
	}
	masked := r.mask(rep).(object)
	masked[notForImport] = "Keycloak refuses this file: print it with -show-secrets to import it."
	return r.file(masked)
}

func (r *Realm) file(rep object) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(rep); err != nil {
		return nil, fmt.Errorf("render: realm %s: %w", r.Name, err)
	}
	return text.Bytes(), nil
}

// representation lays the realm over the empty one.
func (r *Realm) representation() (object, error) {
	rep := maps.Clone(r.base.rep)
	delete(rep, "keycloakVersion")
	attributes := maps.Clone(rep["attributes"].(object))
	maps.Copy(attributes, r.settings["attributes"].(object))
	maps.Copy(rep, r.settings)
	rep["attributes"] = attributes

	rep["requiredActions"] = r.requiredActions()
	rep["roles"] = r.rolesRepresentation()
	rep["groups"] = groupTree(r.groups)
	if len(r.defaultGroups) > 0 {
		rep["defaultGroups"] = groupPaths(r.defaultGroups)
	}
	rep["users"] = r.usersRepresentation()
	rep["clientScopes"] = append(r.base.list("clientScopes"), r.scopesRepresentation()...)
	rep["clients"] = r.clientsRepresentation()
	r.flowsRepresentation(rep)
	r.mappingsRepresentation(rep)
	var providers, mappers []object
	for _, p := range r.providers {
		providers = append(providers, p.rep)
		mappers = append(mappers, p.mappers...)
	}
	rep["identityProviders"], rep["identityProviderMappers"] = orEmpty(providers), orEmpty(mappers)
	components, err := r.componentsRepresentation()
	rep["components"] = components
	return rep, err
}

func orEmpty[T any](list []T) []T { return append([]T{}, list...) }

// with is a representation with more keys.
func with(rep object, more object) object {
	rep = maps.Clone(rep)
	maps.Copy(rep, more)
	return rep
}

func (r *Realm) requiredActions() []object {
	actions := r.base.list("requiredActions")
	for _, own := range r.actions {
		i := slices.IndexFunc(actions, func(a object) bool { return a["alias"] == own["alias"] })
		if i < 0 {
			actions = append(actions, own)
		} else {
			actions[i] = own
		}
	}
	return actions
}

// representation is the role without composites of clients, unless all is set.
func (r *role) representation(all bool) object {
	rep := with(r.rep, object{"id": r.ID, "clientRole": r.Client != ""})
	composites := object{}
	realm, clients := split(r.composites)
	if len(realm) > 0 {
		composites["realm"] = realm
	}
	if len(clients) > 0 && all {
		composites["client"] = clients
	}
	rep["composite"] = len(composites) > 0
	if len(composites) > 0 {
		rep["composites"] = composites
	}
	return rep
}

// split names realm roles, and client roles by client.
func split(roles []*role) (realm []string, clients map[string][]string) {
	clients = map[string][]string{}
	for _, role := range roles {
		if role.Client == "" {
			realm = append(realm, role.Name)
		} else {
			clients[role.Client] = append(clients[role.Client], role.Name)
		}
	}
	slices.Sort(realm)
	for _, names := range clients {
		slices.Sort(names)
	}
	return slices.Compact(realm), clients
}

func (r *Realm) rolesRepresentation() object {
	built := r.base.rep["roles"].(object)
	realm := list(built["realm"])
	for i, role := range realm {
		if role["name"] == r.defaultRole() && r.defaultRoles != nil {
			composites := with(role["composites"].(object), object{"realm": r.defaultRoles})
			realm[i] = with(role, object{"composites": composites})
		}
	}
	clients := maps.Clone(built["client"].(object))
	for _, c := range r.clients {
		if !c.imported {
			clients[c.clientID] = []object{}
		}
	}
	for _, role := range r.roles {
		rep := role.representation(true)
		if role.Client == "" {
			realm = append(realm, rep)
			continue
		}
		own, ok := clients[role.Client].([]object)
		if !ok {
			own = list(clients[role.Client])
		}
		clients[role.Client] = append(own, rep)
	}
	return object{"realm": realm, "client": clients}
}

func (g *group) representation() object {
	realm, clients := split(g.roles)
	return object{
		"id": g.id, "name": g.name, "path": g.path(), "attributes": g.attributes,
		"realmRoles": orEmpty(realm), "clientRoles": clients, "subGroups": groupTree(g.children),
	}
}

func groupTree(groups []*group) []object {
	tree := []object{}
	for _, g := range groups {
		tree = append(tree, g.representation())
	}
	return tree
}

func groupPaths(groups []*group) []string {
	paths := []string{}
	for _, g := range groups {
		paths = append(paths, g.path())
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// userRepresentation is a user with what Keycloak gives to new users, which an
// import doesn't.
func (r *Realm) userRepresentation(u *user, clientRoles bool) object {
	realm, clients := split(u.roles)
	if !u.onlyRoles {
		realm = append([]string{r.defaultRole()}, realm...)
	}
	groups := u.groups
	if !u.onlyGroups {
		groups = slices.Concat(r.defaultGroups, groups)
	}
	actions := u.rep["requiredActions"].([]string)
	if !u.ownActions {
		actions = slices.Concat(r.defaultActions(), actions)
		slices.Sort(actions)
	}
	rep := with(u.rep, object{"id": u.id, "requiredActions": orEmpty(slices.Compact(actions)), "realmRoles": orEmpty(realm),
		"groups": groupPaths(groups)})
	if len(u.attributes) > 0 {
		rep["attributes"] = u.attributes
	}
	if len(clients) > 0 && clientRoles {
		rep["clientRoles"] = clients
	}
	return rep
}

func (r *Realm) usersRepresentation() []object {
	users := []object{}
	for _, u := range r.users {
		rep := r.userRepresentation(u, true)
		if len(u.federated) > 0 {
			rep["federatedIdentities"] = u.federated
		}
		users = append(users, rep)
	}
	for _, c := range r.clients {
		if !c.serviceAccount {
			continue
		}
		realm, clients := split(c.accountRoles)
		rep := object{
			"username": "service-account-" + strings.ToLower(c.clientID), "enabled": true, "serviceAccountClientId": c.clientID,
			"emailVerified": false,
			"realmRoles":    append([]string{r.defaultRole()}, realm...), "groups": groupPaths(c.accountGroups),
		}
		if len(clients) > 0 {
			rep["clientRoles"] = clients
		}
		if actions := r.defaultActions(); len(actions) > 0 {
			rep["requiredActions"] = actions // which no service account is asked for
		}
		users = append(users, rep)
	}
	return users
}

// defaultActions are the aliases of the required actions of new users.
func (r *Realm) defaultActions() []string {
	var aliases []string
	for _, action := range r.requiredActions() {
		if action["defaultAction"] == true && action["enabled"] == true {
			aliases = append(aliases, action["alias"].(string))
		}
	}
	slices.Sort(aliases)
	return aliases
}

func (r *Realm) scopesRepresentation() []object {
	var scopes []object
	for _, s := range r.scopes {
		scopes = append(scopes, withMappers(s.rep, s.mappers))
	}
	return scopes
}

func withMappers(rep object, mappers []object) object {
	if len(mappers) == 0 {
		return rep
	}
	return with(rep, object{"protocolMappers": mappers})
}

func (r *Realm) clientRepresentation(c *client) object {
	if c.imported {
		own := r.base.client(c.clientID)
		attributes := maps.Clone(own["attributes"].(object))
		for key, value := range c.rep["attributes"].(map[string]string) {
			attributes[key] = value
		}
		rep := with(with(own, stated(c.rep)), object{"attributes": attributes})
		if c.defaultScopes != nil {
			rep["defaultClientScopes"] = c.defaultScopes
		}
		if c.optionalScopes != nil {
			rep["optionalClientScopes"] = c.optionalScopes
		}
		return rep
	}
	return with(c.rep, object{
		"defaultClientScopes": r.defaultScopesOf(c), "optionalClientScopes": r.optionalScopesOf(c),
	})
}

// stated leaves out what is false or empty: where the provider imports a client,
// that means what the client has.
func stated(rep object) object {
	rep = maps.Clone(rep)
	maps.DeleteFunc(rep, func(_ string, v any) bool {
		strs, ok := v.([]string)
		return v == false || v == "" || ok && len(strs) == 0
	})
	return rep
}

// clientsRepresentation are Keycloak's own clients, and those of the program.
func (r *Realm) clientsRepresentation() []object {
	clients := r.base.list("clients")
	for _, c := range r.clients {
		rep := withMappers(r.clientRepresentation(c), c.mappers)
		if c.imported {
			delete(rep, "id")
			i := slices.IndexFunc(clients, func(own object) bool { return own["clientId"] == c.clientID })
			clients[i] = rep
			continue
		}
		clients = append(clients, rep)
	}
	return clients
}

// mappingsRepresentation adds the role scope mappings.
func (r *Realm) mappingsRepresentation(rep object) {
	realm := r.base.list("scopeMappings")
	clients := maps.Clone(r.base.rep["clientScopeMappings"].(object))
	add := func(kind, name string, roles []*role) {
		names, byClient := split(roles)
		if len(names) > 0 {
			realm = append(realm, object{kind: name, "roles": names})
		}
		for owner, names := range byClient {
			entries, ok := clients[owner].([]object)
			if !ok {
				entries = list(clients[owner])
			}
			clients[owner] = append(entries, object{kind: name, "roles": names})
		}
	}
	for _, c := range r.clients {
		add("client", c.clientID, c.mappings)
	}
	for _, s := range r.scopes {
		add("clientScope", s.name, s.mappings)
	}
	rep["scopeMappings"], rep["clientScopeMappings"] = realm, clients
}

const (
	keyProvider     = "org.keycloak.keys.KeyProvider"
	storageProvider = "org.keycloak.storage.UserStorageProvider"
	ldapMapperType  = "org.keycloak.storage.ldap.mappers.LDAPStorageMapper"
	profileProvider = "org.keycloak.userprofile.UserProfileProvider"
)

func (c *component) representation() object {
	return object{"id": c.id, "name": c.name, "providerId": c.providerID, "config": c.config, "subComponents": object{}}
}

func (r *Realm) componentsRepresentation() (object, error) {
	components := maps.Clone(r.base.rep["components"].(object))
	keys := list(components[keyProvider])
	for _, c := range r.keys {
		rep := c.representation()
		if c.overlay {
			i := slices.IndexFunc(keys, func(k object) bool { return k["name"] == c.name })
			delete(rep, "id")
			keys[i] = rep
			continue
		}
		keys = append(keys, rep)
	}
	components[keyProvider] = keys

	var errs []error
	federations := []object{}
	for _, c := range r.ldap {
		rep := c.representation()
		mappers := []object{}
		if !c.deleteDefaults {
			mappers = ldapDefaults(c)
		}
		for _, m := range c.children {
			mappers = append(mappers, m.representation())
		}
		rep["subComponents"] = object{ldapMapperType: mappers}
		federations = append(federations, rep)
	}
	if len(federations) > 0 {
		components[storageProvider] = federations
	}
	if r.profile != nil {
		text, err := json.Marshal(r.profile)
		errs = append(errs, err)
		components[profileProvider] = []object{{
			"providerId": "declarative-user-profile", "subComponents": object{},
			"config": object{"kc.user.profile.config": []string{string(text)}},
		}}
	}
	return components, errors.Join(errs...)
}

// ldapDefaults are the mappers that Keycloak gives to a new federation, which
// an import doesn't: as measured.
func ldapDefaults(c *component) []object {
	get := func(key string) string {
		values, _ := c.config[key].([]string)
		return strings.Join(values, ",")
	}
	mode, username := get("editMode"), get("usernameLDAPAttribute")
	readOnly, always := text(mode != "WRITABLE"), text(mode != "UNSYNCED")
	mapper := func(name, ldap, user, mandatory, always, readOnly string) object {
		return object{
			"name": name, "providerId": "user-attribute-ldap-mapper", "subComponents": object{},
			"config": single(map[string]string{
				"ldap.attribute": ldap, "user.model.attribute": user, "is.mandatory.in.ldap": mandatory,
				"always.read.value.from.ldap": always, "read.only": readOnly,
			}),
		}
	}
	created, modified := "createTimestamp", "modifyTimestamp"
	if get("vendor") == "ad" {
		created, modified = "whenCreated", "whenChanged"
	}
	mappers := []object{
		mapper("username", username, "username", "true", "false", readOnly),
		mapper("last name", "sn", "lastName", "true", always, readOnly),
		mapper("email", "mail", "email", "false", "false", readOnly),
		mapper("creation date", created, "createTimestamp", "false", always, "true"),
		mapper("modify date", modified, "modifyTimestamp", "false", always, "true"),
		{"name": "Kerberos principal attribute mapper", "providerId": "kerberos-principal-attribute-mapper", "subComponents": object{}, "config": object{}},
	}
	// Where the RDN is cn, as in most Active Directories, cn is the full name or
	// the username.
	switch givenName := mapper("first name", "givenName", "firstName", "true", always, readOnly); {
	case !strings.EqualFold(get("rdnLDAPAttribute"), "cn"):
		mappers = append(mappers, mapper("first name", "cn", "firstName", "true", always, readOnly))
	case strings.EqualFold(username, "cn"):
		mappers = append(mappers, givenName)
	case mode == "WRITABLE":
		mappers = append(mappers, givenName, mapper("username-cn", "cn", "username", "true", "false", readOnly))
	default:
		mappers = append(mappers, object{"name": "full name", "providerId": "full-name-ldap-mapper", "subComponents": object{},
			"config": single(map[string]string{"ldap.full.name.attribute": "cn", "read.only": readOnly, "write.only": "false"})})
	}
	if get("vendor") == "ad" {
		mappers = append(mappers, object{"name": "MSAD account controls", "providerId": "msad-user-account-control-mapper",
			"subComponents": object{},
			"config":        single(map[string]string{"always.read.enabled.value.from.ldap": always})})
	}
	return mappers
}
