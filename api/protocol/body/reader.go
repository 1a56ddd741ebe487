package body

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"keycloak-model-api/policy"
)

// reader walks once over a body.
type reader struct {
	body    *Body
	decoder *jsontext.Decoder // refuses duplicate names, invalid UTF-8 and what is nested deeper than 10,000
}

// object reads an object, which the member name holds; empty for the body itself.
func (r *reader) object(name string) error {
	if _, err := r.decoder.ReadToken(); err != nil {
		return err
	}
	depth := r.decoder.StackDepth()
	var id, told bool // an item that has an id, and one that says what it is
	for r.decoder.PeekKind() != '}' {
		token, err := r.decoder.ReadToken()
		if err != nil {
			return err
		}
		member := token.String()
		if depth == 1 {
			err = r.top(member)
		} else {
			err = r.value(member, name)
		}
		if err != nil {
			return err
		}
		id, told = id || member == "id", told || member == "type" || member == "role"
	}
	// An item of the Responses API that is nothing but an id stands for a stored one.
	if depth == 3 && name == "input" && id && !told {
		r.steers("item_reference")
	}
	_, err := r.decoder.ReadToken()
	return err
}

// top reads the value of one of the body's own members.
func (r *reader) top(name string) error {
	from := r.decoder.InputOffset()
	if r.decoder.PeekKind() != 'n' && policy.SteersAtTop(name) {
		r.steers(name)
	}
	if err := r.value(name, ""); err != nil {
		return err
	}
	for from++; isSpace(r.body.raw[from-1]) || r.body.raw[from-1] == ':'; from++ {
	}
	r.body.members[name] = span{from - 1, r.decoder.InputOffset()}
	return nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// value reads the value of a member of the object that the member within holds,
// or an element of it.
func (r *reader) value(name, within string) error {
	switch r.decoder.PeekKind() {
	case '{':
		return r.object(name)
	case '[':
		if _, err := r.decoder.ReadToken(); err != nil {
			return err
		}
		for r.decoder.PeekKind() != ']' {
			if err := r.value(name, within); err != nil {
				return err
			}
		}
		_, err := r.decoder.ReadToken()
		return err
	}
	value, err := r.decoder.ReadValue()
	if err == nil && value.Kind() == '"' {
		r.text(fold(name), fold(within), value)
	}
	return err
}

// media are the members whose text, or whose member url, a model server fetches.
var media = []string{"image_url", "video_url", "audio_url", "file_url", "document_url", "input_audio"}

// text notes what a text at this place makes the model server do.
func (r *reader) text(name, within string, value jsontext.Value) {
	switch {
	case name == "server_url", name == "file_id", name == "vector_store_ids":
		r.steers(name)
	case name == "type" && string(unquote(value)) == "item_reference":
		r.steers("item_reference")
	case name == "id" && within == "prompt" && r.decoder.StackDepth() == 2:
		r.steers("prompt.id")
	case name == "url" && within == "source" && !inline(value):
		r.steers("source.url")
	case name == "url" && slices.Contains(media, within) && !inline(value):
		r.steers(within)
	case name == "input_audio", name == "data" && within == "input_audio":
		// Base64 has no colon.
		if bytes.ContainsAny(value, `:\`) && bytes.IndexByte(unquote(value), ':') >= 0 && !inline(value) {
			r.steers("input_audio")
		}
	case slices.Contains(media, name) && !inline(value):
		r.steers(name)
	}
}

// inline says that a text holds what it stands for: it is a URL with the scheme
// data (RFC 2397). Any other is fetched, or is the name of a file.
func inline(value jsontext.Value) bool {
	head := value[:min(len(value), 64)]
	if bytes.IndexByte(head, '\\') >= 0 {
		head = jsontext.Value(`"` + string(unquote(value)))
	}
	return len(head) > len(`"data:`) && strings.EqualFold(string(head[:len(`"data:`)]), `"data:`)
}

func unquote(value jsontext.Value) []byte {
	text, _ := jsontext.AppendUnquote(nil, value) // it has been read as JSON
	return text
}

// steers notes that the body has a member of policy.Steering().
func (r *reader) steers(name string) {
	if !slices.Contains(r.body.steers, name) {
		r.body.steers = append(r.body.steers, name)
	}
}
