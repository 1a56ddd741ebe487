package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/internal/clock"
)

// TestAges: the wall clock steps by offset while the monotonic one passes by.
func TestAges(t *testing.T) {
	const day = 25 * time.Hour
	for _, row := range []struct {
		name             string
		passed, offset   time.Duration
		oldest, youngest time.Duration
		stepped          bool
	}{
		{"both run alike", time.Minute, 0, time.Minute, time.Minute, false},
		{"set ahead by 25 h", time.Minute, day, day + time.Minute, time.Minute, true},
		{"set back by 25 h", time.Minute, -day, time.Minute, time.Minute - day, true},
		{"suspended for 25 h (golang/go#24595)", 0, day, day, 0, true},
		{"slewed by 5 s", time.Minute, 5 * time.Second, time.Minute + 5*time.Second, time.Minute, false},
		{"set ahead by a little more", time.Minute, 5*time.Second + 1, time.Minute + 5*time.Second + 1, time.Minute, true},
		{"set back by a little more", time.Minute, -5*time.Second - 1, time.Minute, 55*time.Second - 1, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var offset time.Duration
				c := clock.New(func() time.Time { return time.Now().Add(offset) })
				then := c.Now()
				time.Sleep(row.passed)
				offset = row.offset
				now := c.Now()
				if now.Oldest(then) != row.oldest || now.Youngest(then) != row.youngest || now.Stepped(then) != row.stepped {
					t.Errorf("oldest %v, youngest %v, stepped %t", now.Oldest(then), now.Youngest(then), now.Stepped(then))
				}
				if want := time.Now().Add(offset); !now.Time().Equal(want) || now.Unix() != want.Unix() {
					t.Errorf("reads %v, want %v", now.Time(), want)
				}
			})
		})
	}
	t.Run("the system's", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := clock.New(nil)
			then := c.Now()
			time.Sleep(time.Hour)
			if now := c.Now(); now.Oldest(then) != time.Hour || now.Youngest(then) != time.Hour || !now.Time().Equal(time.Now()) {
				t.Errorf("oldest %v, youngest %v", now.Oldest(then), now.Youngest(then))
			}
		})
	})
}
