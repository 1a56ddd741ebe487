// Package form reads forms (multipart/form-data, RFC 7578) that name their model, as
// they pass: the model stands before any file, so that a file is never held.
package form

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"regexp"
	"strings"

	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

// Bounds of a form in bytes.
const (
	maxHead    = 64 << 10 // up to the model
	maxHeaders = 4 << 10  // of one part
	maxModel   = 256
)

// Read reads a form up to the end of its part model. What follows is judged as it
// passes, by Request.Rest. It refuses what two readers could understand differently:
// a part model twice, with a file name, behind a file; names that aren't plain text;
// lines that end otherwise than with CR LF; a boundary within a part. Every error is a
// *refusal.Error.
func Read(contentType string, body io.Reader) (*protocol.Request, error) {
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	boundary := parameters["boundary"]
	if err != nil || mediaType != "multipart/form-data" {
		return nil, refusal.New(refusal.MediaTypeUnsupported, err, "multipart/form-data")
	}
	// RFC 2231 would write it in parts, which some readers put together.
	if len(parameters) != 1 || strings.Contains(contentType, "*") || !validBoundary.MatchString(boundary) {
		return nil, malformed("The Content-Type of the form must have one boundary of up to 70 letters, digits and - _ . ' ( ) + , / : = ?.")
	}
	f := &form{from: body, boundary: []byte("--" + boundary)}
	var head []byte
	for !f.named {
		part, err := f.next()
		if err == io.EOF {
			return nil, malformed("The form has no part model: send it before the file.")
		} else if err != nil {
			return nil, err
		}
		if head = append(head, part...); len(head) > maxHead {
			return nil, malformed("The form must have its part model before the file, and little before that.")
		}
	}
	model := string(f.model)
	if !plainModel.MatchString(model) {
		return nil, malformed("The part model must be the name of a model.")
	}
	request := &protocol.Request{Model: model, Rest: f}
	request.For = func(rules protocol.Rules) ([]byte, error) {
		f.rules = rules.Body
		for _, name := range f.names {
			if err := f.judge(name); err != nil {
				return nil, err
			}
		}
		if rules.Model == "" || rules.Model == model {
			return head, nil
		}
		at := len(head) - len("\r\n") - len(f.boundary) - len("\r\n") - len(model) // the line of the boundary follows it
		request.Grows = int64(len(rules.Model) - len(model))
		return append(append(append(make([]byte, 0, len(head)+len(rules.Model)), head[:at]...), rules.Model...), head[at+len(model):]...), nil
	}
	return request, nil
}

func malformed(sentence string) *refusal.Error {
	return refusal.New(refusal.BodyMalformed, nil, sentence)
}

var (
	validBoundary = regexp.MustCompile(`^[A-Za-z0-9'()+_,./:=?-]{1,70}$`) // RFC 2046, section 5.1.1
	plainModel    = regexp.MustCompile(`^[!-~]+$`)
	plainName     = regexp.MustCompile(`^[A-Za-z0-9_.\[\]-]{1,64}$`)
	disposition   = regexp.MustCompile(`^(?i:form-data)((?:; ?(?:name|filename|filename\*)=(?:"[^"\\\x00-\x1f\x7f]*"|[^"\\\x00-\x20\x7f;,]+))+)$`)
	parameter     = regexp.MustCompile(`; ?(name|filename|filename\*)=(?:"([^"]*)"|([^";]+))`)
)

// form reads a form in parts. It passes only what it has judged.
type form struct {
	from     io.Reader
	boundary []byte // with the two hyphens before it
	window   []byte // what was read and isn't judged
	ended    bool   // from has
	at       place

	rules *policy.Body
	names []string // of the parts before the model, which are judged once the rules are known
	named bool     // the part model has ended
	model []byte
	ready []byte // judged, for Read
}

// place is where the form is read.
type place int

const (
	start place = iota
	headers
	inModel
	inPart
	end
)

// Read passes what follows the model. Its errors are those of the body, which are
// *refusal.Error, and a refusal of its own.
func (f *form) Read(b []byte) (int, error) {
	for len(f.ready) == 0 {
		part, err := f.next()
		if err != nil {
			return 0, err
		}
		f.ready = part
	}
	n := copy(b, f.ready)
	f.ready = f.ready[n:]
	return n, nil
}

// next returns the next bytes that are judged; io.EOF behind the end of the form.
func (f *form) next() ([]byte, error) {
	for {
		n, err := f.step()
		if err != nil {
			return nil, err
		}
		if n > 0 {
			part := f.window[:n:n]
			f.window = f.window[n:]
			return part, nil
		}
		if f.ended {
			if f.at == end && len(f.window) == 0 {
				return nil, io.EOF
			}
			return nil, malformed("The form is cut, or something follows it.")
		}
		room := make([]byte, len(f.window), len(f.window)+32<<10) // what was returned stays as it is
		copy(room, f.window)
		n, err = f.from.Read(room[len(room):cap(room)])
		f.window = room[:len(room)+n]
		if err == io.EOF {
			f.ended = true
		} else if err != nil {
			return nil, err
		}
	}
}

// step judges the beginning of the window and returns how much of it passes; 0 if that
// takes more bytes.
func (f *form) step() (int, error) {
	switch f.at {
	case start:
		line := len(f.boundary) + 2
		if len(f.window) < line {
			return 0, nil
		}
		if !bytes.HasPrefix(f.window, f.boundary) || string(f.window[line-2:line]) != "\r\n" {
			return 0, malformed("The form must begin with its boundary and CR LF.")
		}
		f.at = headers
		return line, nil
	case headers:
		i := bytes.Index(f.window, []byte("\r\n\r\n"))
		if i < 0 && len(f.window) <= maxHeaders {
			return 0, nil
		}
		if i < 0 || i > maxHeaders {
			return 0, malformed("A part of the form has no headers, or more than 4 KiB of them.")
		}
		return i + 4, f.begin(string(f.window[:i]))
	case end:
		if len(f.window) > 2 || len(f.window) == 2 && string(f.window) != "\r\n" {
			return 0, malformed("Something follows the form.")
		}
		if f.ended {
			return len(f.window) / 2 * 2, nil
		}
		return 0, nil
	}
	return f.data()
}

// data judges what is in a part up to the boundary behind it, with which nothing else
// may begin: there are readers that take any line end before it.
func (f *form) data() (int, error) {
	i := bytes.Index(f.window, f.boundary)
	if i < 0 {
		n := max(0, len(f.window)-len(f.boundary)-1) // the rest may be CR LF and a part of the boundary
		return n, f.take(n)
	}
	next := i + len(f.boundary) + 2
	if len(f.window) < next {
		return 0, nil
	}
	if i < 2 || string(f.window[i-2:i]) != "\r\n" {
		return 0, malformed("The boundary of the form stands within a part.")
	}
	if err := f.take(i - 2); err != nil {
		return 0, err
	}
	f.named = f.named || f.at == inModel
	switch string(f.window[next-2 : next]) {
	case "\r\n":
		f.at = headers
	case "--":
		f.at = end
	default:
		return 0, malformed("Something follows the boundary of the form in its line.")
	}
	return next, nil
}

// take keeps so many bytes of the window if they are the model's.
func (f *form) take(n int) error {
	if f.at != inModel {
		return nil
	}
	if f.model = append(f.model, f.window[:n]...); len(f.model) > maxModel {
		return malformed("The part model is longer than the name of a model.")
	}
	return nil
}

// begin judges the headers of a part, which has one name.
func (f *form) begin(text string) error {
	name, isFile, err := partOf(text)
	if err != nil {
		return err
	}
	switch {
	case name == "model" && isFile:
		return malformed("The part model of the form must have no file name.")
	case name == "model" && f.model != nil:
		return malformed("The form has the part model twice: send it once.")
	case name == "model":
		f.at, f.model = inModel, []byte{}
		return nil
	case isFile && !f.named:
		return malformed("The part model of the form must come before the file: the API can't know before it whose the file is. Send model first.")
	}
	f.at = inPart
	if !f.named {
		f.names = append(f.names, name)
		return nil
	}
	return f.judge(name)
}

// judge refuses a part that steers the model server, unless the rules allow it, and
// one that says who calls where the API does.
func (f *form) judge(name string) error {
	name = base(name)
	says := f.rules != nil && f.rules.Principal != "" && strings.HasPrefix(f.rules.Principal+".", name+".")
	if policy.Steers(name) && !f.rules.Allows(name) || says {
		return refusal.New(refusal.MemberRefused, nil, name)
	}
	return nil
}

// base is what readers take for the name that stands before brackets and dots.
func base(name string) string {
	if i := strings.IndexAny(name, "[."); i >= 0 {
		name = name[:i]
	}
	return strings.ToLower(name)
}

// partOf reads the headers of a part.
func partOf(text string) (name string, isFile bool, err error) {
	seen := map[string]bool{}
	for line := range strings.SplitSeq(text, "\r\n") {
		field, value, ok := strings.Cut(line, ": ")
		field = strings.ToLower(field)
		if !ok || seen[field] || strings.ContainsAny(line, "\r\n\x00") {
			return "", false, malformed("A part of the form has a header twice, or one that is none.")
		}
		seen[field] = true
		switch field {
		case "content-disposition":
			name, isFile, err = disposed(value)
		case "content-type", "content-length":
		case "content-transfer-encoding":
			if !strings.EqualFold(value, "binary") && !strings.EqualFold(value, "8bit") && !strings.EqualFold(value, "7bit") {
				err = malformed("A part of the form is encoded: send it as it is.") // RFC 7578, section 4.7
			}
		default:
			err = malformed("A part of the form has a header other than Content-Disposition and Content-Type.")
		}
		if err != nil {
			return "", false, err
		}
	}
	if !seen["content-disposition"] {
		return "", false, malformed("A part of the form has no Content-Disposition.")
	}
	return name, isFile, nil
}

// disposed reads a Content-Disposition (RFC 7578, section 4.2).
func disposed(value string) (name string, isFile bool, err error) {
	matches := disposition.FindStringSubmatch(value)
	if matches == nil {
		return "", false, malformed(`A part of the form has another Content-Disposition than form-data; name="…"; filename="…" without escapes.`)
	}
	seen := map[string]bool{}
	for _, p := range parameter.FindAllStringSubmatch(matches[1], -1) {
		if seen[p[1]] {
			err = errors.New("twice")
		}
		seen[p[1]] = true
		if p[1] == "name" {
			name = p[2] + p[3]
		} else {
			isFile = true
		}
	}
	if err != nil || !plainName.MatchString(name) || base(name) == "model" && name != "model" {
		return "", false, malformed("A part of the form must have one name, of letters, digits and _ . [ ] -, and the model's must be model.")
	}
	return name, isFile, nil
}
