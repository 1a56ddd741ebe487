package render

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/monitor"
)

func registered(typ, name string, in object) *monitor.Resource {
	return &monitor.Resource{
		URN: "urn:pulumi:dev::demo::" + typ + "::" + name, Type: typ, Name: name, ID: stableID(typ, name), Custom: true,
		Inputs: resource.NewPropertyMapFromMap(in), Outputs: resource.NewPropertyMapFromMap(in),
	}
}

func demo(resources ...*monitor.Resource) []*monitor.Resource {
	return append(resources, registered("keycloak:index/realm:Realm", "demo", object{"realm": "demo", "enabled": true}))
}

// What can't be rendered is never dropped.
func TestRefusals(t *testing.T) {
	client := object{"realmId": "demo", "clientId": "web", "name": "web", "accessType": "CONFIDENTIAL"}
	for _, test := range []struct {
		name     string
		resource *monitor.Resource
		want     []string
	}{
		{"unknown resource type", registered("keycloak:saml/client:Client", "saml", object{"realmId": "demo"}),
			[]string{`"saml": resource type keycloak:saml/client:Client`}},
		{"another provider's resource", registered("random:index/randomPassword:RandomPassword", "p", object{"length": 8}),
			[]string{"random:index/randomPassword:RandomPassword"}},
		{"unknown inputs, all of them", registered("keycloak:openid/client:Client", "web", with(client, object{"glitter": true, "sparkle": 1})),
			[]string{`keycloak:openid/client:Client "web": unknown input glitter`, "unknown input sparkle"}},
		{"unknown input of an object inside", registered("keycloak:index/user:User", "u", object{"realmId": "demo", "username": "ada",
			"initialPassword": object{"value": "x", "hint": "y"}}), []string{"unknown input initialPassword.hint"}},
		{"unknown input of a list's object", registered("keycloak:index/realmUserProfile:RealmUserProfile", "p", object{"realmId": "demo",
			"attributes": []any{object{"name": "team", "multivalued": true}}}), []string{"unknown input attributes.multivalued"}},
		{"wrong type", registered("keycloak:openid/client:Client", "web", with(client, object{"enabled": "yes"})),
			[]string{"input enabled is a string where a bool is expected"}},
		{"not a duration", registered("keycloak:index/realm:Realm", "other", object{"realm": "other", "accessTokenLifespan": "soon"}),
			[]string{`input accessTokenLifespan: "soon" is not a duration such as 5m`}},
		{"authorization services", registered("keycloak:openid/client:Client", "web", with(client, object{"authorization": object{"policyEnforcementMode": "ENFORCING"}})),
			[]string{"input authorization can't be rendered"}},
		{"import", func() *monitor.Resource {
			r := registered("keycloak:openid/client:Client", "web", client)
			r.ImportID = "demo/123"
			return r
		}(), []string{"it is imported (demo/123)"}},
		{"no such realm", registered("keycloak:index/role:Role", "r", object{"realmId": "elsewhere", "name": "r"}),
			[]string{`the program declares no realm "elsewhere"`}},
		{"no such role", registered("keycloak:index/role:Role", "r", object{"realmId": "demo", "name": "r", "compositeRoles": []any{"abc"}}),
			[]string{`input compositeRoles refers to "abc"`}},
		{"no such group", registered("keycloak:index/group:Group", "g", object{"realmId": "demo", "name": "g", "parentId": "abc"}),
			[]string{`input parentId refers to "abc"`}},
		{"no such member", registered("keycloak:index/groupMemberships:GroupMemberships", "m", object{"realmId": "demo", "groupId": "x", "members": []any{"ghost"}}),
			[]string{`input groupId refers to "x"`}},
		{"realm twice", registered("keycloak:index/realm:Realm", "again", object{"realm": "demo"}),
			[]string{`realm "demo" is declared twice`}},
		{"no such identity provider", registered("keycloak:index/hardcodedRoleIdentityMapper:HardcodedRoleIdentityMapper", "m", object{"realm": "demo", "identityProviderAlias": "corp", "role": "r"}),
			[]string{`input identityProviderAlias names "corp"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Build(demo(test.resource))
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v lacks %q", err, want)
				}
			}
		})
	}
}

// Keycloak drops a client scope that isn't there without a word.
func TestUnknownClientScope(t *testing.T) {
	client := registered("keycloak:openid/client:Client", "web", object{"realmId": "demo", "clientId": "web", "accessType": "PUBLIC"})
	_, err := Build(demo(client, registered("keycloak:openid/clientDefaultScopes:ClientDefaultScopes", "web", object{
		"realmId": "demo", "clientId": client.ID, "defaultScopes": []any{"basic", "modle-api"}})))
	if err == nil || !strings.Contains(err.Error(), `the client scope "modle-api"`) {
		t.Error(err)
	}
}

func TestTheSameProgramIsRenderedTheSame(t *testing.T) {
	resources := sample(t, "sample-three")
	first, err := buildOne(t, resources).ImportFile()
	if err != nil {
		t.Fatal(err)
	}
	for i, j := 0, len(resources)-1; i < j; i, j = i+1, j-1 {
		resources[i], resources[j] = resources[j], resources[i]
	}
	second, err := buildOne(t, resources).ImportFile()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first), string(second)); diff != "" {
		t.Error(diff)
	}
}

// What people are shown holds no secret, and Keycloak does not take it.
func TestMaskedFile(t *testing.T) {
	realm := buildOne(t, sample(t, "sample-three"))
	if len(realm.secrets) == 0 {
		t.Fatal("the sample has no secrets")
	}
	file, err := realm.MaskedFile()
	if err != nil {
		t.Fatal(err)
	}
	for secret := range realm.secrets {
		if strings.Contains(string(file), `"`+secret+`"`) {
			t.Errorf("the file shows the secret %q", secret)
		}
	}
	if !strings.Contains(string(file), `"secret": "[secret]"`) || !strings.Contains(string(file), `"`+notForImport+`"`) {
		t.Errorf("nothing is masked, or Keycloak would import it:\n%s", file)
	}
}

func TestCompareFindsEachField(t *testing.T) {
	realm := buildOne(t, sample(t, "sample-two"))
	file, err := realm.ImportFile()
	if err != nil {
		t.Fatal(err)
	}
	if same, err := Compare(realm, file); err != nil || len(same) > 0 {
		t.Fatalf("a realm differs from its own file: %v, %v", same, err)
	}
	// The provider's update of a client sets what it left out before.
	updated := strings.Replace(string(file), `"clientId": "api",`, `"clientId": "api", "rootUrl": "",`, 1)
	if same, err := Compare(realm, []byte(updated)); err != nil || updated == string(file) || len(same) > 0 {
		t.Errorf("an updated client differs: %v, %v", same, err)
	}
	changed := strings.NewReplacer(
		`"loginWithEmailAllowed": true`, `"loginWithEmailAllowed": false`,
		`"dpop.bound.access.tokens": "true"`, `"dpop.bound.access.tokens": "false"`,
		`"claim.value": "acme"`, `"claim.value": "evil"`,
		`"default-roles-sample-two"`, `"admin"`,
	).Replace(string(file))
	differences, err := Compare(realm, []byte(changed))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range differences {
		got = append(got, d.Path)
	}
	want := []string{
		"clientScopes.model-api.protocolMappers.tenant.config.claim.value",
		"clients.api.attributes.dpop.bound.access.tokens",
		"loginWithEmailAllowed",
		"roles.realm.admin",
		"roles.realm.default-roles-sample-two",
		"users.service-account-api.realmRoles",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A validator of the user profile that has no configuration is not nothing, and
// a number is not a text.
func TestCompareFindsValidators(t *testing.T) {
	realm := buildOne(t, sample(t, "sample-three"))
	file, err := realm.ImportFile()
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(
		`,\"username-prohibited-characters\":{}`, ``,
		`\"max\":\"20\"`, `\"max\":20`,
	).Replace(string(file))
	differences, err := Compare(realm, []byte(changed))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range differences {
		got = append(got, d.String())
	}
	if len(got) != 1 || strings.Count(got[0], "username-prohibited-characters") != 1 || !strings.Contains(got[0], `{"max":20}`) {
		t.Errorf("differences %q", got)
	}
}

func TestDiffMasksSecrets(t *testing.T) {
	realm := buildOne(t, sample(t, "sample-three"))
	base, err := baseFor("three")
	if err != nil {
		t.Fatal(err)
	}
	empty, err := embed(base.rep)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	n, err := WriteDiff(&out, realm, []byte(empty), false)
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	golden(t, "sample-three.diff", out.String())
	for secret := range realm.secrets {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the diff shows the secret %q", secret)
		}
	}
	var colored strings.Builder
	if _, err := WriteDiff(&colored, realm, []byte(empty), true); err != nil || !strings.Contains(colored.String(), "\x1b[32m+ ") {
		t.Errorf("no color: %v", err)
	}
}

func TestPreview(t *testing.T) {
	stack := &monitor.Resource{URN: "stack", Type: "pulumi:pulumi:Stack", Name: "demo-dev"}
	component := &monitor.Resource{URN: "component", Type: "demo:index:Realm", Name: "demo", Parent: "stack"}
	realm := registered("keycloak:index/realm:Realm", "demo", object{"realm": "demo", "enabled": true})
	realm.Parent, realm.Protect = "component", true
	user := registered("keycloak:index/user:User", "ada", object{"realmId": "demo", "username": "ada", "initialPassword": object{
		"value": resource.MakeSecret(resource.NewStringProperty("hunter2"))}})
	user.Parent, user.IgnoreChanges = "component", []string{"requiredActions"}
	var out strings.Builder
	err := Preview(&out, &monitor.Result{
		Resources: []*monitor.Resource{stack, user, realm, component},
		Outputs: resource.NewPropertyMapFromMap(object{"issuer": "https://id.example.com/realms/demo", "audience": "api", "policy": object{
			"version": 2, "baseRole": "model-api-access",
			"models":  []any{object{"name": "iris", "embedded": "iris", "allow": object{"roles": []any{"model-api-access"}}}},
			"clients": []any{object{"clientId": "api", "kind": "api"}},
		}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Error("the preview shows a secret")
	}
	golden(t, "preview.txt", out.String())
}

// The file is what --import-realm takes; the end-to-end tests boot one.
func TestImportFile(t *testing.T) {
	file, err := buildOne(t, sample(t, "sample-three")).ImportFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, unwanted := range []string{"the-realm", Marker} {
		if strings.Contains(string(file), unwanted) {
			t.Errorf("the file has %q", unwanted)
		}
	}
}

// Keycloak gives a new federation mappers by its vendor, RDN and mode, and an
// import file has to hold them: as measured.
func TestImportFileOfAFederation(t *testing.T) {
	for _, tt := range []struct {
		name, vendor, rdn, username, mode string
		want                              []string // name: LDAP attribute, read-only, always read
	}{
		{"Active Directory by account name", "AD", "cn", "sAMAccountName", "READ_ONLY", []string{
			"username: sAMAccountName true false", "last name: sn true true", "email: mail true false",
			"creation date: whenCreated true true", "modify date: whenChanged true true",
			"Kerberos principal attribute mapper:   ", "full name: cn true ", "MSAD account controls:   true"}},
		{"Active Directory by cn", "AD", "cn", "cn", "READ_ONLY", []string{
			"username: cn true false", "last name: sn true true", "email: mail true false",
			"creation date: whenCreated true true", "modify date: whenChanged true true",
			"Kerberos principal attribute mapper:   ", "first name: givenName true true", "MSAD account controls:   true"}},
		{"Active Directory, unsynced", "AD", "uid", "uid", "UNSYNCED", []string{
			"username: uid true false", "last name: sn true false", "email: mail true false",
			"creation date: whenCreated true false", "modify date: whenChanged true false",
			"Kerberos principal attribute mapper:   ", "first name: cn true false", "MSAD account controls:   false"}},
		{"writable, RDN cn", "OTHER", "cn", "uid", "WRITABLE", []string{
			"username: uid false false", "last name: sn false true", "email: mail false false",
			"creation date: createTimestamp true true", "modify date: modifyTimestamp true true",
			"Kerberos principal attribute mapper:   ", "first name: givenName false true", "username-cn: cn false false"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			federation := registered("keycloak:ldap/userFederation:UserFederation", "corp", object{"realmId": "demo", "name": "corp", "vendor": tt.vendor,
				"connectionUrl": "ldap://x", "usersDn": "dc=x", "usernameLdapAttribute": tt.username, "rdnLdapAttribute": tt.rdn,
				"uuidLdapAttribute": "objectGUID", "userObjectClasses": []any{"person"}, "editMode": tt.mode})
			file, err := buildOne(t, demo(federation)).ImportFile()
			if err != nil {
				t.Fatal(err)
			}
			var realm struct {
				Components map[string][]struct {
					SubComponents map[string][]struct {
						Name   string
						Config map[string][]string
					}
				}
			}
			if err := json.Unmarshal(file, &realm); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range realm.Components[storageProvider][0].SubComponents[ldapMapperType] {
				one := func(keys ...string) string {
					for _, key := range keys {
						if v := m.Config[key]; len(v) == 1 {
							return v[0]
						}
					}
					return ""
				}
				got = append(got, m.Name+": "+one("ldap.attribute", "ldap.full.name.attribute")+" "+one("read.only")+" "+
					one("always.read.value.from.ldap", "always.read.enabled.value.from.ldap"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("mappers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSampleExportsAreOfThisKeycloak(t *testing.T) {
	for _, file := range []string{"base.json", filepath.Join("testdata", "sample-one.export.json"), filepath.Join("testdata", "sample-two.export.json")} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), `"keycloakVersion": "`+keycloak.Version+`"`) {
			t.Errorf("%s is of another version", file)
		}
	}
}
