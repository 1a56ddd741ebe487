// Package config is the stack's configuration: one typed tree, read from
// Pulumi's configuration and validated whole before the first resource.
//
// The doc tags are the source of the table in docs/configuration.md and of
// the JSON Schema for editors.
package config

// Config is everything that a stack can say. Each field is one key of the
// namespace keycloak-model-api in Pulumi.<stack>.yaml.
type Config struct {
	Environment string `json:"environment" enum:"dev,staging,prod" default:"prod" doc:"What this stack is for. Only dev allows development's shortcuts, and turns what hardening would refuse into a warning."`
	Realm       string `json:"realm" doc:"Name of the realm: it becomes part of the issuer URL and can't be changed later. Required."`
	DisplayName string `json:"displayName" doc:"Name that people see on the login page. Default: the realm's name."`
	PublicURL   string `json:"publicUrl" doc:"Keycloak's URL as clients see it, with its base path, without /realms. Default: keycloak:url, then KEYCLOAK_URL."`
	Hardening   string `json:"hardening" enum:"baseline,strict,off" default:"baseline" doc:"How strict the realm is: docs/hardening.md has each as a table. Settings that are given here win over it."`
	Protect     bool   `json:"protect" default:"true" doc:"Outside dev, guard the realm, its key stores and users against deletion. Set false and run pulumi up before a destroy."`
	BaseRole    string `json:"baseRole" default:"model-api-access" doc:"Realm role that every caller of the API needs."`

	Lifetimes   Lifetimes    `json:"lifetimes" doc:"How long tokens and sessions live."`
	SigningKeys []SigningKey `json:"signingKeys" doc:"Keys that sign tokens, beside the one that Keycloak makes itself."`
	RetireKey   string       `json:"retireGeneratedKey" doc:"Component id of Keycloak's own rsa-generated key provider, to import and disable it: docs/keys.md."`
	Events      Events       `json:"events" doc:"Login and admin events that Keycloak keeps."`

	Models []Model `json:"models" doc:"The models, where each runs, and who may call it."`
	Roles  []Role  `json:"roles" doc:"Realm roles beside the base role and those that models bring."`
	Groups []Group `json:"groups" doc:"Groups that carry roles."`

	Clients       []Client          `json:"clients" doc:"The OIDC clients. Exactly one has kind api: the resource server."`
	ClientSecrets map[string]string `json:"clientSecrets" secret:"true" doc:"Client secrets by client id. Set each by: pulumi config set --secret --path 'clientSecrets[\"CLIENT-ID\"]'."`

	UserAttributes   []UserAttribute   `json:"userAttributes" doc:"Attributes of users beside username, email, firstName and lastName. Keycloak drops what is not declared here."`
	Users            []User            `json:"users" doc:"Users that the stack makes."`
	UsersFile        string            `json:"usersFile" doc:"CSV file with more users, relative to the project: docs/users.md."`
	InitialPasswords map[string]string `json:"initialPasswords" secret:"true" doc:"Initial passwords by username, used at creation only. Set each by: pulumi config set --secret --path 'initialPasswords[\"USERNAME\"]'."`

	IdentityProviders []IdentityProvider `json:"identityProviders" doc:"External OpenID Connect providers that users may sign in with."`
	LDAP              []LDAP             `json:"ldap" doc:"LDAP directories that bring users, read-only."`
	FederationSecrets map[string]string  `json:"federationSecrets" secret:"true" doc:"Client secrets of identity providers by alias, and bind passwords of LDAP directories by name."`

	Exemptions []Exemption `json:"exemptions" doc:"Guardrails that one resource is exempt from, each with a reason."`
}

// Lifetimes are durations such as 5m, 30m, 10h; empty leaves hardening's or
// Keycloak's value.
type Lifetimes struct {
	AccessToken       string `json:"accessToken" doc:"Access token."`
	SSOIdle           string `json:"ssoIdle" doc:"Session without activity; also bounds refresh tokens."`
	SSOMax            string `json:"ssoMax" doc:"Session in all."`
	OfflineIdle       string `json:"offlineIdle" doc:"Offline session without activity."`
	OfflineMax        string `json:"offlineMax" doc:"Offline session in all; setting it turns the bound on."`
	DeviceCode        string `json:"deviceCode" doc:"Code of the device authorization grant."`
	AuthorizationCode string `json:"authorizationCode" doc:"Authorization code."`
	RefreshTokenReuse *int   `json:"refreshTokenReuse" doc:"Turns rotation on: a refresh token may be used this many times more after its first use; 0 is strictest."`
	ClientSessionIdle string `json:"clientSessionIdle" doc:"Client session without activity."`
	ClientSessionMax  string `json:"clientSessionMax" doc:"Client session in all."`
}

// SigningKey is a key store of the realm.
type SigningKey struct {
	Name      string `json:"name" doc:"Name of the key store, unique in the realm. Required."`
	Algorithm string `json:"algorithm" enum:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512" doc:"Algorithm that the key is for. Required."`
	Priority  int    `json:"priority" default:"100" doc:"The active key of highest priority signs."`
	Active    *bool  `json:"active" default:"true" doc:"false: published, verifies, signs nothing."`
	Enabled   *bool  `json:"enabled" default:"true" doc:"false: not even published."`
	Size      int    `json:"size" enum:"2048,4096" default:"2048" doc:"Bits of an RSA key."`
}

// Events are kept in Keycloak's database.
type Events struct {
	Enabled     *bool  `json:"enabled" default:"true" doc:"Keep login and admin events."`
	KeepFor     string `json:"keepFor" default:"168h" doc:"How long login events are kept."`
	AdminDetail *bool  `json:"adminDetails" default:"true" doc:"Keep what admin events changed."`
}

// Model drives the realm: the roles that it names are made.
type Model struct {
	Name       string    `json:"name" doc:"Name in the URL /v2/models/NAME. Required."`
	Embedded   string    `json:"embedded" doc:"Name of a model that the API itself holds (iris), or:"`
	Upstream   *Upstream `json:"upstream" doc:"Where the model server runs."`
	Roles      []string  `json:"roles" doc:"Realm roles of which a caller needs one. Default: the role model-NAME, which the stack makes as a composite over the base role."`
	Introspect bool      `json:"introspect" doc:"Ask Keycloak about the token on each call, so that a revoked one stops within seconds."`
}

// Upstream is a server of the Open Inference Protocol v2.
type Upstream struct {
	URL        string `json:"url" doc:"URL of the model server, without /v2. Required."`
	Credential string `json:"credential" doc:"Name of the API's environment variable (or NAME_FILE of its file) with the bearer token for the server."`
}

// Role is a realm role.
type Role struct {
	Name        string            `json:"name" doc:"Name of the realm role. Required."`
	Description string            `json:"description" doc:"What it is for."`
	Composites  []string          `json:"composites" doc:"Realm roles that it contains."`
	Attributes  map[string]string `json:"attributes" doc:"Attributes of the role."`
}

// Group carries roles to its members.
type Group struct {
	Name       string            `json:"name" doc:"Name, unique among all groups. Required."`
	Parent     string            `json:"parent" doc:"Name of the group that it is a subgroup of."`
	Roles      []string          `json:"roles" doc:"Realm roles that members get."`
	Default    bool              `json:"default" doc:"New users join it."`
	Attributes map[string]string `json:"attributes" doc:"Attributes of the group."`
}

// Client is one OIDC client. Its kind sets everything that the fields below
// leave out; docs/clients.md has the table.
type Client struct {
	ClientID    string `json:"clientId" doc:"Client id. Required."`
	Kind        string `json:"kind" enum:"api,web,service,cli" doc:"api: the resource server; web: authorization code with PKCE; service: client credentials; cli: public, device grant and loopback redirect. Required."`
	Name        string `json:"name" doc:"Name that people see. Default: the client id."`
	Description string `json:"description" doc:"What it is for."`

	RootURL                string   `json:"rootUrl" doc:"Prepended to relative URLs."`
	BaseURL                string   `json:"baseUrl" doc:"Home page of the client."`
	AdminURL               string   `json:"adminUrl" doc:"Where Keycloak sends admin callbacks (k_logout, k_push_not_before)."`
	RedirectURIs           []string `json:"redirectUris" doc:"Exact redirect URIs."`
	PostLogoutRedirectURIs []string `json:"postLogoutRedirectUris" doc:"Where a logout may lead. Default: the redirect URIs."`
	WebOrigins             []string `json:"webOrigins" doc:"Origins that browsers may call Keycloak from. Default: none."`
	BackchannelLogoutURL   string   `json:"backchannelLogoutUrl" doc:"Where Keycloak tells the client that a session has ended."`

	StandardFlow       *bool `json:"standardFlow" doc:"Authorization code flow. Default: by kind (web, cli)."`
	DirectAccessGrants *bool `json:"directAccessGrants" doc:"Password grant. Default: false."`
	ServiceAccount     *bool `json:"serviceAccount" doc:"Client credentials. Default: by kind (service, api)."`
	DeviceGrant        *bool `json:"deviceGrant" doc:"Device authorization grant. Default: by kind (cli)."`
	PKCE               *bool `json:"pkce" doc:"Demand PKCE with S256. Default: true where the authorization code flow or the device grant is on."`
	FullScope          *bool `json:"fullScope" doc:"Put all roles of the user into tokens. Default: false."`
	TokenExchange      *bool `json:"tokenExchange" doc:"May exchange tokens (RFC 8693). Default: by kind (api)."`

	Roles                     []string            `json:"roles" doc:"Realm roles that its tokens may carry. Default: the roles of the models, by a shared client scope; [] is none."`
	ServiceAccountRoles       []string            `json:"serviceAccountRoles" doc:"Realm roles of its service account."`
	ServiceAccountClientRoles map[string][]string `json:"serviceAccountClientRoles" doc:"Client roles of its service account, by client id."`
	ClientRoles               []string            `json:"clientRoles" doc:"Roles that this client defines."`

	Authentication string `json:"authentication" enum:"secret,jwt" default:"secret" doc:"How a confidential client proves itself: a secret from clientSecrets, or private_key_jwt."`
	JWKS           string `json:"jwks" doc:"Public key set as JSON, for authentication jwt."`
	JWKSURL        string `json:"jwksUrl" doc:"URL of the key set, for authentication jwt."`

	AccessTokenType string    `json:"accessTokenType" enum:"JWT,at+jwt" default:"JWT" doc:"typ in the header of its access tokens; at+jwt follows RFC 9068."`
	Lightweight     bool      `json:"lightweight" doc:"Lightweight access tokens: no roles and no audience inside, so the API must introspect each."`
	DPoP            bool      `json:"dpop" doc:"Bind its tokens to a key (RFC 9449)."`
	Mappers         []Mapper  `json:"mappers" doc:"Claims beside the built-in ones."`
	DefaultScopes   []string  `json:"defaultScopes" doc:"Client scopes beside the built-in ones."`
	OptionalScopes  *[]string `json:"optionalScopes" doc:"Optional client scopes. Default: Keycloak's."`

	AccessTokenLifetime string `json:"accessTokenLifetime" doc:"Overrides lifetimes.accessToken."`
	SessionIdle         string `json:"sessionIdle" doc:"Overrides lifetimes.clientSessionIdle."`
	SessionMax          string `json:"sessionMax" doc:"Overrides lifetimes.clientSessionMax."`
}

// Mapper puts a claim into a client's tokens.
type Mapper struct {
	Name  string `json:"name" doc:"Name, unique in the client. Required."`
	Type  string `json:"type" enum:"audience,realmRoles,clientRoles,groups,userAttribute,hardcoded" doc:"What it maps. Required."`
	Claim string `json:"claim" doc:"Claim name; dots nest. Not for audience."`
	Value string `json:"value" doc:"The audience, the client id, the user attribute or the fixed value."`
}

// UserAttribute is declared in the realm's user profile.
type UserAttribute struct {
	Name         string `json:"name" doc:"Name of the attribute. Required."`
	DisplayName  string `json:"displayName" doc:"Name that people see."`
	UserEditable bool   `json:"userEditable" doc:"Users may edit it themselves. Such an attribute must not decide on access."`
	Required     bool   `json:"required" doc:"Users must have it."`
}

// User is one user of the realm.
type User struct {
	Username        string            `json:"username" doc:"Lower case, 3 characters or more. Required."`
	Email           string            `json:"email" doc:"Lower case. Required for a login by password."`
	EmailVerified   bool              `json:"emailVerified" doc:"Trust the address as verified."`
	FirstName       string            `json:"firstName" doc:"Required for a login by password."`
	LastName        string            `json:"lastName" doc:"Required for a login by password."`
	Enabled         *bool             `json:"enabled" default:"true" doc:"false: can't sign in."`
	Password        string            `json:"password" enum:"temporary,permanent,none" default:"temporary" doc:"What the initial password is: to be changed at first login, lasting, or not set."`
	Attributes      map[string]string `json:"attributes" doc:"Attributes; each must stand in userAttributes."`
	Roles           []string          `json:"roles" doc:"Realm roles, beside what groups bring."`
	Groups          []string          `json:"groups" doc:"Groups, by name."`
	RequiredActions []string          `json:"requiredActions" doc:"What the user must do at next login, such as CONFIGURE_TOTP."`
}

// IdentityProvider is an external OpenID Connect provider.
type IdentityProvider struct {
	Alias             string            `json:"alias" doc:"Name in the realm's URLs. Required."`
	DisplayName       string            `json:"displayName" doc:"Name on the login page."`
	Issuer            string            `json:"issuer" doc:"Issuer URL of the provider. Required."`
	AuthorizationURL  string            `json:"authorizationUrl" doc:"Authorization endpoint. Required."`
	TokenURL          string            `json:"tokenUrl" doc:"Token endpoint. Required."`
	JWKSURL           string            `json:"jwksUrl" doc:"Key set of the provider. Required."`
	LogoutURL         string            `json:"logoutUrl" doc:"Logout endpoint."`
	UserInfoURL       string            `json:"userInfoUrl" doc:"Userinfo endpoint."`
	ClientID          string            `json:"clientId" doc:"Our client id there; its secret stands in federationSecrets. Required."`
	Scopes            string            `json:"scopes" default:"openid profile email" doc:"Scopes to ask for."`
	TrustEmail        bool              `json:"trustEmail" doc:"Take its email addresses as verified."`
	RoleMappings      []RoleMapping     `json:"roleMappings" doc:"Claims that give realm roles."`
	AttributeMappings map[string]string `json:"attributeMappings" doc:"User attribute by claim."`
}

// RoleMapping gives a realm role to users whose claim has a value.
type RoleMapping struct {
	Claim string `json:"claim" doc:"Claim of the provider's token; dots nest. Required."`
	Value string `json:"value" doc:"Value that it must have (or hold, if it is a list). Required."`
	Role  string `json:"role" doc:"Realm role to give. Required."`
}

// LDAP is one directory, read-only.
type LDAP struct {
	Name              string            `json:"name" doc:"Name of the federation. Required."`
	URL               string            `json:"url" doc:"ldap:// or ldaps:// URL. Required."`
	BindDN            string            `json:"bindDn" doc:"Account that searches; its password stands in federationSecrets."`
	UsersDN           string            `json:"usersDn" doc:"Where users are. Required."`
	Vendor            string            `json:"vendor" enum:"OTHER,EDIRECTORY,AD,RHDS,TIVOLI" default:"OTHER" doc:"Kind of directory."`
	UsernameAttribute string            `json:"usernameAttribute" default:"uid" doc:"LDAP attribute of the username."`
	RDNAttribute      string            `json:"rdnAttribute" default:"uid" doc:"LDAP attribute of the RDN."`
	UUIDAttribute     string            `json:"uuidAttribute" default:"entryUUID" doc:"LDAP attribute that never changes."`
	ObjectClasses     []string          `json:"objectClasses" doc:"Object classes of users. Default: inetOrgPerson, organizationalPerson."`
	SearchSubtree     bool              `json:"searchSubtree" doc:"Search below usersDn too."`
	StartTLS          bool              `json:"startTls" doc:"Upgrade ldap:// by StartTLS."`
	Attributes        map[string]string `json:"attributes" doc:"LDAP attribute by user attribute."`
	RolesDN           string            `json:"rolesDn" doc:"Where LDAP groups are that name realm roles."`
	GroupsDN          string            `json:"groupsDn" doc:"Where LDAP groups are that become Keycloak groups."`
	GroupObjectClass  string            `json:"groupObjectClass" default:"groupOfNames" doc:"Object class of LDAP groups."`
	MembershipAttr    string            `json:"membershipAttribute" default:"member" doc:"LDAP attribute of a group that lists members by DN."`
}

// Exemption frees one resource from one guardrail.
type Exemption struct {
	Resource string `json:"resource" doc:"Name of the resource as the preview shows it. Required."`
	Rule     string `json:"rule" doc:"Name of the guardrail. Required."`
	Reason   string `json:"reason" doc:"Why; the preview shows it. Required."`
}
