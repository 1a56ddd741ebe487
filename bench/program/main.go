// Command program registers, with the bare SDK and one loop for each type, as
// many resources as the benchmark's configuration gives the stack: what the
// stack is measured against.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/openid"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error { return run(ctx, os.Getenv) })
}

// run reads how many resources of each type there are to be from BENCH_COUNTS,
// a JSON object by the last part of the type's token. Inputs are of the kind
// and size that the stack's are.
func run(ctx *pulumi.Context, getenv func(string) string) error {
	var counts map[string]int
	if err := json.Unmarshal([]byte(getenv("BENCH_COUNTS")), &counts); err != nil {
		return fmt.Errorf("BENCH_COUNTS: %w", err)
	}
	realm, err := keycloak.NewRealm(ctx, "bench", &keycloak.RealmArgs{Realm: pulumi.String("bench"), Enabled: pulumi.Bool(true)})
	if err != nil {
		return err
	}
	id := realm.ID().ToStringOutput()
	var role *keycloak.Role
	var group *keycloak.Group
	var user *keycloak.User
	var client *openid.Client
	var scope *openid.ClientScope
	scopes := pulumi.ToStringArray([]string{"basic", "roles", "profile", "email", "acr", "web-origins", "service_account", "model-api", "model-roles"})
	for _, resource := range []struct {
		typ  string
		make func(name string) error
	}{
		{"RealmEvents", func(name string) error {
			_, err := keycloak.NewRealmEvents(ctx, name, &keycloak.RealmEventsArgs{RealmId: id, EventsEnabled: pulumi.Bool(true)})
			return err
		}},
		{"Role", func(name string) (err error) {
			role, err = keycloak.NewRole(ctx, name, &keycloak.RoleArgs{RealmId: id, Name: pulumi.String(name), Description: pulumi.String("May call " + name)})
			return err
		}},
		{"Group", func(name string) (err error) {
			group, err = keycloak.NewGroup(ctx, name, &keycloak.GroupArgs{RealmId: id, Name: pulumi.String(name)})
			return err
		}},
		{"GroupRoles", func(name string) error {
			_, err := keycloak.NewGroupRoles(ctx, name, &keycloak.GroupRolesArgs{RealmId: id, GroupId: group.ID().ToStringOutput(),
				RoleIds: pulumi.StringArray{role.ID().ToStringOutput()}, Exhaustive: pulumi.Bool(true)})
			return err
		}},
		{"Client", func(name string) (err error) {
			client, err = openid.NewClient(ctx, name, &openid.ClientArgs{RealmId: id, ClientId: pulumi.String(name), Name: pulumi.String(name),
				Enabled: pulumi.Bool(true), AccessType: pulumi.String("CONFIDENTIAL"), ServiceAccountsEnabled: pulumi.Bool(true),
				FullScopeAllowed: pulumi.Bool(false), ValidRedirectUris: pulumi.StringArray{}, WebOrigins: pulumi.StringArray{},
				ClientSecret: pulumi.ToSecret("secret of " + name).(pulumi.StringOutput).ToStringPtrOutput()})
			return err
		}},
		{"ClientScope", func(name string) (err error) {
			scope, err = openid.NewClientScope(ctx, name, &openid.ClientScopeArgs{RealmId: id, Name: pulumi.String(name), IncludeInTokenScope: pulumi.Bool(true)})
			return err
		}},
		{"AudienceProtocolMapper", func(name string) error {
			_, err := openid.NewAudienceProtocolMapper(ctx, name, &openid.AudienceProtocolMapperArgs{RealmId: id, Name: pulumi.String(name),
				ClientScopeId: scope.ID().ToStringPtrOutput(), IncludedClientAudience: client.ClientId, AddToAccessToken: pulumi.Bool(true)})
			return err
		}},
		{"GenericRoleMapper", func(name string) error {
			_, err := keycloak.NewGenericRoleMapper(ctx, name, &keycloak.GenericRoleMapperArgs{RealmId: id,
				ClientScopeId: scope.ID().ToStringPtrOutput(), RoleId: role.ID().ToStringOutput()})
			return err
		}},
		{"ClientDefaultScopes", func(name string) error {
			_, err := openid.NewClientDefaultScopes(ctx, name, &openid.ClientDefaultScopesArgs{RealmId: id, ClientId: client.ID().ToStringOutput(), DefaultScopes: scopes})
			return err
		}},
		{"ClientOptionalScopes", func(name string) error {
			_, err := openid.NewClientOptionalScopes(ctx, name, &openid.ClientOptionalScopesArgs{RealmId: id, ClientId: client.ID().ToStringOutput(),
				OptionalScopes: pulumi.ToStringArray([]string{"address", "phone", "organization", "offline_access", "microprofile-jwt"})})
			return err
		}},
		{"User", func(name string) (err error) {
			user, err = keycloak.NewUser(ctx, name, &keycloak.UserArgs{RealmId: id, Username: pulumi.String(name), Email: pulumi.String(name + "@example.com"),
				EmailVerified: pulumi.Bool(true), FirstName: pulumi.String("User"), LastName: pulumi.String(name), Enabled: pulumi.Bool(true)})
			return err
		}},
		{"UserGroups", func(name string) error {
			_, err := keycloak.NewUserGroups(ctx, name, &keycloak.UserGroupsArgs{RealmId: id, UserId: user.ID().ToStringOutput(),
				GroupIds: pulumi.StringArray{group.ID().ToStringOutput()}, Exhaustive: pulumi.Bool(false)})
			return err
		}},
	} {
		for i := range counts[resource.typ] {
			if err := resource.make(fmt.Sprintf("%s-%d", resource.typ, i)); err != nil {
				return err
			}
		}
	}
	return nil
}
