// Command lambda is the API as a function of AWS Lambda: docs/serverless.md.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"keycloak-model-api/deploy/function"
)

func main() {
	api, err := function.New(context.Background(), os.Getenv, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lambda.Start(handler(api, os.Getenv("API_STREAM") == "true"))
}

// handler answers events by api. A stream is what function URLs with the invoke mode
// RESPONSE_STREAM take, and nobody else.
func handler(api http.Handler, stream bool) any {
	if stream {
		return func(ctx context.Context, e *event) (any, error) {
			r, err := e.request(ctx)
			if err != nil {
				return nil, err
			}
			return streamed(api, r), nil
		}
	}
	return func(ctx context.Context, e *event) (any, error) {
		r, err := e.request(ctx)
		if err != nil {
			return nil, err
		}
		return held(api, r, e.MultiHeader != nil)
	}
}
