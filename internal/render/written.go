package render

import "strings"

// RealmInput is the input of the resource Realm that becomes a key of the
// RealmRepresentation, such as securityDefenses for failureFactor. It is empty for a
// key that the provider never sends, which an update therefore leaves alone.
func RealmInput(key string) string {
	for _, f := range realmFields {
		if f.key == key {
			return f.input
		}
	}
	for _, d := range realmDurations {
		if d == key {
			return d
		}
	}
	for _, group := range []struct {
		input  string
		fields []field
	}{{"securityDefenses", bruteForceFields}, {"otpPolicy", otpFields}} {
		for _, f := range group.fields {
			if f.key == key {
				return group.input
			}
		}
	}
	// The longer prefix first: the other one begins it.
	for _, group := range []struct{ prefix, input string }{
		{"webAuthnPolicyPasswordless", "webAuthnPasswordlessPolicy"}, {"webAuthnPolicy", "webAuthnPolicy"},
	} {
		if rest, ok := strings.CutPrefix(key, group.prefix); ok {
			for _, f := range webAuthnFields {
				if f.key == rest {
					return group.input
				}
			}
		}
	}
	return map[string]string{
		"bruteForceProtected": "securityDefenses", "browserSecurityHeaders": "securityDefenses",
		"internationalizationEnabled": "internationalization", "supportedLocales": "internationalization",
		"defaultLocale": "internationalization", "smtpServer": "smtpServer", "attributes": "attributes",
	}[key]
}

// ClientInput is RealmInput for a field of the ClientRepresentation and the resource
// Client. Attributes are asked for by ClientAttributeInput.
func ClientInput(key string) string {
	for _, f := range clientFields {
		if f.key == key {
			return f.input
		}
	}
	return map[string]string{
		"name": "name", "publicClient": "accessType", "bearerOnly": "accessType",
		"authenticationFlowBindingOverrides": "authenticationFlowBindingOverrides",
	}[key]
}

// ClientAttributeInput is ClientInput for an attribute of the client.
func ClientAttributeInput(key string) string {
	for _, f := range clientAttributes {
		if f.key == key {
			return f.input
		}
	}
	if key == "post.logout.redirect.uris" {
		return "validPostLogoutRedirectUris"
	}
	return ""
}
