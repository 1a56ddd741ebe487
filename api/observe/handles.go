package observe

import (
	"maps"
	"sync"
	"sync/atomic"
)

// handles finds the metric of a set of label values without a lock and without
// an allocation. There are as many as sets of values that were seen, all of them
// bounded: they are added one by one, by copying the map.
type handles[K comparable, V any] struct {
	known atomic.Pointer[map[K]V]
	mu    sync.Mutex // of whoever adds
	add   func(K) V
}

func newHandles[K comparable, V any](add func(K) V) *handles[K, V] {
	h := &handles[K, V]{add: add}
	h.known.Store(&map[K]V{})
	return h
}

// of returns the metric of these label values, which it makes if there is none.
func (h *handles[K, V]) of(k K) V {
	if v, ok := (*h.known.Load())[k]; ok {
		return v
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	known := *h.known.Load()
	if v, ok := known[k]; ok {
		return v
	}
	more := maps.Clone(known)
	more[k] = h.add(k)
	h.known.Store(&more)
	return more[k]
}
