package main

import (
	"strings"
	"testing"
)

func TestGuardrailsAndTheirExemptions(t *testing.T) {
	const lasting = `
users:
  - {username: smoke-test, email: smoke@example.com, firstName: Smoke, lastName: Test, password: permanent}
`
	for _, test := range []struct {
		name, config string
		want         string // in the error; empty: none
	}{
		{"lasting password", lasting, "users[0].password: permanent"},
		{"claim that users may edit", `
userAttributes: [{name: team, userEditable: true}]
clients:
  - {clientId: api, kind: api, mappers: [{name: team, type: userAttribute, claim: groups, value: team}]}`, `"api/team" breaks no-self-service-claim`},
		{"lasting password, exempt", lasting + `
exemptions: [{resource: smoke-test, rule: no-lasting-password, reason: It has no role at all.}]`, ""},
		{"wildcard, exempt", `
clients:
  - {clientId: api, kind: api}
  - {clientId: web, kind: web, redirectUris: ["https://app.example.com/*"], webOrigins: ["*"]}
exemptions:
  - {resource: web, rule: no-wildcard-redirect, reason: It moves in March.}
  - {resource: web, rule: no-wildcard-origin, reason: It moves in March.}`, ""},
		{"exemption without use", `
exemptions: [{resource: api, rule: no-implicit-flow, reason: It was so once.}]`, `no resource "api" breaks the rule no-implicit-flow`},
		{"exemption from no rule", `
exemptions: [{resource: api, rule: implicit, reason: It was so once.}]`, `exemptions[0].rule: "implicit" is none of no-implicit-flow`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := with(t, test.config)
			s[project+":initialPasswords"] = map[string]string{}
			if s[project+":users"] != nil {
				s[project+":initialPasswords"] = map[string]string{"smoke-test": "correct horse battery staple 1A"}
			}
			_, _, err := up(t, s)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}
