package render

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// baseJSON is the partial export of an empty realm named the-realm of
// keycloak.Version, sorted and without ids.
//
//go:embed base.json
var baseJSON []byte

// base is what Keycloak puts into every realm.
type base struct{ rep object }

// baseFor returns the empty realm with a realm's name in its place.
func baseFor(realm string) (*base, error) {
	quoted, err := json.Marshal(realm)
	if err != nil {
		return nil, fmt.Errorf("render: realm name: %w", err)
	}
	name := string(quoted[1 : len(quoted)-1])
	text := strings.NewReplacer(
		"default-roles-the-realm", "default-roles-"+strings.ToLower(name),
		"the-realm", name,
	).Replace(string(baseJSON))
	var b base
	if err := json.Unmarshal([]byte(text), &b.rep); err != nil {
		return nil, fmt.Errorf("render: embedded realm: %w", err)
	}
	return &b, nil
}

// list returns a list of objects of the representation.
func (b *base) list(key string) []object { return list(b.rep[key]) }

func list(v any) []object {
	elements, _ := v.([]any)
	objects := make([]object, len(elements))
	for i, e := range elements {
		objects[i], _ = e.(object)
	}
	return objects
}

func (b *base) strings(key string) []string { return stringsOf(b.rep[key]) }

func stringsOf(v any) []string {
	elements, _ := v.([]any)
	all := make([]string, len(elements))
	for i, e := range elements {
		all[i], _ = e.(string)
	}
	return all
}

// names are those of a list of objects.
func names(objects []object, key string) []string {
	all := make([]string, len(objects))
	for i, o := range objects {
		all[i], _ = o[key].(string)
	}
	return all
}

func (b *base) clients() []string { return names(b.list("clients"), "clientId") }
func (b *base) scopes() []string  { return names(b.list("clientScopes"), "name") }

func (b *base) client(clientID string) object {
	for _, c := range b.list("clients") {
		if c["clientId"] == clientID {
			return c
		}
	}
	return nil
}

// openidDefaultScopes are the client scopes that a new OIDC client has.
func (b *base) openidDefaultScopes() []string {
	return stringsOf(b.client("account")["defaultClientScopes"])
}

// roles are the built-in roles, with the ids that look-ups gave.
func (b *base) roles(realm string) []*role {
	var all []*role
	add := func(client string, reps []object) {
		for _, name := range names(reps, "name") {
			all = append(all, &role{ID: builtinRoleID(realm, client, name), Client: client, Name: name, builtin: true})
		}
	}
	roles := b.rep["roles"].(object)
	add("", list(roles["realm"]))
	clients := roles["client"].(object)
	for _, client := range slices.Sorted(maps.Keys(clients)) {
		add(client, list(clients[client]))
	}
	return all
}

func (b *base) requiredAction(alias string) object {
	for _, a := range b.list("requiredActions") {
		if a["alias"] == alias {
			return maps.Clone(a)
		}
	}
	return nil
}
