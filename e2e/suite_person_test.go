package e2e

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/oauth2"
)

// person is somebody who fills in Keycloak's forms in a browser of their own.
type person struct {
	client *http.Client
}

func newPerson(t *testing.T) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &person{&http.Client{
		Jar: loopbackJar{jar},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if r.URL.Host != via[0].URL.Host { // Keycloak is left: nobody listens there
				return http.ErrUseLastResponse
			}
			return nil
		},
	}}
}

// loopbackJar sends Keycloak's cookies, which are Secure, over plain HTTP, as
// browsers do on loopback.
type loopbackJar struct{ *cookiejar.Jar }

func (j loopbackJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	for _, c := range cookies {
		c.Secure = false
	}
	j.Jar.SetCookies(u, cookies)
}

// screen is what Keycloak shows a person, or where it has sent their browser.
type screen struct {
	person *person
	URL    *url.URL // of the page, or of the client's redirect URI
	Status int
	Body   string // empty once Keycloak is left
}

func (p *person) open(t *testing.T, address string) *screen {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.get(t, r)
}

func (p *person) get(t *testing.T, r *http.Request) *screen {
	t.Helper()
	res, err := p.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if location := res.Header.Get("Location"); location != "" {
		left, err := res.Request.URL.Parse(location)
		if err != nil {
			t.Fatal(err)
		}
		return &screen{person: p, URL: left, Status: res.StatusCode}
	}
	return &screen{person: p, URL: res.Request.URL, Status: res.StatusCode, Body: string(body)}
}

var (
	formAction  = regexp.MustCompile(`<form[^>]*action="([^"]+)"`)
	hiddenField = regexp.MustCompile(`<input type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"`)
)

// submit sends the page's form with the fields given and its hidden ones.
func (pg *screen) submit(t *testing.T, fields url.Values) *screen {
	t.Helper()
	action := formAction.FindStringSubmatch(pg.Body)
	if action == nil {
		t.Fatalf("no form at %s (%d): %s", pg.URL, pg.Status, pg.Body)
	}
	all := url.Values{}
	for _, hidden := range hiddenField.FindAllStringSubmatch(pg.Body, -1) {
		all.Set(hidden[1], html.UnescapeString(hidden[2]))
	}
	for name, values := range fields {
		all[name] = values
	}
	target, err := pg.URL.Parse(html.UnescapeString(action[1]))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target.String(), strings.NewReader(all.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return pg.person.get(t, r)
}

// loginForm is what a person types into the login page.
func loginForm(username, password string) url.Values {
	return url.Values{"username": {username}, "password": {password}}
}

// newPassword is what a person types where a password has to be changed.
func newPassword(password string) url.Values {
	return url.Values{"password-new": {password}, "password-confirm": {password}}
}

// relyingParty is a client of the stack's realm with the code flow.
func (s *stack) relyingParty(clientID, redirectURL string) *oauth2.Config {
	return &oauth2.Config{
		ClientID:     clientID,
		ClientSecret: s.clientSecret(clientID),
		RedirectURL:  redirectURL,
		Scopes:       []string{"openid"},
		Endpoint: oauth2.Endpoint{
			AuthURL:  s.output("issuer") + "/protocol/openid-connect/auth",
			TokenURL: s.output("issuer") + "/protocol/openid-connect/token",
		},
	}
}

// signIn goes through the code flow with PKCE and fills in one form after the
// other, until Keycloak sends the browser back to the client.
func (p *person) signIn(t *testing.T, rp *oauth2.Config, forms ...url.Values) *oauth2.Token {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	pg := p.open(t, rp.AuthCodeURL("a-state", oauth2.S256ChallengeOption(verifier)))
	for _, form := range forms {
		pg = pg.submit(t, form)
	}
	back := pg.URL.Query()
	issuer := strings.TrimSuffix(rp.Endpoint.TokenURL, "/protocol/openid-connect/token")
	if back.Get("code") == "" || back.Get("state") != "a-state" || back.Get("iss") != issuer {
		t.Fatalf("Keycloak did not send the browser back with a code, but to %s (%d): %s", pg.URL, pg.Status, pg.Body)
	}
	token, err := rp.Exchange(t.Context(), back.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	return token
}
