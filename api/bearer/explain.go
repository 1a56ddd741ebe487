package bearer

import (
	"context"
	"crypto/sha256"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"keycloak-model-api/api/refusal"
)

// Verdict is the outcome of one check.
type Verdict string

// The verdicts. A check after the first refusal is still made where it needs
// nothing from those before; what it says then rests on unverified claims.
const (
	Passed  Verdict = "ok"
	Refused Verdict = "refused"
	Skipped Verdict = "skipped"
)

// Step is one check of a token, for a person to read. It holds no signature.
type Step struct {
	Check    string
	Verdict  Verdict
	Expected string
	Found    string // of the token; empty if it can't be told
	Code     Code   // of a refusal
	Cause    string // of a refusal, in full
	Fix      string // of a refusal: the setting to change
}

// Explain makes the checks of a token that Check makes, by the same table, and
// tells of each. The principal is nil unless all passed. A proof of possession
// belongs to a request and is not among them. For an unknown key the issuer is
// asked even if nothing could make the token valid.
func (v *Verifier) Explain(ctx context.Context, token string) ([]Step, *Principal) {
	c := &tokenCheck{v: v, ctx: ctx, token: token, now: v.clock.Now().Unix(), fetches: true}
	c.found.hash = sha256.Sum256(view(token))
	var steps []Step
	refused := false
	for _, check := range checks {
		step := Step{Check: check.name, Verdict: Skipped}
		if !refused || check.ready != nil && check.ready(c) {
			if refusal := check.run(c); refusal != nil {
				step.refuse(refusal, c)
				refused = true
			} else if check.without == nil || !check.without(c) {
				step.Verdict = Passed
			}
		}
		step.Expected = check.expected(c)
		if step.Verdict != Skipped && check.found != nil {
			step.Found = check.found(c)
		}
		steps = append(steps, step)
	}
	if refused {
		return steps, nil
	}
	return steps, &c.found.principal
}

func (s *Step) refuse(e *Error, c *tokenCheck) {
	s.Verdict, s.Code, s.Fix = Refused, e.Code, c.fix(e.Code)
	if e.Cause != nil {
		s.Cause = strings.TrimPrefix(e.Cause.Error(), "bearer: ")
	}
}

// show renders the value of a claim, cut to what a line holds.
func show(raw jsontext.Value) string {
	if raw == nil {
		return "(none)"
	}
	if len(raw) > 200 {
		return strings.ToValidUTF8(string(raw[:200]), "") + "…"
	}
	return string(raw)
}

func showTime(raw jsontext.Value) string {
	at, ok, err := seconds(raw)
	if !ok || err != nil {
		return show(raw)
	}
	return date(at)
}

// fix names the line of configuration or the setting of Keycloak that makes a
// refusal go away, or what the caller has to do.
func (c *tokenCheck) fix(code Code) string {
	party, _ := text(c.claims.party) // one that can't be read is none
	return refusal.Fix(code, party, c.v.config.Audience)
}
