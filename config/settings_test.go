package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each case names the key that the message must begin with, and a part of what it
// must say to do instead.
func TestRefusedSettings(t *testing.T) {
	const mail = `smtp: {host: mail.example.com, from: noreply@example.com, starttls: true}`
	for _, tt := range []struct{ name, text, want string }{
		{"mail without a host", `smtp: {from: a@example.com}`, "smtp.host: is missing"},
		{"mail without a sender", `smtp: {host: mail.example.com, ssl: true}`, "smtp.from: is missing"},
		{"host with a scheme", `smtp: {host: "smtp://mail.example.com", from: a@example.com, ssl: true}`, "smtp.host: \"smtp://mail.example.com\" is not the name"},
		{"host with a port", `smtp: {host: "mail.example.com:587", from: a@example.com, ssl: true}`, "smtp.host: "},
		{"port beyond TCP's", `smtp: {host: mail.example.com, from: a@example.com, ssl: true, port: 70000}`, "smtp.port: 70000: use 1 to 65535"},
		{"sender with a name", `smtp: {host: mail.example.com, from: "Models <a@example.com>", ssl: true}`, "smtp.from: \"Models <a@example.com>\" is not an email address"},
		{"reply to nobody", `smtp: {host: mail.example.com, from: a@example.com, replyTo: nobody, ssl: true}`, "smtp.replyTo: "},
		{"bounces to nobody", `smtp: {host: mail.example.com, from: a@example.com, envelopeFrom: nobody, ssl: true}`, "smtp.envelopeFrom: "},
		{"a header injected by a name (CWE-93)", `smtp: {host: mail.example.com, from: a@example.com, fromDisplayName: "a\r\nBcc: b@example.com", ssl: true}`, "smtp.fromDisplayName: holds a line break"},
		{"both kinds of TLS", `smtp: {host: mail.example.com, from: a@example.com, ssl: true, starttls: true}`, "smtp.starttls: ssl is TLS from the first byte"},
		{"password in the clear", `{smtp: {host: mail.example.com, from: a@example.com, user: u}, smtpPassword: p}`, "smtp.starttls: the password would cross the network in the clear"},
		{"user without a password", `smtp: {host: mail.example.com, from: a@example.com, user: u, ssl: true}`, "smtpPassword: is missing; run: pulumi config set --secret smtpPassword"},
		{"password without a user", `{smtp: {host: mail.example.com, from: a@example.com, ssl: true}, smtpPassword: p}`, "smtpPassword: nothing reads it: set smtp.user"},

		{"verified addresses without mail", `login: {verifyEmail: true}`, "login.verifyEmail: needs a mail server"},
		{"reset of passwords without mail", `login: {resetPassword: true}`, "login.resetPassword: needs a mail server"},
		{"one address of two people who sign in with it", `login: {duplicateEmails: true}`, "login.duplicateEmails: an address must be one user's"},
		{"one address of two people whose username it is", `login: {duplicateEmails: true, withEmail: false, emailAsUsername: true}`, "login.duplicateEmails: not beside emailAsUsername"},
		{"a username beside an address that is one", `{login: {emailAsUsername: true}, users: [{username: ada, email: ada@example.com, password: none}]}`, "users[0].username: \"ada\" is not the email address"},

		{"theme that is a path", `themes: {login: ../x}`, "themes.login: "},
		{"locale with an underscore", `locales: {supported: [pt_BR]}`, "locales.supported[0]: \"pt_BR\" is not a language tag (RFC 5646)"},
		{"locale twice", `locales: {supported: [en, en]}`, "locales.supported[1]: \"en\" is there twice"},
		{"default that is not supported", `locales: {supported: [en], default: de}`, "locales.default: \"de\" is not in locales.supported"},
		{"default without any", `locales: {default: de}`, "locales.default: \"de\" is not in locales.supported"},

		{"front end that is a realm", `frontendUrl: https://id.example.com/realms/x`, "frontendUrl: \"https://id.example.com/realms/x\": leave /realms out"},
		{"front end without TLS", `frontendUrl: http://id.example.com`, "frontendUrl: \"http://id.example.com\" is not encrypted"},
		{"front end on loopback where TLS is demanded from everybody", `{hardening: strict, frontendUrl: "http://127.0.0.1:8080"}`, "frontendUrl: \"http://127.0.0.1:8080\" is not encrypted, and Keycloak refuses it"},
		{"front end with a query", `frontendUrl: "https://id.example.com?x=1"`, "frontendUrl: \"https://id.example.com?x=1\": leave the query out"},

		{"attribute that a key sets", `realmAttributes: {frontendUrl: "https://x"}`, `realmAttributes["frontendUrl"]: is set by frontendUrl`},
		{"attribute that Keycloak keeps a header in", `realmAttributes: {_browser_header.xFrameOptions: ALLOW}`, `realmAttributes["_browser_header.xFrameOptions"]: is where Keycloak keeps a setting of its own`},
		{"empty attribute", `realmAttributes: {tenant: ""}`, `realmAttributes["tenant"]: is empty`},
		{"the marker of realms that may be replaced", `realmAttributes: {keycloak-model-api.local: "true"}`, `realmAttributes["keycloak-model-api.local"]: is where`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := parse(t, tt.text, false, nil)
			if err == nil || !strings.Contains(err.Error(), "\n"+tt.want) {
				t.Errorf("error is %v, want a line that begins with %q", err, tt.want)
			}
		})
	}
	t.Run("what is fine", func(t *testing.T) {
		_, warnings, err := parse(t, mail+"\n"+`
login: {verifyEmail: true, resetPassword: true}
locales: {supported: [en, pt-BR, zh-Hans], default: pt-BR}
themes: {login: keycloak.v2}
realmAttributes: {tenant: acme}
displayNameHtml: <b>x</b>
`, false, nil)
		if err != nil || slices.ContainsFunc(warnings, func(w string) bool { return !strings.HasPrefix(w, "clientSecrets") }) {
			t.Errorf("error %v, warnings %q", err, warnings)
		}
	})
}

func TestRefusedActionsAndEvents(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"registration with anybody's address", `login: {registration: true}`, "login.verifyEmail: people may register with anybody's address"},
		{"registration with anybody's address as username", `login: {registration: true, withEmail: false, emailAsUsername: true}`, "login.verifyEmail: people may register with anybody's address"},

		{"action without an alias", `requiredActions: [{default: true}]`, "requiredActions[0].alias: is missing"},
		{"action in lower case", `requiredActions: [{alias: verify_email}]`, `requiredActions[0].alias: "verify_email" is no required action of Keycloak; did you mean VERIFY_EMAIL?`},
		{"action twice", `requiredActions: [{alias: VERIFY_EMAIL}, {alias: VERIFY_EMAIL}]`, `requiredActions[1].alias: "VERIFY_EMAIL" is declared twice`},
		{"default that is off", `requiredActions: [{alias: TERMS_AND_CONDITIONS, enabled: false, default: true}]`, "requiredActions[0].default: nobody can be made"},
		{"negative priority", `requiredActions: [{alias: VERIFY_EMAIL, priority: -1}]`, "requiredActions[0].priority: -1"},

		{"event that Keycloak lacks", `events: {types: [LOGIN, LOGINERROR]}`, `events.types[1]: "LOGINERROR" is no login event of Keycloak`},
		{"event twice", `events: {types: [LOGIN, LOGIN]}`, `events.types[1]: "LOGIN" is there twice`},
		{"mail of events without mail", `events: {listeners: [email]}`, "events.listeners[0]: email needs a mail server"},
		{"types where no events are kept", `{hardening: "off", events: {types: [LOGIN]}}`, "events.types: no events are kept"},
		{"admin events for seven days, which Go does not know", `events: {keepAdminFor: 7d}`, `events.keepAdminFor: "7d" is not a duration`},
		{"attribute of admin events", `realmAttributes: {adminEventsExpiration: "60"}`, `realmAttributes["adminEventsExpiration"]: is set by events.keepAdminFor`},

		{"consent of nobody", "clients: [{clientId: api, kind: api, consentRequired: true}]", "clients[0].consentRequired: nobody is there to ask"},
		{"root that is none", "clients: [{clientId: api, kind: api, rootUrl: api}]", `clients[0].rootUrl: "api" is not an http or https URL`},
		{"offline for seven days, which Go does not know", "clients: [{clientId: api, kind: api, offlineIdle: 7d}]", `clients[0].offlineIdle: "7d" is not a duration`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := parse(t, tt.text, false, nil)
			if err == nil || !strings.Contains(err.Error(), "\n"+tt.want) {
				t.Errorf("error is %v, want a line that begins with %q", err, tt.want)
			}
		})
	}
	exempt := "{login: {registration: true}, exemptions: [{resource: example, rule: no-unverified-email-login, reason: Nobody trusts an address here.}]}"
	if _, _, err := parse(t, exempt, false, nil); err != nil {
		t.Errorf("an exempt realm: %v", err)
	}
}

func TestMailInTheClearWarns(t *testing.T) {
	_, warnings, err := parse(t, `smtp: {host: relay.internal, from: noreply@example.com}`, false, nil)
	if err != nil || !slices.ContainsFunc(warnings, func(w string) bool { return strings.HasPrefix(w, "smtp.starttls: mails, which hold links") }) {
		t.Errorf("error %v, warnings %q", err, warnings)
	}
}

// The password must stand encrypted in the stack file, and nothing prints it.
func TestSMTPPassword(t *testing.T) {
	const text = `{smtp: {host: mail.example.com, from: a@example.com, user: u, ssl: true}, smtpPassword: '{"json": 1}'}`
	_, _, err := parse(t, text, true, nil)
	if err == nil || !strings.Contains(err.Error(), "smtpPassword: is a plain secret: remove it, change the secret, and set it by: pulumi config set --secret smtpPassword") {
		t.Errorf("a plain password: %v", err)
	}
	cfg, _, err := parse(t, text, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.SMTPPassword != `{"json": 1}` {
		t.Errorf("a password that looks like JSON is %q", string(cfg.SMTPPassword))
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if printed := fmt.Sprintf(format, *cfg); strings.Contains(printed, "json") {
			t.Errorf("%s shows it: %s", format, printed)
		}
	}
}

func TestIssuerOfAFrontend(t *testing.T) {
	cfg, _, err := parse(t, `frontendUrl: https://models.example.com/auth/`, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Issuer(); got != "https://models.example.com/auth/realms/example" {
		t.Errorf("issuer is %s", got)
	}
}

func TestRefusedPolicies(t *testing.T) {
	const yubikey = "ee882879-721c-4913-9775-3dfcce97072a"
	for _, tt := range []struct{ name, text, want string }{
		{"rule of passwords that Keycloak lacks", `passwordPolicy: lenght(15)`, "passwordPolicy: there is no rule lenght; did you mean length?"},
		{"rules with a comma", `passwordPolicy: "length(15), digits(1)"`, "passwordPolicy: "},
		{"length that is none", `passwordPolicy: length(long)`, `passwordPolicy: "length(long)": write a number`},
		{"rule twice", `passwordPolicy: digits(1) and digits(2)`, "passwordPolicy: digits is there twice"},
		{"initial password shorter than the policy", `{passwordPolicy: length(20), users: [{username: ada, email: a@example.com, firstName: A, lastName: B}], initialPasswords: {ada: only-19-characters!}}`, `initialPasswords["ada"]: is too short`},

		{"codes by neither time nor counter", `otp: {type: sms}`, `otp.type: "sms" is none of totp, hotp`},
		{"hash that no app knows", `otp: {algorithm: MD5}`, `otp.algorithm: "MD5" is none of`},
		{"four digits", `otp: {digits: 4}`, `otp.digits: "4" is none of 6, 8`},
		{"period without unit", `otp: {period: "30"}`, `otp.period: "30" is not a duration`},
		{"counter of codes by time", `otp: {initialCounter: 5}`, "otp.initialCounter: nothing reads it for codes by time"},
		{"negative counter", `otp: {type: hotp, initialCounter: -1}`, "otp.initialCounter: -1"},
		{"look-ahead without end", `otp: {lookAhead: 1000}`, "otp.lookAhead: 1000: use 0 to 100"},

		{"relying party that is a URL", `webAuthn: {relyingPartyId: "https://example.com"}`, `webAuthn.relyingPartyId: "https://example.com" is not a domain`},
		{"relying party of another site (WebAuthn, 5.1.2)", `passkeys: {relyingPartyId: example.org}`, `passkeys.relyingPartyId: "example.org" is neither id.example.com nor a domain above it`},
		{"relying party whose name ends alike", `passkeys: {relyingPartyId: ample.com}`, `passkeys.relyingPartyId: "ample.com" is neither`},
		{"algorithm that WebAuthn lacks", `webAuthn: {algorithms: [HS256]}`, `webAuthn.algorithms[0]: "HS256" is none of`},
		{"algorithm twice", `passkeys: {algorithms: [ES256, ES256]}`, `passkeys.algorithms[1]: "ES256" is there twice`},
		{"SHA-1", `webAuthn: {algorithms: [RS1]}`, "webAuthn.algorithms[0]: RS1 rests on SHA-1"},
		{"AAGUID that is none", `webAuthn: {attestation: direct, aaguids: [yubikey]}`, `webAuthn.aaguids[0]: "yubikey" is not an AAGUID`},
		{"AAGUID that nobody proves", `webAuthn: {aaguids: [` + yubikey + `]}`, "webAuthn.aaguids: without a proof an authenticator can name any make"},
		{"no time to register", `webAuthn: {timeout: 1s}`, "webAuthn.timeout: 1s: use 30s to 10m"},
		{"passkey that is one factor", `passkeys: {userVerification: preferred}`, "passkeys.userVerification: a passkey that asks for no PIN or finger is one factor"},

		{"detection that is off and set", `bruteForce: {enabled: false, maxFailures: 3}`, "bruteForce.enabled: is false, so nothing reads"},
		{"no detection in strict", `{hardening: strict, bruteForce: {enabled: false}}`, "bruteForce.enabled: passwords can be guessed without end"},
		{"negative failures", `bruteForce: {maxFailures: -1}`, "bruteForce.maxFailures: -1: use 1 to 1000"},
		{"longest wait shorter than the first", `bruteForce: {maxWait: 30s}`, "bruteForce.maxWait: 30s is shorter than the first wait, 1m0s"},
		{"quick without unit", `bruteForce: {quickLoginCheck: "1000"}`, `bruteForce.quickLoginCheck: "1000": write milliseconds`},
		{"wait of half a second", `bruteForce: {quickLoginWait: 500ms}`, `bruteForce.quickLoginWait: "500ms" is not a duration`},

		{"response split by a header (CWE-113)", `headers: {frameOptions: "DENY\r\nSet-Cookie: x=1"}`, "headers.frameOptions: holds a line break"},
		{"no TLS at all", `sslRequired: none`, "sslRequired: none lets passwords and tokens cross"},
		{"TLS for some", `sslRequired: most`, `sslRequired: "most" is none of all, external, none`},
		{"remembered longer in idleness than in all", `{login: {rememberMe: true}, lifetimes: {rememberMeIdle: 2h, rememberMeMax: 1h}}`, "lifetimes.rememberMeIdle: 2h0m0s is longer than lifetimes.rememberMeMax, 1h0m0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := parse(t, tt.text, false, nil)
			if err == nil || !strings.Contains(err.Error(), "\n"+tt.want) {
				t.Errorf("error is %v, want a line that begins with %q", err, tt.want)
			}
		})
	}
	_, warnings, err := parse(t, "bruteForce: {permanent: true}", false, nil)
	if err != nil || !slices.ContainsFunc(warnings, func(w string) bool {
		return strings.HasPrefix(w, "bruteForce.permanent: anybody who knows usernames can lock everybody out")
	}) {
		t.Errorf("a lock for good: error %v, warnings %q", err, warnings)
	}
}

// What the configuration says lies over the level, and the rest of the level stays.
func TestLevelWithSettings(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		ok         func(*Config) bool
	}{
		{"one value of the detection", `bruteForce: {maxFailures: 3}`, func(c *Config) bool {
			b := c.Level().BruteForce
			return b.MaxLoginFailures == 3 && b.MaxFailureWait == 15*time.Minute && !b.PermanentLockout
		}},
		{"the level itself is not changed", `{hardening: strict}`, func(c *Config) bool { return c.Level().BruteForce.MaxLoginFailures == 5 }},
		{"detection without a level", `{hardening: "off", bruteForce: {enabled: true}}`, func(c *Config) bool {
			return c.Level().BruteForce.MaxLoginFailures == 30 && c.Level().Headers == nil
		}},
		{"no detection", `bruteForce: {enabled: false}`, func(c *Config) bool { return c.Level().BruteForce == nil }},
		{"one header", `headers: {frameOptions: DENY}`, func(c *Config) bool {
			h := c.Level().Headers
			return h.FrameOptions == "DENY" && h.ReferrerPolicy == "no-referrer"
		}},
		{"rules for passwords", `passwordPolicy: notUsername and length(20) and regexPattern(^[^ ]+$)`, func(c *Config) bool {
			return c.Level().PasswordLength == 20 && c.Level().PasswordPolicy == "notUsername and regexPattern(^[^ ]+$)"
		}},
		{"TLS from everybody, in dev too", `{environment: dev, sslRequired: all}`, func(c *Config) bool { return c.Level().SSLRequired == "all" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _, err := parse(t, tt.text, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !tt.ok(cfg) {
				t.Errorf("level is %+v, %+v, %+v", cfg.Level(), cfg.Level().BruteForce, cfg.Level().Headers)
			}
		})
	}
}

// What a login can't confuse may be the same.
func TestAddressesThatAreNoLogin(t *testing.T) {
	const users = "users: [{username: ada, password: none, email: team@example.com}, {username: team@example.com, password: none, email: team@example.com}]"
	if _, _, err := parse(t, "login: {withEmail: false, duplicateEmails: true}\n"+users, false, nil); err != nil {
		t.Errorf("one address of two people where it is no login: %v", err)
	}
	_, _, err := parse(t, users, false, nil)
	for _, want := range []string{`users[0].email: "team@example.com" is the username of another user`, `users[1].email: "team@example.com" belongs to two users`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("where it is a login the error is %v, want %q", err, want)
		}
	}
}
