package keycloak

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// ReadRoles are the roles of the client realm-management (or, for an account of the
// realm master, of the client REALM-realm) that Read and ReadUser need, and no more.
var ReadRoles = []string{"view-realm", "view-clients", "view-users", "view-identity-providers"}

// Read returns what PartialExport does, with the secrets of clients in plain view.
// It only asks, so that an account with ReadRoles can do it: an export wants one that
// may change the realm. The flow "saml ecp" is left out, which the Admin REST API
// does not show.
func (a *Admin) Read(ctx context.Context, realm string) (json.RawMessage, error) {
	return a.read(ctx, realm)
}

// ReadWithUsers is Read with all users, their roles and groups. It asks two questions
// a user.
func (a *Admin) ReadWithUsers(ctx context.Context, realm string) (json.RawMessage, error) {
	return a.read(ctx, realm, (*reader).users)
}

func (a *Admin) read(ctx context.Context, realm string, more ...func(*reader, context.Context) error) (json.RawMessage, error) {
	r := &reader{admin: a, path: realmPath(realm), clientIDs: map[string]string{}, people: []object{}}
	if err := r.get(ctx, "", &r.rep); err != nil {
		return nil, err
	}
	if r.rep["smtpServer"] == nil { // what every account of the realm may see has few fields
		return nil, &StatusError{Method: http.MethodGet, Path: r.path, Status: http.StatusForbidden,
			Message: "the account may not view the realm"}
	}
	var clients, scopes, components []object
	lists := map[string]*[]object{"/clients": &clients, "/client-scopes": &scopes, "/components": &components}
	if err := each(ctx, []string{"/clients", "/client-scopes", "/components"}, func(ctx context.Context, path string) error {
		return r.get(ctx, path, lists[path])
	}); err != nil {
		return nil, err
	}
	for _, c := range clients {
		r.clientIDs[c.str("id")] = c.str("clientId")
	}
	r.rep["clients"], r.rep["clientScopes"], r.rep["components"] = clients, scopes, nested(components, r.rep.str("id"))
	for _, part := range []func(context.Context) error{ // each has several requests under way
		r.lists, r.groups, r.flows, r.identityProviders, r.localizations,
		func(ctx context.Context) error { return r.roles(ctx, clients) },
		func(ctx context.Context) error { return r.mappings(ctx, clients, scopes) },
		func(ctx context.Context) error { return r.serviceAccounts(ctx, clients) },
	} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	for _, part := range more {
		if err := part(r, ctx); err != nil {
			return nil, err
		}
	}
	r.rep["users"] = r.people
	return json.Marshal(r.rep)
}

// FindUsers returns the users of a realm that a query such as username=ada names to
// the letter.
func (a *Admin) FindUsers(ctx context.Context, realm, key, value string) ([]map[string]any, error) {
	var found []map[string]any
	query := url.Values{"exact": {"true"}, key: {value}}
	err := a.Do(ctx, http.MethodGet, realmPath(realm)+"/users?"+query.Encode(), nil, &found)
	return found, err
}

// ReadUser returns a user with what it is linked to, or nil if there is none of
// that name. Beside the fields of a UserRepresentation it has federatedIdentities,
// realmRoles, clientRoles (by client id) and groups (paths).
func (a *Admin) ReadUser(ctx context.Context, realm, username string) (map[string]any, error) {
	found, err := a.FindUsers(ctx, realm, "username", username)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	r := &reader{admin: a, path: realmPath(realm)}
	user := object(found[0])
	if err := r.account(ctx, user); err != nil {
		return nil, err
	}
	var links []any
	if err := r.get(ctx, "/users/"+user.str("id")+"/federated-identity", &links); err != nil {
		return nil, err
	}
	user["federatedIdentities"] = links
	return user, nil
}

// object is a representation.
type object map[string]any

func (o object) str(key string) string { s, _ := o[key].(string); return s }

// reader puts a realm together.
type reader struct {
	admin     *Admin
	path      string            // of the realm
	clientIDs map[string]string // by UUID
	rep       object
	people    []object // service accounts, and users where they are asked for
}

func (r *reader) get(ctx context.Context, path string, out any) error {
	return r.admin.Do(ctx, http.MethodGet, r.path+path, nil, out)
}

// each calls f for every element, eight at a time.
func each[T any](ctx context.Context, list []T, f func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, e := range list {
		g.Go(func() error { return f(ctx, e) })
	}
	return g.Wait()
}

func names(list []object, key string) []string {
	all := make([]string, len(list))
	for i, o := range list {
		all[i] = o.str(key)
	}
	slices.Sort(all)
	return all
}

// nested puts components below the one that they belong to, by the type of their
// provider.
func nested(all []object, parent string) map[string][]object {
	byType := map[string][]object{}
	for _, c := range all {
		if c.str("parentId") == parent {
			c["subComponents"] = nested(all, c.str("id"))
			kind := c.str("providerType")
			byType[kind] = append(byType[kind], c)
		}
	}
	for _, list := range byType {
		for _, c := range list {
			delete(c, "providerType")
		}
	}
	return byType
}

func (r *reader) lists(ctx context.Context) error {
	for _, l := range []struct{ key, path, name string }{
		{"defaultDefaultClientScopes", "/default-default-client-scopes", "name"},
		{"defaultOptionalClientScopes", "/default-optional-client-scopes", "name"},
		{"defaultGroups", "/default-groups", "path"},
		{"requiredActions", "/authentication/required-actions", ""},
	} {
		var list []object
		if err := r.get(ctx, l.path, &list); err != nil {
			return err
		}
		r.rep[l.key] = list
		if l.name != "" {
			r.rep[l.key] = names(list, l.name)
		}
	}
	return nil
}

func (r *reader) groups(ctx context.Context) error {
	groups, err := r.groupsAt(ctx, "/groups")
	r.rep["groups"] = groups
	return err
}

// groupsAt is a list of groups with all below them. Keycloak gives a hundred
// children at most unless it is asked for more.
func (r *reader) groupsAt(ctx context.Context, path string) ([]object, error) {
	var groups []object
	if err := r.get(ctx, path+"?briefRepresentation=false&max=100000", &groups); err != nil {
		return nil, err
	}
	return groups, each(ctx, groups, func(ctx context.Context, g object) error {
		count, _ := g["subGroupCount"].(float64)
		delete(g, "subGroupCount")
		if count == 0 {
			return nil
		}
		below, err := r.groupsAt(ctx, "/groups/"+g.str("id")+"/children")
		g["subGroups"] = below
		return err
	})
}

func (r *reader) roles(ctx context.Context, clients []object) error {
	byClient := make([][]object, len(clients)+1) // the last are the realm's
	paths := make([]string, len(clients)+1)
	for i, c := range clients {
		paths[i] = "/clients/" + c.str("id")
	}
	indices := make([]int, len(paths))
	for i := range indices {
		indices[i] = i
	}
	if err := each(ctx, indices, func(ctx context.Context, i int) error {
		return r.get(ctx, paths[i]+"/roles?briefRepresentation=false&max=100000", &byClient[i])
	}); err != nil {
		return err
	}
	var composite []object
	for _, list := range byClient {
		for _, role := range list {
			if is, _ := role["composite"].(bool); is {
				composite = append(composite, role)
			}
		}
	}
	if err := each(ctx, composite, r.composites); err != nil {
		return err
	}
	client := map[string][]object{}
	for i, c := range clients {
		client[c.str("clientId")] = byClient[i]
	}
	r.rep["roles"] = map[string]any{"realm": byClient[len(clients)], "client": client}
	return nil
}

func (r *reader) composites(ctx context.Context, role object) error {
	var parts []object
	if err := r.get(ctx, "/roles-by-id/"+role.str("id")+"/composites", &parts); err != nil {
		return err
	}
	realm, client := []string{}, map[string][]string{}
	for _, part := range parts {
		if ofClient, _ := part["clientRole"].(bool); ofClient {
			id := r.clientIDs[part.str("containerId")]
			client[id] = append(client[id], part.str("name"))
		} else {
			realm = append(realm, part.str("name"))
		}
	}
	role["composites"] = map[string]any{"realm": realm, "client": client}
	return nil
}

// roleMappings are what an answer on role mappings has.
type roleMappings struct {
	Realm  []object            `json:"realmMappings"`
	Client map[string]struct { // by client id
		Mappings []object `json:"mappings"`
	} `json:"clientMappings"`
}

// mappings are the scope mappings of clients and of client scopes.
func (r *reader) mappings(ctx context.Context, clients, scopes []object) error {
	type owner struct{ kind, name, path string }
	var owners []owner
	for _, c := range clients {
		owners = append(owners, owner{"client", c.str("clientId"), "/clients/" + c.str("id")})
	}
	for _, s := range scopes {
		owners = append(owners, owner{"clientScope", s.str("name"), "/client-scopes/" + s.str("id")})
	}
	var mu sync.Mutex
	realm, client := []object{}, map[string][]object{}
	if err := each(ctx, owners, func(ctx context.Context, o owner) error {
		var m roleMappings
		if err := r.get(ctx, o.path+"/scope-mappings", &m); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if len(m.Realm) > 0 {
			realm = append(realm, object{o.kind: o.name, "roles": names(m.Realm, "name")})
		}
		for id, of := range m.Client {
			client[id] = append(client[id], object{o.kind: o.name, "roles": names(of.Mappings, "name")})
		}
		return nil
	}); err != nil {
		return err
	}
	r.rep["scopeMappings"] = realm
	r.rep["clientScopeMappings"] = client
	return nil
}

// account adds the roles and groups of a user.
func (r *reader) account(ctx context.Context, user object) error {
	var m roleMappings
	if err := r.get(ctx, "/users/"+user.str("id")+"/role-mappings", &m); err != nil {
		return err
	}
	var groups []object
	if err := r.get(ctx, "/users/"+user.str("id")+"/groups?max=100000", &groups); err != nil {
		return err
	}
	client := map[string][]string{}
	for id, of := range m.Client {
		client[id] = names(of.Mappings, "name")
	}
	user["realmRoles"], user["clientRoles"], user["groups"] = names(m.Realm, "name"), client, names(groups, "path")
	return nil
}

func (r *reader) serviceAccounts(ctx context.Context, clients []object) error {
	var mu sync.Mutex
	return each(ctx, clients, func(ctx context.Context, c object) error {
		if enabled, _ := c["serviceAccountsEnabled"].(bool); !enabled {
			return nil
		}
		var user object
		err := r.get(ctx, "/clients/"+c.str("id")+"/service-account-user", &user)
		if IsStatus(err, http.StatusNotFound) || IsStatus(err, http.StatusBadRequest) {
			return nil // Keycloak makes it with the first token
		} else if err != nil {
			return err
		}
		user["serviceAccountClientId"] = c.str("clientId")
		if err := r.account(ctx, user); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		r.people = append(r.people, user)
		return nil
	})
}

// users adds all users to the service accounts, page by page.
func (r *reader) users(ctx context.Context) error {
	const page = 500
	for first := 0; ; first += page {
		var next []object
		if err := r.get(ctx, fmt.Sprintf("/users?briefRepresentation=true&first=%d&max=%d", first, page), &next); err != nil {
			return err
		}
		if err := each(ctx, next, r.account); err != nil {
			return err
		}
		r.people = append(r.people, next...)
		if len(next) < page {
			return nil
		}
	}
}

// FlowStep is an execution of an authentication flow, or of a flow below it.
type FlowStep struct {
	ID       string `json:"id"`
	Name     string `json:"displayName"`          // alias of the flow below, or what Keycloak calls the authenticator
	FlowID   string `json:"flowId"`               // of the flow below, if the step is one
	ConfigID string `json:"authenticationConfig"` // of its configuration, if it has one
	Level    int    `json:"level"`                // 0 in the flow itself; steps below a step follow it
}

// FlowSteps returns the steps of a flow and of all flows below it.
func (a *Admin) FlowSteps(ctx context.Context, realm, alias string) ([]FlowStep, error) {
	var steps []FlowStep
	err := a.Do(ctx, http.MethodGet, realmPath(realm)+executionsOf(alias), nil, &steps)
	return steps, err
}

func executionsOf(alias string) string {
	return "/authentication/flows/" + url.PathEscape(alias) + "/executions"
}

// flows are those of the top level and all below them, with their configurations.
// Keycloak lists the first; the ids of the others stand in lists of executions.
func (r *reader) flows(ctx context.Context) error {
	var top []object
	if err := r.get(ctx, "/authentication/flows", &top); err != nil {
		return err
	}
	var mu sync.Mutex
	flows, configs := slices.Clone(top), []object{}
	err := each(ctx, top, func(ctx context.Context, f object) error {
		var steps []FlowStep
		if err := r.get(ctx, executionsOf(f.str("alias")), &steps); err != nil {
			return err
		}
		for _, s := range steps {
			var flow, config object
			if s.FlowID != "" {
				if err := r.get(ctx, "/authentication/flows/"+s.FlowID, &flow); err != nil {
					return err
				}
			}
			if s.ConfigID != "" {
				if err := r.get(ctx, "/authentication/config/"+s.ConfigID, &config); err != nil {
					return err
				}
			}
			mu.Lock()
			if flow != nil {
				flows = append(flows, flow)
			}
			if config != nil {
				configs = append(configs, config)
			}
			mu.Unlock()
		}
		return nil
	})
	r.rep["authenticationFlows"] = flows
	r.rep["authenticatorConfig"] = configs
	return err
}

func (r *reader) identityProviders(ctx context.Context) error {
	var providers []object
	if err := r.get(ctx, "/identity-provider/instances", &providers); err != nil {
		return err
	}
	var mu sync.Mutex
	mappers := []object{}
	err := each(ctx, providers, func(ctx context.Context, p object) error {
		var list []object
		if err := r.get(ctx, "/identity-provider/instances/"+url.PathEscape(p.str("alias"))+"/mappers", &list); err != nil {
			return fmt.Errorf("identity provider %s: %w", p.str("alias"), err)
		}
		mu.Lock()
		defer mu.Unlock()
		mappers = append(mappers, list...)
		return nil
	})
	r.rep["identityProviders"] = providers
	r.rep["identityProviderMappers"] = mappers
	return err
}

func (r *reader) localizations(ctx context.Context) error {
	var locales []string
	if err := r.get(ctx, "/localization", &locales); err != nil {
		return err
	}
	texts := map[string]any{}
	for _, locale := range locales {
		var t map[string]any
		if err := r.get(ctx, "/localization/"+url.PathEscape(locale), &t); err != nil {
			return err
		}
		texts[locale] = t
	}
	r.rep["localizationTexts"] = texts
	return nil
}

// Realms are the names and attributes of the realms that the account may see.
func (a *Admin) Realms(ctx context.Context) (map[string]map[string]string, error) {
	var realms []struct {
		Realm      string
		Attributes map[string]string
	}
	if err := a.Do(ctx, http.MethodGet, "/realms", nil, &realms); err != nil {
		return nil, err
	}
	attributes := map[string]map[string]string{}
	for _, r := range realms {
		attributes[r.Realm] = r.Attributes
	}
	return attributes, nil
}
