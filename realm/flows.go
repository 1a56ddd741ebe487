package realm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"

	"github.com/pulumi/pulumi-keycloak/sdk/v5/go/keycloak/authentication"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// flow is an authentication flow by intention: its steps in the order in which
// Keycloak goes through them.
type flow struct {
	name        string
	description string
	steps       []step
}

// step is an authenticator, or a sub-flow with steps of its own.
type step struct {
	Authenticator string
	Requirement   string
	Config        map[string]string
	Flow          string // name of a sub-flow
	Provider      string // kind of a sub-flow; empty is basic-flow
	Steps         []step
}

const (
	required    = "REQUIRED"
	alternative = "ALTERNATIVE"
	conditional = "CONDITIONAL"
	disabled    = "DISABLED"
)

// Settings of steps that may change in place: they are left out of a flow's digest.
const (
	loaMaxAge   = "loa-max-age"
	denyMessage = "denyErrorMessage"
)

func run(requirement, authenticator string) step {
	return step{Authenticator: authenticator, Requirement: requirement}
}

func configured(authenticator string, config map[string]string) step {
	return step{Authenticator: authenticator, Requirement: required, Config: config}
}

func subflow(requirement, name string, steps ...step) step {
	return step{Requirement: requirement, Flow: name, Steps: steps}
}

// when is a sub-flow that runs if all conditions hold, which are its first steps.
func when(name string, conditions []step, steps ...step) step {
	return subflow(conditional, name, append(conditions, steps...)...)
}

// The conditions of a sub-flow.

// userHas holds if the user has one of the authenticators beside it.
func userHas() step { return run(required, "conditional-user-configured") }

func userRole(role string, has bool) step {
	return configured("conditional-user-role", map[string]string{"condUserRole": role, "negate": strconv.FormatBool(!has)})
}

// credentialUsed looks at the credentials of this sign-in.
func credentialUsed(credential string, used bool) step {
	return configured("conditional-credential", map[string]string{"credentials": credential, "included": strconv.FormatBool(used)})
}

// flowRan looks at another sub-flow of the same flow.
func flowRan(name string, ran bool) step {
	result := "executed"
	if !ran {
		result = "not-executed"
	}
	return configured("conditional-sub-flow-executed", map[string]string{"flow_to_check": name, "check_result": result})
}

// level holds at every new sign-in that has reached no level yet, and later if
// it is asked for and was reached longer ago than seconds. Keycloak records the
// level once the sub-flow is done. A flow may have one condition of each level:
// with two, Keycloak fails.
func level(n, seconds int) step {
	return configured("conditional-level-of-authentication", map[string]string{
		"loa-condition-level": strconv.Itoa(n), loaMaxAge: strconv.Itoa(seconds),
	})
}

func allow() step { return run(required, "allow-access-authenticator") }

func deny(message string) step {
	return configured("deny-access-authenticator", map[string]string{denyMessage: message})
}

// alias is the flow's alias in Keycloak. It ends in a digest of the structure:
// the provider adds steps at the end only, so that another structure is another
// flow. Aliases of sub-flows begin with it, since they share one name space.
func (f *flow) alias() (string, error) {
	text, err := json.Marshal(structure(f.steps))
	if err != nil {
		return "", fmt.Errorf("flow %s: %w", f.name, err)
	}
	sum := sha256.Sum256(text)
	return "model-api-" + f.name + "-" + hex.EncodeToString(sum[:4]), nil
}

// structure is the steps without what may change in place.
func structure(steps []step) []step {
	fixed := make([]step, len(steps))
	for i, s := range steps {
		s.Config = maps.Clone(s.Config)
		delete(s.Config, loaMaxAge)
		delete(s.Config, denyMessage)
		s.Steps = structure(s.Steps)
		fixed[i] = s
	}
	return fixed
}

// flowMaker makes flows one step after the other, since the order of creation is
// the order of the steps.
type flowMaker struct {
	ctx    *pulumi.Context
	realm  pulumi.StringInput
	within pulumi.ResourceOption
	last   []pulumi.Resource // what the next one comes after
}

// boundFlow is a flow in Keycloak.
type boundFlow struct {
	Alias string
	ID    pulumi.IDOutput
}

func (m *flowMaker) make(f flow) (*boundFlow, error) {
	alias, err := f.alias()
	if err != nil {
		return nil, err
	}
	made, err := authentication.NewFlow(m.ctx, alias, &authentication.FlowArgs{
		RealmId:     m.realm,
		Alias:       pulumi.String(alias),
		Description: pulumi.String(f.description),
		ProviderId:  pulumi.String("basic-flow"),
	}, m.opts())
	if err != nil {
		return nil, err
	}
	m.last = []pulumi.Resource{made}
	if err := m.steps(f.steps, alias, alias); err != nil {
		return nil, fmt.Errorf("flow %s: %w", alias, err)
	}
	return &boundFlow{Alias: alias, ID: made.ID()}, nil
}

// steps makes the steps of the flow of that alias, whose top is the flow of alias top.
func (m *flowMaker) steps(steps []step, alias, top string) error {
	for i, s := range steps {
		var err error
		if s.Flow != "" {
			err = m.subflow(s, alias, top)
		} else {
			err = m.execution(s, alias, alias+"-"+strconv.Itoa(i+1)+"-"+s.Authenticator, top)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *flowMaker) subflow(s step, parent, top string) error {
	alias := top + "-" + s.Flow
	provider := s.Provider
	if provider == "" {
		provider = "basic-flow"
	}
	a := &authentication.SubflowArgs{
		RealmId:         m.realm,
		ParentFlowAlias: pulumi.String(parent),
		Alias:           pulumi.String(alias),
		ProviderId:      pulumi.String(provider),
		Requirement:     pulumi.String(s.Requirement),
	}
	if s.Authenticator != "" {
		a.Authenticator = pulumi.String(s.Authenticator)
	}
	made, err := authentication.NewSubflow(m.ctx, alias, a, m.opts())
	if err != nil {
		return err
	}
	m.last = []pulumi.Resource{made}
	if err := m.steps(s.Steps, alias, top); err != nil {
		return err
	}
	m.last = append(m.last, made)
	return nil
}

func (m *flowMaker) execution(s step, parent, name, top string) error {
	made, err := authentication.NewExecution(m.ctx, name, &authentication.ExecutionArgs{
		RealmId:         m.realm,
		ParentFlowAlias: pulumi.String(parent),
		Authenticator:   pulumi.String(s.Authenticator),
		Requirement:     pulumi.String(s.Requirement),
	}, m.opts())
	if err != nil {
		return err
	}
	m.last = []pulumi.Resource{made}
	if s.Config == nil {
		return nil
	}
	config := pulumi.StringMap{}
	for key, value := range s.Config {
		if key == "flow_to_check" {
			value = top + "-" + value
		}
		config[key] = pulumi.String(value)
	}
	set, err := authentication.NewExecutionConfig(m.ctx, name, &authentication.ExecutionConfigArgs{
		RealmId:     m.realm,
		ExecutionId: made.ID().ToStringOutput(),
		Alias:       pulumi.String(name),
		Config:      config,
	}, m.opts())
	if err != nil {
		return err
	}
	// The execution too: it is the order of executions that counts.
	m.last = []pulumi.Resource{made, set}
	return nil
}

func (m *flowMaker) opts() pulumi.ResourceOption {
	return pulumi.Composite(m.within, pulumi.DependsOn(m.last))
}
