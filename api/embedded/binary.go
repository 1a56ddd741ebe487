package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The binary tensor data extension of the Open Inference Protocol: elements follow
// the JSON, in the order of the tensors there, little-endian and in row-major order. A
// BOOL is one byte. Before each element of BYTES stands its length in four bytes.

// take reads the size in bytes of a tensor's data and takes as many off tail.
func take(tail *[]byte, size jsontext.Value) ([]byte, error) {
	n, err := strconv.ParseUint(string(size), 10, 31)
	if err != nil {
		return nil, fmt.Errorf("binary_data_size must be a number of bytes, not %s", clip(string(size)))
	}
	if uint64(len(*tail)) < n {
		return nil, fmt.Errorf("binary_data_size is %d, and %d bytes follow", n, len(*tail))
	}
	data := (*tail)[:n]
	*tail = (*tail)[n:]
	return data, nil
}

// width is the size of one element in bytes; 0 for one whose elements have none of
// their own.
func (d Datatype) width() int {
	switch d {
	case "BOOL", "INT8", "UINT8":
		return 1
	case "INT16", "UINT16", "FP16":
		return 2
	case "INT32", "UINT32", FP32:
		return 4
	case "INT64", "UINT64", FP64:
		return 8
	}
	return 0
}

// parseBinary reads a tensor's data, which are as many elements as shape says.
func parseBinary(shape []int, datatype Datatype, raw []byte) (any, error) {
	size, err := elements(shape)
	if err != nil {
		return nil, err
	}
	if datatype == BYTES {
		return parseTexts(size, raw)
	}
	width := datatype.width()
	switch {
	case width == 0:
		return nil, unknownDatatype(datatype)
	case len(raw) != size*width:
		return nil, fmt.Errorf("shape %v of %s takes %d bytes, and binary_data_size is %d", shape, datatype, size*width, len(raw))
	}
	switch datatype {
	case "BOOL":
		return decode(raw, width, func(b []byte) (bool, error) {
			if b[0] > 1 {
				return false, errors.New("a BOOL is a byte of 0 or 1")
			}
			return b[0] == 1, nil
		})
	case "FP16", FP32, FP64:
		return decode(raw, width, func(b []byte) (float64, error) {
			v := map[int]func([]byte) float64{2: half, 4: single, 8: double}[width](b)
			if math.IsNaN(v) || math.IsInf(v, 0) { // which JSON doesn't have either
				return 0, fmt.Errorf("%v is not a number in the range of %s", v, datatype)
			}
			return v, nil
		})
	case "UINT8", "UINT16", "UINT32", "UINT64":
		return decode(raw, width, func(b []byte) (uint64, error) { return unsigned(b), nil })
	}
	return decode(raw, width, func(b []byte) (int64, error) {
		shift := 64 - 8*width
		return int64(unsigned(b)<<shift) >> shift, nil
	})
}

// decode reads elements of that many bytes each.
func decode[T any](raw []byte, width int, element func([]byte) (T, error)) ([]T, error) {
	out := make([]T, 0, len(raw)/width)
	for ; len(raw) > 0; raw = raw[width:] {
		v, err := element(raw[:width])
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// unsigned is the number in up to eight bytes.
func unsigned(b []byte) uint64 {
	var whole [8]byte
	copy(whole[:], b)
	return binary.LittleEndian.Uint64(whole[:])
}

func double(b []byte) float64 { return math.Float64frombits(unsigned(b)) }

func single(b []byte) float64 { return float64(math.Float32frombits(uint32(unsigned(b)))) }

// half is the number in two bytes (IEEE 754, binary16).
func half(b []byte) float64 {
	bits := int(unsigned(b))
	sign, exponent, fraction := 1-2*float64(bits>>15), bits>>10&0x1f, float64(bits&0x3ff)
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 0x1f:
		if fraction != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

// parseTexts reads BYTES. Memory grows with what was sent.
func parseTexts(size int, raw []byte) ([]string, error) {
	var out []string
	for ; len(raw) > 0; size-- {
		if size == 0 {
			return nil, errors.New("there are more BYTES than shape allows")
		}
		if len(raw) < 4 || uint64(len(raw)-4) < uint64(binary.LittleEndian.Uint32(raw)) {
			return nil, errors.New("an element of BYTES is cut: before each stands its length in 4 bytes, little-endian")
		}
		end := 4 + int(binary.LittleEndian.Uint32(raw))
		out, raw = append(out, string(raw[4:end])), raw[end:]
	}
	if size > 0 {
		return nil, fmt.Errorf("there are %d BYTES fewer than shape says", size)
	}
	return out, nil
}

// appendBinary adds the data of a tensor. It says whether its datatype is one that
// can be written so.
func appendBinary(b []byte, t Tensor) ([]byte, bool) {
	switch data := t.Data.(type) {
	case []string:
		for _, s := range data {
			b = append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
		}
		return b, true
	case []float64:
		for _, v := range data {
			switch t.Datatype {
			case FP64:
				b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
			case FP32:
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(v)))
			default:
				return b, false
			}
		}
		return b, true
	}
	return b, false // no model here has such an output
}

// Encode returns the answer as JSON with the outputs that request asks for in binary,
// and their data. The data are nil where there are none: r is the answer then.
func (r *Response) Encode(request *Request) (text, data []byte, err error) {
	type binaryTensor struct {
		Name       string         `json:"name"`
		Shape      []int          `json:"shape"`
		Datatype   Datatype       `json:"datatype"`
		Parameters map[string]int `json:"parameters"`
	}
	answer := struct {
		ModelName string `json:"model_name"`
		ID        string `json:"id,omitempty"`
		Outputs   []any  `json:"outputs"`
	}{r.ModelName, r.ID, nil}
	for _, t := range r.Outputs {
		before := len(data)
		all, ok := data, false
		if request.asBinary(t.Name) {
			all, ok = appendBinary(data, t)
		}
		if !ok {
			answer.Outputs = append(answer.Outputs, t)
			continue
		}
		data = all
		answer.Outputs = append(answer.Outputs, binaryTensor{t.Name, t.Shape, t.Datatype, map[string]int{"binary_data_size": len(data) - before}})
	}
	if data == nil {
		return nil, nil, nil
	}
	text, err = json.Marshal(answer)
	return text, data, err
}
