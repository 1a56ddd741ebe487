package upstream

import (
	"context"
	"io"
	"sync"
	"time"

	"keycloak-model-api/api/refusal"
)

// watch ends an exchange whose time is up.
type watch struct {
	deadlines Deadlines
	cancel    context.CancelCauseFunc

	mu       sync.Mutex
	timer    *time.Timer
	answered bool      // the head of the answer is there
	uploaded time.Time // when the last part of the request was read
}

// newWatch returns a context that ends with the exchange. Its cause is a
// *refusal.Error where the time is up.
func newWatch(parent context.Context, d Deadlines) (context.Context, *watch) {
	ctx, cancel := context.WithCancelCause(parent)
	w := &watch{deadlines: d, cancel: cancel, uploaded: time.Now()}
	w.timer = time.AfterFunc(min(d.FirstByte, d.Total), func() {
		cancel(refusal.New(refusal.UpstreamTimeout, context.DeadlineExceeded))
	})
	return ctx, w
}

func (w *watch) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// part notes that a part of the request was read. A server may answer before
// it has all of it: then that time counts.
func (w *watch) part() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.uploaded = time.Now(); !w.answered {
		w.timer.Reset(min(w.deadlines.FirstByte, w.deadlines.Total))
	}
}

// answer notes that the head of the answer is there.
func (w *watch) answer(stream bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered = true
	if stream {
		w.timer.Reset(w.deadlines.Idle)
	} else {
		w.timer.Reset(time.Until(w.uploaded.Add(w.deadlines.Total)))
	}
}

// event notes that a part of an event stream has come.
func (w *watch) event() { w.timer.Reset(w.deadlines.Idle) }

// uploading is the rest of a request's body.
type uploading struct {
	io.Reader
	watch *watch
}

func (u *uploading) Read(b []byte) (int, error) {
	n, err := u.Reader.Read(b)
	u.watch.part()
	return n, err
}
