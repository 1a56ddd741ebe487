package access

import (
	"fmt"
	"io"
	"strings"

	"keycloak-model-api/internal/cli"
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
		err = cli.WriteCSV(w, all)
	case "markdown":
		err = writeMarkdown(w, all)
	default:
		err = cli.WriteTable(w, all)
	}
	if err != nil {
		return fmt.Errorf("access: %w", err)
	}
	return nil
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
	for _, r := range cli.OneLine(text) {
		if strings.ContainsRune("\\`*_{}[]<>#|!&~", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
