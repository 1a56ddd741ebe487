package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// connections that are kept alive, each with one request under way.
const connections = 16

// readAtOnce is how many bytes of an answer a connection reads at once.
const readAtOnce = 16 << 10

// requestWith is one request as bytes: a client of net/http would cost more
// than the server that is to be measured.
func requestWith(token string) []byte {
	return []byte("GET /v2/models/iris HTTP/1.1\r\nHost: api.example\r\nAccept: application/json\r\nAuthorization: Bearer " +
		token + "\r\n\r\n")
}

// client is a set of open connections to one server.
type client struct{ connections []*connection }

type connection struct {
	net.Conn
	buffer []byte
	next   int // request to send next
}

func dial(address string, connections int) (*client, error) {
	c := &client{}
	for range connections {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			c.close()
			return nil, err
		}
		c.connections = append(c.connections, &connection{Conn: conn, buffer: make([]byte, readAtOnce)})
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
			for at := i; at < len(requests); at += len(c.connections) {
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
		conn.next = i * len(requests) / len(c.connections)
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

// roundTrip sends a request and reads its answer, which must be 200 and have a
// Content-Length.
func (c *connection) roundTrip(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	read, missing := 0, -1 // bytes of the head so far; those that are missing of the body
	for missing != 0 {
		n, err := c.Read(c.buffer[read:])
		if err != nil {
			return err
		}
		if missing > 0 {
			missing -= n
			continue
		}
		read += n
		head, body, ok := bytes.Cut(c.buffer[:read], []byte("\r\n\r\n"))
		if !ok && read < len(c.buffer) {
			continue
		}
		line, _, _ := bytes.Cut(head, []byte("\r\n"))
		if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("answer is %s, want 200", line)
		}
		length, err := contentLength(head)
		if err != nil || length < len(body) {
			return fmt.Errorf("answer has no Content-Length, or is longer: %w", err)
		}
		read, missing = 0, length-len(body)
	}
	return nil
}

// contentLength of the head of an answer.
func contentLength(head []byte) (int, error) {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if name, value, _ := bytes.Cut(line, []byte(": ")); bytes.EqualFold(name, []byte("Content-Length")) {
			return strconv.Atoi(string(value))
		}
	}
	return 0, errors.New("there is none")
}
