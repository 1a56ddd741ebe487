package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// files writes what the subcommands read and returns their paths.
func files(t *testing.T, issuer *oidctest.Issuer) (stack, jwks string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, v any) string {
		content, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	stack = write("stack.json", map[string]any{
		"issuer": issuer.URL, "audience": issuer.Audience, "client_id": issuer.Audience, "client_secret": "api-secret", "policy": testPolicy(policy.Model{
			Name: "ledger", Allow: policy.Conditions{Roles: []string{"model-api-access"}}, Embedded: "iris",
			Authentication: &policy.Authentication{ACR: []string{"2"}, LevelMaxAge: "15m"},
		}),
	})
	return stack, write("keys.json", issuer.JWKS())
}

// Without a server: the keys come from a file, and nothing listens at the
// issuer's address.
func TestExplainCommand(t *testing.T) {
	issuer := oidctest.New("http://127.0.0.1:1/realms/example-realm")
	stack, jwks := files(t, issuer)
	good := issuer.Token("RS256")
	for _, row := range []struct {
		name   string
		args   []string
		token  string
		status int
		want   []string
	}{
		{"accepted", nil, good + "\n", 0, []string{"13  revocation        ok", " 9  introspection     skipped", "base role         ok", "The token is accepted."}},
		{"model allowed", []string{"-model", "iris"}, good, 0, []string{"model             ok"}},
		{"model forbidden", []string{"-model", "forbidden"}, good, 1, []string{"model             refused", "role model-forbidden", "code      model_unknown"}},
		{"no such model", []string{"-model", "x"}, good, 1, []string{`model "x" in the policy`, "model_unknown"}},
		{"sign-in fresh", []string{"-model", "ledger"}, issuer.Token("RS256", oidctest.Claims{"loa_map": fmt.Sprintf(`{"2":%d}`, time.Now().Unix())}), 0,
			[]string{"16  sign-in           ok", "expected  level 2 at most 15m0s ago by the claim loa_map", "found     acr 1; level 2 at 20"}},
		{"sign-in not told", []string{"-model", "ledger"}, issuer.Token("RS256", oidctest.Claims{"acr": nil}), 1,
			[]string{"sign-in           refused", "found     acr (none); no loa_map", "code      sign_in_untold", `default scopes of client "my-api-client"`}},
		{"sign-in by a service account", []string{"-model", "ledger"}, issuer.Token("RS256", oidctest.ServiceAccount("batch")), 1,
			[]string{"found     a service account", "code      service_account_refused"}},
		{"sign-in with a token that is refused", []string{"-model", "ledger"}, issuer.Token("RS256", oidctest.Claims{"aud": "other"}), 1, []string{"sign-in           skipped"}},
		{"no base role", nil, issuer.Token("RS256", oidctest.Claims{"realm_access": nil}), 1, []string{"base role         refused", "code      role_missing", "to fix"}},
		{"wrong audience", nil, issuer.Token("RS256", oidctest.Claims{"aud": "other"}), 1,
			[]string{`expected  aud "model-serving-api"`, `found     aud "other"`, "code      audience_wrong", `Included Client Audience "model-serving-api"`, "base role         skipped"}},
		{"expired", nil, issuer.Token("RS256", oidctest.Claims{"exp": time.Now().Unix() - 3600}), 1, []string{"code      token_expired", "lifetimes.accessToken"}},
		{"key of another realm", nil, oidctest.Sign(oidctest.NewKey("x", "RS256"), oidctest.Header{"alg": "RS256", "typ": "JWT", "kid": "x"}, issuer.Claims()), 1, []string{"code      key_unknown"}},
		{"terminal escapes in a claim", nil, issuer.Token("RS256", oidctest.Claims{"aud": "\u009b31m"}), 1, []string{"\uFFFD31m"}},
		{"no token", nil, " \n", 2, nil},
		{"token as an argument", []string{good}, "", 2, nil},
		{"unknown flag", []string{"-x"}, good, 2, nil},
		{"no keys file", []string{"-jwks", "missing.json"}, good, 2, nil},
		{"no stack file", []string{"-stack", "missing.json"}, good, 2, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out, log strings.Builder
			args := append([]string{"explain", "-stack", stack, "-jwks", jwks}, row.args...)
			err := run(t.Context(), args, func(string) string { return "" }, strings.NewReader(row.token), &out, &log)
			status := 0
			if err != nil {
				status = exitCode(err)
			}
			if status != row.status {
				t.Errorf("exit status %d (%v), want %d", status, err, row.status)
			}
			for _, want := range row.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
			signature := strings.TrimSpace(row.token[strings.LastIndexByte(row.token, '.')+1:])
			if said := out.String() + log.String(); len(signature) > 8 && strings.Contains(said, signature) {
				t.Errorf("the signature is printed:\n%s", said)
			}
			if err != nil && strings.Contains(err.Error(), good) {
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}
}

func TestExplainReadsAFile(t *testing.T) {
	issuer := oidctest.New("http://127.0.0.1:1/realms/example-realm")
	stack, jwks := files(t, issuer)
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(issuer.Token("RS256")), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"explain", "-stack", stack, "-jwks", jwks, "-token-file", path}, func(string) string { return "" }, strings.NewReader(""), &out, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}
