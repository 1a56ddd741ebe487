package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/internal/monitor"
)

const rotatingConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: rotation
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api}
    - {clientId: nightly, kind: service, serviceAccountRoles: [model-iris]}
    - {clientId: hourly, kind: service, serviceAccountRoles: [model-iris]}
`

// rotationSteps are signingKeys as docs/keys.md changes them: the first ES256 key of a
// live realm, the next one passive, the swap, the old one withdrawn.
var rotationSteps = []string{
	`{name: es256-2026, algorithm: ES256}`,
	`{name: es256-2026, algorithm: ES256}, {name: es256-2027, algorithm: ES256, active: false}`,
	`{name: es256-2026, algorithm: ES256, active: false}, {name: es256-2027, algorithm: ES256}`,
	`{name: es256-2026, algorithm: ES256, active: false, enabled: false}, {name: es256-2027, algorithm: ES256}`,
}

// TestRotationUnderLoad rotates keys while tokens are asked for without a pause, with
// the program's own order of changes. At no moment may Keycloak lack an active key that
// a client asks for: it would make a provider named fallback-ES256, which stays. No
// request is refused.
func TestRotationUnderLoad(t *testing.T) {
	secrets := secretsOf{"clientSecrets": {
		"model-api": "a-secret-of-the-tests-1", "nightly": "a-secret-of-the-tests-2", "hourly": "a-secret-of-the-tests-3"}}
	st := e.up(t, rotatingConfig, secrets)
	a := e.startAPI(t, st, "-key-max-age", keyAge.String())
	stop, failed := make(chan struct{}), make(chan string, 1)
	var load sync.WaitGroup
	asked := 0
	var mu sync.Mutex
	for _, client := range []string{"nightly", "hourly", "nightly"} {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got := st.tryToken(t, st.clientCredentials(client))
				said := got.Error + got.Description
				if got.AccessToken != "" {
					said = ""
					if answer := a.infer(t, got.AccessToken); answer.Status != http.StatusOK {
						said = fmt.Sprint(answer.Status, answer.Body)
					}
				}
				mu.Lock()
				asked++
				mu.Unlock()
				if said != "" {
					select {
					case failed <- client + ": " + said:
					default:
					}
				}
			}
		})
	}
	var before *monitor.Result
	for i, keys := range rotationSteps {
		result, err := e.declare(t, rotatingConfig+"  keycloak-model-api:signingKeys: ["+keys+"]\n", secrets)
		if err != nil {
			t.Fatal(err)
		}
		st.upKeys(t, before, result)
		before = result
		time.Sleep(2 * keyAge)
		kid := kidOf(t, st.token(t, st.clientCredentials("nightly")).AccessToken)
		t.Logf("after step %d the key %s signs", i, kid)
	}
	close(stop)
	load.Wait()
	select {
	case said := <-failed:
		t.Errorf("refused: %s", said)
	default:
	}
	if asked < 50 {
		t.Errorf("only %d tokens were asked for: that is no load", asked)
	}
	var all []keyProvider
	if err := e.admin.Do(t.Context(), http.MethodGet, "/realms/rotation/components?type="+keyProviderType, nil, &all); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if strings.HasPrefix(p.Name, "fallback-") {
			t.Errorf("Keycloak made the key provider %s", p.Name)
		}
	}
}

// upKeys changes key stores and clients from what one run of the program declares to
// what the next does, in an order that the program allows. Of those that may come next
// it takes the one that was registered last, which is the least kind order.
func (s *stack) upKeys(t *testing.T, before, after *monitor.Result) {
	t.Helper()
	done, old := map[string]bool{}, map[string]*monitor.Resource{}
	if before != nil {
		for _, r := range before.Resources {
			old[r.URN] = r
		}
	}
	left := slices.Clone(after.Resources)
	for len(left) > 0 {
		next := -1
		for i, r := range left {
			if !slices.ContainsFunc(r.Dependencies, func(urn string) bool { return !done[urn] }) {
				next = i
			}
		}
		if next < 0 {
			t.Fatal("the program's order has a cycle")
		}
		r := left[next]
		left = slices.Delete(left, next, next+1)
		done[r.URN] = true
		if was := old[r.URN]; was != nil && fmt.Sprint(was.Inputs) == fmt.Sprint(r.Inputs) {
			continue
		}
		switch {
		case strings.HasSuffix(r.Type, ":RealmKeystoreEcdsaGenerated"):
			s.upKeyStore(t, r, old[r.URN] == nil)
		case strings.HasSuffix(r.Type, ":Client"):
			s.upClient(t, r)
		}
	}
}

func (s *stack) upKeyStore(t *testing.T, r *monitor.Resource, isNew bool) {
	t.Helper()
	p := &keyProvider{Name: r.Text("name"), Type: "ecdsa-generated", Config: map[string][]string{"ecdsaEllipticCurveKey": {r.Text("ellipticCurveKey")}}}
	if !isNew {
		p = findKeyProvider(t, s, p.Type, func(k keyProvider) bool { return k.Name == p.Name })
	}
	for _, key := range []string{"active", "enabled", "priority"} {
		p.Config[key] = []string{fmt.Sprint(monitor.Plain(r.Inputs[resource.PropertyKey(key)]))}
	}
	if isNew {
		p.create(t, s)
		return
	}
	p.Provider, p.Parent = keyProviderType, s.output("realm_name")
	p.update(t, s)
}

func (s *stack) upClient(t *testing.T, r *monitor.Resource) {
	t.Helper()
	realm := "/realms/" + s.output("realm_name")
	var found []map[string]any
	if err := e.admin.Do(t.Context(), http.MethodGet, realm+"/clients?clientId="+r.Text("clientId"), nil, &found); err != nil {
		t.Fatal(err)
	}
	extra, _ := monitor.Plain(r.Inputs["extraConfig"]).(map[string]any)
	for key, value := range extra {
		found[0]["attributes"].(map[string]any)[key] = value
	}
	if err := e.admin.Do(t.Context(), http.MethodPut, realm+"/clients/"+found[0]["id"].(string), found[0], nil); err != nil {
		t.Fatal(err)
	}
}
