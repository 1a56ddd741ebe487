// Package bill sums what audit records say was used, and what it costs.
package bill

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Columns are what rows can be told apart by.
func Columns() []string { return []string{"day", "group", "client", "model"} }

// Row is what was used by all requests that have the same Key.
type Row struct {
	Key               []string // the values of the columns that were asked for
	Requests          int64    // that a model has worked for
	Input, Output     int64    // tokens
	Cached, Reasoning int64    // parts of Input and of Output
	Estimated         int64    // requests whose tokens were estimated
	Cost              *big.Rat // nil without prices
}

// Sum adds up records.
type Sum struct {
	by     []string
	prices *Prices // may be nil
	rows   map[string]*Row

	// Unpriced are the models that were used and have no price.
	Unpriced []string
}

// NewSum sums by some of Columns(). Prices may be nil.
func NewSum(by []string, prices *Prices) *Sum {
	return &Sum{by: by, prices: prices, rows: map[string]*Row{}}
}

// record is an audit record, as far as it counts here.
type record struct {
	Message  string    `json:"msg"`
	Time     time.Time `json:"time"`
	Model    string    `json:"model"`
	Client   string    `json:"client"`
	Groups   []string  `json:"groups"`
	Decision string    `json:"decision"`
	Code     string    `json:"code"`
	ClassUID int       `json:"class_uid"` // of OCSF
	Usage    *struct {
		Input, Output, Cached, Reasoning int64
		Estimated                        bool
	} `json:"usage"`
}

// maxLine is more than the longest record.
const maxLine = 1 << 20

// Read adds the records of a file, or of a log in which they stand. A last line
// without an end is being written, and is left out. The error names the line.
func (s *Sum) Read(r io.Reader, name string) error {
	lines := bufio.NewReaderSize(r, maxLine)
	for number := 1; ; number++ {
		line, err := lines.ReadSlice('\n')
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("bill: %s, line %d: %w", name, number, err)
		case len(bytes.TrimSpace(line)) == 0:
			continue
		}
		var rec record
		if err := json.Unmarshal(line, &rec); err != nil {
			return fmt.Errorf("bill: %s, line %d is no audit record in JSON: %w", name, number, err)
		}
		if rec.ClassUID != 0 {
			return fmt.Errorf("bill: %s, line %d is an event of OCSF: only records of -audit-format json can be summed", name, number)
		}
		if rec.counts() {
			s.add(&rec)
		}
	}
}

// counts says whether a model has worked for a request. One that failed after the
// policy allowed it, or that a limit refused, counts if it used tokens.
func (r *record) counts() bool {
	used := r.Usage != nil && r.Usage.Input+r.Usage.Output > 0
	return r.Message == "decision" && r.Decision == "allow" && r.Model != "" && (r.Code == "allowed" || used)
}

// add counts a record: by group once for each group of the principal.
func (s *Sum) add(r *record) {
	groups := []string{""}
	if slices.Contains(s.by, "group") && len(r.Groups) > 0 {
		groups = r.Groups
	}
	cost := s.cost(r)
	for _, group := range groups {
		values := map[string]string{"day": r.Time.UTC().Format(time.DateOnly), "group": group, "client": r.Client, "model": r.Model}
		key := make([]string, len(s.by))
		for i, column := range s.by {
			key[i] = values[column]
		}
		row := s.rows[strings.Join(key, "\x00")]
		if row == nil {
			row = &Row{Key: key}
			s.rows[strings.Join(key, "\x00")] = row
		}
		row.Requests++
		if u := r.Usage; u != nil {
			row.Input, row.Output = row.Input+u.Input, row.Output+u.Output
			row.Cached, row.Reasoning = row.Cached+u.Cached, row.Reasoning+u.Reasoning
			if u.Estimated {
				row.Estimated++
			}
		}
		if cost != nil {
			if row.Cost == nil {
				row.Cost = new(big.Rat)
			}
			row.Cost.Add(row.Cost, cost)
		}
	}
}

// cost returns what a request costs; nil without prices.
func (s *Sum) cost(r *record) *big.Rat {
	if s.prices == nil {
		return nil
	}
	price, ok := s.prices.Models[r.Model]
	if !ok {
		if !slices.Contains(s.Unpriced, r.Model) {
			s.Unpriced = append(s.Unpriced, r.Model)
		}
		return new(big.Rat)
	}
	total := new(big.Rat).Set(&price.Request.Rat)
	if u := r.Usage; u != nil {
		total.Add(total, price.Input.million(u.Input-u.Cached))
		total.Add(total, price.cached().million(u.Cached))
		total.Add(total, price.Output.million(u.Output))
	}
	return total
}

// Rows returns the rows in the order of their keys.
func (s *Sum) Rows() []Row {
	rows := make([]Row, 0, len(s.rows))
	for _, row := range s.rows {
		rows = append(rows, *row)
	}
	slices.SortFunc(rows, func(a, b Row) int { return slices.Compare(a.Key, b.Key) })
	return rows
}
