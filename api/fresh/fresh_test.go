package fresh_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/fresh"
)

// A new value counts within For; what can't be read leaves the old one in force, and
// is told once for each reason.
func TestValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		value, err := "one", error(nil)
		var told []string
		v, first := fresh.New(func() (string, error) { return value, err }, func(err error) { told = append(told, err.Error()) })
		if first != nil {
			t.Fatal(first)
		}
		want := func(after time.Duration, want string) {
			t.Helper()
			time.Sleep(after)
			if got := v.Get(); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		value = "two"
		want(fresh.For-1, "one")
		want(1, "two")
		value, err = "", errors.New("gone")
		want(fresh.For, "two")
		want(fresh.For, "two")
		err = errors.New("broken")
		want(fresh.For, "two")
		value, err = "three", nil
		want(fresh.For, "three")
		err = errors.New("broken")
		want(fresh.For, "three")
		if !slices.Equal(told, []string{"gone", "broken", "broken"}) {
			t.Errorf("told %q", told)
		}
	})
	if _, err := fresh.New(func() (int, error) { return 0, errors.New("gone") }, nil); err == nil {
		t.Error("nothing to begin with")
	}
}
