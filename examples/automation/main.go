// Automation takes a stack of this project up from a Go program, as a service or a
// self-service portal would: it makes the stack, gives it the configuration of a
// stack file, makes the secrets that are missing, and prints the outputs.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optpreview"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optup"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"keycloak-model-api/config"
)

const project = "keycloak-model-api"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("automation", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", ".", "folder of the project's Pulumi.yaml")
	name := flags.String("stack", "staging", "name of the stack, made if it is not there")
	file := flags.String("config", "Pulumi.staging.example.yaml", "stack file with the configuration")
	url := flags.String("keycloak", "", "URL of the Keycloak instead of the file's")
	preview := flags.Bool("preview", false, "preview without a Keycloak, change nothing")
	if err := flags.Parse(args); err != nil {
		return err
	}

	stack, err := auto.UpsertStackLocalSource(ctx, *name, *dir)
	if err != nil {
		return fmt.Errorf("automation: stack %s: %w", *name, err)
	}
	if err := configure(ctx, &stack, *file); err != nil {
		return fmt.Errorf("automation: configuration: %w", err)
	}
	set := auto.ConfigMap{"keycloak:initialLogin": {Value: fmt.Sprint(!*preview)}}
	if *url != "" {
		set["keycloak:url"] = auto.ConfigValue{Value: *url}
	}
	if err := stack.SetAllConfig(ctx, set); err != nil {
		return fmt.Errorf("automation: configuration: %w", err)
	}
	if err := addSecrets(ctx, &stack); err != nil {
		return fmt.Errorf("automation: secrets: %w", err)
	}

	if *preview {
		_, err := stack.Preview(ctx, optpreview.ProgressStreams(stdout))
		return err
	}
	result, err := stack.Up(ctx, optup.ProgressStreams(stderr))
	if err != nil {
		return err
	}
	outputs := map[string]any{}
	for key, output := range result.Outputs {
		outputs[key] = output.Value
		if output.Secret {
			outputs[key] = "[secret]"
		}
	}
	enc := json.NewEncoder(stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(outputs)
}

// configure gives the stack every value of the file. Values that the file does not
// have, secrets among them, stay.
func configure(ctx context.Context, stack *auto.Stack, file string) error {
	ws := stack.Workspace()
	declared, err := ws.ProjectSettings(ctx)
	if err != nil {
		return err
	}
	wanted, err := workspace.LoadProjectStack(nil, declared, file)
	if err != nil {
		return err
	}
	settings, err := ws.StackSettings(ctx, stack.Name())
	if err != nil {
		return err
	}
	if settings.Config == nil {
		settings.Config = wanted.Config
	} else {
		maps.Copy(settings.Config, wanted.Config)
	}
	return ws.SaveStackSettings(ctx, stack.Name(), settings)
}

// addSecrets makes a secret for each client that needs one and has none.
func addSecrets(ctx context.Context, stack *auto.Stack) error {
	values, err := stack.GetAllConfig(ctx)
	if err != nil {
		return err
	}
	var clients []config.Client
	if err := json.Unmarshal([]byte(values[project+":clients"].Value), &clients); err != nil {
		return errors.New("clients is not a list of clients")
	}
	have := map[string]string{}
	if text := values[project+":clientSecrets"].Value; text != "" {
		if err := json.Unmarshal([]byte(text), &have); err != nil {
			return errors.New("clientSecrets is not an object of strings")
		}
	}
	missing := auto.ConfigMap{}
	for _, c := range clients {
		if c = c.WithDefaults(); !c.Public() && c.Authentication == "secret" && have[c.ClientID] == "" {
			missing[fmt.Sprintf("%s:clientSecrets[%q]", project, c.ClientID)] = auto.ConfigValue{Value: rand.Text(), Secret: true}
		}
	}
	// One at a time: a path that sets two keys of an object at once is not defined.
	for _, key := range slices.Sorted(maps.Keys(missing)) {
		if err := stack.SetConfigWithOptions(ctx, key, missing[key], &auto.ConfigOptions{Path: true}); err != nil {
			return err
		}
	}
	return nil
}
