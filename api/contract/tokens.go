package contract

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4/jwt"

	"keycloak-model-api/api/issuer"
	"keycloak-model-api/policy"
)

// Client is a confidential client whose service account may call the resource.
// Without an ID there is none.
type Client struct{ ID, Secret string }

// Ask gets from the stack's issuer what forgeries are made from: its keys, a good
// token of the client, and one of the resource server itself. internalURL is the
// issuer as this computer reaches it; empty for its own URL.
func (t *Target) Ask(ctx context.Context, stack *policy.Outputs, internalURL string, good Client) error {
	i := issuer.New(issuer.Config{URL: stack.Issuer, InternalURL: internalURL}, nil, t.Timeout)
	metadata, err := i.Metadata(ctx)
	if err != nil {
		return fmt.Errorf("contract: %w", err)
	}
	answer, err := i.Get(ctx, metadata.JWKS)
	if err == nil {
		err = issuer.Decode(answer.Body, &t.Keys)
	}
	if err != nil {
		return fmt.Errorf("contract: keys: %w", err)
	}
	// With openid Keycloak adds an ID token.
	if good.ID != "" {
		got, err := i.Grant(ctx, metadata.Token, good.ID, good.Secret, "openid")
		if err != nil {
			return fmt.Errorf("contract: client %s gets no token: %w", good.ID, err)
		}
		t.Token, t.IDToken = got.AccessToken, got.IDToken
	}
	if stack.ClientSecret != "" {
		t.ClientSecret = stack.ClientSecret
		// The resource server's own token is for others, as a rule.
		got, err := i.Grant(ctx, metadata.Token, stack.ClientID, stack.ClientSecret)
		if err == nil && !hasAudience(got.AccessToken, stack.Audience) {
			t.OtherAudience = got.AccessToken
		}
	}
	return nil
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
