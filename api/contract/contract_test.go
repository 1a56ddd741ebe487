package contract

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
)

func target(t *testing.T, issuer *oidctest.Issuer, h http.Handler) Target {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return Target{
		URL: server.URL + "/v2/models", Token: issuer.Token("RS256"), Keys: issuer.JWKS(),
		OtherAudience: issuer.Token("RS256", oidctest.Claims{"aud": "another-api"}),
		IDToken:       issuer.Token("RS256", oidctest.Claims{"typ": "ID"}),
		ClientSecret:  "client-secret",
	}
}

func run(t *testing.T, target Target) ([]Result, error) {
	t.Helper()
	results, err := Run(t.Context(), target)
	var table strings.Builder
	Print(&table, results)
	t.Log("\n" + table.String())
	return results, err
}

func faults(results []Result) []string {
	var names []string
	for _, r := range results {
		if r.Fault != "" {
			names = append(names, r.Name)
		}
	}
	return names
}

func TestOurVerifierPasses(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	verifier, err := bearer.New(t.Context(), bearer.Config{
		Issuers: []bearer.Issuer{{URL: issuer.URL}}, Audience: issuer.Audience, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); verifier.Ready() != nil && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	results, err := run(t, target(t, issuer, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := verifier.Check(r)
		if refused, ok := errors.AsType[*bearer.Error](err); ok {
			verifier.WriteChallenge(w, refused)
			http.Error(w, refused.Message, refused.Status)
			return
		}
		http.NotFound(w, r)
	})))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Fault != "" || r.Left != "" {
			t.Errorf("%s: got %d: %s%s", r.Name, r.Got, r.Fault, r.Left)
		}
	}
}

// A handler that believes any three parts: every forgery must be reported.
func TestLaxHandlerFails(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	lax := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Count(r.Header.Get("Authorization"), ".") == 2 {
			return
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
	})
	results, err := run(t, target(t, issuer, lax))
	if err != nil {
		t.Fatal(err)
	}
	got := faults(results)
	for _, name := range []string{
		"alg none", "alg nOnE", "HS256 with the public key in PEM", "HS256 with the client secret", "signature changed",
		"own key in the header jwk", "own key behind jku", "kid unknown", "crit", "token of another audience", "ID token",
		"two good Authorization headers", "bearer token with the scheme DPoP", "base64url with loose bits at the end",
	} {
		if !slices.Contains(got, name) {
			t.Errorf("%q was not reported", name)
		}
	}
}

// A handler that follows what the token points to is found out even though it
// refuses the token.
func TestFetchIsReported(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	good := issuer.Token("RS256")
	curious := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if token == good {
			return
		}
		head, _, _ := strings.Cut(token, ".")
		raw, _ := base64.RawURLEncoding.DecodeString(head)
		var header struct {
			URL string `json:"jku"`
		}
		if json.Unmarshal(raw, &header) == nil && header.URL != "" {
			if response, err := http.Get(header.URL); err == nil {
				response.Body.Close()
			}
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
	})
	aim := target(t, issuer, curious)
	aim.Token = good
	results, err := run(t, aim)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(faults(results), "own key behind jku") || slices.Contains(faults(results), "own key behind x5u") {
		t.Errorf("faults are %q", faults(results))
	}
}

// What a refusal must not be, whatever its status.
func TestAnswersAreJudged(t *testing.T) {
	token := "e30.e30.c2lnbmF0dXJl"
	for _, row := range []struct {
		name   string
		answer answer
		fault  string
	}{
		{"as it should be", answer{401, http.Header{"Www-Authenticate": {`Bearer realm="x"`}}, ""}, ""},
		{"no challenge (RFC 6750, section 3)", answer{401, http.Header{}, ""}, "challenge"},
		{"another scheme's challenge", answer{401, http.Header{"Www-Authenticate": {"Basic"}}, ""}, "challenge"},
		{"error without a credential (RFC 6750, section 3.1)", answer{401, http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}}, ""}, "no credential"},
		{"HTML", answer{401, http.Header{"Www-Authenticate": {"Bearer"}, "Content-Type": {"text/html; charset=utf-8"}}, ""}, "HTML"},
		{"login redirect", answer{302, http.Header{}, ""}, "want 401"},
		{"the token in the body", answer{401, http.Header{"Www-Authenticate": {"Bearer"}}, token}, "repeats"},
		{"server error", answer{500, http.Header{}, ""}, "want 401"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, fault := judge(Case{Want: unauthorized, noError: true}, &row.answer, nil, &kit{Target: Target{Token: token}})
			if (fault == "") != (row.fault == "") || !strings.Contains(fault, row.fault) {
				t.Errorf("fault is %q, want %q", fault, row.fault)
			}
		})
	}
}

// Without an accepted token, refusals prove nothing: that is an error.
func TestGoodTokenRefused(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	closed := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
	})
	if results, err := run(t, target(t, issuer, closed)); err == nil || len(results) != 2 {
		t.Errorf("%d results, error %v", len(results), err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	aim := target(t, issuer, http.NotFoundHandler())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, aim); err == nil {
		t.Error("no error")
	}
}
