package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

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
	issuer, internalURL string
	client              oauth2.Config // without the endpoints
	http                *http.Client

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
	// The document is fetched from the internal URL and must name the public
	// issuer, which is checked below since go-oidc then doesn't.
	found, err := oidc.NewProvider(oidc.InsecureIssuerURLContext(oidc.ClientContext(ctx, d.http), d.issuer), d.internalURL)
	if err != nil {
		return nil, refusal.New(refusal.IssuerUnavailable, errors.New("metadata not read from "+d.internalURL))
	}
	var metadata struct {
		Issuer           string   `json:"issuer"`
		EndSession       string   `json:"end_session_endpoint"`
		SendsIss         bool     `json:"authorization_response_iss_parameter_supported"`
		ChallengeMethods []string `json:"code_challenge_methods_supported"`
	}
	if err := found.Claims(&metadata); err != nil {
		return nil, refusal.New(refusal.IssuerUnfit, err)
	}
	if metadata.Issuer != d.issuer {
		return nil, refusal.New(refusal.IssuerUnfit, fmt.Errorf("the metadata are of issuer %.200q, want %q", metadata.Issuer, d.issuer))
	}
	// An issuer that ignores the challenge would leave the code unprotected
	// (RFC 9700, section 2.1.1).
	if !slices.Contains(metadata.ChallengeMethods, "S256") {
		return nil, refusal.New(refusal.IssuerUnfit, errors.New("code_challenge_methods_supported lacks S256"))
	}
	p := &provider{oauth: d.client, endSession: metadata.EndSession, sendsIss: metadata.SendsIss}
	p.oauth.Endpoint = found.Endpoint()
	p.oauth.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	// The browser uses the endpoints as they are. This API reaches the token
	// endpoint where it reaches the metadata.
	if rest, ok := strings.CutPrefix(p.oauth.Endpoint.TokenURL, d.issuer+"/"); ok {
		p.oauth.Endpoint.TokenURL = strings.TrimSuffix(d.internalURL, "/") + "/" + rest
	}
	for _, endpoint := range []string{p.oauth.Endpoint.AuthURL, p.oauth.Endpoint.TokenURL} {
		if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return nil, refusal.New(refusal.IssuerUnfit, fmt.Errorf("endpoint %.200q is not an http or https URL", endpoint))
		}
	}
	return p, nil
}
