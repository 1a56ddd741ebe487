package clients

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/openid"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

// exchangeAudience lets the API exchange tokens (RFC 8693), where a client is for that:
// it stands in the audience of all access tokens, since Keycloak exchanges no others
// for it, and it has a scope for each model server. A request names one of these by
// its parameter audience, which narrows what the scopes give.
func (c *Clients) exchangeAudience(ctx *pulumi.Context, declared []config.Client, args *Args) error {
	i := slices.IndexFunc(declared, func(d config.Client) bool { return d.Kind == "exchange" })
	if i < 0 {
		return nil
	}
	if err := c.audienceMapper(ctx, c.audience, "exchange", declared[i].ClientID, args); err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	for _, d := range declared {
		if d.Kind != "resource" {
			continue
		}
		name := "model-server-" + d.ClientID
		scope, err := openid.NewClientScope(ctx, name, &openid.ClientScopeArgs{
			RealmId:             args.Realm,
			Name:                pulumi.String(name),
			Description:         pulumi.String("Names " + d.ClientID + " in the audience of exchanged tokens"),
			IncludeInTokenScope: pulumi.Bool(false),
		}, c.within)
		if err == nil {
			err = c.audienceMapper(ctx, scope, name, d.ClientID, args)
		}
		if err != nil {
			return fmt.Errorf("scope %s: %w", name, err)
		}
		c.servers = append(c.servers, scope)
	}
	return nil
}

// audienceMapper has a scope put a client into the audience of access tokens.
func (c *Clients) audienceMapper(ctx *pulumi.Context, scope *openid.ClientScope, name, clientID string, args *Args) error {
	_, err := openid.NewAudienceProtocolMapper(ctx, name, &openid.AudienceProtocolMapperArgs{
		RealmId:                args.Realm,
		ClientScopeId:          scope.ID().ToStringPtrOutput(),
		Name:                   pulumi.String(name),
		IncludedClientAudience: c.Clients[clientID].ClientId,
		AddToAccessToken:       pulumi.Bool(true),
		AddToIdToken:           pulumi.Bool(false),
	}, c.within)
	return err
}
