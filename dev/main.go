// Command dev is the stack on this computer: a Keycloak, the realm that the
// stack declares, and the API, without the Pulumi CLI.
//
// go run ./dev -h explains every flag and environment variable.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"keycloak-model-api/internal/child"
	"keycloak-model-api/internal/cli"
)

func main() {
	// A reader of the output that dies, as a closed terminal may be, must not end
	// this program before it has stopped what it started.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(context.Background())
	patience, impatient := context.WithCancel(context.Background())
	defer cancel()
	defer impatient()
	go stopOnSignals(cancel, impatient)

	err := run(ctx, patience, os.Args[1:], os.Getenv, os.Environ(), os.Stdout, os.Stderr)
	if err != nil {
		if text := err.Error(); text != "" {
			fmt.Fprintln(os.Stderr, text)
		}
		os.Exit(exitCode(err))
	}
}

// stopOnSignals ends what runs in good order at the first Ctrl-C, and at once at
// the second. A terminal that closes sends SIGHUP, often twice: by the kernel and
// by the shell. Under nohup it is ignored, and stays so.
func stopOnSignals(cancel, impatient func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	<-signals
	cancel()
	for s := range signals {
		if s != syscall.SIGHUP {
			impatient()
		}
	}
}

// options are the command line.
type options struct {
	stack       string // name: Pulumi.<stack>.yaml
	keycloakURL string // of a Keycloak that runs already; empty to start one, or for the stack's own in drift
	json        bool   // of drift: print JSON
	stateFile   string // of repair: what pulumi stack export wrote
	before      string // of end-sessions: NOW or a time
	preview     bool   // of render
	export      string // of render: file to compare with
	showSecrets bool   // of render: print secrets
}

const (
	stateDir    = ".dev" // in the checkout, ignored by git, mode 0700
	programName = "keycloak-model-api"
)

// run is the whole program. When ctx ends, it stops what it started and
// returns; when patience ends too, it kills it.
func run(ctx, patience context.Context, args []string, getenv func(string) string, environ []string, stdout, stderr io.Writer) error {
	o, command, err := parse(args)
	if help, ok := errors.AsType[*cli.HelpError](err); ok {
		_, err := io.WriteString(stdout, help.Text)
		return err
	} else if err != nil {
		return &usageError{err}
	}
	if _, err := os.Stat("Pulumi.yaml"); err != nil {
		return &usageError{errors.New("dev: there is no Pulumi.yaml here: run it in the folder of the stack's program")}
	}
	state, err := filepath.Abs(stateDir)
	if err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	if err := errors.Join(os.MkdirAll(state, 0o700), os.Chmod(state, 0o700)); err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	if (o.keycloakURL != "" || command != "" && command != "render") && getenv("KEYCLOAK_USER") == "" &&
		getenv("KEYCLOAK_CLIENT_ID") == "" {
		return &usageError{errors.New("dev: a Keycloak that runs already needs an account: set KEYCLOAK_USER and KEYCLOAK_PASSWORD, or " +
			"KEYCLOAK_CLIENT_ID and KEYCLOAK_CLIENT_SECRET")}
	}
	c := checkout{state: state, environ: environ}
	switch command {
	case "render":
		err = c.render(ctx, o, stdout, stderr)
	case "drift":
		err = c.live(ctx, stdout, stderr, o, "drift", fmt.Sprintf("-json=%t", o.json))
		if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
			err = &usageError{err} // 1 says that the realm differs
		}
	case "repair":
		err = c.live(ctx, stdout, stderr, o, "repair", "-stack-state", o.stateFile)
	case "end-sessions":
		err = c.live(ctx, stdout, stderr, o, "end-sessions", "-before", o.before)
	default:
		err = c.up(ctx, patience, o, getenv, stdout)
	}
	if ctx.Err() != nil {
		return nil // Ctrl-C is how it is meant to end
	}
	return err
}

// program is the command line, which sets o.
func (o *options) program() *cli.Program {
	command := func(name, summary, details string, define func(*flag.FlagSet)) *cli.Command {
		flags := flag.NewFlagSet(name, flag.ContinueOnError)
		flags.StringVar(&o.stack, "stack", "dev", "`NAME` of the stack, whose file is Pulumi.NAME.yaml. Secrets that a stack of "+
			"environment dev lacks are made at random and kept.")
		define(flags)
		return &cli.Command{Name: name, Summary: summary, Details: details, Flags: flags}
	}
	live := func(flags *flag.FlagSet) {
		flags.StringVar(&o.keycloakURL, "keycloak", "", "`URL` of the Keycloak with the realm. Default: keycloak:url of the stack, "+
			"otherwise KEYCLOAK_URL.")
	}
	return &cli.Program{Name: "go run ./dev", Notes: notes, Commands: []*cli.Command{
		command("", "Starts Keycloak, makes the realm that the stack declares, starts the API, and\nprints what to type next.",
			upDetails, func(flags *flag.FlagSet) {
				flags.StringVar(&o.keycloakURL, "keycloak", "", "`URL` of a Keycloak to make the realm in, instead of starting one. Only a "+
					"realm that was made by this command is replaced.")
			}),
		command("render", "Print the realm as one file, which needs no Keycloak.", renderDetails, func(flags *flag.FlagSet) {
			flags.BoolVar(&o.preview, "preview", false, "Print the resources and the access policy instead.")
			flags.StringVar(&o.export, "diff", "", "Print what would change against `REALM.json`, an export of the realm.")
			flags.BoolVar(&o.showSecrets, "show-secrets", false,
				"Print secrets too, for a file that --import-realm takes: send it to a file that only its owner may read (umask 077).")
		}),
		command("drift", "Tell what the next pulumi up would overwrite in a live realm.", driftDetails, func(flags *flag.FlagSet) {
			live(flags)
			flags.BoolVar(&o.json, "json", false, "Print what was found as JSON.")
		}),
		command("repair", "Print the commands that lead out where every pulumi up fails.", "", func(flags *flag.FlagSet) {
			live(flags)
			flags.StringVar(&o.stateFile, "state", "", "`FILE` that pulumi stack export --file FILE wrote. Without it repair names all "+
				"that could be at fault.")
		}),
		command("end-sessions", "End all sessions that began before a time.", endSessionsDetails, func(flags *flag.FlagSet) {
			live(flags)
			flags.StringVar(&o.before, "before", "", "`NOW`, or a time such as 2027-01-31T08:00:00Z.")
		}),
	}}
}

// parse reads the command line.
func parse(args []string) (o options, command string, err error) {
	chosen, _, err := o.program().Parse(args)
	if err != nil {
		return o, "", fmt.Errorf("dev: %w", err)
	}
	command = chosen.Name
	switch {
	case command == "end-sessions" && o.before == "":
		return o, "", errors.New("dev: end-sessions ends the sessions of everybody: say of which by -before NOW, or -before " +
			"2027-01-31T08:00:00Z")
	case o.keycloakURL != "" && !isHTTP(o.keycloakURL):
		return o, "", fmt.Errorf("dev: -keycloak: %q is not a URL such as https://keycloak.example.com", o.keycloakURL)
	case o.showSecrets && (o.preview || o.export != ""):
		return o, "", errors.New("dev: -show-secrets is for the import file: -preview and -diff never show secrets")
	case o.preview && o.export != "":
		return o, "", errors.New("dev: -preview and -diff are two things to print: give one")
	}
	return o, command, nil
}

func isHTTP(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" &&
		u.Fragment == ""
}

// usageError is a mistake on the command line.
type usageError struct{ error }

// said is an error that a child process has already told the user of.
type said struct{ error }

func (said) Error() string   { return "" }
func (s said) Unwrap() error { return s.error }

func exitCode(err error) int {
	if _, ok := errors.AsType[*usageError](err); ok {
		return 2
	}
	if child, ok := errors.AsType[*exec.ExitError](err); ok && child.ExitCode() > 0 {
		return child.ExitCode()
	}
	return 1
}

// render has the stack's program run and something printed of it.
func (c checkout) render(ctx context.Context, o options, stdout, stderr io.Writer) error {
	if err := c.build(ctx, stderr, ".", "./dev/stack"); err != nil {
		return err
	}
	args := []string{fmt.Sprintf("-show-secrets=%t", o.showSecrets), "import"}
	switch {
	case o.preview:
		args = []string{"preview"}
	case o.export != "":
		args = []string{"-export", o.export, fmt.Sprintf("-color=%t", isTerminal(stdout)), "diff"}
	}
	cmd := c.stackCommand(o.stack, args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return toldBy(child.Run(ctx, cmd))
}

// live has something done with the stack's realm in a Keycloak that runs.
func (c checkout) live(ctx context.Context, stdout, stderr io.Writer, o options, do string, flags ...string) error {
	if err := c.build(ctx, stderr, ".", "./dev/stack"); err != nil {
		return err
	}
	cmd := c.stackCommand(o.stack, append(flags, "-keycloak", o.keycloakURL, do)...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return toldBy(child.Run(ctx, cmd))
}

// toldBy marks the failure of a child process that has explained it itself.
func toldBy(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return said{err}
	}
	return err
}

const (
	upDetails = `Ctrl-C stops all three, a second Ctrl-C kills them. Each start begins with the
realm as it is declared: what was changed in it by hand is gone.`

	renderDetails = `Secrets in it are masked. With them Keycloak's --import-realm takes the file.`

	driftDetails = `It also tells what an up would leave, and what the stack could declare:
docs/drift.md. Exit status: 0 no difference, 1 a difference, 2 a failure. go run
makes 1 of each, so build it for that: go build -o bin/ ./dev && bin/dev drift.`

	endSessionsDetails = `Offline sessions too. Every token from before is refused from then on:
docs/revocation.md.`
)

const notes = `Environment:
  KEYCLOAK_HOME     An unpacked Keycloak to start instead of a fetched one.
  KEYCLOAK_USER, KEYCLOAK_PASSWORD, or
  KEYCLOAK_CLIENT_ID, KEYCLOAK_CLIENT_SECRET
                    Account for a Keycloak that runs already, of the realm
                    master or KEYCLOAK_REALM.
  PULUMI_CONFIG_PASSPHRASE, PULUMI_CONFIG_PASSPHRASE_FILE
                    Decrypts the stack's secure: values.
  API_...           Settings of the API: go run ./api -h. API_LISTEN is where it
                    listens; without it, 127.0.0.1:8000 or a free port.

Files, all in .dev, for the owner alone:
  stack.json            The stack's outputs, where go run ./api finds them.
  api.url               The API's URL while it runs, where modelctl and go run
                        ./api doctor find it.
  secrets.json          Secrets that were made at random, users' passwords too.
  keycloak/             Keycloak's database, log and admin.json.
  api.log               What the API wrote.
  curl-secrets          Secrets of the commands to type next.

Exit status: 0 after Ctrl-C or when all was printed, 1 after a failure, 2 for a
wrong command line.
`
