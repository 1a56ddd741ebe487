package monitor

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
)

// Config is a stack's configuration as the Pulumi CLI hands it to a program:
// each value is a string, structures are compact JSON, and the keys have their
// namespace ("keycloak-model-api:realm").
type Config struct {
	Project string            // name in Pulumi.yaml
	Stack   string            // name of the stack
	Values  map[string]string // by key with namespace
	Secrets []string          // keys of Values that are, or hold, a secret; sorted
}

// LoadConfig reads Pulumi.yaml and Pulumi.<stack>.yaml in dir. A key that the
// stack leaves out has the default of Pulumi.yaml. Values marked "secure:" are
// decrypted with the passphrase that getenv knows as PULUMI_CONFIG_PASSPHRASE,
// or whose file it knows as PULUMI_CONFIG_PASSPHRASE_FILE.
func LoadConfig(dir, stack string, getenv func(string) string) (*Config, error) {
	path := filepath.Join(dir, "Pulumi.yaml")
	project, err := workspace.LoadProject(path)
	if err != nil {
		return nil, fmt.Errorf("monitor: %w", err)
	}
	file := filepath.Join(dir, cmp.Or(project.StackConfigDir, "."), "Pulumi."+stack+".yaml")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("monitor: there is no stack %q: %s is missing", stack, file)
	}
	declared, err := workspace.LoadProjectStack(nil, project, file)
	if err != nil {
		return nil, fmt.Errorf("monitor: %s: %w", file, err)
	}

	decrypter := config.NopDecrypter
	if declared.Config.HasSecureValue() {
		if decrypter, err = passphraseDecrypter(declared.EncryptionSalt, getenv); err != nil {
			return nil, fmt.Errorf("monitor: %s has encrypted values: %w", file, err)
		}
	}
	values, err := declared.Config.Decrypt(decrypter)
	if err != nil {
		return nil, fmt.Errorf("monitor: decrypting the values of %s: %w", file, err)
	}

	c := &Config{Project: string(project.Name), Stack: stack, Values: map[string]string{}}
	for key, value := range values {
		c.Values[key.String()] = value
	}
	for _, key := range declared.Config.SecureKeys() {
		c.Secrets = append(c.Secrets, key.String())
	}
	for key, declaration := range project.Config {
		if !strings.Contains(key, ":") {
			key = c.Project + ":" + key
		}
		value := cmp.Or(declaration.Value, declaration.Default)
		if _, given := c.Values[key]; given || value == nil {
			continue
		}
		if c.Values[key], err = configText(value); err != nil {
			return nil, fmt.Errorf("monitor: %s: the default of %s: %w", path, key, err)
		}
	}
	slices.Sort(c.Secrets)
	return c, nil
}

// Object returns the value of a key that holds an object of strings, empty if
// the key isn't set.
func (c *Config) Object(key string) (map[string]string, error) {
	object := map[string]string{}
	if text := c.Values[c.Project+":"+key]; text != "" {
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			return nil, fmt.Errorf("monitor: %s:%s is not an object of strings", c.Project, key)
		}
	}
	return object, nil
}

// AddSecrets sets entries of a key that holds an object of secrets, as
// "pulumi config set --secret --path" would, and keeps those that are there.
func (c *Config) AddSecrets(key string, entries map[string]string) error {
	object, err := c.Object(key)
	if err != nil {
		return err
	}
	for name, value := range entries {
		if _, given := object[name]; !given {
			object[name] = value
		}
	}
	text, err := configText(object)
	if err != nil {
		return fmt.Errorf("monitor: %s: %w", key, err)
	}
	c.setSecret(key, text)
	return nil
}

// AddSecret sets a key that holds one secret, as "pulumi config set --secret" would,
// unless it is set.
func (c *Config) AddSecret(key, value string) {
	if c.Values[c.Project+":"+key] == "" {
		c.setSecret(key, value)
	}
}

func (c *Config) setSecret(key, text string) {
	key = c.Project + ":" + key
	c.Values[key] = text
	if at, found := slices.BinarySearch(c.Secrets, key); !found {
		c.Secrets = slices.Insert(c.Secrets, at, key)
	}
}

// configText is a value of YAML as the program gets it.
func configText(value any) (string, error) {
	if text, ok := value.(string); ok {
		return text, nil
	}
	text, err := json.Marshal(value)
	return string(text), err
}

// passphraseDecrypter makes the decrypter of a stack whose secrets provider is
// a passphrase. salt is "v1:" + base64 salt + ":" + a value that decrypts to
// "pulumi" if the passphrase is right.
func passphraseDecrypter(salt string, getenv func(string) string) (config.Decrypter, error) {
	if salt == "" {
		return nil, errors.New("without an encryptionsalt only the Pulumi CLI can decrypt them: use pulumi up, or a stack whose secrets " +
			"provider is a passphrase")
	}
	passphrase := getenv("PULUMI_CONFIG_PASSPHRASE")
	if file := getenv("PULUMI_CONFIG_PASSPHRASE_FILE"); passphrase == "" && file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("PULUMI_CONFIG_PASSPHRASE_FILE: %w", err)
		}
		passphrase = strings.TrimSpace(string(text))
	}
	if passphrase == "" {
		return nil, errors.New("set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE to the stack's passphrase")
	}
	parts := strings.SplitN(salt, ":", 3)
	if len(parts) != 3 || parts[0] != "v1" {
		return nil, errors.New("encryptionsalt is not of the form v1:SALT:CHECK")
	}
	bytes, err := base64.StdEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, fmt.Errorf("encryptionsalt: %w", err)
	}
	crypter := config.NewSymmetricCrypterFromPassphrase(passphrase, bytes)
	if check, err := crypter.DecryptValue(context.Background(), parts[2]); err != nil || check != "pulumi" {
		return nil, errors.New("the passphrase is not the one that this stack was encrypted with")
	}
	return crypter, nil
}

// environment is what Pulumi's Go language host sets for a program.
func (c *Config) environment() (map[string]string, error) {
	values, err := json.Marshal(c.Values)
	if err != nil {
		return nil, err
	}
	// Linux refuses a single variable of 128 KiB or more, with a message that
	// names neither the variable nor the reason.
	const limit = 128<<10 - len("PULUMI_CONFIG=") - 1
	if len(values) > limit {
		largest := slices.MaxFunc(slices.Collect(maps.Keys(c.Values)), func(a, b string) int {
			return cmp.Compare(len(c.Values[a]), len(c.Values[b]))
		})
		return nil, fmt.Errorf("monitor: the stack's configuration is %d bytes and Linux lets a program have %d: move what makes %s "+
			"large (%d bytes) to a file",
			len(values), limit, largest, len(c.Values[largest]))
	}
	secrets, err := json.Marshal(c.Secrets)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"PULUMI_CONFIG":             string(values),
		"PULUMI_CONFIG_SECRET_KEYS": string(secrets),
		"PULUMI_PROJECT":            c.Project,
		"PULUMI_STACK":              c.Stack,
	}, nil
}
