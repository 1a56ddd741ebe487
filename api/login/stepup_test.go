package login

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"keycloak-model-api/api/refusal"
	"keycloak-model-api/internal/oidctest"
)

// stepUp goes to the issuer for another sign-in and returns the callback URL.
func (b *browser) stepUp() string {
	b.s.t.Helper()
	response, body := b.get("/step-up")
	if response.StatusCode != http.StatusSeeOther {
		b.s.t.Fatalf("step-up: %d %s", response.StatusCode, body)
	}
	return b.authorize(response.Header.Get("Location"))
}

// A step-up demands one level as essential, for the person of the session, and
// max_age only where the model has one (RFC 9470, section 4; OpenID Connect
// Core, section 5.5.1.1).
func TestStepUpRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		response, body := b.get("/step-up")
		wantFailure(t, response, body, http.StatusUnauthorized, refusal.NoSession)
		b.signIn()
		for _, maxAge := range []string{"", "300", "0"} {
			response, _ := b.get("/step-up?max_age=" + maxAge)
			u, err := url.Parse(response.Header.Get("Location"))
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			if got := q.Get("claims"); got != `{"id_token":{"acr":{"essential":true,"values":["2"]}}}` {
				t.Errorf("claims %s", got)
			}
			if q.Get("max_age") != maxAge || q.Has("max_age") != (maxAge != "") || q.Get("login_hint") != "ml-api-user" || q.Get("code_challenge_method") != "S256" {
				t.Errorf("asked by %s", u)
			}
		}
	})
}

func TestStepUp(t *testing.T) {
	for _, row := range []struct {
		name     string
		id       oidctest.Claims // changes to the second ID token, and the same to the access token
		response url.Values      // of the issuer
		status   int
		code     refusal.Code
	}{
		{"at the level", oidctest.Claims{"acr": "2"}, nil, http.StatusSeeOther, ""},
		{"at another level that satisfies the model", oidctest.Claims{"acr": "3"}, nil, http.StatusSeeOther, ""},
		{"password alone: an issuer that ignores what it doesn't know (RFC 9470, 5)", oidctest.Claims{"acr": "1"}, nil, 403, refusal.LevelNotReached},
		{"no acr", oidctest.Claims{"acr": nil}, nil, 403, refusal.LevelNotReached},
		{"somebody else: the request would be repeated in another name", oidctest.Claims{"acr": "2", "sub": "somebody-else"}, nil, 403, refusal.OtherPerson},
		{"the issuer can't (unmet_authentication_requirements)", nil, url.Values{"error": {"unmet_authentication_requirements"}, "code": nil}, 403, refusal.LevelNotReached},
		{"the person cancels", nil, url.Values{"error": {"access_denied"}, "code": nil}, 403, refusal.AccessDenied},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *site) {
				b := s.browser()
				b.signIn()
				before := b.cookies["__Host-session"].Value
				s.issuer.Set(func(set *oidctest.Settings) { set.ID, set.Access, set.Response = row.id, row.id, row.response })
				response, body := b.get(b.stepUp())
				after := b.cookies["__Host-session"].Value
				if row.code != "" {
					wantFailure(t, response, body, row.status, row.code)
					if after != before {
						t.Error("a step-up that failed changed the session")
					}
				} else if response.StatusCode != row.status || response.Header.Get("Location") != "/models/ledger" || after == before {
					t.Errorf("got %d %s to %q, session the same: %t", response.StatusCode, body, response.Header.Get("Location"), after == before)
				}
				s.issuer.Set(func(set *oidctest.Settings) { set.ID, set.Access, set.Response = nil, nil, nil })
				b.wantSignedIn()
			})
		})
	}
}

// What is refused after a step-up is not helped by another one; later it may be.
func TestSteppedUp(t *testing.T) {
	inBubble(t, func(t *testing.T, s *site) {
		b := s.browser()
		said := func() [2]bool {
			r := httptest.NewRequest(http.MethodGet, publicURL+"/", nil)
			r.AddCookie(b.cookies["__Host-session"])
			session, err := s.login.Session(r)
			if err != nil {
				t.Fatal(err)
			}
			return [2]bool{session.SteppedUp("/models/ledger"), session.SteppedUp("/models/iris")}
		}
		b.signIn()
		if said() != [2]bool{} {
			t.Error("a plain sign-in counts as a step-up")
		}
		s.issuer.Set(func(set *oidctest.Settings) { set.ID = oidctest.Claims{"acr": "2"} })
		b.get(b.stepUp())
		if said() != [2]bool{true, false} {
			t.Error("the session doesn't know what it was stepped up for")
		}
		time.Sleep(stepUpOnce)
		if said() != [2]bool{} {
			t.Error("a step-up is never possible again")
		}
	})
}
