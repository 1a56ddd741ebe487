package cli

import (
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// program has a command with flags and arguments, and one without.
func program() (*Program, *string, *bool) {
	flags := flag.NewFlagSet("predict", flag.ContinueOnError)
	output := flags.String("o", "table", "`FORMAT` of the answer.\nDefault: table.")
	raw := flags.Bool("raw", false, "No header.")
	return &Program{
		Name: "modelctl", Notes: "Exit status: 0.\n",
		Commands: []*Command{
			{Name: "predict", Args: []string{"MODEL", "FILE"}, Summary: "Ask a model.", Details: "FILE is JSON.", Flags: flags},
			{Name: "version", Summary: "Print the version.", Flags: flag.NewFlagSet("version", flag.ContinueOnError)},
		},
	}, output, raw
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		arguments  []string
		output     string
		raw        bool
		err        string
	}{
		{name: "flags before the arguments", line: "predict -o json iris f", arguments: []string{"iris", "f"}, output: "json"},
		{name: "flags after the arguments", line: "predict iris f -o json", arguments: []string{"iris", "f"}, output: "json"},
		{name: "flags between them, with two dashes", line: "predict iris --raw f --o=json", arguments: []string{"iris", "f"}, output: "json", raw: true},
		{name: "a dash alone is an argument", line: "predict iris - -raw", arguments: []string{"iris", "-"}, output: "table", raw: true},
		{name: "after -- all are arguments", line: "predict -raw -- -o -raw", arguments: []string{"-o", "-raw"}, output: "table", raw: true},
		{name: "no command", line: "", err: "no command: use one of predict, version"},
		{name: "unknown command", line: "dance", err: `unknown command "dance"`},
		{name: "a flag before the command", line: "-o json predict iris f", err: "-o: flags go after the command"},
		{name: "a flag of no command", line: "version -o json", err: "flag provided but not defined: -o: expected modelctl version"},
		{name: "an argument too few", line: "predict iris", err: "1 arguments: expected modelctl predict [flags] MODEL FILE"},
		{name: "an argument too many", line: "version 1", err: "1 arguments: expected modelctl version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, output, raw := program()
			_, arguments, err := p.Parse(strings.Fields(tt.line))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || *output != tt.output || *raw != tt.raw {
				t.Errorf("got %s %v, %v", *output, *raw, err)
			}
			if diff := cmp.Diff(tt.arguments, arguments); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A program may do something without a command, as the API and the local way do.
func TestProgramWithoutCommand(t *testing.T) {
	p, _, _ := program()
	flags := flag.NewFlagSet("api", flag.ContinueOnError)
	listen := flags.String("listen", "", "`ADDRESS` to listen on.")
	p.Commands = append(p.Commands, &Command{Summary: "Serve models.", Flags: flags})
	if c, _, err := p.Parse([]string{"-listen", ":80"}); err != nil || c.Summary != "Serve models." || *listen != ":80" {
		t.Errorf("got %v, %s, %v", c, *listen, err)
	}
	if _, _, err := p.Parse(nil); err != nil {
		t.Error(err)
	}
	_, _, err := p.Parse([]string{"-h"})
	const begins = "Usage: modelctl [flags]\n\nServe models.\n\nFlags:\n  -listen ADDRESS  ADDRESS to listen on.\n\nUsage: modelctl COMMAND"
	if help, ok := errors.AsType[*HelpError](err); !ok || !strings.HasPrefix(help.Text, begins) {
		t.Errorf("got %v", err)
	}
}

func TestHelp(t *testing.T) {
	const ofProgram = `Usage: modelctl COMMAND [flags] [arguments]

Commands:
  predict MODEL FILE  Ask a model.
  version             Print the version.

modelctl COMMAND -h explains a command and its flags.

Exit status: 0.
`
	const ofCommand = `Usage: modelctl predict [flags] MODEL FILE

Ask a model.

FILE is JSON.

Flags:
  -o FORMAT  FORMAT of the answer.
             Default: table.
  -raw       No header.
`
	for line, want := range map[string]string{
		"-h": ofProgram, "--help": ofProgram, "help": ofProgram,
		"predict -h": ofCommand, "help predict": ofCommand, "predict iris --help": ofCommand,
		"version -help": "Usage: modelctl version\n\nPrint the version.\n",
	} {
		p, _, _ := program()
		_, _, err := p.Parse(strings.Fields(line))
		help, ok := errors.AsType[*HelpError](err)
		if !ok {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if diff := cmp.Diff(want, help.Text); diff != "" {
			t.Errorf("%s: %s", line, diff)
		}
	}
}

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{
		"http://127.0.0.1:8080/realms/r": "http://127.0.0.1:8080/realms/r",
		"@/a path/it's":                  `'@/a path/it'\''s'`,
		"username=$(rm)":                 `'username=$(rm)'`,
		"":                               "''",
	} {
		if got := Quote(text); got != want {
			t.Errorf("Quote(%q) = %s, want %s", text, got, want)
		}
	}
}

// Long texts are wrapped for 80 columns, and a default is said once.
func TestHelpOfLongFlags(t *testing.T) {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.String("listen", ":8000", "`ADDRESS` to listen on, which may be a port alone, a host with a port, or the descriptor of a socket.")
	flags.Bool("quiet", false, "Say nothing.")
	flags.Duration("wait", 0, "How long to wait. Default: for ever.")
	const want = `Usage: api serve [flags]

Serve models.

Flags:
  -listen ADDRESS  ADDRESS to listen on, which may be a port alone, a host with
                   a port, or the descriptor of a socket. Default: :8000.
  -quiet           Say nothing.
  -wait duration   How long to wait. Default: for ever.
`
	p := &Program{Name: "api", Commands: []*Command{{Name: "serve", Summary: "Serve models.", Flags: flags}}}
	_, _, err := p.Parse([]string{"serve", "-h"})
	help, ok := errors.AsType[*HelpError](err)
	if !ok {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, help.Text); diff != "" {
		t.Error(diff)
	}
}
