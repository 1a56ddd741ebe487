package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"keycloak-model-api/modelctl/session"
	"keycloak-model-api/policy"
)

const (
	defaultAPI      = "http://127.0.0.1:8000"
	defaultClientID = "model-cli"
)

// settings are what the command line and the environment say.
type settings struct {
	Command string   // login, logout, whoami, models, predict or token
	Args    []string // of predict: the model and the file

	API      string // URL of the API; empty: that of the session, else defaultAPI
	Issuer   string // login: issuer URL; empty: the API's metadata say it
	ClientID string // login: client id; empty: that of the session, else defaultClientID
	Device   bool   // login: by the device authorization grant
	Output   string // table or json
	Dir      string // folder of the session
}

// commands are the names of the commands, with the number of their arguments.
var commands = map[string]int{"login": 0, "logout": 0, "whoami": 0, "models": 0, "predict": 2, "token": 0}

// parse reads and validates the settings whole. The error lists everything that
// is wrong; it is flag.ErrHelp when help is asked for.
func parse(args []string, getenv func(string) string) (*settings, error) {
	if len(args) == 0 {
		return nil, errors.New("no command: say login, models, predict, …")
	}
	s := &settings{Command: args[0]}
	if slices.Contains([]string{"-h", "-help", "--help", "help"}, s.Command) {
		return nil, flag.ErrHelp
	}
	arity, ok := commands[s.Command]
	if !ok {
		return nil, fmt.Errorf("unknown command %q: say login, logout, whoami, models, predict or token", s.Command)
	}
	flags := flag.NewFlagSet(s.Command, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run prints the error
	flags.StringVar(&s.API, "api", getenv("MODELCTL_API"), "")
	s.Output = "table"
	switch s.Command {
	case "login":
		flags.StringVar(&s.Issuer, "issuer", getenv("MODELCTL_ISSUER"), "")
		flags.StringVar(&s.ClientID, "client-id", getenv("MODELCTL_CLIENT_ID"), "")
		flags.BoolVar(&s.Device, "device", false, "")
	case "whoami", "models", "predict":
		flags.StringVar(&s.Output, "o", s.Output, "")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return nil, err
	}
	s.Args = flags.Args()

	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if i := slices.IndexFunc(s.Args, func(a string) bool { return len(a) > 1 && a[0] == '-' }); i >= 0 {
		fail("%s: flags go before the arguments", s.Args[i])
	} else if len(s.Args) != arity {
		fail("%s takes %d arguments, not %d", s.Command, arity, len(s.Args))
	} else if s.Command == "predict" && !policy.ValidModelName(s.Args[0]) {
		fail("%q can't be a model's name: see modelctl models", s.Args[0])
	}
	s.API = strings.TrimRight(s.API, "/")
	if s.API != "" {
		if err := session.CheckURL(s.API); err != nil {
			fail("-api: %w", err)
		}
	}
	if s.Issuer != "" {
		if err := session.CheckURL(s.Issuer); err != nil {
			fail("-issuer: %w", err)
		}
	}
	if s.Output != "table" && s.Output != "json" {
		fail("-o %s: say table or json", s.Output)
	}
	if s.Dir = getenv("MODELCTL_CONFIG"); s.Dir == "" {
		base, err := os.UserConfigDir()
		if err != nil {
			fail("no folder to keep the session in: set MODELCTL_CONFIG (%w)", err)
		}
		s.Dir = filepath.Join(base, "modelctl")
	}
	if dir, err := filepath.Abs(s.Dir); err != nil {
		fail("MODELCTL_CONFIG: %w", err)
	} else {
		s.Dir = dir
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}
