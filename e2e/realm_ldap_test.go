package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const ldapConfig = `
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:hardening: "off"
  keycloak-model-api:realm: directory
  keycloak-model-api:models:
    - {name: iris, embedded: iris}
  keycloak-model-api:userAttributes:
    - {name: department}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api, directAccessGrants: true}
    - clientId: portal
      kind: web
      redirectUris: [https://portal.example.com/callback]
      mappers:
        - {name: department, type: userAttribute, claim: department, value: department}
        - {name: groups, type: groups}
  keycloak-model-api:ldap:
    - name: example-corp
      url: LDAP
      bindDn: cn=admin,dc=example,dc=com
      usersDn: ou=people,dc=example,dc=com
      rolesDn: ou=roles,dc=example,dc=com
      groupsDn: ou=teams,dc=example,dc=com
      attributes: {department: departmentNumber}
`

const ldapPassword = "correct horse battery staple 1A"

// TestLDAP signs in people of a directory, whose groups decide which models
// they may call.
func TestLDAP(t *testing.T) {
	directory := startLDAP(t)
	st := e.up(t, strings.ReplaceAll(ldapConfig, "LDAP", directory.url), secretsOf{
		"clientSecrets":     {"model-api": "a-secret-of-the-tests-1", "portal": "a-secret-of-the-tests-2"},
		"federationSecrets": {"example-corp": ldapPassword},
	})
	st.token(t, st.clientCredentials("model-api"))
	compare(t, st)
	a := e.startAPI(t, st)

	portal := st.relyingParty("portal", "https://portal.example.com/callback")
	grace := newPerson(t).signIn(t, portal, loginForm("grace", ldapPassword)).AccessToken
	wantClaims(t, grace, "RS256", "JWT", 0, map[string]any{
		"preferred_username": "grace", "given_name": "Grace", "family_name": "Hopper", "email": "grace@example.com",
		"department": "17", "groups": []any{"/compilers"}, "realm_access": roles("model-api-access", "model-iris"),
	})
	a.infer(t, grace).want(t, http.StatusOK, "setosa")
	a.infer(t, st.token(t, st.password("alan", ldapPassword)).AccessToken).want(t, http.StatusForbidden, "role_missing")

	directory.stop()
	if got := st.tryToken(t, st.password("alan", ldapPassword)); got.AccessToken != "" {
		t.Error("a login without the directory gets a token")
	}
	a.infer(t, grace).want(t, http.StatusOK, "setosa") // signed before, and still good
}

// directory is a running slapd.
type directory struct {
	url  string
	stop func()
}

// startLDAP fills Debian's slapd with testdata/people.ldif and runs it on a
// free port.
func startLDAP(t *testing.T) *directory {
	t.Helper()
	slapd := findSbin(t, "slapd")
	dir := t.TempDir()
	config, data := filepath.Join(dir, "config"), filepath.Join(dir, "data")
	for _, d := range []string{config, data} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"slapd.ldif", "people.ldif"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		writeFile(t, file, []byte(strings.NewReplacer("PASSWORD", ldapPassword, "FOLDER", data).Replace(string(text))))
		out, err := exec.Command(findSbin(t, "slapadd"), "-n", fmt.Sprint(i), "-F", config, "-l", file).CombinedOutput()
		if err != nil {
			t.Fatalf("slapadd %s: %v\n%s", name, err, out)
		}
	}
	address := "127.0.0.1:" + freePort(t)
	command := exec.Command(slapd, "-h", "ldap://"+address, "-F", config, "-d", "0")
	output := new(lockedBuffer)
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	d := &directory{url: "ldap://" + address, stop: func() {
		if !stopped {
			stopped = true
			_ = command.Process.Signal(os.Interrupt)
			_ = command.Wait()
		}
	}}
	t.Cleanup(d.stop)
	eventually(t, 10*time.Second, "slapd listens", func() error {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		return c.Close()
	})
	return d
}

// findSbin finds a program of the administrator's, which is not always on the
// PATH of others.
func findSbin(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path := filepath.Join("/usr/sbin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("there is no %s: run make prerequisites", name)
	}
	return path
}
