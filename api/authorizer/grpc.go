package authorizer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	envoytype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
)

// maxQuestion bounds a question over gRPC, in bytes: a body that names its model,
// and the headers.
const maxQuestion = 17 << 20

// newGRPC returns the gRPC service.
func newGRPC(c Config) http.Handler {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxQuestion))
	auth.RegisterAuthorizationServer(server, &service{config: c})
	return server
}

func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

type service struct {
	auth.UnimplementedAuthorizationServer
	config Config
}

// Check answers one question. What it can't understand is refused by the judge.
func (s *service) Check(ctx context.Context, q *auth.CheckRequest) (_ *auth.CheckResponse, err error) {
	defer func() { // as net/http does: package grpc would end the program
		if p := recover(); p != nil {
			s.config.Logger.Error("a question to the authorizer has failed", "panic", p, "stack", string(debug.Stack()))
			err = grpcstatus.Error(codes.Internal, "the question could not be answered")
		}
	}()
	w := &answer{header: http.Header{}, status: http.StatusOK}
	s.config.Judge.ServeHTTP(w, s.question(ctx, q))
	if w.status == http.StatusOK {
		return w.allowed(), nil
	}
	return w.denied(), nil
}

// question is q as a proxy asks over HTTP. Envoy joins the values of a header that
// came several times by commas.
func (s *service) question(ctx context.Context, q *auth.CheckRequest) *http.Request {
	about := q.GetAttributes().GetRequest().GetHttp()
	h := http.Header{}
	for name, value := range about.GetHeaders() {
		if !strings.HasPrefix(name, ":") {
			h.Add(name, value)
		}
	}
	body := about.GetRawBody()
	if len(body) == 0 {
		body = []byte(about.GetBody())
	}
	if length := h.Get("Content-Length"); length != "" && length != strconv.Itoa(len(body)) {
		body = nil // not all of it, so none
	}
	// Whatever the caller calls so is not what Envoy says.
	for _, name := range []string{HeaderSecret, s.config.MethodHeader, s.config.TargetHeader} {
		h.Del(name)
	}
	h.Set(s.config.MethodHeader, about.GetMethod())
	h.Set(s.config.TargetHeader, about.GetPath())
	return (&http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/authorize"}, Proto: "HTTP/2.0", ProtoMajor: 2, Host: about.GetHost(),
		Header: h, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), RemoteAddr: addressOf(q),
	}).WithContext(ctx)
}

// addressOf is the address that the request came from, as Envoy saw it; empty for none.
func addressOf(q *auth.CheckRequest) string {
	a := q.GetAttributes().GetSource().GetAddress().GetSocketAddress()
	if a == nil {
		return ""
	}
	return net.JoinHostPort(a.GetAddress(), fmt.Sprint(a.GetPortValue()))
}

// answer keeps what the judge says.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *answer) Header() http.Header         { return w.header }
func (w *answer) WriteHeader(status int)      { w.status = status }
func (w *answer) Write(b []byte) (int, error) { return w.body.Write(b) }

// credentials are what a model server never gets.
var credentials = []string{"authorization", "dpop", "x-api-key", "api-key", "cookie"}

// allowed lets Envoy pass the request on with who calls in place of what the caller
// said of itself, and tells the caller what is left of its limits.
func (w *answer) allowed() *auth.CheckResponse {
	ok := &auth.OkHttpResponse{HeadersToRemove: credentials}
	for name := range w.header {
		switch {
		case strings.HasPrefix(name, "X-Principal-"):
			ok.Headers = append(ok.Headers, w.option(name))
		case name == "X-Request-Id":
			ok.Headers = append(ok.Headers, w.option(name))
			ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, w.option(name))
		case strings.HasPrefix(name, "Ratelimit") || strings.HasPrefix(name, "X-Ratelimit-"):
			ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, w.option(name))
		}
	}
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(codes.OK)}, HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: ok},
	}
}

// denied has Envoy answer as the API would have.
func (w *answer) denied() *auth.CheckResponse {
	refused := &auth.DeniedHttpResponse{Status: &envoytype.HttpStatus{Code: envoytype.StatusCode(w.status)}, Body: w.body.String()}
	for name := range w.header {
		if name != "Connection" {
			refused.Headers = append(refused.Headers, w.option(name))
		}
	}
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)}, HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: refused},
	}
}

func (w *answer) option(name string) *core.HeaderValueOption {
	return &core.HeaderValueOption{
		Header:       &core.HeaderValue{Key: strings.ToLower(name), Value: strings.Join(w.header[name], ", ")},
		AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
