// Command api stands in front of models: it decides whether this access token
// may call this model, and passes the request on to the model or refuses it.
//
// go run ./api -h explains every flag and environment variable.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	_ "golang.org/x/crypto/x509roots/fallback" // root certificates where the system has none, as in the container

	"keycloak-model-api/internal/cli"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, forTerminal(err))
		os.Exit(exitCode(err))
	}
}

// run is the whole program. The first argument may name a subcommand; without
// one the API is served until ctx ends or a SIGINT or SIGTERM comes.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return serve(ctx, args, getenv, stdout, stderr)
	}
	switch name := args[0]; name {
	case "access":
		return runAccess(ctx, args[1:], getenv, stdin, stdout)
	case "contract":
		return runContract(ctx, args[1:], getenv, stdin, stdout)
	case "doctor":
		return runDoctor(ctx, args[1:], getenv, stdout)
	case "explain":
		return runExplain(ctx, args[1:], stdin, stdout)
	default:
		return &usageError{fmt.Errorf("api: there is no subcommand %q: see go run ./api -h", name)}
	}
}

// forTerminal is the text of err, which may quote what another computer answered,
// without what would steer a terminal.
func forTerminal(err error) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return cli.Printable(r)
	}, err.Error())
}

// usageError is a mistake in the configuration or on the command line.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// parseFlags reads the flags of a subcommand. It is done after -h, which it
// answers; a mistake is a usageError.
func parseFlags(flags *flag.FlagSet, args []string, usage string, stdout io.Writer) (done bool, err error) {
	flags.SetOutput(io.Discard) // mistakes are returned
	err = flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return true, nil
	} else if err != nil {
		return false, &usageError{fmt.Errorf("api: %s: %w: see go run ./api %[1]s -h", flags.Name(), err)}
	}
	return false, nil
}

// exitCode is 2 for a wrong configuration and 1 for everything else that ends
// the program.
func exitCode(err error) int {
	var usage *usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}
