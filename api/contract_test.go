package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"keycloak-model-api/internal/oidctest"
)

// The contract suite, as its command, passes against the whole handler.
func TestContractCommand(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	issuer.Secrets["batch-client"] = "batch-secret"
	g := start(t, issuer, testPolicy())
	stack, _ := files(t, issuer)
	getenv := func(name string) string { return map[string]string{"CONTRACT_CLIENT_SECRET": "batch-secret"}[name] }

	var out strings.Builder
	args := []string{"contract", "-stack", stack, "-url", g.url + "/v2", "-client-id", "batch-client"}
	if err := run(t.Context(), args, getenv, nil, &out, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), " 0 failed") {
		t.Error(out.String())
	}
	// Against what is public, nothing is refused: the suite says so.
	out.Reset()
	args[4] = g.url + "/healthz"
	if err := run(t.Context(), args, getenv, nil, &out, &out); err == nil || exitCode(err) != 1 || !strings.Contains(out.String(), "FAIL  alg none") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// What an issuer answers does not steer the terminal that the error goes to
// (CWE-150).
func TestContractErrorOfAnIssuer(t *testing.T) {
	const steering = "\u001b[2J\u009b2J\r\u202e"
	issuer := oidctest.Start()
	defer issuer.Close()
	stack, _ := files(t, issuer)
	issuer.Override(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		answer(w, map[string]string{"error": steering + "gone"})
	})
	args := []string{"contract", "-stack", stack, "-url", "http://127.0.0.1:1/", "-client-id", "x"}
	err := run(t.Context(), args, func(string) string { return "s3cret" }, nil, io.Discard, io.Discard)
	if err == nil {
		t.Fatal("no error")
	}
	for _, got := range []string{forTerminal(err), forTerminal(errors.New(steering + "gone"))} {
		if strings.ContainsAny(got, "\x1b\u009b\r\u202e") || !strings.Contains(got, "gone") {
			t.Errorf("got %q", got)
		}
	}
}

// Discovery and keys that two readers may take differently are refused.
func TestContractReadsTheIssuerStrictly(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	stack, _ := files(t, issuer)
	for _, row := range []struct{ name, metadata, keys, want string }{
		{"token_endpoint in another case", `"Token_Endpoint":"http://127.0.0.1:1/"`, `{"keys":[]}`, "another case"},
		{"a second issuer", `"issuer":"x"`, `{"keys":[]}`, "duplicate"},
		{"keys in another case", `"x":1`, `{"Keys":[]}`, "another case"},
		{"keys twice", `"x":1`, `{"keys":[],"keys":[]}`, "duplicate"},
	} {
		t.Run(row.name, func(t *testing.T) {
			issuer.Override(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/keys") {
					_, _ = io.WriteString(w, row.keys)
					return
				}
				fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,%s}`, issuer.URL, issuer.URL+"/keys", row.metadata)
			})
			args := []string{"contract", "-stack", stack, "-url", "http://127.0.0.1:1/", "-client-id", "x"}
			err := run(t.Context(), args, func(string) string { return "s3cret" }, nil, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
}

// The token endpoint of a realm whose name only begins like the issuer's is not
// one below it: it is asked where it is.
func TestContractKeepsToThePathBoundary(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	stack, _ := files(t, issuer)
	var asked []string
	issuer.Override(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, strings.TrimPrefix(r.URL.Path, "/realms/example-realm"))
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"token_endpoint":%q,"keys":[],"access_token":"x"}`, issuer.URL, issuer.URL+"/keys", issuer.URL+"-2/token")
	})
	args := []string{"contract", "-stack", stack, "-url", "http://127.0.0.1:1/", "-client-id", "x", "-issuer-internal-url", issuer.URL + "/inner"}
	_ = run(t.Context(), args, func(string) string { return "s3cret" }, nil, io.Discard, io.Discard) // the token is none
	if got := strings.Join(asked, " "); !strings.HasPrefix(got, "/inner/.well-known/openid-configuration /inner/keys -2/token") {
		t.Errorf("asked %s", got)
	}
}

func TestContractUsage(t *testing.T) {
	issuer := oidctest.Start()
	defer issuer.Close()
	stack, _ := files(t, issuer)
	for _, row := range []struct {
		name   string
		args   []string
		status int
	}{
		{"no URL", []string{"-client-id", "x"}, 2},
		{"neither client nor token", []string{"-url", "http://127.0.0.1:1/"}, 2},
		{"both", []string{"-url", "http://127.0.0.1:1/", "-client-id", "x", "-token-file", "x"}, 2},
		{"an argument", []string{"-url", "http://127.0.0.1:1/", "-client-id", "x", "y"}, 2},
		{"a client that gets no token, with a wrong secret", []string{"-url", "http://127.0.0.1:1/", "-client-id", "x"}, 1},
		{"help", []string{"-h"}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out strings.Builder
			err := run(t.Context(), append([]string{"contract", "-stack", stack}, row.args...), func(string) string { return "s3cret" }, nil, &out, &out)
			status := 0
			if err != nil {
				status = exitCode(err)
			}
			if status != row.status {
				t.Errorf("exit status %d (%v), want %d", status, err, row.status)
			}
		})
	}
}
