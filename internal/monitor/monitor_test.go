package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
)

// The test binary is its own Pulumi program when this variable names one.
const programVariable = "MONITOR_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if program := programs[os.Getenv(programVariable)]; program != nil {
		pulumi.Run(program)
		return
	}
	os.Exit(m.Run())
}

type thing struct {
	pulumi.CustomResourceState
	Echo pulumi.StringOutput `pulumi:"echo"`
	Made pulumi.StringOutput `pulumi:"made"`
}

func newThing(ctx *pulumi.Context, name string, inputs pulumi.Map, opts ...pulumi.ResourceOption) (*thing, error) {
	var t thing
	return &t, ctx.RegisterResource("test:index/thing:Thing", name, inputs, &t, opts...)
}

func tag(key, value string) pulumi.ResourceTransform {
	return func(_ context.Context, args *pulumi.ResourceTransformArgs) *pulumi.ResourceTransformResult {
		if args.Type != "test:index/thing:Thing" {
			return nil
		}
		order, _ := args.Props["order"].(pulumi.String)
		args.Props["order"] = order + pulumi.String(value)
		args.Props[key] = pulumi.String(value)
		args.Opts.Protect = true
		return &pulumi.ResourceTransformResult{Props: args.Props, Opts: args.Opts}
	}
}

var programs = map[string]pulumi.RunFunc{
	"many": many,
	"outputs": func(ctx *pulumi.Context) error {
		c := config.New(ctx, "")
		t, err := newThing(ctx, "one", pulumi.Map{
			"echo":   c.RequireSecret("password"),
			"plain":  pulumi.String(c.Require("plain")),
			"nested": pulumi.Map{"list": pulumi.Array{pulumi.ToSecret("deep")}},
		})
		if err != nil {
			return err
		}
		two, err := newThing(ctx, "two", pulumi.Map{"echo": t.ID(), "made": t.Made})
		if err != nil {
			return err
		}
		ctx.Export("echo", t.Echo)
		ctx.Export("made", t.Made)
		ctx.Export("id", two.Echo)
		ctx.Export("object", pulumi.Map{"a": pulumi.IntArray{pulumi.Int(1)}})
		ctx.Export("secret?", pulumi.Bool(c.GetBool("plain")))
		return nil
	},
	"components": func(ctx *pulumi.Context) error {
		var parent, child pulumi.ResourceState
		if err := ctx.RegisterComponentResource("test:index:Parent", "p", &parent); err != nil {
			return err
		}
		if err := ctx.RegisterComponentResource("test:index:Child", "c", &child, pulumi.Parent(&parent)); err != nil {
			return err
		}
		_, err := newThing(ctx, "t", pulumi.Map{}, pulumi.Parent(&child))
		return err
	},
	"transforms": func(ctx *pulumi.Context) error {
		if err := ctx.RegisterResourceTransform(tag("stack", "S")); err != nil {
			return err
		}
		var parent pulumi.ResourceState
		if err := ctx.RegisterComponentResource("test:index:Parent", "p", &parent, pulumi.Transforms([]pulumi.ResourceTransform{tag("parent", "P")})); err != nil {
			return err
		}
		_, err := newThing(ctx, "t", pulumi.Map{"secret": pulumi.ToSecret("x")}, pulumi.Parent(&parent), pulumi.Transforms([]pulumi.ResourceTransform{tag("own", "O")}))
		return err
	},
	"transform fails": func(ctx *pulumi.Context) error {
		err := ctx.RegisterResourceTransform(func(_ context.Context, args *pulumi.ResourceTransformArgs) *pulumi.ResourceTransformResult {
			args.Props["guard"] = pulumi.String("").ToStringOutput().ApplyT(func(string) (string, error) {
				return "", errors.New("no implicit flow")
			})
			return &pulumi.ResourceTransformResult{Props: args.Props, Opts: args.Opts}
		})
		if err != nil {
			return err
		}
		_, err = newThing(ctx, "t", pulumi.Map{})
		return err
	},
	"fails":  func(*pulumi.Context) error { return errors.New("config: realm is missing") },
	"panics": func(*pulumi.Context) error { panic("out of cheese") },
	"dies": func(ctx *pulumi.Context) error {
		if _, err := newThing(ctx, "t", pulumi.Map{}); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond) // t is being made meanwhile
		os.Exit(3)
		return nil
	},
	"same name": func(ctx *pulumi.Context) error {
		if _, err := newThing(ctx, "t", pulumi.Map{}); err != nil {
			return err
		}
		_, err := newThing(ctx, "t", pulumi.Map{})
		return err
	},
	"faults": func(ctx *pulumi.Context) error {
		for _, name := range []string{"bad-1", "good", "bad-2"} {
			if _, err := newThing(ctx, name, pulumi.Map{}); err != nil {
				return err
			}
		}
		return nil
	},
	"invokes": func(ctx *pulumi.Context) error {
		if _, err := newThing(ctx, "t", pulumi.Map{}); err != nil {
			return err
		}
		var result struct {
			Answer string `pulumi:"answer"`
		}
		if err := ctx.Invoke("test:index/known:known", &struct {
			Question string `pulumi:"question"`
		}{"why"}, &result); err != nil {
			return err
		}
		ctx.Export("answer", pulumi.String(result.Answer))
		return ctx.Invoke("test:index/unknown:unknown", nil, &result)
	},
	"reads": func(ctx *pulumi.Context) error {
		var t thing
		return ctx.ReadResource("test:index/thing:Thing", "t", pulumi.ID("abc"), nil, &t)
	},
	"warns": func(ctx *pulumi.Context) error {
		fmt.Println("printed")
		return errors.Join(ctx.Log.Warn("web origin *", nil), ctx.Log.Info("not shown", nil),
			ctx.Log.Warn("a wildcard", nil), ctx.Log.Warn("web origin *", nil))
	},
}

// run runs one of the programs as the compiled program of a stack.
func run(t *testing.T, name string, change ...func(*Program)) (*Result, string, error) {
	t.Helper()
	var log bytes.Buffer
	p := Program{
		Binary: os.Args[0],
		Dir:    t.TempDir(),
		Env:    append(os.Environ(), programVariable+"="+name, "PULUMI_CONFIG_PASSPHRASE=kept from programs"),
		Config: &Config{
			Project: "demo", Stack: "dev",
			Values:  map[string]string{"demo:password": "hunter2", "demo:plain": "text"},
			Secrets: []string{"demo:password"},
		},
		Create: func(r *Resource) error {
			r.Outputs["made"] = resource.NewStringProperty("made of " + r.Name)
			return nil
		},
		Log: &log,
	}
	for _, c := range change {
		c(&p)
	}
	result, err := Run(t.Context(), p)
	return result, log.String(), err
}

func named(t *testing.T, r *Result, name string) *Resource {
	t.Helper()
	i := slices.IndexFunc(r.Resources, func(r *Resource) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("%q was not registered", name)
	}
	return r.Resources[i]
}

func TestSecretsStaySecretAndOutputsAreRead(t *testing.T) {
	result, _, err := run(t, "outputs")
	if err != nil {
		t.Fatal(err)
	}
	one := named(t, result, "one")
	if !one.Inputs["echo"].IsSecret() || one.Inputs["plain"].ContainsSecrets() || !one.Inputs["nested"].ContainsSecrets() {
		t.Errorf("secrets are not where they were: %v", one.Inputs)
	}
	if got := Plain(one.Inputs["nested"]); !cmp.Equal(got, map[string]any{"list": []any{"deep"}}) {
		t.Errorf("nested is %v", got)
	}
	if made := named(t, result, "two").Inputs["made"]; made.StringValue() != "made of one" {
		t.Errorf("the output of one reached two as %v", made)
	}
	shown, err := result.OutputsJSON(true)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{
  "echo": "hunter2",
  "id": %q,
  "made": "made of one",
  "object": {
    "a": [
      1
    ]
  },
  "secret?": false
}
`, one.ID)
	if diff := cmp.Diff(want, string(shown)); diff != "" {
		t.Error(diff)
	}
	masked, err := result.OutputsJSON(false)
	if err != nil || bytes.Contains(masked, []byte("hunter2")) || !bytes.Contains(masked, []byte("[secret]")) {
		t.Errorf("masked outputs are %s, %v", masked, err)
	}
}

func TestIDsAreTheSameInEveryRun(t *testing.T) {
	first, _, err := run(t, "components")
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := run(t, "components")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := named(t, first, "t").ID, named(t, second, "t").ID; a != b || a == "" {
		t.Errorf("ids %q and %q", a, b)
	}
}

func TestURNsHaveTheTypesOfTheParents(t *testing.T) {
	result, _, err := run(t, "components")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range result.Resources {
		got = append(got, r.URN)
	}
	want := []string{
		"urn:pulumi:dev::demo::pulumi:pulumi:Stack::demo-dev",
		"urn:pulumi:dev::demo::test:index:Parent::p",
		"urn:pulumi:dev::demo::test:index:Parent$test:index:Child::c",
		"urn:pulumi:dev::demo::test:index:Parent$test:index:Child$test:index/thing:Thing::t",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTransformsRunFromTheResourceUpToTheStack(t *testing.T) {
	result, _, err := run(t, "transforms")
	if err != nil {
		t.Fatal(err)
	}
	r := named(t, result, "t")
	if order := r.Inputs["order"].StringValue(); order != "OPS" {
		t.Errorf("order %q, want own, parent's, stack's", order)
	}
	if !r.Protect {
		t.Error("the option that a transform set is lost")
	}
	if !r.Inputs["secret"].IsSecret() {
		t.Error("a secret came out of the transforms plain")
	}
}

func TestFailures(t *testing.T) {
	for _, test := range []struct{ program, want string }{
		{"fails", "config: realm is missing"},
		{"panics", "out of cheese"},
		{"transform fails", "no implicit flow"},
		{"same name", `two resources of type test:index/thing:Thing have the name "t"`},
		{"reads", `the program reads test:index/thing:Thing "t" (abc)`},
	} {
		t.Run(test.program, func(t *testing.T) {
			_, _, err := run(t, test.program)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// What a program had asked for when it died is done, or not, before Run returns.
func TestNothingGoesOnAfterTheProgram(t *testing.T) {
	var making atomic.Int32
	_, _, err := run(t, "dies", func(p *Program) {
		p.Create = func(*Resource) error {
			making.Add(1)
			defer making.Add(-1)
			time.Sleep(300 * time.Millisecond)
			return nil
		}
	})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v, want the exit status", err)
	}
	if n := making.Load(); n != 0 {
		t.Errorf("%d resources are still being made", n)
	}
}

func TestNotAPulumiProgram(t *testing.T) {
	_, _, err := run(t, "", func(p *Program) { p.Binary = "true" })
	if err == nil || !strings.Contains(err.Error(), "not a Pulumi program") {
		t.Error(err)
	}
}

func TestFaultsOfAllResourcesAreReportedAtOnce(t *testing.T) {
	_, _, err := run(t, "faults", func(p *Program) {
		p.Create = func(r *Resource) error {
			if r.Name == "bad-1" {
				return errors.New("bad-1: refused by the provider")
			}
			return nil
		}
		p.Check = func(r *Resource) []error {
			if r.Name == "bad-2" {
				return []error{errors.New("bad-2: rule one"), errors.New("bad-2: rule two")}
			}
			return nil
		}
	})
	for _, want := range []string{"bad-1: refused by the provider", "bad-2: rule one", "bad-2: rule two"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func TestLookUps(t *testing.T) {
	result, _, err := run(t, "invokes", func(p *Program) {
		p.Invoke = func(token string, args resource.PropertyMap, registered []*Resource) (resource.PropertyMap, error) {
			if token != "test:index/known:known" {
				return nil, errors.New("no such function")
			}
			return resource.PropertyMap{"answer": args["question"]}, nil
		}
	})
	if err == nil || !strings.Contains(err.Error(), "test:index/unknown:unknown: no such function") {
		t.Errorf("error %v does not name the function", err)
	}
	if got := result.Outputs["answer"]; !got.IsString() || got.StringValue() != "why" {
		t.Errorf("answer %v", got)
	}
}

func TestOutputAndWarningsReachTheLog(t *testing.T) {
	_, log, err := run(t, "warns")
	if err != nil {
		t.Fatal(err)
	}
	// Each warning once, in an order that stays.
	for _, want := range []string{"printed\n", "warning: a wildcard\nwarning: web origin *\n"} {
		if strings.Count(log, want) != 1 {
			t.Errorf("log %q lacks %q", log, want)
		}
	}
	if strings.Contains(log, "not shown") {
		t.Errorf("log %q has what is only of interest in depth", log)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Run(ctx, Program{Binary: os.Args[0], Dir: t.TempDir(), Config: &Config{}, Log: os.Stderr})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
