package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"keycloak-model-api/internal/child"
	"keycloak-model-api/internal/keycloak"
	"keycloak-model-api/internal/keycloak/progress"
	"keycloak-model-api/internal/local"
)

// usualPort is where the API listens unless that is taken.
const usualPort = 8000

// up is what runs between the start and Ctrl-C. Three parts run at the same
// time, and each waits for what it needs of the others. The first that fails
// ends all.
type up struct {
	checkout
	options  options
	patience context.Context // to stop what runs
	getenv   func(string) string
	out      *progress.Display
	socket   *net.TCPListener // of the API, held from the start so that nobody else gets it
	api      string           // URL of the API

	launched chan struct{} // closed when server is set, and with it Keycloak's URL
	booted   chan struct{} // closed when Keycloak answers
	applied  chan struct{} // closed when example is set: the realm is there

	server  server
	example example
}

// server is the Keycloak that gets the realm.
type server struct {
	url     string
	account []string // variables of the environment that name an administrator
	console string   // who may log in to the admin console, for a person
}

func (c checkout) up(ctx, patience context.Context, o options, getenv func(string) string, stdout io.Writer) error {
	u := &up{
		checkout: c, options: o, patience: patience, getenv: getenv, out: progress.NewDisplay(stdout),
		launched: make(chan struct{}), booted: make(chan struct{}), applied: make(chan struct{}),
	}
	keycloak := u.startKeycloak
	if o.keycloakURL != "" {
		keycloak = u.useKeycloak
	}
	if err := u.listen(); err != nil {
		return err
	}
	defer u.socket.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return keycloak(ctx) })
	g.Go(func() error { return u.makeRealm(ctx) })
	g.Go(func() error { return u.serveAPI(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		fmt.Fprintln(u.out, "Stopping")
		return nil
	})
	return g.Wait()
}

// wait returns nil once done is closed, or the error of ctx.
func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startKeycloak runs a Keycloak until ctx ends.
func (u *up) startKeycloak(ctx context.Context) (err error) {
	distribution, err := keycloak.Fetch(ctx, keycloak.FetchOptions{Home: u.getenv("KEYCLOAK_HOME"), Progress: u.out})
	if err != nil {
		return err
	}
	data := filepath.Join(u.state, "keycloak")
	k, err := keycloak.Launch(ctx, keycloak.Options{Distribution: distribution, DataDir: data, Progress: u.out})
	if err != nil {
		return err
	}
	defer func() {
		u.prepareRealm(k)
		err = errors.Join(err, k.Stop(u.patience))
	}()
	u.server = server{
		url: k.BaseURL,
		account: []string{"KEYCLOAK_REALM=", "KEYCLOAK_CLIENT_ID=" + k.Admin.ClientID,
			"KEYCLOAK_CLIENT_SECRET=" + k.Admin.ClientSecret, "KEYCLOAK_USER="},
		console: "user " + k.Console.Username + ", password in " + filepath.Join(data, "admin.json"),
	}
	close(u.launched)
	if err := k.Ready(ctx); err != nil {
		return err
	}
	close(u.booted)
	select {
	case <-k.Done():
		return k.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// prepareRealm makes the realm anew for the next start, which takes seconds from
// a server that has just booted and much less from this one. Whatever goes wrong
// here, the next start does it.
func (u *up) prepareRealm(k *keycloak.Server) {
	if k.Container() || k.Err() != nil {
		return // its database ends with it, or it has ended
	}
	select {
	case <-u.applied:
		ctx, cancel := context.WithTimeout(u.patience, 40*time.Second) // a busy computer needs more than 15
		defer cancel()
		fmt.Fprintln(u.out, "Making the realm anew for the next start (Ctrl-C skips that)")
		_ = child.Run(ctx, u.realmCommand("prepare"))
	default:
	}
}

// useKeycloak is startKeycloak for one that somebody else runs. Its account is
// in the environment already.
func (u *up) useKeycloak(context.Context) error {
	u.server = server{url: strings.TrimRight(u.options.keycloakURL, "/"), console: "with an account of that Keycloak"}
	close(u.launched)
	close(u.booted)
	return nil
}

// makeRealm compiles the programs, runs that of the stack while Keycloak boots,
// and makes the realm.
func (u *up) makeRealm(ctx context.Context) error {
	if err := u.build(ctx, u.out, ".", "./api", "./dev/stack"); err != nil {
		return err
	}
	if err := wait(ctx, u.launched); err != nil {
		return err
	}
	cmd := u.realmCommand("apply")
	var out bytes.Buffer
	stderr := &warnings{w: u.out}
	cmd.Stdout, cmd.Stderr = &out, stderr
	ready, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	p, err := child.Start(cmd)
	if err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	defer u.stop(p)
	select {
	case <-u.booted:
		ready.Close()
	case <-p.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := wait(ctx, p.Done()); err != nil {
		return err
	}
	if err := p.Err(); err != nil {
		return toldBy(err)
	}
	if err := json.Unmarshal(out.Bytes(), &u.example); err != nil {
		return fmt.Errorf("dev: what ./dev/stack printed: %w", err)
	}
	fmt.Fprintf(u.out, "Realm %s is in Keycloak\n", u.example.Realm)
	fmt.Fprint(u.out, stderr.summary(u.options.stack))
	close(u.applied)
	return nil
}

// realmCommand does something with the realm in Keycloak.
func (u *up) realmCommand(do string) *exec.Cmd {
	cmd := u.stackCommand(u.options.stack, "-keycloak", u.server.url, fmt.Sprintf("-local=%t", u.options.keycloakURL == ""), "-api",
		u.api, do)
	cmd.Env = append(cmd.Env, u.server.account...)
	return cmd
}

// serveAPI runs the API until ctx ends, and says what to type next when it is
// ready.
func (u *up) serveAPI(ctx context.Context) error {
	if err := wait(ctx, u.applied); err != nil {
		return err
	}
	logFile := filepath.Join(u.state, "api.log")
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	defer log.Close()
	socket, err := u.socket.File()
	if err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	defer socket.Close()
	cmd := exec.Command(u.binary("api"), "-listen", "fd:3", "-stack", filepath.Join(u.state, "stack.json"))
	cmd.ExtraFiles = []*os.File{socket}
	// These are only defaults: an entry of u.environ wins.
	cmd.Env = append([]string{"API_LOG=text", "API_PUBLIC_URL=" + u.api}, u.environ...)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := child.Start(cmd)
	if err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	defer u.stop(p)
	// While the API stops, nobody may wait at a socket of ours.
	if err := errors.Join(u.socket.Close(), socket.Close()); err != nil {
		return fmt.Errorf("dev: %w", err)
	}

	ready := make(chan error, 1)
	go func() { ready <- untilReady(ctx, u.api+"/readyz") }()
	for {
		select {
		case err := <-ready:
			if err != nil {
				return err
			}
			if err := local.Announce(u.api); err != nil {
				return err
			}
			defer local.Withdraw(u.api)
			fmt.Fprint(u.out, u.whatNext())
		case <-p.Done():
			reason := "exit status 0"
			if err := p.Err(); err != nil {
				reason = err.Error()
			}
			return fmt.Errorf("dev: the API ended by itself (%s); its log ends with:\n%s", reason, tail(logFile, 20))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stopTimeout is a little longer than the API gives to requests that are under
// way.
const stopTimeout = 30 * time.Second

func (u *up) stop(p *child.Process) {
	ctx, cancel := context.WithTimeout(u.patience, stopTimeout)
	defer cancel()
	p.Stop(ctx)
}

// untilReady asks url until it answers 200.
func untilReady(ctx context.Context, url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	last := errors.New("no answer")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		resp, err := client.Get(url)
		if err != nil {
			last = err
		} else {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			last = fmt.Errorf("%s: %s", resp.Status, body)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("dev: the API is not ready after a minute: %s: %w", url, last)
}

// tail is the last lines of a file.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// listen opens the API's socket: at API_LISTEN, or at the usual port, or at a free
// one. The API's redirect URIs in the realm follow it.
func (u *up) listen() error {
	address := u.getenv("API_LISTEN")
	if address == "" {
		port, err := keycloak.ChoosePort(usualPort)
		if err != nil {
			return err
		}
		if port != strconv.Itoa(usualPort) {
			fmt.Fprintf(u.out, "Port %d is taken: the API takes %s\n", usualPort, port)
		}
		address = "127.0.0.1:" + port
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("dev: the API can't listen, set API_LISTEN to another host:port: %w", err)
	}
	u.socket = l.(*net.TCPListener)
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return fmt.Errorf("dev: %w", err)
	}
	if net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1" // every address of this computer
	}
	u.api = "http://" + net.JoinHostPort(host, port)
	return nil
}
