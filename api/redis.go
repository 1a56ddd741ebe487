package main

import (
	"errors"
	"fmt"
	"log/slog"

	"keycloak-model-api/api/store"
	"keycloak-model-api/api/upstream"
)

// newStore returns the Redis at a URL, or nil for none. keys is the file with the
// keys that seal its records.
func newStore(url, keys, issuer string, getenv func(string) string, log *slog.Logger) (*store.Store, error) {
	if url == "" {
		return nil, nil
	}
	const name = "API_REDIS_PASSWORD"
	var password func() string
	if getenv(name) != "" || getenv(name+"_FILE") != "" {
		secret, err := upstream.NewSecret(name, getenv)
		if err != nil {
			return nil, fmt.Errorf("api: the password of redis: %w", err)
		}
		password = secret.Value
	}
	sealer, err := store.ReadSealer(keys)
	if err != nil {
		err = fmt.Errorf("api: -redis-keys: %w", err)
	}
	s, wrong := store.New(store.Config{URL: url, Password: password, Sealer: sealer, Issuer: issuer, Logger: log})
	if err := errors.Join(err, wrong); err != nil {
		return nil, err
	}
	return s, nil
}
