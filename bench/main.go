// Command bench measures the bearer check and the API against their peers and the
// stack against its bare minimum, and writes tables and plots.
//
//	go run -C bench . -out ../docs/bench
//
// It is a module of its own so that what it compares with stays out of the
// product's dependencies. What each table means stands in docs/performance.md.
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
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	out      string        // folder for tables and plots
	root     string        // folder of the stack's program
	rounds   int           // of each measurement
	slice    time.Duration // of load in one round
	speed    bool          // measure the bearer check
	gateways bool          // measure the API beside other gateways
	scale    bool          // measure the stack
	users    int           // of the stack

	keycloakHome string // an unpacked Keycloak, from KEYCLOAK_HOME

	// Of a process that serves one contender, which bench starts itself.
	serve     string
	issuer    string
	algorithm string

	// Of the process of the plain reverse proxy.
	proxy  string
	listen string
}

func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) error {
	o := options{keycloakHome: getenv("KEYCLOAK_HOME")}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.out, "out", "../docs/bench", "folder for the tables and plots")
	flags.StringVar(&o.root, "root", "..", "folder of the stack's program")
	flags.IntVar(&o.rounds, "rounds", 7, "rounds of each measurement: more of them even out the machine's noise")
	flags.DurationVar(&o.slice, "slice", 400*time.Millisecond, "load in one round")
	flags.BoolVar(&o.speed, "speed", true, "measure the bearer check")
	flags.BoolVar(&o.gateways, "gateways", true, "measure the API beside other gateways")
	flags.BoolVar(&o.scale, "scale", true, "measure the stack of 200 models, 400 clients and 5,000 users; starts a Keycloak")
	flags.IntVar(&o.users, "users", 5000, "users of that stack; models and clients go with them")
	flags.StringVar(&o.serve, "serve", "", "internal: serve one contender")
	flags.StringVar(&o.issuer, "issuer", "", "internal: with -serve, the issuer's URL")
	flags.StringVar(&o.algorithm, "algorithm", "RS256", "internal: with -serve, the algorithm of its tokens")
	flags.StringVar(&o.proxy, "proxy", "", "internal: serve a plain reverse proxy of this URL")
	flags.StringVar(&o.listen, "listen", "", "internal: with -proxy, the address")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("bench: %q is no flag: see -h", flags.Arg(0))
	case o.rounds < 1 || o.slice <= 0 || o.users < 100:
		return errors.New("bench: -rounds and -slice must be positive, and -users at least 100")
	case o.serve != "":
		return serve(ctx, o, stdin, stdout)
	case o.proxy != "":
		return serveProxy(ctx, o.proxy, o.listen)
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return fmt.Errorf("bench: %w", err)
	}

	// A part that fails leaves the others' results.
	var errs []error
	for _, part := range []struct {
		name    string
		wanted  bool
		measure func(context.Context, options, io.Writer) (report, error)
	}{
		{"verification", o.speed, verification},
		{"keys", o.speed, keySets},
		{"throughput", o.speed, throughput},
		{"gateways", o.gateways, gateways},
		{"registering", o.scale, registering},
		{"applying", o.scale, applying},
	} {
		if !part.wanted {
			continue
		}
		start := time.Now()
		fmt.Fprintf(stderr, "%s\n", part.name)
		r, err := part.measure(ctx, o, stderr)
		if err == nil {
			err = r.write(o.out, part.name, thisMachine(), start)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("bench: %s: %w", part.name, err))
			continue
		}
		fmt.Fprintf(stdout, "%s%s took %.0f s\n\n", r.markdown(), part.name, time.Since(start).Seconds())
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}
