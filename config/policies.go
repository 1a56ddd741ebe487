package config

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
	"time"

	"keycloak-model-api/hardening"
)

// passwordRule is one rule of a password policy, with its value.
var passwordRule = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9-]*)(?:\((.*)\))?$`)

// splitPolicy takes the least length out of a password policy.
func splitPolicy(policy string) (length int, others string) {
	var rest []string
	for rule := range strings.SplitSeq(policy, " and ") {
		if m := passwordRule.FindStringSubmatch(strings.TrimSpace(rule)); m != nil && m[1] == "length" {
			if length, _ = strconv.Atoi(m[2]); length > 0 {
				continue
			}
		}
		rest = append(rest, strings.TrimSpace(rule))
	}
	return length, strings.Join(rest, " and ")
}

// over is what the configuration says, laid over a level's detection.
func (b BruteForce) over(level *hardening.BruteForce) *hardening.BruteForce {
	if b == (BruteForce{}) {
		return level
	}
	if b.Enabled != nil && !*b.Enabled {
		return nil
	}
	d := hardening.KeycloakBruteForce()
	if level != nil {
		d = *level
	}
	d.MaxLoginFailures = cmp.Or(b.MaxFailures, d.MaxLoginFailures)
	d.WaitIncrement = cmp.Or(parsed(b.WaitIncrement), d.WaitIncrement)
	d.MaxFailureWait = cmp.Or(parsed(b.MaxWait), d.MaxFailureWait)
	d.FailureReset = cmp.Or(parsed(b.ResetAfter), d.FailureReset)
	d.QuickLoginCheck = cmp.Or(parsed(b.QuickLoginCheck), d.QuickLoginCheck)
	d.MinimumQuickLogin = cmp.Or(parsed(b.QuickLoginWait), d.MinimumQuickLogin)
	d.PermanentLockout = d.PermanentLockout || b.Permanent
	return &d
}

// parsed is 0 for what is no duration, which the checks report.
func parsed(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}

// over is what the configuration says, laid over a level's headers.
func (h Headers) over(level *hardening.Headers) *hardening.Headers {
	if h == (Headers{}) {
		return level
	}
	d := hardening.KeycloakHeaders()
	if level != nil {
		d = *level
	}
	d.ContentSecurityPolicy = cmp.Or(h.ContentSecurityPolicy, d.ContentSecurityPolicy)
	d.ReportOnly = cmp.Or(h.ContentSecurityPolicyReportOnly, d.ReportOnly)
	d.FrameOptions = cmp.Or(h.FrameOptions, d.FrameOptions)
	d.ContentTypeOptions = cmp.Or(h.ContentTypeOptions, d.ContentTypeOptions)
	d.ReferrerPolicy = cmp.Or(h.ReferrerPolicy, d.ReferrerPolicy)
	d.RobotsTag = cmp.Or(h.RobotsTag, d.RobotsTag)
	d.StrictTransportSecurity = cmp.Or(h.StrictTransportSecurity, d.StrictTransportSecurity)
	d.XSSProtection = cmp.Or(h.XSSProtection, d.XSSProtection)
	return &d
}
