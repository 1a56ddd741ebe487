// Package progress tells a person how far long steps are.
package progress

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Display shows the steps that are under way at once. On a terminal each has a
// line below what was written, which is redrawn in place. Anywhere else, as in
// the log of a CI run, a step adds a line every few seconds.
type Display struct {
	w        io.Writer
	terminal bool

	mu      sync.Mutex
	running []*reporter
	drawn   int // lines on the terminal that belong to running steps
}

// NewDisplay returns a display that writes to w.
func NewDisplay(w io.Writer) *Display { return &Display{w: w, terminal: isTerminal(w)} }

// Write writes whole lines above those of the running steps.
func (d *Display) Write(text []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.terminal {
		return d.w.Write(text)
	}
	if _, err := io.WriteString(d.w, d.erase()+string(text)+d.draw()); err != nil {
		return 0, err
	}
	return len(text), nil
}

// erase returns what removes the lines of the running steps.
func (d *Display) erase() string {
	text := strings.Repeat("\x1b[1A\x1b[2K", d.drawn)
	d.drawn = 0
	return text
}

// draw returns the lines of the running steps. None may be wider than the
// terminal, or it would take two.
func (d *Display) draw() string {
	width := 80
	if f, ok := d.w.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			width = w
		}
	}
	var text strings.Builder
	for _, r := range d.running {
		line := r.text()
		text.WriteString(line[:min(len(line), width-1)] + "\n")
	}
	d.drawn = len(d.running)
	return text.String()
}

// Start reports on the step called label until the returned function is
// called; that call writes the last line, once, and may be repeated. w is a
// Display if other steps may run at the same time.
//
// total is the size of the whole step in bytes and done tells how many of them
// are there. A step of unknown size has total 0, and done may then be nil: only
// the time since its start is shown.
func Start(w io.Writer, label string, total int64, done func() int64) (stop func()) {
	return start(w, &reporter{label: label, show: megabytes, total: func() int64 { return total }, done: done})
}

// StartCount is Start for a step of so many things, such as packages. Their
// number may become known later, and is 0 until then.
func StartCount(w io.Writer, label, things string, total, done func() int64) (stop func()) {
	show := func(n int64) string { return fmt.Sprint(n) }
	return start(w, &reporter{label: label, things: " " + things, show: show, total: total, done: done})
}

func start(w io.Writer, r *reporter) (stop func()) {
	d, ok := w.(*Display)
	if !ok {
		d = NewDisplay(w)
	}
	if r.done == nil {
		r.done = func() int64 { return 0 }
	}
	r.start = time.Now()
	r.flow = r.start
	d.add(r)
	interval := 5 * time.Second
	if d.terminal {
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
				d.tick(r)
			case <-quit:
				d.remove(r)
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(quit)
		<-finished
	})
}

func (d *Display) add(r *reporter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = append(d.running, r)
}

func (d *Display) tick(r *reporter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.terminal {
		io.WriteString(d.w, d.erase()+d.draw())
	} else {
		fmt.Fprintln(d.w, r.text())
	}
}

// remove writes the last line of a step.
func (d *Display) remove(r *reporter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = slices.DeleteFunc(d.running, func(other *reporter) bool { return other == r })
	if d.terminal {
		io.WriteString(d.w, d.erase()+r.text()+"\n"+d.draw())
	} else {
		fmt.Fprintln(d.w, r.text())
	}
}

// reporter knows how far one step is.
type reporter struct {
	label, things string
	show          func(int64) string
	total, done   func() int64
	start         time.Time
	flow          time.Time // when the last report without progress was
}

func (r *reporter) text() string {
	now, done := time.Now(), r.done()
	if done == 0 {
		r.flow = now
	}
	return r.line(done, r.total(), now.Sub(r.start), now.Sub(r.flow))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

const barWidth = 20

// line is one report, without a line end. What is done came within flow, which
// is shorter than elapsed if the step had something to do before.
func (r *reporter) line(done, total int64, elapsed, flow time.Duration) string {
	if total <= 0 {
		return fmt.Sprintf("%s  %s", r.label, seconds(elapsed))
	}
	done = min(max(done, 0), total)
	filled := int(done * barWidth / total)
	bar := strings.Repeat("#", filled) + strings.Repeat(".", barWidth-filled)
	text := fmt.Sprintf("%s  [%s] %s of %s%s", r.label, bar, r.show(done), r.show(total), r.things)
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
