package config

// What the realm as a whole can be told beside lifetimes, keys and events. The
// provider writes a realm as a whole, so each of these is always written: a default
// here is Keycloak's own.

// Secret is one secret value. It prints and logs as a placeholder.
type Secret string

// String keeps the value out of logs and errors.
func (s Secret) String() string { return "[secret]" }

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// SMTP is the mail server of the realm. Without a host the realm sends no mail.
type SMTP struct {
	Host               string `json:"host" doc:"Name or address of the mail server. Without it the realm sends no mail."`
	Port               int    `json:"port" doc:"Port. Default: 465 with ssl, 587 with starttls, otherwise 25."`
	From               string `json:"from" doc:"Address that mails come from. Required with host."`
	FromDisplayName    string `json:"fromDisplayName" doc:"Name beside it."`
	ReplyTo            string `json:"replyTo" doc:"Address that answers go to. Default: from."`
	ReplyToDisplayName string `json:"replyToDisplayName" doc:"Name beside it."`
	EnvelopeFrom       string `json:"envelopeFrom" doc:"Address that bounces go to. Default: from."`
	StartTLS           bool   `json:"starttls" doc:"Upgrade the connection by STARTTLS. Keycloak goes on in the clear where none is offered, so prefer ssl: somebody on the way can hide the offer."`
	SSL                bool   `json:"ssl" doc:"TLS from the first byte (RFC 8314, 3)."`
	User               string `json:"user" doc:"User to authenticate as; the password stands in smtpPassword."`
}

// Login says how people sign in and what they may do to their account.
type Login struct {
	Registration      bool `json:"registration" doc:"People may register themselves."`
	EmailAsUsername   bool `json:"emailAsUsername" doc:"The email address is the username."`
	WithEmail         bool `json:"withEmail" default:"true" doc:"People may sign in with their email address in the place of their username."`
	DuplicateEmails   bool `json:"duplicateEmails" doc:"Several users may have one email address. Not beside withEmail or emailAsUsername."`
	RememberMe        bool `json:"rememberMe" doc:"Offer to stay signed in when the browser closes."`
	VerifyEmail       bool `json:"verifyEmail" doc:"Who signs in must have verified their address by a mail. Needs smtp."`
	ResetPassword     bool `json:"resetPassword" doc:"Offer to reset a forgotten password by a mail. Needs smtp."`
	EditUsername      bool `json:"editUsername" doc:"People may change their username."`
	UserManagedAccess bool `json:"userManagedAccess" doc:"People may share resources of theirs (UMA 2.0)."`
}

// Themes are themes that the server has. One that is left out is the server's
// default.
type Themes struct {
	Login   string `json:"login" doc:"Pages of a login. Once set it can only be changed, not taken out: the provider then leaves Keycloak's value as it is. Keycloak's own is keycloak.v2."`
	Account string `json:"account" doc:"Account console. Like login; Keycloak's own is keycloak.v3."`
	Admin   string `json:"admin" doc:"Admin console. Like login; Keycloak's own is keycloak.v2."`
	Email   string `json:"email" doc:"Mails. Like login; Keycloak's own is keycloak."`
}

// Locales turn internationalization on.
type Locales struct {
	Supported []string `json:"supported" doc:"Languages of pages and mails, such as en, de or pt-BR. Empty: English only, and no choice."`
	Default   string   `json:"default" doc:"The one for who asks for no other. Default: the first of supported."`
}

// OTP is the policy of one-time passwords (RFC 6238, RFC 4226).
type OTP struct {
	Type           string `json:"type" enum:"totp,hotp" default:"totp" doc:"By time or by counter."`
	Algorithm      string `json:"algorithm" enum:"HmacSHA1,HmacSHA256,HmacSHA512" default:"HmacSHA1" doc:"Hash. Many apps know the default only, and then show wrong codes."`
	Digits         int    `json:"digits" enum:"6,8" default:"6" doc:"Digits of a code."`
	Period         string `json:"period" default:"30s" doc:"How long a code by time is good."`
	InitialCounter int    `json:"initialCounter" doc:"First value of a counter."`
	LookAhead      *int   `json:"lookAhead" default:"1" doc:"How many periods a clock, or steps a counter, may be off."`
}

// WebAuthn is the policy of security keys, or that of passkeys.
type WebAuthn struct {
	RelyingPartyName       string   `json:"relyingPartyName" default:"keycloak" doc:"Name that people see when they register one."`
	RelyingPartyID         string   `json:"relyingPartyId" doc:"Domain that they are good for: Keycloak's, or one above it. Default: Keycloak's host. A change makes those that are registered useless."`
	Algorithms             []string `json:"algorithms" doc:"Signature algorithms, such as ES256, Ed25519 or RS256. Default: ES256, RS256."`
	Attestation            string   `json:"attestation" enum:"none,indirect,direct,enterprise" doc:"What the authenticator must prove of its make. Default: the browser's, none."`
	Attachment             string   `json:"attachment" enum:"platform,cross-platform" doc:"Built into the device, or apart from it. Default: either."`
	ResidentKey            *bool    `json:"residentKey" doc:"Whether the authenticator must keep the key itself, so that no username is needed. Default: for webAuthn the browser's choice, for passkeys it must."`
	UserVerification       string   `json:"userVerification" enum:"required,preferred,discouraged" doc:"Whether the authenticator must ask for a PIN or a finger. Default: for webAuthn the browser's choice, for passkeys required."`
	Timeout                string   `json:"timeout" doc:"How long a person has to register one, 30s to 10m. Default: the browser's."`
	AvoidSameAuthenticator bool     `json:"avoidSameAuthenticator" doc:"Refuse an authenticator that the person has registered before."`
	AAGUIDs                []string `json:"aaguids" doc:"Makes of authenticator that may be registered, by AAGUID. Needs attestation. Default: all."`
}

// BruteForce is what happens to who guesses passwords. What is left out comes from
// hardening, and from Keycloak where hardening is off.
type BruteForce struct {
	Enabled         *bool  `json:"enabled" doc:"Notice failures at all. Default: by hardening; true where another key of bruteForce is set."`
	MaxFailures     int    `json:"maxFailures" doc:"Failures before a user has to wait, or is locked."`
	WaitIncrement   string `json:"waitIncrement" doc:"First wait, and how much longer each further one is."`
	MaxWait         string `json:"maxWait" doc:"Longest wait."`
	ResetAfter      string `json:"resetAfter" doc:"When failures are forgotten."`
	QuickLoginCheck string `json:"quickLoginCheck" doc:"Two failures within this time are a program's, such as 500ms."`
	QuickLoginWait  string `json:"quickLoginWait" doc:"Shortest wait after such two."`
	Permanent       bool   `json:"permanent" doc:"Lock the user for good in the place of a wait. Anybody who knows usernames can then lock everybody out."`
}

// Headers are sent with each page of the realm. What is left out comes from
// hardening, and from Keycloak where hardening is off.
type Headers struct {
	ContentSecurityPolicy           string `json:"contentSecurityPolicy" doc:"Content-Security-Policy."`
	ContentSecurityPolicyReportOnly string `json:"contentSecurityPolicyReportOnly" doc:"Content-Security-Policy-Report-Only. Default: none."`
	FrameOptions                    string `json:"frameOptions" doc:"X-Frame-Options."`
	ContentTypeOptions              string `json:"contentTypeOptions" doc:"X-Content-Type-Options."`
	ReferrerPolicy                  string `json:"referrerPolicy" doc:"Referrer-Policy."`
	RobotsTag                       string `json:"robotsTag" doc:"X-Robots-Tag."`
	StrictTransportSecurity         string `json:"strictTransportSecurity" doc:"Strict-Transport-Security (RFC 6797)."`
	XSSProtection                   string `json:"xssProtection" doc:"X-XSS-Protection."`
}

// RequiredAction is something that people can be made to do at a login.
type RequiredAction struct {
	Alias    string `json:"alias" required:"true" doc:"Keycloak's alias of it, such as TERMS_AND_CONDITIONS or CONFIGURE_TOTP. Taken out of here it stays as it was: set it as you want to leave it first. Required."`
	Name     string `json:"name" doc:"Name that people see. Default: Keycloak's."`
	Enabled  *bool  `json:"enabled" default:"true" doc:"false: nobody can be made to do it."`
	Default  bool   `json:"default" doc:"Every new user must do it at the first login."`
	Priority int    `json:"priority" doc:"Lower ones come first. Default: Keycloak's."`
}
