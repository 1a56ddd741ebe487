// Package config is the stack's configuration: one typed tree, read from
// Pulumi's configuration and validated whole before the first resource.
//
// The doc tags are the source of the table in docs/configuration.md and of
// the JSON Schema for editors.
package config

//go:generate go run ./gen

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Config is everything that a stack can say. Each field is one key of the
// namespace keycloak-model-api in Pulumi.<stack>.yaml.
type Config struct {
	Environment     string `json:"environment" enum:"dev,staging,prod" default:"prod" doc:"What this stack is for. Only dev allows development's shortcuts, and turns what hardening would refuse into a warning."`
	Realm           string `json:"realm" required:"true" doc:"Name of the realm: it becomes part of the issuer URL and can't be changed later. At most 36 characters. Required."`
	DisplayName     string `json:"displayName" doc:"Name that people see on the login page. Default: the realm's name."`
	DisplayNameHTML string `json:"displayNameHtml" doc:"The same as HTML, for the head of the login page. Default: displayName."`
	PublicURL       string `json:"publicUrl" doc:"Keycloak's URL as clients see it, with its base path, without /realms. Default: keycloak:url, then KEYCLOAK_URL."`
	FrontendURL     string `json:"frontendUrl" doc:"Keycloak's URL in the tokens and links of this realm, where it is not that of the server. The issuer begins with it."`
	APIURL          string `json:"apiUrl" doc:"The model API's URL as Keycloak reaches it. Keycloak then tells the API when a session ends, by each client that people sign in with and that names no backchannelLogoutUrl of its own, so that the session's tokens stop at once: docs/revocation.md."`
	Hardening       string `json:"hardening" enum:"baseline,strict,off" default:"baseline" doc:"How strict the realm and the checks of its clients are: docs/hardening.md has each as a table. Settings that are given here win over it."`
	Protect         bool   `json:"protect" default:"true" doc:"Outside dev, guard the realm, its key stores and users against deletion. Set false and run pulumi up before a destroy."`
	BaseRole        string `json:"baseRole" default:"model-api-access" doc:"Realm role that every caller of the API needs."`

	Lifetimes   Lifetimes    `json:"lifetimes" doc:"How long tokens and sessions live."`
	SigningKeys []SigningKey `json:"signingKeys" doc:"Keys that sign tokens, beside the one that Keycloak makes itself."`
	RetireKey   RetireKey    `json:"retireGeneratedKey" doc:"Imports and disables the key that Keycloak made itself: docs/keys.md."`
	Events      Events       `json:"events" doc:"Login and admin events that Keycloak keeps."`
	SignIn      SignIn       `json:"signIn" doc:"How people sign in: second factor, passkeys, levels: docs/sign-in.md."`

	SMTP            SMTP              `json:"smtp" doc:"Mail server of the realm."`
	SMTPPassword    Secret            `json:"smtpPassword" secret:"true" doc:"Password of smtp.user. Set it by: pulumi config set --secret smtpPassword."`
	Login           Login             `json:"login" doc:"How people sign in."`
	Themes          Themes            `json:"themes" doc:"How pages and mails look."`
	Locales         Locales           `json:"locales" doc:"Languages of pages and mails."`
	RealmAttributes map[string]string `json:"realmAttributes" doc:"Attributes of the realm that no other key sets."`

	PasswordPolicy string     `json:"passwordPolicy" doc:"Rules for passwords in Keycloak's notation, such as length(15) and notUsername, in the place of hardening's."`
	OTP            OTP        `json:"otp" doc:"One-time passwords of an authenticator app."`
	WebAuthn       WebAuthn   `json:"webAuthn" doc:"Security keys as a second factor."`
	Passkeys       WebAuthn   `json:"passkeys" doc:"Passkeys in the place of a password, which Keycloak calls passwordless WebAuthn."`
	BruteForce     BruteForce `json:"bruteForce" doc:"What happens to who guesses passwords."`
	Headers        Headers    `json:"headers" doc:"Security headers of the realm's pages."`
	SSLRequired    string     `json:"sslRequired" enum:"all,external,none" doc:"From whom TLS is required: everybody, all but private addresses, or nobody. Default: by hardening."`

	Models []Model `json:"models" doc:"The models, where each runs, and who may call it."`
	Limits []Limit `json:"limits" doc:"How much callers may use: docs/limits.md."`
	Roles  []Role  `json:"roles" doc:"Realm roles beside the base role and those that models bring."`
	Groups []Group `json:"groups" doc:"Groups that carry roles. The stack puts the users that name a group into it, and leaves its other members alone."`

	Clients       []Client `json:"clients" doc:"The OIDC clients. Exactly one has kind api: the resource server."`
	ClientSecrets Secrets  `json:"clientSecrets" secret:"true" doc:"Client secrets by client id. Set each by: pulumi config set --secret --path 'clientSecrets[\"CLIENT-ID\"]'."`

	RequiredActions  []RequiredAction `json:"requiredActions" doc:"What people can be made to do at a login. Those that are not named here stay as they are."`
	UserAttributes   []UserAttribute  `json:"userAttributes" doc:"Attributes of users beside username, email, firstName and lastName. Keycloak drops what is not declared here."`
	Users            []User           `json:"users" doc:"Users that the stack makes."`
	UsersFile        string           `json:"usersFile" doc:"CSV file with more users, relative to the project, with a header: username, email, emailVerified, firstName, lastName, enabled, password (default here: none), groups and roles (separated by ;), attributes.NAME."`
	InitialPasswords Secrets          `json:"initialPasswords" secret:"true" doc:"Initial passwords by username, used at creation only. Set each by: pulumi config set --secret --path 'initialPasswords[\"USERNAME\"]'."`

	IdentityProviders []IdentityProvider `json:"identityProviders" doc:"External OpenID Connect providers that users may sign in with."`
	LDAP              []LDAP             `json:"ldap" doc:"LDAP directories that bring users, read-only."`
	FederationSecrets Secrets            `json:"federationSecrets" secret:"true" doc:"Client secrets of identity providers by alias, and bind passwords of LDAP directories by name."`

	Exemptions []Exemption `json:"exemptions" doc:"Guardrails that one resource is exempt from, each with a reason."`

	keycloakURL string // Keycloak's URL as clients see it, with its base path
}

// Lifetimes are durations such as 5m, 30m, 10h; empty leaves hardening's or
// Keycloak's value.
type Lifetimes struct {
	AccessToken       string `json:"accessToken" doc:"Access token."`
	SSOIdle           string `json:"ssoIdle" doc:"Session without activity; also bounds refresh tokens."`
	SSOMax            string `json:"ssoMax" doc:"Session in all."`
	OfflineIdle       string `json:"offlineIdle" doc:"Offline session without activity."`
	OfflineMax        string `json:"offlineMax" doc:"Offline session in all; setting it turns the bound on, as hardening does."`
	DeviceCode        string `json:"deviceCode" doc:"Code of the device authorization grant."`
	AuthorizationCode string `json:"authorizationCode" doc:"Authorization code."`
	Login             string `json:"login" default:"30m" doc:"A login from its first page to its last."`
	LoginAction       string `json:"loginAction" default:"5m" doc:"One step of it, such as a new password."`
	UserMail          string `json:"userMail" default:"5m" doc:"Link in a mail that the user asked for, such as a reset of the password."`
	AdminMail         string `json:"adminMail" default:"12h" doc:"Link in a mail that an administrator sent."`
	RememberMeIdle    string `json:"rememberMeIdle" doc:"ssoIdle of who stays signed in (login.rememberMe). To take it back, set it to ssoIdle: the provider keeps the last value of what is left out."`
	RememberMeMax     string `json:"rememberMeMax" doc:"ssoMax of who stays signed in. To take it back, set it to ssoMax."`
	DevicePolling     string `json:"devicePolling" default:"5s" doc:"How long a device waits before it asks again whether its code was entered."`
	RefreshTokenReuse *int   `json:"refreshTokenReuse" doc:"Turns rotation on: a refresh token may be used this many times more after its first use; 0 is strictest."`
	ClientSessionIdle string `json:"clientSessionIdle" doc:"Client session without activity, at most ssoIdle. To take it back, set it to ssoIdle: the provider keeps the last value of what is left out."`
	ClientSessionMax  string `json:"clientSessionMax" doc:"Client session in all, at most ssoMax. To take it back, set it to ssoMax."`
}

// SigningKey is a key store of the realm.
type SigningKey struct {
	Name      string `json:"name" required:"true" doc:"Name of the key store, unique in the realm. Required."`
	Algorithm string `json:"algorithm" required:"true" enum:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512" doc:"Algorithm that the key is for. Required."`
	Priority  int    `json:"priority" default:"200" doc:"The active key of highest priority signs, and its algorithm is that of all clients' tokens. Keycloak's own key has 100."`
	Active    *bool  `json:"active" default:"true" doc:"false: published, verifies, signs nothing."`
	Enabled   *bool  `json:"enabled" default:"true" doc:"false: not even published."`
	Size      int    `json:"size" enum:"2048,4096" default:"2048" doc:"Bits of an RSA key."`
}

// Signs reports whether the key may sign: it is active and enabled.
func (k *SigningKey) Signs() bool { return isTrue(k.Active) && isTrue(k.Enabled) }

// RetireKey imports the key provider rsa-generated, which every realm is born with,
// and disables it.
type RetireKey struct {
	ComponentID string `json:"componentId" doc:"Id of the component rsa-generated, as an export or the admin console shows it. The up that imports it needs a live Keycloak for its preview too."`
}

// Events are kept in Keycloak's database. What is left out comes from hardening.
type Events struct {
	Enabled      *bool    `json:"enabled" doc:"Keep login and admin events. Default: by hardening."`
	KeepFor      string   `json:"keepFor" doc:"How long login events are kept, such as 168h. Default: by hardening."`
	KeepAdminFor string   `json:"keepAdminFor" doc:"How long admin events are kept, such as 720h. Default: for ever."`
	Types        []string `json:"types" doc:"Types of login events that are kept, such as LOGIN_ERROR. Default: all."`
	Listeners    []string `json:"listeners" doc:"Who is told of each event: jboss-logging (the server's log), email (the user), or a listener of yours. Default: jboss-logging."`
	AdminDetail  *bool    `json:"adminDetails" doc:"Keep what admin events changed. Default: by hardening."`
}

// Model drives the realm: the roles that it names are made.
type Model struct {
	Name           string          `json:"name" required:"true" doc:"Name in the URL /v2/models/NAME. Where the body names the model (openai, anthropic), parts may be joined by / and :, such as llama3:8b. Required."`
	Protocol       string          `json:"protocol" enum:"oip,openai,anthropic,paths" default:"oip" doc:"What its callers and its server speak: oip, the Open Inference Protocol v2; openai and anthropic, their APIs (docs/openai.md); paths, what upstream.paths lists, below /models/NAME."`
	Embedded       string          `json:"embedded" doc:"Name of a model that the API itself holds (iris, with oip), or:"`
	Upstream       *Upstream       `json:"upstream" doc:"Where the model server runs."`
	Roles          []string        `json:"roles" doc:"Short for allow.roles. Default, where neither says who may call: the role model-NAME, with - for / and : in the name."`
	Allow          Allow           `json:"allow" doc:"Who may call the model, and for what."`
	Body           *Body           `json:"body" doc:"What callers may write in the body, where that names the model."`
	Introspect     bool            `json:"introspect" doc:"Ask Keycloak about the token on each call, so that a revoked one stops within seconds."`
	Authentication *Authentication `json:"authentication" doc:"How the people who call the model must have signed in (RFC 9470): docs/step-up.md. Default: as the realm signs them in."`
}

// Allow says who may call a model. A caller must meet each key that is there;
// within one key, one of the values is enough.
type Allow struct {
	Roles    []string `json:"roles" doc:"Realm roles of which a caller needs one; the stack makes each as a composite over the base role."`
	AllRoles []string `json:"allRoles" doc:"Realm roles that a caller needs all; the stack makes each likewise."`
	Groups   []string `json:"groups" doc:"Groups that a caller is a direct member of: names of groups, or full paths such as /research/vision for those that LDAP brings. Tokens then carry the claim groups. Such a caller needs the base role too: give it to the group."`
	Clients  []string `json:"clients" doc:"Client ids that a token may have been issued to."`
	Scopes   []string `json:"scopes" doc:"Scopes of which a token needs one."`
	Actions  []string `json:"actions" doc:"What may be done with the model. oip: infer, metadata, ready; openai: chat, completions, embeddings, responses, metadata; anthropic: messages, count_tokens, metadata; paths: infer. Default: all."`
}

// Body says what a caller may write in the body of a request.
type Body struct {
	Allow     []string `json:"allow" doc:"Members that are refused unless they stand here, since they steer the model server or have it read elsewhere: docs/openai.md has the list. * at the end, as in that list, stands for any rest."`
	Principal string   `json:"principal" enum:"user,safety_identifier,metadata.user_id" doc:"Member that the API sets to an id of the caller, whatever the caller wrote: 64 hex digits, the SHA-256 of issuer, a zero byte and subject. Default: none."`
}

// Upstream is a model server.
type Upstream struct {
	URL              string   `json:"url" required:"true" doc:"URL of the model server, without the path that the protocol adds: without /v2 (oip); with or without its version, such as /v1 (openai, anthropic). Required."`
	Model            string   `json:"model" doc:"What the server calls the model, where the body names it. Default: the name."`
	Paths            []string `json:"paths" doc:"With protocol paths: the methods and paths that may be called, such as POST /invocations, which callers reach as /models/NAME/invocations. * is any one segment. Everything else is 404."`
	Credential       string   `json:"credential" doc:"Name of the API's environment variable (or NAME_FILE of its file, which is read again when it changes) with the secret for the server."`
	CredentialHeader string   `json:"credentialHeader" enum:"x-api-key,api-key" doc:"Header of that secret. Default: Authorization, as a bearer token."`
}

// Role is a realm role.
type Role struct {
	Name        string            `json:"name" required:"true" doc:"Name of the realm role. Required."`
	Description string            `json:"description" doc:"What it is for."`
	Composites  []string          `json:"composites" doc:"Realm roles that it contains."`
	Attributes  map[string]string `json:"attributes" doc:"Attributes of the role."`
}

// Group carries roles to its members.
type Group struct {
	Name       string            `json:"name" required:"true" doc:"Name, unique among all groups. Required."`
	Parent     string            `json:"parent" doc:"Name of the group that it is a subgroup of."`
	Roles      []string          `json:"roles" doc:"Realm roles that members get."`
	Default    bool              `json:"default" doc:"New users join it. Users that are there already and service accounts don't."`
	Attributes map[string]string `json:"attributes" doc:"Attributes of the group."`
}

// Client is one OIDC client. Its kind sets everything that the fields below
// leave out; docs/configuration.md has the table.
type Client struct {
	ClientID    string `json:"clientId" required:"true" doc:"Client id. Required."`
	Kind        string `json:"kind" required:"true" enum:"api,web,service,cli" doc:"api: the resource server; web: authorization code with PKCE; service: client credentials; cli: public, device grant and loopback redirect. Required."`
	Name        string `json:"name" doc:"Name that people see. Default: the client id."`
	Description string `json:"description" doc:"What it is for. Once set it can only be changed, not taken out: the provider keeps the last value."`

	BaseURL                string   `json:"baseUrl" doc:"Home page of the client. Once set it can only be changed, not taken out: the provider keeps the last value."`
	AdminURL               string   `json:"adminUrl" doc:"Where Keycloak sends admin callbacks (k_logout, k_push_not_before). Once set it can only be changed, not taken out: the provider keeps the last value."`
	RedirectURIs           []string `json:"redirectUris" doc:"Exact redirect URIs. Default for cli: http://127.0.0.1/callback, which holds for every port."`
	PostLogoutRedirectURIs []string `json:"postLogoutRedirectUris" doc:"Where a logout may lead. Default where the code flow is on: + for the redirect URIs."`
	WebOrigins             []string `json:"webOrigins" doc:"Origins that browsers may call Keycloak from. Default: none."`
	BackchannelLogoutURL   string   `json:"backchannelLogoutUrl" doc:"Where Keycloak tells the client that a session has ended."`

	RootURL         string `json:"rootUrl" doc:"What relative URLs of the client are relative to. Once set it can only be changed, not taken out: the provider keeps the last value."`
	LoginTheme      string `json:"loginTheme" doc:"Theme of the login pages where people sign in to this client. Default: the realm's."`
	ConsentRequired bool   `json:"consentRequired" doc:"Ask people before the client gets their data."`

	StandardFlow       *bool `json:"standardFlow" doc:"Authorization code flow. Default: by kind (web, cli)."`
	DirectAccessGrants *bool `json:"directAccessGrants" doc:"Password grant. Default: false."`
	ServiceAccount     *bool `json:"serviceAccount" doc:"Client credentials. Default: by kind (service, api). Before turning it off take its roles out in an up of their own: Keycloak deletes the account, and the provider then fails to take roles from it."`
	DeviceGrant        *bool `json:"deviceGrant" doc:"Device authorization grant. Default: by kind (cli)."`
	PKCE               *bool `json:"pkce" doc:"Demand PKCE with S256. Default: true where the authorization code flow or the device grant is on."`
	FullScope          *bool `json:"fullScope" doc:"Put all roles of the user into tokens. Default: false."`
	TokenExchange      *bool `json:"tokenExchange" doc:"May exchange tokens (RFC 8693). Default: by kind (api)."`

	Roles                     []string            `json:"roles" doc:"Realm roles that its tokens may carry, these alone; [] is none. Default: the roles of the models, by a shared client scope, and those of its service account."`
	ServiceAccountRoles       []string            `json:"serviceAccountRoles" doc:"Realm roles of its service account. Its tokens may carry them too, unless roles says otherwise."`
	ServiceAccountClientRoles map[string][]string `json:"serviceAccountClientRoles" doc:"Client roles of its service account, by client id. Its tokens may carry them too, and then name that client in their audience. A client that Keycloak makes itself, such as realm-management, costs look-ups: a preview then needs a live Keycloak."`
	ServiceAccountGroups      []string            `json:"serviceAccountGroups" doc:"Groups that its service account is a member of, these alone: it is in no default group. Takes effect where groups are declared."`
	ClientRoles               []string            `json:"clientRoles" doc:"Roles that this client defines."`

	Authentication string `json:"authentication" enum:"secret,jwt" default:"secret" doc:"How a confidential client proves itself: a secret from clientSecrets, or private_key_jwt."`
	JWKS           string `json:"jwks" doc:"Public key set as JSON, for authentication jwt."`
	JWKSURL        string `json:"jwksUrl" doc:"URL of the key set, for authentication jwt."`

	AccessTokenType string    `json:"accessTokenType" enum:"JWT,at+jwt" default:"JWT" doc:"typ in the header of its access tokens; at+jwt follows RFC 9068."`
	Lightweight     bool      `json:"lightweight" doc:"Lightweight access tokens: no roles and no audience inside, so the API must introspect each."`
	DPoP            bool      `json:"dpop" doc:"Bind its tokens to a key (RFC 9449)."`
	Mappers         []Mapper  `json:"mappers" doc:"Claims beside the built-in ones."`
	DefaultScopes   []string  `json:"defaultScopes" doc:"Optional scopes of Keycloak (address, phone, organization, offline_access, microprofile-jwt) that this client gets by default. To make one optional again takes two ups: first name optionalScopes without it, then with it."`
	OptionalScopes  *[]string `json:"optionalScopes" doc:"Optional scopes, of Keycloak's own. Default: all that are not in defaultScopes."`

	AccessTokenLifetime string `json:"accessTokenLifetime" doc:"Overrides lifetimes.accessToken. To take it back, set it to that value: the provider keeps the last value of what is left out."`
	SessionIdle         string `json:"sessionIdle" doc:"Overrides lifetimes.clientSessionIdle; at most lifetimes.ssoIdle. To take it back, set it to lifetimes.ssoIdle."`
	SessionMax          string `json:"sessionMax" doc:"Overrides lifetimes.clientSessionMax; at most lifetimes.ssoMax. To take it back, set it to lifetimes.ssoMax."`
	OfflineIdle         string `json:"offlineIdle" doc:"Overrides lifetimes.offlineIdle for its offline tokens. To take it back, set it to that value."`
	OfflineMax          string `json:"offlineMax" doc:"Overrides lifetimes.offlineMax for its offline tokens. To take it back, set it to that value."`
}

// Mapper puts a claim into a client's tokens.
type Mapper struct {
	Name  string `json:"name" required:"true" doc:"Name, unique in the client. Required."`
	Type  string `json:"type" required:"true" enum:"audience,realmRoles,clientRoles,groups,userAttribute,hardcoded" doc:"What it maps. Change the name with it: the new mapper is made before the old one goes, and Keycloak refuses a second one of that name. Required."`
	Claim string `json:"claim" doc:"Claim name; dots nest. Not for audience. Default for realmRoles: realm_access.roles, for groups: groups."`
	Value string `json:"value" doc:"The audience, the client id, the user attribute or the fixed value."`
}

// UserAttribute is declared in the realm's user profile.
type UserAttribute struct {
	Name         string `json:"name" required:"true" doc:"Name of the attribute. Required."`
	DisplayName  string `json:"displayName" doc:"Name that people see."`
	UserEditable bool   `json:"userEditable" doc:"Users may edit it themselves. Such an attribute must not decide on access."`
	Required     bool   `json:"required" doc:"Users must have it."`
}

// User is one user of the realm.
type User struct {
	Username        string            `json:"username" required:"true" doc:"Lower case, 3 characters or more. Another username is another user: take the old one out in an up of its own, or Keycloak refuses the second with that email. Required."`
	Email           string            `json:"email" doc:"Lower case. Required for a login by password."`
	EmailVerified   *bool             `json:"emailVerified" doc:"true: the address is trusted, and stays so when the email changes here. false: it is not, whatever the person did: write it when you change the email of somebody who may have verified the old one. Default: not trusted until the person verifies it, which the stack then leaves alone."`
	FirstName       string            `json:"firstName" doc:"Required for a login by password."`
	LastName        string            `json:"lastName" doc:"Required for a login by password."`
	Enabled         *bool             `json:"enabled" default:"true" doc:"false: can't sign in."`
	Password        string            `json:"password" enum:"temporary,permanent,none" default:"temporary" doc:"What the initial password is: to be changed at first login, lasting, or not set."`
	Attributes      map[string]string `json:"attributes" doc:"Attributes; each must stand in userAttributes."`
	Roles           []string          `json:"roles" doc:"Realm roles, beside what groups bring."`
	Groups          []string          `json:"groups" doc:"Groups, by name. Default groups need no mention: every new user joins them."`
	RequiredActions []string          `json:"requiredActions" doc:"What the user must do at the first login, such as CONFIGURE_TOTP. Set at creation only."`
}

// IdentityProvider is an external OpenID Connect provider.
type IdentityProvider struct {
	Alias             string            `json:"alias" required:"true" doc:"Name in the realm's URLs. Required."`
	DisplayName       string            `json:"displayName" doc:"Name on the login page."`
	Issuer            string            `json:"issuer" required:"true" doc:"Issuer URL of the provider. Required."`
	AuthorizationURL  string            `json:"authorizationUrl" required:"true" doc:"Authorization endpoint. Required."`
	TokenURL          string            `json:"tokenUrl" required:"true" doc:"Token endpoint. Required."`
	JWKSURL           string            `json:"jwksUrl" required:"true" doc:"Key set of the provider. Required."`
	LogoutURL         string            `json:"logoutUrl" doc:"Logout endpoint."`
	UserInfoURL       string            `json:"userInfoUrl" doc:"Userinfo endpoint."`
	ClientID          string            `json:"clientId" required:"true" doc:"Our client id there; its secret stands in federationSecrets. Required."`
	Scopes            string            `json:"scopes" default:"openid profile email" doc:"Scopes to ask for."`
	TrustEmail        bool              `json:"trustEmail" doc:"Take its email addresses as verified."`
	SecondFactor      string            `json:"secondFactor" enum:"trust" doc:"trust: the provider asks for a second factor itself, so that ours is not asked after it. Default: ours is asked, as signIn says."`
	RoleMappings      []RoleMapping     `json:"roleMappings" doc:"Claims that give realm roles."`
	AttributeMappings map[string]string `json:"attributeMappings" doc:"User attribute by claim."`
}

// RoleMapping gives a realm role to users whose claim has a value.
type RoleMapping struct {
	Claim string `json:"claim" required:"true" doc:"Claim of the provider's token; dots nest. Required."`
	Value string `json:"value" required:"true" doc:"Value that it must have (or hold, if it is a list). Required."`
	Role  string `json:"role" required:"true" doc:"Realm role to give. Required."`
}

// LDAP is one directory, read-only.
type LDAP struct {
	Name              string            `json:"name" required:"true" doc:"Name of the federation. Required."`
	URL               string            `json:"url" required:"true" doc:"ldap:// or ldaps:// URL. Required."`
	BindDN            string            `json:"bindDn" doc:"Account that searches; its password stands in federationSecrets. Once set it can only be changed, not taken out: the provider keeps the last value."`
	UsersDN           string            `json:"usersDn" required:"true" doc:"Where users are. Required."`
	Vendor            string            `json:"vendor" enum:"OTHER,EDIRECTORY,AD,RHDS,TIVOLI" default:"OTHER" doc:"Kind of directory."`
	UsernameAttribute string            `json:"usernameAttribute" default:"uid" doc:"LDAP attribute of the username."`
	RDNAttribute      string            `json:"rdnAttribute" default:"uid" doc:"LDAP attribute of the RDN."`
	UUIDAttribute     string            `json:"uuidAttribute" default:"entryUUID" doc:"LDAP attribute that never changes."`
	ObjectClasses     []string          `json:"objectClasses" doc:"Object classes of users. Default: inetOrgPerson, organizationalPerson."`
	SearchSubtree     bool              `json:"searchSubtree" doc:"Search below usersDn too."`
	StartTLS          bool              `json:"startTls" doc:"Upgrade ldap:// by StartTLS."`
	Attributes        map[string]string `json:"attributes" doc:"LDAP attribute by user attribute of userAttributes. Keycloak itself maps username, email, firstName and lastName."`
	RolesDN           string            `json:"rolesDn" doc:"Where LDAP groups are that name realm roles."`
	GroupsDN          string            `json:"groupsDn" doc:"Where LDAP groups are that become Keycloak groups."`
	GroupObjectClass  string            `json:"groupObjectClass" default:"groupOfNames" doc:"Object class of LDAP groups."`
	MembershipAttr    string            `json:"membershipAttribute" default:"member" doc:"LDAP attribute of a group that lists members by DN."`
}

// Exemption frees one resource from one guardrail.
type Exemption struct {
	Resource string `json:"resource" required:"true" doc:"Name of the resource as the preview shows it. Required."`
	Rule     string `json:"rule" required:"true" doc:"Name of the guardrail. Required."`
	Reason   string `json:"reason" required:"true" doc:"Why; the preview shows it. Required."`
}

// Secrets holds secret values by the name of what they belong to. It prints
// and logs as a placeholder.
type Secrets map[string]string

// String keeps the values out of logs and errors.
func (s Secrets) String() string { return fmt.Sprintf("[%d secrets]", len(s)) }

// GoString is String, for %#v.
func (s Secrets) GoString() string { return s.String() }

// Inputs returns each value as a Pulumi secret.
func (s Secrets) Inputs() map[string]pulumi.StringInput {
	inputs := make(map[string]pulumi.StringInput, len(s))
	for name, value := range s {
		inputs[name] = pulumi.ToSecret(pulumi.String(value)).(pulumi.StringOutput)
	}
	return inputs
}
