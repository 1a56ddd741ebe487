package gateway

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"os"
	"runtime/debug"
	"strings"

	"keycloak-model-api/api/model"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/upstream"
)

// live says that the process answers.
func (g *Gateway) live(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]bool{"live": true})
}

// ready says whether new requests are welcome and tokens can be verified.
func (g *Gateway) ready(w http.ResponseWriter, r *http.Request) {
	// Who only asks whether this is ready is told no: nothing was decided about a
	// principal, and each start would raise an alarm.
	defer func() { recordOf(r).code = "" }()
	if g.draining.Load() {
		refuse(w, r, refusal.New(refusal.ShuttingDown, nil))
		return
	}
	if err := g.verifier.Ready(); err != nil {
		refuse(w, r, refusal.New(refusal.KeysUnavailable, err))
		return
	}
	if err := g.options.Audit.Unready(); err != nil {
		refuse(w, r, refusal.New(refusal.AuditUnavailable, err))
		return
	}
	answer(w, readiness{Ready: true, LostRecords: g.options.Audit.Lost()})
}

// readiness is the answer of an API that is ready.
type readiness struct {
	Ready       bool   `json:"ready"`
	LostRecords uint64 `json:"lost_records,omitempty"` // lines of the log, audit records among them
}

func nothingHere(w http.ResponseWriter, r *http.Request, _ *call) {
	refuse(w, r, refusal.New(refusal.NotFound, nil))
}

// describeServer answers GET /v2: the server metadata of the protocol.
func (g *Gateway) describeServer(w http.ResponseWriter, _ *http.Request, _ *call) {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	answer(w, map[string]any{"name": "keycloak-model-api", "version": version, "extensions": []string{}})
}

// listModels answers GET /v2/models with the models that the caller may call,
// which the protocol leaves to the server.
func (g *Gateway) listModels(w http.ResponseWriter, _ *http.Request, c *call) {
	type item struct {
		Name string `json:"name"`
	}
	models := []item{}
	for _, m := range c.access.policy.Visible(c.principal.ForPolicy()) {
		models = append(models, item{m.Name})
	}
	answer(w, map[string]any{"models": models})
}

// describeModel answers GET /v2/models/{model}.
func (g *Gateway) describeModel(w http.ResponseWriter, r *http.Request, c *call) {
	if c.model.upstream != nil {
		forward(w, r, c, nil)
		return
	}
	answer(w, c.model.embedded.Metadata)
}

// modelReady answers GET /v2/models/{model}/ready.
func (g *Gateway) modelReady(w http.ResponseWriter, r *http.Request, c *call) {
	if c.model.upstream != nil {
		forward(w, r, c, nil)
		return
	}
	answer(w, map[string]any{"name": c.model.embedded.Metadata.Name, "ready": true})
}

// infer answers POST /v2/models/{model}/infer. The body is read whole before
// an upstream hears of it: a slow or too large one is refused here.
func (g *Gateway) infer(w http.ResponseWriter, r *http.Request, c *call) {
	accepted := []string{"application/json"}
	if c.model.upstream != nil {
		accepted = append(accepted, "application/octet-stream") // the binary data extension
	}
	// tritonclient, the protocol's own client, sends none. Pages of other sites
	// can do so without asking first, so never with a cookie (Fetch, "CORS-safelisted").
	untyped := len(r.Header["Content-Type"]) == 0 && !c.session
	if refused := checkContentType(r, accepted); refused != nil && !untyped {
		refuse(w, r, refused)
		return
	}
	if c.model.embedded != nil && r.Header.Get("Content-Encoding") != "" {
		refuse(w, r, refusal.New(refusal.EncodingUnsupported, nil))
		return
	}
	body, err := g.readBody(w, r)
	if err != nil {
		refuse(w, r, bodyRefusal(err))
		return
	}
	g.predict(w, r, c, body)
}

// predict lets the model answer a request whose body has been read.
func (g *Gateway) predict(w http.ResponseWriter, r *http.Request, c *call, body []byte) {
	if c.model.upstream != nil {
		forward(w, r, c, body)
		return
	}
	request, err := model.ParseRequest(body)
	var response *model.Response
	if err == nil {
		response, err = c.model.embedded.Infer(request)
	}
	var bad *model.Error
	switch {
	case errors.As(err, &bad):
		refuse(w, r, refusal.New(refusal.BadTensor, nil, bad.Message))
	case err != nil:
		refuse(w, r, refusal.New(refusal.Internal, err, "The model failed."))
	default:
		answer(w, response)
	}
}

// checkContentType demands one of the accepted media types.
func checkContentType(r *http.Request, accepted []string) *refusal.Error {
	mediaType, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	for _, a := range accepted {
		if err == nil && mediaType == a && len(r.Header["Content-Type"]) == 1 {
			if charset := parameters["charset"]; charset == "" || strings.EqualFold(charset, "utf-8") {
				return nil
			}
		}
	}
	return refusal.New(refusal.MediaTypeUnsupported, err, accepted[0])
}

// readBody returns the whole body of r, whose error bodyRefusal explains. A body
// that says that it is too large is not asked for: the first Read is what
// answers 100 Continue.
func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > g.options.MaxBody {
		return nil, &http.MaxBytesError{Limit: g.options.MaxBody}
	}
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), 64<<10)) + bytes.MinRead) // never more than little ahead of what came
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, g.options.MaxBody))
	return body.Bytes(), err
}

// bodyRefusal says why a body could not be read.
func bodyRefusal(err error) *refusal.Error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return refusal.New(refusal.BodyTooLarge, err, tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refusal.New(refusal.BodyTooSlow, err)
	}
	return refusal.New(refusal.BodyUnreadable, err)
}

// forward passes a request on to the model's server.
func forward(w http.ResponseWriter, r *http.Request, c *call, body []byte) {
	c.model.upstream.Forward(w, r, body, upstream.Identity{
		RequestID: recordOf(r).id,
		Issuer:    c.principal.Issuer,
		Subject:   c.principal.Subject,
		Client:    c.principal.ClientID,
	})
}
