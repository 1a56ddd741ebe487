package observe

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of the records of requests that are not admitted, for each code:
// strangers decide how many there are.
const (
	refusalsPerSecond = 5
	refusalsAtOnce    = 20
)

// OnFailure says what becomes of a request whose audit record might be lost,
// since the log is full or can't be written.
type OnFailure string

// The two answers.
const (
	Refuse OnFailure = "refuse" // no model is called without a record
	Drop   OnFailure = "drop"   // requests go on, lost records are counted
)

// Audit writes the records of what was decided about requests. It is safe for
// concurrent use.
type Audit struct {
	log     *Log
	refuse  bool
	decided func(context.Context, *Record) // with Refuse, by lines that the log has promised to write
	refused func(context.Context, *Record) // by lines that may be lost
	now     func() time.Time

	mu       sync.Mutex
	refusals map[string]*refusals // by code
}

// refusals are those with one code.
type refusals struct {
	limit   *rate.Limiter
	skipped int // since the last record
}

// NewAudit returns an Audit that writes to log.
func NewAudit(log *Log, onFailure OnFailure, form Form, now func() time.Time) *Audit {
	a := &Audit{log: log, refuse: onFailure == Refuse, now: now, refused: form(log), refusals: map[string]*refusals{}}
	a.decided = a.refused
	if a.refuse {
		a.decided = form(promised{log})
	}
	return a
}

// promised writes lines for which Promise holds a place.
type promised struct{ log *Log }

func (p promised) Write(line []byte) (int, error) {
	p.log.Keep(line)
	return len(line), nil
}

// Admit makes sure that the record of a request can be written, before the
// request has an effect. After nil exactly one call of Decided must follow.
func (a *Audit) Admit() error {
	if !a.refuse {
		return nil
	}
	return a.log.Promise()
}

// Decided writes the record of an admitted request.
func (a *Audit) Decided(ctx context.Context, r *Record) { a.decided(ctx, r) }

// Refused writes the record of a request that was refused before it was
// admitted. Of many with one code only some are made and written; a later one
// says how many were not.
func (a *Audit) Refused(ctx context.Context, code string, record func() *Record) {
	skipped, ok := a.sample(code)
	if !ok {
		return
	}
	r := record()
	r.notRecorded = skipped
	a.refused(ctx, r)
}

// sample reports whether the next refusal with this code is recorded, and how
// many were not since the last that was.
func (a *Audit) sample(code string) (skipped int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.refusals[code]
	if r == nil {
		r = &refusals{limit: rate.NewLimiter(refusalsPerSecond, refusalsAtOnce)}
		a.refusals[code] = r
	}
	if !r.limit.AllowN(a.now(), 1) {
		r.skipped++
		return 0, false
	}
	skipped, r.skipped = r.skipped, 0
	return skipped, true
}

// Unready says why no request is admitted at the moment, or is nil.
func (a *Audit) Unready() error {
	if !a.refuse {
		return nil
	}
	return a.log.Err()
}

// Lost returns how many lines of the log were lost since the start.
func (a *Audit) Lost() uint64 { return a.log.Lost() }
