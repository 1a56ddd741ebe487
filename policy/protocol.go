package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// The protocols that the API speaks. A model without a protocol has ProtocolOIP.
const (
	ProtocolOIP    = "oip"    // Open Inference Protocol v2
	ProtocolOpenAI = "openai" // OpenAI's API: chat completions, completions, embeddings, responses, transcriptions

	ProtocolAnthropic = "anthropic" // Anthropic's API: messages
	ProtocolPaths     = "paths"     // any HTTP API, of which Upstream.Paths lists what may be called
)

// protocol is what a policy must know of one.
type protocol struct {
	name    string
	actions []string
	inBody  bool // the body of a request names the model, not its path
}

func protocols() []protocol {
	return []protocol{
		{name: ProtocolOIP, actions: []string{"infer", "generate", "metadata", "ready"}},
		{name: ProtocolOpenAI, actions: []string{"chat", "completions", "embeddings", "responses", "transcriptions", "metadata"}, inBody: true},
		{name: ProtocolAnthropic, actions: []string{"messages", "count_tokens", "metadata"}, inBody: true},
		{name: ProtocolPaths, actions: []string{"infer"}},
	}
}

// protocolOf returns what is known of the protocol that a model names; nothing
// for one that there isn't.
func protocolOf(name string) (found protocol) {
	for _, p := range protocols() {
		if p.name == cmp.Or(name, ProtocolOIP) {
			found = p
		}
	}
	return found
}

// Protocols are the names of all protocols.
func Protocols() (names []string) {
	for _, p := range protocols() {
		names = append(names, p.name)
	}
	return names
}

// Actions are what can be done with a model of a protocol.
func Actions(protocol string) []string { return protocolOf(protocol).actions }

var (
	modelName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	modelNamePart = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	upstreamModel = regexp.MustCompile(`^[!-~]{1,255}$`)
)

// ValidModelName reports whether s can be the name of a model that is named by
// the path: 1 to 63 letters, digits, dots, underscores and hyphens, so that it is
// one path segment that no proxy rewrites.
func ValidModelName(s string) bool { return modelName.MatchString(s) }

// CheckModelName says why name can't be that of a model of this protocol. Where
// the body names the model, such names may be joined by slashes and colons, such
// as meta-llama/Llama-3.1-8B-Instruct and llama3:8b.
func CheckModelName(protocol, name string) error {
	if !protocolOf(protocol).inBody {
		if ValidModelName(name) {
			return nil
		}
		return errors.New("use 1 to 63 letters, digits, dots, underscores and hyphens")
	}
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '/' || r == ':' })
	separators := strings.Count(name, "/") + strings.Count(name, ":")
	bad := slices.ContainsFunc(parts, func(part string) bool { return !modelNamePart.MatchString(part) })
	if len(name) > 80 || len(parts) != separators+1 || bad {
		return errors.New("use 1 to 80 letters, digits, dots, underscores and hyphens, in parts that a slash or a colon joins")
	}
	return nil
}

// DefaultRole is the role that a model asks for where nothing says who may call
// it. It has - in place of slashes and colons, which no role can have.
func DefaultRole(model string) string {
	return "model-" + strings.NewReplacer("/", "-", ":", "-").Replace(model)
}

// CheckUpstreamModel says why text can't be what a model server calls a model of
// this protocol, after a key that names it.
func CheckUpstreamModel(protocol, text string) error {
	switch {
	case text == "":
		return nil
	case !protocolOf(protocol).inBody:
		return errors.New("is for protocols in which the body names the model: here the server must call it as the policy does")
	case !upstreamModel.MatchString(text):
		return errors.New("must be 1 to 255 printable ASCII characters without spaces")
	}
	return nil
}

// version is the last segment of a base URL such as https://api.example.com/v1.
var version = regexp.MustCompile(`^v[0-9]+$`)

// EndsInVersion says that a model server's URL names the version of its API,
// which then stands for the one that paths of OpenAI's and Anthropic's API begin with.
func EndsInVersion(u *url.URL) bool {
	path := strings.TrimRight(u.Path, "/")
	return version.MatchString(path[strings.LastIndex(path, "/")+1:])
}

// CheckUpstreamURL says why text can't be the URL of a model server of this
// protocol, after a key that names it. The text may hold a credential, so it
// isn't repeated.
func CheckUpstreamURL(protocol, text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("is not an http or https URL such as http://triton:8000")
	case u.User != nil:
		return errors.New("holds user info: name the credential by upstream.credential")
	case u.RawQuery != "" || u.ForceQuery:
		return errors.New("holds a query, which no request to the model server would have: end it with the path")
	case strings.Contains(text, "#"):
		return errors.New("holds a fragment, which is never sent to a server: end it with the path")
	}
	path := strings.TrimRight(u.Path, "/") + "/"
	switch p := protocolOf(protocol); p.name {
	case ProtocolOIP:
		if strings.HasSuffix(path, "/v2/") || strings.Contains(path, "/v2/models/") {
			return errors.New("holds /v2, which the API adds itself: end it before /v2")
		}
	case ProtocolOpenAI, ProtocolAnthropic:
		for _, route := range []string{"/messages/", "/chat/completions/", "/completions/", "/embeddings/", "/responses/"} {
			if strings.HasSuffix(path, route) {
				return errors.New("holds the path of one route, which the API adds itself: end it with the version, such as /v1, or before it")
			}
		}
	}
	return nil
}

// pathPattern is a method, a space, and a path whose segments are as they are, or *
// for any one segment.
var pathPattern = regexp.MustCompile(`^(GET|POST) (/[A-Za-z0-9._~*-]+)+$`)

// CheckPaths says why these can't be what may be called of a model of this
// protocol, after a key that names them.
func CheckPaths(protocol string, paths []string) error {
	if protocol != ProtocolPaths {
		if paths != nil {
			return errors.New("is for the protocol " + ProtocolPaths)
		}
		return nil
	}
	if len(paths) == 0 {
		return errors.New("is empty: list what may be called, such as POST /invocations")
	}
	for _, p := range paths {
		_, path, _ := strings.Cut(p, " ")
		odd := slices.ContainsFunc(strings.Split(path, "/"), func(segment string) bool {
			return segment == "." || segment == ".." || segment != "*" && strings.Contains(segment, "*")
		})
		if !pathPattern.MatchString(p) || odd {
			return fmt.Errorf("%q is not GET or POST and a path such as POST /invocations or GET /jobs/*", p)
		}
	}
	return nil
}

// Lists says whether the method and the path, which begins behind the model's
// name, are listed. HEAD goes with GET.
func (u *Upstream) Lists(method, path string) bool {
	if method == "HEAD" {
		method = "GET"
	}
	return slices.ContainsFunc(u.Paths, func(pattern string) bool {
		wantMethod, want, _ := strings.Cut(pattern, " ")
		wants, is := strings.Split(want, "/"), strings.Split(path, "/")
		return method == wantMethod && slices.EqualFunc(wants, is, func(w, i string) bool { return w == "*" || w == i })
	})
}

// CredentialHeaders are the headers in which a model server may take its
// credential, beside Authorization.
func CredentialHeaders() []string { return []string{"x-api-key", "api-key"} }
