package access

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/policy"
)

// Bounds of the questions to Keycloak.
const (
	atOnce = 8
	page   = 500
)

// Fetch reads a live realm by the Admin REST API: all users and groups, and the
// service accounts of the policy's clients. The account needs view-users,
// view-clients and view-realm. It asks two questions a user.
func Fetch(ctx context.Context, admin *keycloak.Admin, realm string, p *policy.Policy) (*Realm, error) {
	f := &fetcher{admin: admin, path: "/realms/" + url.PathEscape(realm), realm: &Realm{Roles: map[string][]string{}}, seen: map[string]bool{}}
	if err := f.all(ctx, p); err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	return f.realm, nil
}

type fetcher struct {
	admin   *keycloak.Admin
	path    string
	clients map[string]string // id to client id

	mu    sync.Mutex
	realm *Realm
	seen  map[string]bool // composite roles by id, whose parts are asked for
}

type role struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Composite bool   `json:"composite"`
	Client    bool   `json:"clientRole"`
	Container string `json:"containerId"`
}

type user struct {
	ID       string `json:"id"`
	Username string `json:"username"`
	Enabled  bool   `json:"enabled"`
}

type group struct {
	ID   string `json:"id"`
	Path string `json:"path"`
}

func (f *fetcher) get(ctx context.Context, path string, out any) error {
	return f.admin.Do(ctx, http.MethodGet, f.path+path, nil, out)
}

// list asks for page after page.
func list[T any](ctx context.Context, f *fetcher, path string) (all []T, err error) {
	for {
		var next []T
		if err := f.get(ctx, fmt.Sprintf("%s?briefRepresentation=true&first=%d&max=%d", path, len(all), page), &next); err != nil {
			return nil, err
		}
		if all = append(all, next...); len(next) < page {
			return all, nil
		}
	}
}

func (f *fetcher) all(ctx context.Context, p *policy.Policy) error {
	type client struct {
		ID              string `json:"id"`
		ClientID        string `json:"clientId"`
		ServiceAccounts bool   `json:"serviceAccountsEnabled"`
	}
	clients, err := list[client](ctx, f, "/clients")
	if err != nil {
		return err
	}
	f.clients = map[string]string{}
	for _, c := range clients {
		f.clients[c.ID] = c.ClientID
	}
	var representation struct {
		DefaultRole role `json:"defaultRole"`
	}
	if err := f.get(ctx, "", &representation); err != nil {
		return err
	}
	f.realm.DefaultRole = representation.DefaultRole.Name
	if err := f.include(ctx, []role{representation.DefaultRole}); err != nil {
		return err
	}
	users, err := list[user](ctx, f, "/users")
	if err != nil {
		return err
	}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.SetLimit(atOnce)
	tasks.Go(func() error { return f.groups(ctx, "/groups") })
	for _, u := range users {
		tasks.Go(func() error { return f.user(ctx, u, "") })
	}
	for _, c := range clients {
		if c.ServiceAccounts && slices.ContainsFunc(p.Clients, func(known policy.Client) bool { return known.ClientID == c.ClientID }) {
			tasks.Go(func() error {
				var account user
				if err := f.get(ctx, "/clients/"+c.ID+"/service-account-user", &account); err != nil {
					return err
				}
				return f.user(ctx, account, c.ClientID)
			})
		}
	}
	return tasks.Wait()
}

func (f *fetcher) user(ctx context.Context, u user, client string) error {
	roles, err := f.mappings(ctx, "/users/"+u.ID)
	if err != nil {
		return err
	}
	groups, err := list[group](ctx, f, "/users/"+u.ID+"/groups")
	if err != nil {
		return err
	}
	known := User{Name: u.Username, Client: client, Enabled: u.Enabled, Roles: roles}
	for _, g := range groups {
		known.Groups = append(known.Groups, g.Path)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.realm.Users = append(f.realm.Users, known)
	return nil
}

// groups reads those at a path, and those below each.
func (f *fetcher) groups(ctx context.Context, path string) error {
	groups, err := list[group](ctx, f, path)
	if err != nil {
		return err
	}
	for _, g := range groups {
		roles, err := f.mappings(ctx, "/groups/"+g.ID)
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.realm.Groups = append(f.realm.Groups, Group{g.Path, roles})
		f.mu.Unlock()
		if err := f.groups(ctx, "/groups/"+g.ID+"/children"); err != nil {
			return err
		}
	}
	return nil
}

// mappings returns the roles that a user or group has itself.
func (f *fetcher) mappings(ctx context.Context, of string) ([]string, error) {
	var mapped struct {
		Realm   []role `json:"realmMappings"`
		Clients map[string]struct {
			Mappings []role `json:"mappings"`
		} `json:"clientMappings"`
	}
	if err := f.get(ctx, of+"/role-mappings", &mapped); err != nil {
		return nil, err
	}
	roles := mapped.Realm
	for _, c := range mapped.Clients {
		roles = append(roles, c.Mappings...)
	}
	return f.names(roles), f.include(ctx, roles)
}

func (f *fetcher) names(roles []role) (names []string) {
	for _, r := range roles {
		if r.Client {
			names = append(names, f.clients[r.Container]+"/"+r.Name)
		} else {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}

// include reads what composite roles include, each once.
func (f *fetcher) include(ctx context.Context, roles []role) error {
	for _, r := range roles {
		f.mu.Lock()
		known := f.seen[r.ID]
		f.seen[r.ID] = true
		f.mu.Unlock()
		if known || !r.Composite {
			continue
		}
		var parts []role
		if err := f.get(ctx, "/roles-by-id/"+r.ID+"/composites", &parts); err != nil {
			return err
		}
		names := f.names(parts)
		f.mu.Lock()
		f.realm.Roles[f.names([]role{r})[0]] = names
		f.mu.Unlock()
		if err := f.include(ctx, parts); err != nil {
			return err
		}
	}
	return nil
}
