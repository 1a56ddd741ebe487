package upstream

import (
	"io"
	"net/http"

	"keycloak-model-api/api/eventstream"
)

// passEvents sends an event stream to w, each event as soon as it is whole. The
// head goes out with the first one. An event that is larger than held goes out in
// parts.
func (u *Upstream) passEvents(w http.ResponseWriter, r *http.Request, answer *http.Response, watch *watch) (progress, error) {
	var (
		buffer = make([]byte, 4<<10)
		n      int // bytes in it
		events eventstream.Splitter
		sent   progress
	)
	for {
		m, err := answer.Body.Read(buffer[n:])
		watch.event()
		whole := events.Last(buffer[n : n+m])
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
