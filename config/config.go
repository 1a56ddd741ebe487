// Package config is the stack's configuration: one typed tree, read from
// Pulumi's configuration and validated whole before the first resource.
//
// The comments above the keys are the source of the table in docs/configuration.md
// and of the JSON Schema for editors.
package config

//go:generate go run ./gen

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Project is the name of the stack's program, and the prefix of its keys.
const Project = "keycloak-model-api"

// Config is everything that a stack can say. Each field is one key of the
// namespace keycloak-model-api in Pulumi.<stack>.yaml.
type Config struct {
	// What this stack is for. Only dev allows development's shortcuts, and turns what hardening would
	// refuse into a warning.
	Environment string `json:"environment" enum:"dev,staging,prod" default:"prod"`
	// Name of the realm: it becomes part of the issuer URL and can't be changed later. At most 36
	// characters. Required.
	Realm string `json:"realm" required:"true"`
	// Name that people see on the login page. Default: the realm's name.
	DisplayName string `json:"displayName"`
	// The same as HTML, for the head of the login page. Default: displayName.
	DisplayNameHTML string `json:"displayNameHtml"`
	// Keycloak's URL as clients see it, with its base path, without /realms. Default: keycloak:url,
	// then KEYCLOAK_URL.
	PublicURL string `json:"publicUrl"`
	// Keycloak's URL in the tokens and links of this realm, where it is not that of the server. The
	// issuer begins with it.
	FrontendURL string `json:"frontendUrl"`
	// The model API's URL as Keycloak reaches it. Keycloak then tells the API when a session ends, by
	// each client that people sign in with and that names no backchannelLogoutUrl of its own, so that
	// the session's tokens stop at once: docs/revocation.md.
	APIURL string `json:"apiUrl"`
	// How strict the realm and the checks of its clients are: docs/hardening.md has each as a table.
	// Settings that are given here win over it.
	Hardening string `json:"hardening" enum:"baseline,strict,off" default:"baseline"`
	// Outside dev, guard the realm, its key stores and users against deletion. Set false and run
	// pulumi up before a destroy.
	Protect bool `json:"protect" default:"true"`
	// Realm role that every caller of the API needs.
	BaseRole string `json:"baseRole" default:"model-api-access"`

	// How long tokens and sessions live.
	Lifetimes Lifetimes `json:"lifetimes"`
	// Keys that sign tokens, beside the one that Keycloak makes itself.
	SigningKeys []SigningKey `json:"signingKeys"`
	// Imports and disables the key that Keycloak made itself: docs/keys.md.
	RetireKey RetireKey `json:"retireGeneratedKey"`
	// Login and admin events that Keycloak keeps.
	Events Events `json:"events"`
	// How people sign in: second factor, passkeys, levels: docs/sign-in.md.
	SignIn SignIn `json:"signIn"`

	// Mail server of the realm.
	SMTP SMTP `json:"smtp"`
	// Password of smtp.user. Set it by: pulumi config set --secret smtpPassword.
	SMTPPassword Secret `json:"smtpPassword" secret:"true"`
	// How people sign in.
	Login Login `json:"login"`
	// How pages and mails look.
	Themes Themes `json:"themes"`
	// Languages of pages and mails.
	Locales Locales `json:"locales"`
	// Attributes of the realm that no other key sets.
	RealmAttributes map[string]string `json:"realmAttributes"`

	// Rules for passwords in Keycloak's notation, such as length(15) and notUsername, in the place of
	// hardening's.
	PasswordPolicy string `json:"passwordPolicy"`
	// One-time passwords of an authenticator app.
	OTP OTP `json:"otp"`
	// Security keys as a second factor.
	WebAuthn WebAuthn `json:"webAuthn"`
	// Passkeys in the place of a password, which Keycloak calls passwordless WebAuthn.
	Passkeys WebAuthn `json:"passkeys"`
	// What happens to who guesses passwords.
	BruteForce BruteForce `json:"bruteForce"`
	// Security headers of the realm's pages.
	Headers Headers `json:"headers"`
	// From whom TLS is required: everybody, all but private addresses, or nobody. Default: by
	// hardening.
	SSLRequired string `json:"sslRequired" enum:"all,external,none"`

	// The models, where each runs, and who may call it.
	Models []Model `json:"models"`
	// How much callers may use: docs/limits.md.
	Limits []Limit `json:"limits"`
	// Realm roles beside the base role and those that models bring.
	Roles []Role `json:"roles"`
	// Groups that carry roles. The stack puts the users that name a group into it, and leaves its
	// other members alone.
	Groups []Group `json:"groups"`

	// The OIDC clients. Exactly one has kind api: the resource server.
	Clients []Client `json:"clients"`
	// Client secrets by client id. Set each by: pulumi config set --secret --path
	// 'clientSecrets["CLIENT-ID"]'.
	ClientSecrets Secrets `json:"clientSecrets" secret:"true"`

	// What people can be made to do at a login. Those that are not named here stay as they are.
	RequiredActions []RequiredAction `json:"requiredActions"`
	// Attributes of users beside username, email, firstName and lastName. Keycloak drops what is not
	// declared here.
	UserAttributes []UserAttribute `json:"userAttributes"`
	// Users that the stack makes.
	Users []User `json:"users"`
	// CSV file with more users, relative to the project, with a header: username, email,
	// emailVerified, firstName, lastName, enabled, password (default here: none), groups and roles
	// (separated by ;), attributes.NAME.
	UsersFile string `json:"usersFile"`
	// Initial passwords by username, used at creation only. Set each by: pulumi config set --secret
	// --path 'initialPasswords["USERNAME"]'.
	InitialPasswords Secrets `json:"initialPasswords" secret:"true"`

	// External OpenID Connect providers that users may sign in with.
	IdentityProviders []IdentityProvider `json:"identityProviders"`
	// LDAP directories that bring users, read-only.
	LDAP []LDAP `json:"ldap"`
	// Client secrets of identity providers by alias, and bind passwords of LDAP directories by name.
	FederationSecrets Secrets `json:"federationSecrets" secret:"true"`

	// Guardrails that one resource is exempt from, each with a reason.
	Exemptions []Exemption `json:"exemptions"`

	keycloakURL string // Keycloak's URL as clients see it, with its base path
}

// Lifetimes are durations such as 5m, 30m, 10h; empty leaves hardening's or
// Keycloak's value.
type Lifetimes struct {
	// Access token.
	AccessToken string `json:"accessToken"`
	// Session without activity; also bounds refresh tokens.
	SSOIdle string `json:"ssoIdle"`
	// Session in all.
	SSOMax string `json:"ssoMax"`
	// Offline session without activity.
	OfflineIdle string `json:"offlineIdle"`
	// Offline session in all; setting it turns the bound on, as hardening does.
	OfflineMax string `json:"offlineMax"`
	// Code of the device authorization grant.
	DeviceCode string `json:"deviceCode"`
	// Authorization code.
	AuthorizationCode string `json:"authorizationCode"`
	// A login from its first page to its last.
	Login string `json:"login" default:"30m"`
	// One step of it, such as a new password.
	LoginAction string `json:"loginAction" default:"5m"`
	// Link in a mail that the user asked for, such as a reset of the password.
	UserMail string `json:"userMail" default:"5m"`
	// Link in a mail that an administrator sent.
	AdminMail string `json:"adminMail" default:"12h"`
	// ssoIdle of who stays signed in (login.rememberMe). To take it back, set it to ssoIdle: the
	// provider keeps the last value of what is left out.
	RememberMeIdle string `json:"rememberMeIdle"`
	// ssoMax of who stays signed in. To take it back, set it to ssoMax.
	RememberMeMax string `json:"rememberMeMax"`
	// How long a device waits before it asks again whether its code was entered.
	DevicePolling string `json:"devicePolling" default:"5s"`
	// Turns rotation on: a refresh token may be used this many times more after its first use; 0 is
	// strictest.
	RefreshTokenReuse *int `json:"refreshTokenReuse"`
	// Client session without activity, at most ssoIdle. To take it back, set it to ssoIdle: the
	// provider keeps the last value of what is left out.
	ClientSessionIdle string `json:"clientSessionIdle"`
	// Client session in all, at most ssoMax. To take it back, set it to ssoMax.
	ClientSessionMax string `json:"clientSessionMax"`
}

// SigningKey is a key store of the realm.
type SigningKey struct {
	// Name of the key store, unique in the realm. Required.
	Name string `json:"name" required:"true"`
	// Algorithm that the key is for. Required.
	Algorithm string `json:"algorithm" required:"true" enum:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512"`
	// The active key of highest priority signs, and its algorithm is that of all clients' tokens.
	// Keycloak's own key has 100.
	Priority int `json:"priority" default:"200"`
	// false: published, verifies, signs nothing.
	Active *bool `json:"active" default:"true"`
	// false: not even published.
	Enabled *bool `json:"enabled" default:"true"`
	// Bits of an RSA key.
	Size int `json:"size" enum:"2048,4096" default:"2048"`
}

// Signs reports whether the key may sign: it is active and enabled.
func (k *SigningKey) Signs() bool { return isTrue(k.Active) && isTrue(k.Enabled) }

// RetireKey imports the key provider rsa-generated, which every realm is born with,
// and disables it.
type RetireKey struct {
	// Id of the component rsa-generated, as an export or the admin console shows it. The up that
	// imports it needs a live Keycloak for its preview too.
	ComponentID string `json:"componentId"`
}

// Events are kept in Keycloak's database. What is left out comes from hardening.
type Events struct {
	// Keep login and admin events. Default: by hardening.
	Enabled *bool `json:"enabled"`
	// How long login events are kept, such as 168h. Default: by hardening.
	KeepFor string `json:"keepFor"`
	// How long admin events are kept, such as 720h. Default: for ever.
	KeepAdminFor string `json:"keepAdminFor"`
	// Types of login events that are kept, such as LOGIN_ERROR. Default: all.
	Types []string `json:"types"`
	// Who is told of each event: jboss-logging (the server's log), email (the user), or a listener of
	// yours. Default: jboss-logging.
	Listeners []string `json:"listeners"`
	// Keep what admin events changed. Default: by hardening.
	AdminDetail *bool `json:"adminDetails"`
}

// Model drives the realm: the roles that it names are made.
type Model struct {
	// Name in the URL /v2/models/NAME. Where the body names the model (openai, anthropic), parts may
	// be joined by / and :, such as llama3:8b. Required.
	Name string `json:"name" required:"true"`
	// What its callers and its server speak: oip, the Open Inference Protocol v2; openai and
	// anthropic, their APIs (docs/openai.md); paths, what upstream.paths lists, below /models/NAME.
	Protocol string `json:"protocol" enum:"oip,openai,anthropic,paths" default:"oip"`
	// Name of a model that the API itself holds (iris, with oip), or:
	Embedded string `json:"embedded"`
	// Where the model server runs.
	Upstream *Upstream `json:"upstream"`
	// Short for allow.roles. Default, where neither says who may call: the role model-NAME, with - for
	// / and : in the name.
	Roles []string `json:"roles"`
	// Who may call the model, and for what.
	Allow Allow `json:"allow"`
	// What callers may write in the body of a request to a model server, but for the protocol paths.
	Body *Body `json:"body"`
	// Let the model server keep what POST /v1/responses answers, so that callers can continue, get and
	// delete it: each their own, for 30 days. Of the protocol openai.
	Stateful bool `json:"stateful"`
	// Ask Keycloak about the token on each call, so that a revoked one stops within seconds.
	Introspect bool `json:"introspect"`
	// How the people who call the model must have signed in (RFC 9470): docs/step-up.md. Default: as
	// the realm signs them in.
	Authentication *Authentication `json:"authentication"`
}

// Allow says who may call a model. A caller must meet each key that is there;
// within one key, one of the values is enough.
type Allow struct {
	// Realm roles of which a caller needs one; the stack makes each as a composite over the base role.
	Roles []string `json:"roles"`
	// Realm roles that a caller needs all; the stack makes each likewise.
	AllRoles []string `json:"allRoles"`
	// Groups that a caller is a direct member of: names of groups, or full paths such as
	// /research/vision for those that LDAP brings. Tokens then carry the claim groups. Such a caller
	// needs the base role too: give it to the group.
	Groups []string `json:"groups"`
	// Client ids that a token may have been issued to.
	Clients []string `json:"clients"`
	// Scopes of which a token needs one.
	Scopes []string `json:"scopes"`
	// What may be done with the model. oip: infer, generate, metadata, ready; openai: chat, completions,
	// embeddings, responses, transcriptions, metadata; anthropic: messages, count_tokens, metadata;
	// paths: infer. Default: all.
	Actions []string `json:"actions"`
}

// Body says what a caller may write in the body of a request.
type Body struct {
	// Members that are refused unless they stand here, since they steer the model server or have it
	// read elsewhere: docs/openai.md has the list. * at the end, as in that list, stands for any rest.
	Allow []string `json:"allow"`
	// Member that the API sets to an id of the caller, whatever the caller wrote: 64 hex digits, the
	// SHA-256 of issuer, a zero byte and subject. Default: none.
	Principal string `json:"principal" enum:"user,safety_identifier,metadata.user_id"`
}

// Upstream is a model server.
type Upstream struct {
	// URL of the model server, without the path that the protocol adds: without /v2 (oip); with or
	// without its version, such as /v1 (openai, anthropic). Required.
	URL string `json:"url" required:"true"`
	// What the server calls the model, where the body names it. Default: the name.
	Model string `json:"model"`
	// With protocol paths: the methods and paths that may be called, such as POST /invocations, which
	// callers reach as /models/NAME/invocations. * is any one segment. Everything else is 404.
	Paths []string `json:"paths"`
	// Name of the API's environment variable (or NAME_FILE of its file, which is read again when it
	// changes) with the secret for the server.
	Credential string `json:"credential"`
	// Header of that secret. Default: Authorization, as a bearer token.
	CredentialHeader string `json:"credentialHeader" enum:"x-api-key,api-key"`
	// How the server learns who calls: headers, by X-Principal-*; exchange, by an access token too that
	// the API gets for the caller at Keycloak (RFC 8693): docs/token-exchange.md.
	Identity string `json:"identity" enum:"headers,exchange" default:"headers"`
	// With identity exchange: the client of kind resource that the server is.
	Audience string `json:"audience"`
	// How the API and a server with an https URL prove to each other who they are. Default: the
	// server by a certificate that the API's system trusts, the API not.
	TLS *TLS `json:"tls"`
}

// TLS is for the connection to a model server. Each file is one of the API's, in
// PEM; the API reads it again when it changes.
type TLS struct {
	// File with the certificates of those who may have signed the server's. Default: those of the
	// API's system.
	CA string `json:"ca"`
	// File with the certificate that the API shows.
	Certificate string `json:"certificate"`
	// File with the private key of that certificate.
	Key string `json:"key"`
	// Name that the server's certificate must be for. Default: the host of the URL.
	ServerName string `json:"serverName"`
}

// Role is a realm role.
type Role struct {
	// Name of the realm role. Required.
	Name string `json:"name" required:"true"`
	// What it is for.
	Description string `json:"description"`
	// Realm roles that it contains.
	Composites []string `json:"composites"`
	// Attributes of the role.
	Attributes map[string]string `json:"attributes"`
}

// Group carries roles to its members.
type Group struct {
	// Name, unique among all groups. Required.
	Name string `json:"name" required:"true"`
	// Name of the group that it is a subgroup of.
	Parent string `json:"parent"`
	// Realm roles that members get.
	Roles []string `json:"roles"`
	// New users join it. Users that are there already and service accounts don't.
	Default bool `json:"default"`
	// Attributes of the group.
	Attributes map[string]string `json:"attributes"`
}

// Client is one OIDC client. Its kind sets everything that the fields below
// leave out; docs/configuration.md has the table.
type Client struct {
	// Client id. Required.
	ClientID string `json:"clientId" required:"true"`
	// api: the resource server; web: authorization code with PKCE; service: client credentials;
	// resource: a model server, in the audience of exchanged tokens; exchange: by which the API
	// exchanges tokens; cli: public, device grant and loopback redirect. Required.
	Kind string `json:"kind" required:"true" enum:"api,web,service,resource,exchange,cli"`
	// Name that people see. Default: the client id.
	Name string `json:"name"`
	// What it is for. Once set it can only be changed, not taken out: the provider keeps the last
	// value.
	Description string `json:"description"`

	// Home page of the client. Once set it can only be changed, not taken out: the provider keeps the
	// last value.
	BaseURL string `json:"baseUrl"`
	// Where Keycloak sends admin callbacks (k_logout, k_push_not_before). Once set it can only be
	// changed, not taken out: the provider keeps the last value.
	AdminURL string `json:"adminUrl"`
	// Exact redirect URIs. Default for cli: http://127.0.0.1/callback, which holds for every port.
	RedirectURIs []string `json:"redirectUris"`
	// Where a logout may lead. Default where the code flow is on: + for the redirect URIs.
	PostLogoutRedirectURIs []string `json:"postLogoutRedirectUris"`
	// Origins that browsers may call Keycloak from. Default: none.
	WebOrigins []string `json:"webOrigins"`
	// Where Keycloak tells the client that a session has ended.
	BackchannelLogoutURL string `json:"backchannelLogoutUrl"`

	// What relative URLs of the client are relative to. Once set it can only be changed, not taken
	// out: the provider keeps the last value.
	RootURL string `json:"rootUrl"`
	// Theme of the login pages where people sign in to this client. Default: the realm's.
	LoginTheme string `json:"loginTheme"`
	// Ask people before the client gets their data.
	ConsentRequired bool `json:"consentRequired"`

	// Authorization code flow. Default: by kind (web, cli).
	StandardFlow *bool `json:"standardFlow"`
	// Password grant. Default: false.
	DirectAccessGrants *bool `json:"directAccessGrants"`
	// Client credentials. Default: by kind (service, api). Before turning it off take its roles out in
	// an up of their own: Keycloak deletes the account, and the provider then fails to take roles from
	// it.
	ServiceAccount *bool `json:"serviceAccount"`
	// Device authorization grant. Default: by kind (cli).
	DeviceGrant *bool `json:"deviceGrant"`
	// Demand PKCE with S256. Default: true where the authorization code flow or the device grant is
	// on.
	PKCE *bool `json:"pkce"`
	// Put all roles of the user into tokens. Default: false.
	FullScope *bool `json:"fullScope"`
	// May exchange tokens (RFC 8693). Default: by kind (api).
	TokenExchange *bool `json:"tokenExchange"`

	// Realm roles that its tokens may carry, these alone; [] is none. Default: the roles of the
	// models, by a shared client scope, and those of its service account.
	Roles []string `json:"roles"`
	// Realm roles of its service account. Its tokens may carry them too, unless roles says otherwise.
	ServiceAccountRoles []string `json:"serviceAccountRoles"`
	// Client roles of its service account, by client id. Its tokens may carry them too, and then name
	// that client in their audience. A client that Keycloak makes itself, such as realm-management,
	// costs look-ups: a preview then needs a live Keycloak.
	ServiceAccountClientRoles map[string][]string `json:"serviceAccountClientRoles"`
	// Groups that its service account is a member of, these alone: it is in no default group. Takes
	// effect where groups are declared.
	ServiceAccountGroups []string `json:"serviceAccountGroups"`
	// Roles that this client defines.
	ClientRoles []string `json:"clientRoles"`

	// How a confidential client proves itself: a secret from clientSecrets, or private_key_jwt.
	Authentication string `json:"authentication" enum:"secret,jwt" default:"secret"`
	// Public key set as JSON, for authentication jwt.
	JWKS string `json:"jwks"`
	// URL of the key set, for authentication jwt.
	JWKSURL string `json:"jwksUrl"`
	// Give this client of kind service a service key, one fixed string for programs that can send
	// nothing else: docs/service-keys.md. It can then do nothing but call this API.
	Key bool `json:"key"`

	// typ in the header of its access tokens; at+jwt follows RFC 9068.
	AccessTokenType string `json:"accessTokenType" enum:"JWT,at+jwt" default:"JWT"`
	// Lightweight access tokens: no roles and no audience inside, so the API must introspect each.
	Lightweight bool `json:"lightweight"`
	// Bind its tokens to a key (RFC 9449).
	DPoP bool `json:"dpop"`
	// Claims beside the built-in ones.
	Mappers []Mapper `json:"mappers"`
	// Optional scopes of Keycloak (address, phone, organization, offline_access, microprofile-jwt)
	// that this client gets by default. To make one optional again takes two ups: first name
	// optionalScopes without it, then with it.
	DefaultScopes []string `json:"defaultScopes"`
	// Optional scopes, of Keycloak's own. Default: all that are not in defaultScopes.
	OptionalScopes *[]string `json:"optionalScopes"`

	// Overrides lifetimes.accessToken. To take it back, set it to that value: the provider keeps the
	// last value of what is left out.
	AccessTokenLifetime string `json:"accessTokenLifetime"`
	// Overrides lifetimes.clientSessionIdle; at most lifetimes.ssoIdle. To take it back, set it to
	// lifetimes.ssoIdle.
	SessionIdle string `json:"sessionIdle"`
	// Overrides lifetimes.clientSessionMax; at most lifetimes.ssoMax. To take it back, set it to
	// lifetimes.ssoMax.
	SessionMax string `json:"sessionMax"`
	// Overrides lifetimes.offlineIdle for its offline tokens. To take it back, set it to that value.
	OfflineIdle string `json:"offlineIdle"`
	// Overrides lifetimes.offlineMax for its offline tokens. To take it back, set it to that value.
	OfflineMax string `json:"offlineMax"`
}

// Mapper puts a claim into a client's tokens.
type Mapper struct {
	// Name, unique in the client. Required.
	Name string `json:"name" required:"true"`
	// What it maps. Change the name with it: the new mapper is made before the old one goes, and
	// Keycloak refuses a second one of that name. Required.
	Type string `json:"type" required:"true" enum:"audience,realmRoles,clientRoles,groups,userAttribute,hardcoded"`
	// Claim name; dots nest. Not for audience. Default for realmRoles: realm_access.roles, for groups:
	// groups.
	Claim string `json:"claim"`
	// The audience, the client id, the user attribute or the fixed value.
	Value string `json:"value"`
}

// UserAttribute is declared in the realm's user profile.
type UserAttribute struct {
	// Name of the attribute. Required.
	Name string `json:"name" required:"true"`
	// Name that people see.
	DisplayName string `json:"displayName"`
	// Users may edit it themselves. Such an attribute must not decide on access.
	UserEditable bool `json:"userEditable"`
	// Users must have it.
	Required bool `json:"required"`
}

// User is one user of the realm.
type User struct {
	// Lower case, 3 characters or more. Another username is another user: take the old one out in an
	// up of its own, or Keycloak refuses the second with that email. Required.
	Username string `json:"username" required:"true"`
	// Lower case. Required for a login by password.
	Email string `json:"email"`
	// true: the address is trusted, and stays so when the email changes here. false: it is not,
	// whatever the person did: write it when you change the email of somebody who may have verified
	// the old one. Default: not trusted until the person verifies it, which the stack then leaves
	// alone.
	EmailVerified *bool `json:"emailVerified"`
	// Required for a login by password.
	FirstName string `json:"firstName"`
	// Required for a login by password.
	LastName string `json:"lastName"`
	// false: can't sign in.
	Enabled *bool `json:"enabled" default:"true"`
	// What the initial password is: to be changed at first login, lasting, or not set.
	Password string `json:"password" enum:"temporary,permanent,none" default:"temporary"`
	// Attributes; each must stand in userAttributes.
	Attributes map[string]string `json:"attributes"`
	// Realm roles, beside what groups bring.
	Roles []string `json:"roles"`
	// Groups, by name. Default groups need no mention: every new user joins them.
	Groups []string `json:"groups"`
	// What the user must do at the first login, such as CONFIGURE_TOTP. Set at creation only.
	RequiredActions []string `json:"requiredActions"`
}

// IdentityProvider is an external OpenID Connect provider.
type IdentityProvider struct {
	// Name in the realm's URLs. Required.
	Alias string `json:"alias" required:"true"`
	// Name on the login page.
	DisplayName string `json:"displayName"`
	// Issuer URL of the provider. Required.
	Issuer string `json:"issuer" required:"true"`
	// Authorization endpoint. Required.
	AuthorizationURL string `json:"authorizationUrl" required:"true"`
	// Token endpoint. Required.
	TokenURL string `json:"tokenUrl" required:"true"`
	// Key set of the provider. Required.
	JWKSURL string `json:"jwksUrl" required:"true"`
	// Logout endpoint.
	LogoutURL string `json:"logoutUrl"`
	// Userinfo endpoint.
	UserInfoURL string `json:"userInfoUrl"`
	// Our client id there; its secret stands in federationSecrets. Required.
	ClientID string `json:"clientId" required:"true"`
	// Scopes to ask for.
	Scopes string `json:"scopes" default:"openid profile email"`
	// Take its email addresses as verified.
	TrustEmail bool `json:"trustEmail"`
	// trust: the provider asks for a second factor itself, so that ours is not asked after it.
	// Default: ours is asked, as signIn says.
	SecondFactor string `json:"secondFactor" enum:"trust"`
	// Claims that give realm roles.
	RoleMappings []RoleMapping `json:"roleMappings"`
	// User attribute by claim.
	AttributeMappings map[string]string `json:"attributeMappings"`
}

// RoleMapping gives a realm role to users whose claim has a value.
type RoleMapping struct {
	// Claim of the provider's token; dots nest. Required.
	Claim string `json:"claim" required:"true"`
	// Value that it must have (or hold, if it is a list). Required.
	Value string `json:"value" required:"true"`
	// Realm role to give. Required.
	Role string `json:"role" required:"true"`
}

// LDAP is one directory, read-only.
type LDAP struct {
	// Name of the federation. Required.
	Name string `json:"name" required:"true"`
	// ldap:// or ldaps:// URL. Required.
	URL string `json:"url" required:"true"`
	// Account that searches; its password stands in federationSecrets. Once set it can only be
	// changed, not taken out: the provider keeps the last value.
	BindDN string `json:"bindDn"`
	// Where users are. Required.
	UsersDN string `json:"usersDn" required:"true"`
	// Kind of directory.
	Vendor string `json:"vendor" enum:"OTHER,EDIRECTORY,AD,RHDS,TIVOLI" default:"OTHER"`
	// LDAP attribute of the username.
	UsernameAttribute string `json:"usernameAttribute" default:"uid"`
	// LDAP attribute of the RDN.
	RDNAttribute string `json:"rdnAttribute" default:"uid"`
	// LDAP attribute that never changes.
	UUIDAttribute string `json:"uuidAttribute" default:"entryUUID"`
	// Object classes of users. Default: inetOrgPerson, organizationalPerson.
	ObjectClasses []string `json:"objectClasses"`
	// Search below usersDn too.
	SearchSubtree bool `json:"searchSubtree"`
	// Upgrade ldap:// by StartTLS.
	StartTLS bool `json:"startTls"`
	// LDAP attribute by user attribute of userAttributes. Keycloak itself maps username, email,
	// firstName and lastName.
	Attributes map[string]string `json:"attributes"`
	// Where LDAP groups are that name realm roles.
	RolesDN string `json:"rolesDn"`
	// Where LDAP groups are that become Keycloak groups.
	GroupsDN string `json:"groupsDn"`
	// Object class of LDAP groups.
	GroupObjectClass string `json:"groupObjectClass" default:"groupOfNames"`
	// LDAP attribute of a group that lists members by DN.
	MembershipAttr string `json:"membershipAttribute" default:"member"`
}

// Exemption frees one resource from one guardrail.
type Exemption struct {
	// Name of the resource as the preview shows it. Required.
	Resource string `json:"resource" required:"true"`
	// Name of the guardrail. Required.
	Rule string `json:"rule" required:"true"`
	// Why; the preview shows it. Required.
	Reason string `json:"reason" required:"true"`
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
