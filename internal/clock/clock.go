// Package clock measures ages by two clocks, so that neither a step of the
// wall clock nor a suspended machine makes anything younger or older than is
// safe.
//
// The wall clock steps: a bad NTP server, an administrator, a restored virtual
// machine. The monotonic clock never does, but stands still while the machine
// is suspended (golang/go#24595). So what grants something (a key, a cached
// answer) is as old as the larger of both ages, and what refuses (a deny list,
// a used proof) as old as the smaller.
package clock

import "time"

// Tolerance is how far the two clocks may drift apart before what was cached
// can't be trusted to be as young as it looks.
const Tolerance = 5 * time.Second

// Clock reads both clocks at once. Its zero value isn't ready for use: see New.
type Clock struct {
	origin time.Time
	wall   func() time.Time // nil for the system's
}

// New makes a Clock. wall takes the place of the system's wall clock, for
// tests; nil means the system's. The monotonic clock is always the runtime's.
func New(wall func() time.Time) Clock {
	return Clock{origin: time.Now(), wall: wall}
}

// Now returns the present moment.
func (c Clock) Now() Moment {
	now := time.Now()
	monotonic := now.Sub(c.origin)
	if c.wall != nil {
		now = c.wall()
	}
	return Moment{wall: now.UnixNano(), monotonic: monotonic}
}

// Moment is one reading of both clocks. Moments of one Clock can be compared.
type Moment struct {
	wall      int64         // Unix nanoseconds
	monotonic time.Duration // since the Clock was made
}

// Unix returns the wall clock's reading in seconds, for claims such as `exp`.
func (m Moment) Unix() int64 { return m.wall / int64(time.Second) }

// Time returns the wall clock's reading.
func (m Moment) Time() time.Time { return time.Unix(0, m.wall) }

// Oldest returns how much time passed since then at most: the age of what
// grants something.
func (m Moment) Oldest(then Moment) time.Duration {
	return max(time.Duration(m.wall-then.wall), m.monotonic-then.monotonic)
}

// Youngest returns how much time passed since then at least: the age of what
// refuses something.
func (m Moment) Youngest(then Moment) time.Duration {
	return min(time.Duration(m.wall-then.wall), m.monotonic-then.monotonic)
}

// Stepped tells whether the wall clock was set or the machine suspended since
// then: the two clocks went apart by more than Tolerance.
func (m Moment) Stepped(then Moment) bool {
	apart := time.Duration(m.wall-then.wall) - (m.monotonic - then.monotonic)
	return apart > Tolerance || apart < -Tolerance
}
