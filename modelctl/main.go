// Command modelctl is for people who call models: it signs in, lists the models
// that one may call, asks them for predictions, and prints access tokens for
// other programs. modelctl -h explains it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"keycloak-model-api/modelctl/session"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `Usage: modelctl COMMAND [flags] [arguments]

Commands:
  login                Sign in with the browser of this computer.
  login -device        Sign in with a browser anywhere: shows an address and a code.
  logout               Sign out, here and at the issuer.
  whoami               Show who is signed in, with which roles, and for how long.
  models               List the models that you may call.
  predict MODEL FILE   Ask a model. FILE is an inference request (JSON) of the Open
                       Inference Protocol v2, or CSV with one column for each number
                       that the model takes; - reads it from standard input.
  token                Print an access token, refreshed when needed, for other programs:
                       curl -H "Authorization: Bearer $(modelctl token)" ...

Flags, before the arguments:
  -api URL             The API. Also MODELCTL_API.
                       Default: that of the last login, then http://127.0.0.1:8000.
  -o table|json        What whoami, models and predict print. Default: table.
  -issuer URL          login: the OpenID issuer. Also MODELCTL_ISSUER. Default: the API says it.
  -client-id ID        login: the client to sign in through. Also MODELCTL_CLIENT_ID.
                       Default: that of the last login, then model-cli.

Environment:
  MODELCTL_CONFIG      Folder of the session. Default: modelctl in the user's configuration folder.
  BROWSER              Program that opens the sign-in page. Default: the system's.
  NO_COLOR             When set, no colour.

Tokens are kept in the system's keyring where there is one, else in a file that
only you may read.

Exit status:
  0  done
  1  error
  2  wrong command line
  3  not signed in, or the API refuses the sign-in (401)
  4  you may not call the model, or there is none of that name (403, 404)
  5  the API or the issuer is not available (5xx, or no answer)
`

// Exit statuses, as usage explains them.
const (
	exitError = 1 + iota
	exitUsage
	exitSignedOut
	exitForbidden
	exitUnavailable
)

// run is the whole command. It returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	s, err := parse(args, getenv)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "modelctl: %s\nmodelctl -h explains all.\n", printable(err.Error()))
		return exitUsage
	}
	c := &command{
		settings: s, getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr,
		keeper: &session.Keeper{
			Dir:     s.Dir,
			Keyring: hasKeyring(getenv),
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
	case "predict":
		err = c.predict(ctx)
	case "token":
		err = c.token(ctx)
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
