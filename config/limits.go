package config

import (
	"fmt"
	"slices"
	"strings"

	"keycloak-model-api/policy"
)

// Limit bounds what callers may use: see policy.Limit.
type Limit struct {
	// Realm role of a tier. Each principal has the largest bounds of its tiers, and the smallest of
	// all without one.
	Role string `json:"role"`
	// Group of a tier, by its name or full path; with shared, of a pool.
	Group string `json:"group"`
	// Client id of a pool: what all tokens of this client use together.
	Client string `json:"client"`
	// Model of a pool: what all its callers use together.
	Model string `json:"model"`
	// The group's members use the limit together.
	Shared bool `json:"shared"`
	// Requests to models, counted as they begin.
	Requests Rate `json:"requests"`
	// Tokens of language models, in and out, charged when an answer has ended.
	Tokens Rate `json:"tokens"`
	// Requests under way at once.
	Concurrent int `json:"concurrent"`
}

// Rate is how much there is in a time.
type Rate struct {
	// In any minute.
	Minute int `json:"minute"`
	// In an hour of UTC.
	Hour int `json:"hour"`
	// In a day of UTC.
	Day int `json:"day"`
}

func (r Rate) policy() policy.Rate {
	return policy.Rate{Minute: int64(r.Minute), Hour: int64(r.Hour), Day: int64(r.Day)}
}

// limits are what the API enforces, with groups by their full paths.
func (c *Config) limits() []policy.Limit {
	var limits []policy.Limit
	for _, l := range c.Limits {
		p := policy.Limit{
			Role: l.Role, Client: l.Client, Model: l.Model, Shared: l.Shared,
			Requests: l.Requests.policy(), Tokens: l.Tokens.policy(), Concurrent: l.Concurrent,
		}
		if l.Group != "" {
			p.Group = c.groupPath(l.Group)
		}
		limits = append(limits, p)
	}
	return limits
}

// TokenRoles are the realm roles that tokens must carry for the API's decisions:
// those of the models, and those of tiers.
func (c *Config) TokenRoles() []string {
	names := c.ModelRoles()
	for _, l := range c.Limits {
		if l.Role != "" && !slices.Contains(names, l.Role) {
			names = append(names, l.Role)
		}
	}
	return names
}

// checkLimits checks names here and leaves the bounds to the policy's own rules.
func (c *checker) checkLimits() {
	models, clients := map[string]bool{}, map[string]bool{}
	for _, m := range c.cfg.Models {
		models[m.Name] = true
	}
	for i := range c.cfg.Clients {
		clients[c.cfg.Clients[i].ClientID] = true
	}
	seen := map[string]bool{}
	for i, l := range c.cfg.Limits {
		path := fmt.Sprintf("limits[%d]", i)
		c.knownOne(path+".role", l.Role, c.roles, "role", "roles")
		c.knownOne(path+".client", l.Client, clients, "client", "clients")
		c.knownOne(path+".model", l.Model, models, "model", "models")
		if !strings.HasPrefix(l.Group, "/") {
			c.knownOne(path+".group", l.Group, c.groups, "group", "groups, or write the full path of one that LDAP brings")
		}
		whom := slices.DeleteFunc([]string{l.Role, l.Group, l.Client, l.Model}, func(s string) bool { return s == "" })
		if len(whom) != 1 {
			c.errorf(path, "must name exactly one of role, group, client and model")
			continue
		}
		if key := fmt.Sprint(l.Role != "", l.Group != "", l.Client != "", whom[0]); seen[key] {
			c.errorf(path, "%q has a limit already: put the bounds into one", whom[0])
		} else {
			seen[key] = true
		}
		if l.Shared && l.Group == "" {
			c.errorf(path+".shared", "is for groups: a limit of a client or a model is shared by all who use it, and one of a role "+
				"never is: leave it out")
		}
		c.bounds(path, &l)
	}
}

func (c *checker) bounds(path string, l *Limit) {
	set := false
	for _, b := range []struct {
		key   string
		bound int
	}{
		{".concurrent", l.Concurrent},
		{".requests.minute", l.Requests.Minute}, {".requests.hour", l.Requests.Hour}, {".requests.day", l.Requests.Day},
		{".tokens.minute", l.Tokens.Minute}, {".tokens.hour", l.Tokens.Hour}, {".tokens.day", l.Tokens.Day},
	} {
		if b.bound < 0 {
			c.errorf(path+b.key, "must be at least 1: to forbid a model, take its role away")
		}
		set = set || b.bound != 0
	}
	if !set {
		c.errorf(path, "bounds nothing: set concurrent, requests or tokens, such as requests: {minute: 60}")
	}
}
