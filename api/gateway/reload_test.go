package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"keycloak-model-api/policy"
)

// A policy is taken over 1,000 times while callers go on. Each request is decided
// by one policy as a whole, the newest one of the moment or a later one, and its
// record says by which.
func TestReloadsUnderLoad(t *testing.T) {
	const reloads = 1000
	f := newFixture(t)
	token := f.issuer.Token("RS256")
	// The models are those of the odd and of the even generations.
	of := func(generation int) *policy.Policy {
		p := testPolicy()
		name := "odd"
		if generation%2 == 0 {
			name = "even"
		}
		p.Models = append(p.Models, policy.Model{Name: name, Allow: policy.Conditions{Roles: []string{"model-api-access"}}, Embedded: "iris"})
		return p
	}
	load := func(generation int) {
		t.Helper()
		outputs := *f.gateway.options.Outputs
		outputs.Policy = of(generation)
		if err := f.gateway.Reload(&outputs); err != nil {
			t.Fatal(err)
		}
	}
	get := func(path string) (int, string) {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		f.gateway.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	load(2)

	var over atomic.Bool
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for !over.Load() {
				if status, _ := get("/v2/models/iris"); status != http.StatusOK {
					t.Errorf("iris, which all policies have: %d", status)
				}
				if status, _ := get("/v2/models/forbidden"); status != http.StatusNotFound {
					t.Errorf("forbidden by all policies: %d", status)
				}
				get("/v2/models/odd")
				get("/v2/models/even")
				if _, body := get("/v2/models"); body != listOf("odd") && body != listOf("even") {
					t.Errorf("the list is of no policy: %s", body)
				}
			}
		})
	}
	for generation := 3; generation < reloads+3; generation++ {
		load(generation)
		want := http.StatusOK
		if generation%2 == 0 {
			want = http.StatusNotFound
		}
		if status, _ := get("/v2/models/odd"); status != want {
			t.Errorf("generation %d: odd is %d, want %d", generation, status, want)
		}
	}
	over.Store(true)
	callers.Wait()

	records := 0
	for _, r := range f.decisions(t) {
		if r["model"] != "odd" && r["model"] != "even" {
			continue
		}
		records++
		odd := int(r["policy"].(float64))%2 == 1
		if want := (r["model"] == "odd") == odd; want != (r["code"] == "allowed") {
			t.Fatalf("decided %s for %s by the policy of generation %v", r["code"], r["model"], r["policy"])
		}
	}
	if records < reloads {
		t.Errorf("%d records, want more than %d", records, reloads)
	}
}

func listOf(model string) string {
	return fmt.Sprintf(`{"models":[{"name":"iris"},{"name":%q}]}`+"\n", model)
}

// Client secrets are read once: a reload with others says so, without them, and takes
// over the policy all the same.
func TestReloadTellsOfSecrets(t *testing.T) {
	const warning = "clients or their secrets have changed"
	f := newFixture(t)
	outputs := *f.gateway.options.Outputs
	if err := f.gateway.Reload(&outputs); err != nil || strings.Contains(f.log.String(), warning) {
		t.Fatalf("the same secrets: %v, %s", err, f.log.String())
	}
	outputs.OIDCClientSecret = "hunter2"
	if err := f.gateway.Reload(&outputs); err != nil || f.gateway.Generation() != 3 {
		t.Errorf("other secrets: %v, generation %d", err, f.gateway.Generation())
	}
	if log := f.log.String(); !strings.Contains(log, warning) || strings.Contains(log, "hunter2") {
		t.Errorf("the log is %s", log)
	}
}
