// Package clients makes a realm's OIDC clients, the client scopes that they
// share, and what their tokens carry.
package clients

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/openid"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

// Args says which clients there are.
type Args struct {
	Realm       pulumi.StringInput // id of the realm
	DeletedWith pulumi.Resource    // the realm's resource, whose deletion takes everything along; may be nil

	Clients    []config.Client
	Secrets    map[string]pulumi.StringInput // client secrets by client id
	Roles      map[string]*keycloak.Role     // realm roles that clients name
	ModelRoles []string                      // realm roles in the tokens of clients that name none

	// Groups are all groups of the realm. A service account is a member of those
	// that its client names and of no other, default groups included. Empty where
	// the realm has none.
	Groups map[string]*keycloak.Group

	// SigningAlgorithm of access and ID tokens, such as ES256. Empty means the
	// realm's.
	SigningAlgorithm string

	// After must be there before the first client: the keys of SigningAlgorithm,
	// and the default groups, which a service account joins when it is made.
	After []pulumi.Resource

	// GroupsClaim puts the full paths of a user's groups into tokens.
	GroupsClaim bool

	// SignIn are the flows of every client that people sign in with.
	SignIn SignIn
}

// Clients are the clients, by client id.
type Clients struct {
	pulumi.ResourceState

	Clients map[string]*openid.Client

	audience   *openid.ClientScope   // puts the resource server into aud
	modelRoles *openid.ClientScope   // lets ModelRoles into tokens, or nil
	servers    []*openid.ClientScope // each puts a model server into aud, of exchanged tokens
	roles      map[string]map[string]*keycloak.Role
	builtIn    map[string]pulumi.StringOutput // ids of clients that Keycloak made
	within     pulumi.ResourceOption          // of all resources
}

// New makes the clients.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Clients, error) {
	c := &Clients{
		Clients: make(map[string]*openid.Client, len(args.Clients)),
		roles:   map[string]map[string]*keycloak.Role{},
		builtIn: map[string]pulumi.StringOutput{},
	}
	if err := ctx.RegisterComponentResource("keycloak-model-api:clients:Clients", name, c, opts...); err != nil {
		return nil, fmt.Errorf("clients: %w", err)
	}
	c.within = pulumi.Composite(pulumi.Parent(c), pulumi.DeletedWith(args.DeletedWith))
	declared := make([]config.Client, len(args.Clients))
	for i, client := range args.Clients {
		declared[i] = client.WithDefaults()
	}
	// All clients come before what refers to two of them.
	for i := range declared {
		if err := c.client(ctx, &declared[i], args); err != nil {
			return nil, fmt.Errorf("clients: %s: %w", declared[i].ClientID, err)
		}
	}
	if err := c.keycloaksOwn(ctx, args); err != nil {
		return nil, fmt.Errorf("clients: %w", err)
	}
	if err := c.audienceScope(ctx, declared, args); err != nil {
		return nil, fmt.Errorf("clients: scope %s: %w", AudienceScope, err)
	}
	if err := c.modelRolesScope(ctx, declared, args); err != nil {
		return nil, fmt.Errorf("clients: scope %s: %w", ModelRolesScope, err)
	}
	for i := range declared {
		d := &declared[i]
		for _, step := range []func(*pulumi.Context, *config.Client, *Args) error{c.scopes, c.roleMappings, c.mappers,
			c.serviceAccount, c.serviceAccountGroups} {
			if err := step(ctx, d, args); err != nil {
				return nil, fmt.Errorf("clients: %s: %w", d.ClientID, err)
			}
		}
	}
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{})
}

// Made are the clients for DependsOn. The component itself would not do: the SDK
// adds its children in goroutines, and a dependency takes those that are there.
func (c *Clients) Made() []pulumi.Resource {
	made := make([]pulumi.Resource, 0, len(c.Clients))
	for _, client := range c.Clients {
		made = append(made, client)
	}
	return made
}

func (c *Clients) client(ctx *pulumi.Context, d *config.Client, args *Args) error {
	a := &openid.ClientArgs{
		RealmId:     args.Realm,
		ClientId:    pulumi.String(d.ClientID),
		Name:        pulumi.String(d.Name),
		Description: pulumi.String(d.Description),
		Enabled:     pulumi.Bool(true),
		AccessType:  pulumi.String("CONFIDENTIAL"),

		StandardFlowEnabled:                   pulumi.Bool(*d.StandardFlow),
		ImplicitFlowEnabled:                   pulumi.Bool(false),
		DirectAccessGrantsEnabled:             pulumi.Bool(*d.DirectAccessGrants),
		ServiceAccountsEnabled:                pulumi.Bool(*d.ServiceAccount),
		Oauth2DeviceAuthorizationGrantEnabled: pulumi.Bool(*d.DeviceGrant),
		FullScopeAllowed:                      pulumi.Bool(*d.FullScope),

		// What the configuration leaves out is said, or the provider keeps the
		// last value. Of the texts it keeps it even so: docs/configuration.md.
		BaseUrl:                     pulumi.String(d.BaseURL),
		AdminUrl:                    pulumi.String(d.AdminURL),
		ValidRedirectUris:           pulumi.ToStringArray(orEmpty(d.RedirectURIs)),
		ValidPostLogoutRedirectUris: pulumi.ToStringArray(orEmpty(d.PostLogoutRedirectURIs)),
		WebOrigins:                  pulumi.ToStringArray(orEmpty(d.WebOrigins)),
		AccessTokenLifespan:         lifespan(d.AccessTokenLifetime),
		ClientSessionIdleTimeout:    lifespan(d.SessionIdle),
		ClientSessionMaxLifespan:    lifespan(d.SessionMax),
		ConsentRequired:             pulumi.Bool(d.ConsentRequired),

		ClientOfflineSessionIdleTimeout: lifespan(d.OfflineIdle),
		ClientOfflineSessionMaxLifespan: lifespan(d.OfflineMax),
		// A browser that is sent around to end sessions tells the API nothing.
		FrontchannelLogoutEnabled: pulumi.Bool(false),

		ExtraConfig: extraConfig(d, args.SigningAlgorithm),
	}
	if d.RootURL != "" {
		a.RootUrl = pulumi.String(d.RootURL)
	}
	if d.LoginTheme != "" {
		a.LoginTheme = pulumi.String(d.LoginTheme)
	}
	if *d.StandardFlow || *d.DirectAccessGrants || *d.DeviceGrant {
		a.AuthenticationFlowBindingOverrides = args.SignIn.overrides(args.SignIn.DirectGrant)
	}
	if *d.PKCE {
		a.PkceCodeChallengeMethod = pulumi.String("S256")
	}
	if d.BackchannelLogoutURL != "" {
		a.BackchannelLogoutUrl = pulumi.String(d.BackchannelLogoutURL)
		a.BackchannelLogoutSessionRequired = pulumi.Bool(true)
	}
	switch {
	case d.Public():
		a.AccessType = pulumi.String("PUBLIC")
	case d.Authentication == "jwt":
		a.ClientAuthenticatorType = pulumi.String("client-jwt")
	default:
		secret, ok := args.Secrets[d.ClientID]
		if !ok {
			return errors.New("the client secret is missing")
		}
		a.ClientSecret = pulumi.ToSecret(secret.ToStringOutput()).(pulumi.StringOutput).ToStringPtrOutput()
	}
	client, err := openid.NewClient(ctx, d.ClientID, a, c.within, pulumi.DependsOn(args.After))
	if err != nil {
		return err
	}
	c.Clients[d.ClientID] = client

	c.roles[d.ClientID] = make(map[string]*keycloak.Role, len(d.ClientRoles))
	for _, role := range d.ClientRoles {
		made, err := keycloak.NewRole(ctx, d.ClientID+"/"+role, &keycloak.RoleArgs{
			RealmId:     args.Realm,
			ClientId:    client.ID().ToStringPtrOutput(),
			Name:        pulumi.String(role),
			Description: pulumi.String(""),
		}, c.within)
		if err != nil {
			return fmt.Errorf("role %s: %w", role, err)
		}
		c.roles[d.ClientID][role] = made
	}
	return nil
}

// extraConfig are the attributes that the provider has no property for. The
// first is always said: the provider takes an attribute away from Keycloak only
// while another one is left.
func extraConfig(d *config.Client, signingAlgorithm string) pulumi.StringMap {
	extra := pulumi.StringMap{"standard.token.exchange.enabled": pulumi.String(strconv.FormatBool(*d.TokenExchange))}
	on := func(key string, enabled bool) {
		if enabled {
			extra[key] = pulumi.String("true")
		}
	}
	if signingAlgorithm != "" {
		extra["access.token.signed.response.alg"] = pulumi.String(signingAlgorithm)
		extra["id.token.signed.response.alg"] = pulumi.String(signingAlgorithm)
	}
	on("access.token.header.type.rfc9068", d.AccessTokenType == "at+jwt")
	on("client.use.lightweight.access.token.enabled", d.Lightweight)
	on("dpop.bound.access.tokens", d.DPoP)
	if d.Authentication == "jwt" {
		on("use.jwks.string", d.JWKS != "")
		on("use.jwks.url", d.JWKSURL != "")
		if d.JWKS != "" {
			extra["jwks.string"] = pulumi.String(d.JWKS)
		}
		if d.JWKSURL != "" {
			extra["jwks.url"] = pulumi.String(d.JWKSURL)
		}
	}
	return extra
}

// lifespan is the duration in whole seconds, as the provider wants it for
// clients; empty stands for the realm's.
func lifespan(duration string) pulumi.StringPtrInput {
	if duration == "" {
		return pulumi.String("")
	}
	d, err := time.ParseDuration(duration)
	if err != nil {
		return pulumi.String(duration) // the provider's error names it
	}
	return pulumi.String(strconv.Itoa(int(d / time.Second)))
}

// roleMappings let realm roles into the tokens of a client without full scope:
// those that it names, otherwise those of its service account that the shared scope
// does not bring.
func (c *Clients) roleMappings(ctx *pulumi.Context, d *config.Client, args *Args) error {
	if *d.FullScope {
		return nil
	}
	names := d.Roles
	if usesModelRoles(d) {
		names = slices.DeleteFunc(slices.Clone(d.ServiceAccountRoles),
			func(name string) bool { return slices.Contains(args.ModelRoles, name) })
	}
	for _, name := range names {
		role, ok := args.Roles[name]
		if !ok {
			return fmt.Errorf("role %s is not declared", name)
		}
		if err := c.roleMapping(ctx, d, d.ClientID+"/"+name, role.ID().ToStringOutput(), args); err != nil {
			return fmt.Errorf("role %s: %w", name, err)
		}
	}
	return nil
}

// roleMapping lets the role of that id into the tokens of a client.
func (c *Clients) roleMapping(ctx *pulumi.Context, d *config.Client, name string, role pulumi.StringInput, args *Args) error {
	_, err := keycloak.NewGenericRoleMapper(ctx, name, &keycloak.GenericRoleMapperArgs{
		RealmId:  args.Realm,
		ClientId: c.Clients[d.ClientID].ID().ToStringPtrOutput(),
		RoleId:   role,
	}, c.within)
	return err
}

// serviceAccount gives roles to the user that stands for the client itself, and
// lets those of clients into its tokens.
func (c *Clients) serviceAccount(ctx *pulumi.Context, d *config.Client, args *Args) error {
	account := c.Clients[d.ClientID].ServiceAccountUserId
	for _, name := range d.ServiceAccountRoles {
		role, ok := args.Roles[name]
		if !ok {
			return fmt.Errorf("role %s is not declared", name)
		}
		if _, err := openid.NewClientServiceAccountRealmRole(ctx, d.ClientID+"/"+name, &openid.ClientServiceAccountRealmRoleArgs{
			RealmId:              args.Realm,
			ServiceAccountUserId: account,
			Role:                 role.Name,
		}, c.within); err != nil {
			return fmt.Errorf("service account: role %s: %w", name, err)
		}
	}
	var inTokens pulumi.StringArray // ids of client roles
	for _, target := range slices.Sorted(maps.Keys(d.ServiceAccountClientRoles)) {
		for _, name := range d.ServiceAccountClientRoles[target] {
			if err := c.serviceAccountClientRole(ctx, d, target, name, args); err != nil {
				return fmt.Errorf("service account: role %s of client %s: %w", name, target, err)
			}
			if !*d.FullScope && target != d.ClientID { // a client's own roles need no mapping
				inTokens = append(inTokens, c.roleID(ctx, target, name, args))
			}
		}
	}
	if err := c.clientRolesInTokens(ctx, d, inTokens, args); err != nil {
		return fmt.Errorf("service account: client roles in tokens: %w", err)
	}
	return nil
}

// serviceAccountClientRole gives the service account of d a role of client target.
func (c *Clients) serviceAccountClientRole(ctx *pulumi.Context, d *config.Client, target, name string, args *Args) error {
	a := &openid.ClientServiceAccountRoleArgs{
		RealmId:              args.Realm,
		ServiceAccountUserId: c.Clients[d.ClientID].ServiceAccountUserId,
	}
	own, role := c.Clients[target], c.roles[target][name]
	switch {
	case own == nil:
		a.ClientId, a.Role = c.builtInClient(ctx, target, args), pulumi.String(name)
	case role == nil:
		return errors.New("the client has no such role")
	default:
		a.ClientId, a.Role = own.ID().ToStringOutput(), role.Name
	}
	_, err := openid.NewClientServiceAccountRole(ctx, d.ClientID+"/"+target+"/"+name, a, c.within)
	return err
}

// clientRolesInTokens lets client roles into the tokens of a client without full
// scope: by one realm role that contains them, since the provider takes all roles
// of a client out of a scope when it is to take one. Nobody has the realm role.
func (c *Clients) clientRolesInTokens(ctx *pulumi.Context, d *config.Client, ids pulumi.StringArray, args *Args) error {
	if len(ids) == 0 {
		return nil
	}
	name := config.ScopeRole(d.ClientID)
	role, err := keycloak.NewRole(ctx, name, &keycloak.RoleArgs{
		RealmId:        args.Realm,
		Name:           pulumi.String(name),
		Description:    pulumi.String("Client roles in the tokens of " + d.ClientID),
		CompositeRoles: ids,
	}, c.within)
	if err != nil {
		return err
	}
	return c.roleMapping(ctx, d, d.ClientID+"/"+name, role.ID().ToStringOutput(), args)
}

// serviceAccountGroups makes the service account a member of the groups that the
// client names, and takes it out of the default groups, which Keycloak puts every
// new account into.
func (c *Clients) serviceAccountGroups(ctx *pulumi.Context, d *config.Client, args *Args) error {
	if !*d.ServiceAccount || len(args.Groups) == 0 {
		return nil
	}
	ids := make(pulumi.StringArray, len(d.ServiceAccountGroups))
	for i, name := range d.ServiceAccountGroups {
		group, ok := args.Groups[name]
		if !ok {
			return fmt.Errorf("service account: group %s is not declared", name)
		}
		ids[i] = group.ID().ToStringOutput()
	}
	_, err := keycloak.NewUserGroups(ctx, "service-account-"+d.ClientID, &keycloak.UserGroupsArgs{
		RealmId:    args.Realm,
		UserId:     c.Clients[d.ClientID].ServiceAccountUserId,
		GroupIds:   ids,
		Exhaustive: pulumi.Bool(true),
	}, c.within)
	if err != nil {
		return fmt.Errorf("service account: groups: %w", err)
	}
	return nil
}

// roleID is the id of a client's role. One that Keycloak made is looked up.
func (c *Clients) roleID(ctx *pulumi.Context, clientID, name string, args *Args) pulumi.StringOutput {
	if role := c.roles[clientID][name]; role != nil {
		return role.ID().ToStringOutput()
	}
	return keycloak.LookupRoleOutput(ctx, keycloak.LookupRoleOutputArgs{
		RealmId:  args.Realm,
		ClientId: c.builtInClient(ctx, clientID, args).ToStringPtrOutput(),
		Name:     pulumi.String(name),
	}, pulumi.Parent(c)).Id()
}

// builtInClient looks up the id of a client that Keycloak made. A preview then
// needs a live Keycloak, which nothing else of this program does beside roleID.
func (c *Clients) builtInClient(ctx *pulumi.Context, clientID string, args *Args) pulumi.StringOutput {
	id, ok := c.builtIn[clientID]
	if !ok {
		id = openid.LookupClientOutput(ctx, openid.LookupClientOutputArgs{
			RealmId:  args.Realm,
			ClientId: pulumi.String(clientID),
		}, pulumi.Parent(c)).Id()
		c.builtIn[clientID] = id
	}
	return id
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
