// Package hardening holds the levels of hardening that a stack can ask for: each
// is one table of what the realm gets and what its clients may not do.
// docs/hardening.md says where each line comes from.
package hardening

//go:generate go run ./gen

import "time"

// Level is one level. A zero field leaves Keycloak's own value.
type Level struct {
	AccessToken       time.Duration
	SSOIdle, SSOMax   time.Duration
	OfflineIdle       time.Duration
	OfflineMax        time.Duration
	DeviceCode        time.Duration
	AuthorizationCode time.Duration
	RotateRefresh     bool // a refresh token is good for one use

	PasswordLength int    // fewest characters; 0 sets no password policy
	PasswordPolicy string // further rules, in Keycloak's notation
	SSLRequired    string // "external": all but private addresses; "all"
	BruteForce     *BruteForce
	Headers        *Headers

	Events       bool
	KeepEvents   time.Duration
	EventDetails bool

	// What clients may not do outside dev.
	RefusePasswordGrant bool
	RefuseFullScope     bool
	RefuseNoPKCE        bool // for confidential clients; public ones always need it
	RefusePlainHTTP     bool // in URLs that are not on loopback
	RefuseServiceKey    bool // without an exemption

	// What a realm may not do outside dev.
	RefusePasswordAlone bool // a sign-in without a second factor
}

// BruteForce slows down and then locks out who guesses passwords.
type BruteForce struct {
	MaxLoginFailures  int
	WaitIncrement     time.Duration
	MaxFailureWait    time.Duration
	FailureReset      time.Duration
	QuickLoginCheck   time.Duration
	MinimumQuickLogin time.Duration
	PermanentLockout  bool
}

// Headers are sent with every page of the realm.
type Headers struct {
	ContentSecurityPolicy   string
	ReportOnly              string // Content-Security-Policy-Report-Only
	FrameOptions            string
	ContentTypeOptions      string
	ReferrerPolicy          string
	RobotsTag               string
	StrictTransportSecurity string
	XSSProtection           string
}

// KeycloakBruteForce are Keycloak's own values, for a realm that turns the detection
// on without a level.
func KeycloakBruteForce() BruteForce {
	return BruteForce{
		MaxLoginFailures:  30,
		WaitIncrement:     time.Minute,
		MaxFailureWait:    15 * time.Minute,
		FailureReset:      12 * time.Hour,
		QuickLoginCheck:   time.Second,
		MinimumQuickLogin: time.Minute,
	}
}

// KeycloakHeaders are the headers of a new realm.
func KeycloakHeaders() Headers { return *baseline.Headers }

// Of returns the level of that name; an unknown one is "off".
func Of(name string) Level {
	switch name {
	case "baseline":
		return baseline
	case "strict":
		return strict
	}
	return off
}

const day = 24 * time.Hour

// off says Keycloak's own lifetimes and nothing else: a lifetime that is left
// out would stay what it was, not go back to Keycloak's.
var off = Level{
	AccessToken:       5 * time.Minute,
	SSOIdle:           30 * time.Minute,
	SSOMax:            10 * time.Hour,
	OfflineIdle:       30 * day,
	DeviceCode:        10 * time.Minute,
	AuthorizationCode: time.Minute,
}

var baseline = Level{
	AccessToken:       5 * time.Minute,
	SSOIdle:           30 * time.Minute,
	SSOMax:            10 * time.Hour,
	OfflineIdle:       30 * day,
	OfflineMax:        60 * day,
	DeviceCode:        10 * time.Minute,
	AuthorizationCode: time.Minute,
	RotateRefresh:     true,

	PasswordLength: 12,
	PasswordPolicy: "notUsername and notEmail",
	SSLRequired:    "external",
	BruteForce: &BruteForce{
		MaxLoginFailures:  10,
		WaitIncrement:     time.Minute,
		MaxFailureWait:    15 * time.Minute,
		FailureReset:      12 * time.Hour,
		QuickLoginCheck:   time.Second,
		MinimumQuickLogin: time.Minute,
	},
	Headers: &Headers{
		ContentSecurityPolicy:   "frame-src 'self'; frame-ancestors 'self'; object-src 'none';",
		FrameOptions:            "SAMEORIGIN",
		ContentTypeOptions:      "nosniff",
		ReferrerPolicy:          "no-referrer",
		RobotsTag:               "none",
		StrictTransportSecurity: "max-age=31536000; includeSubDomains",
		XSSProtection:           "1; mode=block",
	},

	Events:       true,
	KeepEvents:   7 * day,
	EventDetails: true,

	RefusePlainHTTP: true,
}

var strict = Level{
	AccessToken:       2 * time.Minute,
	SSOIdle:           15 * time.Minute,
	SSOMax:            8 * time.Hour,
	OfflineIdle:       7 * day,
	OfflineMax:        30 * day,
	DeviceCode:        5 * time.Minute,
	AuthorizationCode: 30 * time.Second,
	RotateRefresh:     true,

	PasswordLength: 15,
	PasswordPolicy: "notUsername and notEmail and passwordHistory(5)",
	SSLRequired:    "all",
	BruteForce: &BruteForce{
		MaxLoginFailures:  5,
		WaitIncrement:     5 * time.Minute,
		MaxFailureWait:    time.Hour,
		FailureReset:      day,
		QuickLoginCheck:   time.Second,
		MinimumQuickLogin: 5 * time.Minute,
	},
	Headers: &Headers{
		ContentSecurityPolicy:   "frame-src 'self'; frame-ancestors 'self'; object-src 'none'; base-uri 'self';",
		FrameOptions:            "SAMEORIGIN",
		ContentTypeOptions:      "nosniff",
		ReferrerPolicy:          "no-referrer",
		RobotsTag:               "none",
		StrictTransportSecurity: "max-age=63072000; includeSubDomains",
		XSSProtection:           "0",
	},

	Events:       true,
	KeepEvents:   30 * day,
	EventDetails: true,

	RefusePasswordGrant: true,
	RefuseFullScope:     true,
	RefuseNoPKCE:        true,
	RefusePlainHTTP:     true,
	RefuseServiceKey:    true,
	RefusePasswordAlone: true,
}
