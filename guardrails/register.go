package guardrails

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
)

// Guard holds a program to the rules.
type Guard struct {
	ctx     *pulumi.Context
	checker *Checker

	mu     sync.Mutex
	checks []pulumi.ResourceArrayOutput // one for each resource; settles when it is checked
}

// Register checks each resource that the program registers from now on: call it
// before the first, and Finish after the last. A violation fails the
// registration of its resource before the engine hears of it, and with that the
// preview or update; what an exemption or dev allows is a warning. The error of
// Register itself lists exemptions that can't be meant and models that break a
// rule.
//
// The check runs in the program's process, so it runs with mocks and the local
// renderer as it does with the engine. It does not see what a transform of the
// whole stack changes (Context.RegisterResourceTransform), nor the children of a
// component that another process makes.
//
// Pulumi hands each transformation the options that the program wrote, so those
// that a pulumi.Transformations of a resource or component has set are lost with
// this one after it. Set them directly or by pulumi.Transforms.
func Register(ctx *pulumi.Context, o Options) (*Guard, error) {
	checker, err := New(o)
	if err != nil {
		return nil, err
	}
	g := &Guard{ctx: ctx, checker: checker}
	if o.Policy != nil {
		found := checker.CheckPolicy(o.Policy)
		if err := errors.Join(g.warn(found), Refused(found)); err != nil {
			return nil, err
		}
	}
	if err := ctx.RegisterStackTransformation(g.transform); err != nil {
		return nil, fmt.Errorf("guardrails: %w", err)
	}
	return g, nil
}

// Finish waits until all resources registered so far are checked. Its error
// names each exemption that none of them needs.
func (g *Guard) Finish() error {
	g.mu.Lock()
	checks := slices.Clone(g.checks)
	g.mu.Unlock()
	for _, check := range checks {
		// Its violations are the registration's error.
		_, _ = internals.UnsafeAwaitOutput(g.ctx.Context(), check)
	}
	return g.checker.Unused()
}

// transform makes a resource depend on its own check. A transformation can't
// return an error; a panic would print a stack trace, and an error in the log
// alone would stop nothing. A dependency that fails to resolve is a clean error,
// and one that resolves to nothing changes nothing.
func (g *Guard) transform(args *pulumi.ResourceTransformationArgs) *pulumi.ResourceTransformationResult {
	checked, resolve, reject := g.ctx.NewOutput()
	go func() {
		// Inputs may be outputs of other resources, which take their time.
		inputs := properties(g.ctx.Context(), args.Props)
		if err := g.judge(args, g.checker.Check(args.Type, args.Name, inputs)); err != nil {
			reject(err)
			return
		}
		resolve(nil)
	}()
	none := checked.ApplyT(func(any) []pulumi.Resource { return nil }).(pulumi.ResourceArrayOutput)
	g.mu.Lock()
	g.checks = append(g.checks, none)
	g.mu.Unlock()
	opts := append(slices.Clone(args.Opts), pulumi.DependsOnInputs(none))
	if o, err := pulumi.NewResourceOptions(args.Opts...); err == nil && len(o.Transforms) > 0 {
		opts = append(opts, pulumi.Transforms([]pulumi.ResourceTransform{g.again}))
	}
	return &pulumi.ResourceTransformationResult{Props: args.Props, Opts: opts}
}

// again checks what the transforms of a resource, or of a component for its
// children, have made of it. The engine calls it after them, so it costs a round
// trip, which is why it is not the way of all resources. What is allowed has been
// told of before.
func (g *Guard) again(ctx context.Context, args *pulumi.ResourceTransformArgs) *pulumi.ResourceTransformResult {
	err := Refused(g.checker.Check(args.Type, args.Name, properties(ctx, args.Props)))
	if err == nil {
		return nil
	}
	refusal := pulumi.String("").ToStringOutput().ApplyT(func(string) (string, error) { return "", err })
	return &pulumi.ResourceTransformResult{Props: pulumi.Map{"guardrails": refusal}, Opts: args.Opts}
}

// judge logs violations. Of a program's failed registrations Pulumi only shows
// the first, so the sentences are in the log and the error has the names.
func (g *Guard) judge(args *pulumi.ResourceTransformationArgs, found []Violation) error {
	errs := []error{g.warn(found)}
	var broken []string
	for _, v := range found {
		if v.Allowed == "" {
			broken = append(broken, v.Rule)
			errs = append(errs, g.ctx.Log.Error(v.Error(), nil))
		}
	}
	if broken != nil {
		errs = append(errs, fmt.Errorf("guardrails: %s %q breaks %s", kind(args.Type), args.Name, strings.Join(broken, ", ")))
	}
	return errors.Join(errs...)
}

func (g *Guard) warn(found []Violation) error {
	for _, v := range found {
		told := v.Allowed == thisIsDev && slices.Contains(g.checker.options.Told, v.Rule)
		if v.Allowed != "" && !told {
			if err := g.ctx.Log.Warn(v.Error(), nil); err != nil {
				return fmt.Errorf("guardrails: log a warning: %w", err)
			}
		}
	}
	return nil
}
