package bearer

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Scheme is the way in which a token was sent.
type Scheme string

// The schemes of RFC 6750 and RFC 9449.
const (
	Bearer Scheme = "Bearer"
	DPoP   Scheme = "DPoP"
)

// Credential returns the one credential in r and the scheme that it came with. It
// checks neither, and reads no body. The error is an *Error.
func (v *Verifier) Credential(r *http.Request) (Scheme, string, error) {
	scheme, token, refusal := v.credential(r)
	if refusal != nil {
		return "", "", refusal
	}
	return scheme, token, nil
}

// credential takes the one token out of r. It reads no body.
//
// A token in a form body (RFC 6750, section 2.2) can't be seen without
// reading the body, which nobody unauthenticated may make us do. So the media
// type of forms is refused as such: nothing behind this check takes forms.
func (v *Verifier) credential(r *http.Request) (Scheme, string, *Error) {
	if r.URL.RawQuery != "" && r.URL.Query().Has("access_token") {
		return "", "", refuse(TokenInQuery, errors.New("query parameter access_token"))
	}
	if types := r.Header["Content-Type"]; len(types) > 0 && isForm(types) {
		return "", "", refuse(FormBody, nil)
	}
	values := r.Header["Authorization"]
	switch {
	case len(values) > 1:
		return "", "", refuse(SeveralCredentials, fmt.Errorf("%d Authorization headers", len(values)))
	case len(values) == 0 || values[0] == "":
		return "", "", refuse(NoCredential, nil)
	}
	scheme, token, err := parseAuthorization(values[0])
	if err != nil {
		return "", "", err
	}
	if scheme == DPoP && v.config.PublicURL == "" {
		return "", "", refuse(NoCredential, errors.New("scheme DPoP without a configured PublicURL"))
	}
	return scheme, token, nil
}

// parseAuthorization splits the value of an Authorization header. The scheme
// is taken in any case, followed by one or more spaces (RFC 9110, sections
// 11.1 and 11.4). Other schemes count as no credential, as RFC 6750,
// section 3.1, has it. Whether the token is a single one is asked by tokenCheck.single.
func parseAuthorization(value string) (Scheme, string, *Error) {
	name, rest, _ := strings.Cut(value, " ")
	var scheme Scheme
	switch {
	case strings.EqualFold(name, string(Bearer)):
		scheme = Bearer
	case strings.EqualFold(name, string(DPoP)):
		scheme = DPoP
	default:
		return "", "", refuse(NoCredential, errors.New("authorization scheme is neither Bearer nor DPoP"))
	}
	token := strings.TrimLeft(rest, " ")
	if token == "" {
		return "", "", refuse(MalformedCredential, errors.New("no token after the scheme"))
	}
	return scheme, token, nil
}

func isForm(contentTypes []string) bool {
	for _, value := range contentTypes {
		mediaType, _, _ := strings.Cut(value, ";")
		if strings.EqualFold(strings.TrimSpace(mediaType), "application/x-www-form-urlencoded") {
			return true
		}
	}
	return false
}
