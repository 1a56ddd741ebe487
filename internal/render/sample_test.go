package render

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"google.golang.org/protobuf/types/known/structpb"

	"keycloak-model-api/internal/monitor"
)

// sample reads what two programs registered with the real engine, with the ids
// that Keycloak chose.
func sample(t *testing.T, name string) []*monitor.Resource {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var registered []struct {
		Name, Type, ID string
		Import         string
		Inputs         *structpb.Struct
		Outputs        map[string]any
	}
	if err := json.Unmarshal(text, &registered); err != nil {
		t.Fatal(err)
	}
	var resources []*monitor.Resource
	for _, r := range registered {
		inputs, err := plugin.UnmarshalProperties(r.Inputs, plugin.MarshalOptions{KeepSecrets: true})
		if err != nil {
			t.Fatal(err)
		}
		resources = append(resources, &monitor.Resource{
			URN: "urn:pulumi:test::sample::" + r.Type + "::" + r.Name, Type: r.Type, Name: r.Name, ID: r.ID,
			Custom: true, ImportID: r.Import, Inputs: inputs, Outputs: resource.NewPropertyMapFromMap(r.Outputs),
		})
	}
	return resources
}

func buildOne(t *testing.T, resources []*monitor.Resource) *Realm {
	t.Helper()
	realms, err := Build(resources)
	if err != nil {
		t.Fatal(err)
	}
	if len(realms) != 1 {
		t.Fatalf("%d realms, want 1", len(realms))
	}
	return realms[0]
}

// The realm that is rendered is the one that the real provider made of the same
// registrations.
func TestRenderedRealmIsTheProviders(t *testing.T) {
	for _, name := range []string{"sample-one", "sample-two"} {
		t.Run(name, func(t *testing.T) {
			realm := buildOne(t, sample(t, name))
			export, err := os.ReadFile(filepath.Join("testdata", name+".export.json"))
			if err != nil {
				t.Fatal(err)
			}
			differences, err := Compare(realm, export)
			if err != nil {
				t.Fatal(err)
			}
			known := map[string]string{
				"authenticat":                "the sample leaves the flows out",
				"clients.model-cli.name":     "auto-named: the suffix is random with the engine",
				"clients.api.secret":         "left out, Keycloak made one",
				"clients.my-api-client.name": "auto-named: the suffix is random with the engine",
			}
			for _, d := range differences {
				if !slices.ContainsFunc(keysOf(known), func(prefix string) bool { return strings.HasPrefix(d.Path, prefix) }) {
					t.Error(d)
				}
			}
		})
	}
}

func keysOf(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}
