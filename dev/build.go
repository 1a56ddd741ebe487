package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"keycloak-model-api/internal/child"
	"keycloak-model-api/internal/keycloak/progress"
)

// checkout is the folder that this command runs in.
type checkout struct {
	state   string // absolute path of stateDir
	environ []string
}

// binary is the path of a compiled program.
func (c checkout) binary(name string) string { return filepath.Join(c.state, "bin", name) }

// build compiles packages and shows how far it is.
func (c checkout) build(ctx context.Context, w io.Writer, packages ...string) error {
	var total, done atomic.Int64
	stop := progress.StartCount(w, "Compiling", "packages", total.Load, done.Load)
	defer stop()
	var g errgroup.Group
	g.Go(func() error {
		total.Store(c.countPackages(ctx, packages))
		return nil
	})
	g.Go(func() error {
		// Stamping the binaries with the commit would link them after each, and
		// with paths in them each checkout would compile the SDK anew.
		args := []string{"build", "-v", "-buildvcs=false", "-trimpath", "-o", c.binary("") + string(filepath.Separator)}
		cmd := exec.Command("go", append(args, packages...)...)
		cmd.Env = c.environ
		output := &buildOutput{packages: &done}
		cmd.Stdout, cmd.Stderr = output, output
		err := child.Run(ctx, cmd)
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("dev: go build: %w\n%s", err, output.rest.String())
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	done.Store(total.Load()) // go build may know more of them to be compiled already
	return nil
}

// countPackages is how many packages there are to compile, those in the build
// cache left out. It is 0 if that can't be known: go build then says why.
func (c checkout) countPackages(ctx context.Context, packages []string) int64 {
	cmd := exec.Command("go", append([]string{"list", "-trimpath", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}, packages...)...)
	cmd.Env = c.environ
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := child.Run(ctx, cmd); err != nil {
		return 0
	}
	return int64(len(bytes.Fields(out.Bytes())))
}

// buildOutput counts the packages that go build -v names, each when it begins
// to compile it, and keeps the rest.
type buildOutput struct {
	packages *atomic.Int64
	line     []byte // without its end yet
	rest     bytes.Buffer
}

func (o *buildOutput) Write(text []byte) (int, error) {
	o.line = append(o.line, text...)
	for {
		line, after, ok := bytes.Cut(o.line, []byte("\n"))
		if !ok {
			return len(text), nil
		}
		switch {
		case bytes.HasPrefix(line, []byte("go: downloading ")):
		case bytes.ContainsAny(line, " \t"):
			o.rest.Write(line)
			o.rest.WriteByte('\n')
		default:
			o.packages.Add(1)
		}
		o.line = after
	}
}

// stackCommand is ./dev/stack for the stack of that name.
func (c checkout) stackCommand(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(c.binary("stack"), append([]string{
		"-stack", name, "-program", c.binary(programName), "-state", c.state}, args...)...)
	cmd.Env = c.environ
	return cmd
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
