package progress

import (
	"bytes"
	"io"
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
			r := &reporter{label: "get", show: megabytes}
			if got := r.line(tt.done, tt.total, tt.elapsed, tt.flow); got != tt.want {
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

func TestCount(t *testing.T) {
	var out bytes.Buffer
	all := func() int64 { return 640 }
	StartCount(&out, "Compiling", "packages", all, all)()
	if got, want := out.String(), "Compiling  [####################] 640 of 640 packages, took 0s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTerminalIsRedrawnInPlace(t *testing.T) {
	var out bytes.Buffer
	d := &Display{w: &out, terminal: true}
	none := func() int64 { return 0 }
	step := func(label string) *reporter {
		return &reporter{label: label, start: time.Now(), total: none, done: none}
	}
	boot, build := step("boot"), step("build")
	d.add(boot)
	d.add(build)
	const up = "\x1b[1A\x1b[2K"
	for _, change := range []struct {
		name string
		do   func()
		want string
	}{
		{"first drawing", func() { d.tick(boot) }, "boot  0s\nbuild  0s\n"},
		{"next drawing", func() { d.tick(build) }, up + up + "boot  0s\nbuild  0s\n"},
		{"a line above both", func() { io.WriteString(d, "hello\n") }, up + up + "hello\nboot  0s\nbuild  0s\n"},
		{"the second is done first", func() { d.remove(build) }, up + up + "build  0s\nboot  0s\n"},
		{"the last", func() { d.remove(boot) }, up + "boot  0s\n"},
		{"nothing is left to redraw", func() { io.WriteString(d, "bye\n") }, "bye\n"},
	} {
		out.Reset()
		change.do()
		if got := out.String(); got != change.want {
			t.Errorf("%s: got %q, want %q", change.name, got, change.want)
		}
	}
}

func TestLogOfTwoStepsHasNoControlCharacters(t *testing.T) {
	var out bytes.Buffer
	d := NewDisplay(&out)
	first, second := Start(d, "first", 0, nil), Start(d, "second", 0, nil)
	io.WriteString(d, "hello\n")
	second()
	first()
	if got, want := out.String(), "hello\nsecond  0s\nfirst  0s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
