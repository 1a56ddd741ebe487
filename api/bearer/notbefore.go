package bearer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// setNotBefore refuses the issuer's tokens whose `iat` is before a second
// (Unix), as Keycloak itself does. A time in the future, beyond the skew, counts
// as now, so that a mistaken one stops nobody once the administrator has taken
// it back.
func (v *Verifier) setNotBefore(known *issuer, notBefore int64) {
	if notBefore <= 0 {
		return
	}
	upTo, now := notBefore-1, v.clock.Now()
	if upTo > now.Unix()+v.skew() {
		upTo = now.Unix()
	}
	known.denied.add(denied{kind: wholeIssuer}, mark{upTo: upTo, at: now}, now)
}

// followNotBefore asks an issuer for its not-before until ctx ends. Pushes get
// lost; this bounds the time for which that goes unnoticed.
func (v *Verifier) followNotBefore(ctx context.Context, known *issuer) {
	last := int64(0)
	for {
		wait := v.config.NotBeforeInterval
		notBefore, err := known.notBefore(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			// What was known stays in force.
			wait = min(wait, maxRetryDelay)
			v.config.Logger.Warn("not-before could not be asked for", "issuer", known.URL, "err", err)
		default:
			v.setNotBefore(known, notBefore)
			if notBefore != last {
				last = notBefore
				v.config.Logger.Info("not-before of the issuer", "issuer", known.URL, "notBefore", unix(notBefore).UTC().Format(time.RFC3339))
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// notBefore returns what a token answer says of it: the latest of the realm's,
// this client's and its service account's, or 0. The token itself is dropped.
func (i *issuer) notBefore(ctx context.Context) (int64, error) {
	at, err := i.keys.endpoints(ctx)
	if err != nil {
		return 0, err
	}
	grant := clientcredentials.Config{
		ClientID: i.ClientID, ClientSecret: i.ClientSecret, TokenURL: at.Token, AuthStyle: oauth2.AuthStyleInHeader,
	}
	answer, err := grant.Token(context.WithValue(ctx, oauth2.HTTPClient, i.keys.client))
	if err != nil {
		// The error's own text has the whole answer in it.
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) {
			return 0, fmt.Errorf("bearer: token endpoint answered %s: %s", refused.Response.Status, refused.ErrorCode)
		}
		return 0, fmt.Errorf("bearer: token endpoint: %w", err)
	}
	seconds, ok := answer.Extra("not-before-policy").(float64)
	if !ok {
		return 0, errors.New("bearer: the token answer has no not-before-policy: is the issuer a Keycloak?")
	}
	return int64(seconds), nil
}

// endpoints are where an issuer can be asked something as a client.
type endpoints struct {
	Token         string `json:"token_endpoint"`
	Introspection string `json:"introspection_endpoint"`
}

// endpoints reads them from the issuer's metadata.
func (s *keySet) endpoints(ctx context.Context) (endpoints, error) {
	var e endpoints
	body, err := s.get(ctx, strings.TrimSuffix(s.issuer.InternalURL, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return e, err
	}
	if _, err := parseDiscovery(body, s.issuer.URL); err != nil {
		return e, err
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return e, fmt.Errorf("bearer: discovery: %w", err)
	}
	e.Token, e.Introspection = s.internal(e.Token), s.internal(e.Introspection)
	return e, nil
}

// basic sets client_secret_basic (RFC 6749, section 2.3.1).
func (i *issuer) basic(r *http.Request) {
	r.SetBasicAuth(url.QueryEscape(i.ClientID), url.QueryEscape(i.ClientSecret))
}
