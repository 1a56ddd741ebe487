package main

import (
	"errors"
	"strings"
	"testing"

	"keycloak-model-api/internal/cli"
)

func TestCommandLine(t *testing.T) {
	for _, row := range []struct {
		line, command string
		holds         string // of the help or the error
	}{
		{"", "", ""},
		{"--stack prod -keycloak=https://id.example.com", "", ""},
		{"render -preview", "render", ""},
		{"drift --json -stack prod", "drift", ""},
		{"end-sessions -before NOW", "end-sessions", ""},
		{"-h", "", "end-sessions  End all sessions that began before a time."},
		{"drift -h", "", "1 a difference"},
		{"help render", "", "-show-secrets"},
		{"rendr", "", `unknown command "rendr": use one of render, drift, repair, end-sessions`},
		{"render more", "", "1 arguments: expected go run ./dev render [flags]"},
		{"render -keycloak https://id.example.com", "", "flag provided but not defined: -keycloak"},
		{"-keycloak id.example.com", "", "is not a URL"},
		{"end-sessions", "", "say of which by -before NOW"},
		{"render -preview -diff realm.json", "", "give one"},
	} {
		_, command, err := parse(strings.Fields(row.line))
		said := ""
		if help, ok := errors.AsType[*cli.HelpError](err); ok {
			said = help.Text
		} else if err != nil {
			said = err.Error()
		}
		if command != row.command || !strings.Contains(said, row.holds) || (err != nil) != (row.holds != "") {
			t.Errorf("%q: command %q, %s", row.line, command, said)
		}
	}
}
