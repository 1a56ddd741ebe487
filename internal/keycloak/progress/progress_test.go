package progress

import (
	"bytes"
	"testing"
	"time"
)

func TestLine(t *testing.T) {
	tests := []struct {
		name        string
		done, total int64
		elapsed     time.Duration
		flow        time.Duration
		want        string
	}{
		{"nothing yet has no time left", 0, 100e6, 3 * time.Second, 3 * time.Second, "get  [....................] 0.0 MB of 100.0 MB, 3s"},
		{"a quarter leaves three times the time", 25e6, 100e6, 10 * time.Second, 10 * time.Second, "get  [#####...............] 25.0 MB of 100.0 MB, 30s left"},
		{"preparations don't count", 50e6, 100e6, 20 * time.Second, 4 * time.Second, "get  [##########..........] 50.0 MB of 100.0 MB, 4s left"},
		{"minutes", 1e6, 100e6, time.Second, time.Second, "get  [....................] 1.0 MB of 100.0 MB, 1m39s left"},
		{"complete", 100e6, 100e6, 12 * time.Second, 12 * time.Second, "get  [####################] 100.0 MB of 100.0 MB, took 12s"},
		{"more than expected stays in the bar", 101e6, 100e6, time.Second, time.Second, "get  [####################] 100.0 MB of 100.0 MB, took 1s"},
		{"unknown size", 7, 0, 1400 * time.Millisecond, 1400 * time.Millisecond, "get  1s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := line("get", tt.done, tt.total, tt.elapsed, tt.flow); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestStopWritesTheLastLineOnce(t *testing.T) {
	var out bytes.Buffer
	stop := Start(&out, "get", 10e6, func() int64 { return 10e6 })
	stop()
	stop()
	if got, want := out.String(), "get  [####################] 10.0 MB of 10.0 MB, took 0s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTerminalIsRedrawnInPlace(t *testing.T) {
	var out bytes.Buffer
	r := &reporter{w: &out, label: "boot", terminal: true, start: time.Now(), done: func() int64 { return 0 }}
	r.write("")
	r.write("\n")
	if got, want := out.String(), "\rboot  0s\x1b[K\rboot  0s\x1b[K\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
