package config

import (
	"cmp"
	"slices"
	"strings"

	"keycloak-model-api/hardening"
	"keycloak-model-api/policy"
)

// Dev says whether this stack is for development.
func (c *Config) Dev() bool { return c.Environment == "dev" }

// Protected says whether the realm, its key stores and users are guarded
// against deletion.
func (c *Config) Protected() bool { return c.Protect && !c.Dev() }

// Level is the hardening of the realm, with what the configuration sets itself. In
// development, which has no TLS, none is demanded beyond what Keycloak demands by
// itself.
func (c *Config) Level() hardening.Level {
	l := hardening.Of(c.Hardening)
	if c.Dev() && l.SSLRequired != "" {
		l.SSLRequired = "external"
	}
	l.SSLRequired = cmp.Or(c.SSLRequired, l.SSLRequired)
	if c.PasswordPolicy != "" {
		l.PasswordLength, l.PasswordPolicy = splitPolicy(c.PasswordPolicy)
	}
	l.BruteForce = c.BruteForce.over(l.BruteForce)
	l.Headers = c.Headers.over(l.Headers)
	return l
}

// Issuer is the realm's issuer URL.
func (c *Config) Issuer() string {
	return cmp.Or(strings.TrimRight(c.FrontendURL, "/"), c.keycloakURL) + "/realms/" + c.Realm
}

// JWKSURI is where the realm publishes its keys.
func (c *Config) JWKSURI() string { return c.Issuer() + "/protocol/openid-connect/certs" }

// API is the client of the resource server.
func (c *Config) API() *Client {
	return c.firstClient("api")
}

// tellAPI has the logout of a session reported to the API, if people sign in
// with the client.
func (c *Config) tellAPI(cl *Client) {
	signIn := *cl.StandardFlow || *cl.DirectAccessGrants || *cl.DeviceGrant
	if c.APIURL != "" && signIn && cl.BackchannelLogoutURL == "" {
		cl.BackchannelLogoutURL = strings.TrimSuffix(c.APIURL, "/") + "/backchannel-logout"
	}
}

// Web is the first client of kind web, or nil.
func (c *Config) Web() *Client {
	return c.firstClient("web")
}

// Exchange is the client by which the API exchanges tokens, or nil.
func (c *Config) Exchange() *Client { return c.firstClient("exchange") }

func (c *Config) firstClient(kind string) *Client {
	i := slices.IndexFunc(c.Clients, func(x Client) bool { return x.Kind == kind })
	if i < 0 {
		return nil
	}
	return &c.Clients[i]
}

// AllowedRoles are the realm roles of which a caller of the model needs one.
// None means that the model is open to whoever meets its other conditions.
func (m *Model) AllowedRoles() []string {
	switch a := &m.Allow; {
	case m.Roles != nil:
		return m.Roles
	case a.Roles != nil || len(a.AllRoles)+len(a.Groups)+len(a.Clients)+len(a.Scopes) > 0:
		return a.Roles
	}
	return []string{policy.DefaultRole(m.Name)}
}

// GroupsDecide says whether a model or a limit asks for groups, so that tokens must carry
// them.
func (c *Config) GroupsDecide() bool {
	return slices.ContainsFunc(c.Models, func(m Model) bool { return len(m.Allow.Groups) > 0 }) ||
		slices.ContainsFunc(c.Limits, func(l Limit) bool { return l.Group != "" })
}

// groupPath is the full path of a declared group. A path stays as it is.
func (c *Config) groupPath(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	path := "/" + name
	if i := slices.IndexFunc(c.Groups, func(g Group) bool { return g.Name == name }); i >= 0 && c.Groups[i].Parent != "" {
		path = c.groupPath(c.Groups[i].Parent) + path
	}
	return path
}

// ModelRoles are the base role and the roles of the models, each once.
func (c *Config) ModelRoles() []string {
	names := []string{c.BaseRole}
	seen := map[string]bool{c.BaseRole: true}
	for i := range c.Models {
		for _, r := range slices.Concat(c.Models[i].AllowedRoles(), c.Models[i].Allow.AllRoles) {
			if !seen[r] {
				seen[r] = true
				names = append(names, r)
			}
		}
	}
	return names
}

// RealmRoles are all realm roles that the stack makes: the base role, those of
// the models, each a composite over the base role, and the declared ones. A role
// that is both keeps what its declaration says beside.
func (c *Config) RealmRoles() []Role {
	declared := make(map[string]Role, len(c.Roles))
	for _, r := range c.Roles {
		declared[r.Name] = r
	}
	var roles []Role
	made := map[string]bool{}
	for i, name := range c.ModelRoles() {
		r := declared[name]
		r.Name = name
		switch {
		case i == 0 && r.Description == "":
			r.Description = "May call the model API"
		case i > 0 && r.Description == "":
			r.Description = "May call models that ask for it"
		}
		if i > 0 && !slices.Contains(r.Composites, c.BaseRole) {
			r.Composites = append(slices.Clone(r.Composites), c.BaseRole)
		}
		made[name] = true
		roles = append(roles, r)
	}
	for _, r := range c.Roles {
		if !made[r.Name] {
			made[r.Name] = true
			roles = append(roles, r)
		}
	}
	return c.withSecondFactor(roles)
}

// Kept says whether Keycloak keeps events, which a level decides where it is left
// out.
func (e Events) Kept(level hardening.Level) bool {
	if e.Enabled == nil {
		return level.Events
	}
	return *e.Enabled
}

// MapperName is the mapping's name in Keycloak.
func (m RoleMapping) MapperName() string {
	return m.Claim + "=" + m.Value + " gives " + m.Role
}

// AttributeMapperName is the name in Keycloak of what sets a user attribute from
// a claim.
func AttributeMapperName(claim, attribute string) string { return claim + " sets " + attribute }

// conditions are those of a model, with the full paths of groups.
func (c *Config) conditions(m *Model) policy.Conditions {
	a := policy.Conditions{
		Roles: m.AllowedRoles(), AllRoles: m.Allow.AllRoles,
		Clients: m.Allow.Clients, Scopes: m.Allow.Scopes, Actions: m.Allow.Actions,
	}
	for _, g := range m.Allow.Groups {
		a.Groups = append(a.Groups, c.groupPath(g))
	}
	return a
}

// Policy is the access policy that the API enforces.
func (c *Config) Policy() *policy.Policy {
	p := &policy.Policy{
		Version:  policy.Version,
		BaseRole: c.BaseRole,
		Models:   []policy.Model{},
		Clients:  []policy.Client{},
		Limits:   c.limits(),
	}
	for i := range c.Models {
		m := &c.Models[i]
		pm := policy.Model{Name: m.Name, Protocol: m.Protocol, Embedded: m.Embedded, Allow: c.conditions(m), Introspect: m.Introspect, Stateful: m.Stateful, Authentication: c.authentication(m)}
		if m.Body != nil {
			pm.Body = &policy.Body{Allow: m.Body.Allow, Principal: m.Body.Principal}
		}
		if m.Upstream != nil {
			pm.Upstream = &policy.Upstream{URL: m.Upstream.URL, Model: m.Upstream.Model, Paths: m.Upstream.Paths, Audience: m.Upstream.Audience}
			if m.Upstream.Identity == policy.IdentityExchange {
				pm.Upstream.Identity = policy.IdentityExchange
			}
			if m.Upstream.TLS != nil {
				tls := policy.TLS(*m.Upstream.TLS)
				pm.Upstream.TLS = &tls
			}
			if m.Upstream.Credential != "" {
				pm.Upstream.Credential = &policy.Credential{Env: m.Upstream.Credential, Header: m.Upstream.CredentialHeader}
			}
		}
		p.Models = append(p.Models, pm)
	}
	for i := range c.Clients {
		p.Clients = append(p.Clients, policy.Client{ClientID: c.Clients[i].ClientID, Kind: c.Clients[i].Kind, Public: c.Clients[i].Public(), Key: c.Clients[i].Key})
	}
	return p
}

// SigningAlgorithm is that of the access and ID tokens of all clients: the one of
// the signing key with the highest priority, or empty without a key of our own.
func (c *Config) SigningAlgorithm() string {
	algorithm, priority := "", 0
	for i := range c.SigningKeys {
		if k := &c.SigningKeys[i]; k.Signs() && (algorithm == "" || k.Priority > priority) {
			algorithm, priority = k.Algorithm, k.Priority
		}
	}
	return algorithm
}

// ScopeRole names the realm role that holds the client roles in the tokens of a
// client without full scope.
func ScopeRole(clientID string) string { return "client-roles-of-" + clientID }

// holdsClientRoles reports whether the stack may make the ScopeRole of a client.
func (c *Config) holdsClientRoles(clientID string) bool {
	return slices.ContainsFunc(c.Clients, func(cl Client) bool {
		return cl.ClientID == clientID && len(cl.ServiceAccountClientRoles) > 0
	})
}
