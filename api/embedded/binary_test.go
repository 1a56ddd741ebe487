package embedded

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

// Tensors as tritonclient writes them (numpy's little-endian bytes).
func TestParseBinary(t *testing.T) {
	for name, test := range map[string]struct {
		datatype Datatype
		shape    []int
		data     string
		want     any
	}{
		"BOOL":   {"BOOL", []int{2}, "\x01\x00", []bool{true, false}},
		"UINT8":  {"UINT8", []int{2}, "\xff\x00", []uint64{255, 0}},
		"UINT16": {"UINT16", []int{1}, "\x34\x12", []uint64{0x1234}},
		"UINT64": {"UINT64", []int{1}, strings.Repeat("\xff", 8), []uint64{math.MaxUint64}},
		"INT8":   {"INT8", []int{2}, "\xff\x7f", []int64{-1, 127}},
		"INT16":  {"INT16", []int{1}, "\x00\x80", []int64{-32768}},
		"INT32":  {"INT32", []int{2, 1}, "\xfe\xff\xff\xff\x01\x00\x00\x00", []int64{-2, 1}},
		"INT64":  {"INT64", []int{1}, "\x00\x00\x00\x00\x00\x00\x00\x80", []int64{math.MinInt64}},
		"FP16":   {"FP16", []int{5}, "\x00\x3c\x00\xc0\xff\x7b\x01\x00\x00\x80", []float64{1, -2, 65504, math.Ldexp(1, -24), 0}},
		"FP32":   {"FP32", []int{2}, "\x00\x00\x80\x3f\x00\x00\x20\xc1", []float64{1, -10}},
		"FP64":   {"FP64", []int{1}, "\x00\x00\x00\x00\x00\x00\xf0\x3f", []float64{1}},
		"BYTES":  {"BYTES", []int{3}, "\x01\x00\x00\x00a\x00\x00\x00\x00\x02\x00\x00\x00\xc3\xa9", []string{"a", "", "é"}},
	} {
		text := binaryInput(test.datatype, test.shape, len(test.data))
		r, err := ParseRequest([]byte(text), []byte(test.data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want := (Tensor{"x", test.shape, test.datatype, test.want}); !reflect.DeepEqual(r.Inputs[0], want) {
			t.Errorf("%s: got %v, want %v", name, r.Inputs[0], want)
		}
	}
}

func binaryInput(datatype Datatype, shape []int, size int) string {
	text, _ := json.Marshal(map[string]any{"inputs": []any{map[string]any{
		"name": "x", "shape": shape, "datatype": datatype, "parameters": map[string]any{"binary_data_size": size},
	}}})
	return string(text)
}

func TestParseBinaryRefuses(t *testing.T) {
	one := []int{1}
	for name, test := range map[string]struct{ text, data, want string }{
		"less than the shape":           {binaryInput("FP32", []int{2}, 4), "1234", "takes 8 bytes"},
		"more than the shape":           {binaryInput("FP32", one, 8), "12345678", "takes 4 bytes"},
		"a size beyond what follows":    {binaryInput("FP32", one, 4), "123", "and 3 bytes follow"},
		"more than the sizes":           {binaryInput("FP32", one, 4), "12345", "1 bytes follow that are the data of no input"},
		"data behind JSON alone":        {tensor(`[1]`, `"FP32"`, `[1]`), "1234", "4 bytes follow"},
		"a size that is negative":       {strings.Replace(binaryInput("FP32", one, 4), ":4", ":-4", 1), "1234", "a number of bytes"},
		"a size with a fraction":        {strings.Replace(binaryInput("FP32", one, 4), ":4", ":4.0", 1), "1234", "a number of bytes"},
		"a size as text":                {strings.Replace(binaryInput("FP32", one, 4), ":4", `:"4"`, 1), "1234", "a number of bytes"},
		"a size that overflows":         {strings.Replace(binaryInput("FP32", one, 4), ":4", ":18446744073709551620", 1), "1234", "a number of bytes"},
		"data, too":                     {strings.Replace(binaryInput("FP32", one, 4), `"name"`, `"data":[1],"name"`, 1), "1234", "both data and binary_data_size"},
		"not a number":                  {binaryInput("FP32", one, 4), "\x00\x00\xc0\x7f", "range of FP32"},
		"infinity":                      {binaryInput("FP16", one, 2), "\x00\x7c", "range of FP16"},
		"a BOOL of 2":                   {binaryInput("BOOL", one, 1), "\x02", "a byte of 0 or 1"},
		"BF16, which no model here has": {binaryInput("BF16", one, 2), "12", "datatype"},
		"BYTES cut in the length":       {binaryInput("BYTES", one, 3), "\x01\x00\x00", "is cut"},
		"BYTES cut in the element":      {binaryInput("BYTES", one, 5), "\x02\x00\x00\x00a", "is cut"},
		"BYTES of 4 GiB":                {binaryInput("BYTES", one, 5), "\xff\xff\xff\xffa", "is cut"},
		"too few BYTES":                 {binaryInput("BYTES", []int{2}, 5), "\x01\x00\x00\x00a", "fewer"},
		"too many BYTES":                {binaryInput("BYTES", one, 8), "\x00\x00\x00\x00\x00\x00\x00\x00", "more BYTES"},
		"a huge shape":                  {binaryInput("BYTES", []int{2147483647}, 4), "\x00\x00\x00\x00", "fewer"},
	} {
		_, err := ParseRequest([]byte(test.text), []byte(test.data))
		var bad *Error
		if !errors.As(err, &bad) || !strings.Contains(bad.Message, test.want) {
			t.Errorf("%s: got %v, want an *Error with %q", name, err, test.want)
		}
	}
}

// Outputs come in binary where the request asks for that, one by one or all.
func TestEncode(t *testing.T) {
	response := &Response{ModelName: "m", ID: "1", Outputs: []Tensor{
		{"label", []int{2}, BYTES, []string{"a", "bc"}}, {"p", []int{1}, FP64, []float64{1}}, {"q", []int{1}, FP32, []float64{-10}},
	}}
	const texts, p, q = "\x01\x00\x00\x00a\x02\x00\x00\x00bc", "\x00\x00\x00\x00\x00\x00\xf0\x3f", "\x00\x00\x20\xc1"
	for name, test := range map[string]struct{ asks, text, data string }{
		"nothing": {``, ``, ``},
		"all": {`"parameters":{"binary_data_output":true},`,
			`{"model_name":"m","id":"1","outputs":[{"name":"label","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}},` +
				`{"name":"p","shape":[1],"datatype":"FP64","parameters":{"binary_data_size":8}},{"name":"q","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}`, texts + p + q},
		"one": {`"outputs":[{"name":"label"},{"name":"p","parameters":{"binary_data":true}},{"name":"q"}],`,
			`{"model_name":"m","id":"1","outputs":[{"name":"label","shape":[2],"datatype":"BYTES","data":["a","bc"]},` +
				`{"name":"p","shape":[1],"datatype":"FP64","parameters":{"binary_data_size":8}},{"name":"q","shape":[1],"datatype":"FP32","data":[-10]}]}`, p},
		"all but one": {`"parameters":{"binary_data_output":true},"outputs":[{"name":"label","parameters":{"binary_data":false}},{"name":"p"},{"name":"q"}],`,
			`{"model_name":"m","id":"1","outputs":[{"name":"label","shape":[2],"datatype":"BYTES","data":["a","bc"]},` +
				`{"name":"p","shape":[1],"datatype":"FP64","parameters":{"binary_data_size":8}},{"name":"q","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}`, p + q},
	} {
		request, err := ParseRequest([]byte(strings.Replace(tensor(`[1]`, `"FP32"`, `[1]`), "{", "{"+test.asks, 1)), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, data, err := response.Encode(request)
		if err != nil || string(text) != test.text || string(data) != test.data {
			t.Errorf("%s: got %s %q, %v\nwant %s %q", name, text, data, err, test.text, test.data)
		}
	}
}

// FuzzParseBinary: whatever arrives, what is accepted has the elements that its shape
// promises.
func FuzzParseBinary(f *testing.F) {
	f.Add([]byte(binaryInput("BYTES", []int{1}, 5)), []byte("\x01\x00\x00\x00a"))
	f.Add([]byte(binaryInput("FP16", []int{2, 1}, 4)), binary.LittleEndian.AppendUint32(nil, 1))
	f.Fuzz(func(t *testing.T, text, data []byte) {
		r, err := ParseRequest(text, data)
		if err != nil {
			return
		}
		for _, in := range r.Inputs {
			if size, err := elements(in.Shape); err != nil || reflect.ValueOf(in.Data).Len() != size {
				t.Fatalf("shape %v with %d elements", in.Shape, reflect.ValueOf(in.Data).Len())
			}
		}
	})
}
