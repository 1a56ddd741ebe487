package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"keycloak-model-api/modelctl/session"
)

const (
	apiTimeout = 2 * time.Minute // a model may take its time
	maxBody    = 64 << 20        // bytes of a request or an answer
)

// client calls the API.
type client struct {
	api    string // URL without a slash at the end
	access *session.Access
	http   *http.Client
}

func newClient(api string, access *session.Access) *client {
	return &client{api: api, access: access, http: session.NewHTTP(apiTimeout)}
}

// model is a model's metadata (Open Inference Protocol v2).
type model struct {
	Name        string   `json:"name"`
	Platform    string   `json:"platform,omitempty"`
	Versions    []string `json:"versions,omitempty"`
	Inputs      []tensor `json:"inputs"`
	Outputs     []tensor `json:"outputs"`
	Unavailable bool     `json:"unavailable,omitempty"` // ours: the API can't reach its server
}

// tensor is a tensor's metadata, and its content in a request or an answer.
type tensor struct {
	Name     string `json:"name"`
	Datatype string `json:"datatype"`
	Shape    []int  `json:"shape"` // -1: any
	Data     any    `json:"data,omitempty"`
}

// issuer asks the API where to sign in (RFC 9728).
func (c *client) issuer(ctx context.Context) (string, error) {
	u, err := url.Parse(c.api)
	if err != nil {
		return "", err
	}
	u.Path = "/.well-known/oauth-protected-resource" + u.Path
	body, err := c.do(ctx, http.MethodGet, u.String(), nil)
	if e, ok := errors.AsType[*apiError](err); ok && e.Status != 0 && e.Status < 500 {
		return "", fmt.Errorf("%s does not say where to sign in: is -api right? Else name the issuer with -issuer", c.api)
	}
	if err != nil {
		return "", err
	}
	var metadata struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	if err := json.Unmarshal(body, &metadata); err != nil || len(metadata.Servers) == 0 {
		return "", fmt.Errorf("%s does not name its issuer: name it with -issuer", c.api)
	}
	// RFC 9728 section 3.3: metadata that speak for another resource are not used.
	if strings.TrimRight(metadata.Resource, "/") != c.api {
		return "", fmt.Errorf("the API at %s calls itself %q: use that as -api, or name the issuer with -issuer", c.api, metadata.Resource)
	}
	if err := session.CheckURL(metadata.Servers[0]); err != nil {
		return "", fmt.Errorf("the issuer that %s names: %w", c.api, err)
	}
	return metadata.Servers[0], nil
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
	var m model
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("the API's description of model %s: %w", name, err)
	}
	return &m, nil
}

func (c *client) infer(ctx context.Context, name string, request []byte) ([]byte, error) {
	return c.do(ctx, http.MethodPost, c.api+"/v2/models/"+url.PathEscape(name)+"/infer", request)
}

// do sends one request and returns the body of a 200. Any other answer is an
// *apiError.
func (c *client) do(ctx context.Context, method, target string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.access != nil {
		req.Header.Set("Authorization", "Bearer "+c.access.Token)
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
		return nil, &apiError{Status: resp.StatusCode, Message: message(data), RetryAfter: resp.Header.Get("Retry-After")}
	}
	if len(data) > maxBody {
		return nil, fmt.Errorf("the API's answer is larger than %d MiB: ask for less at once", maxBody>>20)
	}
	return data, nil
}

// message reads the sentence out of an error of the API: {"error": …} on the
// inference endpoints, else problem+json (RFC 9457).
func message(body []byte) string {
	var e struct {
		Error  string `json:"error"`
		Detail string `json:"detail"`
		Title  string `json:"title"`
	}
	_ = json.Unmarshal(body, &e) // an answer of another shape has no sentence for us
	for _, s := range []string{e.Error, e.Detail, e.Title} {
		if s != "" {
			return s
		}
	}
	return ""
}

// apiError is an answer of the API that is not 200, or none at all.
type apiError struct {
	Status     int    // HTTP status; 0: no answer
	Message    string // the API's sentence; may be empty
	RetryAfter string // the header
	cause      error  // why there is no answer
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
	case e.Status == http.StatusUnauthorized:
		return exitSignedOut, "Sign in again: modelctl login"
	case e.Status == http.StatusForbidden:
		return exitForbidden, "Your sign-in is fine, but a role is missing. modelctl whoami shows yours; ask for the one that you need, then sign in again."
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
