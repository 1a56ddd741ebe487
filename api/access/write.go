package access

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
)

// Formats are the forms of Write.
func Formats() []string { return []string{"table", "csv", "markdown"} }

var columns = []string{"name", "kind", "model", "may call", "actions", "why"}

func (r *Row) cells() []string {
	may := "no"
	if r.Allowed {
		may = "yes"
	}
	return []string{r.Name, r.Kind, r.Model, may, strings.Join(r.Actions, " "), r.Reason}
}

// Write writes rows in one of Formats. Names come from a realm, whose users may
// have chosen them: none becomes a formula, a cell's end or a terminal's command.
func Write(w io.Writer, format string, rows []Row) error {
	all := [][]string{columns}
	for i := range rows {
		all = append(all, rows[i].cells())
	}
	var err error
	switch format {
	case "csv":
		err = writeCSV(w, all)
	case "markdown":
		err = writeMarkdown(w, all)
	default:
		err = writeTable(w, all)
	}
	if err != nil {
		return fmt.Errorf("access: %w", err)
	}
	return nil
}

func writeTable(w io.Writer, rows [][]string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = strings.Map(printable, row[i])
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}

// formula are the characters at which a spreadsheet takes a cell for a formula;
// behind an apostrophe it is text (OWASP, "CSV Injection").
const formula = "=+-@\t\r\n'＝＋－＠"

// writeCSV writes RFC 4180, with each cell as text.
func writeCSV(w io.Writer, rows [][]string) error {
	out := csv.NewWriter(w)
	for _, row := range rows {
		for i, cell := range row {
			if first, _ := utf8.DecodeRuneInString(cell); cell != "" && strings.ContainsRune(formula, first) {
				row[i] = "'" + cell
			}
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func writeMarkdown(w io.Writer, rows [][]string) error {
	for i, row := range rows {
		for j := range row {
			row[j] = inMarkdown(row[j])
		}
		if _, err := fmt.Fprintln(w, "| "+strings.Join(row, " | ")+" |"); err != nil {
			return err
		}
		if i == 0 {
			if _, err := fmt.Fprintln(w, strings.Repeat("|---", len(row))+"|"); err != nil {
				return err
			}
		}
	}
	return nil
}

// inMarkdown escapes what would be more than text (CommonMark, section 2.4).
func inMarkdown(text string) string {
	var b strings.Builder
	for _, r := range strings.Map(printable, text) {
		if strings.ContainsRune("\\`*_{}[]<>#|!&~", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// printable takes a space for what would steer a terminal or end a line.
func printable(r rune) rune {
	if !unicode.IsPrint(r) {
		return ' '
	}
	return r
}
