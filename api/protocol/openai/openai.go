// Package openai is OpenAI's HTTP API, as far as models are called by it: chat
// completions, completions, embeddings, responses, transcriptions, and the list of models. Sources: OpenAI's OpenAPI document (openai/openai-openapi) and
// what the official clients send.
package openai

import (
	"encoding/json"
	"net/http"
	"slices"

	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/protocol/body"
	"keycloak-model-api/api/protocol/form"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

// Protocol returns the protocol.
func Protocol() *protocol.Protocol {
	return &protocol.Protocol{
		Name: policy.ProtocolOpenAI,
		Owns: func(r *http.Request) bool { return protocol.Under(r.URL.Path, "/v1") },
		Routes: []protocol.Route{
			{Method: http.MethodGet, Path: "/v1/models", Action: "list", Answer: list},
			{Method: http.MethodGet, Path: "/v1/models/{model...}", Action: "metadata", Answer: metadata, Local: true},
			{Method: http.MethodPost, Path: "/v1/chat/completions", Action: "chat", Read: readTelling, Metered: true},
			{Method: http.MethodPost, Path: "/v1/completions", Action: "completions", Read: readTelling, Metered: true},
			{Method: http.MethodPost, Path: "/v1/embeddings", Action: "embeddings", Read: body.Request, Metered: true},
			{Method: http.MethodPost, Path: "/v1/responses", Action: "responses", Read: readResponse, Metered: true},
			{Method: http.MethodGet, Path: "/v1/responses/{response}", Action: "responses"},
			{Method: http.MethodDelete, Path: "/v1/responses/{response}", Action: "responses"},
			{Method: http.MethodPost, Path: "/v1/audio/transcriptions", Action: "transcriptions", ReadForm: form.Read, Metered: true},
		},
		Refusal:      shape,
		Event:        event,
		Version:      "/v1",
		RequestTypes: []string{"application/json"},
		AnswerTypes:  []string{"application/json", "application/problem+json", "text/event-stream", "text/plain"},
		// OpenAI-Organization and OpenAI-Project choose who pays, and X-Stainless-*
		// tell of the caller's computer: none passes.
		HeadersIn:        []string{"Openai-Beta"},
		HeadersOut:       []string{"Openai-Processing-Ms", "Openai-Version", "Retry-After-Ms", "X-Should-Retry"},
		RateLimitHeaders: true,
	}
}

// shape is the error of OpenAI's API. Its code is ours, which is stable.
func shape(e *refusal.Error) (mediaType string, body any) {
	type problem struct {
		Message string       `json:"message"`
		Type    string       `json:"type"`
		Param   *string      `json:"param"`
		Code    refusal.Code `json:"code"`
	}
	p := problem{Message: e.Message, Type: "invalid_request_error", Code: e.Code}
	switch {
	case e.Status == http.StatusUnauthorized:
		p.Type = "authentication_error"
	case e.Status == http.StatusForbidden:
		p.Type = "permission_error"
	case e.Status == http.StatusTooManyRequests:
		p.Type = "rate_limit_error"
	case e.Status >= 500:
		p.Type = "server_error"
	}
	if e.Code == refusal.ModelUnknown {
		model := "model"
		p.Param = &model
	}
	return "application/json", map[string]any{"error": p}
}

// event is how an event stream tells of a failure: the clients raise it
// (openai-python, _streaming.py).
func event(e *refusal.Error) []byte {
	_, body := shape(e)
	text, _ := json.Marshal(body) // of texts
	return slices.Concat([]byte("data: "), text, []byte("\n\n"))
}

// model is one model in the list. When it was made nobody here knows.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int    `json:"created"` // Unix time
	OwnedBy string `json:"owned_by"`
}

func modelOf(name string) model { return model{name, "model", 0, "keycloak-model-api"} }

func list(c protocol.Call) (any, error) {
	models := []model{}
	for _, m := range c.Models {
		models = append(models, modelOf(m.Name))
	}
	return map[string]any{"object": "list", "data": models}, nil
}

func metadata(c protocol.Call) (any, error) { return modelOf(c.Name), nil }

func readResponse(raw []byte) (*protocol.Request, error) { return body.RequestThat(raw, owned) }

func readTelling(raw []byte) (*protocol.Request, error) { return body.RequestThat(raw, tellUsage) }

// tellUsage asks for the usage of a stream, which is told only then
// (stream_options.include_usage).
func tellUsage(request *protocol.Request, b *body.Body, rules protocol.Rules) error {
	if !rules.Metered || string(b.Value("stream")) != "true" {
		return nil
	}
	if options, err := body.Object(b.Value("stream_options")); err == nil && string(options.Value("include_usage")) == "true" {
		return nil
	}
	request.HideUsage = true
	b.SetIn("stream_options", "include_usage", []byte("true"))
	return nil
}

// owned keeps a response from being stored with the model server, where each
// caller's would be all callers', unless it is known whose each is. Then one can be
// continued by its owner.
func owned(request *protocol.Request, b *body.Body, rules protocol.Rules) error {
	for _, name := range []string{"previous_response_id", "conversation"} {
		v := b.Value(name)
		switch {
		case v == nil || v.Kind() == 'n':
		case rules.Owns == nil:
			return refusal.New(refusal.StateRefused, nil, name)
		case name == "conversation", v.Kind() != '"', !rules.Owns(body.Text(v)): // no conversation is made through this API
			return refusal.New(refusal.ResponseUnknown, nil)
		}
	}
	if rules.Owns == nil {
		b.Set("store", []byte("false"))
	} else {
		request.Keeps = string(b.Value("store")) != "false"
	}
	return nil
}
