package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"keycloak-model-api/guardrails"
)

// settings checks what the realm as a whole is told.
func (c *checker) settings() {
	c.frontendURL()
	c.text("displayNameHtml", c.cfg.DisplayNameHTML)
	c.smtp()
	c.login()
	for _, t := range []struct{ key, name string }{
		{"login", c.cfg.Themes.Login}, {"account", c.cfg.Themes.Account},
		{"admin", c.cfg.Themes.Admin}, {"email", c.cfg.Themes.Email},
	} {
		c.name("themes."+t.key, t.name)
	}
	c.locales()
	c.realmAttributes()
	c.requiredActions()
}

func (c *checker) frontendURL() {
	text := c.cfg.FrontendURL
	if text == "" || !c.httpURL("frontendUrl", text) {
		return
	}
	if strings.Contains(text, "/realms") {
		c.errorf("frontendUrl", "%q: leave /realms out", text)
	}
	if u, _ := url.Parse(text); u.RawQuery != "" {
		c.errorf("frontendUrl", "%q: leave the query out", text)
	}
	if strings.HasPrefix(text, "http:") && c.cfg.Level().SSLRequired == "all" {
		c.errorf("frontendUrl", "%q is not encrypted, and Keycloak refuses it where hardening demands TLS from everybody: use https", text)
		return
	}
	c.plainHTTP("frontendUrl", text)
}

var (
	hostName   = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]+)$`)
	localeName = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z]{4})?(-([A-Z]{2}|[0-9]{3}))?$`) // RFC 5646: language, script, region
)

func (c *checker) smtp() {
	s := c.cfg.SMTP
	if s.Host == "" {
		if s != (SMTP{}) {
			c.errorf("smtp.host", "is missing: name the mail server, or leave smtp out")
		}
		if c.cfg.SMTPPassword != "" {
			c.warnf("smtpPassword", "nothing reads it without smtp")
		}
		return
	}
	if !hostName.MatchString(s.Host) {
		c.errorf("smtp.host", "%q is not the name or address of a host: leave scheme and port out", s.Host)
	}
	if s.Port < 0 || s.Port > 65535 {
		c.errorf("smtp.port", "%d: use 1 to 65535", s.Port)
	}
	if s.From == "" {
		c.errorf("smtp.from", "is missing: set the address that mails come from")
	}
	for _, a := range []struct{ key, address string }{{"from", s.From}, {"replyTo", s.ReplyTo}, {"envelopeFrom", s.EnvelopeFrom}} {
		if parsed, err := mail.ParseAddress(a.address); a.address != "" && (err != nil || parsed.Address != a.address) {
			c.errorf("smtp."+a.key, "%q is not an email address: names stand in fromDisplayName and replyToDisplayName", a.address)
		}
	}
	for _, n := range []struct{ key, name string }{{"fromDisplayName", s.FromDisplayName}, {"replyToDisplayName", s.ReplyToDisplayName}} {
		if strings.ContainsAny(n.name, "\r\n") {
			c.errorf("smtp."+n.key, "holds a line break")
		}
	}
	if s.SSL && s.StartTLS {
		c.errorf("smtp.starttls", "ssl is TLS from the first byte: leave one of them out")
	}
	c.smtpPassword(s)
}

func (c *checker) smtpPassword(s SMTP) {
	clear := !s.SSL && !s.StartTLS && !loopback(s.Host)
	switch {
	case s.User == "" && c.cfg.SMTPPassword != "":
		c.errorf("smtpPassword", "nothing reads it: set smtp.user, or remove it")
	case s.User != "" && c.cfg.SMTPPassword == "":
		c.errorf("smtpPassword", "is missing; run: pulumi config set --secret smtpPassword (or leave smtp.user out)")
	case s.User != "" && clear:
		c.unless(c.cfg.Level().RefusePlainHTTP, "smtp.starttls", "the password would cross the network in the clear: set ssl or starttls")
	case clear:
		c.warnf("smtp.starttls", "mails, which hold links that reset passwords, cross the network in the clear: set ssl or starttls")
	}
}

// login refuses what Keycloak or the provider would refuse, and what would lock
// people out.
func (c *checker) login() {
	l := c.cfg.Login
	if l.DuplicateEmails && l.WithEmail {
		c.errorf("login.duplicateEmails", "an address must be one user's to sign in with: set withEmail to false")
	}
	if l.DuplicateEmails && l.EmailAsUsername {
		c.errorf("login.duplicateEmails", "not beside emailAsUsername: leave one of them out")
	}
	for _, m := range []struct {
		key string
		on  bool
	}{{"verifyEmail", l.VerifyEmail}, {"resetPassword", l.ResetPassword}} {
		if m.on && c.cfg.SMTP.Host == "" {
			c.errorf("login."+m.key, "needs a mail server, or who asks for the mail gets an error: set smtp")
		}
	}
	if l.Registration && !l.VerifyEmail && (l.WithEmail || l.EmailAsUsername) {
		c.refuseUnlessExempt(c.cfg.Realm, guardrails.UnverifiedEmailLogin, "login.verifyEmail",
			"people may register with anybody's address and then sign in by it: set it to true, or withEmail to false, or add an "+
				"exemption from "+guardrails.UnverifiedEmailLogin)
	}
	if l.EmailAsUsername {
		for i := range c.cfg.Users {
			if u := &c.cfg.Users[i]; u.Email != u.Username {
				c.errorf(c.userPath[i]+".username", "%q is not the email address, and login.emailAsUsername makes it so: write the "+
					"address as both", u.Username)
			}
		}
	}
}

func (c *checker) locales() {
	l := c.cfg.Locales
	for i, name := range l.Supported {
		if !localeName.MatchString(name) {
			c.errorf(fmt.Sprintf("locales.supported[%d]", i),
				"%q is not a language tag (RFC 5646): write one such as en, de, pt-BR or zh-Hans", name)
		}
	}
	c.twice("locales.supported", l.Supported)
	if l.Default != "" && !slices.Contains(l.Supported, l.Default) {
		c.errorf("locales.default", "%q is not in locales.supported: add it", l.Default)
	}
}

// StackAttribute is the attribute by which a realm says whose it is: PROJECT/STACK. A
// realm that is left behind when the stack's key realm changes is found by it.
const StackAttribute = "keycloak-model-api.stack"

// ownAttributes are the attributes of a realm that Keycloak keeps its own settings
// in, with the key that sets them, if one does.
var ownAttributes = map[string]string{
	"adminEventsExpiration":               "events.keepAdminFor",
	"frontendUrl":                         "frontendUrl",
	"displayName":                         "displayName",
	"displayNameHtml":                     "displayNameHtml",
	"bruteForceProtected":                 "hardening",
	"permanentLockout":                    "hardening",
	"clientSessionIdleTimeout":            "lifetimes.clientSessionIdle",
	"clientSessionMaxLifespan":            "lifetimes.clientSessionMax",
	"clientOfflineSessionIdleTimeout":     "lifetimes.offlineIdle",
	"clientOfflineSessionMaxLifespan":     "lifetimes.offlineMax",
	"offlineSessionMaxLifespan":           "lifetimes.offlineMax",
	"offlineSessionMaxLifespanEnabled":    "lifetimes.offlineMax",
	"oauth2DeviceCodeLifespan":            "lifetimes.deviceCode",
	"oauth2DevicePollingInterval":         "",
	"actionTokenGeneratedByUserLifespan":  "",
	"actionTokenGeneratedByAdminLifespan": "",
	"defaultSignatureAlgorithm":           "signingKeys",
	"keycloak-model-api.local":            "",
	StackAttribute:                        "",
}

// builtInActions are the required actions of Keycloak with the names and priorities
// of a new realm.
var builtInActions = map[string]RequiredAction{
	"CONFIGURE_RECOVERY_AUTHN_CODES": {Name: "Recovery Authentication Codes", Priority: 130},
	"CONFIGURE_TOTP":                 {Name: "Configure OTP", Priority: 54},
	"TERMS_AND_CONDITIONS":           {Name: "Terms and Conditions", Priority: 20},
	"UPDATE_EMAIL":                   {Name: "Update Email", Priority: 70},
	"UPDATE_PASSWORD":                {Name: "Update Password", Priority: 57},
	"UPDATE_PROFILE":                 {Name: "Update Profile", Priority: 40},
	"VERIFY_EMAIL":                   {Name: "Verify Email", Priority: 50},
	"VERIFY_PROFILE":                 {Name: "Verify Profile", Priority: 100},
	"delete_account":                 {Name: "Delete Account", Priority: 60},
	"delete_credential":              {Name: "Delete Credential", Priority: 110},
	"idp_link":                       {Name: "Linking Identity Provider", Priority: 120},
	"update_user_locale":             {Name: "Update User Locale", Priority: 1000},
	"webauthn-register":              {Name: "Webauthn Register", Priority: 80},
	"webauthn-register-passwordless": {Name: "Webauthn Register Passwordless", Priority: 90},
}

// WithDefaults returns the action with Keycloak's name and priority where it leaves
// them out.
func (a RequiredAction) WithDefaults() RequiredAction {
	own := builtInActions[a.Alias]
	a.Name = cmp.Or(a.Name, own.Name, a.Alias)
	a.Priority = cmp.Or(a.Priority, own.Priority, 1000)
	return a
}

func (c *checker) requiredActions() {
	seen := map[string]bool{}
	for i, a := range c.cfg.RequiredActions {
		path := fmt.Sprintf("requiredActions[%d]", i)
		if a.Alias != "" && !actionName.MatchString(a.Alias) {
			c.errorf(path+".alias", "%q is not a required action: write one such as CONFIGURE_TOTP, UPDATE_PROFILE or VERIFY_EMAIL",
				a.Alias)
		} else if _, known := builtInActions[a.Alias]; !known {
			if meant := nearest(a.Alias, slices.Sorted(maps.Keys(builtInActions))); meant != "" {
				c.errorf(path+".alias", "%q is no required action of Keycloak; did you mean %s?", a.Alias, meant)
			}
		}
		if seen[a.Alias] {
			c.errorf(path+".alias", "%q is declared twice", a.Alias)
		}
		seen[a.Alias] = true
		c.text(path+".name", a.Name)
		if a.Default && isFalse(a.Enabled) {
			c.errorf(path+".default", "nobody can be made to do what is not enabled: set enabled, or leave it out")
		}
		if isFalse(a.Enabled) && slices.Contains(c.cfg.SignIn.actions(), a.Alias) {
			c.errorf(path+".enabled", "people set up a factor of signIn by it: leave enabled out, or take the factor out of signIn")
		}
		if a.Priority < 0 {
			c.errorf(path+".priority", "%d: use 1 or more", a.Priority)
		}
	}
}

func (c *checker) realmAttributes() {
	for _, name := range slices.Sorted(maps.Keys(c.cfg.RealmAttributes)) {
		path, value := fmt.Sprintf("realmAttributes[%q]", name), c.cfg.RealmAttributes[name]
		key, own := ownAttributes[name]
		switch {
		case own && key != "":
			c.errorf(path, "is set by %s: leave it out here", key)
		case own || strings.HasPrefix(name, "_browser_header.") || strings.HasPrefix(name, "webAuthnPolicy"):
			c.errorf(path, "is where Keycloak keeps a setting of its own: leave it out")
		case len(name) > 255:
			c.errorf(path, "has a name of %d characters: Keycloak keeps 255 at most", len(name))
		case value == "":
			c.errorf(path, "is empty, which Keycloak does not keep: leave it out")
		}
	}
}
