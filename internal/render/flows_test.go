package render

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keycloak-model-api/internal/monitor"
)

const (
	flowType      = "keycloak:authentication/flow:Flow"
	subflowType   = "keycloak:authentication/subflow:Subflow"
	executionType = "keycloak:authentication/execution:Execution"
	configType    = "keycloak:authentication/executionConfig:ExecutionConfig"
	bindingsType  = "keycloak:authentication/bindings:Bindings"
	clientType    = "keycloak:openid/client:Client"
)

// after returns a resource that is made after another.
func after(before, r *monitor.Resource) *monitor.Resource {
	r.Dependencies = append(r.Dependencies, before.URN)
	return r
}

// signIn is a browser flow of a cookie, or of a password and a level.
func signIn() []*monitor.Resource {
	in := func(more object) object { return with(object{"realmId": "demo"}, more) }
	browser := registered(flowType, "browser", in(object{"alias": "our browser"}))
	cookie := registered(executionType, "z cookie", in(object{"parentFlowAlias": "our browser", "authenticator": "auth-cookie", "requirement": "ALTERNATIVE"}))
	forms := after(cookie, registered(subflowType, "a forms", in(object{"parentFlowAlias": "our browser", "alias": "our forms", "requirement": "ALTERNATIVE"})))
	password := registered(executionType, "password", in(object{"parentFlowAlias": "our forms", "authenticator": "auth-username-password-form", "requirement": "REQUIRED"}))
	level := after(password, registered(executionType, "level", in(object{"parentFlowAlias": "our forms", "authenticator": "conditional-level-of-authentication", "requirement": "REQUIRED"})))
	config := registered(configType, "level", in(object{"executionId": level.ID, "alias": "our level", "config": object{"loa-condition-level": "2"}}))
	console := registered(clientType, "account-console", in(object{
		"clientId": "account-console", "name": "account-console", "accessType": "PUBLIC", "import": true, "fullScopeAllowed": false,
		"standardFlowEnabled": true, "validRedirectUris": []any{"/realms/demo/account/*"},
		"authenticationFlowBindingOverrides": object{"browserId": browser.ID},
	}))
	bound := registered(bindingsType, "b", in(object{"browserFlow": "our browser"}))
	return []*monitor.Resource{browser, cookie, forms, password, level, config, console, bound}
}

func TestFlows(t *testing.T) {
	realm := buildOne(t, demo(signIn()...))
	file, err := realm.ImportFile()
	if err != nil {
		t.Fatal(err)
	}
	if same, err := Compare(realm, file); err != nil || len(same) > 0 {
		t.Errorf("a realm differs from its own file: %v, %v", same, err)
	}
	type execution struct {
		Authenticator, FlowAlias, AuthenticatorConfig, Requirement string
	}
	var got struct {
		BrowserFlow         string
		AuthenticationFlows []struct {
			ID, Alias                string
			AuthenticationExecutions []execution
		}
		Clients []struct {
			ClientID                           string
			RedirectUris, DefaultClientScopes  []string
			AuthenticationFlowBindingOverrides map[string]string
		}
	}
	if err := json.Unmarshal(file, &got); err != nil {
		t.Fatal(err)
	}
	if got.BrowserFlow != "our browser" {
		t.Errorf("bound is %q", got.BrowserFlow)
	}
	flows, browser := map[string][]execution{}, ""
	for _, f := range got.AuthenticationFlows {
		if f.Alias == "our browser" {
			browser = f.ID
		}
		if strings.HasPrefix(f.Alias, "our ") {
			flows[f.Alias] = f.AuthenticationExecutions
		}
	}
	want := map[string][]execution{
		"our browser": {{"auth-cookie", "", "", "ALTERNATIVE"}, {"", "our forms", "", "ALTERNATIVE"}},
		"our forms":   {{"auth-username-password-form", "", "", "REQUIRED"}, {"conditional-level-of-authentication", "", "our level", "REQUIRED"}},
	}
	if diff := cmp.Diff(want, flows); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
	consoles := 0
	for _, c := range got.Clients {
		if c.ClientID == "account-console" {
			consoles++
			if c.AuthenticationFlowBindingOverrides["browser"] != browser || browser == "" || len(c.DefaultClientScopes) == 0 {
				t.Errorf("account-console: %+v", c)
			}
		}
	}
	if consoles != 1 {
		t.Errorf("%d account consoles", consoles)
	}
}

// The order of a flow's steps decides who may sign in, so it must be said.
func TestFlowsThatCannotBeRendered(t *testing.T) {
	step := func(name, parent string) *monitor.Resource {
		return registered(executionType, name, object{"realmId": "demo", "parentFlowAlias": parent, "authenticator": "auth-cookie"})
	}
	flow := registered(flowType, "f", object{"realmId": "demo", "alias": "f"})
	for _, test := range []struct {
		name      string
		resources []*monitor.Resource
		want      string
	}{
		{"steps without an order", []*monitor.Resource{flow, step("a", "f"), step("b", "f")}, `the order of flow "f" is not said`},
		{"a step of a flow that is not declared", []*monitor.Resource{step("a", "browser")}, `parentFlowAlias names "browser"`},
		{"the alias of a built-in flow", []*monitor.Resource{registered(flowType, "f", object{"realmId": "demo", "alias": "forms"})}, `"forms" is that of a flow that every realm has`},
		{"two flows of one alias", []*monitor.Resource{flow, registered(flowType, "g", object{"realmId": "demo", "alias": "f"})}, `alias "f" is taken`},
		{"a client override of another flow", []*monitor.Resource{registered(clientType, "c", object{"realmId": "demo", "clientId": "c", "name": "c", "accessType": "PUBLIC",
			"authenticationFlowBindingOverrides": object{"browserId": "123"}})}, `browserId refers to "123"`},
		{"an import of a client that no realm has", []*monitor.Resource{registered(clientType, "c", object{"realmId": "demo", "clientId": "c", "name": "c", "accessType": "PUBLIC", "import": true})},
			"none of Keycloak's own clients"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Build(demo(test.resources...)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that says %s", err, test.want)
			}
		})
	}
}
