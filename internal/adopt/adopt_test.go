package adopt

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"google.golang.org/protobuf/types/known/structpb"

	"keycloak-model-api/internal/monitor"
)

// sample is a program that the real engine and provider ran, with the ids that
// Keycloak chose, and the partial export of the realm that came of it.
func sample(t *testing.T, name string) (resources []*monitor.Resource, export []byte) {
	t.Helper()
	read := func(file string) []byte {
		data, err := os.ReadFile(filepath.Join("..", "render", "testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var registered []struct {
		Name, Type, ID string
		Inputs         *structpb.Struct
	}
	if err := json.Unmarshal(read(name+".json"), &registered); err != nil {
		t.Fatal(err)
	}
	for _, r := range registered {
		inputs, err := plugin.UnmarshalProperties(r.Inputs, plugin.MarshalOptions{KeepSecrets: true})
		if err != nil {
			t.Fatal(err)
		}
		resources = append(resources, &monitor.Resource{
			URN: "urn:pulumi:test::sample::" + r.Type + "::" + r.Name, Type: r.Type, Name: r.Name, ID: r.ID, Custom: true, Inputs: inputs,
		})
	}
	// The sample is sorted by type; a program registers first what others refer to.
	first := []string{"openid/client:Client", "openid/clientScope:ClientScope", "ldap/userFederation:UserFederation"}
	slices.SortStableFunc(resources, func(x, y *monitor.Resource) int {
		late := func(r *monitor.Resource) int {
			if slices.Contains(first, strings.TrimPrefix(r.Type, "keycloak:")) {
				return 0
			}
			return 1
		}
		return late(x) - late(y)
	})
	return resources, read(name + ".export.json")
}

// What Keycloak exports leads back to the ids under which the provider knows it.
func TestIDsAreTheProviders(t *testing.T) {
	for _, tt := range []struct {
		sample string
		want   []string
	}{
		{"sample-one", []string{
			"Client api example-realm/b55fb66c-e63d-46cb-99f6-8e87a0e91a4e",
			"Client cli example-realm/563ec909-a74f-4ad8-b58a-941240e1cb0a",
			"Client web example-realm/10499bd4-c6e8-4016-a44f-ad2e287d79c7",
			"ClientScope scope example-realm/15a9246e-c0a7-42a9-a198-3b111da769c4",
			"UserFederation ldap example-realm/T5FPn-4fQ_OKDZLQDaz6rA",
			"Group group example-realm/37ab50f6-729d-48bc-bd57-2fb2e665d9d0",
			"Realm realm example-realm",
			"RealmKeystoreEcdsaGenerated es256 example-realm/bdd0deac-99c0-4c26-8555-4f0d4a132a4d",
			"RealmKeystoreRsaGenerated rs256 example-realm/502921d9-12bd-4426-b0e4-ed8c296a2ef6",
			"Role access example-realm/6ce0b174-0064-4953-863f-510d064a67d6",
			"Role crole example-realm/2a720f46-c4b4-4888-bcba-c561813557b5",
			"Role iris example-realm/fb331f19-fb7f-4ea9-a947-0b1560049456",
			"RoleMapper ldap-roles example-realm/T5FPn-4fQ_OKDZLQDaz6rA/5b93c70e-ad3f-4150-93dd-8bf6e3c15ef8",
			"UserAttributeMapper ldap-team example-realm/T5FPn-4fQ_OKDZLQDaz6rA/4cc12d45-2d3f-4cb9-96c0-00693ea72daa",
			"AudienceProtocolMapper aud example-realm/client-scope/15a9246e-c0a7-42a9-a198-3b111da769c4/9d5d7885-a51c-4993-aa01-50d13c85dbbf",
			"UserAttributeProtocolMapper team example-realm/client-scope/15a9246e-c0a7-42a9-a198-3b111da769c4/2a4344a9-34b9-46ca-b4fd-b9dfad79ce9f",
			"UserRealmRoleProtocolMapper roles example-realm/client-scope/15a9246e-c0a7-42a9-a198-3b111da769c4/04008f05-363c-4df0-8e2e-347651b466d2",
			"missing User user", // a partial export has no users
		}},
		{"sample-two", []string{
			"Client api sample-two/6d2894ac-3552-4558-bd14-7e080e41c30e",
			"Group sub sample-two/5843de4a-ffff-49c7-a6fa-3781847c2fc5",  // a subgroup
			"Role crole sample-two/bc851759-9fb7-411d-ab41-e30a4ad77cf6", // a client role
			"FullNameMapper fn sample-two/UNnSWfKKQ6aijKjDosAt6Q/9218eeac-c33c-44f4-b08a-2d203ca820ba",
			"missing User user",
		}},
	} {
		t.Run(tt.sample, func(t *testing.T) {
			resources, export := sample(t, tt.sample)
			result, err := Find(resources, export)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range result.Found {
				typ := o.Resource.Type[strings.LastIndex(o.Resource.Type, ":")+1:]
				got = append(got, typ+" "+o.Resource.Name+" "+o.ID)
				if !strings.HasSuffix(o.ID, o.Resource.ID) {
					t.Errorf("%s %s: import id %s, but the provider knows it as %s", typ, o.Resource.Name, o.ID, o.Resource.ID)
				}
			}
			for _, r := range result.Missing {
				got = append(got, "missing "+r.Type[strings.LastIndex(r.Type, ":")+1:]+" "+r.Name)
			}
			for _, want := range tt.want {
				if !slices.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, strings.Join(got, "\n"))
				}
			}
			if tt.sample == "sample-one" && len(got) != len(tt.want) {
				t.Errorf("%d objects, want %d:\n%s", len(got), len(tt.want), strings.Join(got, "\n"))
			}
		})
	}
}

const (
	stackURN = "urn:pulumi:prod::p::pulumi:pulumi:Stack::p-prod"
	rolesURN = "urn:pulumi:prod::p::keycloak-model-api:roles:Roles::demo"
)

func registered(typ, name, id string, inputs map[string]any) *monitor.Resource {
	return &monitor.Resource{
		URN: "urn:pulumi:prod::p::" + typ + "::" + name, Type: typ, Name: name, ID: id, Custom: true, Version: "5.4.0",
		Parent: rolesURN, Inputs: resource.NewPropertyMapFromMap(inputs),
	}
}

func demo() []*monitor.Resource {
	realm := registered("keycloak:index/realm:Realm", "demo", "demo", map[string]any{"realm": "demo"})
	realm.Parent = stackURN
	return []*monitor.Resource{
		{URN: stackURN, Type: "pulumi:pulumi:Stack", Name: "p-prod"},
		realm,
		{URN: rolesURN, Type: "keycloak-model-api:roles:Roles", Name: "demo", Parent: stackURN},
		registered("keycloak:index/role:Role", "it's", "r", map[string]any{"realmId": "demo", "name": "it's"}),
		registered("keycloak:index/user:User", "ada", "u", map[string]any{"realmId": "demo", "username": "ada"}),
		registered("keycloak:index/userRoles:UserRoles", "ada", "demo/u", map[string]any{"realmId": "demo", "userId": "u"}),
		registered("keycloak:oidc/identityProvider:IdentityProvider", "entra", "entra", map[string]any{"realm": "demo", "alias": "entra"}),
		registered("keycloak:index/attributeToRoleIdentityMapper:AttributeToRoleIdentityMapper", "entra/m", "m", map[string]any{"realm": "demo", "name": "m", "identityProviderAlias": "entra"}),
	}
}

const demoExport = `{"realm": "demo", "roles": {"realm": [{"id": "r1", "name": "it's"}]}, "users": [{"id": "u1", "username": "ada"}],
	"identityProviders": [{"alias": "entra"}], "identityProviderMappers": [{"id": "m1", "name": "m", "identityProviderAlias": "entra"}, {"id": "m2", "name": "m", "identityProviderAlias": "other"}]}`

func TestLinesAreForAShell(t *testing.T) {
	result, err := Find(demo(), []byte(demoExport))
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	if err := WriteLines(&lines, result.Found); err != nil {
		t.Fatal(err)
	}
	want := `pulumi import keycloak:index/attributeToRoleIdentityMapper:AttributeToRoleIdentityMapper entra/m demo/entra/m1 --parent parent=urn:pulumi:prod::p::keycloak-model-api:roles:Roles::demo --generate-code=false --yes
pulumi import keycloak:index/realm:Realm demo demo --generate-code=false --yes
pulumi import keycloak:index/role:Role 'it'\''s' demo/r1 --parent parent=urn:pulumi:prod::p::keycloak-model-api:roles:Roles::demo --generate-code=false --yes
pulumi import keycloak:index/user:User ada demo/u1 --parent parent=urn:pulumi:prod::p::keycloak-model-api:roles:Roles::demo --generate-code=false --yes
pulumi import keycloak:oidc/identityProvider:IdentityProvider entra demo/entra --parent parent=urn:pulumi:prod::p::keycloak-model-api:roles:Roles::demo --generate-code=false --yes
`
	if diff := cmp.Diff(want, lines.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestFileHasTheComponents(t *testing.T) {
	resources := demo()
	result, err := Find(resources, []byte(demoExport))
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := WriteFile(&file, resources, result.Found[1:3]); err != nil {
		t.Fatal(err)
	}
	want := `{
  "resources": [
    {
      "type": "keycloak:index/realm:Realm",
      "name": "keycloak:index/realm:Realm demo",
      "logicalName": "demo",
      "id": "demo",
      "version": "5.4.0"
    },
    {
      "type": "keycloak-model-api:roles:Roles",
      "name": "keycloak-model-api:roles:Roles demo",
      "logicalName": "demo",
      "component": true
    },
    {
      "type": "keycloak:index/role:Role",
      "name": "keycloak:index/role:Role it's",
      "logicalName": "it's",
      "id": "demo/r1",
      "parent": "keycloak-model-api:roles:Roles demo",
      "version": "5.4.0"
    }
  ]
}
`
	if diff := cmp.Diff(want, file.String()); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
}

func TestExportsThatDoNotFit(t *testing.T) {
	for _, tt := range []struct{ name, export, want string }{
		{"no JSON", `realm`, "not a realm as JSON"},
		{"all realms", `[{"realm": "demo"}]`, "not a realm as JSON"},
		{"no realm", `{"id": "demo"}`, "no name of a realm"},
		{"another realm", `{"realm": "other"}`, `realm "other", which the program does not declare`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Find(demo(), []byte(tt.export)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A client of Keycloak's own that the program takes over is imported by the program.
func TestTakenOverClientsAreNotImported(t *testing.T) {
	resources := append(demo(), registered("keycloak:openid/client:Client", "account", "a", map[string]any{
		"realmId": "demo", "clientId": "account", "import": true}))
	result, err := Find(resources, []byte(`{"realm": "demo", "clients": [{"id": "kc-account", "clientId": "account"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range result.Found {
		if o.Resource.Name == "account" {
			t.Errorf("imported as %s", o.ID)
		}
	}
	for _, r := range result.Missing {
		if r.Name == "account" {
			t.Error("missing, and the next up would make it")
		}
	}
}
