package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// checkJSON reports where data is not JSON, so that no half request is sent.
func checkJSON(data []byte) error {
	var value jsontext.Value
	err := json.Unmarshal(data, &value)
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		line := 1 + bytes.Count(data[:e.ByteOffset], []byte("\n"))
		return fmt.Errorf("line %d is not JSON: %w", line, e)
	}
	return err
}

// requestFromCSV makes an inference request for a model with one input of shape
// [-1, n] out of rows of n numbers. A first row without any number is a header.
func requestFromCSV(m *model, data []byte) ([]byte, error) {
	if len(m.Inputs) != 1 || len(m.Inputs[0].Shape) != 2 || m.Inputs[0].Shape[1] < 1 || !isNumeric(m.Inputs[0].Datatype) {
		return nil, fmt.Errorf("model %s takes %s, which CSV can't say: send an inference request as JSON, beginning with {",
			m.Name, describeTensors(m.Inputs))
	}
	in := m.Inputs[0]
	columns := in.Shape[1]
	r := csv.NewReader(bytes.NewReader(data))
	r.TrimLeadingSpace = true
	r.FieldsPerRecord = -1 // counted below, with a message of our own
	numbers := []jsontext.Value{}
	for first := true; ; first = false {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("not CSV: %w", err)
		}
		if first && !slices.ContainsFunc(record, isNumber) {
			continue
		}
		line, _ := r.FieldPos(0)
		if len(record) != columns {
			return nil, fmt.Errorf("line %d has %d columns, model %s takes %d", line, len(record), m.Name, columns)
		}
		for _, field := range record {
			field = strings.TrimSpace(field)
			if !isNumber(field) {
				return nil, fmt.Errorf("line %d: %q is not a number", line, field)
			}
			numbers = append(numbers, jsontext.Value(field))
		}
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("no row of %d numbers", columns)
	}
	content, err := json.Marshal(numbers)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"inputs": []tensor{{
		Name: in.Name, Datatype: in.Datatype, Shape: []int{len(numbers) / columns, columns}, Data: content,
	}}})
}

func isNumeric(datatype string) bool {
	return strings.HasPrefix(datatype, "FP") || strings.HasPrefix(datatype, "INT") || strings.HasPrefix(datatype, "UINT")
}

// isNumber reports whether s is a number as JSON writes it.
func isNumber(s string) bool {
	s = strings.TrimSpace(s)
	_, err := strconv.ParseFloat(s, 64)
	return err == nil && jsontext.Value(s).IsValid()
}

// predictionRows lays an inference answer out as rows, the names first: one row
// for each row of the request, one column for each value in it.
func predictionRows(answer []byte) ([][]string, error) {
	var a struct {
		Outputs []tensor `json:"outputs"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return nil, fmt.Errorf("the API's answer: %w", err)
	}
	if len(a.Outputs) == 0 || len(a.Outputs[0].Shape) == 0 {
		return nil, errors.New("the API's answer has no outputs to lay out as a table: see it with -o json")
	}
	n := a.Outputs[0].Shape[0]
	rows := [][]string{nil}
	for _, out := range a.Outputs {
		values := flatten(out.Data)
		if n < 1 || len(out.Shape) == 0 || out.Shape[0] != n || len(values) == 0 || len(values)%n != 0 {
			return nil, errors.New("the outputs of this model don't make one table: see them with -o json")
		}
		for len(rows) < 1+n { // no more than there are values
			rows = append(rows, nil)
		}
		columns := len(values) / n
		for c := range columns {
			name := strings.ToUpper(out.Name)
			if columns > 1 {
				name = fmt.Sprintf("%s[%d]", name, c)
			}
			rows[0] = append(rows[0], name)
		}
		for i := range n {
			rows[1+i] = append(rows[1+i], values[i*columns:(i+1)*columns]...)
		}
	}
	return rows, nil
}

// flatten returns the values of data, flat or nested, in row-major order.
func flatten(data jsontext.Value) (values []string) {
	decoder := jsontext.NewDecoder(bytes.NewReader(data))
	for {
		value, err := decoder.ReadToken()
		if err != nil { // the end: data was read before
			return values
		}
		switch text := value.String(); value.Kind() {
		case '[', ']', '{', '}':
		case '0':
			if f, err := strconv.ParseFloat(text, 64); err == nil && strings.ContainsAny(text, ".eE") {
				text = strconv.FormatFloat(f, 'g', 4, 64)
			}
			values = append(values, text)
		default:
			values = append(values, text)
		}
	}
}
