package render

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Keycloak's own defaults for a password's hash, argon2id version 1.3.
const (
	hashTime   = 5
	hashMemory = 7168 // KiB
	hashLength = 32   // bytes
	saltLength = 16   // bytes
)

// hashPasswords replaces the plain passwords of users by the hashes that
// Keycloak would make of them. Keycloak takes 50 ms of one core for each, one
// after the other; this takes a fraction of it on all cores. A realm whose
// policy chooses the hash gets the passwords plain.
func hashPasswords(ctx context.Context, users []object, policy string, random io.Reader) error {
	if strings.Contains(policy, "hashAlgorithm") || strings.Contains(policy, "hashIterations") {
		return nil
	}
	var salts [][]byte
	var credentials []object
	for _, u := range users {
		list, _ := u["credentials"].([]object)
		if len(list) == 0 {
			continue
		}
		salt := make([]byte, saltLength)
		if _, err := io.ReadFull(random, salt); err != nil {
			return fmt.Errorf("salt: %w", err)
		}
		hashed := object{"type": list[0]["type"], "temporary": list[0]["temporary"], "value": list[0]["value"]}
		u["credentials"] = []object{hashed}
		salts, credentials = append(salts, salt), append(credentials, hashed)
	}
	indexes := make([]int, len(salts))
	for i := range indexes {
		indexes[i] = i
	}
	return each(ctx, runtime.NumCPU(), indexes, func(_ context.Context, i int) error {
		c := credentials[i]
		value := argon2.IDKey([]byte(c["value"].(string)), salts[i], hashTime, hashMemory, 1, hashLength)
		delete(c, "value")
		var err error
		if c["secretData"], err = embed(object{
			"value": base64.StdEncoding.EncodeToString(value), "salt": base64.StdEncoding.EncodeToString(salts[i]), "additionalParameters": object{},
		}); err != nil {
			return err
		}
		c["credentialData"], err = embed(object{
			"algorithm": "argon2", "hashIterations": hashTime,
			"additionalParameters": object{
				"type": []string{"id"}, "version": []string{"1.3"}, "hashLength": []string{text(hashLength)},
				"memory": []string{text(hashMemory)}, "parallelism": []string{"1"},
			},
		})
		return err
	})
}

// embed is JSON in a string, as Keycloak has it in credentials.
func embed(v any) (string, error) {
	bytes, err := json.Marshal(v)
	return string(bytes), err
}
