// Gen writes the tables of docs/hardening.md from the levels of hardening.
//
//	go generate ./hardening
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"keycloak-model-api/hardening"
)

// document is the file from the folder hardening.
const document = "../docs/hardening.md"

func main() {
	if err := run(document); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("gen: %w", err)
	}
	text, err = fill(text)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("gen: %w", err)
	}
	return nil
}

// fill replaces what stands between the markers.
func fill(text []byte) ([]byte, error) {
	for _, table := range []struct {
		name string
		rows []row
	}{{"realm", realmRows}, {"clients", clientRows}} {
		begin, end := []byte("<!-- "+table.name+" -->\n"), []byte("<!-- end of "+table.name+" -->")
		before, rest, ok := bytes.Cut(text, begin)
		_, after, closed := bytes.Cut(rest, end)
		if !ok || !closed {
			return nil, fmt.Errorf("gen: the markers of the table %s are missing", table.name)
		}
		text = bytes.Join([][]byte{before, begin, []byte(markdown(table.rows)), end, after}, nil)
	}
	return text, nil
}

// row is one line of a table. Field is the field of hardening.Level that it shows.
type row struct {
	field, setting string
	value          func(hardening.Level) string
	source         string
}

var realmRows = []row{
	{"AccessToken", "access token", func(l hardening.Level) string { return duration(l.AccessToken) }, "RFC 6750, 5.3; Keycloak, Session and token timeouts"},
	{"SSOIdle", "session without activity, and its refresh tokens", func(l hardening.Level) string { return duration(l.SSOIdle) }, "NIST SP 800-63B, 4.2.3 and 4.3.3: 30 and 15 minutes"},
	{"SSOMax", "session in all", func(l hardening.Level) string { return duration(l.SSOMax) }, "NIST SP 800-63B, 4.2.3: 12 hours at most"},
	{"OfflineIdle", "offline session without activity", func(l hardening.Level) string { return duration(l.OfflineIdle) }, "RFC 9700, 4.14.2; Keycloak, Offline access"},
	{"OfflineMax", "offline session in all", func(l hardening.Level) string {
		if l.OfflineMax == 0 {
			return "no bound"
		}
		return duration(l.OfflineMax)
	}, "RFC 9700, 4.14.2; Keycloak, Offline access"},
	{"RotateRefresh", "a refresh token is good for one use", func(l hardening.Level) string { return yes(l.RotateRefresh) }, "RFC 9700, 2.2.2 and 4.14.2"},
	{"AuthorizationCode", "authorization code", func(l hardening.Level) string { return duration(l.AuthorizationCode) }, "RFC 6749, 4.1.2"},
	{"DeviceCode", "device code", func(l hardening.Level) string { return duration(l.DeviceCode) }, "RFC 8628, 5.1 and 5.2"},
	{"PasswordLength", "shortest password", func(l hardening.Level) string {
		if l.PasswordLength == 0 {
			return "any"
		}
		return fmt.Sprintf("%d characters", l.PasswordLength)
	}, "NIST SP 800-63B-4, 3.1.1.2: 15 where it is the only factor"},
	{"PasswordPolicy", "further rules for passwords", func(l hardening.Level) string {
		if l.PasswordPolicy == "" {
			return "none"
		}
		return "`" + strings.ReplaceAll(l.PasswordPolicy, " and ", "`, `") + "`"
	}, "Keycloak, Password policies"},
	{"BruteForce", "wrong passwords before a pause", func(l hardening.Level) string {
		return bruteForce(l, func(b *hardening.BruteForce) string { return fmt.Sprint(b.MaxLoginFailures) })
	}, "Keycloak, Brute force attacks; NIST SP 800-63B, 5.2.2"},
	{"BruteForce", "first pause, longest pause", func(l hardening.Level) string {
		return bruteForce(l, func(b *hardening.BruteForce) string {
			return duration(b.WaitIncrement) + ", " + duration(b.MaxFailureWait)
		})
	}, "the same"},
	{"BruteForce", "failures are forgotten after", func(l hardening.Level) string {
		return bruteForce(l, func(b *hardening.BruteForce) string { return duration(b.FailureReset) })
	}, "the same"},
	{"BruteForce", "pause after two failures within a second", func(l hardening.Level) string {
		return bruteForce(l, func(b *hardening.BruteForce) string { return duration(b.MinimumQuickLogin) })
	}, "the same"},
	{"BruteForce", "locked for good after that", func(l hardening.Level) string {
		return bruteForce(l, func(b *hardening.BruteForce) string { return yes(b.PermanentLockout) })
	}, "the same: a lock for good lets anybody lock anybody out"},
	{"SSLRequired", "TLS required from", func(l hardening.Level) string {
		return map[string]string{"": "all but private addresses", "external": "all but private addresses", "all": "everybody"}[l.SSLRequired]
	}, "RFC 9700, 2.6; Keycloak, SSL/HTTPS requirement"},
	{"Headers", "Content-Security-Policy", func(l hardening.Level) string { return code(headers(l).ContentSecurityPolicy) }, "RFC 9700, 4.16; Keycloak, Clickjacking"},
	{"Headers", "X-Frame-Options", func(l hardening.Level) string { return code(headers(l).FrameOptions) }, "RFC 9700, 4.16"},
	{"Headers", "Strict-Transport-Security", func(l hardening.Level) string { return code(headers(l).StrictTransportSecurity) }, "RFC 6797"},
	{"Headers", "Referrer-Policy", func(l hardening.Level) string { return code(headers(l).ReferrerPolicy) }, "RFC 9700, 4.2.4"},
	{"Headers", "X-Content-Type-Options", func(l hardening.Level) string { return code(headers(l).ContentTypeOptions) }, "OWASP Secure Headers"},
	{"Headers", "X-Robots-Tag", func(l hardening.Level) string { return code(headers(l).RobotsTag) }, "Keycloak's default"},
	{"Headers", "X-XSS-Protection", func(l hardening.Level) string { return code(headers(l).XSSProtection) }, "Keycloak's default; OWASP Secure Headers advise 0"},
	{"Events", "login and admin events are kept", func(l hardening.Level) string { return yes(l.Events) }, "Keycloak, Configuring auditing to track events"},
	{"KeepEvents", "login events are kept for", func(l hardening.Level) string {
		if !l.Events {
			return "none are"
		}
		return duration(l.KeepEvents)
	}, "the same"},
	{"EventDetails", "admin events hold what they changed", func(l hardening.Level) string { return yes(l.EventDetails) }, "the same"},
}

var clientRows = []row{
	{"RefusePlainHTTP", "`http://` beyond loopback: redirect URIs, origins, logout URLs, key sets, LDAP without TLS", func(l hardening.Level) string { return refused(l.RefusePlainHTTP) }, "RFC 9700, 2.6"},
	{"RefusePasswordGrant", "password grant (`directAccessGrants`)", func(l hardening.Level) string { return refused(l.RefusePasswordGrant) }, "RFC 9700, 2.4"},
	{"RefusePasswordAlone", "people who sign in by a password alone (`signIn.secondFactor` is not `required`)", func(l hardening.Level) string { return refused(l.RefusePasswordAlone) }, "NIST SP 800-63B, 4.2"},
	{"RefuseNoPKCE", "confidential client without PKCE (`pkce: false`)", func(l hardening.Level) string { return refused(l.RefuseNoPKCE) }, "RFC 9700, 2.1.1"},
	{"RefuseFullScope", "all roles in tokens (`fullScope`)", func(l hardening.Level) string { return refused(l.RefuseFullScope) }, "RFC 9700, 2.3"},
	{"RefuseServiceKey", "service keys (`key`)", func(l hardening.Level) string {
		if l.RefuseServiceKey {
			return "refused without an exemption"
		}
		return "allowed"
	}, "RFC 9700, 2.5: prefer keys of a pair to shared secrets"},
}

func markdown(rows []row) string {
	var b strings.Builder
	b.WriteString("| | off | baseline | strict | source |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.setting,
			r.value(hardening.Of("off")), r.value(hardening.Of("baseline")), r.value(hardening.Of("strict")), r.source)
	}
	return b.String()
}

// bruteForce is a value of the detection, which a level may not turn on.
func bruteForce(l hardening.Level, value func(*hardening.BruteForce) string) string {
	if l.BruteForce == nil {
		return "not noticed"
	}
	return value(l.BruteForce)
}

func headers(l hardening.Level) hardening.Headers {
	if l.Headers == nil {
		return hardening.KeycloakHeaders()
	}
	return *l.Headers
}

func duration(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if d%unit.size == 0 {
			if n := d / unit.size; n != 1 {
				return fmt.Sprintf("%d %ss", n, unit.name)
			}
			return "1 " + unit.name
		}
	}
	return d.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func refused(b bool) string {
	if b {
		return "refused"
	}
	return "warning"
}

func code(s string) string { return "`" + s + "`" }
