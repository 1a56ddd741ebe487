package policy

import (
	"encoding/json"
	"strings"
	"testing"
)

func valid() *Policy {
	return &Policy{
		Version: Version, Issuer: "https://id.example.com/realms/r", Audience: "api", BaseRole: "access",
		Models: []Model{
			{Name: "iris", Embedded: "iris", Roles: []string{"access"}},
			{Name: "churn", Upstream: &Upstream{URL: "http://triton:8000"}, Roles: []string{"model-churn", "admin"}},
		},
		Clients: []Client{},
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Policy)
		want   string
	}{
		{"a later version", func(p *Policy) { p.Version = 2 }, "version is 2"},
		{"an issuer that is no URL", func(p *Policy) { p.Issuer = "id.example.com" }, "issuer"},
		{"no audience: any token of the realm would do (RFC 9068, 4)", func(p *Policy) { p.Audience = "" }, "audience is empty"},
		{"no base role", func(p *Policy) { p.BaseRole = "" }, "baseRole is empty"},
		{"a model that needs no role", func(p *Policy) { p.Models[0].Roles = nil }, "names no role"},
		{"a model that needs the role with no name", func(p *Policy) { p.Models[0].Roles = []string{""} }, "names no role"},
		{"a model twice", func(p *Policy) { p.Models[1].Name = "iris" }, "declared twice"},
		{"a model whose name leaves its path segment", func(p *Policy) { p.Models[0].Name = "../admin" }, "model name"},
		{"a model that runs nowhere", func(p *Policy) { p.Models[0].Embedded = "" }, "embedded or upstream"},
		{"a model that runs twice", func(p *Policy) { p.Models[1].Embedded = "iris" }, "embedded or upstream"},
		{"an upstream with a credential in its URL (RFC 9110, 4.2.4)", func(p *Policy) { p.Models[1].Upstream.URL = "http://u:hunter2@triton" }, "user info"},
		{"an upstream with a credential in what is no URL", func(p *Policy) { p.Models[1].Upstream.URL = "http://u:hunter2@tri ton" }, "not an http or https URL"},
		{"an upstream that is a file", func(p *Policy) { p.Models[1].Upstream.URL = "file:///etc/passwd" }, `model "churn": upstream.url is not an http`},
		{"an upstream with a key in the query, which no request would have", func(p *Policy) { p.Models[1].Upstream.URL = "http://triton/?key=hunter2" }, "holds a query"},
		{"an upstream with an empty query", func(p *Policy) { p.Models[1].Upstream.URL = "http://triton?" }, "holds a query"},
		{"an upstream with a fragment (RFC 9110, 4.2.5)", func(p *Policy) { p.Models[1].Upstream.URL = "http://triton/#hunter2" }, "holds a fragment"},
		{"an upstream with an empty fragment", func(p *Policy) { p.Models[1].Upstream.URL = "http://triton/#" }, "holds a fragment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := valid()
			tt.change(p)
			data, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Parse(data); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q and no secret", err, tt.want)
			}
		})
	}
	data, err := json.Marshal(valid())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(data); err != nil {
		t.Errorf("a valid policy: %v", err)
	}
	for _, ambiguous := range []struct{ name, text string }{
		{"a member that this version does not know", strings.Replace(string(data), `"version"`, `"allowAll":true,"version"`, 1)},
		{"roles twice, the laxer ones last", strings.Replace(string(data), `"embedded"`, `"roles":["everybody"],"embedded"`, 1)},
		{"roles in another case", strings.Replace(string(data), `"embedded"`, `"ROLES":["everybody"],"embedded"`, 1)},
		{"a second policy behind the first", string(data) + string(data)},
	} {
		if _, err := Parse([]byte(ambiguous.text)); err == nil {
			t.Errorf("%s is accepted", ambiguous.name)
		}
	}
}

func TestDecide(t *testing.T) {
	for _, tt := range []struct {
		name, model string
		roles       []string
		want        Decision
	}{
		{"base role alone, for a model that asks for no more", "iris", []string{"access"}, Allow},
		{"one of the roles and the base role", "churn", []string{"access", "admin"}, Allow},
		{"the role without the base role", "churn", []string{"model-churn"}, NoBaseRole},
		{"no role at all", "iris", nil, NoBaseRole},
		{"the base role without the role", "churn", []string{"access"}, UnknownModel},
		{"a model that is not there", "ghost", []string{"access"}, UnknownModel},
		{"roles are compared whole and in their case", "iris", []string{"Access", "access-more"}, NoBaseRole},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, got := valid().Decide(tt.roles, tt.model)
			if got != tt.want || (m != nil) != (tt.want == Allow) {
				t.Errorf("decision %v with model %v, want %v", got, m, tt.want)
			}
		})
	}
	if seen := valid().Visible([]string{"access"}); len(seen) != 1 || seen[0].Name != "iris" {
		t.Errorf("visible %v, want iris alone", seen)
	}
	if seen := valid().Visible([]string{"model-churn"}); seen != nil {
		t.Errorf("without the base role %v is visible", seen)
	}
}
