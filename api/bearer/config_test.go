package bearer_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
)

// TestConfig: a wrong configuration names every mistake at once.
func TestConfig(t *testing.T) {
	_, err := bearer.New(t.Context(), bearer.Config{
		Issuers:   []bearer.Issuer{{URL: "id.example"}, {URL: "https://id.example/#a"}, {URL: "https://id.example", InternalURL: "ftp://x"}, {URL: "https://id.example"}},
		Claims:    bearer.ClaimPaths{RealmRoles: "a..b", ClientRoles: "resource_access.roles", Username: "${client_id}"},
		Skew:      time.Second,
		KeyMaxAge: time.Millisecond,
		PublicURL: "api.example",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"Issuers[0].URL", "Issuers[1].URL", "Issuers[2].InternalURL", `"https://id.example" is listed twice`, "Audience",
		"Claims.RealmRoles", "Claims.ClientRoles", "Claims.Username", "Skew is 1s", "KeyMaxAge is 1ms", "PublicURL",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error doesn't name %s:\n%v", want, err)
		}
	}
}

// TestPrincipal: everything that a policy may ask for, from where it stands.
func TestPrincipal(t *testing.T) {
	issuer := newIssuer()
	now := time.Unix(time.Now().Unix(), 0)
	issuer.Now = func() time.Time { return now }
	token := issuer.Token("RS256", oidctest.Claims{
		"resource_access": map[string]any{"my.dotted.client": map[string]any{"roles": []string{"a", "b"}}},
		"groups":          []string{"/ml/users"},
		"loa_map":         `{"1":1795612220,"2":1795612214}`, // as Keycloak 26.7.3 writes it
	})
	p, err := newVerifier(t, issuer, nil).Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	want := &bearer.Principal{
		Issuer: issuer.URL, Subject: "6b0c2a7e-3f0d-4d5b-9c1a-8f2e4d6a7b90", Username: "ml-api-user", ClientID: "my-api-client",
		RealmRoles:  []string{"model-api-access", "offline_access", "default-roles-example-realm", "uma_authorization"},
		ClientRoles: map[string][]string{"my.dotted.client": {"a", "b"}},
		Groups:      []string{"/ml/users"},
		Scopes:      []string{"openid", "profile", "email", "model-api"},
		SessionID:   "yN3bqkT0a8rD5sWm2xQvJ7Lc", TokenID: "onrtac:0d4fd4b5-4d7c-4e1c-8a3e-5f4c0f6f2c9b",
		IssuedAt: now, Expiry: now.Add(300 * time.Second),
		AuthTime: now.Add(-5 * time.Second),
		SignIn:   &bearer.SignIn{ACR: "1", Levels: map[string]time.Time{"1": time.Unix(1795612220, 0), "2": time.Unix(1795612214, 0)}},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("principal %+v\nwant      %+v", p, want)
	}
	if !p.HasRealmRole("model-api-access") || p.HasRealmRole("a") {
		t.Error("roles are found wrongly")
	}
}

// TestClaimPaths: another provider's places, a name with a dot among them.
func TestClaimPaths(t *testing.T) {
	issuer := newIssuer()
	v := newVerifier(t, issuer, func(c *bearer.Config) {
		c.Claims = bearer.ClaimPaths{RealmRoles: `https://example\.com/roles`, ClientRoles: "apps.${client_id}", Groups: "realm_access.groups", Username: "sub"}
	})
	p, err := v.Verify(t.Context(), issuer.Token("RS256", oidctest.Claims{
		"https://example.com/roles": []string{"r"}, "apps": map[string]any{"x.y": []string{"c"}}, "realm_access": map[string]any{"groups": []string{"g"}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if !p.HasRealmRole("r") || !slices.Equal(p.ClientRoles["x.y"], []string{"c"}) || len(p.Groups) != 1 || p.Username != p.Subject {
		t.Errorf("principal %+v", p)
	}
}

// TestIssuersApart: two issuers may use one key id; each has its own keys.
func TestIssuersApart(t *testing.T) {
	one, two := newIssuer(), oidctest.New("https://id.example/realms/other-realm")
	both := oidctest.Client(one, two)
	v := newVerifier(t, one, func(c *bearer.Config) {
		c.Issuers = append(c.Issuers, bearer.Issuer{URL: two.URL})
		c.HTTPClient = both
	})
	for _, issuer := range []*oidctest.Issuer{one, two} {
		if p, err := v.Verify(t.Context(), issuer.Token("RS256")); err != nil || p.Issuer != issuer.URL {
			t.Errorf("%s: %v", issuer.URL, err)
		}
	}
	forged := oidctest.Sign(two.Key("RS256"), oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": one.Key("RS256").ID}, one.Claims())
	p, err := v.Verify(t.Context(), forged)
	wantCode(t, p, err, bearer.SignatureInvalid) // RFC 8725, section 3.8
}

// TestKeySetForIDTokens: go-oidc's verifiers may use our key set.
func TestKeySetForIDTokens(t *testing.T) {
	issuer := newIssuer()
	v := newVerifier(t, issuer, nil)
	keys := v.KeySet(issuer.URL)
	token := issuer.Token("RS256", oidctest.Claims{"typ": "ID"})
	if payload, err := keys.VerifySignature(t.Context(), token); err != nil || !strings.Contains(string(payload), `"typ":"ID"`) {
		t.Errorf("payload %s, error %v", payload, err)
	}
	if _, err := keys.VerifySignature(t.Context(), flip(token, 1)); code(err) != bearer.SignatureInvalid {
		t.Errorf("tampered: %v", err)
	}
	if v.KeySet("https://other.example") != nil {
		t.Error("keys of an issuer that nobody configured")
	}
}
