package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"keycloak-model-api/guardrails"
	"keycloak-model-api/policy"
)

// checker validates what the decoder has filled. What a stack must not do
// outside dev, and may do there, is a refusal; it turns into a warning in dev.
type checker struct {
	*decoder
	cfg      *Config
	unread   []problem // what the decoder has reported
	userPath []string  // where each of cfg.Users stands
	warnings []problem

	roles       map[string]bool // realm roles that the stack makes
	groups      map[string]bool
	clientRoles map[string]map[string]bool // by client id
	attributes  map[string]bool
}

// errorf reports a problem, unless the decoder has reported the same key or one
// around it: what could not be read is not wrong in other ways too.
func (c *checker) errorf(path, format string, args ...any) {
	for _, p := range c.unread {
		if rest, ok := strings.CutPrefix(path, p.path); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return
		}
	}
	c.decoder.errorf(path, format, args...)
}

func (c *checker) warnf(path, format string, args ...any) {
	c.warnings = append(c.warnings, problem{path, fmt.Sprintf(format, args...)})
}

func (c *checker) refusef(path, format string, args ...any) {
	if c.cfg.Dev() {
		c.warnf(path, format+" (refused outside environment dev)", args...)
		return
	}
	c.errorf(path, format, args...)
}

// unless refuses where level says so and warns otherwise.
func (c *checker) unless(refuse bool, path, format string, args ...any) {
	if refuse {
		c.refusef(path, format, args...)
		return
	}
	c.warnf(path, format, args...)
}

// refuseUnlessExempt refuses what a guardrail would refuse too, with the key that
// says it, and leaves an exempt resource to the guardrail.
func (c *checker) refuseUnlessExempt(resource, rule, path, format string, args ...any) {
	for _, e := range c.cfg.Exemptions {
		if e.Resource == resource && e.Rule == rule {
			return
		}
	}
	c.refusef(path, format, args...)
}

func (c *checker) all() {
	c.realm()
	c.settings()
	c.policies()
	c.lifetimes()
	c.events()
	c.keys()
	c.models()
	c.realmRoles()
	c.realmGroups()
	c.signIn()
	c.userAttributes()
	c.clients()
	c.checkLimits()
	c.users()
	c.identityProviders()
	c.ldap()
	c.exemptions()
	c.secrets()
}

var (
	realmName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,35}$`) // Keycloak keeps the id, which is the name, in 36 characters
	// The provider puts names into paths of URLs as they are.
	plainName = regexp.MustCompile(`^[^\s\x00-\x1f\x7f/%?#;\\]([^\x00-\x1f\x7f/%?#;\\]{0,253}[^\s\x00-\x1f\x7f/%?#;\\])?$`)
	// badUsername is what Keycloak's user profile refuses in a username.
	badUsername = regexp.MustCompile(`[<>&"'\s\p{Z}\x{85}$%!#?§,;:*~/\\|^=\[\]{}()\x00-\x1f\x7f` + "`" + `]|[^\p{Latin}\p{Common}]`)
	// emailHost is what it takes for the host of an email address.
	emailHost     = regexp.MustCompile(`^(\[[0-9.]+\]|[\p{L}\p{N}]([\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?(\.[\p{L}\p{N}]([\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?)*)$`)
	badPersonName = regexp.MustCompile(`[<>&"$%!#?§;*~/\\|^=\[\]{}()\x00-\x1f\x7f\x{85}\x{2028}\x{2029}]`)
	// wideRune is a rune of two UTF-16 code units, which no email address may hold.
	wideRune      = regexp.MustCompile(`[\x{10000}-\x{10ffff}]`)
	attributeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)
	envName       = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	scopeToken    = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`)
	actionName    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
)

func (c *checker) realm() {
	cfg := c.cfg
	if cfg.Realm != "" && !realmName.MatchString(cfg.Realm) {
		c.errorf("realm", "%q can't be a realm's name: use 1 to 36 letters, digits, dots, underscores and hyphens", cfg.Realm)
	}
	if cfg.Realm == "master" {
		c.errorf("realm", "master is Keycloak's own realm of administrators: choose another name")
	}
	switch {
	case cfg.keycloakURL == "":
		c.errorf("publicUrl", "the issuer can't be known: set publicUrl, keycloak:url or KEYCLOAK_URL to Keycloak's URL")
	default:
		path := "publicUrl"
		if cfg.PublicURL == "" {
			path = "keycloak:url"
		}
		c.httpURL(path, cfg.keycloakURL)
		if strings.Contains(cfg.keycloakURL, "/realms") {
			c.errorf(path, "%q: leave /realms out", cfg.keycloakURL)
		}
	}
	if cfg.APIURL != "" && c.httpURL("apiUrl", cfg.APIURL) {
		c.plainHTTP("apiUrl", cfg.APIURL)
	}
	c.text("displayName", cfg.DisplayName)
	c.name("baseRole", cfg.BaseRole)
}

// duration returns 0 for an empty text.
func (c *checker) duration(path, text string) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err == nil && d >= 1<<31*time.Second {
		c.errorf(path, "%q is more seconds than Keycloak counts: at most 596523h", text)
		return 0
	}
	if err != nil || d <= 0 || d%time.Second != 0 {
		c.errorf(path, "%q is not a duration: write whole seconds, minutes or hours such as 30s, 5m or 10h", text)
		return 0
	}
	return d
}

func (c *checker) lifetimes() {
	l := c.cfg.Lifetimes
	access := c.duration("lifetimes.accessToken", l.AccessToken)
	idle := c.duration("lifetimes.ssoIdle", l.SSOIdle)
	most := c.duration("lifetimes.ssoMax", l.SSOMax)
	offlineIdle := c.duration("lifetimes.offlineIdle", l.OfflineIdle)
	offlineMax := c.duration("lifetimes.offlineMax", l.OfflineMax)
	c.duration("lifetimes.deviceCode", l.DeviceCode)
	c.duration("lifetimes.authorizationCode", l.AuthorizationCode)
	c.duration("lifetimes.login", l.Login)
	c.duration("lifetimes.loginAction", l.LoginAction)
	c.duration("lifetimes.userMail", l.UserMail)
	c.duration("lifetimes.adminMail", l.AdminMail)
	c.duration("lifetimes.devicePolling", l.DevicePolling)
	c.rememberMe(l)
	level := c.cfg.Level()
	c.within("lifetimes.ssoIdle", idle, level.SSOIdle, "lifetimes.ssoMax", most, level.SSOMax)
	c.within("lifetimes.offlineIdle", offlineIdle, level.OfflineIdle, "lifetimes.offlineMax", offlineMax, level.OfflineMax)
	c.clientSession("lifetimes.clientSessionIdle", l.ClientSessionIdle, "ssoIdle", l.SSOIdle, level.SSOIdle)
	c.clientSession("lifetimes.clientSessionMax", l.ClientSessionMax, "ssoMax", l.SSOMax, level.SSOMax)
	if access > time.Hour {
		c.warnf("lifetimes.accessToken", "%s: a stolen token is good for that long; minutes are usual", l.AccessToken)
	}
	if r := l.RefreshTokenReuse; r != nil && (*r < 0 || *r > 1000) {
		c.errorf("lifetimes.refreshTokenReuse", "%d: use 0 to 1000", *r)
	}
}

// within compares what the realm will have: what is given, otherwise the level's.
// A bound of 0 is none. Keycloak takes both, and ends the session at the bound.
func (c *checker) within(path string, idle, levelIdle time.Duration, bound string, most, levelMost time.Duration) {
	switch {
	case idle > 0 && most > 0 && idle > most:
		c.errorf(path, "%s is longer than %s, %s", idle, bound, most)
	case cmp.Or(most, levelMost) > 0 && cmp.Or(idle, levelIdle) > cmp.Or(most, levelMost):
		c.warnf(path, "%s is longer than %s, %s, which ends the session: set both", cmp.Or(idle, levelIdle), bound, cmp.Or(most, levelMost))
	}
}

// rememberMe is refused where nobody can be remembered.
func (c *checker) rememberMe(l Lifetimes) {
	idle, most := c.duration("lifetimes.rememberMeIdle", l.RememberMeIdle), c.duration("lifetimes.rememberMeMax", l.RememberMeMax)
	if idle > 0 && most > 0 && idle > most {
		c.errorf("lifetimes.rememberMeIdle", "%s is longer than lifetimes.rememberMeMax, %s", idle, most)
	}
	for key, text := range map[string]string{"rememberMeIdle": l.RememberMeIdle, "rememberMeMax": l.RememberMeMax} {
		if text != "" && !c.cfg.Login.RememberMe {
			c.warnf("lifetimes."+key, "takes effect only with login.rememberMe")
		}
	}
}

func (c *checker) events() {
	e := c.cfg.Events
	c.duration("events.keepFor", e.KeepFor)
	c.duration("events.keepAdminFor", e.KeepAdminFor)
	c.eventTypes(e)
	if e.Kept(c.cfg.Level()) {
		return
	}
	if e.KeepFor != "" {
		c.errorf("events.keepFor", "no events are kept: set events.enabled, or leave it out")
	}
	for _, key := range []struct {
		name string
		set  bool
	}{{"adminDetails", e.AdminDetail != nil}, {"keepAdminFor", e.KeepAdminFor != ""}, {"types", e.Types != nil},
		{"listeners", e.Listeners != nil}} {
		if key.set {
			c.errorf("events."+key.name, "no events are kept: set events.enabled, or leave it out")
		}
	}
}

func (c *checker) keys() {
	seen := map[string]bool{"rsa-generated": true, "rsa-enc-generated": true, "hmac-generated-hs512": true, "aes-generated": true}
	for i, k := range c.cfg.SigningKeys {
		path := fmt.Sprintf("signingKeys[%d]", i)
		c.name(path+".name", k.Name)
		if seen[k.Name] {
			c.errorf(path+".name", "%q is taken: give each key a name of its own", k.Name)
		}
		seen[k.Name] = true
		if strings.HasPrefix(k.Algorithm, "ES") && k.Size != 2048 {
			c.errorf(path+".size", "nothing reads it for %s, whose curve says the size: leave it out", k.Algorithm)
		}
		if isTrue(k.Active) && !isTrue(k.Enabled) {
			c.warnf(path, "active, but not enabled: it is not even published")
		}
	}
	if c.cfg.RetireKey.ComponentID != "" && !slices.ContainsFunc(c.cfg.SigningKeys,
		func(k SigningKey) bool { return k.Signs() && k.Algorithm == "RS256" }) {
		c.errorf("retireGeneratedKey", "takes away the only RS256 key, by which Keycloak's own clients, such as the account console, "+
			"sign: add an active key with algorithm RS256 to signingKeys")
	}
}

func (c *checker) models() {
	seen, roleOf := map[string]bool{}, map[string]string{}
	for i := range c.cfg.Models {
		m := &c.cfg.Models[i]
		path := fmt.Sprintf("models[%d]", i)
		if err := policy.CheckModelName(m.Protocol, m.Name); m.Name != "" && err != nil {
			c.errorf(path+".name", "%q: %v", m.Name, err)
		}
		if seen[m.Name] {
			c.errorf(path+".name", "%q is declared twice", m.Name)
		}
		seen[m.Name] = true
		if (m.Embedded == "") == (m.Upstream == nil) {
			c.errorf(path, "set either embedded (such as iris) or upstream.url")
		}
		if m.Embedded != "" && m.Protocol != policy.ProtocolOIP {
			c.errorf(path+".protocol", "embedded models speak %s alone", policy.ProtocolOIP)
		}
		if m.Upstream != nil {
			c.upstream(path+".upstream", m)
		}
		if m.Stateful && m.Protocol != policy.ProtocolOpenAI {
			c.errorf(path+".stateful", "is for the protocol %s", policy.ProtocolOpenAI)
		}
		if m.Body != nil && m.Embedded != "" {
			c.errorf(path+".body", "is for models that run elsewhere")
		} else if m.Body != nil {
			body := policy.Body{Allow: m.Body.Allow}
			if slices.Contains(policy.PrincipalMembers(), m.Body.Principal) { // otherwise the enum says so
				body.Principal = m.Body.Principal
			}
			for _, err := range body.Check(m.Protocol) {
				c.errorf(path+".body", "%v", err)
			}
		}
		if m.Roles != nil && m.Allow.Roles != nil {
			c.errorf(path+".roles", "is short for allow.roles, which is there too: leave one of them out")
		}
		if roles := m.AllowedRoles(); m.Roles == nil && m.Allow.Roles == nil && len(roles) == 1 {
			if other, taken := roleOf[roles[0]]; taken && other != m.Name {
				c.errorf(path+".name", "the role %s is that of the model %q, too, whose callers would be this one's: set roles for one "+
					"of them", roles[0], other)
			}
			roleOf[roles[0]] = m.Name
		}
		c.realmRoleNames(path+".roles", m.Name, m.Roles)
		c.allow(path+".allow", m)
		c.modelSignIn(path+".authentication", m.Authentication)
	}
}

// upstream checks where the server of a model runs.
func (c *checker) upstream(path string, m *Model) {
	if err := policy.CheckUpstreamURL(m.Protocol, m.Upstream.URL); err != nil {
		c.errorf(path+".url", "%v", err)
	}
	if err := policy.CheckUpstreamModel(m.Protocol, m.Upstream.Model); err != nil {
		c.errorf(path+".model", "%v", err)
	}
	if err := policy.CheckPaths(m.Protocol, m.Upstream.Paths); err != nil {
		c.errorf(path+".paths", "%v", err)
	}
	if m.Upstream.TLS != nil {
		tls := policy.TLS(*m.Upstream.TLS)
		if err := tls.Check(m.Upstream.URL); err != nil {
			c.errorf(path+".tls", "%v", err)
		}
	}
	c.identity(path, m.Upstream)
	if m.Upstream.CredentialHeader != "" && m.Upstream.Credential == "" {
		c.errorf(path+".credentialHeader", "is for a credential: name one")
	}
	if m.Upstream.Credential != "" && !envName.MatchString(m.Upstream.Credential) {
		c.errorf(path+".credential", "must be the name of an environment variable of the API, never the credential itself")
	}
}

// allow checks who may call a model. Groups and clients are checked where they
// are known.
func (c *checker) allow(path string, m *Model) {
	a := &m.Allow
	c.realmRoleNames(path+".roles", m.Name, a.Roles)
	c.realmRoleNames(path+".allRoles", m.Name, a.AllRoles)
	groups, clients := map[string]bool{}, map[string]bool{}
	for _, g := range c.cfg.Groups {
		groups[g.Name] = true
	}
	for i := range c.cfg.Clients {
		clients[c.cfg.Clients[i].ClientID] = true
	}
	for i, g := range a.Groups {
		if !strings.HasPrefix(g, "/") {
			c.knownOne(fmt.Sprintf("%s.groups[%d]", path, i), g, groups, "group", "groups, or write the full path of one that LDAP brings")
		}
	}
	c.known(path+".clients", a.Clients, clients, "client", "clients")
	for i, s := range a.Scopes {
		if !scopeToken.MatchString(s) {
			c.errorf(fmt.Sprintf("%s.scopes[%d]", path, i), "%q can't be a scope (RFC 6749, 3.3): write one, without spaces", s)
		}
	}
	for i, action := range a.Actions {
		if known := policy.Actions(m.Protocol); !slices.Contains(known, action) {
			c.errorf(fmt.Sprintf("%s.actions[%d]", path, i), "%s", noneOf(action, known))
		}
	}
	for _, kind := range []struct {
		key    string
		values []string
	}{{".groups", a.Groups}, {".clients", a.Clients}, {".scopes", a.Scopes}, {".actions", a.Actions}} {
		c.notEmpty(path+kind.key, kind.values)
		c.twice(path+kind.key, kind.values)
	}
}

// realmRoleNames checks the roles that a model names, which the stack makes.
func (c *checker) realmRoleNames(path, model string, roles []string) {
	if roles != nil && len(roles) == 0 {
		c.errorf(path, "is empty: nobody could call the model; leave it out for the role %s", policy.DefaultRole(model))
	}
	for i, r := range roles {
		c.name(fmt.Sprintf("%s[%d]", path, i), r)
	}
	c.twice(path, roles)
}

func (c *checker) notEmpty(path string, values []string) {
	if values != nil && len(values) == 0 {
		c.errorf(path, "is empty: nobody could call the model; leave it out for any")
	}
}

func (c *checker) realmRoles() {
	builtIn := map[string]bool{"offline_access": true, "uma_authorization": true, "default-roles-" + strings.ToLower(c.cfg.Realm): true}
	seen := map[string]bool{}
	for i, r := range c.cfg.Roles {
		path := fmt.Sprintf("roles[%d].name", i)
		c.name(path, r.Name)
		if seen[r.Name] {
			c.errorf(path, "%q is declared twice", r.Name)
		}
		seen[r.Name] = true
	}
	made := c.cfg.RealmRoles()
	c.roles = make(map[string]bool, len(made))
	edges := make(map[string][]string, len(made))
	for _, r := range made {
		if builtIn[r.Name] {
			c.errorf("roles", "%q is a role that Keycloak makes itself: choose another name", r.Name)
		}
		if client, ok := strings.CutPrefix(r.Name, ScopeRole("")); ok && c.cfg.holdsClientRoles(client) {
			c.errorf("roles", "%q is a role that the stack makes for the tokens of client %s: choose another name", r.Name, client)
		}
		c.roles[r.Name] = true
		if r.Name != "" {
			edges[r.Name] = r.Composites
		}
	}
	for i, r := range c.cfg.Roles {
		path := fmt.Sprintf("roles[%d].composites", i)
		c.known(path, r.Composites, c.roles, "role", "roles")
		c.twice(path, r.Composites)
		c.text(fmt.Sprintf("roles[%d].description", i), r.Description)
		c.attributeValues(fmt.Sprintf("roles[%d].attributes", i), r.Attributes)
	}
	if cycle := findCycle(edges); cycle != nil {
		c.errorf("roles", "composites go round in a circle: %s", strings.Join(cycle, " → "))
	}
}

func (c *checker) realmGroups() {
	c.groups = make(map[string]bool, len(c.cfg.Groups))
	edges := map[string][]string{}
	for i, g := range c.cfg.Groups {
		path := fmt.Sprintf("groups[%d]", i)
		c.name(path+".name", g.Name)
		if c.groups[g.Name] {
			c.errorf(path+".name", "%q is declared twice: names are unique among all groups", g.Name)
		}
		c.groups[g.Name] = true
		if g.Parent != "" {
			edges[g.Name] = []string{g.Parent}
		}
	}
	for i, g := range c.cfg.Groups {
		path := fmt.Sprintf("groups[%d]", i)
		c.knownOne(path+".parent", g.Parent, c.groups, "group", "groups")
		c.known(path+".roles", g.Roles, c.roles, "role", "roles")
		c.twice(path+".roles", g.Roles)
		c.attributeValues(path+".attributes", g.Attributes)
	}
	if cycle := findCycle(edges); cycle != nil {
		c.errorf("groups", "parents go round in a circle: %s", strings.Join(cycle, " → "))
	}
}

// builtInAttributes are those that every user has.
var builtInAttributes = []string{"username", "email", "firstName", "lastName"}

func (c *checker) userAttributes() {
	c.attributes = map[string]bool{}
	for i, a := range c.cfg.UserAttributes {
		path := fmt.Sprintf("userAttributes[%d].name", i)
		switch {
		case a.Name == "":
		case slices.Contains(builtInAttributes, a.Name):
			c.errorf(path, "%s is always there: leave it out", a.Name)
		case !attributeName.MatchString(a.Name):
			c.errorf(path, "%q: use letters, digits, dots, underscores and hyphens", a.Name)
		case c.attributes[a.Name]:
			c.errorf(path, "%q is declared twice", a.Name)
		}
		c.attributes[a.Name] = true
	}
}

func (c *checker) users() {
	names, emails := map[string]bool{}, map[string]bool{}
	for i := range c.cfg.Users {
		u, path := &c.cfg.Users[i], c.userPath[i]
		c.username(u.Username, path+".username", names)
		if u.Email != "" {
			c.email(u.Email, path+".email", emails)
		}
		c.personName(u.FirstName, path+".firstName")
		c.personName(u.LastName, path+".lastName")
		c.attributesOf(u, path)
		c.known(path+".roles", u.Roles, c.roles, "role", "roles")
		c.twice(path+".roles", u.Roles)
		c.known(path+".groups", u.Groups, c.groups, "group", "groups")
		c.twice(path+".groups", u.Groups)
		for j, a := range u.RequiredActions {
			if !actionName.MatchString(a) {
				c.errorf(fmt.Sprintf("%s.requiredActions[%d]", path, j),
					"%q is not a required action: write one such as CONFIGURE_TOTP, UPDATE_PROFILE or VERIFY_EMAIL", a)
			}
		}
		c.password(u, path, c.cfg.Level().PasswordLength)
	}
	for i := range c.cfg.Users {
		if u := &c.cfg.Users[i]; c.cfg.Login.WithEmail && u.Email != u.Username && names[u.Email] {
			c.errorf(c.userPath[i]+".email", "%q is the username of another user, and a login may give either", u.Email)
		}
	}
}

// username adds the name to those that are taken.
func (c *checker) username(name, path string, taken map[string]bool) {
	switch {
	case name == "":
		c.errorf(path, "is missing")
	case name != strings.ToLower(name):
		c.errorf(path, "%q has upper case, which Keycloak does not keep: write %q", name, strings.ToLower(name))
	case len([]rune(name)) < 3 || utf16Length(name) > 255:
		c.errorf(path, "%q: Keycloak takes 3 to 255 characters", name)
	case badUsername.MatchString(name):
		c.errorf(path, "%q holds a character that Keycloak refuses: use letters, digits, dots, underscores, hyphens and @", name)
	case taken[name]:
		c.errorf(path, "%q is declared twice", name)
	case strings.HasPrefix(name, "service-account-"):
		c.errorf(path, "%q: Keycloak keeps service-account- for the service accounts of clients", name)
	}
	taken[name] = true
}

// email adds the address to those that are taken.
func (c *checker) email(email, path string, taken map[string]bool) {
	at := strings.LastIndex(email, "@")
	a, err := mail.ParseAddress(email)
	switch {
	case err != nil || a.Address != email || !emailHost.MatchString(email[at+1:]) || wideRune.MatchString(email):
		c.errorf(path, "%q is not an email address", email)
	case email != strings.ToLower(email):
		c.errorf(path, "%q has upper case, which Keycloak does not keep: write %q", email, strings.ToLower(email))
	case len(email) > 255:
		c.text(path, email)
	case at > 64:
		c.errorf(path, "%q: Keycloak takes 64 characters before the @", email)
	case taken[email] && !c.cfg.Login.DuplicateEmails:
		c.errorf(path, "%q belongs to two users", email)
	}
	taken[email] = true
}

func (c *checker) personName(name, path string) {
	if n := utf16Length(name); n > 255 {
		c.errorf(path, "has %d characters: Keycloak keeps 255 at most", n)
	} else if badPersonName.MatchString(name) {
		c.errorf(path, "%q holds a character that Keycloak refuses in the name of a person", name)
	}
}

func (c *checker) attributesOf(u *User, path string) {
	for _, name := range slices.Sorted(maps.Keys(u.Attributes)) {
		at := fmt.Sprintf("%s.attributes[%q]", path, name)
		switch value := u.Attributes[name]; {
		case !c.attributes[name]:
			c.errorf(at, "Keycloak drops what is not declared: add it to userAttributes%s",
				didYouMean(name, slices.Sorted(maps.Keys(c.attributes))))
		case value == "":
			c.errorf(at, "is empty, which Keycloak drops: leave it out")
		case strings.Contains(value, "##"):
			c.errorf(at, "holds ##, by which the provider separates values: an attribute has one")
		}
	}
	for j, a := range c.cfg.UserAttributes {
		if a.Required && u.Attributes[a.Name] == "" {
			c.errorf(path+".attributes", "%q is missing: userAttributes[%d] says that users must have it", a.Name, j)
		}
	}
}

// utf16Length counts as Keycloak's validators and password policy do: a rune
// beyond U+FFFF, such as an emoji, is two.
func utf16Length(text string) int { return len(utf16.Encode([]rune(text))) }

// password checks the initial password before Keycloak does: a password that it
// refuses leaves the user there but not in the state.
func (c *checker) password(u *User, path string, least int) {
	switch u.Password {
	case "none":
		return
	case "permanent", "temporary":
	default:
		c.errorf(path+".password", "%s", noneOf(u.Password, []string{"temporary", "permanent", "none"}))
		return
	}
	if u.Password == "permanent" && !c.cfg.Dev() {
		c.refuseUnlessExempt(u.Username, guardrails.LastingPassword, path+".password",
			"permanent: who knows the configuration must not know a user's password: write temporary, or add an exemption from "+
				"no-lasting-password")
	}
	if u.Email == "" || u.FirstName == "" || u.LastName == "" {
		c.warnf(path, "has a password but lacks email, firstName or lastName: Keycloak refuses its password grant")
	}
	password, ok := c.cfg.InitialPasswords[u.Username]
	if !ok || password == "" {
		c.missingSecret("initialPasswords", u.Username, " (or set "+path+".password to none)")
		return
	}
	key := fmt.Sprintf("initialPasswords[%q]", u.Username)
	if utf16Length(password) < least {
		c.errorf(key, "is too short: hardening %s demands %d characters", c.cfg.Hardening, least)
	}
	if least > 0 && (strings.EqualFold(password, u.Username) || (u.Email != "" && strings.EqualFold(password, u.Email))) {
		c.errorf(key, "is the username or the email address: hardening %s refuses that", c.cfg.Hardening)
	}
}

func (c *checker) identityProviders() {
	seen := map[string]bool{}
	for i, p := range c.cfg.IdentityProviders {
		path := fmt.Sprintf("identityProviders[%d]", i)
		if p.Alias != "" && !attributeName.MatchString(p.Alias) {
			c.errorf(path+".alias", "%q stands in URLs: use letters, digits, dots, underscores and hyphens", p.Alias)
		}
		if seen[p.Alias] {
			c.errorf(path+".alias", "%q is declared twice", p.Alias)
		}
		seen[p.Alias] = true
		c.text(path+".displayName", p.DisplayName)
		for _, u := range []struct{ key, url string }{
			{"issuer", p.Issuer},
			{"authorizationUrl", p.AuthorizationURL},
			{"tokenUrl", p.TokenURL},
			{"jwksUrl", p.JWKSURL},
			{"logoutUrl", p.LogoutURL},
			{"userInfoUrl", p.UserInfoURL},
		} {
			if u.url != "" && c.httpURL(path+"."+u.key, u.url) {
				c.plainHTTP(path+"."+u.key, u.url)
			}
		}
		for j, m := range p.RoleMappings {
			c.text(fmt.Sprintf("%s.roleMappings[%d]", path, j), m.MapperName())
			c.knownOne(fmt.Sprintf("%s.roleMappings[%d].role", path, j), m.Role, c.roles, "role", "roles")
			if slices.Contains(p.RoleMappings[:j], m) {
				c.errorf(fmt.Sprintf("%s.roleMappings[%d]", path, j), "is there twice")
			}
		}
		for _, claim := range slices.Sorted(maps.Keys(p.AttributeMappings)) {
			attribute := p.AttributeMappings[claim]
			c.text(fmt.Sprintf("%s.attributeMappings[%q]", path, claim), AttributeMapperName(claim, attribute))
			if !c.attributes[attribute] && !slices.Contains(builtInAttributes, attribute) {
				c.errorf(fmt.Sprintf("%s.attributeMappings[%q]", path, claim),
					"attribute %q is not declared: add it to userAttributes", attribute)
			}
		}
		if p.Alias != "" && c.cfg.FederationSecrets[p.Alias] == "" {
			c.missingSecret("federationSecrets", p.Alias, "")
		}
	}
}

func (c *checker) ldap() {
	seen := map[string]bool{}
	for i, l := range c.cfg.LDAP {
		path := fmt.Sprintf("ldap[%d]", i)
		if seen[l.Name] {
			c.errorf(path+".name", "%q is declared twice", l.Name)
		}
		seen[l.Name] = true
		c.text(path+".name", l.Name)
		c.ldapURLs(&l, path)
		for _, name := range slices.Sorted(maps.Keys(l.Attributes)) {
			if at := fmt.Sprintf("%s.attributes[%q]", path, name); slices.Contains(builtInAttributes, name) {
				c.errorf(at, "Keycloak itself maps it: leave it out")
			} else if !c.attributes[name] {
				c.errorf(at, "is not declared: add it to userAttributes")
			}
		}
		if l.BindDN != "" && c.cfg.FederationSecrets[l.Name] == "" {
			c.missingSecret("federationSecrets", l.Name, " (without bindDn the search is anonymous, but an account that Keycloak "+
				"already has stays there)")
		}
	}
}

func (c *checker) ldapURLs(l *LDAP, path string) {
	for j, target := range strings.Fields(l.URL) {
		u, err := url.Parse(target)
		switch {
		case strings.Contains(target, "@") && (err != nil || u.User != nil): // it may hold a password
			c.errorf(path+".url", "holds user info: set bindDn, and its password in federationSecrets")
		case err != nil || u.Host == "" || u.Scheme != "ldap" && u.Scheme != "ldaps":
			c.errorf(path+".url", "%q is not an ldap:// or ldaps:// URL", target)
		case u.Scheme == "ldaps" && l.StartTLS:
			c.errorf(path+".startTls", "ldaps:// is encrypted already: leave startTls out")
		case u.Scheme == "ldap" && !l.StartTLS && j == 0 && !loopback(u.Hostname()):
			c.unless(c.cfg.Level().RefusePlainHTTP, path+".url", "passwords would cross the network in the clear: use ldaps:// or startTls")
		}
	}
}

func (c *checker) exemptions() {
	var rules []string
	for _, r := range guardrails.Rules() {
		rules = append(rules, r.Name)
	}
	for i, e := range c.cfg.Exemptions {
		if e.Rule != "" && !slices.Contains(rules, e.Rule) {
			c.errorf(fmt.Sprintf("exemptions[%d].rule", i), "%s", noneOf(e.Rule, rules))
		}
		if e.Reason != "" && len(strings.Fields(e.Reason)) < 2 {
			c.errorf(fmt.Sprintf("exemptions[%d].reason", i), "%q explains nothing: write a sentence", e.Reason)
		}
	}
}

// secrets warns of secrets that nothing uses: often the name is misspelled.
func (c *checker) secrets() {
	users, clients, federated := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range c.cfg.Users {
		users[c.cfg.Users[i].Username] = true
	}
	for i := range c.cfg.Clients {
		clients[c.cfg.Clients[i].ClientID] = true
	}
	for _, p := range c.cfg.IdentityProviders {
		federated[p.Alias] = true
	}
	for _, l := range c.cfg.LDAP {
		federated[l.Name] = true
	}
	unused := func(key string, secrets Secrets, names map[string]bool, what string) {
		for _, name := range slices.Sorted(maps.Keys(secrets)) {
			if !names[name] {
				c.warnf(fmt.Sprintf("%s[%q]", key, name), "no %s of that name is declared", what)
			}
		}
	}
	unused("clientSecrets", c.cfg.ClientSecrets, clients, "client")
	unused("initialPasswords", c.cfg.InitialPasswords, users, "user")
	unused("federationSecrets", c.cfg.FederationSecrets, federated, "identity provider or LDAP directory")
}

func (c *checker) missingSecret(key, name, or string) {
	c.errorf(fmt.Sprintf("%s[%q]", key, name), "is missing; run: pulumi config set --secret --path '%s[%q]'%s", key, name, or)
}

// name checks the name of a role, group, key or the like. A missing one is the
// decoder's to report.
func (c *checker) name(path, name string) {
	if name != "" && !plainName.MatchString(name) {
		c.errorf(path, "%q: leave control characters, spaces at the ends and / %% ? # ; \\ out, 255 characters at most", name)
	} else if name == "." || name == ".." {
		c.errorf(path, "%q can't stand in a URL: choose another name", name)
	}
}

// text checks what Keycloak's database keeps in 255 characters.
func (c *checker) text(path, text string) {
	if n := len([]rune(text)); n > 255 {
		c.errorf(path, "has %d characters: Keycloak keeps 255 at most", n)
	}
}

// attributes of a role or group.
func (c *checker) attributeValues(path string, attributes map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		c.text(fmt.Sprintf("%s[%q]", path, name), attributes[name])
	}
}

// known reports each of names that is not declared under key.
func (c *checker) known(path string, names []string, declared map[string]bool, what, key string) {
	for i, name := range names {
		c.knownOne(fmt.Sprintf("%s[%d]", path, i), name, declared, what, key)
	}
}

func (c *checker) knownOne(path, name string, declared map[string]bool, what, key string) {
	if name != "" && !declared[name] {
		c.errorf(path, "%s %q is not declared: add it to %s%s", what, name, key, didYouMean(name, slices.Sorted(maps.Keys(declared))))
	}
}

func (c *checker) twice(path string, names []string) {
	if len(names) < 2 {
		return
	}
	seen := make(map[string]bool, len(names))
	for i, name := range names {
		if seen[name] {
			c.errorf(fmt.Sprintf("%s[%d]", path, i), "%q is there twice", name)
		}
		seen[name] = true
	}
}

func (c *checker) httpURL(path, text string) bool {
	u, err := url.Parse(text)
	switch {
	case strings.Contains(text, "@") && (err != nil || u.User != nil): // the text may hold a password
		c.errorf(path, "holds user info: a password has no place in a URL")
		return false
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.Fragment != "":
		c.errorf(path, "%q is not an http or https URL", text)
		return false
	}
	return true
}

// plainHTTP refuses unencrypted URLs that leave this computer.
func (c *checker) plainHTTP(path, text string) {
	if u, err := url.Parse(text); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) && c.cfg.Level().RefusePlainHTTP {
		c.refusef(path, "%q is not encrypted: use https", text)
	}
}

func loopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

func isTrue(p *bool) bool { return p != nil && *p }

// findCycle returns the names of one cycle, or nil. Names that edges leads to
// but does not hold are ends.
func findCycle(edges map[string][]string) []string {
	const open, done = 1, 2
	state := make(map[string]int, len(edges))
	var trail []string
	var visit func(name string) []string
	visit = func(name string) []string {
		switch state[name] {
		case open:
			return append(trail[slices.Index(trail, name):], name)
		case done:
			return nil
		}
		state[name] = open
		trail = append(trail, name)
		for _, next := range edges[name] {
			if cycle := visit(next); cycle != nil {
				return cycle
			}
		}
		trail = trail[:len(trail)-1]
		state[name] = done
		return nil
	}
	for _, name := range slices.SortedFunc(maps.Keys(edges), cmp.Compare[string]) {
		if cycle := visit(name); cycle != nil {
			return cycle
		}
	}
	return nil
}

// privateMembers are members of a JSON Web Key (RFC 7518, section 6) that only
// its owner may know.
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

func (c *checker) jwks(path, text string) {
	var set struct {
		Keys []map[string]json.RawMessage `json:"keys"`
	}
	if json.Unmarshal([]byte(text), &set) != nil || len(set.Keys) == 0 {
		c.errorf(path, `is not a key set: write {"keys":[…]} with public keys (RFC 7517)`)
		return
	}
	for i, key := range set.Keys {
		for _, member := range privateMembers {
			if _, ok := key[member]; ok {
				c.errorf(path, "key %d holds the private member %q: give Keycloak the public half only, and make a new key pair", i, member)
				break
			}
		}
	}
}
