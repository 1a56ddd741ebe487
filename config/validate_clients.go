package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"keycloak-model-api/guardrails"
)

// builtInClients are made by Keycloak in each realm.
var builtInClients = []string{"account", "account-console", "admin-cli", "broker", "realm-management", "security-admin-console"}

// OptionalScopes are what Keycloak offers each new client as optional.
var OptionalScopes = []string{"address", "phone", "organization", "offline_access", "microprofile-jwt"}

// BuiltInClient says whether Keycloak makes a client of this id itself.
func BuiltInClient(clientID string) bool { return slices.Contains(builtInClients, clientID) }

func (c *checker) clients() {
	c.clientRoles = make(map[string]map[string]bool, len(c.cfg.Clients))
	folded := map[string]string{} // client ids by lower case
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
		lower := strings.ToLower(cl.ClientID)
		if other, ok := folded[lower]; ok && other != cl.ClientID {
			c.errorf(path, "%q and %q differ only in case: their service accounts have one username, and many databases take the ids "+
				"for one", other, cl.ClientID)
		}
		folded[lower] = cl.ClientID
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
	c.flows(cl, path)
	c.redirects(cl, path)
	c.otherURLs(cl, path)
	c.authentication(cl, path)
	c.rolesInTokens(cl, path)
	c.serviceAccount(cl, path)
	c.scopes(cl, path)
	c.mappers(cl, path)
	c.serviceKey(cl, path)
	c.exchangeClient(cl, path)
	c.text(path+".name", cl.Name)
	c.text(path+".description", cl.Description)
	level := c.cfg.Level()
	c.duration(path+".accessTokenLifetime", cl.AccessTokenLifetime)
	c.duration(path+".offlineIdle", cl.OfflineIdle)
	c.duration(path+".offlineMax", cl.OfflineMax)
	if cl.ConsentRequired && !*cl.StandardFlow && !*cl.DeviceGrant {
		c.errorf(path+".consentRequired", "nobody is there to ask: set standardFlow or deviceGrant, or leave it out")
	}
	c.clientSession(path+".sessionIdle", cl.SessionIdle, "ssoIdle", c.cfg.Lifetimes.SSOIdle, level.SSOIdle)
	c.clientSession(path+".sessionMax", cl.SessionMax, "ssoMax", c.cfg.Lifetimes.SSOMax, level.SSOMax)
	if cl.Lightweight && cl.AccessTokenType == "at+jwt" {
		c.warnf(path+".lightweight", "an at+jwt access token must have aud (RFC 9068, 2.2), which a lightweight one lacks")
	}
}

// flows checks how tokens of a client are got, and what they carry of the user.
func (c *checker) flows(cl *Client, path string) {
	level, public := c.cfg.Level(), cl.Public()
	c.passwordGrant(cl, path+".directAccessGrants")
	if public && *cl.ServiceAccount {
		c.errorf(path+".serviceAccount", "a client of kind %s is public and can't have a service account: use kind service", cl.Kind)
	}
	if public && *cl.TokenExchange {
		c.errorf(path+".tokenExchange", "a client of kind %s is public and can't exchange tokens", cl.Kind)
	}
	switch flows := *cl.StandardFlow || *cl.DeviceGrant; {
	case *cl.PKCE && !flows:
		c.errorf(path+".pkce", "nothing can use it: set standardFlow or deviceGrant")
	case *cl.PKCE || !flows:
	case public:
		c.refusef(path+".pkce", "public client %s takes a code without PKCE (RFC 9700, 2.1.1): set it to true", cl.ClientID)
	default:
		c.unless(level.RefuseNoPKCE, path+".pkce", "client %s takes a code without PKCE (RFC 9700, 2.1.1): set it to true", cl.ClientID)
	}
	if *cl.FullScope {
		c.unless(level.RefuseFullScope, path+".fullScope", "tokens of client %s carry every role of the user, and account in their "+
			"audience", cl.ClientID)
	}
}

func (c *checker) passwordGrant(cl *Client, path string) {
	switch {
	case guardrails.TakesPasswords(*cl.DirectAccessGrants, *cl.StandardFlow) && !c.cfg.Dev():
		c.refuseUnlessExempt(cl.ClientID, guardrails.WebPasswordGrant, path,
			"people sign in to client %s by browser, and it must not take their passwords itself (RFC 9700, 2.4): leave it out, or add "+
				"an exemption from "+guardrails.WebPasswordGrant, cl.ClientID)
	case *cl.DirectAccessGrants:
		c.unless(c.cfg.Level().RefusePasswordGrant, path, "the password grant shows the user's password to client %s (RFC 9700, 2.4): "+
			"prefer the code flow", cl.ClientID)
	}
}

// redirects checks where browsers are sent to and may call from.
func (c *checker) redirects(cl *Client, path string) {
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
		at := fmt.Sprintf("%s.redirectUris[%d]", path, i)
		c.redirectURI(at, u, cl)
		c.text(at, u)
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
}

func (c *checker) otherURLs(cl *Client, path string) {
	if cl.BaseURL != "" {
		c.httpURL(path+".baseUrl", cl.BaseURL)
	}
	if cl.AdminURL != "" {
		c.httpURL(path+".adminUrl", cl.AdminURL)
	}
	if cl.RootURL != "" {
		c.httpURL(path+".rootUrl", cl.RootURL)
	}
	c.text(path+".rootUrl", cl.RootURL)
	c.name(path+".loginTheme", cl.LoginTheme)
	c.text(path+".baseUrl", cl.BaseURL)
	c.text(path+".adminUrl", cl.AdminURL)
	if cl.BackchannelLogoutURL != "" && c.httpURL(path+".backchannelLogoutUrl", cl.BackchannelLogoutURL) {
		c.plainHTTP(path+".backchannelLogoutUrl", cl.BackchannelLogoutURL)
	}
}

func (c *checker) rolesInTokens(cl *Client, path string) {
	if *cl.FullScope && len(cl.Roles) > 0 {
		c.errorf(path+".roles", "nothing reads it beside fullScope, which puts every role into tokens: leave one of them out")
	}
	c.known(path+".roles", cl.Roles, c.roles, "role", "roles")
	c.twice(path+".roles", cl.Roles)
	c.twice(path+".clientRoles", cl.ClientRoles)
	for i, r := range cl.ClientRoles {
		c.name(fmt.Sprintf("%s.clientRoles[%d]", path, i), r)
	}
}

func (c *checker) serviceAccount(cl *Client, path string) {
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
	if guardrails.HasWildcard(text) {
		c.refuseUnlessExempt(cl.ClientID, guardrails.WildcardRedirect, path,
			"%q is a wildcard (RFC 9700, 4.1.1): write each redirect URI in full", text)
	}
	c.plainHTTP(path, text)
}

func (c *checker) webOrigin(path, text string, cl *Client) {
	switch text {
	case "*":
		c.refuseUnlessExempt(cl.ClientID, guardrails.WildcardOrigin, path,
			"* lets every site call Keycloak with this client: write origins such as https://app.example.com, or + for those of the "+
				"redirect URIs")
		return
	case "+":
		return
	}
	u, err := url.Parse(text)
	if strings.Contains(text, "@") {
		c.errorf(path, "holds user info: write scheme, host and port only, such as https://app.example.com")
		return
	}
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || text != u.Scheme+"://"+u.Host ||
		strings.Contains(text, "*") {
		c.errorf(path, "%q is not an origin: write scheme, host and port only, such as https://app.example.com", text)
		return
	}
	c.plainHTTP(path, text)
}

func (c *checker) authentication(cl *Client, path string) {
	secret := c.cfg.ClientSecrets[cl.ClientID]
	at := fmt.Sprintf("clientSecrets[%q]", cl.ClientID)
	switch jwt := cl.Authentication == "jwt"; {
	case cl.Public():
		if jwt {
			c.errorf(path+".authentication", "a client of kind %s is public: leave it out", cl.Kind)
		} else if secret != "" {
			c.errorf(at, "client %s is public and has no secret: remove it", cl.ClientID)
		}
		c.noKeys(cl, path+".jwks", fmt.Sprintf("a client of kind %s is public and has no key: leave it out", cl.Kind))
	case jwt:
		c.keysOf(cl, path)
		if secret != "" {
			c.errorf(at, "client %s authenticates by private_key_jwt: remove the secret", cl.ClientID)
		}
	default:
		if secret == "" && cl.ClientID != "" && cl.Authentication == "secret" {
			c.missingSecret("clientSecrets", cl.ClientID, "")
		}
		c.noKeys(cl, path+".jwks", "nothing reads it: set authentication to jwt")
	}
}

func (c *checker) noKeys(cl *Client, path, why string) {
	if cl.JWKS != "" || cl.JWKSURL != "" {
		c.errorf(path, "%s", why)
	}
}

// keysOf checks the public keys of a client that authenticates by
// private_key_jwt.
func (c *checker) keysOf(cl *Client, path string) {
	if (cl.JWKS == "") == (cl.JWKSURL == "") {
		c.errorf(path+".jwks", "private_key_jwt needs the client's public keys: set either jwks or jwksUrl")
	}
	if cl.JWKS != "" {
		c.jwks(path+".jwks", cl.JWKS)
	}
	if cl.JWKSURL != "" && c.httpURL(path+".jwksUrl", cl.JWKSURL) {
		c.plainHTTP(path+".jwksUrl", cl.JWKSURL)
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
	c.offlineCallers(path, cl)
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
		c.mapperClaim(m, at+".claim")
		c.mapperValue(m, at+".value")
	}
}

// reliedOn are claims that the API or Keycloak reads for themselves: no mapper
// may set them.
var reliedOn = []string{
	"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "azp", "typ", "cnf", "sid", "client_id",
	"acr", "auth_time", "loa_map", // how a person signed in
}

func (c *checker) mapperClaim(m *Mapper, path string) {
	if m.Type == "audience" && m.Claim != "" {
		c.errorf(path, "an audience goes into aud: leave it out")
	}
	if m.Type != "audience" && m.Claim == "" {
		c.errorf(path, "is missing: name the claim")
	}
	if slices.Contains(reliedOn, m.Claim) {
		c.errorf(path, "%q is a claim that the API relies on: choose another", m.Claim)
	}
	// What decides on access must come from roles and groups themselves.
	first, _, _ := strings.Cut(m.Claim, ".")
	ofRoles := first == "realm_access" || first == "resource_access"
	ofGroups := first == "groups" && c.cfg.GroupsDecide()
	switch {
	case m.Type == "userAttribute" && ofRoles:
		c.errorf(path, "an attribute must not pose as a role: choose another claim")
	case m.Type == "hardcoded" && ofRoles:
		c.errorf(path, "a fixed value must not pose as a role: give the role")
	case m.Type != "groups" && ofGroups:
		c.errorf(path, "models ask for groups, and nothing else must pose as one: choose another claim")
	}
}

func (c *checker) mapperValue(m *Mapper, path string) {
	needed := m.Type != "realmRoles" && m.Type != "groups"
	switch {
	case needed && m.Value == "":
		c.errorf(path, "is missing: set it to the audience, the client id, the user attribute or the value")
	case !needed && m.Value != "":
		c.errorf(path, "nothing reads it for type %s: leave it out", m.Type)
	case m.Type == "clientRoles":
		if _, ok := c.clientRoles[m.Value]; !ok && !BuiltInClient(m.Value) {
			c.errorf(path, "client %q is not declared: add it to clients%s", m.Value,
				didYouMean(m.Value, slices.Sorted(maps.Keys(c.clientRoles))))
		}
	case m.Type == "userAttribute":
		if !c.attributes[m.Value] && !slices.Contains(builtInAttributes, m.Value) {
			c.errorf(path, "attribute %q is not declared: add it to userAttributes%s", m.Value,
				didYouMean(m.Value, slices.Sorted(maps.Keys(c.attributes))))
		}
	}
}
