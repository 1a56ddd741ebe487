package users

import (
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/config"
)

type mocks struct{}

func (mocks) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return args.Name + "-id", args.Inputs, nil
}

func (mocks) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

func TestArgsThatDoNotFit(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		user       config.User
	}{
		{"no initial password", "users: ada: the initial password is missing", config.User{Username: "ada"}},
		{"unknown role", "users: ada: role ghost is not declared", config.User{Username: "ada", Password: "none", Roles: []string{"ghost"}}},
		{"unknown group", "users: ada: group spirits is not declared", config.User{Username: "ada", Password: "none", Groups: []string{"spirits"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := pulumi.RunErr(func(ctx *pulumi.Context) error {
				_, err := New(ctx, "mine", &Args{Realm: pulumi.String("r"), Users: []config.User{tt.user}})
				return err
			}, pulumi.WithMocks("p", "s", mocks{}))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
