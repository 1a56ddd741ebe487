package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestChat does what a person does with language models, in Chromium: LiteLLM
// answers, but for a stream of Anthropic's API and one that doesn't end by itself.
func TestChat(t *testing.T) {
	llm, site := startLiteLLM(t), "http://127.0.0.1:"
	left := make(chan struct{})
	streams := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if r.URL.Path == "/v1/messages" { // LiteLLM makes up no stream of Anthropic's
			_, _ = io.WriteString(w, claudeStream)
			return
		}
		_, _ = io.WriteString(w, `data: {"choices":[{"delta":{"content":"I could go on"}}]}`+"\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(left)
	}))
	defer streams.Close()
	port := freePort(t)
	site += port
	const password = "correct horse battery staple 5E"
	st := e.up(t, fmt.Sprintf(`
config:
  keycloak-model-api:environment: dev
  keycloak-model-api:realm: chat
  keycloak-model-api:models:
    - {name: 'org/talks:8b', protocol: openai, upstream: {url: '%[1]s/v1', model: talks, credential: LLM_KEY}}
    - {name: writes, protocol: openai, upstream: {url: '%[1]s', credential: LLM_KEY}}
    - {name: vectors, protocol: openai, allow: {actions: [embeddings]}, upstream: {url: '%[1]s', credential: LLM_KEY}}
    - {name: claude, protocol: anthropic, upstream: {url: '%[2]s'}}
    - {name: endless, protocol: openai, upstream: {url: '%[2]s'}}
  keycloak-model-api:limits:
    - {role: model-api-access, requests: {minute: 60}}
  keycloak-model-api:clients:
    - {clientId: model-api, kind: api}
    - clientId: portal
      kind: web
      redirectUris: ['%[3]s/callback']
      postLogoutRedirectUris: ['%[3]s/']
      backchannelLogoutUrl: '%[3]s/backchannel-logout'
  keycloak-model-api:users:
    - {username: ada, email: ada@example.com, firstName: Ada, lastName: Lovelace, password: permanent,
       roles: [model-org-talks-8b, model-writes, model-vectors, model-claude, model-endless]}
`, llm, streams.URL, site), secretsOf{"clientSecrets": {"model-api": "an-api-client-secret-of-the-tests", "portal": "a-portal-secret-of-the-tests"}, "initialPasswords": {"ada": password}})
	st.Env = []string{"LLM_KEY=" + llmKey}
	a := e.startAPIOn(t, port, st)
	axe := fetchAxe(t)
	b := startChromium(t).visit(t, a.URL+"/chat/org/talks:8b")
	b.do(chromedp.Click("a.button"))
	b.signIn("ada", password)
	b.see("Nothing has been sent yet")
	b.judge(axe, "chat-empty")

	b.fill("#prompt", "Who are you?")
	if code := b.eval(`document.querySelector("pre[aria-label='Request as curl']").innerText`); !strings.Contains(code, `"content":"Who are you?"`) || !strings.Contains(code, "/v1/chat/completions") {
		t.Errorf("the request as curl: %s", code)
	}
	b.do(chromedp.Click("#ask button"))
	b.see("Hello from behind the API.")
	b.see("Tokens of the last answer")
	b.see("Left of requests a minute")
	b.fill("#prompt", "And who else?")
	if code := b.eval(`document.querySelector("pre[aria-label='Request as curl']").innerText`); !strings.Contains(code, `{"role":"assistant","content":"Hello from behind the API."},{"role":"user","content":"And who else?"}`) {
		t.Errorf("the request as curl: %s", code)
	}
	b.noSecret()
	b.judge(axe, "chat")
	b.do(chromedp.Click("#anew"))
	b.seeNot("Hello from behind the API.")

	b.open(a.URL + "/chat/writes")
	b.fill("#prompt", "Write")
	b.do(chromedp.Click("#ask button"))
	b.see("end")
	b.see("[image: a cat, https://pictures.example/cat.png]")
	b.see(`<img src=x onerror=`)
	b.see(`\u202eend`)
	b.see("a script (javascript:alert(1)")
	for script, want := range map[string]string{
		`String(document.querySelectorAll("#turns img, #turns b, #turns script").length)`: "0",
		`document.querySelector(".said pre").innerText`:                                   `print("<b>code</b>")`,
		`document.querySelector(".said h3 strong").innerText`:                             "strength",
		`String(document.querySelectorAll(".said ol li").length)`:                         "2",
		`document.querySelector(".said a").rel`:                                           "noopener noreferrer nofollow",
		`String(document.querySelectorAll(".said a").length)`:                             "1",
		`window.asked = ""; window.confirm = (text) => { window.asked = text; return false; };
		 document.querySelector(".said a").click(); window.asked.split("\n")[2]`: "https://links.example/",
	} {
		if got := b.eval(script); got != want {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
	b.judge(axe, "chat-markdown")

	b.open(a.URL + "/chat/vectors")
	b.fill("#prompt", "one\ntwo")
	b.do(chromedp.Click("#ask button"), chromedp.WaitVisible("table.vectors"))
	b.see("1.000")
	b.judge(axe, "embeddings")

	b.open(a.URL + "/chat/claude")
	b.fill("#prompt", "Hello")
	b.fill("#system", "Be brief.")
	b.do(chromedp.Click("#ask button"))
	b.see("Hello from behind the API.")

	// Stop reaches the model's server.
	b.open(a.URL + "/chat/endless")
	b.fill("#prompt", "Go on")
	b.do(chromedp.Click("#ask button"))
	b.see("I could go on")
	b.do(chromedp.Click("#stop"))
	b.see("You stopped the answer.")
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Error("the model's server was not told")
	}

	// A session that has ended elsewhere: what was typed stays.
	tab := b.tab(t, a.URL+"/")
	tab.do(chromedp.Click("header button"))
	tab.see("Try a model")
	b.fill("#prompt", "Still there?")
	b.do(chromedp.Click("#ask button"))
	b.see("Your session has ended")
	b.seeNot("Ada Lovelace")
	if kept := b.eval(`document.getElementById("prompt").value`); kept != "Still there?" {
		t.Errorf("the message is %q", kept)
	}
}
