package bearer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// compact is a JWS in compact serialization (RFC 7515, section 7.1), split
// and decoded, nothing verified.
type compact struct {
	header    header
	payload   []byte
	signature []byte
	signed    string // what the signature is over
}

// parseCompact splits and decodes a token of three non-empty parts in strict
// base64url without padding.
func parseCompact(token string) (compact, *Error) {
	var c compact
	head, rest, ok := strings.Cut(token, ".")
	if !ok {
		return c, refuse(TokenMalformed, errors.New("no dot in it"))
	}
	body, signature, ok := strings.Cut(rest, ".")
	if !ok {
		return c, refuse(TokenMalformed, errors.New("one dot in it, want two"))
	}
	if i := strings.IndexByte(signature, '.'); i >= 0 {
		// RFC 7516, section 9: five parts are a JWE.
		if j := strings.IndexByte(signature[i+1:], '.'); j >= 0 && strings.IndexByte(signature[i+1+j+1:], '.') < 0 {
			return c, refuse(TokenEncrypted, errors.New("five parts, so a JWE"))
		}
		return c, refuse(TokenMalformed, errors.New("more than two dots in it"))
	}
	// The decoder skips line ends; RFC 7515, section 2, has none.
	if strings.IndexByte(token, '\n') >= 0 || strings.IndexByte(token, '\r') >= 0 {
		return c, refuse(TokenMalformed, errors.New("line end in it"))
	}
	room := make([]byte, 0, base64url.DecodedLen(len(token)))
	part := func(name, s string) ([]byte, *Error) {
		at := len(room)
		var err error
		if room, err = base64url.AppendDecode(room, view(s)); err != nil {
			return nil, refuse(TokenMalformed, fmt.Errorf("%s is not base64url: %w", name, err))
		}
		return room[at:len(room):len(room)], nil
	}
	raw, refusal := part("header", head)
	if refusal != nil {
		return c, refusal
	}
	if c.payload, refusal = part("payload", body); refusal != nil {
		return c, refusal
	}
	if c.signature, refusal = part("signature", signature); refusal != nil {
		return c, refusal
	}
	c.signed = token[:len(head)+1+len(body)]
	if err := json.Unmarshal(raw, &c.header); err != nil {
		return c, refuse(HeaderMalformed, err)
	}
	return c, nil
}

var base64url = base64.RawURLEncoding.Strict()

// header is what is looked at in a JOSE header. Everything else in it, such
// as jku, jwk, x5u and x5c, has no effect.
type header struct {
	algorithm, keyID, mediaType string
	key                         jsontext.Value // `jwk`, for DPoP proofs only
	critical                    bool           // there is a `crit`
}

// UnmarshalJSONFrom reads the header in one pass. Duplicate members and bad
// UTF-8 are errors of the decoder (RFC 8725, section 3.11 and RFC 7515, section 4).
func (h *header) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	return members(dec, func(name []byte, value jsontext.Value) (err error) {
		switch string(name) {
		case "alg":
			h.algorithm, err = text(value)
		case "kid":
			h.keyID, err = text(value)
		case "typ":
			h.mediaType, err = text(value)
		case "jwk":
			h.key = bytes.Clone(value)
		case "crit":
			h.critical = true
		}
		if err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
		return nil
	})
}

// claims are the raw values of the claims that are looked at, slices of the
// payload. Absent ones are nil.
type claims struct {
	payload []byte
	tops    []string // first elements of the configured paths

	issuer, subject, audience, typ, party, clientID, session, id, scope jsontext.Value
	expiry, notBefore, issuedAt, authTime, confirmation, acr, levels    jsontext.Value

	found [pathCount]jsontext.Value // the claims named in tops
}

// UnmarshalJSONFrom reads the claims in one pass, refusing duplicate members
// at any depth (RFC 7519, section 4).
func (c *claims) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	return members(dec, func(name []byte, value jsontext.Value) error {
		// The decoder may use its buffer again: keep the payload's own bytes.
		end := dec.InputOffset()
		value = c.payload[end-int64(len(value)) : end]
		for i, top := range c.tops {
			if string(name) == top {
				c.found[i] = value
			}
		}
		switch string(name) {
		case "iss":
			c.issuer = value
		case "sub":
			c.subject = value
		case "aud":
			c.audience = value
		case "exp":
			c.expiry = value
		case "nbf":
			c.notBefore = value
		case "iat":
			c.issuedAt = value
		case "auth_time":
			c.authTime = value
		case "typ":
			c.typ = value
		case "azp":
			c.party = value
		case "client_id":
			c.clientID = value
		case "sid":
			c.session = value
		case "jti":
			c.id = value
		case "scope":
			c.scope = value
		case "cnf":
			c.confirmation = value
		case "acr":
			c.acr = value
		case LevelsClaim:
			c.levels = value
		}
		return nil
	})
}

var errNotObject = errors.New("is not a JSON object")

// members calls f with each member of the object that dec is at.
func members(dec *jsontext.Decoder, f func(name []byte, value jsontext.Value) error) error {
	if dec.PeekKind() != '{' {
		if err := dec.SkipValue(); err != nil {
			return err
		}
		return errNotObject
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() == '"' {
		raw, err := dec.ReadValue()
		if err != nil {
			return err
		}
		name := raw[1 : len(raw)-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			if name, err = jsontext.AppendUnquote(nil, raw); err != nil {
				return err
			}
		}
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if err := f(name, value); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

var (
	errNotString = errors.New("is not a string")
	errNotTime   = errors.New("is not a time in seconds")
)

// text returns the string that raw is. Absence is the empty string.
func text(raw jsontext.Value) (string, error) {
	if raw == nil {
		return "", nil
	}
	if raw.Kind() != '"' {
		return "", errNotString
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	b, err := jsontext.AppendUnquote(nil, raw)
	return string(b), err
}

// maxTime is the end of the year 9999.
const maxTime = 253402300799

// seconds returns a NumericDate (RFC 7519, section 2), which may have a
// fraction, rounded down. ok is false when it is absent.
func seconds(raw jsontext.Value) (at int64, ok bool, err error) {
	if raw == nil {
		return 0, false, nil
	}
	if raw.Kind() != '0' {
		return 0, false, errNotTime
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f < 0 || f > maxTime {
		return 0, false, errNotTime
	}
	return int64(math.Floor(f)), true, nil
}

// oneOrMore returns the strings of an audience: a string or an array of them
// (RFC 7519, section 4.1.3).
func oneOrMore(raw jsontext.Value) ([]string, error) {
	switch raw.Kind() {
	case '"':
		s, err := text(raw)
		return []string{s}, err
	case '[':
		var list []string
		err := json.Unmarshal(raw, &list)
		return list, err
	}
	return nil, errNotString
}

// descend follows the rest of a path below its first element. Absence on the
// way is nil.
func descend(raw jsontext.Value, path []string) (jsontext.Value, error) {
	for _, name := range path {
		if raw == nil {
			return nil, nil
		}
		var object map[string]jsontext.Value
		if err := json.Unmarshal(raw, &object); err != nil {
			return nil, err
		}
		raw = object[name]
	}
	return raw, nil
}

func unix(seconds int64) time.Time { return time.Unix(seconds, 0) }

// date renders a time for people who read a cause.
func date(seconds int64) string { return unix(seconds).UTC().Format(time.RFC3339) }
