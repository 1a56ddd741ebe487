// The stack: a Keycloak realm that protects the models of one API, declared by
// the configuration of a Pulumi stack.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/clients"
	"keycloak-model-api/config"
	"keycloak-model-api/realm"
	"keycloak-model-api/roles"
	"keycloak-model-api/users"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error { return run(ctx, os.Getenv, os.ReadFile) })
}

// run declares the stack's resources and outputs.
func run(ctx *pulumi.Context, getenv func(string) string, readFile func(string) ([]byte, error)) error {
	cfg, err := config.Load(ctx, getenv, readFile)
	if err != nil {
		return err
	}

	// Guardrails are registered here, before the first resource.

	theRealm, err := realm.New(ctx, cfg.Realm, &realm.Args{
		Name:           cfg.Realm,
		DisplayName:    pulumi.String(cfg.DisplayName),
		Hardening:      cfg.Level(),
		Lifetimes:      cfg.Lifetimes,
		Events:         cfg.Events,
		UserAttributes: cfg.UserAttributes,
		SigningKeys:    cfg.SigningKeys,
		RetireKey:      cfg.RetireKey,
		Protect:        cfg.Protected(),
	})
	if err != nil {
		return err
	}

	theRoles, err := roles.New(ctx, cfg.Realm, &roles.Args{
		Realm:  theRealm.ID,
		Roles:  cfg.RealmRoles(),
		Groups: cfg.Groups,
		After:  []pulumi.Resource{theRealm.Settled},
	})
	if err != nil {
		return err
	}

	theClients, err := clients.New(ctx, cfg.Realm, &clients.Args{
		Realm:      theRealm.ID,
		Clients:    cfg.Clients,
		Secrets:    cfg.ClientSecrets.Inputs(),
		Roles:      theRoles.Roles,
		ModelRoles: cfg.ModelRoles(),
	})
	if err != nil {
		return err
	}

	theUsers, err := users.New(ctx, cfg.Realm, &users.Args{
		Realm:            theRealm.ID,
		Users:            cfg.Users,
		InitialPasswords: cfg.InitialPasswords.Inputs(),
		Roles:            theRoles.Roles,
		Groups:           theRoles.Groups,
		DefaultGroups:    cfg.DefaultGroups(),
		Protect:          cfg.Protected(),
		After:            theRoles.Settled,
	})
	if err != nil {
		return err
	}

	if _, err := realm.NewFederation(ctx, cfg.Realm, &realm.FederationArgs{
		Realm:             theRealm.ID,
		IdentityProviders: cfg.IdentityProviders,
		LDAP:              cfg.LDAP,
		Secrets:           cfg.FederationSecrets.Inputs(),
		Roles:             theRoles.Roles,
		Users:             theUsers.Made,
	}); err != nil {
		return err
	}

	return outputs(ctx, cfg, theClients)
}

// outputs exports what the API and its users need to know.
func outputs(ctx *pulumi.Context, cfg *config.Config, made *clients.Clients) error {
	document, err := json.Marshal(cfg.Policy())
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	var accessPolicy map[string]any
	if err := json.Unmarshal(document, &accessPolicy); err != nil {
		return fmt.Errorf("policy: %w", err)
	}

	api := cfg.API()
	ctx.Export("realm_name", pulumi.String(cfg.Realm))
	ctx.Export("realm", pulumi.String(cfg.DisplayName))
	ctx.Export("client_id", pulumi.String(api.ClientID))
	ctx.Export("client_secret", pulumi.ToSecret(made.Clients[api.ClientID].ClientSecret))
	if web := cfg.Web(); web != nil {
		ctx.Export("oidc_client_id", pulumi.String(web.ClientID))
		ctx.Export("oidc_client_secret", pulumi.ToSecret(made.Clients[web.ClientID].ClientSecret))
	}
	ctx.Export("issuer", pulumi.String(cfg.Issuer()))
	ctx.Export("jwks_uri", pulumi.String(cfg.JWKSURI()))
	ctx.Export("audience", pulumi.String(api.ClientID))
	ctx.Export("policy", pulumi.ToOutput(accessPolicy))
	return nil
}
