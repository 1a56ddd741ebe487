package render

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keycloak-model-api/internal/keycloak"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got, go test -update writes it anew):\n%s", file, diff)
	}
}

// recorder is an Admin REST API that answers ids made of names, and writes down
// what it is told.
type recorder struct {
	realm string // answer for the realm, empty for 404
	calls strings.Builder
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/token") {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"t","token_type":"Bearer","expires_in":3600}`)
		return
	}
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(&rec.calls, "%s %s\n", r.Method, strings.TrimPrefix(r.URL.RequestURI(), "/admin"))
	if len(body) > 0 {
		var v any
		json.Unmarshal(body, &v)
		text, _ := json.MarshalIndent(v, "", " ")
		fmt.Fprintf(&rec.calls, "%s\n", text)
	}
	switch {
	case r.Method != http.MethodGet:
		w.WriteHeader(http.StatusNoContent)
	case strings.Count(r.URL.Path, "/") == 3 && rec.realm == "":
		http.Error(w, `{"error":"Realm not found."}`, http.StatusNotFound)
	case strings.Count(r.URL.Path, "/") == 3:
		io.WriteString(w, rec.realm)
	case strings.HasSuffix(r.URL.Path, "/client-scopes"):
		io.WriteString(w, `[{"id":"id-of-service_account","name":"service_account"}]`)
	case r.URL.Query().Has("clientId"):
		fmt.Fprintf(w, `[{"id":"id-of-%s"}]`, r.URL.Query().Get("clientId"))
	case strings.HasSuffix(r.URL.Path, "/components"):
		fmt.Fprintf(w, `[{"id":"id-of-%s"}]`, path.Base(r.URL.Query().Get("type")))
	default:
		fmt.Fprintf(w, `{"id":"id-of-%s"}`, path.Base(r.URL.Path))
	}
}

// zeros is randomness that golden files can hold.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func apply(t *testing.T, realm *Realm, rec *recorder) error {
	t.Helper()
	server := httptest.NewServer(rec)
	t.Cleanup(server.Close)
	admin := keycloak.NewAdmin(server.URL, keycloak.Credentials{Username: "admin", Password: "admin"})
	return realm.apply(context.Background(), admin, 1, zeros{})
}

func TestCalls(t *testing.T) {
	for _, name := range []string{"sample-one", "sample-two", "sample-three"} {
		t.Run(name, func(t *testing.T) {
			var rec recorder
			if err := apply(t, buildOne(t, sample(t, name)), &rec); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".calls", rec.calls.String())
		})
	}
}

func TestOnlyARealmOfOursIsReplaced(t *testing.T) {
	for _, test := range []struct {
		name, realm string
		replaced    bool
	}{
		{"ours", `{"attributes":{"keycloak-model-api.local":"true"}}`, true},
		{"somebody's", `{"attributes":{"owner":"ops"}}`, false},
		{"without attributes", `{}`, false},
		{"marked otherwise", `{"attributes":{"keycloak-model-api.local":"false"}}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			rec := recorder{realm: test.realm}
			err := apply(t, buildOne(t, sample(t, "sample-two")), &rec)
			deleted := strings.Contains(rec.calls.String(), "DELETE /realms/sample-two\n")
			if deleted != test.replaced || (err == nil) != test.replaced {
				t.Errorf("deleted %v, error %v", deleted, err)
			}
			if !test.replaced && strings.Contains(rec.calls.String(), "POST") {
				t.Errorf("changed a realm that isn't ours:\n%s", rec.calls.String())
			}
		})
	}
}
