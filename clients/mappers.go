package clients

import (
	"fmt"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/openid"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

// mappers put claims of its own into a client's tokens.
func (c *Clients) mappers(ctx *pulumi.Context, d *config.Client, args *Args) error {
	id := c.Clients[d.ClientID].ID().ToStringPtrOutput()
	parent := c.within
	for _, m := range d.Mappers {
		resource, name, claim := d.ClientID+"/"+m.Name, pulumi.String(m.Name), pulumi.String(m.Claim)
		var err error
		switch m.Type {
		case "audience":
			a := &openid.AudienceProtocolMapperArgs{RealmId: args.Realm, ClientId: id, Name: name, AddToAccessToken: pulumi.Bool(true),
				AddToIdToken: pulumi.Bool(false)}
			if target, ok := c.Clients[m.Value]; ok {
				a.IncludedClientAudience = target.ClientId
			} else {
				a.IncludedCustomAudience = pulumi.String(m.Value)
			}
			_, err = openid.NewAudienceProtocolMapper(ctx, resource, a, parent)
		case "realmRoles":
			_, err = openid.NewUserRealmRoleProtocolMapper(ctx, resource, &openid.UserRealmRoleProtocolMapperArgs{
				RealmId: args.Realm, ClientId: id, Name: name, Multivalued: pulumi.Bool(true),
				ClaimName: claim,
			}, parent)
		case "clientRoles":
			var of pulumi.StringInput = pulumi.String(m.Value)
			if target, ok := c.Clients[m.Value]; ok {
				of = target.ClientId
			}
			_, err = openid.NewUserClientRoleProtocolMapper(ctx, resource, &openid.UserClientRoleProtocolMapperArgs{
				RealmId: args.Realm, ClientId: id, Name: name, Multivalued: pulumi.Bool(true),
				ClaimName: claim, ClientIdForRoleMappings: of.ToStringOutput().ToStringPtrOutput(),
			}, parent)
		case "groups":
			_, err = openid.NewGroupMembershipProtocolMapper(ctx, resource, &openid.GroupMembershipProtocolMapperArgs{
				RealmId: args.Realm, ClientId: id, Name: name, FullPath: pulumi.Bool(true),
				ClaimName: claim,
			}, parent)
		case "userAttribute":
			_, err = openid.NewUserAttributeProtocolMapper(ctx, resource, &openid.UserAttributeProtocolMapperArgs{
				RealmId: args.Realm, ClientId: id, Name: name, ClaimName: claim, UserAttribute: pulumi.String(m.Value),
			}, parent)
		case "hardcoded":
			_, err = openid.NewHardcodedClaimProtocolMapper(ctx, resource, &openid.HardcodedClaimProtocolMapperArgs{
				RealmId: args.Realm, ClientId: id, Name: name, ClaimName: claim, ClaimValue: pulumi.String(m.Value),
			}, parent)
		default:
			err = fmt.Errorf("type %q is none of audience, realmRoles, clientRoles, groups, userAttribute, hardcoded", m.Type)
		}
		if err != nil {
			return fmt.Errorf("mapper %s: %w", m.Name, err)
		}
	}
	return nil
}
