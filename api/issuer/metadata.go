package issuer

import (
	"context"
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Metadata are the members of a discovery document that matter here (OpenID
// Connect Discovery 1.0, section 3; RFC 8414; RFC 8628, section 4; RFC 9207, section 3;
// RFC 9449, section 5.1; Back-Channel Logout 1.0, section 2.1). The addresses are as the issuer publishes them.
type Metadata struct {
	Issuer            string   `json:"issuer"`
	Authorization     string   `json:"authorization_endpoint"`
	Token             string   `json:"token_endpoint"`
	Introspection     string   `json:"introspection_endpoint"`
	EndSession        string   `json:"end_session_endpoint"`
	Device            string   `json:"device_authorization_endpoint"`
	Revocation        string   `json:"revocation_endpoint"`
	JWKS              string   `json:"jwks_uri"`
	SendsIssuer       bool     `json:"authorization_response_iss_parameter_supported"`
	ChallengeMethods  []string `json:"code_challenge_methods_supported"`
	BackchannelLogout bool     `json:"backchannel_logout_supported"`
	IDAlgorithms      []string `json:"id_token_signing_alg_values_supported"`
	ProofAlgorithms   []string `json:"dpop_signing_alg_values_supported"`
}

// Discovery is the address of the issuer's metadata.
func (i *Issuer) Discovery() string {
	return strings.TrimSuffix(i.URL, "/") + "/.well-known/openid-configuration"
}

// Metadata returns the issuer's metadata: those of the last time, unless Forget
// was called since. The issuer in them is the one that was asked for, to the
// letter (OpenID Connect Discovery 1.0, section 4.3). The error is an
// *UnfitError if there is an answer that is not of this issuer.
func (i *Issuer) Metadata(ctx context.Context) (*Metadata, error) {
	if known := i.known.Load(); known != nil {
		return known, nil
	}
	answer, err := i.Get(ctx, i.Discovery())
	if err != nil {
		return nil, err
	}
	m, err := ParseMetadata(answer.Body)
	if err != nil {
		return nil, &UnfitError{err}
	}
	if m.Issuer != i.URL {
		return nil, &UnfitError{&MismatchError{m.Issuer, i.URL}}
	}
	i.known.Store(m)
	return m, nil
}

// Forget makes Metadata ask again: for who found something that they say wrong.
func (i *Issuer) Forget() { i.known.Store(nil) }

// UnfitError says why metadata can't be those of the issuer.
type UnfitError struct{ error }

func (e *UnfitError) Unwrap() error { return e.error }

// MismatchError says that metadata are of another issuer than the one that was
// asked for.
type MismatchError struct{ Found, Want string }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("issuer: discovery: the document is of issuer %.200q, want %q", e.Found, e.Want)
}

// ParseMetadata reads a discovery document. Every address in it is an absolute
// http or https URL without user and fragment.
func ParseMetadata(document []byte) (*Metadata, error) {
	var m Metadata
	if err := Decode(document, &m); err != nil {
		return nil, fmt.Errorf("issuer: discovery: %w", err)
	}
	for _, endpoint := range []struct{ name, address string }{
		{"authorization_endpoint", m.Authorization}, {"token_endpoint", m.Token}, {"introspection_endpoint", m.Introspection},
		{"end_session_endpoint", m.EndSession}, {"jwks_uri", m.JWKS},
		{"device_authorization_endpoint", m.Device}, {"revocation_endpoint", m.Revocation},
	} {
		u, err := url.Parse(endpoint.address)
		if endpoint.address != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.Contains(endpoint.address, "#")) {
			return nil, fmt.Errorf("issuer: discovery: %s is %.200q, want a URL such as https://host/path", endpoint.name, endpoint.address)
		}
	}
	return &m, nil
}

// Decode reads a JSON object that an issuer sent or signed into the struct that
// v points to. Members that v does not name are left alone. A name that is there
// twice is an error, also further down (RFC 7519, section 4), and so is a name
// of v in another case: encoding/json, which others read the same text by, takes
// the one for the other.
func Decode(document []byte, v any) error {
	if err := json.Unmarshal(document, v); err != nil {
		return err
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(document, &members); err != nil {
		return err
	}
	fields := reflect.TypeOf(v).Elem()
	for i := range fields.NumField() {
		known, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		for name := range members {
			if name != known && strings.EqualFold(name, known) {
				return fmt.Errorf("member %.60q is %q in another case", name, known)
			}
		}
	}
	return nil
}
