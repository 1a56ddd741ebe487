package bearer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ClaimPaths are paths into the token's claims as Keycloak's mappers write
// them: dots separate, `\.` is a dot within a name, and `${client_id}` stands
// for every client. An empty path means the default of its comment.
type ClaimPaths struct {
	RealmRoles  string // realm_access.roles
	ClientRoles string // resource_access.${client_id}.roles
	Groups      string // groups
	Username    string // preferred_username
}

// The claims that have a path, by their index in claimPaths.
const (
	realmRoles = iota
	clientRoles
	groups
	username
	pathCount
)

// claimPaths say of each path where it is configured and what Keycloak writes.
var claimPaths = [pathCount]struct {
	name, usual string
	of          func(ClaimPaths) string
}{
	realmRoles:  {"RealmRoles", "realm_access.roles", func(c ClaimPaths) string { return c.RealmRoles }},
	clientRoles: {"ClientRoles", "resource_access.${client_id}.roles", func(c ClaimPaths) string { return c.ClientRoles }},
	groups:      {"Groups", "groups", func(c ClaimPaths) string { return c.Groups }},
	username:    {"Username", "preferred_username", func(c ClaimPaths) string { return c.Username }},
}

// paths are the configured claim paths, taken apart.
type paths struct {
	whole [pathCount]string
	tops  []string            // first element of each path
	rest  [pathCount][]string // what follows
}

// newPaths takes the paths apart. The error names all that are none.
func newPaths(c ClaimPaths) (paths, error) {
	var p paths
	var errs []error
	for i, known := range claimPaths {
		p.whole[i] = cmp.Or(known.of(c), known.usual)
		path := parsePath(p.whole[i])
		client := slices.Index(path, anyClient)
		if slices.Contains(path, "") || (client >= 1) != (i == clientRoles) || client == 0 {
			errs = append(errs, fmt.Errorf("bearer: Claims.%s: %q is not a path such as %s", known.name, p.whole[i], known.usual))
		}
		p.tops, p.rest[i] = append(p.tops, path[0]), path[1:]
	}
	return p, errors.Join(errs...)
}

// anyClient is the element of ClaimPaths.ClientRoles that stands for every
// client, in the notation of Keycloak's own role mappers.
const anyClient = "${client_id}"

// parsePath splits a claim path at its dots; `\.` is a dot within a name.
func parsePath(s string) []string {
	parts := []string{""}
	for i := 0; i < len(s); i++ {
		last := &parts[len(parts)-1]
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '.' || s[i+1] == '\\'):
			i++
			*last += s[i : i+1]
		case s[i] == '.':
			parts = append(parts, "")
		default:
			*last += s[i : i+1]
		}
	}
	return parts
}

// fill takes identity, roles, groups and scopes out of verified claims.
func (c *tokenCheck) fill() (err error) {
	raw, p, paths := &c.claims, &c.found.principal, &c.v.paths
	name, err := descend(raw.found[username], paths.rest[username])
	if err != nil {
		return fmt.Errorf("%s: %w", paths.whole[username], err)
	}
	party := raw.party
	if party == nil {
		party = raw.clientID
	}
	// One string holds all the short ones: a cached principal stays small.
	var room [512]byte
	packed := room[:0]
	var ends [5]int
	for i, value := range [...]struct {
		name string
		raw  jsontext.Value
	}{{"sub", raw.subject}, {"username", name}, {"azp", party}, {"sid", raw.session}, {"jti", raw.id}} {
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
	p.Issuer = c.found.issuer.URL
	p.Subject, p.Username, p.ClientID, p.SessionID, p.TokenID =
		s[:ends[0]], s[ends[0]:ends[1]], s[ends[1]:ends[2]], s[ends[2]:ends[3]], s[ends[3]:]

	i := &c.v.interned
	if p.Scopes, err = intern(&i.scopes, raw.scope, splitScope); err != nil {
		return fmt.Errorf("scope %w", err)
	}
	if p.RealmRoles, err = intern(&i.realmRoles, raw.found[realmRoles], listAt(paths.rest[realmRoles])); err != nil {
		return fmt.Errorf("%s: %w", paths.whole[realmRoles], err)
	}
	if p.Groups, err = intern(&i.groups, raw.found[groups], listAt(paths.rest[groups])); err != nil {
		return fmt.Errorf("%s: %w", paths.whole[groups], err)
	}
	if p.ClientRoles, err = intern(&i.clientRoles, raw.found[clientRoles], rolesByClient(paths.rest[clientRoles])); err != nil {
		return fmt.Errorf("%s: %w", paths.whole[clientRoles], err)
	}
	p.SignIn, err = c.signIn()
	return err
}

// signIn takes out of verified claims how the person signed in.
func (c *tokenCheck) signIn() (*SignIn, error) {
	p := &c.found.principal
	session, grant := tokenContext(p.TokenID)
	s := SignIn{
		// Keycloak writes client_id for this grant, but not into lightweight tokens.
		ServiceAccount: p.SessionID == "" && (c.claims.clientID != nil || session == "tr" && grant == "cc"),
		// A refresh can leave the scope out (RFC 6749, section 6).
		Offline: session == "of" || slices.Contains(p.Scopes, "offline_access"),
	}
	flags := fmt.Appendf(nil, "%t%t", s.ServiceAccount, s.Offline)
	key := slices.Concat(c.claims.acr, c.claims.levels, flags)
	return intern(&c.v.interned.signIns, key, func(jsontext.Value) (_ *SignIn, err error) {
		if s.ACR, err = text(c.claims.acr); err != nil {
			return nil, fmt.Errorf("acr %w", err)
		}
		if s.Levels, err = levels(c.claims.levels); err != nil {
			return nil, fmt.Errorf("%s %w", LevelsClaim, err)
		}
		return &s, nil
	})
}

// tokenContext returns the kinds of session and grant that Keycloak writes before
// a token's id, such as of and rt in "ofrtrt:UUID". Those of other issuers, and of
// old versions, are empty.
func tokenContext(id string) (session, grant string) {
	context, _, found := strings.Cut(id, ":")
	if !found || len(context) != 6 {
		return "", ""
	}
	return context[:2], context[4:]
}

// interned shares what many tokens have in common: whole lists of audiences,
// roles, groups and scopes, and sign-ins, by their JSON. Only verified tokens get
// here.
type interned struct {
	audiences, scopes, realmRoles, groups table[[]string]
	clientRoles                           table[map[string][]string]
	signIns                               table[*SignIn]
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

// levels decodes LevelsClaim: an object of times by level, which Keycloak writes
// as text.
func levels(raw jsontext.Value) (map[string]time.Time, error) {
	if raw == nil {
		return nil, nil
	}
	object, err := text(raw)
	if err != nil {
		return nil, err
	}
	var times map[string]jsontext.Value
	if err := json.Unmarshal([]byte(object), &times); err != nil {
		return nil, err
	}
	reached := make(map[string]time.Time, len(times))
	for level, raw := range times {
		at, _, err := seconds(raw)
		if err != nil {
			return nil, fmt.Errorf("of level %.20q %w", level, err)
		}
		reached[level] = unix(at)
	}
	return reached, nil
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
