package render

import (
	"encoding/json"
	"slices"
	"strings"
)

// Resources are built in passes, so that each finds what it refers to.
const (
	first   = iota // realms
	objects        // what others refer to by id
	nested         // what refers to objects, and is referred to
	last           // what only refers
)

// kind is what this project knows of a resource type: how it is rendered, what the
// provider answers when it makes one, and where Keycloak's export has it.
type kind struct {
	pass     int
	build    func(*builder, *Realm, *inputs)
	realmKey string                              // the input that names the realm; realmId if empty
	id       string                              // its id, with inputs to fill in; a UUID if empty
	create   func(*provider, *inputs, setOutput) // checks what the provider would, and gives outputs; may be nil
	in       Place                               // for pulumi import
	imports  bool                                // a program may import it: every realm has one from the beginning
}

// Place is where an export of a realm has the objects of a resource type.
type Place string

// Resource types that only connect objects, or that every realm has one of, have no
// place: making such a resource once more changes nothing.
const (
	Itself            Place = "the realm"
	Roles             Place = "roles"
	Groups            Place = "groups"
	Users             Place = "users"
	Clients           Place = "clients"
	ClientScopes      Place = "client scopes"
	IdentityProviders Place = "identity providers"
	IdentityMappers   Place = "mappers of an identity provider"
	ProtocolMappers   Place = "protocol mappers of a client or a client scope"
	Federations       Place = "user federations"
	FederationMappers Place = "mappers of a user federation"
	Keys              Place = "key providers"
)

// PlaceOf is the place of the resource type with that token, "" without one.
func PlaceOf(token string) Place { return kinds[token].in }

// kinds are the resource types that can be rendered, by token. This is the one
// table of them: import, apply and adoption read it too.
var kinds = map[string]kind{
	"keycloak:index/realm:Realm":                                             {pass: first, build: (*builder).realm, realmKey: "realm", id: "$realm", create: (*provider).realm, in: Itself},
	"keycloak:index/realmEvents:RealmEvents":                                 {pass: last, build: (*builder).realmEvents, id: "$realmId"},
	"keycloak:index/realmKeystoreRsaGenerated:RealmKeystoreRsaGenerated":     {pass: last, build: keystore("rsa-generated", rsaGenerated), create: (*provider).rsaKeystore, in: Keys, imports: true},
	"keycloak:index/realmKeystoreEcdsaGenerated:RealmKeystoreEcdsaGenerated": {pass: last, build: keystore("ecdsa-generated", ecdsaGenerated), in: Keys},
	"keycloak:index/realmKeystoreRsa:RealmKeystoreRsa":                       {pass: last, build: keystore("rsa", rsaGiven), in: Keys},
	"keycloak:index/realmUserProfile:RealmUserProfile":                       {pass: last, build: (*builder).userProfile, id: "$realmId"},
	"keycloak:index/requiredAction:RequiredAction":                           {pass: last, build: (*builder).requiredAction, id: "$realmId/$alias"},

	"keycloak:authentication/flow:Flow":                       {pass: objects, build: (*builder).flow},
	"keycloak:authentication/subflow:Subflow":                 {pass: objects, build: (*builder).subflow},
	"keycloak:authentication/execution:Execution":             {pass: objects, build: (*builder).execution},
	"keycloak:authentication/executionConfig:ExecutionConfig": {pass: last, build: (*builder).executionConfig},
	"keycloak:authentication/bindings:Bindings":               {pass: last, build: (*builder).bindings, id: "$realmId"},

	"keycloak:index/role:Role":                           {pass: nested, build: (*builder).role, in: Roles},
	"keycloak:index/defaultRoles:DefaultRoles":           {pass: last, build: (*builder).setDefaultRoles},
	"keycloak:index/group:Group":                         {pass: objects, build: (*builder).group, create: (*provider).group, in: Groups},
	"keycloak:index/groupRoles:GroupRoles":               {pass: last, build: (*builder).groupRoles, id: "$realmId/$groupId"},
	"keycloak:index/groupMemberships:GroupMemberships":   {pass: last, build: (*builder).groupMemberships, id: "$realmId/group-memberships/$groupId"},
	"keycloak:index/defaultGroups:DefaultGroups":         {pass: last, build: (*builder).setDefaultGroups, id: "$realmId/default-groups"},
	"keycloak:index/user:User":                           {pass: objects, build: (*builder).user, create: (*provider).user, in: Users},
	"keycloak:index/userRoles:UserRoles":                 {pass: last, build: (*builder).userRoles, id: "$realmId/$userId"},
	"keycloak:index/userGroups:UserGroups":               {pass: last, build: (*builder).userGroups, id: "$realmId/$userId"},
	"keycloak:index/genericRoleMapper:GenericRoleMapper": {pass: last, build: (*builder).genericRoleMapper, create: (*provider).roleMapper},

	"keycloak:openid/client:Client":                                               {pass: objects, build: (*builder).client, create: (*provider).client, in: Clients},
	"keycloak:openid/clientScope:ClientScope":                                     {pass: objects, build: (*builder).clientScope, in: ClientScopes},
	"keycloak:openid/clientDefaultScopes:ClientDefaultScopes":                     {pass: last, build: (*builder).clientDefaultScopes, id: "$realmId/$clientId"},
	"keycloak:openid/clientOptionalScopes:ClientOptionalScopes":                   {pass: last, build: (*builder).clientOptionalScopes, id: "$realmId/$clientId"},
	"keycloak:openid/clientServiceAccountRole:ClientServiceAccountRole":           {pass: last, build: (*builder).serviceAccountRole, create: (*provider).serviceAccountRole},
	"keycloak:openid/clientServiceAccountRealmRole:ClientServiceAccountRealmRole": {pass: last, build: (*builder).serviceAccountRole, create: (*provider).serviceAccountRole},

	"keycloak:index/genericProtocolMapper:GenericProtocolMapper":                    {pass: last, build: (*builder).genericProtocolMapper, in: ProtocolMappers},
	"keycloak:openid/audienceProtocolMapper:AudienceProtocolMapper":                 {pass: last, build: protocolMapper("oidc-audience-mapper", tokens, audience), in: ProtocolMappers},
	"keycloak:openid/audienceResolveProtocolMapper:AudienceResolveProtocolMapper":   {pass: last, build: protocolMapper("oidc-audience-resolve-mapper"), in: ProtocolMappers},
	"keycloak:openid/userRealmRoleProtocolMapper:UserRealmRoleProtocolMapper":       {pass: last, build: protocolMapper("oidc-usermodel-realm-role-mapper", tokens, userinfo, claim, realmRoles), in: ProtocolMappers},
	"keycloak:openid/userClientRoleProtocolMapper:UserClientRoleProtocolMapper":     {pass: last, build: protocolMapper("oidc-usermodel-client-role-mapper", tokens, userinfo, claim, clientRoles), in: ProtocolMappers},
	"keycloak:openid/userAttributeProtocolMapper:UserAttributeProtocolMapper":       {pass: last, build: protocolMapper("oidc-usermodel-attribute-mapper", tokens, userinfo, claim, userAttribute), in: ProtocolMappers},
	"keycloak:openid/userPropertyProtocolMapper:UserPropertyProtocolMapper":         {pass: last, build: protocolMapper("oidc-usermodel-property-mapper", tokens, userinfo, claim, userProperty), in: ProtocolMappers},
	"keycloak:openid/userSessionNoteProtocolMapper:UserSessionNoteProtocolMapper":   {pass: last, build: protocolMapper("oidc-usersessionmodel-note-mapper", tokens, claim, sessionNote), in: ProtocolMappers},
	"keycloak:openid/groupMembershipProtocolMapper:GroupMembershipProtocolMapper":   {pass: last, build: protocolMapper("oidc-group-membership-mapper", tokens, userinfo, groupMembership), in: ProtocolMappers},
	"keycloak:openid/fullNameProtocolMapper:FullNameProtocolMapper":                 {pass: last, build: protocolMapper("oidc-full-name-mapper", tokens, userinfo), in: ProtocolMappers},
	"keycloak:openid/hardcodedClaimProtocolMapper:HardcodedClaimProtocolMapper":     {pass: last, build: protocolMapper("oidc-hardcoded-claim-mapper", tokens, userinfo, claim, hardcodedClaim), in: ProtocolMappers},
	"keycloak:openid/hardcodedRoleProtocolMapper:HardcodedRoleProtocolMapper":       {pass: last, build: (*builder).hardcodedRoleMapper, in: ProtocolMappers},
	"keycloak:openid/audienceResolveProtocolMappter:AudienceResolveProtocolMappter": {pass: last, build: protocolMapper("oidc-audience-resolve-mapper")},

	"keycloak:oidc/identityProvider:IdentityProvider":                                                      {pass: objects, build: (*builder).identityProvider, realmKey: "realm", id: "$alias", create: (*provider).identityProvider, in: IdentityProviders},
	"keycloak:oidc/googleIdentityProvider:GoogleIdentityProvider":                                          {pass: objects, build: (*builder).googleIdentityProvider, realmKey: "realm", id: "google", create: (*provider).googleIdentityProvider, in: IdentityProviders},
	"keycloak:index/attributeImporterIdentityProviderMapper:AttributeImporterIdentityProviderMapper":       {pass: last, build: (*builder).attributeImporter, realmKey: "realm", in: IdentityMappers},
	"keycloak:index/attributeToRoleIdentityMapper:AttributeToRoleIdentityMapper":                           {pass: last, build: (*builder).attributeToRole, realmKey: "realm", in: IdentityMappers},
	"keycloak:index/hardcodedRoleIdentityMapper:HardcodedRoleIdentityMapper":                               {pass: last, build: (*builder).hardcodedIdentityRole, realmKey: "realm", in: IdentityMappers},
	"keycloak:index/userTemplateImporterIdentityProviderMapper:UserTemplateImporterIdentityProviderMapper": {pass: last, build: (*builder).userTemplate, realmKey: "realm", in: IdentityMappers},
	"keycloak:index/customIdentityProviderMapping:CustomIdentityProviderMapping":                           {pass: last, build: (*builder).customIdentityMapper, realmKey: "realm", in: IdentityMappers},

	"keycloak:ldap/userFederation:UserFederation":                             {pass: objects, build: (*builder).userFederation, in: Federations},
	"keycloak:ldap/userAttributeMapper:UserAttributeMapper":                   {pass: last, build: ldapMapper("user-attribute-ldap-mapper", ldapUserAttribute), in: FederationMappers},
	"keycloak:ldap/roleMapper:RoleMapper":                                     {pass: last, build: ldapMapper("role-ldap-mapper", ldapRole), in: FederationMappers},
	"keycloak:ldap/groupMapper:GroupMapper":                                   {pass: last, build: ldapMapper("group-ldap-mapper", ldapGroup), in: FederationMappers},
	"keycloak:ldap/fullNameMapper:FullNameMapper":                             {pass: last, build: ldapMapper("full-name-ldap-mapper", ldapFullName), in: FederationMappers},
	"keycloak:ldap/hardcodedRoleMapper:HardcodedRoleMapper":                   {pass: last, build: ldapMapper("hardcoded-ldap-role-mapper", ldapHardcodedRole), in: FederationMappers},
	"keycloak:ldap/hardcodedAttributeMapper:HardcodedAttributeMapper":         {pass: last, build: ldapMapper("hardcoded-ldap-attribute-mapper", ldapHardcodedAttribute), in: FederationMappers},
	"keycloak:ldap/msadUserAccountControlMapper:MsadUserAccountControlMapper": {pass: last, build: ldapMapper("msad-user-account-control-mapper", ldapMSAD), in: FederationMappers},
}

// ref finds what an input refers to by id, and says so if it isn't there.
func ref[T any](in *inputs, key string, known map[string]*T) *T {
	id := in.str(key)
	found := known[id]
	if found == nil {
		in.fail("input %s%s refers to %q, which the program does not declare", in.path, key, id)
	}
	return found
}

func refs[T any](in *inputs, key string, known map[string]*T) []*T {
	var list []*T
	for _, id := range in.strs(key) {
		if found := known[id]; found != nil {
			list = append(list, found)
		} else {
			in.fail("input %s%s refers to %q, which the program does not declare", in.path, key, id)
		}
	}
	return list
}

func (b *builder) role(realm *Realm, in *inputs) {
	r := &role{ID: in.res.ID, Name: in.name()}
	if in.str("clientId") != "" {
		if c := ref(in, "clientId", b.clients); c != nil {
			r.Client = c.clientID
		}
	}
	r.rep = object{"name": r.Name, "description": in.str("description"), "attributes": in.multi("attributes")}
	b.roles[r.ID] = r
	realm.roles = append(realm.roles, r)
	// A role may contain one that is built later.
	ids := in.strs("compositeRoles")
	b.links = append(b.links, func() {
		for _, id := range ids {
			if found := b.roles[id]; found != nil {
				r.composites = append(r.composites, found)
			} else {
				in.fail("input compositeRoles refers to %q, which the program does not declare", id)
			}
		}
	})
}

func (b *builder) setDefaultRoles(realm *Realm, in *inputs) {
	realm.defaultRoles = in.strs("defaultRoles")
	slices.Sort(realm.defaultRoles)
}

func (b *builder) group(realm *Realm, in *inputs) {
	g := &group{id: in.res.ID, name: in.name(), attributes: in.multi("attributes")}
	b.groups[g.id] = g
	if in.str("parentId") == "" {
		realm.groups = append(realm.groups, g)
		return
	}
	b.links = append(b.links, func() { // the parent may be built later
		if g.parent = ref(in, "parentId", b.groups); g.parent != nil {
			g.parent.children = append(g.parent.children, g)
		}
	})
}

func (b *builder) groupRoles(realm *Realm, in *inputs) {
	in.ignore("exhaustive") // a new group has no other roles
	if g := ref(in, "groupId", b.groups); g != nil {
		g.roles = append(g.roles, refs(in, "roleIds", b.roles)...)
	}
}

func (b *builder) groupMemberships(realm *Realm, in *inputs) {
	g := ref(in, "groupId", b.groups)
	if g == nil {
		return
	}
	byName := map[string]*user{}
	for _, u := range realm.users {
		byName[u.username] = u
	}
	for _, name := range in.strs("members") {
		if u := byName[strings.ToLower(name)]; u != nil {
			u.groups = append(u.groups, g)
		} else {
			in.fail("member %q is not a user that the program declares", name)
		}
	}
}

func (b *builder) setDefaultGroups(realm *Realm, in *inputs) {
	realm.defaultGroups = refs(in, "groupIds", b.groups)
}

func (b *builder) user(realm *Realm, in *inputs) {
	u := &user{id: in.res.ID, username: in.str("username"), attributes: in.multi("attributes")}
	u.rep = object{"username": u.username}
	in.set(u.rep, []field{
		{"enabled", "enabled", true},
		{"email", "email", nil},
		{"emailVerified", "emailVerified", false},
		{"firstName", "firstName", nil},
		{"lastName", "lastName", nil},
	})
	actions := in.strs("requiredActions")
	u.ownActions = len(actions) > 0
	if password, ok := in.object("initialPassword"); ok {
		u.rep["credentials"] = []object{{
			"type": "password", "value": password.str("value"), "temporary": password.boolean("temporary", false),
		}}
		if password.boolean("temporary", false) && !slices.Contains(actions, "UPDATE_PASSWORD") {
			actions = append(actions, "UPDATE_PASSWORD")
		}
	}
	slices.Sort(actions)
	u.rep["requiredActions"] = actions
	for _, identity := range in.objects("federatedIdentities") {
		rep := object{}
		identity.set(rep, []field{
			{"identityProvider", "identityProvider", nil}, {"userId", "userId", nil}, {"userName", "userName", nil},
		})
		u.federated = append(u.federated, rep)
	}
	b.users[u.id] = u
	realm.users = append(realm.users, u)
}

func (b *builder) userRoles(realm *Realm, in *inputs) {
	if u := ref(in, "userId", b.users); u != nil {
		u.roles = append(u.roles, refs(in, "roleIds", b.roles)...)
		u.onlyRoles = u.onlyRoles || in.boolean("exhaustive", true)
	}
}

func (b *builder) userGroups(realm *Realm, in *inputs) {
	groups := refs(in, "groupIds", b.groups)
	if c := b.accounts[in.str("userId")]; c != nil {
		if !in.boolean("exhaustive", true) {
			in.fail("groups of a service account that are not exhaustive can't be rendered: Keycloak may put it into default groups")
		}
		c.accountGroups = append(c.accountGroups, groups...)
		return
	}
	if u := ref(in, "userId", b.users); u != nil {
		u.groups = append(u.groups, groups...)
		u.onlyGroups = u.onlyGroups || in.boolean("exhaustive", true)
	}
}

func (b *builder) genericRoleMapper(realm *Realm, in *inputs) {
	role := ref(in, "roleId", b.roles)
	if role == nil {
		return
	}
	if in.str("clientScopeId") != "" {
		if s := ref(in, "clientScopeId", b.scopes); s != nil {
			s.mappings = append(s.mappings, role)
		}
	} else if c := ref(in, "clientId", b.clients); c != nil {
		if c.builtin {
			in.fail("role scope mappings of Keycloak's own client %s can't be rendered", c.clientID)
		}
		c.mappings = append(c.mappings, role)
	}
}

func (b *builder) serviceAccountRole(realm *Realm, in *inputs) {
	account := ref(in, "serviceAccountUserId", b.accounts)
	name, owner := in.str("role"), ""
	if in.str("clientId") != "" {
		c := ref(in, "clientId", b.clients)
		if c == nil {
			return
		}
		owner = c.clientID
	}
	found := realm.findRole(b, owner, name)
	switch {
	case found == nil && owner == "":
		in.fail("there is no realm role %q", name)
	case found == nil:
		in.fail("client %q has no role %q", owner, name)
	case account != nil:
		account.accountRoles = append(account.accountRoles, found)
	}
}

// findRole finds a role of the realm by name.
func (r *Realm) findRole(b *builder, client, name string) *role {
	for _, role := range r.roles {
		if role.Client == client && role.Name == name {
			return role
		}
	}
	return b.roles[builtinRoleID(r.Name, client, name)]
}

func (b *builder) requiredAction(realm *Realm, in *inputs) {
	alias := in.str("alias")
	rep := realm.base.requiredAction(alias)
	if rep == nil {
		rep = object{"alias": alias, "providerId": alias, "name": alias, "config": object{}, "priority": 1000}
	}
	in.set(rep, []field{
		{"name", "name", nil}, {"enabled", "enabled", true}, {"defaultAction", "defaultAction", false}, {"priority", "priority", nil},
	})
	realm.actions = append(realm.actions, rep)
}

func (b *builder) userProfile(realm *Realm, in *inputs) {
	attributes := []object{}
	for _, a := range in.objects("attributes") {
		rep := object{"multivalued": false}
		a.set(rep, []field{{"name", "name", nil}, {"displayName", "displayName", nil}, {"group", "group", nil}})
		if p, ok := a.object("permissions"); ok {
			rep["permissions"] = object{"edit": p.strs("edits"), "view": p.strs("views")}
		}
		required := object{}
		if roles := a.strs("requiredForRoles"); len(roles) > 0 {
			required["roles"] = roles
		}
		if scopes := a.strs("requiredForScopes"); len(scopes) > 0 {
			required["scopes"] = scopes
		}
		if len(required) > 0 {
			rep["required"] = required
		}
		if scopes := a.strs("enabledWhenScopes"); len(scopes) > 0 {
			rep["selector"] = object{"scopes": scopes}
		}
		validations := object{}
		for _, v := range a.objects("validators") {
			config := object{}
			for key, value := range v.strMap("config") {
				config[key] = embedded(value, "[")
			}
			validations[v.str("name")] = config
		}
		if len(validations) > 0 {
			rep["validations"] = validations
		}
		if notes := annotations(a); len(notes) > 0 {
			rep["annotations"] = notes
		}
		attributes = append(attributes, rep)
	}
	groups := []object{}
	for _, g := range in.objects("groups") {
		rep := object{}
		g.set(rep, []field{{"name", "name", nil}, {"displayHeader", "displayHeader", nil},
			{"displayDescription", "displayDescription", nil}})
		if notes := annotations(g); len(notes) > 0 {
			rep["annotations"] = notes
		}
		groups = append(groups, rep)
	}
	realm.profile = object{"attributes": attributes, "groups": groups}
}

func annotations(in *inputs) object {
	notes := object{}
	for key, value := range in.strMap("annotations") {
		notes[key] = embedded(value, "{")
	}
	return notes
}

// embedded is a value that the provider takes as JSON if it begins so.
func embedded(value, begin string) any {
	var v any
	if strings.HasPrefix(value, begin) && json.Unmarshal([]byte(value), &v) == nil {
		return v
	}
	return value
}
