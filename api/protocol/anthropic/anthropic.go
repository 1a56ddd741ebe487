// Package anthropic is Anthropic's HTTP API, as far as models are called by it:
// messages, the count of their tokens, and the list of models. Source: Anthropic's
// API reference, version 2023-06-01, and what the official clients send.
package anthropic

import (
	"encoding/json"
	"net/http"
	"slices"

	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/protocol/body"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

// Protocol returns the protocol.
func Protocol() *protocol.Protocol {
	return &protocol.Protocol{
		Name: policy.ProtocolAnthropic,
		Owns: owns,
		Routes: []protocol.Route{
			{Method: http.MethodGet, Path: "/v1/models", Action: "list", Answer: list},
			{Method: http.MethodGet, Path: "/v1/models/{model...}", Action: "metadata", Answer: metadata, Local: true},
			{Method: http.MethodPost, Path: "/v1/messages", Action: "messages", Read: body.Request, Metered: true},
			{Method: http.MethodPost, Path: "/v1/messages/count_tokens", Action: "count_tokens", Read: body.Request},
		},
		Refusal:      shape,
		Event:        event,
		Version:      "/v1",
		RequestTypes: []string{"application/json"},
		AnswerTypes:  []string{"application/json", "application/problem+json", "text/event-stream", "text/plain"},
		HeadersIn:    []string{"Anthropic-Version", "Anthropic-Beta"},
		HeadersOut:   []string{"Request-Id", "Retry-After-Ms", "X-Should-Retry"},
	}
}

// owns tells by the path, and where OpenAI's API has the same one by the header
// that each of Anthropic's clients sends.
func owns(r *http.Request) bool {
	return protocol.Under(r.URL.Path, "/v1/messages") ||
		protocol.Under(r.URL.Path, "/v1/models") && len(r.Header["Anthropic-Version"]) > 0
}

// problem is the error of Anthropic's API, with our code, which is stable.
type problem struct {
	Type  string `json:"type"` // error
	Error struct {
		Type    string       `json:"type"`
		Message string       `json:"message"`
		Code    refusal.Code `json:"code"`
	} `json:"error"`
}

func problemOf(e *refusal.Error) problem {
	p := problem{Type: "error"}
	p.Error.Message, p.Error.Code = e.Message, e.Code
	switch {
	case e.Status == http.StatusUnauthorized:
		p.Error.Type = "authentication_error"
	case e.Status == http.StatusForbidden:
		p.Error.Type = "permission_error"
	case e.Status == http.StatusNotFound:
		p.Error.Type = "not_found_error"
	case e.Status == http.StatusRequestEntityTooLarge:
		p.Error.Type = "request_too_large"
	case e.Status == http.StatusTooManyRequests:
		p.Error.Type = "rate_limit_error"
	case e.Status == http.StatusServiceUnavailable:
		p.Error.Type = "overloaded_error"
	case e.Status == http.StatusGatewayTimeout:
		p.Error.Type = "timeout_error"
	case e.Status >= 500:
		p.Error.Type = "api_error"
	default:
		p.Error.Type = "invalid_request_error"
	}
	return p
}

func shape(e *refusal.Error) (mediaType string, body any) { return "application/json", problemOf(e) }

// event is the error event of a stream.
func event(e *refusal.Error) []byte {
	text, _ := json.Marshal(problemOf(e)) // of texts
	return slices.Concat([]byte("event: error\ndata: "), text, []byte("\n\n"))
}

// model is one model in the list. When it was made nobody here knows, for which
// the reference has the beginning of time.
type model struct {
	Type        string `json:"type"`
	ID          string `json:"id"`
	DisplayName string `json:"display_name"`
	CreatedAt   string `json:"created_at"`
}

func modelOf(name string) model { return model{"model", name, name, "1970-01-01T00:00:00Z"} }

func list(c protocol.Call) (any, error) {
	page := struct {
		Data    []model `json:"data"`
		HasMore bool    `json:"has_more"`
		FirstID *string `json:"first_id"`
		LastID  *string `json:"last_id"`
	}{Data: []model{}}
	for _, m := range c.Models {
		page.Data = append(page.Data, modelOf(m.Name))
	}
	if n := len(page.Data); n > 0 {
		page.FirstID, page.LastID = &page.Data[0].ID, &page.Data[n-1].ID
	}
	return page, nil
}

func metadata(c protocol.Call) (any, error) { return modelOf(c.Name), nil }
