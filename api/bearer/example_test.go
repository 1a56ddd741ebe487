package bearer_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
)

// Three lines protect a handler: make the verifier, put the middleware around
// the handler, ask who calls.
func Example() {
	issuer := oidctest.Start() // stands for a Keycloak realm
	defer issuer.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	verifier, err := bearer.New(ctx, bearer.Config{Issuers: []bearer.Issuer{{URL: issuer.URL}}, Audience: "model-serving-api"})
	if err != nil {
		fmt.Println(err)
		return
	}
	api := bearer.Middleware(verifier, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := bearer.FromContext(r.Context())
		fmt.Fprintf(w, "hello %s, client %s", caller.Username, caller.ClientID)
	}))

	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+issuer.Token("RS256"))
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)

	r.Header.Del("Authorization")
	w = httptest.NewRecorder()
	api.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output:
	// 200 hello ml-api-user, client my-api-client
	// 401 Bearer realm="model-serving-api"
}
