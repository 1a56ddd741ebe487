package main

import (
	"encoding/json"
	"fmt"
	"maps"
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
	"go.yaml.in/yaml/v3"

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
	of := args.Args["clientId"].StringValue()
	if name := args.Args["name"]; name.IsString() { // a role
		of = name.StringValue() + " of " + of
	}
	return resource.PropertyMap{"id": resource.NewProperty("id of " + of)}, nil
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
		if strings.HasPrefix(r.Type, "keycloak:") && strings.HasSuffix(r.Type, ":"+typ) {
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
		info.ConfigSecretKeys = []string{project + ":clientSecrets", project + ":initialPasswords", project + ":federationSecrets", project + ":smtpPassword"}
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
		"Client model-cli",
		"Client model-serving-api",
		"Client my-api-client",
		"ClientDefaultScopes model-cli",
		"ClientDefaultScopes model-serving-api",
		"ClientDefaultScopes my-api-client",
		"ClientOptionalScopes model-cli",
		"ClientOptionalScopes model-serving-api",
		"ClientOptionalScopes my-api-client",
		"ClientScope model-api",
		"ClientScope model-roles",
		"ClientServiceAccountRealmRole my-api-client/model-api-access",
		"GenericRoleMapper model-roles/model-api-access",
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
		{"index/realm:Realm", "example-realm", `{"attributes":{"keycloak-model-api.stack":"keycloak-model-api/test"},"accessCodeLifespan":"1m0s","accessCodeLifespanLogin":"30m0s","accessCodeLifespanUserAction":"5m0s","accessTokenLifespan":"5m0s",
			"actionTokenGeneratedByAdminLifespan":"12h0m0s","actionTokenGeneratedByUserLifespan":"5m0s","oauth2DevicePollingInterval":5,
			"otpPolicy":{"algorithm":"HmacSHA1","digits":6,"initialCounter":0,"lookAheadWindow":1,"period":30,"type":"totp"},
			"webAuthnPolicy":{"attestationConveyancePreference":"not specified","authenticatorAttachment":"not specified","avoidSameAuthenticatorRegister":false,"createTimeout":0,
				"relyingPartyEntityName":"keycloak","relyingPartyId":"","requireResidentKey":"not specified","signatureAlgorithms":["ES256","RS256"],"userVerificationRequirement":"not specified"},
			"webAuthnPasswordlessPolicy":{"attestationConveyancePreference":"not specified","authenticatorAttachment":"not specified","avoidSameAuthenticatorRegister":false,"createTimeout":0,
				"relyingPartyEntityName":"keycloak","relyingPartyId":"","requireResidentKey":"not specified","signatureAlgorithms":["ES256","RS256"],"userVerificationRequirement":"required"},
			"displayName":"Example Realm","duplicateEmailsAllowed":false,"editUsernameAllowed":false,"enabled":true,"loginWithEmailAllowed":true,"registrationAllowed":false,
			"registrationEmailAsUsername":false,"rememberMe":false,"resetPasswordAllowed":false,"userManagedAccess":false,"verifyEmail":false,"oauth2DeviceCodeLifespan":"10m0s","offlineSessionIdleTimeout":"720h0m0s","offlineSessionMaxLifespan":"1440h0m0s","offlineSessionMaxLifespanEnabled":false,
			"realm":"example-realm","ssoSessionIdleTimeout":"30m0s","ssoSessionMaxLifespan":"10h0m0s"}`},
		{"openid/client:Client", "model-serving-api", `{"accessTokenLifespan":"","accessType":"CONFIDENTIAL","adminUrl":"http://my-api-server/admin","backchannelLogoutSessionRequired":true,"backchannelLogoutUrl":"http://127.0.0.1:8000/backchannel-logout","baseUrl":"http://my-api-server/api",
			"clientId":"model-serving-api","clientSecret":"secret:api-secret","clientOfflineSessionIdleTimeout":"","clientOfflineSessionMaxLifespan":"","clientSessionIdleTimeout":"","clientSessionMaxLifespan":"","consentRequired":false,"frontchannelLogoutEnabled":false,"description":"",
			"directAccessGrantsEnabled":true,"enabled":true,"extraConfig":{"standard.token.exchange.enabled":"false"},"fullScopeAllowed":true,"implicitFlowEnabled":false,"name":"model-serving-api",
			"oauth2DeviceAuthorizationGrantEnabled":false,"realmId":"example-realm","serviceAccountsEnabled":true,"standardFlowEnabled":true,
			"validPostLogoutRedirectUris":[],"validRedirectUris":["http://my-api-server/*"],"webOrigins":["*"]}`},
		{"openid/client:Client", "my-api-client", `{"accessTokenLifespan":"","accessType":"CONFIDENTIAL","adminUrl":"","backchannelLogoutSessionRequired":true,"backchannelLogoutUrl":"http://127.0.0.1:8000/backchannel-logout","baseUrl":"",
			"clientId":"my-api-client","clientSecret":"secret:web-secret","clientOfflineSessionIdleTimeout":"","clientOfflineSessionMaxLifespan":"","clientSessionIdleTimeout":"","clientSessionMaxLifespan":"","consentRequired":false,"frontchannelLogoutEnabled":false,"description":"OIDC client for my API",
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
	// The output for the API alone holds what all others say, and is secret.
	forAPI := exported["api"]
	if !forAPI.IsSecret() {
		t.Fatalf("the output api is not secret: %v", forAPI)
	}
	api := plain(forAPI.SecretValue().Element)
	delete(exported, "api")
	got := plain(resource.NewProperty(exported)).(map[string]any)
	// All of it is secret as one, so its parts have no mark of their own.
	unmarked := maps.Clone(got)
	for key, value := range got {
		if text, ok := value.(string); ok {
			unmarked[key] = strings.TrimPrefix(text, "secret:")
		}
	}
	if diff := cmp.Diff(any(unmarked), api); diff != "" {
		t.Errorf("the output api (-all others +it):\n%s", diff)
	}
	document, err := json.Marshal(api)
	if err != nil {
		t.Fatal(err)
	}
	read, err := policy.ParseOutputs(document)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&policy.Policy{
		Version:  2,
		BaseRole: "model-api-access",
		Models:   []policy.Model{{Name: "iris", Protocol: "oip", Embedded: "iris", Allow: policy.Conditions{Roles: []string{"model-api-access"}}}},
		Clients:  []policy.Client{{ClientID: "model-serving-api", Kind: "api"}, {ClientID: "my-api-client", Kind: "web"}, {ClientID: "model-cli", Kind: "cli", Public: true}},
	}, read.Policy); diff != "" {
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

// Where the API exchanges tokens, its client stands in the audience of all tokens, and
// has a scope for each model server and nothing else.
func TestTokenExchange(t *testing.T) {
	m, exported, err := up(t, with(t, `
clients: [{clientId: api, kind: api}, {clientId: triton, kind: resource}, {clientId: swap, kind: exchange}]
models: [{name: iris, upstream: {url: "https://triton.models.svc:8000", identity: exchange, audience: triton}}]
`))
	if err != nil {
		t.Fatal(err)
	}
	const mapper = "openid/audienceProtocolMapper:AudienceProtocolMapper"
	m.inputs(t, mapper, "exchange", `{"clientScopeId":"model-api-id","includedClientAudience":"swap","addToIdToken":false}`)
	m.inputs(t, mapper, "model-server-triton", `{"clientScopeId":"model-server-triton-id","includedClientAudience":"triton","addToIdToken":false}`)
	m.inputs(t, "openid/clientDefaultScopes:ClientDefaultScopes", "swap", `{"defaultScopes":["basic","model-server-triton"]}`)
	m.inputs(t, "openid/clientOptionalScopes:ClientOptionalScopes", "swap", `{"optionalScopes":[]}`)
	m.inputs(t, "openid/client:Client", "swap", `{"standardFlowEnabled":false,"serviceAccountsEnabled":false,"fullScopeAllowed":false,"directAccessGrantsEnabled":false}`)
	api := exported["api"].SecretValue().Element.ObjectValue()
	if id := api["exchange_client_id"]; plain(id) != "swap" || api["exchange_client_secret"].IsNull() {
		t.Errorf("the output api has the client %v", id)
	}
}

// A client with a service key gets it in an output of its own: the API, whose
// output holds other secrets, has no use for it. The client has no scope that it
// could ask for more by.
func TestServiceKeys(t *testing.T) {
	s := with(t, `
clients: [{clientId: api, kind: api}, {clientId: batch, kind: service, key: true, serviceAccountRoles: [model-api-access]}]
`)
	s[project+":clientSecrets"] = map[string]string{"api": "api-secret", "batch": "b1946ac92492d2347c6235b4d2611184a3f07c1e5d8b9620c7d4e5f60718293a"}
	m, exported, err := up(t, s)
	if err != nil {
		t.Fatal(err)
	}
	keys := exported["service_keys"]
	if !keys.IsSecret() {
		t.Fatalf("the output service_keys is not secret: %v", keys)
	}
	key := keys.SecretValue().Element.ObjectValue()["batch"]
	for key.IsSecret() {
		key = key.SecretValue().Element
	}
	id, secret, err := policy.ParseServiceKey(key.StringValue())
	if err != nil || id != "batch" || !strings.HasPrefix(secret, "b1946ac9") {
		t.Errorf("the key %v is of %q: %v", key, id, err)
	}
	if _, ok := exported["api"].SecretValue().Element.ObjectValue()["service_keys"]; ok {
		t.Error("the output for the API has the keys")
	}
	m.inputs(t, "openid/clientOptionalScopes:ClientOptionalScopes", "batch", `{"optionalScopes":[]}`)
}

// Where a model asks for groups, every client's tokens carry them by their full
// paths, and only then.
func TestGroupsInTokens(t *testing.T) {
	m, exported, err := up(t, with(t, `
groups: [{name: research}, {name: vision, parent: research, roles: [model-api-access]}]
models: [{name: iris, embedded: iris, allow: {groups: [vision]}}]
`))
	if err != nil {
		t.Fatal(err)
	}
	m.inputs(t, "openid/groupMembershipProtocolMapper:GroupMembershipProtocolMapper", "model-api", `{"realmId":"test","clientScopeId":"model-api-id","name":"groups","claimName":"groups","fullPath":true,"addToAccessToken":true,"addToIdToken":false,"addToUserinfo":false}`)
	if got := fmt.Sprint(plain(exported["policy"])); !strings.Contains(got, "/research/vision") {
		t.Errorf("the policy lacks the full path: %s", got)
	}
	m, _, err = up(t, with(t, `{groups: [{name: vision}], models: [{name: iris, embedded: iris}]}`))
	if err != nil || m.count("GroupMembershipProtocolMapper") != 0 {
		t.Errorf("groups in tokens though no model asks for them: error %v", err)
	}
}

// Tokens carry what limits are for: the roles of tiers, and groups.
func TestLimitsInTokens(t *testing.T) {
	m, exported, err := up(t, with(t, `
groups: [{name: research}]
roles: [{name: tier-gold}]
limits: [{role: tier-gold, requests: {minute: 60}}, {group: research, shared: true, tokens: {day: 1000}}, {model: iris, concurrent: 4}]
models: [{name: iris, embedded: iris}]
`))
	if err != nil {
		t.Fatal(err)
	}
	m.find(t, "index/genericRoleMapper:GenericRoleMapper", "model-roles/tier-gold")
	if m.count("GroupMembershipProtocolMapper") != 1 {
		t.Error("no groups in tokens")
	}
	got := fmt.Sprint(plain(exported["policy"]).(map[string]any)["limits"])
	want := "[map[requests:map[minute:60] role:tier-gold] map[group:/research shared:true tokens:map[day:1000]] map[concurrent:4 model:iris]]"
	if got != want {
		t.Errorf("limits\n%s, want\n%s", got, want)
	}
}

// inputs asserts some inputs of one resource, given as JSON.
func (m *monitor) inputs(t *testing.T, typ, name, want string) registered {
	t.Helper()
	r := m.find(t, typ, name)
	var expected map[string]any
	if err := json.Unmarshal([]byte(want), &expected); err != nil {
		t.Fatal(err)
	}
	all := plain(resource.NewProperty(r.Inputs)).(map[string]any)
	got := map[string]any{}
	for k := range expected {
		got[k] = all[k]
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("%s %s (-want +got):\n%s", typ, name, diff)
	}
	return r
}

// absent asserts that the inputs are left out.
func (r registered) absent(t *testing.T, keys ...resource.PropertyKey) {
	t.Helper()
	for _, k := range keys {
		if v, ok := r.Inputs[k]; ok {
			t.Errorf("%s %s: %s is %v, want it left out", r.Type, r.Name, k, v)
		}
	}
}

// dependsOn asserts that r waits for the resource of that type and name.
func (r registered) dependsOn(t *testing.T, typ, name string) {
	t.Helper()
	if !slices.ContainsFunc(r.RPC.GetDependencies(), func(urn string) bool {
		return strings.HasSuffix(urn, "keycloak:"+typ+"::"+name)
	}) {
		t.Errorf("%s %s does not wait for %s %s, only for %q", r.Type, r.Name, typ, name, r.RPC.GetDependencies())
	}
}

func mustUp(t *testing.T, text string) *monitor {
	t.Helper()
	m, _, err := up(t, with(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestModelsDriveRoles(t *testing.T) {
	m := mustUp(t, `
models: [{name: churn, upstream: {url: "http://triton:8000"}}, {name: iris, embedded: iris, roles: [analysts]}]
roles: [{name: lead, composites: [analysts], attributes: {owner: ml}}]
groups: [{name: science, roles: [lead], default: true}, {name: eu, parent: science, attributes: {region: eu}}]
`)
	m.inputs(t, "index/role:Role", "model-api-access", `{"realmId":"test","description":"May call the model API"}`)
	m.inputs(t, "index/role:Role", "model-churn", `{"compositeRoles":["model-api-access-id"]}`)
	m.inputs(t, "index/role:Role", "analysts", `{"compositeRoles":["model-api-access-id"]}`)
	m.inputs(t, "index/role:Role", "lead", `{"compositeRoles":["analysts-id"],"attributes":{"owner":"ml"}}`)
	m.inputs(t, "index/groupRoles:GroupRoles", "science", `{"groupId":"science-id","roleIds":["lead-id"],"exhaustive":true}`)
	m.inputs(t, "index/group:Group", "eu", `{"parentId":"science-id","attributes":{"region":"eu"}}`)
	m.inputs(t, "index/defaultGroups:DefaultGroups", "test", `{"groupIds":["science-id"]}`).dependsOn(t, "index/realmEvents:RealmEvents", "test")
}

func TestKindsOfClients(t *testing.T) {
	m := mustUp(t, `
models: [{name: churn, upstream: {url: "http://triton:8000"}}]
roles: [{name: reports}]
clients:
  - {clientId: api, kind: api}
  - {clientId: web, kind: web, redirectUris: ["https://w.example.com/cb"], backchannelLogoutUrl: "https://w.example.com/logout", accessTokenLifetime: 2m, sessionIdle: 20m}
  - {clientId: svc, kind: service, roles: [model-churn], serviceAccountRoles: [model-churn]}
  - {clientId: mute, kind: service, roles: []}
  - {clientId: cli, kind: cli}
  - clientId: signed
    kind: service
    authentication: jwt
    jwks: '{"keys":[{"kty":"EC"}]}'
    accessTokenType: at+jwt
    dpop: true
  - {clientId: fetched, kind: service, authentication: jwt, jwksUrl: "https://s.example.com/jwks", lightweight: true}
`)
	const scopes = `"basic","roles","profile","email","acr","web-origins"`
	m.inputs(t, "openid/client:Client", "api", `{"accessType":"CONFIDENTIAL","standardFlowEnabled":false,"serviceAccountsEnabled":true,"directAccessGrantsEnabled":false,"fullScopeAllowed":false,
		"extraConfig":{"standard.token.exchange.enabled":"true"},"validRedirectUris":[]}`).absent(t, "pkceCodeChallengeMethod")
	m.inputs(t, "openid/client:Client", "web", `{"standardFlowEnabled":true,"serviceAccountsEnabled":false,"fullScopeAllowed":false,"pkceCodeChallengeMethod":"S256","validPostLogoutRedirectUris":["+"],
		"backchannelLogoutUrl":"https://w.example.com/logout","backchannelLogoutSessionRequired":true,"accessTokenLifespan":"120","clientSessionIdleTimeout":"1200","clientSessionMaxLifespan":"",
		"extraConfig":{"standard.token.exchange.enabled":"false"},"webOrigins":[]}`)
	m.inputs(t, "openid/client:Client", "cli", `{"accessType":"PUBLIC","standardFlowEnabled":true,"oauth2DeviceAuthorizationGrantEnabled":true,"pkceCodeChallengeMethod":"S256","validRedirectUris":["http://127.0.0.1/callback"]}`).absent(t, "clientSecret")
	m.inputs(t, "openid/client:Client", "signed", `{"clientAuthenticatorType":"client-jwt","extraConfig":{"standard.token.exchange.enabled":"false","use.jwks.string":"true","jwks.string":"{\"keys\":[{\"kty\":\"EC\"}]}",
		"access.token.header.type.rfc9068":"true","dpop.bound.access.tokens":"true"}}`).absent(t, "clientSecret")
	m.inputs(t, "openid/client:Client", "fetched", `{"extraConfig":{"standard.token.exchange.enabled":"false","use.jwks.url":"true","jwks.url":"https://s.example.com/jwks","client.use.lightweight.access.token.enabled":"true"}}`)

	// Roles reach tokens by one shared scope, or by mappings of the client's own.
	m.inputs(t, "openid/clientScope:ClientScope", "model-roles", `{"includeInTokenScope":false}`)
	m.inputs(t, "index/genericRoleMapper:GenericRoleMapper", "model-roles/model-api-access", `{"clientScopeId":"model-roles-id","roleId":"model-api-access-id"}`)
	m.inputs(t, "index/genericRoleMapper:GenericRoleMapper", "model-roles/model-churn", `{"clientScopeId":"model-roles-id","roleId":"model-churn-id"}`)
	m.inputs(t, "index/genericRoleMapper:GenericRoleMapper", "svc/model-churn", `{"clientId":"svc-id","roleId":"model-churn-id"}`)
	if n := m.count("GenericRoleMapper"); n != 3 {
		t.Errorf("%d role mappings, want 3", n)
	}
	m.inputs(t, "openid/clientDefaultScopes:ClientDefaultScopes", "api", `{"defaultScopes":[`+scopes+`,"service_account","model-api","model-roles"]}`)
	m.inputs(t, "openid/clientDefaultScopes:ClientDefaultScopes", "web", `{"defaultScopes":[`+scopes+`,"model-api","model-roles"]}`)
	m.inputs(t, "openid/clientDefaultScopes:ClientDefaultScopes", "svc", `{"defaultScopes":[`+scopes+`,"service_account","model-api"]}`)
	m.inputs(t, "openid/clientDefaultScopes:ClientDefaultScopes", "mute", `{"defaultScopes":[`+scopes+`,"service_account","model-api"]}`)
	m.inputs(t, "openid/clientServiceAccountRealmRole:ClientServiceAccountRealmRole", "svc/model-churn", `{"role":"model-churn","serviceAccountUserId":"service-account-svc"}`)
	m.inputs(t, "openid/clientOptionalScopes:ClientOptionalScopes", "svc", `{"optionalScopes":["address","phone","organization","offline_access","microprofile-jwt"]}`)
	if len(m.calls) > 0 {
		t.Errorf("the program looks up %v", m.calls)
	}
}

// TestLogoutsReachTheAPI: clients that people sign in with tell the API of the
// end of a session; a URL of their own wins.
func TestLogoutsReachTheAPI(t *testing.T) {
	m := mustUp(t, `
apiUrl: https://models.example.com/
clients:
  - {clientId: api, kind: api}
  - {clientId: web, kind: web, redirectUris: ["https://w.example.com/cb"]}
  - {clientId: own, kind: web, redirectUris: ["https://o.example.com/cb"], backchannelLogoutUrl: "https://o.example.com/logout"}
`)
	m.inputs(t, "openid/client:Client", "web", `{"backchannelLogoutUrl":"https://models.example.com/backchannel-logout","backchannelLogoutSessionRequired":true}`)
	m.inputs(t, "openid/client:Client", "own", `{"backchannelLogoutUrl":"https://o.example.com/logout"}`)
	m.inputs(t, "openid/client:Client", "api", `{}`).absent(t, "backchannelLogoutUrl")
}

func TestScopesOfClients(t *testing.T) {
	m := mustUp(t, `
clients:
  - {clientId: api, kind: api, defaultScopes: [organization]}
  - {clientId: svc, kind: service, optionalScopes: []}
`)
	m.inputs(t, "openid/clientOptionalScopes:ClientOptionalScopes", "api", `{"optionalScopes":["address","phone","offline_access","microprofile-jwt"]}`)
	m.inputs(t, "openid/clientDefaultScopes:ClientDefaultScopes", "api", `{"defaultScopes":["basic","roles","profile","email","acr","web-origins","service_account","organization","model-api","model-roles"]}`).
		dependsOn(t, "openid/clientOptionalScopes:ClientOptionalScopes", "api")
	m.inputs(t, "openid/clientOptionalScopes:ClientOptionalScopes", "svc", `{"optionalScopes":[]}`)
}

func TestClientRolesAndMappers(t *testing.T) {
	m := mustUp(t, `
userAttributes: [{name: team}]
clients:
  - {clientId: api, kind: api, clientRoles: [auditor]}
  - clientId: svc
    kind: service
    serviceAccountClientRoles: {api: [auditor], realm-management: [view-users, view-clients]}
    mappers:
      - {name: a, type: audience, value: api}
      - {name: b, type: audience, value: "https://elsewhere"}
      - {name: c, type: realmRoles}
      - {name: d, type: clientRoles, claim: api_roles, value: api}
      - {name: e, type: groups}
      - {name: f, type: userAttribute, claim: team, value: team}
      - {name: g, type: hardcoded, claim: tenant, value: acme}
`)
	m.inputs(t, "index/role:Role", "api/auditor", `{"name":"auditor","clientId":"api-id"}`)
	m.inputs(t, "openid/clientServiceAccountRole:ClientServiceAccountRole", "svc/api/auditor", `{"clientId":"api-id","role":"auditor","serviceAccountUserId":"service-account-svc"}`).
		dependsOn(t, "index/role:Role", "api/auditor")
	m.inputs(t, "openid/clientServiceAccountRole:ClientServiceAccountRole", "svc/realm-management/view-users", `{"clientId":"id of realm-management","role":"view-users"}`)
	slices.Sort(m.calls)
	if want := []string{"keycloak:index/getRole:getRole", "keycloak:index/getRole:getRole", "keycloak:openid/getClient:getClient"}; !slices.Equal(m.calls, want) {
		t.Errorf("look-ups %v, want one for the one client that Keycloak makes and one for each of its roles", m.calls)
	}
	m.inputs(t, "openid/audienceProtocolMapper:AudienceProtocolMapper", "svc/a", `{"clientId":"svc-id","includedClientAudience":"api"}`).absent(t, "includedCustomAudience", "clientScopeId")
	m.inputs(t, "openid/audienceProtocolMapper:AudienceProtocolMapper", "svc/b", `{"includedCustomAudience":"https://elsewhere"}`).absent(t, "includedClientAudience")
	m.inputs(t, "openid/userRealmRoleProtocolMapper:UserRealmRoleProtocolMapper", "svc/c", `{"claimName":"realm_access.roles","multivalued":true}`)
	m.inputs(t, "openid/userClientRoleProtocolMapper:UserClientRoleProtocolMapper", "svc/d", `{"claimName":"api_roles","clientIdForRoleMappings":"api","multivalued":true}`)
	m.inputs(t, "openid/groupMembershipProtocolMapper:GroupMembershipProtocolMapper", "svc/e", `{"claimName":"groups","fullPath":true}`)
	m.inputs(t, "openid/userAttributeProtocolMapper:UserAttributeProtocolMapper", "svc/f", `{"claimName":"team","userAttribute":"team"}`)
	m.inputs(t, "openid/hardcodedClaimProtocolMapper:HardcodedClaimProtocolMapper", "svc/g", `{"claimName":"tenant","claimValue":"acme"}`)
}

// Without full scope Keycloak puts only roles with a scope mapping into tokens,
// so what a service account is given needs one, once.
func TestRolesOfServiceAccountsReachTokens(t *testing.T) {
	m := mustUp(t, `
models: [{name: churn, upstream: {url: "http://triton:8000"}}]
roles: [{name: reports}, {name: c}]
clientSecrets: {api: s, shared: s, own: s, none: s, all: s, a: s, a/b: s}
clients:
  - {clientId: api, kind: api, clientRoles: [auditor]}
  - {clientId: shared, kind: service, serviceAccountRoles: [model-churn, reports]}
  - {clientId: own, kind: service, roles: [model-churn], serviceAccountRoles: [model-churn, reports], clientRoles: [runner], serviceAccountClientRoles: {api: [auditor], own: [runner], realm-management: [view-users]}}
  - {clientId: none, kind: service, roles: [], serviceAccountRoles: [model-churn]}
  - {clientId: all, kind: service, fullScope: true, serviceAccountRoles: [reports], serviceAccountClientRoles: {api: [auditor], realm-management: [view-users]}}
  - {clientId: a, kind: service, serviceAccountClientRoles: {a/b: [c]}}
  - {clientId: a/b, kind: service, clientRoles: [c], serviceAccountRoles: [c]}
`)
	var got []string
	for _, name := range m.list() {
		if mapping, ok := strings.CutPrefix(name, "GenericRoleMapper "); ok && !strings.HasPrefix(mapping, "model-roles/") {
			got = append(got, mapping)
		}
	}
	want := []string{
		"a/b/c", "a/client-roles-of-a",
		"own/client-roles-of-own", "own/model-churn", // its roles are these alone
		"shared/reports", // model-churn comes with the shared scope
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("role mappings (-want +got):\n%s", diff)
	}
	m.inputs(t, "index/genericRoleMapper:GenericRoleMapper", "shared/reports", `{"clientId":"shared-id","roleId":"reports-id"}`)
	// Of a client's roles in a scope the provider can't take one out without the
	// others, so one role contains them.
	m.inputs(t, "index/role:Role", "client-roles-of-own", `{"name":"client-roles-of-own","compositeRoles":["api/auditor-id","id of view-users of id of realm-management"]}`).absent(t, "clientId")
	m.inputs(t, "index/genericRoleMapper:GenericRoleMapper", "own/client-roles-of-own", `{"clientId":"own-id","roleId":"client-roles-of-own-id"}`)
	// The role of a service account keeps the name that it always had.
	m.inputs(t, "openid/clientServiceAccountRole:ClientServiceAccountRole", "own/api/auditor", `{"role":"auditor"}`)
	slices.Sort(m.calls)
	if want := []string{"keycloak:index/getRole:getRole", "keycloak:openid/getClient:getClient"}; !slices.Equal(m.calls, want) {
		t.Errorf("look-ups %v, want one of the client and one of its role: full scope needs none of roles", m.calls)
	}
}

func TestUsers(t *testing.T) {
	m := mustUp(t, `
userAttributes: [{name: team, displayName: Team}, {name: nick, userEditable: true, required: true}]
roles: [{name: reports}]
groups: [{name: science}, {name: everyone, default: true}]
initialPasswords: {ada: correct horse battery}
users:
  - {username: ada, email: ada@example.com, firstName: Ada, lastName: L, attributes: {team: vision, nick: a}, groups: [science, everyone], roles: [reports]}
  - {username: bob, password: none, attributes: {nick: b}, groups: [science], requiredActions: [CONFIGURE_TOTP]}
  - {username: eve, password: none, attributes: {nick: e}, enabled: false, emailVerified: false}
`)
	ada := m.inputs(t, "index/user:User", "ada", `{"attributes":{"team":"vision","nick":"a"},"initialPassword":{"temporary":true,"value":"secret:correct horse battery"},"enabled":true}`)
	ada.dependsOn(t, "index/defaultGroups:DefaultGroups", "test")
	m.find(t, "index/defaultGroups:DefaultGroups", "test").dependsOn(t, "index/realmUserProfile:RealmUserProfile", "test")
	if got := ada.RPC.GetIgnoreChanges(); !slices.Equal(got, []string{"requiredActions", "federatedIdentities", "emailVerified"}) {
		t.Errorf("an up ignores changes of %q, which are people's", got)
	}
	// A declared change of an address must be able to take the verification of the old
	// one away, which a refresh has taken into the state.
	eve := m.inputs(t, "index/user:User", "eve", `{"emailVerified":false}`)
	if got := eve.RPC.GetIgnoreChanges(); !slices.Equal(got, []string{"requiredActions", "federatedIdentities"}) {
		t.Errorf("with emailVerified declared an up ignores changes of %q", got)
	}
	m.inputs(t, "index/user:User", "bob", `{"requiredActions":["CONFIGURE_TOTP"]}`).absent(t, "initialPassword", "email", "firstName", "lastName")
	m.inputs(t, "index/user:User", "eve", `{"enabled":false}`)
	m.inputs(t, "index/userGroups:UserGroups", "ada", `{"userId":"ada-id","groupIds":["science-id","everyone-id"],"exhaustive":false}`)
	m.inputs(t, "index/userGroups:UserGroups", "bob", `{"groupIds":["science-id"],"exhaustive":false}`)
	m.inputs(t, "index/userRoles:UserRoles", "ada", `{"roleIds":["reports-id"],"exhaustive":false}`)

	profile := m.inputs(t, "index/realmUserProfile:RealmUserProfile", "test", `{"attributes":[
		{"name":"username","displayName":"${username}","permissions":{"views":["admin","user"],"edits":["admin","user"]},
			"validators":[{"name":"length","config":{"min":"3","max":"255"}},{"name":"username-prohibited-characters"},{"name":"up-username-not-idn-homograph"}]},
		{"name":"email","displayName":"${email}","permissions":{"views":["admin","user"],"edits":["admin","user"]},"requiredForRoles":["user"],
			"validators":[{"name":"email"},{"name":"length","config":{"max":"255"}}]},
		{"name":"firstName","displayName":"${firstName}","permissions":{"views":["admin","user"],"edits":["admin","user"]},"requiredForRoles":["user"],
			"validators":[{"name":"length","config":{"max":"255"}},{"name":"person-name-prohibited-characters"}]},
		{"name":"lastName","displayName":"${lastName}","permissions":{"views":["admin","user"],"edits":["admin","user"]},"requiredForRoles":["user"],
			"validators":[{"name":"length","config":{"max":"255"}},{"name":"person-name-prohibited-characters"}]},
		{"name":"team","displayName":"Team","permissions":{"views":["admin","user"],"edits":["admin"]}},
		{"name":"nick","displayName":"nick","permissions":{"views":["admin","user"],"edits":["admin","user"]},"requiredForRoles":["user"]}]}`)
	if !profile.RPC.GetRetainOnDelete() {
		t.Error("the user profile is not retained: Keycloak answers 400 to its deletion")
	}
}

func TestFederation(t *testing.T) {
	m := mustUp(t, `
userAttributes: [{name: team}]
roles: [{name: analysts}]
users: [{username: ada, password: none}]
federationSecrets: {other: other-secret, corp: bind-secret}
identityProviders:
  - alias: other
    issuer: https://o.example.com
    authorizationUrl: https://o.example.com/auth
    tokenUrl: https://o.example.com/token
    jwksUrl: https://o.example.com/keys
    clientId: us
    roleMappings: [{claim: groups, value: data, role: analysts}]
    attributeMappings: {department: team}
ldap:
  - name: corp
    url: ldaps://ldap.example.com
    bindDn: cn=admin,dc=example
    usersDn: ou=people,dc=example
    attributes: {team: departmentNumber}
    rolesDn: ou=roles,dc=example
    groupsDn: ou=groups,dc=example
`)
	m.inputs(t, "oidc/identityProvider:IdentityProvider", "other", `{"alias":"other","realm":"test","clientSecret":"secret:other-secret","validateSignature":true,"jwksUrl":"https://o.example.com/keys",
		"syncMode":"FORCE","defaultScopes":"openid profile email","extraConfig":{"pkceEnabled":"true","pkceMethod":"S256"}}`)
	m.inputs(t, "index/attributeToRoleIdentityMapper:AttributeToRoleIdentityMapper", "other/groups=data gives analysts", `{"identityProviderAlias":"other","claimName":"groups","claimValue":"data","role":"analysts","extraConfig":{"syncMode":"INHERIT"}}`)
	m.inputs(t, "index/attributeImporterIdentityProviderMapper:AttributeImporterIdentityProviderMapper", "other/department sets team", `{"claimName":"department","userAttribute":"team"}`)
	m.inputs(t, "ldap/userFederation:UserFederation", "corp", `{"editMode":"READ_ONLY","bindCredential":"secret:bind-secret","userObjectClasses":["inetOrgPerson","organizationalPerson"],"usernameLdapAttribute":"uid","uuidLdapAttribute":"entryUUID","vendor":"OTHER","searchScope":"ONE_LEVEL"}`).
		dependsOn(t, "index/user:User", "ada")
	m.inputs(t, "ldap/userAttributeMapper:UserAttributeMapper", "corp/team", `{"ldapUserFederationId":"corp-id","userModelAttribute":"team","ldapAttribute":"departmentNumber","readOnly":true}`)
	m.inputs(t, "ldap/roleMapper:RoleMapper", "corp/roles", `{"ldapRolesDn":"ou=roles,dc=example","mode":"READ_ONLY","roleObjectClasses":["groupOfNames"],"membershipLdapAttribute":"member"}`)
	m.inputs(t, "ldap/groupMapper:GroupMapper", "corp/groups", `{"ldapGroupsDn":"ou=groups,dc=example","mode":"READ_ONLY"}`)
}

func TestHardening(t *testing.T) {
	t.Run("baseline", func(t *testing.T) {
		m := mustUp(t, ``)
		m.inputs(t, "index/realm:Realm", "test", `{"accessTokenLifespan":"5m0s","ssoSessionIdleTimeout":"30m0s","ssoSessionMaxLifespan":"10h0m0s","offlineSessionMaxLifespanEnabled":true,
			"revokeRefreshToken":true,"refreshTokenMaxReuse":0,"passwordPolicy":"length(12) and notUsername and notEmail","sslRequired":"external"}`)
		m.inputs(t, "index/realmEvents:RealmEvents", "test", `{"eventsEnabled":true,"eventsExpiration":604800,"adminEventsEnabled":true,"adminEventsDetailsEnabled":true,"eventsListeners":["jboss-logging"]}`).absent(t, "enabledEventTypes")
	})
	t.Run("strict", func(t *testing.T) {
		m := mustUp(t, `hardening: strict`)
		m.inputs(t, "index/realm:Realm", "test", `{"accessTokenLifespan":"2m0s","sslRequired":"all","passwordPolicy":"length(15) and notUsername and notEmail and passwordHistory(5)"}`)
	})
	t.Run("strict in dev, which has no TLS", func(t *testing.T) {
		m := mustUp(t, "hardening: strict\nenvironment: dev")
		m.inputs(t, "index/realm:Realm", "test", `{"sslRequired":"external"}`)
	})
	t.Run("off, unquoted in YAML", func(t *testing.T) {
		m := mustUp(t, `hardening: false`)
		m.find(t, "index/realm:Realm", "test").absent(t, "securityDefenses", "passwordPolicy", "revokeRefreshToken", "sslRequired")
		// The provider keeps a lifetime that is left out, so taking one out of the
		// configuration has to say Keycloak's own.
		m.inputs(t, "index/realm:Realm", "test", `{"accessTokenLifespan":"5m0s","ssoSessionIdleTimeout":"30m0s","ssoSessionMaxLifespan":"10h0m0s",
			"offlineSessionIdleTimeout":"720h0m0s","oauth2DeviceCodeLifespan":"10m0s","accessCodeLifespan":"1m0s"}`)
		if m.count("RealmEvents") != 0 {
			t.Error("events are kept")
		}
	})
	t.Run("explicit settings win", func(t *testing.T) {
		m := mustUp(t, `
lifetimes: {accessToken: 90s, offlineMax: 240h, refreshTokenReuse: 2, clientSessionIdle: 20m}
events: {keepFor: 48h, adminDetails: false}
`)
		m.inputs(t, "index/realm:Realm", "test", `{"accessTokenLifespan":"1m30s","offlineSessionMaxLifespan":"240h0m0s","refreshTokenMaxReuse":2,"clientSessionIdleTimeout":"20m0s"}`)
		m.inputs(t, "index/realmEvents:RealmEvents", "test", `{"eventsExpiration":172800,"adminEventsDetailsEnabled":false}`)
	})
}

// TestRealmSettings: what the realm as a whole is told reaches the provider, and
// each switch is written, since the provider turns one that is left out into false.
func TestRealmSettings(t *testing.T) {
	m := mustUp(t, `
displayNameHtml: <b>Models</b>
frontendUrl: https://models.example.com/auth/
smtp: {host: mail.example.com, starttls: true, from: noreply@example.com, fromDisplayName: Models, replyTo: help@example.com, replyToDisplayName: Help, envelopeFrom: bounce@example.com, user: mailer}
smtpPassword: a-mail-password
login: {registration: true, emailAsUsername: true, withEmail: false, rememberMe: true, verifyEmail: true, resetPassword: true, editUsername: true, userManagedAccess: true}
themes: {login: corp, account: corp-account, admin: keycloak.v2, email: corp-mail}
locales: {supported: [en, de], default: de}
realmAttributes: {tenant: acme}
`)
	m.inputs(t, "index/realm:Realm", "test", `{"displayName":"test","displayNameHtml":"<b>Models</b>",
		"registrationAllowed":true,"registrationEmailAsUsername":true,"loginWithEmailAllowed":false,"duplicateEmailsAllowed":false,"rememberMe":true,
		"verifyEmail":true,"resetPasswordAllowed":true,"editUsernameAllowed":true,"userManagedAccess":true,
		"loginTheme":"corp","accountTheme":"corp-account","adminTheme":"keycloak.v2","emailTheme":"corp-mail",
		"internationalization":{"supportedLocales":["de","en"],"defaultLocale":"de"},
		"attributes":{"frontendUrl":"https://models.example.com/auth","keycloak-model-api.stack":"keycloak-model-api/test","tenant":"acme"},
		"smtpServer":{"host":"mail.example.com","port":"587","from":"noreply@example.com","fromDisplayName":"Models","replyTo":"help@example.com",
			"replyToDisplayName":"Help","envelopeFrom":"bounce@example.com","starttls":true,"ssl":false,"auth":{"username":"mailer","password":"secret:a-mail-password"}}}`)

	bare := mustUp(t, `smtp: {host: mail.example.com, ssl: true, from: noreply@example.com}`)
	bare.inputs(t, "index/realm:Realm", "test", `{"smtpServer":{"host":"mail.example.com","port":"465","from":"noreply@example.com","starttls":false,"ssl":true},
		"registrationAllowed":false,"loginWithEmailAllowed":true,"verifyEmail":false,"attributes":{"keycloak-model-api.stack":"keycloak-model-api/test"}}`).
		absent(t, "displayNameHtml", "internationalization", "loginTheme", "accountTheme", "adminTheme", "emailTheme")
}

func TestRealmPolicies(t *testing.T) {
	m := mustUp(t, `
hardening: off
passwordPolicy: notUsername and length(20)
sslRequired: all
otp: {type: hotp, algorithm: HmacSHA512, digits: 8, period: 60s, initialCounter: 3, lookAhead: 0}
webAuthn: {relyingPartyName: Models, relyingPartyId: example.com, algorithms: [RS256, ES512], attestation: direct, attachment: platform, residentKey: false, userVerification: preferred,
  timeout: 2m, avoidSameAuthenticator: true, aaguids: [ee882879-721c-4913-9775-3dfcce97072a]}
passkeys: {residentKey: true}
bruteForce: {maxFailures: 7, quickLoginCheck: 500ms, permanent: true}
headers: {frameOptions: DENY}
lifetimes: {login: 20m, loginAction: 4m, userMail: 10m, adminMail: 6h, rememberMeIdle: 48h, rememberMeMax: 72h, devicePolling: 7s}
login: {rememberMe: true}
`)
	m.inputs(t, "index/realm:Realm", "test", `{"passwordPolicy":"length(20) and notUsername","sslRequired":"all",
		"otpPolicy":{"type":"hotp","algorithm":"HmacSHA512","digits":8,"period":60,"initialCounter":3,"lookAheadWindow":0},
		"webAuthnPolicy":{"relyingPartyEntityName":"Models","relyingPartyId":"example.com","signatureAlgorithms":["ES512","RS256"],"attestationConveyancePreference":"direct","authenticatorAttachment":"platform",
			"requireResidentKey":"No","userVerificationRequirement":"preferred","createTimeout":120,"avoidSameAuthenticatorRegister":true,"acceptableAaguids":["ee882879-721c-4913-9775-3dfcce97072a"]},
		"webAuthnPasswordlessPolicy":{"relyingPartyEntityName":"keycloak","relyingPartyId":"","signatureAlgorithms":["ES256","RS256"],"attestationConveyancePreference":"not specified","authenticatorAttachment":"not specified",
			"requireResidentKey":"Yes","userVerificationRequirement":"required","createTimeout":0,"avoidSameAuthenticatorRegister":false},
		"securityDefenses":{"bruteForceDetection":{"permanentLockout":true,"maxLoginFailures":7,"waitIncrementSeconds":60,"maxFailureWaitSeconds":900,"failureResetTimeSeconds":43200,"quickLoginCheckMilliSeconds":500,"minimumQuickLoginWaitSeconds":60},
			"headers":{"contentSecurityPolicy":"frame-src 'self'; frame-ancestors 'self'; object-src 'none';","contentSecurityPolicyReportOnly":"","xFrameOptions":"DENY","xContentTypeOptions":"nosniff","referrerPolicy":"no-referrer",
				"xRobotsTag":"none","strictTransportSecurity":"max-age=31536000; includeSubDomains","xXssProtection":"1; mode=block"}},
		"accessCodeLifespanLogin":"20m0s","accessCodeLifespanUserAction":"4m0s","actionTokenGeneratedByUserLifespan":"10m0s","actionTokenGeneratedByAdminLifespan":"6h0m0s",
		"ssoSessionIdleTimeoutRememberMe":"48h0m0s","ssoSessionMaxLifespanRememberMe":"72h0m0s","oauth2DevicePollingInterval":7}`)
}

// The provider can take neither the bound on offline sessions nor the account of a
// directory away from Keycloak, and would try at every refresh.
func TestWhatTheProviderCantTakeAway(t *testing.T) {
	off := mustUp(t, `hardening: off`).inputs(t, "index/realm:Realm", "test", `{"offlineSessionMaxLifespan":"1440h0m0s","offlineSessionMaxLifespanEnabled":false}`)
	if got := off.RPC.GetIgnoreChanges(); !slices.Equal(got, []string{"offlineSessionMaxLifespanEnabled"}) {
		t.Errorf("off ignores changes of %q", got)
	}
	for _, bounded := range []string{`hardening: strict`, `{hardening: off, lifetimes: {offlineMax: 240h}}`} {
		r := mustUp(t, bounded).inputs(t, "index/realm:Realm", "test", `{"offlineSessionMaxLifespanEnabled":true}`)
		if got := r.RPC.GetIgnoreChanges(); len(got) > 0 {
			t.Errorf("%s ignores changes of %q", bounded, got)
		}
	}
	m := mustUp(t, `
federationSecrets: {corp: s}
ldap: [{name: corp, url: "ldaps://d", usersDn: "ou=p", bindDn: "cn=a"}, {name: open, url: "ldaps://d", usersDn: "ou=p"}]
`)
	if got := m.find(t, "ldap/userFederation:UserFederation", "open").RPC.GetIgnoreChanges(); !slices.Equal(got, []string{"bindDn", "bindCredential"}) {
		t.Errorf("an anonymous directory ignores changes of %q", got)
	}
	if got := m.find(t, "ldap/userFederation:UserFederation", "corp").RPC.GetIgnoreChanges(); len(got) > 0 {
		t.Errorf("a directory with an account ignores changes of %q", got)
	}
}

func TestRequiredActionsAndEvents(t *testing.T) {
	m := mustUp(t, `
requiredActions: [{alias: TERMS_AND_CONDITIONS, default: true}, {alias: VERIFY_PROFILE, enabled: false, priority: 7, name: Check}, {alias: my-action}]
events: {types: [LOGIN_ERROR, LOGIN], listeners: [jboss-logging, siem], keepAdminFor: 720h}
clients:
  - {clientId: api, kind: api}
  - {clientId: web, kind: web, redirectUris: ["https://w/cb"], rootUrl: "https://w", loginTheme: corp, consentRequired: true, offlineIdle: 24h, offlineMax: 48h}
`)
	const action = "index/requiredAction:RequiredAction"
	m.inputs(t, action, "test/TERMS_AND_CONDITIONS", `{"realmId":"test","alias":"TERMS_AND_CONDITIONS","name":"Terms and Conditions","enabled":true,"defaultAction":true,"priority":20}`)
	m.inputs(t, action, "test/VERIFY_PROFILE", `{"name":"Check","enabled":false,"defaultAction":false,"priority":7}`)
	mine := m.inputs(t, action, "test/my-action", `{"name":"my-action","enabled":true,"priority":1000}`)
	if !mine.RPC.GetRetainOnDelete() {
		t.Error("an action that is taken out would be taken from the realm")
	}
	mine.dependsOn(t, action, "test/VERIFY_PROFILE")
	m.inputs(t, "index/realmEvents:RealmEvents", "test", `{"enabledEventTypes":["LOGIN_ERROR","LOGIN"],"eventsListeners":["jboss-logging","siem"]}`)
	m.inputs(t, "index/realm:Realm", "test", `{"attributes":{"adminEventsExpiration":"2592000","keycloak-model-api.stack":"keycloak-model-api/test"}}`)
	m.inputs(t, "openid/client:Client", "web", `{"rootUrl":"https://w","loginTheme":"corp","consentRequired":true,"frontchannelLogoutEnabled":false,"clientOfflineSessionIdleTimeout":"86400","clientOfflineSessionMaxLifespan":"172800"}`)
	m.inputs(t, "openid/client:Client", "api", `{"consentRequired":false,"frontchannelLogoutEnabled":false}`).absent(t, "rootUrl", "loginTheme")
}

// People enrol by required actions, which the configuration may name too.
func TestActionsOfFactors(t *testing.T) {
	m := mustUp(t, `
requiredActions: [{alias: CONFIGURE_TOTP, default: true, priority: 7}]
signIn: {secondFactor: optional, factors: [otp, passkey, recoveryCodes], passkeys: true}
`)
	const action = "index/requiredAction:RequiredAction"
	m.inputs(t, action, "test/CONFIGURE_TOTP", `{"enabled":true,"defaultAction":true,"priority":7}`)
	for _, alias := range []string{"webauthn-register", "webauthn-register-passwordless", "CONFIGURE_RECOVERY_AUTHN_CODES"} {
		m.inputs(t, action, "test/"+alias, `{"enabled":true,"defaultAction":false}`)
	}
	if n := m.count(action); n != 4 {
		t.Errorf("%d required actions, want 4", n)
	}
}

func TestSigningKeys(t *testing.T) {
	m := mustUp(t, `
signingKeys:
  - {name: es256, algorithm: ES256, priority: 300}
  - {name: rs256-old, algorithm: RS256, priority: 400, active: false, size: 4096}
  - {name: ps512, algorithm: PS512, enabled: false, active: false}
`)
	// The realm's own algorithm would change before there is a key for it.
	m.find(t, "index/realm:Realm", "test").absent(t, "defaultSignatureAlgorithm")
	const ecdsa, rsa = "index/realmKeystoreEcdsaGenerated:RealmKeystoreEcdsaGenerated", "index/realmKeystoreRsaGenerated:RealmKeystoreRsaGenerated"
	m.inputs(t, ecdsa, "test/es256", `{"name":"es256","ellipticCurveKey":"P-256","priority":300,"active":true,"enabled":true}`).
		dependsOn(t, "index/realmEvents:RealmEvents", "test")
	api := m.inputs(t, "openid/client:Client", "api", `{"extraConfig":{"standard.token.exchange.enabled":"true",
		"access.token.signed.response.alg":"ES256","id.token.signed.response.alg":"ES256"}}`)
	api.dependsOn(t, ecdsa, "test/es256")
	// What signs nothing from now on changes once nobody wants it to sign.
	resting := m.inputs(t, rsa, "test/rs256-old", `{"name":"rs256-old","algorithm":"RS256","keySize":4096,"priority":400,"active":false,"enabled":true}`)
	resting.dependsOn(t, ecdsa, "test/es256")
	resting.dependsOn(t, "openid/client:Client", "api")
	m.inputs(t, rsa, "test/ps512", `{"priority":200,"active":false,"enabled":false}`).dependsOn(t, "openid/client:Client", "api")
}

// Keycloak's own key is imported by an up that disables it, since the provider's
// default of the algorithm is a difference. Nobody may need it then.
func TestRetireGeneratedKey(t *testing.T) {
	m := mustUp(t, "signingKeys: [{name: rs, algorithm: RS256}]\nretireGeneratedKey: {componentId: 0a-1b}")
	key := m.inputs(t, "index/realmKeystoreRsaGenerated:RealmKeystoreRsaGenerated", "test/rsa-generated", `{"name":"rsa-generated","active":false,"enabled":false,"priority":100,"keySize":2048}`)
	key.absent(t, "algorithm")
	key.dependsOn(t, "openid/client:Client", "api")
	if got := key.RPC.GetImportId(); got != "test/0a-1b" {
		t.Errorf("import of %q", got)
	}
}

// A destroy deletes the realm, and with it everything in it.
func TestTheRealmIsDeletedWithItsContents(t *testing.T) {
	m := mustUp(t, `
signingKeys: [{name: es, algorithm: ES256}, {name: old, algorithm: RS256, active: false}]
userAttributes: [{name: team}]
roles: [{name: reports}]
groups: [{name: science, roles: [reports], default: true}]
users: [{username: ada, password: none, groups: [science], roles: [reports]}]
federationSecrets: {corp: bind-secret}
ldap: [{name: corp, url: "ldaps://ldap.example.com", bindDn: "cn=admin", usersDn: "ou=people", groupsDn: "ou=groups"}]
`)
	const realm = "keycloak:index/realm:Realm"
	for _, r := range m.resources {
		contents := strings.HasPrefix(r.Type, "keycloak:") && r.Type != realm
		if got := r.RPC.GetDeletedWith(); strings.HasSuffix(got, realm+"::test") != contents {
			t.Errorf("%s %s is deleted with %q", r.Type, r.Name, got)
		}
	}
}

func TestProtection(t *testing.T) {
	const text = "signingKeys: [{name: es, algorithm: ES256}]\nusers: [{username: ada, password: none}]\nenvironment: %s\nprotect: %s\n"
	for _, tt := range []struct {
		environment, protect string
		want                 []string
	}{
		{"prod", "true", []string{"Realm test", "RealmKeystoreEcdsaGenerated test/es", "User ada"}},
		{"staging", "true", []string{"Realm test", "RealmKeystoreEcdsaGenerated test/es", "User ada"}},
		{"prod", "false", nil},
		{"dev", "true", nil},
	} {
		t.Run(tt.environment+" "+tt.protect, func(t *testing.T) {
			m := mustUp(t, fmt.Sprintf(text, tt.environment, tt.protect))
			var got []string
			for _, r := range m.resources {
				if r.RPC.GetProtect() {
					got = append(got, r.Type[strings.LastIndex(r.Type, ":")+1:]+" "+r.Name)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("protected (-want +got):\n%s", diff)
			}
		})
	}
}

// The number of resources grows with the objects that there are, not with
// users × roles or clients × roles.
func TestScale(t *testing.T) {
	m, _, err := up(t, large(t, 20, 40, 500, 10))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"Realm": 1, "RealmEvents": 1,
		"Role": 21, "Group": 10, "GroupRoles": 10, "UserGroups": 540, "User": 500, "UserRoles": 0,
		"Client": 40, "ClientDefaultScopes": 40, "ClientOptionalScopes": 40, "ClientScope": 2, "AudienceProtocolMapper": 1, "GenericRoleMapper": 21,
	}
	for typ, n := range want {
		if got := m.count(typ); got != n {
			t.Errorf("%d resources of type %s, want %d", got, typ, n)
		}
	}
	deps := 0
	for _, r := range m.resources {
		deps += len(r.RPC.GetDependencies())
	}
	if deps > 4*len(m.resources) {
		t.Errorf("%d dependencies among %d resources", deps, len(m.resources))
	}
}

// large is a configuration of that many models, clients, users and groups, whose
// users get their roles from their group.
func large(t *testing.T, models, clients, users, groups int) settings {
	t.Helper()
	s := with(t, "")
	var ms, cs, us, gs []any
	secrets := map[string]string{"api": "s"}
	for i := range models {
		ms = append(ms, map[string]any{"name": fmt.Sprintf("m%d", i), "upstream": map[string]any{"url": "http://triton:8000"}})
	}
	cs = append(cs, map[string]any{"clientId": "api", "kind": "api"})
	for i := range clients - 1 {
		id := fmt.Sprintf("svc%d", i)
		cs = append(cs, map[string]any{"clientId": id, "kind": "service"})
		secrets[id] = "s"
	}
	for i := range groups {
		gs = append(gs, map[string]any{"name": fmt.Sprintf("g%d", i), "roles": []string{fmt.Sprintf("model-m%d", i%models)}})
	}
	for i := range users {
		us = append(us, map[string]any{"username": fmt.Sprintf("user%d", i), "password": "none", "groups": []string{fmt.Sprintf("g%d", i%groups)}})
	}
	s[project+":models"], s[project+":clients"], s[project+":users"], s[project+":groups"] = ms, cs, us, gs
	s[project+":clientSecrets"] = secrets
	return s
}

// The committed examples must be valid once their secrets are set.
func TestExampleStacks(t *testing.T) {
	for _, tt := range []struct {
		file    string
		secrets map[string]map[string]string
	}{
		{"Pulumi.prod.example.yaml", map[string]map[string]string{
			"clientSecrets":     {"model-api": "s", "portal": "s"},
			"initialPasswords":  {"ada": "correct horse battery staple"},
			"federationSecrets": {"entra": "s"},
		}},
		{"Pulumi.staging.example.yaml", map[string]map[string]string{"clientSecrets": {"model-api": "s", "portal": "s"}}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			s := projectDefaults(t)
			var file struct{ Config settings }
			readYAML(t, tt.file, &file)
			for key, v := range file.Config {
				s[key] = v
			}
			_, _, err := up(t, s)
			if err == nil {
				t.Fatal("it goes up without its secrets")
			}
			for _, line := range strings.Split(err.Error(), "\n") {
				if strings.Contains(line, ": ") && !strings.Contains(line, "pulumi config set --secret") && !strings.HasSuffix(line, ":") {
					t.Errorf("beside missing secrets: %s", line)
				}
			}
			for key, v := range tt.secrets {
				s[project+":"+key] = v
			}
			s[project+":smtpPassword"] = "a mail password"
			m, _, err := up(t, s)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.calls) > 0 {
				t.Errorf("it looks up %v", m.calls)
			}
			// What doctor checks of the client that people sign in with.
			portal := m.find(t, "openid/client:Client", "portal")
			if got := portal.Inputs["validPostLogoutRedirectUris"].ArrayValue(); len(got) != 1 || !strings.HasSuffix(got[0].StringValue(), ".example.com/") {
				t.Errorf("a sign-out leads back to %v", got)
			}
		})
	}
}
