package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"keycloak-model-api/policy"
)

// base is a valid production stack; cases lay YAML over it.
const base = `
realm: example
publicUrl: https://id.example.com
environment: prod
clients:
  - {clientId: api, kind: api}
clientSecrets: {api: a-secret, web: w-secret, svc: s-secret}
`

// parse reads YAML text as the CLI would hand it over: strings plain, the rest
// as JSON.
func parse(t *testing.T, text string, plainSecrets bool, files map[string]string) (*Config, []string, error) {
	t.Helper()
	return Parse(source(t, text, plainSecrets, files))
}

func source(t *testing.T, text string, plainSecrets bool, files map[string]string) Source {
	t.Helper()
	values := map[string]string{}
	for _, layer := range []string{base, text} {
		var m map[string]any
		if err := yaml.Unmarshal([]byte(layer), &m); err != nil {
			t.Fatal(err)
		}
		for k, v := range m {
			if !strings.Contains(k, ":") {
				k = "keycloak-model-api:" + k
			}
			if s, ok := v.(string); ok {
				values[k] = s
				continue
			}
			data, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			values[k] = string(data)
		}
	}
	return Source{
		Project:  "keycloak-model-api",
		Stack:    "test",
		Value:    func(key string) (string, bool) { v, ok := values[key]; return v, ok },
		IsSecret: func(key string) bool { return !plainSecrets },
		Getenv: func(key string) string {
			if key != "PULUMI_CONFIG" {
				return ""
			}
			data, _ := json.Marshal(values)
			return string(data)
		},
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := files[name]; ok {
				return []byte(text), nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("no such file or directory")}
		},
	}
}

// Each case names the key that the message must begin with, and a part of what
// it must say to do instead. What the decoder refuses, the schema for editors
// refuses too, and it accepts everything that the decoder can read.
func TestRefusals(t *testing.T) {
	schema := editors(t)
	const api = "clients:\n  - {clientId: api, kind: api}\n"
	for _, tt := range []struct {
		name, text string
		want       []string // each a "key: …part of the message"
	}{
		{"unknown top-level key", `realmName: x`, []string{"realmName: unknown key"}},
		{"unknown top-level key, one letter off", `model: []`, []string{"model: unknown key; did you mean models?"}},
		{"unknown key of the provider", `{"keycloak:clientTimout": "60"}`, []string{"keycloak:clientTimout: the Keycloak provider does not have it: unknown key; did you mean clientTimeout?"}},
		{"unknown nested key", "clients:\n  - {clientId: api, kind: api, redirectURIs: []}", []string{"clients[0].redirectURIs: unknown key; did you mean redirectUris?"}},
		{"unknown key two levels down", "models:\n  - {name: m, upstream: {url: 'https://m', header: x}}", []string{"models[0].upstream.header: unknown key"}},
		{"list where an object belongs", `lifetimes: []`, []string{"lifetimes: expected an object, got a list"}},
		{"text where a list belongs", `models: iris`, []string{"models: expected a list"}},
		{"number where a text belongs", `lifetimes: {accessToken: 300}`, []string{"lifetimes.accessToken: expected a text"}},
		{"text where a boolean belongs", "users:\n  - {username: ada, password: none, enabled: maybe}", []string{"users[0].enabled: expected true or false, got a text"}},
		{"fraction where a whole number belongs", `signingKeys: [{name: k, algorithm: RS256, priority: 1.5}]`, []string{"signingKeys[0].priority: expected a whole number"}},
		{"list in a map of texts", "roles:\n  - {name: r, attributes: {team: [a]}}", []string{`roles[0].attributes["team"]: expected a text`}},
		{"list where a text belongs", `displayName: [x]`, []string{"displayName: expected a text (quote it if it looks like a number), got a list"}},
		{"text where a model belongs", `models: [iris]`, []string{"models[0]: expected an object, got a text"}},
		{"number where a model's name belongs", `models: [{name: 5, embedded: iris}]`, []string{"models[0].name: expected a text"}},
		{"nothing where a client belongs", "clients:\n  - {clientId: api, kind: api}\n  -", []string{"clients[1]: is empty: take it out"}},
		{"empty name in a list", `roles: [{name: r, composites: [""]}]`, []string{"roles[0].composites[0]: is empty: take it out"}},
		{"empty name of a role of a model", `models: [{name: m, embedded: iris, roles: [""]}]`, []string{"models[0].roles[0]: is empty: take it out"}},
		{"list where the value of an attribute belongs", `{userAttributes: [{name: team}], users: [{username: ada, password: none, attributes: {team: [a]}}]}`, []string{`users[0].attributes["team"]: expected a text`}},
		{"unknown kind of password", `users: [{username: ada, password: never}]`, []string{`users[0].password: "never" is none of`}},
		{"unknown environment", `environment: test`, []string{`environment: "test" is none of dev, staging, prod`}},
		{"unknown hardening", `hardening: paranoid`, []string{"hardening: \"paranoid\" is none of baseline, strict, off"}},
		{"unknown kind of client", "clients:\n  - {clientId: api, kind: api}\n  - {clientId: svc, kind: daemon}", []string{`clients[1].kind: "daemon" is none of api, web, service, resource, exchange, cli`}},

		{"no realm", `realm: ""`, []string{"realm: is missing: Name of the realm"}},
		{"realm with a slash", `realm: a/b`, []string{"realm: \"a/b\" can't be a realm's name"}},
		{"realm longer than Keycloak's id", `realm: ` + strings.Repeat("r", 37), []string{"realm: "}},
		{"realm master", `realm: master`, []string{"realm: master is Keycloak's own"}},
		{"no issuer", `publicUrl: ""`, []string{"publicUrl: the issuer can't be known"}},
		{"publicUrl with /realms", `publicUrl: https://id.example.com/realms/example`, []string{"publicUrl: ", "leave /realms out"}},
		{"publicUrl without scheme", `publicUrl: id.example.com`, []string{"publicUrl: \"id.example.com\" is not an http or https URL"}},

		{"duration without unit", `lifetimes: {ssoIdle: "300"}`, []string{"lifetimes.ssoIdle: \"300\" is not a duration"}},
		{"negative duration", `lifetimes: {ssoMax: -5m}`, []string{"lifetimes.ssoMax: "}},
		{"duration longer than Keycloak counts", `lifetimes: {accessToken: 596524h}`, []string{"lifetimes.accessToken: \"596524h\" is more seconds than Keycloak counts"}},
		{"duration below a second", `lifetimes: {deviceCode: 1500ms}`, []string{"lifetimes.deviceCode: "}},
		{"days, which Go does not know", `events: {keepFor: 7d}`, []string{"events.keepFor: \"7d\" is not a duration"}},
		{"idle longer than max", `lifetimes: {ssoIdle: 2h, ssoMax: 1h}`, []string{"lifetimes.ssoIdle: 2h0m0s is longer than"}},
		{"events kept for a time where none are kept", `{hardening: "off", events: {keepFor: 24h}}`, []string{"events.keepFor: no events are kept: set events.enabled"}},
		{"details of events that are off", `events: {enabled: false, adminDetails: true}`, []string{"events.adminDetails: no events are kept"}},
		{"negative reuse of refresh tokens", `lifetimes: {refreshTokenReuse: -1}`, []string{"lifetimes.refreshTokenReuse: -1"}},
		{"client lifetime that is none", "clients:\n  - {clientId: api, kind: api, accessTokenLifetime: short}", []string{"clients[0].accessTokenLifetime: \"short\" is not a duration"}},

		{"key size that the provider refuses", `signingKeys: [{name: k, algorithm: RS256, size: 3072}]`, []string{"signingKeys[0].size: \"3072\" is none of 2048, 4096"}},
		{"size of a key on a curve", `signingKeys: [{name: k, algorithm: ES256, size: 4096}]`, []string{"signingKeys[0].size: nothing reads it for ES256"}},
		{"algorithm none", `signingKeys: [{name: k, algorithm: none}]`, []string{"signingKeys[0].algorithm: \"none\" is none of"}},
		{"symmetric algorithm", `signingKeys: [{name: k, algorithm: HS256}]`, []string{"signingKeys[0].algorithm: \"HS256\" is none of"}},
		{"key twice", `signingKeys: [{name: k, algorithm: RS256}, {name: k, algorithm: ES256}]`, []string{"signingKeys[1].name: \"k\" is taken"}},
		{"key named as Keycloak's own", `signingKeys: [{name: rsa-generated, algorithm: RS256}]`, []string{"signingKeys[0].name: \"rsa-generated\" is taken"}},
		{"key without algorithm", `signingKeys: [{name: k}]`, []string{"signingKeys[0].algorithm: is missing"}},
		{"own key retired with nothing to sign", `retireGeneratedKey: {componentId: x}`, []string{"retireGeneratedKey: takes away the only RS256 key"}},
		{"own key retired with a passive key only", `{signingKeys: [{name: k, algorithm: RS256, active: false}], retireGeneratedKey: {componentId: x}}`, []string{"retireGeneratedKey: takes away the only RS256 key"}},
		{"own key retired with a key of another algorithm", `{signingKeys: [{name: k, algorithm: ES256}], retireGeneratedKey: {componentId: x}}`, []string{"retireGeneratedKey: takes away the only RS256 key"}},
		{"service account in an unknown group", `clients: [{clientId: api, kind: api, serviceAccountGroups: [spirits]}]`, []string{"clients[0].serviceAccountGroups[0]: group \"spirits\" is not declared"}},
		{"role named like one of the stack", `{roles: [{name: client-roles-of-api}], clients: [{clientId: api, kind: api, serviceAccountClientRoles: {realm-management: [view-users]}}]}`, []string{"\"client-roles-of-api\" is a role that the stack makes"}},

		{"level that is not declared (RFC 9470)", `models: [{name: m, embedded: iris, authentication: {level: 2}}]`, []string{"models[0].authentication.level: no level 2 is declared: set signIn"}},
		{"level that there is not", `models: [{name: m, embedded: iris, authentication: {level: 3}}]`, []string{"models[0].authentication.level: "}},
		{"sign-in without a level", `models: [{name: m, embedded: iris, authentication: {maxAge: 5m}}]`, []string{"models[0].authentication.level: is missing: Level of signIn"}},
		{"model name with a slash", `models: [{name: a/b, embedded: iris}]`, []string{"models[0].name: "}},
		{"protocol that is none", `models: [{name: m, embedded: iris, protocol: opnai}]`, []string{`models[0].protocol: "opnai" is none of oip, openai, anthropic, paths; did you mean openai?`}},
		{"embedded model of another protocol", `models: [{name: m, embedded: iris, protocol: openai}]`, []string{"models[0].protocol: embedded models speak oip alone"}},
		{"model name that leaves the list of models", `models: [{name: a/../b, protocol: openai, upstream: {url: "https://m"}}]`, []string{"models[0].name: "}},
		{"two models with one role", `models: [{name: a/b, protocol: openai, upstream: {url: "https://m"}}, {name: "a:b", protocol: openai, upstream: {url: "https://m"}}]`, []string{`models[1].name: the role model-a-b is that of the model "a/b", too`}},
		{"action of another protocol", `models: [{name: m, embedded: iris, allow: {actions: [chat]}}]`, []string{`models[0].allow.actions[0]: "chat" is none of infer, generate, metadata, ready`}},
		{"rules for a body of a model that the API holds", `models: [{name: m, embedded: iris, body: {allow: [lora_path]}}]`, []string{"models[0].body: is for models that run elsewhere"}},
		{"responses of another protocol", `models: [{name: m, protocol: anthropic, upstream: {url: "https://m"}, stateful: true}]`, []string{"models[0].stateful: is for the protocol openai"}},
		{"principal in a body that does not name the model", `models: [{name: m, upstream: {url: "https://m"}, body: {principal: user}}]`, []string{"models[0].body: principal: is for protocols in which the body names the model"}},
		{"member of a body that is never refused", `models: [{name: m, protocol: openai, upstream: {url: "https://m"}, body: {allow: [temprature]}}]`, []string{`models[0].body: allow: "temprature" is none of the members`}},
		{"member for the principal that no server reads", `models: [{name: m, protocol: openai, upstream: {url: "https://m"}, body: {principal: usr}}]`, []string{`models[0].body.principal: "usr" is none of user`}},
		{"name at a model server that the path names", `models: [{name: m, upstream: {url: "https://m", model: x}}]`, []string{"models[0].upstream.model: is for protocols in which the body names the model"}},
		{"upstream with the path of one route", `models: [{name: m, protocol: openai, upstream: {url: "https://m/v1/embeddings"}}]`, []string{"models[0].upstream.url: holds the path of one route"}},
		{"paths of another protocol", `models: [{name: m, upstream: {url: "https://m", paths: [POST /x]}}]`, []string{"models[0].upstream.paths: is for the protocol paths"}},
		{"paths that list nothing", `models: [{name: m, protocol: paths, upstream: {url: "https://m"}}]`, []string{"models[0].upstream.paths: is empty"}},
		{"certificates for a model server without TLS", `models: [{name: m, upstream: {url: "http://m", tls: {ca: ca.pem}}}]`, []string{"models[0].upstream.tls: is for a URL that begins with https"}},
		{"a certificate without its key", `models: [{name: m, upstream: {url: "https://m", tls: {certificate: tls.crt}}}]`, []string{"models[0].upstream.tls: has a certificate or a key without the other"}},
		{"header of no credential", `models: [{name: m, upstream: {url: "https://m", credentialHeader: api-key}}]`, []string{"models[0].upstream.credentialHeader: is for a credential"}},
		{"credential in a header that means something else", `models: [{name: m, upstream: {url: "https://m", credential: E, credentialHeader: cookie}}]`, []string{`models[0].upstream.credentialHeader: "cookie" is none of x-api-key, api-key`}},
		{"model twice", `models: [{name: m, embedded: iris}, {name: m, embedded: iris}]`, []string{"models[1].name: \"m\" is declared twice"}},
		{"model that runs nowhere", `models: [{name: m}]`, []string{"models[0]: set either embedded"}},
		{"model that runs twice", `models: [{name: m, embedded: iris, upstream: {url: "https://m"}}]`, []string{"models[0]: set either embedded"}},
		{"model that nobody may call", `models: [{name: m, embedded: iris, roles: []}]`, []string{"models[0].roles: is empty"}},
		{"roles of a model twice over", `models: [{name: m, embedded: iris, roles: [a], allow: {roles: [b]}}]`, []string{"models[0].roles: is short for allow.roles, which is there too"}},
		{"model that nobody may call, in full", `models: [{name: m, embedded: iris, allow: {roles: []}}]`, []string{"models[0].allow.roles: is empty"}},
		{"model for no group", `models: [{name: m, embedded: iris, allow: {groups: []}}]`, []string{"models[0].allow.groups: is empty"}},
		{"model for nothing", `models: [{name: m, embedded: iris, allow: {actions: []}}]`, []string{"models[0].allow.actions: is empty"}},
		{"model for an undeclared group", `models: [{name: m, embedded: iris, allow: {groups: [/ldap/team, ghost]}}]`, []string{`models[0].allow.groups[1]: group "ghost" is not declared`}},
		{"model for an undeclared client", `models: [{name: m, embedded: iris, allow: {clients: [ghost]}}]`, []string{`models[0].allow.clients[0]: client "ghost" is not declared`}},
		{"model for two scopes in one", `models: [{name: m, embedded: iris, allow: {scopes: ["a b"]}}]`, []string{`models[0].allow.scopes[0]: "a b" can't be a scope`}},
		{"model for an action that is none", `models: [{name: m, embedded: iris, allow: {actions: [train]}}]`, []string{`models[0].allow.actions[0]: "train" is none of infer, generate, metadata, ready`}},
		{"role of a client, which the stack does not make", `models: [{name: m, embedded: iris, allow: {allRoles: [api/analyst]}}]`, []string{`models[0].allow.allRoles[0]: "api/analyst": leave`}},
		{"upstream with the path that the API adds", `models: [{name: m, upstream: {url: "https://triton:8000/v2"}}]`, []string{"models[0].upstream.url: holds /v2, which the API adds itself"}},
		{"attribute that poses as the time of a level", `{userAttributes: [{name: x}], clients: [{clientId: api, kind: api, mappers: [{name: x, type: userAttribute, claim: loa_map, value: x}]}]}`, []string{"clients[0].mappers[0].claim: \"loa_map\" is a claim that the API relies on"}},
		{"fixed value that poses as a service account's", `{clients: [{clientId: api, kind: api, mappers: [{name: x, type: hardcoded, claim: client_id, value: x}]}]}`, []string{"clients[0].mappers[0].claim: \"client_id\" is a claim that the API relies on"}},
		{"fixed value that poses as a group where groups decide", `{groups: [{name: g}], models: [{name: m, embedded: iris, allow: {groups: [g]}}], clients: [{clientId: api, kind: api, mappers: [{name: x, type: hardcoded, claim: groups, value: /g}]}]}`, []string{"clients[0].mappers[0].claim: models ask for groups"}},
		{"upstream that is no URL", `models: [{name: m, upstream: {url: "triton:8000"}}]`, []string{"models[0].upstream.url: "}},
		{"credential in the upstream's URL", `models: [{name: m, upstream: {url: "https://u:p@triton"}}]`, []string{"models[0].upstream.url: holds user info"}},
		{"key in the upstream's query", `models: [{name: m, upstream: {url: "https://triton/?key=k"}}]`, []string{"models[0].upstream.url: holds a query"}},
		{"fragment in the upstream's URL", `models: [{name: m, upstream: {url: "https://triton/#v2"}}]`, []string{"models[0].upstream.url: holds a fragment"}},
		{"credential in place of its name", `models: [{name: m, upstream: {url: "https://m", credential: "Bearer abc.def"}}]`, []string{"models[0].upstream.credential: must be the name"}},

		{"role twice", `roles: [{name: r}, {name: r}]`, []string{"roles[1].name: \"r\" is declared twice"}},
		{"role that Keycloak makes", `roles: [{name: offline_access}]`, []string{"roles: \"offline_access\" is a role that Keycloak makes"}},
		// As measured: what Keycloak refuses at up leaves half a realm, and
		// what it stores otherwise than it was sent is a difference for ever.
		{"role that breaks the provider's URL", `roles: [{name: "100%"}]`, []string{`roles[0].name: "100%": leave`}},
		{"role that ends the provider's URL", `roles: [{name: "a?b"}]`, []string{`roles[0].name: "a?b": leave`}},
		{"role that is a step in a path", `roles: [{name: ..}]`, []string{`roles[0].name: ".." can't stand in a URL`}},
		{"description longer than Keycloak keeps", `roles: [{name: r, description: ` + strings.Repeat("d", 256) + `}]`, []string{"roles[0].description: has 256 characters"}},
		{"attribute longer than Keycloak keeps", `roles: [{name: r, attributes: {k: ` + strings.Repeat("v", 256) + `}}]`, []string{`roles[0].attributes["k"]: has 256 characters`}},
		{"group that breaks the provider's URL", `groups: [{name: R&D; EU}]`, []string{`groups[0].name: "R&D; EU": leave`}},
		{"client session longer than the session", `lifetimes: {clientSessionIdle: 1h}`, []string{"lifetimes.clientSessionIdle: 1h is longer than the session's: at most 30m0s, see lifetimes.ssoIdle"}},
		{"session of a client longer than the session", `{lifetimes: {ssoMax: 2h}, clients: [{clientId: api, kind: api, sessionMax: 3h}]}`, []string{"clients[0].sessionMax: 3h is longer than the session's: at most 2h0m0s"}},
		{"client ids that differ only in case", `{clients: [{clientId: api, kind: api}, {clientId: API, kind: service}], clientSecrets: {api: s, API: s}}`, []string{`clients[1].clientId: "api" and "API" differ only in case`}},
		{"client named like a scope of the stack", `{clients: [{clientId: api, kind: api}, {clientId: model-roles, kind: cli}]}`, []string{"clients[1].clientId: \"model-roles\" is the name of a client scope"}},
		{"name of a person with parentheses", `users: [{username: ada, password: none, firstName: Ada (ext)}]`, []string{"users[0].firstName: \"Ada (ext)\" holds a character"}},
		{"username in another script", `users: [{username: иван, password: none}]`, []string{"users[0].username: "}},
		{"email that is somebody's username", `users: [{username: ada@example.com, password: none}, {username: bob, password: none, email: ada@example.com}]`, []string{"users[1].email: \"ada@example.com\" is the username of another user"}},
		{"empty attribute, which Keycloak drops", `{userAttributes: [{name: team}], users: [{username: ada, password: none, attributes: {team: ""}}]}`, []string{`users[0].attributes["team"]: is empty`}},
		{"attribute of two values", `{userAttributes: [{name: team}], users: [{username: ada, password: none, attributes: {team: a##b}}]}`, []string{`users[0].attributes["team"]: holds ##`}},
		{"alias that Keycloak refuses", `{federationSecrets: {"a:b": s}, identityProviders: [{alias: "a:b", issuer: "https://o", authorizationUrl: "https://o/a", tokenUrl: "https://o/t", jwksUrl: "https://o/k", clientId: us}]}`, []string{`identityProviders[0].alias: "a:b" stands in URLs`}},
		{"role mapping twice", `{federationSecrets: {o: s}, identityProviders: [{alias: o, issuer: "https://o", authorizationUrl: "https://o/a", tokenUrl: "https://o/t", jwksUrl: "https://o/k", clientId: us, roleMappings: [{claim: g, value: v, role: model-api-access}, {claim: g, value: v, role: model-api-access}]}]}`, []string{"identityProviders[0].roleMappings[1]: is there twice"}},
		{"composite of an undeclared role", `roles: [{name: r, composites: [ghost]}]`, []string{"roles[0].composites[0]: role \"ghost\" is not declared"}},
		{"composites in a circle", `roles: [{name: a, composites: [b]}, {name: b, composites: [a]}]`, []string{"roles: composites go round in a circle: a → b → a"}},
		{"base role over a role of a model", `{models: [{name: m, embedded: iris}], roles: [{name: model-api-access, composites: [model-m]}]}`, []string{"roles: composites go round in a circle"}},
		{"group with an undeclared role", `groups: [{name: g, roles: [ghost]}]`, []string{"groups[0].roles[0]: role \"ghost\""}},
		{"group with an undeclared parent", `groups: [{name: g, parent: ghost}]`, []string{"groups[0].parent: group \"ghost\""}},
		{"parents in a circle", `groups: [{name: a, parent: b}, {name: b, parent: a}]`, []string{"groups: parents go round in a circle: a → b → a"}},
		{"group with a slash", `groups: [{name: a/b}]`, []string{"groups[0].name: \"a/b\": leave"}},
		{"role that ends with a space", `roles: [{name: "a "}]`, []string{"roles[0].name: \"a \": leave control characters, spaces at the ends"}},
		{"group twice", `groups: [{name: g}, {name: g}]`, []string{"groups[1].name: \"g\" is declared twice"}},

		{"no API client", `clients: [{clientId: web, kind: web, redirectUris: ["https://w/cb"]}]`, []string{"clients: there are 0 of kind api"}},
		{"two API clients", `clients: [{clientId: api, kind: api}, {clientId: svc, kind: api}]`, []string{"clients: there are 2 of kind api"}},
		{"client twice", `clients: [{clientId: api, kind: api}, {clientId: api, kind: service}]`, []string{"clients[1].clientId: \"api\" is declared twice"}},
		{"client that Keycloak makes", `clients: [{clientId: api, kind: api}, {clientId: account, kind: cli}]`, []string{"clients[1].clientId: \"account\" is a client that Keycloak makes"}},
		{"web client without redirect URI", api + "  - {clientId: web, kind: web}", []string{"clients[1].redirectUris: is missing"}},
		{"redirect URI without a flow", api + "  - {clientId: svc, kind: service, redirectUris: [\"https://s/cb\"]}", []string{"clients[1].redirectUris: nothing redirects there"}},
		{"relative redirect URI", api + "  - {clientId: web, kind: web, redirectUris: [/callback]}", []string{"clients[1].redirectUris[0]: \"/callback\" is not a redirect URI: write an absolute URI"}},
		{"redirect URI that is a word", api + "  - {clientId: web, kind: web, redirectUris: [callback]}", []string{"clients[1].redirectUris[0]: "}},
		{"redirect URI with a fragment (RFC 6749, 3.1.2)", api + "  - {clientId: web, kind: web, redirectUris: [\"https://w/cb#x\"]}", []string{"clients[1].redirectUris[0]: ", "fragment"}},
		{"redirect URI that is script", api + "  - {clientId: web, kind: web, redirectUris: [\"javascript:alert(1)\"]}", []string{"clients[1].redirectUris[0]: "}},
		{"redirect URI without host", api + "  - {clientId: web, kind: web, redirectUris: [\"https:///cb\"]}", []string{"clients[1].redirectUris[0]: ", "has no host"}},
		{"redirect URI with user info", api + "  - {clientId: web, kind: web, redirectUris: [\"https://a@b/cb\"]}", []string{"clients[1].redirectUris[0]: ", "user info"}},
		{"wildcard redirect (RFC 9700, 4.1.1)", api + "  - {clientId: web, kind: web, redirectUris: [\"https://w/*\"]}", []string{"clients[1].redirectUris[0]: ", "wildcard"}},
		{"wildcard in the host", api + "  - {clientId: web, kind: web, redirectUris: [\"https://*.w/cb\"]}", []string{"clients[1].redirectUris[0]: ", "at the end only"}},
		{"redirect URI that is all wildcard", api + "  - {clientId: web, kind: web, redirectUris: [\"*\"]}", []string{"clients[1].redirectUris[0]: "}},
		{"redirect over plain http", api + "  - {clientId: web, kind: web, redirectUris: [\"http://w.example.com/cb\"]}", []string{"clients[1].redirectUris[0]: ", "use https"}},
		{"wildcard origin", api + "  - {clientId: web, kind: web, redirectUris: [\"https://w/cb\"], webOrigins: [\"*\"]}", []string{"clients[1].webOrigins[0]: * lets every site"}},
		{"origin with a path", api + "  - {clientId: web, kind: web, redirectUris: [\"https://w/cb\"], webOrigins: [\"https://w/\"]}", []string{"clients[1].webOrigins[0]: ", "not an origin"}},
		{"post-logout redirect that is none", api + "  - {clientId: web, kind: web, redirectUris: [\"https://w/cb\"], postLogoutRedirectUris: [bye]}", []string{"clients[1].postLogoutRedirectUris[0]: "}},
		{"back-channel logout over plain http", api + "  - {clientId: web, kind: web, redirectUris: [\"https://w/cb\"], backchannelLogoutUrl: \"http://w.example.com/logout\"}", []string{"clients[1].backchannelLogoutUrl: ", "use https"}},
		{"public client without PKCE (RFC 9700, 2.1.1)", api + "  - {clientId: cli, kind: cli, pkce: false}", []string{"clients[1].pkce: public client"}},
		{"public client with a service account", api + "  - {clientId: cli, kind: cli, serviceAccount: true}", []string{"clients[1].serviceAccount: "}},
		{"public client with a secret", api + "  - {clientId: cli, kind: cli}\nclientSecrets: {api: x, cli: y}", []string{"clientSecrets[\"cli\"]: client cli is public"}},
		{"PKCE without a flow", api + "  - {clientId: svc, kind: service, pkce: true}", []string{"clients[1].pkce: nothing can use it"}},
		{"password grant under strict (RFC 9700, 2.4)", "hardening: strict\nsignIn: {secondFactor: required}\n" + api + "  - {clientId: svc, kind: service, directAccessGrants: true}", []string{"clients[1].directAccessGrants: "}},
		{"password grant beside a browser login (RFC 9700, 2.4)", api + "  - {clientId: web, kind: web, redirectUris: [\"https://w/cb\"], directAccessGrants: true}", []string{"clients[1].directAccessGrants: people sign in to client web by browser"}},
		{"full scope under strict", "hardening: strict\nsignIn: {secondFactor: required}\n" + api + "  - {clientId: svc, kind: service, fullScope: true}", []string{"clients[1].fullScope: "}},
		{"confidential client without PKCE under strict", "hardening: strict\nsignIn: {secondFactor: required}\n" + api + "  - {clientId: web, kind: web, redirectUris: [\"https://w/cb\"], pkce: false}", []string{"clients[1].pkce: client web"}},
		{"client with an undeclared role", `clients: [{clientId: api, kind: api, roles: [ghost]}]`, []string{"clients[0].roles[0]: role \"ghost\""}},
		{"roles beside full scope", `clients: [{clientId: api, kind: api, fullScope: true, roles: [model-api-access]}]`, []string{"clients[0].roles: nothing reads it beside fullScope"}},
		{"service account with an undeclared role", `clients: [{clientId: api, kind: api, serviceAccountRoles: [ghost]}]`, []string{"clients[0].serviceAccountRoles[0]: role \"ghost\""}},
		{"roles for a service account that is off", `clients: [{clientId: api, kind: api, serviceAccount: false, serviceAccountRoles: [model-api-access]}]`, []string{"clients[0].serviceAccountRoles: client api has no service account"}},
		{"service account with a role of an undeclared client", `clients: [{clientId: api, kind: api, serviceAccountClientRoles: {ghost: [r]}}]`, []string{`clients[0].serviceAccountClientRoles["ghost"]: client "ghost"`}},
		{"service account with an undeclared client role", `clients: [{clientId: api, kind: api, serviceAccountClientRoles: {api: [r]}}]`, []string{`clients[0].serviceAccountClientRoles["api"][0]: client api has no role "r"`}},
		{"private_key_jwt without a key", `clients: [{clientId: api, kind: api}, {clientId: jwt, kind: service, authentication: jwt}]`, []string{"clients[1].jwks: private_key_jwt needs"}},
		{"private_key_jwt with a private key", `clients: [{clientId: api, kind: api}, {clientId: jwt, kind: service, authentication: jwt, jwks: '{"keys":[{"kty":"RSA","d":"x"}]}'}]`, []string{`clients[1].jwks: key 0 holds the private member "d"`}},
		{"private_key_jwt with a symmetric key", `clients: [{clientId: api, kind: api}, {clientId: jwt, kind: service, authentication: jwt, jwks: '{"keys":[{"kty":"oct","k":"x"}]}'}]`, []string{`clients[1].jwks: key 0 holds the private member "k"`}},
		{"private_key_jwt with a secret too", `{clients: [{clientId: api, kind: api}, {clientId: svc, kind: service, authentication: jwt, jwksUrl: "https://s/jwks"}]}`, []string{`clientSecrets["svc"]: client svc authenticates by private_key_jwt`}},
		{"keys of a public client", api + "  - {clientId: cli, kind: cli, jwksUrl: \"https://c/jwks\"}", []string{"clients[1].jwks: a client of kind cli is public and has no key: leave it out"}},
		{"authentication that there is not", `{clients: [{clientId: api, kind: api}, {clientId: other, kind: service, authentication: mtls}]}`, []string{"clients[1].authentication: \"mtls\" is none of secret, jwt"}},
		{"keys that nothing reads", `clients: [{clientId: api, kind: api, jwksUrl: "https://s/jwks"}]`, []string{"clients[0].jwks: nothing reads it"}},
		{"scope that Keycloak lacks", `clients: [{clientId: api, kind: api, defaultScopes: [ghost]}]`, []string{"clients[0].defaultScopes[0]: \"ghost\" is none of"}},
		{"scope both default and optional", `clients: [{clientId: api, kind: api, defaultScopes: [phone], optionalScopes: [phone]}]`, []string{"clients[0].optionalScopes[0]: \"phone\" is in defaultScopes too"}},
		{"mapper twice", `clients: [{clientId: api, kind: api, mappers: [{name: m, type: groups}, {name: m, type: groups}]}]`, []string{"clients[0].mappers[1].name: \"m\" is declared twice"}},
		{"mapper onto aud", `clients: [{clientId: api, kind: api, mappers: [{name: m, type: hardcoded, claim: aud, value: x}]}]`, []string{"clients[0].mappers[0].claim: \"aud\" is a claim that the API relies on"}},
		{"mapper that forges roles", `clients: [{clientId: api, kind: api, mappers: [{name: m, type: hardcoded, claim: realm_access.roles, value: admin}]}]`, []string{"clients[0].mappers[0].claim: a fixed value must not pose as a role"}},
		{"mapper that replaces all roles", `clients: [{clientId: api, kind: api, mappers: [{name: m, type: hardcoded, claim: realm_access, value: none}]}]`, []string{"clients[0].mappers[0].claim: a fixed value must not pose as a role"}},
		{"mapper whose name holds what separates names", `clients: [{clientId: api, kind: api, mappers: [{name: a/b, type: groups}]}]`, []string{`clients[0].mappers[0].name: "a/b": leave / out`}},
		{"mapper with a name longer than Keycloak keeps", `clients: [{clientId: api, kind: api, mappers: [{name: ` + strings.Repeat("m", 256) + `, type: groups}]}]`, []string{"clients[0].mappers[0].name: has 256 characters"}},
		{"mapper of an undeclared attribute", `clients: [{clientId: api, kind: api, mappers: [{name: m, type: userAttribute, claim: team, value: team}]}]`, []string{"clients[0].mappers[0].value: attribute \"team\" is not declared"}},
		{"mapper without value", `clients: [{clientId: api, kind: api, mappers: [{name: m, type: audience}]}]`, []string{"clients[0].mappers[0].value: is missing"}},

		{"username with upper case", `users: [{username: Ada, password: none}]`, []string{`users[0].username: "Ada" has upper case, which Keycloak does not keep: write "ada"`}},
		{"username of two characters", `users: [{username: al, password: none}]`, []string{"users[0].username: \"al\": Keycloak takes 3"}},
		{"username with a space", `users: [{username: ada l, password: none}]`, []string{"users[0].username: "}},
		{"username of a service account", `users: [{username: service-account-api, password: none}]`, []string{"users[0].username: "}},
		{"user twice", `users: [{username: ada, password: none}, {username: ada, password: none}]`, []string{"users[1].username: \"ada\" is declared twice"}},
		{"user without a name", `users: [{password: none}]`, []string{"users[0].username: is missing"}},
		{"email with upper case", `users: [{username: ada, password: none, email: Ada@example.com}]`, []string{`users[0].email: "Ada@example.com" has upper case`}},
		{"email that is none", `users: [{username: ada, password: none, email: ada}]`, []string{"users[0].email: \"ada\" is not an email address"}},
		{"email whose host begins with a hyphen", `users: [{username: ada, password: none, email: ada@-x.com}]`, []string{"users[0].email: \"ada@-x.com\" is not an email address"}},
		{"email whose host has an underscore", `users: [{username: ada, password: none, email: ada@x_y.com}]`, []string{"users[0].email: "}},
		{"email whose host has a label of 64 characters (RFC 1035, 2.3.4)", `users: [{username: ada, password: none, email: ada@` + strings.Repeat("b", 64) + `.com}]`, []string{"users[0].email: "}},
		{"username with a backtick", "users: [{username: a`da, password: none}]", []string{"users[0].username: "}},
		{"username with a space that does not break", `users: [{username: "a\u00a0da", password: none}]`, []string{"users[0].username: "}},
		{"username with a next line (U+0085)", `users: [{username: "ada\u0085l", password: none}]`, []string{"users[0].username: "}},
		{"username of 130 emoji, each two UTF-16 code units", `users: [{username: ` + strings.Repeat("😀", 130) + `, password: none}]`, []string{"users[0].username: "}},
		{"email with an emoji", `users: [{username: ada, password: none, email: 😀@example.com}]`, []string{"users[0].email: "}},
		{"email at an IPv6 address", `users: [{username: ada, password: none, email: "ada@[::1]"}]`, []string{"users[0].email: "}},
		{"first name with markup", `users: [{username: ada, password: none, firstName: <b>}]`, []string{`users[0].firstName: "<b>" holds a character`}},
		{"last name with a line separator (U+2028)", `users: [{username: ada, password: none, lastName: "a\u2028b"}]`, []string{"users[0].lastName: "}},
		{"first name of 130 emoji, each two UTF-16 code units", `users: [{username: ada, password: none, firstName: ` + strings.Repeat("😀", 130) + `}]`, []string{"users[0].firstName: has 260 characters"}},
		{"email of two users", `users: [{username: ada, password: none, email: a@b.c}, {username: bob, password: none, email: a@b.c}]`, []string{"users[1].email: \"a@b.c\" belongs to two users"}},
		{"attribute that the profile lacks", `users: [{username: ada, password: none, attributes: {team: x}}]`, []string{`users[0].attributes["team"]: Keycloak drops what is not declared`}},
		{"required attribute left out", `{userAttributes: [{name: team, required: true}], users: [{username: ada, password: none}]}`, []string{"users[0].attributes: \"team\" is missing"}},
		{"attribute that is built in", `userAttributes: [{name: email}]`, []string{"userAttributes[0].name: email is always there"}},
		{"user with undeclared role and group", `users: [{username: ada, password: none, roles: [ghost], groups: [spirits]}]`, []string{"users[0].roles[0]: role \"ghost\"", "users[0].groups[0]: group \"spirits\""}},
		{"user without the initial password", `users: [{username: ada}]`, []string{`initialPasswords["ada"]: is missing; run: pulumi config set --secret --path 'initialPasswords["ada"]'`}},
		{"initial password that hardening refuses", `{users: [{username: ada}], initialPasswords: {ada: short}}`, []string{`initialPasswords["ada"]: is too short: hardening baseline demands 12`}},
		{"initial password that lasts", `{users: [{username: ada, email: ada@example.com, firstName: A, lastName: L, password: permanent}], initialPasswords: {ada: correct horse battery}}`, []string{"users[0].password: permanent: who knows the configuration"}},
		{"initial password that is the email", `{users: [{username: ada, email: ada@example.com}], initialPasswords: {ada: ADA@example.com}}`, []string{`initialPasswords["ada"]: is the username or the email`}},
		{"missing client secrets, each", `{clients: [{clientId: api, kind: api}, {clientId: svc, kind: service}], clientSecrets: {}}`, []string{
			`clientSecrets["api"]: is missing; run: pulumi config set --secret --path 'clientSecrets["api"]'`,
			`clientSecrets["svc"]: is missing; run: pulumi config set --secret --path 'clientSecrets["svc"]'`,
		}},

		{"identity provider without secret", `identityProviders: [{alias: other, issuer: "https://o", authorizationUrl: "https://o/a", tokenUrl: "https://o/t", jwksUrl: "https://o/k", clientId: us}]`, []string{`federationSecrets["other"]: is missing`}},
		{"identity provider without keys", `{federationSecrets: {other: s}, identityProviders: [{alias: other, issuer: "https://o", authorizationUrl: "https://o/a", tokenUrl: "https://o/t", clientId: us}]}`, []string{"identityProviders[0].jwksUrl: is missing"}},
		{"identity provider with a name longer than Keycloak keeps", `{federationSecrets: {o: s}, identityProviders: [{alias: o, issuer: "https://o", authorizationUrl: "https://o/a", tokenUrl: "https://o/t", jwksUrl: "https://o/k", clientId: us, displayName: ` + strings.Repeat("d", 256) + `}]}`, []string{"identityProviders[0].displayName: has 256 characters"}},
		{"role mapping whose name is longer than Keycloak keeps", `{federationSecrets: {o: s}, identityProviders: [{alias: o, issuer: "https://o", authorizationUrl: "https://o/a", tokenUrl: "https://o/t", jwksUrl: "https://o/k", clientId: us, roleMappings: [{claim: g, value: ` + strings.Repeat("v", 256) + `, role: model-api-access}]}]}`, []string{"identityProviders[0].roleMappings[0]: has 281 characters"}},
		{"attribute mapping whose name is longer than Keycloak keeps", `{federationSecrets: {o: s}, identityProviders: [{alias: o, issuer: "https://o", authorizationUrl: "https://o/a", tokenUrl: "https://o/t", jwksUrl: "https://o/k", clientId: us, attributeMappings: {` + strings.Repeat("c", 256) + `: email}}]}`, []string{"]: has 267 characters"}},
		{"LDAP with a name longer than Keycloak keeps", `ldap: [{name: ` + strings.Repeat("n", 256) + `, url: "ldaps://d", usersDn: "ou=p"}]`, []string{"ldap[0].name: has 256 characters"}},
		{"email longer than Keycloak keeps", `users: [{username: ada, password: none, email: a@b.` + strings.Repeat("c.", 126) + `com}]`, []string{"users[0].email: has 259 characters"}},
		{"identity provider with an undeclared role", `{federationSecrets: {other: s}, identityProviders: [{alias: other, issuer: "https://o", authorizationUrl: "https://o/a", tokenUrl: "https://o/t", jwksUrl: "https://o/k", clientId: us, roleMappings: [{claim: g, value: v, role: ghost}]}]}`, []string{"identityProviders[0].roleMappings[0].role: role \"ghost\""}},
		{"LDAP by http", `ldap: [{name: d, url: "http://d", usersDn: "ou=p"}]`, []string{"ldap[0].url: \"http://d\" is not an ldap"}},
		{"LDAP in the clear", `ldap: [{name: d, url: "ldap://d.example.com", usersDn: "ou=p"}]`, []string{"ldap[0].url: passwords would cross the network in the clear"}},
		{"LDAP attribute that Keycloak maps", `ldap: [{name: d, url: "ldaps://d", usersDn: "ou=p", attributes: {email: mail}}]`, []string{`ldap[0].attributes["email"]: Keycloak itself maps it: leave it out`}},
		{"LDAP without bind password", `ldap: [{name: d, url: "ldaps://d", usersDn: "ou=p", bindDn: "cn=a"}]`, []string{`federationSecrets["d"]: is missing`}},
		{"limit for nobody", `limits: [{requests: {minute: 1}}]`, []string{"limits[0]: must name exactly one of role, group, client and model"}},
		{"limit for two", `{models: [{name: iris, embedded: iris}], limits: [{client: api, model: iris, concurrent: 1}]}`, []string{"limits[0]: must name exactly one"}},
		{"limits of names that nothing declares", `limits: [{role: gold, concurrent: 1}, {group: g, concurrent: 1}, {client: no, concurrent: 1}, {model: iriss, concurrent: 1}]`,
			[]string{`limits[0].role: role "gold" is not declared`, `limits[1].group: group "g" is not declared`, `limits[2].client: client "no" is not declared`, `limits[3].model: model "iriss" is not declared`}},
		{"limit twice", `{roles: [{name: gold}], limits: [{role: gold, concurrent: 1}, {role: gold, requests: {day: 1}}]}`, []string{`limits[1]: "gold" has a limit already`}},
		{"limit of nothing", `{roles: [{name: gold}], limits: [{role: gold}]}`, []string{"limits[0]: bounds nothing"}},
		{"limit below 0", `{roles: [{name: gold}], limits: [{role: gold, tokens: {day: -1}}]}`, []string{"limits[0].tokens.day: must be at least 1"}},
		{"shared role", `{roles: [{name: gold}], limits: [{role: gold, shared: true, concurrent: 1}]}`, []string{"limits[0].shared: is for groups"}},
		{"exemption from no guardrail", `exemptions: [{resource: api, rule: no-such, reason: It was agreed.}]`, []string{"exemptions[0].rule: \"no-such\" is none of no-implicit-flow"}},
		{"exemption without reason", `exemptions: [{resource: api, rule: no-wildcard-origin}]`, []string{"exemptions[0].reason: is missing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := parse(t, tt.text, false, nil)
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
			src, d := source(t, tt.text, false, nil), &decoder{}
			d.whole(&Config{}, src)
			unknownKeys(d, src)
			read := slices.DeleteFunc(d.problems, func(p problem) bool { return strings.HasPrefix(p.path, "keycloak:") })
			if err := bySchema(t, schema, tt.text); (err != nil) != (len(read) > 0) {
				t.Errorf("the decoder says %v, and the schema for editors %v", read, err)
			}
			if lines := strings.Split(err.Error(), "\n")[1:]; len(tt.want) == 1 && len(lines) > 1 {
				t.Errorf("more than the one problem is reported:\n%v", err)
			}
		})
	}
}

func TestEveryErrorAtOnce(t *testing.T) {
	_, _, err := parse(t, `
environment: test
lifetimes: {accessToken: soon}
models: [{name: a/b, embedded: iris}]
users: [{username: Ada, password: none}, {username: bob, password: none, roles: [ghost]}]
surprise: 1
`, false, nil)
	want := []string{"environment", "surprise", "lifetimes.accessToken", "models[0].name", "users[0].username", "users[1].roles[0]"}
	var got []string
	for _, line := range strings.Split(fmt.Sprint(err), "\n")[1:] {
		key, _, _ := strings.Cut(line, ": ")
		got = append(got, key)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s\n%v", diff, err)
	}
}

// A key with a prefix that is almost ours would be dropped in silence, and the
// realm be weaker than meant.
func TestPrefixes(t *testing.T) {
	for _, tt := range []struct{ key, want string }{
		{"keycloak-model-ap:hardening", "keycloak-model-ap:hardening: nothing reads the prefix keycloak-model-ap; did you mean keycloak-model-api:hardening?"},
		{"keycloak-model-apis:hardening", "did you mean keycloak-model-api:hardening?"},
		{"keycloak-modle-api:hardening", "did you mean keycloak-model-api:hardening?"},
		{"Keycloak-Model-API:hardening", "did you mean keycloak-model-api:hardening?"},
		{"keycloack:clientId", "did you mean keycloak:clientId?"},
		{"aws:region", ""},
		{"other-model-api:hardening", ""},
		{"pulumi:disable-default-providers", ""},
	} {
		_, _, err := parse(t, fmt.Sprintf("{%q: strict}", tt.key), false, nil)
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.key, err, tt.want)
		}
	}
}

// Errors and warnings name the client, model or user, and the line of the stack
// file where it lies beside Pulumi.yaml and holds the key.
func TestErrorsNameTheirPlace(t *testing.T) {
	const text = `
environment: staging
hardening: strickt
models:
  - {name: churn, upstream: {url: "http://m"}, roles: [a, a]}
clients:
  - {clientId: api, kind: api}
  - clientId: portal
    kind: web
    redirectURIs: [https://portal.example.com/callback]
  - clientId: nightly
    kind: servce
  - clientId: other
    kind: service
    lightweight: true
    accessTokenType: at+jwt
    serviceAccountRoles: [model-chrun]
users:
  - {username: ada, password: none, grops: [x]}
clientSecrets: {api: s, portal: s, nightly: s, other: s}
`
	file := "config:\n"
	for line := range strings.Lines(strings.TrimPrefix(text, "\n")) {
		if !strings.HasPrefix(line, " ") {
			line = "keycloak-model-api:" + line
		}
		file += "  " + line
	}
	file = strings.NewReplacer(": s,", ": {secure: abc},", ": s}", ": {secure: abc}}").Replace(file)
	_, warnings, err := parse(t, text, false, map[string]string{"Pulumi.test.yaml": file})
	for _, want := range []string{
		`hardening: "strickt" is none of baseline, strict, off; did you mean strict? (Pulumi.test.yaml:3)`,
		`models[0].roles[1]: "a" is there twice (model "churn", Pulumi.test.yaml:5)`,
		`clients[1].redirectURIs: unknown key; did you mean redirectUris? (client "portal", Pulumi.test.yaml:10)`,
		`clients[1].redirectUris: is missing: the code flow needs one, such as https://app.example.com/callback (client "portal", Pulumi.test.yaml:8)`,
		`clients[2].kind: "servce" is none of ` + strings.Join(Kinds(), ", ") + `; did you mean service? (client "nightly", Pulumi.test.yaml:12)`,
		`clients[3].serviceAccountRoles[0]: role "model-chrun" is not declared: add it to roles (client "other", Pulumi.test.yaml:17)`,
		`users[0].grops: unknown key; did you mean groups? (user "ada", Pulumi.test.yaml:19)`,
	} {
		if err == nil || !slices.Contains(strings.Split(err.Error(), "\n"), want) {
			t.Errorf("no line %s in\n%v", want, err)
		}
	}
	if !slices.ContainsFunc(warnings, func(w string) bool {
		return strings.HasPrefix(w, "clients[3].lightweight: ") && strings.HasSuffix(w, ` (client "other", Pulumi.test.yaml:15)`)
	}) {
		t.Errorf("warnings %q", warnings)
	}
	if _, _, err := parse(t, text, false, nil); err == nil || !strings.Contains(err.Error(), `did you mean redirectUris? (client "portal")`) {
		t.Errorf("without a file: %v", err)
	}
}

// Whoever leaves environment out reads which one holds.
func TestEnvironmentLeftOut(t *testing.T) {
	const said = "correct the stack's configuration, whose environment is prod since it sets none"
	for _, tt := range []struct {
		name, environment string
		files             map[string]string
		want              bool
	}{
		{"set", "prod", map[string]string{"Pulumi.test.yaml": "config: {keycloak-model-api:environment: prod}"}, false},
		{"not in the file, which the project's default fills in", "prod", map[string]string{"Pulumi.test.yaml": "config: {keycloak-model-api:realm: r}"}, true},
		{"no file, and a value", "prod", nil, false},
		{"staging", "staging", nil, false},
	} {
		_, _, err := parse(t, "{environment: "+tt.environment+", clientSecrets: {}}", false, tt.files)
		if err == nil || strings.Contains(err.Error(), said) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// The CLI calls a key secret as soon as one of its members is.
func TestPlainSecretBesideEncryptedOnes(t *testing.T) {
	files := map[string]string{"Pulumi.test.yaml": `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:clientSecrets:
    api: {secure: v1:abc}
    portal: hunter2
  keycloak-model-api:initialPasswords: {secure: v1:abc}
`}
	_, _, err := parse(t, "environment: dev", false, files)
	if err == nil || !strings.Contains(err.Error(), `clientSecrets["portal"]: is a plain secret`) || !strings.Contains(err.Error(), "(Pulumi.test.yaml:6)") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	if strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("more than one problem: %v", err)
	}
	_, _, err = parse(t, `{"keycloak:clientSecret": hunter2, "keycloak:password": hunter2}`, true, nil)
	for _, key := range []string{"keycloak:clientSecret: is a plain secret", "keycloak:password: is a plain secret"} {
		if err == nil || !strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", key, err)
		}
	}
}

// dev merges the secrets that it makes with those of Pulumi.yaml, and so the key
// comes as a secret one.
func TestPlainSecretInProjectFile(t *testing.T) {
	for _, tt := range []struct {
		name, project, stack string
		refused              bool
	}{
		{"as its default", "config: {clientSecrets: {type: object, default: {portal: hunter2}}}", "", true},
		{"as its value", "config: {keycloak-model-api:clientSecrets: {value: {portal: hunter2}}}", "", true},
		{"as text", `config: {clientSecrets: {type: object, default: '{"portal": "hunter2"}'}}`, "", true},
		{"no secret", "config: {clientSecrets: {type: object, default: {}}}", "", false},
		{"only its type", "config: {clientSecrets: {type: object}}", "", false},
		{"the stack's own win", "config: {clientSecrets: {default: {portal: hunter2}}}", "config: {keycloak-model-api:clientSecrets: {secure: v1:abc}}", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"Pulumi.yaml": tt.project, "Pulumi.test.yaml": tt.stack}
			_, _, err := parse(t, "environment: dev", false, files)
			if refused := err != nil && strings.Contains(err.Error(), "clientSecrets: has a plain secret in Pulumi.yaml"); refused != tt.refused {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the secret shows: %v", err)
			}
		})
	}
}

// A URL that holds a password is refused, and not repeated.
func TestPasswordsInURLs(t *testing.T) {
	for key, text := range map[string]string{
		"publicUrl: ":                     `publicUrl: "https://u:hunter2@id.example.com"`,
		"apiUrl: ":                        `apiUrl: "https://u:hunter2@api"`,
		"models[0].upstream.url: ":        `models: [{name: m, upstream: {url: "https://u:hunter2@m"}}]`,
		"clients[1].redirectUris[0]: ":    `clients: [{clientId: api, kind: api}, {clientId: web, kind: web, redirectUris: ["https://u:hunter2@w/cb"]}]`,
		"clients[0].webOrigins[0]: ":      `clients: [{clientId: api, kind: api, directAccessGrants: true, webOrigins: ["https://u:hunter2@w"]}]`,
		"clients[0].baseUrl: ":            `clients: [{clientId: api, kind: api, baseUrl: "https://u:hunter2@w"}]`,
		"clients[0].adminUrl: ":           `clients: [{clientId: api, kind: api, adminUrl: "https://u:hunter2@w ord"}]`,
		"identityProviders[0].tokenUrl: ": `{federationSecrets: {o: s}, identityProviders: [{alias: o, issuer: "https://o", authorizationUrl: "https://o/a", tokenUrl: "https://u:hunter2@o/t", jwksUrl: "https://o/k", clientId: us}]}`,
		"ldap[0].url: ":                   `ldap: [{name: d, url: "ldaps://u:hunter2@d", usersDn: "ou=p"}]`,
	} {
		_, _, err := parse(t, text, false, nil)
		if err == nil || !strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", key, err)
		}
	}
}

func TestSecretsAreDemandedAndKeptOutOfErrors(t *testing.T) {
	_, _, err := parse(t, "clientSecrets: {api: hunter2-hunter2}", true, nil)
	if err == nil || !strings.Contains(err.Error(), "clientSecrets: is a plain secret") {
		t.Errorf("a plain secret gives %v", err)
	}
	_, _, wrongType := parse(t, "clientSecrets: {api: [hunter2-hunter2]}", false, nil)
	for _, s := range []string{fmt.Sprint(err), fmt.Sprint(wrongType), fmt.Sprintf("%v %+v %#v", Secrets{"a": "hunter2-hunter2"}, Secrets{"a": "hunter2-hunter2"}, Secrets{"a": "hunter2-hunter2"})} {
		if strings.Contains(s, "hunter2") {
			t.Errorf("the secret shows: %s", s)
		}
	}
	cfg, _, err := parse(t, "clientSecrets: {api: 12345678}", false, nil)
	if err != nil || cfg.ClientSecrets["api"] != "12345678" {
		t.Errorf("a secret of digits, which the CLI stores as a number, gives %v", err)
	}
}

// What is refused elsewhere is a warning in dev.
func TestDevWarns(t *testing.T) {
	const text = `
clients:
  - clientId: api
    kind: api
    standardFlow: true
    directAccessGrants: true
    pkce: false
    fullScope: true
    redirectUris: [http://my-api-server/*]
    webOrigins: ["*"]
`
	for _, level := range []string{"off", "baseline", "strict"} {
		t.Run(level, func(t *testing.T) {
			_, warnings, err := parse(t, "environment: dev\nhardening: \""+level+"\"\n"+text, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"clients[0].directAccessGrants: ", "clients[0].pkce: ", "clients[0].fullScope: ", "clients[0].redirectUris[0]: ", "clients[0].webOrigins[0]: "} {
				if !slices.ContainsFunc(warnings, func(w string) bool { return strings.HasPrefix(w, want) }) {
					t.Errorf("no warning begins with %q: %q", want, warnings)
				}
			}
			_, _, err = parse(t, "environment: staging\nhardening: \""+level+"\"\n"+text, false, nil)
			for _, want := range []string{"clients[0].redirectUris[0]: ", "clients[0].webOrigins[0]: "} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("staging accepts %s", want)
				}
			}
		})
	}
}

// A lifetime beyond the bound that hardening sets takes effect only up to it.
func TestLifetimesBesideTheLevelWarn(t *testing.T) {
	for _, tt := range []struct{ name, lifetimes, want string }{
		{"idle longer than the level's max", "ssoIdle: 12h", "lifetimes.ssoIdle: 12h0m0s is longer than lifetimes.ssoMax, 10h0m0s, which ends the session: set both"},
		{"max shorter than the level's idle", "ssoMax: 10m", "lifetimes.ssoIdle: 30m0s is longer than lifetimes.ssoMax, 10m0s, which ends the session: set both"},
		{"offline max shorter than the level's idle", "offlineMax: 24h", "lifetimes.offlineIdle: 720h0m0s is longer than lifetimes.offlineMax, 24h0m0s, which ends the session: set both"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, warnings, err := parse(t, "lifetimes: {"+tt.lifetimes+"}", false, nil)
			if err != nil || !slices.Contains(warnings, tt.want) {
				t.Errorf("it warns %q, error %v", warnings, err)
			}
		})
	}
}

// A kind stands in the table of defaults and in the tag that the schema and the
// documentation are made of.
func TestKinds(t *testing.T) {
	documented := slices.Sorted(slices.Values(Kinds()))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(kinds)), documented); diff != "" {
		t.Errorf("kinds with defaults (-) and in the tag of Client.Kind (+):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	cfg, warnings, err := parse(t, `
models: [{name: churn, upstream: {url: "http://triton:8000"}}, {name: iris, embedded: iris, roles: [analysts, model-api-access]}]
roles: [{name: analysts, description: Analysts}, {name: team lead, composites: [analysts]}]
clients:
  - {clientId: api, kind: api}
  - {clientId: web, kind: web, redirectUris: ["https://w.example.com/cb"]}
  - {clientId: svc, kind: service, roles: [], mappers: [{name: given, type: userAttribute, claim: given, value: firstName}]}
  - {clientId: cli, kind: cli}
signingKeys: [{name: es, algorithm: ES256}]
signIn: {secondFactor: required}
`, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Errorf("a plain configuration warns: %q", warnings)
	}
	if cfg.DisplayName != "example" || cfg.BaseRole != "model-api-access" || cfg.Hardening != "baseline" || !cfg.Protected() {
		t.Errorf("defaults of the realm: %q %q %q %v", cfg.DisplayName, cfg.BaseRole, cfg.Hardening, cfg.Protected())
	}
	if k := cfg.SigningKeys[0]; k.Priority != 200 || !*k.Active || !*k.Enabled || k.Size != 2048 {
		t.Errorf("defaults of a key: %+v", k)
	}
	type flows struct{ Public, Code, Password, Service, Device, PKCE, Full, Exchange bool }
	got := map[string]flows{}
	for i := range cfg.Clients {
		c := &cfg.Clients[i]
		got[c.ClientID] = flows{c.Public(), *c.StandardFlow, *c.DirectAccessGrants, *c.ServiceAccount, *c.DeviceGrant, *c.PKCE, *c.FullScope, *c.TokenExchange}
	}
	want := map[string]flows{
		"api": {Service: true, Exchange: true},
		"web": {Code: true, PKCE: true},
		"svc": {Service: true},
		"cli": {Public: true, Code: true, Device: true, PKCE: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if cfg.Clients[2].Roles == nil || cfg.Clients[1].Roles != nil {
		t.Error("roles: [] must differ from roles left out")
	}
	if diff := cmp.Diff([]string{"model-api-access", "model-churn", "analysts"}, cfg.ModelRoles()); diff != "" {
		t.Errorf("roles of models (-want +got):\n%s", diff)
	}
	composites := map[string][]string{}
	for _, r := range cfg.RealmRoles() {
		composites[r.Name] = r.Composites
	}
	if diff := cmp.Diff(map[string][]string{
		"model-api-access": nil, "model-churn": {"model-api-access"}, "analysts": {"model-api-access"}, "team lead": {"analysts"},
	}, composites); diff != "" {
		t.Errorf("composites (-want +got):\n%s", diff)
	}
	if err := cfg.Policy().Validate(); err != nil {
		t.Error(err)
	}
}

// A model without conditions asks for a role of its own; one with conditions
// asks for what they say.
func TestConditionsOfModels(t *testing.T) {
	cfg, _, err := parse(t, `
groups: [{name: research}, {name: vision, parent: research, roles: [model-api-access]}]
models:
  - {name: default, embedded: iris}
  - {name: short, embedded: iris, roles: [analysts]}
  - {name: actions, embedded: iris, allow: {actions: [infer]}}
  - {name: team, embedded: iris, allow: {groups: [vision, /ldap/lab]}}
  - {name: all, embedded: iris, allow: {roles: [a], allRoles: [b, c], clients: [api], scopes: [phone], actions: [infer, metadata]}}
`, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]policy.Conditions{}
	for _, m := range cfg.Policy().Models {
		got[m.Name] = m.Allow
	}
	if diff := cmp.Diff(map[string]policy.Conditions{
		"default": {Roles: []string{"model-default"}},
		"short":   {Roles: []string{"analysts"}},
		"actions": {Roles: []string{"model-actions"}, Actions: []string{"infer"}},
		"team":    {Groups: []string{"/research/vision", "/ldap/lab"}},
		"all":     {Roles: []string{"a"}, AllRoles: []string{"b", "c"}, Clients: []string{"api"}, Scopes: []string{"phone"}, Actions: []string{"infer", "metadata"}},
	}, got); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"model-api-access", "model-default", "analysts", "model-actions", "a", "b", "c"}, cfg.ModelRoles()); diff != "" {
		t.Errorf("roles that the stack makes (-want +got):\n%s", diff)
	}
	if err := cfg.Policy().Validate(); err != nil || !cfg.GroupsDecide() {
		t.Errorf("policy: %v, groups decide: %v", err, cfg.GroupsDecide())
	}
}

func TestIssuer(t *testing.T) {
	for _, tt := range []struct {
		name, publicURL string
		values, env     map[string]string
		want            string
	}{
		{"publicUrl wins", "https://id.example.com/auth/", map[string]string{"keycloak:url": "http://internal:8080", "keycloak:basePath": "/kc"}, nil, "https://id.example.com/auth/realms/r"},
		{"provider's url and base path", "", map[string]string{"keycloak:url": "http://kc:8080/", "keycloak:basePath": "/auth/"}, nil, "http://kc:8080/auth/realms/r"},
		{"environment", "", nil, map[string]string{"KEYCLOAK_URL": "http://kc:8080", "KEYCLOAK_BASE_PATH": "auth"}, "http://kc:8080/auth/realms/r"},
		{"configuration before environment", "", map[string]string{"keycloak:url": "http://a"}, map[string]string{"KEYCLOAK_URL": "http://b"}, "http://a/realms/r"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := &Config{Realm: "r", PublicURL: tt.publicURL}
			cfg.keycloakURL = keycloakURL(cfg, Source{
				Value:  func(key string) (string, bool) { v, ok := tt.values[key]; return v, ok },
				Getenv: func(key string) string { return tt.env[key] },
			})
			if got := cfg.Issuer(); got != tt.want {
				t.Errorf("issuer %s, want %s", got, tt.want)
			}
		})
	}
}

func TestUsersFile(t *testing.T) {
	files := map[string]string{
		"users.csv": "\ufeffusername,email,firstName,lastName,groups,attributes.team,enabled\n" +
			"ada,ada@example.com,Ada,Lovelace,vision;speech,blue,\n" +
			"bob,,,,vision,,false\n",
		"bad.csv":  "username,roles\nAda,ghost\n",
		"typo.csv": "username,mail,attributes.,email,email\nada,a@b.c,,,\n",
		"long.csv": "username,email\nada,ada@example.com,Ada\nBob,\neve\n",
		"anon.csv": "email\nada@example.com\neve@example.com\n",
	}
	const groups = "groups: [{name: vision}, {name: speech}]\nuserAttributes: [{name: team}]\n"
	cfg, _, err := parse(t, groups+"usersFile: users.csv\nusers: [{username: eve, password: none}]", false, files)
	if err != nil {
		t.Fatal(err)
	}
	off, on := false, true
	want := []User{
		{Username: "eve", Password: "none", Enabled: &on},
		{Username: "ada", Email: "ada@example.com", FirstName: "Ada", LastName: "Lovelace", Password: "none", Enabled: &on, Groups: []string{"vision", "speech"}, Attributes: map[string]string{"team": "blue"}},
		{Username: "bob", Password: "none", Enabled: &off, Groups: []string{"vision"}},
	}
	if diff := cmp.Diff(want, cfg.Users); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	for _, tt := range []struct{ file, want string }{
		{"bad.csv", `usersFile bad.csv:2.username: "Ada" has upper case`},
		{"bad.csv", `usersFile bad.csv:2.roles[0]: role "ghost" is not declared`},
		{"typo.csv", `usersFile: typo.csv: unknown column "mail"`},
		{"typo.csv", `usersFile: typo.csv: unknown column "attributes."`},
		{"typo.csv", `usersFile: typo.csv: column "email" is there twice`},
		{"long.csv", "usersFile: long.csv: record on line 2: wrong number of fields"},
		{"long.csv", `usersFile long.csv:3.username: "Bob" has upper case`},
		{"long.csv", "usersFile: long.csv: record on line 4: wrong number of fields"},
		{"anon.csv", "(1):\nusersFile: anon.csv has no column username"},
		{"none.csv", "usersFile: open none.csv: no such file"},
	} {
		_, _, err := parse(t, "usersFile: "+tt.file, false, files)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: the error does not say %q: %v", tt.file, tt.want, err)
		}
	}
}

// Pulumi.yaml must declare each key with the type, text and default of its
// field: the CLI shows it, and refuses a key whose default is missing before the
// program can say what is wrong.
func TestProjectFile(t *testing.T) {
	data, err := os.ReadFile("../Pulumi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type declaration struct {
		Type, Description string
		Items             map[string]string
		Default           any
		Value             any
		Secret            bool
	}
	var file struct{ Config map[string]declaration }
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	want := map[string]declaration{"keycloak:clientTimeout": {Value: 60}}
	for _, f := range fields(reflect.TypeFor[Config]()) {
		d := declaration{Description: meaning(whole, jsonName(f))}
		switch f.Type.Kind() {
		case reflect.String:
			d.Type, d.Default = "string", f.Tag.Get("default")
		case reflect.Bool:
			d.Type, d.Default = "boolean", f.Tag.Get("default") == "true"
		case reflect.Slice:
			d.Type, d.Default, d.Items = "array", []any{}, map[string]string{"type": "object"}
		default:
			d.Type, d.Default = "object", map[string]any{}
		}
		want[jsonName(f)] = d
	}
	if diff := cmp.Diff(want, file.Config); diff != "" {
		t.Errorf("Pulumi.yaml (-want +got):\n%s", diff)
	}
}

// Every field must say what it is, and every enum and default must decode.
func TestKeys(t *testing.T) {
	var walk func(typ reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for _, f := range fields(typ) {
			at := path + "." + jsonName(f)
			if jsonName(f) == "" || meaning(typ, jsonName(f)) == "" {
				t.Errorf("%s: no json tag, or no comment that says what it means", at)
			}
			if (f.Tag.Get("required") != "") != strings.Contains(meaning(typ, jsonName(f)), "Required.") {
				t.Errorf("%s: the tag required and the text disagree", at)
			}
			if def, enum := f.Tag.Get("default"), f.Tag.Get("enum"); def != "" && enum != "" && !slices.Contains(strings.Split(enum, ","), def) {
				t.Errorf("%s: default %q is none of %s", at, def, enum)
			}
			walk(f.Type, at)
		}
	}
	walk(reflect.TypeFor[Config](), "")
}
