package upstream

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Secret is what a model server wants to see, or what this API wants to. Where it comes from a file, a new
// content counts within secretFor. A file that can't be read or holds no secret
// leaves the one from before in force.
type Secret struct {
	path string // empty for one that never changes

	mu    sync.Mutex
	value string
	read  time.Time
}

const secretFor = 5 * time.Second

// NewSecret returns the secret that a policy names: the environment variable
// name or, when that is empty, the content of the file that name_FILE names.
func NewSecret(name string, getenv func(string) string) (*Secret, error) {
	s := &Secret{value: getenv(name), read: time.Now()}
	if s.value != "" {
		return s, checkSecret(s.value)
	}
	if s.path = getenv(name + "_FILE"); s.path == "" {
		return nil, fmt.Errorf("upstream: set %s to the secret, or %s_FILE to a file that holds it", name, name)
	}
	var err error
	if s.value, err = readSecret(s.path); err != nil {
		return nil, fmt.Errorf("upstream: %s_FILE: %w", name, err)
	}
	return s, nil
}

// Value returns the secret as of now.
func (s *Secret) Value() string {
	if s.path == "" {
		return s.value
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.read) >= secretFor {
		s.read = now
		if value, err := readSecret(s.path); err == nil {
			s.value = value
		}
	}
	return s.value
}

func readSecret(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(content))
	if secret == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return secret, checkSecret(secret)
}

func checkSecret(secret string) error {
	if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("upstream: the credential has a space, a line break or a character outside ASCII in it")
	}
	return nil
}
