package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// connections that are kept alive, each with one request under way.
const connections = 16

// requestWith is one request as bytes: a client of net/http would cost more
// than the server that is to be measured.
func requestWith(token string) []byte {
	return []byte("GET /v2/models/iris HTTP/1.1\r\nHost: api.example\r\nAccept: application/json\r\nAuthorization: Bearer " + token + "\r\n\r\n")
}

// client is a set of open connections to one server.
type client struct{ connections []*connection }

type connection struct {
	net.Conn
	buffer []byte
	next   int // request to send next
}

func dial(address string) (*client, error) {
	c := &client{}
	for range connections {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			c.close()
			return nil, err
		}
		c.connections = append(c.connections, &connection{Conn: conn, buffer: make([]byte, 4096)})
	}
	return c, nil
}

func (c *client) close() {
	for _, conn := range c.connections {
		conn.Close()
	}
}

// once sends each request once.
func (c *client) once(ctx context.Context, requests [][]byte) error {
	var g errgroup.Group
	for i, conn := range c.connections {
		g.Go(func() error {
			for at := i; at < len(requests); at += connections {
				if err := conn.roundTrip(requests[at]); err != nil {
					return err
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// run sends requests for a time, in turn, on all connections, and returns how
// long each took, sorted, and how long all took.
func (c *client) run(ctx context.Context, requests [][]byte, d time.Duration) ([]time.Duration, time.Duration, error) {
	latencies := make([][]time.Duration, len(c.connections))
	var g errgroup.Group
	start := time.Now()
	for i, conn := range c.connections {
		conn.next = i * len(requests) / connections
		g.Go(func() error {
			for before := start; before.Sub(start) < d; {
				if err := conn.roundTrip(requests[conn.next]); err != nil {
					return err
				}
				if conn.next++; conn.next == len(requests) {
					conn.next = 0
				}
				after := time.Now()
				latencies[i] = append(latencies[i], after.Sub(before))
				before = after
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	took := time.Since(start)
	all := slices.Concat(latencies...)
	slices.Sort(all)
	return all, took, nil
}

// roundTrip sends a request and reads its answer, which must be 200.
func (c *connection) roundTrip(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	for read := 0; ; {
		n, err := c.Read(c.buffer[read:])
		if err != nil {
			return err
		}
		read += n
		if complete(c.buffer[:read]) {
			if !bytes.HasPrefix(c.buffer, []byte("HTTP/1.1 200 ")) {
				line, _, _ := bytes.Cut(c.buffer[:read], []byte("\r\n"))
				return fmt.Errorf("answer is %s, want 200", line)
			}
			return nil
		}
		if read == len(c.buffer) {
			return fmt.Errorf("answer is longer than %d bytes", read)
		}
	}
}

// complete tells whether text is a whole answer with Content-Length.
func complete(text []byte) bool {
	head, body, ok := bytes.Cut(text, []byte("\r\n\r\n"))
	if !ok {
		return false
	}
	const name = "\r\nContent-Length: "
	i := bytes.Index(head, []byte(name))
	if i < 0 {
		return false
	}
	value, _, _ := bytes.Cut(head[i+len(name):], []byte("\r\n"))
	length, err := strconv.Atoi(string(value))
	return err == nil && len(body) >= length
}
