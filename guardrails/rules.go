package guardrails

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// Rule is one guardrail.
type Rule struct {
	Name     string
	Sentence string
	Dev      bool // only a warning where Options.Dev is set

	// check returns what is wrong with a resource, or "". Nil for the rules
	// that need more than one resource.
	check func(typ string, in *reader) string
}

// Names of the rules that the configuration holds to as well, where it can say
// which key breaks them. What breaks a rule is one function for both.
const (
	WildcardRedirect = "no-wildcard-redirect"
	WildcardOrigin   = "no-wildcard-origin"
	WebPasswordGrant = "no-web-password-grant"
	LastingPassword  = "no-lasting-password"

	UnverifiedEmailLogin = "no-unverified-email-login"
	SecondFactor         = "second-factor-in-prod"
	NoServiceKey         = "no-service-key"
)

// HasWildcard says that a redirect URI or web origin is not written in full
// (RFC 9700, 4.1.1).
func HasWildcard(uri string) bool { return strings.Contains(uri, "*") }

// TakesPasswords says that a client that people sign in to by browser also
// takes their passwords itself (RFC 9700, 2.4).
func TakesPasswords(passwordGrant, browserFlow bool) bool { return passwordGrant && browserFlow }

var (
	selfServiceClaim = Rule{Name: "no-self-service-claim", Sentence: "No attribute that users may edit is mapped onto a claim that decides on access."}
	secondFactor     = Rule{Name: SecondFactor, Sentence: "Where hardening is `strict`, people sign in with a second factor.", Dev: true}
	keyAlone         = Rule{Name: "service-key-alone", Sentence: "A client with a service key can do nothing but call the API: whoever reads its key has its secret."}
	noServiceKey     = Rule{Name: NoServiceKey, Sentence: "Where hardening is `strict`, no client has a service key.", Dev: true}
	rolelessModel    = Rule{Name: "no-roleless-model", Sentence: "Each model of the access policy says who may call it: by roles, groups, clients or scopes."}
)

// rules are in the order of docs/guardrails.md.
var rules = []Rule{
	{Name: "no-implicit-flow", Sentence: "No client uses the implicit flow, which puts tokens into URLs (RFC 9700, 2.1.2).", check: implicitFlow},
	{Name: WildcardRedirect, Sentence: "Redirect URIs are written in full: with a wildcard a code can reach another site (RFC 9700, 4.1).", Dev: true, check: wildcardRedirect},
	{Name: WildcardOrigin, Sentence: "Web origins are written in full: a wildcard lets any site call Keycloak as the client.", Dev: true, check: wildcardOrigin},
	{Name: WebPasswordGrant, Sentence: "A client that people sign in to by browser does not take their passwords itself (RFC 9700, 2.4).", Dev: true, check: webPasswordGrant},
	rolelessModel,
	{Name: "no-plain-secret", Sentence: "Secrets and passwords are marked secret, so that previews and state don't show them.", check: plainSecret},
	selfServiceClaim,
	{Name: LastingPassword, Sentence: "An initial password is temporary: people who know the configuration must not know a user's password.", Dev: true, check: lastingPassword},
	{Name: UnverifiedEmailLogin, Sentence: "Where people register themselves and sign in by an email address, the address is verified: otherwise anybody takes that of somebody else.", Dev: true, check: unverifiedEmailLogin},
	secondFactor,
	{Name: "no-client-levels", Sentence: "No client maps levels of sign-in itself (`acr.loa.map`): the realm says what a level is (RFC 9470).", check: clientLevels},
	keyAlone,
	noServiceKey,
}

// Rules returns all rules.
func Rules() []Rule { return slices.Clone(rules) }

func names() []string {
	list := make([]string, len(rules))
	for i, r := range rules {
		list[i] = r.Name
	}
	return list
}

const (
	openIDClient = "keycloak:openid/client:Client"
	samlClient   = "keycloak:saml/client:Client"
	user         = "keycloak:index/user:User"
	realm        = "keycloak:index/realm:Realm"
)

func implicitFlow(typ string, in *reader) string {
	if typ == openIDClient && in.boolean("implicitFlowEnabled") {
		return "implicitFlowEnabled is true: use the authorization code flow"
	}
	return ""
}

func wildcardRedirect(typ string, in *reader) string {
	if typ != openIDClient && typ != samlClient {
		return ""
	}
	var wild []string
	for _, key := range []string{"validRedirectUris", "validPostLogoutRedirectUris"} {
		for _, uri := range in.strings(key) {
			if HasWildcard(uri) {
				wild = append(wild, fmt.Sprintf("%s has %q", key, uri))
			}
		}
	}
	// Keycloak's own attribute of the same meaning.
	if uris := in.text("extraConfig", "post.logout.redirect.uris"); HasWildcard(uris) {
		wild = append(wild, fmt.Sprintf("extraConfig has %q", uris))
	}
	if wild == nil {
		return ""
	}
	return strings.Join(wild, ", ") + ": write each URI in full"
}

func wildcardOrigin(typ string, in *reader) string {
	if typ != openIDClient {
		return ""
	}
	for _, origin := range in.strings("webOrigins") {
		if HasWildcard(origin) {
			return fmt.Sprintf("webOrigins has %q: write origins such as https://app.example.com, or + for those of the redirect URIs", origin)
		}
	}
	return ""
}

func webPasswordGrant(typ string, in *reader) string {
	if typ == openIDClient && TakesPasswords(in.boolean("directAccessGrantsEnabled"), in.boolean("standardFlowEnabled") || in.boolean("implicitFlowEnabled")) {
		return "directAccessGrantsEnabled is true beside a browser flow: set it to false"
	}
	return ""
}

func lastingPassword(typ string, in *reader) string {
	if typ == user && in.has("initialPassword") && !in.boolean("initialPassword", "temporary") {
		return "initialPassword is not temporary: set temporary to true"
	}
	return ""
}

func unverifiedEmailLogin(typ string, in *reader) string {
	if typ == realm && in.boolean("registrationAllowed") && !in.boolean("verifyEmail") &&
		(in.boolean("loginWithEmailAllowed") || in.boolean("registrationEmailAsUsername")) {
		return "registrationAllowed lets people take anybody's address, and they sign in by it: set verifyEmail to true, or loginWithEmailAllowed to false"
	}
	return ""
}

func clientLevels(typ string, in *reader) string {
	if typ == openIDClient && in.text("extraConfig", "acr.loa.map") != "" {
		return "extraConfig has acr.loa.map, which wins over the realm's: take it out, and say in the realm what a level is"
	}
	return ""
}

// plainSecret goes by the names of inputs, so that it also holds for resource
// types, and for free-form inputs such as extraConfig, that nobody thought of.
func plainSecret(typ string, in *reader) string {
	if !strings.HasPrefix(typ, "keycloak:") && typ != "pulumi:providers:keycloak" {
		return ""
	}
	var plain []string
	in.leaves(func(path []string, value resource.PropertyValue, secret bool) {
		name := strings.ToLower(path[len(path)-1])
		isSecret := slices.ContainsFunc([]string{"secret", "password", "credential", "privatekey"}, func(suffix string) bool {
			return strings.HasSuffix(name, suffix)
		}) || typ == user && slices.Equal(path, []string{"initialPassword", "value"})
		if isSecret && !secret && value.IsString() && value.StringValue() != "" {
			plain = append(plain, strings.Join(path, "."))
		}
	})
	if plain == nil {
		return ""
	}
	return strings.Join(plain, ", ") + " is not marked secret: give it by RequireSecret or ToSecret, and change it if it was shown"
}
