package observe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// File is a file of lines, which begins anew before it would grow beyond a
// bound. The old one stays beside it with the time in its name. It is what a
// Log writes to, so one goroutine uses it at a time.
//
// It is opened again when something else stands at its path, as after logrotate.
type File struct {
	path    string
	largest int64 // bytes; 0 means no limit
	keep    int   // old files; 0 means all
	now     func() time.Time

	file    *os.File // nil after a failure
	size    int64
	midLine bool // what was written last has no line break at its end
}

// oldStamp is the time in the names of old files, in UTC.
const oldStamp = "20060102T150405.000000000Z"

var oldName = regexp.MustCompile(`^\.\d{8}T\d{6}\.\d{9}Z$`)

// OpenFile opens or makes a file that only its owner can read.
func OpenFile(path string, largest int64, keep int, now func() time.Time) (*File, error) {
	f := &File{path: path, largest: largest, keep: keep, now: now}
	return f, f.open()
}

// Write appends whole lines, or the rest of one.
func (f *File) Write(lines []byte) (int, error) {
	if err := f.ready(int64(len(lines))); err != nil {
		return 0, err
	}
	n, err := f.file.Write(lines)
	f.size += int64(n)
	if n > 0 {
		f.midLine = lines[n-1] != '\n'
	}
	if err != nil {
		return n, fmt.Errorf("observe: %w", err)
	}
	return n, nil
}

// ready makes sure that there is an open file with room for n bytes.
func (f *File) ready(n int64) error {
	if f.file != nil && !f.midLine && f.moved() {
		f.close()
	}
	if f.file == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.largest > 0 && f.size > 0 && f.size+n > f.largest && !f.midLine {
		return f.rotate()
	}
	return nil
}

// moved tells whether the path leads to another file than the open one.
func (f *File) moved() bool {
	there, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	open, openErr := f.file.Stat()
	return err == nil && openErr == nil && !os.SameFile(there, open)
}

func (f *File) open() error {
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("observe: %w", err)
	}
	f.file, f.size = file, info.Size()
	return nil
}

// rotate begins a new file. Without the right to do so the old one goes on: a
// record in a file that is too large is better than none.
func (f *File) rotate() error {
	if err := os.Rename(f.path, f.path+"."+f.now().UTC().Format(oldStamp)); err != nil {
		return nil
	}
	f.close()
	if err := f.open(); err != nil {
		return err
	}
	f.drop()
	return nil
}

// drop removes the oldest of the old files. What can't be removed stays.
func (f *File) drop() {
	entries, err := os.ReadDir(filepath.Dir(f.path))
	if err != nil || f.keep <= 0 {
		return
	}
	var old []string // in the order of time
	base := filepath.Base(f.path)
	for _, e := range entries {
		if len(e.Name()) > len(base) && e.Name()[:len(base)] == base && oldName.MatchString(e.Name()[len(base):]) {
			old = append(old, e.Name())
		}
	}
	slices.Sort(old)
	for _, name := range old[:max(len(old)-f.keep, 0)] {
		_ = os.Remove(filepath.Join(filepath.Dir(f.path), name))
	}
}

func (f *File) close() {
	f.file.Close()
	f.file = nil
}
