package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"keycloak-model-api/api/refusal"
)

// underPath serves next under path, that of the public URL. The metadata's
// address has it at its end (RFC 9728, section 3.1). With strip, requests that
// begin with it come without; all others, such as a probe's, go on as they are.
// It is not done unasked: where a proxy takes the path off, one that is doubled
// would get past what the proxy keeps shut.
func underPath(path string, strip bool, next http.Handler) http.Handler {
	if path == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r.URL.EscapedPath()
		rest, under := strings.CutPrefix(asked, path)
		switch {
		case asked == metadataPath+path:
			r = withPath(r, metadataPath)
		case strip && under && rest == "":
			r = withPath(r, "/")
		case strip && under && rest[0] == '/':
			r = withPath(r, rest)
		}
		next.ServeHTTP(w, r)
	})
}

// withPath returns r with another path, as it stood in the request.
func withPath(r *http.Request, escaped string) *http.Request {
	u := *r.URL
	u.RawPath = escaped
	u.Path, _ = url.PathUnescape(escaped) // of what a URL held
	out := *r
	out.URL = &u
	return &out
}

// canonical lets only requests through whose path can be understood in one
// way, so that what the policy judges is what the upstream gets. It changes
// nothing: a path that would have to be cleaned is refused.
//
// Behind one of the prefixes stands the name of a model, which is the API's to
// answer for and goes to no model server. Clients write slash and colon in it
// as they are, or escaped, once.
func canonical(prefixes []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := checkPath(r.URL, prefixes); err != nil {
			refuse(w, r, refusal.New(refusal.PathNotCanonical, err))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkPath refuses a path unless it is "/", or segments that each follow one
// slash, are neither empty nor "." nor "..", and consist of the unreserved
// characters of RFC 3986, section 2.3, as they are. No path of this API needs
// another, so an escape can only be an attempt to have two programs read two
// different paths.
func checkPath(u *url.URL, prefixes []string) error {
	path, named := u.EscapedPath(), false
	if path == "/" {
		return nil
	}
	for _, prefix := range prefixes {
		if name, ok := strings.CutPrefix(path, prefix); ok {
			path, named = prefix+slashAndColon.Replace(name), true
		}
	}
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return errors.New("gateway: the path does not begin with a slash")
	}
	for segment := range strings.SplitSeq(rest, "/") {
		switch segment {
		case "":
			return errors.New("gateway: the path has an empty segment")
		case ".", "..":
			return errors.New("gateway: the path has a dot segment")
		}
		if strings.ContainsFunc(segment, func(c rune) bool { return !unreserved(c) && (c != ':' || !named) }) {
			return errors.New("gateway: the path has an escape or a reserved character")
		}
	}
	return nil
}

// slashAndColon takes the escapes off those two.
var slashAndColon = strings.NewReplacer("%2F", "/", "%2f", "/", "%3A", ":", "%3a", ":")

func unreserved(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._~", c)
}
