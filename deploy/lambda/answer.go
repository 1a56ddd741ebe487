package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
)

// reply is an answer that is held until its end.
type reply struct {
	Status      int                 `json:"statusCode"`
	Header      map[string]string   `json:"headers,omitempty"`
	MultiHeader map[string][]string `json:"multiValueHeaders,omitempty"`
	Cookies     []string            `json:"cookies,omitempty"`
	Body        string              `json:"body"`
	Encoded     bool                `json:"isBase64Encoded"`
}

// held returns the whole answer of api. One that breaks off is an error, for which
// AWS answers 502.
func held(api http.Handler, r *http.Request, multi bool) (out *reply, err error) {
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	defer func() {
		if broken := recover(); broken == http.ErrAbortHandler {
			out, err = nil, errors.New("lambda: the answer broke off")
		} else if broken != nil {
			panic(broken)
		}
	}()
	api.ServeHTTP(w, r)
	out = &reply{Status: w.status, Body: w.body.String()}
	if !utf8.Valid(w.body.Bytes()) {
		out.Body, out.Encoded = base64.StdEncoding.EncodeToString(w.body.Bytes()), true
	}
	if multi {
		out.MultiHeader = w.header
	} else {
		out.Header, out.Cookies = joined(w.header)
	}
	return out, nil
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(b []byte) (int, error) { return w.body.Write(b) }

// joined are headers with one value each; cookies can't be joined.
func joined(h http.Header) (one map[string]string, cookies []string) {
	one = map[string]string{}
	for name, values := range h {
		if name == "Set-Cookie" {
			cookies = values
			continue
		}
		one[name] = strings.Join(values, ", ")
	}
	return one, cookies
}

// streamed returns the answer of api as it comes. One that breaks off ends with an
// error, and not as if it were whole.
func streamed(api http.Handler, r *http.Request) *events.LambdaFunctionURLStreamingResponse {
	body, into := io.Pipe()
	w := &streamer{header: http.Header{}, into: into, begun: make(chan int, 1)}
	go func() {
		defer func() {
			broken := recover()
			w.begin(http.StatusInternalServerError) // unless it has begun
			if broken != nil {
				into.CloseWithError(fmt.Errorf("lambda: the answer broke off: %v", broken))
				return
			}
			into.Close()
		}()
		api.ServeHTTP(w, r)
		w.begin(http.StatusOK)
	}()
	status := <-w.begun
	header, cookies := joined(w.sent)
	return &events.LambdaFunctionURLStreamingResponse{StatusCode: status, Headers: header, Cookies: cookies, Body: body}
}

type streamer struct {
	header, sent http.Header
	into         *io.PipeWriter
	once         sync.Once
	begun        chan int
}

func (w *streamer) begin(status int) {
	w.once.Do(func() {
		w.sent = w.header.Clone()
		w.begun <- status
	})
}

func (w *streamer) Header() http.Header    { return w.header }
func (w *streamer) WriteHeader(status int) { w.begin(status) }
func (w *streamer) Flush()                 {} // each Write goes on at once

func (w *streamer) Write(b []byte) (int, error) {
	w.begin(http.StatusOK)
	return w.into.Write(b)
}
