package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// axeVersion is the release of axe-core (npm) that judges the pages.
const axeVersion = "4.10.3"

// TestBrowser does what a person does, in Chromium, on Keycloak's own pages and
// ours. With SCREENSHOTS=folder it leaves pictures there.
func TestBrowser(t *testing.T) {
	port := freePort(t)
	site := "http://127.0.0.1:" + port
	ml := startMLServer(t)
	config := strings.NewReplacer(
		"keycloak-model-api:realm: example-realm", "keycloak-model-api:realm: browser",
		"postLogoutRedirectUris: [http://127.0.0.1:8000/]", "postLogoutRedirectUris: ["+site+"/]\n      backchannelLogoutUrl: "+site+"/backchannel-logout",
		"http://127.0.0.1:8000", site,
		"      embedded: iris\n", "      embedded: iris\n      roles: [model-api-access]\n    - name: flowers\n      upstream: {url: '"+ml.URL+"'}\n",
	).Replace(e.devConfig(t)) + `
    - username: first-time
      email: first-time@example.com
      emailVerified: true
      firstName: First
      lastName: Time
      password: temporary
      roles: [model-api-access]
    - username: no-role
      email: no-role@example.com
      emailVerified: true
      firstName: No
      lastName: Role
      password: permanent
`
	const password = "correct horse battery staple 3C"
	secrets := devSecrets()
	for _, user := range []string{"ml-api-user", "first-time", "no-role"} {
		secrets["initialPasswords"][user] = password
	}
	st := e.up(t, config, secrets)
	a := e.startAPIOn(t, port, st)
	chromium := startChromium(t)
	axe := fetchAxe(t)

	t.Run("a person tries iris", func(t *testing.T) {
		b := chromium.visit(t, a.URL)
		b.see("Try a model")
		b.judge(axe, "welcome")
		b.do(chromedp.Click("a.button"), chromedp.WaitVisible("#kc-login"))

		b.signIn("ml-api-user", "wrong")
		b.see("Invalid username or password")
		b.signIn("ml-api-user", password)
		b.see("ML User")
		b.see("Sepal length")
		b.see("ends in 10 hours")
		b.noSecret()

		b.do(chromedp.Click("#predict button"), chromedp.WaitVisible("table.bars"))
		b.seeNot("have changed")
		// A slider and the number beside it are one value. The answer before is
		// marked as long as it is not of the values that stand there.
		b.fill("#predict [name='0.2']", "1.4")
		b.see("have changed since this answer")
		if at := b.eval(`document.querySelectorAll("#predict input[type=range]")[2].value`); at != "1.4" {
			t.Errorf("the slider stands at %s", at)
		}
		b.run(`const slider = document.querySelectorAll("#predict input[type=range]")[3]; slider.value = 0.2; slider.dispatchEvent(new Event("input", {bubbles: true}));`)
		b.do(chromedp.Click("#predict button"), chromedp.WaitVisible("#result:not(.stale) table.bars"))
		b.see("Setosa") // as the style sheet writes it
		if code := b.eval(`document.querySelector("pre[aria-label='Request as curl']").innerText`); !strings.Contains(code, `1.4,0.2]`) || !strings.Contains(code, "$TOKEN") {
			t.Errorf("the request as curl: %s", code)
		}
		b.judge(axe, "playground")
		b.noSecret()

		// Another tab of the same browser is signed in, too.
		tab := b.tab(t, a.URL+"/models/iris")
		tab.see("Sepal length")
		tab.do(chromedp.Click("header button"))
		tab.see("Try a model")

		// And signs out the first, whose back button shows nothing.
		b.do(chromedp.Click("#predict button"))
		b.see("Your session has ended")
		b.seeNot("ML User")
		b.open(a.URL + "/nothing")
		b.see("nothing here")
		b.do(chromedp.NavigateBack())
		b.see("Try a model")
		b.seeNot("ML User")

		// The session at Keycloak has ended, too: it asks for the password.
		b.open(a.URL + "/login")
		b.do(chromedp.WaitVisible("#password"))
	})

	// MLServer says what flowers takes, without words for people.
	t.Run("a model of a model server", func(t *testing.T) {
		b := chromium.visit(t, a.URL+"/login?return_to=/models/flowers")
		b.signIn("ml-api-user", password)
		b.see("input [3]")
		for name, value := range map[string]string{"0.0": "6.3", "0.1": "3.3", "0.2": "6", "0.3": "2.5"} {
			b.fill("#predict [name='"+name+"']", value)
		}
		b.do(chromedp.Click("#predict button"))
		b.see("Virginica")
		if code := b.eval(`document.querySelector("pre[aria-label='Request as curl']").innerText`); !strings.Contains(code, `[6.3,3.3,6,2.5]`) || !strings.Contains(code, a.URL+"/v2/models/flowers/infer") {
			t.Errorf("the request as curl: %s", code)
		}
		b.judge(axe, "model-server")

		b.do(chromedp.Click(".editor summary"))
		b.fill("#json", `{"inputs":[{"name":"input","shape":[2,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2,6.3,3.3,6,2.5]}]}`)
		b.see("have changed since this answer")
		b.do(chromedp.Click("#edit button"))
		b.see(`"setosa", "virginica"`)
		b.fill("#json", `{"inputs":[{"name":"input","shape":[1,3],"datatype":"FP64","data":[5.1,3.5,1.4]}]}`)
		b.do(chromedp.Click("#edit button"))
		b.see("the input has the shape [1, 3], want [n, 4]")
		b.open(a.URL + "/logout")
		b.see("Sign out?")
		b.judge(axe, "sign-out")
		b.do(chromedp.Click("main button"))
		b.see("Try a model")
	})

	t.Run("first sign-in with a temporary password", func(t *testing.T) {
		b := chromium.visit(t, a.URL+"/login?return_to=/models/iris")
		b.signIn("first-time", password)
		b.do(chromedp.WaitVisible("#password-new"), chromedp.SendKeys("#password-new", "another "+password),
			chromedp.SendKeys("#password-confirm", "another "+password+"\r"))
		b.see("First Time")
		if where := b.eval("location.pathname"); where != "/models/iris" {
			t.Errorf("ends at %s", where)
		}
	})

	t.Run("no role", func(t *testing.T) {
		b := chromium.visit(t, a.URL+"/login")
		b.signIn("no-role", password)
		b.see("You may not call any model yet")
		b.see("model-api-access")
		b.judge(axe, "no-role")
	})

	t.Run("an administrator ends the session", func(t *testing.T) {
		b := chromium.visit(t, a.URL+"/login")
		b.signIn("ml-api-user", password)
		b.see("Sepal length")
		realm := "/realms/" + st.output("realm_name")
		var users []struct{ ID string }
		if err := e.admin.Do(t.Context(), http.MethodGet, realm+"/users?exact=true&username=ml-api-user", nil, &users); err != nil || len(users) != 1 {
			t.Fatalf("%v, %v", users, err)
		}
		if err := e.admin.Do(t.Context(), http.MethodPost, realm+"/users/"+users[0].ID+"/logout", nil, nil); err != nil {
			t.Fatal(err)
		}
		// Keycloak has told the API before it answered: no time passes.
		b.do(chromedp.Click("#predict button"))
		b.see("Your session has ended")
		b.seeNot("ML User")
	})

	t.Run("on a phone", func(t *testing.T) {
		b := chromium.visit(t, a.URL+"/login")
		b.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
		b.signIn("ml-api-user", password)
		b.see("Sepal length")
		if b.eval(`String(document.documentElement.scrollWidth > innerWidth)`) != "false" {
			t.Error("the page is wider than the phone")
		}
		b.do(chromedp.Click("#predict button"), chromedp.WaitVisible("table.bars"))
		b.judge(axe, "phone")
	})

	t.Run("the session expires", func(t *testing.T) {
		a.stop(t)
		e.startAPIOn(t, port, st, "-session-idle", "6s", "-session-lifetime", "8s")
		b := chromium.visit(t, a.URL+"/login")
		b.signIn("ml-api-user", password)
		b.see("Sepal length")
		b.fill("#predict [name='0.0']", "5.55")
		b.do(chromedp.Sleep(8*time.Second), chromedp.Click("#predict button"))
		b.see("Your session has ended")
		b.seeNot("ML User")
		// Keycloak still knows the person: no password is asked for. The values
		// are where they were.
		tab := b.tab(t, b.eval(`document.querySelector("#result a").href`))
		tab.see("Sepal length")
		b.do(chromedp.Click("#predict button"), chromedp.WaitVisible("table.bars"))
		if kept := b.eval(`document.querySelector("#predict [name='0.0']").value`); kept != "5.55" {
			t.Errorf("the value is %s", kept)
		}
		b.see("ML User")
	})
}

// chromium is a browser that the test started.
type chromium struct{ ctx context.Context }

func startChromium(t *testing.T, flags ...string) *chromium {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()))
	for _, flag := range append(flags, "disable-quic", "disable-background-networking", "disable-component-update", "disable-sync") {
		options = append(options, chromedp.Flag(flag, true))
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return &chromium{ctx}
}

// browserPage is a tab in Chromium.
type browserPage struct {
	t   *testing.T
	ctx context.Context
}

// visit opens a page with no cookies of before.
func (c *chromium) visit(t *testing.T, url string) *browserPage {
	t.Helper()
	return openTab(t, c.ctx, url, chromedp.WithNewBrowserContext())
}

// tab opens a page with the same cookies.
func (p *browserPage) tab(t *testing.T, url string) *browserPage {
	t.Helper()
	return openTab(t, p.ctx, url)
}

func openTab(t *testing.T, parent context.Context, url string, options ...chromedp.ContextOption) *browserPage {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	t.Cleanup(cancel)
	// Without a time limit: the tab lives as long as the context of this call.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	p := &browserPage{t, ctx}
	p.do(chromedp.EmulateViewport(1280, 860))
	p.open(url)
	return p
}

// do fails the test if the actions take longer than half a minute.
func (p *browserPage) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		text, _ := p.tryEval(shown)
		p.t.Fatalf("%v; the page is %s", err, text)
	}
}

func (p *browserPage) open(url string) { p.t.Helper(); p.do(chromedp.Navigate(url)) }

func (p *browserPage) eval(js string) string {
	p.t.Helper()
	got, err := p.tryEval(js)
	if err != nil {
		p.t.Fatalf("%.100s: %v", js, err)
	}
	return got
}

func (p *browserPage) tryEval(js string) (string, error) {
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[string](js, chromedp.EvalAwaitPromise))
}

// shown is the address and the text of a page.
const shown = `location.href + " " + document.body.innerText`

// run evaluates statements.
func (p *browserPage) run(js string) { p.t.Helper(); p.eval("{" + js + "}; ''") }

// fill types into a field as a person does, in one go.
func (p *browserPage) fill(selector, value string) {
	p.t.Helper()
	p.run(fmt.Sprintf(`const field = document.querySelector(%q); field.value = %q; field.dispatchEvent(new Event("input", {bubbles: true}));`, selector, value))
}

// see waits until the page shows text.
func (p *browserPage) see(text string) {
	p.t.Helper()
	eventually(p.t, 20*time.Second, "the page shows "+text, func() error {
		got, err := p.tryEval(shown)
		if err == nil && !strings.Contains(got, text) {
			err = fmt.Errorf("it shows %s", got)
		}
		return err
	})
}

func (p *browserPage) seeNot(text string) {
	p.t.Helper()
	if got := p.eval("document.body.innerText"); strings.Contains(got, text) {
		p.t.Errorf("the page shows %s: %s", text, got)
	}
}

// signIn fills in Keycloak's form.
func (p *browserPage) signIn(username, password string) {
	p.t.Helper()
	p.do(chromedp.WaitVisible("#kc-login"), chromedp.SetValue("#username", username), chromedp.SetValue("#password", password), chromedp.Click("#kc-login"))
}

// noSecret checks what a script, a screenshot or a history could take away.
func (p *browserPage) noSecret() {
	p.t.Helper()
	got := p.eval(`location.href + document.documentElement.outerHTML + document.cookie + JSON.stringify({...localStorage}) + JSON.stringify({...sessionStorage})`)
	if strings.Contains(got, "eyJ") {
		p.t.Error("the page holds a token")
	}
	if kept := p.eval(`String(localStorage.length + sessionStorage.length) + document.cookie`); kept != "0" {
		p.t.Errorf("a script finds %q", kept)
	}
	history, err := chromedp.Run(p.ctx, chromedp.NavigationEntries())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, entry := range history.Entries {
		if strings.Contains(entry.URL, "/callback") {
			p.t.Errorf("the history holds %s", entry.URL)
		}
	}
}

// judge has axe-core look at the page in light and dark, and takes pictures.
func (p *browserPage) judge(axe, name string) {
	p.t.Helper()
	for scheme, file := range map[string]string{"light": name + ".png", "dark": name + "-dark.png"} {
		media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
		if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, media); err != nil {
			p.t.Fatal(err)
		}
		p.run(axe)
		if found := p.eval(`axe.run().then(r => r.violations.map(v => v.id + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join("; ")).join("\n"))`); found != "" {
			p.t.Errorf("axe-core on %s, %s: %s", name, scheme, found)
		}
		if folder := os.Getenv("SCREENSHOTS"); folder != "" {
			picture, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
			if err != nil {
				p.t.Fatal(err)
			}
			if err := os.MkdirAll(folder, 0o755); err != nil {
				p.t.Fatal(err)
			}
			writeFile(p.t, filepath.Join(folder, file), picture)
		}
	}
}

// fetchAxe returns the script of axe-core.
func fetchAxe(t *testing.T) string {
	t.Helper()
	script, err := os.ReadFile(filepath.Join(installNode(t, "axe-core@"+axeVersion), "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

// installNode returns a folder in which npm has installed a package, such as
// axe-core@4.11.0, that requires no other.
func installNode(t *testing.T, pinned string) string {
	t.Helper()
	dir := t.TempDir()
	npm := exec.Command("npm", "install", "--no-audit", "--no-fund", "--no-save", "--no-package-lock", "--prefix", dir, pinned)
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm install %s: %v\n%s", pinned, err, out)
	}
	return dir
}
