package monitor

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
)

const project = `name: demo
runtime: go
config:
  realm: {type: string, default: example}
  count: {type: integer, default: 3}
  on: {type: boolean, default: true}
  models: {type: array, items: {type: object}, default: []}
  clientSecrets: {type: object, default: {}}
  keycloak:initialLogin: {value: false}
`

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func none(string) string { return "" }

func TestConfigIsWhatTheCLIGives(t *testing.T) {
	dir := write(t, map[string]string{"Pulumi.yaml": project, "Pulumi.dev.yaml": `config:
  demo:realm: mine
  demo:models:
    - name: iris
      roles: [a, b]
  keycloak:url: http://localhost
`})
	c, err := LoadConfig(dir, "dev", none)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"demo:realm": "mine", "demo:count": "3", "demo:on": "true", "demo:clientSecrets": "{}",
		"demo:models":           `[{"name":"iris","roles":["a","b"]}]`,
		"keycloak:initialLogin": "false", "keycloak:url": "http://localhost",
	}
	if diff := cmp.Diff(want, c.Values); diff != "" {
		t.Error(diff)
	}
	if len(c.Secrets) != 0 {
		t.Errorf("secrets %v", c.Secrets)
	}
}

func TestSecretsAreAddedBesideThoseThatAreThere(t *testing.T) {
	c := &Config{Project: "demo", Values: map[string]string{"demo:clientSecrets": `{"api":"given"}`}}
	if err := c.AddSecrets("clientSecrets", map[string]string{"api": "made", "web": "made too"}); err != nil {
		t.Fatal(err)
	}
	got, err := c.Object("clientSecrets")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"api": "given", "web": "made too"}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"demo:clientSecrets"}, c.Secrets); diff != "" {
		t.Error(diff)
	}
}

func TestEncryptedValues(t *testing.T) {
	salt := []byte("12345678")
	crypter := config.NewSymmetricCrypterFromPassphrase("open sesame", salt)
	encrypt := func(s string) string {
		text, err := crypter.EncryptValue(context.Background(), s)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	dir := write(t, map[string]string{
		"Pulumi.yaml": project,
		"Pulumi.dev.yaml": "encryptionsalt: v1:" + base64.StdEncoding.EncodeToString(salt) + ":" + encrypt("pulumi") + `
config:
  demo:clientSecrets:
    api:
      secure: ` + encrypt("s3cret") + "\n",
		"passphrase": "open sesame\n",
	})
	for _, test := range []struct {
		name, want string // an error, or empty
		env        map[string]string
	}{
		{"passphrase", "", map[string]string{"PULUMI_CONFIG_PASSPHRASE": "open sesame"}},
		{"its file", "", map[string]string{"PULUMI_CONFIG_PASSPHRASE_FILE": filepath.Join(dir, "passphrase")}},
		{"none", "set PULUMI_CONFIG_PASSPHRASE", nil},
		{"wrong", "not the one that this stack was encrypted with", map[string]string{"PULUMI_CONFIG_PASSPHRASE": "sesame"}},
		{"no such file", "PULUMI_CONFIG_PASSPHRASE_FILE", map[string]string{"PULUMI_CONFIG_PASSPHRASE_FILE": filepath.Join(dir, "none")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := LoadConfig(dir, "dev", func(name string) string { return test.env[name] })
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want one with %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Values["demo:clientSecrets"]; got != `{"api":"s3cret"}` {
				t.Errorf("value %q", got)
			}
			if diff := cmp.Diff([]string{"demo:clientSecrets"}, c.Secrets); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEncryptedForAnotherProvider(t *testing.T) {
	dir := write(t, map[string]string{"Pulumi.yaml": project, "Pulumi.dev.yaml": "config:\n  demo:realm:\n    secure: abc\n"})
	if _, err := LoadConfig(dir, "dev", none); err == nil || !strings.Contains(err.Error(), "only the Pulumi CLI can decrypt") {
		t.Error(err)
	}
}

func TestMissingStack(t *testing.T) {
	dir := write(t, map[string]string{"Pulumi.yaml": project})
	if _, err := LoadConfig(dir, "prod", none); err == nil || !strings.Contains(err.Error(), `no stack "prod"`) {
		t.Error(err)
	}
}

func TestConfigTooLargeForAProgram(t *testing.T) {
	c := &Config{Project: "demo", Values: map[string]string{"demo:users": strings.Repeat("u", 128<<10), "demo:realm": "r"}}
	if _, err := c.environment(); err == nil || !strings.Contains(err.Error(), "demo:users") {
		t.Error(err)
	}
}
