package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// event is a request as AWS hands it over: of a function URL or an HTTP API of API
// Gateway (payload format 2.0), or of an Application Load Balancer.
type event struct {
	Version string `json:"version"` // 2.0, or empty for a load balancer

	// Of format 2.0. Values of a header that came several times are joined by commas.
	RawPath        string   `json:"rawPath"`
	RawQuery       string   `json:"rawQueryString"`
	Cookies        []string `json:"cookies"`
	RequestContext struct {
		HTTP struct {
			Method   string `json:"method"`
			SourceIP string `json:"sourceIp"`
		} `json:"http"`
		Balancer *struct{} `json:"elb"`
	} `json:"requestContext"`

	// Of a load balancer.
	Method      string              `json:"httpMethod"`
	Path        string              `json:"path"`
	Query       map[string]string   `json:"queryStringParameters"`
	Queries     map[string][]string `json:"multiValueQueryStringParameters"`
	MultiHeader map[string][]string `json:"multiValueHeaders"` // where the target group says so

	Header  map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Encoded bool              `json:"isBase64Encoded"`
}

// request returns the request of an event. Its path is as it came, since the API
// refuses what could be read in two ways.
func (e *event) request(ctx context.Context) (*http.Request, error) {
	method, path, query, address := e.RequestContext.HTTP.Method, e.RawPath, e.RawQuery, e.RequestContext.HTTP.SourceIP
	switch {
	case e.RequestContext.Balancer != nil:
		method, path, query, address = e.Method, e.Path, e.balancerQuery(), ""
	case e.Version != "2.0":
		return nil, errors.New("lambda: the event is neither of payload format 2.0 nor of a load balancer")
	}
	if method == "" || path == "" {
		return nil, errors.New("lambda: the event has no method or no path")
	}
	header := http.Header{}
	for name, value := range e.Header {
		header.Add(name, value)
	}
	if e.MultiHeader != nil {
		header = http.Header{}
		for name, values := range e.MultiHeader {
			header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if len(e.Cookies) > 0 {
		header.Set("Cookie", strings.Join(e.Cookies, "; "))
	}
	if address == "" { // the balancer writes the last one
		forwarded := header.Get("X-Forwarded-For")
		address = strings.TrimSpace(forwarded[strings.LastIndex(forwarded, ",")+1:])
	}
	body := []byte(e.Body)
	if e.Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(e.Body); err != nil {
			return nil, errors.New("lambda: the event's body is not base64")
		}
	}
	u := targetOf(path)
	u.RawQuery = query
	return (&http.Request{
		Method: method, URL: u, RequestURI: u.RequestURI(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Host: header.Get("Host"),
		Body: io.NopCloser(strings.NewReader(string(body))), ContentLength: int64(len(body)), RemoteAddr: net.JoinHostPort(cmp.Or(address, "0.0.0.0"), "0"),
	}).WithContext(ctx), nil
}

// targetOf is the URL of a path as it came. API Gateway may have unescaped it: then
// what would end a path is a character of it, which the API refuses.
func targetOf(path string) *url.URL {
	if u, err := url.ParseRequestURI(path); err == nil && u.Host == "" && u.Scheme == "" && !strings.ContainsAny(path, "?#") {
		return u
	}
	return &url.URL{Path: path}
}

// balancerQuery is the query of a load balancer's event, which does not unescape it.
func (e *event) balancerQuery() string {
	var pairs []string
	for name, value := range e.Query {
		pairs = append(pairs, name+"="+value)
	}
	for name, values := range e.Queries {
		for _, value := range values {
			pairs = append(pairs, name+"="+value)
		}
	}
	return strings.Join(pairs, "&")
}
