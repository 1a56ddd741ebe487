// Package fresh keeps what stands in files up to date while the program runs.
package fresh

import (
	"sync"
	"time"
)

// For is how long what was read counts before it is read again. Files are read,
// and not subscribed to: that holds for mounts and links of a Secret, too.
const For = 5 * time.Second

// Value is what stands in files. One that can't be read leaves the value from
// before in force. It is safe for concurrent use.
type Value[T any] struct {
	read   func() (T, error)
	failed func(error)

	mu    sync.Mutex
	value T
	at    time.Time
	told  string // what failed has been told, until it works again
}

// New reads a value for the first time. After that, failed is called once for each
// new reason why it can't be read; it may be nil.
func New[T any](read func() (T, error), failed func(error)) (*Value[T], error) {
	value, err := read()
	if err != nil {
		return nil, err
	}
	return &Value[T]{read: read, failed: failed, value: value, at: time.Now()}, nil
}

// Get returns the value as of now.
func (v *Value[T]) Get() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if now.Sub(v.at) < For {
		return v.value
	}
	v.at = now
	value, err := v.read()
	switch {
	case err == nil:
		v.value, v.told = value, ""
	case v.told != err.Error():
		v.told = err.Error()
		if v.failed != nil {
			v.failed(err)
		}
	}
	return v.value
}
