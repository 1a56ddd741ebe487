package render

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Difference is one field in which an export of a realm is not what the model
// says. A side that lacks the field is nil.
type Difference struct {
	Path string   // such as clients.my-api-client.attributes.pkce.code.challenge.method
	Keys []string // the parts of Path, which may have dots of their own
	Want any      // in the model
	Got  any      // in the export
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: want %s, got %s", d.Path, jsonText(d.Want), jsonText(d.Got))
}

func jsonText(v any) string {
	if v == nil {
		return "nothing"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// Compare compares a realm with its partial export (with clients, groups and
// roles), field by field, and returns the differences sorted by path. Left
// aside is what no two realms share and what an export hides: ids, times,
// Keycloak's version, the values of secrets, the users other than service
// accounts, and the marker of Apply.
func Compare(r *Realm, export []byte) ([]Difference, error) {
	rep, err := r.representation()
	if err != nil {
		return nil, err
	}
	want, err := decoded(rep)
	if err != nil {
		return nil, fmt.Errorf("render: realm %s: %w", r.Name, err)
	}
	var got any
	if err := json.Unmarshal(export, &got); err != nil {
		return nil, fmt.Errorf("render: export of realm %s: %w", r.Name, err)
	}
	nameFlows(want)
	nameFlows(got)
	var found []Difference
	compare(nil, normal("", want), normal("", got), &found)
	slices.SortFunc(found, func(x, y Difference) int { return cmp.Compare(x.Path, y.Path) })
	return found, nil
}

// nameFlows puts the aliases of flows in the place of the ids by which clients refer
// to them.
func nameFlows(export any) {
	rep, _ := export.(object)
	aliases := map[any]any{}
	for _, f := range list(rep["authenticationFlows"]) {
		aliases[f["id"]] = f["alias"]
	}
	for _, c := range list(rep["clients"]) {
		overrides, _ := c["authenticationFlowBindingOverrides"].(object)
		for key, id := range overrides {
			if alias, ok := aliases[id]; ok {
				overrides[key] = alias
			}
		}
	}
}

// OfImport says why a realm that was imported from ImportFile differs from one
// that the provider made, empty if it should not: Keycloak's import sets what
// its Admin REST API leaves alone, and no representation can prevent it.
func (d Difference) OfImport() string {
	switch {
	case strings.HasSuffix(d.Path, ".config.userinfo.token.claim"):
		return "an import writes out the mapper's default"
	case d.Want == nil && strings.HasPrefix(d.Path, "clients.") &&
		(strings.HasSuffix(d.Path, ".attributes.post.logout.redirect.uris") || jsonText(d.Got) == `{"post.logout.redirect.uris":"+"}`):
		return "an import allows the redirect URIs after logout too"
	case d.Want == nil && strings.HasPrefix(d.Path, "attributes."):
		return "an import repeats realm settings among the attributes"
	case d.Want == nil && strings.HasPrefix(d.Path, "clients.") && strings.HasSuffix(d.Path, ".secret"):
		return "an import gives a secret to every client that is not public"
	}
	return ""
}

// decoded is a value as encoding/json would decode it.
func decoded(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(text, &out)
}

// volatile are the keys that are left aside, wherever they are.
var volatile = []string{
	"id", "containerId", "parentId", "keycloakVersion", "createdTimestamp", "notBefore",
	"client.secret.creation.time", Marker, "realm_client", "nodeReRegistrationTimeout",
	// A list of words in no order of ours, that Keycloak makes for client registration.
	"allowed-protocol-mapper-types",
	// Worked out by Keycloak from other fields.
	"otpSupportedApplications", "types",
	// In exports only.
	"internalId", "disableableCredentialTypes", "totp", "credentials", "defaultRole", "realmCacheEnabled", "access",
	"autheticatorFlow",
}

// concealed are the keys whose value an export hides.
var concealed = []string{"secret", "clientSecret", "bindCredential", "privateKey", "certificate", "password"}

// keyed are the keys by which the objects of a list are told apart.
var keyed = []string{"clientId", "username", "alias", "client", "clientScope", "name", "providerId"}

// normal makes two representations of the same realm equal: lists of objects
// become objects by name, lists of strings are sorted, and what is empty is
// left out, since Keycloak leaves out much of it.
func normal(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			switch {
			case slices.Contains(volatile, k), k == "rootUrl" && e == "": // which an update of the provider's sets
				continue
			case slices.Contains(concealed, k) && !isEmpty(e):
				e = "(secret)"
			case k == "users" && key == "":
				e = serviceAccounts(e)
			}
			// A validator of the user profile is there without configuration too.
			if e = normal(k, e); !isEmpty(e) || key == "validations" {
				out[k] = e
			}
		}
		return out
	case []any:
		if named, ok := byName(key, v); ok {
			return named
		}
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = normal("", e)
		}
		slices.SortFunc(list, func(x, y any) int { return cmp.Compare(jsonText(x), jsonText(y)) })
		return list
	case string:
		// The user profile is JSON in a string.
		var inner any
		if strings.HasPrefix(v, "{") && json.Unmarshal([]byte(v), &inner) == nil {
			return normal("", inner)
		}
		return v
	}
	return v
}

func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// byName makes an object of a list of objects that have names of their own.
func byName(key string, list []any) (map[string]any, bool) {
	named := map[string]any{}
	for _, e := range list {
		o, ok := e.(map[string]any)
		if !ok {
			return nil, false
		}
		i := slices.IndexFunc(keyed, func(k string) bool { s, ok := o[k].(string); return ok && s != "" })
		if i < 0 {
			return nil, false
		}
		name := o[keyed[i]].(string)
		if sub, ok := o["subType"].(string); ok {
			name += "/" + sub
		}
		if _, twice := named[name]; twice {
			return nil, false
		}
		named[name] = normal("", o)
	}
	return named, len(list) > 0
}

func serviceAccounts(users any) any {
	var accounts []any
	all, _ := users.([]any)
	for _, u := range all {
		if o, ok := u.(map[string]any); ok && o["serviceAccountClientId"] != nil {
			accounts = append(accounts, o)
		}
	}
	return accounts
}

func compare(at []string, want, got any, found *[]Difference) {
	w, wok := want.(map[string]any)
	g, gok := got.(map[string]any)
	if !wok || !gok {
		if !reflect.DeepEqual(want, got) {
			*found = append(*found, Difference{strings.Join(at, "."), at, want, got})
		}
		return
	}
	keys := map[string]bool{}
	for k := range w {
		keys[k] = true
	}
	for k := range g {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		compare(append(at[:len(at):len(at)], k), w[k], g[k], found)
	}
}
