package doctor

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/policy"
)

// clientScope is what the doctor reads of Keycloak's ClientScopeRepresentation.
type clientScope struct {
	Name    string   `json:"name"`
	Mappers []mapper `json:"protocolMappers"`
}

type mapper struct {
	Kind   string            `json:"protocolMapper"`
	Config map[string]string `json:"config"`
}

// tellsLevels says whether a mapper puts the time of each level into access tokens and
// into answers of introspection.
func (m mapper) tellsLevels() bool {
	return m.Kind == "oidc-usersessionmodel-note-mapper" && m.Config["user.session.note"] == "loa-map" &&
		m.Config["claim.name"] == bearer.LevelsClaim && m.Config["access.token.claim"] == "true" && m.Config["introspection.token.claim"] != "false"
}

// signInScopes are the scopes by which a token says how its person signed in: acr by
// the one, auth_time and sub by the other.
var signInScopes = []string{"acr", "basic"}

// levels checks, where a model asks how its caller signed in, that the tokens of each
// client say it. Service accounts have no sign-in, so only an account of the Admin
// REST API can see that.
func (d *doctor) levels(ctx context.Context) {
	const check = "levels"
	asks := slices.ContainsFunc(d.stack.Policy.Models, func(m policy.Model) bool { return m.Authentication != nil })
	switch {
	case !asks:
		return
	case d.admin == nil:
		d.warn(check, "Set KEYCLOAK_CLIENT_ID and KEYCLOAK_CLIENT_SECRET to those of an account with view-clients of the realm: docs/doctor.md.",
			"a model asks how its callers signed in; whether their tokens say it can't be seen without an account")
		return
	}
	var scopes []clientScope
	if err := d.adminGet(ctx, "/client-scopes", &scopes); err != nil {
		d.fail(check, "The account of the environment needs view-clients of this realm: docs/doctor.md.", "%v", err)
		return
	}
	for _, c := range d.stack.Policy.Clients {
		d.levelsOf(ctx, c.ClientID, scopes)
	}
}

func (d *doctor) levelsOf(ctx context.Context, clientID string, scopes []clientScope) {
	check := "levels " + clientID
	const change = "Run pulumi up --refresh: the stack gives each client these scopes."
	var found []struct {
		ID      string   `json:"id"`
		Mappers []mapper `json:"protocolMappers"`
	}
	err := d.adminGet(ctx, "/clients?clientId="+url.QueryEscape(clientID), &found)
	if err != nil || len(found) != 1 {
		d.fail(check, "Run pulumi up, and write the stack file again.", "%d clients of this id: %v", len(found), err)
		return
	}
	var given []clientScope // with their names alone
	if err := d.adminGet(ctx, "/clients/"+url.PathEscape(found[0].ID)+"/default-client-scopes", &given); err != nil {
		d.fail(check, change, "%v", err)
		return
	}
	has := func(name string) bool {
		return slices.ContainsFunc(given, func(s clientScope) bool { return s.Name == name })
	}
	var missing []string
	for _, name := range signInScopes {
		if !has(name) {
			missing = append(missing, name)
		}
	}
	mappers := found[0].Mappers
	for _, s := range scopes {
		if has(s.Name) {
			mappers = append(mappers, s.Mappers...)
		}
	}
	told := slices.ContainsFunc(mappers, mapper.tellsLevels)
	switch {
	case missing != nil:
		d.fail(check, change, "the client lacks the default scopes %s: its tokens don't say how their person signed in, so every call of such a model is refused", strings.Join(missing, ", "))
	case !told:
		d.fail(check, "Run pulumi up --refresh: the stack's client scope model-api has a mapper of the session note loa-map to the claim "+bearer.LevelsClaim+".",
			"no mapper puts the session note loa-map into its tokens as %s: every call of such a model asks for another sign-in", bearer.LevelsClaim)
	default:
		d.ok(check, "tokens say how their person signed in, and when")
	}
}

func (d *doctor) adminGet(ctx context.Context, path string, out any) error {
	return d.admin.Do(ctx, http.MethodGet, "/realms/"+url.PathEscape(d.stack.RealmName)+path, nil, out)
}
