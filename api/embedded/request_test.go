package embedded

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseRequest(t *testing.T) {
	tests := map[string]struct {
		input string // the one member of inputs
		want  Tensor
	}{
		"flat":                  {`{"name":"x","shape":[2,2],"datatype":"FP64","data":[1,2.5,-3e2,4]}`, Tensor{"x", []int{2, 2}, "FP64", []float64{1, 2.5, -300, 4}}},
		"nested":                {`{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2],[3,4]]}`, Tensor{"x", []int{2, 2}, "FP32", []float64{1, 2, 3, 4}}},
		"nested in three":       {`{"name":"x","shape":[1,2,1],"datatype":"FP16","data":[[[1],[2]]]}`, Tensor{"x", []int{1, 2, 1}, "FP16", []float64{1, 2}}},
		"integers at the range": {`{"name":"x","shape":[2],"datatype":"INT8","data":[-128,127]}`, Tensor{"x", []int{2}, "INT8", []int64{-128, 127}}},
		"largest UINT64":        {`{"name":"x","shape":[1],"datatype":"UINT64","data":[18446744073709551615]}`, Tensor{"x", []int{1}, "UINT64", []uint64{18446744073709551615}}},
		"booleans":              {`{"name":"x","shape":[2],"datatype":"BOOL","data":[true,false]}`, Tensor{"x", []int{2}, "BOOL", []bool{true, false}}},
		"strings":               {`{"name":"x","shape":[2],"datatype":"BYTES","data":["a","é"]}`, Tensor{"x", []int{2}, "BYTES", []string{"a", "é"}}},
		"parameters and more":   {`{"name":"x","shape":[1],"datatype":"FP64","data":[1],"parameters":{"content_type":"np"},"tags":[]}`, Tensor{"x", []int{1}, "FP64", []float64{1}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := ParseRequest([]byte(`{"id":"1","inputs":[`+test.input+`],"outputs":[{"name":"y"}]}`), nil)
			if err != nil {
				t.Fatal(err)
			}
			want := &Request{ID: "1", Inputs: []Tensor{test.want}, Outputs: []string{"y"}}
			if !reflect.DeepEqual(r, want) {
				t.Errorf("got %+v, want %+v", r, want)
			}
		})
	}
}

func TestParseRequestRefuses(t *testing.T) {
	tests := map[string]struct{ body, want string }{
		"nothing":            {``, "not an inference request in JSON"},
		"not JSON":           {`inputs=1`, "not an inference request in JSON"},
		"an array":           {`[]`, "in JSON: it is an array, and should be an object"},
		"a string":           {`"inputs"`, "in JSON: it is a string, and should be an object"},
		"a number":           {`1`, "in JSON: it is a number, and should be an object"},
		"null inputs":        {`{"inputs":null}`, "inputs is empty"},
		"an array as name":   {`{"inputs":[{"name":[]}]}`, `an array does not belong at "/inputs/0/name"`},
		"more than one":      {`{"inputs":[]} {}`, "not an inference request in JSON"},
		"inputs of any type": {`{"inputs":"x"}`, "not an inference request in JSON"},
		// RFC 8259, section 4: what two readers may understand differently.
		"duplicate members":         {`{"inputs":[],"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}]}`, "duplicate"},
		"duplicate members in data": {`{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1],"data":[2]}]}`, "duplicate"},
		"another case beside it":    {`{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}],"INPUTS":[]}`, `"INPUTS": write inputs`},
		"another case alone":        {`{"Inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}]}`, `"Inputs": write inputs`},
		"another case in an input":  {`{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1],"Data":[2]}]}`, `"Data": write data`},
		"another case in an output": {`{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}],"outputs":[{"NAME":"y"}]}`, `"NAME": write name`},
		"another s (U+017F)":        {`{"inputs":[{"name":"x","ſhape":[1],"datatype":"FP64","data":[1]}]}`, `write shape`},
		"the same member, escaped":  {`{"inputs":[],"inp\u0075ts":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}]}`, "duplicate"},
		// RFC 8259, section 8.1.
		"byte order mark": {"\ufeff{}", "byte order mark"},
		"invalid UTF-8":   {"{\"id\":\"\xff\",\"inputs\":[]}", "UTF-8"},

		"no input":             {`{}`, "inputs is empty"},
		"too many inputs":      {`{"inputs":[` + strings.Repeat(`{},`, maxTensors) + `{}]}`, "at most 64"},
		"too many outputs":     {`{"inputs":[{}],"outputs":[` + strings.Repeat(`{},`, maxTensors) + `{}]}`, "at most 64"},
		"input without a name": {`{"inputs":[{"shape":[1],"datatype":"FP64","data":[1]}]}`, "has no name"},
		"input sent twice": {`{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]},
			{"name":"x","shape":[1],"datatype":"FP64","data":[1]}]}`, "sent twice"},
		"output without a name":  {`{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}],"outputs":[{}]}`, "output has no name"},
		"output asked for twice": {`{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}],"outputs":[{"name":"y"},{"name":"y"}]}`, "asked for twice"},

		// The binary data extension.
		"binary input": {`{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","parameters":{"binary_data_size":8}}]}`, "and 0 bytes follow"},

		"no shape":               {tensor(`null`, `"FP64"`, `[1]`), "shape has 0 dimensions"},
		"nine dimensions":        {tensor(`[1,1,1,1,1,1,1,1,1]`, `"FP64"`, `[1]`), "shape has 9 dimensions"},
		"dimension of zero":      {tensor(`[0]`, `"FP64"`, `[]`), "at least 1"},
		"negative dimension":     {tensor(`[-1,4]`, `"FP64"`, `[1,2,3,4]`), "at least 1"},
		"two negative":           {tensor(`[-1,-1]`, `"FP64"`, `[1]`), "at least 1"},
		"product that overflows": {tensor(`[4294967296,4294967296]`, `"FP64"`, `[1]`), "fit 31 bits"},
		"huge shape, one number": {tensor(`[2147483647]`, `"FP64"`, `[1]`), "data has 1 elements"},
		"fractional dimension":   {tensor(`[1.5]`, `"FP64"`, `[1]`), `a number does not belong at "/inputs/0/shape/0"`},

		"no data":           {`{"inputs":[{"name":"x","shape":[1],"datatype":"FP64"}]}`, "data is missing"},
		"data not an array": {tensor(`[1]`, `"FP64"`, `1`), "not an array"},
		"too few":           {tensor(`[3]`, `"FP64"`, `[1,2]`), "data has 2 elements"},
		"too many":          {tensor(`[1]`, `"FP64"`, `[1,2]`), "more elements"},
		"ragged":            {tensor(`[2,2]`, `"FP64"`, `[[1,2],[3]]`), "data has 1 elements"},
		"half nested":       {tensor(`[2,2]`, `"FP64"`, `[[1,2],3,4]`), "nested exactly"},
		"nested after flat": {tensor(`[2,2]`, `"FP64"`, `[1,[2,3],4]`), "nested exactly"},
		"nested too deep":   {tensor(`[1]`, `"FP64"`, `[[1]]`), "nested exactly"},
		"100,000 brackets":  {tensor(`[1]`, `"FP64"`, strings.Repeat("[", 100_000)), "not an inference request"},

		"unknown datatype":    {tensor(`[1]`, `"FLOAT"`, `[1]`), `datatype "FLOAT"`},
		"no datatype":         {tensor(`[1]`, `""`, `[1]`), `datatype ""`},
		"string for a number": {tensor(`[1]`, `"FP64"`, `["1"]`), `"1" is not a number`},
		"NaN":                 {tensor(`[1]`, `"FP64"`, `[NaN]`), "not an inference request"},
		"null":                {tensor(`[1]`, `"FP64"`, `[null]`), "null is not a number"},
		"overflow of FP64":    {tensor(`[1]`, `"FP64"`, `[1e999]`), "range of FP64"},
		"overflow of FP32":    {tensor(`[1]`, `"FP32"`, `[1e39]`), "range of FP32"},
		"overflow of FP16":    {tensor(`[1]`, `"FP16"`, `[65505]`), "range of FP16"},
		"overflow of INT8":    {tensor(`[1]`, `"INT8"`, `[128]`), "from -128 to 127"},
		"overflow of UINT64":  {tensor(`[1]`, `"UINT64"`, `[18446744073709551616]`), "from 0 to 18446744073709551615"},
		"negative UINT8":      {tensor(`[1]`, `"UINT8"`, `[-1]`), "from 0 to 255"},
		"fraction in INT32":   {tensor(`[1]`, `"INT32"`, `[1.5]`), "whole number"},
		"number for BOOL":     {tensor(`[1]`, `"BOOL"`, `[1]`), "true or false, not 1"},
		"number for BYTES":    {tensor(`[1]`, `"BYTES"`, `[1]`), "strings, not 1"},
		"object as element":   {tensor(`[1]`, `"FP64"`, `[{"a":1}]`), "an object is not a number"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseRequest([]byte(test.body), nil)
			var bad *Error
			if !errors.As(err, &bad) || !strings.Contains(bad.Message, test.want) {
				t.Fatalf("got %v, want an *Error with %q", err, test.want)
			}
			if len(bad.Message) > 500 || strings.Contains(bad.Message, "Go ") {
				t.Errorf("not a sentence for the sender: %s", bad.Message)
			}
		})
	}
}

// Null stands for what may be left out, as clients write it that send all the
// members of a class.
func TestParseRequestNull(t *testing.T) {
	r, err := ParseRequest([]byte(`{"id":null,"parameters":null,"outputs":null,
		"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1],"parameters":null}]}`), nil)
	if err != nil || r.ID != "" || r.Outputs != nil {
		t.Errorf("got %+v, %v", r, err)
	}
}

func tensor(shape, datatype, data string) string {
	return `{"inputs":[{"name":"x","shape":` + shape + `,"datatype":` + datatype + `,"data":` + data + `}]}`
}

// FuzzParseRequest: whatever arrives, an accepted tensor has the elements
// that its shape promises, and reads the same when it is sent on flat.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(tensor(`[1,4]`, `"FP32"`, `[[5.1,3.5,1.4,0.2]]`)))
	f.Add([]byte(tensor(`[2,2]`, `"INT64"`, `[1,2,3,4]`)))
	f.Add([]byte(tensor(`[1]`, `"BYTES"`, `["\u0000"]`)))
	f.Add([]byte(tensor(`[2]`, `"BOOL"`, `[true,false]`)))
	f.Add([]byte(`{"inputs":[{"name":"x","shape":[99999999],"datatype":"UINT8","data":[0]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseRequest(body, nil)
		if err != nil {
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("not an *Error: %v", err)
			}
			return
		}
		for _, in := range r.Inputs {
			size, err := elements(in.Shape)
			if err != nil || reflect.ValueOf(in.Data).Len() != size {
				t.Fatalf("shape %v with %d elements", in.Shape, reflect.ValueOf(in.Data).Len())
			}
			again, err := json.Marshal(map[string]any{"inputs": []Tensor{in}})
			if err != nil {
				t.Fatal(err)
			}
			r2, err := ParseRequest(again, nil)
			if err != nil || !reflect.DeepEqual(r2.Inputs[0], in) {
				t.Fatalf("%s: %v", again, err)
			}
		}
	})
}
