package policy

import (
	"cmp"
	"slices"
	"strings"
)

// Limit bounds what callers may use. Exactly one of Role, Group, Client and Model
// says whom it is for.
//
// For a role or a group it is a tier: each principal has one, which is counted for
// that principal alone (issuer and subject). For a client, a model, or a group with
// Shared it is a pool: one count for all who use it.
type Limit struct {
	Role   string `json:"role,omitempty"`   // realm role, or CLIENT/ROLE
	Group  string `json:"group,omitempty"`  // full path
	Client string `json:"client,omitempty"` // client id: who got the token
	Model  string `json:"model,omitempty"`
	Shared bool   `json:"shared,omitempty"` // of a group

	Requests   Rate `json:"requests,omitzero"`
	Tokens     Rate `json:"tokens,omitzero"`      // of language models, in and out
	Concurrent int  `json:"concurrent,omitempty"` // requests under way at once, streams among them; 0 means no limit
}

// Rate is how much there is in a time. A minute slides; an hour and a day are those
// of UTC. 0 means no limit.
type Rate struct {
	Minute int64 `json:"minute,omitempty"`
	Hour   int64 `json:"hour,omitempty"`
	Day    int64 `json:"day,omitempty"`
}

// Per are the rates in the order minute, hour, day.
func (r *Rate) Per() [3]int64 { return [3]int64{r.Minute, r.Hour, r.Day} }

// Quota is one Limit as it applies to a request.
type Quota struct {
	Owner string // what the count belongs to: "" for the principal, otherwise such as "client batch"
	*Limit
}

// Quotas returns what bounds a request of a principal to a model: the principal's
// tier, where there are tiers, and every pool that the request is of.
//
// Of several tiers the largest bounds count, one by one. Who has none of them gets
// the smallest bounds: a token that lost its claims frees nobody.
func (p *Policy) Quotas(who Principal, model string) []Quota {
	var all, mine []*Limit
	var quotas []Quota
	for i := range p.Limits {
		l := &p.Limits[i]
		switch {
		case l.Client != "" && l.Client == who.ClientID:
			quotas = append(quotas, Quota{"client " + l.Client, l})
		case l.Model != "" && l.Model == model:
			quotas = append(quotas, Quota{"model " + l.Model, l})
		case l.Group != "" && l.Shared && slices.Contains(who.Groups, l.Group):
			quotas = append(quotas, Quota{"group " + l.Group, l})
		case l.tier():
			all = append(all, l)
			if l.Role != "" && who.hasRole(l.Role) || l.Group != "" && slices.Contains(who.Groups, l.Group) {
				mine = append(mine, l)
			}
		}
	}
	switch {
	case len(mine) > 0:
		quotas = append(quotas, Quota{"", merged(mine, largest)})
	case len(all) > 0:
		quotas = append(quotas, Quota{"", merged(all, smallest)})
	}
	return quotas
}

// tier says whether l is counted for each principal alone.
func (l *Limit) tier() bool { return l.Role != "" || l.Group != "" && !l.Shared }

// merged is the limit of which each bound is chosen among those of all tiers.
func merged(tiers []*Limit, choose func(a, b int64) int64) *Limit {
	if len(tiers) == 1 {
		return tiers[0]
	}
	m := *tiers[0]
	for _, t := range tiers[1:] {
		m.Requests, m.Tokens = m.Requests.with(t.Requests, choose), m.Tokens.with(t.Tokens, choose)
		m.Concurrent = int(choose(int64(m.Concurrent), int64(t.Concurrent)))
	}
	return &m
}

func (r Rate) with(o Rate, choose func(a, b int64) int64) Rate {
	return Rate{choose(r.Minute, o.Minute), choose(r.Hour, o.Hour), choose(r.Day, o.Day)}
}

// largest and smallest choose between bounds, of which 0 is none.
func largest(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

func smallest(a, b int64) int64 {
	if a == 0 || b == 0 {
		return cmp.Or(a, b)
	}
	return min(a, b)
}

// validateLimits reports what is wrong with the limits.
func (p *Policy) validateLimits(errs *problems) {
	seen := map[string]bool{}
	for i := range p.Limits {
		l := &p.Limits[i]
		said := slices.DeleteFunc([]string{named("role", l.Role), named("group", l.Group), named("client", l.Client), named("model", l.Model)},
			func(s string) bool { return s == "" })
		if len(said) != 1 {
			errs.addf("limits[%d] must name exactly one of role, group, client and model", i)
			continue
		}
		at := "the limit of " + said[0]
		if seen[said[0]] {
			errs.addf("%s is declared twice", at)
		}
		seen[said[0]] = true
		if l.Shared && l.Group == "" {
			errs.addf("%s: shared is for groups: a limit of a client or a model is shared by all who use it, and one of a role never is", at)
		}
		if l.Group != "" && !strings.HasPrefix(l.Group, "/") {
			errs.addf("%s: %q is not a full path such as /research/vision", at, l.Group)
		}
		if l.Model != "" && !slices.ContainsFunc(p.Models, func(m Model) bool { return m.Name == l.Model }) {
			errs.addf("%s: there is no such model", at)
		}
		bounds := append(append([]int64{int64(l.Concurrent)}, arrayOf(l.Requests)...), arrayOf(l.Tokens)...)
		if slices.Min(bounds) < 0 || slices.Max(bounds) == 0 {
			errs.addf("%s must set at least one bound, and none below 0: take a model's role away to forbid it", at)
		}
	}
}

func arrayOf(r Rate) []int64 { per := r.Per(); return per[:] }

func named(kind, name string) string {
	if name == "" {
		return ""
	}
	return kind + " " + name
}
