package observe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// sink is a file or pipe whose behaviour the test changes.
type sink struct {
	mu    sync.Mutex
	data  bytes.Buffer
	stuck chan struct{} // while not nil, writes wait for it
	room  int           // bytes that the disk takes before ENOSPC; negative means no limit
	err   error
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	stuck := s.stuck
	s.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	if s.room >= 0 && len(p) > s.room {
		n, _ := s.data.Write(p[:s.room])
		s.room = 0
		return n, syscall.ENOSPC
	}
	return s.data.Write(p)
}

func (s *sink) set(change func(*sink)) { s.mu.Lock(); defer s.mu.Unlock(); change(s) }

func (s *sink) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.data.String() }

func jsonLines(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }

func newAudit(l *Log, onFailure OnFailure) *Audit {
	return NewAudit(l, onFailure, InLog(jsonLines), time.Now)
}

// A reader that is slow or stuck holds up nobody who logs.
func TestStuckReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		out := &sink{room: -1, stuck: release}
		l := NewLog(out, func(uint64) {})
		for i := range maxLines + 100 {
			fmt.Fprintf(l, "%d\n", i)
		}
		if l.Lost() != 100 || l.Err() == nil {
			t.Errorf("lost %d, error %v: want 100 and one that says that lines wait", l.Lost(), l.Err())
		}
		out.set(func(s *sink) { s.stuck = nil })
		close(release)
		synctest.Wait()
		if n := strings.Count(out.String(), "\n"); n != maxLines || l.Err() != nil {
			t.Errorf("%d lines were written, error %v: want %d and none", n, l.Err(), maxLines)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A full disk takes a part of a line. The rest follows, nothing twice.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{room: 8}
		l := NewLog(out, nil)
		fmt.Fprint(l, "first line\n")
		synctest.Wait()
		fmt.Fprint(l, "second line\n")
		if err := l.Err(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("error %v, want ENOSPC", err)
		}
		out.set(func(s *sink) { s.room = -1 })
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := out.String(); got != "first line\nsecond line\n" || l.Err() != nil {
			t.Errorf("wrote %q, error %v", got, l.Err())
		}
	})
}

// A reader that has died never takes a line again; the end of the program does
// not wait for it.
func TestDeadReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{room: -1, err: syscall.EPIPE}
		l := NewLog(out, nil)
		fmt.Fprint(l, "line\n")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(l.Err(), syscall.EPIPE) {
			t.Errorf("close: %v, log: %v", err, l.Err())
		}
		out.set(func(s *sink) { s.err = nil }) // so that the goroutine ends
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Lost lines are counted, and told once writing works again.
func TestLostLinesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{room: -1, err: syscall.EIO}
		var told []uint64
		l := NewLog(out, func(lost uint64) { told = append(told, lost) })
		for range maxLines + 7 {
			fmt.Fprint(l, "line\n")
		}
		out.set(func(s *sink) { s.err = nil })
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(told) != 1 || told[0] != 7 || l.Lost() != 7 {
			t.Errorf("told %v, lost %d: want [7] and 7", told, l.Lost())
		}
	})
}

// What is logged of lost lines is written before Close returns, even where no other
// line waits.
func TestCloseWaitsForWhatIsToldOfLostLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		out := &sink{room: -1, stuck: release}
		var l *Log
		l = NewLog(out, func(lost uint64) {
			time.Sleep(time.Minute)
			fmt.Fprintf(l, "%d were lost\n", lost)
		})
		for range maxLines - 1 {
			if err := l.Promise(); err != nil {
				t.Fatal(err)
			}
		}
		for range 1 + 7 {
			fmt.Fprint(l, "line\n")
		}
		synctest.Wait() // the one line for which there was room is being written
		close(release)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != "line\n7 were lost\n" {
			t.Errorf("written is %q", got)
		}
	})
}

// With refuse, what was admitted is recorded, however full the log is.
func TestAdmittedIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		out := &sink{room: -1, stuck: release}
		l := NewLog(out, nil)
		a := newAudit(l, Refuse)
		admitted := 0
		for a.Admit() == nil {
			admitted++
		}
		fmt.Fprint(l, "of no promise\n")
		if a.Unready() == nil || l.Lost() != 1 {
			t.Errorf("ready %v, lost %d: want a full log and 1", a.Unready(), l.Lost())
		}
		for range admitted {
			a.Decided(t.Context(), &Record{Code: "allowed"})
		}
		out.set(func(s *sink) { s.stuck = nil })
		close(release)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), `"code":"allowed"`); n != admitted || admitted != maxLines {
			t.Errorf("%d of %d are recorded", n, admitted)
		}
	})
}

// With drop, a log that can't be written refuses nothing.
func TestDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{room: -1, err: syscall.EPIPE}
		l := NewLog(out, nil)
		a := newAudit(l, Drop)
		for range maxLines + 5 {
			if err := a.Admit(); err != nil {
				t.Fatal(err)
			}
			a.Decided(t.Context(), &Record{})
		}
		if a.Unready() != nil || a.Lost() != 5 {
			t.Errorf("unready %v, lost %d: want ready and 5", a.Unready(), a.Lost())
		}
		out.set(func(s *sink) { s.err = nil })
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Strangers can't fill the log: of their refusals a bounded number is recorded
// in a second, with the number of the others. One code hides no other.
func TestRefusalsAreSampled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{room: -1}
		l := NewLog(out, nil)
		a := newAudit(l, Refuse)
		for range 1000 {
			a.Refused(t.Context(), "no_credential", func() *Record { return &Record{Code: "no_credential"} })
		}
		a.Refused(t.Context(), "signature_invalid", func() *Record { return &Record{Code: "signature_invalid"} })
		time.Sleep(time.Second / refusalsPerSecond)
		a.Refused(t.Context(), "no_credential", func() *Record { return &Record{Code: "no_credential"} })
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		if n := strings.Count(got, "no_credential"); n != refusalsAtOnce+1 {
			t.Errorf("%d of no_credential are recorded, want %d", n, refusalsAtOnce+1)
		}
		if !strings.Contains(got, "signature_invalid") || !strings.Contains(got, `"not_recorded":980`) {
			t.Errorf("got %s", got)
		}
	})
}

// On a busy API lines go out many at a time, and on an idle one at once.
func TestLinesGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &writes{}
		l := NewLog(out, func(uint64) {})
		fmt.Fprintln(l, "first")
		synctest.Wait()
		if out.n != 1 {
			t.Errorf("the first line of an idle log took %d writes, want 1 at once", out.n)
		}
		for range 100 {
			fmt.Fprintln(l, "one of many")
			synctest.Wait()
		}
		time.Sleep(gather)
		synctest.Wait()
		if out.n != 2 || out.lines != 101 {
			t.Errorf("%d lines in %d writes, want 101 in 2", out.lines, out.n)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// writes counts them and their lines.
type writes struct{ n, lines int }

func (w *writes) Write(b []byte) (int, error) {
	w.n, w.lines = w.n+1, w.lines+strings.Count(string(b), "\n")
	return len(b), nil
}
