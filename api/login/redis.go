package login

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"keycloak-model-api/api/store"
	"keycloak-model-api/internal/clock"
)

// shared keeps sessions in Redis, for several replicas. A session ends there by
// itself when its time is over. Ages are by the wall clock, since the monotonic
// ones of two replicas can't be compared, and by that of Redis.
type shared struct {
	*store.Store
	own      locks // those who wait in this process
	lifetime time.Duration
}

// The kinds of records. The id of a session stands in none of the keys.
const (
	sessionKind = "session" // what scs keeps, by its id
	namedKind   = "named"   // the sessions of an issuer's session or of a subject
	lockKind    = "session-lock"
	signInKind  = "sign-in"
)

func newShared(s *store.Store, lifetime time.Duration) *shared {
	return &shared{Store: s, own: locks{held: map[string]*sessionLock{}}, lifetime: lifetime}
}

// FindCtx returns what is kept of a session.
func (s *shared) FindCtx(ctx context.Context, id string) (data []byte, found bool, err error) {
	key := s.Key(sessionKind, id)
	value, err := s.Get(ctx, key).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	} else if err == nil {
		data, err = s.Open(sessionKind, key, value)
	}
	return data, err == nil, err
}

// errEnded says that a session has ended, which is not stored again.
var errEnded = errors.New("login: the session has ended meanwhile")

// freshKey marks the context in which a new session is kept.
type freshKey struct{}

// CommitCtx keeps a session. One that is not new must still be there.
func (s *shared) CommitCtx(ctx context.Context, id string, data []byte, expires time.Time) error {
	key := s.Key(sessionKind, id)
	value, lives := s.Seal(sessionKind, key, data), time.Until(expires)
	if lives < time.Millisecond {
		return errEnded
	}
	if ctx.Value(freshKey{}) != nil {
		return s.Set(ctx, key, value, lives).Err()
	}
	there, err := s.SetXX(ctx, key, value, lives).Result()
	if err == nil && !there {
		return errEnded
	}
	return err
}

// DeleteCtx deletes a session, if it is there.
func (s *shared) DeleteCtx(ctx context.Context, id string) error {
	return s.Del(ctx, s.Key(sessionKind, id)).Err()
}

// Find, Commit and Delete are for those who have no context.
func (s *shared) Find(id string) ([]byte, bool, error) { return s.FindCtx(context.Background(), id) }

// Commit keeps a session.
func (s *shared) Commit(id string, data []byte, expires time.Time) error {
	return s.CommitCtx(context.Background(), id, data, expires)
}

// Delete deletes a session.
func (s *shared) Delete(id string) error { return s.DeleteCtx(context.Background(), id) }

// member is one of a subject's sessions, or of a session at the issuer.
type member struct {
	ID    string    `json:"i"`
	Began time.Time `json:"b"`
}

// index lets a new session be found until it must have ended.
func (s *shared) index(ctx context.Context, id string, g *grant, _ time.Time, fresh bool) (bool, error) {
	if !fresh {
		return true, nil // CommitCtx has looked
	}
	text, err := json.Marshal(member{id, time.Now()})
	if err != nil {
		return false, err
	}
	for _, key := range []string{s.names(g.SessionID, ""), s.names("", g.Subject)} {
		pipe := s.TxPipeline()
		pipe.HSet(ctx, key, s.Key(sessionKind, id), s.Seal(namedKind, key, text))
		pipe.PExpire(ctx, key, s.lifetime)
		if _, err := pipe.Exec(ctx); err != nil {
			return false, err
		}
	}
	return true, nil
}

// names is the key of the session sid, or without one of all of the subject's.
func (s *shared) names(sid, sub string) string {
	if sid != "" {
		return s.Key(namedKind, "sid", sid)
	}
	return s.Key(namedKind, "sub", sub)
}

// find returns the ids of the session sid, or without one of all sessions of the
// subject, the oldest first, and forgets those that have ended.
func (s *shared) find(ctx context.Context, sid, sub string) (ids []string, err error) {
	key := s.names(sid, sub)
	fields, err := s.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	var members []member
	for record, value := range fields {
		there, err := s.Exists(ctx, record).Result()
		if err != nil {
			return nil, err
		}
		var m member
		text, err := s.Open(namedKind, key, []byte(value))
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		if there == 0 || err != nil { // not ours
			if err := s.HDel(ctx, key, record).Err(); err != nil {
				return nil, err
			}
			continue
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b member) int { return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.ID, b.ID)) })
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	return ids, nil
}

// oldest returns the ids of a subject's sessions beyond the newest n.
func (s *shared) oldest(ctx context.Context, sub string, n int) ([]string, error) {
	ids, err := s.find(ctx, "", sub)
	return ids[:max(0, len(ids)-n)], err
}

// tooOld reports whether a session has lived or rested for longer than it may.
func (s *shared) tooOld(_ string, g *grant, idle, lifetime time.Duration) bool {
	now := time.Now()
	return now.Sub(g.Began) >= lifetime || now.Sub(g.Used) >= idle
}

// stepped reports whether the clock was set back since the session was used. Ahead
// makes it older, and a suspended machine's goes on.
func (s *shared) stepped(_ string, g *grant) bool {
	return g.Used.After(time.Now().Add(clock.Tolerance))
}

const (
	// lockFor is how long a replica that died keeps others from a session, or a
	// Redis that took a lock and could not say so. Who has a lock extends it.
	lockFor    = 5 * time.Second
	lockExtend = time.Second
	// lockRetry is how long somebody waits before asking for a lock again.
	lockRetry = 20 * time.Millisecond
)

// release ends a lock, unless it is somebody else's by now.
var release = redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`)

// extend is for as long again, if the lock is still ours.
var extend = redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`)

// lock waits for the lock of a session on all replicas, until ctx ends.
func (s *shared) lock(ctx context.Context, id string) (unlock func(), err error) {
	leave, err := s.own.lock(ctx, id) // so that one of this process asks Redis
	if err != nil {
		return nil, err
	}
	key, holder := s.Key(lockKind, id), rand.Text()
	for {
		got, err := s.SetNX(ctx, key, holder, lockFor).Result()
		if err == nil && got {
			break
		}
		if err == nil {
			select {
			case <-time.After(lockRetry):
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			leave()
			return nil, err
		}
	}
	ctx, released := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		for tick := time.NewTicker(lockExtend); ; {
			select {
			case <-tick.C:
				_ = extend.Run(ctx, s, []string{key}, holder, lockFor.Milliseconds()).Err() // or it ends
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	}()
	return func() {
		released()
		// What isn't released ends by itself.
		_ = release.Run(context.WithoutCancel(ctx), s, []string{key}, holder).Err()
		leave()
	}, nil
}

// maxSignIns is how many sign-ins can begin within pendingFor: about 150 MiB.
const maxSignIns = 1 << 20

// beginSignIn records KEYS[1] for ARGV[1] ms, of which KEYS[2] counts ARGV[2] at most.
var beginSignIn = redis.NewScript(`
local count = redis.call('INCR', KEYS[2])
if count == 1 then redis.call('PEXPIRE', KEYS[2], ARGV[1]) end
if count > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
return 1`)

// add returns the name of a sign-in that begins now.
func (s *shared) add(ctx context.Context) (name string, err error) {
	name = rand.Text()
	keys := []string{s.Key(signInKind, "name", name), s.Key(signInKind, "count")}
	room, err := beginSignIn.Run(ctx, s, keys, pendingFor.Milliseconds(), maxSignIns).Int()
	if err == nil && room == 0 {
		err = fmt.Errorf("login: %d sign-ins were begun within %v", maxSignIns, pendingFor)
	}
	return name, err
}

// take reports whether the sign-in had not come back before. It says so once.
func (s *shared) take(ctx context.Context, name string) (bool, error) {
	err := s.GetDel(ctx, s.Key(signInKind, "name", name)).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, err
}
