package playground

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"keycloak-model-api/api/embedded"
)

// Bounds of what a model's metadata may make of a page. They come from the
// model's server, which says what it likes.
const (
	maxTensors  = 64   // inputs, and outputs
	maxRank     = 8    // dimensions of one
	maxName     = 200  // bytes of a name or datatype
	maxFields   = 48   // of one form; larger inputs are written as JSON
	maxElements = 1024 // of the zeros in an example
)

// form is what a person fills in: a field for each element of each input, and
// the same request as JSON.
type form struct {
	Inputs []input
	// Fields says that there are fields: the inputs are small, and of datatypes
	// of the protocol.
	Fields bool
	// Empty names the inputs that are too large for an example.
	Empty []string
}

type input struct {
	tensorView
	Head   string // the tensor as JSON, up to the elements
	Fields []field
	zeros  string // in place of fields
}

type field struct {
	Name           string // input and element, such as 0.3
	Label, Unit    string
	Kind           kind
	Value          string
	Min, Max, Step string // of a slider; empty for none
	datatype       embedded.Datatype
}

// kind is how people write an element.
type kind string

const (
	boolean kind = "boolean"
	whole   kind = "whole"
	decimal kind = "decimal"
	text    kind = "text"
)

// kindOf returns "" for a datatype that the protocol doesn't have.
func kindOf(datatype embedded.Datatype) kind {
	switch datatype {
	case "BOOL":
		return boolean
	case "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64":
		return whole
	case "FP16", "BF16", embedded.FP32, embedded.FP64:
		return decimal
	case embedded.BYTES:
		return text
	}
	return ""
}

// zero is what a field holds at first.
func (k kind) zero() string {
	switch k {
	case boolean:
		return "false"
	case text:
		return ""
	}
	return "0"
}

// json returns what a person typed as an element of the datatype.
func (f *field) json(typed string) (string, error) {
	if f.Kind == text {
		return quote(strings.ReplaceAll(typed, "\r\n", "\n")), nil // forms send CRLF
	}
	typed = strings.TrimSpace(typed)
	var err error
	switch f.Kind {
	case boolean:
		if typed != "true" && typed != "false" {
			err = errors.New("is neither true nor false")
		}
		return typed, err
	case whole:
		size, _ := strconv.Atoi(strings.TrimLeft(string(f.datatype), "UINT"))
		var signed int64
		var unsigned uint64
		if f.datatype[0] == 'U' {
			if unsigned, err = strconv.ParseUint(typed, 10, size); err == nil {
				return strconv.FormatUint(unsigned, 10), nil
			}
		} else if signed, err = strconv.ParseInt(typed, 10, size); err == nil {
			return strconv.FormatInt(signed, 10), nil
		}
		return "", fmt.Errorf("is not a whole number that %s can hold", f.datatype)
	case decimal:
		x, err := strconv.ParseFloat(typed, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return "", errors.New("is not a number")
		}
		return strconv.FormatFloat(x, 'g', -1, 64), nil
	}
	return "", errors.New("can't be written in a form")
}

// sentence is an error that the person is told as it is.
type sentence string

func (s sentence) Error() string { return string(s) }

// quote returns s as a JSON string.
func quote(s string) string {
	quoted, _ := json.Marshal(s) // a string can't fail
	return string(quoted)
}

// errUnfit says that metadata are beyond the bounds.
var errUnfit = errors.New("playground: metadata beyond the bounds")

// newForm makes the form for the inputs of a model.
func newForm(inputs []embedded.TensorMetadata) (*form, error) {
	if len(inputs) > maxTensors {
		return nil, errUnfit
	}
	f := &form{Fields: len(inputs) > 0}
	total := 0
	for i, t := range inputs {
		if t.Name == "" || len(t.Name) > maxName || len(t.Datatype) > maxName || len(t.Shape) > maxRank {
			return nil, errUnfit
		}
		one, size := oneRow(t.Shape)
		in := input{tensorView: viewOf(t), Head: head(t, one)}
		k := kindOf(t.Datatype)
		switch {
		case k == "" || size > maxElements:
			f.Empty = append(f.Empty, t.Name)
		case k == text:
			in.zeros = strings.TrimSuffix(strings.Repeat(`"",`, size), ",")
		default:
			in.zeros = strings.TrimSuffix(strings.Repeat(k.zero()+",", size), ",")
		}
		total += size
		f.Fields = f.Fields && k != "" && total <= maxFields
		if f.Fields {
			in.Fields = fieldsOf(t, i, one, size)
		}
		f.Inputs = append(f.Inputs, in)
	}
	return f, nil
}

// oneRow returns a shape with 1 for each dimension that may have any size, and
// its number of elements; that is more than maxElements for what no form holds.
func oneRow(shape []int) (one []int, size int) {
	one, size = make([]int, len(shape)), 1
	for i, n := range shape {
		one[i] = max(n, 1)
		size = min(size, maxElements+1) * min(one[i], maxElements+1)
	}
	return one, size
}

func head(t embedded.TensorMetadata, shape []int) string {
	sizes, _ := json.Marshal(shape) // of integers
	head := fmt.Sprintf(`{"name":%s,"shape":%s,"datatype":%s,"data":[`, quote(t.Name), sizes, quote(string(t.Datatype)))
	return string(visible([]byte(head)))
}

// fieldsOf returns the fields of input i.
func fieldsOf(t embedded.TensorMetadata, i int, shape []int, size int) []field {
	says := parametersOf(t)
	fields := make([]field, size)
	for j := range fields {
		f := field{Name: fmt.Sprintf("%d.%d", i, j), Kind: kindOf(t.Datatype), datatype: t.Datatype, Label: t.Name}
		f.Value = f.Kind.zero()
		if len(says.Features) == size && says.Features[j] != "" {
			f.Label, f.Unit = label(clip(says.Features[j], maxName)), clip(says.Unit, maxName)
		} else if size > 1 {
			f.Label += " " + position(shape, j)
		}
		if f.Kind == decimal && len(says.Min) == size && len(says.Max) == size {
			f.slide(says.Min[j], says.Max[j])
		}
		fields[j] = f
	}
	return fields
}

// position is where element j stands in a tensor, in row-major order, such as
// [0, 3]. Leading dimensions of 1 are left out.
func position(shape []int, j int) string {
	for len(shape) > 1 && shape[0] == 1 {
		shape = shape[1:]
	}
	at := make([]string, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		at[d], j = strconv.Itoa(j%shape[d]), j/shape[d]
	}
	return "[" + strings.Join(at, ", ") + "]"
}

// slide gives f a slider from low to high with round steps, 10 to 100 of them
// or so, where such numbers exist.
func (f *field) slide(low, high float64) {
	step := math.Pow(10, math.Floor(math.Log10(high-low))-1)
	middle := math.Round((low+math.Round((high-low)/2/step)*step)/step) * step
	middle, err := strconv.ParseFloat(strconv.FormatFloat(middle, 'g', 6, 64), 64)
	round := low < low+step && low+step < high && high-step < high && low <= middle && middle <= high
	if err != nil || !round || math.IsInf(high-low, 0) || number(low) == number(high) {
		return
	}
	f.Min, f.Max, f.Step, f.Value = number(low), number(high), number(step), number(middle)
}

// request returns the inference request with the values of the fields. The
// error is a sentence for the person.
func (f *form) request() (string, error) {
	inputs := make([]string, len(f.Inputs))
	for i, in := range f.Inputs {
		elements := in.zeros
		if len(in.Fields) > 0 {
			all := make([]string, len(in.Fields))
			for j := range in.Fields {
				element, err := in.Fields[j].json(in.Fields[j].Value)
				if err != nil {
					return "", sentence(in.Fields[j].Label + " " + err.Error() + ".")
				}
				all[j] = element
			}
			elements = strings.Join(all, ",")
		}
		inputs[i] = in.Head + elements + "]}"
	}
	return `{"inputs":[` + strings.Join(inputs, ",\n ") + `]}`, nil
}

// read takes over what a person typed. The error is a sentence for them.
func (f *form) read(typed url.Values) error {
	for i := range f.Inputs {
		for j := range f.Inputs[i].Fields {
			one := &f.Inputs[i].Fields[j]
			if !typed.Has(one.Name) {
				return sentence("The form has changed, or it was not sent whole. Fill it in again.")
			}
			one.Value = typed.Get(one.Name)
		}
	}
	return nil
}

// features is what Parameters of a tensor say to forms.
type features struct {
	Features []string  `json:"features"`
	Unit     string    `json:"unit"`
	Min      []float64 `json:"min"`
	Max      []float64 `json:"max"`
	Classes  []string  `json:"classes"`
}

// parametersOf reads what it knows of a tensor's parameters. Others stay zero.
func parametersOf(t embedded.TensorMetadata) (f features) {
	data, err := json.Marshal(t.Parameters)
	if err == nil && json.Unmarshal(data, &f) != nil {
		return features{}
	}
	return f
}

// tensorView is a tensor as people read it.
type tensorView struct {
	Name     string
	Datatype embedded.Datatype
	Shape    string
	Of       string // what the last dimension holds
}

func viewOf(t embedded.TensorMetadata) tensorView {
	says := parametersOf(t)
	of := append(says.Features, says.Classes...)
	for i := range of {
		of[i] = strings.ToLower(label(of[i]))
	}
	v := tensorView{Name: clip(t.Name, maxName), Datatype: t.Datatype, Shape: shapeOf(t.Shape), Of: clip(strings.Join(of, ", "), 500)}
	if says.Unit != "" && v.Of != "" {
		v.Of += " in " + clip(says.Unit, maxName)
	}
	return v
}

// shapeOf writes a shape such as n × 4.
func shapeOf(shape []int) string {
	sizes := make([]string, min(len(shape), maxRank))
	for i := range sizes {
		sizes[i] = strconv.Itoa(shape[i])
		if shape[i] < 0 {
			sizes[i] = "n"
		}
	}
	return strings.Join(sizes, " × ")
}
