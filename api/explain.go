package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/gateway"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/api/stepup"
	"keycloak-model-api/policy"
)

const explainUsage = `Usage: go run ./api explain [flags] < TOKEN

Makes each check of an access token that the API makes, and says what it
expected, what it found, and which setting would change that. The token comes
from standard input or a file, never from the command line. Its signature is
not printed. Exit status: 0 accepted, 1 refused, 2 wrong usage.

`

// explain is the subcommand of that name.
func explain(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("explain", flag.ContinueOnError)
	tokenFile := flags.String("token-file", "-", "File with the token; - is standard input.")
	jwksFile := flags.String("jwks", "", "File with the issuer's keys (its jwks_uri), to explain without a server.")
	stackFile := flags.String("stack", ".dev/stack.json", "File with the stack's outputs.")
	model := flags.String("model", "", "Model to ask for: its roles are checked too.")
	internal := flags.String("issuer-internal-url", "", "URL of the issuer as this computer reaches it.")
	skew := flags.Duration("clock-skew", 30*time.Second, "How far the clocks may differ.")
	if done, err := parseFlags(flags, args, explainUsage, stdout); done || err != nil {
		return err
	}
	if flags.NArg() > 0 {
		// It may well be the token, so it is not repeated.
		return &usageError{errors.New("api: explain: it takes no argument: give the token on standard input or by -token-file")}
	}
	stack, err := readStack(*stackFile)
	if err := errors.Join(err, checkInternalURL(*internal), checkClockSkew(*skew)); err != nil {
		return &usageError{err}
	}
	config := bearer.Config{
		Issuers:  []bearer.Issuer{{URL: stack.Issuer, InternalURL: *internal, ClientID: stack.ClientID, ClientSecret: stack.ClientSecret}},
		Audience: stack.Audience,
		Claims:   gateway.ClaimPaths(stack.Policy),
		Skew:     *skew,
		// It is made for one token: nothing is followed.
		NotBeforeInterval: -1,
		Logger:            slog.New(slog.DiscardHandler),
	}
	if *jwksFile != "" {
		keys, err := os.ReadFile(*jwksFile)
		if err != nil {
			return &usageError{fmt.Errorf("api: explain: -jwks: %w", err)}
		}
		config.HTTPClient = &http.Client{Transport: keyFile{stack.Issuer, keys}}
		config.Issuers[0].InternalURL = ""
		config.Issuers[0].ClientID, config.Issuers[0].ClientSecret = "", ""
	}
	token, err := readToken(*tokenFile, stdin)
	if err != nil {
		return &usageError{err}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	verifier, err := bearer.New(ctx, config)
	if err != nil {
		return &usageError{err}
	}
	steps, principal := verifier.Explain(ctx, token)
	steps = append(steps, explainPolicy(stack.Policy, principal, *model)...)
	steps = append(steps, explainSignIn(stack, principal, *model, *skew)...)
	return printSteps(stdout, steps)
}

// maxTokenFile is more than any token that the API reads.
const maxTokenFile = 1 << 20

// readToken returns what a file holds, or standard input if its name is "-".
func readToken(name string, stdin io.Reader) (string, error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("api: -token-file: %w", err)
		}
		defer file.Close()
		stdin = file
	}
	content, err := io.ReadAll(io.LimitReader(stdin, maxTokenFile))
	if err != nil {
		return "", fmt.Errorf("api: token: %w", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" && name != "-" {
		return "", fmt.Errorf("api: -token-file: %s is empty", name)
	} else if token == "" {
		return "", errors.New("api: no token on standard input: pipe one in, such as from modelctl token")
	}
	return token, nil
}

// explainPolicy tells of the checks after the token's own: the base role and,
// if one is named, the model.
func explainPolicy(p *policy.Policy, principal *bearer.Principal, model string) []bearer.Step {
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
			base.Fix = "Stack configuration: give the user a role of a model, which contains " + p.BaseRole + ". Keycloak: Users → Role mapping. Then get a new token; it must come through the client scope roles."
		} else {
			named.Found, named.Verdict = grants(principal), bearer.Passed
			if decision == policy.UnknownModel {
				named.Verdict, named.Code = bearer.Refused, "model_unknown"
				named.Fix = "Stack configuration: models (allow), and roles and groups of the user; then pulumi up, reload the API, get a new token."
			}
		}
	}
	if model == "" {
		return []bearer.Step{base}
	}
	return []bearer.Step{base, named}
}

// explainSignIn tells whether the person signed in as the model asks, if it asks
// for anything.
func explainSignIn(stack *policy.Outputs, principal *bearer.Principal, model string, skew time.Duration) []bearer.Step {
	models := stack.Policy.Models
	i := slices.IndexFunc(models, func(m policy.Model) bool { return m.Name == model && m.Authentication != nil })
	if i < 0 {
		return nil
	}
	asked := models[i].Authentication
	step := bearer.Step{
		Check: "sign-in", Verdict: bearer.Skipped,
		Expected: fmt.Sprintf("level %s at most %s ago by the claim %s, an acr, no offline token", strings.Join(asked.ACR, " or "), asked.Within(), bearer.LevelsClaim),
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

// printSteps writes one block for each check. The error names the first
// refusal.
func printSteps(w io.Writer, steps []bearer.Step) error {
	var first *bearer.Step
	for i, step := range steps {
		fmt.Fprintf(w, "%2d  %-17s %s\n", i+1, step.Check, step.Verdict)
		line := func(name, value string) {
			if value != "" {
				// What a token says must not steer the terminal.
				fmt.Fprintf(w, "    %-9s %s\n", name, strings.Map(printable, value))
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
		return fmt.Errorf("api: explain: the token is refused: %s", first.Code)
	}
	fmt.Fprintln(w, "The token is accepted.")
	return nil
}

func printable(r rune) rune {
	if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
		return '\uFFFD'
	}
	return r
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
