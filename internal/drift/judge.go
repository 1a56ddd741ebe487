package drift

import (
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
)

// What the provider does is read in the source of v4.5.0 of the Terraform provider,
// which v5.4.0 of the Pulumi provider wraps. An update sends an object whole, from
// the program and the state. Of what the program leaves out, a refresh takes the live
// value into the state where the schema says Computed; elsewhere it is a difference,
// which the same up takes away.
var (
	// realmRefreshed are inputs of the realm that are not Computed.
	realmRefreshed = []string{"smtpServer", "internationalization", "displayNameHtml", "userManagedAccess", "passwordPolicy"}

	// clientRefreshed are inputs of a client that are not Computed.
	clientRefreshed = []string{
		"accessType", "authenticationFlowBindingOverrides", "backchannelLogoutRevokeOfflineSessions", "backchannelLogoutSessionRequired",
		"backchannelLogoutUrl", "clientAuthenticatorType", "enabled", "frontchannelLogoutUrl", "fullScopeAllowed", "loginTheme",
		"oauth2DeviceAuthorizationGrantEnabled", "oauth2DeviceCodeLifespan", "oauth2DevicePollingInterval", "useRefreshTokens",
		"useRefreshTokensClientCredentials",
	}
	// clientNotRead are inputs of a client that a refresh does not read.
	clientNotRead = []string{"pkceCodeChallengeMethod", "excludeSessionStateFromAuthResponse"}

	// themes are sent only where the program sets them.
	themes = []string{"loginTheme", "accountTheme", "adminTheme", "emailTheme"}

	// attributeKeys are settings that the provider does not know, and that Keycloak
	// keeps among the realm's attributes, of which an update removes all but the
	// program's. Measured with what the provider sends.
	attributeKeys = []string{
		"clientOfflineSessionIdleTimeout", "clientOfflineSessionMaxLifespan", "otpPolicyCodeReusable",
		"webAuthnPolicyExtraOrigins", "webAuthnPolicyPasswordlessExtraOrigins",
		"webAuthnPolicyResidentKey", "webAuthnPolicyPasswordlessResidentKey",
	}

	bindingKeys = []string{
		"browserFlow", "registrationFlow", "directGrantFlow", "resetCredentialsFlow", "clientAuthenticationFlow", "dockerAuthenticationFlow",
	}
	eventKeys = []string{
		"eventsEnabled", "eventsExpiration", "eventsListeners", "enabledEventTypes", "adminEventsEnabled", "adminEventsDetailsEnabled",
	}
)

const (
	realmType   = "keycloak:index/realm:Realm"
	clientType  = "keycloak:openid/client:Client"
	userType    = "keycloak:index/user:User"
	changeRealm = "changes the realm"

	keyProviders     = "org.keycloak.keys.KeyProvider"
	profileProviders = "org.keycloak.userprofile.UserProfileProvider"
)

// program is what the program declares, by kind and by the name in Keycloak.
type program struct {
	realm     *monitor.Resource
	resources []*monitor.Resource
	named     map[string]*monitor.Resource // by type and name
	byID      map[string]*monitor.Resource // by type and id
}

func newProgram(realm string, resources []*monitor.Resource) *program {
	p := &program{named: map[string]*monitor.Resource{}, byID: map[string]*monitor.Resource{}}
	for _, r := range resources {
		if !r.Custom {
			continue
		}
		if in := r.Text("realmId"); in != "" && in != realm {
			continue
		}
		if r.Type == realmType && r.Text("realm") == realm {
			p.realm = r
		}
		p.resources = append(p.resources, r)
		p.named[r.Type+" "+nameOf(r)] = r
		p.byID[r.Type+" "+r.ID] = r
	}
	return p
}

// nameOf is the name in Keycloak of what a resource stands for.
func nameOf(r *monitor.Resource) string {
	for _, key := range []string{"clientId", "username", "alias", "name"} {
		if r.Type != clientType && key == "clientId" {
			continue // the id of the client that it belongs to
		}
		if s := r.Text(key); s != "" {
			return s
		}
	}
	return r.Name
}

// sets reports whether the program gives the resource that input.
func sets(r *monitor.Resource, input string) bool {
	if r == nil || input == "" {
		return false
	}
	v, ok := r.Inputs[resource.PropertyKey(input)]
	return ok && !v.IsNull()
}

func (p *program) has(typ string) bool {
	return slices.ContainsFunc(p.resources, func(r *monitor.Resource) bool { return r.Type == typ })
}

// declares reports whether a resource of one of the types has that name.
func (p *program) declares(name string, types ...string) bool {
	return slices.ContainsFunc(types, func(typ string) bool { return p.named[typ+" "+name] != nil })
}

// of reports whether a resource of that type refers by key to one of the other type
// that has that name.
func (p *program) of(typ, key, owner, name string) bool {
	return slices.ContainsFunc(p.resources, func(r *monitor.Resource) bool {
		if r.Type != typ {
			return false
		}
		o := p.byID[owner+" "+r.Text(key)]
		return o != nil && nameOf(o) == name
	})
}

// judge says what becomes of a difference.
func (p *program) judge(d render.Difference) Finding {
	f := Finding{Declared: d.Want, Live: d.Got}
	section, name := d.Keys[0], ""
	if len(d.Keys) > 1 {
		name = d.Keys[1]
	}
	switch section {
	case "clients":
		p.client(&f, d, name)
	case "clientScopes":
		p.object(&f, d, p.declares(name, "keycloak:openid/clientScope:ClientScope"), "client scope "+name)
	case "roles":
		p.role(&f, d)
	case "groups":
		p.group(&f, d)
	case "users":
		p.serviceAccount(&f, d, name)
	case "scopeMappings", "clientScopeMappings":
		f.Refresh = d.Got == nil // each mapping is a resource of its own
	case "components":
		p.component(&f, d)
	case "identityProviders":
		p.object(&f, d, p.hasSuffix(name, "IdentityProvider"), "identity provider "+name)
	case "identityProviderMappers":
		p.object(&f, d, d.Want != nil, "mapper "+name)
	case "requiredActions":
		p.object(&f, d, p.declares(name, "keycloak:index/requiredAction:RequiredAction"), "required action "+name)
	case "authenticationFlows":
		p.object(&f, d, p.declares(name, "keycloak:authentication/flow:Flow", "keycloak:authentication/subflow:Subflow"), "flow "+name)
	case "authenticatorConfig":
		p.object(&f, d, p.declares(name, "keycloak:authentication/executionConfig:ExecutionConfig"), "configuration "+name)
	case "defaultGroups":
		p.resource(&f, "keycloak:index/defaultGroups:DefaultGroups", "changes the default groups")
	default:
		p.setting(&f, section, name)
	}
	return f
}

func (p *program) hasSuffix(name, suffix string) bool {
	return slices.ContainsFunc(p.resources, func(r *monitor.Resource) bool {
		google := name == "google" && strings.HasSuffix(r.Type, ":GoogleIdentityProvider")
		return strings.HasSuffix(r.Type, suffix) && (google || nameOf(r) == name)
	})
}

// setting judges a setting of the realm itself.
func (p *program) setting(f *Finding, key, sub string) {
	switch {
	case slices.Contains(eventKeys, key):
		p.resource(f, "keycloak:index/realmEvents:RealmEvents", "changes events")
		return
	case slices.Contains(bindingKeys, key):
		f.Plain, f.Refresh = changeRealm, sets(p.realm, key) || p.binds(key)
		return
	case slices.Contains(themes, key) && !sets(p.realm, key):
		return
	case slices.Contains(attributeKeys, key):
		f.Plain = changeRealm
		return
	}
	input := render.RealmInput(key)
	if input == "" {
		return
	}
	f.Plain = changeRealm
	f.Refresh = sets(p.realm, input) || slices.Contains(realmRefreshed, input)
	if key == "attributes" { // a refresh reads those that the program sets
		attributes, _ := monitor.Plain(p.realm.Inputs["attributes"]).(map[string]any)
		f.Refresh = attributes[sub] != nil
	}
}

func (p *program) binds(key string) bool {
	return slices.ContainsFunc(p.resources, func(r *monitor.Resource) bool {
		return r.Type == "keycloak:authentication/bindings:Bindings" && sets(r, key)
	})
}

// resource judges what is the stack's alone if the program has a resource of that
// type.
func (p *program) resource(f *Finding, typ, plain string) {
	if p.has(typ) {
		f.Plain, f.Refresh = plain, true
	}
}

// object judges a named object that is one resource.
func (p *program) object(f *Finding, d render.Difference, declared bool, what string) {
	if !declared {
		return
	}
	if len(d.Keys) == 2 && d.Got == nil {
		missing(f, what)
		return
	}
	if len(d.Keys) >= 4 && d.Keys[2] == "protocolMappers" {
		if d.Want != nil {
			f.Plain, f.Refresh = "changes mapper "+d.Keys[3], true
		}
		return
	}
	f.Plain, f.Refresh = "changes "+what, true
}

// missing is an object of the program that the realm does not have.
func missing(f *Finding, what string) {
	f.Refresh = true
	f.Note = what + " is not in the realm: if it is new in the configuration, the next up makes it; " +
		"if somebody deleted it, up --refresh makes it again, and a plain up that changes it fails with 404"
}

func (p *program) client(f *Finding, d render.Difference, name string) {
	client := p.named[clientType+" "+name]
	what := "client " + name
	switch {
	case client == nil:
		return
	case len(d.Keys) == 2:
		if d.Got == nil {
			missing(f, what)
		}
		return
	}
	changes := "changes " + what
	var input string
	switch field := d.Keys[2]; field {
	case "protocolMappers":
		p.object(f, d, true, what)
		return
	case "defaultClientScopes", "optionalClientScopes":
		typ := "keycloak:openid/clientDefaultScopes:ClientDefaultScopes"
		if field == "optionalClientScopes" {
			typ = "keycloak:openid/clientOptionalScopes:ClientOptionalScopes"
		}
		if p.of(typ, "clientId", clientType, name) {
			f.Plain, f.Refresh = "changes the scopes of "+what, true
		}
		return
	case "attributes":
		input = render.ClientAttributeInput(d.Keys[3])
		extra, _ := monitor.Plain(client.Inputs["extraConfig"]).(map[string]any)
		if extra[d.Keys[3]] != nil {
			f.Plain, f.Refresh = changes, true
			return
		}
	default:
		input = render.ClientInput(field)
	}
	if input == "" {
		return // an update leaves it
	}
	f.Plain = changes
	f.Refresh = (sets(client, input) || slices.Contains(clientRefreshed, input)) && !slices.Contains(clientNotRead, input)
}

func (p *program) role(f *Finding, d render.Difference) {
	at := 2 // of the name: roles.realm.NAME, roles.client.CLIENT.NAME
	if d.Keys[1] == "client" {
		at = 3
	}
	if len(d.Keys) <= at {
		return
	}
	name := d.Keys[at]
	declared := slices.ContainsFunc(p.resources, func(r *monitor.Resource) bool {
		if r.Type != "keycloak:index/role:Role" || nameOf(r) != name {
			return false
		}
		owner := p.byID[clientType+" "+r.Text("clientId")]
		return at == 2 && r.Text("clientId") == "" || at == 3 && owner != nil && nameOf(owner) == d.Keys[2]
	})
	switch {
	case !declared:
	case len(d.Keys) == at+1 && d.Got == nil:
		missing(f, "role "+name)
		f.Note += "; where a declared service account holds it, every up fails with 400: go run ./dev repair"
	default:
		f.Plain, f.Refresh = "changes role "+name, true
	}
}

// group judges a group at any depth: groups.NAME.subGroups.NAME.FIELD.
func (p *program) group(f *Finding, d render.Difference) {
	keys := d.Keys[1:]
	for len(keys) > 2 && keys[1] == "subGroups" {
		keys = keys[2:]
	}
	name := keys[0]
	const groupType = "keycloak:index/group:Group"
	switch {
	case !p.declares(name, groupType):
	case len(keys) == 1 && d.Got == nil:
		missing(f, "group "+name)
	case len(keys) > 1 && (keys[1] == "realmRoles" || keys[1] == "clientRoles"):
		if p.of("keycloak:index/groupRoles:GroupRoles", "groupId", groupType, name) {
			f.Plain, f.Refresh = "changes the roles of group "+name, true
		}
	case len(keys) > 1 && keys[1] == "subGroups":
	default:
		f.Plain, f.Refresh = "changes group "+name, true
	}
}

// serviceAccount judges the roles and groups of a client's account.
func (p *program) serviceAccount(f *Finding, d render.Difference, username string) {
	clientID := strings.TrimPrefix(username, "service-account-")
	if len(d.Keys) < 3 {
		return
	}
	switch d.Keys[2] {
	case "realmRoles", "clientRoles":
		f.Refresh = d.Got == nil // each role is a resource of its own
	case "groups":
		if p.declares("service-account-"+clientID, "keycloak:index/userGroups:UserGroups") {
			f.Plain, f.Refresh = "changes the groups of that service account", true
		}
	}
}

func (p *program) component(f *Finding, d render.Difference) {
	switch kind := d.Keys[1]; {
	case kind == profileProviders:
		p.resource(f, "keycloak:index/realmUserProfile:RealmUserProfile", "changes userAttributes")
	case len(d.Keys) < 3:
	case kind == keyProviders:
		name := d.Keys[2]
		generated := name == "rsa-generated" && slices.ContainsFunc(p.resources, func(r *monitor.Resource) bool { return r.ImportID != "" })
		declared := generated || p.declares(name, "keycloak:index/realmKeystoreEcdsaGenerated:RealmKeystoreEcdsaGenerated",
			"keycloak:index/realmKeystoreRsaGenerated:RealmKeystoreRsaGenerated", "keycloak:index/realmKeystoreRsa:RealmKeystoreRsa")
		p.key(f, d, declared, name)
	case p.declares(d.Keys[2], "keycloak:ldap/userFederation:UserFederation"):
		what := "directory " + d.Keys[2]
		if len(d.Keys) == 3 && d.Got == nil {
			missing(f, what)
			return
		}
		if len(d.Keys) > 5 && d.Keys[3] == "subComponents" { // its mappers, of which Keycloak makes some
			what = "mapper " + d.Keys[5]
			if d.Want == nil {
				return
			}
		}
		f.Plain, f.Refresh = "changes "+what, true
	}
}

func (p *program) key(f *Finding, d render.Difference, declared bool, name string) {
	switch {
	case !declared:
	case len(d.Keys) == 3 && d.Got == nil:
		missing(f, "key "+name)
	default:
		f.Plain, f.Refresh = "changes key "+name, true
	}
}
