package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/rogpeppe/go-internal/testscript"

	"keycloak-model-api/internal/monitor"
)

// Programs that the scripts run as if they were the stack's.
func TestMain(m *testing.M) {
	program := func(body pulumi.RunFunc) func() { return func() { pulumi.Run(body) } }
	register := func(ctx *pulumi.Context, token string, inputs pulumi.Map) error {
		var r struct{ pulumi.CustomResourceState }
		return ctx.RegisterResource(token, "x", inputs, &r)
	}
	testscript.Main(m, map[string]func(){
		"stack": main,
		"unknown-type": program(func(ctx *pulumi.Context) error {
			return register(ctx, "keycloak:index/unheardOf:UnheardOf", pulumi.Map{})
		}),
		"unknown-input": program(func(ctx *pulumi.Context) error {
			return register(ctx, "keycloak:index/realm:Realm", pulumi.Map{"realm": pulumi.String("x"), "unheardOf": pulumi.String("y")})
		}),
		"fails":     program(func(*pulumi.Context) error { return errors.New("it did not work") }),
		"no-pulumi": func() {},
	})
}

func TestCommand(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

// stackIn writes a project with one stack, dev.
func stackIn(t *testing.T, config string) *program {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"Pulumi.yaml": "name: p\nruntime: go\n", "Pulumi.dev.yaml": "config:\n" + config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "more.csv"), []byte("username,password\nlisted,temporary\nwithout-either,\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &program{
		options: options{dir: dir, stack: "dev", state: filepath.Join(dir, ".dev")},
		getenv:  func(string) string { return "" }, stderr: io.Discard,
	}
}

const people = `
  p:environment: dev
  p:clients:
    - {clientId: api, kind: api}
    - {clientId: given, kind: web}
    - {clientId: public, kind: cli}
    - {clientId: keys, kind: service, authentication: jwt}
  p:clientSecrets: {given: theirs}
  p:users:
    - {username: by-default}
    - {username: permanent, password: permanent}
    - {username: without, password: none}
  p:usersFile: more.csv
  p:identityProviders:
    - {alias: other}
  p:ldap:
    - {name: corp, bindDn: cn=reader}
    - {name: anonymous}
  p:smtp: {host: mail, user: mailer}
`

func TestSecretsAreMade(t *testing.T) {
	p := stackIn(t, people)
	read := func() map[string]map[string]string {
		c, err := p.config()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]map[string]string{}
		for _, key := range []string{"clientSecrets", "federationSecrets", "initialPasswords"} {
			if got[key], err = c.Object(key); err != nil {
				t.Fatal(err)
			}
		}
		got["smtpPassword"] = map[string]string{"mailer": c.Values["p:smtpPassword"]}
		if diff := cmp.Diff([]string{"p:clientSecrets", "p:federationSecrets", "p:initialPasswords", "p:smtpPassword"}, c.Secrets); diff != "" {
			t.Errorf("secret keys (-want +got):\n%s", diff)
		}
		return got
	}
	first := read()
	for key, names := range map[string][]string{
		"clientSecrets": {"api", "given"}, "initialPasswords": {"by-default", "permanent", "listed"}, "federationSecrets": {"other", "corp"}, "smtpPassword": {"mailer"},
	} {
		if len(first[key]) != len(names) {
			t.Errorf("%s has %d secrets, want %v", key, len(first[key]), names)
		}
		for _, name := range names {
			if name == "given" {
				continue
			}
			if len(first[key][name]) < 26 {
				t.Errorf("%s[%s] is %d characters long", key, name, len(first[key][name]))
			}
		}
	}
	if first["clientSecrets"]["given"] != "theirs" {
		t.Error("a given secret was replaced")
	}
	if diff := cmp.Diff(first, read()); diff != "" {
		t.Errorf("the second time differs (-first +second):\n%s", diff)
	}
}

func TestNoSecretsOutsideDev(t *testing.T) {
	p := stackIn(t, strings.Replace(people, "environment: dev", "environment: prod", 1))
	c, err := p.config()
	if err != nil {
		t.Fatal(err)
	}
	if _, set := c.Values["p:initialPasswords"]; set {
		t.Error("passwords were made")
	}
	if _, err := os.Stat(p.state); !os.IsNotExist(err) {
		t.Errorf("a folder for secrets was made (%v)", err)
	}
}

func TestUntilEnd(t *testing.T) {
	if err := untilEnd(t.Context(), strings.NewReader("x")); err != nil {
		t.Error(err)
	}
	never, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := untilEnd(ctx, never); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}

// drift, repair and end-sessions look at the same Keycloak as the provider would.
func TestLiveURL(t *testing.T) {
	for _, tt := range []struct{ name, flag, url, basePath, env, want string }{
		{"on the command line", "https://flag", "https://stack", "/auth", "https://env", "https://flag"},
		{"in the stack", "", "https://stack/", "/auth", "https://env", "https://stack/auth"},
		{"in the environment", "", "", "", "https://env", "https://env"},
		{"nowhere", "", "", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &program{options: options{keycloakURL: tt.flag}, getenv: func(key string) string {
				return map[string]string{"KEYCLOAK_URL": tt.env}[key]
			}}
			got, err := p.liveURL(&monitor.Config{Values: map[string]string{urlKey: tt.url, basePathKey: tt.basePath}})
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestLocalize(t *testing.T) {
	values := func() *monitor.Config {
		return &monitor.Config{Project: "p", Values: map[string]string{
			"keycloak:url": "https://elsewhere", "keycloak:basePath": "/auth", "p:publicUrl": "https://public", "p:frontendUrl": "https://front",
			"p:clients": `[{"redirectUris":["https://my.api/callback","http://127.0.0.1:8000/callback"]}]`,
		}}
	}
	for _, tt := range []struct {
		name string
		options
		want map[string]string
	}{
		{"a Keycloak that was started", options{keycloakURL: "http://127.0.0.1:1", local: true, apiURL: "http://127.0.0.1:2"}, map[string]string{
			"keycloak:url": "http://127.0.0.1:1",
			"p:clients":    `[{"redirectUris":["https://my.api/callback","http://127.0.0.1:2/callback"]}]`,
		}},
		{"somebody else's, behind a proxy", options{keycloakURL: "https://kc/auth", apiURL: "http://127.0.0.1:8000"}, map[string]string{
			"keycloak:url": "https://kc/auth", "p:publicUrl": "https://public", "p:frontendUrl": "https://front",
			"p:clients": `[{"redirectUris":["https://my.api/callback","http://127.0.0.1:8000/callback"]}]`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := values()
			(&program{options: tt.options}).localize(c)
			if diff := cmp.Diff(tt.want, c.Values); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
