package gateway

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"keycloak-model-api/api/limit"
	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/refusal"
)

// begin counts a request to a model against its limits, and tells the caller what
// is left. It returns nil where nothing limits it. Where a limit is reached, or
// nobody can tell, it has answered and done is true.
func (g *Gateway) begin(w http.ResponseWriter, r *http.Request, c *call) (lease *limit.Lease, done bool) {
	quotas := c.access.policy.Quotas(c.principal.ForPolicy(), c.name)
	if len(quotas) == 0 {
		return nil, false
	}
	lease, reached, err := g.limiter.Begin(r.Context(), c.principal.Issuer, c.principal.Subject, quotas)
	if err != nil {
		refuse(w, r, refusal.New(refusal.SharedStateUnavailable, err))
		return nil, true
	}
	if reached.Kind != "" {
		tellLimits(w.Header(), c.protocol, []limit.State{reached})
		w.Header().Set("Retry-After", strconv.Itoa(int(reached.Reset.Seconds())))
		if c.protocol.RateLimitHeaders {
			w.Header().Set("Retry-After-Ms", strconv.FormatInt(reached.Reset.Milliseconds(), 10)) // which they prefer
		}
		refuse(w, r, refusal.New(refusal.LimitReached, nil, inWords(reached), int(reached.Reset.Seconds())))
		return nil, true
	}
	states := make([]limit.State, 0, 4)
	lease.States(func(s limit.State) { states = append(states, s) })
	tellLimits(w.Header(), c.protocol, states)
	return lease, false
}

// tellLimits writes RateLimit-Policy and RateLimit
// (draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4), each bound by its
// name, and for OpenAI's clients the tightest of each kind as x-ratelimit-*.
func tellLimits(h http.Header, p *protocol.Protocol, states []limit.State) {
	var policies, left []byte
	for i := range states {
		s := &states[i]
		if s.Kind == limit.Concurrent {
			continue
		}
		policies = appendBound(policies, s, ";q=", s.Limit, ";w=", s.Window)
		left = appendBound(left, s, ";r=", s.Remaining, ";t=", s.Reset)
	}
	if policies == nil {
		return
	}
	h["Ratelimit-Policy"], h["Ratelimit"] = []string{string(policies)}, []string{string(left)}
	if !p.RateLimitHeaders {
		return
	}
	for _, kind := range limitHeaders {
		if s := tightest(states, kind.of); s != nil {
			h[kind.limit] = []string{strconv.FormatInt(s.Limit, 10)}
			h[kind.remaining] = []string{strconv.FormatInt(s.Remaining, 10)}
			h[kind.reset] = []string{s.Reset.String()}
		}
	}
}

// limitHeaders are those that OpenAI's clients know, by what they are about, in the
// spelling of http.Header.
var limitHeaders = []struct {
	of                      limit.Kind
	limit, remaining, reset string
}{
	{limit.Requests, "X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
	{limit.Tokens, "X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"},
}

// tightest is the bound of a kind of which the least is left, or nil.
func tightest(states []limit.State, kind limit.Kind) (least *limit.State) {
	for i := range states {
		if s := &states[i]; s.Kind == kind && (least == nil || s.Remaining < least.Remaining) {
			least = s
		}
	}
	return least
}

// appendBound appends a bound to a list: its name, which is such as requests-minute,
// and of a pool requests-minute of client batch, and two parameters. The draft's
// strings are ASCII, and so are the names in a policy but for those of groups, which
// are left out where they are not.
func appendBound(list []byte, s *limit.State, of string, n int64, in string, d time.Duration) []byte {
	if list == nil {
		list = make([]byte, 0, 128)
	} else {
		list = append(list, ", "...)
	}
	list = append(append(list, '"'), s.Kind...)
	list = append(append(list, '-'), windowName(s.Window)...)
	if s.Owner != "" && !strings.ContainsFunc(s.Owner, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		list = append(append(list, " of "...), s.Owner...)
	}
	list = append(append(list, '"'), of...)
	list = append(strconv.AppendInt(list, n, 10), in...)
	return strconv.AppendInt(list, int64(d/time.Second), 10)
}

func windowName(d time.Duration) string {
	switch d {
	case time.Minute:
		return "minute"
	case time.Hour:
		return "hour"
	}
	return "day"
}

// inWords says which limit was reached.
func inWords(s limit.State) string {
	text := fmt.Sprintf("%d %s a %s", s.Limit, s.Kind, windowName(s.Window))
	if s.Kind == limit.Concurrent {
		text = fmt.Sprintf("%d at once", s.Limit)
	}
	if s.Owner != "" {
		text += " for " + s.Owner
	}
	return text
}
