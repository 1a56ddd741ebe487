package clients

import (
	"fmt"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/openid"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// SignIn says which flows people sign in by, by the ids of flows. Nil is what the
// realm binds. Clients name them too, since an update of the realm unbinds the
// flows for a moment.
type SignIn struct {
	// Declared has Keycloak's own clients in the stack.
	Declared bool

	Browser     pulumi.StringPtrInput
	DirectGrant pulumi.StringPtrInput
	CLI         pulumi.StringPtrInput // direct grant of Keycloak's own command line
}

func (s *SignIn) overrides(directGrant pulumi.StringPtrInput) openid.ClientAuthenticationFlowBindingOverridesPtrInput {
	if s.Browser == nil {
		return nil
	}
	return openid.ClientAuthenticationFlowBindingOverridesArgs{BrowserId: s.Browser, DirectGrantId: directGrant}
}

// keycloaksOwn has the clients that Keycloak made sign people in by the same
// flows. What is left out stays as Keycloak has it. The provider can't turn
// anything off in the up that imports a client.
func (c *Clients) keycloaksOwn(ctx *pulumi.Context, args *Args) error {
	if !args.SignIn.Declared {
		return nil
	}
	for _, own := range []struct {
		clientID        string
		pkce, fullScope bool
	}{
		{clientID: "account"},
		{clientID: "account-console", pkce: true},
		{clientID: "security-admin-console", pkce: true, fullScope: true},
		{clientID: "admin-cli", fullScope: true},
	} {
		a := &openid.ClientArgs{
			RealmId:          args.Realm,
			ClientId:         pulumi.String(own.clientID),
			Name:             pulumi.String("${client_" + own.clientID + "}"),
			AccessType:       pulumi.String("PUBLIC"),
			FullScopeAllowed: pulumi.Bool(own.fullScope),
			Import:           pulumi.Bool(true),

			AuthenticationFlowBindingOverrides: args.SignIn.overrides(args.SignIn.CLI),
		}
		if own.pkce {
			a.PkceCodeChallengeMethod = pulumi.String("S256")
		}
		if _, err := openid.NewClient(ctx, own.clientID, a, c.within, pulumi.DependsOn(args.After)); err != nil {
			return fmt.Errorf("%s: %w", own.clientID, err)
		}
	}
	return nil
}
