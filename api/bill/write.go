package bill

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"keycloak-model-api/internal/cli"
)

// Formats are the forms of Write.
func Formats() []string { return []string{"table", "csv", "json"} }

// Write writes the rows in one of Formats. Names of clients and groups come from a
// realm: none becomes a formula or a terminal's command.
func (s *Sum) Write(w io.Writer, format string) error {
	rows := s.Rows()
	var err error
	switch format {
	case "json":
		err = s.writeJSON(w, rows)
	case "csv":
		err = cli.WriteCSV(w, s.cells(rows))
	default:
		err = cli.WriteTable(w, s.cells(rows))
	}
	if err != nil {
		return fmt.Errorf("bill: %w", err)
	}
	return nil
}

// counts are the numbers of a row with their names.
func (r *Row) counts() []struct {
	name string
	n    int64
} {
	return []struct {
		name string
		n    int64
	}{
		{"requests", r.Requests}, {"input", r.Input}, {"output", r.Output}, {"cached", r.Cached}, {"reasoning", r.Reasoning}, {"estimated", r.Estimated},
	}
}

// decimals of a cost: tokens cost millionths.
const decimals = 6

// cells are the head and the rows.
func (s *Sum) cells(rows []Row) [][]string {
	head := append([]string(nil), s.by...)
	for _, c := range new(Row).counts() {
		head = append(head, c.name)
	}
	if s.prices != nil {
		head = append(head, strings.TrimSpace("cost "+s.prices.Currency))
	}
	all := [][]string{head}
	for i := range rows {
		row := append([]string(nil), rows[i].Key...)
		for _, c := range rows[i].counts() {
			row = append(row, strconv.FormatInt(c.n, 10))
		}
		if rows[i].Cost != nil {
			row = append(row, rows[i].Cost.FloatString(decimals))
		}
		all = append(all, row)
	}
	return all
}

// writeJSON writes an array with one object for each row. A cost is a string, since
// readers take a number for a binary fraction.
func (s *Sum) writeJSON(w io.Writer, rows []Row) error {
	all := make([]map[string]any, 0, len(rows))
	for i := range rows {
		row := map[string]any{}
		for j, column := range s.by {
			row[column] = rows[i].Key[j]
		}
		for _, c := range rows[i].counts() {
			row[c.name] = c.n
		}
		if rows[i].Cost != nil {
			row["cost"], row["currency"] = rows[i].Cost.FloatString(decimals), s.prices.Currency
		}
		all = append(all, row)
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(all)
}
