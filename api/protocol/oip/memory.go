package oip

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

// headerLengthName says how many bytes of a body are JSON; binary tensors follow
// (Open Inference Protocol, binary tensor data extension).
const headerLengthName = "Inference-Header-Content-Length"

var decimal = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})$`)

// headerLength returns how many bytes of a body are JSON, -1 for all of it. The
// error is a *refusal.Error: what two readers of the number may understand
// differently would have them find the JSON at two places.
func headerLength(h http.Header) (int64, error) {
	values := h[headerLengthName]
	if len(values) == 0 {
		return -1, nil
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if len(values) > 1 || err != nil || !decimal.MatchString(values[0]) {
		return 0, refusal.New(refusal.BodyMalformed, nil, headerLengthName+" must be one number: how many bytes of the body are JSON.")
	}
	return n, nil
}

// noSharedMemory returns the body of an inference request as it passes. It ends with
// a *refusal.Error where the caller would have the model server read and write its
// shared memory (Triton: shared_memory_region, shared_memory_offset and
// shared_memory_byte_size of inputs and outputs), unless rules allow that. A body of
// any size takes no memory here.
func noSharedMemory(body io.Reader, h http.Header, rules *policy.Body) (io.Reader, error) {
	length, err := headerLength(h)
	switch {
	case err != nil:
		return nil, err
	case rules.Allows("shared_memory_*"):
		return body, nil
	case h.Get("Content-Encoding") != "": // which hides it
		return nil, refusal.New(refusal.EncodingUnsupported, nil)
	}
	return &watched{body: body, left: length, rules: rules}, nil
}

// watched reads JSON that comes in parts, as far as it takes to know the names of its
// members. It checks no JSON: that is the model server's to read.
type watched struct {
	body  io.Reader
	left  int64 // bytes of JSON to come; negative for all there are
	rules *policy.Body

	text      bool   // within a text
	escape    bool   // the last byte was a backslash there
	raw       []byte // the text so far, cut to what matters
	candidate string // a text that has ended, and is a name if a colon follows
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.body.Read(b)
	part := b[:n]
	if w.left >= 0 {
		part = part[:min(w.left, int64(n))]
		w.left -= int64(len(part))
	}
	if name := w.find(part); name != "" {
		return 0, refusal.New(refusal.MemberRefused, nil, name)
	}
	return n, err
}

// find returns the first member in b that is refused; empty for none.
func (w *watched) find(b []byte) string {
	for len(b) > 0 {
		if w.text {
			b = w.inText(b)
			continue
		}
		if w.candidate != "" {
			b = bytes.TrimLeft(b, " \t\r\n")
			if len(b) == 0 {
				return ""
			}
			if b[0] == ':' && !w.rules.Allows(w.candidate) {
				return w.candidate
			}
			w.candidate = ""
		}
		i := bytes.IndexByte(b, '"')
		if i < 0 {
			return ""
		}
		b, w.text, w.raw = b[i+1:], true, w.raw[:0]
	}
	return ""
}

// maxRaw is more than the longest of Triton's names takes with each character escaped.
const maxRaw = 256

// inText reads up to the end of the text, and returns what follows.
func (w *watched) inText(b []byte) []byte {
	n := 0
	if w.escape {
		n, w.escape = 1, false
	} else if n = bytes.IndexAny(b, `"\`); n < 0 {
		n = len(b)
	}
	if room := maxRaw - len(w.raw); room > 0 {
		w.raw = append(w.raw, b[:min(n, room)]...)
	}
	if b = b[n:]; len(b) == 0 {
		return b
	}
	switch b[0] {
	case '\\':
		w.escape = true
		if len(w.raw) < maxRaw {
			w.raw = append(w.raw, '\\')
		}
		return b[1:]
	case '"':
		w.text, w.candidate = false, sharedMemory(w.raw)
		return b[1:]
	}
	return b
}

// sharedMemory returns the name that the raw text of a JSON string is if it is one of
// shared_memory_*, in whatever case and escapes; empty otherwise.
func sharedMemory(raw []byte) string {
	if len(raw) == 0 || !strings.ContainsRune(`sS\`, rune(raw[0])) && raw[0] < utf8.RuneSelf {
		return ""
	}
	if i := bytes.LastIndexByte(raw, '\\'); i > maxRaw-6 {
		raw = raw[:i] // an escape that may be cut
	}
	name, _ := jsontext.AppendUnquote(nil, `"`+string(bytes.ToValidUTF8(raw, nil))+`"`)
	// As Unicode folds them: the long s is an s, too.
	if folded := strings.ToLower(strings.ToUpper(string(name))); strings.HasPrefix(folded, "shared_memory_") {
		return folded
	}
	return ""
}
