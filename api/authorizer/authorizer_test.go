package authorizer

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const secret = "a-secret-of-the-proxies"

// served is a handler behind a real server, and what its judge was asked last.
type served struct {
	*httptest.Server
	asked *http.Request
	body  string
	log   bytes.Buffer
}

// serve makes a judge say what answer does.
func serve(t *testing.T, answer http.HandlerFunc) *served {
	t.Helper()
	s := &served{}
	judge := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.asked, s.body = r, string(body)
		answer(w, r)
	}
	s.Server = httptest.NewUnstartedServer(New(Config{
		Judge: http.HandlerFunc(judge), MethodHeader: "X-Original-Method", TargetHeader: "X-Original-Uri",
		Secret: func() string { return secret }, Logger: slog.New(slog.NewTextHandler(&s.log, nil)),
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func says(status int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "said")
	}
}

func (s *served) ask(t *testing.T, path string, secrets ...string) int {
	t.Helper()
	s.asked = nil
	r, err := http.NewRequest("GET", s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header[HeaderSecret] = secrets
	response, err := http.DefaultTransport.RoundTrip(r) // follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// Only who shows the secret, once, may ask, and the log tells of others without it.
func TestSecret(t *testing.T) {
	s := serve(t, says(200))
	for _, row := range []struct {
		name    string
		secrets []string
		want    int
	}{
		{"the secret", []string{secret}, 200},
		{"none", nil, 403},
		{"an empty one", []string{""}, 403},
		{"another", []string{"another"}, 403},
		{"the beginning of it", []string{secret[:5]}, 403},
		{"a caller's beside the proxy's", []string{"another", secret}, 403},
		{"twice", []string{secret, secret}, 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := s.ask(t, "/authorize", row.secrets...); got != row.want || (s.asked != nil) != (row.want == 200) {
				t.Errorf("got %d, asked %v", got, s.asked != nil)
			}
			if s.asked != nil && s.asked.Header.Get(HeaderSecret) != "" {
				t.Error("the secret goes on")
			}
		})
	}
	if log := s.log.String(); strings.Count(log, "\n") != 1 || strings.Contains(log, "another-") || strings.Contains(log, secret) {
		t.Errorf("the log is %q", log)
	}
}

// Envoy adds the path of the request to the one that it asks at, which decides nothing.
func TestPaths(t *testing.T) {
	s := serve(t, says(404))
	for path, want := range map[string]int{
		"/authorize": 404, "/authorize/v2//models/../x?status=200": 404, "/authorize-nginx": 403,
	} {
		if got := s.ask(t, path, secret); got != want || s.asked == nil {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	for _, path := range []string{"/", "/authorized", "/healthz", "/authorize-nginx/x", "/envoy.service.auth.v3.Authorization/Check"} {
		if got := s.ask(t, path, secret); got != 404 || s.asked != nil {
			t.Errorf("%s: %d", path, got)
		}
	}
}

// What nginx would make 500 of is 403.
func TestStatusForNginx(t *testing.T) {
	for status, want := range map[int]int{200: 200, 204: 204, 301: 403, 400: 403, 401: 401, 403: 403, 404: 403, 429: 403, 503: 403} {
		if got := serve(t, says(status, "Location", "/x")).ask(t, "/authorize-nginx", secret); got != want {
			t.Errorf("%d becomes %d, want %d", status, got, want)
		}
	}
}

// check asks over gRPC.
func (s *served) check(t *testing.T, shown string, q *auth.CheckRequest) (*auth.CheckResponse, error) {
	t.Helper()
	connection, err := grpc.NewClient(s.Listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	ctx := t.Context()
	if shown != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, HeaderSecret, shown)
	}
	return auth.NewAuthorizationClient(connection).Check(ctx, q)
}

func question(body string, headers map[string]string) *auth.CheckRequest {
	return &auth.CheckRequest{Attributes: &auth.AttributeContext{
		Source: &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
			Address: "192.0.2.7", PortSpecifier: &core.SocketAddress_PortValue{PortValue: 4711},
		}}}},
		Request: &auth.AttributeContext_Request{Http: &auth.AttributeContext_HttpRequest{
			Method: "POST", Path: "/v1/chat/completions?a=b", Host: "api.example.com", RawBody: []byte(body), Headers: headers,
		}},
	}}
}

// The question over gRPC is the one that is asked over HTTP; what the caller wrote
// where proxies write is gone.
func TestQuestionOverGRPC(t *testing.T) {
	s := serve(t, says(200))
	_, err := s.check(t, secret, question(`{"model":"a"}`, map[string]string{
		":method": "POST", ":path": "/x", "authorization": "Bearer a,Bearer b", "x-original-method": "GET", "x-original-uri": "/x", "x-authorize-secret": secret, "content-length": "13",
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := http.Header{"Authorization": {"Bearer a,Bearer b"}, "Content-Length": {"13"}, "X-Original-Method": {"POST"}, "X-Original-Uri": {"/v1/chat/completions?a=b"}}
	for name := range s.asked.Header {
		if !slices.Equal(s.asked.Header[name], want[name]) {
			t.Errorf("%s: %q", name, s.asked.Header[name])
		}
	}
	if len(s.asked.Header) != len(want) || s.body != `{"model":"a"}` || s.asked.ContentLength != 13 || s.asked.RemoteAddr != "192.0.2.7:4711" {
		t.Errorf("body %q, length %d, from %s, headers %v", s.body, s.asked.ContentLength, s.asked.RemoteAddr, s.asked.Header)
	}
	if _, err := s.check(t, secret, question(`{"model":"a"}`, map[string]string{"content-length": "14"})); err != nil || s.body != "" || s.asked.ContentLength != 0 {
		t.Errorf("a body that is cut off: %q, %v", s.body, err)
	}
	if _, err := s.check(t, secret, &auth.CheckRequest{}); err != nil || s.asked.Header.Get("X-Original-Method") != "" || s.asked.RemoteAddr != "" {
		t.Errorf("an empty question: %v, %v", s.asked, err)
	}
}

func TestAnswersOverGRPC(t *testing.T) {
	s := serve(t, says(200, "X-Principal-Subject", "ada", "X-Request-Id", "1", "Ratelimit", "r", "Content-Security-Policy", "p"))
	got, err := s.check(t, secret, question("", nil))
	if err != nil {
		t.Fatal(err)
	}
	ok := got.GetOkResponse()
	if up := options(ok.GetHeaders()); got.GetStatus().GetCode() != 0 || up != "x-principal-subject=ada x-request-id=1" {
		t.Errorf("to the model server: %v", got)
	}
	if down := options(ok.GetResponseHeadersToAdd()); down != "ratelimit=r x-request-id=1" {
		t.Errorf("to the caller: %s", down)
	}
	for _, name := range []string{"authorization", "dpop", "x-api-key", "api-key", "cookie"} {
		if !slices.Contains(ok.GetHeadersToRemove(), name) {
			t.Errorf("%s goes to the model server", name)
		}
	}

	s = serve(t, says(401, "Www-Authenticate", "Bearer", "Www-Authenticate", "DPoP", "Connection", "close"))
	if got, err = s.check(t, secret, question("", nil)); err != nil {
		t.Fatal(err)
	}
	denied := got.GetDeniedResponse()
	if got.GetStatus().GetCode() != int32(codes.PermissionDenied) || denied.GetStatus().GetCode() != 401 || denied.GetBody() != "said" ||
		options(denied.GetHeaders()) != "www-authenticate=Bearer, DPoP" {
		t.Errorf("got %v", got)
	}
}

// A failure is an answer that Envoy takes for no, and not the end of the program.
func TestFailuresOverGRPC(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) { panic("a bug") })
	if _, err := s.check(t, secret, question("", nil)); status.Code(err) != codes.Internal {
		t.Errorf("got %v", err)
	}
	if _, err := s.check(t, "", question("", nil)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("without the secret: %v", err)
	}
}

// options are names and values in their order.
func options(all []*core.HeaderValueOption) string {
	var texts []string
	for _, o := range all {
		if o.GetAppendAction() != core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			return "a header is added to what the caller sent: " + o.String()
		}
		texts = append(texts, o.GetHeader().GetKey()+"="+o.GetHeader().GetValue())
	}
	slices.Sort(texts)
	return strings.Join(texts, " ")
}
