package keycloak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lock takes the advisory lock of the file at path, which it makes if needed,
// and waits for it until ctx is done. onWait, if not nil, is called once when
// another process has the lock. Closing the file gives the lock back.
//
// It is flock(2) itself since the file must be at hand: a child process that
// inherits it keeps the lock for as long as it lives, even if we are killed.
func lock(ctx context.Context, path string, onWait func()) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keycloak: lock: %w", err)
	}
	for first := true; ; first = false {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("keycloak: lock %s: %w", path, err)
		}
		if first && onWait != nil {
			onWait()
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
