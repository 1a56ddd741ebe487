// Package roles makes a realm's roles, with what they are composed of, and the
// groups that carry them.
package roles

import (
	"fmt"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

// Args says which roles and groups there are, in any order.
type Args struct {
	Realm       pulumi.StringInput // id of the realm
	DeletedWith pulumi.Resource    // the realm's resource, whose deletion takes everything along; may be nil

	Roles  []config.Role
	Groups []config.Group

	// After changes the realm itself, as default groups do: they wait for it.
	After []pulumi.Resource
}

// Roles are the realm roles and groups, by name.
type Roles struct {
	pulumi.ResourceState

	Roles  map[string]*keycloak.Role
	Groups map[string]*keycloak.Group

	// Settled is what must be there before the first user: After, and the
	// default groups.
	Settled []pulumi.Resource

	within pulumi.ResourceOption // of all resources
}

// New makes the roles and groups.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Roles, error) {
	r := &Roles{
		Roles:  make(map[string]*keycloak.Role, len(args.Roles)),
		Groups: make(map[string]*keycloak.Group, len(args.Groups)),

		Settled: args.After,
	}
	if err := ctx.RegisterComponentResource("keycloak-model-api:roles:Roles", name, r, opts...); err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	r.within = pulumi.Composite(pulumi.Parent(r), pulumi.DeletedWith(args.DeletedWith))
	if err := r.realmRoles(ctx, args); err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	if err := r.groups(ctx, args); err != nil {
		return nil, fmt.Errorf("roles: group %w", err)
	}
	if err := r.defaultGroups(ctx, name, args); err != nil {
		return nil, fmt.Errorf("roles: default groups: %w", err)
	}
	return r, ctx.RegisterResourceOutputs(r, pulumi.Map{})
}

func (r *Roles) realmRoles(ctx *pulumi.Context, args *Args) error {
	ordered, err := inOrder(args.Roles,
		func(role config.Role) string { return role.Name },
		func(role config.Role) []string { return role.Composites })
	if err != nil {
		return err
	}
	for _, role := range ordered {
		parts, err := r.ids(role.Composites)
		if err != nil {
			return fmt.Errorf("%s: %w", role.Name, err)
		}
		r.Roles[role.Name], err = keycloak.NewRole(ctx, role.Name, &keycloak.RoleArgs{
			RealmId:        args.Realm,
			Name:           pulumi.String(role.Name),
			Description:    pulumi.String(role.Description),
			CompositeRoles: parts,
			Attributes:     attributes(role.Attributes),
		}, r.within)
		if err != nil {
			return fmt.Errorf("%s: %w", role.Name, err)
		}
	}
	return nil
}

func (r *Roles) groups(ctx *pulumi.Context, args *Args) error {
	ordered, err := inOrder(args.Groups,
		func(g config.Group) string { return g.Name },
		func(g config.Group) []string {
			if g.Parent == "" {
				return nil
			}
			return []string{g.Parent}
		})
	if err != nil {
		return err
	}
	for _, g := range ordered {
		a := &keycloak.GroupArgs{RealmId: args.Realm, Name: pulumi.String(g.Name), Attributes: attributes(g.Attributes)}
		if g.Parent != "" {
			a.ParentId = r.Groups[g.Parent].ID().ToStringPtrOutput()
		}
		group, err := keycloak.NewGroup(ctx, g.Name, a, r.within)
		if err != nil {
			return fmt.Errorf("%s: %w", g.Name, err)
		}
		r.Groups[g.Name] = group
		if len(g.Roles) == 0 {
			continue
		}
		carried, err := r.ids(g.Roles)
		if err != nil {
			return fmt.Errorf("%s: %w", g.Name, err)
		}
		if _, err := keycloak.NewGroupRoles(ctx, g.Name, &keycloak.GroupRolesArgs{
			RealmId:    args.Realm,
			GroupId:    group.ID().ToStringOutput(),
			RoleIds:    carried,
			Exhaustive: pulumi.Bool(true),
		}, r.within); err != nil {
			return fmt.Errorf("%s: %w", g.Name, err)
		}
	}
	return nil
}

func (r *Roles) defaultGroups(ctx *pulumi.Context, name string, args *Args) error {
	var ids pulumi.StringArray
	for _, g := range args.Groups {
		if g.Default {
			ids = append(ids, r.Groups[g.Name].ID().ToStringOutput())
		}
	}
	if len(ids) == 0 {
		return nil
	}
	groups, err := keycloak.NewDefaultGroups(ctx, name, &keycloak.DefaultGroupsArgs{
		RealmId:  args.Realm,
		GroupIds: ids,
	}, r.within, pulumi.DependsOn(args.After))
	if err != nil {
		return err
	}
	r.Settled = []pulumi.Resource{groups}
	return nil
}

// ids are the ids of realm roles; nil for none, as the provider reads it back.
func (r *Roles) ids(names []string) (pulumi.StringArrayInput, error) {
	if len(names) == 0 {
		return nil, nil
	}
	ids := make(pulumi.StringArray, len(names))
	for i, name := range names {
		role, ok := r.Roles[name]
		if !ok {
			return nil, fmt.Errorf("role %s is not declared", name)
		}
		ids[i] = role.ID().ToStringOutput()
	}
	return ids, nil
}

func attributes(m map[string]string) pulumi.StringMapInput {
	if len(m) == 0 {
		return nil
	}
	return pulumi.ToStringMap(m)
}

// inOrder returns items so that each comes after those that it needs. A need
// that is no item is left to the caller.
func inOrder[T any](items []T, name func(T) string, needs func(T) []string) ([]T, error) {
	byName := make(map[string]T, len(items))
	for _, item := range items {
		byName[name(item)] = item
	}
	const open, done = 1, 2
	state := make(map[string]int, len(items))
	ordered := make([]T, 0, len(items))
	var visit func(T) error
	visit = func(item T) error {
		switch state[name(item)] {
		case open:
			return fmt.Errorf("%s contains itself", name(item))
		case done:
			return nil
		}
		state[name(item)] = open
		for _, need := range needs(item) {
			if needed, ok := byName[need]; ok {
				if err := visit(needed); err != nil {
					return err
				}
			}
		}
		state[name(item)] = done
		ordered = append(ordered, item)
		return nil
	}
	for _, item := range items {
		if err := visit(item); err != nil {
			return nil, err
		}
	}
	return ordered, nil
}
