// Package embedded holds the types of the Open Inference Protocol v2 (the
// KServe "predict protocol, version 2", HTTP/REST with JSON) and checks what
// arrives against them. The models that the API itself holds are packages
// below this one.
package embedded

// Model is a model that the API itself holds.
type Model struct {
	Metadata Metadata
	// Infer answers a request. What is wrong with the request is an *Error.
	Infer func(*Request) (*Response, error)
}

// Metadata describes a model: the answer of GET /v2/models/{model}.
type Metadata struct {
	Name     string           `json:"name"`
	Versions []string         `json:"versions,omitempty"`
	Platform string           `json:"platform"`
	Inputs   []TensorMetadata `json:"inputs"`
	Outputs  []TensorMetadata `json:"outputs"`
}

// TensorMetadata describes one input or output. A dimension of -1 may have
// any size.
type TensorMetadata struct {
	Name     string   `json:"name"`
	Datatype Datatype `json:"datatype"`
	Shape    []int    `json:"shape"`
	// Parameters say what the numbers mean, for people and forms.
	Parameters map[string]any `json:"parameters,omitempty"`
}

// Request is an inference request whose tensors are complete: each has as
// many elements as its shape says, all of its datatype.
type Request struct {
	ID      string
	Inputs  []Tensor
	Outputs []string // names of the wanted outputs; none means all

	allBinary bool            // the outputs are to come in binary
	binary    map[string]bool // and what holds for single ones
}

// asBinary says whether an output is to come in binary.
func (r *Request) asBinary(output string) bool {
	if as, said := r.binary[output]; said {
		return as
	}
	return r.allBinary
}

// Response is the answer to a Request.
type Response struct {
	ModelName string   `json:"model_name"`
	ID        string   `json:"id,omitempty"`
	Outputs   []Tensor `json:"outputs"`
}

// Tensor is a named array with its shape, in row-major order.
type Tensor struct {
	Name     string   `json:"name"`
	Shape    []int    `json:"shape"`
	Datatype Datatype `json:"datatype"`
	// Data is flat. Its Go type follows the datatype: []bool for BOOL,
	// []uint64 for UINT8 to UINT64, []int64 for INT8 to INT64, []float64 for
	// FP16 to FP64, []string for BYTES.
	Data any `json:"data"`
}

// Datatype is the name of an element type, such as FP32.
type Datatype string

// The datatypes that models here use. ParseRequest knows all of the protocol.
const (
	FP32  Datatype = "FP32"
	FP64  Datatype = "FP64"
	BYTES Datatype = "BYTES"
)

// Error is what is wrong with a request, as a sentence for its sender.
type Error struct{ Message string }

func (e *Error) Error() string { return "embedded: " + e.Message }

// Select returns the outputs that r asks for, in its order: all of them when
// it names none.
func (r *Request) Select(outputs []Tensor) ([]Tensor, error) {
	if len(r.Outputs) == 0 {
		return outputs, nil
	}
	var selected []Tensor
	for _, name := range r.Outputs {
		found := false
		for _, t := range outputs {
			if t.Name == name {
				selected, found = append(selected, t), true
			}
		}
		if !found {
			return nil, errorf("there is no output %q: the outputs are %s", clip(name), names(outputs))
		}
	}
	return selected, nil
}
