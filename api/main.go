// Command api stands in front of models: it decides whether this access token
// may call this model, and passes the request on to the model or refuses it.
//
// go run ./api -h explains every flag and environment variable.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
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

// run is the whole program. The first argument may name a command; without one the
// API is served until ctx ends or a SIGINT or SIGTERM comes.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	e := environment{getenv, stdin, stdout, stderr, new([]string)}
	commands := []*command{e.serve(), e.access(), e.contract(), e.doctor(), e.explain(), e.usage()}
	program := &cli.Program{Name: "go run ./api", Notes: notes}
	for _, c := range commands {
		program.Commands = append(program.Commands, &c.Command)
	}
	chosen, arguments, err := program.Parse(args)
	if help, ok := errors.AsType[*cli.HelpError](err); ok {
		_, err := io.WriteString(stdout, help.Text)
		return err
	} else if err != nil {
		return &usageError{fmt.Errorf("api: %w", err)}
	}
	i := slices.IndexFunc(commands, func(c *command) bool { return &c.Command == chosen })
	*e.arguments = arguments
	return commands[i].run(ctx)
}

// environment is what a command has from its process beside its flags.
type environment struct {
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
	arguments      *[]string // of the command, once it runs
}

// command is a command with what runs it once its flags are set.
type command struct {
	cli.Command
	run func(context.Context) error
}

const notes = `A model server's credential is read from the environment variable that the
policy names (NAME), or from the file that NAME_FILE points to.

A change of the stack's file, or SIGHUP, reads the policy again. SIGTERM and
SIGINT let requests that are under way finish. Exit status: 0 after a clean
stop, 1 after a failure, 2 for a wrong configuration.
`

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

// exitCode is 2 for a wrong configuration and 1 for everything else that ends
// the program.
func exitCode(err error) int {
	var usage *usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}
