package config

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
)

// kind is what a kind of client sets where the configuration leaves a field
// out. The password grant and full scope are off in every kind, PKCE is
// demanded wherever a flow can use it.
type kind struct {
	public         bool
	standardFlow   bool
	serviceAccount bool
	deviceGrant    bool
	tokenExchange  bool
	redirectURIs   []string
}

// kinds is the table under "Kinds of clients" of docs/configuration.md.
var kinds = map[string]kind{
	"api":      {serviceAccount: true, tokenExchange: true},
	"web":      {standardFlow: true},
	"service":  {serviceAccount: true},
	"resource": {},
	"exchange": {tokenExchange: true},
	"cli":      {public: true, standardFlow: true, deviceGrant: true, redirectURIs: []string{"http://127.0.0.1/callback"}},
}

// Kinds are the names of the kinds, in the order of the documentation.
func Kinds() []string {
	field, _ := reflect.TypeFor[Client]().FieldByName("Kind")
	return strings.Split(field.Tag.Get("enum"), ",")
}

// Public says that clients of this kind hold no credential of their own.
func (c *Client) Public() bool { return kinds[c.Kind].public }

// WithDefaults returns the client with everything set that it left out, except
// Roles and OptionalScopes, where nil stands for the realm's. A client with a
// service key has no optional scope.
func (c Client) WithDefaults() Client {
	k := kinds[c.Kind]
	set := func(p **bool, value bool) {
		if *p == nil {
			*p = &value
		}
	}
	set(&c.StandardFlow, k.standardFlow)
	set(&c.DirectAccessGrants, false)
	set(&c.ServiceAccount, k.serviceAccount)
	set(&c.DeviceGrant, k.deviceGrant)
	set(&c.PKCE, *c.StandardFlow || *c.DeviceGrant)
	set(&c.FullScope, false)
	set(&c.TokenExchange, k.tokenExchange)
	if c.Name == "" {
		c.Name = c.ClientID
	}
	if c.Authentication == "" {
		c.Authentication = "secret"
	}
	if (c.Key || c.Kind == "exchange") && c.OptionalScopes == nil {
		c.OptionalScopes = &[]string{} // offline_access would give it tokens that outlast its secret
	}
	if c.AccessTokenType == "" {
		c.AccessTokenType = "JWT"
	}
	c.Mappers = slices.Clone(c.Mappers)
	for i := range c.Mappers {
		switch m := &c.Mappers[i]; m.Type {
		case "realmRoles":
			m.Claim = cmp.Or(m.Claim, "realm_access.roles")
		case "groups":
			m.Claim = cmp.Or(m.Claim, "groups")
		}
	}
	if c.RedirectURIs == nil && *c.StandardFlow {
		c.RedirectURIs = k.redirectURIs
	}
	if c.PostLogoutRedirectURIs == nil && *c.StandardFlow {
		c.PostLogoutRedirectURIs = []string{"+"}
	}
	return c
}
