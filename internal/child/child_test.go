package child

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	if err := Run(t.Context(), exec.Command("sh", "-c", "exit 0")); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := Run(t.Context(), exec.Command("sh", "-c", "exit 3")); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("got %v, want exit status 3", err)
	}
	if err := Run(t.Context(), exec.Command("/no/such/program")); err == nil {
		t.Error("a missing program is no error")
	}
}

// started runs a shell script that prints the id of a process that it has
// started in the background, and returns that.
func started(t *testing.T, script string) (*Process, int) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	// Not StdoutPipe, which is closed when the process ends, read or not.
	out, w := io.Pipe()
	cmd.Stdout = w
	p, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return p, pid
}

// wantEnded waits until no process has the id, but for one that its new parent
// has not collected yet.
func wantEnded(t *testing.T, pid int) {
	t.Helper()
	for range 200 {
		state, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
		if err != nil || strings.HasPrefix(string(state), "Z") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("process %d is left", pid)
}

func TestStopReachesWhatTheChildStarted(t *testing.T) {
	p, grandchild := started(t, "sleep 600 & echo $!; wait")
	p.Stop(t.Context())
	if p.Err() == nil {
		t.Error("a stopped process has no error")
	}
	wantEnded(t, grandchild)
	p.Stop(t.Context()) // nothing to do
}

func TestStopKillsWhoStays(t *testing.T) {
	p, grandchild := started(t, "trap '' TERM; sleep 600 & echo $!; while :; do wait; done")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p.Stop(ctx)
	var exit *exec.ExitError
	if !errors.As(p.Err(), &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("ended by %v, want SIGKILL", p.Err())
	}
	wantEnded(t, grandchild)
}

func TestEndOfTheChildEndsItsGroup(t *testing.T) {
	p, grandchild := started(t, "sleep 600 & echo $!")
	if err := p.Err(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Error(err)
	}
	wantEnded(t, grandchild)
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Run(ctx, exec.Command("sleep", "600")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
