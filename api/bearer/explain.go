package bearer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
// belongs to a request and is not among them.
func (v *Verifier) Explain(ctx context.Context, token string) ([]Step, *Principal) {
	a := &attempt{v: v, ctx: ctx, scheme: Bearer, token: token, now: v.clock.Now().Unix(), fetches: true}
	a.found.hash = sha256.Sum256(view(token))
	size := Step{Check: "size", Verdict: Passed, Expected: fmt.Sprintf("at most %d bytes", v.config.MaxTokenBytes), Found: fmt.Sprintf("%d bytes", len(token))}
	if len(token) > v.config.MaxTokenBytes {
		size.refuse(refuse(TokenTooLarge, nil), a)
		return []Step{size}, nil
	}
	steps := []Step{size}
	failed := map[string]bool{}
	for _, check := range checks {
		step := Step{Check: check.name, Verdict: Skipped}
		if len(failed) == 0 ||
			check.name == "issuer" && a.payload != nil ||
			slices.Contains(onClaims, check.name) && a.found.issuer != nil {
			step.Verdict = Passed
			if check.name == "type" && string(a.claims.typ) == `"DPoP"` {
				a.scheme = DPoP // what it would have to come with
			}
			if refusal := check.run(a); refusal != nil {
				step.refuse(refusal, a)
				failed[check.name] = true
			} else if check.name == "introspection" && !a.asked {
				step.Verdict = Skipped
			}
		}
		step.Expected, step.Found = a.describe(check.name)
		if step.Verdict == Skipped {
			step.Found = ""
		}
		steps = append(steps, step)
	}
	if len(failed) > 0 {
		return steps, nil
	}
	return steps, &a.found.principal
}

// onClaims are the checks that need no more than readable claims of a known
// issuer.
var onClaims = []string{"audience", "times", "type"}

func (s *Step) refuse(e *Error, a *attempt) {
	s.Verdict, s.Code, s.Fix = Refused, e.Code, a.fix(e.Code)
	if e.Cause != nil {
		s.Cause = strings.TrimPrefix(e.Cause.Error(), "bearer: ")
	}
}

// describe says what a check expects and what it finds in the token.
func (a *attempt) describe(check string) (expected, found string) {
	config := &a.v.config
	switch check {
	case "one credential":
		return "one token without spaces and commas", ""
	case "shape":
		return "header.payload.signature, each base64url of a JSON object", ""
	case "algorithm":
		return "alg one of " + strings.Join(config.Algorithms, " ") + ", no crit", "alg " + a.header.algorithm
	case "issuer":
		var urls []string
		for _, i := range a.v.issuers {
			urls = append(urls, i.URL)
		}
		return "iss " + strings.Join(urls, " or "), "iss " + show(a.claims.issuer)
	case "key":
		return "a published signing key with the token's kid, for its alg", "kid " + a.header.keyID
	case "signature":
		return "made with that key", ""
	case "introspection":
		expected = "active by the issuer's answer, if the token is a lightweight one, without aud"
		if a.asked {
			found = "active, aud " + show(a.claims.audience)
		}
		return expected, found
	case "audience":
		return fmt.Sprintf("aud %q, alone or in an array", config.Audience), "aud " + show(a.claims.audience)
	case "times":
		return fmt.Sprintf("iat and nbf not after now, exp not before now (%s), skew %v, lifetime at most %v", unix(a.now).UTC().Format(time.RFC3339), config.Skew, config.MaxLifetime),
			"iat " + showTime(a.claims.issuedAt) + ", nbf " + showTime(a.claims.notBefore) + ", exp " + showTime(a.claims.expiry)
	case "type":
		return fmt.Sprintf("header typ one of %q, typ Bearer without cnf or DPoP with cnf.jkt, a sub", config.HeaderTypes),
			fmt.Sprintf("header typ %q, typ %s, cnf %s, sub %s", a.header.mediaType, show(a.claims.typ), show(a.claims.confirmation), show(a.claims.subject))
	case "authorized party":
		expected = "any azp"
		if len(config.AuthorizedParties) > 0 {
			expected = "azp one of " + strings.Join(config.AuthorizedParties, " ")
		}
		return expected, "azp " + show(a.claims.party)
	case "revocation":
		return "no ended session and no not-before that this process knows of covers the token", "sid " + show(a.claims.session) + ", iat " + showTime(a.claims.issuedAt)
	}
	return "", ""
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
	return unix(at).UTC().Format(time.RFC3339)
}

// fix names the line of configuration or the setting of Keycloak that makes a
// refusal go away, or what the caller has to do.
func (a *attempt) fix(code Code) string {
	party := "the client"
	if p, err := text(a.claims.party); err == nil && p != "" {
		party = fmt.Sprintf("client %q", p)
	}
	return strings.NewReplacer("{client}", party, "{audience}", strconv.Quote(a.v.config.Audience)).Replace(refusal.Of(code).Fix)
}
