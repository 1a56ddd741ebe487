package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"keycloak-model-api/internal/cli"
	"keycloak-model-api/internal/local"
	"keycloak-model-api/modelctl/proxy"
	"keycloak-model-api/modelctl/session"
	"keycloak-model-api/policy"
)

const (
	defaultClientID = "model-cli"
	usualProxy      = "127.0.0.1:8484"
)

// settings are what the command line and the environment say.
type settings struct {
	Command string   // name of the command
	Args    []string // of describe: the model; of predict: the model and the file; of setup: the tool

	API      string // URL of the API; empty: that of the session, otherwise local.API
	Issuer   string // login: issuer URL that the person confirms; empty: asks
	Issuers  string // login: issuer URL of the environment, which is not confirmed; may be empty
	ClientID string // login: client id; empty: that of the session, otherwise defaultClientID
	Device   bool   // login: by the device authorization grant
	Bearer   bool   // login: for tokens that are bound to no key
	Listen   string // proxy: address on the loopback interface
	Socket   string // proxy: file of a Unix socket, instead of Listen
	AnyKey   bool   // proxy: takes requests without the key
	Model    string // setup: the model that the tool calls
	Output   string // table or json
	Dir      string // folder of the session
}

const notes = `Environment:
  MODELCTL_API        Default of -api.
  MODELCTL_ISSUER     Default of login's issuer. login asks before it uses it.
  MODELCTL_CLIENT_ID  Default of -client-id.
  MODELCTL_CONFIG     Folder of the session. Default: modelctl in the user's configuration folder.
  BROWSER             Program that opens the sign-in page. Default: the system's.
  NO_COLOR            When set, no colour.

Tokens and the key that they are bound to are kept in the system's keyring. Where
there is none, they are kept in a file that only you may read.

Exit status:
  0  done
  1  error
  2  wrong command line
  3  not signed in, or the API refuses the sign-in (401)
  4  you may not call the model, or there is none of that name (403, 404)
  5  the API or the issuer is not available (5xx, or no answer)
`

// program describes the command line, whose flags set s.
func program(s *settings, getenv func(string) string) *cli.Program {
	command := func(name, summary, details string, args []string, flags ...func(*flag.FlagSet)) *cli.Command {
		set := flag.NewFlagSet(name, flag.ContinueOnError)
		for _, add := range flags {
			add(set)
		}
		return &cli.Command{Name: name, Args: args, Summary: summary, Details: details, Flags: set}
	}
	api := func(f *flag.FlagSet) {
		f.StringVar(&s.API, "api", getenv("MODELCTL_API"),
			"`URL` of the API. Also MODELCTL_API.\nDefault: that of the last login, then that of go run ./dev in this folder,\nthen "+local.UsualAPI+".")
	}
	output := func(f *flag.FlagSet) {
		f.StringVar(&s.Output, "o", "table", "`FORMAT`: table or json. Default: table.")
	}
	login := func(f *flag.FlagSet) {
		f.StringVar(&s.Issuer, "issuer", "",
			"`URL` of the issuer that you expect. login then asks no question:\nyou confirm this issuer for this API.")
		f.StringVar(&s.ClientID, "client-id", getenv("MODELCTL_CLIENT_ID"),
			"`ID` of the client to sign in through. Also MODELCTL_CLIENT_ID.\nDefault: that of the last login, then "+defaultClientID+".")
		f.BoolVar(&s.Device, "device", false, "Use a browser anywhere: shows an address and a code.")
		f.BoolVar(&s.Bearer, "bearer", false,
			"Get bearer tokens, which modelctl token can hand to other programs.\nWhoever has such a token can use it.")
	}
	proxyFlags := func(f *flag.FlagSet) {
		f.StringVar(&s.Listen, "listen", usualProxy, "`ADDRESS`: 127.0.0.1 or [::1], and a port. Default: "+usualProxy+".")
		f.StringVar(&s.Socket, "socket", "", "`FILE`: listen on a Unix socket instead, which only you can connect to.")
		f.BoolVar(&s.AnyKey, "any-key", false, "Take requests without the key. Every user of this computer can then\ncall models as you.")
	}
	setup := func(f *flag.FlagSet) {
		f.StringVar(&s.Model, "model", "MODEL", "`NAME` of the model, where the tool is told one.")
	}
	return &cli.Program{Name: "modelctl", Notes: notes, Commands: []*cli.Command{
		command("login", "Sign in with a browser.",
			"The API names its issuer, which is the identity provider to sign in at. Before the\n"+
				"first sign-in to an API, and when it names another issuer, login shows both and asks.", nil, api, login),
		command("logout", "Sign out, here and at the issuer.", "", nil),
		command("whoami", "Show who is signed in, with which roles, and for how long.", "", nil, api, output),
		command("models", "List the models that you may call.", "", nil, api, output),
		command("describe", "Show what a model takes and gives.", "", []string{"MODEL"}, api, output),
		command("predict", "Ask a model.",
			"FILE is an inference request (JSON) of the Open Inference Protocol v2, or CSV with one\n"+
				"column for each number that the model takes; - reads it from standard input.", []string{"MODEL", "FILE"}, api, output),
		command("token", "Print an access token for other programs.",
			"The token lives for at least half a minute. It needs a sign-in by modelctl login -bearer:\n\n"+
				"  curl -H \"Authorization: Bearer $(modelctl token)\" ...", nil, api),
		command("proxy", "Let tools on this computer call the API as you.",
			"The proxy puts your access token, and a proof where it is bound to a key, into each\n"+
				"request. Tools send the key of this start, which modelctl setup prints, as\n"+
				"Authorization: Bearer, x-api-key or api-key. It runs until you stop it.", nil, api, proxyFlags),
		command("setup", "Print the lines by which a tool uses the proxy.",
			"TOOL is one of "+toolNames()+".\n"+
				"The lines hold the key of the proxy that runs. For a shell: eval \"$(modelctl setup openai)\"", []string{"TOOL"}, setup),
		command("key", "Print the key of the proxy, for tools that ask a program for it.", "", nil),
		command("version", "Print the version of this program.", "", nil),
	}}
}

// parse reads and validates the settings whole. The error lists everything that
// is wrong.
func parse(p *cli.Program, s *settings, args []string, getenv func(string) string) error {
	s.Output = "table" // of commands that have no -o
	command, arguments, err := p.Parse(args)
	if err != nil {
		return err
	}
	s.Command, s.Args, s.Issuers = command.Name, arguments, getenv("MODELCTL_ISSUER")

	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(command.Args) > 0 && command.Args[0] == "MODEL" && !policy.ValidModelName(s.Args[0]) {
		fail("%q can't be a model's name: see modelctl models", s.Args[0])
	}
	if command.Name == "setup" && !slices.ContainsFunc(tools(), func(t tool) bool { return t.name == s.Args[0] }) {
		fail("%q is none of %s", s.Args[0], toolNames())
	}
	if s.Model != "" && s.Model != "MODEL" && policy.CheckModelName(policy.ProtocolOpenAI, s.Model) != nil {
		fail("-model: %q can't be a model's name", s.Model)
	}
	if s.Listen != "" {
		if err := proxy.CheckListen(s.Listen); err != nil {
			fail("-listen: %w", err)
		}
	}
	s.API = strings.TrimRight(s.API, "/")
	for _, u := range []struct{ name, url string }{{"-api", s.API}, {"-issuer", s.Issuer}, {"MODELCTL_ISSUER", s.Issuers}} {
		if u.url == "" {
			continue
		}
		if err := session.CheckURL(u.url); err != nil {
			fail("%s: %w", u.name, err)
		}
	}
	if s.Output != "table" && s.Output != "json" {
		fail("-o %s: use table or json", s.Output)
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
	return errors.Join(errs...)
}
