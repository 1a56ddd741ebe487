package stepup_test

import (
	"testing"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/stepup"
	"keycloak-model-api/policy"
)

var now = time.Unix(1_795_612_220, 900_000_000)

func ago(seconds int) time.Time { return time.Unix(now.Unix()-int64(seconds), 0) }

// person is who has signed in by password now, and by a second factor a while ago.
func person(change func(*bearer.Principal)) *bearer.Principal {
	p := &bearer.Principal{
		SessionID: "session", AuthTime: ago(0),
		SignIn: &bearer.SignIn{ACR: "2", Levels: map[string]time.Time{"1": ago(0), "2": ago(600)}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func TestCheck(t *testing.T) {
	level2 := policy.Authentication{ACR: []string{"2", "3"}, LevelMaxAge: "15m"}
	shorter := policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m", MaxAge: "5m"}
	exempt := policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m", ServiceAccounts: true}
	at := func(seconds int) *bearer.Principal {
		return person(func(p *bearer.Principal) { p.SignIn.Levels["2"] = ago(seconds) })
	}
	for _, row := range []struct {
		name   string
		asked  policy.Authentication
		who    *bearer.Principal
		code   refusal.Code // empty: allowed
		maxAge string
	}{
		{"within the time of the level", level2, person(nil), "", ""},
		{"in its last second", level2, at(900), "", ""},
		{"a second later, when the issuer asks again", level2, at(901), refusal.SignInTooWeak, ""},
		{"a second factor that is old, a password that is new: another client of the session signed in", level2, at(3600), refusal.SignInTooWeak, ""},
		{"acr of a session that was stepped up once (acr survives each refresh)", level2,
			person(func(p *bearer.Principal) { delete(p.SignIn.Levels, "2") }), refusal.SignInTooWeak, ""},
		{"no times at all: the mapper or the maxAge of the level is missing", level2,
			person(func(p *bearer.Principal) { p.SignIn.Levels = nil }), refusal.SignInTooWeak, ""},
		{"a stronger level that the policy lists", level2,
			person(func(p *bearer.Principal) { p.SignIn.Levels = map[string]time.Time{"3": ago(1)} }), "", ""},
		{"a greater number that the policy does not list", shorter,
			person(func(p *bearer.Principal) { p.SignIn.Levels = map[string]time.Time{"3": ago(1), "10": ago(1)} }), refusal.SignInTooWeak, "0"},
		{"a number written otherwise", level2,
			person(func(p *bearer.Principal) {
				p.SignIn.Levels = map[string]time.Time{"02": ago(1), "2.0": ago(1), " 2": ago(1)}
			}), refusal.SignInTooWeak, ""},
		{"the issuer's clock ahead", level2, at(-30), "", ""},
		{"a time to come, after our clock was set back", level2, at(-3600), refusal.SignInTooWeak, ""},

		{"the model's own time", shorter, at(300), "", ""},
		{"past it, the session's last sign-in too", shorter,
			person(func(p *bearer.Principal) { p.AuthTime = ago(400) }), refusal.SignInTooWeak, "300"},
		{"past it, but the password is new: max_age of the model would ask for nothing", shorter, person(nil), refusal.SignInTooWeak, "0"},
		{"past it, the password's age in doubt between two clocks", shorter,
			person(func(p *bearer.Principal) { p.AuthTime = ago(310) }), refusal.SignInTooWeak, "0"},
		{"past it, auth_time not told", shorter,
			person(func(p *bearer.Principal) { p.AuthTime = time.Time{} }), refusal.SignInTooWeak, "300"},

		{"no acr: a challenge would bring the same token again (RFC 9470, 4)", level2,
			person(func(p *bearer.Principal) { p.SignIn.ACR = "" }), refusal.SignInUntold, ""},
		{"an offline token, as young as it may be", level2,
			person(func(p *bearer.Principal) { p.SignIn.Offline = true }), refusal.OfflineTokenRefused, ""},
		{"a service account", level2,
			&bearer.Principal{SignIn: &bearer.SignIn{ACR: "1", ServiceAccount: true}}, refusal.ServiceAccountRefused, ""},
		{"a service account whose token has the times of somebody", level2,
			&bearer.Principal{SignIn: &bearer.SignIn{ServiceAccount: true, ACR: "2", Levels: map[string]time.Time{"2": ago(1)}}}, refusal.ServiceAccountRefused, ""},
		{"a service account that the model exempts", exempt, &bearer.Principal{SignIn: &bearer.SignIn{ServiceAccount: true}}, "", ""},
		{"a token without a session that no client credentials made", exempt, &bearer.Principal{SignIn: &bearer.SignIn{ACR: "1"}}, refusal.ServiceAccountRefused, ""},
		{"a person, where service accounts are exempt", exempt, at(901), refusal.SignInTooWeak, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			refused := stepup.Check(&row.asked, row.who, now, 30*time.Second)
			if row.code == "" {
				if refused != nil {
					t.Errorf("refused: %v", refused)
				}
				return
			}
			if refused == nil || refused.Code != row.code || refused.MaxAge != row.maxAge {
				t.Fatalf("got %+v, want %s, max_age %q", refused, row.code, row.maxAge)
			}
			if challenged := refused.ACR == "2"; challenged != (row.code == refusal.SignInTooWeak) {
				t.Errorf("acr %q with %s", refused.ACR, row.code)
			}
		})
	}
	if refused := stepup.Check(nil, &bearer.Principal{}, now, 0); refused != nil {
		t.Errorf("a model without authentication: %v", refused)
	}
}
