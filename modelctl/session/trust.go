package session

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// trustFile remembers which issuer the person confirmed for which API. It
// outlives the sign-ins.
const trustFile = "trust.json"

// Trusted returns the issuer that the person confirmed for an API, empty when
// there is none. Nobody else may say where to sign in for it (RFC 9728,
// sections 3.3 and 7.3: anybody can claim to be a resource of any issuer).
func (m *Manager) Trusted(api string) (issuer string, err error) {
	issuers, err := m.trusted()
	return issuers[api], err
}

// Trust remembers that the person confirmed an issuer for an API.
func (m *Manager) Trust(ctx context.Context, api, issuer string) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	issuers, err := m.trusted()
	if err != nil || issuers[api] == issuer {
		return err
	}
	issuers[api] = issuer
	data, err := json.Marshal(issuers, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	return writeFile(m.path(trustFile), data)
}

func (m *Manager) trusted() (map[string]string, error) {
	issuers := map[string]string{}
	data, err := os.ReadFile(m.path(trustFile))
	if errors.Is(err, os.ErrNotExist) {
		return issuers, nil
	}
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	if err := json.Unmarshal(data, &issuers); err != nil {
		return nil, fmt.Errorf("session: %s is damaged, remove it to be asked again: %w", m.path(trustFile), err)
	}
	return issuers, nil
}
