package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// modelServer is the server behind every gateway. It knows just as much of HTTP
// as gateways send, since it shares its CPU with the load.
//
// The answer is about as large as the request. A request that asks for a stream
// gets events, each of which says when it was sent.
type modelServer struct {
	net.Listener
	interval atomic.Int64              // ns between two events
	answers  map[string]map[int][]byte // by the first segment of the path and the size
}

// Sizes of the bodies.
const (
	small  = 1 << 10
	medium = 64 << 10
	large  = 1 << 20
)

// events of one stream.
const events = 200

func startModel() (*modelServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &modelServer{Listener: listener, answers: map[string]map[int][]byte{"/v1": {}, "/v2": {}}}
	for _, size := range []int{small, medium, large} {
		m.answers["/v1"][size] = jsonAnswer(chatAnswer, size)
		m.answers["/v2"][size] = jsonAnswer(inferAnswer, size)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go m.serve(conn)
		}
	}()
	return m, nil
}

func (m *modelServer) url() string { return "http://" + m.Addr().String() }

// The answers, of which %s makes up the size.
const (
	inferAnswer = `{"model_name":"iris","outputs":[{"name":"class","datatype":"BYTES","shape":[1],"data":["%s"]}]}`
	chatAnswer  = `{"id":"c","object":"chat.completion","created":1,"model":"chat","choices":[{"index":0,"message":{"role":"assistant","content":"%s"},` +
		`"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}`
	chatEvent = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"chat","choices":[{"index":0,"delta":{"content":"@%d@"},"finish_reason":null}]}` + "\n\n"
	lastEvent = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"chat","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":200,"total_tokens":209}}` +
		"\n\ndata: [DONE]\n\n"
)

// padded fills text up to a size.
func padded(text string, size int) string {
	return fmt.Sprintf(text, strings.Repeat("a", max(size-len(text), 0)))
}

func jsonAnswer(text string, size int) []byte {
	body := padded(text, size)
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// serve answers the requests of one connection, until it breaks off.
func (m *modelServer) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil || bytes.Count(line, []byte(" ")) != 2 {
			return
		}
		answers := m.answers[string(bytes.Fields(line)[1][:len("/v1")])]
		length := 0
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) <= len("\r\n") {
				break
			}
			if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
			}
		}
		head, _ := in.Peek(min(length, small))
		stream := bytes.Contains(head, []byte(`"stream":true`)) || bytes.Contains(head, []byte(`"stream": true`))
		if _, err := in.Discard(length); err != nil {
			return
		}
		switch {
		case stream:
			err = m.stream(conn)
		case length > medium*4:
			_, err = conn.Write(answers[large])
		case length > small*4:
			_, err = conn.Write(answers[medium])
		default:
			_, err = conn.Write(answers[small])
		}
		if err != nil {
			return
		}
	}
}

// stream sends the events of one answer.
func (m *modelServer) stream(w io.Writer) error {
	_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	var event, chunk []byte
	for range events {
		if err != nil {
			return err
		}
		time.Sleep(time.Duration(m.interval.Load()))
		event = fmt.Appendf(event[:0], chatEvent, time.Now().UnixNano())
		chunk = fmt.Appendf(chunk[:0], "%x\r\n%s\r\n", len(event), event)
		_, err = w.Write(chunk)
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "%x\r\n%s\r\n0\r\n\r\n", len(lastEvent), lastEvent)
	}
	return err
}
