package drift

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"keycloak-model-api/config"
)

// Declaration is what the stack could say of differences: lines of one key of its
// configuration, in the form of Pulumi.<stack>.yaml.
type Declaration struct {
	Key   string   `json:"key"`            // such as keycloak-model-api:lifetimes
	Lines []string `json:"lines"`          // to paste, the key's own first
	Note  string   `json:"note,omitempty"` // what it takes beside the line
	Paths []string `json:"paths"`          // of the differences that they end
}

const (
	imported = "It is in the realm already, so an up can't make it: import it, docs/pulumi.md#adopt-a-realm-that-exists"
	beside   = "Keep what stands under the key already, and add these lines"
)

// setting is where the configuration has a setting of the realm.
type setting struct {
	key, field string // field is empty where the key is the setting itself
	value      func(any) (any, bool)
}

// realmSettings are settings of the realm by the key of the representation. Those
// that the configuration does not have are not offered.
var realmSettings = map[string]setting{
	"displayName":                         {"displayName", "", asIs},
	"displayNameHtml":                     {"displayNameHtml", "", asIs},
	"accessTokenLifespan":                 {"lifetimes", "accessToken", duration},
	"ssoSessionIdleTimeout":               {"lifetimes", "ssoIdle", duration},
	"ssoSessionMaxLifespan":               {"lifetimes", "ssoMax", duration},
	"offlineSessionIdleTimeout":           {"lifetimes", "offlineIdle", duration},
	"offlineSessionMaxLifespan":           {"lifetimes", "offlineMax", duration},
	"oauth2DeviceCodeLifespan":            {"lifetimes", "deviceCode", duration},
	"accessCodeLifespan":                  {"lifetimes", "authorizationCode", duration},
	"clientSessionIdleTimeout":            {"lifetimes", "clientSessionIdle", duration},
	"clientSessionMaxLifespan":            {"lifetimes", "clientSessionMax", duration},
	"refreshTokenMaxReuse":                {"lifetimes", "refreshTokenReuse", asIs},
	"accessCodeLifespanLogin":             {"lifetimes", "login", duration},
	"accessCodeLifespanUserAction":        {"lifetimes", "loginAction", duration},
	"actionTokenGeneratedByUserLifespan":  {"lifetimes", "userMail", duration},
	"actionTokenGeneratedByAdminLifespan": {"lifetimes", "adminMail", duration},
	"ssoSessionIdleTimeoutRememberMe":     {"lifetimes", "rememberMeIdle", duration},
	"ssoSessionMaxLifespanRememberMe":     {"lifetimes", "rememberMeMax", duration},
	"oauth2DevicePollingInterval":         {"lifetimes", "devicePolling", duration},
	"passwordPolicy":                      {"passwordPolicy", "", asIs},
	"sslRequired":                         {"sslRequired", "", asIs},
	"otpPolicyType":                       {"otp", "type", asIs},
	"otpPolicyAlgorithm":                  {"otp", "algorithm", asIs},
	"otpPolicyDigits":                     {"otp", "digits", asIs},
	"otpPolicyPeriod":                     {"otp", "period", duration},
	"otpPolicyInitialCounter":             {"otp", "initialCounter", asIs},
	"otpPolicyLookAheadWindow":            {"otp", "lookAhead", asIs},
	"bruteForceProtected":                 {"bruteForce", "enabled", asIs},
	"permanentLockout":                    {"bruteForce", "permanent", asIs},
	"failureFactor":                       {"bruteForce", "maxFailures", asIs},
	"waitIncrementSeconds":                {"bruteForce", "waitIncrement", duration},
	"maxFailureWaitSeconds":               {"bruteForce", "maxWait", duration},
	"maxDeltaTimeSeconds":                 {"bruteForce", "resetAfter", duration},
	"minimumQuickLoginWaitSeconds":        {"bruteForce", "quickLoginWait", duration},
	"quickLoginCheckMilliSeconds":         {"bruteForce", "quickLoginCheck", milliseconds},
	"eventsEnabled":                       {"events", "enabled", asIs},
	"eventsExpiration":                    {"events", "keepFor", duration},
	"adminEventsDetailsEnabled":           {"events", "adminDetails", asIs},
	"eventsListeners":                     {"events", "listeners", asIs},
	"enabledEventTypes":                   {"events", "types", asIs},
	"registrationAllowed":                 {"login", "registration", asIs},
	"registrationEmailAsUsername":         {"login", "emailAsUsername", asIs},
	"loginWithEmailAllowed":               {"login", "withEmail", asIs},
	"duplicateEmailsAllowed":              {"login", "duplicateEmails", asIs},
	"rememberMe":                          {"login", "rememberMe", asIs},
	"verifyEmail":                         {"login", "verifyEmail", asIs},
	"resetPasswordAllowed":                {"login", "resetPassword", asIs},
	"editUsernameAllowed":                 {"login", "editUsername", asIs},
	"userManagedAccessAllowed":            {"login", "userManagedAccess", asIs},
	"loginTheme":                          {"themes", "login", asIs},
	"accountTheme":                        {"themes", "account", asIs},
	"adminTheme":                          {"themes", "admin", asIs},
	"emailTheme":                          {"themes", "email", asIs},
	"supportedLocales":                    {"locales", "supported", asIs},
	"defaultLocale":                       {"locales", "default", asIs},
}

// headers are security headers of the realm by the key below browserSecurityHeaders.
var headers = map[string]string{
	"contentSecurityPolicy": "contentSecurityPolicy", "contentSecurityPolicyReportOnly": "contentSecurityPolicyReportOnly",
	"xFrameOptions": "frameOptions", "xContentTypeOptions": "contentTypeOptions", "referrerPolicy": "referrerPolicy",
	"xRobotsTag": "robotsTag", "strictTransportSecurity": "strictTransportSecurity", "xXSSProtection": "xssProtection",
}

// keyPolicy are the settings of security keys and of passkeys by what follows
// webAuthnPolicy or webAuthnPolicyPasswordless.
var keyPolicy = map[string]setting{
	"RpEntityName": {field: "relyingPartyName", value: asIs}, "RpId": {field: "relyingPartyId", value: asIs},
	"SignatureAlgorithms": {field: "algorithms", value: asIs}, "AcceptableAaguids": {field: "aaguids", value: asIs},
	"AttestationConveyancePreference": {field: "attestation", value: specified},
	"AuthenticatorAttachment":         {field: "attachment", value: specified},
	"UserVerificationRequirement":     {field: "userVerification", value: specified},
	"CreateTimeout":                   {field: "timeout", value: duration},
	"AvoidSameAuthenticatorRegister":  {field: "avoidSameAuthenticator", value: asIs},
}

// clientSettings are fields of a client, and its attributes by "attributes.NAME".
var clientSettings = map[string]setting{
	"name":                      {"", "name", asIs},
	"description":               {"", "description", asIs},
	"redirectUris":              {"", "redirectUris", asIs},
	"webOrigins":                {"", "webOrigins", asIs},
	"baseUrl":                   {"", "baseUrl", asIs},
	"rootUrl":                   {"", "rootUrl", asIs},
	"adminUrl":                  {"", "adminUrl", asIs},
	"consentRequired":           {"", "consentRequired", asIs},
	"standardFlowEnabled":       {"", "standardFlow", asIs},
	"directAccessGrantsEnabled": {"", "directAccessGrants", asIs},
	"serviceAccountsEnabled":    {"", "serviceAccount", asIs},
	"fullScopeAllowed":          {"", "fullScope", asIs},

	"attributes.post.logout.redirect.uris":                 {"", "postLogoutRedirectUris", hashDelimited},
	"attributes.backchannel.logout.url":                    {"", "backchannelLogoutUrl", asIs},
	"attributes.access.token.lifespan":                     {"", "accessTokenLifetime", duration},
	"attributes.client.session.idle.timeout":               {"", "sessionIdle", duration},
	"attributes.client.session.max.lifespan":               {"", "sessionMax", duration},
	"attributes.oauth2.device.authorization.grant.enabled": {"", "deviceGrant", boolean},
	"attributes.standard.token.exchange.enabled":           {"", "tokenExchange", boolean},
	"attributes.dpop.bound.access.tokens":                  {"", "dpop", boolean},
	"attributes.login_theme":                               {"", "loginTheme", asIs},
	"attributes.client.use.lightweight.access.token.enabled": {
		"", "lightweight", boolean},
	"attributes.pkce.code.challenge.method":       {"", "pkce", func(v any) (any, bool) { return v == "S256", v == "S256" || v == nil }},
	"attributes.access.token.header.type.rfc9068": {"", "accessTokenType", func(v any) (any, bool) { return "at+jwt", v == "true" }},
}

func asIs(v any) (any, bool) { return v, v != nil }

func specified(v any) (any, bool) { return v, v != nil && v != "not specified" }

func milliseconds(v any) (any, bool) {
	n, ok := v.(float64)
	return (time.Duration(n) * time.Millisecond).String(), ok && n > 0
}

func boolean(v any) (any, bool) {
	b, err := strconv.ParseBool(fmt.Sprint(v))
	return b, err == nil
}

func hashDelimited(v any) (any, bool) {
	s, ok := v.(string)
	return strings.Split(s, "##"), ok && s != ""
}

// duration is a number of seconds as the configuration has it.
func duration(v any) (any, bool) {
	seconds, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil || seconds <= 0 {
		return nil, false
	}
	return config.ShortDuration(time.Duration(seconds) * time.Second), true
}

// declarer collects what the stack could say.
type declarer struct{ keys map[string]*block }

// block are the lines of one key.
type block struct {
	fields  map[string][]string // of entries of a list, or of the key itself under ""
	entries []string            // first fields of entries, in order
	scalar  string
	notes   []string
	paths   []string
}

func (d *declarer) at(key string, keys []string, note string) *block {
	if d.keys == nil {
		d.keys = map[string]*block{}
	}
	b := d.keys[key]
	if b == nil {
		b = &block{fields: map[string][]string{}}
		d.keys[key] = b
	}
	b.paths = append(b.paths, strings.Join(keys, "."))
	if note != "" && !slices.Contains(b.notes, note) {
		b.notes = append(b.notes, note)
	}
	return b
}

// entry begins an entry of a list by its first field.
func (b *block) entry(first string) {
	if !slices.Contains(b.entries, first) {
		b.entries = append(b.entries, first)
	}
}

// field adds a field to the entry that begins so, or to the key itself.
func (b *block) field(entry, field string, value any) {
	if entry != "" {
		b.entry(entry)
	}
	b.fields[entry] = append(b.fields[entry], field+": "+yaml(value))
}

func (d *declarer) done() []Declaration {
	list := []Declaration{}
	for _, key := range slices.Sorted(maps.Keys(d.keys)) {
		b := d.keys[key]
		full := "keycloak-model-api:" + key
		decl := Declaration{Key: full, Note: strings.Join(b.notes, ". "), Paths: b.paths, Lines: []string{full + ":" + b.scalar}}
		slices.Sort(b.fields[""])
		for _, f := range b.fields[""] {
			decl.Lines = append(decl.Lines, "  "+f)
		}
		for _, e := range b.entries {
			decl.Lines = append(decl.Lines, "  - "+e)
			for _, f := range b.fields[e] {
				decl.Lines = append(decl.Lines, "    "+f)
			}
		}
		list = append(list, decl)
	}
	return list
}

var plainText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/-]*$`)

// yaml is a value in YAML's flow style.
func yaml(v any) string {
	switch v := v.(type) {
	case string:
		switch strings.ToLower(v) {
		case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		default:
			if plainText.MatchString(v) || durationText.MatchString(v) {
				return v
			}
		}
	case []string:
		parts := make([]string, len(v))
		for i, s := range v {
			parts[i] = yaml(s)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = yaml(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

var durationText = regexp.MustCompile(`^([0-9]+[hms])+$`)

// can reports whether the configuration has the key, and in it the field.
func can(key, field string) bool {
	f, ok := tagged(reflect.TypeFor[config.Config](), key)
	if !ok || field == "" {
		return ok
	}
	t := f.Type
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Map {
		return true
	}
	_, ok = tagged(t, field)
	return ok
}

func tagged(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); tag == name {
			return t.Field(i), true
		}
	}
	return reflect.StructField{}, false
}

// declare adds what the stack could say so that the live value stays.
func (d *declarer) declare(keys []string, want, got any) {
	switch section := keys[0]; section {
	case "clients":
		d.client(keys, want, got)
	case "roles":
		if keys[1] == "realm" && len(keys) == 3 && want == nil {
			d.role(keys, got)
		}
	case "groups":
		d.group(keys, want, got)
	case "users":
		d.user(keys, got)
	case "identityProviders":
		if len(keys) == 2 && want == nil {
			d.identityProvider(keys, got)
		}
	case "components":
		if len(keys) == 3 && keys[1] == keyProviders && want == nil {
			d.key(keys, got)
		}
	case "smtpServer":
		d.mail(keys, got)
	case "attributes":
		d.attribute(keys, got)
	case "browserSecurityHeaders":
		if len(keys) == 2 && headers[keys[1]] != "" {
			d.setting(keys, setting{"headers", headers[keys[1]], asIs}, got)
		}
	default:
		if s, ok := settingOf(section); ok && len(keys) == 1 {
			d.setting(keys, s, got)
		}
	}
}

// settingOf is the setting of a key of the realm.
func settingOf(key string) (setting, bool) {
	if s, ok := realmSettings[key]; ok {
		return s, true
	}
	for _, policy := range []struct{ prefix, key string }{{"webAuthnPolicyPasswordless", "passkeys"}, {"webAuthnPolicy", "webAuthn"}} {
		if rest, ok := strings.CutPrefix(key, policy.prefix); ok {
			s, ok := keyPolicy[rest]
			s.key = policy.key
			return s, ok
		}
	}
	return setting{}, false
}

func (d *declarer) setting(keys []string, s setting, got any) {
	value, ok := s.value(got)
	switch {
	case !ok || !can(s.key, s.field):
	case s.field == "":
		d.at(s.key, keys, "").scalar = " " + yaml(value)
	default:
		d.at(s.key, keys, beside).field("", s.field, value)
	}
}

func (d *declarer) attribute(keys []string, got any) {
	key := "realmAttributes"
	if len(keys) != 2 || got == nil {
		return
	}
	if keys[1] == "frontendUrl" {
		if can("frontendUrl", "") {
			d.at("frontendUrl", keys, "").scalar = " " + yaml(got)
		}
		return
	}
	if can(key, "") {
		if _, isJSON := got.(map[string]any); isJSON {
			got = yaml(got)
		}
		d.at(key, keys, beside).field("", yaml(keys[1]), fmt.Sprint(got))
	}
}

func (d *declarer) mail(keys []string, got any) {
	server, _ := got.(map[string]any)
	if len(server) == 0 || !can("smtp", "host") || len(keys) > 1 {
		return
	}
	note := ""
	if server["auth"] == "true" {
		note = "Then: pulumi config set --secret smtpPassword"
	}
	b := d.at("smtp", keys, note)
	for _, field := range []string{"host", "port", "from", "fromDisplayName", "replyTo", "replyToDisplayName", "envelopeFrom", "user"} {
		v, ok := server[field].(string)
		if !ok || v == "" {
			continue
		}
		if n, err := strconv.Atoi(v); err == nil && field == "port" {
			b.field("", field, n)
			continue
		}
		b.field("", field, v)
	}
	for _, field := range []string{"starttls", "ssl"} {
		if server[field] == "true" {
			b.field("", field, true)
		}
	}
}

func (d *declarer) client(keys []string, want, got any) {
	if len(keys) == 2 && want == nil {
		d.newClient(keys, got.(map[string]any))
		return
	}
	if len(keys) < 3 {
		return
	}
	name := strings.Join(keys[2:], ".")
	s, ok := clientSettings[name]
	if !ok || !can("clients", s.field) {
		return
	}
	if value, ok := s.value(got); ok {
		d.at("clients", keys, "Add these lines to the entries of these clients").field("clientId: "+yaml(keys[1]), s.field, value)
	}
}

// newClient is one that the stack does not declare.
func (d *declarer) newClient(keys []string, rep map[string]any) {
	if rep["protocol"] != "openid-connect" {
		return
	}
	is := func(key string) bool { b, _ := rep[key].(bool); return b }
	kind := "web"
	switch {
	case is("publicClient"):
		kind = "cli"
	case !is("standardFlowEnabled"):
		kind = "service"
	}
	note := imported
	if kind != "cli" {
		note += ". Its secret: pulumi config set --secret --path 'clientSecrets[\"" + keys[1] + "\"]'"
	}
	b, entry := d.at("clients", keys, note), "clientId: "+yaml(keys[1])
	b.field(entry, "kind", kind)
	for _, key := range []string{"name", "description", "redirectUris", "webOrigins", "baseUrl", "adminUrl"} {
		if v := rep[key]; !same(v, nil) {
			b.field(entry, clientSettings[key].field, v)
		}
	}
	if is("directAccessGrantsEnabled") {
		b.field(entry, "directAccessGrants", true)
	}
	if is("fullScopeAllowed") {
		b.field(entry, "fullScope", true)
	}
}

func (d *declarer) role(keys []string, got any) {
	rep, _ := got.(map[string]any)
	b, entry := d.at("roles", keys, imported), "name: "+yaml(keys[2])
	b.entry(entry)
	if text, _ := rep["description"].(string); text != "" {
		b.field(entry, "description", text)
	}
	composites, _ := rep["composites"].(map[string]any)
	if realm, _ := stringsOf(composites["realm"]); len(realm) > 0 {
		b.field(entry, "composites", realm)
	}
}

func (d *declarer) group(keys []string, want, got any) {
	rep, _ := got.(map[string]any)
	if want != nil || rep == nil || len(keys) > 2 && keys[len(keys)-2] != "subGroups" {
		return
	}
	b, entry := d.at("groups", keys, imported), "name: "+yaml(keys[len(keys)-1])
	b.entry(entry)
	if len(keys) > 3 {
		b.field(entry, "parent", keys[len(keys)-3])
	}
	if roles, _ := stringsOf(rep["realmRoles"]); len(roles) > 0 {
		b.field(entry, "roles", roles)
	}
}

func (d *declarer) user(keys []string, got any) {
	if len(keys) < 3 || strings.HasPrefix(keys[1], "service-account-") || got == nil {
		return
	}
	if field := keys[2]; slices.Contains([]string{"email", "firstName", "lastName", "enabled", "emailVerified"}, field) {
		d.at("users", keys, "Add these lines to the entries of these users").field("username: "+yaml(keys[1]), field, got)
	}
}

func (d *declarer) identityProvider(keys []string, got any) {
	rep, _ := got.(map[string]any)
	if rep["providerId"] != "oidc" && rep["providerId"] != "keycloak-oidc" {
		return
	}
	settings, _ := rep["config"].(map[string]any)
	note := imported + ". Its secret: pulumi config set --secret --path 'federationSecrets[\"" + keys[1] + "\"]'"
	b, entry := d.at("identityProviders", keys, note), "alias: "+yaml(keys[1])
	for _, f := range [][2]string{
		{"issuer", "issuer"}, {"authorizationUrl", "authorizationUrl"}, {"tokenUrl", "tokenUrl"}, {"jwksUrl", "jwksUrl"},
		{"logoutUrl", "logoutUrl"}, {"userInfoUrl", "userInfoUrl"}, {"clientId", "clientId"}, {"defaultScope", "scopes"},
	} {
		if v, _ := settings[f[0]].(string); v != "" {
			b.field(entry, f[1], v)
		}
	}
}

// key is a key provider that somebody made by hand: Keycloak's own are for removal.
func (d *declarer) key(keys []string, got any) {
	rep, _ := got.(map[string]any)
	settings, _ := rep["config"].(map[string]any)
	value := func(key string) string {
		list, _ := stringsOf(settings[key])
		return strings.Join(list, "")
	}
	algorithm := cmp.Or(value("algorithm"), "RS256")
	switch rep["providerId"] {
	case "rsa-generated":
	case "ecdsa-generated":
		algorithm = map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[value("ecdsaEllipticCurveKey")]
	default:
		return
	}
	if strings.HasPrefix(keys[2], "fallback-") || algorithm == "" {
		return
	}
	b, entry := d.at("signingKeys", keys, imported), "name: "+yaml(keys[2])
	b.field(entry, "algorithm", algorithm)
	if n, err := strconv.Atoi(value("priority")); err == nil {
		b.field(entry, "priority", n)
	}
	for _, key := range []string{"active", "enabled"} {
		if value(key) == "false" {
			b.field(entry, key, false)
		}
	}
}
