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
	Realm       pulumi.StringInput // id of the realm
	DeletedWith pulumi.Resource    // the realm's resource, whose deletion takes everything along; may be nil

	Users            []config.User
	InitialPasswords map[string]pulumi.StringInput // by username, used at creation only
	Roles            map[string]*keycloak.Role     // realm roles that users name
	Groups           map[string]*keycloak.Group    // groups that users name
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

	within pulumi.ResourceOption // of all resources
}

// New makes the users. A user costs one resource, its roles one and its groups
// one: for many users give roles by default groups, which cost nothing.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Users, error) {
	u := &Users{Users: make(map[string]*keycloak.User, len(args.Users))}
	if err := ctx.RegisterComponentResource("keycloak-model-api:users:Users", name, u, opts...); err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	u.within = pulumi.Composite(pulumi.Parent(u), pulumi.DeletedWith(args.DeletedWith))
	for i := range args.Users {
		if err := u.user(ctx, &args.Users[i], args); err != nil {
			return nil, fmt.Errorf("users: %s: %w", args.Users[i].Username, err)
		}
	}
	return u, ctx.RegisterResourceOutputs(u, pulumi.Map{})
}

func (u *Users) user(ctx *pulumi.Context, declared *config.User, args *Args) error {
	a := &keycloak.UserArgs{
		RealmId:       args.Realm,
		Username:      pulumi.String(declared.Username),
		Email:         optional(declared.Email),
		EmailVerified: pulumi.Bool(declared.EmailVerified != nil && *declared.EmailVerified),
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
	// What people and brokering add later is no change of ours: the required
	// action of a temporary password, links to identity providers, which the
	// provider would cut, and, where nothing is declared, whether the email address
	// is verified.
	theirs := []string{"requiredActions", "federatedIdentities"}
	if declared.EmailVerified == nil {
		theirs = append(theirs, "emailVerified")
	}
	opts := []pulumi.ResourceOption{u.within, pulumi.DependsOn(args.After), pulumi.Protect(args.Protect), pulumi.IgnoreChanges(theirs)}
	user, err := keycloak.NewUser(ctx, declared.Username, a, opts...)
	if err != nil {
		return err
	}
	u.Users[declared.Username] = user
	u.Made = append(u.Made, user)
	if err := u.groups(ctx, declared, args); err != nil {
		return err
	}
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
	}, u.within)
	if err != nil {
		return err
	}
	u.Made = append(u.Made, roles)
	return nil
}

// groups makes a user a member of the groups that it names. Of other groups, which
// somebody by hand, an identity provider or a directory put it into, nothing is
// said, so they stay.
func (u *Users) groups(ctx *pulumi.Context, declared *config.User, args *Args) error {
	if len(declared.Groups) == 0 {
		return nil
	}
	ids := make(pulumi.StringArray, len(declared.Groups))
	for i, name := range declared.Groups {
		group, ok := args.Groups[name]
		if !ok {
			return fmt.Errorf("group %s is not declared", name)
		}
		ids[i] = group.ID().ToStringOutput()
	}
	groups, err := keycloak.NewUserGroups(ctx, declared.Username, &keycloak.UserGroupsArgs{
		RealmId:    args.Realm,
		UserId:     u.Users[declared.Username].ID().ToStringOutput(),
		GroupIds:   ids,
		Exhaustive: pulumi.Bool(false),
	}, u.within)
	if err != nil {
		return err
	}
	u.Made = append(u.Made, groups)
	return nil
}

func optional(s string) pulumi.StringPtrInput {
	if s == "" {
		return nil
	}
	return pulumi.String(s)
}
