package bearer

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/internal/clock"
)

// TestStepsForgetVerifiedTokens: what was verified before a step of the wall
// clock or a suspend is verified again, though nothing else of it has changed.
func TestStepsForgetVerifiedTokens(t *testing.T) {
	for _, row := range []struct {
		name         string
		passed, step time.Duration
		usable       bool
	}{
		{"at once", 0, 0, true},
		{"a minute later", time.Minute, 0, true},
		{"at the end of its time in the cache", cacheTTL, 0, false},
		{"set ahead by 25 h", time.Minute, 25 * time.Hour, false},
		{"set back by 25 h", time.Minute, -25 * time.Hour, false},
		{"suspended for 25 h (golang/go#24595)", 0, 25 * time.Hour, false},
		{"suspended for 6 s", 0, 6 * time.Second, false},
		{"set back by 6 s", 0, -6 * time.Second, false},
		{"set back by 5 s", time.Minute, -5 * time.Second, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var step time.Duration
				c := clock.New(func() time.Time { return time.Now().Add(step) })
				e := &verified{key: &signingKey{}, at: c.Now(), until: math.MaxInt64, expiry: math.MaxInt64 / 2}
				time.Sleep(row.passed)
				step = row.step
				if got := e.usable(c.Now(), cacheTTL, 30); got != row.usable {
					t.Errorf("usable: %t, want %t", got, row.usable)
				}
			})
		})
	}
}
