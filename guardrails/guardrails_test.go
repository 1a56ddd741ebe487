package guardrails

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/policy"
)

type object = map[string]any

func secret(v string) resource.PropertyValue { return resource.MakeSecret(resource.NewProperty(v)) }

var unknown = resource.MakeComputed(resource.NewProperty(""))

// broken are the names of the rules that violations break.
func broken(found []Violation) []string {
	list := []string{}
	for _, v := range found {
		list = append(list, v.Rule)
	}
	return list
}

func TestRules(t *testing.T) {
	const profile = "keycloak:index/realmUserProfile:RealmUserProfile"
	for _, test := range []struct {
		name   string
		typ    string
		inputs object
		want   string // rule; empty: none
	}{
		{"implicit flow", openIDClient, object{"implicitFlowEnabled": true}, "no-implicit-flow"},
		{"implicit flow as text", openIDClient, object{"implicitFlowEnabled": "true"}, "no-implicit-flow"},
		{"implicit flow in a secret", openIDClient, object{"implicitFlowEnabled": resource.MakeSecret(resource.NewProperty(true))}, "no-implicit-flow"},
		{"implicit flow in an output", openIDClient, object{"implicitFlowEnabled": resource.NewProperty(resource.Output{Element: resource.NewProperty(true), Known: true})}, "no-implicit-flow"},
		{"implicit flow off", openIDClient, object{"implicitFlowEnabled": false}, ""},
		{"implicit flow not known yet", openIDClient, object{"implicitFlowEnabled": unknown}, ""},
		{"another type", "other:index:Client", object{"implicitFlowEnabled": true, "clientSecret": "x"}, ""},

		{"wildcard path", openIDClient, object{"validRedirectUris": []any{"https://a.example/cb", "https://a.example/*"}}, "no-wildcard-redirect"},
		{"every redirect", openIDClient, object{"validRedirectUris": []any{"*"}}, "no-wildcard-redirect"},
		{"wildcard in one secret element", openIDClient, object{"validRedirectUris": []any{secret("https://a.example/*")}}, "no-wildcard-redirect"},
		{"wildcard in a secret list", openIDClient, object{"validRedirectUris": resource.MakeSecret(resource.NewPropertyValue([]any{"/*"}))}, "no-wildcard-redirect"},
		{"wildcard after logout", openIDClient, object{"validPostLogoutRedirectUris": []any{"https://a.example/*"}}, "no-wildcard-redirect"},
		{"wildcard after logout by attribute", openIDClient, object{"extraConfig": object{"post.logout.redirect.uris": "https://a.example/##https://a.example/*"}}, "no-wildcard-redirect"},
		{"wildcard of a SAML client", samlClient, object{"validRedirectUris": []any{"https://a.example/*"}}, "no-wildcard-redirect"},
		{"exact redirects", openIDClient, object{"validRedirectUris": []any{"https://a.example/cb"}, "validPostLogoutRedirectUris": []any{"+"}}, ""},

		{"every origin", openIDClient, object{"webOrigins": []any{"*"}}, "no-wildcard-origin"},
		{"every subdomain", openIDClient, object{"webOrigins": []any{"https://*.example"}}, "no-wildcard-origin"},
		{"origins of the redirects", openIDClient, object{"webOrigins": []any{"+"}}, ""},

		{"password grant beside the code flow", openIDClient, object{"standardFlowEnabled": true, "directAccessGrantsEnabled": true}, "no-web-password-grant"},
		{"password grant alone", openIDClient, object{"directAccessGrantsEnabled": true}, ""},

		{"plain client secret", openIDClient, object{"clientSecret": "hunter2"}, "no-plain-secret"},
		{"marked client secret", openIDClient, object{"clientSecret": secret("hunter2")}, ""},
		{"client secret that is to come", openIDClient, object{"clientSecret": unknown}, ""},
		{"no client secret", openIDClient, object{"clientSecret": ""}, ""},
		{"plain initial password", user, object{"initialPassword": object{"value": "hunter2", "temporary": true}}, "no-plain-secret"},
		{"marked initial password", user, object{"initialPassword": object{"value": secret("hunter2"), "temporary": true}}, ""},
		{"initial password marked as a whole", user, object{"initialPassword": resource.MakeSecret(resource.NewPropertyValue(object{"value": "hunter2", "temporary": true}))}, ""},
		{"plain private key", "keycloak:index/realmKeystoreRsa:RealmKeystoreRsa", object{"privateKey": "-----BEGIN"}, "no-plain-secret"},
		{"plain key store password", "keycloak:index/realmKeystoreJavaGenerated:RealmKeystoreJavaGenerated", object{"keystorePassword": "hunter2"}, "no-plain-secret"},
		{"plain secret of an identity provider", "keycloak:oidc/identityProvider:IdentityProvider", object{"clientSecret": "hunter2"}, "no-plain-secret"},
		{"plain secret of Google", "keycloak:oidc/googleIdentityProvider:GoogleIdentityProvider", object{"clientSecret": "hunter2"}, "no-plain-secret"},
		{"plain bind password", "keycloak:ldap/userFederation:UserFederation", object{"bindCredential": "hunter2"}, "no-plain-secret"},
		{"plain SMTP password", "keycloak:index/realm:Realm", object{"smtpServer": object{"auth": object{"username": "u", "password": "hunter2"}}}, "no-plain-secret"},
		{"plain secret in free-form inputs", "keycloak:oidc/identityProvider:IdentityProvider", object{"extraConfig": object{"clientSecret": "hunter2"}}, "no-plain-secret"},
		{"plain secret of the provider", "pulumi:providers:keycloak", object{"clientSecret": "hunter2"}, "no-plain-secret"},
		{"password policy", "keycloak:index/realm:Realm", object{"passwordPolicy": "length(12)"}, ""},

		{"levels of a client's own (RFC 9470)", openIDClient, object{"extraConfig": object{"acr.loa.map": `{"2":1}`}}, "no-client-levels"},
		{"levels not known yet", openIDClient, object{"extraConfig": object{"acr.loa.map": unknown}}, ""},
		{"no levels of a client's own", openIDClient, object{"extraConfig": object{"standard.token.exchange.enabled": "true"}}, ""},
		{"levels of the realm", "keycloak:index/realm:Realm", object{"attributes": object{"acr.loa.map": `{"1":1,"2":2}`}}, ""},

		{"lasting password", user, object{"initialPassword": object{"value": secret("hunter2"), "temporary": false}}, "no-lasting-password"},
		{"lasting password by default", user, object{"initialPassword": object{"value": secret("hunter2")}}, "no-lasting-password"},
		{"no password", user, object{"username": "u"}, ""},

		{"registration with anybody's address", realm, object{"registrationAllowed": true, "loginWithEmailAllowed": true}, "no-unverified-email-login"},
		{"registration with anybody's address as username", realm, object{"registrationAllowed": true, "registrationEmailAsUsername": true}, "no-unverified-email-login"},
		{"registration with a verified address", realm, object{"registrationAllowed": true, "loginWithEmailAllowed": true, "verifyEmail": true}, ""},
		{"registration where the address is no login", realm, object{"registrationAllowed": true, "loginWithEmailAllowed": false}, ""},
		{"no registration", realm, object{"loginWithEmailAllowed": true}, ""},

		{"profile alone", profile, object{"realmId": "r", "attributes": []any{object{"name": "team", "permissions": object{"edits": []any{"user"}}}}}, ""},
		{"a name as the time of a level", "keycloak:openid/userPropertyProtocolMapper:UserPropertyProtocolMapper", object{"realmId": "r", "userProperty": "lastName", "claimName": "loa_map"}, "no-self-service-claim"},
		{"email as groups", "keycloak:openid/userPropertyProtocolMapper:UserPropertyProtocolMapper", object{"realmId": "r", "userProperty": "email", "claimName": "groups"}, "no-self-service-claim"},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := []string{}
			if test.want != "" {
				want = append(want, test.want)
			}
			for _, dev := range []bool{false, true} {
				c, err := New(Options{Dev: dev})
				if err != nil {
					t.Fatal(err)
				}
				found := c.Check(test.typ, "it", resource.NewPropertyMapFromMap(test.inputs))
				if diff := cmp.Diff(want, broken(found)); diff != "" {
					t.Fatalf("(-want +got):\n%s", diff)
				}
				for _, v := range found {
					if warned := Refused(found) == nil; warned != (dev && rule(v.Rule).Dev) {
						t.Errorf("dev %v: refused is %v", dev, !warned)
					}
					if strings.Contains(v.Error(), "hunter2") || strings.Contains(v.Error(), "\n") {
						t.Errorf("the line %q shows a secret, or is more than one", v.Error())
					}
				}
			}
		})
	}
}

func rule(name string) Rule {
	for _, r := range Rules() {
		if r.Name == name {
			return r
		}
	}
	return Rule{}
}

// registration is one resource in a table.
type registration struct {
	typ, name string
	inputs    object
}

func TestSelfServiceClaims(t *testing.T) {
	const attributeMapper = "keycloak:openid/userAttributeProtocolMapper:UserAttributeProtocolMapper"
	profile := func(realm any, edits ...any) registration {
		return registration{"keycloak:index/realmUserProfile:RealmUserProfile", "profile", object{"realmId": realm, "attributes": []any{
			object{"name": "username"}, object{"name": "team", "permissions": object{"views": []any{"admin", "user"}, "edits": edits}}}}}
	}
	mapper := func(realm any, claim string) registration {
		return registration{attributeMapper, "mapper", object{"realmId": realm, "userAttribute": "team", "claimName": claim}}
	}
	for _, test := range []struct {
		name   string
		first  registration
		second registration
		wrong  bool
	}{
		{"roles", profile("r", "admin", "user"), mapper("r", "realm_access.roles"), true},
		{"client roles", profile("r", "user"), mapper("r", "resource_access.api.roles"), true},
		{"groups", profile("r", "user"), mapper("r", "groups"), true},
		{"username", profile("r", "user"), mapper("r", "preferred_username"), true},
		{"harmless claim", profile("r", "user"), mapper("r", "team"), false},
		{"only admins edit", profile("r", "admin"), mapper("r", "groups"), false},
		{"another realm", profile("r", "user"), mapper("s", "groups"), false},
		{"realm that is still to be made", profile(unknown, "user"), mapper(unknown, "groups"), true},
		{"generic mapper", profile("r", "user"), registration{"keycloak:index/genericProtocolMapper:GenericProtocolMapper", "mapper", object{
			"realmId": "r", "protocolMapper": "oidc-usermodel-attribute-mapper", "config": object{"user.attribute": "team", "claim.name": "groups"}}}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, order := range [][2]registration{{test.first, test.second}, {test.second, test.first}} {
				c, _ := New(Options{Dev: true})
				var found []Violation
				for _, r := range order {
					found = append(found, c.Check(r.typ, r.name, resource.NewPropertyMapFromMap(r.inputs))...)
				}
				want := []string{}
				if test.wrong {
					want = append(want, "no-self-service-claim")
				}
				if diff := cmp.Diff(want, broken(found)); diff != "" {
					t.Fatalf("%s first: (-want +got):\n%s", order[0].name, diff)
				}
				if test.wrong && (found[0].Resource != "mapper" || Refused(found) == nil) {
					t.Errorf("found %v", found[0])
				}
			}
		})
	}
}

func TestModelsWithoutRoles(t *testing.T) {
	c, _ := New(Options{Dev: true})
	found := c.CheckPolicy(&policy.Policy{Models: []policy.Model{
		{Name: "open"}, {Name: "blank", Allow: policy.Conditions{Roles: []string{""}}}, {Name: "closed", Allow: policy.Conditions{Roles: []string{"r"}}}, {Name: "one team's", Allow: policy.Conditions{Groups: []string{"/team"}}},
		{Name: "metadata for all", Allow: policy.Conditions{Actions: []string{"metadata"}}},
	}})
	if err := Refused(found); err == nil || len(found) != 3 || !strings.Contains(err.Error(), `no-roleless-model: model "open"`) {
		t.Errorf("found %v", found)
	}
}

func TestExemptions(t *testing.T) {
	wild := resource.NewPropertyMapFromMap(object{"validRedirectUris": []any{"https://a.example/*"}, "implicitFlowEnabled": true})
	c, err := New(Options{Exemptions: []Exemption{
		{"web", "no-wildcard-redirect", "it moves in March"},
		{"wbe", "no-implicit-flow", "a typo"},
		{"web", "no-plain-secret", "it has none"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	found := c.Check(openIDClient, "web", wild)
	if len(found) != 2 || found[0].Allowed != "" || found[1].Allowed != "exempt, it moves in March" {
		t.Errorf("found %v", found)
	}
	if found := c.Check(openIDClient, "other", wild); len(found) != 2 || found[1].Allowed != "" {
		t.Errorf("the exemption of one holds for another: %v", found)
	}
	err = c.Unused()
	for _, want := range []string{`no resource "wbe" breaks the rule no-implicit-flow`, `no resource "web" breaks the rule no-plain-secret`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "no-wildcard-redirect") {
		t.Errorf("an exemption in use is called unused: %v", err)
	}
}

func TestExemptionOfWhatIsNotKnownYet(t *testing.T) {
	c, _ := New(Options{Exemptions: []Exemption{{"web", "no-wildcard-redirect", "it moves in March"}}})
	c.Check(openIDClient, "web", resource.NewPropertyMapFromMap(object{"validRedirectUris": []any{unknown}}))
	if err := c.Unused(); err != nil {
		t.Errorf("a preview can't tell: %v", err)
	}
}

func TestExemptionsThatCannotBeMeant(t *testing.T) {
	_, err := New(Options{Exemptions: []Exemption{
		{"", "no-implicit-flow", "why"}, {"web", "no-such-rule", "why"}, {"web", "no-plain-secret", " "},
		{"api", "no-plain-secret", "why"}, {"api", "no-plain-secret", "why"},
	}})
	for _, want := range []string{"exemption 0", "there is no such rule", "reason is empty", "exemption 4", "stands there twice"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../docs/guardrails.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Rules() {
		dev := "refused"
		if r.Dev {
			dev = "warning"
		}
		if row := "| `" + r.Name + "` | " + r.Sentence + " | " + dev + " |"; !strings.Contains(string(text), row) {
			t.Errorf("docs/guardrails.md lacks the row\n%s", row)
		}
	}
}
