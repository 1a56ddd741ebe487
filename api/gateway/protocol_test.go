package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// echo is a protocol in which the body names the model, and refusals are text.
func echo() *protocol.Protocol {
	return &protocol.Protocol{
		Name:         "echo",
		Owns:         func(r *http.Request) bool { return protocol.Under(r.URL.Path, "/echo") },
		RequestTypes: []string{"application/json"},
		Refusal:      func(e *refusal.Error) (string, any) { return "application/echo", string(e.Code) },
		Routes: []protocol.Route{{
			Method: http.MethodPost, Path: "/echo/say", Action: "say",
			Read: func(body []byte) (*protocol.Request, error) {
				var sent struct{ Model string }
				if json.Unmarshal(body, &sent) != nil || sent.Model == "" {
					return nil, refusal.New(refusal.BadTensor, nil, "Name a model.")
				}
				return &protocol.Request{Model: sent.Model, For: func(protocol.Rules) ([]byte, error) { return body, nil }}, nil
			},
			Answer: func(c protocol.Call) (any, error) { return c.Model.Metadata.Name + " " + string(c.Body), nil },
		}},
	}
}

// A model that the body names is decided about as one in the path, and no body
// is read for who may call none.
func TestModelNamedByTheBody(t *testing.T) {
	f := newFixture(t)
	g := f.gateway
	g.protocols = append(g.protocols, echo())
	g.handler = g.routes()
	other := f.gateway.access.Load().models
	other["iris"].protocol, other["forbidden"].protocol = "echo", "echo"

	good, json := f.issuer.Token("RS256"), "application/json"
	norole := f.issuer.Token("RS256", oidctest.Claims{"realm_access": nil})
	untouched := iotest.ErrReader(errors.New("the body was read"))
	for _, test := range []struct {
		name, method, path, token, contentType string
		body                                   io.Reader
		status                                 int
		want, model                            string
	}{
		{"allowed", "POST", "/echo/say", good, json, strings.NewReader(`{"model":"iris"}`), 200, `"iris {\"model\":\"iris\"}"`, "iris"},
		{"of another role", "POST", "/echo/say", good, json, strings.NewReader(`{"model":"forbidden"}`), 404, `"model_unknown"`, "forbidden"},
		{"unknown", "POST", "/echo/say", good, json, strings.NewReader(`{"model":"nothing"}`), 404, `"model_unknown"`, "nothing"},
		{"none", "POST", "/echo/say", good, json, strings.NewReader(`{}`), 400, `"bad_tensor"`, ""},
		{"too large", "POST", "/echo/say", good, json, strings.NewReader(strings.Repeat(" ", maxBody+1)), 413, `"body_too_large"`, ""},
		{"another media type", "POST", "/echo/say", good, "text/plain", untouched, 415, `"media_type_unsupported"`, ""},
		{"another method", "GET", "/echo/say", good, json, untouched, 405, `"method_not_allowed"`, ""},
		{"no credential", "POST", "/echo/say", "", json, untouched, 401, `"no_credential"`, ""},
		{"no base role", "POST", "/echo/say", norole, json, untouched, 403, `"role_missing"`, ""},
		{"no such route", "POST", "/echo/other", good, json, untouched, 404, `"not_found"`, ""},
		{"a model of this protocol by another's path", "GET", "/v2/models/iris", good, "", untouched, 404, `"code":"model_unknown"`, "iris"},
		{"and in its list", "GET", "/v2/models", good, "", untouched, 200, `{"models":[]}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, test.path, test.body)
			if test.token != "" {
				r.Header.Set("Authorization", "Bearer "+test.token)
			}
			r.Header.Set("Content-Type", test.contentType)
			before, w := len(f.decisions(t)), httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, test.status, test.want)
			}
			if got := f.decisions(t)[before:]; len(got) != 1 || got[0]["model"] != test.model {
				t.Errorf("records %v", got)
			}
		})
	}
}

// once is a listener that gives one connection.
type once struct{ conns chan net.Conn }

func (l once) Accept() (net.Conn, error) {
	conn, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (l once) Close() error   { return nil }
func (l once) Addr() net.Addr { return &net.TCPAddr{} }

type slow struct{ takes time.Duration }

func (s slow) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(s.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), ContentLength: 2}, nil
}

// A caller may take so long for a body, and a model so long for an answer: the
// one bound does not end the other.
func TestDeadlinesOfARequest(t *testing.T) {
	for _, test := range []struct {
		name  string
		takes time.Duration // the model
		body  string
		want  string
	}{
		{"the model takes longer than a body may", 55 * time.Second, "{}", "200"},
		{"the model takes too long", 65 * time.Second, "{}", "504"},
		{"the body does not come", 0, "{", "408"},
	} {
		t.Run(test.name, func(t *testing.T) {
			issuer := oidctest.New("https://id.example/realms/example-realm")
			options := testOptions(issuer, io.Discard) // with a log that outlives the bubble
			synctest.Test(t, func(t *testing.T) {
				options.HTTPClient, options.UpstreamDeadlines = issuer.Client(), deadlines(time.Minute)
				p := options.Outputs.Policy
				p.Models = append(p.Models, policy.Model{Name: "slow", Allow: policy.Conditions{AllRoles: p.Models[0].Allow.AllRoles}, Upstream: &policy.Upstream{URL: "http://slow"}})
				g := newGateway(t, options)
				access, err := newAccess(p, deadlines(time.Minute), slow{test.takes}, nil)
				if err != nil {
					t.Fatal(err)
				}
				g.access.Store(access)
				synctest.Wait() // the keys are there

				conns := make(chan net.Conn, 1)
				server := &http.Server{Handler: g}
				go func() { _ = server.Serve(once{conns}) }()
				here, there := net.Pipe()
				conns <- there
				defer func() { close(conns); here.Close(); _ = server.Shutdown(t.Context()) }()
				go func() {
					_, _ = io.WriteString(here, "POST /v2/models/slow/infer HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"+
						"Authorization: Bearer "+issuer.Token("RS256")+"\r\n\r\n"+test.body)
				}()
				status := make([]byte, len("HTTP/1.1 200"))
				if _, err := io.ReadFull(here, status); err != nil || !strings.HasSuffix(string(status), test.want) {
					t.Errorf("got %q, %v, want %s", status, err, test.want)
				}
			})
		})
	}
}
