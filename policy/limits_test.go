package policy

import (
	"fmt"
	"testing"
)

func TestQuotas(t *testing.T) {
	p := &Policy{Limits: []Limit{
		{Role: "tier-basic", Requests: Rate{Minute: 10, Day: 100}, Concurrent: 1},
		{Role: "tier-gold", Requests: Rate{Minute: 100}, Concurrent: 5},
		{Group: "/research", Requests: Rate{Minute: 50, Day: 1000}, Concurrent: 2},
		{Group: "/team", Shared: true, Tokens: Rate{Day: 7}},
		{Client: "batch", Requests: Rate{Hour: 9}},
		{Model: "chat", Concurrent: 3},
	}}
	for _, row := range []struct {
		name  string
		who   Principal
		model string
		want  string
	}{
		{"one tier", Principal{RealmRoles: []string{"tier-basic"}}, "iris", `[:{10 0 100} {0 0 0} 1]`},
		{"of two tiers the largest bounds, and no bound is the largest", Principal{RealmRoles: []string{"tier-basic", "tier-gold"}}, "iris", `[:{100 0 0} {0 0 0} 5]`},
		{"a group's tier", Principal{Groups: []string{"/research"}}, "iris", `[:{50 0 1000} {0 0 0} 2]`},
		{"without any, or without the claim, the smallest bounds", Principal{}, "iris", `[:{10 0 100} {0 0 0} 1]`},
		{"a group below is another group", Principal{Groups: []string{"/research/vision"}}, "iris", `[:{10 0 100} {0 0 0} 1]`},
		{"every pool", Principal{RealmRoles: []string{"tier-gold"}, Groups: []string{"/team"}, ClientID: "batch"}, "chat",
			`[group /team:{0 0 0} {0 0 7} 0 client batch:{0 9 0} {0 0 0} 0 model chat:{0 0 0} {0 0 0} 3 :{100 0 0} {0 0 0} 5]`},
	} {
		var got []string
		for _, q := range p.Quotas(row.who, row.model) {
			got = append(got, fmt.Sprintf("%s:%v %v %d", q.Owner, q.Requests, q.Tokens, q.Concurrent))
		}
		if fmt.Sprint(got) != row.want {
			t.Errorf("%s:\ngot  %v\nwant %s", row.name, got, row.want)
		}
	}
	if q := (&Policy{Limits: p.Limits[4:]}).Quotas(Principal{}, "iris"); q != nil {
		t.Errorf("without tiers a principal has %v", q)
	}
}
