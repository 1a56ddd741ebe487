package main

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"keycloak-model-api/internal/cli"
)

// example is who can get a token and call a model, as ./dev/stack prints it.
type example struct {
	Realm    string   `json:"realm"`
	Issuer   string   `json:"issuer"`
	Grant    string   `json:"grant"`     // password, client_credentials, or empty if nobody can by a command
	ClientID string   `json:"client_id"` // for the grant
	Username string   `json:"username"`  // for the grant password
	CLI      string   `json:"cli"`       // client of kind cli, or empty
	Users    []string `json:"users"`     // that have a password
	Model    string   `json:"model"`
	Embedded string   `json:"embedded"` // the model, where the API itself holds it
}

// irisRequest asks for the class of one flower.
const irisRequest = `{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2]}]}`

// whatNext tells what to type next. The commands need a POSIX shell, curl and
// sed, and can be pasted in any folder.
func (u *up) whatNext() string {
	e, api := u.example, u.api
	var b strings.Builder
	b.WriteString("\nReady.\n\n")
	b.WriteString(u.getToken())
	if e.Embedded == "iris" {
		fmt.Fprintf(&b, `and a prediction:

  curl -sS %s \
    -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d %s

`, cli.Quote(api+"/v2/models/"+e.Model+"/infer"), cli.Quote(irisRequest))
	} else {
		fmt.Fprintf(&b, `and the models that it may call:

  curl -sS %s -H "Authorization: Bearer $TOKEN"

`, cli.Quote(api+"/v2/models"))
	}
	fmt.Fprintf(&b, "Playground     %s/\n", api)
	if len(e.Users) > 0 {
		fmt.Fprintf(&b, "Users          %s\n               passwords in %s, under initialPasswords, or where the stack sets them\n",
			enumerate(e.Users, 5), filepath.Join(u.state, "secrets.json"))
	}
	fmt.Fprintf(&b, "Admin console  %s/admin/master/console/#/%s\n               %s\n", u.server.url, e.Realm, u.server.console)
	fmt.Fprintf(&b, "Logs           %s\n\nCtrl-C stops everything.\n", filepath.Join(u.state, "api.log"))
	return b.String()
}

// getToken tells how to put an access token into the variable TOKEN.
func (u *up) getToken() string {
	e := u.example
	who, form := "user "+e.Username, []string{"--data-urlencode " + cli.Quote("client_id="+e.ClientID)}
	switch {
	case e.Grant == "password":
		form = append(form, "--data-urlencode "+cli.Quote("username="+e.Username))
	case e.Grant == "client_credentials":
		who = "client " + e.ClientID
	case e.CLI != "":
		return fmt.Sprintf(`In another terminal, in this folder, sign in as one of the users below and get an access token:

  go run ./modelctl login -bearer -api %s -client-id %s && TOKEN=$(go run ./modelctl token)

`, cli.Quote(u.api), cli.Quote(e.CLI))
	default:
		return `The stack has nobody who can get an access token in a terminal: add a client of kind cli, to
sign in with go run ./modelctl login, or one of kind service. Once TOKEN is an access token,
in another terminal,

`
	}
	return fmt.Sprintf(`In another terminal, get an access token of %s:

  TOKEN=$(curl -sS %s \
    -d grant_type=%s %s -d %s |
    sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p')

`, who, cli.Quote(e.Issuer+"/protocol/openid-connect/token"), e.Grant, strings.Join(form, " "),
		cli.Quote("@"+filepath.Join(u.state, "curl-secrets")))
}

// enumerate names the first of many.
func enumerate(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// warnings passes on what a program says, but counts its warnings.
type warnings struct {
	w       io.Writer
	line    []byte // without its end yet
	n       int
	refused int // of n: what is an error outside dev
}

// summary is one line on the warnings, if there are any.
func (f *warnings) summary(stack string) string {
	if f.n == 0 {
		return ""
	}
	return fmt.Sprintf("Stack %s has %d warnings, of which %d are errors outside environment dev: go run ./dev render -preview -stack "+
		"%[1]s shows them\n",
		stack, f.n, f.refused)
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
			if bytes.HasSuffix(line, []byte("(refused outside environment dev)")) ||
				bytes.HasSuffix(line, []byte("[allowed: this is dev]")) {
				f.refused++
			}
		} else if _, err := fmt.Fprintf(f.w, "%s\n", line); err != nil {
			return 0, err
		}
	}
}
