// A realm, the client of a model API, the role that its callers need, and a user
// who has it. The outputs are what the API needs: go run ./api -stack FILE.
package main

import (
	"encoding/json"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumiconfig "github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"

	"keycloak-model-api/clients"
	"keycloak-model-api/config"
	"keycloak-model-api/hardening"
	"keycloak-model-api/policy"
	"keycloak-model-api/realm"
	"keycloak-model-api/roles"
	"keycloak-model-api/users"
)

const (
	realmName = "example-realm"
	apiClient = "model-serving-api"
	apiRole   = "model-api-access"
	username  = "ml-api-user"
)

func main() { pulumi.Run(run) }

func run(ctx *pulumi.Context) error {
	cfg := pulumiconfig.New(ctx, "")
	issuer := pulumiconfig.Require(ctx, "keycloak:url") + "/realms/" + realmName
	secret, password := cfg.RequireSecret("clientSecret"), cfg.RequireSecret("userPassword")

	theRealm, err := realm.New(ctx, realmName, &realm.Args{
		Name:        realmName,
		DisplayName: pulumi.String("Example Realm"),
		Hardening:   hardening.Of("baseline"),
	})
	if err != nil {
		return err
	}

	theRoles, err := roles.New(ctx, realmName, &roles.Args{
		Realm: theRealm.ID, DeletedWith: theRealm.Resource,
		Roles: []config.Role{{Name: apiRole, Description: "May call the model API"}},
		After: []pulumi.Resource{theRealm.Settled},
	})
	if err != nil {
		return err
	}

	_, err = clients.New(ctx, realmName, &clients.Args{
		Realm: theRealm.ID, DeletedWith: theRealm.Resource,
		Clients:    []config.Client{{ClientID: apiClient, Kind: "api"}, {ClientID: "modelctl", Kind: "cli"}},
		Secrets:    map[string]pulumi.StringInput{apiClient: secret},
		Roles:      theRoles.Roles,
		ModelRoles: []string{apiRole},
	})
	if err != nil {
		return err
	}

	_, err = users.New(ctx, realmName, &users.Args{
		Realm: theRealm.ID, DeletedWith: theRealm.Resource,
		Users: []config.User{{
			Username: username, Email: "user@example.com", FirstName: "ML", LastName: "User",
			Password: "temporary",
			Roles:    []string{apiRole},
		}},
		InitialPasswords: map[string]pulumi.StringInput{username: password},
		Roles:            theRoles.Roles,
		After:            theRoles.Settled,
	})
	if err != nil {
		return err
	}

	accessPolicy, err := json.Marshal(policy.Policy{
		Version:  policy.Version,
		BaseRole: apiRole,
		Models:   []policy.Model{{Name: "iris", Embedded: "iris", Allow: policy.Conditions{Roles: []string{apiRole}}}},
		Clients:  []policy.Client{{ClientID: apiClient, Kind: "api"}, {ClientID: "modelctl", Kind: "cli", Public: true}},
	})
	if err != nil {
		return err
	}
	ctx.Export("realm_name", theRealm.ID)
	ctx.Export("issuer", pulumi.String(issuer))
	ctx.Export("jwks_uri", pulumi.String(issuer+"/protocol/openid-connect/certs"))
	ctx.Export("audience", pulumi.String(apiClient))
	ctx.Export("client_id", pulumi.String(apiClient))
	ctx.Export("client_secret", secret)
	ctx.Export("policy", pulumi.JSONUnmarshal(pulumi.String(accessPolicy)))
	return nil
}
