// Command functions is the API as a Google Cloud Function: docs/serverless.md.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	"keycloak-model-api/deploy/function"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until the server fails. PORT is what Google's environment sets.
func run(ctx context.Context) error {
	api, err := function.New(ctx, os.Getenv, os.Stderr)
	if err != nil {
		return err
	}
	if err := funcframework.RegisterHTTPFunctionContext(ctx, "/", breakingOff(api)); err != nil {
		return fmt.Errorf("functions: %w", err)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	return funcframework.StartHostPort(os.Getenv("HOST"), port)
}

// breakingOff is api for the framework, which would take an answer that breaks off for
// a crash, and end it as if it were whole.
func breakingOff(api http.Handler) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			broken := recover()
			if broken == nil {
				return
			}
			if broken != http.ErrAbortHandler {
				panic(broken)
			}
			if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
				c.Close()
			}
		}()
		api.ServeHTTP(w, r)
	}
}
