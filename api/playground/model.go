package playground

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"keycloak-model-api/api/embedded"
	"keycloak-model-api/api/login"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

const (
	describeTimeout = 3 * time.Second  // for what a model says of itself
	describedFor    = 10 * time.Second // how long that counts
	maxForm         = 1 << 20          // bytes
)

// modelView is one model as the pages show it.
type modelView struct {
	Name   string
	Path   string // of its page
	Chosen bool

	// Of a language model: how the person may ask it, and which way the page shows.
	Protocol string
	Ways     []way
	Way      way

	// Of the chosen model.
	Unknown  string // why nothing is known of its inputs and outputs
	Platform string
	API, URL string // of the API, and to which requests go
	Form     *form
	Outputs  []tensorView
	Request  string // the inference request as JSON
	Edited   bool   // as the person wrote it, not from the fields
	Answer   *answer
	Failure  string
	StepUp   bool                // a sign-in as the model asks for may help
	classes  map[string][]string // of outputs
}

// Home serves GET /, /models/{model} and /chat/{model...}, and POST /models/{model},
// which a form without script sends.
func (p *Playground) Home(w http.ResponseWriter, r *http.Request) {
	p.secure(w)
	session, err := p.Login.Session(r)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	content := page{You: p.you(session)}
	current := p.Policy()
	who := session.Principal.ForPolicy()
	for _, m := range current.Visible(who) {
		if v := viewOfModel(current, who, m); v != nil {
			v.Chosen = v.Path == r.URL.Path || r.URL.Path == "/" && len(content.Models) == 0
			content.Models = append(content.Models, v)
			if v.Chosen {
				content.Model = v
			}
		}
	}
	switch {
	case !session.Principal.HasRealmRole(current.BaseRole):
		content.Title, content.Role = "You may not call any model yet", current.BaseRole
		content.Text = "You are signed in, but your account lacks the role that every caller needs. Ask the people who run this realm for it, then sign out and in again. The role is"
		p.message(w, http.StatusForbidden, content)
		return
	case len(content.Models) == 0:
		content.Title = "No model is open to you yet"
		content.Text = "You are signed in and may use this API, but none of the models that these pages can call is open to your roles. Ask the people who run this realm for the role of the model that you need, then sign out and in again."
		p.message(w, http.StatusForbidden, content)
		return
	case content.Model == nil:
		p.NotFound(w, r)
		return
	}
	content.Title = content.Model.Name
	content.Model.API = p.Login.PublicURL()
	if len(content.Model.Ways) > 0 {
		content.Script = "chat.js"
		content.Model.converse(r.URL.Query().Get("as"))
		p.render(w, http.StatusOK, "chat.html", content)
		return
	}
	p.describe(r, session, current, content.Model)
	status := http.StatusOK
	if r.Method == http.MethodPost {
		status = p.predict(w, r, session, content.Model)
	}
	p.render(w, status, "home.html", content)
}

// viewOfModel returns a model that the person may know of; nil where no page can
// ask it anything that the person may ask.
func viewOfModel(current *policy.Policy, who policy.Principal, m *policy.Model) *modelView {
	v := &modelView{Name: m.Name, Path: pathOf(m), Protocol: m.Protocol}
	if v.Path == "" {
		return nil
	}
	for _, way := range waysOf(m.Protocol) {
		if _, decision := current.Decide(who, m.Name, way.Action); decision == policy.Allow {
			v.Ways = append(v.Ways, way)
		}
	}
	if len(v.Ways) == 0 && len(waysOf(m.Protocol)) > 0 {
		return nil
	}
	return v
}

// pathOf is the path of a model's page; empty for one that has none.
func pathOf(m *policy.Model) string {
	switch {
	case cmp.Or(m.Protocol, policy.ProtocolOIP) == policy.ProtocolOIP:
		return "/models/" + m.Name
	case len(waysOf(m.Protocol)) > 0:
		return "/chat/" + m.Name // which may hold slashes and colons
	}
	return ""
}

// example is a request for a model of which nothing is known.
const example = `{"inputs":[{"name":"input","shape":[1,1],"datatype":"FP32","data":[0]}]}`

// describe asks the model, and no other one, what it takes and gives.
func (p *Playground) describe(r *http.Request, s *login.Session, current *policy.Policy, m *modelView) {
	m.URL = m.API + "/v2/models/" + m.Name + "/infer"
	metadata, ok := p.described.get(current, m.Name)
	if !ok {
		ctx, cancel := context.WithTimeout(r.Context(), describeTimeout)
		defer cancel()
		status, body := p.Call(r.WithContext(ctx), s, "metadata", m.Name, nil)
		if ok = status == http.StatusOK && json.Unmarshal(body, &metadata) == nil; ok {
			p.described.put(current, m.Name, metadata)
		}
	}
	var err error
	switch m.Form, err = newForm(metadata.Inputs); {
	case !ok:
		m.Unknown = "This model doesn't say at the moment what it takes. Write the request yourself, or try again later."
	case err != nil || len(metadata.Outputs) > maxTensors:
		m.Unknown = "What this model says of its inputs and outputs is more than a page can show. Write the request yourself."
	case len(m.Form.Inputs) == 0:
		m.Unknown = "This model doesn't say what it takes. Write the request yourself."
	}
	if m.Unknown != "" {
		m.Form, m.Request = &form{}, example
		return
	}
	m.fill(metadata)
}

// fill shows what the model says of itself.
func (m *modelView) fill(metadata embedded.Metadata) {
	m.Platform, m.classes = clip(metadata.Platform, maxName), map[string][]string{}
	for _, t := range metadata.Outputs {
		m.Outputs = append(m.Outputs, viewOf(t))
		m.classes[t.Name] = parametersOf(t).Classes
	}
	m.Request, _ = m.Form.request() // of zeros, which can be written
}

// described keeps for a moment what models said of themselves, so that each
// prediction is one request to a model's server. A new policy starts anew.
type described struct {
	mu     sync.Mutex
	policy *policy.Policy
	models map[string]saying
}

type saying struct {
	metadata embedded.Metadata
	at       time.Time
}

func (d *described) get(current *policy.Policy, name string) (embedded.Metadata, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	said, ok := d.models[name]
	return said.metadata, ok && d.policy == current && time.Since(said.at) < describedFor
}

func (d *described) put(current *policy.Policy, name string, metadata embedded.Metadata) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.policy != current {
		d.policy, d.models = current, map[string]saying{}
	}
	d.models[name] = saying{metadata, time.Now()}
}

// predict asks the model about what the form holds, and returns the status of
// the page.
func (p *Playground) predict(w http.ResponseWriter, r *http.Request, s *login.Session, m *modelView) int {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		m.Failure = "The request could not be read, or it is larger than 1 MiB. Send large ones by your own program."
		return http.StatusBadRequest
	}
	if r.PostForm.Has("request") {
		m.Edited, m.Request = true, strings.ReplaceAll(r.PostForm.Get("request"), "\r\n", "\n")
		var any json.RawMessage
		if err := json.Unmarshal([]byte(m.Request), &any); err != nil {
			m.Failure = "The request is not JSON: " + err.Error() + "."
			return http.StatusBadRequest
		}
	} else if err := m.readFields(r); err != nil {
		m.Failure = err.Error()
		return http.StatusBadRequest
	}
	status, body := p.Call(r, s, "infer", m.Name, []byte(m.Request))
	if status != http.StatusOK {
		var code refusal.Code
		m.Failure, code = failure(body)
		switch {
		case status != http.StatusUnauthorized || code != refusal.SignInTooWeak:
		case s.SteppedUp(m.Path):
			m.Failure += " You have just done that, and it did not help: tell the people who run this realm."
		default:
			m.StepUp = true
		}
		return status
	}
	m.Answer = readAnswer(body, m.classes)
	return http.StatusOK
}

// readFields makes the request of what the person typed. The error is a
// sentence for them.
func (m *modelView) readFields(r *http.Request) error {
	if !m.Form.Fields {
		return sentence("The model has no fields at the moment. Write the request as JSON.")
	}
	if err := m.Form.read(r.PostForm); err != nil {
		return err
	}
	request, err := m.Form.request()
	if err == nil {
		m.Request = request
	}
	return err
}

// failure is what a refusal says: the API's sentence, the model server's, or
// the body as it came; and the API's code, which is empty of a model server.
func failure(body []byte) (string, refusal.Code) {
	var refused struct {
		Error string       `json:"error"`
		Code  refusal.Code `json:"code"`
	}
	_ = json.Unmarshal(body, &refused)
	switch {
	case refused.Error != "":
		return clip(refused.Error, maxShownText), refused.Code
	case len(body) > 0:
		return "The model refused the request: " + clip(string(bytes.ToValidUTF8(body, []byte("\uFFFD"))), maxShownText), ""
	}
	return "The model did not answer. Try again later.", ""
}
