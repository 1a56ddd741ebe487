package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

var update = flag.Bool("update", false, "write the golden files")

// What the configuration of a sign-in makes of a realm, for people to read.
func TestSignInFlows(t *testing.T) {
	const entra = `{issuer: "https://login.example.com", authorizationUrl: "https://login.example.com/a", tokenUrl: "https://login.example.com/t", jwksUrl: "https://login.example.com/k", clientId: c, `
	for _, tt := range []struct{ name, text string }{
		{"everybody", "signIn: {secondFactor: required}"},
		{"some", `
signIn: {secondFactor: required, for: [curator, staff], factors: [otp, passkey, recoveryCodes], passkeys: true, enrol: onFirstLogin, levels: [{level: 2, maxAge: 10m}]}
roles: [{name: curator}]
groups: [{name: staff}]
identityProviders: [` + entra + `alias: asked}, ` + entra + `alias: trusted, secondFactor: trust}]
federationSecrets: {asked: s, trusted: s}
clients: [{clientId: api, kind: api}, {clientId: portal, kind: web, redirectUris: ["https://portal.example.com/callback"]}]
`},
		{"optional", "signIn: {secondFactor: optional, factors: [passkey], passkeys: true}"},
		{"off", "signIn: {secondFactor: off}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mustUp(t, tt.text)
			got := describeSignIn(t, m)
			golden := filepath.Join("testdata", "sign-in-"+tt.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("sign-in (-want +got), to be written by go test . -run TestSignInFlows -update:\n%s", diff)
			}
		})
	}
}

// describeSignIn lists flows as trees, and what uses them.
func describeSignIn(t *testing.T, m *monitor) string {
	t.Helper()
	var b strings.Builder
	in := func(r registered, key string) string {
		if v := r.Inputs[resource.PropertyKey(key)]; v.IsString() {
			return v.StringValue()
		}
		return ""
	}
	configs := map[string]string{}
	for _, r := range m.resources {
		if strings.HasSuffix(r.Type, ":ExecutionConfig") {
			config := plain(resource.NewProperty(r.Inputs["config"].ObjectValue())).(map[string]any)
			var lines []string
			for key, value := range config {
				lines = append(lines, fmt.Sprintf("%s=%v", key, value))
			}
			slices.Sort(lines)
			configs[r.Name] = " {" + strings.Join(lines, ", ") + "}"
		}
	}
	var steps func(top, parent, indent string)
	steps = func(top, parent, indent string) {
		for _, r := range m.resources { // in the order of creation
			if in(r, "parentFlowAlias") != parent {
				continue
			}
			name, alias := in(r, "authenticator"), in(r, "alias")
			if alias != "" {
				name = "[" + strings.TrimPrefix(alias, top+"-") + "]"
			}
			fmt.Fprintf(&b, "%s%s %s%s\n", indent, strings.ToLower(in(r, "requirement")), name, strings.ReplaceAll(configs[r.Name], top+"-", ""))
			if alias != "" {
				steps(top, alias, indent+"  ")
			}
		}
	}
	for _, r := range m.resources {
		if strings.HasSuffix(r.Type, ":Flow") {
			fmt.Fprintf(&b, "flow %s: %s\n", in(r, "alias"), in(r, "description"))
			steps(in(r, "alias"), in(r, "alias"), "  ")
		}
	}
	var uses []string
	for _, r := range m.resources {
		switch {
		case strings.HasSuffix(r.Type, ":Bindings"):
			uses = append(uses, fmt.Sprintf("realm: browser=%s, direct grant=%s, reset credentials=%s, registration=%s",
				in(r, "browserFlow"), in(r, "directGrantFlow"), in(r, "resetCredentialsFlow"), in(r, "registrationFlow")))
			if !r.RPC.GetRetainOnDelete() {
				t.Error("the bindings are not retained: taking an old one away would bind Keycloak's flows")
			}
		case strings.HasSuffix(r.Type, ":IdentityProvider"):
			if deps := r.RPC.GetDependencies(); !slices.ContainsFunc(deps, func(urn string) bool { return strings.Contains(urn, ":Bindings::") }) {
				t.Errorf("identity provider %s does not wait for the flow that it names: %v", r.Name, deps)
			}
			uses = append(uses, fmt.Sprintf("identity provider %s: first %q, afterwards %q",
				r.Name, in(r, "firstBrokerLoginFlowAlias"), in(r, "postBrokerLoginFlowAlias")))
		case strings.HasSuffix(r.Type, "openid/client:Client"):
			uses = append(uses, fmt.Sprintf("client %s: %v", r.Name, plain(r.Inputs["authenticationFlowBindingOverrides"])))
		case strings.HasSuffix(r.Type, ":RequiredAction"):
			uses = append(uses, "required action "+in(r, "alias"))
		case strings.HasSuffix(r.Type, ":Realm"):
			uses = append(uses, fmt.Sprintf("attributes of the realm: %v", plain(r.Inputs["attributes"])))
		case strings.HasSuffix(r.Type, ":UserSessionNoteProtocolMapper"):
			uses = append(uses, fmt.Sprintf("claim %s from note %s", in(r, "claimName"), in(r, "sessionNote")))
		case strings.HasSuffix(r.Type, "index/role:Role"), strings.HasSuffix(r.Type, ":GroupRoles"):
			uses = append(uses, fmt.Sprintf("%s %s: %v %v", r.Type[strings.LastIndex(r.Type, ":")+1:], r.Name, plain(r.Inputs["compositeRoles"]), plain(r.Inputs["roleIds"])))
		}
	}
	slices.Sort(uses)
	return b.String() + strings.Join(uses, "\n") + "\n"
}

// The order of steps is that of their creation, so that one more step makes a
// flow of another name; how long a level is good does not.
func TestSignInFlowsByName(t *testing.T) {
	flows := func(text string) []string {
		var names []string
		for _, name := range mustUp(t, text).list() {
			if strings.HasPrefix(name, "Flow ") || strings.HasPrefix(name, "Bindings ") {
				names = append(names, name)
			}
		}
		return names
	}
	before := flows("signIn: {secondFactor: required}")
	if diff := cmp.Diff(before, flows("signIn: {secondFactor: required, levels: [{level: 2, maxAge: 1h}]}")); diff != "" {
		t.Errorf("another age of a level:\n%s", diff)
	}
	after := flows("signIn: {secondFactor: required, factors: [otp, recoveryCodes]}")
	for _, name := range after {
		if slices.Contains(before, name) && strings.HasPrefix(name, "Flow model-api-browser-") {
			t.Errorf("%s has another step and the same name", name)
		}
	}
	// An update of the realm puts Keycloak's flows back.
	for _, change := range []string{"lifetimes: {accessToken: 4m}", "displayName: Other", "hardening: strict"} {
		after := flows("signIn: {secondFactor: required}\n" + change)
		if diff := cmp.Diff(before[1:], after[1:]); diff != "" || before[0] == after[0] {
			t.Errorf("%s: bound by %s as before, %s", change, after[0], diff)
		}
	}
}
