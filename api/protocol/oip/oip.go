// Package oip is the Open Inference Protocol v2 (KServe's "predict protocol,
// version 2", HTTP/REST with JSON), with the binary tensor data, the generate and the
// index of the model repository extensions of Triton. No route loads or unloads a model.
package oip

import (
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"

	"keycloak-model-api/api/embedded"
	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/protocol/body"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

// Protocol returns the protocol.
func Protocol() *protocol.Protocol {
	return &protocol.Protocol{
		Name: policy.ProtocolOIP,
		Owns: func(r *http.Request) bool { return protocol.Under(r.URL.Path, "/v2") },
		Routes: slices.Concat(
			[]protocol.Route{
				{Method: http.MethodGet, Path: "/v2", Action: "server", Answer: server},
				{Method: http.MethodGet, Path: "/v2/models", Action: "list", Answer: list},
				{Method: http.MethodPost, Path: "/v2/repository/index", Action: "index", Answer: index},
			},
			ofModel("/v2/models/{model}"),
			ofModel("/v2/models/{model}/versions/{version}"),
		),
		Live: "/v2/health/live", Ready: "/v2/health/ready",
		Refusal:      shape,
		Event:        event,
		RequestTypes: []string{"application/json", "application/octet-stream"}, // the second is the binary tensor data extension
		// JSON, tensors in binary, a stream of events, and text for failures of what
		// a server is built on. None is a page, which a browser would show as one of ours.
		AnswerTypes: []string{"application/json", "application/octet-stream", "application/problem+json", "text/event-stream", "text/plain"},
		HeadersIn:   []string{headerLengthName},
		HeadersOut:  []string{headerLengthName},
	}
}

// ofModel returns the routes below the path of a model, or of a version of it.
func ofModel(path string) []protocol.Route {
	return []protocol.Route{
		{Method: http.MethodGet, Path: path, Action: "metadata", Answer: metadata},
		{Method: http.MethodGet, Path: path + "/ready", Action: "ready", Answer: ready},
		{Method: http.MethodPost, Path: path + "/infer", Action: "infer", Watch: noSharedMemory, Answer: infer},
		{Method: http.MethodPost, Path: path + "/generate", Action: "generate", Read: readGenerate, Metered: true},
		{Method: http.MethodPost, Path: path + "/generate_stream", Action: "generate", Read: readGenerate, Metered: true},
	}
}

// shape is the protocol's error, with the code beside it.
func shape(e *refusal.Error) (mediaType string, body any) {
	return "application/json", struct {
		Error string       `json:"error"`
		Code  refusal.Code `json:"code"`
	}{e.Message, e.Code}
}

// event is how a stream of generate_stream tells of a failure.
func event(e *refusal.Error) []byte {
	_, body := shape(e)
	text, _ := json.Marshal(body) // of texts
	return slices.Concat([]byte("data: "), text, []byte("\n\n"))
}

// server answers GET /v2: the server metadata.
func server(protocol.Call) (any, error) {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	return map[string]any{"name": "keycloak-model-api", "version": version, "extensions": []string{"binary_tensor_data"}}, nil
}

// list answers GET /v2/models with the models that the caller may call, which
// the protocol leaves to the server.
func list(c protocol.Call) (any, error) {
	type item struct {
		Name string `json:"name"`
	}
	models := []item{}
	for _, m := range c.Models {
		models = append(models, item{m.Name})
	}
	return map[string]any{"models": models}, nil
}

// index answers POST /v2/repository/index, as MLServer and Triton do, with the models
// that list has. How those are that run elsewhere only their servers know, so that
// none is left out where the caller asks for those that are ready.
func index(c protocol.Call) (any, error) {
	if len(c.Body) > 0 {
		b, err := body.ReadObject(c.Body)
		if err != nil {
			return nil, err
		}
		if ready := b.Value("ready"); ready != nil && !slices.Contains([]string{"true", "false", "null"}, string(ready)) {
			return nil, body.Malformed("The member ready must be true or false.")
		}
	}
	type item struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
		State   string `json:"state"`
		Reason  string `json:"reason"`
	}
	models := []item{}
	for _, m := range c.Models {
		if m.Model == nil {
			models = append(models, item{Name: m.Name, State: "UNKNOWN"})
			continue
		}
		for _, version := range m.Model.Metadata.Versions {
			models = append(models, item{Name: m.Name, Version: version, State: "READY"})
		}
	}
	return models, nil
}

// readGenerate reads a request for text. Its members, and those of parameters, become
// inputs and parameters of the model.
func readGenerate(raw []byte) (*protocol.Request, error) {
	b, err := body.ReadObject(raw)
	if err != nil {
		return nil, err
	}
	return &protocol.Request{For: func(rules protocol.Rules) ([]byte, error) {
		if err := b.Check(rules.Body); err != nil {
			return nil, err
		}
		if parameters, err := body.Object(b.Value("parameters")); err == nil {
			if err := parameters.Check(rules.Body); err != nil {
				return nil, err
			}
		}
		return raw, nil
	}}, nil
}

func metadata(c protocol.Call) (any, error) { return c.Model.Metadata, nil }

func ready(c protocol.Call) (any, error) {
	return map[string]any{"name": c.Model.Metadata.Name, "ready": true}, nil
}

func infer(c protocol.Call) (any, error) {
	answer, err := inferred(c)
	var bad *embedded.Error
	if errors.As(err, &bad) {
		return nil, refusal.New(refusal.BadTensor, nil, bad.Message)
	}
	return answer, err
}

func inferred(c protocol.Call) (any, error) {
	length, err := headerLength(c.Header)
	switch {
	case err != nil:
		return nil, err
	case length > int64(len(c.Body)):
		return nil, body.Malformed("The body is shorter than its " + headerLengthName + ".")
	case length < 0:
		length = int64(len(c.Body))
	}
	request, err := embedded.ParseRequest(c.Body[:length], c.Body[length:])
	if err != nil {
		return nil, err
	}
	response, err := c.Model.Infer(request)
	if err != nil {
		return nil, err
	}
	text, binary, err := response.Encode(request)
	if binary == nil || err != nil {
		return response, err
	}
	return &protocol.Binary{
		Header: http.Header{"Content-Type": {"application/octet-stream"}, headerLengthName: {strconv.Itoa(len(text))}},
		Body:   append(text, binary...),
	}, nil
}
