// Package observe carries what the API says about itself out of the way of its
// requests: a log that never makes one wait, and the audit records in it.
package observe

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Bounds of a Log.
const (
	maxLines   = 8192                 // that wait or are promised; about 4 MB
	maxBatch   = 64 << 10             // bytes of one write
	retryAfter = time.Second          // between two tries of a write that failed
	gather     = 2 * time.Millisecond // between two writes, in which lines gather
)

// Log is a queue of lines in front of a file, a pipe or a terminal, with one
// goroutine that writes. Whoever logs never waits: a reader that is slow or
// stuck, one that is gone and a full disk hold up this goroutine alone. A write
// that fails is tried again, from the byte at which it failed. What does not
// fit into the queue is lost, and counted. It is safe for concurrent use.
type Log struct {
	out       io.Writer
	recovered func(lost uint64)

	mu       sync.Mutex
	lines    [][]byte
	promised int   // lines for which Promise holds a place
	failed   error // of the last write
	lost     uint64
	told     uint64          // of lost, what recovered has been told
	telling  bool            // recovered is being called, and may add a line
	waiting  []chan struct{} // of Flush, closed when the queue is empty
	wake     chan struct{}   // holds one value while the goroutine has something to do
	closed   bool
}

// NewLog starts a Log that writes to out. After lines were lost and writing
// works again, recovered is called with their number; it may log.
func NewLog(out io.Writer, recovered func(lost uint64)) *Log {
	l := &Log{out: out, recovered: recovered, wake: make(chan struct{}, 1)}
	go l.run()
	return l
}

// Write takes one line, or loses it if the queue is full. It never fails, since
// the caller can do nothing about it.
func (l *Log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines)+l.promised >= maxLines {
		l.lost++
	} else {
		l.add(line)
	}
	return len(line), nil
}

// Promise holds a place for one line, which Keep takes. The
// error says why the log can't promise that the line will be written.
func (l *Log) Promise() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.err(); err != nil {
		return err
	}
	l.promised++
	return nil
}

// Keep takes a line for which Promise holds a place.
func (l *Log) Keep(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promised--
	l.add(line)
}

// Err says why lines can't be written at the moment, or is nil.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err()
}

func (l *Log) err() error {
	if l.failed != nil {
		return fmt.Errorf("observe: the log can't be written: %w", l.failed)
	}
	if len(l.lines)+l.promised >= maxLines {
		return fmt.Errorf("observe: %d lines wait for whoever reads the log", maxLines)
	}
	return nil
}

// Lost returns how many lines were lost since the start.
func (l *Log) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Flush waits until all lines are written, or ctx ends.
func (l *Log) Flush(ctx context.Context) error {
	l.mu.Lock()
	written := make(chan struct{})
	if len(l.lines) == 0 && !l.telling {
		close(written)
	} else {
		l.waiting = append(l.waiting, written)
	}
	l.mu.Unlock()
	select {
	case <-written:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("observe: lines of the log are not written: %w", ctx.Err())
	}
}

// Close is Flush, and the end of the Log.
func (l *Log) Close(ctx context.Context) error {
	err := l.Flush(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.signal()
	return err
}

// add is called with the lock held. The line is copied, since slog reuses it.
func (l *Log) add(line []byte) {
	l.lines = append(l.lines, append([]byte(nil), line...))
	l.signal()
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run writes until Close, many lines at once when many wait.
func (l *Log) run() {
	batch := make([]byte, 0, maxBatch)
	var written time.Time
	for range l.wake {
		some, _ := l.state()
		if some {
			time.Sleep(gather - time.Since(written))
		}
		for {
			var taken int
			batch, taken = l.take(batch[:0])
			if taken == 0 {
				break
			}
			l.write(batch)
			l.done(taken)
			written = time.Now()
		}
		if _, closed := l.state(); closed {
			return
		}
	}
}

// state says whether lines wait and whether the Log is closed.
func (l *Log) state() (some, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines) > 0, l.closed
}

// take copies the first lines into batch. They stay in the queue, where they
// count, until they are written.
func (l *Log) take(batch []byte) ([]byte, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := 0
	for _, line := range l.lines {
		if taken > 0 && len(batch)+len(line) > maxBatch {
			break
		}
		batch = append(batch, line...)
		taken++
	}
	return batch, taken
}

// write tries until batch is written.
func (l *Log) write(batch []byte) {
	for {
		n, err := l.out.Write(batch)
		if err == nil && n < len(batch) {
			err = io.ErrShortWrite
		}
		l.mu.Lock()
		l.failed = err
		l.mu.Unlock()
		if err == nil {
			return
		}
		batch = batch[max(n, 0):] // a full disk takes a part
		time.Sleep(retryAfter)
	}
}

// done removes the first taken lines, which are written, and tells of lost ones.
// Flush waits for that, too: what is logged of it must not be lost at the end of
// the program.
func (l *Log) done(taken int) {
	l.mu.Lock()
	l.lines = slices.Delete(l.lines, 0, taken)
	lost := l.lost - l.told
	l.told, l.telling = l.lost, lost > 0 && l.recovered != nil
	if l.telling {
		l.mu.Unlock()
		l.recovered(lost)
		l.mu.Lock()
		l.telling = false
	}
	defer l.mu.Unlock()
	if len(l.lines) == 0 {
		for _, written := range l.waiting {
			close(written)
		}
		l.waiting = nil
	}
}
