package render

import (
	"slices"
	"strings"
)

var clientFields = []field{
	{"enabled", "enabled", true},
	{"description", "description", ""},
	{"adminUrl", "adminUrl", ""},
	{"baseUrl", "baseUrl", ""},
	{"rootUrl", "rootUrl", nil},
	{"standardFlowEnabled", "standardFlowEnabled", false},
	{"implicitFlowEnabled", "implicitFlowEnabled", false},
	{"directAccessGrantsEnabled", "directAccessGrantsEnabled", false},
	{"serviceAccountsEnabled", "serviceAccountsEnabled", false},
	{"frontchannelLogoutEnabled", "frontchannelLogout", false},
	{"fullScopeAllowed", "fullScopeAllowed", true},
	{"consentRequired", "consentRequired", false},
	{"clientAuthenticatorType", "clientAuthenticatorType", "client-secret"},
	{"clientSecret", "secret", nil},
	// Left out, web origins would be derived from the redirect URIs.
	{"webOrigins", "webOrigins", []string{}},
	{"validRedirectUris", "redirectUris", []string{}},
}

// clientAttributes are the inputs that Keycloak keeps among the client's
// attributes.
var clientAttributes = []field{
	{"accessTokenLifespan", "access.token.lifespan", nil},
	{"backchannelLogoutRevokeOfflineSessions", "backchannel.logout.revoke.offline.tokens", false},
	{"backchannelLogoutSessionRequired", "backchannel.logout.session.required", true},
	{"backchannelLogoutUrl", "backchannel.logout.url", nil},
	{"clientOfflineSessionIdleTimeout", "client.offline.session.idle.timeout", nil},
	{"clientOfflineSessionMaxLifespan", "client.offline.session.max.lifespan", nil},
	{"clientSessionIdleTimeout", "client.session.idle.timeout", nil},
	{"clientSessionMaxLifespan", "client.session.max.lifespan", nil},
	{"consentScreenText", "consent.screen.text", nil},
	{"displayOnConsentScreen", "display.on.consent.screen", false},
	{"excludeSessionStateFromAuthResponse", "exclude.session.state.from.auth.response", false},
	{"frontchannelLogoutUrl", "frontchannel.logout.url", nil},
	{"loginTheme", "login_theme", nil},
	{"oauth2DeviceAuthorizationGrantEnabled", "oauth2.device.authorization.grant.enabled", false},
	{"oauth2DeviceCodeLifespan", "oauth2.device.code.lifespan", nil},
	{"oauth2DevicePollingInterval", "oauth2.device.polling.interval", nil},
	{"pkceCodeChallengeMethod", "pkce.code.challenge.method", nil},
	{"useRefreshTokens", "use.refresh.tokens", true},
	{"useRefreshTokensClientCredentials", "client_credentials.use_refresh_token", false},
}

func (b *builder) client(realm *Realm, in *inputs) {
	c := &client{id: in.res.ID, clientID: in.str("clientId")}
	c.rep = object{
		"id": c.id, "clientId": c.clientID, "name": in.name(), "protocol": "openid-connect",
		"alwaysDisplayInConsole": false, "surrogateAuthRequired": false,
	}
	in.set(c.rep, clientFields)
	accessType := in.str("accessType")
	c.rep["publicClient"] = accessType == "PUBLIC"
	c.rep["bearerOnly"] = accessType == "BEARER-ONLY"

	attributes := map[string]string{}
	in.config(attributes, clientAttributes)
	if uris := in.strs("validPostLogoutRedirectUris"); len(uris) > 0 {
		attributes["post.logout.redirect.uris"] = strings.Join(uris, "##")
	}
	in.extra("extraConfig", attributes)
	c.rep["attributes"] = attributes

	if overrides, ok := in.object("authenticationFlowBindingOverrides"); ok {
		rep := object{}
		for input, key := range map[string]string{"browserId": "browser", "directGrantId": "direct_grant"} {
			if overrides.str(input) == "" {
				continue
			}
			b.links = append(b.links, func() {
				if f := ref(overrides, input, b.flows); f != nil {
					rep[key] = f.id
				}
			})
		}
		c.rep["authenticationFlowBindingOverrides"] = rep
	}
	in.refuse("authorization", "authorization services are not covered")
	if c.imported = in.boolean("import", false); c.imported && realm.base.client(c.clientID) == nil {
		in.fail("input import: %q is none of Keycloak's own clients, and the local way makes a realm that has no others", c.clientID)
	}

	c.serviceAccount = in.boolean("serviceAccountsEnabled", false)
	if c.serviceAccount {
		b.accounts[stableID(c.id, "service-account")] = c
		if id, ok := in.res.Outputs["serviceAccountUserId"]; ok && id.IsString() {
			b.accounts[id.StringValue()] = c
		}
	}
	b.clients[c.id] = c
	realm.clients = append(realm.clients, c)
}

func (b *builder) clientDefaultScopes(realm *Realm, in *inputs) {
	if c := ref(in, "clientId", b.clients); c != nil {
		c.defaultScopes = b.scopeNames(realm, in, "defaultScopes")
	}
}

func (b *builder) clientOptionalScopes(realm *Realm, in *inputs) {
	if c := ref(in, "clientId", b.clients); c != nil {
		c.optionalScopes = b.scopeNames(realm, in, "optionalScopes")
	}
}

// scopeNames reads a list of client scopes. Keycloak drops one that isn't there
// without a word.
func (b *builder) scopeNames(realm *Realm, in *inputs, key string) []string {
	names := in.strs(key)
	for _, name := range names {
		own := slices.ContainsFunc(realm.scopes, func(s *scope) bool { return s.name == name })
		if !own && !slices.Contains(realm.base.scopes(), name) {
			in.fail("input %s%s names the client scope %q, which is neither built in nor declared", in.path, key, name)
		}
	}
	slices.Sort(names)
	return names
}

func (b *builder) clientScope(realm *Realm, in *inputs) {
	s := &scope{id: in.res.ID, name: in.name()}
	consent := in.str("consentScreenText")
	s.rep = object{
		"id": s.id, "name": s.name, "protocol": "openid-connect", "description": in.str("description"),
		"attributes": map[string]string{
			"include.in.token.scope":    text(in.boolean("includeInTokenScope", true)),
			"display.on.consent.screen": text(consent != ""),
			"consent.screen.text":       consent,
			"gui.order":                 text(in.get("guiOrder")),
		},
	}
	b.scopes[s.id] = s
	realm.scopes = append(realm.scopes, s)
}

// The protocol mappers: each is a type of Keycloak's and some of these groups
// of inputs.
var (
	tokens   = []field{{"addToAccessToken", "access.token.claim", true}, {"addToIdToken", "id.token.claim", true}}
	userinfo = []field{{"addToUserinfo", "userinfo.token.claim", true}}
	claim    = []field{{"claimName", "claim.name", nil}, {"claimValueType", "jsonType.label", "String"}}

	audience = []field{
		{"includedClientAudience", "included.client.audience", nil}, {"includedCustomAudience", "included.custom.audience", nil},
	}
	realmRoles = []field{
		{"multivalued", "multivalued", false}, {"realmRolePrefix", "usermodel.realmRoleMapping.rolePrefix", nil},
	}
	clientRoles = []field{
		{"multivalued", "multivalued", false}, {"clientIdForRoleMappings", "usermodel.clientRoleMapping.clientId", nil},
		{"clientRolePrefix", "usermodel.clientRoleMapping.rolePrefix", nil},
	}
	userAttribute = []field{
		{"userAttribute", "user.attribute", nil}, {"multivalued", "multivalued", false}, {"aggregateAttributes", "aggregate.attrs", false},
	}
	userProperty    = []field{{"userProperty", "user.attribute", nil}}
	sessionNote     = []field{{"sessionNote", "user.session.note", nil}}
	groupMembership = []field{{"claimName", "claim.name", nil}, {"fullPath", "full.path", true}}
	hardcodedClaim  = []field{{"claimValue", "claim.value", nil}}
)

func protocolMapper(mapper string, fields ...[]field) func(*builder, *Realm, *inputs) {
	return func(b *builder, realm *Realm, in *inputs) {
		config := map[string]string{}
		in.config(config, slices.Concat(fields...))
		b.addMapper(in, "openid-connect", mapper, config)
	}
}

func (b *builder) genericProtocolMapper(realm *Realm, in *inputs) {
	config := map[string]string{}
	for key, value := range in.strMap("config") {
		if value != "" {
			config[key] = value
		}
	}
	b.addMapper(in, in.str("protocol"), in.str("protocolMapper"), config)
}

func (b *builder) hardcodedRoleMapper(realm *Realm, in *inputs) {
	config := map[string]string{}
	if r := ref(in, "roleId", b.roles); r != nil {
		config["role"] = r.qualified()
	}
	b.addMapper(in, "openid-connect", "oidc-hardcoded-role-mapper", config)
}

// qualified is a role's name as mappers write it.
func (r *role) qualified() string {
	if r.Client != "" {
		return r.Client + "." + r.Name
	}
	return r.Name
}

// addMapper gives a mapper to its client or client scope.
func (b *builder) addMapper(in *inputs, protocol, mapper string, config map[string]string) {
	rep := object{"id": in.res.ID, "name": in.name(), "protocol": protocol, "protocolMapper": mapper, "consentRequired": false,
		"config": config}
	if in.str("clientScopeId") != "" {
		if s := ref(in, "clientScopeId", b.scopes); s != nil {
			s.mappers = append(s.mappers, rep)
		}
	} else if c := ref(in, "clientId", b.clients); c != nil {
		if c.builtin {
			in.fail("mappers of Keycloak's own client %s can't be rendered", c.clientID)
		}
		c.mappers = append(c.mappers, rep)
	}
}
