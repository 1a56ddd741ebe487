// Package policy is the access policy: the one document that the stack writes
// from its configuration and the API enforces. It names the issuer, the
// audience, the models and the realm roles that may call them, and holds no
// secret.
package policy

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// Version of the document's shape. A reader refuses any other.
const Version = 1

// Policy is the whole document, the stack output "policy".
type Policy struct {
	Version  int      `json:"version"`
	Issuer   string   `json:"issuer"`   // issuer URL, exactly as in the iss claim
	Audience string   `json:"audience"` // client id of the resource server, demanded in aud
	BaseRole string   `json:"baseRole"` // realm role that every caller needs
	Models   []Model  `json:"models"`
	Clients  []Client `json:"clients"` // the realm's clients that hold tokens for this API
}

// Model is one model, where it runs, and who may call it.
type Model struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"` // realm roles; a caller needs one of them, and the base role

	// Exactly one of Embedded and Upstream says where the model runs.
	Embedded string    `json:"embedded,omitempty"` // name of a model that the API itself holds
	Upstream *Upstream `json:"upstream,omitempty"` // a model server that the API stands in front of

	// Introspect asks the issuer about the token on each call (RFC 7662), with
	// a short cache: a revoked token stops within seconds, at the cost of a
	// request to the issuer.
	Introspect bool `json:"introspect,omitempty"`
}

// Upstream is a model server that speaks the Open Inference Protocol v2.
type Upstream struct {
	URL string `json:"url"` // http or https, without the /v2 path, user info, query and fragment
	// Credential names what the API shows to the upstream: the environment
	// variable of that name, or the file that NAME_FILE points to. The secret
	// itself never stands in the policy.
	Credential string `json:"credential,omitempty"`
}

// Client is one client of the realm, as far as the API must know it.
type Client struct {
	ClientID string `json:"clientId"`
	Kind     string `json:"kind"` // api, web, service or cli
	Public   bool   `json:"public,omitempty"`
}

// Decision is the outcome of a policy question.
type Decision int

// The decisions, from best to worst.
const (
	Allow        Decision = iota
	UnknownModel          // no such model, or one that this caller may not know of: the same answer
	NoBaseRole            // the caller may call no model at all
)

var modelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// ValidModelName reports whether s can be a model's name: 1 to 63 letters,
// digits, dots, underscores and hyphens, so that it is one path segment that
// no proxy rewrites.
func ValidModelName(s string) bool { return modelName.MatchString(s) }

// CheckUpstreamURL says why text can't be the URL of a model server, after a
// key that names it. The text may hold a credential, so it isn't repeated.
func CheckUpstreamURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("is not an http or https URL such as http://triton:8000")
	case u.User != nil:
		return errors.New("holds user info: name the credential by upstream.credential")
	case u.RawQuery != "" || u.ForceQuery:
		return errors.New("holds a query, which no request to the model server would have: end it with the path")
	case strings.Contains(text, "#"):
		return errors.New("holds a fragment, which is never sent to a server: end it with the path")
	}
	return nil
}

// Parse reads a policy and validates it. Members that are unknown, in another
// case or there twice are an error: a policy that says more than the reader
// understands must not be half enforced.
func Parse(data []byte) (*Policy, error) {
	var p Policy
	if err := json.Unmarshal(data, &p, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("policy: not an access policy: %w", err)
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &p, nil
}

// Validate reports everything that is wrong with p at once.
func (p *Policy) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf("policy: "+format, args...)) }
	if p.Version != Version {
		fail("version is %d, this program reads version %d", p.Version, Version)
	}
	if u, err := url.Parse(p.Issuer); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		fail("issuer %q is not an http or https URL", p.Issuer)
	}
	if p.Audience == "" {
		fail("audience is empty: set it to the client id of the resource server")
	}
	if p.BaseRole == "" {
		fail("baseRole is empty: set it to the realm role that every caller needs")
	}
	seen := map[string]bool{}
	for _, m := range p.Models {
		if !ValidModelName(m.Name) {
			fail("model name %q: use 1 to 63 letters, digits, dots, underscores and hyphens", m.Name)
		}
		if seen[m.Name] {
			fail("model %q is declared twice", m.Name)
		}
		seen[m.Name] = true
		if len(m.Roles) == 0 || slices.Contains(m.Roles, "") {
			fail("model %q names no role: nobody could call it, or everybody", m.Name)
		}
		if (m.Embedded == "") == (m.Upstream == nil) {
			fail("model %q: set either embedded or upstream", m.Name)
		}
		if m.Upstream != nil {
			if err := CheckUpstreamURL(m.Upstream.URL); err != nil {
				fail("model %q: upstream.url %w", m.Name, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Decide says whether a caller with the given realm roles may use the named
// model. Without the base role no question about models is answered; an
// unknown model and one that the caller has no role for are the same answer.
func (p *Policy) Decide(roles []string, model string) (*Model, Decision) {
	if !slices.Contains(roles, p.BaseRole) {
		return nil, NoBaseRole
	}
	for i := range p.Models {
		if p.Models[i].Name == model {
			if p.Models[i].allows(roles) {
				return &p.Models[i], Allow
			}
			break
		}
	}
	return nil, UnknownModel
}

// Visible returns the models that a caller with the given realm roles may use.
func (p *Policy) Visible(roles []string) []*Model {
	var out []*Model
	if !slices.Contains(roles, p.BaseRole) {
		return nil
	}
	for i := range p.Models {
		if p.Models[i].allows(roles) {
			out = append(out, &p.Models[i])
		}
	}
	return out
}

func (m *Model) allows(roles []string) bool {
	return slices.ContainsFunc(m.Roles, func(r string) bool { return slices.Contains(roles, r) })
}
