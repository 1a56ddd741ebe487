package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	suite "keycloak-model-api/api/contract"
	"keycloak-model-api/api/issuer"
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
	m, err := newMint(ctx, issuer.Config{URL: stack.Issuer, InternalURL: *internal}, target.Timeout)
	if err != nil {
		return err
	}
	if target.Keys, err = m.keys(ctx); err != nil {
		return err
	}
	if *clientID != "" {
		good, err := m.tokens(ctx, *clientID, secret)
		if err != nil {
			return err
		}
		target.Token, target.IDToken = good.AccessToken, good.IDToken
	}
	if stack.ClientSecret != "" {
		target.ClientSecret = stack.ClientSecret
		// The resource server's own token is for others, as a rule.
		if other, err := m.tokens(ctx, stack.ClientID, stack.ClientSecret); err == nil && !hasAudience(other.AccessToken, stack.Audience) {
			target.OtherAudience = other.AccessToken
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
	issuer   *issuer.Issuer
	metadata *issuer.Metadata
}

func newMint(ctx context.Context, c issuer.Config, timeout time.Duration) (*mint, error) {
	m := &mint{issuer: issuer.New(c, nil, timeout)}
	var err error
	if m.metadata, err = m.issuer.Metadata(ctx); err != nil {
		return nil, fmt.Errorf("api: contract: %w", err)
	}
	return m, nil
}

func (m *mint) keys(ctx context.Context) (set jose.JSONWebKeySet, err error) {
	answer, err := m.issuer.Get(ctx, m.metadata.JWKS)
	if err == nil {
		err = issuer.Decode(answer.Body, &set)
	}
	if err != nil {
		return set, fmt.Errorf("api: contract: keys: %w", err)
	}
	return set, nil
}

// tokens gets a client's own access token, and the ID token that Keycloak adds
// for the scope openid.
func (m *mint) tokens(ctx context.Context, id, secret string) (*issuer.Grant, error) {
	got, err := m.issuer.Grant(ctx, m.metadata.Token, id, secret, "openid")
	if err != nil {
		return nil, fmt.Errorf("api: contract: client %s gets no token: %w", id, err)
	}
	return got, nil
}

// hasAudience reads a token that was just issued to us. One that can't be read
// counts as one that has it.
func hasAudience(token, audience string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return true
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Audience jwt.Audience `json:"aud"`
	}
	if err == nil {
		err = issuer.Decode(payload, &claims)
	}
	return err != nil || slices.Contains(claims.Audience, audience)
}
