package session

import (
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"
)

func TestParseStepUp(t *testing.T) {
	const insufficient = `error="insufficient_user_authentication", `
	for _, row := range []struct {
		name       string
		challenges []string
		want       *StepUp
	}{
		{"none", nil, nil},
		{"another error (RFC 6750, 3.1)", []string{`Bearer error="invalid_token", acr_values="2"`}, nil},
		{"a level", []string{"Bearer " + insufficient + `acr_values="2"`}, &StepUp{ACR: "2"}},
		{"a level and an age (RFC 9470, 3)", []string{"Bearer " + insufficient + `acr_values="2", max_age="300"`}, &StepUp{"2", "300"}},
		{"the second challenge", []string{`Bearer realm="a"`, "DPoP " + insufficient + `acr_values="gold"`}, &StepUp{ACR: "gold"}},
		{"several levels: the first is preferred", []string{"Bearer " + insufficient + `acr_values="2 3"`}, &StepUp{ACR: "2"}},
		{"an age alone, for which there is no level to check", []string{"Bearer " + insufficient + `max_age="5"`}, nil},
		{"parameters in a description", []string{`Bearer error="invalid_token", error_description="error=insufficient_user_authentication, acr_values=2"`}, nil},
		{"a level that adds to the address", []string{"Bearer " + insufficient + `acr_values="2&prompt=none"`}, nil},
		{"a level that adds to the claims", []string{"Bearer " + insufficient + `acr_values="2\"],"`}, nil},
		{"an age that is none", []string{"Bearer " + insufficient + `acr_values="2", max_age="-1"`}, nil},
		{"a level of any length", []string{"Bearer " + insufficient + `acr_values="` + strings.Repeat("2", 101) + `"`}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := ParseStepUp(row.challenges)
			if (got == nil) != (row.want == nil) || got != nil && *got != *row.want {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
		})
	}
}

// Whatever an API says, the address of the sign-in page gets the level as a
// value and nothing else.
func FuzzParseStepUp(f *testing.F) {
	f.Add(`Bearer error="insufficient_user_authentication", acr_values="2", max_age="300"`)
	f.Add(`DPoP error="insufficient_user_authentication", acr_values="urn:x/y 3"`)
	f.Fuzz(func(t *testing.T, challenge string) {
		up := ParseStepUp([]string{challenge})
		if up == nil {
			return
		}
		config := oauth2.Config{ClientID: "model-cli", Endpoint: oauth2.Endpoint{AuthURL: "https://id.example.com/auth"}}
		u, err := url.Parse(config.AuthCodeURL("state", up.options("person")...))
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if q.Get("claims") != `{"id_token":{"acr":{"essential":true,"values":["`+up.ACR+`"]}}}` || q.Get("login_hint") != "person" ||
			q.Has("max_age") != (up.MaxAge != "") || len(q) != 5+len(up.MaxAge[:min(1, len(up.MaxAge))]) {
			t.Errorf("%q leads to %s", challenge, u)
		}
	})
}
