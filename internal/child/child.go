// Package child runs child processes that leave nothing behind.
package child

import (
	"context"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is a child process in a process group of its own, so that Ctrl-C is
// ours to handle and a signal reaches what it has started too.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // to be read once done is closed
}

// pipeDelay is how long the output of a process is waited for after its end.
const pipeDelay = 2 * time.Second

// Start starts the process. On Linux it gets SIGTERM when this process ends
// without having stopped it. Its output goes to cmd.Stdout and cmd.Stderr: the end
// of the process closes what StdoutPipe and StderrPipe return, read or not.
func Start(cmd *exec.Cmd) (*Process, error) {
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = pipeDelay
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux sends the parent-death signal when the thread ends that started
		// the child, so this one stays until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		p.signal(syscall.SIGKILL) // whatever is left of the group
		close(p.done)
	}()
	return p, <-started
}

// Run starts the process and waits for its end. When ctx ends first, it is
// stopped, and the error is that of ctx.
func Run(ctx context.Context, cmd *exec.Cmd) error {
	p, err := Start(cmd)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		p.Stop(patience)
		return ctx.Err()
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err waits for the end of the process and returns how it ended, nil for exit
// status 0.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Stop asks the process and what it has started to end (SIGTERM), kills them
// when ctx is done, and returns once they have ended.
func (p *Process) Stop(ctx context.Context) {
	select {
	case <-p.done:
		return // its process id may be another's by now
	default:
	}
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-ctx.Done():
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

func (p *Process) signal(s syscall.Signal) { syscall.Kill(-p.cmd.Process.Pid, s) }
