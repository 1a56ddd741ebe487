// Another team's program: it has a realm and a provider of its own, and takes
// from here the clients, their roles and the guardrails.
package main

import (
	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumiconfig "github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"

	"keycloak-model-api/clients"
	"keycloak-model-api/config"
	"keycloak-model-api/guardrails"
	"keycloak-model-api/roles"
)

func main() { pulumi.Run(run) }

func run(ctx *pulumi.Context) error {
	cfg := pulumiconfig.New(ctx, "")
	portalSecret := cfg.RequireSecret("portalSecret")

	// From here on every resource of this program is checked, whoever makes it.
	guard, err := guardrails.Register(ctx, guardrails.Options{Dev: ctx.Stack() == "dev"})
	if err != nil {
		return err
	}

	// A provider of its own instead of the keycloak: keys of the stack. Children of
	// a component take it over from the component.
	provider, err := keycloak.NewProvider(ctx, "corporate", &keycloak.ProviderArgs{
		Url:           pulumi.String(cfg.Require("keycloakUrl")),
		ClientId:      pulumi.String("pulumi"),
		ClientSecret:  cfg.RequireSecret("keycloakClientSecret"),
		ClientTimeout: pulumi.Int(60),
	})
	if err != nil {
		return err
	}
	corporate := pulumi.Provider(provider)

	// The realm is this program's own, without the component realm.
	staff, err := keycloak.NewRealm(ctx, "staff", &keycloak.RealmArgs{
		Realm:                 pulumi.String("staff"),
		Enabled:               pulumi.Bool(true),
		LoginWithEmailAllowed: pulumi.Bool(true),
	}, corporate, pulumi.Protect(true))
	if err != nil {
		return err
	}
	realmID := staff.ID().ToStringOutput()

	theRoles, err := roles.New(ctx, "scoring", &roles.Args{
		Realm:  realmID,
		Roles:  []config.Role{{Name: "scorer", Description: "Scores credit applications"}},
		Groups: []config.Group{{Name: "risk", Roles: []string{"scorer"}}},
	}, corporate)
	if err != nil {
		return err
	}

	made, err := clients.New(ctx, "scoring", &clients.Args{
		Realm: realmID,
		Clients: []config.Client{
			{ClientID: "portal", Kind: "web", RedirectURIs: []string{"https://portal.example.com/callback"}, Roles: []string{"scorer"}},
			{
				ClientID: "nightly", Kind: "service", Authentication: "jwt", JWKSURL: "https://nightly.example.com/jwks.json",
				Roles: []string{"scorer"}, ServiceAccountRoles: []string{"scorer"},
			},
		},
		Secrets: map[string]pulumi.StringInput{"portal": portalSecret},
		Roles:   theRoles.Roles,
	}, corporate)
	if err != nil {
		return err
	}
	ctx.Export("portal_id", made.Clients["portal"].ID())
	return guard.Finish()
}
