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
// is left. It returns nil where nothing limits it. Where a limit is reached, it has
// answered and done is true.
func (g *Gateway) begin(w http.ResponseWriter, r *http.Request, c *call) (lease *limit.Lease, done bool) {
	quotas := c.access.policy.Quotas(c.principal.ForPolicy(), c.name)
	if len(quotas) == 0 {
		return nil, false
	}
	lease, reached := g.limiter.Begin(c.principal.Issuer, c.principal.Subject, quotas)
	if lease == nil {
		tellLimits(w.Header(), c.protocol, []limit.State{reached})
		w.Header().Set("Retry-After", strconv.Itoa(int(reached.Reset.Seconds())))
		if c.protocol.RateLimitHeaders {
			w.Header().Set("Retry-After-Ms", strconv.FormatInt(reached.Reset.Milliseconds(), 10)) // which they prefer
		}
		refuse(w, r, refusal.New(refusal.LimitReached, nil, inWords(reached), int(reached.Reset.Seconds())))
		return nil, true
	}
	var states []limit.State
	lease.States(func(s limit.State) { states = append(states, s) })
	tellLimits(w.Header(), c.protocol, states)
	return lease, false
}

// tellLimits writes RateLimit-Policy and RateLimit
// (draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4), each bound by its
// name, and for OpenAI's clients the tightest of each kind as x-ratelimit-*.
func tellLimits(h http.Header, p *protocol.Protocol, states []limit.State) {
	var policies, left []string
	tightest := map[limit.Kind]limit.State{}
	for _, s := range states {
		if s.Kind != limit.Concurrent {
			policies = append(policies, fmt.Sprintf(`%q;q=%d;w=%d`, policyName(s), s.Limit, int(s.Window.Seconds())))
			left = append(left, fmt.Sprintf(`%q;r=%d;t=%d`, policyName(s), s.Remaining, int(s.Reset.Seconds())))
			if t, ok := tightest[s.Kind]; !ok || s.Remaining < t.Remaining {
				tightest[s.Kind] = s
			}
		}
	}
	if len(policies) == 0 {
		return
	}
	h.Set("RateLimit-Policy", strings.Join(policies, ", "))
	h.Set("RateLimit", strings.Join(left, ", "))
	if !p.RateLimitHeaders {
		return
	}
	for kind, s := range tightest {
		h.Set("X-Ratelimit-Limit-"+string(kind), strconv.FormatInt(s.Limit, 10))
		h.Set("X-Ratelimit-Remaining-"+string(kind), strconv.FormatInt(s.Remaining, 10))
		h.Set("X-Ratelimit-Reset-"+string(kind), s.Reset.String())
	}
}

// policyName is such as requests-minute, and of a pool requests-minute of client
// batch. The draft's strings are ASCII, and so are the names in a policy but for
// those of groups, which are left out where they are not.
func policyName(s limit.State) string {
	name := string(s.Kind) + "-" + windowName(s.Window)
	if s.Owner == "" || strings.ContainsFunc(s.Owner, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return name
	}
	return name + " of " + s.Owner
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
