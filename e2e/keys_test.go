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
