package config

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"keycloak-model-api/guardrails"
	"keycloak-model-api/policy"
)

// serviceKey checks a client that has a service key. Whoever reads the key has its
// secret, and can use that at Keycloak as well: so the client can do nothing else.
func (c *checker) serviceKey(cl *Client, path string) {
	if !cl.Key {
		return
	}
	if cl.Kind != "service" {
		c.errorf(path+".key", "a client of kind %s can't have a service key: use kind service", cl.Kind)
		return
	}
	for _, beyond := range []struct {
		key string
		set bool
	}{
		{"standardFlow", *cl.StandardFlow}, {"directAccessGrants", *cl.DirectAccessGrants}, {"deviceGrant", *cl.DeviceGrant},
		{"fullScope", *cl.FullScope}, {"tokenExchange", *cl.TokenExchange}, {"authentication", cl.Authentication != "secret"},
		{"dpop", cl.DPoP}, {"lightweight", cl.Lightweight}, {"clientRoles", len(cl.ClientRoles) > 0},
		{"serviceAccountClientRoles", len(cl.ServiceAccountClientRoles) > 0},
		{"defaultScopes", slices.Contains(cl.DefaultScopes, "offline_access")},
		{"optionalScopes", cl.OptionalScopes != nil && slices.Contains(*cl.OptionalScopes, "offline_access")},
		{"mappers", slices.ContainsFunc(cl.Mappers, func(m Mapper) bool { return m.Type == "audience" })},
	} {
		if beyond.set {
			c.errorf(path+"."+beyond.key, "client %s has a service key, so it can do nothing but call this API: leave it out, or use another client", cl.ClientID)
		}
	}
	if !*cl.ServiceAccount {
		c.errorf(path+".serviceAccount", "client %s has a service key, for which it needs a service account: leave it out", cl.ClientID)
	}
	c.keyInAudience(cl)
	c.keySecret(cl)
	if c.cfg.Level().RefuseServiceKey {
		c.refuseUnlessExempt(cl.ClientID, guardrails.NoServiceKey, path+".key",
			"hardening %s refuses service keys, which never expire: let client %s get tokens by private_key_jwt, or add an exemption from %s",
			c.cfg.Hardening, cl.ClientID, guardrails.NoServiceKey)
	}
}

// keyInAudience refuses tokens that name the client in their audience: it could
// introspect them at Keycloak, and exchange them.
func (c *checker) keyInAudience(keyed *Client) {
	for i := range c.cfg.Clients {
		for j, m := range c.cfg.Clients[i].Mappers {
			if m.Type == "audience" && m.Value == keyed.ClientID {
				c.errorf(fmt.Sprintf("clients[%d].mappers[%d].value", i, j), "client %s has a service key, whose reader could introspect such tokens: name another audience", keyed.ClientID)
			}
		}
	}
}

// keySecret checks that nobody can guess the secret, since Keycloak does not slow
// down who tries (keycloak#30077).
func (c *checker) keySecret(cl *Client) {
	secret, at := c.cfg.ClientSecrets[cl.ClientID], fmt.Sprintf("clientSecrets[%q]", cl.ClientID)
	if secret == "" || cl.Authentication != "secret" {
		return // which authentication reports
	}
	if !looksRandom(secret) {
		c.errorf(at, "client %s has a service key, so its secret must be 256 random bits: make it by openssl rand -hex 32", cl.ClientID)
	}
	if _, err := policy.NewServiceKey(cl.ClientID, secret); err != nil {
		c.errorf(at, "can't stand in a service key: %s", strings.TrimPrefix(err.Error(), "policy: "))
	}
}

// looksRandom says whether a secret has room for 256 random bits in the characters
// that it uses, of which no few stand for all of it.
func looksRandom(secret string) bool {
	const hex, letters, base64 = "0123456789abcdef", 62, 64
	different := map[rune]bool{}
	alphabet := letters
	for _, r := range secret {
		different[r] = true
		if strings.ContainsRune("-_+/", r) {
			alphabet = base64
		}
	}
	if strings.Trim(strings.ToLower(secret), hex) == "" {
		alphabet = len(hex)
	}
	return len(different) >= 12 && float64(len(secret))*math.Log2(float64(alphabet)) >= 256
}
