package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keycloak-model-api/policy"
)

// What a model asks of the sign-in reaches the API with the time of the level
// (RFC 9470).
func TestAuthentication(t *testing.T) {
	const signIn = "signIn: {secondFactor: optional, levels: [{level: 2, maxAge: 20m}]}\n"
	for _, row := range []struct {
		name, text string
		want       *policy.Authentication
		err        string
	}{
		{"of the realm", signIn + "models: [{name: m, embedded: iris}]", nil, ""},
		{"a level", signIn + "models: [{name: m, embedded: iris, authentication: {level: 2}}]",
			&policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "20m"}, ""},
		{"everything", signIn + "models: [{name: m, embedded: iris, authentication: {level: 2, maxAge: 5m, serviceAccounts: true}}]",
			&policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "20m", MaxAge: "5m", ServiceAccounts: true}, ""},
		{"a level without a time of its own", "signIn: {secondFactor: required}\nmodels: [{name: m, embedded: iris, authentication: {level: 2}}]",
			&policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m"}, ""},
		{"flows that are off", "signIn: {secondFactor: \"off\"}\nmodels: [{name: m, embedded: iris, authentication: {level: 2}}]",
			nil, "models[0].authentication.level: no level 2 is declared"},
		{"a longer time than the level's", signIn + "models: [{name: m, embedded: iris, authentication: {level: 2, maxAge: 20m}}]",
			nil, "models[0].authentication.maxAge: 20m is not shorter than the level's time, 20m"},
		{"a time that is none", signIn + "models: [{name: m, embedded: iris, authentication: {level: 2, maxAge: soon}}]",
			nil, `models[0].authentication.maxAge: "soon" is not a duration`},
	} {
		t.Run(row.name, func(t *testing.T) {
			cfg, _, err := parse(t, row.text, false, nil)
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Errorf("got %v, want %q", err, row.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, cfg.Policy().Models[0].Authentication); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := cfg.Policy().Validate(); err != nil {
				t.Errorf("the API refuses the policy: %v", err)
			}
		})
	}
	_, warnings, err := parse(t, signIn+`models: [{name: m, embedded: iris, authentication: {level: 2}}]
clients: [{clientId: api, kind: api}, {clientId: cli, kind: cli, defaultScopes: [offline_access]}]`, false, nil)
	const want = "clients[1].defaultScopes: offline_access: the offline tokens of this client can call no model that has authentication"
	if err != nil || !slices.ContainsFunc(warnings, func(w string) bool { return strings.HasPrefix(w, want) }) {
		t.Errorf("warnings %q, %v", warnings, err)
	}
}

func TestShortDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"10s": 10 * time.Second, "15m": 15 * time.Minute, "10m": 10 * time.Minute, "1h": time.Hour, "10h": 10 * time.Hour,
		"1h30m": 90 * time.Minute, "1m30s": 90 * time.Second, "1h0m5s": time.Hour + 5*time.Second,
	} {
		if got := ShortDuration(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}
