package playground

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

const (
	maxShownValues = 32       // of one output
	maxShownText   = 16 << 10 // bytes of an output, and of an answer as JSON
	maxHeadline    = 80       // bytes
)

// answer is an answer of a model as people read it.
type answer struct {
	Headline string
	Outputs  []output
	JSON     string
}

// output is one output: Bars, Text or Values are set.
type output struct {
	Name, Datatype, Shape string
	Bars                  []bar
	Text                  string
	Values                string
	More                  int // values that are not shown
}

type bar struct {
	Label   string
	Percent string // 0.0 to 100.0
}

// readAnswer makes an answer readable. classes are those of an output, by its
// name. The first short text is the headline; numbers from 0 to 1, one for each
// class, become bars.
func readAnswer(body []byte, classes map[string][]string) *answer {
	a := &answer{JSON: clip(string(bytes.ToValidUTF8(body, []byte("\uFFFD"))), maxShownText)}
	var sent struct {
		Outputs []struct {
			Name     string          `json:"name"`
			Datatype string          `json:"datatype"`
			Shape    []int           `json:"shape"`
			Data     json.RawMessage `json:"data"`
		} `json:"outputs"`
	}
	if json.Unmarshal(body, &sent) != nil {
		return a
	}
	for _, o := range sent.Outputs[:min(len(sent.Outputs), maxTensors)] {
		out := output{Name: clip(o.Name, maxName), Datatype: clip(o.Datatype, maxName), Shape: shapeOf(o.Shape)}
		values := flat(o.Data)
		text, isText := "", false
		if len(values) == 1 {
			text, isText = values[0].(string)
		}
		out.Bars = barsOf(classes[o.Name], values)
		switch {
		case out.Bars != nil:
		case isText && a.Headline == "" && len(text) <= maxHeadline && !strings.Contains(text, "\n"):
			a.Headline = text
			continue
		case isText:
			out.Text = clip(text, maxShownText)
		default:
			shown := values[:min(len(values), maxShownValues)]
			out.Values, out.More = listed(shown), len(values)-len(shown)
		}
		a.Outputs = append(a.Outputs, out)
	}
	return a
}

// flat returns the elements of data that may be nested: strings, booleans and
// json.Numbers.
func flat(data json.RawMessage) []any {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var values []any
	for {
		token, err := decoder.Token()
		if err != nil {
			return values
		}
		if _, bracket := token.(json.Delim); !bracket {
			values = append(values, token)
		}
	}
}

func barsOf(classes []string, values []any) []bar {
	if len(classes) == 0 || len(classes) != len(values) || len(classes) > maxShownValues {
		return nil
	}
	bars := make([]bar, len(values))
	for i, v := range values {
		n, _ := v.(json.Number)
		x, err := n.Float64()
		if err != nil || x < 0 || x > 1 {
			return nil
		}
		bars[i] = bar{clip(classes[i], maxName), strconv.FormatFloat(100*x, 'f', 1, 64)}
	}
	return bars
}

// listed writes values as JSON has them.
func listed(values []any) string {
	all := make([]string, 0, len(values))
	for _, v := range values {
		var b strings.Builder
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		if encoder.Encode(v) == nil {
			all = append(all, clip(strings.TrimSpace(b.String()), maxName))
		}
	}
	return strings.Join(all, ", ")
}
