package bearer

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The configured paths.
const (
	realmRoles = iota
	clientRoles
	groups
	username
	pathCount
)

// paths are the configured claim paths, taken apart.
type paths struct {
	tops []string            // first element of each path
	rest [pathCount][]string // what follows
}

func newPaths(c ClaimPaths) paths {
	var p paths
	for i, s := range [pathCount]string{c.RealmRoles, c.ClientRoles, c.Groups, c.Username} {
		path := parsePath(s)
		p.tops, p.rest[i] = append(p.tops, path[0]), path[1:]
	}
	return p
}

// fill takes identity, roles, groups and scopes out of verified claims.
func (a *attempt) fill() (err error) {
	c, p, rest := &a.claims, &a.found.principal, &a.v.paths.rest
	name, err := descend(c.found[username], rest[username])
	if err != nil {
		return fmt.Errorf("%s: %w", a.v.config.Claims.Username, err)
	}
	party := c.party
	if party == nil {
		party = c.clientID
	}
	// One string holds all the short ones: a cached principal stays small.
	var room [512]byte
	packed := room[:0]
	var ends [5]int
	for i, value := range [...]struct {
		name string
		raw  jsontext.Value
	}{{"sub", c.subject}, {"username", name}, {"azp", party}, {"sid", c.session}, {"jti", c.id}} {
		if value.raw != nil {
			if value.raw.Kind() != '"' {
				return fmt.Errorf("%s %w", value.name, errNotString)
			}
			if packed, err = jsontext.AppendUnquote(packed, value.raw); err != nil {
				return fmt.Errorf("%s: %w", value.name, err)
			}
		}
		ends[i] = len(packed)
	}
	s := string(packed)
	p.Issuer = a.found.issuer.URL
	p.Subject, p.Username, p.ClientID, p.SessionID, p.TokenID =
		s[:ends[0]], s[ends[0]:ends[1]], s[ends[1]:ends[2]], s[ends[2]:ends[3]], s[ends[3]:]

	i := &a.v.interned
	if p.Scopes, err = intern(&i.scopes, c.scope, splitScope); err != nil {
		return fmt.Errorf("scope %w", err)
	}
	if p.RealmRoles, err = intern(&i.realmRoles, c.found[realmRoles], listAt(rest[realmRoles])); err != nil {
		return fmt.Errorf("%s: %w", a.v.config.Claims.RealmRoles, err)
	}
	if p.Groups, err = intern(&i.groups, c.found[groups], listAt(rest[groups])); err != nil {
		return fmt.Errorf("%s: %w", a.v.config.Claims.Groups, err)
	}
	if p.ClientRoles, err = intern(&i.clientRoles, c.found[clientRoles], rolesByClient(rest[clientRoles])); err != nil {
		return fmt.Errorf("%s: %w", a.v.config.Claims.ClientRoles, err)
	}
	return nil
}

// interned shares what many tokens have in common: whole lists of audiences,
// roles, groups and scopes, by their JSON. Only verified tokens get here.
type interned struct {
	audiences, scopes, realmRoles, groups table[[]string]
	clientRoles                           table[map[string][]string]
}

// table is one map of decoded values by their JSON, bounded.
type table[T any] struct {
	mu     sync.RWMutex
	values map[string]T
}

const (
	maxInterned    = 1024    // values of one table
	maxInternedRaw = 4 << 10 // bytes of JSON of one value
)

// intern returns decode(raw), the same one each time for the same raw. Absence
// is the zero value.
func intern[T any](t *table[T], raw jsontext.Value, decode func(jsontext.Value) (T, error)) (value T, err error) {
	if raw == nil {
		return value, nil
	}
	t.mu.RLock()
	value, ok := t.values[string(raw)]
	t.mu.RUnlock()
	if ok {
		return value, nil
	}
	if value, err = decode(raw); err != nil || len(raw) > maxInternedRaw {
		return value, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.values == nil || len(t.values) >= maxInterned {
		t.values = map[string]T{}
	}
	t.values[string(raw)] = value
	return value, nil
}

func splitScope(raw jsontext.Value) ([]string, error) {
	s, err := text(raw)
	return slices.Clip(strings.Fields(s)), err
}

// listAt decodes the list of strings at the end of a path.
func listAt(path []string) func(jsontext.Value) ([]string, error) {
	return func(raw jsontext.Value) ([]string, error) {
		raw, err := descend(raw, path)
		if raw == nil || err != nil {
			return nil, err
		}
		var list []string
		err = json.Unmarshal(raw, &list)
		return slices.Clip(list), err
	}
}

// rolesByClient decodes a path with anyClient in it: one list for each member
// of the object that stands before.
func rolesByClient(path []string) func(jsontext.Value) (map[string][]string, error) {
	at := slices.Index(path, anyClient)
	return func(raw jsontext.Value) (map[string][]string, error) {
		raw, err := descend(raw, path[:at])
		if raw == nil || err != nil {
			return nil, err
		}
		var clients map[string]jsontext.Value
		if err := json.Unmarshal(raw, &clients); err != nil {
			return nil, err
		}
		roles := make(map[string][]string, len(clients))
		list := listAt(path[at+1:])
		for client, raw := range clients {
			if roles[client], err = list(raw); err != nil {
				return nil, err
			}
		}
		return roles, nil
	}
}
