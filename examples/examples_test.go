// Package examples tests that each example runs, and what it would make.
package examples

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
	"keycloak-model-api/policy"
)

var update = flag.Bool("update", false, "write the golden files")

func TestPreviews(t *testing.T) {
	for _, tt := range []struct {
		name     string
		config   map[string]string
		secrets  []string
		provider string // that all resources have, empty for the default one
	}{
		{
			name:    "oidc-web",
			config:  map[string]string{"oidc-web:clientSecret": "a-secret"},
			secrets: []string{"oidc-web:clientSecret"},
		},
		{
			name:    "model-serving",
			config:  map[string]string{"keycloak:url": "https://id.example.com", "model-serving:clientSecret": "a-secret", "model-serving:userPassword": "a-password"},
			secrets: []string{"model-serving:clientSecret", "model-serving:userPassword"},
		},
		{
			name:     "components",
			config:   map[string]string{"components:keycloakUrl": "https://id.example.com", "components:keycloakClientSecret": "a-secret", "components:portalSecret": "a-secret"},
			secrets:  []string{"components:keycloakClientSecret", "components:portalSecret"},
			provider: "corporate",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			project, err := workspace.LoadProject(filepath.Join(tt.name, "Pulumi.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			binary := filepath.Join(t.TempDir(), tt.name)
			if out, err := exec.Command("go", "build", "-o", binary, "./"+tt.name).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var log bytes.Buffer
			result, err := render.Run(t.Context(), monitor.Program{
				Binary: binary, Dir: tt.name, Env: os.Environ(), Log: &log,
				Config: &monitor.Config{Project: string(project.Name), Stack: "prod", Values: tt.config, Secrets: tt.secrets},
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, log.String())
			}
			realms, err := render.Build(result.Resources)
			if err != nil {
				t.Fatal(err)
			}
			if len(realms) != 1 {
				t.Errorf("%d realms, want 1", len(realms))
			}
			var preview bytes.Buffer
			if err := render.Preview(&preview, result); err != nil {
				t.Fatal(err)
			}
			text := named(preview.String(), result.Resources)
			golden := filepath.Join("testdata", tt.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Errorf("it makes something else: go test ./examples -update (-want +got):\n%s", diff)
			}
			if _, serves := result.Outputs["policy"]; serves {
				wantOutputsOfAnAPI(t, result)
			}
			if log.Len() > 0 {
				t.Errorf("it says:\n%s", log.String())
			}
			for _, r := range result.Resources {
				if tt.provider != "" && strings.HasPrefix(r.Type, "keycloak:") && !strings.Contains(r.Provider, "::"+tt.provider+"::") {
					t.Errorf("%s %s has provider %q, want %s", r.Type, r.Name, r.Provider, tt.provider)
				}
			}
		})
	}
}

// wantOutputsOfAnAPI checks that the API and its doctor find what they read.
func wantOutputsOfAnAPI(t *testing.T, result *monitor.Result) {
	t.Helper()
	text, err := result.OutputsJSON(true)
	if err != nil {
		t.Fatal(err)
	}
	outputs, err := policy.ParseOutputs(text)
	if err != nil {
		t.Fatal(err)
	}
	if want := outputs.Issuer + "/protocol/openid-connect/certs"; outputs.JWKSURI != want {
		t.Errorf("jwks_uri is %q, want %q", outputs.JWKSURI, want)
	}
	if outputs.RealmName == "" || outputs.ClientID == "" || outputs.ClientSecret == "" {
		t.Error("an output of the realm or of the client is empty")
	}
}

// named puts names in the place of the ids that the local way makes up.
func named(text string, resources []*monitor.Resource) string {
	for _, r := range resources {
		if len(r.ID) == 36 {
			text = strings.ReplaceAll(text, r.ID, "id of "+r.Name)
		}
		if account, ok := r.Outputs["serviceAccountUserId"]; ok && account.IsString() && account.StringValue() != "" {
			text = strings.ReplaceAll(text, account.StringValue(), "service account of "+r.Name)
		}
	}
	return text
}
