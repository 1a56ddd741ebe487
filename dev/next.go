package main

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
)

// example is who can get a token and call a model, as ./dev/stack prints it.
type example struct {
	Realm    string `json:"realm"`
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`
	Username string `json:"username"` // empty if nobody can by a password
	Model    string `json:"model"`
	Embedded string `json:"embedded"` // the model, where the API itself holds it
}

// irisRequest asks for the class of one flower.
const irisRequest = `{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2]}]}`

// whatNext tells what to type next. The commands need a POSIX shell, curl and
// sed, and can be pasted in any folder.
func (u *up) whatNext() string {
	e, api := u.example, "http://"+u.api
	var b strings.Builder
	b.WriteString("\nReady.\n\n")
	if e.Username != "" {
		fmt.Fprintf(&b, `In another terminal, get an access token of user %s:

  TOKEN=$(curl -sS %s \
    -d grant_type=password -d %s -d %s -d %s |
    sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p')

`, e.Username, quote(e.Issuer+"/protocol/openid-connect/token"), quote("client_id="+e.ClientID), quote("username="+e.Username),
			quote("@"+filepath.Join(u.state, "curl-secrets")))
	} else {
		b.WriteString("The stack has no user who can get a token by a password from the client of kind api.\nOnce TOKEN is an access token, in another terminal,\n\n")
	}
	if e.Embedded == "iris" {
		fmt.Fprintf(&b, `and a prediction:

  curl -sS %s \
    -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d %s

`, quote(api+"/v2/models/"+e.Model+"/infer"), quote(irisRequest))
	} else {
		fmt.Fprintf(&b, `and the models that it may call:

  curl -sS %s -H "Authorization: Bearer $TOKEN"

`, quote(api+"/v2/models"))
	}
	fmt.Fprintf(&b, "Playground     %s/\n", api)
	if e.Username != "" {
		fmt.Fprintf(&b, "               user %s, password at the end of %s\n", e.Username, filepath.Join(u.state, "curl-secrets"))
	}
	fmt.Fprintf(&b, "Admin console  %s/admin/master/console/#/%s\n               %s\n", u.server.url, e.Realm, u.server.console)
	fmt.Fprintf(&b, "Logs           %s\n\nCtrl-C stops everything.\n", filepath.Join(u.state, "api.log"))
	return b.String()
}

var plain = regexp.MustCompile(`^[A-Za-z0-9@%+=:,./_-]+$`)

// quote makes text one word of a POSIX shell.
func quote(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// warnings passes on what a program says, but counts its warnings.
type warnings struct {
	w    io.Writer
	line []byte // without its end yet
	n    int
}

func (f *warnings) Write(text []byte) (int, error) {
	f.line = append(f.line, text...)
	for {
		line, after, ok := bytes.Cut(f.line, []byte("\n"))
		if !ok {
			return len(text), nil
		}
		f.line = after
		if bytes.HasPrefix(line, []byte("warning: ")) {
			f.n++
		} else if _, err := fmt.Fprintf(f.w, "%s\n", line); err != nil {
			return 0, err
		}
	}
}
