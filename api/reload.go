package main

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"time"

	"keycloak-model-api/api/gateway"
	"keycloak-model-api/api/observe"
)

// watchInterval is how often the stack's file is read. It is read, and not
// subscribed to: that holds for network file systems too, and for files that
// reach a container as a mount or by the links of a ConfigMap.
const watchInterval = time.Second

// watch calls reload when the content of a file has changed and then stood still
// for an interval, so that half a file is no change, and for each value of now.
// It returns when ctx ends. The content of which seen is the digest is no change.
func watch(ctx context.Context, path string, seen digest, now <-chan os.Signal, reload func()) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	last := seen // at the last tick
	for {
		select {
		case <-now:
			seen = digestOf(path)
			last = seen
			reload()
		case <-tick.C:
			before := last
			last = digestOf(path)
			if last == before && last != seen {
				seen = last
				reload()
			}
		case <-ctx.Done():
			return
		}
	}
}

// digest stands for the content of a file; the zero one for a file that can't be read.
type digest [sha256.Size]byte

func digestOf(path string) (d digest) {
	if content, err := os.ReadFile(path); err == nil {
		d = sha256.Sum256(content)
	}
	return d
}

// reload takes over a changed policy.
func reload(g *gateway.Gateway, path string, metrics *observe.Metrics, log *slog.Logger) {
	outputs, err := readStack(path)
	if err == nil {
		err = g.Reload(outputs)
	}
	if err != nil {
		metrics.PolicyRefused()
		log.Error("policy not reloaded: the one from before stays in force", "err", err)
		return
	}
	log.Info("policy reloaded", "models", len(outputs.Policy.Models), "generation", g.Generation())
}
