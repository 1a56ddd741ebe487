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
	// Name or address of the mail server. Without it the realm sends no mail.
	Host string `json:"host"`
	// Port. Default: 465 with ssl, 587 with starttls, otherwise 25.
	Port int `json:"port"`
	// Address that mails come from. Required with host.
	From string `json:"from"`
	// Name beside it.
	FromDisplayName string `json:"fromDisplayName"`
	// Address that answers go to. Default: from.
	ReplyTo string `json:"replyTo"`
	// Name beside it.
	ReplyToDisplayName string `json:"replyToDisplayName"`
	// Address that bounces go to. Default: from.
	EnvelopeFrom string `json:"envelopeFrom"`
	// Upgrade the connection by STARTTLS. Keycloak goes on in the clear where none is offered, so
	// prefer ssl: somebody on the way can hide the offer.
	StartTLS bool `json:"starttls"`
	// TLS from the first byte (RFC 8314, 3).
	SSL bool `json:"ssl"`
	// User to authenticate as; the password stands in smtpPassword.
	User string `json:"user"`
}

// Login says how people sign in and what they may do to their account.
type Login struct {
	// People may register themselves.
	Registration bool `json:"registration"`
	// The email address is the username.
	EmailAsUsername bool `json:"emailAsUsername"`
	// People may sign in with their email address in the place of their username.
	WithEmail bool `json:"withEmail" default:"true"`
	// Several users may have one email address. Not beside withEmail or emailAsUsername.
	DuplicateEmails bool `json:"duplicateEmails"`
	// Offer to stay signed in when the browser closes.
	RememberMe bool `json:"rememberMe"`
	// Who signs in must have verified their address by a mail. Needs smtp.
	VerifyEmail bool `json:"verifyEmail"`
	// Offer to reset a forgotten password by a mail. Needs smtp.
	ResetPassword bool `json:"resetPassword"`
	// People may change their username.
	EditUsername bool `json:"editUsername"`
	// People may share resources of theirs (UMA 2.0).
	UserManagedAccess bool `json:"userManagedAccess"`
}

// Themes are themes that the server has. One that is left out is the server's
// default.
type Themes struct {
	// Pages of a login. Once set it can only be changed, not taken out: the provider then leaves
	// Keycloak's value as it is. Keycloak's own is keycloak.v2.
	Login string `json:"login"`
	// Account console. Like login; Keycloak's own is keycloak.v3.
	Account string `json:"account"`
	// Admin console. Like login; Keycloak's own is keycloak.v2.
	Admin string `json:"admin"`
	// Mails. Like login; Keycloak's own is keycloak.
	Email string `json:"email"`
}

// Locales turn internationalization on.
type Locales struct {
	// Languages of pages and mails, such as en, de or pt-BR. Empty: English only, and no choice.
	Supported []string `json:"supported"`
	// The one for who asks for no other. Default: the first of supported.
	Default string `json:"default"`
}

// OTP is the policy of one-time passwords (RFC 6238, RFC 4226).
type OTP struct {
	// By time or by counter.
	Type string `json:"type" enum:"totp,hotp" default:"totp"`
	// Hash. Many apps know the default only, and then show wrong codes.
	Algorithm string `json:"algorithm" enum:"HmacSHA1,HmacSHA256,HmacSHA512" default:"HmacSHA1"`
	// Digits of a code.
	Digits int `json:"digits" enum:"6,8" default:"6"`
	// How long a code by time is good.
	Period string `json:"period" default:"30s"`
	// First value of a counter.
	InitialCounter int `json:"initialCounter"`
	// How many periods a clock, or steps a counter, may be off.
	LookAhead *int `json:"lookAhead" default:"1"`
}

// WebAuthn is the policy of security keys, or that of passkeys.
type WebAuthn struct {
	// Name that people see when they register one.
	RelyingPartyName string `json:"relyingPartyName" default:"keycloak"`
	// Domain that they are good for: Keycloak's, or one above it. Default: Keycloak's host. A change
	// makes those that are registered useless.
	RelyingPartyID string `json:"relyingPartyId"`
	// Signature algorithms, such as ES256, Ed25519 or RS256. Default: ES256, RS256.
	Algorithms []string `json:"algorithms"`
	// What the authenticator must prove of its make. Default: the browser's, none.
	Attestation string `json:"attestation" enum:"none,indirect,direct,enterprise"`
	// Built into the device, or apart from it. Default: either.
	Attachment string `json:"attachment" enum:"platform,cross-platform"`
	// Whether the authenticator must keep the key itself, so that no username is needed. Default: for
	// webAuthn the browser's choice, for passkeys it must.
	ResidentKey *bool `json:"residentKey"`
	// Whether the authenticator must ask for a PIN or a finger. Default: for webAuthn the browser's
	// choice, for passkeys required.
	UserVerification string `json:"userVerification" enum:"required,preferred,discouraged"`
	// How long a person has to register one, 30s to 10m. Default: the browser's.
	Timeout string `json:"timeout"`
	// Refuse an authenticator that the person has registered before.
	AvoidSameAuthenticator bool `json:"avoidSameAuthenticator"`
	// Makes of authenticator that may be registered, by AAGUID. Needs attestation. Default: all.
	AAGUIDs []string `json:"aaguids"`
}

// BruteForce is what happens to who guesses passwords. What is left out comes from
// hardening, and from Keycloak where hardening is off.
type BruteForce struct {
	// Notice failures at all. Default: by hardening; true where another key of bruteForce is set.
	Enabled *bool `json:"enabled"`
	// Failures before a user has to wait, or is locked.
	MaxFailures int `json:"maxFailures"`
	// First wait, and how much longer each further one is.
	WaitIncrement string `json:"waitIncrement"`
	// Longest wait.
	MaxWait string `json:"maxWait"`
	// When failures are forgotten.
	ResetAfter string `json:"resetAfter"`
	// Two failures within this time are a program's, such as 500ms.
	QuickLoginCheck string `json:"quickLoginCheck"`
	// Shortest wait after such two.
	QuickLoginWait string `json:"quickLoginWait"`
	// Lock the user for good in the place of a wait. Anybody who knows usernames can then lock
	// everybody out.
	Permanent bool `json:"permanent"`
}

// Headers are sent with each page of the realm. What is left out comes from
// hardening, and from Keycloak where hardening is off.
type Headers struct {
	// Content-Security-Policy.
	ContentSecurityPolicy string `json:"contentSecurityPolicy"`
	// Content-Security-Policy-Report-Only. Default: none.
	ContentSecurityPolicyReportOnly string `json:"contentSecurityPolicyReportOnly"`
	// X-Frame-Options.
	FrameOptions string `json:"frameOptions"`
	// X-Content-Type-Options.
	ContentTypeOptions string `json:"contentTypeOptions"`
	// Referrer-Policy.
	ReferrerPolicy string `json:"referrerPolicy"`
	// X-Robots-Tag.
	RobotsTag string `json:"robotsTag"`
	// Strict-Transport-Security (RFC 6797).
	StrictTransportSecurity string `json:"strictTransportSecurity"`
	// X-XSS-Protection.
	XSSProtection string `json:"xssProtection"`
}

// RequiredAction is something that people can be made to do at a login.
type RequiredAction struct {
	// Keycloak's alias of it, such as TERMS_AND_CONDITIONS or CONFIGURE_TOTP. Taken out of here it
	// stays as it was: set it as you want to leave it first. Required.
	Alias string `json:"alias" required:"true"`
	// Name that people see. Default: Keycloak's.
	Name string `json:"name"`
	// false: nobody can be made to do it.
	Enabled *bool `json:"enabled" default:"true"`
	// Every new user must do it at the first login.
	Default bool `json:"default"`
	// Lower ones come first. Default: Keycloak's.
	Priority int `json:"priority"`
}
