package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pin keeps this process on one CPU, counted from 0, and returns what lets it
// go again. On a machine that lacks that CPU it does nothing.
func pin(cpu int) (unpin func()) {
	if runtime.NumCPU() < 2 || cpu >= runtime.NumCPU() {
		return func() {}
	}
	var before, one unix.CPUSet
	if unix.SchedGetaffinity(0, &before) != nil {
		return func() {}
	}
	one.Set(cpu)
	setAffinity(&one)
	procs := runtime.GOMAXPROCS(1)
	return func() {
		setAffinity(&before)
		runtime.GOMAXPROCS(procs)
	}
}

// pinThread keeps the calling thread on one CPU, as pin does.
func pinThread(cpu int) (unpin func()) {
	var before, one unix.CPUSet
	if cpu >= runtime.NumCPU() || unix.SchedGetaffinity(0, &before) != nil {
		return func() {}
	}
	one.Set(cpu)
	_ = unix.SchedSetaffinity(0, &one)
	return func() { _ = unix.SchedSetaffinity(0, &before) }
}

// familyUsage is what a process and those that it has started have used, as far as
// they are alive.
func familyUsage(pid int) (usage, error) {
	var sum usage
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(tasks) == 0 {
		return sum, fmt.Errorf("there is no process %d", pid)
	}
	for _, task := range tasks {
		if text, err := os.ReadFile(task + "/schedstat"); err == nil { // a thread may have ended
			ran, _, _ := strings.Cut(string(text), " ")
			ns, _ := strconv.ParseInt(ran, 10, 64)
			sum.CPU += time.Duration(ns)
		}
		children, _ := os.ReadFile(task + "/children")
		for _, child := range strings.Fields(string(children)) {
			if pid, err := strconv.Atoi(child); err == nil {
				used, _ := familyUsage(pid)
				sum.CPU, sum.RSS = sum.CPU+used.CPU, sum.RSS+used.RSS
			}
		}
	}
	// Memory that several share is shared out.
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Pss:" {
			kilobytes, _ := strconv.ParseUint(fields[1], 10, 64)
			sum.RSS += kilobytes << 10
		}
	}
	return sum, nil
}

// setAffinity is for all threads. A new thread has that of the one that made
// it, so a second pass finds what the first one missed.
func setAffinity(set *unix.CPUSet) {
	for range 2 {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return
		}
		for _, task := range tasks {
			if id, err := strconv.Atoi(task.Name()); err == nil {
				// A thread that has ended needs no CPU.
				_ = unix.SchedSetaffinity(id, set)
			}
		}
	}
}

// cpuTime is what this process has computed, and with children also what those
// of its children have that have ended.
func cpuTime(children bool) time.Duration {
	who := []int{unix.RUSAGE_SELF}
	if children {
		who = append(who, unix.RUSAGE_CHILDREN)
	}
	var sum int64
	for _, w := range who {
		var u unix.Rusage
		if unix.Getrusage(w, &u) == nil {
			sum += u.Utime.Nano() + u.Stime.Nano()
		}
	}
	return time.Duration(sum)
}

// residentBytes is 0 if it can't be told.
func residentBytes() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(string(fields[1]), 10, 64)
	return pages * uint64(os.Getpagesize())
}

// kernel names the operating system's kernel.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range bytes.Lines(text) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return runtime.GOARCH
}
