package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"time"
)

// usage is what a server's process has used since its start.
type usage struct {
	CPU     time.Duration
	Mallocs uint64
	Heap    uint64 // bytes of live and dead objects
	RSS     uint64 // bytes
}

// What the parent may ask a server for, a line each.
const (
	askUsage   = "usage"
	askCollect = "collect" // usage after a garbage collection
)

// serve is the process of one contender. It prints its address, then its usage
// for each line that it reads, and ends with its standard input.
func serve(ctx context.Context, o options, stdin io.Reader, stdout io.Writer) error {
	pin(0)
	p, err := contender(ctx, o.serve, o.issuer, o.algorithm)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: p.protect(http.HandlerFunc(answer)), ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()

	out := json.NewEncoder(stdout)
	if err := out.Encode(listener.Addr().String()); err != nil {
		return err
	}
	for lines := bufio.NewScanner(stdin); lines.Scan(); {
		if lines.Text() == askCollect {
			debug.FreeOSMemory()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if err := out.Encode(usage{cpuTime(false), m.Mallocs, m.HeapAlloc, residentBytes()}); err != nil {
			return err
		}
	}
	if err := errors.Join(server.Close(), <-ended); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answer is the handler behind every contender: a short JSON answer, as a model
// server's is.
func answer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"model_name":"iris","outputs":[{"name":"class","datatype":"INT64","shape":[1],"data":[0]}]}`)
}

// process is a server that runs.
type process struct {
	address string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers *json.Decoder
}

// start starts the server of one contender. It ends with ctx or stop.
func start(ctx context.Context, contender, issuer, algorithm string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self, "-serve", contender, "-issuer", issuer, "-algorithm", algorithm)}
	p.cmd.Env = append(os.Environ(), serveVariable+"=1")
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.answers = json.NewDecoder(stdout)
	if err := p.answers.Decode(&p.address); err != nil {
		return nil, errors.Join(fmt.Errorf("server of %s: %w", contender, err), p.stop())
	}
	return p, nil
}

// serveVariable tells a test binary that it is to be a server.
const serveVariable = "BENCH_SERVE"

func (p *process) usage(what string) (usage, error) {
	var u usage
	if _, err := io.WriteString(p.stdin, what+"\n"); err != nil {
		return u, err
	}
	err := p.answers.Decode(&u)
	return u, err
}

func (p *process) stop() error {
	return errors.Join(p.stdin.Close(), p.cmd.Wait())
}
