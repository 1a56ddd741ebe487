package render

import "slices"

var identityFields = []field{
	{"enabled", "enabled", true},
	{"storeToken", "storeToken", true},
	{"addReadTokenRoleOnCreate", "addReadTokenRoleOnCreate", false},
	{"authenticateByDefault", "authenticateByDefault", false},
	{"linkOnly", "linkOnly", false},
	{"hideOnLoginPage", "hideOnLogin", false},
	{"trustEmail", "trustEmail", false},
	{"firstBrokerLoginFlowAlias", "firstBrokerLoginFlowAlias", "first broker login"},
	{"postBrokerLoginFlowAlias", "postBrokerLoginFlowAlias", nil},
}

// identityConfig is what the provider configures for every identity provider.
var identityConfig = []field{
	{"clientId", "clientId", nil},
	{"clientSecret", "clientSecret", nil},
	{"disableUserInfo", "disableUserInfo", false},
	{"acceptsPromptNoneForwardFromClient", "acceptsPromptNoneForwardFromClient", nil},
	{"guiOrder", "guiOrder", nil},
	{"syncMode", "syncMode", "LEGACY"},
}

// identitySwitches are the keys that are "false" where nothing sets them.
var identitySwitches = []string{
	"acceptsPromptNoneForwardFromClient", "backchannelSupported", "forceAuthn", "offlineAccess", "postBindingAuthnRequest",
	"postBindingLogout", "postBindingResponse", "uiLocales", "useJwksUrl", "userIp", "validateSignature",
	"wantAssertionsEncrypted", "wantAssertionsSigned", "wantAuthnRequestsSigned",
}

var oidcConfig = []field{
	{"authorizationUrl", "authorizationUrl", nil},
	{"tokenUrl", "tokenUrl", nil},
	{"logoutUrl", "logoutUrl", nil},
	{"userInfoUrl", "userInfoUrl", nil},
	{"jwksUrl", "jwksUrl", nil},
	{"issuer", "issuer", nil},
	{"defaultScopes", "defaultScope", "openid"},
	{"backchannelSupported", "backchannelSupported", true},
	{"validateSignature", "validateSignature", nil},
	{"loginHint", "loginHint", nil},
	{"uiLocales", "uiLocales", nil},
}

var googleConfig = []field{
	{"defaultScopes", "defaultScope", "openid profile email"},
	{"hostedDomain", "hostedDomain", nil},
	{"useUserIpParam", "userIp", nil},
	{"requestRefreshToken", "offlineAccess", nil},
}

func (b *builder) identityProvider(realm *Realm, in *inputs) {
	config := map[string]string{}
	if in.str("jwksUrl") != "" {
		config["useJwksUrl"] = "true"
	}
	b.addIdentityProvider(realm, in, in.str("alias"), read(in, "providerId", "oidc"), in.str("displayName"), config, oidcConfig)
}

func (b *builder) googleIdentityProvider(realm *Realm, in *inputs) {
	b.addIdentityProvider(realm, in, "google", read(in, "providerId", "google"), "", map[string]string{
		"useJwksUrl": "true",
		"issuer":     "https://accounts.google.com", // Keycloak sets it itself
	}, googleConfig)
}

func (b *builder) addIdentityProvider(realm *Realm, in *inputs, alias, providerID, displayName string, config map[string]string,
	fields []field) {
	// The provider sends every switch of every kind of identity provider.
	for _, key := range identitySwitches {
		if config[key] == "" {
			config[key] = "false"
		}
	}
	in.config(config, slices.Concat(identityConfig, fields))
	in.extra("extraConfig", config)
	p := &identityProvider{alias: alias, providerID: providerID}
	p.rep = object{"alias": alias, "providerId": providerID, "displayName": displayName, "config": config}
	in.set(p.rep, identityFields)
	b.identities[realm.Name+"/"+alias] = p
	realm.providers = append(realm.providers, p)
}

// identityMapper adds a mapper to the identity provider that it names. typed
// gives its type and configuration for a type of identity provider.
func (b *builder) identityMapper(realm *Realm, in *inputs, typed func(providerID string, config map[string]string) string) {
	alias := in.str("identityProviderAlias")
	p := b.identities[realm.Name+"/"+alias]
	if p == nil {
		in.fail("input identityProviderAlias names %q, which the program does not declare", alias)
		return
	}
	config := map[string]string{}
	mapper := typed(p.providerID, config)
	in.extra("extraConfig", config)
	p.mappers = append(p.mappers, object{
		"name": in.name(), "identityProviderAlias": alias, "identityProviderMapper": mapper, "config": config,
	})
}

// social are the identity providers whose mappers read a field of the user's
// profile there and not a claim.
var social = []string{"apple", "facebook", "github", "google", "microsoft"}

func (b *builder) attributeImporter(realm *Realm, in *inputs) {
	b.identityMapper(realm, in, func(providerID string, config map[string]string) string {
		if slices.Contains(social, providerID) {
			in.ignore("attributeName", "attributeFriendlyName")
			in.config(config, []field{{"claimName", "jsonField", nil}, {"userAttribute", "userAttribute", nil}})
			config["user.attribute"] = config["userAttribute"]
			return providerID + "-user-attribute-mapper"
		}
		in.config(config, []field{
			{"claimName", "claim", nil}, {"userAttribute", "user.attribute", nil},
			{"attributeName", "attribute.name", nil}, {"attributeFriendlyName", "attribute.friendly.name", nil},
		})
		return providerID + "-user-attribute-idp-mapper"
	})
}

func (b *builder) attributeToRole(realm *Realm, in *inputs) {
	b.identityMapper(realm, in, func(providerID string, config map[string]string) string {
		in.config(config, []field{
			{"role", "role", nil}, {"claimName", "claim", nil}, {"claimValue", "claim.value", nil},
			{"attributeName", "attribute.name", nil}, {"attributeFriendlyName", "attribute.friendly.name", nil},
			{"attributeValue", "attribute.value", nil},
		})
		return providerID + "-role-idp-mapper"
	})
}

func (b *builder) hardcodedIdentityRole(realm *Realm, in *inputs) {
	b.identityMapper(realm, in, func(_ string, config map[string]string) string {
		in.config(config, []field{{"role", "role", nil}})
		return "oidc-hardcoded-role-idp-mapper"
	})
}

func (b *builder) userTemplate(realm *Realm, in *inputs) {
	b.identityMapper(realm, in, func(providerID string, config map[string]string) string {
		in.config(config, []field{{"template", "template", nil}})
		if slices.Contains([]string{"facebook", "google", "keycloak-oidc"}, providerID) {
			providerID = "oidc"
		}
		return providerID + "-username-idp-mapper"
	})
}

func (b *builder) customIdentityMapper(realm *Realm, in *inputs) {
	b.identityMapper(realm, in, func(string, map[string]string) string { return in.str("identityProviderMapper") })
}
