package render

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"keycloak-model-api/internal/keycloak"
)

// Marker is the realm attribute by which a realm says that Apply made it. Only
// such a realm is ever replaced.
const Marker = "keycloak-model-api.local"

// Apply makes the realm in a running Keycloak as the provider would. A realm of
// that name is replaced if Apply made it, and otherwise left alone with an error.
//
// A POST of the whole representation would be one call, but Keycloak then
// leaves out its built-in client scopes, and takes time that grows faster than
// the number of clients. So the realm comes with its roles, groups and users
// only, and Keycloak makes the built-in objects; then come client scopes and
// clients, one request each; then what refers to them.
func (r *Realm) Apply(ctx context.Context, admin *keycloak.Admin) error {
	// Keycloak makes clients fastest by single requests, about eight at once.
	return r.apply(ctx, admin, 8, rand.Reader)
}

func (r *Realm) apply(ctx context.Context, admin *keycloak.Admin, workers int, random io.Reader) error {
	a := &applier{
		Realm: r, admin: admin, path: "/realms/" + url.PathEscape(r.Name),
		workers: workers, random: random, found: map[string]string{},
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"replacing the realm", a.replace},
		{"realm, roles, groups and users", a.realm},
		{"required actions", a.applyRequiredActions}, // which service accounts get
		{"authentication flows", a.authenticationFlows},
		{"client scopes", a.clientScopes},
		{"clients", a.clients},
		{"default groups", a.setDefaultGroups},
		{"client roles", a.clientRoles},
		{"mappers and role mappings", a.mappings},
		{"user profile", a.profile},
		{"bindings of flows", a.bind},
		{"identity providers", a.identityProviders},
		{"keys", a.keys},
		// A federation to a server that can't be reached makes the creation of
		// users fail, so it comes last.
		{"LDAP federations", a.federations},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("render: realm %s: %s: %w", r.Name, step.name, err)
		}
	}
	return nil
}

type applier struct {
	*Realm
	admin   *keycloak.Admin
	path    string // of the realm
	workers int    // requests under way at once
	random  io.Reader

	mu    sync.Mutex
	found map[string]string // ids that Keycloak chose, by path
}

func (a *applier) post(ctx context.Context, path string, in any) error {
	return a.admin.Do(ctx, http.MethodPost, a.path+path, in, nil)
}

func (a *applier) put(ctx context.Context, path string, in any) error {
	return a.admin.Do(ctx, http.MethodPut, a.path+path, in, nil)
}

// id asks for the id of an object, once. The answer is an object, or a list
// with one that matches.
func (a *applier) id(ctx context.Context, path string) (string, error) {
	a.mu.Lock()
	id, known := a.found[path]
	a.mu.Unlock()
	if known {
		return id, nil
	}
	var answer json.RawMessage
	if err := a.admin.Do(ctx, http.MethodGet, a.path+path, nil, &answer); err != nil {
		return "", err
	}
	var one struct{ ID string }
	var many []struct{ ID string }
	if json.Unmarshal(answer, &many) == nil && len(many) == 1 {
		one = many[0]
	} else if err := json.Unmarshal(answer, &one); err != nil || one.ID == "" {
		return "", fmt.Errorf("GET %s answered no id", path)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.found[path] = one.ID
	return one.ID, nil
}

// each calls f for every element, several at once.
func each[T any](ctx context.Context, workers int, list []T, f func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for _, e := range list {
		g.Go(func() error { return f(ctx, e) })
	}
	return g.Wait()
}

func (a *applier) replace(ctx context.Context) error {
	text, err := a.admin.Realm(ctx, a.Name)
	if keycloak.IsStatus(err, http.StatusNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var there struct{ Attributes map[string]string }
	if err := json.Unmarshal(text, &there); err != nil {
		return err
	}
	if there.Attributes[Marker] != "true" {
		return fmt.Errorf("it exists and was not made by this tool (it has no attribute %s), so it stays: choose another name, or "+
			"remove it yourself", Marker)
	}
	return a.admin.DeleteRealm(ctx, a.Name)
}

func (a *applier) realm(ctx context.Context) error {
	realmRoles := []object{}
	for _, role := range a.roles {
		if role.Client == "" {
			realmRoles = append(realmRoles, role.representation(false))
		}
	}
	users := []object{}
	for _, u := range a.users {
		users = append(users, a.userRepresentation(u, false))
	}
	policy, _ := a.settings["passwordPolicy"].(string)
	if err := hashPasswords(ctx, users, policy, a.random); err != nil {
		return err
	}
	rep := with(a.settings, object{
		"attributes": with(a.settings["attributes"].(object), object{Marker: "true"}),
		"roles":      object{"realm": realmRoles},
		"groups":     withoutClientRoles(groupTree(a.groups)),
		"users":      users,
	})
	if err := a.admin.CreateRealm(ctx, rep); err != nil {
		return err
	}
	return a.applyDefaultRoles(ctx)
}

// withoutClientRoles takes out what can't be there before the clients are.
func withoutClientRoles(groups []object) []object {
	for _, g := range groups {
		delete(g, "clientRoles")
		withoutClientRoles(g["subGroups"].([]object))
	}
	return groups
}

func (a *applier) applyDefaultRoles(ctx context.Context) error {
	if a.defaultRoles == nil {
		return nil
	}
	id, err := a.id(ctx, "/roles/"+url.PathEscape(a.defaultRole()))
	if err != nil {
		return err
	}
	var remove []object
	for _, name := range []string{"offline_access", "uma_authorization"} {
		if !slices.Contains(a.defaultRoles, name) {
			role, err := a.roleRepresentation(ctx, &role{Name: name, builtin: true})
			if err != nil {
				return err
			}
			remove = append(remove, role)
		}
	}
	if len(remove) > 0 {
		if err := a.admin.Do(ctx, http.MethodDelete, a.path+"/roles-by-id/"+id+"/composites", remove, nil); err != nil {
			return err
		}
	}
	var add []object
	for _, name := range a.defaultRoles {
		role, err := a.roleRepresentation(ctx, &role{Name: name, builtin: true})
		if err != nil {
			return err
		}
		add = append(add, role)
	}
	return a.post(ctx, "/roles-by-id/"+id+"/composites", add)
}

// roleRepresentation is a role as role mappings take it. Keycloak kept the ids
// of our realm roles and chose all others.
func (a *applier) roleRepresentation(ctx context.Context, r *role) (object, error) {
	id := r.ID
	if r.Client != "" || r.builtin {
		path := "/roles/" + url.PathEscape(r.Name)
		if r.Client != "" {
			client, err := a.clientUUID(ctx, r.Client)
			if err != nil {
				return nil, err
			}
			path = "/clients/" + client + path
		}
		var err error
		if id, err = a.id(ctx, path); err != nil {
			return nil, err
		}
	}
	return object{"id": id, "name": r.Name}, nil
}

// clientUUID is the id of a client by its clientId.
func (a *applier) clientUUID(ctx context.Context, clientID string) (string, error) {
	if i, ok := slices.BinarySearchFunc(a.Realm.clients, clientID, func(c *client, id string) int {
		return cmp.Compare(c.clientID, id)
	}); ok && !a.Realm.clients[i].imported {
		return a.Realm.clients[i].id, nil
	}
	return a.id(ctx, "/clients?clientId="+url.QueryEscape(clientID))
}

// addRoles maps roles to what path stands for: by /realm and by
// /clients/<client>.
func (a *applier) addRoles(ctx context.Context, path string, roles []*role) error {
	byClient := map[string][]object{}
	for _, role := range roles {
		rep, err := a.roleRepresentation(ctx, role)
		if err != nil {
			return err
		}
		byClient[role.Client] = append(byClient[role.Client], rep)
	}
	for _, client := range slices.Sorted(maps.Keys(byClient)) {
		target := path + "/realm"
		if client != "" {
			id, err := a.clientUUID(ctx, client)
			if err != nil {
				return err
			}
			target = path + "/clients/" + id
		}
		if err := a.post(ctx, target, byClient[client]); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) clientScopes(ctx context.Context) error {
	return each(ctx, a.workers, a.scopes, func(ctx context.Context, s *scope) error {
		if err := a.post(ctx, "/client-scopes", s.rep); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		return a.protocolMappers(ctx, "/client-scopes/"+s.id, s.mappers)
	})
}

// protocolMappers adds mappers after their owner: given with it, Keycloak would
// add settings to them.
func (a *applier) protocolMappers(ctx context.Context, owner string, mappers []object) error {
	if len(mappers) == 0 {
		return nil
	}
	return a.post(ctx, owner+"/protocol-mappers/add-models", mappers)
}

func (a *applier) clients(ctx context.Context) error {
	serviceScope := sync.OnceValues(func() (string, error) {
		var scopes []struct{ ID, Name string }
		if err := a.admin.Do(ctx, http.MethodGet, a.path+"/client-scopes", nil, &scopes); err != nil {
			return "", err
		}
		for _, s := range scopes {
			if s.Name == "service_account" {
				return s.ID, nil
			}
		}
		return "", fmt.Errorf("the realm has no client scope service_account")
	})
	return each(ctx, a.workers, a.Realm.clients, func(ctx context.Context, c *client) error {
		rep := a.clientRepresentation(c)
		if c.imported {
			return a.importClient(ctx, c, rep)
		}
		if err := a.post(ctx, "/clients", rep); err != nil {
			return fmt.Errorf("%s: %w", c.clientID, err)
		}
		// Keycloak adds this scope to a client with a service account, the
		// provider takes it away where it isn't listed.
		if c.serviceAccount && !slices.Contains(a.defaultScopesOf(c), "service_account") {
			scope, err := serviceScope()
			if err != nil {
				return err
			}
			if err := a.admin.Do(ctx, http.MethodDelete, a.path+"/clients/"+c.id+"/default-client-scopes/"+scope, nil, nil); err != nil {
				return fmt.Errorf("%s: %w", c.clientID, err)
			}
		}
		return a.protocolMappers(ctx, "/clients/"+c.id, c.mappers)
	})
}

// importClient changes one of Keycloak's own clients. Its scopes stay.
func (a *applier) importClient(ctx context.Context, c *client, rep object) error {
	id, err := a.id(ctx, "/clients?clientId="+url.QueryEscape(c.clientID))
	if err != nil {
		return fmt.Errorf("%s: %w", c.clientID, err)
	}
	if err := a.put(ctx, "/clients/"+id, with(rep, object{"id": id})); err != nil {
		return fmt.Errorf("%s: %w", c.clientID, err)
	}
	return a.protocolMappers(ctx, "/clients/"+id, c.mappers)
}

// setDefaultGroups comes after the clients: service accounts don't join the
// default groups, as they don't where the provider makes both at once.
func (a *applier) setDefaultGroups(ctx context.Context) error {
	for _, g := range a.defaultGroups {
		if err := a.put(ctx, "/default-groups/"+g.id, nil); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) clientRoles(ctx context.Context) error {
	byClient := map[string][]object{}
	for _, role := range a.roles {
		if role.Client != "" {
			rep := with(role.rep, object{"clientRole": true})
			byClient[role.Client] = append(byClient[role.Client], rep)
		}
	}
	if len(byClient) == 0 {
		return nil
	}
	return a.admin.PartialImport(ctx, a.Name, object{"ifResourceExists": "FAIL", "roles": object{"client": byClient}})
}

// mappings adds what refers to clients and their roles.
func (a *applier) mappings(ctx context.Context) error {
	var tasks []func(context.Context) error
	add := func(path string, roles []*role) {
		if len(roles) > 0 {
			tasks = append(tasks, func(ctx context.Context) error { return a.addRoles(ctx, path, roles) })
		}
	}
	for _, c := range a.Realm.clients {
		add("/clients/"+c.id+"/scope-mappings", c.mappings)
		if len(c.accountRoles)+len(c.accountGroups) > 0 {
			tasks = append(tasks, func(ctx context.Context) error { return a.serviceAccount(ctx, c) })
		}
	}
	for _, s := range a.scopes {
		add("/client-scopes/"+s.id+"/scope-mappings", s.mappings)
	}
	for _, g := range a.allGroups(a.groups) {
		add("/groups/"+g.id+"/role-mappings", onlyClientRoles(g.roles))
	}
	for _, u := range a.users {
		add("/users/"+u.id+"/role-mappings", onlyClientRoles(u.roles))
	}
	for _, role := range a.roles {
		composites := onlyClientRoles(role.composites)
		if role.Client != "" {
			composites = role.composites
		}
		if len(composites) > 0 {
			tasks = append(tasks, func(ctx context.Context) error { return a.composites(ctx, role, composites) })
		}
	}
	return each(ctx, a.workers, tasks, func(ctx context.Context, task func(context.Context) error) error { return task(ctx) })
}

// serviceAccount gives the service account of a client its roles and groups.
func (a *applier) serviceAccount(ctx context.Context, c *client) error {
	id, err := a.id(ctx, "/clients/"+c.id+"/service-account-user")
	if err != nil {
		return err
	}
	for _, g := range c.accountGroups {
		if err := a.put(ctx, "/users/"+id+"/groups/"+g.id, nil); err != nil {
			return err
		}
	}
	if len(c.accountRoles) == 0 {
		return nil
	}
	return a.addRoles(ctx, "/users/"+id+"/role-mappings", c.accountRoles)
}

func (a *applier) composites(ctx context.Context, r *role, composites []*role) error {
	owner, err := a.roleRepresentation(ctx, r)
	if err != nil {
		return err
	}
	var reps []object
	for _, c := range composites {
		rep, err := a.roleRepresentation(ctx, c)
		if err != nil {
			return err
		}
		reps = append(reps, rep)
	}
	return a.post(ctx, "/roles-by-id/"+owner["id"].(string)+"/composites", reps)
}

func onlyClientRoles(roles []*role) []*role {
	return slices.DeleteFunc(slices.Clone(roles), func(r *role) bool { return r.Client == "" })
}

func (a *applier) allGroups(groups []*group) []*group {
	var all []*group
	for _, g := range groups {
		all = append(append(all, g), a.allGroups(g.children)...)
	}
	return all
}

func (a *applier) profile(ctx context.Context) error {
	if a.Realm.profile == nil {
		return nil
	}
	return a.put(ctx, "/users/profile", a.Realm.profile)
}

func (a *applier) applyRequiredActions(ctx context.Context) error {
	for _, action := range a.actions {
		if err := a.put(ctx, "/authentication/required-actions/"+url.PathEscape(action["alias"].(string)), action); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) identityProviders(ctx context.Context) error {
	for _, p := range a.providers {
		if err := a.post(ctx, "/identity-provider/instances", p.rep); err != nil {
			return fmt.Errorf("%s: %w", p.alias, err)
		}
		for _, m := range p.mappers {
			if err := a.post(ctx, "/identity-provider/instances/"+url.PathEscape(p.alias)+"/mappers", m); err != nil {
				return fmt.Errorf("%s: %s: %w", p.alias, m["name"], err)
			}
		}
	}
	for _, u := range a.users {
		for _, identity := range u.federated {
			path := "/users/" + u.id + "/federated-identity/" + url.PathEscape(text(identity["identityProvider"]))
			if err := a.post(ctx, path, identity); err != nil {
				return fmt.Errorf("%s: %w", u.username, err)
			}
		}
	}
	return nil
}

func (a *applier) keys(ctx context.Context) error {
	for _, c := range a.Realm.keys {
		rep := object{"id": c.id, "name": c.name, "providerId": c.providerID, "providerType": keyProvider, "parentId": a.Name,
			"config": c.config}
		if !c.overlay {
			if err := a.post(ctx, "/components", rep); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			continue
		}
		id, err := a.id(ctx, "/components?type="+keyProvider+"&name="+url.QueryEscape(c.name))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		rep["id"] = id
		if err := a.put(ctx, "/components/"+id, rep); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func (a *applier) federations(ctx context.Context) error {
	for _, c := range a.ldap {
		rep := object{"id": c.id, "name": c.name, "providerId": c.providerID, "providerType": storageProvider, "parentId": a.Name,
			"config": c.config}
		if err := a.post(ctx, "/components", rep); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if c.deleteDefaults {
			var made []struct{ ID string }
			if err := a.admin.Do(ctx, http.MethodGet, a.path+"/components?type="+ldapMapperType+"&parent="+c.id, nil, &made); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			for _, m := range made {
				if err := a.admin.Do(ctx, http.MethodDelete, a.path+"/components/"+m.ID, nil, nil); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
		}
		for _, m := range c.children {
			rep := object{"id": m.id, "name": m.name, "providerId": m.providerID, "providerType": ldapMapperType, "parentId": c.id,
				"config": m.config}
			if err := a.post(ctx, "/components", rep); err != nil {
				return fmt.Errorf("%s: %s: %w", c.name, m.name, err)
			}
		}
	}
	return nil
}
