package e2e

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// used is every secret that the suite has used so far. Each API's log is held
// against all of it when that API stops: no secret is in any log.
var used secrets

type secrets struct {
	mu     sync.Mutex
	values map[string]string // to what it is
}

// add takes note of a secret. Short ones are words that a log may well hold.
func (s *secrets) add(what, value string) {
	if len(value) < 12 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[string]string{}
	}
	s.values[value] = what
	// A line may hold a part of a token, or a query with the secret in it.
	if i := strings.LastIndex(value, "."); i > 0 && len(value)-i > 40 {
		s.values[value[i+1:]] = "signature of " + what
	}
	if escaped := url.QueryEscape(value); escaped != value {
		s.values[escaped] = what
	}
}

// addMessage takes note of the credentials in headers.
func (s *secrets) addMessage(request *http.Request, response *http.Response) {
	for _, value := range request.Header["Authorization"] {
		if _, credential, ok := strings.Cut(value, " "); ok {
			s.add("credential", credential)
		}
	}
	for _, value := range request.Header["Dpop"] {
		s.add("DPoP proof", value)
	}
	for _, cookie := range append(request.Cookies(), response.Cookies()...) {
		s.add("cookie "+cookie.Name, cookie.Value)
	}
}

func (s *secrets) addTokens(got tokens) {
	s.add("access token", got.AccessToken)
	s.add("refresh token", got.RefreshToken)
	s.add("ID token", got.IDToken)
}

// anyJWT is what each JWT that says anything begins with.
var anyJWT = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{16,}`)

// checkNone fails the test if text holds a secret, which it doesn't repeat.
func (s *secrets) checkNone(t testing.TB, where, text string) {
	t.Helper()
	if anyJWT.MatchString(text) {
		t.Errorf("%s holds what looks like a token", where)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for value, what := range s.values {
		if strings.Contains(text, value) {
			t.Errorf("%s holds a secret: %s", where, what)
		}
	}
}

// The search finds what it is for.
func TestSecretsAreFound(t *testing.T) {
	var s secrets
	s.add("password", "correct horse battery staple")
	s.add("short", "admin")
	s.addTokens(tokens{AccessToken: "x.y." + strings.Repeat("s", 43)})
	for text, found := range map[string]bool{
		"nothing": false, "the user admin": false, "a correct horse battery staple!": true, "?p=correct+horse+battery+staple": true,
		"sig " + strings.Repeat("s", 43): true, "eyJhbGciOiJSUzI1NiIsInR5cCI6Ik": true,
	} {
		probe := &failures{TB: t}
		s.checkNone(probe, "text", text)
		if (probe.n > 0) != found {
			t.Errorf("%q: %d findings", text, probe.n)
		}
	}
}

// failures counts the errors of a check that is to fail.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Errorf(string, ...any) { f.n++ }
