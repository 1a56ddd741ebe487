package drift

import (
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
	"keycloak-model-api/internal/render"
)

// sample is a program that the real engine and provider ran, with the ids that
// Keycloak chose, and the export of the realm that came of it.
func sample(t *testing.T) (*render.Realm, []*monitor.Resource, map[string]any) {
	t.Helper()
	read := func(name string, out any) {
		text, err := os.ReadFile(filepath.Join("..", "render", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, out); err != nil {
			t.Fatal(err)
		}
	}
	var registered []struct {
		Name, Type, ID string
		Inputs         *structpb.Struct
		Outputs        map[string]any
	}
	read("sample-one.json", &registered)
	var resources []*monitor.Resource
	for _, r := range registered {
		inputs, err := plugin.UnmarshalProperties(r.Inputs, plugin.MarshalOptions{KeepSecrets: true})
		if err != nil {
			t.Fatal(err)
		}
		resources = append(resources, &monitor.Resource{
			URN: r.Type + "::" + r.Name, Type: r.Type, Name: r.Name, ID: r.ID, Custom: true,
			Inputs: inputs, Outputs: resource.NewPropertyMapFromMap(r.Outputs),
		})
	}
	realms, err := render.Build(resources)
	if err != nil {
		t.Fatal(err)
	}
	var export map[string]any
	read("sample-one.export.json", &export)
	return realms[0], resources, export
}

// object finds an object of a list in an export by one of its fields.
func object(t *testing.T, list any, key, value string) map[string]any {
	t.Helper()
	for _, e := range list.([]any) {
		if o := e.(map[string]any); o[key] == value {
			return o
		}
	}
	t.Fatalf("no %s %s", key, value)
	return nil
}

// What becomes of a change by hand is what FACTS of the provider say: measured with
// the real engine and provider, or read in the provider's source.
func TestFate(t *testing.T) {
	const (
		never   = "never"
		refresh = "by up --refresh only"
	)
	both := func(plain string) string { return "by a plain up that " + plain + ", and by every up --refresh" }
	plainOnly := func(plain string) string { return "by a plain up that " + plain + "; up --refresh keeps it" }
	client := func(t *testing.T, e map[string]any) map[string]any {
		return object(t, e["clients"], "clientId", "my-api-client")
	}
	for _, tt := range []struct {
		name   string
		change func(*testing.T, map[string]any)
		path   string
		want   string
	}{
		{"mail server", func(_ *testing.T, e map[string]any) {
			e["smtpServer"] = map[string]any{"host": "mail"}
		}, "smtpServer", both("changes the realm")},
		{"HTML name", func(_ *testing.T, e map[string]any) {
			e["displayNameHtml"] = "<b>x</b>"
		}, "displayNameHtml", both("changes the realm")},
		{"user-managed access", func(_ *testing.T, e map[string]any) {
			e["userManagedAccessAllowed"] = true
		}, "userManagedAccessAllowed", both("changes the realm")},
		{"languages", func(_ *testing.T, e map[string]any) {
			e["internationalizationEnabled"] = true
		}, "internationalizationEnabled", both("changes the realm")},
		{"login switch", func(_ *testing.T, e map[string]any) {
			e["registrationAllowed"] = true
		}, "registrationAllowed", plainOnly("changes the realm")},
		{"flow binding", func(_ *testing.T, e map[string]any) {
			e["browserFlow"] = "mfa"
		}, "browserFlow", plainOnly("changes the realm")},
		{"binding of broker logins", func(_ *testing.T, e map[string]any) {
			e["firstBrokerLoginFlow"] = "mine"
		}, "firstBrokerLoginFlow", never},
		{"front-end URL", func(_ *testing.T, e map[string]any) {
			e["attributes"].(map[string]any)["frontendUrl"] = "https://a.example"
		}, "attributes.frontendUrl", plainOnly("changes the realm")},
		{"map of levels, which the program sets", func(_ *testing.T, e map[string]any) {
			e["attributes"].(map[string]any)["acr.loa.map"] = `{"9":9}`
		}, "attributes.acr.loa.map", both("changes the realm")},
		{"OTP policy", func(_ *testing.T, e map[string]any) {
			e["otpPolicyDigits"] = 8
		}, "otpPolicyDigits", plainOnly("changes the realm")},
		{"passkey policy", func(_ *testing.T, e map[string]any) {
			e["webAuthnPolicyPasswordlessRpId"] = "example.com"
		}, "webAuthnPolicyPasswordlessRpId", plainOnly("changes the realm")},
		{"setting that Keycloak keeps as an attribute", func(_ *testing.T, e map[string]any) { e["otpPolicyCodeReusable"] = true },
			"otpPolicyCodeReusable", plainOnly("changes the realm")},
		{"theme", func(_ *testing.T, e map[string]any) { e["loginTheme"] = "mine" }, "loginTheme", never},
		{"texts", func(_ *testing.T, e map[string]any) {
			e["localizationTexts"] = map[string]any{"de": map[string]any{"a": "b"}}
		}, "localizationTexts", never},
		{"client policies", func(_ *testing.T, e map[string]any) {
			e["clientPolicies"] = map[string]any{"policies": []any{map[string]any{"name": "p"}}}
		}, "clientPolicies", never},

		{"client's consent", func(t *testing.T, e map[string]any) { client(t, e)["consentRequired"] = true },
			"clients.my-api-client.consentRequired", plainOnly("changes client my-api-client")},
		{"client's redirect URIs", func(t *testing.T, e map[string]any) { client(t, e)["redirectUris"] = []any{"https://a.example/"} },
			"clients.my-api-client.redirectUris", both("changes client my-api-client")},
		{"client's flow", func(t *testing.T, e map[string]any) {
			client(t, e)["authenticationFlowBindingOverrides"] = map[string]any{"browser": "x"}
		}, "clients.my-api-client.authenticationFlowBindingOverrides", both("changes client my-api-client")},
		{"client's theme", func(t *testing.T, e map[string]any) {
			client(t, e)["attributes"].(map[string]any)["login_theme"] = "x"
		}, "clients.my-api-client.attributes.login_theme", both("changes client my-api-client")},
		{"client's PKCE, which a refresh does not read", func(t *testing.T, e map[string]any) {
			delete(client(t, e)["attributes"].(map[string]any), "pkce.code.challenge.method")
		}, "clients.my-api-client.attributes.pkce.code.challenge.method", plainOnly("changes client my-api-client")},
		{"client's own map of levels", func(t *testing.T, e map[string]any) {
			client(t, e)["attributes"].(map[string]any)["acr.loa.map"] = `{"gold":2}`
		}, "clients.my-api-client.attributes.acr.loa.map", never},
		{"client's root URL", func(t *testing.T, e map[string]any) { client(t, e)["rootUrl"] = "https://a.example" },
			"clients.my-api-client.rootUrl", plainOnly("changes client my-api-client")},
		{"client by hand", func(t *testing.T, e map[string]any) {
			e["clients"] = append(e["clients"].([]any), map[string]any{"clientId": "by-hand", "protocol": "openid-connect"})
		}, "clients.by-hand", never},
		{"client deleted", func(t *testing.T, e map[string]any) {
			e["clients"] = slices.DeleteFunc(e["clients"].([]any), func(c any) bool { return c.(map[string]any)["clientId"] == "my-api-client" })
		}, "clients.my-api-client", refresh},
		{"Keycloak's own client", func(t *testing.T, e map[string]any) {
			object(t, e["clients"], "clientId", "account-console")["enabled"] = false
		}, "clients.account-console.enabled", never},

		{"role by hand", func(t *testing.T, e map[string]any) {
			roles := e["roles"].(map[string]any)
			roles["realm"] = append(roles["realm"].([]any), map[string]any{"name": "by-hand"})
		}, "roles.realm.by-hand", never},
		{"role's description", func(t *testing.T, e map[string]any) {
			object(t, e["roles"].(map[string]any)["realm"], "name", "model-api-access")["description"] = "x"
		}, "roles.realm.model-api-access.description", both("changes role model-api-access")},
		{"key by hand", func(t *testing.T, e map[string]any) {
			c := e["components"].(map[string]any)
			key := map[string]any{"name": "fallback-ES256", "id": "the-id", "providerId": "ecdsa-generated"}
			c[keyProviders] = append(c[keyProviders].([]any), key)
		}, "components." + keyProviders + ".fallback-ES256", never},
		{"required action", func(t *testing.T, e map[string]any) {
			object(t, e["requiredActions"], "alias", "TERMS_AND_CONDITIONS")["enabled"] = true
		}, "requiredActions.TERMS_AND_CONDITIONS.enabled", never},
		{"flow by hand", func(t *testing.T, e map[string]any) {
			flows, _ := e["authenticationFlows"].([]any)
			e["authenticationFlows"] = append(flows, map[string]any{"alias": "mfa"})
		}, "authenticationFlows.mfa", never},
		{"events", func(_ *testing.T, e map[string]any) {
			e["enabledEventTypes"] = []any{"LOGIN"}
		}, "enabledEventTypes", both("changes events")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			declared, resources, export := sample(t)
			before := findings(t, declared, resources, export)
			tt.change(t, export)
			report := findings(t, declared, resources, export)
			f, ok := report[tt.path]
			if !ok {
				t.Fatalf("nothing is said of %s", tt.path)
			}
			got := f.When()
			if got == "" {
				got = never
			}
			if got != tt.want {
				t.Errorf("%s is lost %s, want %s", tt.path, got, tt.want)
			}
			delete(report, tt.path)
			for path := range report {
				if _, was := before[path]; !was {
					t.Errorf("%s is reported too", path)
				}
			}
		})
	}
}

// findings are those of a report by path. The user of the sample is as declared.
func findings(t *testing.T, declared *render.Realm, resources []*monitor.Resource, export map[string]any) map[string]Finding {
	t.Helper()
	report := find(t, declared, resources, export, nil)
	all := map[string]Finding{}
	for _, f := range append(report.Overwritten, report.Left...) {
		all[f.Path] = f
	}
	return all
}

// A flow that a killed up has left, and that the configuration no longer declares, is
// removed by its id. Those below it go along.
func TestLeftFlow(t *testing.T) {
	declared, resources, export := sample(t)
	flows, _ := export["authenticationFlows"].([]any)
	export["authenticationFlows"] = append(flows,
		map[string]any{"alias": "model-api-browser-0a1b2c3d", "id": "flow-id", "topLevel": true},
		map[string]any{"alias": "model-api-browser-0a1b2c3d-forms", "id": "below", "topLevel": false})
	report := findings(t, declared, resources, export)
	for alias, want := range map[string][]string{
		"model-api-browser-0a1b2c3d":       {"kcadm.sh delete authentication/flows/flow-id -r " + declared.Name},
		"model-api-browser-0a1b2c3d-forms": nil,
	} {
		f := report["authenticationFlows."+alias]
		if diff := cmp.Diff(want, f.Remedy); diff != "" || !strings.HasPrefix(f.Note, "a flow of the stack, or one below it") {
			t.Errorf("%s: %s (-want +got):\n%s", alias, f.Note, diff)
		}
	}
}

func find(
	t *testing.T, declared *render.Realm, resources []*monitor.Resource, export map[string]any, users map[string]map[string]any,
) *Report {
	t.Helper()
	text, err := json.Marshal(export)
	if err != nil {
		t.Fatal(err)
	}
	report, err := Find(declared, resources, Live{Realm: text, Users: users})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// A plain up cuts what a person did; a user that the realm lacks has a way out.
func TestDeclaredUsers(t *testing.T) {
	declared, resources, export := sample(t)
	name := Usernames(resources)[0]
	r := resources[slices.IndexFunc(resources, func(r *monitor.Resource) bool { return r.Type == userType })]
	plain := func(key string) any { return monitor.Plain(r.Inputs[resource.PropertyKey(key)]) }
	attributes := map[string]any{}
	declaredAttributes, _ := plain("attributes").(map[string]any)
	for k, v := range declaredAttributes {
		attributes[k] = []any{v}
	}
	p := newProgram(declared.Name, resources)
	user := func() map[string]any {
		u := map[string]any{
			"email": plain("email"), "firstName": plain("firstName"), "lastName": plain("lastName"), "enabled": true,
			"emailVerified": plain("emailVerified"), "attributes": attributes,
		}
		for _, part := range p.memberships(name, r, map[string]any{}) {
			u[part.keys[2]] = part.Declared
		}
		return u
	}
	about := func(u map[string]any) []string {
		var got []string
		report := find(t, declared, resources, export, map[string]map[string]any{name: u})
		for _, f := range append(report.Overwritten, report.Left...) {
			if rest, ok := strings.CutPrefix(f.Path, "users."+name); ok {
				got = append(got, rest+": "+f.When())
			}
		}
		return got
	}
	if got := about(user()); got != nil {
		t.Errorf("a user as declared: %q", got)
	}
	changes := "by a plain up that changes user " + name
	for _, tt := range []struct {
		name   string
		change func(map[string]any)
		want   []string
	}{
		{"linked to an identity provider", func(u map[string]any) {
			u["federatedIdentities"] = []any{map[string]any{"identityProvider": "entra", "userId": "1"}}
		}, []string{".federatedIdentities: " + changes + "; up --refresh keeps it"}},
		{"renamed", func(u map[string]any) { u["lastName"] = "Else" }, []string{".lastName: " + changes + ", and by every up --refresh"}},
		{"locked out", func(u map[string]any) { u["enabled"] = false }, []string{".enabled: " + changes + ", and by every up --refresh"}},
		{"given a role by hand", func(u map[string]any) {
			list, _ := stringsOf(u["realmRoles"])
			u["realmRoles"] = append(slices.Clone(list), "by-hand", "default-roles-"+declared.Name)
		}, []string{".realmRoles: "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := user()
			tt.change(u)
			if diff := cmp.Diff(tt.want, about(u)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := about(nil); !slices.Equal(got, []string{": by up --refresh only"}) {
		t.Errorf("a user that is not there: %q", got)
	}
}

// A declared address that nobody verified must not count as verified because the one
// before it was.
func TestVerifiedAddress(t *testing.T) {
	const keeps, another = "the person verified the address", "another address than the declared one was verified"
	for _, tt := range []struct {
		name             string
		declared         any // of emailVerified; nil is left to the person
		address          string
		verified         bool
		differs, refresh bool
		note             string
	}{
		{"nothing verified", nil, "ada@example.com", false, false, false, ""},
		{"verified by the person", nil, "ada@example.com", true, true, false, keeps},
		{"verified, and another address is declared", nil, "ada@old.example.com", true, true, false, another},
		{"another address, not verified", nil, "ada@old.example.com", false, false, false, ""},
		{"declared as not verified", false, "ada@old.example.com", true, true, true, ""},
		{"declared as verified", true, "ada@example.com", false, true, true, ""},
		{"declared as verified, and it is", true, "ada@example.com", true, false, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inputs := map[string]any{"email": "ada@example.com", "emailVerified": tt.declared == true}
			declared := &monitor.Resource{Type: userType, Inputs: resource.NewPropertyMapFromMap(inputs)}
			if tt.declared == nil {
				declared.IgnoreChanges = []string{"requiredActions", "emailVerified"}
			}
			f, differs := verification(declared, map[string]any{"email": tt.address, "emailVerified": tt.verified})
			if differs != tt.differs || differs && (f.Refresh != tt.refresh || !strings.HasPrefix(f.Note, tt.note) || (f.Note == "") != (tt.note == "")) {
				t.Errorf("%v %+v", differs, f)
			}
		})
	}
}

// Declared lines are what a person would write.
func TestDeclarations(t *testing.T) {
	declared, resources, export := sample(t)
	export["accessTokenLifespan"] = 601
	export["ssoSessionMaxLifespan"] = 8 * 3600
	roles := export["roles"].(map[string]any)
	roles["realm"] = append(roles["realm"].([]any),
		map[string]any{"name": "by-hand", "description": "Made: by hand"}, map[string]any{"name": "no"})
	export["clients"] = append(export["clients"].([]any), map[string]any{
		"clientId": "portal", "protocol": "openid-connect", "standardFlowEnabled": true, "redirectUris": []any{"https://a.example/cb"},
	})
	report := find(t, declared, resources, export, nil)
	var got []string
	for _, d := range report.Declarable {
		got = append(got, d.Lines...)
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{
		"keycloak-model-api:lifetimes:\n  accessToken: 10m1s\n  ssoMax: 8h",
		"keycloak-model-api:roles:\n  - name: by-hand\n    description: \"Made: by hand\"\n  - name: \"no\"",
		"  - clientId: portal\n    kind: web\n    redirectUris: [\"https://a.example/cb\"]",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no\n%s\nin\n%s", want, text)
		}
	}
}

// What drift offers is in the configuration, and what the provider sends of a realm is
// a setting of it.
func TestDeclarableKeysExist(t *testing.T) {
	var all []setting
	for key, s := range realmSettings {
		all = append(all, s)
		if render.RealmInput(key) == "" && !slices.Contains(eventKeys, key) {
			t.Errorf("%s is nothing that the provider writes", key)
		}
	}
	for rest, s := range keyPolicy {
		for _, key := range []string{"webAuthn", "passkeys"} {
			all = append(all, setting{key: key, field: s.field})
		}
		if render.RealmInput("webAuthnPolicyPasswordless"+rest) != "webAuthnPasswordlessPolicy" ||
			render.RealmInput("webAuthnPolicy"+rest) != "webAuthnPolicy" {
			t.Errorf("webAuthnPolicy%s is nothing that the provider writes", rest)
		}
	}
	for _, field := range headers {
		all = append(all, setting{key: "headers", field: field})
	}
	for _, s := range clientSettings {
		all = append(all, setting{key: "clients", field: s.field})
	}
	for _, s := range all {
		if !can(s.key, s.field) {
			t.Errorf("the configuration has no %s.%s", s.key, s.field)
		}
	}
}

func TestDuration(t *testing.T) {
	for seconds, want := range map[float64]any{
		30: "30s", 60: "1m", 70: "1m10s", 600: "10m", 3600: "1h", 5400: "1h30m", 3601: "1h0m1s", 0: nil,
	} {
		if got, _ := duration(seconds); got != want {
			t.Errorf("%v s is %v, want %v", seconds, got, want)
		}
	}
}

// The report says which flow a client takes.
func TestFlowOverrideIsShown(t *testing.T) {
	declared, resources, export := sample(t)
	object(t, export["clients"], "clientId", "my-api-client")["authenticationFlowBindingOverrides"] = map[string]any{"browser": "weak"}
	var b strings.Builder
	if err := find(t, declared, resources, export, nil).WriteText(&b); err != nil || !strings.Contains(b.String(), `{"browser":"weak"}`) {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// A secret that somebody rotated by hand is told of, and not told.
func TestRotatedSecret(t *testing.T) {
	declared, resources, export := sample(t)
	client := resources[slices.IndexFunc(resources, func(r *monitor.Resource) bool {
		return r.Type == clientType && r.Text("clientId") == "my-api-client"
	})]
	client.Inputs["clientSecret"] = resource.MakeSecret(resource.NewStringProperty("declared-secret"))
	for secret, want := range map[string]string{
		"declared-secret": "", "rotated-secret": "by a plain up that changes client my-api-client, and by every up --refresh", "**********": "",
	} {
		object(t, export["clients"], "clientId", "my-api-client")["secret"] = secret
		report := find(t, declared, resources, export, nil)
		got := ""
		for _, f := range report.Overwritten {
			if f.Path == "clients.my-api-client.secret" {
				got = f.When()
			}
		}
		if got != want {
			t.Errorf("with the secret %s in Keycloak: %q, want %q", secret, got, want)
		}
		var b strings.Builder
		if err := report.WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "rotated-secret") || strings.Contains(b.String(), "declared-secret") {
			t.Errorf("a secret is in the report:\n%s", b.String())
		}
	}
}

// Secrets of the realm are in no report.
func TestSecretsAreMasked(t *testing.T) {
	declared, resources, export := sample(t)
	export["smtpServer"] = map[string]any{"host": "mail", "password": "hunter2"}
	client := object(t, export["clients"], "clientId", "my-api-client")
	client["secret"] = "hunter2"
	client["attributes"].(map[string]any)["some.client.secret"] = "hunter2"
	report := find(t, declared, resources, export, nil)
	for _, write := range []func() string{
		func() string { var b strings.Builder; _ = report.WriteText(&b); return b.String() },
		func() string { var b strings.Builder; _ = report.WriteJSON(&b); return b.String() },
	} {
		if out := write(); strings.Contains(out, "hunter2") || !strings.Contains(out, "(secret)") {
			t.Errorf("%s", out)
		}
	}
}
