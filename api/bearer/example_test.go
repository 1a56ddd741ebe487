package bearer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
)

// Make the verifier once; then each request is one call to Check, and one to
// WriteChallenge if it is refused.
func Example() {
	issuer := oidctest.Start() // stands for a Keycloak realm
	defer issuer.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	verifier, err := bearer.New(ctx, bearer.Config{
		Issuers: []bearer.Issuer{{URL: issuer.URL}}, Audience: "model-serving-api", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	api := func(w http.ResponseWriter, r *http.Request) {
		principal, err := verifier.Check(r)
		if refused, ok := errors.AsType[*bearer.Error](err); ok {
			verifier.WriteChallenge(w, refused)
			http.Error(w, refused.Message, refused.Status)
			return
		}
		fmt.Fprintf(w, "hello %s, client %s", principal.Username, principal.ClientID)
	}

	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+issuer.Token("RS256"))
	w := httptest.NewRecorder()
	api(w, r)
	fmt.Println(w.Code, w.Body)

	r.Header.Del("Authorization")
	w = httptest.NewRecorder()
	api(w, r)
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output:
	// 200 hello ml-api-user, client my-api-client
	// 401 Bearer realm="model-serving-api"
}

// Three lines tell who a request speaks for, or why it is refused.
func ExampleVerifier_Check() {
	ctx, issuerURL, request, stop := exampleRequest()
	defer stop()

	verifier, newErr := bearer.New(ctx, bearer.Config{Issuers: []bearer.Issuer{{URL: issuerURL}}, Audience: "model-serving-api"})
	principal, err := verifier.Check(request)
	fmt.Println(principal.Username, newErr, err)
	// Output: ml-api-user <nil> <nil>
}

// exampleRequest is a request with an access token of an issuer that stands for a
// Keycloak realm, until stop.
func exampleRequest() (ctx context.Context, issuerURL string, r *http.Request, stop func()) {
	issuer := oidctest.Start()
	ctx, cancel := context.WithCancel(context.Background())
	r = httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+issuer.Token("RS256"))
	return ctx, issuer.URL, r, func() { cancel(); issuer.Close() }
}
