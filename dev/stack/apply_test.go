package main

import (
	"strings"
	"testing"

	"keycloak-model-api/internal/monitor"
)

// What the API would refuse to start with is known before Keycloak boots.
func TestModelsAreCheckedFirst(t *testing.T) {
	outputs := func(models string) []byte {
		return []byte(`{"issuer":"http://kc/realms/r","audience":"api","policy":{"version":1,"issuer":"http://kc/realms/r","audience":"api","baseRole":"b","models":[` +
			models + `],"clients":[]}}`)
	}
	for _, tt := range []struct{ name, models, want string }{
		{"iris", `{"name":"a","roles":["r"],"embedded":"iris"}`, ""},
		{"a credential that is set", `{"name":"a","roles":["r"],"upstream":{"url":"http://up","credential":"GIVEN"}}`, ""},
		{"no such embedded model", `{"name":"a","roles":["r"],"embedded":"mnist"}`, `no embedded model "mnist"`},
		{"a credential that is missing", `{"name":"a","roles":["r"],"upstream":{"url":"http://up","credential":"UP_TOKEN"}}`, "set UP_TOKEN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkModels(outputs(tt.models), func(name string) string { return map[string]string{"GIVEN": "x"}[name] })
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestWhoGetsATokenByACommand(t *testing.T) {
	const api = `{"clientId":"api","kind":"api","directAccessGrants":true}`
	for _, tt := range []struct{ name, clients, users, grant, client, user string }{
		{"a user", api, `{"username":"ada","password":"permanent"}`, "password", "api", "ada"},
		{"a user with something left to do", api, `{"username":"ada","password":"temporary"}`, "", "api", ""},
		{"the API takes no passwords", `{"clientId":"api","kind":"api"}`, `{"username":"ada","password":"permanent"}`, "", "api", ""},
		{"a service", api + `,{"clientId":"nightly","kind":"service","serviceAccountRoles":["r"]}`, "", "client_credentials", "nightly", ""},
		{"a service without roles", api + `,{"clientId":"nightly","kind":"service"}`, "", "", "api", ""},
		{"a service that signs", api + `,{"clientId":"nightly","kind":"service","authentication":"jwt","serviceAccountRoles":["r"]}`, "", "", "api", ""},
		{"people only", api + `,{"clientId":"cli","kind":"cli"}`, `{"username":"ada","password":"temporary"}`, "", "api", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &monitor.Config{Project: "p", Values: map[string]string{"p:clients": "[" + tt.clients + "]", "p:users": "[" + tt.users + "]"}}
			e := example{ClientID: "api"}
			e.grant(declaredIn(c, t.TempDir()), map[string]string{"ada": "a password"})
			if e.Grant != tt.grant || e.ClientID != tt.client || e.Username != tt.user {
				t.Errorf("got %q, %q, %q, want %q, %q, %q", e.Grant, e.ClientID, e.Username, tt.grant, tt.client, tt.user)
			}
		})
	}
}
