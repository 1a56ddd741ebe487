package proxy

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// CheckListen says why the proxy can't listen on an address: it is for this
// computer alone.
func CheckListen(address string) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil || a.Addr() != netip.AddrFrom4([4]byte{127, 0, 0, 1}) && a.Addr() != netip.IPv6Loopback() {
		return fmt.Errorf("%q is not 127.0.0.1 or [::1] with a port, such as 127.0.0.1:8484", address)
	}
	return nil
}

// Listen opens an address that CheckListen lets pass.
func Listen(address string) (net.Listener, error) {
	if err := CheckListen(address); err != nil {
		return nil, err
	}
	return net.Listen("tcp", address)
}

// ListenUnix opens a Unix socket that only its owner can connect to (mode 0600). The
// socket of a proxy that has died is replaced.
func ListenUnix(name string) (net.Listener, error) {
	if err := replaceable(name); err != nil {
		return nil, err
	}
	// In a folder that nobody else can enter, so that there is no moment in which
	// the socket is there with another mode.
	private, err := os.MkdirTemp(filepath.Dir(name), ".")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	hidden := filepath.Join(private, "s")
	l, err := net.Listen("unix", hidden)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it has moved
	if err := errors.Join(os.Chmod(hidden, 0o600), os.Rename(hidden, name)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &socket{l, name}, nil
}

// socket removes its file when it is closed.
type socket struct {
	net.Listener
	name string
}

func (s *socket) Close() error { return errors.Join(s.Listener.Close(), remove(s.name)) }

func remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// replaceable says why a socket can't take the place of what has this name.
func replaceable(name string) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and no socket: name another file", name)
	}
	if c, err := net.DialTimeout("unix", name, time.Second); err == nil {
		_ = c.Close()
		return fmt.Errorf("another program listens on %s: stop it, or name another file", name)
	}
	return nil
}
