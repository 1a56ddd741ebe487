// A realm and one web client.
package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumiconfig "github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"

	"keycloak-model-api/clients"
	"keycloak-model-api/config"
	"keycloak-model-api/hardening"
	"keycloak-model-api/realm"
)

func main() { pulumi.Run(run) }

func run(ctx *pulumi.Context) error {
	const clientID = "my-api-client"
	secret := pulumiconfig.New(ctx, "").RequireSecret("clientSecret")

	theRealm, err := realm.New(ctx, "example-realm", &realm.Args{
		Name:        "example-realm",
		DisplayName: pulumi.String("Example Realm"),
		Hardening:   hardening.Of("baseline"),
	})
	if err != nil {
		return err
	}

	made, err := clients.New(ctx, "example-realm", &clients.Args{
		Realm: theRealm.ID, DeletedWith: theRealm.Resource,
		Clients: []config.Client{{
			ClientID:     clientID,
			Kind:         "web",
			Description:  "OIDC client for my API",
			RedirectURIs: []string{"https://my.api/callback"},
		}},
		Secrets: map[string]pulumi.StringInput{clientID: secret},
	})
	if err != nil {
		return err
	}

	ctx.Export("realm", theRealm.ID)
	ctx.Export("client_id", made.Clients[clientID].ClientId)
	ctx.Export("client_secret", made.Clients[clientID].ClientSecret)
	return nil
}
