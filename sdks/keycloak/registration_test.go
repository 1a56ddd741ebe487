// Package sdk_test runs programs that are written for the published SDK
// against this one, and looks at what they send to the engine.
package sdk_test

import (
	"cmp"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/config"
	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/ldap"
	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/oidc"
	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/openid"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// program declares one of nearly everything, as the documentation of the
// published SDK does it.
func program(ctx *pulumi.Context) error {
	realm, err := keycloak.NewRealm(ctx, "realm", &keycloak.RealmArgs{
		Realm:                 pulumi.String("example-realm"),
		DisplayName:           pulumi.String("Example Realm"),
		Enabled:               pulumi.Bool(true),
		LoginWithEmailAllowed: pulumi.BoolPtr(true),
		AccessTokenLifespan:   pulumi.String("5m"),
		RefreshTokenMaxReuse:  pulumi.Int(0),
		RevokeRefreshToken:    pulumi.Bool(true),
		Attributes:            pulumi.StringMap{"acr.loa.map": pulumi.String(`{"1":"1"}`)},
		Internationalization: &keycloak.RealmInternationalizationArgs{
			DefaultLocale:    pulumi.String("en"),
			SupportedLocales: pulumi.StringArray{pulumi.String("en"), pulumi.String("de")},
		},
		OtpPolicy: keycloak.RealmOtpPolicyArgs{Digits: pulumi.Int(8), Type: pulumi.String("totp")},
		SecurityDefenses: &keycloak.RealmSecurityDefensesArgs{
			BruteForceDetection: &keycloak.RealmSecurityDefensesBruteForceDetectionArgs{
				MaxLoginFailures: pulumi.Int(10),
				PermanentLockout: pulumi.Bool(false),
			},
			Headers: &keycloak.RealmSecurityDefensesHeadersArgs{
				XFrameOptions:  pulumi.String("DENY"),
				XXssProtection: pulumi.String("1; mode=block"),
			},
		},
		SmtpServer: &keycloak.RealmSmtpServerArgs{
			From: pulumi.String("realm@example.com"),
			Host: pulumi.String("smtp.example.com"),
			Auth: &keycloak.RealmSmtpServerAuthArgs{
				Username: pulumi.String("mailer"),
				Password: pulumi.ToSecret(pulumi.String("smtp-password")).(pulumi.StringOutput),
			},
		},
		WebAuthnPolicy: keycloak.RealmWebAuthnPolicyPtr(&keycloak.RealmWebAuthnPolicyArgs{
			SignatureAlgorithms: pulumi.StringArray{pulumi.String("ES256")},
		}).ToRealmWebAuthnPolicyPtrOutput(),
		WebAuthnPasswordlessPolicy: keycloak.RealmWebAuthnPasswordlessPolicyPtr(nil),
	}, pulumi.Protect(true))
	if err != nil {
		return err
	}
	inRealm := pulumi.Parent(realm)
	if _, err := keycloak.NewRealmEvents(ctx, "events", &keycloak.RealmEventsArgs{
		RealmId:          realm.ID(),
		EventsEnabled:    pulumi.Bool(true),
		EventsExpiration: pulumi.Int(604800),
		EventsListeners:  pulumi.StringArray{pulumi.String("jboss-logging")},
	}, inRealm); err != nil {
		return err
	}
	if _, err := keycloak.NewRealmKeystoreEcdsaGenerated(ctx, "es256", &keycloak.RealmKeystoreEcdsaGeneratedArgs{
		RealmId:          realm.ID(),
		Name:             pulumi.String("es256"),
		EllipticCurveKey: pulumi.String("P-256"),
		Priority:         pulumi.Int(200),
	}); err != nil {
		return err
	}
	if _, err := keycloak.NewRealmKeystoreRsa(ctx, "rsa", &keycloak.RealmKeystoreRsaArgs{
		RealmId:     realm.ID(),
		Name:        pulumi.String("rsa"),
		Certificate: pulumi.String("certificate"),
		PrivateKey:  pulumi.String("not wrapped by the SDK"),
	}); err != nil {
		return err
	}
	profile, err := keycloak.NewRealmUserProfile(ctx, "profile", &keycloak.RealmUserProfileArgs{
		RealmId: realm.ID(),
		Attributes: keycloak.RealmUserProfileAttributeArray{
			&keycloak.RealmUserProfileAttributeArgs{
				Name: pulumi.String("team"),
				Permissions: &keycloak.RealmUserProfileAttributePermissionsArgs{
					Edits: pulumi.StringArray{pulumi.String("admin")},
					Views: pulumi.StringArray{pulumi.String("admin"), pulumi.String("user")},
				},
				Validators: keycloak.RealmUserProfileAttributeValidatorArray{
					keycloak.RealmUserProfileAttributeValidatorArgs{
						Name:   pulumi.String("length"),
						Config: pulumi.StringMap{"max": pulumi.String("20")},
					},
				},
			},
		},
	}, pulumi.RetainOnDelete(true))
	if err != nil {
		return err
	}
	role, err := keycloak.NewRole(ctx, "access", &keycloak.RoleArgs{
		RealmId: realm.ID(),
		Name:    pulumi.String("model-api-access"),
	})
	if err != nil {
		return err
	}
	client, err := openid.NewClient(ctx, "api", &openid.ClientArgs{
		RealmId:                               realm.ID(),
		ClientId:                              pulumi.String("model-serving-api"),
		ClientSecret:                          pulumi.String("a-client-secret"),
		AccessType:                            pulumi.String("CONFIDENTIAL"),
		BaseUrl:                               pulumi.String("http://my-api-server/api"),
		Oauth2DeviceAuthorizationGrantEnabled: pulumi.Bool(true),
		ServiceAccountsEnabled:                pulumi.Bool(true),
		ValidRedirectUris:                     pulumi.StringArray{pulumi.String("http://my-api-server/*")},
		ExtraConfig:                           pulumi.StringMap{"standard.token.exchange.enabled": pulumi.String("true")},
		AuthenticationFlowBindingOverrides: &openid.ClientAuthenticationFlowBindingOverridesArgs{
			BrowserId: pulumi.String("flow"),
		},
		Authorization: &openid.ClientAuthorizationArgs{PolicyEnforcementMode: pulumi.String("ENFORCING")},
	})
	if err != nil {
		return err
	}
	if _, err := openid.NewClient(ctx, "cli", &openid.ClientArgs{
		RealmId:    realm.ID(),
		ClientId:   pulumi.String("model-cli"),
		AccessType: pulumi.String("PUBLIC"),
	}, pulumi.Version("5.3.0"), pulumi.AdditionalSecretOutputs([]string{"serviceAccountUserId"})); err != nil {
		return err
	}
	scope, err := openid.NewClientScope(ctx, "scope", &openid.ClientScopeArgs{
		RealmId: realm.ID(),
		Name:    pulumi.String("model-api"),
	})
	if err != nil {
		return err
	}
	if _, err := openid.NewClientDefaultScopes(ctx, "scopes", &openid.ClientDefaultScopesArgs{
		RealmId:       realm.ID(),
		ClientId:      client.ID(),
		DefaultScopes: pulumi.StringArray{pulumi.String("basic"), scope.Name},
	}); err != nil {
		return err
	}
	if _, err := openid.NewAudienceProtocolMapper(ctx, "audience", &openid.AudienceProtocolMapperArgs{
		RealmId:                realm.ID(),
		ClientScopeId:          scope.ID(),
		Name:                   pulumi.String("audience"),
		IncludedClientAudience: client.ClientId,
		AddToIdToken:           pulumi.Bool(false),
	}); err != nil {
		return err
	}
	if _, err := openid.NewAudienceResolveProtocolMapper(ctx, "resolve", &openid.AudienceResolveProtocolMapperArgs{
		RealmId:       realm.ID(),
		ClientScopeId: scope.ID().ToStringPtrOutput(),
	}); err != nil {
		return err
	}
	if _, err := openid.NewClientServiceAccountRealmRole(ctx, "service-role", &openid.ClientServiceAccountRealmRoleArgs{
		RealmId:              realm.ID(),
		ServiceAccountUserId: client.ServiceAccountUserId,
		Role:                 role.Name,
	}); err != nil {
		return err
	}
	user, err := keycloak.NewUser(ctx, "user", &keycloak.UserArgs{
		RealmId:    realm.ID(),
		Username:   pulumi.String("ml-api-user"),
		Attributes: pulumi.StringMap{"team": pulumi.String("vision")},
		InitialPassword: &keycloak.UserInitialPasswordArgs{
			Value:     pulumi.ToSecret(pulumi.String("correct horse")).(pulumi.StringOutput),
			Temporary: pulumi.Bool(false),
		},
		FederatedIdentities: keycloak.UserFederatedIdentityArray{
			keycloak.UserFederatedIdentityArgs{
				IdentityProvider: pulumi.String("google"),
				UserId:           pulumi.String("1"),
				UserName:         pulumi.String("ml"),
			},
		},
	}, pulumi.DependsOn([]pulumi.Resource{profile}), pulumi.IgnoreChanges([]string{"requiredActions"}))
	if err != nil {
		return err
	}
	if _, err := keycloak.NewUserRoles(ctx, "user-roles", &keycloak.UserRolesArgs{
		RealmId:    realm.ID(),
		UserId:     user.ID(),
		RoleIds:    pulumi.StringArray{role.ID()},
		Exhaustive: pulumi.Bool(false),
	}); err != nil {
		return err
	}
	if _, err := ldap.NewUserFederation(ctx, "ldap", &ldap.UserFederationArgs{
		RealmId:               realm.ID(),
		Name:                  pulumi.String("corporate-ldap"),
		BindDn:                pulumi.String("cn=admin,dc=example,dc=org"),
		BindCredential:        pulumi.StringPtr("ldap-secret"),
		ConnectionUrl:         pulumi.String("ldap://127.0.0.1:1389"),
		RdnLdapAttribute:      pulumi.String("uid"),
		UserObjectClasses:     pulumi.StringArray{pulumi.String("inetOrgPerson")},
		UsernameLdapAttribute: pulumi.String("uid"),
		UsersDn:               pulumi.String("ou=people,dc=example,dc=org"),
		UuidLdapAttribute:     pulumi.String("entryUUID"),
		Cache:                 ldap.UserFederationCacheArgs{Policy: pulumi.String("NO_CACHE")},
	}); err != nil {
		return err
	}
	idp, err := oidc.NewIdentityProvider(ctx, "idp", &oidc.IdentityProviderArgs{
		Realm:            realm.ID(),
		Alias:            pulumi.String("partner"),
		AuthorizationUrl: pulumi.String("https://idp.example.com/authorize"),
		TokenUrl:         pulumi.String("https://idp.example.com/token"),
		ClientId:         pulumi.String("us"),
		ClientSecret:     pulumi.String("idp-secret"),
	})
	if err != nil {
		return err
	}
	if _, err := keycloak.NewAttributeImporterIdentityProviderMapper(ctx, "importer", &keycloak.AttributeImporterIdentityProviderMapperArgs{
		Realm:                 realm.ID(),
		IdentityProviderAlias: idp.Alias,
		UserAttribute:         pulumi.String("team"),
	}); err != nil {
		return err
	}

	// Outputs: of a resource, through a nested type, from a list, of a look-up.
	found := keycloak.LookupRoleOutput(ctx, keycloak.LookupRoleOutputArgs{RealmId: realm.ID(), Name: role.Name})
	keys := keycloak.GetRealmKeysOutput(ctx, keycloak.GetRealmKeysOutputArgs{RealmId: realm.ID()})
	ctx.Export("algorithm", keys.Keys().Index(pulumi.Int(0)).Algorithm())
	ctx.Export("description", found.Description())
	ctx.Export("displayName", realm.DisplayName)
	ctx.Export("maxLoginFailures", realm.SecurityDefenses.BruteForceDetection().MaxLoginFailures())
	ctx.Export("noWebAuthn", realm.WebAuthnPasswordlessPolicy.RelyingPartyId())
	ctx.Export("locale", realm.Internationalization.Elem().DefaultLocale())
	ctx.Export("attribute", profile.Attributes.Index(pulumi.Int(0)).Name())
	ctx.Export("lifted", keycloak.RoleArray{role}.ToRoleArrayOutput().Index(pulumi.Int(0)).Name())
	ctx.Export("mapped", keycloak.RoleMap{"a": role}.ToRoleMapOutput().MapIndex(pulumi.String("a")).Name())
	ctx.Export("secret", client.ClientSecret)
	return nil
}

func TestRegistrations(t *testing.T) {
	m := &monitor{outputs: map[string]map[string]any{
		"realm":                          {"webAuthnPasswordlessPolicy": nil},
		"api":                            {"serviceAccountUserId": "service-account"},
		"keycloak:index/getRole:getRole": {"description": "found"},
		"keycloak:index/getRealmKeys:getRealmKeys": {"keys": []any{map[string]any{"algorithm": "ES256"}}},
	}}
	if err := m.run(t, nil, program); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		typ, object   string
		version       string // "" for the SDK's own
		secretOutputs []string
		aliases       []string
	}{
		"realm": {typ: "keycloak:index/realm:Realm", object: `{
			"realm": "example-realm", "displayName": "Example Realm", "enabled": true,
			"loginWithEmailAllowed": true, "accessTokenLifespan": "5m", "refreshTokenMaxReuse": 0,
			"revokeRefreshToken": true, "attributes": {"acr.loa.map": "{\"1\":\"1\"}"},
			"internationalization": {"defaultLocale": "en", "supportedLocales": ["en", "de"]},
			"otpPolicy": {"digits": 8, "type": "totp"},
			"securityDefenses": {
				"bruteForceDetection": {"maxLoginFailures": 10, "permanentLockout": false},
				"headers": {"xFrameOptions": "DENY", "xXssProtection": "1; mode=block"}
			},
			"smtpServer": {"from": "realm@example.com", "host": "smtp.example.com",
				"auth": {"username": "mailer", "password": "(secret)smtp-password"}},
			"webAuthnPolicy": {"signatureAlgorithms": ["ES256"]}
		}`},
		"events": {typ: "keycloak:index/realmEvents:RealmEvents", object: `{
			"realmId": "realm-id", "eventsEnabled": true, "eventsExpiration": 604800, "eventsListeners": ["jboss-logging"]
		}`},
		"es256": {typ: "keycloak:index/realmKeystoreEcdsaGenerated:RealmKeystoreEcdsaGenerated", object: `{
			"realmId": "realm-id", "name": "es256", "ellipticCurveKey": "P-256", "priority": 200
		}`},
		"rsa": {typ: "keycloak:index/realmKeystoreRsa:RealmKeystoreRsa", object: `{
			"realmId": "realm-id", "name": "rsa", "certificate": "certificate", "privateKey": "not wrapped by the SDK"
		}`},
		"profile": {typ: "keycloak:index/realmUserProfile:RealmUserProfile", object: `{
			"realmId": "realm-id", "attributes": [{"name": "team",
				"permissions": {"edits": ["admin"], "views": ["admin", "user"]},
				"validators": [{"name": "length", "config": {"max": "20"}}]}]
		}`},
		"access": {typ: "keycloak:index/role:Role", object: `{"realmId": "realm-id", "name": "model-api-access"}`},
		"api": {typ: "keycloak:openid/client:Client", secretOutputs: []string{"clientSecret"}, object: `{
			"realmId": "realm-id", "clientId": "model-serving-api", "clientSecret": "(secret)a-client-secret",
			"accessType": "CONFIDENTIAL", "baseUrl": "http://my-api-server/api",
			"oauth2DeviceAuthorizationGrantEnabled": true, "serviceAccountsEnabled": true,
			"validRedirectUris": ["http://my-api-server/*"],
			"extraConfig": {"standard.token.exchange.enabled": "true"},
			"authenticationFlowBindingOverrides": {"browserId": "flow"},
			"authorization": {"policyEnforcementMode": "ENFORCING"}
		}`},
		"cli": {
			typ: "keycloak:openid/client:Client", version: "5.3.0",
			secretOutputs: []string{"serviceAccountUserId", "clientSecret"},
			object:        `{"realmId": "realm-id", "clientId": "model-cli", "accessType": "PUBLIC"}`,
		},
		"scopes": {typ: "keycloak:openid/clientDefaultScopes:ClientDefaultScopes", object: `{
			"realmId": "realm-id", "clientId": "api-id", "defaultScopes": ["basic", "model-api"]
		}`},
		"audience": {typ: "keycloak:openid/audienceProtocolMapper:AudienceProtocolMapper", object: `{
			"realmId": "realm-id", "clientScopeId": "scope-id", "name": "audience",
			"includedClientAudience": "model-serving-api", "addToIdToken": false
		}`},
		"resolve": {
			typ:     "keycloak:openid/audienceResolveProtocolMapper:AudienceResolveProtocolMapper",
			object:  `{"realmId": "realm-id", "clientScopeId": "scope-id"}`,
			aliases: []string{"keycloak:openid/audienceResolveProtocolMappter:AudienceResolveProtocolMappter"},
		},
		"service-role": {typ: "keycloak:openid/clientServiceAccountRealmRole:ClientServiceAccountRealmRole", object: `{
			"realmId": "realm-id", "serviceAccountUserId": "service-account", "role": "model-api-access"
		}`},
		"user": {typ: "keycloak:index/user:User", object: `{
			"realmId": "realm-id", "username": "ml-api-user", "attributes": {"team": "vision"},
			"initialPassword": {"value": "(secret)correct horse", "temporary": false},
			"federatedIdentities": [{"identityProvider": "google", "userId": "1", "userName": "ml"}]
		}`},
		"user-roles": {typ: "keycloak:index/userRoles:UserRoles", object: `{
			"realmId": "realm-id", "userId": "user-id", "roleIds": ["access-id"], "exhaustive": false
		}`},
		"ldap": {typ: "keycloak:ldap/userFederation:UserFederation", secretOutputs: []string{"bindCredential"}, object: `{
			"realmId": "realm-id", "name": "corporate-ldap", "bindDn": "cn=admin,dc=example,dc=org",
			"bindCredential": "(secret)ldap-secret", "connectionUrl": "ldap://127.0.0.1:1389",
			"rdnLdapAttribute": "uid", "userObjectClasses": ["inetOrgPerson"], "usernameLdapAttribute": "uid",
			"usersDn": "ou=people,dc=example,dc=org", "uuidLdapAttribute": "entryUUID", "cache": {"policy": "NO_CACHE"}
		}`},
		"idp": {typ: "keycloak:oidc/identityProvider:IdentityProvider", secretOutputs: []string{"clientSecret"}, object: `{
			"realm": "realm-id", "alias": "partner", "authorizationUrl": "https://idp.example.com/authorize",
			"tokenUrl": "https://idp.example.com/token", "clientId": "us", "clientSecret": "(secret)idp-secret"
		}`},
		"importer": {
			typ:    "keycloak:index/attributeImporterIdentityProviderMapper:AttributeImporterIdentityProviderMapper",
			object: `{"realm": "realm-id", "identityProviderAlias": "partner", "userAttribute": "team"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := m.registered[name]
			if got == nil {
				t.Fatal("was not registered")
			}
			if got.GetType() != want.typ {
				t.Errorf("type is %s, want %s", got.GetType(), want.typ)
			}
			if version := cmp.Or(want.version, "5.4.0"); got.GetVersion() != version {
				t.Errorf("version is %q, want %q", got.GetVersion(), version)
			}
			if url := got.GetPluginDownloadURL(); url != "" {
				t.Errorf("plugin download URL is %q, want none", url)
			}
			if object := wire(t, got.GetObject()); object != compact(t, want.object) {
				t.Errorf("sent\n%s\nwant\n%s", object, compact(t, want.object))
			}
			if !slices.Equal(got.GetAdditionalSecretOutputs(), want.secretOutputs) {
				t.Errorf("additional secret outputs are %v, want %v", got.GetAdditionalSecretOutputs(), want.secretOutputs)
			}
			var aliases []string
			for _, alias := range got.GetAliases() {
				aliases = append(aliases, alias.GetSpec().GetType())
			}
			if !slices.Equal(aliases, want.aliases) {
				t.Errorf("aliases are %v, want %v", aliases, want.aliases)
			}
		})
	}

	for token, args := range map[string]string{
		"keycloak:index/getRole:getRole":           `{"name": "model-api-access", "realmId": "realm-id"}`,
		"keycloak:index/getRealmKeys:getRealmKeys": `{"realmId": "realm-id"}`,
	} {
		t.Run(token, func(t *testing.T) {
			got := m.invoked[token]
			if got == nil {
				t.Fatal("was not called")
			}
			if got.GetVersion() != "5.4.0" {
				t.Errorf("version is %q, want 5.4.0", got.GetVersion())
			}
			if sent := wire(t, got.GetArgs()); sent != compact(t, args) {
				t.Errorf("sent %s, want %s", sent, compact(t, args))
			}
		})
	}

	exports, err := json.Marshal(marked(m.exports))
	if err != nil {
		t.Fatal(err)
	}
	if want := compact(t, `{
		"algorithm": "ES256", "attribute": "team", "description": "found", "displayName": "Example Realm",
		"lifted": "model-api-access", "locale": "en", "mapped": "model-api-access", "maxLoginFailures": 10,
		"noWebAuthn": null, "secret": "(secret)a-client-secret"
	}`); string(exports) != want {
		t.Errorf("exported\n%s\nwant\n%s", exports, want)
	}
}

func TestProviderAndConfig(t *testing.T) {
	provider := func(ctx *pulumi.Context) error {
		p, err := keycloak.NewProvider(ctx, "provider", &keycloak.ProviderArgs{
			ClientId:          pulumi.String("admin-cli"),
			Url:               pulumi.String("https://keycloak.example.com"),
			Password:          pulumi.ToSecret(pulumi.String("admin-password")).(pulumi.StringOutput),
			AdditionalHeaders: pulumi.StringMap{"X-Test": pulumi.String("1")},
		})
		if err != nil {
			return err
		}
		ctx.Export("url", p.Url)
		ctx.Export("timeout", pulumi.Int(config.GetClientTimeout(ctx)))
		ctx.Export("configured", pulumi.String(config.GetUrl(ctx)))
		ctx.Export("login", pulumi.Bool(config.GetInitialLogin(ctx)))
		_, err = keycloak.NewRole(ctx, "role", &keycloak.RoleArgs{RealmId: pulumi.String("master")}, pulumi.Provider(p))
		return err
	}
	for _, tc := range []struct {
		name, env, configured, sent, read string
	}{
		{name: "five seconds by default", sent: "5", read: "5"},
		{name: "the variable comes before the default", env: "40", sent: "40", read: "40"},
		{name: "a variable without a number is no timeout", env: "soon", sent: "5", read: "5"},
		{name: "the configuration comes before the variable", env: "40", configured: "60", sent: "40", read: "60"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("KEYCLOAK_CLIENT_TIMEOUT", tc.env)
			settings := map[string]string{"keycloak:url": "https://configured.example.com", "keycloak:initialLogin": "true"}
			if tc.configured != "" {
				settings["keycloak:clientTimeout"] = tc.configured
			}
			m := &monitor{}
			if err := m.run(t, settings, provider); err != nil {
				t.Fatal(err)
			}
			got := m.registered["provider"]
			if got.GetType() != "pulumi:providers:keycloak" || got.GetVersion() != "5.4.0" {
				t.Errorf("registered %s at version %s", got.GetType(), got.GetVersion())
			}
			want := compact(t, `{"additionalHeaders": {"X-Test": "1"}, "clientId": "admin-cli", "clientTimeout": `+tc.sent+`,
				"password": "(secret)admin-password", "url": "https://keycloak.example.com"}`)
			if object := wire(t, got.GetObject()); object != want {
				t.Errorf("sent\n%s\nwant\n%s", object, want)
			}
			wantProvider := urn("pulumi:providers:keycloak", "provider") + "::provider-id"
			if p := m.registered["role"].GetProvider(); p != wantProvider {
				t.Errorf("the role's provider is %q, want %q", p, wantProvider)
			}
			exports, err := json.Marshal(m.exports)
			if err != nil {
				t.Fatal(err)
			}
			if want := compact(t, `{"configured": "https://configured.example.com", "login": true, "timeout": `+tc.read+`,
				"url": "https://keycloak.example.com"}`); string(exports) != want {
				t.Errorf("exported %s, want %s", exports, want)
			}
		})
	}
}

func TestRead(t *testing.T) {
	m := &monitor{outputs: map[string]map[string]any{"client": {"clientId": "account"}}}
	err := m.run(t, nil, func(ctx *pulumi.Context) error {
		client, err := openid.GetClient(ctx, "client", pulumi.ID("uuid"), &openid.ClientState{RealmId: pulumi.String("master")})
		if err != nil {
			return err
		}
		ctx.Export("clientId", client.ClientId)
		_, err = keycloak.GetRealm(ctx, "realm", pulumi.ID("master"), nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got := m.read["client"]
	if got.GetType() != "keycloak:openid/client:Client" || got.GetId() != "uuid" || wire(t, got.GetProperties()) != `{"realmId":"master"}` {
		t.Errorf("read %s", got)
	}
	if m.read["realm"].GetId() != "master" {
		t.Errorf("read %s", m.read["realm"])
	}
	if m.exports["clientId"] != "account" {
		t.Errorf("exported %v", m.exports)
	}
}

func TestLookups(t *testing.T) {
	m := &monitor{outputs: map[string]map[string]any{
		"keycloak:index/getRole:getRole":      {"id": "role-uuid"},
		"keycloak:openid/getClient:getClient": {"id": "client-uuid", "serviceAccountUserId": "sa"},
		"keycloak:index/getRealm:getRealm": {"internalId": "master", "securityDefenses": []any{
			map[string]any{"bruteForceDetections": []any{map[string]any{"maxLoginFailures": 30}}},
		}},
	}}
	err := m.run(t, nil, func(ctx *pulumi.Context) error {
		client, err := openid.LookupClient(ctx, &openid.LookupClientArgs{RealmId: "master", ClientId: "realm-management"})
		if err != nil {
			return err
		}
		role, err := keycloak.LookupRole(ctx, &keycloak.LookupRoleArgs{
			RealmId: "master", ClientId: &client.Id, Name: "view-users",
		})
		if err != nil {
			return err
		}
		realm, err := keycloak.LookupRealm(ctx, &keycloak.LookupRealmArgs{Realm: "master"})
		if err != nil {
			return err
		}
		later := openid.LookupClientOutput(ctx, openid.LookupClientOutputArgs{
			RealmId: pulumi.String(realm.InternalId), ClientId: pulumi.String("realm-management"),
		})
		ctx.Export("role", pulumi.String(role.Id))
		ctx.Export("serviceAccount", later.ServiceAccountUserId())
		ctx.Export("failures", pulumi.Int(realm.SecurityDefenses[0].BruteForceDetections[0].MaxLoginFailures))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	exports, err := json.Marshal(m.exports)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"failures":30,"role":"role-uuid","serviceAccount":"sa"}`; string(exports) != want {
		t.Errorf("exported %s, want %s", exports, want)
	}
	if sent, want := wire(t, m.invoked["keycloak:index/getRole:getRole"].GetArgs()),
		`{"clientId":"client-uuid","name":"view-users","realmId":"master"}`; sent != want {
		t.Errorf("sent %s, want %s", sent, want)
	}
}

func TestMissingArguments(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		make       func(*pulumi.Context) error
	}{
		{"no arguments", "missing one or more required arguments", func(ctx *pulumi.Context) error {
			_, err := keycloak.NewRealm(ctx, "realm", nil)
			return err
		}},
		{"a client without a realm", "invalid value for required argument 'RealmId'", func(ctx *pulumi.Context) error {
			_, err := openid.NewClient(ctx, "client", &openid.ClientArgs{
				AccessType: pulumi.String("PUBLIC"), ClientId: pulumi.String("c"),
			})
			return err
		}},
		{"a provider without a URL", "invalid value for required argument 'Url'", func(ctx *pulumi.Context) error {
			_, err := keycloak.NewProvider(ctx, "provider", &keycloak.ProviderArgs{ClientId: pulumi.String("c")})
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &monitor{}
			var got error
			if err := m.run(t, nil, func(ctx *pulumi.Context) error {
				got = tc.make(ctx)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if got == nil || got.Error() != tc.want {
				t.Errorf("got %v, want %s", got, tc.want)
			}
			if len(m.registered) != 1 {
				t.Errorf("registered more than the stack: %v", m.registered)
			}
		})
	}
}

// The Pulumi CLI reads this file to learn which plugin to install.
func TestPlugin(t *testing.T) {
	text, err := os.ReadFile("go/keycloak/pulumi-plugin.json")
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"name":"keycloak","resource":true,"version":"5.4.0"}`; compact(t, string(text)) != want {
		t.Errorf("it holds %s, want %s", text, want)
	}
}
