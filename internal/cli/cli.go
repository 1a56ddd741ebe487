// Package cli gives a program its commands, each with flags and a help text,
// on top of the standard package flag. Flags begin with one dash or two and may
// stand before, between and after a command's arguments.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Program is what a command line offers.
type Program struct {
	Name     string
	Commands []*Command
	Notes    string // ends the help text: environment, exit statuses
}

// Command is one command of a program.
type Command struct {
	Name    string        // selects it; empty: what the program does without a command
	Args    []string      // names of its arguments, all of them required; ... behind the last: one or more
	Summary string        // one sentence for the list of commands
	Details string        // more for its own help text, or empty
	Flags   *flag.FlagSet // ContinueOnError; a flag's usage names its value in back quotes
}

// Printable replaces what would steer a terminal in text from elsewhere, such as
// escape sequences and marks that turn the direction of writing (CWE-150). It is
// for strings.Map, line by line.
func Printable(r rune) rune {
	if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
		return '\uFFFD'
	}
	return r
}

// HelpError says that help was asked for. Its text goes to standard output.
type HelpError struct{ Text string }

func (*HelpError) Error() string { return flag.ErrHelp.Error() }

// Parse returns the command that args select, with its arguments, after it has
// set the command's flags. The error is a *HelpError when help is asked for;
// any other is a mistake of the caller.
func (p *Program) Parse(args []string) (*Command, []string, error) {
	name, rest := "", args
	if len(args) > 0 && (args[0] == "" || args[0][0] != '-') {
		name, rest = args[0], args[1:]
	}
	asked := name == "help" || name == "" && len(rest) > 0 && slices.Contains([]string{"-h", "-help", "--help"}, rest[0])
	switch {
	case asked && (name == "" || len(rest) == 0):
		return nil, nil, &HelpError{p.help()}
	case asked:
		name, rest = rest[0], []string{"-h"}
	}
	c := p.command(name)
	switch {
	case c == nil && name == "" && len(rest) > 0:
		return nil, nil, fmt.Errorf("%s: flags go after the command, which is one of %s", rest[0], p.names())
	case c == nil && name == "":
		return nil, nil, fmt.Errorf("no command: use one of %s", p.names())
	case c == nil:
		return nil, nil, fmt.Errorf("unknown command %q: use one of %s", name, p.names())
	}
	c.Flags.SetOutput(io.Discard) // mistakes are returned
	arguments, err := parse(c.Flags, rest)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil, nil, &HelpError{c.help(p.Name)}
	case err != nil:
		return nil, nil, fmt.Errorf("%w: expected %s", err, c.synopsis(p.Name))
	case len(arguments) != len(c.Args) && !(c.many() && len(arguments) > len(c.Args)):
		return nil, nil, fmt.Errorf("%d arguments: expected %s", len(arguments), c.synopsis(p.Name))
	}
	return c, arguments, nil
}

// many says whether the last argument may come several times.
func (c *Command) many() bool {
	return len(c.Args) > 0 && strings.HasSuffix(c.Args[len(c.Args)-1], "...")
}

// parse sets the flags, wherever they stand. After -- all are arguments.
func parse(flags *flag.FlagSet, args []string) (arguments []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		rest := flags.Args()
		if len(rest) == 0 {
			return arguments, nil
		}
		if n := len(args) - len(rest); n > 0 && args[n-1] == "--" {
			return append(arguments, rest...), nil
		}
		arguments, args = append(arguments, rest[0]), rest[1:]
	}
}

func (p *Program) command(name string) *Command {
	for _, c := range p.Commands {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func (p *Program) names() string {
	var names []string
	for _, c := range p.Commands {
		if c.Name != "" {
			names = append(names, c.Name)
		}
	}
	return strings.Join(names, ", ")
}

// synopsis is such as "modelctl predict [flags] MODEL FILE".
func (c *Command) synopsis(program string) string {
	words := []string{program}
	if c.Name != "" {
		words = append(words, c.Name)
	}
	flags := false
	c.Flags.VisitAll(func(*flag.Flag) { flags = true })
	if flags {
		words = append(words, "[flags]")
	}
	return strings.Join(append(words, c.Args...), " ")
}

func (p *Program) help() string {
	var b strings.Builder
	if c := p.command(""); c != nil {
		b.WriteString(c.help(p.Name) + "\n")
	}
	fmt.Fprintf(&b, "Usage: %s COMMAND [flags] [arguments]\n\nCommands:\n", p.Name)
	columns := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range p.Commands {
		if c.Name != "" {
			fmt.Fprintf(columns, "  %s\t%s\n", strings.Join(append([]string{c.Name}, c.Args...), " "), c.Summary)
		}
	}
	_ = columns.Flush() // to memory
	fmt.Fprintf(&b, "\n%s COMMAND -h explains a command and its flags.\n\n%s", p.Name, p.Notes)
	return b.String()
}

func (c *Command) help(program string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s\n\n%s\n", c.synopsis(program), c.Summary)
	if c.Details != "" {
		fmt.Fprintf(&b, "\n%s\n", c.Details)
	}
	title, widest := "\nFlags:\n", 0
	c.Flags.VisitAll(func(f *flag.Flag) {
		name, _ := left(f)
		widest = max(widest, len(name))
	})
	columns := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	c.Flags.VisitAll(func(f *flag.Flag) {
		b.WriteString(title) // the columns are written after it
		title = ""
		name, usage := left(f)
		fmt.Fprintf(columns, "  %s\t%s\n", name, strings.Join(wrap(usage, lineWidth-widest-4), "\n  \t"))
	})
	_ = columns.Flush() // to memory
	return b.String()
}

// lineWidth is how many columns a terminal has at least.
const lineWidth = 80

// left is a flag as the list of flags names it, and what it is for, with the default
// where the text does not say so itself.
func left(f *flag.Flag) (name, usage string) {
	value, usage := flag.UnquoteUsage(f)
	if none := f.DefValue == "" || f.DefValue == "false" || f.DefValue == "0s"; !none && !strings.Contains(usage, "Default:") {
		usage += " Default: " + f.DefValue + "."
	}
	return strings.TrimSpace("-" + f.Name + " " + value), usage
}

// wrap breaks each line of text into lines of at most width characters, unless a
// word is longer.
func wrap(text string, width int) (lines []string) {
	for paragraph := range strings.SplitSeq(text, "\n") {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && len(line)+1+len(word) > width {
				lines, line = append(lines, line), ""
			}
			line = strings.TrimLeft(line+" "+word, " ")
		}
		lines = append(lines, line)
	}
	return lines
}
