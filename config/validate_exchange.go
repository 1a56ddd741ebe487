package config

import "slices"

// identity checks how a model server learns who calls.
func (c *checker) identity(path string, u *Upstream) {
	exchange := u.Identity == "exchange"
	switch {
	case !exchange && u.Audience != "":
		c.errorf(path+".audience", "is for identity exchange: set that too, or leave it out")
	case exchange && u.Audience == "":
		c.errorf(path+".audience", "is missing: name the client of kind resource that the server is")
	case exchange && !slices.ContainsFunc(c.cfg.Clients, func(cl Client) bool { return cl.ClientID == u.Audience && cl.Kind == "resource" }):
		c.errorf(path+".audience", "there is no client %q of kind resource: add it to clients", u.Audience)
	}
	if exchange && c.cfg.Exchange() == nil {
		c.errorf(path+".identity", "needs a client by which the API exchanges tokens: add one of kind exchange to clients")
	}
	if exchange && u.Credential != "" && u.CredentialHeader == "" {
		c.errorf(path+".credential", "would stand in Authorization, where the exchanged token goes: set credentialHeader, or leave it out")
	}
}

// exchangeClient checks the client that exchanges tokens, and those that are in their
// audience. It signs nobody in, and its tokens are for model servers alone.
func (c *checker) exchangeClient(cl *Client, path string) {
	if cl.Kind != "exchange" && cl.Kind != "resource" {
		return
	}
	if first := c.cfg.Exchange(); cl.Kind == "exchange" && first.ClientID != cl.ClientID {
		c.errorf(path+".kind", "client %s exchanges tokens already: declare one of kind exchange", first.ClientID)
	}
	if cl.Kind == "exchange" && !*cl.TokenExchange {
		c.errorf(path+".tokenExchange", "a client of kind exchange is for that: leave it out")
	}
	for _, beyond := range []struct {
		key string
		set bool
	}{
		{"standardFlow", *cl.StandardFlow}, {"directAccessGrants", *cl.DirectAccessGrants}, {"deviceGrant", *cl.DeviceGrant},
		{"serviceAccount", *cl.ServiceAccount}, {"fullScope", *cl.FullScope}, {"dpop", cl.DPoP}, {"lightweight", cl.Lightweight},
		{"roles", len(cl.Roles) > 0}, {"defaultScopes", len(cl.DefaultScopes) > 0}, {"mappers", cl.Kind == "exchange" && len(cl.Mappers) > 0},
		{"authentication", cl.Kind == "exchange" && cl.Authentication != "secret"}, {"tokenExchange", cl.Kind == "resource" && *cl.TokenExchange},
		{"optionalScopes", cl.Kind == "exchange" && cl.OptionalScopes != nil && len(*cl.OptionalScopes) > 0},
	} {
		if beyond.set {
			c.errorf(path+"."+beyond.key, "a client of kind %s must not have it: leave it out, or use another client", cl.Kind)
		}
	}
}
