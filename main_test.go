package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"gopkg.in/yaml.v3"

	"keycloak-model-api/policy"
)

const project = "keycloak-model-api"

// registered is one resource as the engine would get it.
type registered struct {
	Type, Name string
	Inputs     resource.PropertyMap
	RPC        *pulumirpc.RegisterResourceRequest
}

// monitor stands for the engine and the provider.
type monitor struct {
	mu        sync.Mutex
	resources []registered
	calls     []string
}

func (m *monitor) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resources = append(m.resources, registered{args.TypeToken, args.Name, args.Inputs, args.RegisterRPC})
	outputs := args.Inputs.Copy()
	id := args.Name + "-id"
	switch args.TypeToken {
	case "keycloak:index/realm:Realm":
		id = args.Inputs["realm"].StringValue()
	case "keycloak:openid/client:Client":
		outputs["serviceAccountUserId"] = resource.NewProperty("service-account-" + args.Name)
	}
	return id, outputs, nil
}

func (m *monitor) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, args.Token)
	return resource.PropertyMap{"id": resource.NewProperty("id of " + args.Args["clientId"].StringValue())}, nil
}

// find returns the one resource of that type and name.
func (m *monitor) find(t *testing.T, typ, name string) registered {
	t.Helper()
	for _, r := range m.resources {
		if r.Type == "keycloak:"+typ && r.Name == name {
			return r
		}
	}
	t.Fatalf("no %s %q was registered; there are:\n%s", typ, name, strings.Join(m.list(), "\n"))
	return registered{}
}

// list returns type and name of what the provider would make, sorted.
func (m *monitor) list() []string {
	var list []string
	for _, r := range m.resources {
		if typ, ok := strings.CutPrefix(r.Type, "keycloak:"); ok {
			list = append(list, typ[strings.LastIndex(typ, ":")+1:]+" "+r.Name)
		}
	}
	slices.Sort(list)
	return list
}

func (m *monitor) count(typ string) int {
	n := 0
	for _, r := range m.resources {
		if strings.HasSuffix(r.Type, ":"+typ) {
			n++
		}
	}
	return n
}

// settings is a stack's configuration, by full key, as the CLI hands it over.
type settings map[string]any

// projectDefaults reads the defaults of Pulumi.yaml as the CLI does.
func projectDefaults(t *testing.T) settings {
	t.Helper()
	var file struct {
		Config map[string]struct {
			Default any
			Value   any
		}
	}
	readYAML(t, "Pulumi.yaml", &file)
	s := settings{}
	for key, c := range file.Config {
		if !strings.Contains(key, ":") {
			key = project + ":" + key
		}
		s[key] = c.Default
		if c.Value != nil {
			s[key] = c.Value
		}
	}
	return s
}

func readYAML(t *testing.T, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// devStack is the committed development stack with secrets as a user sets them.
func devStack(t *testing.T) settings {
	t.Helper()
	s := projectDefaults(t)
	var file struct{ Config settings }
	readYAML(t, "Pulumi.dev.yaml", &file)
	for key, v := range file.Config {
		s[key] = v
	}
	s["keycloak:url"] = "http://127.0.0.1:8080"
	s[project+":clientSecrets"] = map[string]string{"model-serving-api": "api-secret", "my-api-client": "web-secret"}
	s[project+":initialPasswords"] = map[string]string{"ml-api-user": "user-password"}
	return s
}

// with returns settings for the realm "test" in staging with one api client, and
// YAML text laid over them.
func with(t *testing.T, text string) settings {
	t.Helper()
	s := projectDefaults(t)
	s["keycloak:url"] = "https://id.example.com"
	s[project+":realm"] = "test"
	s[project+":environment"] = "staging"
	s[project+":clients"] = []any{map[string]any{"clientId": "api", "kind": "api"}}
	var over map[string]any
	if err := yaml.Unmarshal([]byte(text), &over); err != nil {
		t.Fatal(err)
	}
	for key, v := range over {
		if !strings.Contains(key, ":") {
			key = project + ":" + key
		}
		s[key] = v
	}
	secrets := map[string]string{}
	for _, c := range s[project+":clients"].([]any) {
		client := c.(map[string]any)
		if client["kind"] != "cli" && client["authentication"] != "jwt" {
			secrets[fmt.Sprint(client["clientId"])] = "a-client-secret"
		}
	}
	s[project+":clientSecrets"] = secrets
	return s
}

// up runs the program against mocks and returns what it registered and exported.
func up(t *testing.T, s settings) (*monitor, resource.PropertyMap, error) {
	t.Helper()
	values := map[string]string{}
	for key, v := range s {
		switch v := v.(type) {
		case string:
			values[key] = v
		case int:
			values[key] = strconv.Itoa(v)
		default:
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			values[key] = string(text)
		}
	}
	all, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	getenv := func(key string) string {
		if key == "PULUMI_CONFIG" {
			return string(all)
		}
		return ""
	}
	m := &monitor{}
	err = pulumi.RunErr(func(ctx *pulumi.Context) error {
		outputs, err := run(ctx, getenv, os.ReadFile)
		if err != nil {
			return err
		}
		// The mocks don't see stack outputs: make them a resource's inputs.
		return ctx.RegisterResource("test:index:Outputs", "outputs", outputs, &pulumi.CustomResourceState{})
	}, pulumi.WithMocks(project, "test", m), func(info *pulumi.RunInfo) {
		info.Config = values
		info.ConfigSecretKeys = []string{project + ":clientSecrets", project + ":initialPasswords", project + ":federationSecrets"}
	})
	var outputs resource.PropertyMap
	for _, r := range m.resources {
		if r.Type == "test:index:Outputs" {
			outputs = r.Inputs
		}
	}
	return m, outputs, err
}

func TestDevStack(t *testing.T) {
	m, _, err := up(t, devStack(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"AudienceProtocolMapper model-api",
		"Client model-serving-api",
		"Client my-api-client",
		"ClientDefaultScopes model-serving-api",
		"ClientDefaultScopes my-api-client",
		"ClientScope model-api",
		"ClientServiceAccountRealmRole my-api-client/model-api-access",
		"Realm example-realm",
		"Role model-api-access",
		"User ml-api-user",
		"UserRoles ml-api-user",
	}
	if diff := cmp.Diff(want, m.list()); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
	if len(m.calls) > 0 {
		t.Errorf("the program looks up %v: a preview without a server would fail", m.calls)
	}
	for _, tt := range []struct{ typ, name, inputs string }{
		{"index/realm:Realm", "example-realm", `{"displayName":"Example Realm","enabled":true,"loginWithEmailAllowed":true,"realm":"example-realm"}`},
		{"openid/client:Client", "model-serving-api", `{"accessTokenLifespan":"","accessType":"CONFIDENTIAL","adminUrl":"http://my-api-server/admin","baseUrl":"http://my-api-server/api",
			"clientId":"model-serving-api","clientSecret":"secret:api-secret","clientSessionIdleTimeout":"","clientSessionMaxLifespan":"","description":"",
			"directAccessGrantsEnabled":true,"enabled":true,"extraConfig":{"standard.token.exchange.enabled":"false"},"fullScopeAllowed":true,"implicitFlowEnabled":false,"name":"model-serving-api",
			"oauth2DeviceAuthorizationGrantEnabled":false,"realmId":"example-realm","serviceAccountsEnabled":true,"standardFlowEnabled":true,
			"validPostLogoutRedirectUris":[],"validRedirectUris":["http://my-api-server/*"],"webOrigins":["*"]}`},
		{"openid/client:Client", "my-api-client", `{"accessTokenLifespan":"","accessType":"CONFIDENTIAL","adminUrl":"","baseUrl":"",
			"clientId":"my-api-client","clientSecret":"secret:web-secret","clientSessionIdleTimeout":"","clientSessionMaxLifespan":"","description":"OIDC client for my API",
			"directAccessGrantsEnabled":false,"enabled":true,"extraConfig":{"standard.token.exchange.enabled":"false"},"fullScopeAllowed":true,"implicitFlowEnabled":false,"name":"my-api-client",
			"oauth2DeviceAuthorizationGrantEnabled":false,"realmId":"example-realm","serviceAccountsEnabled":true,"standardFlowEnabled":true,
			"validPostLogoutRedirectUris":["http://127.0.0.1:8000/"],"validRedirectUris":["https://my.api/callback","http://127.0.0.1:8000/callback"],"webOrigins":[]}`},
		{"openid/clientScope:ClientScope", "model-api", `{"description":"Names model-serving-api in the audience of access tokens","includeInTokenScope":true,"name":"model-api","realmId":"example-realm"}`},
		{"openid/audienceProtocolMapper:AudienceProtocolMapper", "model-api", `{"addToAccessToken":true,"addToIdToken":false,"clientScopeId":"model-api-id","includedClientAudience":"model-serving-api","name":"audience","realmId":"example-realm"}`},
		{"openid/clientDefaultScopes:ClientDefaultScopes", "model-serving-api", `{"clientId":"model-serving-api-id","defaultScopes":["basic","roles","profile","email","acr","web-origins","service_account","model-api"],"realmId":"example-realm"}`},
		{"openid/clientDefaultScopes:ClientDefaultScopes", "my-api-client", `{"clientId":"my-api-client-id","defaultScopes":["basic","roles","profile","email","acr","web-origins","service_account","model-api"],"realmId":"example-realm"}`},
		{"openid/clientServiceAccountRealmRole:ClientServiceAccountRealmRole", "my-api-client/model-api-access", `{"realmId":"example-realm","role":"model-api-access","serviceAccountUserId":"service-account-my-api-client"}`},
		{"index/role:Role", "model-api-access", `{"description":"May call the model API","name":"model-api-access","realmId":"example-realm"}`},
		{"index/user:User", "ml-api-user", `{"email":"user@example.com","emailVerified":true,"enabled":true,"firstName":"ML","initialPassword":{"temporary":false,"value":"secret:user-password"},"lastName":"User","realmId":"example-realm","username":"ml-api-user"}`},
		{"index/userRoles:UserRoles", "ml-api-user", `{"exhaustive":false,"realmId":"example-realm","roleIds":["model-api-access-id"],"userId":"ml-api-user-id"}`},
	} {
		t.Run(tt.name+" "+tt.typ, func(t *testing.T) {
			r := m.find(t, tt.typ, tt.name)
			var want any
			if err := json.Unmarshal([]byte(tt.inputs), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, plain(resource.NewProperty(r.Inputs))); diff != "" {
				t.Errorf("inputs (-want +got):\n%s", diff)
			}
			if r.RPC.GetParent() == "" {
				t.Error("it has no parent")
			}
			if r.RPC.GetProtect() {
				t.Error("it is protected in dev")
			}
		})
	}
}

// plain turns properties into JSON's values, with "secret:" before secrets.
func plain(v resource.PropertyValue) any {
	switch {
	case v.IsSecret():
		return "secret:" + v.SecretValue().Element.StringValue()
	case v.IsOutput():
		if v.OutputValue().Secret {
			return "secret:" + v.OutputValue().Element.StringValue()
		}
		return plain(v.OutputValue().Element)
	case v.IsObject():
		m := map[string]any{}
		for k, e := range v.ObjectValue() {
			m[string(k)] = plain(e)
		}
		return m
	case v.IsArray():
		s := []any{}
		for _, e := range v.ArrayValue() {
			s = append(s, plain(e))
		}
		return s
	}
	return v.V
}

func TestOutputs(t *testing.T) {
	_, exported, err := up(t, devStack(t))
	if err != nil {
		t.Fatal(err)
	}
	got := plain(resource.NewProperty(exported)).(map[string]any)
	document, err := json.Marshal(got["policy"])
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&policy.Policy{
		Version:  1,
		Issuer:   "http://127.0.0.1:8080/realms/example-realm",
		Audience: "model-serving-api",
		BaseRole: "model-api-access",
		Models:   []policy.Model{{Name: "iris", Embedded: "iris", Roles: []string{"model-api-access"}}},
		Clients:  []policy.Client{{ClientID: "model-serving-api", Kind: "api"}, {ClientID: "my-api-client", Kind: "web"}},
	}, p); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	delete(got, "policy")
	if diff := cmp.Diff(map[string]any{
		"realm_name":         "example-realm",
		"realm":              "Example Realm",
		"client_id":          "model-serving-api",
		"client_secret":      "secret:api-secret",
		"oidc_client_id":     "my-api-client",
		"oidc_client_secret": "secret:web-secret",
		"issuer":             "http://127.0.0.1:8080/realms/example-realm",
		"jwks_uri":           "http://127.0.0.1:8080/realms/example-realm/protocol/openid-connect/certs",
		"audience":           "model-serving-api",
	}, got); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
}

