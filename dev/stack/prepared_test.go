package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
)

func declaring(names ...string) *declaration {
	d := &declaration{result: &monitor.Result{}}
	for _, name := range names {
		inputs := resource.PropertyMap{"realm": resource.NewProperty(name), "password": resource.MakeSecret(resource.NewProperty("of " + name))}
		d.result.Resources = append(d.result.Resources, &monitor.Resource{URN: "urn:" + name, Inputs: inputs})
		d.realms = append(d.realms, &render.Realm{Name: name})
	}
	return d
}

func TestPreparedRealmIsTakenOnce(t *testing.T) {
	keycloak := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/realms/a" && r.URL.Path != "/realms/b" {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(keycloak.Close)
	changed := declaring("a", "b")
	changed.result.Resources[0].Inputs["password"] = resource.MakeSecret(resource.NewProperty("another"))
	for _, tt := range []struct {
		name            string
		prepared, taken *declaration
		elsewhere       bool
		want            bool
	}{
		{name: "what was prepared", prepared: declaring("a", "b"), taken: declaring("a", "b"), want: true},
		{name: "registered in another order", prepared: declaring("a", "b"), taken: declaring("b", "a"), want: true},
		{name: "nothing was prepared", taken: declaring("a")},
		{name: "a secret has changed", prepared: declaring("a", "b"), taken: changed},
		{name: "a resource more", prepared: declaring("a"), taken: declaring("a", "b")},
		{name: "gone from the database", prepared: declaring("a", "gone"), taken: declaring("a", "gone")},
		{name: "somebody else's Keycloak", prepared: declaring("a"), taken: declaring("a"), elsewhere: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &program{options: options{state: t.TempDir(), keycloakURL: keycloak.URL, local: !tt.elsewhere}}
			digest := func(d *declaration) string {
				text, err := d.digest()
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			if tt.prepared != nil {
				if err := writeFile(p.preparedFile(), []byte(digest(tt.prepared))); err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range slices.Compact([]bool{tt.want, false}) {
				if got, err := p.takePrepared(t.Context(), tt.taken.realms, digest(tt.taken)); err != nil || got != want {
					t.Errorf("got %v, %v, want %v", got, err, want)
				}
			}
			if _, err := os.Stat(p.preparedFile()); !tt.elsewhere && !os.IsNotExist(err) {
				t.Errorf("it could be taken again (%v)", err)
			}
		})
	}
}
