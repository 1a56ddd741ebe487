package playground

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// hidden reports whether a reader can't see r, or sees what comes after it in
// another order (Trojan Source, CVE-2021-42574): controls, format characters,
// line and paragraph separators. Not so the joiners, which Persian and emoji
// need.
func hidden(r rune) bool {
	switch r {
	case '\n', '\t', '\u200c', '\u200d':
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// escaped appends r as JSON strings have it: \u202e.
func escaped(out []byte, r rune) []byte {
	for _, unit := range utf16.AppendRune(nil, r) {
		out = fmt.Appendf(out, `\u%04x`, unit)
	}
	return out
}

// visible replaces each hidden character by its escape. JSON stays the same
// JSON.
func visible(page []byte) []byte {
	if bytes.IndexFunc(page, hidden) < 0 {
		return page
	}
	out := make([]byte, 0, len(page)+64)
	for len(page) > 0 {
		r, size := utf8.DecodeRune(page)
		if hidden(r) {
			out = escaped(out, r)
		} else {
			out = append(out, page[:size]...)
		}
		page = page[size:]
	}
	return out
}

// exactly returns what a person typed for the value of a form field: hidden
// characters stay what they are, as character references.
func exactly(typed string) template.HTML {
	var out strings.Builder
	for _, r := range typed {
		if hidden(r) || r == '\n' {
			fmt.Fprintf(&out, "&#x%x;", r)
		} else {
			out.WriteString(html.EscapeString(string(r)))
		}
	}
	return template.HTML(out.String())
}

// literal makes JSON that stands as it is within ' of a shell, ` of Go, rb”'…”' of
// Python and String.raw`…` of JavaScript: ASCII without the two quotes and the
// dollar. It is the same JSON.
func literal(request string) string {
	var out []byte
	for _, r := range request {
		if r == '\'' || r == '`' || r == '$' || r >= 0x7f {
			out = escaped(out, r)
		} else {
			out = append(out, byte(r))
		}
	}
	return string(out)
}

// label makes a name readable: sepal_length becomes Sepal length.
func label(name string) string {
	name = strings.TrimSpace(strings.NewReplacer("_", " ", "-", " ").Replace(name))
	if name == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(name)
	return string(unicode.ToUpper(first)) + name[size:]
}

// clip shortens text from a model for people.
func clip(s string, size int) string {
	if len(s) <= size {
		return s
	}
	return strings.ToValidUTF8(s[:size], "") + "…"
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 10, 64) }

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return strconv.Itoa(n) + " " + unit + "s"
}
