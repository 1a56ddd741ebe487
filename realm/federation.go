package realm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/ldap"
	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/oidc"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

// FederationArgs says whose users the realm takes.
type FederationArgs struct {
	Realm       pulumi.StringInput // id of the realm
	DeletedWith pulumi.Resource    // the realm's resource, whose deletion takes everything along; may be nil

	IdentityProviders []config.IdentityProvider
	LDAP              []config.LDAP
	Secrets           map[string]pulumi.StringInput // client secrets by alias, bind passwords by name
	Roles             map[string]*keycloak.Role     // realm roles that claims and LDAP groups may give
	SignIn            *SignIn                       // flows after a sign-in at an identity provider

	// Users come first: a directory that hangs could hold up each of them.
	Users []pulumi.Resource
}

// Federation are the identity providers and directories of a realm.
type Federation struct {
	pulumi.ResourceState

	within pulumi.ResourceOption // of all resources
}

// NewFederation connects the realm with the providers and directories.
func NewFederation(ctx *pulumi.Context, name string, args *FederationArgs, opts ...pulumi.ResourceOption) (*Federation, error) {
	f := &Federation{}
	if err := ctx.RegisterComponentResource("keycloak-model-api:realm:Federation", name, f, opts...); err != nil {
		return nil, fmt.Errorf("realm: federation: %w", err)
	}
	f.within = pulumi.Composite(pulumi.Parent(f), pulumi.DeletedWith(args.DeletedWith))
	for i := range args.IdentityProviders {
		if err := f.identityProvider(ctx, &args.IdentityProviders[i], args); err != nil {
			return nil, fmt.Errorf("realm: identity provider %s: %w", args.IdentityProviders[i].Alias, err)
		}
	}
	for i := range args.LDAP {
		if err := f.directory(ctx, &args.LDAP[i], args); err != nil {
			return nil, fmt.Errorf("realm: LDAP %s: %w", args.LDAP[i].Name, err)
		}
	}
	return f, ctx.RegisterResourceOutputs(f, pulumi.Map{})
}

func (f *Federation) identityProvider(ctx *pulumi.Context, p *config.IdentityProvider, args *FederationArgs) error {
	provider, err := oidc.NewIdentityProvider(ctx, p.Alias, &oidc.IdentityProviderArgs{
		Realm:             args.Realm,
		Alias:             pulumi.String(p.Alias),
		DisplayName:       pulumi.String(cmp.Or(p.DisplayName, p.Alias)),
		Enabled:           pulumi.Bool(true),
		Issuer:            pulumi.String(p.Issuer),
		AuthorizationUrl:  pulumi.String(p.AuthorizationURL),
		TokenUrl:          pulumi.String(p.TokenURL),
		JwksUrl:           pulumi.String(p.JWKSURL),
		LogoutUrl:         optional(p.LogoutURL),
		UserInfoUrl:       optional(p.UserInfoURL),
		DisableUserInfo:   pulumi.Bool(p.UserInfoURL == ""),
		ClientId:          pulumi.String(p.ClientID),
		ClientSecret:      secret(args.Secrets[p.Alias]),
		DefaultScopes:     pulumi.String(p.Scopes),
		TrustEmail:        pulumi.Bool(p.TrustEmail),
		StoreToken:        pulumi.Bool(false),
		ValidateSignature: pulumi.Bool(true),
		// Roles follow the claims at each login, not only at the first.
		SyncMode: pulumi.String("FORCE"),

		FirstBrokerLoginFlowAlias: args.SignIn.first(p),
		PostBrokerLoginFlowAlias:  args.SignIn.after(p),
		ExtraConfig: pulumi.StringMap{
			"pkceEnabled": pulumi.String("true"),
			"pkceMethod":  pulumi.String("S256"),
		},
	}, f.within, args.SignIn.settled())
	if err != nil {
		return err
	}
	inherit := pulumi.StringMap{"syncMode": pulumi.String("INHERIT")}
	for _, m := range p.RoleMappings {
		role, ok := args.Roles[m.Role]
		if !ok {
			return fmt.Errorf("role %s is not declared", m.Role)
		}
		mapper := m.MapperName()
		if _, err := keycloak.NewAttributeToRoleIdentityMapper(ctx, p.Alias+"/"+mapper, &keycloak.AttributeToRoleIdentityMapperArgs{
			Realm:                 args.Realm,
			IdentityProviderAlias: provider.Alias,
			Name:                  pulumi.String(mapper),
			ClaimName:             pulumi.String(m.Claim),
			ClaimValue:            pulumi.String(m.Value),
			Role:                  role.Name,
			ExtraConfig:           inherit,
		}, f.within); err != nil {
			return err
		}
	}
	for _, claim := range slices.Sorted(maps.Keys(p.AttributeMappings)) {
		attribute := p.AttributeMappings[claim]
		mapper := config.AttributeMapperName(claim, attribute)
		if _, err := keycloak.NewAttributeImporterIdentityProviderMapper(ctx, p.Alias+"/"+mapper, &keycloak.AttributeImporterIdentityProviderMapperArgs{
			Realm:                 args.Realm,
			IdentityProviderAlias: provider.Alias,
			Name:                  pulumi.String(mapper),
			ClaimName:             pulumi.String(claim),
			UserAttribute:         pulumi.String(attribute),
			ExtraConfig:           inherit,
		}, f.within); err != nil {
			return err
		}
	}
	return nil
}

func (f *Federation) directory(ctx *pulumi.Context, l *config.LDAP, args *FederationArgs) error {
	classes := l.ObjectClasses
	if len(classes) == 0 {
		classes = []string{"inetOrgPerson", "organizationalPerson"}
	}
	scope := "ONE_LEVEL"
	if l.SearchSubtree {
		scope = "SUBTREE"
	}
	a := &ldap.UserFederationArgs{
		RealmId:               args.Realm,
		Name:                  pulumi.String(l.Name),
		Enabled:               pulumi.Bool(true),
		EditMode:              pulumi.String("READ_ONLY"),
		ImportEnabled:         pulumi.Bool(true),
		SyncRegistrations:     pulumi.Bool(false),
		ConnectionUrl:         pulumi.String(l.URL),
		StartTls:              pulumi.Bool(l.StartTLS),
		UsersDn:               pulumi.String(l.UsersDN),
		SearchScope:           pulumi.String(scope),
		Vendor:                pulumi.String(l.Vendor),
		UsernameLdapAttribute: pulumi.String(l.UsernameAttribute),
		RdnLdapAttribute:      pulumi.String(l.RDNAttribute),
		UuidLdapAttribute:     pulumi.String(l.UUIDAttribute),
		UserObjectClasses:     pulumi.ToStringArray(classes),
	}
	if l.BindDN != "" {
		a.BindDn = pulumi.String(l.BindDN)
		a.BindCredential = secret(args.Secrets[l.Name]).ToStringPtrOutput()
	}
	opts := []pulumi.ResourceOption{f.within, pulumi.DependsOn(args.Users)}
	if l.BindDN == "" {
		// The provider can't take an account away from Keycloak: it would try at every
		// refresh. One that was there stays.
		opts = append(opts, pulumi.IgnoreChanges([]string{"bindDn", "bindCredential"}))
	}
	directory, err := ldap.NewUserFederation(ctx, l.Name, a, opts...)
	if err != nil {
		return err
	}
	id := directory.ID().ToStringOutput()
	for _, attribute := range slices.Sorted(maps.Keys(l.Attributes)) {
		if _, err := ldap.NewUserAttributeMapper(ctx, l.Name+"/"+attribute, &ldap.UserAttributeMapperArgs{
			RealmId:              args.Realm,
			LdapUserFederationId: id,
			Name:                 pulumi.String(attribute),
			UserModelAttribute:   pulumi.String(attribute),
			LdapAttribute:        pulumi.String(l.Attributes[attribute]),
			ReadOnly:             pulumi.Bool(true),
		}, f.within); err != nil {
			return err
		}
	}
	if l.RolesDN != "" {
		if _, err := ldap.NewRoleMapper(ctx, l.Name+"/roles", &ldap.RoleMapperArgs{
			RealmId:                     args.Realm,
			LdapUserFederationId:        id,
			Name:                        pulumi.String("roles"),
			LdapRolesDn:                 pulumi.String(l.RolesDN),
			RoleNameLdapAttribute:       pulumi.String("cn"),
			RoleObjectClasses:           pulumi.ToStringArray([]string{l.GroupObjectClass}),
			MembershipLdapAttribute:     pulumi.String(l.MembershipAttr),
			MembershipAttributeType:     pulumi.String("DN"),
			MembershipUserLdapAttribute: pulumi.String(l.UsernameAttribute),
			Mode:                        pulumi.String("READ_ONLY"),
			UserRolesRetrieveStrategy:   pulumi.String("LOAD_ROLES_BY_MEMBER_ATTRIBUTE"),
		}, f.within); err != nil {
			return err
		}
	}
	if l.GroupsDN != "" {
		if _, err := ldap.NewGroupMapper(ctx, l.Name+"/groups", &ldap.GroupMapperArgs{
			RealmId:                     args.Realm,
			LdapUserFederationId:        id,
			Name:                        pulumi.String("groups"),
			LdapGroupsDn:                pulumi.String(l.GroupsDN),
			GroupNameLdapAttribute:      pulumi.String("cn"),
			GroupObjectClasses:          pulumi.ToStringArray([]string{l.GroupObjectClass}),
			MembershipLdapAttribute:     pulumi.String(l.MembershipAttr),
			MembershipAttributeType:     pulumi.String("DN"),
			MembershipUserLdapAttribute: pulumi.String(l.UsernameAttribute),
			Mode:                        pulumi.String("READ_ONLY"),
		}, f.within); err != nil {
			return err
		}
	}
	return nil
}

func optional(s string) pulumi.StringPtrInput {
	if s == "" {
		return nil
	}
	return pulumi.String(s)
}

// secret marks a value as secret whatever the caller did.
func secret(value pulumi.StringInput) pulumi.StringOutput {
	if value == nil {
		value = pulumi.String("")
	}
	return pulumi.ToSecret(value.ToStringOutput()).(pulumi.StringOutput)
}
