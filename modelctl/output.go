package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"

	"golang.org/x/term"
)

// printJSON prints v indented. What would steer a terminal is escaped, which
// changes nothing for who reads the JSON.
func (c *command) printJSON(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, data, "", "  "); err != nil {
		return err
	}
	var b strings.Builder
	for _, r := range indented.String() {
		if r == '\n' || unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) { // RFC 8259 section 7
			fmt.Fprintf(&b, "\\u%04x", unit)
		}
	}
	_, err = fmt.Fprintln(c.stdout, b.String())
	return err
}

// printTable prints rows in columns, the first row bold where colour is wanted.
func (c *command) printTable(rows [][]string) error {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(strings.ReplaceAll(cell, "\n", " "))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	text := b.String()
	if c.colour() {
		first, rest, _ := strings.Cut(text, "\n")
		text = "\x1b[1m" + first + "\x1b[0m\n" + rest
	}
	_, err := fmt.Fprint(c.stdout, text)
	return err
}

// colour reports whether standard output is a terminal whose user wants colour
// (https://no-color.org).
func (c *command) colour() bool {
	f, ok := c.stdout.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && c.getenv("NO_COLOR") == "" && c.getenv("TERM") != "dumb"
}

// printable replaces what would steer a terminal: text from the API and from
// the issuer is shown, not obeyed.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// describeTensors is one line such as "features FP64[-1,4]".
func describeTensors(ts []tensor) string {
	parts := make([]string, len(ts))
	for i, t := range ts {
		shape := strings.Trim(strings.ReplaceAll(fmt.Sprint(t.Shape), " ", ","), "[]")
		parts[i] = fmt.Sprintf("%s %s[%s]", t.Name, t.Datatype, shape)
	}
	return strings.Join(parts, ", ")
}
