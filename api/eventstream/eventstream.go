// Package eventstream finds where the events of an event stream end: at a line with
// nothing in it. Lines end with CR LF, LF or CR (WHATWG HTML, section 9.2.5).
package eventstream

import "bytes"

// Splitter reads a stream in whatever parts it comes. The zero value is at its
// beginning.
type Splitter struct {
	text bool // the line has something in it
	cr   bool // the last byte was CR, so that LF belongs to it
	end  bool // the last line end was that of an event
}

// Next returns the number of bytes of b up to the end of the first event that ends in
// b, behind which the next call goes on; 0 for none, when all of b has been read. An
// LF that comes after the CR which ended an event is an end of its own.
func (s *Splitter) Next(b []byte) int {
	for i, c := range b {
		switch {
		case c == '\n' && s.cr:
			if s.cr = false; s.end {
				return i + 1
			}
		case c == '\n' || c == '\r':
			s.end, s.text, s.cr = !s.text, false, c == '\r'
			if !s.end {
				continue
			}
			if s.cr && i+1 < len(b) && b[i+1] == '\n' {
				s.cr = false
				return i + 2
			}
			return i + 1
		default:
			s.text, s.cr = true, false
		}
	}
	return 0
}

// Last reads all of b. It returns the number of its bytes up to the end of the last
// event that ends in b; 0 for none.
func (s *Splitter) Last(b []byte) (whole int) {
	for {
		n := s.Next(b[whole:])
		if n == 0 {
			return whole
		}
		whole += n
	}
}

// Data returns the data of one event, whose lines end with LF each.
func Data(event []byte) (data []byte) {
	for line := range bytes.FieldsFuncSeq(event, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if value, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			data = append(append(data, bytes.TrimPrefix(value, []byte(" "))...), '\n')
		}
	}
	return data
}
