package render

import (
	"fmt"
	"maps"
	"strings"
)

// A realm's inputs with Keycloak's keys, and what the provider sends for those
// that are left out. Where it sends nothing, Keycloak's value holds.
var realmFields = []field{
	{"enabled", "enabled", true},
	{"displayName", "displayName", ""},
	{"displayNameHtml", "displayNameHtml", ""},
	{"userManagedAccess", "userManagedAccessAllowed", false},
	{"registrationAllowed", "registrationAllowed", false},
	{"registrationEmailAsUsername", "registrationEmailAsUsername", false},
	{"editUsernameAllowed", "editUsernameAllowed", false},
	{"resetPasswordAllowed", "resetPasswordAllowed", false},
	{"rememberMe", "rememberMe", false},
	{"verifyEmail", "verifyEmail", false},
	{"loginWithEmailAllowed", "loginWithEmailAllowed", false},
	{"duplicateEmailsAllowed", "duplicateEmailsAllowed", false},
	{"sslRequired", "sslRequired", "external"},
	{"defaultSignatureAlgorithm", "defaultSignatureAlgorithm", ""},
	{"revokeRefreshToken", "revokeRefreshToken", false},
	{"refreshTokenMaxReuse", "refreshTokenMaxReuse", 0},
	{"offlineSessionMaxLifespanEnabled", "offlineSessionMaxLifespanEnabled", false},
	{"passwordPolicy", "passwordPolicy", nil},
	{"loginTheme", "loginTheme", nil},
	{"accountTheme", "accountTheme", nil},
	{"adminTheme", "adminTheme", nil},
	{"emailTheme", "emailTheme", nil},
	{"browserFlow", "browserFlow", nil},
	{"registrationFlow", "registrationFlow", nil},
	{"directGrantFlow", "directGrantFlow", nil},
	{"resetCredentialsFlow", "resetCredentialsFlow", nil},
	{"clientAuthenticationFlow", "clientAuthenticationFlow", nil},
	{"dockerAuthenticationFlow", "dockerAuthenticationFlow", nil},
	{"oauth2DevicePollingInterval", "oauth2DevicePollingInterval", nil},
}

// realmDurations are inputs such as "5m" whose key has the same name and takes
// seconds.
var realmDurations = []string{
	"accessCodeLifespan", "accessCodeLifespanLogin", "accessCodeLifespanUserAction",
	"accessTokenLifespan", "accessTokenLifespanForImplicitFlow",
	"actionTokenGeneratedByAdminLifespan", "actionTokenGeneratedByUserLifespan",
	"clientSessionIdleTimeout", "clientSessionMaxLifespan",
	"oauth2DeviceCodeLifespan",
	"offlineSessionIdleTimeout", "offlineSessionMaxLifespan",
	"ssoSessionIdleTimeout", "ssoSessionIdleTimeoutRememberMe",
	"ssoSessionMaxLifespan", "ssoSessionMaxLifespanRememberMe",
}

var bruteForceFields = []field{
	{"permanentLockout", "permanentLockout", false},
	{"maxLoginFailures", "failureFactor", 30},
	{"waitIncrementSeconds", "waitIncrementSeconds", 60},
	{"quickLoginCheckMilliSeconds", "quickLoginCheckMilliSeconds", 1000},
	{"minimumQuickLoginWaitSeconds", "minimumQuickLoginWaitSeconds", 60},
	{"maxFailureWaitSeconds", "maxFailureWaitSeconds", 900},
	{"failureResetTimeSeconds", "maxDeltaTimeSeconds", 43200},
}

var headerFields = []field{
	{"contentSecurityPolicy", "contentSecurityPolicy", "frame-src 'self'; frame-ancestors 'self'; object-src 'none';"},
	{"contentSecurityPolicyReportOnly", "contentSecurityPolicyReportOnly", ""},
	{"referrerPolicy", "referrerPolicy", "no-referrer"},
	{"strictTransportSecurity", "strictTransportSecurity", "max-age=31536000; includeSubDomains"},
	{"xContentTypeOptions", "xContentTypeOptions", "nosniff"},
	{"xFrameOptions", "xFrameOptions", "SAMEORIGIN"},
	{"xRobotsTag", "xRobotsTag", "none"},
	{"xXssProtection", "xXSSProtection", "1; mode=block"},
}

var otpFields = []field{
	{"type", "otpPolicyType", "totp"},
	{"algorithm", "otpPolicyAlgorithm", "HmacSHA1"},
	{"digits", "otpPolicyDigits", 6},
	{"initialCounter", "otpPolicyInitialCounter", 0},
	{"lookAheadWindow", "otpPolicyLookAheadWindow", 1},
	{"period", "otpPolicyPeriod", 30},
}

// webAuthnFields have keys that follow webAuthnPolicy or
// webAuthnPolicyPasswordless.
var webAuthnFields = []field{
	{"relyingPartyEntityName", "RpEntityName", "keycloak"},
	{"relyingPartyId", "RpId", ""},
	{"signatureAlgorithms", "SignatureAlgorithms", []string{"ES256", "RS256"}},
	{"attestationConveyancePreference", "AttestationConveyancePreference", "not specified"},
	{"authenticatorAttachment", "AuthenticatorAttachment", "not specified"},
	{"requireResidentKey", "RequireResidentKey", "not specified"},
	{"userVerificationRequirement", "UserVerificationRequirement", "not specified"},
	{"createTimeout", "CreateTimeout", 0},
	{"avoidSameAuthenticatorRegister", "AvoidSameAuthenticatorRegister", false},
	{"acceptableAaguids", "AcceptableAaguids", []string{}},
}

var smtpFields = []field{
	{"host", "host", nil}, {"port", "port", nil}, {"from", "from", nil},
	{"fromDisplayName", "fromDisplayName", nil}, {"replyTo", "replyTo", nil},
	{"replyToDisplayName", "replyToDisplayName", nil}, {"envelopeFrom", "envelopeFrom", nil},
	{"starttls", "starttls", nil}, {"ssl", "ssl", nil},
}

func (b *builder) realm(realm *Realm, in *inputs) {
	rep := realm.settings
	rep["id"] = realm.Name
	rep["realm"] = realm.Name
	in.ignore("internalId")
	in.refuse("defaultDefaultClientScopes", "the provider shows a difference for ever: use ClientDefaultScopes")
	in.refuse("defaultOptionalClientScopes", "the provider shows a difference for ever: use ClientOptionalScopes")
	in.set(rep, realmFields)
	for _, key := range realmDurations {
		if d, ok := in.duration(key); ok {
			rep[key] = int(d.Seconds())
		}
	}
	rep["attributes"] = object{}
	for key, value := range in.strMap("attributes") {
		rep["attributes"].(object)[key] = value
	}
	// Keycloak repeats these among the attributes.
	for _, key := range []string{"clientSessionIdleTimeout", "clientSessionMaxLifespan", "oauth2DeviceCodeLifespan",
		"oauth2DevicePollingInterval"} {
		if value, ok := rep[key]; ok {
			rep["attributes"].(object)[key] = fmt.Sprint(value)
		}
	}

	rep["internationalizationEnabled"] = false
	rep["defaultLocale"] = ""
	if i, ok := in.object("internationalization"); ok {
		rep["internationalizationEnabled"] = true
		rep["supportedLocales"] = i.strs("supportedLocales")
		rep["defaultLocale"] = i.str("defaultLocale")
	}

	defenses, _ := in.object("securityDefenses")
	force, protected := defenses.object("bruteForceDetection")
	rep["bruteForceProtected"] = protected
	if protected {
		force.set(rep, bruteForceFields)
	}
	headers, _ := defenses.object("headers")
	rep["browserSecurityHeaders"] = object{}
	headers.set(rep["browserSecurityHeaders"].(object), headerFields)

	if otp, ok := in.object("otpPolicy"); ok {
		otp.set(rep, otpFields)
	}
	for input, prefix := range map[string]string{
		"webAuthnPolicy": "webAuthnPolicy", "webAuthnPasswordlessPolicy": "webAuthnPolicyPasswordless",
	} {
		if policy, ok := in.object(input); ok {
			fields := make([]field, len(webAuthnFields))
			for i, f := range webAuthnFields {
				fields[i] = field{f.input, prefix + f.key, f.value}
			}
			policy.set(rep, fields)
		}
	}

	if smtp, ok := in.object("smtpServer"); ok {
		server := map[string]string{}
		smtp.config(server, smtpFields)
		if auth, ok := smtp.object("auth"); ok {
			server["auth"] = "true"
			auth.config(server, []field{{"username", "user", nil}, {"password", "password", nil}})
		}
		maps.DeleteFunc(server, func(_, value string) bool { return value == "false" }) // which the provider leaves out
		rep["smtpServer"] = server
	}
}

func (b *builder) realmEvents(realm *Realm, in *inputs) {
	in.ignore("realmId")
	in.set(realm.settings, []field{
		{"adminEventsEnabled", "adminEventsEnabled", false},
		{"adminEventsDetailsEnabled", "adminEventsDetailsEnabled", false},
		{"eventsEnabled", "eventsEnabled", false},
		{"eventsExpiration", "eventsExpiration", 0},
	})
	realm.settings["eventsListeners"] = in.strs("eventsListeners")
	// An empty list means every type.
	realm.settings["enabledEventTypes"] = in.strs("enabledEventTypes")
}

var (
	keyFields = []field{{"active", "active", true}, {"enabled", "enabled", true}, {"priority", "priority", 0}}

	rsaGenerated   = []field{{"algorithm", "algorithm", "RS256"}, {"keySize", "keySize", 2048}}
	ecdsaGenerated = []field{{"ellipticCurveKey", "ecdsaEllipticCurveKey", "P-256"}}
	rsaGiven       = []field{{"algorithm", "algorithm", "RS256"}, {"privateKey", "privateKey", nil}, {"certificate", "certificate", nil}}
)

// keystore builds a key provider.
func keystore(providerID string, fields []field) func(*builder, *Realm, *inputs) {
	return func(b *builder, realm *Realm, in *inputs) {
		config := map[string]string{}
		in.config(config, append(keyFields[:len(keyFields):len(keyFields)], fields...))
		c := &component{id: in.res.ID, name: in.name(), providerID: providerID, config: single(config)}
		if id := in.str("providerId"); id != "" {
			c.providerID = id
		}
		if in.res.ImportID != "" {
			// The only key provider that can be imported is Keycloak's own.
			c.name, c.overlay = providerID, true
		}
		realm.keys = append(realm.keys, c)
	}
}

var ldapFields = []field{
	{"enabled", "enabled", true},
	{"priority", "priority", 0},
	{"importEnabled", "importEnabled", true},
	{"editMode", "editMode", "READ_ONLY"},
	{"syncRegistrations", "syncRegistrations", false},
	{"usernameLdapAttribute", "usernameLDAPAttribute", nil},
	{"rdnLdapAttribute", "rdnLDAPAttribute", nil},
	{"uuidLdapAttribute", "uuidLDAPAttribute", nil},
	{"connectionUrl", "connectionUrl", nil},
	{"usersDn", "usersDn", nil},
	{"customUserSearchFilter", "customUserSearchFilter", nil},
	{"startTls", "startTls", false},
	{"usePasswordModifyExtendedOp", "usePasswordModifyExtendedOp", false},
	{"validatePasswordPolicy", "validatePasswordPolicy", false},
	{"trustEmail", "trustEmail", false},
	{"pagination", "pagination", true},
	{"batchSizeForSync", "batchSizeForSync", 1000},
	{"fullSyncPeriod", "fullSyncPeriod", -1},
	{"changedSyncPeriod", "changedSyncPeriod", -1},
}

func (b *builder) userFederation(realm *Realm, in *inputs) {
	config := map[string]string{"authType": "none"}
	in.config(config, ldapFields)
	config["vendor"] = strings.ToLower(read(in, "vendor", "OTHER"))
	config["userObjectClasses"] = strings.Join(in.strs("userObjectClasses"), ", ")
	config["searchScope"] = map[string]string{"ONE_LEVEL": "1", "SUBTREE": "2"}[read(in, "searchScope", "ONE_LEVEL")]
	config["useTruststoreSpi"] = map[string]string{"ONLY_FOR_LDAPS": "ldapsOnly", "ALWAYS": "always",
		"NEVER": "never"}[read(in, "useTruststoreSpi", "ONLY_FOR_LDAPS")]
	if dn, credential := in.str("bindDn"), in.str("bindCredential"); dn != "" && credential != "" {
		config["authType"], config["bindDn"], config["bindCredential"] = "simple", dn, credential
	} else if dn != "" || credential != "" {
		in.fail("bindDn and bindCredential go together")
	}
	for _, key := range []string{"connectionTimeout", "readTimeout"} {
		if d, ok := in.duration(key); ok {
			config[key] = text(int(d.Milliseconds()))
		}
	}
	if cache, ok := in.object("cache"); ok {
		cache.config(config, []field{
			{"policy", "cachePolicy", "DEFAULT"}, {"evictionDay", "evictionDay", nil},
			{"evictionHour", "evictionHour", nil}, {"evictionMinute", "evictionMinute", nil},
		})
		if d, ok := cache.duration("maxLifespan"); ok {
			config["maxLifespan"] = text(int(d.Milliseconds()))
		}
	}
	config["allowKerberosAuthentication"] = "false"
	config["useKerberosForPasswordAuthentication"] = "false"
	config["krbPrincipalAttribute"] = "krb5PrincipalName"
	if kerberos, ok := in.object("kerberos"); ok {
		config["allowKerberosAuthentication"] = "true"
		kerberos.config(config, []field{
			{"serverPrincipal", "serverPrincipal", nil}, {"keyTab", "keyTab", nil}, {"kerberosRealm", "kerberosRealm", nil},
			{"useKerberosForPasswordAuthentication", "useKerberosForPasswordAuthentication", false},
		})
	}
	c := &component{
		id: in.res.ID, name: in.name(), providerID: "ldap", config: single(config),
		deleteDefaults: in.boolean("deleteDefaultMappers", false),
	}
	b.ldap[c.id] = c
	realm.ldap = append(realm.ldap, c)
}

// The mappers of an LDAP federation.
var (
	ldapMembership = []field{
		{"membershipLdapAttribute", "membership.ldap.attribute", nil},
		{"membershipAttributeType", "membership.attribute.type", "DN"},
		{"membershipUserLdapAttribute", "membership.user.ldap.attribute", nil},
		{"memberofLdapAttribute", "memberof.ldap.attribute", "memberOf"},
		{"mode", "mode", "READ_ONLY"},
	}
	ldapRole = append([]field{
		{"ldapRolesDn", "roles.dn", nil},
		{"roleNameLdapAttribute", "role.name.ldap.attribute", nil},
		{"roleObjectClasses", "role.object.classes", nil},
		{"rolesLdapFilter", "roles.ldap.filter", nil},
		{"userRolesRetrieveStrategy", "user.roles.retrieve.strategy", "LOAD_ROLES_BY_MEMBER_ATTRIBUTE"},
		{"useRealmRolesMapping", "use.realm.roles.mapping", true},
		{"clientId", "client.id", nil},
	}, ldapMembership...)
	ldapGroup = append([]field{
		{"ldapGroupsDn", "groups.dn", nil},
		{"groupNameLdapAttribute", "group.name.ldap.attribute", nil},
		{"groupObjectClasses", "group.object.classes", nil},
		{"groupsLdapFilter", "groups.ldap.filter", nil},
		{"groupsPath", "groups.path", "/"},
		{"preserveGroupInheritance", "preserve.group.inheritance", true},
		{"ignoreMissingGroups", "ignore.missing.groups", false},
		{"mappedGroupAttributes", "mapped.group.attributes", nil},
		{"dropNonExistingGroupsDuringSync", "drop.non.existing.groups.during.sync", false},
		{"userRolesRetrieveStrategy", "user.roles.retrieve.strategy", "LOAD_GROUPS_BY_MEMBER_ATTRIBUTE"},
	}, ldapMembership...)
	ldapUserAttribute = []field{
		{"ldapAttribute", "ldap.attribute", nil},
		{"userModelAttribute", "user.model.attribute", nil},
		{"attributeDefaultValue", "attribute.default.value", nil},
		{"isMandatoryInLdap", "is.mandatory.in.ldap", false},
		{"isBinaryAttribute", "is.binary.attribute", false},
		{"readOnly", "read.only", false},
		{"alwaysReadValueFromLdap", "always.read.value.from.ldap", false},
	}
	ldapFullName = []field{
		{"ldapFullNameAttribute", "ldap.full.name.attribute", nil}, {"readOnly", "read.only", false}, {"writeOnly", "write.only", false},
	}
	ldapHardcodedRole      = []field{{"role", "role", nil}}
	ldapHardcodedAttribute = []field{{"attributeName", "ldap.attribute.name", nil}, {"attributeValue", "ldap.attribute.value", nil}}
	ldapMSAD               = []field{{"ldapPasswordPolicyHintsEnabled", "ldap.password.policy.hints.enabled", false}}
)

func ldapMapper(providerID string, fields []field) func(*builder, *Realm, *inputs) {
	return func(b *builder, realm *Realm, in *inputs) {
		config := map[string]string{}
		in.config(config, fields)
		m := &component{id: in.res.ID, name: in.name(), providerID: providerID, config: single(config)}
		if federation := ref(in, "ldapUserFederationId", b.ldap); federation != nil {
			federation.children = append(federation.children, m)
		}
	}
}
