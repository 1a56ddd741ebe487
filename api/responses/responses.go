// Package responses remembers whose the responses are that model servers keep: there
// one account has those of all callers (OpenAI's Responses API, store).
package responses

import (
	"container/list"
	"sync"
	"time"
)

// Kept is how long a response is known, which is how long OpenAI keeps it.
const Kept = 30 * 24 * time.Hour

// Bounds of what is remembered.
const (
	maxAll = 100_000 // about 50 MB
	maxOne = maxAll / 10
)

// Owner is whose a response is.
type Owner struct {
	Issuer, Subject string // of the principal
	Model           string // as the policy names it
}

// Owners are the owners of responses, in memory. Of one principal, and of all, the
// oldest are forgotten where there are too many: a response that nobody owns is like
// one that there never was. It is safe for concurrent use.
type Owners struct {
	now func() time.Time

	mu   sync.Mutex
	byID map[string]*list.Element // of all
	all  list.List                // of *entry, the oldest first
	each map[principal]*list.List // of elements of all, the oldest first
}

type principal struct{ issuer, subject string }

type entry struct {
	id    string
	owner Owner
	until time.Time
	mine  *list.Element // in the list of the principal
}

// New returns owners of nothing yet.
func New(now func() time.Time) *Owners {
	return &Owners{now: now, byID: map[string]*list.Element{}, each: map[principal]*list.List{}}
}

// Keep notes whose a response is. An id that has an owner keeps it: no model server
// can take another's response by its id.
func (o *Owners) Keep(id string, owner Owner) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for first := o.all.Front(); first != nil && !o.now().Before(first.Value.(*entry).until); first = o.all.Front() {
		o.drop(first)
	}
	if o.byID[id] != nil {
		return
	}
	who := principal{owner.Issuer, owner.Subject}
	mine := o.each[who]
	if mine == nil {
		mine = list.New()
		o.each[who] = mine
	}
	switch {
	case mine.Len() >= maxOne:
		o.drop(mine.Front().Value.(*list.Element))
	case o.all.Len() >= maxAll:
		o.drop(o.all.Front())
	}
	e := &entry{id: id, owner: owner, until: o.now().Add(Kept)}
	at := o.all.PushBack(e)
	e.mine, o.byID[id], o.each[who] = mine.PushBack(at), at, mine
}

// Of returns whose a response is.
func (o *Owners) Of(id string) (owner Owner, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := o.byID[id]
	if at == nil || !o.now().Before(at.Value.(*entry).until) {
		return Owner{}, false
	}
	return at.Value.(*entry).owner, true
}

// Forget takes the owner off a response, which is there no more.
func (o *Owners) Forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if at := o.byID[id]; at != nil {
		o.drop(at)
	}
}

func (o *Owners) drop(at *list.Element) {
	e := at.Value.(*entry)
	who := principal{e.owner.Issuer, e.owner.Subject}
	mine := o.each[who]
	mine.Remove(e.mine)
	if mine.Len() == 0 {
		delete(o.each, who)
	}
	o.all.Remove(at)
	delete(o.byID, e.id)
}
