// Package guardrails refuses resources of the Keycloak provider that would
// weaken the realm, whatever program registers them and from whatever
// configuration. One check over type, name and inputs serves three callers: the
// Pulumi engine by way of Register, the local renderer, which runs the same
// program and reports all violations at once, and the mocks of unit tests by
// way of New and Check.
package guardrails

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"keycloak-model-api/policy"
)

// Options say what holds for a program.
type Options struct {
	// Dev turns the rules that only matter where others can reach the realm
	// into warnings: Rule.Dev says which.
	Dev bool
	// Told are rules of which the program itself warns in dev, with the key of its
	// configuration: they give no second warning.
	Told []string
	// PasswordAlone says that people sign in to the realm by a password alone, where
	// they need a second factor.
	PasswordAlone bool
	// NoServiceKeys refuses clients with a service key, which Policy names.
	NoServiceKeys bool
	// Exemptions each free one resource from one rule.
	Exemptions []Exemption
	// Policy that the program exports, for the rules on models and service keys. May
	// be nil.
	Policy *policy.Policy
}

// Exemption frees one resource from one rule.
type Exemption struct {
	Resource string // logical name, as a preview shows it; for models the model's name
	Rule     string // Rule.Name
	Reason   string // shown in each preview
}

// Violation is one rule that one resource breaks.
type Violation struct {
	Rule     string // Rule.Name
	Type     string // token of the resource; empty for a model of the policy
	Resource string // logical name
	Sentence string // what is wrong and what to do
	// Allowed says why it stands nonetheless: the reason of an exemption, or
	// that this is dev. Empty: it is refused.
	Allowed string
}

// Error is one line.
func (v Violation) Error() string {
	line := fmt.Sprintf("guardrails: %s: %s %q: %s", v.Rule, kind(v.Type), v.Resource, v.Sentence)
	if v.Allowed != "" {
		line += " [allowed: " + v.Allowed + "]"
	}
	return line
}

const thisIsDev = "this is dev" // reason of Violation.Allowed

// kind is the last part of a type token: Client for keycloak:openid/client:Client.
func kind(typ string) string {
	if typ == "" {
		return "model"
	}
	return typ[strings.LastIndex(typ, ":")+1:]
}

// Refused joins the violations that nothing allows, a line each. It is nil if
// there are none.
func Refused(violations []Violation) error {
	var errs []error
	for _, v := range violations {
		if v.Allowed == "" {
			errs = append(errs, v)
		}
	}
	return errors.Join(errs...)
}

// Checker checks the resources of one program, in any order and at once.
type Checker struct {
	options Options

	mu      sync.Mutex
	matched []bool // by exemption
	checked int    // resources
	claims  claims
}

// New makes a checker. The error lists every exemption that can't be meant.
func New(o Options) (*Checker, error) {
	var errs []error
	for i, e := range o.Exemptions {
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("guardrails: exemption %d (resource %q, rule %q): "+format,
				append([]any{i, e.Resource, e.Rule}, args...)...))
		}
		if e.Resource == "" {
			fail("resource is empty: name it as the preview does")
		}
		if strings.TrimSpace(e.Reason) == "" {
			fail("reason is empty: say why")
		}
		if !slices.ContainsFunc(rules, func(r Rule) bool { return r.Name == e.Rule }) {
			fail("there is no such rule: use one of %s", strings.Join(names(), ", "))
		}
		if slices.ContainsFunc(o.Exemptions[:i], func(x Exemption) bool { return x.Resource == e.Resource && x.Rule == e.Rule }) {
			fail("stands there twice")
		}
	}
	return &Checker{options: o, matched: make([]bool, len(o.Exemptions))}, errors.Join(errs...)
}

// Check returns the violations of one resource of the given type token and
// logical name, those that Options allow included. A violation that takes two
// resources is returned with the second. An input whose value is not known
// yet, as in a first preview, breaks no rule.
func (c *Checker) Check(typ, name string, inputs resource.PropertyMap) []Violation {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked++
	var found []Violation
	for _, rule := range rules {
		if rule.check == nil {
			continue
		}
		in := &reader{root: resource.NewProperty(inputs)}
		if sentence := rule.check(typ, in); sentence != "" {
			found = append(found, c.allow(rule, Violation{Rule: rule.Name, Type: typ, Resource: name, Sentence: sentence}))
		} else if in.unknown {
			c.match(name, rule.Name) // can't tell yet
		}
	}
	if typ == realm && c.options.PasswordAlone {
		found = append(found, c.allow(secondFactor, Violation{Rule: SecondFactor, Type: typ, Resource: name,
			Sentence: "people sign in by a password alone: require a second factor"}))
	}
	found = append(found, c.serviceKey(typ, name, inputs)...)
	in := &reader{root: resource.NewProperty(inputs)}
	for _, m := range c.claims.add(typ, name, in) {
		found = append(found, c.allow(selfServiceClaim, Violation{Rule: selfServiceClaim.Name, Type: m.typ, Resource: m.name,
			Sentence: m.sentence()}))
	}
	if in.unknown {
		c.match(name, selfServiceClaim.Name)
	}
	return found
}

// CheckPolicy returns the violations of the access policy's models.
func (c *Checker) CheckPolicy(p *policy.Policy) []Violation {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []Violation
	for _, m := range p.Models {
		if m.Allow.AnyCaller() || slices.Contains(m.Allow.Roles, "") {
			found = append(found, c.allow(rolelessModel, Violation{Rule: rolelessModel.Name, Resource: m.Name,
				Sentence: "names no role, group, client or scope, so the base role alone decides who may call it: set allow.roles"}))
		}
	}
	return found
}

// allow says whether and why a violation stands.
func (c *Checker) allow(rule Rule, v Violation) Violation {
	if reason, ok := c.match(v.Resource, rule.Name); ok {
		v.Allowed = "exempt, " + reason
	} else if c.options.Dev && rule.Dev {
		v.Allowed = thisIsDev
	}
	return v
}

// match notes that an exemption has its use, and returns its reason.
func (c *Checker) match(resource, rule string) (reason string, ok bool) {
	for i, e := range c.options.Exemptions {
		if e.Resource == resource && e.Rule == rule {
			c.matched[i] = true
			return e.Reason, true
		}
	}
	return "", false
}

// Unused is an error that names each exemption that no checked resource needs,
// and nil if there is none.
func (c *Checker) Unused() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for i, e := range c.options.Exemptions {
		if !c.matched[i] {
			errs = append(errs, fmt.Errorf("guardrails: exemption %d: no resource %q breaks the rule %s: take it out, or name the "+
				"resource as the preview does", i, e.Resource, e.Rule))
		}
	}
	return errors.Join(errs...)
}
