package proxy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/go-json-experiment/json"
)

// Running is what the other commands know of a proxy that runs: its file, which
// only its owner can read.
type Running struct {
	URL    string `json:"url"`              // base URL for tools
	Socket string `json:"socket,omitempty"` // Unix socket instead of a port; the host in URL is then a name only
	Key    string `json:"key"`
	PID    int    `json:"pid"`
}

// ErrNotRunning says that no proxy has left a file.
var ErrNotRunning = errors.New("no proxy runs: start one by modelctl proxy")

// ReadRunning reads what Write has written.
func ReadRunning(name string) (*Running, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	var r Running
	if err := json.Unmarshal(data, &r); err != nil || r.Key == "" {
		return nil, fmt.Errorf("%s is damaged: start modelctl proxy again", name)
	}
	return &r, nil
}

// Write replaces the file at once, with mode 0600. Remove it when the proxy ends.
func (r *Running) Write(name string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	fresh := fmt.Sprintf("%s.%d", name, r.PID)
	if err := remove(fresh); err != nil {
		return err
	}
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, remove(fresh))
	}
	return os.Rename(fresh, name)
}

// Forget removes the file, unless another proxy has written it since.
func (r *Running) Forget(name string) error {
	if now, err := ReadRunning(name); err != nil || now.Key != r.Key {
		return nil
	}
	return remove(name)
}
