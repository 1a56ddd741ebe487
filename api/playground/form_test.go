package playground

import (
	"encoding/json"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"keycloak-model-api/api/embedded"
)

func tensor(name string, datatype embedded.Datatype, shape ...int) embedded.TensorMetadata {
	return embedded.TensorMetadata{Name: name, Datatype: datatype, Shape: shape}
}

// A form, or JSON alone, for whatever a model takes: each example is a request
// of the protocol with an element for each that the shape has.
func TestForm(t *testing.T) {
	tests := []struct {
		name    string
		inputs  []embedded.TensorMetadata
		fields  []string // labels; nil for JSON alone
		request string
	}{
		{"one row of a batch", []embedded.TensorMetadata{tensor("x", "FP32", -1, 3)}, []string{"x [0]", "x [1]", "x [2]"},
			`{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[0,0,0]}]}`},
		{"a prompt", []embedded.TensorMetadata{tensor("text_input", "BYTES", -1)}, []string{"text_input"},
			`{"inputs":[{"name":"text_input","shape":[1],"datatype":"BYTES","data":[""]}]}`},
		{"several inputs", []embedded.TensorMetadata{tensor("prompt", "BYTES", 1, 1), tensor("max_tokens", "INT32", 1), tensor("stream", "BOOL", 1)},
			[]string{"prompt", "max_tokens", "stream"},
			`{"inputs":[{"name":"prompt","shape":[1,1],"datatype":"BYTES","data":[""]},` + "\n" +
				` {"name":"max_tokens","shape":[1],"datatype":"INT32","data":[0]},` + "\n" + ` {"name":"stream","shape":[1],"datatype":"BOOL","data":[false]}]}`},
		{"a matrix", []embedded.TensorMetadata{tensor("m", "INT64", -1, 2, 2)}, []string{"m [0, 0]", "m [0, 1]", "m [1, 0]", "m [1, 1]"},
			`{"inputs":[{"name":"m","shape":[1,2,2],"datatype":"INT64","data":[0,0,0,0]}]}`},
		{"a scalar", []embedded.TensorMetadata{tensor("s", "FP64")}, []string{"s"}, `{"inputs":[{"name":"s","shape":[],"datatype":"FP64","data":[0]}]}`},
		{"too many for fields", []embedded.TensorMetadata{tensor("x", "UINT8", 7, 7)}, nil,
			`{"inputs":[{"name":"x","shape":[7,7],"datatype":"UINT8","data":[` + strings.TrimSuffix(strings.Repeat("0,", 49), ",") + `]}]}`},
		{"an image", []embedded.TensorMetadata{tensor("x", "FP32", -1, 3, 224, 224)}, nil, `{"inputs":[{"name":"x","shape":[1,3,224,224],"datatype":"FP32","data":[]}]}`},
		{"a size that overflows", []embedded.TensorMetadata{tensor("x", "FP32", 1<<62, 1<<62, 1<<62, 4)}, nil,
			`{"inputs":[{"name":"x","shape":[4611686018427387904,4611686018427387904,4611686018427387904,4],"datatype":"FP32","data":[]}]}`},
		{"another datatype", []embedded.TensorMetadata{tensor("x", "COMPLEX", 1)}, nil, `{"inputs":[{"name":"x","shape":[1],"datatype":"COMPLEX","data":[]}]}`},
		{"names that are none of ours to trust", []embedded.TensorMetadata{tensor("a\"'`\\\u202e</script>é", "BOOL", -5)}, []string{"a\"'`\\\u202e</script>é"},
			`{"inputs":[{"name":"a\"'` + "`" + `\\\u202e\u003c/script\u003eé","shape":[1],"datatype":"BOOL","data":[false]}]}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, err := newForm(test.inputs)
			if err != nil {
				t.Fatal(err)
			}
			var labels []string
			for _, in := range f.Inputs {
				for _, field := range in.Fields {
					labels = append(labels, field.Label)
				}
			}
			if f.Fields != (test.fields != nil) || f.Fields && !reflect.DeepEqual(labels, test.fields) {
				t.Errorf("fields %v, %q, want %q", f.Fields, labels, test.fields)
			}
			request, err := f.request()
			if request != test.request || err != nil {
				t.Errorf("got  %s, %v\nwant %s", request, err, test.request)
			}
			if large := strings.Contains(request, `"data":[]`); large != (len(f.Empty) > 0) {
				t.Errorf("the page speaks of the empty %q, the request is %s", f.Empty, request)
			}
		})
	}
}

// Metadata without bounds make no page without bounds.
func TestMetadataBounds(t *testing.T) {
	for name, inputs := range map[string][]embedded.TensorMetadata{
		"inputs":     make([]embedded.TensorMetadata, maxTensors+1),
		"name":       {tensor(strings.Repeat("x", maxName+1), "FP32", 1)},
		"no name":    {tensor("", "FP32", 1)},
		"datatype":   {tensor("x", embedded.Datatype(strings.Repeat("x", maxName+1)), 1)},
		"dimensions": {tensor("x", "FP32", 1, 1, 1, 1, 1, 1, 1, 1, 1)},
	} {
		if _, err := newForm(inputs); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// What people type becomes the JSON of the datatype, or a sentence.
func TestElements(t *testing.T) {
	for _, test := range []struct {
		datatype    embedded.Datatype
		typed, want string // "" where it is refused
	}{
		{"FP32", "1.5", "1.5"}, {"FP32", " -1e-7 ", "-1e-07"}, {"FP64", "NaN", ""}, {"FP64", "Infinity", ""}, {"FP64", "1e999", ""}, {"FP64", "", ""}, {"FP64", "0x10", ""},
		{"INT64", "9007199254740993", "9007199254740993"}, {"INT64", "9223372036854775808", ""}, {"INT8", "128", ""}, {"INT8", "-128", "-128"},
		{"UINT8", "-1", ""}, {"UINT8", "255", "255"}, {"UINT64", "18446744073709551615", "18446744073709551615"}, {"INT32", "1.0", ""}, {"INT32", "007", "7"},
		{"BOOL", "true", "true"}, {"BOOL", "1", ""},
		{"BYTES", ` a "b"` + "\r\nc ", `" a \"b\"\nc "`},
	} {
		f, err := newForm([]embedded.TensorMetadata{tensor("x", test.datatype, 1)})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.read(url.Values{"0.0": {test.typed}}); err != nil {
			t.Fatal(err)
		}
		want := ""
		if test.want != "" {
			want = `{"inputs":[{"name":"x","shape":[1],"datatype":"` + string(test.datatype) + `","data":[` + test.want + `]}]}`
		}
		if got, err := f.request(); got != want || (err == nil) != (want != "") {
			t.Errorf("%s %q: %s, %v", test.datatype, test.typed, got, err)
		}
	}
	f, err := newForm([]embedded.TensorMetadata{tensor("x", "FP32", 2)})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.read(url.Values{"0.0": {"1"}}); err == nil {
		t.Error("a form that lacks a field is taken")
	}
}

// A range gives a slider, unless no round numbers come of it.
func TestSliders(t *testing.T) {
	for name, test := range map[string]struct {
		low, high float64
		slider    bool
	}{
		"of iris":                {4.3, 7.9, true},
		"wider than all numbers": {-1e308, 1e308, false},
		"narrower than any step": {0, 5e-324, false},
		"empty":                  {1, 1, false},
		"the wrong way round":    {2, 1, false},
		"beside the round ones":  {1e300, 1.0000000000000002e300, false},
	} {
		f, err := newForm([]embedded.TensorMetadata{{
			Name: "input", Datatype: embedded.FP64, Shape: []int{-1, 1},
			Parameters: map[string]any{"features": []string{"x"}, "min": []float64{test.low}, "max": []float64{test.high}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Inputs[0].Fields[0].Min != ""; got != test.slider {
			t.Errorf("%s: slider %v", name, got)
		}
		if request, err := f.request(); err != nil {
			t.Errorf("%s: %s, %v", name, request, err)
		}
	}
}

// FuzzForm makes forms of what a model's server may say. Each gives a request
// in JSON that names what the server named.
func FuzzForm(f *testing.F) {
	for _, seed := range []string{
		`{"inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}]}`,
		`{"inputs":[{"name":"x\u202e'","datatype":"BYTES","shape":[]}],"outputs":[]}`,
		`{"inputs":[{"name":"x","datatype":"INT64","shape":[9223372036854775807,-9223372036854775808]}]}`,
		`{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"parameters":{"features":["a"],"min":[1e308],"max":[-1e308]}}]}`,
		`{"inputs":null}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var metadata embedded.Metadata
		if json.Unmarshal([]byte(text), &metadata) != nil {
			return
		}
		made, err := newForm(metadata.Inputs)
		if err != nil {
			return
		}
		request, err := made.request()
		var read struct{ Inputs []embedded.TensorMetadata }
		if err != nil || json.Unmarshal([]byte(request), &read) != nil || len(read.Inputs) != len(metadata.Inputs) {
			t.Fatalf("%s: %s, %v", text, request, err)
		}
		var again struct{ Inputs []embedded.TensorMetadata }
		if err := json.Unmarshal([]byte(literal(request)), &again); err != nil || !reflect.DeepEqual(read, again) {
			t.Errorf("%s: as a literal it is another request: %s", request, literal(request))
		}
		for i, in := range metadata.Inputs {
			if read.Inputs[i].Name != in.Name || read.Inputs[i].Datatype != in.Datatype {
				t.Errorf("input %q became %q", in.Name, read.Inputs[i].Name)
			}
		}
	})
}
