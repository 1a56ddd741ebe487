package guardrails

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak"
	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/openid"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
	"keycloak-model-api/policy"
)

// The test binary is its own Pulumi program when this variable names one.
const programVariable = "GUARDRAILS_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if program, ok := programs[os.Getenv(programVariable)]; ok {
		pulumi.Run(program.run)
		return
	}
	os.Exit(m.Run())
}

// program is somebody's stack: a guard, a realm and what the test is about.
type program struct {
	options   Options
	resources func(ctx *pulumi.Context, realm *keycloak.Realm) error
	errors    []string // in its error; none: it works
	warnings  []string
	noMocks   bool // mocks don't run what it is about
}

func (p program) run(ctx *pulumi.Context) error {
	guard, err := Register(ctx, p.options)
	if err != nil {
		return err
	}
	realm, err := keycloak.NewRealm(ctx, "r", &keycloak.RealmArgs{Realm: pulumi.String("r")})
	if err != nil {
		return err
	}
	if p.resources != nil {
		if err := p.resources(ctx, realm); err != nil {
			return err
		}
	}
	return guard.Finish()
}

// client is an openid.ClientArgs that passes.
func client(realm *keycloak.Realm, id string) *openid.ClientArgs {
	return &openid.ClientArgs{
		RealmId: realm.ID(), ClientId: pulumi.String(id), Name: pulumi.String(id), AccessType: pulumi.String("CONFIDENTIAL"),
		ClientSecret: pulumi.ToSecret(pulumi.String("hunter2")).(pulumi.StringOutput).ToStringPtrOutput(),
	}
}

func turnImplicitFlowOn(_ context.Context, args *pulumi.ResourceTransformArgs) *pulumi.ResourceTransformResult {
	if args.Type != openIDClient {
		return nil
	}
	args.Props["implicitFlowEnabled"] = pulumi.Bool(true)
	return &pulumi.ResourceTransformResult{Props: args.Props, Opts: args.Opts}
}

var programs = map[string]program{
	"fine": {
		resources: func(ctx *pulumi.Context, realm *keycloak.Realm) error {
			_, err := openid.NewClient(ctx, "api", client(realm, "api"))
			return err
		},
	},
	"many": {
		resources: func(ctx *pulumi.Context, realm *keycloak.Realm) error {
			a := client(realm, "web")
			a.StandardFlowEnabled, a.DirectAccessGrantsEnabled = pulumi.Bool(true), pulumi.BoolPtr(true)
			a.ValidRedirectUris = pulumi.StringArray{pulumi.Sprintf("https://%s.example/*", realm.Realm)}
			web, err := openid.NewClient(ctx, "web", a)
			if err != nil {
				return err
			}
			// Its client is refused, and it is found all the same.
			if _, err := openid.NewUserAttributeProtocolMapper(ctx, "team", &openid.UserAttributeProtocolMapperArgs{
				RealmId: realm.ID(), ClientId: web.ID().ToStringPtrOutput(), Name: pulumi.String("team"), UserAttribute: pulumi.String("team"), ClaimName: pulumi.String("groups"),
			}); err != nil {
				return err
			}
			if _, err := keycloak.NewRealmUserProfile(ctx, "profile", &keycloak.RealmUserProfileArgs{
				RealmId: realm.ID(),
				Attributes: keycloak.RealmUserProfileAttributeArray{&keycloak.RealmUserProfileAttributeArgs{
					Name:        pulumi.String("team"),
					Permissions: keycloak.RealmUserProfileAttributePermissionsArgs{Views: pulumi.ToStringArray([]string{"user"}), Edits: pulumi.ToStringArray([]string{"user"})},
				}},
			}); err != nil {
				return err
			}
			_, err = keycloak.NewUser(ctx, "jane", &keycloak.UserArgs{
				RealmId: realm.ID(), Username: pulumi.String("jane"),
				InitialPassword: keycloak.UserInitialPasswordArgs{Value: pulumi.String("hunter2")},
			})
			return err
		},
		errors: []string{
			`no-wildcard-redirect: Client "web": validRedirectUris has "https://r.example/*"`,
			`no-web-password-grant: Client "web"`,
			`no-self-service-claim: UserAttributeProtocolMapper "team"`,
			`no-plain-secret: User "jane": initialPassword.value`,
			`no-lasting-password: User "jane"`,
		},
	},
	"untyped": {
		resources: func(ctx *pulumi.Context, realm *keycloak.Realm) error {
			var r pulumi.CustomResourceState
			return ctx.RegisterResource(openIDClient, "web", pulumi.Map{
				"realmId": realm.ID(), "implicitFlowEnabled": pulumi.Any(true), "extraConfig": pulumi.StringMap{"jwt.credential.secret": pulumi.String("hunter2")},
			}, &r)
		},
		errors: []string{`no-implicit-flow: Client "web"`, `no-plain-secret: Client "web": extraConfig.jwt.credential.secret`},
	},
	"changed by a transformation of its own": {
		resources: func(ctx *pulumi.Context, realm *keycloak.Realm) error {
			_, err := openid.NewClient(ctx, "web", client(realm, "web"), pulumi.Transformations([]pulumi.ResourceTransformation{
				func(args *pulumi.ResourceTransformationArgs) *pulumi.ResourceTransformationResult {
					args.Props.(*openid.ClientArgs).ImplicitFlowEnabled = pulumi.Bool(true)
					return &pulumi.ResourceTransformationResult{Props: args.Props, Opts: args.Opts}
				},
			}))
			return err
		},
		errors: []string{`no-implicit-flow: Client "web"`},
	},
	"changed by a transform of its own": {
		resources: func(ctx *pulumi.Context, realm *keycloak.Realm) error {
			_, err := openid.NewClient(ctx, "web", client(realm, "web"), pulumi.Transforms([]pulumi.ResourceTransform{turnImplicitFlowOn}))
			return err
		},
		errors:  []string{`no-implicit-flow: Client "web"`},
		noMocks: true,
	},
	"changed by a transform of its component": {
		resources: func(ctx *pulumi.Context, realm *keycloak.Realm) error {
			var component pulumi.ResourceState
			if err := ctx.RegisterComponentResource("demo:index:Clients", "clients", &component, pulumi.Transforms([]pulumi.ResourceTransform{turnImplicitFlowOn})); err != nil {
				return err
			}
			_, err := openid.NewClient(ctx, "web", client(realm, "web"), pulumi.Parent(&component))
			return err
		},
		errors:  []string{`no-implicit-flow: Client "web"`},
		noMocks: true,
	},
	"transformed and fine": {
		resources: func(ctx *pulumi.Context, realm *keycloak.Realm) error {
			_, err := openid.NewClient(ctx, "web", client(realm, "web"), pulumi.Transforms([]pulumi.ResourceTransform{
				func(context.Context, *pulumi.ResourceTransformArgs) *pulumi.ResourceTransformResult { return nil },
			}))
			return err
		},
	},
	"dev": {
		options: Options{Dev: true},
		resources: func(ctx *pulumi.Context, realm *keycloak.Realm) error {
			a := client(realm, "web")
			a.WebOrigins = pulumi.ToStringArray([]string{"*"})
			_, err := openid.NewClient(ctx, "web", a)
			return err
		},
		warnings: []string{`no-wildcard-origin: Client "web"`, "[allowed: this is dev]"},
	},
	"dev, where the configuration warns by itself": {
		options: Options{Dev: true, Told: []string{"no-wildcard-origin"}},
		resources: func(ctx *pulumi.Context, realm *keycloak.Realm) error {
			a := client(realm, "web")
			a.WebOrigins = pulumi.ToStringArray([]string{"*"})
			_, err := openid.NewClient(ctx, "web", a)
			return err
		},
	},
	"exempt": {
		options: Options{Exemptions: []Exemption{{"web", "no-wildcard-origin", "a public demo"}}},
		resources: func(ctx *pulumi.Context, realm *keycloak.Realm) error {
			a := client(realm, "web")
			a.WebOrigins = pulumi.ToStringArray([]string{"*"})
			_, err := openid.NewClient(ctx, "web", a)
			return err
		},
		warnings: []string{`no-wildcard-origin: Client "web"`, "[allowed: exempt, a public demo]"},
	},
	"exempt for nothing": {
		options: Options{Exemptions: []Exemption{{"web", "no-wildcard-origin", "a public demo"}}},
		errors:  []string{`no resource "web" breaks the rule no-wildcard-origin`},
	},
	"exempt from no rule": {
		options: Options{Exemptions: []Exemption{{"web", "wildcards", "a public demo"}}},
		errors:  []string{`rule "wildcards"): there is no such rule`},
	},
	"model without roles": {
		options: Options{Policy: &policy.Policy{Models: []policy.Model{{Name: "iris"}, {Name: "digits"}}}},
		errors:  []string{`no-roleless-model: model "iris"`, `no-roleless-model: model "digits"`},
	},
}

// judge compares what a program said with what it should.
func (p program) judge(t *testing.T, err error, log string) {
	t.Helper()
	if err != nil && len(p.errors) == 0 {
		t.Errorf("error %v", err)
	}
	for _, want := range p.errors {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	for _, want := range p.warnings {
		if !strings.Contains(log, want) {
			t.Errorf("log %q lacks %q", log, want)
		}
	}
	for _, text := range []string{log, errText(err)} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "goroutine ") {
			t.Errorf("a secret or a stack trace is in %q", text)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestLocalMonitor(t *testing.T) {
	for name, p := range programs {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			_, err := render.Run(t.Context(), monitor.Program{
				Binary: os.Args[0], Dir: t.TempDir(), Env: []string{programVariable + "=" + name},
				Config: &monitor.Config{Project: "demo", Stack: "prod"}, Log: &log,
			})
			p.judge(t, err, log.String())
		})
	}
}

// mocks stand for the engine and the provider.
type mocks struct{}

func (mocks) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return args.Name, args.Inputs, nil
}

func (mocks) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

func TestMocks(t *testing.T) {
	for name, p := range programs {
		t.Run(name, func(t *testing.T) {
			if p.noMocks {
				p.errors = nil
			}
			err := pulumi.RunErr(p.run, pulumi.WithMocks("demo", "prod", mocks{}))
			// Mocks don't show the log, and the error is the first.
			if failed := err != nil; failed != (p.errors != nil) {
				t.Errorf("error %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "guardrails: ") {
				t.Errorf("error %v is of something else", err)
			}
		})
	}
}
