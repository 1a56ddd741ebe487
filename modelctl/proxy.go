package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"keycloak-model-api/modelctl/proxy"
	"keycloak-model-api/modelctl/session"
)

// runProxy serves tools on this computer until ctx ends.
func (c *command) runProxy(ctx context.Context) error {
	first, err := c.access(ctx)
	if err != nil {
		return err
	}
	api := first.Session.API
	access := func(ctx context.Context) (*session.Access, error) {
		a, err := c.access(ctx)
		if err == nil && a.Session.API != api { // somebody has signed in elsewhere meanwhile
			return nil, fmt.Errorf("%w to %s any more", session.ErrSignedOut, api)
		}
		return a, err
	}
	socket := c.Socket
	if socket != "" { // setup prints it for a tool that runs in another folder
		if socket, err = filepath.Abs(socket); err != nil {
			return err
		}
	}
	l, host, err := c.proxyListener(socket)
	if err != nil {
		return err
	}
	defer l.Close()
	running := &proxy.Running{URL: "http://" + host, Socket: socket, Key: proxy.NewKey(), PID: os.Getpid()}
	p, err := proxy.New(proxy.Config{API: api, Host: host, Key: running.Key, AnyKey: c.AnyKey, Access: access, Now: time.Now})
	if err != nil {
		return err
	}
	if err := running.Write(c.proxyFile()); err != nil {
		return err
	}
	defer func() { _ = running.Forget(c.proxyFile()) }() // a file that stays names a proxy that doesn't answer
	at := running.URL
	if socket != "" {
		at = socket
	}
	fmt.Fprintf(c.stderr, "Tools on this computer reach %s at %s, as %s.\nSet one up: modelctl setup TOOL\n", api, at, printable(displayName(first.Session)))
	if c.AnyKey {
		fmt.Fprintln(c.stderr, "Warning: with -any-key every user and every program of this computer can call models as you.")
	}
	return p.Serve(ctx, l)
}

func (c *command) proxyListener(socket string) (l net.Listener, host string, err error) {
	if socket != "" {
		l, err = proxy.ListenUnix(socket)
		return l, "localhost", err
	}
	if l, err = proxy.Listen(c.Listen); err != nil {
		return nil, "", err
	}
	return l, l.Addr().String(), nil
}

// proxyFile is what the proxy that runs leaves for the other commands.
func (c *command) proxyFile() string { return filepath.Join(c.Dir, "proxy.json") }

// printKey prints the key of the proxy that runs, for tools that ask a program.
func (c *command) printKey() error {
	running, err := proxy.ReadRunning(c.proxyFile())
	if err == nil {
		_, err = fmt.Fprintln(c.stdout, running.Key)
	}
	return err
}

// tool is a program that calls models, and how it is told where to.
type tool struct {
	name  string
	lines string // with {url}, {key} and {model}
	unix  string // the same for a Unix socket, {socket}; empty for a tool that has none
}

func tools() []tool {
	return []tool{
		{name: "openai", lines: `# eval "$(modelctl setup openai)"
export OPENAI_BASE_URL='{url}/v1'
export OPENAI_API_KEY='{key}'
# A program that lives longer than the proxy asks for the key instead, in Python:
#   OpenAI(api_key=lambda: subprocess.check_output(["modelctl", "key"], text=True).strip())
`},
		{name: "anthropic", lines: `# eval "$(modelctl setup anthropic)"
export ANTHROPIC_BASE_URL='{url}'
export ANTHROPIC_API_KEY='{key}'
`},
		{name: "langchain", lines: `# pip install langchain-openai
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(base_url="{url}/v1", api_key="{key}", model="{model}")
`},
		{name: "llamaindex", lines: `# pip install llama-index-llms-openai-like
from llama_index.llms.openai_like import OpenAILike

llm = OpenAILike(api_base="{url}/v1", api_key="{key}", model="{model}", is_chat_model=True)
`},
		{name: "open-webui", lines: `# eval "$(modelctl setup open-webui)", then: open-webui serve
# In a container, share the network of this computer: the proxy is on its loopback interface.
export ENABLE_OLLAMA_API=false
export ENABLE_PERSISTENT_CONFIG=false
export OPENAI_API_BASE_URL='{url}/v1'
export OPENAI_API_KEY='{key}'
`},
		{name: "claude-code", lines: `{
  "apiKeyHelper": "modelctl key",
  "env": {
    "ANTHROPIC_BASE_URL": "{url}",
    "ANTHROPIC_MODEL": "{model}"
  }
}
`},
		{name: "continue", lines: `# ~/.continue/config.yaml
name: models
version: 1.0.0
schema: v1
models:
  - name: {model}
    provider: openai
    model: {model}
    apiBase: {url}/v1
    apiKey: {key}
`},
		{
			name: "curl", lines: "curl -H 'Authorization: Bearer {key}' {url}/v2/models\n",
			unix: "curl --unix-socket '{socket}' -H 'Authorization: Bearer {key}' {url}/v2/models\n",
		},
	}
}

func toolNames() string {
	var names []string
	for _, t := range tools() {
		names = append(names, t.name)
	}
	return strings.Join(names, ", ")
}

// setup prints the lines by which a tool uses the proxy that runs.
func (c *command) setup() error {
	running, err := proxy.ReadRunning(c.proxyFile())
	if err != nil {
		return err
	}
	for _, t := range tools() {
		if t.name != c.Args[0] {
			continue
		}
		lines := t.lines
		if running.Socket != "" {
			if lines = t.unix; lines == "" {
				return fmt.Errorf("%s can't use a Unix socket: start the proxy without -socket", t.name)
			}
		}
		if t.name == "claude-code" {
			fmt.Fprintln(c.stderr, "For ~/.claude/settings.json:")
		}
		_, err := strings.NewReplacer("{url}", running.URL, "{key}", running.Key, "{model}", c.Model, "{socket}", running.Socket).WriteString(c.stdout, lines)
		return err
	}
	return nil // parse has refused it
}
