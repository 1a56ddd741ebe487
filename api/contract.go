package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	suite "keycloak-model-api/api/contract"
)

const contractUsage = `Usage: go run ./api contract -url URL -client-id ID [flags]

Tries attacks on a running resource server, this API or another gateway, and
prints what each got: one request a case, none of them with a key of the
issuer. The good token that the forgeries are made from is that of a client of
the realm (its secret in the environment variable CONTRACT_CLIENT_SECRET), or
the one in -token-file. Exit status: 0 all passed, 1 a case failed or none
could be tried, 2 wrong usage.

`

// runContract is the subcommand contract.
func runContract(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("contract", flag.ContinueOnError)
	target := suite.Target{}
	flags.StringVar(&target.URL, "url", "", "URL of a protected resource, such as http://127.0.0.1:8000/v2.")
	flags.StringVar(&target.Method, "method", "GET", "Method of the requests.")
	flags.StringVar(&target.Body, "body", "", "Body of the requests.")
	flags.StringVar(&target.ContentType, "content-type", "application/json", "Media type of -body.")
	flags.DurationVar(&target.Timeout, "timeout", 10*time.Second, "Longest time for one request.")
	stackFile := flags.String("stack", ".dev/stack.json", "File with the stack's outputs: issuer, audience, and the resource server's client.")
	internal := flags.String("issuer-internal-url", "", "URL of the issuer as this computer reaches it.")
	clientID := flags.String("client-id", "", "Confidential client whose service account may call the resource.")
	tokenFile := flags.String("token-file", "", "File with a good access token, instead of -client-id; - is standard input.")
	if done, err := parseFlags(flags, args, contractUsage, stdout); done || err != nil {
		return err
	}
	secret := getenv("CONTRACT_CLIENT_SECRET")
	switch {
	case flags.NArg() > 0:
		return &usageError{errors.New("api: contract: it takes flags only: see go run ./api contract -h")}
	case target.URL == "":
		return &usageError{errors.New("api: contract: -url is missing: give the URL of a protected resource")}
	case !strings.HasPrefix(target.URL, "http://") && !strings.HasPrefix(target.URL, "https://"):
		return &usageError{fmt.Errorf("api: contract: -url: %q is not a URL such as http://127.0.0.1:8000/v2", target.URL)}
	case target.Timeout <= 0:
		return &usageError{fmt.Errorf("api: contract: -timeout: %v is not a time to wait: use one such as 10s", target.Timeout)}
	case (*clientID == "") == (*tokenFile == ""):
		return &usageError{errors.New("api: contract: give either -client-id or -token-file")}
	case *clientID != "" && secret == "":
		return &usageError{fmt.Errorf("api: contract: set CONTRACT_CLIENT_SECRET to the secret of client %s", *clientID)}
	}
	stack, err := readStack(*stackFile)
	if err := errors.Join(err, checkInternalURL(*internal)); err != nil {
		return &usageError{err}
	}
	if *tokenFile != "" {
		if target.Token, err = readToken(*tokenFile, stdin); err != nil {
			return &usageError{err}
		}
	}
	m, err := newMint(ctx, stack.Issuer, *internal, target.Timeout)
	if err != nil {
		return err
	}
	if target.Keys, err = m.keys(ctx); err != nil {
		return err
	}
	if *clientID != "" {
		if target.Token, target.IDToken, err = m.tokens(ctx, *clientID, secret); err != nil {
			return err
		}
	}
	if stack.ClientSecret != "" {
		target.ClientSecret = stack.ClientSecret
		// The resource server's own token is for others, as a rule.
		if other, _, err := m.tokens(ctx, stack.ClientID, stack.ClientSecret); err == nil && !hasAudience(other, stack.Audience) {
			target.OtherAudience = other
		}
	}
	results, err := suite.Run(ctx, target)
	if passed := suite.Print(stdout, results); err == nil && !passed {
		err = errors.New("api: contract: not all cases passed")
	}
	return err
}

// mint gets tokens and keys from an issuer.
type mint struct {
	client   *http.Client
	tokenURL string
	keysURL  string
}

func newMint(ctx context.Context, issuer, internal string, timeout time.Duration) (*mint, error) {
	m := &mint{client: &http.Client{Timeout: timeout}}
	ctx = oidc.ClientContext(ctx, m.client)
	address := issuer
	if internal != "" {
		address = strings.TrimSuffix(internal, "/")
		ctx = oidc.InsecureIssuerURLContext(ctx, issuer)
	}
	provider, err := oidc.NewProvider(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("api: contract: issuer: %w", err)
	}
	var metadata struct {
		JWKSURI string `json:"jwks_uri"`
	}
	if err := provider.Claims(&metadata); err != nil {
		return nil, fmt.Errorf("api: contract: issuer: %w", err)
	}
	m.tokenURL = strings.Replace(provider.Endpoint().TokenURL, issuer, address, 1)
	m.keysURL = strings.Replace(metadata.JWKSURI, issuer, address, 1)
	return m, nil
}

func (m *mint) keys(ctx context.Context) (set jose.JSONWebKeySet, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.keysURL, nil)
	if err != nil {
		return set, fmt.Errorf("api: contract: keys: %w", err)
	}
	response, err := m.client.Do(r)
	if err != nil {
		return set, fmt.Errorf("api: contract: keys: %w", err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&set); err != nil {
		return set, fmt.Errorf("api: contract: keys: %w", err)
	}
	return set, nil
}

// tokens returns a client's own access token, and the ID token that Keycloak
// adds for the scope openid.
func (m *mint) tokens(ctx context.Context, id, secret string) (access, idToken string, err error) {
	grant := clientcredentials.Config{ClientID: id, ClientSecret: secret, TokenURL: m.tokenURL, Scopes: []string{"openid"}, AuthStyle: oauth2.AuthStyleInHeader}
	token, err := grant.Token(context.WithValue(ctx, oauth2.HTTPClient, m.client))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) {
			return "", "", fmt.Errorf("api: contract: client %s gets no token: %s", id, refused.ErrorCode)
		}
		return "", "", fmt.Errorf("api: contract: client %s gets no token: %w", id, err)
	}
	idToken, _ = token.Extra("id_token").(string)
	return token.AccessToken, idToken, nil
}

// hasAudience reads a token that was just issued to us.
func hasAudience(token, audience string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return true
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return true
	}
	var claims struct {
		Audience json.RawMessage `json:"aud"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return true
	}
	var one string
	var several []string
	if json.Unmarshal(claims.Audience, &one) == nil {
		several = []string{one}
	} else if json.Unmarshal(claims.Audience, &several) != nil {
		return false
	}
	return slices.Contains(several, audience)
}
