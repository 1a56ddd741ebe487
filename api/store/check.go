package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// checkTimeout bounds a Check.
const checkTimeout = 5 * time.Second

// oldest is the first major version of Redis that is good enough: what runs in
// the tests.
const oldest = 7

// sample is what each replica seals for the others to open.
const sample = "the keys are the same"

// Check says what is wrong with the Redis, all at once, and what to change. It
// writes one record, by which replicas see that they have the same keys.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := s.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("store: redis can't be used: %w: its address, user, password and TLS are those of -redis, "+
			"API_REDIS_PASSWORD or API_REDIS_PASSWORD_FILE", err)
	}
	var mu sync.Mutex
	var errs []error
	err := s.eachMaster(ctx, func(ctx context.Context, node redis.Cmdable) error {
		info, err := node.Info(ctx, "server", "memory").Result()
		if err == nil {
			err = suits(info)
		}
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
		return nil
	})
	return errors.Join(append(errs, err, s.sameKeys(ctx))...)
}

// eachMaster calls f for each node that holds records.
func (s *Store) eachMaster(ctx context.Context, f func(context.Context, redis.Cmdable) error) error {
	if cluster, ok := s.UniversalClient.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return f(ctx, node) })
	}
	return f(ctx, s)
}

// suits reads what a node says of itself by INFO, which managed Redis answers too,
// unlike CONFIG GET.
func suits(info string) error {
	about := map[string]string{}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			about[name] = value
		}
	}
	var errs []error
	major, _, _ := strings.Cut(about["redis_version"], ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldest {
		errs = append(errs, fmt.Errorf("store: redis is of version %q: use %d or later", about["redis_version"], oldest))
	}
	if policy := about["maxmemory_policy"]; policy != "noeviction" {
		errs = append(errs, fmt.Errorf("store: redis has maxmemory-policy %s, by which it forgets logouts and used proofs when its memory is full: "+
			"set maxmemory-policy noeviction in its configuration, or by CONFIG SET", policy))
	}
	return errors.Join(errs...)
}

// sameKeys tells whether this replica opens what the others seal, and seals what
// it found anew, so that the key before may go.
func (s *Store) sameKeys(ctx context.Context) error {
	const kind = "sample"
	key := s.Key(kind)
	value, err := s.Get(ctx, key).Bytes()
	if err == nil {
		if _, err := s.Open(kind, key, value); err != nil {
			return fmt.Errorf("%w: give all replicas the same -redis-keys, with the key from before on a later line until nothing is left of it", err)
		}
	} else if !errors.Is(err, redis.Nil) {
		return fmt.Errorf("store: redis can't be read: %w", err)
	}
	if err := s.Set(ctx, key, s.Seal(kind, key, []byte(sample)), 0).Err(); err != nil {
		return fmt.Errorf("store: redis can't be written: %w", err)
	}
	return nil
}
