// Package iris is a classifier of iris flowers that the API holds itself: a
// multinomial logistic regression, fitted by fit.py on R. A. Fisher's data of
// 1936.
package iris

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"

	"keycloak-model-api/api/embedded"
)

// maxRows bounds the work of one request.
const maxRows = 10_000

//go:embed iris.json
var fitted []byte

// classifier is the fitted model.
type classifier struct {
	name         string
	Features     []string    `json:"features"`
	Unit         string      `json:"unit"`
	Min          []float64   `json:"min"` // smallest value of each feature in the data
	Max          []float64   `json:"max"` // largest value of each feature in the data
	Classes      []string    `json:"classes"`
	Coefficients [][]float64 `json:"coefficients"` // one row for each class
	Intercepts   []float64   `json:"intercepts"`   // one for each class
}

// New returns the classifier under the name that the policy gives it.
func New(name string) (*embedded.Model, error) {
	c := &classifier{name: name}
	if err := json.Unmarshal(fitted, c); err != nil {
		return nil, fmt.Errorf("iris: embedded coefficients: %w", err)
	}
	return &embedded.Model{Metadata: c.metadata(), Infer: c.infer}, nil
}

func (c *classifier) metadata() embedded.Metadata {
	return embedded.Metadata{
		Name:     c.name,
		Versions: []string{"1"},
		Platform: "keycloak-model-api",
		Inputs: []embedded.TensorMetadata{{
			Name: "input", Datatype: embedded.FP64, Shape: []int{-1, len(c.Features)},
			Parameters: map[string]any{"features": c.Features, "unit": c.Unit, "min": c.Min, "max": c.Max},
		}},
		Outputs: []embedded.TensorMetadata{
			{Name: "label", Datatype: embedded.BYTES, Shape: []int{-1}},
			{
				Name: "probabilities", Datatype: embedded.FP64, Shape: []int{-1, len(c.Classes)},
				Parameters: map[string]any{"classes": c.Classes},
			},
		},
	}
}

// infer classifies the rows of the one input: FP32 or FP64, [n,4].
func (c *classifier) infer(r *embedded.Request) (*embedded.Response, error) {
	if len(r.Inputs) != 1 || r.Inputs[0].Name != "input" {
		return nil, &embedded.Error{Message: `send exactly one input, named "input"`}
	}
	in := r.Inputs[0]
	if in.Datatype != embedded.FP32 && in.Datatype != embedded.FP64 {
		return nil, &embedded.Error{Message: fmt.Sprintf("input has datatype %s: use FP32 or FP64", in.Datatype)}
	}
	if len(in.Shape) != 2 || in.Shape[1] != len(c.Features) {
		return nil, &embedded.Error{Message: fmt.Sprintf("input has shape %v: use [n %d], a row for each flower with %v in %s", in.Shape, len(c.Features), c.Features, c.Unit)}
	}
	n := in.Shape[0]
	if n > maxRows {
		return nil, &embedded.Error{Message: fmt.Sprintf("input has %d rows: send at most %d in one request", n, maxRows)}
	}

	rows := in.Data.([]float64)
	labels := make([]string, n)
	probabilities := make([]float64, 0, n*len(c.Classes))
	for i := range n {
		p := c.classify(rows[i*len(c.Features):][:len(c.Features)])
		best := 0
		for class := range p {
			if p[class] > p[best] {
				best = class
			}
		}
		labels[i] = c.Classes[best]
		probabilities = append(probabilities, p...)
	}
	outputs, err := r.Select([]embedded.Tensor{
		{Name: "label", Datatype: embedded.BYTES, Shape: []int{n}, Data: labels},
		{Name: "probabilities", Datatype: embedded.FP64, Shape: []int{n, len(c.Classes)}, Data: probabilities},
	})
	if err != nil {
		return nil, err
	}
	return &embedded.Response{ModelName: c.name, ID: r.ID, Outputs: outputs}, nil
}

// classify returns the probability of each class: the softmax of the linear
// scores. Scores are taken relative to the largest, so that exp can't
// overflow, and clamped to finite numbers, since a row near the largest
// float64 would make them infinite and their difference not a number.
func (c *classifier) classify(row []float64) []float64 {
	p := make([]float64, len(c.Classes))
	largest := math.Inf(-1)
	for class := range p {
		score := c.Intercepts[class]
		for f, x := range row {
			score += c.Coefficients[class][f] * max(-1e300, min(x, 1e300))
		}
		p[class] = score
		largest = max(largest, score)
	}
	sum := 0.0
	for class := range p {
		p[class] = math.Exp(p[class] - largest)
		sum += p[class]
	}
	for class := range p {
		p[class] /= sum
	}
	return p
}
