package config

import (
	"fmt"
	"maps"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
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
	if l.EmailAsUsername {
		for i := range c.cfg.Users {
			if u := &c.cfg.Users[i]; u.Email != u.Username {
				c.errorf(c.userPath[i]+".username", "%q is not the email address, and login.emailAsUsername makes it so: write the address as both", u.Username)
			}
		}
	}
}

func (c *checker) locales() {
	l := c.cfg.Locales
	for i, name := range l.Supported {
		if !localeName.MatchString(name) {
			c.errorf(fmt.Sprintf("locales.supported[%d]", i), "%q is not a language tag (RFC 5646): write one such as en, de, pt-BR or zh-Hans", name)
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
