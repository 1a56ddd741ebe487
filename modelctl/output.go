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
	var b bytes.Buffer
	encoder := json.NewEncoder(&b) // keeps what a strict writer would refuse, such as a name twice
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := fmt.Fprint(c.stdout, printable(b.String()))
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

// printable escapes what would steer a terminal or change the order or the look
// of the text around it (CWE-150, CVE-2021-42574): text from the API, a model
// server and the issuer is shown, not obeyed. The escapes are those of JSON
// (RFC 8259 section 7).
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || unicode.IsPrint(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, "\\u%04x", unit)
		}
	}
	return b.String()
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
