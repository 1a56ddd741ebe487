package gateway

import (
	"context"
	"sync"
	"time"
)

// decidedFor is how long a decision counts for a request that is under way. What
// the issuer takes back, and what a new policy doesn't allow, ends it within 5 s.
const decidedFor = 4 * time.Second

// watch calls decide again and again, until stop is called. The first error of
// it ends the context that is returned, and is the cause.
func watch(parent context.Context, decide func(context.Context) error) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	var mu sync.Mutex
	var timer *time.Timer
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(decidedFor, func() {
		if err := decide(ctx); err != nil {
			cancel(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil {
			timer.Reset(decidedFor)
		}
	})
	return ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		timer.Stop()
		cancel(nil)
	}
}

// decideAgain judges whether c, which was allowed, would be allowed now. It runs
// beside the request, so that neither c nor its record is touched.
func (g *Gateway) decideAgain(ctx context.Context, c *call) error {
	credential, err := c.credential.again(ctx)
	if err != nil {
		return err
	}
	again := &call{
		protocol: c.protocol, route: c.route, name: c.name,
		credential: credential, principal: credential.principal, access: g.access.Load(),
	}
	return g.choose(ctx, &record{}, again)
}
