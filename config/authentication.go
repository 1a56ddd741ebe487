package config

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"keycloak-model-api/policy"
)

// Authentication is how the people who call a model must have signed in.
type Authentication struct {
	// Level of signIn that the caller must have reached: 2 is a second factor. It counts for as long
	// as signIn.levels says. Required.
	Level int `json:"level" required:"true" enum:"2"`
	// Shorter time for this model. After it callers give their password too, which the level's own
	// time does not ask for.
	MaxAge string `json:"maxAge"`
	// Service accounts may call the model too, though nobody signs in for them. Default: they are
	// refused.
	ServiceAccounts bool `json:"serviceAccounts"`
}

// levelAge is how long a level counts that the stack declares. It is false for
// another one.
func (c *Config) levelAge(level int) (time.Duration, bool) {
	return c.SignIn.LevelAge(), level == 2 && c.SignIn.Flows()
}

// authentication is what the API enforces: the names of the levels that satisfy
// the model, which are those of the tokens.
func (c *Config) authentication(m *Model) *policy.Authentication {
	if m.Authentication == nil {
		return nil
	}
	age, _ := c.levelAge(m.Authentication.Level)
	return &policy.Authentication{
		ACR:         []string{strconv.Itoa(m.Authentication.Level)},
		LevelMaxAge: ShortDuration(age), MaxAge: m.Authentication.MaxAge, ServiceAccounts: m.Authentication.ServiceAccounts,
	}
}

// ShortDuration writes whole seconds as people do: 15m, not 15m0s.
func ShortDuration(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"0s", "0m"} {
		if rest := strings.TrimSuffix(text, zero); strings.HasSuffix(rest, "m") || strings.HasSuffix(rest, "h") {
			text = rest
		}
	}
	return text
}

func (c *checker) modelSignIn(path string, a *Authentication) {
	if a == nil {
		return
	}
	age, declared := c.cfg.levelAge(a.Level)
	if !declared {
		c.errorf(path+".level", "no level %d is declared: set signIn.secondFactor to optional or required", a.Level)
		return
	}
	if own := c.duration(path+".maxAge", a.MaxAge); own >= age {
		c.errorf(path+".maxAge", "%s is not shorter than the level's time, %s (signIn.levels): leave it out", a.MaxAge, ShortDuration(age))
	}
}

// offlineCallers warns of clients whose tokens never satisfy a model that asks
// how its callers signed in.
func (c *checker) offlineCallers(path string, cl *Client) {
	asks := slices.ContainsFunc(c.cfg.Models, func(m Model) bool { return m.Authentication != nil })
	if asks && slices.Contains(cl.DefaultScopes, "offline_access") {
		c.warnf(path+".defaultScopes", "offline_access: the offline tokens of this client can call no model that has authentication")
	}
}
