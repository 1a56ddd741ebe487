package upstream

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"keycloak-model-api/api/fresh"
)

// Secret is what a model server wants to see, or what this API wants to. Where it
// comes from a file, a new content counts within fresh.For. A file that can't be
// read or holds no secret leaves the one from before in force.
type Secret struct {
	value string // empty for one from a file
	file  *fresh.Value[string]
}

// NewSecret returns the secret that a policy names: the environment variable
// name or, when that is empty, the content of the file that name_FILE names.
func NewSecret(name string, getenv func(string) string) (*Secret, error) {
	s := &Secret{value: getenv(name)}
	if s.value != "" {
		return s, checkSecret(s.value)
	}
	path := getenv(name + "_FILE")
	if path == "" {
		return nil, fmt.Errorf("upstream: set %s to the secret, or %s_FILE to a file that holds it", name, name)
	}
	var err error
	if s.file, err = fresh.New(func() (string, error) { return readSecret(path) }, nil); err != nil {
		return nil, fmt.Errorf("upstream: %s_FILE: %w", name, err)
	}
	return s, nil
}

// Value returns the secret as of now.
func (s *Secret) Value() string {
	if s.file == nil {
		return s.value
	}
	return s.file.Get()
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
