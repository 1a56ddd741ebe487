// Package users makes a realm's users, with their initial passwords, roles and
// groups.
package users

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

// Args says who the users are.
type Args struct {
	Realm            pulumi.StringInput // id of the realm
	Users            []config.User
	InitialPasswords map[string]pulumi.StringInput // by username, used at creation only
	Roles            map[string]*keycloak.Role     // realm roles that users name
	Groups           map[string]*keycloak.Group    // groups that users name
	DefaultGroups    map[string]bool               // groups that every user joins by itself
	Protect          bool                          // guard users against deletion

	// After must be there before the first user: the user profile, or Keycloak
	// drops attributes, and the default groups, or users don't join them.
	After []pulumi.Resource
}

// Users are the users, by username.
type Users struct {
	pulumi.ResourceState

	Users map[string]*keycloak.User
	Made  []pulumi.Resource // users and what they were given, for what must come after
}

// New makes the users. The number of resources is users + groups with members +
// users with roles of their own: for many users give roles by groups.
//
// A group's members are exactly the users that name it: the resource of a whole
// group costs one where that of each user would cost thousands, and takes out
// whom somebody put in by hand. Default groups are left to Keycloak.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Users, error) {
	u := &Users{Users: make(map[string]*keycloak.User, len(args.Users))}
	if err := ctx.RegisterComponentResource("keycloak-model-api:users:Users", name, u, opts...); err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	for i := range args.Users {
		if err := u.user(ctx, &args.Users[i], args); err != nil {
			return nil, fmt.Errorf("users: %s: %w", args.Users[i].Username, err)
		}
	}
	if err := u.memberships(ctx, args); err != nil {
		return nil, fmt.Errorf("users: members of %w", err)
	}
	return u, ctx.RegisterResourceOutputs(u, pulumi.Map{})
}

func (u *Users) user(ctx *pulumi.Context, declared *config.User, args *Args) error {
	a := &keycloak.UserArgs{
		RealmId:       args.Realm,
		Username:      pulumi.String(declared.Username),
		Email:         optional(declared.Email),
		EmailVerified: pulumi.Bool(declared.EmailVerified),
		FirstName:     optional(declared.FirstName),
		LastName:      optional(declared.LastName),
		Enabled:       pulumi.Bool(declared.Enabled == nil || *declared.Enabled),
	}
	if len(declared.Attributes) > 0 {
		a.Attributes = pulumi.ToStringMap(declared.Attributes)
	}
	if len(declared.RequiredActions) > 0 {
		a.RequiredActions = pulumi.ToStringArray(declared.RequiredActions)
	}
	if declared.Password != "none" {
		password, ok := args.InitialPasswords[declared.Username]
		if !ok {
			return errors.New("the initial password is missing")
		}
		a.InitialPassword = &keycloak.UserInitialPasswordArgs{
			Value:     pulumi.ToSecret(password.ToStringOutput()).(pulumi.StringOutput),
			Temporary: pulumi.Bool(declared.Password != "permanent"),
		}
	}
	// What users and brokering add later is no change of ours: the required
	// action of a temporary password, and links to identity providers, which
	// the provider would cut.
	opts := []pulumi.ResourceOption{pulumi.Parent(u), pulumi.DependsOn(args.After), pulumi.Protect(args.Protect),
		pulumi.IgnoreChanges([]string{"requiredActions", "federatedIdentities"})}
	user, err := keycloak.NewUser(ctx, declared.Username, a, opts...)
	if err != nil {
		return err
	}
	u.Users[declared.Username] = user
	u.Made = append(u.Made, user)
	if len(declared.Roles) == 0 {
		return nil
	}
	ids := make(pulumi.StringArray, len(declared.Roles))
	for i, name := range declared.Roles {
		role, ok := args.Roles[name]
		if !ok {
			return fmt.Errorf("role %s is not declared", name)
		}
		ids[i] = role.ID().ToStringOutput()
	}
	roles, err := keycloak.NewUserRoles(ctx, declared.Username, &keycloak.UserRolesArgs{
		RealmId: args.Realm,
		UserId:  user.ID().ToStringOutput(),
		RoleIds: ids,
		// Exhaustive would take the realm's default roles away.
		Exhaustive: pulumi.Bool(false),
	}, pulumi.Parent(u))
	if err != nil {
		return err
	}
	u.Made = append(u.Made, roles)
	return nil
}

func (u *Users) memberships(ctx *pulumi.Context, args *Args) error {
	var groups []string // in the order of their first member
	members := map[string]pulumi.StringArray{}
	made := map[string][]pulumi.Resource{}
	for i := range args.Users {
		declared := &args.Users[i]
		for _, g := range declared.Groups {
			if args.DefaultGroups[g] {
				continue
			}
			if members[g] == nil {
				groups = append(groups, g)
			}
			members[g] = append(members[g], pulumi.String(declared.Username))
			made[g] = append(made[g], u.Users[declared.Username])
		}
	}
	for _, g := range groups {
		group, ok := args.Groups[g]
		if !ok {
			return fmt.Errorf("%s: the group is not declared", g)
		}
		m, err := keycloak.NewGroupMemberships(ctx, g, &keycloak.GroupMembershipsArgs{
			RealmId: args.Realm,
			GroupId: group.ID().ToStringPtrOutput(),
			Members: members[g],
		}, pulumi.Parent(u), pulumi.DependsOn(made[g]))
		if err != nil {
			return fmt.Errorf("%s: %w", g, err)
		}
		u.Made = append(u.Made, m)
	}
	return nil
}

func optional(s string) pulumi.StringPtrInput {
	if s == "" {
		return nil
	}
	return pulumi.String(s)
}
