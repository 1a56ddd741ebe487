package policy

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func valid() *Policy {
	return &Policy{
		Version: Version, BaseRole: "access",
		Models: []Model{
			{Name: "iris", Embedded: "iris", Allow: Conditions{Roles: []string{"access"}}},
			{Name: "churn", Upstream: &Upstream{URL: "http://triton:8000"}, Allow: Conditions{Roles: []string{"model-churn", "admin"}}},
		},
		Clients: []Client{{ClientID: "api", Kind: "api"}},
	}
}

// limits sets the limits.
func limits(all ...Limit) func(*Policy) { return func(p *Policy) { p.Limits = all } }

// signIn makes a model ask for a sign-in.
func secured(url string, t TLS) func(*Policy) {
	return func(p *Policy) { p.Models[1].Upstream.URL, p.Models[1].Upstream.TLS = url, &t }
}

func signIn(a Authentication) func(*Policy) {
	return func(p *Policy) { p.Models[1].Authentication = &a }
}

// openAI changes a model into one of OpenAI's protocol, and that by change.
func openAI(change func(*Model)) func(*Policy) {
	return func(p *Policy) {
		m := &p.Models[1]
		m.Protocol = ProtocolOpenAI
		change(m)
	}
}

// listing changes a model into one of which these paths may be called.
func listing(paths ...string) func(*Policy) {
	return func(p *Policy) { p.Models[1].Protocol, p.Models[1].Upstream.Paths = ProtocolPaths, paths }
}

// What is listed, and nothing else, may be called.
func TestLists(t *testing.T) {
	u := &Upstream{Paths: []string{"POST /invocations", "GET /jobs/*"}}
	for call, want := range map[string]bool{
		"POST /invocations": true, "GET /jobs/1": true, "HEAD /jobs/1": true,
		"GET /invocations": false, "DELETE /jobs/1": false, "GET /jobs": false, "GET /jobs/1/log": false, "POST /invocations/x": false, "POST /": false, "POST ": false,
	} {
		if method, path, _ := strings.Cut(call, " "); u.Lists(method, path) != want {
			t.Errorf("%s: want %v", call, want)
		}
	}
}

// What the other protocol allows, and where a name of two parts leads.
func TestNamesOfModels(t *testing.T) {
	p := valid()
	m := &p.Models[1]
	m.Protocol, m.Body = ProtocolOpenAI, &Body{Allow: []string{"guided_json", "guided_*", "image_url"}, Principal: "metadata.user_id"}
	for _, name := range []string{"llama", "llama3:8b", "meta-llama/Llama-3.1-8B-Instruct", "hf.co/org/model:Q4_K_M"} {
		m.Name, m.Upstream.URL, m.Upstream.Model = name, "https://api.example.com/v1", name
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := DefaultRole("meta-llama/Llama:8b"); got != "model-meta-llama-Llama-8b" {
		t.Errorf("role %s", got)
	}
	var none *Body
	if b := (&Body{Allow: []string{"guided_json", "lora*"}}); !b.Allows("lora_path") || !b.Allows("guided_json") || b.Allows("guided_regex") || none.Allows("lora") {
		t.Error("what is allowed is more or less than what stands there")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Policy)
		want   string
	}{
		{"a later version", func(p *Policy) { p.Version = 3 }, "version is 3: this program reads versions 1 and 2"},
		{"no version", func(p *Policy) { p.Version = 0 }, "version is 0"},
		{"no base role", func(p *Policy) { p.BaseRole = "" }, "baseRole is empty"},
		{"a condition that nobody meets, or everybody", func(p *Policy) { p.Models[0].Allow.Roles = []string{""} }, "allow.roles is empty"},
		{"an action that is none", func(p *Policy) { p.Models[0].Allow.Actions = []string{"train"} }, `allow.actions: "train" is none of infer, generate, metadata, ready`},
		{"a group by name, which two groups may have", func(p *Policy) { p.Models[0].Allow.Groups = []string{"vision"} }, `"vision" is not a full path`},
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
		{"an upstream with the path that the API adds", func(p *Policy) { p.Models[1].Upstream.URL = "http://triton:8000/v2" }, "upstream.url holds /v2"},
		{"an upstream with that path and a slash", func(p *Policy) { p.Models[1].Upstream.URL = "http://triton/base/v2/" }, "upstream.url holds /v2"},
		{"an upstream with the path of a model", func(p *Policy) { p.Models[1].Upstream.URL = "http://triton/v2/models/churn" }, "upstream.url holds /v2"},
		{"a credential without a name", func(p *Policy) { p.Models[1].Upstream.Credential = &Credential{} }, "credential.env is empty"},
		{"paths of another protocol", func(p *Policy) { p.Models[1].Upstream.Paths = []string{"POST /invocations"} }, "upstream.paths is for the protocol paths"},
		{"paths that list nothing", listing(), "upstream.paths is empty"},
		{"a path with dot segments", listing("POST /a/../b"), `upstream.paths "POST /a/../b" is not`},
		{"a path for every method", listing("/invocations"), `upstream.paths "/invocations" is not`},
		{"a path to delete by", listing("DELETE /api/delete"), `upstream.paths "DELETE /api/delete" is not`},
		{"a path for everything below", listing("POST /a/**"), `upstream.paths "POST /a/**" is not`},
		{"a path for a part of a segment", listing("POST /a/b*"), `upstream.paths "POST /a/b*" is not`},
		{"a path with a query", listing("POST /a?x=y"), `is not GET or POST`},
		{"a credential in a header that means something else", func(p *Policy) { p.Models[1].Upstream.Credential = &Credential{Env: "E", Header: "cookie"} }, `upstream.credential.header: "cookie" is none of x-api-key, api-key`},
		{"rules for a body of a model that the API holds", func(p *Policy) { p.Models[0].Body = &Body{} }, `body is for models that run elsewhere`},
		{"responses of another protocol", func(p *Policy) { p.Models[1].Stateful = true }, `model "churn": stateful is for the protocol openai`},
		{"a principal in a body that does not name the model", func(p *Policy) { p.Models[1].Body = &Body{Principal: "user"} }, `model "churn": body: principal: is for protocols in which the body names the model`},
		{"rules for a body that nothing reads", func(p *Policy) {
			p.Models[1].Protocol, p.Models[1].Upstream.Paths, p.Models[1].Body = ProtocolPaths, []string{"POST /x"}, &Body{}
		}, `body: is for protocols whose bodies the API reads`},
		{"a name at the model server where the path has it", func(p *Policy) { p.Models[1].Upstream.Model = "x" }, "upstream.model is for protocols in which the body names the model"},
		{"an embedded model of OpenAI's", func(p *Policy) { p.Models[0].Protocol = "openai" }, "embedded models speak the protocol oip alone"},
		{"an action of another protocol", func(p *Policy) { p.Models[0].Allow.Actions = []string{"chat"} }, `allow.actions: "chat" is none of infer, generate, metadata, ready`},
		{"a name with a line break at the model server", openAI(func(m *Model) { m.Upstream.Model = "a\nb" }), "upstream.model must be 1 to 255 printable ASCII"},
		{"a model whose name is a path", openAI(func(m *Model) { m.Name = "a/../b" }), `model name "a/../b"`},
		{"a model whose name begins with a slash", openAI(func(m *Model) { m.Name = "/a" }), `model name "/a"`},
		{"a model whose name has nothing between two slashes", openAI(func(m *Model) { m.Name = "a//b" }), `model name "a//b"`},
		{"a model whose name ends with a colon", openAI(func(m *Model) { m.Name = "a:" }), `model name "a:"`},
		{"a model whose name is escaped", openAI(func(m *Model) { m.Name = "a%2Fb" }), `model name "a%2Fb"`},
		{"an upstream with the path of one route", openAI(func(m *Model) { m.Upstream.URL = "https://h/v1/chat/completions" }), "upstream.url holds the path of one route"},
		{"a member that is never refused, so that allowing it says nothing", openAI(func(m *Model) { m.Body = &Body{Allow: []string{"temperature"}} }), `body: allow: "temperature" is none of the members`},
		{"everything, by a pattern of one's own", openAI(func(m *Model) { m.Body = &Body{Allow: []string{"*"}} }), `body: allow: "*" is none of the members`},
		{"a member for the principal that no server reads", openAI(func(m *Model) { m.Body = &Body{Principal: "model"} }), `body: principal: "model" is none of user`},

		{"a sign-in of no level", signIn(Authentication{ACR: []string{}, LevelMaxAge: "15m"}), `model "churn": authentication.acr [] must name`},
		{"a sign-in of a level with a quote in its name (RFC 9470, 3)", signIn(Authentication{ACR: []string{`2", max_age="9`}, LevelMaxAge: "15m"}), "authentication.acr"},
		{"a sign-in of two levels in one name (RFC 9470, 3)", signIn(Authentication{ACR: []string{"2 3"}, LevelMaxAge: "15m"}), "authentication.acr"},
		{"a sign-in that counts for ever", signIn(Authentication{ACR: []string{"2"}}), `authentication.levelMaxAge "" must be`},
		{"a sign-in that counts for no time", signIn(Authentication{ACR: []string{"2"}, LevelMaxAge: "0s"}), "authentication.levelMaxAge"},
		{"a sign-in that counts for part of a second", signIn(Authentication{ACR: []string{"2"}, LevelMaxAge: "1500ms"}), "authentication.levelMaxAge"},
		{"a model's own time that is the longer one", signIn(Authentication{ACR: []string{"2"}, LevelMaxAge: "15m", MaxAge: "16m"}), `authentication.maxAge "16m" must be`},
		{"a model's own time that is none", signIn(Authentication{ACR: []string{"2"}, LevelMaxAge: "15m", MaxAge: "0"}), "authentication.maxAge"},

		{"certificates for a server without TLS", secured("http://churn:8000", TLS{CA: "ca.pem"}), "upstream.tls is for a URL that begins with https"},
		{"a certificate without its key", secured("https://churn", TLS{Certificate: "tls.crt"}), "upstream.tls has a certificate or a key without the other"},
		{"settings of TLS that say nothing", secured("https://churn", TLS{}), "upstream.tls is empty"},

		// What no version of the API enforces yet must not look enforced.
		{"another protocol", func(p *Policy) { p.Models[1].Protocol = "mcp" }, `model "churn": protocol mcp is not enforced`},
		{"an exchanged token for nobody (RFC 8693)", func(p *Policy) { p.Models[1].Upstream.Identity = "exchange" }, "upstream.audience goes with upstream.identity exchange"},
		{"another identity", func(p *Policy) { p.Models[1].Upstream.Identity = "spiffe" }, "upstream.identity spiffe is not enforced"},
		{"an exchanged token and a credential in one header", func(p *Policy) {
			u := p.Models[1].Upstream
			u.Identity, u.Audience, u.Credential = "exchange", "x", &Credential{Env: "KEY"}
		}, "upstream.credential would stand in Authorization"},
		{"an audience for the model server", func(p *Policy) { p.Models[1].Upstream.Audience = "x" }, "upstream.audience goes with upstream.identity exchange"},
		{"a client with a key", func(p *Policy) { p.Clients[0].Key = true }, `client "api": key is for confidential clients of kind service`},

		{"a limit for nobody", limits(Limit{Requests: Rate{Minute: 1}}), "limits[0] must name exactly one of role, group, client and model"},
		{"a limit for two", limits(Limit{Role: "a", Model: "churn", Concurrent: 1}), "limits[0] must name exactly one"},
		{"a limit twice", limits(Limit{Role: "a", Concurrent: 1}, Limit{Role: "a", Concurrent: 2}), "the limit of role a is declared twice"},
		{"a limit of nothing", limits(Limit{Role: "a"}), "the limit of role a must set at least one bound"},
		{"a bound below 0", limits(Limit{Role: "a", Concurrent: 2, Tokens: Rate{Day: -1}}), "none below 0"},
		{"a shared role", limits(Limit{Role: "a", Shared: true, Concurrent: 1}), "shared is for groups"},
		{"a group without its path", limits(Limit{Group: "vision", Concurrent: 1}), "is not a full path"},
		{"a limit of an unknown model", limits(Limit{Model: "chrun", Concurrent: 1}), "there is no such model"},
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
	if got, err := Parse(data); err != nil || !cmp.Equal(valid(), got) {
		t.Errorf("a valid policy: %v, %s", err, cmp.Diff(valid(), got))
	}
	for _, ambiguous := range []struct{ name, text string }{
		{"a member that this version does not know", strings.Replace(string(data), `"version"`, `"allowAll":true,"version"`, 1)},
		{"conditions twice, the laxer ones last", strings.Replace(string(data), `"embedded"`, `"allow":{"roles":["everybody"]},"embedded"`, 1)},
		{"conditions in another case", strings.Replace(string(data), `"embedded"`, `"ALLOW":{"roles":["everybody"]},"embedded"`, 1)},
		{"roles of version 1 in version 2", strings.Replace(string(data), `"allow":{"roles":["access"]}`, `"roles":["access"]`, 1)},
		{"no roles, by an empty list", strings.Replace(string(data), `["access"]`, `[]`, 1)},
		{"no roles, by null", strings.Replace(string(data), `["access"]`, `null`, 1)},
		{"no conditions, by null", strings.Replace(string(data), `{"roles":["access"]}`, `null`, 1)},
		{"an issuer, which stands beside the policy", strings.Replace(string(data), `"version"`, `"issuer":"https://id.example.com/realms/r","version"`, 1)},
		{"a second policy behind the first", string(data) + string(data)},
		{"a version twice", strings.Replace(string(data), `"version"`, `"version":1,"version"`, 1)},
	} {
		if _, err := Parse([]byte(ambiguous.text)); err == nil {
			t.Errorf("%s is accepted", ambiguous.name)
		}
	}
}

func TestDecide(t *testing.T) {
	access := func(change func(*Principal)) Principal {
		p := Principal{RealmRoles: []string{"access"}, ClientID: "web"}
		if change != nil {
			change(&p)
		}
		return p
	}
	roles := func(names ...string) Principal { return Principal{RealmRoles: names} }
	for _, tt := range []struct {
		name   string
		allow  Conditions
		who    Principal
		action string
		want   Decision
	}{
		{"base role alone, for a model that asks for no more", Conditions{Roles: []string{"access"}}, roles("access"), "infer", Allow},
		{"one of the roles and the base role", Conditions{Roles: []string{"model-churn", "admin"}}, roles("access", "admin"), "infer", Allow},
		{"the role without the base role", Conditions{Roles: []string{"model-churn"}}, roles("model-churn"), "infer", NoBaseRole},
		{"no role at all", Conditions{}, roles(), "infer", NoBaseRole},
		{"the base role without the role", Conditions{Roles: []string{"model-churn"}}, roles("access"), "infer", UnknownModel},
		{"roles are compared whole and in their case", Conditions{}, roles("Access", "access-more"), "infer", NoBaseRole},
		{"no condition: the base role alone", Conditions{}, roles("access"), "infer", Allow},

		{"all roles", Conditions{AllRoles: []string{"a", "b"}}, roles("access", "a", "b"), "infer", Allow},
		{"one of all roles", Conditions{AllRoles: []string{"a", "b"}}, roles("access", "a"), "infer", UnknownModel},
		{"a role of a client", Conditions{Roles: []string{"api/analyst"}}, access(func(p *Principal) { p.ClientRoles = map[string][]string{"api": {"analyst"}} }), "infer", Allow},
		{"a role of that name of another client", Conditions{Roles: []string{"api/analyst"}}, access(func(p *Principal) { p.ClientRoles = map[string][]string{"web": {"analyst"}} }), "infer", UnknownModel},
		{"a realm role of that name, made by hand", Conditions{Roles: []string{"api/analyst"}}, roles("access", "analyst", "api/analyst"), "infer", UnknownModel},
		{"a role of a client where a realm role is asked for", Conditions{Roles: []string{"analyst"}}, access(func(p *Principal) { p.ClientRoles = map[string][]string{"api": {"analyst"}} }), "infer", UnknownModel},
		{"a role of a client whose id holds a slash", Conditions{AllRoles: []string{"https://api/x/analyst"}}, access(func(p *Principal) { p.ClientRoles = map[string][]string{"https://api/x": {"analyst"}} }), "infer", Allow},

		{"a group", Conditions{Groups: []string{"/research/vision"}}, access(func(p *Principal) { p.Groups = []string{"/x", "/research/vision"} }), "infer", Allow},
		{"a group of that name elsewhere", Conditions{Groups: []string{"/vision"}}, access(func(p *Principal) { p.Groups = []string{"/research/vision", "vision"} }), "infer", UnknownModel},
		{"a subgroup", Conditions{Groups: []string{"/research"}}, access(func(p *Principal) { p.Groups = []string{"/research/vision"} }), "infer", UnknownModel},
		{"no group", Conditions{Groups: []string{"/research"}}, access(nil), "infer", UnknownModel},
		{"a client", Conditions{Clients: []string{"cli", "web"}}, access(nil), "infer", Allow},
		{"another client", Conditions{Clients: []string{"cli"}}, access(nil), "infer", UnknownModel},
		{"a token without a client", Conditions{Clients: []string{"cli"}}, roles("access"), "infer", UnknownModel},
		{"a scope", Conditions{Scopes: []string{"models:call"}}, access(func(p *Principal) { p.Scopes = []string{"openid", "models:call"} }), "infer", Allow},
		{"a scope that begins like it", Conditions{Scopes: []string{"models:call"}}, access(func(p *Principal) { p.Scopes = []string{"models:call-more"} }), "infer", UnknownModel},

		{"every kind is met", Conditions{Roles: []string{"access"}, Groups: []string{"/g"}, Clients: []string{"web"}, Scopes: []string{"s"}}, access(func(p *Principal) { p.Groups, p.Scopes = []string{"/g"}, []string{"s"} }), "infer", Allow},
		{"one kind of them is not", Conditions{Roles: []string{"access"}, Groups: []string{"/g"}, Clients: []string{"web"}, Scopes: []string{"s"}}, access(func(p *Principal) { p.Groups = []string{"/g"} }), "infer", UnknownModel},

		{"an action that is allowed", Conditions{Actions: []string{"metadata", "infer"}}, access(nil), "infer", Allow},
		{"an action that is not", Conditions{Actions: []string{"metadata"}}, access(nil), "infer", ActionRefused},
		{"whether it may know of the model", Conditions{Actions: []string{"metadata"}}, access(nil), "", Allow},
		{"an action of a model that it may not know of", Conditions{Roles: []string{"x"}, Actions: []string{"metadata"}}, access(nil), "infer", UnknownModel},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &Policy{BaseRole: "access", Models: []Model{{Name: "other"}, {Name: "churn", Allow: tt.allow}}}
			m, got := p.Decide(tt.who, "churn", tt.action)
			if got != tt.want || (m != nil) != (tt.want == Allow || tt.want == ActionRefused) {
				t.Errorf("decision %v with model %v, want %v", got, m, tt.want)
			}
			if _, got := p.Decide(tt.who, "ghost", tt.action); got != UnknownModel && got != NoBaseRole {
				t.Errorf("a model that is not there: %v", got)
			}
			listed := fmt.Sprint(names(p.Visible(tt.who)))
			if seen := strings.Contains(listed, "churn"); seen != (tt.want == Allow || tt.want == ActionRefused) {
				t.Errorf("the list has %s, the decision is %v", listed, tt.want)
			}
		})
	}
}

func names(models []*Model) (list []string) {
	for _, m := range models {
		list = append(list, m.Name)
	}
	return list
}

// A stack of before goes on with an API of now, decided as before.
func TestVersion1(t *testing.T) {
	text, err := os.ReadFile("testdata/version1.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseOutputs(text)
	if err != nil {
		t.Fatal(err)
	}
	want := &Policy{
		Version: Version, BaseRole: "model-api-access",
		Models: []Model{
			{Name: "iris", Embedded: "iris", Allow: Conditions{Roles: []string{"model-api-access"}}},
			{Name: "churn", Upstream: &Upstream{URL: "https://triton.models.svc:8000", Credential: &Credential{Env: "CHURN_TOKEN"}}, Allow: Conditions{Roles: []string{"model-churn", "analysts"}}, Introspect: true},
		},
		Clients: []Client{{ClientID: "model-serving-api", Kind: "api"}, {ClientID: "my-api-client", Kind: "web"}, {ClientID: "model-cli", Kind: "cli", Public: true}},
	}
	if diff := cmp.Diff(want, got.Policy); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	if got.Issuer != "https://id.example.com/realms/example-realm" || got.Audience != "model-serving-api" || got.ClientSecret != "api-secret" || got.OIDCClientID != "my-api-client" {
		t.Errorf("outputs: %+v", got)
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"a model without roles", `"roles": ["model-api-access"]`, `"introspect": false`, `model "iris": allow.roles is empty`},
		{"a model with no role", `["model-api-access"]`, `[]`, `model "iris": allow.roles is empty`},
		{"the issuer of another stack", `"issuer": "https://id.example.com/realms/example-realm",` + "\n    ", `"issuer": "https://id.example.com/realms/other",` + "\n    ", "not of one stack"},
		{"conditions, which version 1 has not", `"roles": ["model-api-access"]`, `"allow": {"roles": ["model-api-access"]}`, "not an access policy"},
		{"no issuer", `"https://id.example.com/realms/example-realm"`, `""`, `the output issuer, ""`},
		{"no audience: any token of the realm would do (RFC 9068, 4)", `"audience": "model-serving-api"`, `"audience": ""`, "the output audience is empty"},
		{"introspection without a secret", `"client_secret": "api-secret",`, "", `model "churn" has introspect`},
		{"no policy", `"policy"`, `"polizza"`, "there is no output policy"},
		{"not JSON", `{`, ``, "not the stack's outputs as JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := strings.ReplaceAll(string(text), tt.old, tt.new)
			if _, err := ParseOutputs([]byte(changed)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestConditionsInWords(t *testing.T) {
	for want, c := range map[string]Conditions{
		"the base role alone": {},
		"role a":              {Roles: []string{"a"}},
		"one of the roles a, b; all of the roles c, d; group /g; client web; one of the scopes s, t; only for infer": {
			Roles: []string{"a", "b"}, AllRoles: []string{"c", "d"}, Groups: []string{"/g"}, Clients: []string{"web"}, Scopes: []string{"s", "t"}, Actions: []string{"infer"},
		},
	} {
		if got := c.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
