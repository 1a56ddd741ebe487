// Command stack runs the stack's compiled program without the Pulumi CLI and
// does something with what it declares. It is what go run ./dev compiles and
// starts: apart from it since the first build of the Pulumi SDK takes minutes,
// which dev can only report on if it doesn't need the SDK itself.
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
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Environ(), os.Stdin, os.Stdout, os.Stderr); err != nil {
		if ctx.Err() == nil && !errors.Is(err, errDrift) { // otherwise dev has stopped it, and knows
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(exitCode(os.Args[len(os.Args)-1], err))
	}
}

// options are what dev passes on.
type options struct {
	dir     string // of Pulumi.yaml
	stack   string // name
	program string // the compiled program
	state   string // folder for secrets and outputs
	export  string // for diff and adopt: a realm's export
	color   bool   // for diff
	// showSecrets is for import.
	showSecrets bool
	file        string // for adopt: where to write the import file
	json        bool   // for drift: print JSON
	stateFile   string // for repair: what pulumi stack export wrote
	before      string // for end-sessions: NOW or a time

	keycloakURL string // for all that need a Keycloak: the Keycloak of the realm, base path included
	local       bool   // for apply and prepare: that Keycloak is one that dev has started
	apiURL      string // for apply and prepare: where the API will listen
}

// run is the whole program. The last argument says what to do.
func run(ctx context.Context, args []string, getenv func(string) string, environ []string, stdin io.Reader, stdout,
	stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("stack", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.dir, "dir", ".", "folder of Pulumi.yaml")
	flags.StringVar(&o.stack, "stack", "dev", "name of the stack")
	flags.StringVar(&o.program, "program", "", "the compiled program")
	flags.StringVar(&o.state, "state", ".dev", "folder for secrets and outputs")
	flags.StringVar(&o.export, "export", "", "for diff and adopt: a realm's export")
	flags.BoolVar(&o.color, "color", false, "for diff: in colour")
	flags.BoolVar(&o.showSecrets, "show-secrets", false, "for import: with secrets, as Keycloak needs it")
	flags.StringVar(&o.file, "file", "", "for adopt: where to write the import file")
	flags.StringVar(&o.stateFile, "stack-state", "", "for repair: what pulumi stack export wrote")
	flags.StringVar(&o.before, "before", "", "for end-sessions: NOW or a time as RFC 3339 has it")
	flags.BoolVar(&o.json, "json", false, "for drift: as JSON")
	flags.StringVar(&o.keycloakURL, "keycloak", "", "for apply, prepare, drift and repair: the Keycloak's URL")
	flags.BoolVar(&o.local, "local", false, "for apply and prepare: the Keycloak was started for this")
	flags.StringVar(&o.apiURL, "api", "", "for apply and prepare: the API's URL")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p := program{options: o, getenv: getenv, environ: environ, stdout: stdout, stderr: stderr}
	switch do := flags.Arg(0); do {
	case "import":
		return p.importFile(ctx)
	case "preview":
		return p.preview(ctx)
	case "diff":
		return p.diff(ctx)
	case "adopt":
		return p.adopt(ctx)
	case "drift":
		return p.drift(ctx)
	case "repair":
		return p.repair(ctx)
	case "end-sessions":
		return p.endSessions(ctx)
	case "apply":
		return p.apply(ctx, stdin)
	case "prepare":
		return p.prepare(ctx)
	default:
		return fmt.Errorf("stack: %q is not one of import, preview, diff, adopt, drift, repair, end-sessions, apply and prepare", do)
	}
}
