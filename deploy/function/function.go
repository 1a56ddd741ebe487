// Package function makes the API ready to run as a function of a cloud: what it
// needs comes from the environment, and its log goes where the cloud collects it.
package function

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"keycloak-model-api/api/gateway"
	"keycloak-model-api/api/observe"
	"keycloak-model-api/api/upstream"
	"keycloak-model-api/policy"
)

// The environment variables.
const (
	Stack     = "API_STACK"      // file with the stack's outputs
	StackJSON = "API_STACK_JSON" // or the outputs themselves
	PublicURL = "API_PUBLIC_URL" // of the function, as its callers see it
	Stateless = "API_STATELESS"  // true
)

// New returns the API, whose work in the background lasts until ctx ends. The error
// says everything that is wrong with the environment.
func New(ctx context.Context, getenv func(string) string, log io.Writer) (*gateway.Gateway, error) {
	var wrong []error
	if getenv(Stateless) != "true" {
		wrong = append(wrong, fmt.Errorf("function: instances share no memory: a logout, a push, a used proof and the count of a limit hold in one of them alone, and nobody can sign in with a browser for long. If that will do, set %s=true: docs/serverless.md", Stateless))
	}
	if getenv(PublicURL) == "" {
		wrong = append(wrong, fmt.Errorf("function: set %s to the URL of the function", PublicURL))
	}
	outputs, err := outputs(getenv)
	if err := errors.Join(append(wrong, err)...); err != nil {
		return nil, err
	}
	format := func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }
	queue := observe.NewLog(log, nil)
	return gateway.New(ctx, gateway.Options{
		Outputs: outputs, PublicURL: getenv(PublicURL), Getenv: getenv,
		ClockSkew: 30 * time.Second, KeyMaxAge: 5 * time.Minute, NotBeforeInterval: 30 * time.Second, IntrospectionTTL: 5 * time.Second,
		SessionIdle: 30 * time.Minute, SessionLifetime: 10 * time.Hour, StreamGrace: 10 * time.Minute,
		UpstreamDeadlines: upstream.Deadlines{FirstByte: 10 * time.Minute, Idle: 5 * time.Minute, Total: 10 * time.Minute},
		Audit:             observe.NewAudit(queue, observe.Drop, observe.InLog(format), time.Now), Logger: slog.New(format(queue)),
	})
}

func outputs(getenv func(string) string) (*policy.Outputs, error) {
	switch text, file := getenv(StackJSON), getenv(Stack); {
	case text != "":
		return policy.ParseOutputs([]byte(text))
	case file != "":
		return policy.ReadOutputs(file)
	}
	return nil, fmt.Errorf("function: set %s to the stack's outputs, or %s to a file that holds them", StackJSON, Stack)
}
