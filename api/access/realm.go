// Package access says who may call what: users, service accounts and groups of a
// realm held against the access policy, for a review by people.
package access

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/policy"
)

// Realm is what of a realm decides about access. A role is named as policies do:
// a realm role by its name, a role of a client as CLIENT/ROLE.
type Realm struct {
	Roles       map[string][]string // composite roles, and what each includes
	Groups      []Group
	Users       []User
	DefaultRole string // that each new user has
}

// Group is a group by its full path, such as /research/vision.
type Group struct {
	Path  string
	Roles []string // its own; those of the groups above it count for members, too
}

// User is a person or, with a client, a service account.
type User struct {
	Name    string
	Client  string // whose service account this is; empty for a person
	Enabled bool
	Roles   []string // its own
	Groups  []string // full paths
}

// representation is what ReadRealm reads of Keycloak's RealmRepresentation.
type representation struct {
	DefaultRole struct {
		Name string `json:"name"`
	} `json:"defaultRole"`
	Roles struct {
		Realm  []roleRepresentation            `json:"realm"`
		Client map[string][]roleRepresentation `json:"client"`
	} `json:"roles"`
	Groups []groupRepresentation `json:"groups"`
	Users  []struct {
		Username    string              `json:"username"`
		Client      string              `json:"serviceAccountClientId"`
		Enabled     bool                `json:"enabled"`
		RealmRoles  []string            `json:"realmRoles"`
		ClientRoles map[string][]string `json:"clientRoles"`
		Groups      []string            `json:"groups"`
	} `json:"users"`
}

type roleRepresentation struct {
	Name       string `json:"name"`
	Composites struct {
		Realm  []string            `json:"realm"`
		Client map[string][]string `json:"client"`
	} `json:"composites"`
}

type groupRepresentation struct {
	Name        string                `json:"name"`
	RealmRoles  []string              `json:"realmRoles"`
	ClientRoles map[string][]string   `json:"clientRoles"`
	SubGroups   []groupRepresentation `json:"subGroups"`
}

// ReadRealm reads a realm as Keycloak exports it with its users, and as
// `go run ./dev render` prints that of a stack.
func ReadRealm(r io.Reader) (*Realm, error) {
	var file representation
	if err := json.NewDecoder(r).Decode(&file); err != nil {
		return nil, fmt.Errorf("access: not a realm as go run ./dev render prints it: %w", err)
	}
	realm := &Realm{Roles: map[string][]string{}, DefaultRole: file.DefaultRole.Name}
	for _, role := range file.Roles.Realm {
		realm.include(role.Name, role)
	}
	for client, roles := range file.Roles.Client {
		for _, role := range roles {
			realm.include(client+"/"+role.Name, role)
		}
	}
	realm.addGroups("", file.Groups)
	for _, u := range file.Users {
		realm.Users = append(realm.Users, User{u.Username, u.Client, u.Enabled, named(u.RealmRoles, u.ClientRoles), u.Groups})
	}
	return realm, nil
}

// Fetch reads a live realm with all users and groups, and the service accounts of the
// policy's clients. The account needs keycloak.ReadRoles. A user costs two requests.
func Fetch(ctx context.Context, admin *keycloak.Admin, name string, p *policy.Policy) (*Realm, error) {
	text, err := admin.ReadWithUsers(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	realm, err := ReadRealm(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	realm.Users = slices.DeleteFunc(realm.Users, func(u User) bool {
		return u.Client != "" && !slices.ContainsFunc(p.Clients, func(c policy.Client) bool { return c.ClientID == u.Client })
	})
	return realm, nil
}

func (r *Realm) include(name string, role roleRepresentation) {
	if included := named(role.Composites.Realm, role.Composites.Client); len(included) > 0 {
		r.Roles[name] = included
	}
}

func (r *Realm) addGroups(above string, groups []groupRepresentation) {
	for _, g := range groups {
		path := above + "/" + g.Name
		r.Groups = append(r.Groups, Group{path, named(g.RealmRoles, g.ClientRoles)})
		r.addGroups(path, g.SubGroups)
	}
}

// named returns roles as policies name them, sorted.
func named(realm []string, client map[string][]string) []string {
	roles := slices.Clone(realm)
	for id, names := range client {
		for _, name := range names {
			roles = append(roles, id+"/"+name)
		}
	}
	slices.Sort(roles)
	return roles
}

// effective returns all roles that somebody with these roles and groups has, and
// for each how it comes to be there.
func (r *Realm) effective(roles, groups []string) map[string]string {
	has := map[string]string{}
	add := func(role, how string) { r.add(has, role, how) }
	for _, role := range roles {
		add(role, "assigned")
	}
	for _, g := range r.Groups {
		for _, member := range groups {
			if member == g.Path || strings.HasPrefix(member, g.Path+"/") {
				for _, role := range g.Roles {
					add(role, "by group "+g.Path)
				}
			}
		}
	}
	return has
}

func (r *Realm) add(has map[string]string, role, how string) {
	if _, ok := has[role]; ok {
		return
	}
	has[role] = how
	for _, included := range r.Roles[role] {
		r.add(has, included, "by role "+role)
	}
}
