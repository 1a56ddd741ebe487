package observe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// files are the contents of a folder, in the order of names.
func files(t *testing.T, folder string) (contents []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, string(content))
	}
	return contents
}

// A file begins anew between two lines. The newest old ones stay, and files that
// only look like old ones do.
func TestRotation(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "audit.log")
	now := time.Date(2026, 11, 25, 17, 0, 0, 0, time.UTC)
	if err := os.WriteFile(path+".20261125", []byte("not ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, 20, 2, func() time.Time { now = now.Add(time.Second); return now })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		if _, err := fmt.Fprintf(f, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	got := strings.Join(files(t, folder), "|")
	if want := "line 6\nline 7\n|not ours|line 2\nline 3\n|line 4\nline 5\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: want 0600", info.Mode(), err)
	}
	// Another start goes on where this one ended.
	if f, err = OpenFile(path, 20, 2, time.Now); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("line 8\n")); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "line 8\n" {
		t.Errorf("after a start: %q, %v", content, err)
	}
}

// The rest of a line, of which a full disk took a part, goes where its begin is.
func TestRotationSplitsNoLine(t *testing.T) {
	folder := t.TempDir()
	f, err := OpenFile(filepath.Join(folder, "audit.log"), 10, 0, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"1234567", "890\n", "next\n"} {
		if _, err := f.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(files(t, folder), "|"); got != "next\n|1234567890\n" {
		t.Errorf("got %q", got)
	}
}

// logrotate moves the file away, or removes it, and says nothing.
func TestFileIsMovedAway(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "audit.log")
	f, err := OpenFile(path, 0, 0, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	write := func(line string) {
		t.Helper()
		if _, err := f.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("two\n")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write("three\n")
	if got := strings.Join(files(t, folder), "|"); got != "three\n|one\n" {
		t.Errorf("got %q", got)
	}
}

// A folder that is gone is a failure that the log tries again, and the file is
// there when the folder is.
func TestFolderIsGone(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(filepath.Join(folder, "audit.log"), 0, 0, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := f.Write([]byte("line\n")); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("error %v, want ENOENT", err)
		}
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("line\n")); err != nil {
		t.Error(err)
	}
	if got := strings.Join(files(t, folder), "|"); got != "line\n" {
		t.Errorf("got %q", got)
	}
}

// A file that can't be made is told at once.
func TestOpenFile(t *testing.T) {
	if _, err := OpenFile(filepath.Join(t.TempDir(), "missing", "audit.log"), 0, 0, time.Now); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("error %v, want ENOENT", err)
	}
}
