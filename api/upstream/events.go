package upstream

import (
	"io"
	"net/http"
)

// passEvents sends an event stream to w, each event as soon as it is whole. The
// head goes out with the first one. An event that is larger than held goes out in
// parts.
func (u *Upstream) passEvents(w http.ResponseWriter, r *http.Request, answer *http.Response, watch *watch) (progress, error) {
	var (
		buffer = make([]byte, 4<<10)
		n      int // bytes in it
		lines  lines
		sent   progress
	)
	for {
		m, err := answer.Body.Read(buffer[n:])
		watch.event()
		whole := lines.read(buffer[n : n+m])
		if whole > 0 {
			whole += n
		}
		n += m
		state := wholeEvents
		switch {
		case err == io.EOF: // the rest is how the server ends it
			whole = n
		case whole == 0 && n < held && n == len(buffer):
			buffer = append(buffer, make([]byte, n)...)
		case whole == 0 && n == len(buffer):
			whole, state = n, part
		}
		if whole > 0 || err == io.EOF {
			if sent == nothing {
				u.begin(w, r, answer, -1, true)
			}
			sent = state
			if _, err := w.Write(buffer[:whole]); err != nil {
				return part, callerGone(err)
			}
			_ = http.NewResponseController(w).Flush() // the next Write reports an error
			n = copy(buffer, buffer[whole:n])
		}
		if err == io.EOF {
			return sent, nil
		} else if err != nil {
			return sent, err
		}
	}
}

// lines finds where events end: at a line with nothing in it. Lines end with
// CR LF, LF or CR (WHATWG HTML, section 9.2.5).
type lines struct {
	text bool // the line has something in it
	cr   bool // the last byte was CR, so that LF belongs to it
	end  bool // the last line end was that of an event
}

// read returns the number of bytes of b up to the end of the last event that
// ends in b; 0 for none.
func (l *lines) read(b []byte) (whole int) {
	for i, c := range b {
		switch {
		case c == '\n' && l.cr:
			if l.end {
				whole = i + 1
			}
			l.cr = false
			continue
		case c == '\n' || c == '\r':
			if l.end = !l.text; l.end {
				whole = i + 1
			}
			l.text = false
		default:
			l.text = true
		}
		l.cr = c == '\r'
	}
	return whole
}
