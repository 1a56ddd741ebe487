package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"keycloak-model-api/modelctl/session"
)

const (
	apiTimeout = 2 * time.Minute // a model may take its time
	maxBody    = 64 << 20        // bytes of a request or an answer
)

// client calls the API.
type client struct {
	api  string // URL without a slash at the end
	http *http.Client
}

// model is a model's metadata (Open Inference Protocol v2), or only its name
// while its model server is not available.
type model struct {
	Name     string         `json:"name"`
	Platform string         `json:"platform"`
	Versions []string       `json:"versions"`
	Inputs   []tensor       `json:"inputs"`
	Outputs  []tensor       `json:"outputs"`
	raw      jsontext.Value // all of it; nil while the model is not available
}

// MarshalJSON returns the metadata with every member that the model server gave.
func (m *model) MarshalJSON() ([]byte, error) {
	if m.raw == nil {
		return json.Marshal(map[string]any{"name": m.Name, "unavailable": true}, json.Deterministic(true))
	}
	return m.raw, nil
}

// tensor is a tensor's metadata, and its content in a request or an answer.
type tensor struct {
	Name     string         `json:"name"`
	Datatype string         `json:"datatype"`
	Shape    []int          `json:"shape"` // -1: any
	Data     jsontext.Value `json:"data,omitempty"`
}

// issuer asks the API where to sign in (RFC 9728).
func (c *client) issuer(ctx context.Context) (string, error) {
	target, err := metadataURL(c.api)
	if err != nil {
		return "", err
	}
	body, err := c.do(ctx, http.MethodGet, target, nil)
	if e, ok := errors.AsType[*apiError](err); ok && e.Status != 0 && e.Status < 500 {
		return "", fmt.Errorf("%s does not say where to sign in (%s answered %d): is -api right? Otherwise name the issuer with -issuer",
			c.api, target, e.Status)
	}
	if err != nil {
		return "", err
	}
	var metadata struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	if err := json.Unmarshal(body, &metadata); err != nil {
		return "", fmt.Errorf("the metadata at %s: %w", target, err)
	}
	if len(metadata.Servers) == 0 {
		return "", fmt.Errorf("%s does not name its issuer: name it with -issuer", c.api)
	}
	// RFC 9728 section 3.3: metadata that speak for another resource are not used.
	if strings.TrimRight(metadata.Resource, "/") != c.api {
		return "", fmt.Errorf("the API at %s calls itself %q: use that as -api if you trust it", c.api, metadata.Resource)
	}
	if err := session.CheckURL(metadata.Servers[0]); err != nil {
		return "", fmt.Errorf("the issuer that %s names: %w", c.api, err)
	}
	return metadata.Servers[0], nil
}

// metadataURL returns where an API's metadata are: the well-known path goes
// between the host and the API's own path (RFC 9728 section 3.1).
func metadataURL(api string) (string, error) {
	u, err := url.Parse(api)
	if err != nil {
		return "", err
	}
	path := u.EscapedPath()
	u.Path, u.RawPath = "", ""
	return u.String() + "/.well-known/oauth-protected-resource" + path, nil
}

func (c *client) models(ctx context.Context) ([]string, error) {
	body, err := c.do(ctx, http.MethodGet, c.api+"/v2/models", nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Models []struct {
			Name string `json:"name"`
		} `json:"models"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("the API's list of models: %w", err)
	}
	names := make([]string, len(list.Models))
	for i, m := range list.Models {
		names[i] = m.Name
	}
	return names, nil
}

func (c *client) model(ctx context.Context, name string) (*model, error) {
	body, err := c.do(ctx, http.MethodGet, c.api+"/v2/models/"+url.PathEscape(name), nil)
	if err != nil {
		return nil, err
	}
	m := model{raw: body}
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("the API's description of model %s: %w", name, err)
	}
	return &m, nil
}

func (c *client) infer(ctx context.Context, name string, request []byte) ([]byte, error) {
	return c.do(ctx, http.MethodPost, c.api+"/v2/models/"+url.PathEscape(name)+"/infer", request)
}

// do sends a request and returns the body of a 200. Any other answer is an
// *apiError. A request that is refused for one second, before any model had it,
// is sent once more: its token was made in the second of a logout, which may or
// may not be its own.
func (c *client) do(ctx context.Context, method, target string, body []byte) ([]byte, error) {
	data, err := c.send(ctx, method, target, body)
	e, ok := errors.AsType[*apiError](err)
	refused := ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusServiceUnavailable)
	if !refused || e.RetryAfter != "1" {
		return data, err
	}
	select {
	case <-time.After(time.Second):
		return c.send(ctx, method, target, body)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *client) send(ctx context.Context, method, target string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &apiError{cause: err}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, &apiError{cause: err}
	}
	if resp.StatusCode != http.StatusOK {
		refused := &apiError{
			Status: resp.StatusCode, Code: code(data), Message: message(resp.Header.Get("Content-Type"), data), RetryAfter: resp.Header.Get("Retry-After"),
			ProofRefused: strings.Contains(resp.Header.Get("WWW-Authenticate"), `error="invalid_dpop_proof"`),
		}
		if resp.StatusCode == http.StatusUnauthorized {
			refused.StepUp = session.ParseStepUp(resp.Header.Values("WWW-Authenticate"))
		}
		return nil, refused
	}
	if len(data) > maxBody {
		return nil, fmt.Errorf("the API's answer is larger than %d MiB: ask for less at once", maxBody>>20)
	}
	return data, nil
}

// maxMessage bounds what is shown of an error, in bytes.
const maxMessage = 2000

// message returns what an error says: the sentence of the API or of a model
// server ({"error": …}, or problem+json, RFC 9457), otherwise the whole body
// where it is JSON or plain text, such as a model server's list of mistakes.
func message(contentType string, body []byte) string {
	var members map[string]jsontext.Value
	if json.Unmarshal(body, &members) == nil {
		for _, name := range []string{"error", "detail", "title"} {
			var sentence string
			if json.Unmarshal(members[name], &sentence) == nil && sentence != "" {
				return sentence
			}
		}
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "text/plain" && mediaType != "application/json" && !strings.HasSuffix(mediaType, "+json") {
		return "" // a page is for a browser
	}
	text := strings.TrimSpace(string(body))
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

// code returns the code of the API's refusals.
func code(body []byte) string {
	var refused struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(body, &refused) // of another server it is none
	return refused.Code
}

// apiError is an answer of the API that is not 200, or none at all.
type apiError struct {
	Status       int    // HTTP status; 0: no answer
	Code         string // the API's; empty of another server
	Message      string // why, from the API or the model server; may be empty
	RetryAfter   string // the header
	ProofRefused bool   // the proof that the token is ours was refused (RFC 9449 section 7.1)
	cause        error  // why there is no answer

	StepUp *session.StepUp // the sign-in that the model asks for; nil for none
}

func (e *apiError) Error() string {
	switch {
	case e.Status == 0:
		return fmt.Sprintf("the API does not answer: %v", e.cause)
	case e.Message == "":
		return fmt.Sprintf("the API answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("the API answered %d: %s", e.Status, e.Message)
}

func (e *apiError) Unwrap() error { return e.cause }

// explain returns the exit status for e and what to do about it.
func (e *apiError) explain() (code int, advice string) {
	switch {
	case e.Status == 0:
		return exitUnavailable, "Is it running, and is -api right?"
	case e.ProofRefused:
		return exitSignedOut, "Is the clock of this computer right, and is -api the API's public URL?"
	case e.StepUp != nil:
		return exitSignedOut, "Your sign-in is as the model asks for, but the API doesn't see it: tell the people who run it."
	case e.Status == http.StatusUnauthorized:
		return exitSignedOut, "Sign in again: modelctl login"
	case slices.Contains([]string{"sign_in_untold", "service_account_refused", "offline_token_refused"}, e.Code):
		return exitForbidden, "" // the sentence says all
	case e.Status == http.StatusForbidden:
		return exitForbidden, "Your sign-in is fine, but a role is missing. modelctl whoami shows yours; " +
			"ask for the one that you need, then sign in again."
	case e.Status == http.StatusNotFound:
		return exitForbidden, "modelctl models lists the models that you may call."
	case e.Status == http.StatusTooManyRequests, e.Status >= 500:
		advice = "Try again in a moment."
		if _, err := strconv.Atoi(e.RetryAfter); err == nil { // it may be a date too (RFC 9110 section 10.2.3)
			advice = "Try again after " + e.RetryAfter + " seconds."
		}
		if e.Status >= 500 {
			return exitUnavailable, advice
		}
		return exitError, advice
	}
	return exitError, ""
}
