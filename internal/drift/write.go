package drift

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteText writes the report for people: what the next up overwrites, what it
// leaves, and what the stack could declare.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	if !r.Drifted() {
		fmt.Fprintf(&b, "Realm %s is what the stack declares.\n", r.Realm)
	}
	section(&b, "The next up overwrites", r.Overwritten)
	section(&b, "The next up leaves", r.Left)
	if len(r.Declarable) > 0 {
		b.WriteString("The stack could declare, below config: in its file\n\n")
		for _, d := range r.Declarable {
			if d.Note != "" {
				fmt.Fprintf(&b, "  # %s.\n", d.Note)
			}
			for _, line := range d.Lines {
				fmt.Fprintf(&b, "  %s\n", line)
			}
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, strings.TrimSuffix(b.String(), "\n\n")+"\n")
	return err
}

func section(b *strings.Builder, title string, findings []Finding) {
	if len(findings) == 0 {
		return
	}
	fmt.Fprintf(b, "%s\n\n", title)
	for _, f := range findings {
		fmt.Fprintf(b, "  %s: %s, declared %s\n", f.Path, value(f.Live), value(f.Declared))
		if when := f.When(); when != "" {
			fmt.Fprintf(b, "      %s\n", when)
		}
		if f.Note != "" {
			fmt.Fprintf(b, "      %s\n", f.Note)
		}
		for _, command := range f.Remedy {
			fmt.Fprintf(b, "      %s\n", command)
		}
	}
	b.WriteString("\n")
}

// When says in words which up overwrites the live value; empty for none.
func (f *Finding) When() string {
	switch {
	case f.Plain != "" && f.Refresh:
		return "by a plain up that " + f.Plain + ", and by every up --refresh"
	case f.Plain != "":
		return "by a plain up that " + f.Plain + "; up --refresh keeps it"
	case f.Refresh:
		return "by up --refresh only"
	}
	return ""
}

// value is short: what is long is for the JSON.
func value(v any) string {
	if v == nil {
		return "nothing"
	}
	if v == there {
		return there
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	text := []rune(strings.TrimSuffix(b.String(), "\n"))
	if len(text) > 120 {
		return string(text[:117]) + "..."
	}
	return string(text)
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
