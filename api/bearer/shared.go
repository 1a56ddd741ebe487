package bearer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"keycloak-model-api/api/store"
	"keycloak-model-api/internal/clock"
)

// once is a memory of what works once.
type once interface {
	// use records a key of a principal, in one step with the look whether it is
	// there: the error is errThere, errFull, or that nobody could tell.
	use(ctx context.Context, key [32]byte, of identity, now clock.Moment) error
}

// use implements once for one process.
func (s *shares[V]) use(_ context.Context, key [32]byte, of identity, now clock.Moment) error {
	var none V
	return s.put(key, of, none, now)
}

// sharedOnce is a once for all replicas.
type sharedOnce struct {
	store *store.Store
	kind  string
	limit int
	keep  time.Duration
	own   *shares[struct{}] // what this process has seen itself: a failover of Redis forgets none of it
}

// useOnce records KEYS[1] for ARGV[1] ms, unless it is there (1), or the principal,
// whose count is KEYS[2], has used up what the count of all, KEYS[3], leaves of
// ARGV[2] (2). The counts begin anew after ARGV[1] ms, so at most twice as many
// keys are there.
var useOnce = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
local own = tonumber(redis.call('GET', KEYS[2]) or '0')
local all = tonumber(redis.call('GET', KEYS[3]) or '0')
if own >= tonumber(ARGV[2]) - all then return 2 end
redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
for i = 2, 3 do
	if redis.call('INCR', KEYS[i]) == 1 then redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
end
return 0`)

func (s *sharedOnce) use(ctx context.Context, key [32]byte, of identity, now clock.Moment) error {
	if err := s.own.use(ctx, key, of, now); err != nil {
		return err
	}
	keys := []string{
		s.store.Key(s.kind, "key", string(key[:])), s.store.Key(s.kind, "of", of.issuer, of.subject), s.store.Key(s.kind, "all"),
	}
	switch found, err := useOnce.Run(ctx, s.store, keys, s.keep.Milliseconds(), s.limit).Int(); {
	case err != nil:
		return fmt.Errorf("bearer: %w", err)
	case found == 1:
		return errThere
	case found == 2:
		return errFull
	}
	return nil
}

// shareOnce returns a once that all replicas have in common, or own without a store.
func (c Config) shareOnce(kind string, own *shares[struct{}]) once {
	if c.Store == nil {
		return own
	}
	return &sharedOnce{c.Store, kind, own.limit, own.keep, own}
}

// feed is how replicas tell each other of revocations of one issuer: a stream in
// Redis, which each of them reads from its beginning when it starts, and again
// after each failure. So nothing is lost that Redis has; and what Redis has lost,
// by a restart or a failover, whoever knows it tells again.
type feed struct {
	store  *store.Store
	key    string
	denied *denyList
	clock  clock.Clock
	log    *slog.Logger
}

// feedKind is the kind of the records of a feed.
const feedKind = "revoked"

// told is an entry of the stream.
type told struct {
	Kind      deniedKind `json:"k"`
	ID        string     `json:"i,omitempty"`
	UpTo      int64      `json:"u"`
	Subject   string     `json:"s,omitempty"`
	Unordered bool       `json:"o,omitempty"`
}

// tell adds an entry and drops what is older than ARGV[2] ms by the clock of Redis.
var tell = redis.NewScript(`
local time = redis.call('TIME')
local oldest = time[1] * 1000 - ARGV[2]
return redis.call('XADD', KEYS[1], 'MINID', '~', string.format('%.0f', oldest), '*', 'v', ARGV[1])`)

// feedMargin is for how much longer than in memory an entry is kept, since the
// clocks may differ.
const feedMargin = time.Hour

func newFeed(c *Config, issuer string, denied *denyList, clock clock.Clock) *feed {
	return &feed{c.Store, c.Store.Key(feedKind, issuer), denied, clock, c.Logger}
}

// tell lets the other replicas know. It is not cancelled with ctx: who asked for a
// revocation may not wait for it.
func (f *feed) tell(ctx context.Context, key denied, m mark) error {
	entry, err := json.Marshal(told{key.kind, key.id, m.upTo, m.subject, m.unordered})
	if err == nil {
		keep := (f.denied.keep + feedMargin).Milliseconds()
		err = tell.Run(context.WithoutCancel(ctx), f.store, []string{f.key}, f.store.Seal(feedKind, f.key, entry), keep).Err()
	}
	if err != nil {
		return fmt.Errorf("bearer: the other replicas don't know of a revocation yet: %w", err)
	}
	return nil
}

const (
	feedBatch = 1000                   // entries of one answer
	feedWait  = time.Second            // for news
	feedRetry = 200 * time.Millisecond // after a failure
)

// follow reads what others tell after the entry last, until ctx ends.
func (f *feed) follow(ctx context.Context, last string) {
	for ctx.Err() == nil {
		// Redis may hang, or be gone with the network.
		waiting, cancel := context.WithTimeout(ctx, feedWait+time.Second)
		next, _, err := f.read(waiting, last, feedWait)
		for cancel(); err != nil && ctx.Err() == nil; {
			select {
			case <-time.After(feedRetry):
				next, err = f.catchUp(ctx)
			case <-ctx.Done():
			}
		}
		last = next
	}
}

// catchUp reads the whole stream and tells what is not in it. It returns the last entry.
func (f *feed) catchUp(ctx context.Context) (last string, err error) {
	there := map[denied]mark{}
	for last = "0"; ; {
		next, entries, err := f.read(ctx, last, -1)
		if err != nil {
			return "0", err
		}
		for _, e := range entries {
			key, m := e.mark()
			if old, ok := there[key]; !ok || m.above(old) {
				there[key] = m
			}
		}
		if next == last {
			break
		}
		last = next
	}
	now := f.clock.Now()
	for key, m := range f.denied.all(now) {
		if old, ok := there[key]; ok && !m.above(old) || m.upTo+int64(f.denied.keep/time.Second) < now.Unix() {
			continue
		}
		if err := f.tell(ctx, key, m); err != nil {
			return "0", err
		}
	}
	return last, nil
}

// read takes over the entries after last, for which it waits if wait is not
// negative. It returns them, and the last one.
func (f *feed) read(ctx context.Context, last string, wait time.Duration) (next string, entries []told, err error) {
	answer, err := f.store.XRead(ctx, &redis.XReadArgs{Streams: []string{f.key, last}, Count: feedBatch, Block: wait}).Result()
	if errors.Is(err, redis.Nil) {
		return last, nil, nil
	} else if err != nil {
		return last, nil, fmt.Errorf("bearer: revocations of the other replicas can't be read: %w", err)
	}
	next = last
	for _, m := range answer[0].Messages {
		next = m.ID
		entry, err := f.open(m.Values["v"])
		if err != nil {
			f.log.Error("entry about a revocation is not ours", "entry", m.ID, "err", err)
			continue
		}
		key, mark := entry.mark()
		now := f.clock.Now()
		mark.at = now
		f.denied.add(key, mark, now)
		entries = append(entries, entry)
	}
	return next, entries, nil
}

func (f *feed) open(value any) (entry told, err error) {
	text, _ := value.(string)
	plain, err := f.store.Open(feedKind, f.key, []byte(text))
	if err == nil {
		err = json.Unmarshal(plain, &entry)
	}
	if err == nil && entry.Kind > byClient {
		err = fmt.Errorf("bearer: kind %d of a later version", entry.Kind)
	}
	return entry, err
}

func (t told) mark() (denied, mark) {
	return denied{t.Kind, t.ID}, mark{upTo: t.UpTo, subject: t.Subject, unordered: t.Unordered}
}

// deny refuses from now on what key is about, here and on all replicas. The error,
// an *Error, says that the others don't know yet: they will as soon as Redis
// answers.
func (v *Verifier) deny(ctx context.Context, known *trusted, key denied, m mark) error {
	known.denied.add(key, m, m.at)
	if known.feed == nil {
		return nil
	}
	if err := known.feed.tell(ctx, key, m); err != nil {
		return refuse(SharedStateUnavailable, err)
	}
	return nil
}
