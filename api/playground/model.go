package playground

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"keycloak-model-api/api/model"
)

const (
	describeTimeout = 3 * time.Second // for what models say of themselves
	maxForm         = 16 << 10        // bytes
	maxAnswer       = 1 << 20         // bytes
)

// modelView is one model as the pages show it.
type modelView struct {
	Name            string
	Chosen          bool
	Unknown         string // why nothing is known of its inputs and outputs
	Platform        string
	Inputs, Outputs []tensorView

	// Of the chosen model.
	URL     string // to which inference requests go
	Fields  []field
	Request string // the inference request, JSON in one line
	Classes []string
	Result  *result
	Failure string
}

type tensorView struct {
	Name     string
	Datatype model.Datatype
	Shape    string
	Of       string // what the last dimension holds, for people
}

// field is one slider.
type field struct {
	Name, Label, Unit     string
	Min, Max, Step, Value string
}

// result is an answer of the model as people read it.
type result struct {
	Headline string
	Bars     []bar
	Raw      string // JSON, where there are no bars
}

type bar struct {
	Label   string
	Percent string // 0.0 to 100.0
}

// features is what Parameters of a tensor say to forms.
type features struct {
	Features []string  `json:"features"`
	Unit     string    `json:"unit"`
	Min      []float64 `json:"min"`
	Max      []float64 `json:"max"`
	Classes  []string  `json:"classes"`
}

// parametersOf reads what it knows of a tensor's parameters. Others stay zero.
func parametersOf(t model.TensorMetadata) (f features) {
	data, err := json.Marshal(t.Parameters)
	if err == nil && json.Unmarshal(data, &f) != nil {
		return features{}
	}
	return f
}

// Home serves GET / and /models/{model}, and POST /models/{model}, which a
// form without script sends.
func (p *Playground) Home(w http.ResponseWriter, r *http.Request) {
	p.secure(w)
	session, err := p.Login.Session(r)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	content := page{You: p.you(session)}
	current := p.Policy()
	visible := current.Visible(session.Principal.ForPolicy())
	chosen := r.PathValue("model")
	for _, m := range visible {
		content.Models = append(content.Models, &modelView{Name: m.Name, Chosen: m.Name == chosen || chosen == "" && len(content.Models) == 0})
	}
	switch {
	case !session.Principal.HasRealmRole(current.BaseRole):
		content.Title, content.Role = "You may not call any model yet", current.BaseRole
		content.Text = "You are signed in, but your account lacks the role that every caller needs. Ask the people who run this realm for it, then sign out and in again. The role is"
		p.message(w, http.StatusForbidden, content)
		return
	case len(visible) == 0:
		content.Title = "No model is open to you yet"
		content.Text = "You are signed in and may use this API, but none of its models is open to your roles. Ask the people who run this realm for the role of the model that you need, then sign out and in again."
		p.message(w, http.StatusForbidden, content)
		return
	}
	p.describe(r, content.Models)
	for _, m := range content.Models {
		if m.Chosen {
			content.Model = m
		}
	}
	if content.Model == nil {
		p.NotFound(w, r)
		return
	}
	content.Title = content.Model.Name
	status := http.StatusOK
	if r.Method == http.MethodPost {
		status = p.predict(w, r, content.Model)
	}
	p.render(w, status, "home.html", content)
}

// describe asks all models at once what they take and give.
func (p *Playground) describe(r *http.Request, models []*modelView) {
	ctx, cancel := context.WithTimeout(r.Context(), describeTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, m := range models {
		all.Go(func() {
			status, body := p.call(r.WithContext(ctx), http.MethodGet, "/v2/models/"+m.Name, nil)
			var metadata model.Metadata
			if status != http.StatusOK || json.Unmarshal(body, &metadata) != nil {
				m.Unknown = "This model doesn't say at the moment what it takes. Try again later."
				return
			}
			m.fill(p.Login.PublicURL(), metadata)
		})
	}
	all.Wait()
}

// fill makes the view, and the form where the model says enough for one.
func (m *modelView) fill(publicURL string, metadata model.Metadata) {
	m.Platform = metadata.Platform
	m.URL = publicURL + "/v2/models/" + m.Name + "/infer"
	for _, t := range metadata.Inputs {
		m.Inputs = append(m.Inputs, viewOf(t))
	}
	for _, t := range metadata.Outputs {
		m.Outputs = append(m.Outputs, viewOf(t))
		if classes := parametersOf(t).Classes; len(classes) > 0 {
			m.Classes = classes
		}
	}
	if len(metadata.Inputs) != 1 || len(metadata.Inputs[0].Shape) != 2 {
		return
	}
	input := metadata.Inputs[0]
	says := parametersOf(input)
	n := len(says.Features)
	if n == 0 || input.Shape[1] != n || len(says.Min) != n || len(says.Max) != n || (input.Datatype != model.FP32 && input.Datatype != model.FP64) {
		return
	}
	values := make([]float64, n)
	for i, name := range says.Features {
		low, high := says.Min[i], says.Max[i]
		if !(low < high) {
			m.Fields = nil
			return
		}
		// A round step, so that there are 10 to 100 of them or so.
		step := math.Pow(10, math.Floor(math.Log10(high-low))-1)
		values[i] = low + math.Round((high-low)/2/step)*step
		values[i] = math.Round(values[i]/step) * step
		values[i], _ = strconv.ParseFloat(strconv.FormatFloat(values[i], 'g', 6, 64), 64)
		m.Fields = append(m.Fields, field{
			Name: name, Label: label(name), Unit: says.Unit,
			Min: number(low), Max: number(high), Step: number(step), Value: number(values[i]),
		})
	}
	if m.Request = inferenceRequest(input, values); m.Request == "" {
		m.Fields = nil
	}
}

// inferenceRequest is the body of a request with one row.
func inferenceRequest(input model.TensorMetadata, row []float64) string {
	body, err := json.Marshal(map[string]any{"inputs": []model.Tensor{{
		Name: input.Name, Shape: []int{1, len(row)}, Datatype: input.Datatype, Data: row,
	}}})
	if err != nil { // a row that is not finite
		return ""
	}
	return quotable.Replace(string(body))
}

// quotable makes JSON that can stand within the quotes of a shell, Go or
// Python, whatever the model calls its tensors.
var quotable = strings.NewReplacer("'", `\u0027`, "`", `\u0060`)

// predict asks the model about what the form holds, and returns the status of
// the page.
func (p *Playground) predict(w http.ResponseWriter, r *http.Request, m *modelView) int {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil || len(m.Fields) == 0 {
		m.Failure = "The form could not be read. Try again."
		return http.StatusBadRequest
	}
	row := make([]float64, len(m.Fields))
	for i := range m.Fields {
		f := &m.Fields[i]
		value, err := strconv.ParseFloat(r.PostForm.Get(f.Name), 64)
		if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
			m.Failure = fmt.Sprintf("%s is not a number: give one from %s to %s.", f.Label, f.Min, f.Max)
			return http.StatusBadRequest
		}
		row[i], f.Value = value, number(value)
	}
	input := model.TensorMetadata{Name: m.Inputs[0].Name, Datatype: m.Inputs[0].Datatype}
	m.Request = inferenceRequest(input, row)
	status, body := p.call(r, http.MethodPost, "/v2/models/"+m.Name+"/infer", []byte(m.Request))
	if status != http.StatusOK {
		var refusal struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(body, &refusal) != nil || refusal.Error == "" {
			refusal.Error = "The model did not answer. Try again later."
		}
		m.Failure = refusal.Error
		return status
	}
	m.Result = m.read(body)
	return http.StatusOK
}

// read makes an answer readable: text as a headline, numbers for the classes
// as bars, anything else as it came.
func (m *modelView) read(body []byte) *result {
	var answer struct {
		Outputs []struct {
			Data json.RawMessage `json:"data"`
		} `json:"outputs"`
	}
	out := &result{}
	if err := json.Unmarshal(body, &answer); err == nil {
		for _, output := range answer.Outputs {
			var texts []string
			var numbers []float64
			if json.Unmarshal(output.Data, &texts) == nil && len(texts) == 1 {
				out.Headline = texts[0]
			} else if json.Unmarshal(output.Data, &numbers) == nil && len(numbers) == len(m.Classes) {
				for i, class := range m.Classes {
					out.Bars = append(out.Bars, bar{class, strconv.FormatFloat(100*numbers[i], 'f', 1, 64)})
				}
			}
		}
	}
	if out.Bars == nil {
		out.Raw = string(body)
	}
	return out
}

// call sends a request of the person in r to the API, as their browser would.
// An answer that breaks off or is too large counts as 502.
func (p *Playground) call(r *http.Request, method, path string, body []byte) (status int, answer []byte) {
	request, err := http.NewRequestWithContext(r.Context(), method, p.Login.PublicURL()+path, bytes.NewReader(body))
	if err != nil {
		return http.StatusInternalServerError, nil
	}
	request.Header.Set("Content-Type", "application/json")
	for _, cookie := range r.CookiesNamed(p.Login.CookieName()) {
		request.AddCookie(cookie)
	}
	request.RemoteAddr, request.RequestURI = r.RemoteAddr, path
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	defer func() {
		// How a proxied answer ends that broke off.
		if broken := recover(); broken == http.ErrAbortHandler {
			status, answer = http.StatusBadGateway, nil
		} else if broken != nil {
			panic(broken)
		}
	}()
	p.API.ServeHTTP(w, request)
	if w.tooLarge {
		return http.StatusBadGateway, nil
	}
	return w.status, w.body.Bytes()
}

// recorder keeps an answer of the API.
type recorder struct {
	header   http.Header
	status   int
	body     bytes.Buffer
	tooLarge bool
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) { w.status = status }

func (w *recorder) Write(b []byte) (int, error) {
	if w.body.Len()+len(b) > maxAnswer {
		w.tooLarge = true
		return 0, io.ErrShortWrite
	}
	return w.body.Write(b)
}

func viewOf(t model.TensorMetadata) tensorView {
	shape := make([]string, len(t.Shape))
	for i, size := range t.Shape {
		shape[i] = strconv.Itoa(size)
		if size < 0 {
			shape[i] = "n"
		}
	}
	says := parametersOf(t)
	of := append(says.Features, says.Classes...)
	for i := range of {
		of[i] = strings.ToLower(label(of[i]))
	}
	v := tensorView{Name: t.Name, Datatype: t.Datatype, Shape: strings.Join(shape, " × "), Of: strings.Join(of, ", ")}
	if says.Unit != "" && v.Of != "" {
		v.Of += " in " + says.Unit
	}
	return v
}

// label makes a name readable: sepal_length becomes Sepal length.
func label(name string) string {
	name = strings.TrimSpace(strings.NewReplacer("_", " ", "-", " ").Replace(name))
	if name == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(name)
	return string(unicode.ToUpper(first)) + name[size:]
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 10, 64) }

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return strconv.Itoa(n) + " " + unit + "s"
}
