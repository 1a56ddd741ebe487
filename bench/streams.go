package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// outcome is what a crowd of streams made of one gateway.
type outcome struct {
	gateway  string
	p50, p99 float64 // µs from the model server's write to the caller's read
	cpu      float64 // µs for each event
	memory   float64 // bytes for each open stream
}

// crowd opens streams through each gateway, one gateway after the other.
func (c *comparison) crowd(ctx context.Context, crowd crowd, s *site, running map[string]*program, tokens []string) error {
	s.model.interval.Store(int64(crowd.interval))
	for _, name := range c.names {
		// A process of its own, since one that has served much keeps memory.
		if running[name] == nil || !crowd.does(name) {
			continue
		}
		streaming := work{path: "/v1/chat/completions", body: `{"model":"chat","stream":true,"messages":[{"role":"user","content":"%s"}]}`, size: small}
		one := work{path: "/v1/chat/completions", body: chatBody, size: small}
		p, err := s.start(ctx, name, one.requests(name, tokens)[0])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		result, err := crowd.through(ctx, p, streaming.requests(name, tokens))
		if err := errors.Join(err, p.stop()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		result.gateway = name
		c.streams[crowd.name()] = append(c.streams[crowd.name()], result)
	}
	return nil
}

// through opens the streams and reads them to their ends.
func (c crowd) through(ctx context.Context, p *program, requests [][]byte) (outcome, error) {
	var result outcome
	before, err := p.usage(askUsage)
	if err != nil {
		return result, err
	}
	delays := make([][]float64, c.streams)
	var begun atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for i := range c.streams {
		conn, err := net.Dial("tcp", p.address)
		if err != nil {
			return result, err
		}
		defer conn.Close()
		if _, err := conn.Write(requests[i%len(requests)]); err != nil {
			return result, err
		}
		g.Go(func() (err error) {
			delays[i], err = read(conn, func() { begun.Add(1) })
			return err
		})
	}
	var open usage
	g.Go(func() (err error) {
		for begun.Load() < int64(c.streams) {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		time.Sleep(c.interval * events / 4) // all are under way
		open, err = p.usage(askUsage)
		return err
	})
	if err := g.Wait(); err != nil {
		return result, err
	}
	after, err := p.usage(askUsage)
	if err != nil {
		return result, err
	}
	all := slices.Concat(delays...)
	slices.Sort(all)
	if len(all) != c.streams*events {
		return result, fmt.Errorf("%d events came, want %d", len(all), c.streams*events)
	}
	result.p50, result.p99 = all[len(all)/2], all[len(all)*99/100]
	result.cpu = micro(after.CPU-before.CPU) / float64(len(all))
	result.memory = (float64(open.RSS) - float64(before.RSS)) / float64(c.streams)
	return result, nil
}

// read reads one stream to its end, and returns how long each event was on its way,
// in µs.
func read(conn net.Conn, begun func()) (delays []float64, err error) {
	answer, err := http.ReadResponse(bufio.NewReaderSize(conn, 2048), nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answer is %s, want 200", answer.Status)
	}
	delays = make([]float64, 0, events)
	in := bufio.NewReaderSize(answer.Body, 2048)
	for {
		line, err := in.ReadSlice('\n')
		now := time.Now().UnixNano()
		if errors.Is(err, io.EOF) {
			return delays, nil
		} else if err != nil {
			return nil, err
		}
		_, rest, ok := bytes.Cut(line, []byte("@"))
		if !ok {
			continue
		}
		sent, _, _ := bytes.Cut(rest, []byte("@"))
		at, err := strconv.ParseInt(string(sent), 10, 64)
		if err != nil {
			return nil, err
		}
		if len(delays) == 0 {
			begun()
		}
		delays = append(delays, micro(time.Duration(now-at)))
	}
}

// streamReport are the tables of the streams.
func (c *comparison) streamReport() (sections []section, reached []goal) {
	header := []string{"", "p50 µs", "p99 µs", "CPU µs/event", "KiB/open stream", "p50 of ReverseProxy", "p99 of ReverseProxy",
		"CPU of ReverseProxy", "memory of ReverseProxy"}
	for _, crowd := range c.crowds {
		s := section{
			heading: crowd.name(), header: header,
			text: "The times are from the model server's write of an event to the caller's read. The memory is what the gateway's " +
				"processes grew by.",
		}
		all := c.streams[crowd.name()]
		for _, o := range all {
			base := all[0]
			cells := []string{o.gateway}
			for _, v := range []float64{o.p50, o.p99, o.cpu, o.memory / 1024, o.p50 / base.p50, o.p99 / base.p99, o.cpu / base.cpu,
				o.memory / base.memory} {
				cells = append(cells, number(v))
			}
			s.rows = append(s.rows, cells)
			if o.gateway == ourGateway {
				name := thousands(crowd.streams) + " streams: "
				reached = append(reached,
					goal{name + "p50 of an event, of the plain proxy's", o.p50 / base.p50, false, 1, ""},
					goal{name + "memory of an open stream, of the plain proxy's", o.memory / base.memory, false, 1.2, ""})
			}
		}
		s.rows = append(s.rows, c.absent(len(header), crowd.does)...)
		sections = append(sections, s)
	}
	return sections, reached
}
