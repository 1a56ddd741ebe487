package guardrails

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/policy"
)

// A client with a service key can do nothing else, whatever program registers it.
func TestServiceKeys(t *testing.T) {
	p := &policy.Policy{Clients: []policy.Client{{ClientID: "batch", Kind: "service", Key: true}, {ClientID: "other", Kind: "service"}}}
	for _, test := range []struct {
		name   string
		inputs object
		want   string
	}{
		{"nothing else", nil, ""},
		{"not known yet", object{"standardFlowEnabled": unknown}, ""},
		{"another client", object{"clientId": "other", "standardFlowEnabled": true}, ""},
		{"code flow", object{"standardFlowEnabled": true}, keyAlone.Name},
		{"password grant", object{"directAccessGrantsEnabled": true}, keyAlone.Name},
		{"device grant", object{"oauth2DeviceAuthorizationGrantEnabled": true}, keyAlone.Name},
		{"full scope", object{"fullScopeAllowed": true}, keyAlone.Name},
		{"full scope by default", object{"fullScopeAllowed": resource.NewNullProperty()}, keyAlone.Name},
		{"private_key_jwt", object{"clientAuthenticatorType": "client-jwt"}, keyAlone.Name},
		{"public", object{"accessType": "PUBLIC"}, keyAlone.Name},
		{"token exchange", object{"extraConfig": object{"standard.token.exchange.enabled": "true"}}, keyAlone.Name},
		{"DPoP", object{"extraConfig": object{"dpop.bound.access.tokens": "true"}}, keyAlone.Name},
	} {
		t.Run(test.name, func(t *testing.T) {
			inputs := object{"clientId": "batch", "accessType": "CONFIDENTIAL", "fullScopeAllowed": false}
			maps.Copy(inputs, test.inputs)
			want := []string{}
			if test.want != "" {
				want = append(want, test.want)
			}
			c, err := New(Options{Dev: true, Policy: p})
			if err != nil {
				t.Fatal(err)
			}
			found := c.Check(openIDClient, "it", resource.NewPropertyMapFromMap(inputs))
			if diff := cmp.Diff(want, broken(found)); diff != "" || test.want != "" && Refused(found) == nil {
				t.Errorf("%v (-want +got):\n%s", found, diff)
			}
		})
	}
	for name, options := range map[string]Options{
		"refused":     {Policy: p, NoServiceKeys: true},
		"exempt":      {Policy: p, NoServiceKeys: true, Exemptions: []Exemption{{Resource: "it", Rule: NoServiceKey, Reason: "a notebook"}}},
		"development": {Policy: p, NoServiceKeys: true, Dev: true},
	} {
		c, err := New(options)
		if err != nil {
			t.Fatal(err)
		}
		inputs := object{"clientId": "batch", "fullScopeAllowed": false}
		found := c.Check(openIDClient, "it", resource.NewPropertyMapFromMap(inputs))
		if diff := cmp.Diff([]string{NoServiceKey}, broken(found)); diff != "" || (Refused(found) != nil) != (name == "refused") {
			t.Errorf("where a key is %s: %v %s", name, found, diff)
		}
	}
}
