package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keycloak-model-api/internal/keycloak/progress"
)

func TestListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct{ name, address, host, err string }{
		{"a port of one's own", "127.0.0.1:0", "127.0.0.1", ""},
		{"every address of the computer", "0.0.0.0:0", "127.0.0.1", ""},
		{"taken", taken.Addr().String(), "", "set API_LISTEN to another host:port"},
		{"no address", "8000", "", "set API_LISTEN to another host:port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &up{out: progress.NewDisplay(io.Discard), getenv: func(name string) string { return map[string]string{"API_LISTEN": tt.address}[name] }}
			err := u.listen()
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer u.socket.Close()
			got, err := url.Parse(u.api)
			if err != nil || got.Hostname() != tt.host {
				t.Fatalf("%s, %v", u.api, err)
			}
			// Nobody else can take it, and say Ready in the API's place.
			if l, err := net.Listen("tcp", u.socket.Addr().String()); err == nil {
				l.Close()
				t.Error("the port is not held")
			}
		})
	}
}

// The commands are run as they stand on the screen, by a real shell and curl.
func TestWhatNext(t *testing.T) {
	for _, tt := range []struct {
		name    string
		example example
		secrets string
		want    url.Values // what the token endpoint gets; nil: there is nothing to paste
		says    string
	}{
		{
			name:    "a user whose name has signs of form encoding",
			example: example{Grant: "password", ClientID: "api&more", Username: "ada+test=1%41@example.com", Users: []string{"ada+test=1%41@example.com"}},
			secrets: "client_secret=s&password=p",
			want: url.Values{"grant_type": {"password"}, "client_id": {"api&more"}, "username": {"ada+test=1%41@example.com"},
				"client_secret": {"s"}, "password": {"p"}},
			says: "access token of user ada+test=1%41@example.com:",
		},
		{
			name:    "a service",
			example: example{Grant: "client_credentials", ClientID: "nightly", CLI: "model-cli", Users: []string{"ada"}},
			secrets: "client_secret=s",
			want:    url.Values{"grant_type": {"client_credentials"}, "client_id": {"nightly"}, "client_secret": {"s"}},
			says:    "access token of client nightly:",
		},
		{
			name:    "people who sign in",
			example: example{CLI: "model-cli", Users: []string{"a", "b", "c", "d", "e", "f", "g"}},
			says:    "go run ./modelctl login -bearer -api ",
		},
		{name: "where the passwords are", example: example{CLI: "model-cli", Users: []string{"a", "b", "c", "d", "e", "f", "g"}}, says: "a, b, c, d, e and 2 more\n"},
		{name: "nobody", says: "add a client of kind cli"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var form url.Values
			mux := http.NewServeMux()
			mux.HandleFunc("POST /protocol/openid-connect/token", func(w http.ResponseWriter, r *http.Request) {
				if err := r.ParseForm(); err != nil {
					t.Error(err)
				}
				form = r.PostForm
				io.WriteString(w, `{"access_token":"T","expires_in":60}`)
			})
			mux.HandleFunc("GET /v2/models", func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Authorization"); got != "Bearer T" {
					t.Errorf("Authorization is %q", got)
				}
			})
			server := httptest.NewServer(mux)
			defer server.Close()
			u := &up{checkout: checkout{state: t.TempDir()}, api: server.URL, example: tt.example}
			u.example.Issuer = server.URL
			if err := os.WriteFile(filepath.Join(u.state, "curl-secrets"), []byte(tt.secrets), 0o600); err != nil {
				t.Fatal(err)
			}
			text := u.whatNext()
			for _, want := range []string{tt.says, "Playground     " + server.URL + "/\n"} {
				if !strings.Contains(text, want) {
					t.Errorf("it does not say %q:\n%s", want, text)
				}
			}
			if len(tt.example.Users) > 0 && !strings.Contains(text, "passwords in "+filepath.Join(u.state, "secrets.json")) {
				t.Errorf("it does not say where the passwords are:\n%s", text)
			}
			if tt.want == nil {
				return
			}
			commands, _, _ := strings.Cut(text, "Playground ")
			_, commands, _ = strings.Cut(commands, ":\n\n")
			commands = strings.Replace(commands, "and the models that it may call:", "", 1)
			shell := exec.Command("sh", "-e")
			shell.Stdin = strings.NewReader(commands)
			if out, err := shell.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s\n%s", err, commands, out)
			}
			if diff := cmp.Diff(tt.want, form); diff != "" {
				t.Errorf("the token endpoint got (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWarningsAreSummedUp(t *testing.T) {
	var out strings.Builder
	w := &warnings{w: &out}
	io.WriteString(w, "warning: a: b (refused outside environment dev)\nwarning: c\nwarning: guardrails: x [allowed: this is dev]\nsomething else\n")
	if got, want := w.summary("mine"), "Stack mine has 3 warnings, of which 2 are errors outside environment dev: go run ./dev render -preview -stack mine shows them\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if out.String() != "something else\n" {
		t.Errorf("it passes on %q", out.String())
	}
}
