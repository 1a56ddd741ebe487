package bearer

import (
	"slices"
	"time"

	"keycloak-model-api/policy"
)

// Principal is who a verified token speaks for. Issuer and Subject together
// are its identity. One Principal serves all requests with the same token:
// it must not be changed.
type Principal struct {
	Issuer   string // `iss`
	Subject  string // `sub`, unique within the issuer
	Username string // `preferred_username`; for people to read, it can change
	ClientID string // `azp`, or `client_id` without it: the client that got the token

	RealmRoles  []string            // roles of the realm
	ClientRoles map[string][]string // client id to its roles
	Groups      []string            // groups, where a mapper adds them
	Scopes      []string            // `scope`, split at its spaces

	SessionID string // `sid`; empty for service accounts
	TokenID   string // `jti`

	IssuedAt time.Time // `iat`
	Expiry   time.Time // `exp`
	// AuthTime is `auth_time`: the session's last sign-in, at whatever level and
	// by whatever client. Zero when the token doesn't say.
	AuthTime time.Time
	SignIn   *SignIn // shared by tokens that say the same
}

// SignIn says how the person of a token signed in.
type SignIn struct {
	// ACR is `acr`; empty when the token doesn't say. It survives each refresh,
	// so nothing is decided by it.
	ACR string
	// Levels is LevelsClaim: when the session reached each level last.
	Levels map[string]time.Time
	// ServiceAccount says that nobody signed in: the token is of the client
	// credentials grant and of no session.
	ServiceAccount bool
	// Offline says that the token is of an offline session, whose person may be
	// away.
	Offline bool
}

// LevelsClaim is the claim with the time of each level, in seconds since 1970 by
// the level's name: the session note loa-map, which the stack maps into access
// tokens and introspection answers.
const LevelsClaim = "loa_map"

// ForPolicy returns what the access policy decides by.
func (p *Principal) ForPolicy() policy.Principal {
	return policy.Principal{RealmRoles: p.RealmRoles, ClientRoles: p.ClientRoles, Groups: p.Groups, Scopes: p.Scopes, ClientID: p.ClientID}
}

// HasRealmRole tells whether p has a role of the realm.
func (p *Principal) HasRealmRole(role string) bool { return slices.Contains(p.RealmRoles, role) }
