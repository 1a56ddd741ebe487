//go:build !linux

package main

import (
	"runtime"
	"time"
)

// Without Linux nothing is pinned, and the columns for CPU and resident memory
// are empty.
func pin(int) (unpin func())       { return func() {} }
func pinThread(int) (unpin func()) { return func() {} }
func cpuTime(bool) time.Duration   { return 0 }
func residentBytes() uint64        { return 0 }
func kernel() string               { return runtime.GOOS }
func cpuModel() string             { return runtime.GOARCH }

func familyUsage(int) (usage, error) { return usage{}, nil }
