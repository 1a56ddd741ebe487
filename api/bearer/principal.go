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
	AuthTime time.Time // `auth_time`; zero when the token doesn't say
}

// ForPolicy returns what the access policy decides by.
func (p *Principal) ForPolicy() policy.Principal {
	return policy.Principal{RealmRoles: p.RealmRoles, ClientRoles: p.ClientRoles, Groups: p.Groups, Scopes: p.Scopes, ClientID: p.ClientID}
}

// HasRealmRole tells whether p has a role of the realm.
func (p *Principal) HasRealmRole(role string) bool { return slices.Contains(p.RealmRoles, role) }
