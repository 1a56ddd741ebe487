// Package playground holds the pages for people: who am I, which models may I
// call, and a form to try them. It calls models through the gateway, which decides
// about each call as it does for a token.
package playground

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"keycloak-model-api/api/login"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/stepup"
	"keycloak-model-api/internal/look"
	"keycloak-model-api/policy"
)

// Config says what the pages show.
type Config struct {
	Login *login.Login
	// Call lets the person of a session do an action, metadata or infer, with a
	// model, for the page that the request asks for. It returns the API's answer.
	Call   func(r *http.Request, s *login.Session, action, model string, body []byte) (status int, answer []byte)
	Policy func() *policy.Policy // in force now
	Skew   time.Duration         // how far the issuer's clock may be from ours
	Logger *slog.Logger          // gets sign-ins that failed, never a token or cookie
}

// Playground serves the pages. Each method that is a handler serves one path.
type Playground struct {
	Config
	pages  *template.Template
	assets map[string]asset // by their names
	csp    string
	base   string // path that links begin with

	described described
}

//go:embed pages static/*.js static/*.svg
var files embed.FS

// asset is a file that pages load.
type asset struct{ content, version string }

func newAsset(content string) asset {
	hash := sha256.Sum256([]byte(content))
	return asset{content, hex.EncodeToString(hash[:6])}
}

// New makes the pages. It panics only if what is embedded here is broken.
func New(c Config) *Playground {
	p := &Playground{Config: c, assets: map[string]asset{"style.css": newAsset(look.Style)}, base: c.Login.Path()}
	static, err := fs.Glob(files, "static/*")
	if err != nil {
		panic(err)
	}
	for _, name := range static {
		content, err := files.ReadFile(name)
		if err != nil {
			panic(err)
		}
		p.assets[path.Base(name)] = newAsset(string(content))
	}
	p.pages = p.parse()
	// The issuer is where the form of a logout leads.
	p.csp = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self' " + c.Login.IssuerOrigin() + "; frame-ancestors 'none'; base-uri 'none'"
	return p
}

func (p *Playground) parse() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"asset":   func(name string) string { return p.base + "/static/" + name + "?v=" + p.assets[name].version },
		"base":    func() string { return p.base },
		"exactly": exactly,
		"literal": literal,
	}).ParseFS(files, "pages/*.html"))
}

// Static serves GET /static/{file} to everybody.
func (p *Playground) Static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	file, ok := p.assets[name]
	if !ok {
		p.NotFound(w, r)
		return
	}
	p.secure(w)
	w.Header().Set("ETag", `"`+file.version+`"`)
	w.Header().Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == file.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, name, time.Time{}, strings.NewReader(file.content))
}

// SignIn serves GET /login.
func (p *Playground) SignIn(w http.ResponseWriter, r *http.Request) {
	p.secure(w)
	if err := p.Login.Begin(w, r); err != nil {
		p.fail(w, r, err)
	}
}

// StepUp serves GET /models/{model}/step-up, where a click leads after the model
// has asked for another sign-in.
func (p *Playground) StepUp(w http.ResponseWriter, r *http.Request) {
	p.secure(w)
	session, err := p.Login.Session(r)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	model, decision := p.Policy().Decide(session.Principal.ForPolicy(), r.PathValue("model"), "")
	if decision != policy.Allow {
		p.NotFound(w, r)
		return
	}
	back := pathOf(model.Name)
	if model.Authentication == nil {
		http.Redirect(w, r, p.base+back, http.StatusSeeOther)
		return
	}
	challenge := stepup.Challenge(model.Authentication, session.Principal, time.Now(), p.Skew)
	if err := p.Login.StepUp(w, r, session, challenge, model.Authentication.ACR, back); err != nil {
		p.fail(w, r, err)
	}
}

// pathOf is the path of a model's page.
func pathOf(model string) string { return "/models/" + model }

// Callback serves GET /callback.
func (p *Playground) Callback(w http.ResponseWriter, r *http.Request) {
	p.secure(w)
	if err := p.Login.Callback(w, r); err != nil {
		p.fail(w, r, err)
	}
}

// SignOut serves GET /logout, a page with a button, and POST /logout, which
// ends the session: a page whose form ends it at the issuer too, which the
// script sends at once.
func (p *Playground) SignOut(w http.ResponseWriter, r *http.Request) {
	p.secure(w)
	if r.Method != http.MethodPost { // a link or image of another site signs nobody out
		p.message(w, http.StatusOK, page{Title: "Sign out?", Text: "This ends your session here and at the identity provider.", SignOut: true})
		return
	}
	logout, err := p.Login.Logout(w, r)
	switch {
	case err != nil:
		p.fail(w, r, err)
	case logout == nil:
		http.Redirect(w, r, p.base+"/", http.StatusSeeOther)
	default:
		p.render(w, http.StatusOK, "signing-out.html", page{Title: "Signing out", IssuerLogout: logout})
	}
}

// NotFound answers a browser for a path where there is nothing.
func (p *Playground) NotFound(w http.ResponseWriter, r *http.Request) {
	p.message(w, http.StatusNotFound, page{Title: "There is nothing here", Text: "The address may be mistyped, or the page has moved.", Home: true})
}

// page is what the templates show. The fields after Title are set where they
// have something to say.
type page struct {
	Title string

	Text    string // a message in place of a model
	Code    string // stable code of a failure
	Role    string // to ask for
	SignIn  string // address that begins a sign-in
	Retry   string // address to try again
	Home    bool   // link to the playground
	SignOut bool   // button that signs out
	Welcome bool   // the front page for who is not signed in

	IssuerLogout *login.IssuerLogout

	You    *you
	Models []*modelView
	Model  *modelView // the chosen one
}

// you is who is signed in.
type you struct {
	Name, Username string
	Roles          []string // that the policy knows
	OtherRoles     []string
	Ends           time.Time
	Left, Idle     string
}

func (p *Playground) you(s *login.Session) *you {
	y := &you{Name: s.Name, Username: s.Principal.Username, Ends: s.Ends, Left: forPeople(time.Until(s.Ends)), Idle: forPeople(s.Idle)}
	known := p.Policy().RealmRoles()
	for _, role := range slices.Sorted(slices.Values(s.Principal.RealmRoles)) {
		if slices.Contains(known, role) {
			y.Roles = append(y.Roles, role)
		} else {
			y.OtherRoles = append(y.OtherRoles, role)
		}
	}
	return y
}

// secure sets the headers of every answer.
func (p *Playground) secure(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", p.csp)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
}

// render writes a page whole or not at all.
func (p *Playground) render(w http.ResponseWriter, status int, name string, content page) {
	p.secure(w)
	var b bytes.Buffer
	if err := p.pages.ExecuteTemplate(&b, name, content); err != nil {
		p.Logger.Error("page not rendered", "page", name, "err", err)
		http.Error(w, "The page could not be made. Try again.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(visible(b.Bytes())) // who is gone can't be told
}

// message writes a page that says one thing.
func (p *Playground) message(w http.ResponseWriter, status int, content page) {
	p.render(w, status, "message.html", content)
}

// fail answers with what went wrong with the sign-in or the session.
func (p *Playground) fail(w http.ResponseWriter, r *http.Request, err error) {
	var failed *refusal.Error
	if !errors.As(err, &failed) {
		failed = refusal.New(refusal.Internal, err, "Something went wrong. Try again.")
	}
	// A page of ours to come back to; Login checks it again.
	signIn := p.base + "/login"
	if strings.HasPrefix(r.URL.Path, "/models/") {
		signIn += "?return_to=" + r.URL.Path
	}
	status := failed.Status
	content := page{Text: failed.Message, Code: string(failed.Code), SignIn: signIn}
	switch failed.Code {
	case refusal.NoSession:
		content.Title, content.Code, content.Welcome = "Model playground", "", true
		if r.URL.Path == "/" {
			status = http.StatusOK // the front page
		}
	case refusal.SessionEnded:
		content.Title, content.Code = "Your session has ended", ""
		content.Text = "You were signed out because of time, or because the session was ended elsewhere. Sign in again to go on."
		if r.Method == http.MethodPost {
			content.Text += " What you sent was not read."
		}
		p.Login.Forget(w)
	case refusal.IssuerUnavailable, refusal.KeysUnavailable, refusal.KeyNotChecked:
		content.Title, content.SignIn, content.Retry = "The identity provider is not answering", "", p.base+r.URL.Path
		if r.URL.Path == "/callback" || r.URL.Path == "/login" {
			content.Retry = signIn
		}
		w.Header().Set("Retry-After", "5")
	case refusal.AccessDenied:
		content.Title = "You did not sign in"
	case refusal.OtherPerson, refusal.LevelNotReached:
		content.Title, content.SignIn, content.Home = "Nothing was changed", "", true
	case refusal.CrossOrigin:
		content.Title, content.SignIn, content.Home = "Nothing was done", "", true
	case refusal.SeveralSessions:
		content.Title = "The browser is confused"
	default:
		content.Title = "The sign-in did not work"
	}
	if failed.Code != refusal.NoSession {
		p.Logger.InfoContext(r.Context(), "sign-in or session refused", "code", failed.Code, "err", failed)
	}
	p.message(w, status, content)
}

// forPeople writes a duration in hours and minutes.
func forPeople(d time.Duration) string {
	d = max(d.Round(time.Minute), time.Minute)
	hours, minutes := int(d/time.Hour), int(d%time.Hour/time.Minute)
	switch {
	case hours == 0:
		return plural(minutes, "minute")
	case minutes == 0:
		return plural(hours, "hour")
	}
	return plural(hours, "hour") + " " + plural(minutes, "minute")
}
