// Package body reads JSON bodies that name their model, and changes single
// members of them without touching another byte.
package body

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

// Body is a JSON object that any two readers understand alike.
type Body struct {
	Model string // of the member model, unescaped

	raw     []byte
	members map[string]span // where the values of the object's own members stand, by unescaped name
	steers  []string        // members of policy.Steering() in it, each once
	edits   []edit
}

// span is a part of the body, from its first byte to the one behind its last.
type span struct{ from, to int64 }

// edit puts text in place of a part of the body. Edits don't overlap.
type edit struct {
	span
	text []byte
}

// Read reads a body that names its model by the member model. It refuses what
// two readers could understand differently: a byte order mark, invalid UTF-8, a
// member twice once its name is unescaped, at whatever depth, one of the body
// itself that differs from another in case alone, a second value (RFC 8259,
// sections 2, 4 and 8.1). Members that it doesn't know are left alone. Every
// error is a *refusal.Error.
func Read(raw []byte) (*Body, error) {
	b, err := ReadObject(raw)
	if err != nil {
		return nil, err
	}
	if kind := b.Value("model").Kind(); kind != '"' {
		return nil, Malformed("The body has no member model that is a string: name the model there.")
	}
	name, err := jsontext.AppendUnquote(nil, b.Value("model"))
	if err != nil || len(name) == 0 {
		return nil, Malformed("The member model is empty: name the model there.")
	}
	b.Model = string(name)
	return b, nil
}

// ReadObject is Read for a body that need not name a model.
func ReadObject(raw []byte) (*Body, error) {
	if bytes.HasPrefix(raw, []byte("\ufeff")) {
		return nil, Malformed("The body begins with a byte order mark: send JSON without one.")
	}
	r := &reader{body: &Body{raw: raw, members: map[string]span{}}, decoder: jsontext.NewDecoder(bytes.NewBuffer(raw))}
	if r.decoder.PeekKind() != '{' {
		return nil, Malformed("The body must be a JSON object.")
	}
	err := r.object("")
	if err == nil {
		_, err = r.decoder.ReadToken() // io.EOF, where nothing but space follows
	}
	var refused *refusal.Error
	switch {
	case errors.As(err, &refused):
		return nil, refused
	case err == nil:
		return nil, Malformed("The body holds a second JSON value: send one.")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return nil, Malformed("The body has a member twice: send each once.")
	case err != io.EOF:
		return nil, Malformed("The body is not JSON in UTF-8.")
	}
	if err := r.body.checkCase(); err != nil {
		return nil, err
	}
	return r.body, nil
}

// Malformed is the refusal of a body, for the reason that the sentence gives.
func Malformed(sentence string) *refusal.Error {
	return refusal.New(refusal.BodyMalformed, nil, sentence)
}

// checkCase refuses members of the body itself that a reader without regard to
// case, such as Go's encoding/json, takes for each other or for one that is
// known here.
func (b *Body) checkCase() error {
	seen := make(map[string]string, len(b.members))
	for name := range b.members {
		folded := fold(name)
		if other, ok := seen[folded]; ok {
			return Malformed(fmt.Sprintf("The body has the members %q and %q: send one of them.", clip(min(name, other)), clip(max(name, other))))
		}
		seen[folded] = name
		if folded != name && (slices.Contains(known, folded) || policy.SteersAtTop(folded)) {
			return Malformed(fmt.Sprintf("The body has the member %q: write %s.", clip(name), folded))
		}
	}
	return nil
}

// known are the members of a body that something here reads or writes.
var known = []string{
	"model", "stream", "stream_options", "store", "previous_response_id", "conversation", "prompt", "user", "safety_identifier", "metadata",
}

// fold makes of names that differ in case alone one (Unicode simple folding, as
// far as ASCII names have partners: ſ is s, the Kelvin sign is k).
func fold(name string) string {
	for _, c := range []byte(name) {
		if c >= 0x80 || c >= 'A' && c <= 'Z' {
			return strings.ToLower(strings.ToUpper(name))
		}
	}
	return name
}

// clip bounds what a refusal repeats of a body.
func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

// Value returns the value of one of the body's own members as it stands there;
// nil for none.
func (b *Body) Value(name string) jsontext.Value {
	s, ok := b.members[name]
	if !ok {
		return nil
	}
	return jsontext.Value(b.raw[s.from:s.to])
}

// Check refuses members that steer the model server, or make it read elsewhere,
// unless rules allow them. The error is a *refusal.Error.
func (b *Body) Check(rules *policy.Body) error {
	for _, name := range b.steers {
		if !rules.Allows(name) {
			return refusal.New(refusal.MemberRefused, nil, name)
		}
	}
	return nil
}

// Apply writes what the rules say: the model's name and the caller's id. It
// comes after Check.
func (b *Body) Apply(rules protocol.Rules) {
	if rules.Model != "" && rules.Model != b.Model {
		b.Set("model", String(rules.Model))
	}
	if rules.Body == nil || rules.Body.Principal == "" {
		return
	}
	id := String(rules.Principal)
	if name, inner, nested := strings.Cut(rules.Body.Principal, "."); nested {
		b.SetIn(name, inner, id)
	} else {
		b.Set(name, id)
	}
}

// Set puts a value in place of that of one of the body's own members, or adds
// the member. It is called once for a name.
func (b *Body) Set(name string, value jsontext.Value) {
	if s, ok := b.members[name]; ok {
		b.edits = append(b.edits, edit{s, value})
		return
	}
	b.insert(int64(bytes.IndexByte(b.raw, '{'))+1, name, value) // there is a member: model
}

// SetIn does the same for a member of a member, which it makes an object.
func (b *Body) SetIn(name, inner string, value jsontext.Value) {
	at := b.members[name]
	object, err := Object(b.Value(name))
	if err != nil || len(object.members) == 0 {
		b.Set(name, slices.Concat([]byte("{"), quote(inner), []byte(":"), value, []byte("}")))
		return
	}
	if s, ok := object.members[inner]; ok {
		b.edits = append(b.edits, edit{span{at.from + s.from, at.from + s.to}, value})
		return
	}
	b.insert(at.from+1, inner, value)
}

// Object reads a value that is an object.
func Object(value jsontext.Value) (*Body, error) {
	r := &reader{body: &Body{raw: value, members: map[string]span{}}, decoder: jsontext.NewDecoder(bytes.NewBuffer(value))}
	if value.Kind() != '{' {
		return nil, errors.New("body: not an object")
	}
	return r.body, r.object("")
}

// insert adds a member in front of another.
func (b *Body) insert(at int64, name string, value jsontext.Value) {
	b.edits = append(b.edits, edit{span{at, at}, slices.Concat(quote(name), []byte(":"), value, []byte(","))})
}

func quote(name string) []byte {
	text, _ := jsontext.AppendQuote(nil, name) // names here are ASCII
	return text
}

// Text returns the text that a JSON string of a body stands for.
func Text(value jsontext.Value) string { return string(unquote(value)) }

// String returns the JSON of a text, which must be valid UTF-8.
func String(text string) jsontext.Value { return quote(text) }

// Bytes returns the body with what was set. What it returns and what was read
// may be the same memory.
func (b *Body) Bytes() []byte {
	if len(b.edits) == 0 {
		return b.raw
	}
	slices.SortStableFunc(b.edits, func(x, y edit) int { return int(x.from - y.from) })
	size := len(b.raw)
	for _, e := range b.edits {
		size += len(e.text)
	}
	out, at := make([]byte, 0, size), int64(0)
	for _, e := range b.edits {
		out = append(append(out, b.raw[at:e.from]...), e.text...)
		at = e.to
	}
	return append(out, b.raw[at:]...)
}
