package login

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"keycloak-model-api/api/issuer"
	"keycloak-model-api/api/refusal"
)

// askTimeout bounds each request to the issuer.
const askTimeout = 10 * time.Second

// provider is the issuer as its metadata describe it.
type provider struct {
	oauth      oauth2.Config
	endSession string // end_session_endpoint; empty where there is none
	sendsIss   bool   // answers carry `iss` (RFC 9207)
}

// discovery reads the metadata when they are first needed, since the issuer
// may start after this API, and again until it succeeds.
type discovery struct {
	issuer *issuer.Issuer
	client oauth2.Config // without the endpoints

	found  atomic.Pointer[provider]
	flight singleflight.Group // one request for all who wait
}

// get returns the provider. The error is a *refusal.Error.
func (d *discovery) get(ctx context.Context) (*provider, error) {
	if p := d.found.Load(); p != nil {
		return p, nil
	}
	p, err, _ := d.flight.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		p, err := d.discover(ctx)
		if err == nil {
			d.found.Store(p)
		}
		return p, err
	})
	if err != nil {
		return nil, err
	}
	return p.(*provider), nil
}

func (d *discovery) discover(ctx context.Context) (*provider, error) {
	metadata, err := d.issuer.Metadata(ctx)
	if unfit := (*issuer.UnfitError)(nil); errors.As(err, &unfit) {
		return nil, refusal.New(refusal.IssuerUnfit, err)
	} else if err != nil {
		return nil, refusal.New(refusal.IssuerUnavailable, err)
	}
	p, err := d.provider(metadata)
	if err != nil {
		d.issuer.Forget()
		return nil, refusal.New(refusal.IssuerUnfit, err)
	}
	return p, nil
}

// provider takes what the sign-in needs out of the metadata.
func (d *discovery) provider(metadata *issuer.Metadata) (*provider, error) {
	switch {
	// An issuer that ignores the challenge would leave the code unprotected
	// (RFC 9700, section 2.1.1).
	case !slices.Contains(metadata.ChallengeMethods, "S256"):
		return nil, errors.New("login: code_challenge_methods_supported lacks S256")
	case metadata.Authorization == "" || metadata.Token == "":
		return nil, errors.New("login: the issuer has no authorization_endpoint or no token_endpoint")
	}
	p := &provider{oauth: d.client, endSession: metadata.EndSession, sendsIss: metadata.SendsIssuer}
	// The browser uses the endpoints as they are. This API reaches the token
	// endpoint where it reaches the metadata.
	p.oauth.Endpoint = oauth2.Endpoint{
		AuthURL: metadata.Authorization, TokenURL: d.issuer.Internal(metadata.Token), AuthStyle: oauth2.AuthStyleInHeader,
	}
	return p, nil
}
