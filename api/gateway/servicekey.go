package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/servicekey"
	"keycloak-model-api/policy"
)

// keyExchange returns what takes service keys.
func (g *Gateway) keyExchange() *servicekey.Exchange {
	o := g.options
	return servicekey.New(servicekey.Config{
		Issuer: o.Outputs.Issuer, InternalURL: o.IssuerInternalURL, Verify: g.verifier.Verify,
		Keyed:      func(id string) bool { return g.access.Load().keyed[id] },
		HTTPClient: o.HTTPClient, Logger: o.Logger,
	})
}

// byServiceKey authenticates by a service key, in the header Authorization or in
// one of keyHeaders.
func (g *Gateway) byServiceKey(r *http.Request) (*credential, error) {
	text, err := g.serviceKeyIn(r)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, refusal.New(refusal.NoCredential, nil)
	}
	key, err := servicekey.Parse(text)
	if err != nil {
		return nil, err
	}
	record := recordOf(r)
	record.key = "/" + key.Fingerprint()
	if g.access.Load().keyed[key.ClientID] {
		record.key = key.ClientID + record.key
	}
	grant, err := g.keys.Redeem(r.Context(), key)
	if err != nil {
		return nil, err
	}
	return g.ofServiceKey(key, grant), nil
}

// serviceKeyIn returns the service key in r; empty for none.
func (g *Gateway) serviceKeyIn(r *http.Request) (string, error) {
	if values := r.Header["Authorization"]; len(values) > 0 && strings.Contains(values[0], policy.ServiceKeyPrefix) {
		scheme, text, err := g.verifier.Credential(r)
		if err != nil || scheme == bearer.Bearer && servicekey.Is(text) {
			return text, err
		}
	}
	text, err := keyHeader(r)
	if !servicekey.Is(text) {
		text = ""
	}
	return text, err
}

// ofServiceKey is the credential of who has sent a service key.
func (g *Gateway) ofServiceKey(key *servicekey.Key, grant *servicekey.Grant) *credential {
	c := &credential{
		principal: grant.Principal, use: func() error { return nil }, token: func() string { return grant.Token },
		introspect: func(ctx context.Context) (*bearer.Principal, error) {
			return g.verifier.IntrospectToken(ctx, grant.Token)
		},
	}
	// An answer goes on while the issuer can't be asked, as long as it would with
	// the access token.
	c.again = func(ctx context.Context) (*credential, error) {
		renewed, err := g.keys.Redeem(ctx, key)
		var refused *refusal.Error
		switch {
		case err == nil:
			return g.ofServiceKey(key, renewed), nil
		case errors.As(err, &refused) && refused.Retry():
			return g.tokenAgain(c)
		}
		return nil, err
	}
	return c
}
