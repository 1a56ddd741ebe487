package session

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/oauth2"
)

// StepUp is what an API asks of a sign-in before it answers (RFC 9470).
type StepUp struct {
	ACR    string // authentication context class, such as 2
	MaxAge string // seconds that the sign-in may be old; empty: the issuer decides
}

var (
	parameter = regexp.MustCompile(`([a-z_]+)="([^"\\]*)"`)
	acrValue  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$`)
	ageValue  = regexp.MustCompile(`^([0-9]{1,9})?$`)
)

// ParseStepUp returns what the challenges of an answer ask for, each the value of
// one WWW-Authenticate header, and nil where that is no step-up. Of several
// classes the first counts, which is the one that the API prefers.
func ParseStepUp(challenges []string) *StepUp {
	for _, challenge := range challenges {
		said := map[string]string{}
		for _, p := range parameter.FindAllStringSubmatch(challenge, -1) {
			said[p[1]] = p[2]
		}
		classes := strings.Fields(said["acr_values"])
		// What stands in the address of the sign-in page must be nothing but that.
		if said["error"] == "insufficient_user_authentication" && len(classes) > 0 && acrValue.MatchString(classes[0]) && ageValue.MatchString(said["max_age"]) {
			return &StepUp{ACR: classes[0], MaxAge: said["max_age"]}
		}
	}
	return nil
}

// StepUp signs the person of the session in again, as LoginBrowser does, in the
// way that an API asks for. The session stays as it was unless the same person
// comes back at the level. The device authorization grant has no levels.
func (m *Manager) StepUp(ctx context.Context, s Session, up *StepUp, open func(authURL string)) (*Session, error) {
	m.Bearer = s.Thumbprint == "" // tokens of the kind that there were
	return m.loginBrowser(ctx, s, up, open)
}

// options demand the level (OpenID Connect Core, section 5.5.1.1), of this person.
func (u *StepUp) options(username string) []oauth2.AuthCodeOption {
	options := []oauth2.AuthCodeOption{
		oauth2.SetAuthURLParam("claims", `{"id_token":{"acr":{"essential":true,"values":["`+u.ACR+`"]}}}`),
		oauth2.SetAuthURLParam("login_hint", username),
	}
	if u.MaxAge != "" {
		options = append(options, oauth2.SetAuthURLParam("max_age", u.MaxAge))
	}
	return options
}

// check refuses an ID token of another person, whose name must not stand under
// what the first one asked for, and one of another level. A nil step-up checks
// nothing.
func (u *StepUp) check(claims jsontext.Value, before, now string) error {
	if u == nil {
		return nil
	}
	var id struct {
		ACR string `json:"acr"`
	}
	if err := json.Unmarshal(claims, &id); err != nil {
		return fmt.Errorf("session: the claims of the ID token: %w", err)
	}
	switch {
	case before != now:
		return errors.New("session: somebody else signed in, so nothing was sent: sign in as before, or change the person by modelctl login")
	case id.ACR != u.ACR:
		return fmt.Errorf("session: the issuer signed you in at level %q, not at level %q: nothing was sent", id.ACR, u.ACR)
	}
	return nil
}
