package clients

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/openid"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

// The client scopes that the clients share. They are two, since Keycloak applies
// a scope with role mappings only to users that have one of its roles, and the
// audience is for all.
const (
	AudienceScope   = "model-api"
	ModelRolesScope = "model-roles"
)

// builtInScopes are Keycloak's default scopes of a client. Naming any default
// scope replaces the list, and without basic a token has no sub, without roles
// no roles.
var builtInScopes = []string{"basic", "roles", "profile", "email", "acr", "web-origins"}

func (c *Clients) audienceScope(ctx *pulumi.Context, declared []config.Client, args *Args) error {
	i := slices.IndexFunc(declared, func(d config.Client) bool { return d.Kind == "api" })
	if i < 0 {
		return nil // clients without a resource server
	}
	var err error
	c.audience, err = openid.NewClientScope(ctx, AudienceScope, &openid.ClientScopeArgs{
		RealmId:             args.Realm,
		Name:                pulumi.String(AudienceScope),
		Description:         pulumi.String("Names " + declared[i].ClientID + " in the audience of access tokens"),
		IncludeInTokenScope: pulumi.Bool(true),
	}, c.within)
	if err != nil {
		return err
	}
	_, err = openid.NewAudienceProtocolMapper(ctx, AudienceScope, &openid.AudienceProtocolMapperArgs{
		RealmId:                args.Realm,
		ClientScopeId:          c.audience.ID().ToStringPtrOutput(),
		Name:                   pulumi.String("audience"),
		IncludedClientAudience: c.Clients[declared[i].ClientID].ClientId,
		AddToAccessToken:       pulumi.Bool(true),
		AddToIdToken:           pulumi.Bool(false),
	}, c.within)
	if err != nil {
		return err
	}
	if err := c.exchangeAudience(ctx, declared, args); err != nil {
		return err
	}
	if err := c.levels(ctx, args); err != nil || !args.GroupsClaim {
		return err
	}
	_, err = openid.NewGroupMembershipProtocolMapper(ctx, AudienceScope, &openid.GroupMembershipProtocolMapperArgs{
		RealmId:          args.Realm,
		ClientScopeId:    c.audience.ID().ToStringPtrOutput(),
		Name:             pulumi.String("groups"),
		ClaimName:        pulumi.String("groups"),
		FullPath:         pulumi.Bool(true),
		AddToAccessToken: pulumi.Bool(true),
		AddToIdToken:     pulumi.Bool(false),
		AddToUserinfo:    pulumi.Bool(false),
	}, c.within)
	return err
}

// levels puts into access tokens when each level was reached in the session: as
// JSON of level → Unix seconds, in a text.
func (c *Clients) levels(ctx *pulumi.Context, args *Args) error {
	if args.SignIn.Browser == nil {
		return nil
	}
	_, err := openid.NewUserSessionNoteProtocolMapper(ctx, AudienceScope, &openid.UserSessionNoteProtocolMapperArgs{
		RealmId:          args.Realm,
		ClientScopeId:    c.audience.ID().ToStringPtrOutput(),
		Name:             pulumi.String("levels"),
		SessionNote:      pulumi.String("loa-map"),
		ClaimName:        pulumi.String("loa_map"),
		ClaimValueType:   pulumi.String("String"),
		AddToAccessToken: pulumi.Bool(true),
		AddToIdToken:     pulumi.Bool(false),
	}, c.within)
	if err != nil {
		return fmt.Errorf("levels: %w", err)
	}
	return nil
}

// usesModelRoles says that a client's tokens carry the roles of the models by
// the shared scope: full scope carries all roles, and who names roles has a
// mapping of its own for each.
func usesModelRoles(d *config.Client) bool { return !*d.FullScope && d.Roles == nil }

// modelRolesScope is one scope with a mapping for each role, so that the number
// of resources grows with the roles and not with roles × clients.
func (c *Clients) modelRolesScope(ctx *pulumi.Context, declared []config.Client, args *Args) error {
	if len(args.ModelRoles) == 0 || !slices.ContainsFunc(declared, func(d config.Client) bool { return usesModelRoles(&d) }) {
		return nil
	}
	var err error
	c.modelRoles, err = openid.NewClientScope(ctx, ModelRolesScope, &openid.ClientScopeArgs{
		RealmId:             args.Realm,
		Name:                pulumi.String(ModelRolesScope),
		Description:         pulumi.String("Lets the roles of the models into tokens"),
		IncludeInTokenScope: pulumi.Bool(false),
	}, c.within)
	if err != nil {
		return err
	}
	for _, name := range args.ModelRoles {
		role, ok := args.Roles[name]
		if !ok {
			return fmt.Errorf("role %s is not declared", name)
		}
		if _, err := keycloak.NewGenericRoleMapper(ctx, ModelRolesScope+"/"+name, &keycloak.GenericRoleMapperArgs{
			RealmId:       args.Realm,
			ClientScopeId: c.modelRoles.ID().ToStringPtrOutput(),
			RoleId:        role.ID().ToStringOutput(),
		}, c.within); err != nil {
			return fmt.Errorf("role %s: %w", name, err)
		}
	}
	return nil
}

// scopes sets a client's optional scopes, then its default ones: a scope can't be
// both, so taking one from the optional ones comes first. Both are always said:
// what is left out later would keep its last value.
func (c *Clients) scopes(ctx *pulumi.Context, d *config.Client, args *Args) error {
	id := c.Clients[d.ClientID].ID().ToStringOutput()
	optional := slices.DeleteFunc(slices.Clone(config.OptionalScopes), func(s string) bool { return slices.Contains(d.DefaultScopes, s) })
	if d.OptionalScopes != nil {
		optional = *d.OptionalScopes
	}
	made, err := openid.NewClientOptionalScopes(ctx, d.ClientID, &openid.ClientOptionalScopesArgs{
		RealmId:        args.Realm,
		ClientId:       id,
		OptionalScopes: pulumi.ToStringArray(optional),
	}, c.within)
	if err != nil {
		return fmt.Errorf("optional scopes: %w", err)
	}
	names := slices.Clone(builtInScopes)
	if d.Kind == "exchange" {
		names = []string{"basic"} // without it a token has no sub
	}
	if *d.ServiceAccount {
		// Without it the service account's tokens lose client_id.
		names = append(names, "service_account")
	}
	scopes := pulumi.ToStringArray(append(names, d.DefaultScopes...))
	if d.Kind == "exchange" {
		for _, server := range c.servers {
			scopes = append(scopes, server.Name)
		}
	} else if c.audience != nil {
		scopes = append(scopes, c.audience.Name)
	}
	if c.modelRoles != nil && usesModelRoles(d) && d.Kind != "exchange" {
		scopes = append(scopes, c.modelRoles.Name)
	}
	if _, err := openid.NewClientDefaultScopes(ctx, d.ClientID, &openid.ClientDefaultScopesArgs{
		RealmId:       args.Realm,
		ClientId:      id,
		DefaultScopes: scopes,
	}, c.within, pulumi.DependsOn([]pulumi.Resource{made})); err != nil {
		return fmt.Errorf("default scopes: %w", err)
	}
	return nil
}
