package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/render"
)

// TestImportFile boots a second Keycloak with the import file of the hardened
// realm, as the Operator and test containers do.
func TestImportFile(t *testing.T) {
	public, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: newKey(t).Public(), KeyID: "nightly-1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	secrets := productionSecrets()
	secrets["smtpPassword"] = map[string]string{"": mailPassword}
	declared, err := e.declare(t, fmt.Sprintf(productionConfig, public)+strings.ReplaceAll(realmSettings, "PORT", "25"), secrets)
	if err != nil {
		t.Fatal(err)
	}
	realms, err := render.Build(declared.Resources)
	if err != nil {
		t.Fatal(err)
	}
	content, err := realms[0].ImportFile()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "realm.json")
	writeFile(t, file, content)

	distribution, err := keycloak.Fetch(t.Context(), keycloak.FetchOptions{Home: os.Getenv("KEYCLOAK_HOME"), Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	masked, err := realms[0].MaskedFile()
	if err != nil {
		t.Fatal(err)
	}
	shown := filepath.Join(dir, "masked.json")
	writeFile(t, shown, masked)
	if server, err := keycloak.Start(t.Context(), keycloak.Options{Distribution: distribution, DataDir: filepath.Join(dir, "none"), ImportFile: shown, Progress: os.Stderr}); err == nil {
		t.Error("Keycloak imports a file whose secrets are masked")
		_ = server.Stop(t.Context())
	} else if !strings.Contains(err.Error(), "secretsAreMasked") {
		t.Errorf("Keycloak does not start for another reason: %v", err)
	}
	server, err := keycloak.Start(t.Context(), keycloak.Options{Distribution: distribution, DataDir: filepath.Join(dir, "keycloak"), ImportFile: file, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	admin := keycloak.NewAdmin(server.BaseURL, server.Admin)
	export, err := admin.PartialExport(t.Context(), "production")
	if err != nil {
		t.Fatal(err)
	}
	differences, err := render.Compare(realms[0], export)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range differences {
		if d.OfImport() == "" {
			t.Error(d)
		}
	}
	// An export has no users.
	var users []struct {
		ID         string              `json:"id"`
		Attributes map[string][]string `json:"attributes"`
	}
	if err := admin.Do(t.Context(), http.MethodGet, "/realms/production/users?exact=true&username=ada", nil, &users); err != nil || len(users) != 1 {
		t.Fatalf("%d users ada: %v", len(users), err)
	}
	type group struct {
		Path string `json:"path"`
	}
	var groups []group
	if err := admin.Do(t.Context(), http.MethodGet, "/realms/production/users/"+users[0].ID+"/groups", nil, &groups); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(groups, func(a, b group) int { return strings.Compare(a.Path, b.Path) })
	if !slices.Equal(groups, []group{{"/botany/roses"}, {"/everyone"}}) || !slices.Equal(users[0].Attributes["cost-center"], []string{"42"}) {
		t.Errorf("ada is in %v and has %v", groups, users[0].Attributes)
	}
}
