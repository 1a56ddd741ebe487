package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestModelctl signs in by device and by browser, and uses what that gives.
func TestModelctl(t *testing.T) {
	st := e.up(t, strings.Replace(e.devConfig(t), "realm: example-realm", "realm: command-line", 1), devSecrets())
	a := e.startAPI(t, st)
	password := devSecrets()["initialPasswords"]["ml-api-user"]

	t.Run("device", func(t *testing.T) {
		m := &modelctl{t: t, dir: t.TempDir()}
		// Nobody can be asked here, so nothing is signed in to an API that was never confirmed.
		m.run("login", "-device", "-api", a.URL).want(1, "-issuer "+st.output("issuer"))
		login := m.start("login", "-device", "-api", a.URL, "-issuer", st.output("issuer"))
		page := newPerson(t).open(t, login.address(`http://\S+user_code=\S+`)).submit(t, loginForm("ml-api-user", password))
		if !strings.Contains(page.Body, "modelctl, the command line for models") {
			t.Errorf("the page that asks for consent does not name the client: %s", page.Body)
		}
		// Keycloak asks whether that device may act for the person.
		if page = page.submit(t, url.Values{"accept": {"Yes"}}); page.Status != http.StatusOK || !strings.Contains(page.Body, "Device Login Successful") {
			t.Fatalf("the device is not let in: %d %s", page.Status, page.Body)
		}
		login.want(0, "Signed in to "+a.URL)

		m.run("whoami").want(0, "ml-api-user")
		m.run("models").want(0, "iris")
		flowers := filepath.Join(m.dir, "flowers.csv")
		writeFile(t, flowers, []byte("5.1,3.5,1.4,0.2\n6.0,2.9,4.5,1.5\n"))
		m.run("predict", "iris", flowers).want(0, "versicolor")
		m.run("predict", "no-such", flowers).want(4, "")

		m.run("whoami").want(0, "bound to a key of this computer")
		m.run("token").want(1, "login -bearer")
		m.run("logout").want(0, "")
		m.run("whoami").want(3, "Sign in")
	})
	t.Run("browser", func(t *testing.T) {
		m := &modelctl{t: t, dir: t.TempDir()}
		m.signIn(a.URL, st.output("issuer"), password)
		m.run("models").want(0, "iris")
		tokens := m.tokens()
		if c, err := claims(tokens.Access.Value); err != nil || c["cnf"] == nil {
			t.Errorf("the access token is bound to no key: %v (%v)", c, err)
		}
		// Who copies the refresh token without the key has nothing (RFC 9449, section 5).
		refresh := url.Values{"grant_type": {"refresh_token"}, "client_id": {"model-cli"}, "refresh_token": {tokens.Refresh.Value}}
		if got := st.tryToken(t, refresh); got.AccessToken != "" {
			t.Errorf("a refresh without the key gives a token")
		}
		a.do(t, http.MethodGet, "/v2/models", tokens.Access.Value, "").want(t, http.StatusUnauthorized, "sender_constraint")
		// It is refreshed with it.
		m.expire()
		m.run("models").want(0, "iris")
		if m.tokens().Access.Value == tokens.Access.Value {
			t.Error("the access token was not refreshed")
		}
		m.run("logout").want(0, "")
		if got := st.tryToken(t, refresh); got.AccessToken != "" {
			t.Errorf("the refresh token works after the logout")
		}
	})
	t.Run("bearer", func(t *testing.T) {
		m := &modelctl{t: t, dir: t.TempDir()}
		m.signIn(a.URL, st.output("issuer"), password, "-bearer")
		token := m.run("token")
		token.want(0, "")
		a.infer(t, strings.TrimSpace(token.stdout.String())).want(t, http.StatusOK, "setosa")
		m.expire()
		m.run("models").want(0, "iris")
		m.run("logout").want(0, "")
		m.run("token").want(3, "Sign in")
	})
}

// savedTokens are the tokens as modelctl keeps them without a keyring.
type savedTokens struct {
	Access, Refresh struct{ Value string }
}

func (m *modelctl) tokens() (saved savedTokens) {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, "tokens.json"))
	if err != nil {
		m.t.Fatal(err)
	}
	if err := json.Unmarshal(data, &saved); err != nil {
		m.t.Fatal(err)
	}
	return saved
}

// expire makes the next command refresh the access token.
func (m *modelctl) expire() {
	m.t.Helper()
	file := filepath.Join(m.dir, "tokens.json")
	data, err := os.ReadFile(file)
	if err != nil {
		m.t.Fatal(err)
	}
	var saved map[string]map[string]any
	if err := json.Unmarshal(data, &saved); err != nil {
		m.t.Fatal(err)
	}
	saved["access"]["expires"] = "2000-01-01T00:00:00Z"
	if data, err = json.Marshal(saved); err != nil {
		m.t.Fatal(err)
	}
	writeFile(m.t, file, data)
}

// signIn signs in by the browser.
func (m *modelctl) signIn(api, issuer, password string, flags ...string) {
	t := m.t
	t.Helper()
	// The browser is the test's own person: this program only notes the address.
	browser, address := filepath.Join(m.dir, "browser"), filepath.Join(m.dir, "address")
	if err := os.WriteFile(browser, []byte("#!/bin/sh\necho \"$1\" > "+address+".new && mv "+address+".new "+address+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	m.env = append(m.env, "BROWSER="+browser)
	login := m.start(append([]string{"login", "-api", api, "-issuer", issuer}, flags...)...)
	var opened []byte
	eventually(t, 30*time.Second, "the browser opens", func() (err error) {
		opened, err = os.ReadFile(address)
		return err
	})
	back := newPerson(t).open(t, strings.TrimSpace(string(opened))).submit(t, loginForm("ml-api-user", password))
	if back.URL.Hostname() != "127.0.0.1" || back.URL.Query().Get("code") == "" {
		t.Fatalf("Keycloak leads to %s: %s", back.URL, back.Body)
	}
	res, err := http.Get(back.URL.String())
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	login.want(0, "Signed in to "+api)
}

// modelctl is the command on a computer of its own, which has no keyring.
type modelctl struct {
	t   *testing.T
	dir string
	env []string
}

// run is one command, begun by start and awaited by want.
type run struct {
	t              *testing.T
	command        *exec.Cmd
	stdout, stderr lockedBuffer
}

func (m *modelctl) start(args ...string) *run {
	m.t.Helper()
	r := &run{t: m.t, command: exec.CommandContext(m.t.Context(), e.program("modelctl"), args...)}
	r.command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + m.dir, "MODELCTL_CONFIG=" + m.dir}, m.env...)
	r.command.Stdout, r.command.Stderr = &r.stdout, &r.stderr
	if err := r.command.Start(); err != nil {
		m.t.Fatal(err)
	}
	return r
}

func (m *modelctl) run(args ...string) *run { m.t.Helper(); return m.start(args...) }

// address waits until the command has shown one.
func (r *run) address(pattern string) (address string) {
	r.t.Helper()
	expression := regexp.MustCompile(pattern)
	eventually(r.t, 30*time.Second, "an address is shown", func() error {
		if address = expression.FindString(r.output()); address == "" {
			return errors.New(r.output())
		}
		return nil
	})
	return address
}

func (r *run) output() string { return r.stdout.String() + r.stderr.String() }

// want waits for the end of the command and fails the test unless it has the
// status and shows the text.
func (r *run) want(status int, text string) {
	r.t.Helper()
	err := r.command.Wait()
	if got := r.command.ProcessState.ExitCode(); got != status || !bytes.Contains([]byte(r.output()), []byte(text)) {
		r.t.Fatalf("modelctl %s: status %d (%v), want %d with %q\n%s", strings.Join(r.command.Args[1:], " "), got, err, status, text, r.output())
	}
}
