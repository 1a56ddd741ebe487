package e2e

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/internal/render"
)

// keyAge is what the API of TestKeyRotation takes as the age of its keys.
const keyAge = 2 * time.Second

// TestKeyRotation changes the realm's signing key while requests run, as
// docs/keys.md tells: the new key is published passive, becomes active after
// the API's key age, the old one goes passive and at last away. No valid token
// is refused at any time, and the old key's tokens stop with the key.
func TestKeyRotation(t *testing.T) {
	st := e.up(t, strings.Replace(e.devConfig(t), "realm: example-realm", "realm: rotating", 1), devSecrets())
	a := e.startAPI(t, st, "-key-max-age", keyAge.String())
	login := st.clientCredentials("my-api-client")
	old := st.token(t, login).AccessToken

	stop := make(chan struct{})
	refused := make(chan string, 1)
	var load sync.WaitGroup
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, token := range []string{old, st.token(t, login).AccessToken} {
				if got := a.infer(t, token); got.Status != http.StatusOK {
					select {
					case refused <- fmt.Sprintf("%d %s, kid %s", got.Status, got.Body, kidOf(t, token)):
					default:
					}
				}
			}
		}
	})

	next := keyProvider{Name: "rs256-next", Type: "rsa-generated", Config: map[string][]string{
		"active": {"false"}, "enabled": {"true"}, "priority": {"200"}, "algorithm": {"RS256"}, "keySize": {"2048"},
	}}
	next.create(t, st)
	time.Sleep(keyAge) // the API has read the new key before it signs
	next.set(t, st, "active", "true")
	rotated := st.token(t, login).AccessToken
	if kidOf(t, rotated) == kidOf(t, old) {
		t.Fatal("the new key does not sign")
	}
	time.Sleep(2 * keyAge)
	close(stop)
	load.Wait()
	select {
	case r := <-refused:
		t.Fatalf("a valid token was refused: %s", r)
	default:
	}

	generated := findKeyProvider(t, st, "rsa-generated", func(p keyProvider) bool { return p.Name != next.Name })
	generated.set(t, st, "active", "false")
	a.infer(t, old).want(t, http.StatusOK, "setosa")
	generated.set(t, st, "enabled", "false")
	eventually(t, keyAge+5*time.Second, "a token of the removed key is refused", func() error {
		if got := a.infer(t, old); got.Status != http.StatusUnauthorized {
			return fmt.Errorf("%d %s", got.Status, got.Body)
		}
		return nil
	})
	a.infer(t, rotated).want(t, http.StatusOK, "setosa")
}

const retiringConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: retiring
  keycloak-model-api:signingKeys:
    - {name: rs256-2026, algorithm: RS256, priority: PRIORITY}
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, adminUrl: "API/admin"}
    - {clientId: nightly, kind: service, serviceAccountRoles: [model-iris]}
`

// TestRetireGeneratedKey takes away the key that Keycloak made with the realm,
// by the steps of docs/keys.md. What each up changes is done by the Admin REST
// API, as the provider would.
func TestRetireGeneratedKey(t *testing.T) {
	port := freePort(t)
	config := strings.Replace(retiringConfig, "API", "http://127.0.0.1:"+port, 1)
	secrets := secretsOf{"clientSecrets": {"model-api": "a-secret-of-the-tests-1", "nightly": "a-secret-of-the-tests-2"}}
	st := e.up(t, strings.Replace(config, "PRIORITY", "50", 1), secrets)
	a := e.startAPIOn(t, port, st, "-key-max-age", keyAge.String())
	login := st.clientCredentials("nightly")
	old := st.token(t, login).AccessToken
	wantClaims(t, old, "RS256", "JWT", 0, nil)
	a.infer(t, old).want(t, http.StatusOK, "setosa")

	// 1. A key of one's own signs.
	mine := func(p keyProvider) bool { return p.Name == "rs256-2026" }
	own := findKeyProvider(t, st, "rsa-generated", mine)
	own.set(t, st, "priority", "200")
	token := st.token(t, login).AccessToken
	if kidOf(t, token) == kidOf(t, old) {
		t.Fatal("the new key does not sign")
	}
	a.infer(t, token).want(t, http.StatusOK, "setosa")
	a.infer(t, old).want(t, http.StatusOK, "setosa")

	// 2 and 3. The program imports the component and changes it.
	generated := findKeyProvider(t, st, "rsa-generated", func(p keyProvider) bool { return !mine(p) })
	retired := strings.Replace(config, "PRIORITY", "200", 1) +
		"  keycloak-model-api:retireGeneratedKey: {componentId: " + generated.ID + "}\n"
	result, err := e.declare(t, retired, secrets)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range result.Resources {
		if r.ImportID == "retiring/"+generated.ID {
			for _, input := range []string{"active", "enabled", "priority", "keySize"} {
				generated.Config[input] = []string{fmt.Sprint(r.Inputs[resource.PropertyKey(input)].V)}
			}
			generated.Config["algorithm"] = []string{"RS256"} // the provider's default
		}
	}
	if generated.Config["enabled"][0] != "false" {
		t.Fatalf("the program leaves the key as it was: %v", generated.Config)
	}
	generated.update(t, st)

	st.token(t, st.clientCredentials("model-api"))
	signs := kidOf(t, token)
	if token = st.token(t, login).AccessToken; kidOf(t, token) != signs {
		t.Error("another key signs")
	}
	eventually(t, keyAge+5*time.Second, "a token of the retired key is refused", func() error {
		if got := a.infer(t, old); got.Status != http.StatusUnauthorized {
			return fmt.Errorf("%d %s", got.Status, got.Body)
		}
		return nil
	})
	a.infer(t, token).want(t, http.StatusOK, "setosa")

	// Keycloak's own messages are signed by our key too.
	if err := e.admin.Do(t.Context(), http.MethodPut, "/realms/retiring", map[string]any{"notBefore": time.Now().Unix() + 1, "oauth2DeviceCodeLifespan": 600}, nil); err != nil {
		t.Fatal(err)
	}
	if err := e.admin.Do(t.Context(), http.MethodPost, "/realms/retiring/push-revocation", nil, nil); err != nil {
		t.Fatal(err)
	}
	a.infer(t, token).want(t, http.StatusUnauthorized, "token_revoked")

	var published jose.JSONWebKeySet
	st.get(t, "/protocol/openid-connect/certs", &published)
	for _, key := range published.Keys {
		if key.Use == "sig" && key.KeyID != signs {
			t.Errorf("the %s key %s is published beside ours", key.Algorithm, key.KeyID)
		}
	}
	if len(published.Keys) == 0 {
		t.Error("no key is published")
	}
	realms, err := render.Build(result.Resources)
	if err != nil {
		t.Fatal(err)
	}
	st.Model = realms[0]
	if err := e.admin.Do(t.Context(), http.MethodPut, "/realms/retiring", map[string]any{"notBefore": 0, "oauth2DeviceCodeLifespan": 600}, nil); err != nil {
		t.Fatal(err)
	}
	compare(t, st) // no fallback key either
}

// get reads a public JSON document of the realm.
func (s *stack) get(t *testing.T, path string, out any) {
	t.Helper()
	res, err := http.Get(s.output("issuer") + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
}

// keyProvider is a component of the realm that holds keys.
type keyProvider struct {
	ID       string              `json:"id,omitempty"`
	Name     string              `json:"name"`
	Type     string              `json:"providerId"`
	Provider string              `json:"providerType"`
	Parent   string              `json:"parentId"`
	Config   map[string][]string `json:"config"`
}

const keyProviderType = "org.keycloak.keys.KeyProvider"

func (p *keyProvider) create(t *testing.T, st *stack) {
	t.Helper()
	p.Provider, p.Parent = keyProviderType, st.output("realm_name")
	id, err := e.admin.Create(t.Context(), "/realms/"+st.output("realm_name")+"/components", p)
	if err != nil {
		t.Fatal(err)
	}
	p.ID = id
}

func (p *keyProvider) set(t *testing.T, st *stack, key, value string) {
	t.Helper()
	p.Config[key] = []string{value}
	p.update(t, st)
}

func (p *keyProvider) update(t *testing.T, st *stack) {
	t.Helper()
	if err := e.admin.Do(t.Context(), http.MethodPut, "/realms/"+st.output("realm_name")+"/components/"+p.ID, p, nil); err != nil {
		t.Fatal(err)
	}
}

func findKeyProvider(t *testing.T, st *stack, kind string, want func(keyProvider) bool) *keyProvider {
	t.Helper()
	var all []keyProvider
	if err := e.admin.Do(t.Context(), http.MethodGet, "/realms/"+st.output("realm_name")+"/components?type="+keyProviderType, nil, &all); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if all[i].Type == kind && want(all[i]) {
			return &all[i]
		}
	}
	t.Fatalf("no %s among the key providers %v", kind, all)
	return nil
}

// header and claims read a token without any check, for the tests to look at.
func header(token string) (h map[string]any, err error) { return segment(token, 0) }
func claims(token string) (c map[string]any, err error) { return segment(token, 1) }

func segment(token string, i int) (m map[string]any, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a JWS in compact form")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[i])
	if err != nil {
		return nil, err
	}
	return m, json.Unmarshal(raw, &m)
}

func kidOf(t *testing.T, token string) string {
	h, err := header(token)
	if err != nil {
		t.Error(err)
	}
	kid, _ := h["kid"].(string)
	return kid
}
