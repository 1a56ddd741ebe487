package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"keycloak-model-api/api/bill"
	"keycloak-model-api/internal/cli"
)

const usageDetails = `Sums what audit records say was used: requests that models worked for, and the
tokens of language models. The files are those of -audit, the old ones beside it
too, or a log with the records in it; - is standard input. Give each file once.
Days are those of UTC.

By group a request counts once for each group of its principal that the policy
names, so that groups can add up to more than there was; in a row without a group
stand those who have none.

Prices are for a million tokens and for a request: {"currency": "EUR", "models":
{"llama": {"input": 0.5, "output": 1.5, "cached": 0.1, "request": 0}}}.

Exit status: 0 done, 1 a failure, such as a line that is no record, 2 wrong usage.`

// usage is the command of that name.
func (e environment) usage() *command {
	flags := flag.NewFlagSet("usage", flag.ContinueOnError)
	by := flags.String("by", "day,group", "What the rows are told apart by: some of "+strings.Join(bill.Columns(), ", ")+".")
	format := flags.String("format", "table", strings.Join(bill.Formats(), ", ")+".")
	priceFile := flags.String("prices", "", "`FILE` with prices.")
	describe := cli.Command{Name: "usage", Args: []string{"FILE..."}, Summary: "What was used, from audit records.", Details: usageDetails, Flags: flags}
	return &command{describe, func(context.Context) error { return e.sumUsage(*e.arguments, *by, *format, *priceFile) }}
}

func (e environment) sumUsage(files []string, by, format, priceFile string) error {
	columns := list(by)
	var wrong []error
	for i, column := range columns {
		if !slices.Contains(bill.Columns(), column) || slices.Contains(columns[:i], column) {
			wrong = append(wrong, fmt.Errorf("api: usage: -by: %q is none of %s, or there twice", column, strings.Join(bill.Columns(), ", ")))
		}
	}
	if len(columns) == 0 {
		wrong = append(wrong, errors.New("api: usage: -by: give at least one of "+strings.Join(bill.Columns(), ", ")))
	}
	if !slices.Contains(bill.Formats(), format) {
		wrong = append(wrong, fmt.Errorf("api: usage: -format: %q is none of %s", format, strings.Join(bill.Formats(), ", ")))
	}
	prices, err := readPrices(priceFile)
	if err := errors.Join(append(wrong, err)...); err != nil {
		return &usageError{err}
	}
	sum := bill.NewSum(columns, prices)
	for _, name := range files {
		if err := readRecords(sum, name, e.stdin); err != nil {
			return err
		}
	}
	if len(sum.Unpriced) > 0 {
		fmt.Fprintln(e.stderr, forTerminal(fmt.Errorf("api: usage: no price, so nothing charged: %s", strings.Join(sum.Unpriced, ", "))))
	}
	return sum.Write(e.stdout, format)
}

func readPrices(file string) (*bill.Prices, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("api: usage: -prices: %w", err)
	}
	return bill.ParsePrices(text)
}

func readRecords(sum *bill.Sum, name string, stdin io.Reader) error {
	if name == "-" {
		return sum.Read(stdin, "standard input")
	}
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("api: usage: %w", err)
	}
	defer file.Close()
	return sum.Read(file, name)
}
