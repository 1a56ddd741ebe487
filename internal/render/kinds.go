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

// kind says how a resource type is built.
type kind struct {
	pass     int
	build    func(*builder, *Realm, *inputs)
	realmKey string // the input that names the realm; realmId if empty
}

// kinds are the resource types that can be rendered, by token.
var kinds = map[string]kind{
	"keycloak:index/realm:Realm":                                             {first, (*builder).realm, "realm"},
	"keycloak:index/realmEvents:RealmEvents":                                 {last, (*builder).realmEvents, ""},
	"keycloak:index/realmKeystoreRsaGenerated:RealmKeystoreRsaGenerated":     {last, keystore("rsa-generated", rsaGenerated), ""},
	"keycloak:index/realmKeystoreEcdsaGenerated:RealmKeystoreEcdsaGenerated": {last, keystore("ecdsa-generated", ecdsaGenerated), ""},
	"keycloak:index/realmKeystoreRsa:RealmKeystoreRsa":                       {last, keystore("rsa", rsaGiven), ""},
	"keycloak:index/realmUserProfile:RealmUserProfile":                       {last, (*builder).userProfile, ""},
	"keycloak:index/requiredAction:RequiredAction":                           {last, (*builder).requiredAction, ""},

	"keycloak:authentication/flow:Flow":                       {objects, (*builder).flow, ""},
	"keycloak:authentication/subflow:Subflow":                 {objects, (*builder).subflow, ""},
	"keycloak:authentication/execution:Execution":             {objects, (*builder).execution, ""},
	"keycloak:authentication/executionConfig:ExecutionConfig": {last, (*builder).executionConfig, ""},
	"keycloak:authentication/bindings:Bindings":               {last, (*builder).bindings, ""},

	"keycloak:index/role:Role":                           {nested, (*builder).role, ""},
	"keycloak:index/defaultRoles:DefaultRoles":           {last, (*builder).setDefaultRoles, ""},
	"keycloak:index/group:Group":                         {objects, (*builder).group, ""},
	"keycloak:index/groupRoles:GroupRoles":               {last, (*builder).groupRoles, ""},
	"keycloak:index/groupMemberships:GroupMemberships":   {last, (*builder).groupMemberships, ""},
	"keycloak:index/defaultGroups:DefaultGroups":         {last, (*builder).setDefaultGroups, ""},
	"keycloak:index/user:User":                           {objects, (*builder).user, ""},
	"keycloak:index/userRoles:UserRoles":                 {last, (*builder).userRoles, ""},
	"keycloak:index/userGroups:UserGroups":               {last, (*builder).userGroups, ""},
	"keycloak:index/genericRoleMapper:GenericRoleMapper": {last, (*builder).genericRoleMapper, ""},

	"keycloak:openid/client:Client":                                               {objects, (*builder).client, ""},
	"keycloak:openid/clientScope:ClientScope":                                     {objects, (*builder).clientScope, ""},
	"keycloak:openid/clientDefaultScopes:ClientDefaultScopes":                     {last, (*builder).clientDefaultScopes, ""},
	"keycloak:openid/clientOptionalScopes:ClientOptionalScopes":                   {last, (*builder).clientOptionalScopes, ""},
	"keycloak:openid/clientServiceAccountRole:ClientServiceAccountRole":           {last, (*builder).serviceAccountRole, ""},
	"keycloak:openid/clientServiceAccountRealmRole:ClientServiceAccountRealmRole": {last, (*builder).serviceAccountRole, ""},

	"keycloak:index/genericProtocolMapper:GenericProtocolMapper":                    {last, (*builder).genericProtocolMapper, ""},
	"keycloak:openid/audienceProtocolMapper:AudienceProtocolMapper":                 {last, protocolMapper("oidc-audience-mapper", tokens, audience), ""},
	"keycloak:openid/audienceResolveProtocolMapper:AudienceResolveProtocolMapper":   {last, protocolMapper("oidc-audience-resolve-mapper"), ""},
	"keycloak:openid/userRealmRoleProtocolMapper:UserRealmRoleProtocolMapper":       {last, protocolMapper("oidc-usermodel-realm-role-mapper", tokens, userinfo, claim, realmRoles), ""},
	"keycloak:openid/userClientRoleProtocolMapper:UserClientRoleProtocolMapper":     {last, protocolMapper("oidc-usermodel-client-role-mapper", tokens, userinfo, claim, clientRoles), ""},
	"keycloak:openid/userAttributeProtocolMapper:UserAttributeProtocolMapper":       {last, protocolMapper("oidc-usermodel-attribute-mapper", tokens, userinfo, claim, userAttribute), ""},
	"keycloak:openid/userPropertyProtocolMapper:UserPropertyProtocolMapper":         {last, protocolMapper("oidc-usermodel-property-mapper", tokens, userinfo, claim, userProperty), ""},
	"keycloak:openid/userSessionNoteProtocolMapper:UserSessionNoteProtocolMapper":   {last, protocolMapper("oidc-usersessionmodel-note-mapper", tokens, claim, sessionNote), ""},
	"keycloak:openid/groupMembershipProtocolMapper:GroupMembershipProtocolMapper":   {last, protocolMapper("oidc-group-membership-mapper", tokens, userinfo, groupMembership), ""},
	"keycloak:openid/fullNameProtocolMapper:FullNameProtocolMapper":                 {last, protocolMapper("oidc-full-name-mapper", tokens, userinfo), ""},
	"keycloak:openid/hardcodedClaimProtocolMapper:HardcodedClaimProtocolMapper":     {last, protocolMapper("oidc-hardcoded-claim-mapper", tokens, userinfo, claim, hardcodedClaim), ""},
	"keycloak:openid/hardcodedRoleProtocolMapper:HardcodedRoleProtocolMapper":       {last, (*builder).hardcodedRoleMapper, ""},
	"keycloak:openid/audienceResolveProtocolMappter:AudienceResolveProtocolMappter": {last, protocolMapper("oidc-audience-resolve-mapper"), ""},

	"keycloak:oidc/identityProvider:IdentityProvider":                                                      {objects, (*builder).identityProvider, "realm"},
	"keycloak:oidc/googleIdentityProvider:GoogleIdentityProvider":                                          {objects, (*builder).googleIdentityProvider, "realm"},
	"keycloak:index/attributeImporterIdentityProviderMapper:AttributeImporterIdentityProviderMapper":       {last, (*builder).attributeImporter, "realm"},
	"keycloak:index/attributeToRoleIdentityMapper:AttributeToRoleIdentityMapper":                           {last, (*builder).attributeToRole, "realm"},
	"keycloak:index/hardcodedRoleIdentityMapper:HardcodedRoleIdentityMapper":                               {last, (*builder).hardcodedIdentityRole, "realm"},
	"keycloak:index/userTemplateImporterIdentityProviderMapper:UserTemplateImporterIdentityProviderMapper": {last, (*builder).userTemplate, "realm"},
	"keycloak:index/customIdentityProviderMapping:CustomIdentityProviderMapping":                           {last, (*builder).customIdentityMapper, "realm"},

	"keycloak:ldap/userFederation:UserFederation":                             {objects, (*builder).userFederation, ""},
	"keycloak:ldap/userAttributeMapper:UserAttributeMapper":                   {last, ldapMapper("user-attribute-ldap-mapper", ldapUserAttribute), ""},
	"keycloak:ldap/roleMapper:RoleMapper":                                     {last, ldapMapper("role-ldap-mapper", ldapRole), ""},
	"keycloak:ldap/groupMapper:GroupMapper":                                   {last, ldapMapper("group-ldap-mapper", ldapGroup), ""},
	"keycloak:ldap/fullNameMapper:FullNameMapper":                             {last, ldapMapper("full-name-ldap-mapper", ldapFullName), ""},
	"keycloak:ldap/hardcodedRoleMapper:HardcodedRoleMapper":                   {last, ldapMapper("hardcoded-ldap-role-mapper", ldapHardcodedRole), ""},
	"keycloak:ldap/hardcodedAttributeMapper:HardcodedAttributeMapper":         {last, ldapMapper("hardcoded-ldap-attribute-mapper", ldapHardcodedAttribute), ""},
	"keycloak:ldap/msadUserAccountControlMapper:MsadUserAccountControlMapper": {last, ldapMapper("msad-user-account-control-mapper", ldapMSAD), ""},
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
		g.set(rep, []field{{"name", "name", nil}, {"displayHeader", "displayHeader", nil}, {"displayDescription", "displayDescription", nil}})
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
