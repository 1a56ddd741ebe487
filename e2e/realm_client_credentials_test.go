package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"keycloak-model-api/internal/keycloak"
)

const keyedConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: keyed
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api}
    - {clientId: nightly, kind: service, authentication: jwt, jwksUrl: "URL", serviceAccountRoles: [model-iris]}
    - {clientId: reports, kind: service, authentication: jwt, jwks: 'KEYS', serviceAccountRoles: [model-iris]}
`

// TestClientKeyRotation changes the keys of clients that prove themselves by
// private_key_jwt, as docs/clients.md tells: one publishes its keys at a URL, the
// other's stand in the configuration.
func TestClientKeyRotation(t *testing.T) {
	t.Parallel() // it waits until Keycloak asks for the keys again
	old, next := newClientKey(t, "2026"), newClientKey(t, "2027")
	var published atomic.Value // the key set at the URL
	publish := func(keys ...jose.JSONWebKey) { published.Store(publicSet(t, keys...)) }
	publish(old)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, published.Load().(string))
	}))
	defer server.Close()
	config := strings.NewReplacer("URL", server.URL, "KEYS", publicSet(t, old)).Replace(keyedConfig)
	st := e.up(t, config, secretsOf{"clientSecrets": {"model-api": "a-secret-of-the-tests-1"}})
	st.token(t, st.clientCredentials("model-api"))
	st.token(t, st.assertion(t, "reports", old))
	a := e.startAPI(t, st)
	token := st.token(t, st.assertion(t, "nightly", old)).AccessToken

	publish(old, next)
	if got := st.tryToken(t, st.assertion(t, "nightly", next)); got.Error != "invalid_client" {
		t.Errorf("a key that Keycloak has not read is answered %q, %q", got.Error, got.Description)
	}
	a.infer(t, token).want(t, http.StatusOK, "setosa")
	compare(t, st)
	for end := time.Now().Add(11 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		st.token(t, st.assertion(t, "nightly", old))
	}
	a.infer(t, st.token(t, st.assertion(t, "nightly", next)).AccessToken).want(t, http.StatusOK, "setosa")
	st.token(t, st.assertion(t, "nightly", old))

	// Keycloak keeps what it has read: only a key that it doesn't know makes it
	// ask again, or an administrator.
	publish(next)
	st.token(t, st.assertion(t, "nightly", old))
	if err := e.admin.Do(t.Context(), http.MethodPost, "/realms/keyed/clear-keys-cache", nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := st.tryToken(t, st.assertion(t, "nightly", old)); got.Error != "invalid_client" {
		t.Errorf("the key that is out is answered %q, %q", got.Error, got.Description)
	}
	a.infer(t, st.token(t, st.assertion(t, "nightly", next)).AccessToken).want(t, http.StatusOK, "setosa")

	// What an up changes of the client whose keys stand in the configuration.
	up := func(keys ...jose.JSONWebKey) {
		change(t, "keyed", "reports", func(client map[string]any) {
			client["attributes"].(map[string]any)["jwks.string"] = publicSet(t, keys...)
		})
	}
	up(old, next)
	for _, key := range []jose.JSONWebKey{old, next} {
		a.infer(t, st.token(t, st.assertion(t, "reports", key)).AccessToken).want(t, http.StatusOK, "setosa")
	}
	up(next)
	if got := st.tryToken(t, st.assertion(t, "reports", old)); got.Error != "invalid_client" {
		t.Errorf("the key that is out of jwks is answered %q, %q", got.Error, got.Description)
	}
	st.token(t, st.assertion(t, "reports", next))
}

// publicSet is the public half of a client's keys, as its jwks has them.
func publicSet(t *testing.T, keys ...jose.JSONWebKey) string {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, k.Public())
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const rotatedConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: rotated
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
    - {name: careful, embedded: iris, roles: [model-iris], introspect: true}
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent, roles: [model-iris]}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api}
    - {clientId: portal, kind: web, redirectUris: ["https://portal.example.com/callback"], serviceAccount: true, serviceAccountRoles: [model-iris]}
    - {clientId: nightly-1, kind: service, serviceAccountRoles: [model-iris]}
    - {clientId: nightly-2, kind: service, serviceAccountRoles: [model-iris]}
`

// TestClientSecretRotation gives clients new secrets while they work, in each
// way of docs/clients.md, by scripts/rotate-secret and by hand. This package's
// test program stands for the Pulumi CLI.
func TestClientSecretRotation(t *testing.T) {
	const password = "correct horse battery staple 1A"
	secrets := secretsOf{"clientSecrets": {}, "initialPasswords": {"ada": password}}
	for _, client := range []string{"model-api", "portal", "nightly-1", "nightly-2"} {
		secrets["clientSecrets"][client] = "the-first-secret-of-" + client + "-in-the-tests"
	}
	st := e.up(t, rotatedConfig, secrets)
	a := e.startAPI(t, st, "-introspection-ttl", "100ms")
	project := newProject(t, st)

	// login is the client credentials grant with the secret given.
	login := func(client, secret string) url.Values {
		form := st.clientCredentials(client)
		form.Set("client_secret", secret)
		return form
	}
	refused := func(t *testing.T, form url.Values) {
		t.Helper()
		if got := st.tryToken(t, form); got.Error != "unauthorized_client" {
			t.Errorf("the old secret is answered %q, %q", got.Error, got.Description)
		}
	}

	t.Run("by the script, with a gap", func(t *testing.T) {
		first := st.clientSecret("portal")
		ada := newPerson(t).signIn(t, st.relyingParty("portal", "https://portal.example.com/callback"), loginForm("ada", password))
		token := st.token(t, login("portal", first)).AccessToken

		// The client reads its secret from a file each time, and gets the new one
		// only after it was refused, so that there is a gap.
		file := filepath.Join(t.TempDir(), "secret")
		writeFile(t, file, []byte(first))
		work := whileRunning(func() error {
			secret, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			switch got := st.tryToken(t, login("portal", string(secret))); got.Error {
			case "":
			case "unauthorized_client":
				if string(secret) != first {
					return errors.New("the new secret is refused")
				}
				if err := os.WriteFile(file+".refused", nil, 0o600); err != nil {
					return err
				}
			default:
				return fmt.Errorf("a token request is answered %q, %q", got.Error, got.Description)
			}
			if got := a.infer(t, token); got.Status != http.StatusOK {
				return fmt.Errorf("a token from before is answered %d %s", got.Status, got.Body)
			}
			return nil
		})
		deliver := fmt.Sprintf("for i in $(seq 100); do [ -e %[1]s.refused ] && break; sleep 0.1; done; [ -e %[1]s.refused ] && cat >%[1]s.new && mv %[1]s.new %[1]s", file)
		project.run(t, filepath.Join(e.root, "scripts", "rotate-secret"), "-deliver", deliver, "portal")
		if err := work(); err != nil {
			t.Error(err)
		}
		second, err := os.ReadFile(file)
		if err != nil || string(second) == first {
			t.Fatalf("no new secret was delivered: %v", err)
		}
		refused(t, login("portal", first))
		a.infer(t, st.token(t, login("portal", string(second))).AccessToken).want(t, http.StatusOK, "setosa")
		a.infer(t, token).want(t, http.StatusOK, "setosa")

		// The people's sessions outlast the gap.
		again := st.refresh("portal", ada.RefreshToken)
		refused(t, again)
		again.Set("client_secret", string(second))
		a.infer(t, st.token(t, again).AccessToken).want(t, http.StatusOK, "setosa")
	})
	t.Run("without a gap: a client that keeps both secrets", func(t *testing.T) {
		both := []string{st.clientSecret("nightly-1"), "the-second-secret-of-nightly-1-in-the-tests"}
		work := whileRunning(func() error {
			for _, secret := range both {
				if got := st.tryToken(t, login("nightly-1", secret)); got.Error == "" {
					return nil
				} else if got.Error != "unauthorized_client" {
					return fmt.Errorf("a token request is answered %q, %q", got.Error, got.Description)
				}
			}
			return errors.New("both secrets are refused")
		})
		project.set(t, "nightly-1", both[1])
		project.run(t, "pulumi", "up")
		if err := work(); err != nil {
			t.Error(err)
		}
		refused(t, login("nightly-1", both[0]))
		a.infer(t, st.token(t, login("nightly-1", both[1])).AccessToken).want(t, http.StatusOK, "setosa")
	})
	t.Run("without a gap: two clients, of which one is in use", func(t *testing.T) {
		work := whileRunning(func() error {
			if got := st.tryToken(t, st.clientCredentials("nightly-2")); got.Error != "" {
				return fmt.Errorf("%q, %q", got.Error, got.Description)
			}
			return nil
		})
		project.set(t, "nightly-1", "the-third-secret-of-nightly-1-in-the-tests")
		project.run(t, "pulumi", "up")
		if err := work(); err != nil {
			t.Error(err)
		}
		a.infer(t, st.token(t, login("nightly-1", "the-third-secret-of-nightly-1-in-the-tests")).AccessToken).want(t, http.StatusOK, "setosa")
	})
	t.Run("the API's own", func(t *testing.T) {
		const second = "the-second-secret-of-model-api-in-the-tests"
		token := st.token(t, st.clientCredentials("nightly-2")).AccessToken
		a.call(t, "careful", token).want(t, http.StatusOK, "setosa")
		project.set(t, "model-api", second)
		project.run(t, "pulumi", "up")
		refusedSoon(t, "the model that asks", func() answer { return a.call(t, "careful", token) }, http.StatusServiceUnavailable, "introspection_unavailable")
		a.infer(t, token).want(t, http.StatusOK, "setosa")
		a.infer(t, st.token(t, st.clientCredentials("nightly-2")).AccessToken).want(t, http.StatusOK, "setosa")

		renewed := *st
		renewed.Outputs = maps.Clone(st.Outputs)
		renewed.Outputs["client_secret"] = second
		text, err := json.Marshal(renewed.Outputs)
		if err != nil {
			t.Fatal(err)
		}
		renewed.File = filepath.Join(t.TempDir(), "stack.json")
		writeFile(t, renewed.File, text)
		e.startAPI(t, &renewed).call(t, "careful", token).want(t, http.StatusOK, "setosa")
	})
}

// whileRunning repeats work until the function that it returns is called, which
// waits for the last round and returns the first error of any.
func whileRunning(work func() error) (stop func() error) {
	end, done := make(chan struct{}), make(chan error, 1)
	go func() {
		var first error
		for {
			if err := work(); first == nil {
				first = err
			}
			select {
			case <-end:
				done <- first
				return
			default:
			}
		}
	}()
	return func() error {
		close(end)
		return <-done
	}
}

// project is a Pulumi project of a stack whose realm is up.
type project struct {
	dir string
	env []string
}

// newProject has a pulumi on its PATH that is this package's test program.
func newProject(t *testing.T, st *stack) *project {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &project{dir: t.TempDir()}
	if err := os.Symlink(self, filepath.Join(p.dir, "pulumi")); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(st.secrets["clientSecrets"])
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(p.dir, "secrets.json"), text)
	p.env = []string{
		"PATH=" + p.dir + string(filepath.ListSeparator) + os.Getenv("PATH"), "REALM=" + st.output("realm_name"), "KEYCLOAK_URL=" + e.keycloak.BaseURL,
		"KEYCLOAK_CLIENT_ID=" + e.keycloak.Admin.ClientID, "KEYCLOAK_CLIENT_SECRET=" + e.keycloak.Admin.ClientSecret,
	}
	return p
}

func (p *project) run(t *testing.T, name string, args ...string) {
	t.Helper()
	p.runWith(t, "", name, args...)
}

// set does what an operator does who has chosen the secret.
func (p *project) set(t *testing.T, client, secret string) {
	t.Helper()
	p.runWith(t, secret, "pulumi", "config", "set", "--secret", "--path", fmt.Sprintf("clientSecrets[%q]", client))
}

func (p *project) runWith(t *testing.T, stdin, name string, args ...string) {
	t.Helper()
	command := exec.Command("env", append([]string{name}, args...)...) // by the PATH of the project
	command.Dir, command.Env, command.Stdin = p.dir, p.env, strings.NewReader(stdin)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// pulumiMain stands for the CLI, with the client secrets of one stack as its
// configuration. Its up updates clients as the provider does, by one PUT each.
func pulumiMain(args []string) (code int) {
	if err := pulumi(args); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

func pulumi(args []string) error {
	text, err := os.ReadFile("secrets.json")
	if err != nil {
		return err
	}
	var secrets map[string]string
	if err := json.Unmarshal(text, &secrets); err != nil {
		return err
	}
	client := strings.TrimSuffix(strings.TrimPrefix(args[len(args)-1], `clientSecrets["`), `"]`)
	switch {
	case args[0] == "config" && args[1] == "get":
		fmt.Print(secrets[client])
		return nil
	case args[0] == "config" && args[1] == "set" && slices.Contains(args, "--secret"):
		secret, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		secrets[client] = string(secret)
		if text, err = json.Marshal(secrets); err != nil {
			return err
		}
		return os.WriteFile("secrets.json", text, 0o600)
	case args[0] == "up":
		return updateSecrets(context.Background(), secrets)
	}
	return fmt.Errorf("nothing known of %v", args)
}

func updateSecrets(ctx context.Context, secrets map[string]string) error {
	admin := keycloak.NewAdmin(os.Getenv("KEYCLOAK_URL"), keycloak.Credentials{ClientID: os.Getenv("KEYCLOAK_CLIENT_ID"), ClientSecret: os.Getenv("KEYCLOAK_CLIENT_SECRET")})
	path := "/realms/" + os.Getenv("REALM") + "/clients"
	var clients []map[string]any
	if err := admin.Do(ctx, http.MethodGet, path, nil, &clients); err != nil {
		return err
	}
	for _, c := range clients {
		secret, ours := secrets[c["clientId"].(string)]
		if !ours || c["secret"] == secret {
			continue
		}
		c["secret"] = secret
		if err := admin.Do(ctx, http.MethodPut, path+"/"+c["id"].(string), c, nil); err != nil {
			return err
		}
	}
	return nil
}
