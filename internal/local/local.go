// Package local says where the API of this computer listens: go run ./dev writes it
// down, and the programs that are run beside it in the same folder read it.
package local

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// UsualAPI is the URL of the API unless its port is taken or another one is set.
const UsualAPI = "http://127.0.0.1:8000"

// file, below the checkout's folder, has the URL while the API runs.
var file = filepath.Join(".dev", "api.url")

// API returns the URL of the API that go run ./dev runs in the current folder, or
// UsualAPI. A URL that leads to another computer is not taken.
func API() string {
	text, err := os.ReadFile(file)
	if err != nil {
		return UsualAPI
	}
	address := strings.TrimSpace(string(text))
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || !net.ParseIP(u.Hostname()).IsLoopback() || address != "http://"+u.Host {
		return UsualAPI
	}
	return address
}

// Announce writes down the URL of the API in the current folder.
func Announce(address string) error {
	if err := os.WriteFile(file, []byte(address+"\n"), 0o600); err != nil {
		return fmt.Errorf("local: %w", err)
	}
	return nil
}

// Withdraw takes back what Announce wrote, if that was address.
func Withdraw(address string) error {
	if API() != address {
		return nil
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("local: %w", err)
	}
	return nil
}
