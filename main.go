// The stack: a Keycloak realm that protects the models of one API, declared by
// the configuration of a Pulumi stack.
package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/clients"
	"keycloak-model-api/config"
	"keycloak-model-api/guardrails"
	"keycloak-model-api/policy"
	"keycloak-model-api/realm"
	"keycloak-model-api/roles"
	"keycloak-model-api/users"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		outputs, err := run(ctx, os.Getenv, os.ReadFile)
		if err != nil {
			return err
		}
		for name, value := range outputs {
			ctx.Export(name, value)
		}
		return nil
	})
}

// run declares the stack's resources and returns its outputs.
func run(ctx *pulumi.Context, getenv func(string) string, readFile func(string) ([]byte, error)) (pulumi.Map, error) {
	cfg, err := config.Load(ctx, getenv, readFile)
	if err != nil {
		return nil, err
	}

	guard, err := guardrails.Register(ctx, guardrails.Options{
		Dev: cfg.Dev(),
		Told: []string{ // by config
			"no-wildcard-redirect", "no-wildcard-origin", "no-web-password-grant", guardrails.UnverifiedEmailLogin, guardrails.SecondFactor, guardrails.NoServiceKey,
		},
		PasswordAlone: cfg.PasswordAlone(),
		NoServiceKeys: cfg.Level().RefuseServiceKey,
		Exemptions:    exemptions(cfg),
		Policy:        cfg.Policy(),
	})
	if err != nil {
		return nil, err
	}

	realmArgs := &realm.Args{
		Name:           cfg.Realm,
		DisplayName:    pulumi.String(cfg.DisplayName),
		Hardening:      cfg.Level(),
		Lifetimes:      cfg.Lifetimes,
		Events:         cfg.Events,
		Settings:       realmSettings(ctx, cfg),
		SignIn:         cfg.SignIn,
		UserAttributes: cfg.UserAttributes,
		SigningKeys:    cfg.SigningKeys,
		RetireKey:      cfg.RetireKey,
		Protect:        cfg.Protected(),
	}
	theRealm, err := realm.New(ctx, cfg.Realm, realmArgs)
	if err != nil {
		return nil, err
	}

	theRoles, err := roles.New(ctx, cfg.Realm, &roles.Args{
		Realm:       theRealm.ID,
		DeletedWith: theRealm.Resource,

		Roles:  cfg.RealmRoles(),
		Groups: cfg.RealmGroups(),
		After:  []pulumi.Resource{theRealm.Settled},
	})
	if err != nil {
		return nil, err
	}

	signIn, err := realm.NewSignIn(ctx, cfg.Realm, signInArgs(cfg, theRealm, theRoles))
	if err != nil {
		return nil, err
	}

	theClients, err := clients.New(ctx, cfg.Realm, &clients.Args{
		Realm:       theRealm.ID,
		DeletedWith: theRealm.Resource,

		Clients:    cfg.Clients,
		Secrets:    cfg.ClientSecrets.Inputs(),
		Roles:      theRoles.Roles,
		ModelRoles: cfg.TokenRoles(),
		Groups:     theRoles.Groups,
		After:      signIn.Settled,
		SignIn:     flowsOfClients(cfg, signIn),

		SigningAlgorithm: cfg.SigningAlgorithm(),
		GroupsClaim:      cfg.GroupsDecide(),
	})
	if err != nil {
		return nil, err
	}
	if err := theRealm.RestingKeys(ctx, cfg.Realm, realmArgs, theClients.Made()...); err != nil {
		return nil, err
	}

	theUsers, err := users.New(ctx, cfg.Realm, &users.Args{
		Realm:       theRealm.ID,
		DeletedWith: theRealm.Resource,

		Users:            cfg.Users,
		InitialPasswords: cfg.InitialPasswords.Inputs(),
		Roles:            theRoles.Roles,
		Groups:           theRoles.Groups,
		Protect:          cfg.Protected(),
		After:            theRoles.Settled,
	})
	if err != nil {
		return nil, err
	}

	if len(cfg.IdentityProviders)+len(cfg.LDAP) > 0 {
		_, err := realm.NewFederation(ctx, cfg.Realm, &realm.FederationArgs{
			Realm:       theRealm.ID,
			DeletedWith: theRealm.Resource,

			IdentityProviders: cfg.IdentityProviders,
			LDAP:              cfg.LDAP,
			Secrets:           cfg.FederationSecrets.Inputs(),
			Roles:             theRoles.Roles,
			SignIn:            signIn,
			Users:             theUsers.Made,
		})
		if err != nil {
			return nil, err
		}
	}

	if err := guard.Finish(); err != nil {
		return nil, err
	}
	return outputs(cfg, theClients)
}

// realmSettings are those of the realm as a whole.
func realmSettings(ctx *pulumi.Context, cfg *config.Config) realm.Settings {
	s := realm.Settings{
		DisplayNameHTML: cfg.DisplayNameHTML,
		FrontendURL:     cfg.FrontendURL,
		Login:           &cfg.Login,
		Themes:          cfg.Themes,
		Locales:         cfg.Locales,
		SMTP:            cfg.SMTP,
		Attributes:      cfg.RealmAttributes,
		Stack:           ctx.Project() + "/" + ctx.Stack(),
		OTP:             cfg.OTP,
		WebAuthn:        cfg.WebAuthn,
		Passkeys:        cfg.Passkeys,
		RequiredActions: cfg.Actions(),
	}
	if cfg.SMTPPassword != "" {
		s.SMTPPassword = pulumi.String(cfg.SMTPPassword)
	}
	return s
}

func signInArgs(cfg *config.Config, r *realm.Realm, made *roles.Roles) *realm.SignInArgs {
	args := &realm.SignInArgs{
		Realm:       r.ID,
		DeletedWith: r.Resource,

		SignIn:      cfg.SignIn,
		AccountURL:  cfg.Issuer() + "/account",
		RealmInputs: r.Inputs,
		After:       slices.Clone(made.Settled),
	}
	for _, p := range cfg.IdentityProviders {
		if p.SecondFactor == "trust" {
			args.Trusted = true
		} else {
			args.Asked = true
		}
	}
	if role := made.Roles[config.SecondFactorRole]; role != nil {
		args.After = append(args.After, role)
	}
	return args
}

func flowsOfClients(cfg *config.Config, s *realm.SignIn) clients.SignIn {
	c := clients.SignIn{Declared: cfg.SignIn.Declared()}
	if s.Browser == nil {
		return c
	}
	c.Browser, c.DirectGrant, c.CLI = s.Browser.ID.ToStringPtrOutput(), s.DirectGrant.ID.ToStringPtrOutput(), s.DirectGrant.ID.ToStringPtrOutput()
	if s.Refused != nil {
		c.CLI = s.Refused.ID.ToStringPtrOutput()
	}
	return c
}

func exemptions(cfg *config.Config) []guardrails.Exemption {
	list := make([]guardrails.Exemption, len(cfg.Exemptions))
	for i, e := range cfg.Exemptions {
		list[i] = guardrails.Exemption(e)
	}
	return list
}

// outputs are what the API and its users need to know.
func outputs(cfg *config.Config, made *clients.Clients) (pulumi.Map, error) {
	api, web := cfg.API(), cfg.Web()
	declared := policy.Outputs{
		RealmName: cfg.Realm, Realm: cfg.DisplayName,
		Issuer: cfg.Issuer(), JWKSURI: cfg.JWKSURI(), Audience: api.ClientID,
		ClientID: api.ClientID,
		Policy:   cfg.Policy(),
	}
	if web != nil {
		declared.OIDCClientID = web.ClientID
	}
	exchange := cfg.Exchange()
	if exchange != nil {
		declared.ExchangeClientID = exchange.ClientID
	}
	document, err := json.Marshal(declared)
	if err != nil {
		return nil, fmt.Errorf("outputs: %w", err)
	}
	var plain map[string]any
	if err := json.Unmarshal(document, &plain); err != nil {
		return nil, fmt.Errorf("outputs: %w", err)
	}
	out := pulumi.ToMap(plain)
	out["client_secret"] = pulumi.ToSecret(made.Clients[api.ClientID].ClientSecret)
	// The first client of kind web is the one that the API signs people in with.
	if web != nil {
		out["oidc_client_secret"] = pulumi.ToSecret(made.Clients[web.ClientID].ClientSecret)
	}
	if exchange != nil {
		out["exchange_client_secret"] = pulumi.ToSecret(made.Clients[exchange.ClientID].ClientSecret)
	}
	// What the API reads, in one piece: a deployment hands over this and no secret
	// that is somebody else's.
	out["api"] = pulumi.ToSecret(maps.Clone(out))
	if keys := serviceKeys(cfg, made); len(keys) > 0 {
		out["service_keys"] = pulumi.ToSecret(keys)
	}
	return out, nil
}

// serviceKeys are the keys of the clients that have one, by client id. They are for
// those who call the API, which never needs them.
func serviceKeys(cfg *config.Config, made *clients.Clients) pulumi.StringMap {
	keys := pulumi.StringMap{}
	for _, c := range cfg.Clients {
		if c.Key {
			keys[c.ClientID] = made.Clients[c.ClientID].ClientSecret.ApplyT(func(secret string) (string, error) {
				return policy.NewServiceKey(c.ClientID, secret)
			}).(pulumi.StringOutput)
		}
	}
	return keys
}
