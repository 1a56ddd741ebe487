package iris

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"keycloak-model-api/api/embedded"
)

func newModel(t *testing.T) *embedded.Model {
	t.Helper()
	m, err := New("iris")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func infer(t *testing.T, rows [][]float64) (labels []string, probabilities []float64) {
	t.Helper()
	var flat []float64
	for _, row := range rows {
		flat = append(flat, row...)
	}
	answer, err := newModel(t).Infer(&embedded.Request{Inputs: []embedded.Tensor{
		{Name: "input", Datatype: embedded.FP64, Shape: []int{len(rows), 4}, Data: flat},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Outputs[0].Data.([]string), answer.Outputs[1].Data.([]float64)
}

// The model learned Fisher's data: 147 of 150 rows.
func TestAccuracyOnAllData(t *testing.T) {
	f, err := os.Open("data.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	records = records[1:]
	if len(records) != 150 {
		t.Fatalf("data.csv has %d rows, want 150", len(records))
	}
	var rows [][]float64
	for _, record := range records {
		var row []float64
		for _, field := range record[:4] {
			x, err := strconv.ParseFloat(field, 64)
			if err != nil {
				t.Fatal(err)
			}
			row = append(row, x)
		}
		rows = append(rows, row)
	}
	labels, _ := infer(t, rows)
	right := 0
	for i, label := range labels {
		if label == records[i][4] {
			right++
		}
	}
	if accuracy := float64(right) / float64(len(rows)); accuracy < 0.97 {
		t.Errorf("accuracy %.4f, want at least 0.97", accuracy)
	}
}

// golden.json holds what scikit-learn itself answers.
func TestSameAsScikitLearn(t *testing.T) {
	content, err := os.ReadFile("golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden []struct {
		Row           []float64
		Label         string
		Probabilities []float64
	}
	if err := json.Unmarshal(content, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden) < 8 {
		t.Fatalf("only %d golden rows", len(golden))
	}
	for _, g := range golden {
		labels, probabilities := infer(t, [][]float64{g.Row})
		if labels[0] != g.Label {
			t.Errorf("%v: label %s, want %s", g.Row, labels[0], g.Label)
		}
		for i, want := range g.Probabilities {
			if got := probabilities[i]; math.Abs(got-want) > 1e-12 {
				t.Errorf("%v: probability %d is %v, want %v", g.Row, i, got, want)
			}
		}
	}
}

func TestProbabilitiesSumToOneForAnyFiniteRow(t *testing.T) {
	for _, x := range []float64{0, -1, 1e-308, 1e9, -1e300, math.MaxFloat64, -math.MaxFloat64} {
		_, p := infer(t, [][]float64{{x, -x, x, x}})
		if sum := p[0] + p[1] + p[2]; !(math.Abs(sum-1) < 1e-9) {
			t.Errorf("row of %g: probabilities %v", x, p)
		}
	}
}

func TestBadTensors(t *testing.T) {
	row := []float64{5.1, 3.5, 1.4, 0.2}
	tests := map[string]struct {
		request embedded.Request
		want    string
	}{
		"no input":       {embedded.Request{}, "exactly one input"},
		"other name":     {embedded.Request{Inputs: []embedded.Tensor{{Name: "x", Datatype: embedded.FP64, Shape: []int{1, 4}, Data: row}}}, "exactly one input"},
		"whole numbers":  {embedded.Request{Inputs: []embedded.Tensor{{Name: "input", Datatype: "INT64", Shape: []int{1, 4}, Data: []int64{5, 3, 1, 0}}}}, "use FP32 or FP64"},
		"one dimension":  {embedded.Request{Inputs: []embedded.Tensor{{Name: "input", Datatype: embedded.FP64, Shape: []int{4}, Data: row}}}, "use [n 4]"},
		"three features": {embedded.Request{Inputs: []embedded.Tensor{{Name: "input", Datatype: embedded.FP64, Shape: []int{1, 3}, Data: row[:3]}}}, "use [n 4]"},
		"too many rows":  {embedded.Request{Inputs: []embedded.Tensor{{Name: "input", Datatype: embedded.FP32, Shape: []int{maxRows + 1, 4}, Data: make([]float64, 4*(maxRows+1))}}}, "at most 10000"},
		"unknown output": {embedded.Request{Inputs: []embedded.Tensor{{Name: "input", Datatype: embedded.FP64, Shape: []int{1, 4}, Data: row}}, Outputs: []string{"logits"}}, "the outputs are label, probabilities"},
	}
	m := newModel(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := m.Infer(&test.request)
			var bad *embedded.Error
			if !errors.As(err, &bad) || !strings.Contains(bad.Message, test.want) {
				t.Errorf("got %v, want a *embedded.Error with %q", err, test.want)
			}
		})
	}
}

// What Infer answers is what Metadata promises.
func TestAnswerFitsMetadata(t *testing.T) {
	m := newModel(t)
	answer, err := m.Infer(&embedded.Request{ID: "7", Inputs: []embedded.Tensor{
		{Name: "input", Datatype: embedded.FP32, Shape: []int{2, 4}, Data: make([]float64, 8)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if answer.ID != "7" || answer.ModelName != "iris" || len(answer.Outputs) != len(m.Metadata.Outputs) {
		t.Fatalf("got %+v", answer)
	}
	for i, want := range m.Metadata.Outputs {
		got := answer.Outputs[i]
		if got.Name != want.Name || got.Datatype != want.Datatype || got.Shape[0] != 2 || len(got.Shape) != len(want.Shape) {
			t.Errorf("output %d is %s %s %v, want %s %s %v", i, got.Name, got.Datatype, got.Shape, want.Name, want.Datatype, want.Shape)
		}
	}
}
