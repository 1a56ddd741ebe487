package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/internal/monitor"
)

// The ids have the form that the real provider gave them.
func TestIDs(t *testing.T) {
	for _, name := range []string{"sample-one", "sample-two"} {
		for _, r := range sample(t, name) {
			want, id := r.ID, "some-id"
			r.ID = id
			if err := new(provider).create(r); err != nil {
				t.Errorf("%s: %v", r.Name, err)
			}
			switch {
			case r.Type == "keycloak:openid/clientServiceAccountRole:ClientServiceAccountRole",
				r.Type == "keycloak:openid/clientServiceAccountRealmRole:ClientServiceAccountRealmRole":
				want, _, _ = strings.Cut(want, "/")
				r.ID, _, _ = strings.Cut(r.ID, "/")
			case !strings.Contains(want, "/") && r.ID == id:
				continue // an id of Keycloak's own: the monitor's stands
			}
			if r.ID != want {
				t.Errorf("%s %s has the id %q, want %q", r.Type, r.Name, r.ID, want)
			}
		}
	}
}

func TestWhatTheProviderRefuses(t *testing.T) {
	client := object{"realmId": "demo", "clientId": "web", "accessType": "CONFIDENTIAL"}
	for _, test := range []struct {
		name, want string
		resource   *monitor.Resource
	}{
		{"upper-case username", `username "Ada" must be lower case`, registered("keycloak:index/user:User", "u", object{"realmId": "demo", "username": "Ada"})},
		{"short username", "3 characters", registered("keycloak:index/user:User", "u", object{"realmId": "demo", "username": "al"})},
		{"key size", "keySize is 3072", registered("keycloak:index/realmKeystoreRsaGenerated:RealmKeystoreRsaGenerated", "k", object{"realmId": "demo", "keySize": 3072})},
		{"access type", `accessType is "SECRET"`, registered("keycloak:openid/client:Client", "c", with(client, object{"accessType": "SECRET"}))},
		{"flow without redirect URI", "needs a redirect URI", registered("keycloak:openid/client:Client", "c", with(client, object{"standardFlowEnabled": true}))},
		{"redirect URI without flow", "need the standard flow", registered("keycloak:openid/client:Client", "c", with(client, object{"validRedirectUris": []any{"https://x/"}}))},
		{"public service account", "needs accessType CONFIDENTIAL", registered("keycloak:openid/client:Client", "c", with(client, object{"accessType": "PUBLIC", "serviceAccountsEnabled": true}))},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := new(provider).create(test.resource)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestOutputs(t *testing.T) {
	var k provider
	top := registered("keycloak:index/group:Group", "top", object{"realmId": "demo", "name": "top"})
	sub := registered("keycloak:index/group:Group", "sub", object{"realmId": "demo", "name": "sub", "parentId": top.ID})
	client := registered("keycloak:openid/client:Client", "svc", object{"realmId": "demo", "clientId": "svc", "accessType": "CONFIDENTIAL", "serviceAccountsEnabled": true})
	for _, r := range []*monitor.Resource{top, sub, client} {
		if err := k.create(r); err != nil {
			t.Fatal(err)
		}
	}
	if got := sub.Outputs["path"].StringValue(); got != "/top/sub" {
		t.Errorf("path %q", got)
	}
	if got := client.Outputs["serviceAccountUserId"].StringValue(); got == "" {
		t.Error("no service account")
	}
	if s := client.Outputs["clientSecret"]; !s.IsSecret() || len(s.SecretValue().Element.StringValue()) < 26 {
		t.Error("a confidential client without a secret was given none, or a plain one")
	}
	if got := client.Outputs["name"].StringValue(); !strings.HasPrefix(got, "svc-") {
		t.Errorf("auto-name %q", got)
	}
}

func TestLookUps(t *testing.T) {
	client := registered("keycloak:openid/client:Client", "web", object{"realmId": "demo", "clientId": "web"})
	role := registered("keycloak:index/role:Role", "r", object{"realmId": "demo", "name": "reader", "clientId": client.ID})
	resources := demo(client, role)
	for _, test := range []struct {
		name, token string
		args        object
		id, err     string
	}{
		{"declared client", "keycloak:openid/getClient:getClient", object{"realmId": "demo", "clientId": "web"}, client.ID, ""},
		{"built-in client", "keycloak:openid/getClient:getClient", object{"realmId": "demo", "clientId": "realm-management"}, builtinClientID("demo", "realm-management"), ""},
		{"no such client", "keycloak:openid/getClient:getClient", object{"realmId": "demo", "clientId": "ghost"}, "", `no built-in client "ghost"`},
		{"declared role of a client", "keycloak:index/getRole:getRole", object{"realmId": "demo", "name": "reader", "clientId": client.ID}, role.ID, ""},
		{"not a realm role", "keycloak:index/getRole:getRole", object{"realmId": "demo", "name": "reader"}, "", `no built-in role "reader"`},
		{"built-in realm role", "keycloak:index/getRole:getRole", object{"realmId": "demo", "name": "offline_access"}, builtinRoleID("demo", "", "offline_access"), ""},
		{"built-in client role", "keycloak:index/getRole:getRole",
			object{"realmId": "demo", "name": "view-users", "clientId": builtinClientID("demo", "realm-management")}, builtinRoleID("demo", "realm-management", "view-users"), ""},
		{"realm", "keycloak:index/getRealm:getRealm", object{"realm": "demo"}, stableID("keycloak:index/realm:Realm", "demo"), ""},
		{"function that needs a server", "keycloak:index/getRealmKeys:getRealmKeys", object{"realmId": "demo"}, "", "needs a Keycloak that runs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := new(provider).invoke(test.token, resource.NewPropertyMapFromMap(test.args), resources)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.id, found["id"].StringValue()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPasswordsAreHashed(t *testing.T) {
	users := func() []object {
		return []object{{"credentials": []object{{"type": "password", "value": "hunter2", "temporary": true}}}, {"username": "none"}}
	}
	hashed := users()
	if err := hashPasswords(t.Context(), hashed, "length(12)", zeros{}); err != nil {
		t.Fatal(err)
	}
	credential := hashed[0]["credentials"].([]object)[0]
	if credential["value"] != nil || credential["temporary"] != true || !strings.Contains(credential["credentialData"].(string), `"argon2"`) {
		t.Errorf("credential %v", credential)
	}
	plain := users()
	if err := hashPasswords(t.Context(), plain, "hashAlgorithm(pbkdf2-sha256) and hashIterations(1)", zeros{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(users(), plain); diff != "" {
		t.Errorf("the realm chooses the hash, yet: %s", diff)
	}
}
