package clients

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

type mocks struct {
	mu        sync.Mutex
	made      []string
	protected []string
}

func (m *mocks) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.made = append(m.made, args.TypeToken+" "+args.Name)
	if args.RegisterRPC.GetProtect() {
		m.protected = append(m.protected, args.TypeToken+" "+args.Name)
	}
	return args.Name + "-id", args.Inputs, nil
}

func (m *mocks) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

// Another program may have one web client, no resource server and no roles.
func TestAloneInAnotherProgram(t *testing.T) {
	m := &mocks{}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := New(ctx, "mine", &Args{
			Realm:   pulumi.String("their-realm"),
			Clients: []config.Client{{ClientID: "web", Kind: "web", RedirectURIs: []string{"https://app.example.com/callback"}}},
			Secrets: map[string]pulumi.StringInput{"web": pulumi.String("s")},
		})
		return err
	}, pulumi.WithMocks("p", "s", m))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"keycloak-model-api:clients:Clients mine",
		"keycloak:openid/client:Client web",
		"keycloak:openid/clientDefaultScopes:ClientDefaultScopes web",
		"keycloak:openid/clientOptionalScopes:ClientOptionalScopes web",
	}
	slices.Sort(m.made)
	got := slices.DeleteFunc(m.made, func(s string) bool { return strings.HasPrefix(s, "pulumi:") })
	if !slices.Equal(got, want) {
		t.Errorf("resources %q, want %q", got, want)
	}
}

// examples/components/README.md says so of the components.
func TestProtectIsInherited(t *testing.T) {
	m := &mocks{}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := New(ctx, "mine", &Args{Realm: pulumi.String("r"), Clients: []config.Client{{ClientID: "c", Kind: "cli"}}}, pulumi.Protect(true))
		return err
	}, pulumi.WithMocks("p", "s", m))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(m.protected, "keycloak:openid/client:Client c") || len(m.protected) != len(m.made) {
		t.Errorf("protected are %q of %q", m.protected, m.made)
	}
}

func TestArgsThatDoNotFit(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		client     config.Client
	}{
		{"no secret", "clients: c: the client secret is missing", config.Client{ClientID: "c", Kind: "service"}},
		{"unknown role", "clients: c: role ghost is not declared", config.Client{ClientID: "c", Kind: "cli", Roles: []string{"ghost"}}},
		{"unknown mapper", `clients: c: mapper m: type "x" is none of`, config.Client{ClientID: "c", Kind: "cli", Mappers: []config.Mapper{{Name: "m", Type: "x"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := pulumi.RunErr(func(ctx *pulumi.Context) error {
				_, err := New(ctx, "mine", &Args{Realm: pulumi.String("r"), Clients: []config.Client{tt.client}})
				return err
			}, pulumi.WithMocks("p", "s", &mocks{}))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
