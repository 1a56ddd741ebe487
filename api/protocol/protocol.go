// Package protocol says what a protocol is in which programs call models. Each
// is a package below this one, and a line in the gateway's list.
package protocol

import (
	"io"
	"net/http"
	"strings"

	"keycloak-model-api/api/embedded"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

// Protocol is all that the gateway knows of one.
type Protocol struct {
	Name string // as the policy names it

	// Owns says whether a request is this protocol's, by its path, routed or not.
	// Refusals have its shape then.
	Owns   func(*http.Request) bool
	Routes []Route

	// Live and Ready are its public paths for probes. Empty for none.
	Live, Ready string

	// Refusal returns the body of a refusal, which becomes JSON, and its media type.
	Refusal func(*refusal.Error) (mediaType string, body any)

	// Event returns an event that tells of a failure, in an event stream that
	// breaks off. Nil where the protocol has none.
	Event func(*refusal.Error) []byte

	// Version is with what paths begin that a model server's URL may end with,
	// such as /v1: it is not doubled then. Empty for none.
	Version string

	// RequestTypes are the media types of requests, and AnswerTypes those that may
	// come back.
	RequestTypes, AnswerTypes []string

	// HeadersIn and HeadersOut go to a model server and come back from it, beside
	// those of HTTP itself, which package upstream lists.
	HeadersIn, HeadersOut []string

	// RateLimitHeaders says that its clients know x-ratelimit-*.
	RateLimitHeaders bool
}

// Route is one method at one path.
type Route struct {
	Method string // GET, which HEAD goes with, DELETE, or POST, which has a body
	Path   string // pattern of net/http; {model} or {model...} is where it names the model, {response} a response of one
	Action string // as the policy names it

	// Read reads a body that names its model, or that is judged as a whole. The
	// error is a *refusal.Error. Nil where there is nothing to read.
	Read func(body []byte) (*Request, error)

	// ReadForm reads a form up to the name of its model, which then is the request's
	// Rest. The error is a *refusal.Error. Nil where no form is taken.
	ReadForm func(contentType string, body io.Reader) (*Request, error)

	// Watch returns a body that is judged as it passes, whose errors then are
	// *refusal.Error, as that of Watch is. May be nil.
	Watch func(body io.Reader, header http.Header, rules *policy.Body) (io.Reader, error)

	// Metered says that an answer uses tokens. What it tells of them package usage
	// reads.
	Metered bool

	// Answer answers for the API, where there is no model, for a model that the
	// API holds, and for every model where the route is Local. The answer becomes
	// JSON, unless it is a *Binary. The error is a *refusal.Error, or one that the
	// caller isn't told. Nil where only a model server can.
	Answer func(Call) (any, error)
	Local  bool
}

// Request is what a body says.
type Request struct {
	Model string // empty where the path names it
	// For returns the body for the server of that model, which the caller may
	// call. The error is a *refusal.Error.
	For func(Rules) ([]byte, error)

	// Rest follows what For returns. Its errors are *refusal.Error. Nil for nothing.
	Rest io.Reader
	// Grows is by how many bytes what For returned is longer than what it was read of,
	// where a Rest follows.
	Grows int64

	// Keeps is true once For has let the model server keep the response.
	Keeps bool

	// HideUsage is true once For has asked for a stream's usage, which the caller
	// did not ask for.
	HideUsage bool
}

// Rules are what the policy says of the body of a request.
type Rules struct {
	Model     string       // what the server calls the model; empty where that is what the body says
	Body      *policy.Body // nil for none
	Principal string       // id of the caller, as policy.Body has it
	Metered   bool         // the usage must be told

	// Owns says whether a response of this id is the caller's, and of this model. Nil
	// where the model's server must keep none.
	Owns func(id string) bool
}

// Call is an allowed request to a route.
type Call struct {
	Models []Listed        // this protocol's models that the principal may see, in the policy's order
	Name   string          // of the model; empty where the route has none
	Model  *embedded.Model // nil where the route has none, or it runs elsewhere
	Header http.Header
	Body   []byte // of a POST
}

// Listed is one model in a list.
type Listed struct {
	Name  string
	Model *embedded.Model // nil if it runs elsewhere
}

// Binary is an answer that is not JSON.
type Binary struct {
	Header http.Header // Content-Type, and what else belongs to the body
	Body   []byte
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

// Under says whether a path is prefix, or below it.
func Under(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// For returns the path of a route for a model.
func (r *Route) For(model string) string { return strings.ReplaceAll(r.Path, "{model}", model) }

// Reads says whether the route reads its bodies before they go on.
func (r *Route) Reads() bool { return r.Read != nil || r.ReadForm != nil }

// HasBody says whether requests have a body.
func (r *Route) HasBody() bool { return r.Method == http.MethodPost }
