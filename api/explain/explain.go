// Package explain makes each check of an access token that the API makes, and
// says what it expected, what it found, and which setting would change that.
package explain

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/stepup"
	"keycloak-model-api/internal/cli"
	"keycloak-model-api/policy"
)

// Options says whose token it is, and what it is for.
type Options struct {
	Outputs     *policy.Outputs // of the stack
	InternalURL string          // of the issuer as this computer reaches it. Default: its own URL
	Keys        []byte          // the issuer's key set; nothing is asked of the issuer then. May be nil
	Skew        time.Duration   // how far the clocks may differ
	Model       string          // to ask for; may be empty
}

// Steps makes the checks of a token. The error is for options that can't work.
func Steps(ctx context.Context, o Options, token string) ([]bearer.Step, error) {
	config := bearer.StackConfig(o.Outputs, o.InternalURL)
	config.Skew, config.NotBeforeInterval, config.Logger = o.Skew, -1, slog.New(slog.DiscardHandler) // nothing is followed
	if o.Keys != nil {
		config.HTTPClient = &http.Client{Transport: keyFile{o.Outputs.Issuer, o.Keys}}
		config.Issuers = []bearer.Issuer{{URL: o.Outputs.Issuer}}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	verifier, err := bearer.New(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	steps, principal := verifier.Explain(ctx, token)
	steps = append(steps, ofPolicy(o.Outputs.Policy, principal, o.Model)...)
	return append(steps, ofSignIn(o.Outputs, principal, o.Model, o.Skew)...), nil
}

// ofPolicy tells of the checks after the token's own: the base role and,
// if one is named, the model.
func ofPolicy(p *policy.Policy, principal *bearer.Principal, model string) []bearer.Step {
	base := bearer.Step{Check: "base role", Verdict: bearer.Skipped, Expected: "realm role " + p.BaseRole}
	named := bearer.Step{Check: "model", Verdict: bearer.Skipped, Expected: fmt.Sprintf("model %q in the policy", model)}
	for _, m := range p.Models {
		if m.Name == model {
			named.Expected = m.Allow.String()
		}
	}
	if principal != nil {
		_, decision := p.Decide(principal.ForPolicy(), model, "")
		base.Found = "realm roles " + strings.Join(principal.RealmRoles, " ")
		base.Verdict = bearer.Passed
		if decision == policy.NoBaseRole {
			base.Verdict, base.Code = bearer.Refused, "role_missing"
			base.Fix = "Stack configuration: give the user a role of a model, which contains " + p.BaseRole + ". Keycloak: Users → Role " +
				"mapping. Then get a new token; it must come through the client scope roles."
		} else {
			named.Found, named.Verdict = grants(principal), bearer.Passed
			if decision == policy.UnknownModel {
				named.Verdict, named.Code = bearer.Refused, "model_unknown"
				named.Fix = "Stack configuration: models (allow), and roles and groups of the user; then pulumi up, reload the API, get " +
					"a new token."
			}
		}
	}
	if model == "" {
		return []bearer.Step{base}
	}
	return []bearer.Step{base, named}
}

// ofSignIn tells whether the person signed in as the model asks, if it asks
// for anything.
func ofSignIn(stack *policy.Outputs, principal *bearer.Principal, model string, skew time.Duration) []bearer.Step {
	models := stack.Policy.Models
	i := slices.IndexFunc(models, func(m policy.Model) bool { return m.Name == model && m.Authentication != nil })
	if i < 0 {
		return nil
	}
	asked := models[i].Authentication
	step := bearer.Step{
		Check: "sign-in", Verdict: bearer.Skipped,
		Expected: fmt.Sprintf("level %s at most %s ago by the claim %s, an acr, no offline token", strings.Join(asked.ACR, " or "),
			asked.Within(), bearer.LevelsClaim),
	}
	if asked.ServiceAccounts {
		step.Expected += "; or a service account"
	}
	if principal == nil {
		return []bearer.Step{step}
	}
	step.Verdict, step.Found = bearer.Passed, signIn(principal)
	if refused := stepup.Check(asked, principal, time.Now(), skew); refused != nil {
		step.Verdict, step.Code, step.Cause = bearer.Refused, refused.Code, refused.Message
		step.Fix = refusal.Fix(refused.Code, principal.ClientID, stack.Audience)
	}
	return []bearer.Step{step}
}

// signIn is what a token says of how its person signed in.
func signIn(p *bearer.Principal) string {
	if p.SessionID == "" {
		return "a service account"
	}
	said := []string{"acr " + cmp.Or(p.SignIn.ACR, "(none)")}
	for _, level := range slices.Sorted(maps.Keys(p.SignIn.Levels)) {
		said = append(said, "level "+level+" at "+p.SignIn.Levels[level].UTC().Format(time.RFC3339))
	}
	if p.SignIn.Levels == nil {
		said = append(said, "no "+bearer.LevelsClaim)
	}
	if p.SignIn.Offline {
		said = append(said, "offline")
	}
	return strings.Join(said, "; ")
}

// grants are what a token says that models can ask for.
func grants(p *bearer.Principal) string {
	said := []string{"realm roles " + strings.Join(p.RealmRoles, " ")}
	for _, client := range slices.Sorted(maps.Keys(p.ClientRoles)) {
		said = append(said, "roles of "+client+" "+strings.Join(p.ClientRoles[client], " "))
	}
	if len(p.Groups) > 0 {
		said = append(said, "groups "+strings.Join(p.Groups, " "))
	}
	return strings.Join(append(said, "client "+p.ClientID, "scopes "+strings.Join(p.Scopes, " ")), "; ")
}

// Print writes one block for each check. The error names the first refusal.
func Print(w io.Writer, steps []bearer.Step) error {
	var first *bearer.Step
	for i, step := range steps {
		fmt.Fprintf(w, "%2d  %-17s %s\n", i+1, step.Check, step.Verdict)
		line := func(name, value string) {
			if value != "" {
				// What a token says must not steer the terminal.
				fmt.Fprintf(w, "    %-9s %s\n", name, strings.Map(cli.Printable, value))
			}
		}
		line("expected", step.Expected)
		line("found", step.Found)
		if step.Verdict != bearer.Refused {
			continue
		}
		line("code", string(step.Code))
		line("because", step.Cause)
		line("to fix", step.Fix)
		if first == nil {
			first = &steps[i]
		}
	}
	if first != nil {
		return fmt.Errorf("explain: the token is refused: %s", first.Code)
	}
	fmt.Fprintln(w, "The token is accepted.")
	return nil
}

// keyFile answers for an issuer with keys from a file, without a network.
type keyFile struct {
	issuer string
	keys   []byte
}

// RoundTrip implements http.RoundTripper.
func (f keyFile) RoundTrip(r *http.Request) (*http.Response, error) {
	body := f.keys
	if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
		var err error
		if body, err = json.Marshal(map[string]string{"issuer": f.issuer, "jwks_uri": f.issuer + "/keys"}); err != nil {
			return nil, err
		}
	}
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}
