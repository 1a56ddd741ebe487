// Package protocol says what a protocol is in which programs call models. Each
// is a package below this one, and a line in the gateway's list.
package protocol

import (
	"net/http"
	"strings"

	"keycloak-model-api/api/embedded"
	"keycloak-model-api/api/refusal"
)

// Protocol is all that the gateway knows of one.
type Protocol struct {
	Name string // as the policy names it

	// Owns says whether a path is this protocol's, routed or not. Refusals there
	// have its shape.
	Owns   func(path string) bool
	Routes []Route

	// Live and Ready are its public paths for probes. Empty for none.
	Live, Ready string

	// Refusal returns the body of a refusal, which becomes JSON, and its media type.
	Refusal func(*refusal.Error) (mediaType string, body any)

	// RequestTypes are the media types that a model server takes; a model that the
	// API holds takes the first. AnswerTypes are those that may come back.
	RequestTypes, AnswerTypes []string

	// HeadersIn and HeadersOut go to a model server and come back from it, beside
	// those of HTTP itself, which package upstream lists.
	HeadersIn, HeadersOut []string
}

// Route is one method at one path.
type Route struct {
	Method string // GET, which HEAD goes with, or POST, which has a body
	Path   string // pattern of net/http; {model} is where it names the model
	Action string // as the policy names it

	// ModelOf returns the name of the model that a body names. The error is a
	// *refusal.Error. Nil where the path names the model or the route has none.
	ModelOf func(body []byte) (string, error)

	// Answer answers for the API, where there is no model, and for a model that
	// the API holds. The answer becomes JSON. The error is a *refusal.Error, or
	// one that the caller isn't told.
	Answer func(Call) (any, error)
}

// Call is an allowed request to a route.
type Call struct {
	Models []string        // names of this protocol's models that the principal may see, in the policy's order
	Model  *embedded.Model // nil where the route has none
	Body   []byte          // of a POST
}

// Route returns the route of an action, which the protocol must have.
func (p *Protocol) Route(action string) *Route {
	for i := range p.Routes {
		if p.Routes[i].Action == action {
			return &p.Routes[i]
		}
	}
	panic("protocol: " + p.Name + " has no action " + action)
}

// For returns the path of a route for a model.
func (r *Route) For(model string) string { return strings.ReplaceAll(r.Path, "{model}", model) }

// HasBody says whether requests have a body.
func (r *Route) HasBody() bool { return r.Method == http.MethodPost }
