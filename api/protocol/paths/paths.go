// Package paths is for model servers with an HTTP API of their own, such as
// MLflow's /invocations: the policy lists for each model what may be called.
package paths

import (
	"net/http"
	"strings"

	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

// Protocol returns the protocol.
func Protocol() *protocol.Protocol {
	const path = "/models/{model}/{path...}"
	return &protocol.Protocol{
		Name: policy.ProtocolPaths,
		Owns: owns,
		Routes: []protocol.Route{
			{Method: http.MethodPost, Path: path, Action: "infer"},
			{Method: http.MethodGet, Path: path, Action: "infer"},
		},
		Refusal: shape,
		RequestTypes: []string{
			"application/json", "application/octet-stream", "text/csv", "text/plain", "multipart/form-data", "image/jpeg", "image/png",
		},
		AnswerTypes: []string{
			"application/json", "application/octet-stream", "application/problem+json", "text/csv", "text/event-stream", "text/plain",
		},
	}
}

// owns tells what is below a model. /models/NAME itself is a page for people.
func owns(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, "/models/")
	return ok && strings.Contains(rest, "/")
}

// shape is problem details (RFC 9457), since every server has its own.
func shape(e *refusal.Error) (mediaType string, body any) {
	return "application/problem+json", e.Problem()
}
