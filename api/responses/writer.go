package responses

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"keycloak-model-api/api/eventstream"
)

// maxEvent is how much of a stream is looked at for the end of an event.
const maxEvent = 1 << 20 // bytes

// Writer passes an answer on, and tells the id of the response in it before the
// caller has that. Of JSON it looks at the first part that is written, which is all or
// much of it (upstream.Forward): the id stands at its beginning.
type Writer struct {
	http.ResponseWriter
	keep   func(id string)
	stream bool
	events eventstream.Splitter
	kept   []byte // of an event that has not ended
	done   bool
}

// NewWriter returns a writer for one answer, which calls keep at most once.
func NewWriter(w http.ResponseWriter, keep func(id string)) *Writer {
	return &Writer{ResponseWriter: w, keep: keep}
}

// Unwrap lets http.ResponseController flush and set deadlines.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader looks at what kind of answer begins. One that tells of an error has no
// response.
func (w *Writer) WriteHeader(status int) {
	mediaType, _, _ := mime.ParseMediaType(w.Header().Get("Content-Type"))
	w.stream, w.done = mediaType == "text/event-stream", status >= 300
	w.ResponseWriter.WriteHeader(status)
}

func (w *Writer) Write(b []byte) (int, error) {
	w.look(b)
	return w.ResponseWriter.Write(b)
}

func (w *Writer) look(b []byte) {
	if w.done {
		return
	}
	if !w.stream {
		w.found(idOf(b, "id"))
		w.done = true
		return
	}
	read := len(w.kept)
	w.kept = append(w.kept, b...)
	for !w.done {
		n := w.events.Next(w.kept[read:])
		if n == 0 {
			break
		}
		w.found(idOf(eventstream.Data(w.kept[:read+n]), "response", "id"))
		w.kept, read = w.kept[read+n:], 0
	}
	if w.done = w.done || len(w.kept) > maxEvent; w.done {
		w.kept = nil
	}
}

func (w *Writer) found(id string) {
	if id != "" {
		w.keep(id)
		w.done = true
	}
}

// idOf returns the text at a path of members in a JSON object, of which the end may
// not have come; empty for none.
func idOf(text []byte, path ...string) string {
	d := jsontext.NewDecoder(bytes.NewBuffer(text))
	for _, name := range path {
		if token, err := d.ReadToken(); err != nil || token.Kind() != '{' {
			return ""
		}
		if member(d, name) != nil {
			return ""
		}
	}
	value, err := d.ReadToken()
	// What ends with the text may go on.
	if err != nil || value.Kind() != '"' {
		return ""
	}
	return value.String()
}

var errNone = errors.New("responses: no such member")

// member reads up to the value of a member of the object that d is in.
func member(d *jsontext.Decoder, name string) error {
	for d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return err
		}
		if token.String() == name {
			return nil
		}
		if err := d.SkipValue(); err != nil {
			return err
		}
	}
	return errors.Join(errNone, io.EOF)
}
