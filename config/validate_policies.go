package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// policies checks what Keycloak asks of passwords, codes and keys of people.
func (c *checker) policies() {
	c.passwordPolicy()
	c.otp()
	c.webAuthn("webAuthn", c.cfg.WebAuthn)
	c.webAuthn("passkeys", c.cfg.Passkeys)
	c.passkeyVerification()
	c.bruteForce()
	c.headers()
	if c.cfg.SSLRequired == "none" {
		c.refusef("sslRequired", "none lets passwords and tokens cross the network in the clear: write external or all")
	}
}

// passwordRules are those that Keycloak has. A server may have more.
var passwordRules = []string{
	"digits", "forceExpiredPasswordChange", "hashAlgorithm", "hashIterations", "length", "lowerCase", "maxAuthAge", "maxLength",
	"notContainsUsername", "notEmail", "notUsername", "passwordAge", "passwordBlacklist", "passwordHistory",
	"recoveryCodesWarningThreshold", "regexPattern", "specialChars", "upperCase",
}

func (c *checker) passwordPolicy() {
	if c.cfg.PasswordPolicy == "" {
		return
	}
	seen := map[string]bool{}
	for rule := range strings.SplitSeq(c.cfg.PasswordPolicy, " and ") {
		m := passwordRule.FindStringSubmatch(strings.TrimSpace(rule))
		if m == nil {
			c.errorf("passwordPolicy", "%q is not a rule: write rules such as length(15) with the word and between them", rule)
			continue
		}
		if !slices.Contains(passwordRules, m[1]) {
			if meant := nearest(m[1], passwordRules); meant != "" {
				c.errorf("passwordPolicy", "there is no rule %s; did you mean %s?", m[1], meant)
			}
		}
		if n, err := strconv.Atoi(m[2]); m[1] == "length" && m[2] != "" && (err != nil || n < 1) {
			c.errorf("passwordPolicy", "%q: write a number of characters", rule)
		}
		if seen[m[1]] {
			c.errorf("passwordPolicy", "%s is there twice", m[1])
		}
		seen[m[1]] = true
	}
}

func (c *checker) otp() {
	o := c.cfg.OTP
	c.duration("otp.period", o.Period)
	if o.InitialCounter < 0 {
		c.errorf("otp.initialCounter", "%d: use 0 or more", o.InitialCounter)
	}
	if o.LookAhead != nil && (*o.LookAhead < 0 || *o.LookAhead > 100) {
		c.errorf("otp.lookAhead", "%d: use 0 to 100", *o.LookAhead)
	}
	if o.Type == "totp" && o.InitialCounter > 0 {
		c.errorf("otp.initialCounter", "nothing reads it for codes by time: leave it out, or set type to hotp")
	}
}

var (
	aaguid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	domain = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	// webAuthnAlgorithms are those that Keycloak offers.
	webAuthnAlgorithms = []string{"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "RS1", "Ed25519"}
)

func (c *checker) webAuthn(key string, w WebAuthn) {
	if w.RelyingPartyID != "" && !domain.MatchString(w.RelyingPartyID) {
		c.errorf(key+".relyingPartyId", "%q is not a domain: write one such as example.com, without scheme and port", w.RelyingPartyID)
	} else if host := issuerHost(c.cfg.Issuer()); w.RelyingPartyID != "" && host != w.RelyingPartyID &&
		!strings.HasSuffix(host, "."+w.RelyingPartyID) {
		c.refusef(key+".relyingPartyId", "%q is neither %s nor a domain above it, so browsers refuse it (WebAuthn, 5.1.2)",
			w.RelyingPartyID, host)
	}
	for i, a := range w.Algorithms {
		if !slices.Contains(webAuthnAlgorithms, a) {
			c.errorf(fmt.Sprintf("%s.algorithms[%d]", key, i), "%s", noneOf(a, webAuthnAlgorithms))
		} else if a == "RS1" {
			c.refusef(fmt.Sprintf("%s.algorithms[%d]", key, i), "RS1 rests on SHA-1, which is broken: leave it out")
		}
	}
	c.twice(key+".algorithms", w.Algorithms)
	for i, a := range w.AAGUIDs {
		if !aaguid.MatchString(a) {
			c.errorf(fmt.Sprintf("%s.aaguids[%d]", key, i), "%q is not an AAGUID: write 8-4-4-4-12 hexadecimal digits in lower case", a)
		}
	}
	c.twice(key+".aaguids", w.AAGUIDs)
	if len(w.AAGUIDs) > 0 && (w.Attestation == "" || w.Attestation == "none") {
		c.errorf(key+".aaguids", "without a proof an authenticator can name any make: set attestation to direct, or leave it out")
	}
	if d := c.duration(key+".timeout", w.Timeout); d != 0 && (d < 30*time.Second || d > 10*time.Minute) {
		c.errorf(key+".timeout", "%s: use 30s to 10m (WebAuthn, 5.4)", w.Timeout)
	}
}

// passkeyVerification asks that a passkey, which stands in the place of a password,
// is two factors. Where a sign-in takes it for two, dev is no excuse.
func (c *checker) passkeyVerification() {
	if v := c.cfg.Passkeys.UserVerification; v == "" || v == "required" {
		return
	}
	refuse := c.refusef
	if s := &c.cfg.SignIn; s.Flows() && s.Passkeys {
		refuse = c.errorf
	}
	refuse("passkeys.userVerification", "a passkey that asks for no PIN or finger is one factor, which whoever holds the device has: "+
		"write required, or leave it out")
}

func issuerHost(issuer string) string {
	_, rest, _ := strings.Cut(issuer, "://")
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, ":")
	return host
}

func (c *checker) bruteForce() {
	b := c.cfg.BruteForce
	if isFalse(b.Enabled) {
		if rest := (BruteForce{Enabled: b.Enabled}); b != rest {
			c.errorf("bruteForce.enabled", "is false, so nothing reads the other keys of bruteForce: leave them out")
		}
		c.unless(c.cfg.Hardening == "strict", "bruteForce.enabled",
			"passwords can be guessed without end (NIST SP 800-63B, 5.2.2): leave it out")
		return
	}
	if b.MaxFailures < 0 || b.MaxFailures > 1000 {
		c.errorf("bruteForce.maxFailures", "%d: use 1 to 1000", b.MaxFailures)
	}
	c.duration("bruteForce.waitIncrement", b.WaitIncrement)
	c.duration("bruteForce.maxWait", b.MaxWait)
	c.duration("bruteForce.resetAfter", b.ResetAfter)
	c.duration("bruteForce.quickLoginWait", b.QuickLoginWait)
	if d, err := time.ParseDuration(b.QuickLoginCheck); b.QuickLoginCheck != "" && (err != nil || d <= 0 || d > time.Hour ||
		d%time.Millisecond != 0) {
		c.errorf("bruteForce.quickLoginCheck", "%q: write milliseconds or seconds such as 500ms or 1s", b.QuickLoginCheck)
	}
	level := c.cfg.Level().BruteForce
	if level == nil {
		return
	}
	if level.WaitIncrement > level.MaxFailureWait {
		c.errorf("bruteForce.maxWait", "%s is shorter than the first wait, %s", level.MaxFailureWait, level.WaitIncrement)
	}
	if level.PermanentLockout {
		c.warnf("bruteForce.permanent", "anybody who knows usernames can lock everybody out, administrators of the realm included, "+
			"until somebody unlocks each")
	}
}

func (c *checker) headers() {
	h := c.cfg.Headers
	for _, header := range []struct{ key, value string }{
		{"contentSecurityPolicy", h.ContentSecurityPolicy}, {"contentSecurityPolicyReportOnly", h.ContentSecurityPolicyReportOnly},
		{"frameOptions", h.FrameOptions}, {"contentTypeOptions", h.ContentTypeOptions}, {"referrerPolicy", h.ReferrerPolicy},
		{"robotsTag", h.RobotsTag}, {"strictTransportSecurity", h.StrictTransportSecurity}, {"xssProtection", h.XSSProtection},
	} {
		if strings.ContainsAny(header.value, "\r\n\x00") {
			c.errorf("headers."+header.key, "holds a line break, which would begin another header (CWE-113)")
		}
	}
}

func isFalse(p *bool) bool { return p != nil && !*p }
