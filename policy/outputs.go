package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Outputs is what the API reads of the stack's outputs: the JSON object that
// `pulumi stack output --json --show-secrets` prints.
type Outputs struct {
	Issuer           string  `json:"issuer"`
	JWKSURI          string  `json:"jwks_uri"`
	Audience         string  `json:"audience"`
	ClientID         string  `json:"client_id"` // of the resource server
	ClientSecret     string  `json:"client_secret"`
	OIDCClientID     string  `json:"oidc_client_id"` // of the browser sign-in
	OIDCClientSecret string  `json:"oidc_client_secret"`
	Policy           *Policy `json:"-"`
}

// ReadOutputs reads and checks the file that path names. The error lists
// everything that is wrong.
func ReadOutputs(path string) (*Outputs, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("policy: there is no file %s: run make up, or pulumi stack output --json --show-secrets > stack.json and give -stack stack.json", path)
	} else if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	var file struct {
		Outputs
		Policy json.RawMessage `json:"policy"`
	}
	if err := json.Unmarshal(content, &file); err != nil {
		return nil, fmt.Errorf("policy: %s does not hold stack outputs as JSON: %w", path, err)
	}
	if file.Policy == nil {
		return nil, fmt.Errorf("policy: %s has no output policy: write it with pulumi stack output --json --show-secrets", path)
	}
	s := file.Outputs
	if s.Policy, err = Parse(file.Policy); err != nil {
		return nil, fmt.Errorf("policy: %s: %w", path, err)
	}
	var errs []error
	for _, output := range []struct{ name, value, policy string }{
		{"issuer", s.Issuer, s.Policy.Issuer},
		{"audience", s.Audience, s.Policy.Audience},
	} {
		if output.value != output.policy {
			errs = append(errs, fmt.Errorf("policy: %s: %s is %q and the policy's is %q: the file is not of one stack", path, output.name, output.value, output.policy))
		}
	}
	for _, m := range s.Policy.Models {
		if m.Introspect && s.ClientSecret == "" {
			errs = append(errs, fmt.Errorf("policy: %s: model %q has introspect, for which the outputs client_id and client_secret are needed: write the file with --show-secrets", path, m.Name))
		}
	}
	return &s, errors.Join(errs...)
}
