package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"keycloak-model-api/internal/local"
	"keycloak-model-api/modelctl/session"
)

const issuerTimeout = 30 * time.Second

// command is one run of modelctl.
type command struct {
	*settings
	sessions       *session.Manager
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
}

func (c *command) login(ctx context.Context) error {
	s := session.Session{API: c.API, Issuer: c.Issuer, ClientID: c.ClientID}
	if before, err := c.sessions.Session(); err == nil {
		if s.API == "" {
			s.API = before.API
		}
		if s.ClientID == "" && s.API == before.API {
			s.ClientID = before.ClientID
		}
	}
	if s.API == "" {
		s.API = local.API()
	}
	if s.ClientID == "" {
		s.ClientID = defaultClientID
	}
	if s.Issuer == "" {
		var err error
		if s.Issuer, err = c.confirmedIssuer(ctx, s.API); err != nil {
			return err
		}
	}
	var who *session.Session
	var err error
	if c.Device {
		who, err = c.sessions.LoginDevice(ctx, s, c.showCode)
	} else {
		who, err = c.sessions.LoginBrowser(ctx, s, c.showBrowser)
	}
	if err != nil {
		return err
	}
	if err := c.sessions.Trust(ctx, who.API, who.Issuer); err != nil {
		return err
	}
	fmt.Fprintf(c.stderr, "Signed in to %s as %s. See what you may call: modelctl models\n", who.API, printable(displayName(who)))
	return nil
}

// confirmedIssuer returns the issuer that the environment or the API names,
// after the person has confirmed it for this API. Otherwise whoever makes a
// person type an address could have tokens of any issuer made for it.
func (c *command) confirmedIssuer(ctx context.Context, api string) (string, error) {
	issuer := c.Issuers
	if issuer == "" {
		var err error
		if issuer, err = (&client{api: api, http: session.NewHTTP(apiTimeout)}).issuer(ctx); err != nil {
			return "", err
		}
	}
	trusted, err := c.sessions.Trusted(api)
	if err != nil || issuer == trusted {
		return issuer, err
	}
	change := "You have not signed in to this API before."
	if trusted != "" {
		change = "This API had another issuer before: " + trusted
	}
	fmt.Fprint(c.stderr, printable(fmt.Sprintf("%s\n\n    API     %s\n    Issuer  %s\n\n"+
		"You sign in at the issuer, and the API learns who you are.\n", change, api, issuer)))
	if f, ok := c.stdin.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return "", fmt.Errorf("nobody can be asked here: if both are right, modelctl login -api %s -issuer %s", api, issuer)
	}
	fmt.Fprint(c.stderr, "Are both the ones that you expect? [y/N] ")
	answer, err := c.readLine(ctx)
	if err != nil {
		return "", err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return "", errors.New("not confirmed: nothing was sent to the issuer")
	}
	return issuer, nil
}

// readLine reads one line of standard input, unless ctx ends before.
func (c *command) readLine(ctx context.Context) (string, error) {
	line := make(chan string, 1)
	go func() {
		s, _ := bufio.NewReader(c.stdin).ReadString('\n') // an end without a line is no answer
		line <- s
	}()
	select {
	case s := <-line:
		return s, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (c *command) showCode(uri, completeURI, code string) {
	fmt.Fprintf(c.stderr, "Open this page in a browser:\n\n    %s\n\nand enter the code:\n\n    %s\n\n", printable(uri), printable(code))
	if completeURI != "" {
		fmt.Fprintf(c.stderr, "This address brings the code along; compare it with the one above:\n\n    %s\n\n", printable(completeURI))
	}
	fmt.Fprintln(c.stderr, "Waiting for you to finish there…")
}

// showBrowser opens the sign-in page, or says how to.
func (c *command) showBrowser(authURL string) {
	c.openBrowser(authURL, func(error) {}) // the person sees whether one opens
	fmt.Fprintln(c.stderr, "Without a browser here: modelctl login -device")
}

// openBrowser opens the sign-in page. It calls failed, at any time, where there is
// no browser.
func (c *command) openBrowser(authURL string, failed func(error)) {
	fmt.Fprintf(c.stderr, "Sign in on the page that your browser opens. If none opens, open this address on this computer:\n\n"+
		"    %s\n\n", printable(authURL))
	var cmd *exec.Cmd
	switch browser := c.getenv("BROWSER"); {
	case browser != "":
		cmd = exec.Command(browser, authURL)
	case runtime.GOOS == "darwin":
		cmd = exec.Command("open", authURL)
	case runtime.GOOS == "windows":
		cmd = exec.Command("rundll32", "url.dll,FileProtocolHandler", authURL)
	default:
		cmd = exec.Command("xdg-open", authURL)
	}
	if err := cmd.Start(); err != nil {
		failed(err)
		return
	}
	go func() {
		if err := cmd.Wait(); err != nil {
			failed(err)
		}
	}()
}

func (c *command) logout(ctx context.Context) error {
	err := c.sessions.Logout(ctx)
	if errors.Is(err, session.ErrSignedOut) {
		fmt.Fprintln(c.stderr, "You were not signed in.")
		return nil
	}
	if _, gone := c.sessions.Session(); errors.Is(gone, session.ErrSignedOut) {
		fmt.Fprintln(c.stderr, "The tokens on this computer are forgotten.")
	}
	if err != nil {
		return fmt.Errorf("the session at the issuer may live on until it is idle for long enough: %w", err)
	}
	return nil
}

func (c *command) whoami(ctx context.Context) error {
	access, err := c.access(ctx)
	if err != nil {
		return err
	}
	s := access.Session
	out := struct {
		*session.Session
		Roles          []string   `json:"roles"`
		SessionExpires *time.Time `json:"sessionExpires,omitempty"`
	}{Session: s, Roles: rolesForDisplay(access.Token)}
	left := "not known"
	if !access.SessionExpires.IsZero() {
		out.SessionExpires = &access.SessionExpires
		left = time.Until(access.SessionExpires).Round(time.Second).String() + ", longer if you go on"
	}
	if c.Output == "json" {
		return c.printJSON(out)
	}
	tokens := "bound to a key of this computer"
	if s.Thumbprint == "" {
		tokens = "bearer: who has one can use it"
	}
	return c.printTable([][]string{
		{"NAME", displayName(s)},
		{"USERNAME", s.Username},
		{"EMAIL", s.Email},
		{"ROLES", strings.Join(out.Roles, ", ")},
		{"SESSION LEFT", left},
		{"TOKENS", tokens},
		{"API", s.API},
		{"ISSUER", s.Issuer},
	})
}

func (c *command) models(ctx context.Context) error {
	api, err := c.client(ctx)
	if err != nil {
		return err
	}
	names, err := api.models(ctx)
	if err != nil {
		return err
	}
	models := make([]*model, len(names))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i, name := range names {
		group.Go(func() error {
			m, err := api.model(gctx, name)
			if e, ok := errors.AsType[*apiError](err); ok && e.Status >= 500 {
				m, err = &model{Name: name}, nil // the other models are still worth showing
			}
			models[i] = m
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if c.Output == "json" {
		return c.printJSON(map[string]any{"models": models})
	}
	if len(models) == 0 {
		fmt.Fprintln(c.stderr, "You are signed in, but may call no model. Ask for the role of the model that you need.")
		return nil
	}
	rows := [][]string{{"MODEL", "INPUTS", "OUTPUTS"}}
	for _, m := range models {
		row := []string{m.Name, describeTensors(m.Inputs), describeTensors(m.Outputs)}
		if m.raw == nil {
			row = []string{m.Name, "not available now", ""}
		}
		rows = append(rows, row)
	}
	return c.printTable(rows)
}

func (c *command) describe(ctx context.Context) error {
	api, err := c.client(ctx)
	if err != nil {
		return err
	}
	m, err := api.model(ctx, c.Args[0])
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return c.printJSON(m)
	}
	rows := [][]string{{"MODEL", m.Name}, {"PLATFORM", m.Platform}}
	if len(m.Versions) > 0 {
		rows = append(rows, []string{"VERSIONS", strings.Join(m.Versions, ", ")})
	}
	for _, t := range m.Inputs {
		rows = append(rows, []string{"INPUT", describeTensors([]tensor{t})})
	}
	for _, t := range m.Outputs {
		rows = append(rows, []string{"OUTPUT", describeTensors([]tensor{t})})
	}
	return c.printTable(rows)
}

func (c *command) predict(ctx context.Context) error {
	name, file := c.Args[0], c.Args[1]
	data, err := c.read(file)
	if err != nil {
		return err
	}
	api, err := c.client(ctx)
	if err != nil {
		return err
	}
	request := data
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		m, err := api.model(ctx, name)
		if err != nil {
			return err
		}
		if request, err = requestFromCSV(m, data); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	} else if err := checkJSON(data); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	answer, err := api.infer(ctx, name, request)
	if e, ok := errors.AsType[*apiError](err); ok && e.StepUp != nil {
		if api, err = c.stepUp(ctx, name, e.StepUp); err != nil {
			return err
		}
		answer, err = api.infer(ctx, name, request) // once
	}
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return c.printJSON(jsontext.Value(answer))
	}
	rows, err := predictionRows(answer)
	if err != nil {
		return err
	}
	return c.printTable(rows)
}

// stepUp signs the person in again as a model asks for.
func (c *command) stepUp(ctx context.Context, model string, up *session.StepUp) (*client, error) {
	s, err := c.sessions.Session()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(c.stderr, "Model %s asks for a sign-in of level %s that is fresh. The request is sent again after it.\n", model, up.ACR)
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	_, err = c.sessions.StepUp(waiting, *s, up, func(authURL string) {
		c.openBrowser(authURL, func(why error) {
			cancel(fmt.Errorf("no browser opened on this computer (%w), and the device flow has no levels: "+
				"run the command where a browser is, or name one by BROWSER", why))
		})
	})
	if err != nil {
		return nil, err
	}
	return c.client(ctx)
}

func (c *command) read(file string) ([]byte, error) {
	in := c.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(data) > maxBody {
		return nil, fmt.Errorf("%s: more than %d MiB: send it in parts", file, maxBody>>20)
	}
	return data, nil
}

func (c *command) token(ctx context.Context) error {
	access, err := c.access(ctx)
	if err != nil {
		return err
	}
	if access.Session.Thumbprint != "" {
		return errors.New("your tokens are bound to a key of this computer, so that another program's call with one is refused: " +
			"get tokens that can be handed on by modelctl login -bearer")
	}
	_, err = fmt.Fprintln(c.stdout, access.Token)
	return err
}

func (c *command) version() error {
	version := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	_, err := fmt.Fprintf(c.stdout, "modelctl %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// access returns an access token for the API that the command line names,
// otherwise for that of the session.
func (c *command) access(ctx context.Context) (*session.Access, error) {
	a, err := c.sessions.Access(ctx)
	if err == nil && c.API != "" && c.API != a.Session.API {
		return nil, fmt.Errorf("%w to %s, only to %s", session.ErrSignedOut, c.API, a.Session.API)
	}
	return a, err
}

func (c *command) client(ctx context.Context) (*client, error) {
	a, err := c.access(ctx)
	if err != nil {
		return nil, err
	}
	return &client{api: a.Session.API, http: a.Client(apiTimeout)}, nil
}

func displayName(s *session.Session) string {
	for _, name := range []string{s.Name, s.Username, s.Email} {
		if name != "" {
			return name
		}
	}
	return s.Subject
}

// rolesForDisplay reads the realm roles out of an access token without
// verifying it: to show them, never to decide by them.
func rolesForDisplay(accessToken string) []string {
	var claims struct {
		RealmAccess struct {
			Roles []string `json:"roles"`
		} `json:"realm_access"`
	}
	if parts := strings.Split(accessToken, "."); len(parts) == 3 {
		if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			_ = json.Unmarshal(payload, &claims) // a token of another shape has no roles to show
		}
	}
	return claims.RealmAccess.Roles
}

// hasKeyring reports whether asking for the keyring can succeed. On Linux it
// is reached by D-Bus; without a session bus the library would start one that
// outlives us.
func hasKeyring(getenv func(string) string) bool {
	if runtime.GOOS != "linux" || getenv("DBUS_SESSION_BUS_ADDRESS") != "" {
		return true
	}
	_, err := os.Stat(fmt.Sprintf("/run/user/%d/bus", os.Getuid()))
	return err == nil
}
