package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxRank bounds the number of dimensions of a tensor, and so how deep its
// data may be nested.
const maxRank = 8

// maxTensors bounds the inputs, and the outputs, of one request.
const maxTensors = 64

// members are the members of an object that have no meaning here.
type members map[string]jsontext.Value

// The JSON of a request as it is sent. Null stands for a member that is left out.
type (
	sentRequest struct {
		ID         string       `json:"id"`
		Parameters members      `json:"parameters"`
		Inputs     []sentInput  `json:"inputs"`
		Outputs    []sentOutput `json:"outputs"`
		Unknown    members      `json:",embed"`
	}
	sentInput struct {
		Name       string         `json:"name"`
		Shape      []int          `json:"shape"`
		Datatype   Datatype       `json:"datatype"`
		Parameters members        `json:"parameters"`
		Data       jsontext.Value `json:"data"`
		Unknown    members        `json:",embed"`
	}
	sentOutput struct {
		Name       string  `json:"name"`
		Parameters members `json:"parameters"`
		Unknown    members `json:",embed"`
	}
)

// ParseRequest reads an inference request: its JSON, and the binary data behind
// that (the binary tensor data extension). It refuses what two
// readers could understand differently: duplicate members, known ones in another
// case, invalid UTF-8, a byte order mark, more than one value (RFC 8259, sections
// 2, 4 and 8.1). It refuses tensors whose data don't fit their shape or datatype.
// Members that it doesn't know are left alone, since clients add their own. Every
// error is an *Error.
func ParseRequest(body, tail []byte) (*Request, error) {
	if bytes.HasPrefix(body, []byte("\ufeff")) {
		return nil, errorf("the body begins with a byte order mark: send JSON without one")
	}
	var in sentRequest
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, errorf("the body is not an inference request in JSON: %s", jsonReason(err))
	}
	if err := in.checkCase(); err != nil {
		return nil, err
	}
	if len(in.Inputs) == 0 {
		return nil, errorf("inputs is empty: send at least one tensor")
	}
	if len(in.Inputs) > maxTensors || len(in.Outputs) > maxTensors {
		return nil, errorf("there are %d inputs and %d outputs: send at most %d of each", len(in.Inputs), len(in.Outputs), maxTensors)
	}
	r := &Request{ID: in.ID, allBinary: string(in.Parameters["binary_data_output"]) == "true"}
	for _, t := range in.Inputs {
		if t.Name == "" {
			return nil, errorf("an input has no name")
		}
		if slices.ContainsFunc(r.Inputs, func(u Tensor) bool { return u.Name == t.Name }) {
			return nil, errorf("input %q is sent twice", clip(t.Name))
		}
		data, err := t.data(&tail)
		if err != nil {
			return nil, errorf("input %q: %w", clip(t.Name), err)
		}
		r.Inputs = append(r.Inputs, Tensor{t.Name, t.Shape, t.Datatype, data})
	}
	if len(tail) > 0 {
		return nil, errorf("%d bytes follow that are the data of no input: each needs its binary_data_size", len(tail))
	}
	for _, o := range in.Outputs {
		if o.Name == "" {
			return nil, errorf("an output has no name")
		}
		if slices.Contains(r.Outputs, o.Name) {
			return nil, errorf("output %q is asked for twice", clip(o.Name))
		}
		if as := string(o.Parameters["binary_data"]); as == "true" || as == "false" {
			if r.binary == nil {
				r.binary = map[string]bool{}
			}
			r.binary[o.Name] = as == "true"
		}
		r.Outputs = append(r.Outputs, o.Name)
	}
	return r, nil
}

// data returns the tensor's data, flat. What is binary is taken off tail.
func (t *sentInput) data(tail *[]byte) (any, error) {
	size, binary := t.Parameters["binary_data_size"]
	if !binary {
		return parseData(t.Shape, t.Datatype, t.Data)
	}
	if t.Data != nil {
		return nil, errors.New("has both data and binary_data_size: send one of them")
	}
	raw, err := take(tail, size)
	if err != nil {
		return nil, err
	}
	return parseBinary(t.Shape, t.Datatype, raw)
}

// checkCase refuses members that are known in another case.
func (in *sentRequest) checkCase() error {
	if err := in.Unknown.resemble("id", "parameters", "inputs", "outputs"); err != nil {
		return err
	}
	for _, t := range in.Inputs {
		if err := t.Unknown.resemble("name", "shape", "datatype", "parameters", "data"); err != nil {
			return err
		}
	}
	for _, o := range in.Outputs {
		if err := o.Unknown.resemble("name", "parameters"); err != nil {
			return err
		}
	}
	return nil
}

// resemble returns an *Error if a member is one of the known ones in another case.
func (m members) resemble(known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		for _, k := range known {
			if strings.EqualFold(name, k) {
				return errorf("there is a member %q: write %s", clip(name), k)
			}
		}
	}
	return nil
}

// parseData reads a tensor's data, which may be flat or nested as the shape
// says, and returns it flat.
func parseData(shape []int, datatype Datatype, data jsontext.Value) (any, error) {
	size, err := elements(shape)
	if err != nil {
		return nil, err
	}
	if data.Kind() != '[' {
		return nil, fmt.Errorf("data is missing or not an array")
	}
	switch datatype {
	case "BOOL":
		return flatten(shape, size, data, func(t jsontext.Token) (bool, error) {
			if t.Kind() != 't' && t.Kind() != 'f' {
				return false, fmt.Errorf("a BOOL is true or false, not %s", describe(t))
			}
			return t.Bool(), nil
		})
	case "UINT8", "UINT16", "UINT32", "UINT64":
		bits, _ := strconv.Atoi(string(datatype[len("UINT"):]))
		return flatten(shape, size, data, func(t jsontext.Token) (uint64, error) {
			v, err := strconv.ParseUint(t.String(), 10, bits)
			if t.Kind() != '0' || err != nil {
				return 0, fmt.Errorf("%s is not a whole number from 0 to %d, the range of %s", describe(t), uint64(math.MaxUint64)>>(64-bits), datatype)
			}
			return v, nil
		})
	case "INT8", "INT16", "INT32", "INT64":
		bits, _ := strconv.Atoi(string(datatype[len("INT"):]))
		return flatten(shape, size, data, func(t jsontext.Token) (int64, error) {
			v, err := strconv.ParseInt(t.String(), 10, bits)
			if t.Kind() != '0' || err != nil {
				limit := int64(math.MaxInt64) >> (64 - bits)
				return 0, fmt.Errorf("%s is not a whole number from %d to %d, the range of %s", describe(t), -limit-1, limit, datatype)
			}
			return v, nil
		})
	case "FP16", "FP32", "FP64":
		limit := map[Datatype]float64{"FP16": 65504, "FP32": math.MaxFloat32, "FP64": math.MaxFloat64}[datatype]
		return flatten(shape, size, data, func(t jsontext.Token) (float64, error) {
			v, err := strconv.ParseFloat(t.String(), 64)
			if t.Kind() != '0' || err != nil || math.Abs(v) > limit {
				return 0, fmt.Errorf("%s is not a number in the range of %s", describe(t), datatype)
			}
			return v, nil
		})
	case "BYTES":
		return flatten(shape, size, data, func(t jsontext.Token) (string, error) {
			if t.Kind() != '"' {
				return "", fmt.Errorf("BYTES in JSON are strings, not %s", describe(t))
			}
			return t.String(), nil
		})
	}
	return nil, unknownDatatype(datatype)
}

func unknownDatatype(datatype Datatype) error {
	return fmt.Errorf("datatype %q is not one of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BYTES", clip(string(datatype)))
}

// elements returns the number of elements of a shape.
func elements(shape []int) (int, error) {
	if len(shape) == 0 || len(shape) > maxRank {
		return 0, fmt.Errorf("shape has %d dimensions: use 1 to %d", len(shape), maxRank)
	}
	size := 1
	for _, n := range shape {
		if n < 1 || size > math.MaxInt32/n {
			return 0, fmt.Errorf("shape %v: every dimension must be at least 1, and the product fit 31 bits", shape)
		}
		size *= n
	}
	return size, nil
}

// flatten reads the elements of data in order. Memory grows with the data
// that were sent, never with the shape that was claimed.
func flatten[T any](shape []int, size int, data jsontext.Value, element func(jsontext.Token) (T, error)) ([]T, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	var out []T

	// array reads one array, of dims when the data are nested. The first
	// array of all decides which: nested when it begins with an array.
	var array func(dims []int) error
	array = func(dims []int) error {
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		if len(dims) == len(shape) && dec.PeekKind() != '[' {
			dims = []int{size}
		}
		n := 0
		for ; dec.PeekKind() != ']'; n++ {
			if n == dims[0] {
				return fmt.Errorf("data has more elements than shape %v allows", shape)
			}
			if nested := dec.PeekKind() == '['; nested != (len(dims) > 1) {
				return fmt.Errorf("data must be flat, or nested exactly as shape %v says", shape)
			}
			if len(dims) > 1 {
				if err := array(dims[1:]); err != nil {
					return err
				}
				continue
			}
			token, err := dec.ReadToken()
			if err != nil {
				return err
			}
			v, err := element(token)
			if err != nil {
				return err
			}
			out = append(out, v)
		}
		if n != dims[0] {
			return fmt.Errorf("data has %d elements where shape %v wants %d", n, shape, dims[0])
		}
		_, err := dec.ReadToken()
		return err
	}
	return out, array(shape)
}

func errorf(format string, args ...any) *Error { return &Error{fmt.Errorf(format, args...).Error()} }

// jsonReason says what is wrong without our Go types and packages, of which
// the sender knows nothing.
func jsonReason(err error) string {
	var semantic *json.SemanticError
	if errors.As(err, &semantic) && semantic.JSONKind != 0 {
		kind := kindName(semantic.JSONKind)
		if semantic.JSONPointer == "" {
			return "it is " + kind + ", and should be an object with the member inputs"
		}
		return clip(fmt.Sprintf("%s does not belong at %q", kind, semantic.JSONPointer))
	}
	return clip(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "json: "), "jsontext: "))
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case '0':
		return "a number"
	}
	return k.String() // true, false, null
}

func describe(t jsontext.Token) string {
	switch t.Kind() {
	case '{', '[':
		return kindName(t.Kind())
	case '"':
		return strconv.Quote(clip(t.String()))
	}
	return clip(t.String())
}

// clip bounds what an answer repeats of a request.
func clip(s string) string {
	if len(s) > 120 {
		return strings.ToValidUTF8(s[:120], "") + "…"
	}
	return s
}

func names(tensors []Tensor) string {
	var all []string
	for _, t := range tensors {
		all = append(all, t.Name)
	}
	return strings.Join(all, ", ")
}
