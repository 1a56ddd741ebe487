package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"keycloak-model-api/internal/oidctest"
)

// Rate of hostile tokens, for how long their fetches are counted, and for how
// long a new key is waited for.
const (
	floodRate    = 1000 // a second
	floodTime    = 4 * time.Second
	rotationTime = 12 * time.Second
)

// keySets measures what tokens that nobody signed make the contenders ask of
// the issuer.
func keySets(ctx context.Context, _ options, _ io.Writer) (report, error) {
	s := section{
		text: fmt.Sprintf("%s forged tokens a second for %.0f seconds, and how often the key set was fetched at the issuer. "+
			"In the first column each names another key that the issuer does not have; in the second all name one that it has, with a "+
			"wrong signature. "+
			"In the last one the issuer signs with a new key while the first flood goes on: after how long its tokens are "+
			"accepted.", thousands(floodRate), floodTime.Seconds()),
		header: []string{"", "fetches, unknown keys", "fetches, wrong signatures", "new key accepted after"},
	}
	names := []string{oursCold, goOIDC, jwx, auth0}
	rows := make([]keyBehaviour, len(names))
	// All at once: none of this is a measurement of speed.
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		g.Go(func() (err error) {
			rows[i], err = behaviour(ctx, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return report{}, err
	}
	for i, name := range names {
		accepted := fmt.Sprintf("not within %.0f s", rotationTime.Seconds())
		if after := rows[i].accepted; after > 0 {
			accepted = number(after.Seconds()) + " s"
		}
		if name == oursCold {
			name = ours
		}
		s.rows = append(s.rows, []string{name, strconv.Itoa(rows[i].unknown), strconv.Itoa(rows[i].wrong), accepted})
	}
	s.after = "golang-jwt is not in it, since its keys are fetched by hand here, and keyfunc, which fetches them for it, could not be had."
	mine := rows[0]
	rotation := mine.accepted.Seconds()
	if rotation == 0 {
		rotation = rotationTime.Seconds()
	}
	return report{title: "Key sets under attack", sections: []section{s, goals(
		goal{"fetches for unknown keys within one cool-down of 10 s", float64(mine.unknown), false, 1, ""},
		goal{"fetches for wrong signatures", float64(mine.wrong), false, 0, ""},
		goal{"a new key is accepted within the cool-down", rotation, false, 10.5, " s"},
	)}}, nil
}

type keyBehaviour struct {
	unknown, wrong int           // fetches
	accepted       time.Duration // 0: not within rotationTime
}

func behaviour(ctx context.Context, name string) (keyBehaviour, error) {
	var b keyBehaviour
	issuer := oidctest.Start()
	defer issuer.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p, err := contender(ctx, name, issuer.URL, "RS256")
	if err != nil {
		return b, err
	}
	check := func(token string) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://api.example/", nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		return p.check(r)
	}
	published := issuer.Key("RS256")
	if err := check(issuer.Token("RS256")); err != nil {
		return b, err
	}
	forge := func(key *oidctest.Key, keyID string) string {
		return oidctest.Sign(key, oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": keyID}, issuer.Claims())
	}

	known := forge(oidctest.NewKey("forged", "RS256"), published.ID)
	b.wrong = fetches(issuer, func() { flood(ctx, floodTime, func(int) { _ = check(known) }) })

	// Nobody gets to look at these signatures, so they are cheap ones.
	cheap := oidctest.NewKey("forged", "EdDSA")
	flooding, done := context.WithTimeout(ctx, rotationTime)
	defer done()
	var g errgroup.Group
	g.Go(func() error {
		flood(flooding, rotationTime, func(i int) { _ = check(forge(cheap, "unknown-"+strconv.Itoa(i))) })
		return nil
	})
	b.unknown = fetches(issuer, func() { sleep(ctx, floodTime) })
	issuer.Rotate("RS256")
	rotated := issuer.Token("RS256")
	for start := time.Now(); flooding.Err() == nil; sleep(flooding, 20*time.Millisecond) {
		if check(rotated) == nil {
			b.accepted = time.Since(start)
			done()
		}
	}
	return b, g.Wait()
}

// fetches counts those of the key set while f runs.
func fetches(issuer *oidctest.Issuer, f func()) int {
	_, before := issuer.Requests()
	f()
	_, after := issuer.Requests()
	return after - before
}

// flood calls f at floodRate, on as many goroutines as that needs and at most
// 64: a contender that is slower gets fewer.
func flood(ctx context.Context, d time.Duration, f func(i int)) {
	var under atomic.Int64
	tick := time.NewTicker(time.Second / floodRate)
	defer tick.Stop()
	end := time.After(d)
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-end:
			return
		case <-tick.C:
		}
		if under.Load() < 64 {
			under.Add(1)
			go func() {
				defer under.Add(-1)
				f(i)
			}()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
