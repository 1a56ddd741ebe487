package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// builtInClients are made by Keycloak in each realm.
var builtInClients = []string{"account", "account-console", "admin-cli", "broker", "realm-management", "security-admin-console"}

// OptionalScopes are what Keycloak offers each new client as optional.
var OptionalScopes = []string{"address", "phone", "organization", "offline_access", "microprofile-jwt"}

// BuiltInClient says whether Keycloak makes a client of this id itself.
func BuiltInClient(clientID string) bool { return slices.Contains(builtInClients, clientID) }

func (c *checker) clients() {
	c.clientRoles = make(map[string]map[string]bool, len(c.cfg.Clients))
	accounts := map[string]string{} // client ids with a service account, by lower case
	api := 0
	for i := range c.cfg.Clients {
		cl := &c.cfg.Clients[i]
		path := fmt.Sprintf("clients[%d].clientId", i)
		if cl.ClientID != "" && strings.ContainsAny(cl.ClientID, " \t\n\"<>") {
			c.errorf(path, "%q: leave spaces, quotes and angle brackets out", cl.ClientID)
		}
		if n := len([]rune(cl.ClientID)); n > 200 {
			c.errorf(path, "has %d characters: use 200 at most, since Keycloak adds to it", n)
		}
		if BuiltInClient(cl.ClientID) {
			c.errorf(path, "%q is a client that Keycloak makes itself: choose another id", cl.ClientID)
		}
		if _, ok := c.clientRoles[cl.ClientID]; ok {
			c.errorf(path, "%q is declared twice", cl.ClientID)
		}
		if cl.ClientID == "model-roles" {
			c.errorf(path, "%q is the name of a client scope that the stack makes: choose another id", cl.ClientID)
		}
		if account := strings.ToLower(cl.ClientID); *cl.ServiceAccount {
			if other, ok := accounts[account]; ok && other != cl.ClientID {
				c.errorf(path, "the service accounts of %q and %q would have one username, which is in lower case: choose another id", other, cl.ClientID)
			}
			accounts[account] = cl.ClientID
		}
		roles := make(map[string]bool, len(cl.ClientRoles))
		for _, r := range cl.ClientRoles {
			roles[r] = true
		}
		c.clientRoles[cl.ClientID] = roles
		if cl.Kind == "api" {
			api++
		}
	}
	if api != 1 {
		c.errorf("clients", "there are %d of kind api: declare exactly one, the resource server", api)
	}
	for i := range c.cfg.Clients {
		c.client(&c.cfg.Clients[i], fmt.Sprintf("clients[%d]", i))
	}
}

func (c *checker) client(cl *Client, path string) {
	level := c.cfg.Level()
	public := cl.Public()

	// Flows.
	if *cl.DirectAccessGrants && *cl.StandardFlow && !c.cfg.Dev() {
		c.refuseUnlessExempt(cl.ClientID, "no-web-password-grant", path+".directAccessGrants", "people sign in to client %s by browser, and it must not take their passwords itself (RFC 9700, 2.4): leave it out, or add an exemption from no-web-password-grant", cl.ClientID)
	} else if *cl.DirectAccessGrants {
		c.unless(level.RefusePasswordGrant, path+".directAccessGrants", "the password grant shows the user's password to client %s (RFC 9700, 2.4): prefer the code flow", cl.ClientID)
	}
	if public && *cl.ServiceAccount {
		c.errorf(path+".serviceAccount", "a client of kind %s is public and can't have a service account: use kind service", cl.Kind)
	}
	if public && *cl.TokenExchange {
		c.errorf(path+".tokenExchange", "a client of kind %s is public and can't exchange tokens", cl.Kind)
	}
	if flows := *cl.StandardFlow || *cl.DeviceGrant; !*cl.PKCE && flows {
		if public {
			c.refusef(path+".pkce", "public client %s takes a code without PKCE (RFC 9700, 2.1.1): set it to true", cl.ClientID)
		} else {
			c.unless(level.RefuseNoPKCE, path+".pkce", "client %s takes a code without PKCE (RFC 9700, 2.1.1): set it to true", cl.ClientID)
		}
	} else if *cl.PKCE && !flows {
		c.errorf(path+".pkce", "nothing can use it: set standardFlow or deviceGrant")
	}
	if *cl.FullScope {
		c.unless(level.RefuseFullScope, path+".fullScope", "tokens of client %s carry every role of the user, and account in their audience", cl.ClientID)
	}

	// URLs.
	if *cl.StandardFlow && len(cl.RedirectURIs) == 0 {
		c.errorf(path+".redirectUris", "is missing: the code flow needs one, such as https://app.example.com/callback")
	}
	if !*cl.StandardFlow && len(cl.RedirectURIs) > 0 {
		c.errorf(path+".redirectUris", "nothing redirects there: set standardFlow, or leave it out")
	}
	if !*cl.StandardFlow && !*cl.DirectAccessGrants && len(cl.WebOrigins) > 0 {
		c.errorf(path+".webOrigins", "no browser needs it: set standardFlow, or leave it out")
	}
	for i, u := range cl.RedirectURIs {
		c.redirectURI(fmt.Sprintf("%s.redirectUris[%d]", path, i), u, cl)
	}
	c.twice(path+".redirectUris", cl.RedirectURIs)
	for i, u := range cl.PostLogoutRedirectURIs {
		if u != "+" && u != "-" {
			c.redirectURI(fmt.Sprintf("%s.postLogoutRedirectUris[%d]", path, i), u, cl)
		}
	}
	for i, o := range cl.WebOrigins {
		c.webOrigin(fmt.Sprintf("%s.webOrigins[%d]", path, i), o, cl)
	}
	c.twice(path+".webOrigins", cl.WebOrigins)
	if cl.BaseURL != "" {
		c.httpURL(path+".baseUrl", cl.BaseURL)
	}
	if cl.AdminURL != "" {
		c.httpURL(path+".adminUrl", cl.AdminURL)
	}
	if cl.BackchannelLogoutURL != "" && c.httpURL(path+".backchannelLogoutUrl", cl.BackchannelLogoutURL) {
		c.plainHTTP(path+".backchannelLogoutUrl", cl.BackchannelLogoutURL)
	}

	c.authentication(cl, path)

	// Roles.
	if *cl.FullScope && len(cl.Roles) > 0 {
		c.errorf(path+".roles", "nothing reads it beside fullScope, which puts every role into tokens: leave one of them out")
	}
	c.known(path+".roles", cl.Roles, c.roles, "role", "roles")
	c.twice(path+".roles", cl.Roles)
	c.twice(path+".clientRoles", cl.ClientRoles)
	for i, r := range cl.ClientRoles {
		c.name(fmt.Sprintf("%s.clientRoles[%d]", path, i), r)
	}
	c.known(path+".serviceAccountGroups", cl.ServiceAccountGroups, c.groups, "group", "groups")
	c.twice(path+".serviceAccountGroups", cl.ServiceAccountGroups)
	if !*cl.ServiceAccount && len(cl.ServiceAccountRoles)+len(cl.ServiceAccountClientRoles)+len(cl.ServiceAccountGroups) > 0 {
		c.errorf(path+".serviceAccountRoles", "client %s has no service account: set serviceAccount", cl.ClientID)
	}
	c.known(path+".serviceAccountRoles", cl.ServiceAccountRoles, c.roles, "role", "roles")
	c.twice(path+".serviceAccountRoles", cl.ServiceAccountRoles)
	for _, target := range slices.Sorted(maps.Keys(cl.ServiceAccountClientRoles)) {
		at := fmt.Sprintf("%s.serviceAccountClientRoles[%q]", path, target)
		roles, own := c.clientRoles[target]
		if !own && !BuiltInClient(target) {
			c.errorf(at, "client %q is not declared: add it to clients", target)
			continue
		}
		for i, r := range cl.ServiceAccountClientRoles[target] {
			if own && !roles[r] {
				c.errorf(fmt.Sprintf("%s[%d]", at, i), "client %s has no role %q: add it to its clientRoles", target, r)
			}
		}
		c.twice(at, cl.ServiceAccountClientRoles[target])
	}

	c.scopes(cl, path)
	c.mappers(cl, path)
	c.text(path+".name", cl.Name)
	c.text(path+".baseUrl", cl.BaseURL)
	c.text(path+".adminUrl", cl.AdminURL)
	for i, u := range cl.RedirectURIs {
		c.text(fmt.Sprintf("%s.redirectUris[%d]", path, i), u)
	}
	c.text(path+".description", cl.Description)
	c.duration(path+".accessTokenLifetime", cl.AccessTokenLifetime)
	c.clientSession(path+".sessionIdle", cl.SessionIdle, "ssoIdle", c.cfg.Lifetimes.SSOIdle, level.SSOIdle)
	c.clientSession(path+".sessionMax", cl.SessionMax, "ssoMax", c.cfg.Lifetimes.SSOMax, level.SSOMax)
	if cl.Lightweight && cl.AccessTokenType == "at+jwt" {
		c.warnf(path+".lightweight", "an at+jwt access token must have aud (RFC 9068, 2.2), which a lightweight one lacks")
	}
}

// clientSession is refused by Keycloak where it outlives the user's session.
func (c *checker) clientSession(path, own, key, session string, level time.Duration) {
	most := level
	if d, err := time.ParseDuration(session); err == nil && d > 0 {
		most = d
	}
	if c.duration(path, own) > most {
		c.errorf(path, "%s is longer than the session's: at most %s, see lifetimes.%s", own, most, key)
	}
}

// redirectURI follows RFC 9700, 4.1.3: exact, absolute, without fragment. A
// wildcard at the end is for development alone.
func (c *checker) redirectURI(path, text string, cl *Client) {
	const hint = "write an absolute URI such as https://app.example.com/callback"
	u, err := url.Parse(strings.TrimSuffix(text, "*"))
	switch {
	case strings.Contains(text, "@") && (err != nil || u.User != nil): // the text may hold a password
		c.errorf(path, "holds user info: %s", hint)
		return
	case err != nil || !u.IsAbs():
		c.errorf(path, "%q is not a redirect URI: %s", text, hint)
		return
	case strings.Contains(text, "#"):
		c.errorf(path, "%q has a fragment, which RFC 6749 (3.1.2) forbids: %s", text, hint)
		return
	case slices.Contains([]string{"javascript", "data", "vbscript", "file"}, strings.ToLower(u.Scheme)):
		c.errorf(path, "%q: scheme %s can't be redirected to: %s", text, u.Scheme, hint)
		return
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host == "":
		c.errorf(path, "%q has no host: %s", text, hint)
		return
	case strings.Contains(strings.TrimSuffix(text, "*"), "*"):
		c.errorf(path, "%q: Keycloak takes a * at the end only: %s", text, hint)
		return
	}
	if strings.HasSuffix(text, "*") {
		c.refuseUnlessExempt(cl.ClientID, "no-wildcard-redirect", path, "%q is a wildcard (RFC 9700, 4.1.1): write each redirect URI in full", text)
	}
	c.plainHTTP(path, text)
}

func (c *checker) webOrigin(path, text string, cl *Client) {
	switch text {
	case "*":
		c.refuseUnlessExempt(cl.ClientID, "no-wildcard-origin", path, "* lets every site call Keycloak with this client: write origins such as https://app.example.com, or + for those of the redirect URIs")
		return
	case "+":
		return
	}
	u, err := url.Parse(text)
	if strings.Contains(text, "@") {
		c.errorf(path, "holds user info: write scheme, host and port only, such as https://app.example.com")
		return
	}
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || text != u.Scheme+"://"+u.Host || strings.Contains(text, "*") {
		c.errorf(path, "%q is not an origin: write scheme, host and port only, such as https://app.example.com", text)
		return
	}
	c.plainHTTP(path, text)
}

func (c *checker) authentication(cl *Client, path string) {
	secret := c.cfg.ClientSecrets[cl.ClientID]
	switch {
	case cl.Public() && cl.Authentication == "jwt":
		c.errorf(path+".authentication", "a client of kind %s is public: leave it out", cl.Kind)
	case cl.Public():
		if secret != "" {
			c.errorf(fmt.Sprintf("clientSecrets[%q]", cl.ClientID), "client %s is public and has no secret: remove it", cl.ClientID)
		}
	case cl.Authentication == "jwt":
		if (cl.JWKS == "") == (cl.JWKSURL == "") {
			c.errorf(path+".jwks", "private_key_jwt needs the client's public keys: set either jwks or jwksUrl")
		}
		if cl.JWKS != "" {
			c.jwks(path+".jwks", cl.JWKS)
		}
		if cl.JWKSURL != "" && c.httpURL(path+".jwksUrl", cl.JWKSURL) {
			c.plainHTTP(path+".jwksUrl", cl.JWKSURL)
		}
		if secret != "" {
			c.errorf(fmt.Sprintf("clientSecrets[%q]", cl.ClientID), "client %s authenticates by private_key_jwt: remove the secret", cl.ClientID)
		}
		return
	case secret == "" && cl.ClientID != "" && cl.Authentication == "secret":
		c.missingSecret("clientSecrets", cl.ClientID, "")
	}
	switch {
	case cl.JWKS == "" && cl.JWKSURL == "":
	case cl.Public():
		c.errorf(path+".jwks", "a client of kind %s is public and has no key: leave it out", cl.Kind)
	default:
		c.errorf(path+".jwks", "nothing reads it: set authentication to jwt")
	}
}

func (c *checker) scopes(cl *Client, path string) {
	check := func(path string, names []string) {
		for i, name := range names {
			if !slices.Contains(OptionalScopes, name) {
				c.errorf(fmt.Sprintf("%s[%d]", path, i), "%s", noneOf(name, OptionalScopes))
			}
		}
		c.twice(path, names)
	}
	check(path+".defaultScopes", cl.DefaultScopes)
	if cl.OptionalScopes != nil {
		check(path+".optionalScopes", *cl.OptionalScopes)
		for i, name := range *cl.OptionalScopes {
			if slices.Contains(cl.DefaultScopes, name) {
				c.errorf(fmt.Sprintf("%s.optionalScopes[%d]", path, i), "%q is in defaultScopes too", name)
			}
		}
	}
}

func (c *checker) mappers(cl *Client, path string) {
	seen := map[string]bool{}
	for i := range cl.Mappers {
		m := &cl.Mappers[i]
		at := fmt.Sprintf("%s.mappers[%d]", path, i)
		if seen[m.Name] {
			c.errorf(at+".name", "%q is declared twice", m.Name)
		}
		seen[m.Name] = true
		c.text(at+".name", m.Name)
		if strings.Contains(m.Name, "/") {
			c.errorf(at+".name", "%q: leave / out, which separates it from the client id in names of resources", m.Name)
		}
		switch m.Type {
		case "realmRoles":
			m.Claim = orDefault(m.Claim, "realm_access.roles")
		case "groups":
			m.Claim = orDefault(m.Claim, "groups")
		}
		if m.Type == "audience" && m.Claim != "" {
			c.errorf(at+".claim", "an audience goes into aud: leave it out")
		}
		if m.Type != "audience" && m.Claim == "" {
			c.errorf(at+".claim", "is missing: name the claim")
		}
		if slices.Contains([]string{"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "azp", "typ", "cnf"}, m.Claim) {
			c.errorf(at+".claim", "%q is a claim that the API relies on: choose another", m.Claim)
		}
		needsValue := m.Type != "realmRoles" && m.Type != "groups"
		if needsValue && m.Value == "" {
			c.errorf(at+".value", "is missing: set it to the audience, the client id, the user attribute or the value")
		}
		if !needsValue && m.Value != "" {
			c.errorf(at+".value", "nothing reads it for type %s: leave it out", m.Type)
		}
		first, _, _ := strings.Cut(m.Claim, ".")
		ofRoles := first == "realm_access" || first == "resource_access"
		switch m.Type {
		case "clientRoles":
			if _, ok := c.clientRoles[m.Value]; m.Value != "" && !ok && !BuiltInClient(m.Value) {
				c.errorf(at+".value", "client %q is not declared: add it to clients", m.Value)
			}
		case "userAttribute":
			if m.Value != "" && !c.attributes[m.Value] && !slices.Contains(builtInAttributes, m.Value) {
				c.errorf(at+".value", "attribute %q is not declared: add it to userAttributes", m.Value)
			}
			if ofRoles {
				c.errorf(at+".claim", "an attribute must not pose as a role: choose another claim")
			}
		case "hardcoded":
			if ofRoles {
				c.errorf(at+".claim", "a fixed value must not pose as a role: give the role")
			}
		}
	}
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
