package policy

import (
	"regexp"
	"slices"
	"time"
)

// Authentication says how the people who call a model must have signed in, and
// how long ago that may be at most (RFC 9470).
type Authentication struct {
	// ACR are the authentication context classes that satisfy the model, the one
	// that a caller is asked for first. They are names, compared exactly; tokens
	// carry the time of each by the same name.
	ACR []string `json:"acr"`

	// LevelMaxAge is how long the issuer itself takes such a sign-in for valid, a
	// duration such as 15m. Once it is over, the issuer asks for the factor again.
	LevelMaxAge string `json:"levelMaxAge"`

	// MaxAge is the model's own shorter time. The issuer doesn't know it, so
	// that a caller who signs in again asks for it and gives the password too.
	MaxAge string `json:"maxAge,omitempty"`

	// ServiceAccounts may call the model too, though nobody signs in for them.
	ServiceAccounts bool `json:"serviceAccounts,omitempty"`
}

// Within is how long ago the sign-in may be.
func (a *Authentication) Within() time.Duration {
	for _, text := range []string{a.MaxAge, a.LevelMaxAge} {
		if d, err := time.ParseDuration(text); err == nil {
			return d
		}
	}
	return 0 // validate refuses it
}

// acrValue is what can stand in a challenge and in acr_values, whose values
// spaces separate.
var acrValue = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$`)

func (a *Authentication) validate(at string, errs *problems) {
	if len(a.ACR) == 0 || slices.ContainsFunc(a.ACR, func(s string) bool { return !acrValue.MatchString(s) }) {
		errs.addf("%sauthentication.acr %q must name authentication context classes such as 2", at, a.ACR)
	}
	level, err := time.ParseDuration(a.LevelMaxAge)
	if err != nil || level < time.Second || level%time.Second != 0 {
		errs.addf("%sauthentication.levelMaxAge %q must be whole seconds, minutes or hours such as 15m", at, a.LevelMaxAge)
	}
	own, err := time.ParseDuration(a.MaxAge)
	if a.MaxAge != "" && (err != nil || own < time.Second || own%time.Second != 0 || own >= level) {
		errs.addf("%sauthentication.maxAge %q must be whole seconds, minutes or hours, and shorter than levelMaxAge, %s", at, a.MaxAge, a.LevelMaxAge)
	}
}
