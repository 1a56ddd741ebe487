package config

import (
	"fmt"
	"slices"
	"time"

	"keycloak-model-api/guardrails"
)

// SignIn says how people sign in. Left out, Keycloak's own flows hold and the
// stack binds none.
type SignIn struct {
	// off: Keycloak's own flows; optional: asked of whoever has one; required: nobody of for signs in
	// without one. Default: nothing is bound. Before you take signIn out of a stack, set it to off in
	// an up of its own.
	SecondFactor string `json:"secondFactor" enum:"off,optional,required"`
	// Roles and groups whose members need a second factor, where it is required. Default: everybody.
	For []string `json:"for"`
	// What counts as a second factor: otp (a code of an app), passkey (a security key or passkey),
	// recoveryCodes. Default: otp.
	Factors []string `json:"factors"`
	// People may sign in by a passkey alone, which counts as two factors.
	Passkeys bool `json:"passkeys"`
	// onFirstLogin: who needs a second factor and has none sets one up after the password alone.
	// Default: the sign-in is refused.
	Enrol string `json:"enrol" enum:"onFirstLogin"`
	// For how long a second factor is good where a model demands a level.
	Levels []Level `json:"levels"`
}

// Level is a level of authentication that a client can demand by acr_values.
type Level struct {
	// 2: a second factor was given. 1, the password, needs no entry. Required.
	Level int `json:"level" required:"true" enum:"2"`
	// For how long it is good; a demand after that asks again.
	MaxAge string `json:"maxAge" default:"15m"`
}

// SecondFactorRole is the realm role of those who need a second factor, where
// signIn.for names some.
const SecondFactorRole = "second-factor"

// LevelsAttribute of a realm gives each level its acr.
const LevelsAttribute = "acr.loa.map"

// levelAge is how long level 2 is good where levels say nothing.
const levelAge = 15 * time.Minute

// Flows says whether the stack makes and binds flows of its own.
func (s *SignIn) Flows() bool { return s.SecondFactor == "optional" || s.SecondFactor == "required" }

// Declared says whether the configuration has the key at all: the stack then
// says what is bound.
func (s *SignIn) Declared() bool { return s.SecondFactor != "" }

// Has says whether a factor counts.
func (s *SignIn) Has(factor string) bool {
	if len(s.Factors) == 0 {
		return factor == "otp"
	}
	return slices.Contains(s.Factors, factor)
}

// actions are the required actions by which people set up what counts.
func (s *SignIn) actions() []string {
	if !s.Flows() {
		return nil
	}
	var aliases []string
	for _, a := range []struct {
		counts bool
		alias  string
	}{
		{s.Has("otp"), "CONFIGURE_TOTP"},
		{s.Has("passkey"), "webauthn-register"},
		{s.Passkeys, "webauthn-register-passwordless"},
		{s.Has("recoveryCodes"), "CONFIGURE_RECOVERY_AUTHN_CODES"},
	} {
		if a.counts {
			aliases = append(aliases, a.alias)
		}
	}
	return aliases
}

// Actions are the required actions that the stack sets: those of the configuration,
// and those by which people set up a second factor.
func (c *Config) Actions() []RequiredAction {
	actions := slices.Clone(c.RequiredActions)
	for _, alias := range c.SignIn.actions() {
		if !slices.ContainsFunc(actions, func(a RequiredAction) bool { return a.Alias == alias }) {
			actions = append(actions, RequiredAction{Alias: alias})
		}
	}
	return actions
}

// Everybody says whether no one signs in without a second factor.
func (s *SignIn) Everybody() bool { return s.SecondFactor == "required" && len(s.For) == 0 }

// LevelAge is for how long level 2 is good.
func (s *SignIn) LevelAge() time.Duration {
	for _, l := range s.Levels {
		if d, err := time.ParseDuration(l.MaxAge); err == nil {
			return d
		}
	}
	return levelAge
}

// some says whether those who need a second factor have a role for it.
func (s *SignIn) some() bool { return s.SecondFactor == "required" && len(s.For) > 0 }

// PasswordAlone says whether people sign in by a password alone, though the level
// of hardening asks for a second factor.
func (c *Config) PasswordAlone() bool {
	return c.Level().RefusePasswordAlone && c.SignIn.SecondFactor != "required" && c.peopleSignIn()
}

func (c *Config) peopleSignIn() bool {
	return slices.ContainsFunc(c.Clients, func(cl Client) bool { return *cl.StandardFlow || *cl.DirectAccessGrants || *cl.DeviceGrant })
}

// RealmGroups are the groups that the stack makes, with the roles that they carry.
func (c *Config) RealmGroups() []Group {
	if !c.SignIn.some() {
		return c.Groups
	}
	groups := slices.Clone(c.Groups)
	for i := range groups {
		if slices.Contains(c.SignIn.For, groups[i].Name) {
			groups[i].Roles = append(slices.Clone(groups[i].Roles), SecondFactorRole)
		}
	}
	return groups
}

// withSecondFactor adds the role of those who need a second factor, and puts it
// into the roles that signIn.for names.
func (c *Config) withSecondFactor(roles []Role) []Role {
	if !c.SignIn.some() {
		return roles
	}
	for i := range roles {
		if slices.Contains(c.SignIn.For, roles[i].Name) {
			roles[i].Composites = append(slices.Clone(roles[i].Composites), SecondFactorRole)
		}
	}
	return append(roles, Role{Name: SecondFactorRole, Description: "Signs in with a second factor"})
}

func (c *checker) signIn() {
	s := &c.cfg.SignIn
	switch {
	case c.cfg.PasswordAlone():
		c.refuseUnlessExempt(c.cfg.Realm, guardrails.SecondFactor, "signIn.secondFactor",
			"a password alone is good for a sign-in: set it to required (docs/sign-in.md), or add an exemption of the realm from "+
				guardrails.SecondFactor)
	case !c.cfg.Dev() && c.cfg.Hardening != "off" && s.SecondFactor != "required" && c.cfg.peopleSignIn():
		c.warnf("signIn.secondFactor", "a password alone is good for a sign-in: required asks everybody for a second factor, or those "+
			"in signIn.for (docs/sign-in.md)")
	}
	if !s.Flows() {
		c.signInUnread(s)
		return
	}
	c.signInFor(s)
	for i, f := range s.Factors {
		if names := []string{"otp", "passkey", "recoveryCodes"}; !slices.Contains(names, f) {
			c.errorf(fmt.Sprintf("signIn.factors[%d]", i), "%s", noneOf(f, names))
		}
	}
	c.twice("signIn.factors", s.Factors)
	if s.Factors != nil && !s.Has("otp") && !s.Has("passkey") && !s.Passkeys {
		c.errorf("signIn.factors", "recovery codes stand in for a lost factor and can't be the only one: add otp or passkey")
	}
	switch {
	case s.Enrol == "":
	case s.SecondFactor != "required":
		c.errorf("signIn.enrol", "nothing reads it where the second factor is optional: leave it out")
	case !s.Has("otp") && !s.Has("passkey"):
		c.errorf("signIn.enrol", "there is nothing to set up at a login: add otp or passkey to signIn.factors")
	default:
		c.warnf("signIn.enrol", "whoever has the password alone of an account without a second factor sets up one of their own")
	}
	for i, l := range s.Levels {
		c.duration(fmt.Sprintf("signIn.levels[%d].maxAge", i), l.MaxAge)
	}
	if len(s.Levels) > 1 {
		c.errorf("signIn.levels[1]", "level 2 is there already: leave it out")
	}
	c.signInBeside(s)
}

// signInBeside checks other keys that a sign-in relies on.
func (c *checker) signInBeside(s *SignIn) {
	if _, ok := c.cfg.RealmAttributes[LevelsAttribute]; ok {
		c.errorf(fmt.Sprintf("realmAttributes[%q]", LevelsAttribute), "is set by signIn: leave it out here")
	}
	if c.cfg.Login.Registration && s.Everybody() && s.Enrol == "" {
		c.errorf("login.registration", "nobody who registers could sign in without a second factor: set signIn.enrol to onFirstLogin, "+
			"or leave it out")
	}
}

// signInUnread refuses what nothing would read.
func (c *checker) signInUnread(s *SignIn) {
	for _, key := range []struct {
		name string
		set  bool
	}{{"for", s.For != nil}, {"factors", s.Factors != nil}, {"passkeys", s.Passkeys}, {"enrol", s.Enrol != ""},
		{"levels", s.Levels != nil}} {
		if key.set {
			c.errorf("signIn."+key.name, "nothing reads it without a second factor: set signIn.secondFactor to optional or required")
		}
	}
	for i, p := range c.cfg.IdentityProviders {
		if p.SecondFactor != "" {
			c.errorf(fmt.Sprintf("identityProviders[%d].secondFactor", i),
				"nothing reads it without a second factor: set signIn.secondFactor, or leave it out")
		}
	}
}

func (c *checker) signInFor(s *SignIn) {
	if s.For == nil {
		return
	}
	if s.SecondFactor != "required" {
		c.errorf("signIn.for", "nothing reads it where the second factor is optional: set signIn.secondFactor to required, or leave it out")
	}
	if len(s.For) == 0 {
		c.errorf("signIn.for", "is empty: nobody would need a second factor; leave it out for everybody")
	}
	known := map[string]bool{}
	for _, names := range []map[string]bool{c.roles, c.groups} {
		for name := range names {
			known[name] = name != SecondFactorRole
		}
	}
	c.known("signIn.for", s.For, known, "role or group", "roles or groups")
	c.twice("signIn.for", s.For)
	taken := slices.ContainsFunc(c.cfg.Roles, func(r Role) bool { return r.Name == SecondFactorRole })
	if taken || slices.Contains(c.cfg.ModelRoles(), SecondFactorRole) {
		c.errorf("roles", "%q is a role that the stack makes for signIn.for: choose another name", SecondFactorRole)
	}
}
