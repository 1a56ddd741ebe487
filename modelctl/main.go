// Command modelctl is for people who call models: it signs in, lists the models
// that one may call, asks them for predictions, and prints access tokens for
// other programs. modelctl -h explains it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"keycloak-model-api/internal/cli"
	"keycloak-model-api/modelctl/session"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit statuses, as notes explains them.
const (
	exitError = 1 + iota
	exitUsage
	exitSignedOut
	exitForbidden
	exitUnavailable
)

// run is the whole command. It returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := &settings{}
	p := program(s, getenv)
	err := parse(p, s, args, getenv)
	if help, ok := errors.AsType[*cli.HelpError](err); ok {
		fmt.Fprint(stdout, help.Text)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "modelctl: %s\nmodelctl -h explains all.\n", printable(err.Error()))
		return exitUsage
	}
	c := &command{
		settings: s, getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr,
		sessions: &session.Manager{
			Dir:     s.Dir,
			Keyring: hasKeyring(getenv),
			Bearer:  s.Bearer,
			HTTP:    session.NewHTTP(issuerTimeout),
			Notice:  func(text string) { fmt.Fprintln(stderr, printable(text)) },
		},
	}
	switch s.Command {
	case "login":
		err = c.login(ctx)
	case "logout":
		err = c.logout(ctx)
	case "whoami":
		err = c.whoami(ctx)
	case "models":
		err = c.models(ctx)
	case "describe":
		err = c.describe(ctx)
	case "predict":
		err = c.predict(ctx)
	case "token":
		err = c.token(ctx)
	case "proxy":
		err = c.runProxy(ctx)
	case "setup":
		err = c.setup()
	case "key":
		err = c.printKey()
	case "version":
		err = c.version()
	}
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "modelctl: interrupted")
		return exitError
	}
	code, advice := s.explain(err)
	fmt.Fprintf(stderr, "modelctl: %s\n", printable(err.Error()))
	if advice != "" {
		fmt.Fprintln(stderr, printable(advice))
	}
	return code
}

// explain returns the exit status for err and what to do about it.
func (s *settings) explain(err error) (code int, advice string) {
	if errors.Is(err, session.ErrSignedOut) {
		if s.API != "" {
			return exitSignedOut, "Sign in: modelctl login -api " + s.API
		}
		return exitSignedOut, "Sign in: modelctl login"
	}
	if errors.Is(err, session.ErrUnavailable) {
		return exitUnavailable, "Try again in a moment. If it stays, ask who runs the issuer."
	}
	if e, ok := errors.AsType[*apiError](err); ok {
		return e.explain()
	}
	return exitError, ""
}
