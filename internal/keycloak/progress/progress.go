// Package progress tells a person how far a long step is.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Start reports on the step called label until the returned function is
// called; that call writes the last line, once, and may be repeated.
//
// total is the size of the whole step in bytes and done tells how many of them
// are there. A step of unknown size has total 0, and done may then be nil: only
// the time since its start is shown.
//
// On a terminal one line is redrawn in place. Anywhere else, as in the log of a
// CI run, a line is added every few seconds.
func Start(w io.Writer, label string, total int64, done func() int64) (stop func()) {
	if done == nil {
		done = func() int64 { return 0 }
	}
	now := time.Now()
	r := &reporter{w: w, label: label, total: total, done: done, start: now, flow: now, terminal: isTerminal(w)}
	interval := 5 * time.Second
	if r.terminal {
		interval = 200 * time.Millisecond
	}
	quit, finished := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.write("")
			case <-quit:
				r.write("\n")
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(quit)
		<-finished
	})
}

type reporter struct {
	w        io.Writer
	label    string
	total    int64
	done     func() int64
	start    time.Time
	flow     time.Time // when the last report without a byte was
	terminal bool
}

func (r *reporter) write(end string) {
	now, done := time.Now(), r.done()
	if done == 0 {
		r.flow = now
	}
	text := line(r.label, done, r.total, now.Sub(r.start), now.Sub(r.flow))
	if r.terminal {
		// Back to the first column, and clear what a longer line left behind.
		fmt.Fprint(r.w, "\r"+text+"\x1b[K"+end)
		return
	}
	fmt.Fprintln(r.w, text)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

const barWidth = 20

// line is one report, without a line end. The bytes came within flow, which is
// shorter than elapsed if the step had something to do before the first.
func line(label string, done, total int64, elapsed, flow time.Duration) string {
	if total <= 0 {
		return fmt.Sprintf("%s  %s", label, seconds(elapsed))
	}
	done = min(max(done, 0), total)
	filled := int(done * barWidth / total)
	bar := strings.Repeat("#", filled) + strings.Repeat(".", barWidth-filled)
	text := fmt.Sprintf("%s  [%s] %s of %s", label, bar, megabytes(done), megabytes(total))
	switch {
	case done == total:
		return text + ", took " + seconds(elapsed)
	case done == 0:
		return text + ", " + seconds(elapsed)
	}
	left := time.Duration(float64(flow) * float64(total-done) / float64(done))
	return text + ", " + seconds(left) + " left"
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func seconds(d time.Duration) string { return d.Round(time.Second).String() }
