package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Outputs are the stack's outputs: the JSON object that
// `pulumi stack output api --json --show-secrets` prints.
type Outputs struct {
	RealmName        string `json:"realm_name"`
	Realm            string `json:"realm"`         // display name
	Issuer           string `json:"issuer"`        // issuer URL, exactly as in the iss claim
	JWKSURI          string `json:"jwks_uri"`      // where the realm publishes its keys
	Audience         string `json:"audience"`      // client id of the resource server, demanded in aud
	ClientID         string `json:"client_id"`     // of the resource server
	ClientSecret     string `json:"client_secret"` // secret
	OIDCClientID     string `json:"oidc_client_id,omitempty"`
	OIDCClientSecret string `json:"oidc_client_secret,omitempty"` // secret; both are of the browser sign-in
	// The client by which the API exchanges tokens; its secret is secret.
	ExchangeClientID     string  `json:"exchange_client_id,omitempty"`
	ExchangeClientSecret string  `json:"exchange_client_secret,omitempty"`
	Policy               *Policy `json:"policy"`
}

// ReadOutputs reads the file that path names as ParseOutputs does.
func ReadOutputs(path string) (*Outputs, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("policy: there is no file %s: run make up, or pulumi stack output api --json --show-secrets > stack.json "+
			"and give -stack stack.json", path)
	} else if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	outputs, err := ParseOutputs(content)
	if err != nil {
		return nil, fmt.Errorf("policy: %s: %w", path, err)
	}
	return outputs, nil
}

// ParseOutputs reads a stack's outputs and validates the access policy in
// them. The error lists everything that is wrong. Outputs of other names are
// the business of other programs.
func ParseOutputs(data []byte) (*Outputs, error) {
	var file struct {
		Outputs
		Policy jsontext.Value `json:"policy"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("policy: not the stack's outputs as JSON: %w", err)
	}
	if file.Policy == nil {
		return nil, errors.New("policy: there is no output policy: write the outputs with pulumi stack output api --json --show-secrets")
	}
	o := file.Outputs
	p, first, err := read(file.Policy)
	if err != nil {
		return nil, err
	}
	o.Policy = p
	return &o, o.check(first)
}

// check lists what is wrong between the outputs and their policy, of which first
// is version 1, or nil.
func (o *Outputs) check(first *version1) error {
	var errs problems
	if u, err := url.Parse(o.Issuer); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		errs.addf("the output issuer, %q, is not an http or https URL", o.Issuer)
	}
	if o.Audience == "" {
		errs.addf("the output audience is empty: set it to the client id of the resource server")
	}
	if first != nil && (first.Issuer != o.Issuer || first.Audience != o.Audience) {
		errs.addf("issuer and audience are %q and %q, and in the policy %q and %q: the outputs are not of one stack", o.Issuer,
			o.Audience, first.Issuer, first.Audience)
	}
	for _, m := range o.Policy.Models {
		if m.Introspect && (o.ClientID == "" || o.ClientSecret == "") {
			errs.addf("model %q has introspect, for which the outputs client_id and client_secret are needed: write the outputs with "+
				"--show-secrets", m.Name)
		}
	}
	for _, m := range o.Policy.Models {
		if u := m.Upstream; u != nil && u.Identity == IdentityExchange && (o.ExchangeClientID == "" || o.ExchangeClientSecret == "") {
			errs.addf("model %q has upstream.identity %s, for which the outputs exchange_client_id and exchange_client_secret are needed: write the outputs with --show-secrets", m.Name, IdentityExchange)
		}
	}
	return errors.Join(errs...)
}

// Parse reads an access policy of version 1 or 2 and validates it. Members
// that are unknown, in another case, there twice or null are an error: a
// policy that says more than the reader understands must not be half enforced.
func Parse(data []byte) (*Policy, error) {
	p, _, err := read(data)
	return p, err
}

func read(data []byte) (*Policy, *version1, error) {
	var shape struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &shape); err != nil {
		return nil, nil, fmt.Errorf("policy: not an access policy: %w", err)
	}
	if err := refuseNull(data); err != nil {
		return nil, nil, err
	}
	p, first := &Policy{}, (*version1)(nil)
	var err error
	if shape.Version == 1 {
		first = &version1{}
		err = json.Unmarshal(data, first, json.RejectUnknownMembers(true))
		p = first.upgrade()
	} else {
		err = json.Unmarshal(data, p, json.RejectUnknownMembers(true))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("policy: not an access policy that this program reads: upgrade it if the stack is newer: %w", err)
	}
	if err := p.Validate(); err != nil {
		return nil, nil, err
	}
	return p, first, nil
}

// refuseNull refuses null in a model, which a reader takes for an absent
// member: for a condition that would mean anybody.
func refuseNull(data []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	for {
		token, err := d.ReadToken()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("policy: not an access policy: %w", err)
		case token.Kind() == 'n' && strings.HasPrefix(string(d.StackPointer()), "/models/"):
			return fmt.Errorf("policy: %s is null: leave the member out, or say what it is", d.StackPointer())
		}
	}
}

// version1 is the shape that stacks wrote before version 2.
type version1 struct {
	Version  int    `json:"version"`
	Issuer   string `json:"issuer"`
	Audience string `json:"audience"`
	BaseRole string `json:"baseRole"`
	Models   []struct {
		Name     string   `json:"name"`
		Roles    []string `json:"roles"`
		Embedded string   `json:"embedded"`
		Upstream *struct {
			URL        string `json:"url"`
			Credential string `json:"credential"`
		} `json:"upstream"`
		Introspect bool `json:"introspect"`
	} `json:"models"`
	Clients []struct {
		ClientID string `json:"clientId"`
		Kind     string `json:"kind"`
		Public   bool   `json:"public"`
	} `json:"clients"`
}

// upgrade returns the policy in the shape of this version.
func (v *version1) upgrade() *Policy {
	p := &Policy{Version: Version, BaseRole: v.BaseRole, Models: []Model{}, Clients: []Client{}}
	for _, m := range v.Models {
		next := Model{Name: m.Name, Embedded: m.Embedded, Introspect: m.Introspect, Allow: Conditions{Roles: m.Roles}}
		if m.Roles == nil {
			next.Allow.Roles = []string{} // version 1 has no model without a role
		}
		if m.Upstream != nil {
			next.Upstream = &Upstream{URL: m.Upstream.URL}
			if m.Upstream.Credential != "" {
				next.Upstream.Credential = &Credential{Env: m.Upstream.Credential}
			}
		}
		p.Models = append(p.Models, next)
	}
	for _, c := range v.Clients {
		p.Clients = append(p.Clients, Client{ClientID: c.ClientID, Kind: c.Kind, Public: c.Public})
	}
	return p
}
