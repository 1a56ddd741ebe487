package gateway

import (
	"context"
	"errors"

	"keycloak-model-api/api/exchange"
	"keycloak-model-api/api/refusal"
)

// tokenExchange returns what gets tokens for model servers; nil where the outputs
// name no client for that.
func (g *Gateway) tokenExchange() *exchange.Exchange {
	o := g.options
	if o.Outputs.ExchangeClientID == "" {
		return nil
	}
	return exchange.New(exchange.Config{
		Issuer: o.Outputs.Issuer, InternalURL: o.IssuerInternalURL,
		ClientID: o.Outputs.ExchangeClientID, ClientSecret: o.Outputs.ExchangeClientSecret,
		Keys: g.verifier.KeySet(o.Outputs.Issuer), Revoked: g.verifier.Revoked, HTTPClient: o.HTTPClient, Logger: o.Logger,
	})
}

// tokenFor returns the access token that c's model server gets in the name of who
// calls; empty where it gets none. The error is a *refusal.Error.
func (g *Gateway) tokenFor(ctx context.Context, c *call) (string, error) {
	switch {
	case c.model == nil || c.model.audience == "" || c.route.Local:
		return "", nil
	case c.credential.dpop:
		return "", refusal.New(refusal.ExchangeBound, nil)
	case g.exchange == nil:
		return "", refusal.New(refusal.ExchangeRefused, errors.New("gateway: the outputs that the API began with name no client for it: start the API again"))
	}
	return g.exchange.Token(ctx, c.principal, c.credential.token(), c.model.audience)
}
