package playground

import (
	"testing"

	"keycloak-model-api/api/model"
)

// A model's server says of its inputs what it likes. Where no round numbers
// come of it there is no form, whose script would fail.
func TestRangesWithoutAForm(t *testing.T) {
	for name, limits := range map[string][2]float64{
		"wider than all numbers":  {-1e308, 1e308},
		"narrower than any step":  {0, 5e-324},
		"empty":                   {1, 1},
		"the wrong way round":     {2, 1},
		"so high that it is even": {1e300, 1.0000000000000002e300},
	} {
		var m modelView
		m.fill("https://models.example.com", model.Metadata{Inputs: []model.TensorMetadata{{
			Name: "input", Datatype: model.FP64, Shape: []int{-1, 1},
			Parameters: map[string]any{"features": []string{"x"}, "min": limits[:1], "max": limits[1:]},
		}}})
		if (m.Request == "") != (len(m.Fields) == 0) {
			t.Errorf("%s: %d fields and the request %q", name, len(m.Fields), m.Request)
		}
	}
}

func TestLabel(t *testing.T) {
	for name, want := range map[string]string{"sepal_length": "Sepal length", "épaisseur": "Épaisseur", "ширина": "Ширина", "_": "", "x": "X"} {
		if got := label(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
