package render

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// flow is an authentication flow, or a sub-flow of one.
type flow struct {
	id, realm, alias        string
	description, providerID string
	topLevel                bool
	steps                   []*step
}

// step is an execution of a flow: an authenticator, or a sub-flow.
type step struct {
	urn           string
	after         []string // URNs of what it is made after
	authenticator string
	flow          *flow // of a sub-flow
	requirement   string

	configAlias string
	config      map[string]string
}

func (b *builder) flow(realm *Realm, in *inputs) {
	b.addFlow(realm, in, true)
}

func (b *builder) subflow(realm *Realm, in *inputs) {
	f := b.addFlow(realm, in, false)
	b.addStep(realm, in, &step{
		authenticator: in.str("authenticator"), flow: f, requirement: read(in, "requirement", "DISABLED"),
	})
}

func (b *builder) execution(realm *Realm, in *inputs) {
	b.addStep(realm, in, &step{
		authenticator: in.str("authenticator"), requirement: read(in, "requirement", "DISABLED"),
	})
}

func (b *builder) executionConfig(_ *Realm, in *inputs) {
	if s := ref(in, "executionId", b.steps); s != nil {
		s.configAlias, s.config = in.str("alias"), in.strMap("config")
	}
}

func (b *builder) bindings(realm *Realm, in *inputs) {
	in.set(realm.bindings, []field{
		{"browserFlow", "browserFlow", nil}, {"registrationFlow", "registrationFlow", nil},
		{"directGrantFlow", "directGrantFlow", nil}, {"resetCredentialsFlow", "resetCredentialsFlow", nil},
		{"clientAuthenticationFlow", "clientAuthenticationFlow", nil}, {"dockerAuthenticationFlow", "dockerAuthenticationFlow", nil},
	})
}

func (b *builder) addFlow(realm *Realm, in *inputs, topLevel bool) *flow {
	f := &flow{
		id: in.res.ID, realm: realm.Name, alias: in.str("alias"), description: in.str("description"),
		providerID: read(in, "providerId", "basic-flow"), topLevel: topLevel,
	}
	switch {
	case realm.base.hasFlow(f.alias):
		in.fail("alias %q is that of a flow that every realm has", f.alias)
	case slices.ContainsFunc(realm.flows, func(other *flow) bool { return other.alias == f.alias }):
		in.fail("alias %q is taken by another flow", f.alias)
	}
	realm.flows = append(realm.flows, f)
	b.flows[in.res.ID] = f
	return f
}

// addStep puts a step into the flow that parentFlowAlias names, once all are known.
func (b *builder) addStep(realm *Realm, in *inputs, s *step) {
	s.urn, s.after = in.res.URN, in.res.Dependencies
	b.steps[in.res.ID] = s
	parent := in.str("parentFlowAlias")
	b.links = append(b.links, func() {
		i := slices.IndexFunc(realm.flows, func(f *flow) bool { return f.alias == parent })
		if i < 0 {
			in.fail("input parentFlowAlias names %q, which the program does not declare", parent)
			return
		}
		realm.flows[i].steps = append(realm.flows[i].steps, s)
	})
}

// orderSteps puts the steps of each flow into the order in which the provider makes
// them, which is that of their dependencies, and is theirs in Keycloak.
func (r *Realm) orderSteps() error {
	for _, f := range r.flows {
		slices.SortFunc(f.steps, func(x, y *step) int {
			return strings.Compare(x.urn, y.urn)
		})
		var ordered []*step
		for len(ordered) < len(f.steps) {
			i := slices.IndexFunc(f.steps, func(s *step) bool {
				return !slices.Contains(ordered, s) && !slices.ContainsFunc(f.steps, func(other *step) bool {
					return !slices.Contains(ordered, other) && slices.Contains(s.after, other.urn)
				})
			})
			if i < 0 {
				return fmt.Errorf("render: realm %s: the steps of flow %q wait for each other", r.Name, f.alias)
			}
			ordered = append(ordered, f.steps[i])
		}
		for i, s := range ordered[min(1, len(ordered)):] {
			if !slices.Contains(s.after, ordered[i].urn) {
				return fmt.Errorf("render: realm %s: the order of flow %q is not said: a step must depend on the one before it",
					r.Name, f.alias)
			}
		}
		f.steps = ordered
	}
	return nil
}

func (b *base) hasFlow(alias string) bool {
	return slices.Contains(names(b.list("authenticationFlows"), "alias"), alias)
}

// flowsRepresentation adds the flows and their configurations to those of every realm.
func (r *Realm) flowsRepresentation(rep object) {
	flows, configs := r.base.list("authenticationFlows"), r.base.list("authenticatorConfig")
	for _, f := range r.flows {
		steps := []object{}
		for _, s := range f.steps {
			steps = append(steps, s.representation())
			if s.config != nil {
				configs = append(configs, object{"alias": s.configAlias, "config": s.config})
			}
		}
		flows = append(flows, object{
			"id": f.id, "alias": f.alias, "description": f.description, "providerId": f.providerID,
			"topLevel": f.topLevel, "builtIn": false, "authenticationExecutions": steps,
		})
	}
	rep["authenticationFlows"], rep["authenticatorConfig"] = flows, configs
	maps.Copy(rep, r.bindings)
}

// representation has the priority 0 for every step, which is what becomes of it when
// the provider sets the requirement: the order is that of creation.
func (s *step) representation() object {
	rep := object{
		"authenticatorFlow": s.flow != nil, "requirement": s.requirement, "priority": 0, "userSetupAllowed": false,
	}
	if s.authenticator != "" {
		rep["authenticator"] = s.authenticator
	}
	if s.flow != nil {
		rep["flowAlias"] = s.flow.alias
	}
	if s.config != nil {
		rep["authenticatorConfig"] = s.configAlias
	}
	return rep
}

// authenticationFlows makes the flows as the provider does, one step after the other.
func (a *applier) authenticationFlows(ctx context.Context) error {
	for _, f := range a.flows {
		if f.topLevel {
			if err := a.post(ctx, "/authentication/flows", object{
				"id": f.id, "alias": f.alias, "description": f.description, "providerId": f.providerID, "topLevel": true, "builtIn": false,
			}); err != nil {
				return fmt.Errorf("%s: %w", f.alias, err)
			}
			if err := a.steps(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *applier) steps(ctx context.Context, f *flow) error {
	executions := "/authentication/flows/" + url.PathEscape(f.alias) + "/executions"
	for _, s := range f.steps {
		id, err := a.step(ctx, executions, s)
		if err != nil {
			return fmt.Errorf("%s: %w", f.alias, err)
		}
		if err := a.put(ctx, executions, object{"id": id, "requirement": s.requirement}); err != nil {
			return fmt.Errorf("%s: %w", f.alias, err)
		}
		if s.config != nil {
			if err := a.post(ctx, "/authentication/executions/"+id+"/config",
				object{"alias": s.configAlias, "config": s.config}); err != nil {
				return fmt.Errorf("%s: %w", f.alias, err)
			}
		}
		if s.flow != nil {
			if err := a.steps(ctx, s.flow); err != nil {
				return err
			}
		}
	}
	return nil
}

// step makes one execution and returns its id.
func (a *applier) step(ctx context.Context, executions string, s *step) (string, error) {
	if s.flow == nil {
		return a.admin.Create(ctx, a.path+executions+"/execution", object{"provider": s.authenticator})
	}
	flowID, err := a.admin.Create(ctx, a.path+executions+"/flow", object{
		"alias": s.flow.alias, "type": s.flow.providerID, "provider": s.authenticator, "description": s.flow.description,
	})
	if err != nil {
		return "", err
	}
	var all []struct{ ID, FlowID string }
	if err := a.admin.Do(ctx, http.MethodGet, a.path+executions, nil, &all); err != nil {
		return "", err
	}
	for _, e := range all {
		if e.FlowID == flowID {
			return e.ID, nil
		}
	}
	return "", fmt.Errorf("sub-flow %s has no execution", s.flow.alias)
}

// bind binds the flows. It also sends the settings of the device grant, which Keycloak
// resets where they are left out.
func (a *applier) bind(ctx context.Context) error {
	if len(a.bindings) == 0 {
		return nil
	}
	var realm object
	if err := a.admin.Do(ctx, http.MethodGet, a.path, nil, &realm); err != nil {
		return err
	}
	return a.put(ctx, "", with(a.bindings, object{
		"oauth2DeviceCodeLifespan": realm["oauth2DeviceCodeLifespan"], "oauth2DevicePollingInterval": realm["oauth2DevicePollingInterval"],
	}))
}
