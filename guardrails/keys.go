package guardrails

import (
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// serviceKey returns the violations of a client that has a service key by the
// policy. Whoever reads the key can use its secret at Keycloak as well.
func (c *Checker) serviceKey(typ, name string, inputs resource.PropertyMap) (found []Violation) {
	in := &reader{root: resource.NewProperty(inputs)}
	if typ != openIDClient || !c.keyed(in.text("clientId")) {
		return nil
	}
	if more := beyondKey(in); more != nil {
		sentence := "has a service key, and then must not have " + strings.Join(more, ", ") + ": use another client for that"
		found = append(found, c.allow(keyAlone, Violation{Rule: keyAlone.Name, Type: typ, Resource: name, Sentence: sentence}))
	}
	if c.options.NoServiceKeys {
		found = append(found, c.allow(noServiceKey, Violation{Rule: NoServiceKey, Type: typ, Resource: name,
			Sentence: "has a service key, a secret that never expires: let it get tokens by private_key_jwt, or add an exemption"}))
	}
	return found
}

func (c *Checker) keyed(clientID string) bool {
	p := c.options.Policy
	if p == nil {
		return false
	}
	for _, client := range p.Clients {
		if client.ClientID == clientID {
			return client.Key
		}
	}
	return false
}

// beyondKey are the inputs of a client by which it can do more than call the API
// for itself.
func beyondKey(in *reader) (more []string) {
	for _, flow := range []string{
		"standardFlowEnabled", "implicitFlowEnabled", "directAccessGrantsEnabled", "oauth2DeviceAuthorizationGrantEnabled", "fullScopeAllowed",
	} {
		if in.boolean(flow) {
			more = append(more, flow)
		}
	}
	// In the provider full scope is on unless something is said.
	if !in.has("fullScopeAllowed") && !in.unknown {
		more = append(more, "fullScopeAllowed")
	}
	for _, attribute := range []string{
		"standard.token.exchange.enabled", "dpop.bound.access.tokens", "client.use.lightweight.access.token.enabled", "oauth2.jwt.authorization.grant.enabled",
		"client_credentials.use_refresh_token", "oidc.ciba.grant.enabled",
	} {
		if in.boolean("extraConfig", attribute) {
			more = append(more, attribute)
		}
	}
	if a := in.text("accessType"); a != "" && a != "CONFIDENTIAL" {
		more = append(more, "accessType "+a)
	}
	if a := in.text("clientAuthenticatorType"); a != "" && a != "client-secret" {
		more = append(more, "clientAuthenticatorType "+a)
	}
	slices.Sort(more)
	return more
}
