package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What nothing would read is refused, and so is what would not hold.
func TestSignInErrors(t *testing.T) {
	const provider = `{alias: o, issuer: "https://o", authorizationUrl: "https://o/a", tokenUrl: "https://o/t", jwksUrl: "https://o/k", clientId: us, secondFactor: %s}`
	for _, tt := range []struct{ name, text, want string }{
		{"a word of ours that is none", `signIn: {secondFactor: always}`, `signIn.secondFactor: "always" is none of off, optional, required`},
		{"a key that is none", `signIn: {secondFactor: required, factor: [otp]}`, "signIn.factor: unknown key; did you mean factors?"},
		{"a factor that is none", `signIn: {secondFactor: required, factors: [sms]}`, `signIn.factors[0]: "sms" is none of otp, passkey, recoveryCodes`},
		{"a factor twice", `signIn: {secondFactor: required, factors: [otp, otp]}`, `signIn.factors[1]: "otp" is there twice`},
		{"recovery codes alone", `signIn: {secondFactor: required, factors: [recoveryCodes]}`, "signIn.factors: recovery codes stand in for a lost factor"},
		{"nobody", `signIn: {secondFactor: required, for: []}`, "signIn.for: is empty: nobody would need a second factor"},
		{"a role that is not there", `signIn: {secondFactor: required, for: [ghost]}`, `signIn.for[0]: role or group "ghost" is not declared`},
		{"the role itself", `signIn: {secondFactor: required, for: [model-api-access, second-factor]}`, `signIn.for[1]: role or group "second-factor" is not declared`},
		{"a role of the stack's name", `{signIn: {secondFactor: required, for: [second-factor]}, roles: [{name: second-factor}]}`, `roles: "second-factor" is a role that the stack makes`},
		{"a model's role of the stack's name", `{signIn: {secondFactor: required, for: [model-api-access]}, models: [{name: m, embedded: iris, roles: [second-factor]}]}`, `roles: "second-factor" is a role that the stack makes`},
		{"some, where it is optional", `signIn: {secondFactor: optional, for: [model-api-access]}`, "signIn.for: nothing reads it where the second factor is optional"},
		{"enrolment, where it is optional", `signIn: {secondFactor: optional, enrol: onFirstLogin}`, "signIn.enrol: nothing reads it where the second factor is optional"},
		{"enrolment with nothing to enrol", `signIn: {secondFactor: required, enrol: onFirstLogin, factors: [recoveryCodes], passkeys: true}`, "signIn.enrol: there is nothing to set up at a login"},
		{"another level", `signIn: {secondFactor: required, levels: [{level: 3, maxAge: 5m}]}`, `signIn.levels[0].level: "3" is none of 2`},
		{"a level twice", `signIn: {secondFactor: required, levels: [{level: 2}, {level: 2}]}`, "signIn.levels[1]: level 2 is there already"},
		{"an age that is none", `signIn: {secondFactor: required, levels: [{level: 2, maxAge: 0s}]}`, `signIn.levels[0].maxAge: "0s" is not a duration`},
		{"passkeys without a second factor", `signIn: {passkeys: true}`, "signIn.passkeys: nothing reads it without a second factor"},
		{"levels without a second factor", `signIn: {secondFactor: off, levels: [{level: 2}]}`, "signIn.levels: nothing reads it without a second factor"},
		{"a trusted provider without a second factor", `{federationSecrets: {o: s}, identityProviders: [` + strings.Replace(provider, "%s", "trust", 1) + `]}`, "identityProviders[0].secondFactor: nothing reads it without a second factor"},
		{"a provider that is neither", `{signIn: {secondFactor: optional}, federationSecrets: {o: s}, identityProviders: [` + strings.Replace(provider, "%s", "maybe", 1) + `]}`, `identityProviders[0].secondFactor: "maybe" is none of trust`},
		{"the attribute of levels", `{signIn: {secondFactor: optional}, realmAttributes: {acr.loa.map: "{}"}}`, `realmAttributes["acr.loa.map"]: is set by signIn`},
		{"a passkey of one factor", `{environment: dev, signIn: {secondFactor: optional, passkeys: true}, passkeys: {userVerification: preferred}}`, "passkeys.userVerification: a passkey that asks for no PIN or finger is one factor"},
		{"an action of a factor that is off", `{signIn: {secondFactor: optional}, requiredActions: [{alias: CONFIGURE_TOTP, enabled: false}]}`, "requiredActions[0].enabled: people set up a factor of signIn by it"},
		{"people who register for nothing", `{signIn: {secondFactor: required}, login: {registration: true}}`, "login.registration: nobody who registers could sign in"},
		{"a claim that the API decides by", `{clients: [{clientId: api, kind: api, mappers: [{name: m, type: hardcoded, claim: loa_map, value: x}]}]}`, `"loa_map" is a claim that the API relies on`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := parse(t, tt.text, false, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// A second factor is what strict demands and baseline advises, where people sign in.
func TestSecondFactorInProd(t *testing.T) {
	const people = "\nclients: [{clientId: api, kind: api}, {clientId: web, kind: web, redirectUris: [\"https://web.example.com/callback\"]}]\n"
	const exempt = "exemptions: [{resource: example, rule: second-factor-in-prod, reason: The partner asks for one}]"
	for _, tt := range []struct {
		name, text string
		refused    bool
		warned     bool
	}{
		{"strict", "hardening: strict" + people, true, false},
		{"strict, where it is optional", "hardening: strict\nsignIn: {secondFactor: optional}" + people, true, false},
		{"strict, required", "hardening: strict\nsignIn: {secondFactor: required}" + people, false, false},
		{"strict, required of some", "hardening: strict\nsignIn: {secondFactor: required, for: [model-api-access]}" + people, false, false},
		{"strict, exempt", "hardening: strict" + people + exempt, false, false},
		{"strict in dev", "environment: dev\nhardening: strict" + people, false, true},
		{"strict, services alone", "hardening: strict", false, false},
		{"baseline", people, false, true},
		{"baseline in dev", "environment: dev" + people, false, false},
		{"off", "hardening: off" + people, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, warnings, err := parse(t, tt.text, false, nil)
			says := func(text string) bool { return strings.Contains(text, "signIn.secondFactor: a password alone") }
			if refused := err != nil && says(err.Error()); refused != tt.refused || err != nil && !refused {
				t.Errorf("error %v, want it refused %v", err, tt.refused)
			}
			if warned := slices.ContainsFunc(warnings, says); warned != tt.warned {
				t.Errorf("warnings %q, want one %v", warnings, tt.warned)
			}
		})
	}
}

func TestSignIn(t *testing.T) {
	cfg, warnings, err := parse(t, `
signIn: {secondFactor: required, for: [curator, staff], enrol: onFirstLogin, levels: [{level: 2, maxAge: 5m}]}
roles: [{name: curator, composites: [reader]}, {name: reader}]
groups: [{name: staff, roles: [reader]}, {name: guests}]
`, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(warnings, func(w string) bool { return strings.HasPrefix(w, "signIn.enrol: whoever has the password alone") }) {
		t.Errorf("warnings %q", warnings)
	}
	if got := cfg.SignIn.LevelAge(); got != 5*time.Minute {
		t.Errorf("level 2 is good for %v", got)
	}
	composites := map[string][]string{}
	for _, r := range cfg.RealmRoles() {
		composites[r.Name] = r.Composites
	}
	if diff := cmp.Diff(map[string][]string{
		"model-api-access": nil, "reader": nil, "curator": {"reader", "second-factor"}, "second-factor": nil,
	}, composites); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	groups := map[string][]string{}
	for _, g := range cfg.RealmGroups() {
		groups[g.Name] = g.Roles
	}
	if diff := cmp.Diff(map[string][]string{"staff": {"reader", "second-factor"}, "guests": nil}, groups); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"reader"}, cfg.Groups[0].Roles); diff != "" {
		t.Errorf("the configuration itself changes:\n%s", diff)
	}

	// An unquoted off is false in YAML.
	off, _, err := parse(t, `signIn: {secondFactor: false}`, false, nil)
	if err != nil || !off.SignIn.Declared() || off.SignIn.Flows() {
		t.Errorf("off: %+v, %v", off, err)
	}
	none, _, err := parse(t, "", false, nil)
	if err != nil || none.SignIn.Declared() {
		t.Errorf("left out: %+v, %v", none, err)
	}
}
