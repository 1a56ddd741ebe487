// Package oip is the Open Inference Protocol v2 (KServe's "predict protocol,
// version 2", HTTP/REST with JSON), without model versions and without the
// management of models.
package oip

import (
	"errors"
	"net/http"
	"runtime/debug"

	"keycloak-model-api/api/embedded"
	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

// Protocol returns the protocol.
func Protocol() *protocol.Protocol {
	return &protocol.Protocol{
		Name: policy.ProtocolOIP,
		Owns: func(r *http.Request) bool { return protocol.Under(r.URL.Path, "/v2") },
		Routes: []protocol.Route{
			{Method: http.MethodGet, Path: "/v2", Action: "server", Answer: server},
			{Method: http.MethodGet, Path: "/v2/models", Action: "list", Answer: list},
			{Method: http.MethodGet, Path: "/v2/models/{model}", Action: "metadata", Answer: metadata},
			{Method: http.MethodGet, Path: "/v2/models/{model}/ready", Action: "ready", Answer: ready},
			{Method: http.MethodPost, Path: "/v2/models/{model}/infer", Action: "infer", Answer: infer},
		},
		Live: "/v2/health/live", Ready: "/v2/health/ready",
		Refusal:      shape,
		RequestTypes: []string{"application/json", "application/octet-stream"}, // the second is the binary data extension
		// JSON, tensors in binary, a stream of events, and text for failures of what
		// a server is built on. None is a page, which a browser would show as one of ours.
		AnswerTypes: []string{"application/json", "application/octet-stream", "application/problem+json", "text/event-stream", "text/plain"},
		HeadersIn:   []string{"Inference-Header-Content-Length"},
		HeadersOut:  []string{"Inference-Header-Content-Length"},
	}
}

// shape is the protocol's error, with the code beside it.
func shape(e *refusal.Error) (mediaType string, body any) {
	return "application/json", struct {
		Error string       `json:"error"`
		Code  refusal.Code `json:"code"`
	}{e.Message, e.Code}
}

// server answers GET /v2: the server metadata.
func server(protocol.Call) (any, error) {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	return map[string]any{"name": "keycloak-model-api", "version": version, "extensions": []string{}}, nil
}

// list answers GET /v2/models with the models that the caller may call, which
// the protocol leaves to the server.
func list(c protocol.Call) (any, error) {
	type item struct {
		Name string `json:"name"`
	}
	models := []item{}
	for _, name := range c.Models {
		models = append(models, item{name})
	}
	return map[string]any{"models": models}, nil
}

func metadata(c protocol.Call) (any, error) { return c.Model.Metadata, nil }

func ready(c protocol.Call) (any, error) {
	return map[string]any{"name": c.Model.Metadata.Name, "ready": true}, nil
}

func infer(c protocol.Call) (any, error) {
	request, err := embedded.ParseRequest(c.Body)
	var response *embedded.Response
	if err == nil {
		response, err = c.Model.Infer(request)
	}
	var bad *embedded.Error
	if errors.As(err, &bad) {
		return nil, refusal.New(refusal.BadTensor, nil, bad.Message)
	}
	return response, err
}
