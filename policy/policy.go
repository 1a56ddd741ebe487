// Package policy is the contract between the stack and the API: the stack's
// outputs, and in them the access policy, which names the models, where each
// runs and who may call it. The stack writes both from its configuration, and
// the API reads and enforces them. The access policy holds no secret.
package policy

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Version of the access policy that this program writes. It reads version 1
// too, so the API is upgraded before the stack.
const Version = 2

// Policy is the access policy, the stack output "policy". A member that a
// stack can write but this API does not enforce is an error of Validate:
// nothing is half enforced.
type Policy struct {
	Version  int      `json:"version"`
	BaseRole string   `json:"baseRole"`        // realm role that every caller needs
	Claims   Claims   `json:"claims,omitzero"` // where tokens carry what Decide asks for
	Models   []Model  `json:"models"`
	Clients  []Client `json:"clients"` // the realm's clients that hold tokens for this API
	Limits   []Limit  `json:"limits,omitempty"`
}

// Claims are paths of claims in access tokens. Dots nest, and ${client_id}
// stands for each client. An empty one means Keycloak's own path.
type Claims struct {
	RealmRoles  string `json:"realmRoles,omitempty"`  // realm_access.roles
	ClientRoles string `json:"clientRoles,omitempty"` // resource_access.${client_id}.roles
	Groups      string `json:"groups,omitempty"`      // groups, whose values are full paths
}

// Model is one model, where it runs, and who may call it.
type Model struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol,omitempty"` // one of Protocols(); empty for ProtocolOIP

	// Exactly one of Embedded and Upstream says where the model runs.
	Embedded string    `json:"embedded,omitempty"` // name of a model that the API itself holds
	Upstream *Upstream `json:"upstream,omitempty"` // a model server that the API stands in front of

	Allow          Conditions      `json:"allow,omitzero"`
	Authentication *Authentication `json:"authentication,omitempty"`
	Body           *Body           `json:"body,omitempty"`

	// Stateful lets the model server keep responses, each for the principal that got
	// it. Of ProtocolOpenAI.
	Stateful bool `json:"stateful,omitempty"`

	// Introspect asks the issuer about the token on each call (RFC 7662), with
	// a short cache: a revoked token stops within seconds, at the cost of a
	// request to the issuer.
	Introspect bool `json:"introspect,omitempty"`
}

// Conditions say who may call a model. A principal must meet every kind that
// is present; within one kind, one of the values is enough, except that
// AllRoles names roles that all are needed. A kind that is absent admits any.
// A role is a realm role, or CLIENT/ROLE for a role of a client: the name of a
// role holds no slash.
type Conditions struct {
	Roles    []string `json:"roles,omitempty"`
	AllRoles []string `json:"allRoles,omitempty"`
	Groups   []string `json:"groups,omitempty"`  // full paths such as /research/vision; a subgroup is another group
	Clients  []string `json:"clients,omitempty"` // client ids: who got the token (azp)
	Scopes   []string `json:"scopes,omitempty"`  // of the token
	Actions  []string `json:"actions,omitempty"` // of Actions(protocol): what may be done with the model
}

// Upstream is a model server.
type Upstream struct {
	URL        string      `json:"url"` // what CheckUpstreamURL lets pass
	Credential *Credential `json:"credential,omitempty"`
	// Identity says how the model server learns who calls: IdentityHeaders, also where
	// it is absent, or IdentityExchange.
	Identity string   `json:"identity,omitempty"`
	Model    string   `json:"model,omitempty"`    // what the server calls the model, where the body names it; empty for Model.Name
	TLS      *TLS     `json:"tls,omitempty"`      // of https URLs; nil for what every client does
	Audience string   `json:"audience,omitempty"` // of IdentityExchange: the client that the server is
	Paths    []string `json:"paths,omitempty"`    // of ProtocolPaths: what may be called, such as POST /invocations; * is any segment
}

// How a model server learns who calls.
const (
	IdentityHeaders  = "headers"  // by X-Principal-*
	IdentityExchange = "exchange" // by an access token for Upstream.Audience too (RFC 8693)
)

func (u *Upstream) validateIdentity(at string, errs *problems) {
	exchange := u.Identity == IdentityExchange
	errs.unenforced(at, member{"upstream.identity " + u.Identity, u.Identity != "" && u.Identity != IdentityHeaders && !exchange})
	if exchange != (u.Audience != "") {
		errs.addf("%supstream.audience goes with upstream.identity %s, and with no other", at, IdentityExchange)
	}
	if exchange && u.Credential != nil && u.Credential.Header == "" {
		errs.addf("%supstream.credential would stand in Authorization, where the exchanged token goes", at)
	}
}

// Credential names what the API shows to a model server: a secret from
// the environment variable Env, or from the file that NAME_FILE points to. The
// secret itself never stands in the policy.
type Credential struct {
	Env    string `json:"env"`
	Header string `json:"header,omitempty"` // one of CredentialHeaders(); empty for Authorization: Bearer
}

// TLS says how the API and a model server prove to each other who they are. The
// files are the API's, in PEM, and are read again when they change.
type TLS struct {
	CA          string `json:"ca,omitempty"`          // file with the authorities of the server's certificate; empty for the system's
	Certificate string `json:"certificate,omitempty"` // file with the API's own certificate and those between it and its authority
	Key         string `json:"key,omitempty"`         // file with its private key
	ServerName  string `json:"serverName,omitempty"`  // that the server's certificate must be for; empty for the URL's host
}

// Check says why t can't hold for a model server at this URL, after a key that
// names it.
func (t *TLS) Check(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "https":
		return errors.New("is for a URL that begins with https://")
	case *t == TLS{}:
		return errors.New("is empty: leave it out, or set ca, certificate and key, or serverName")
	case (t.Certificate == "") != (t.Key == ""):
		return errors.New("has a certificate or a key without the other")
	}
	return nil
}

// Client is one client of the realm, as far as the API must know it.
type Client struct {
	ClientID string `json:"clientId"`
	Kind     string `json:"kind"` // api, web, service or cli
	Public   bool   `json:"public,omitempty"`
	Key      bool   `json:"key,omitempty"` // may be called with by its service key; of kind service
}

// Validate reports everything that is wrong with p at once, and what this
// program does not enforce.
func (p *Policy) Validate() error {
	var errs problems
	if p.Version != Version {
		errs.addf("version is %d: this program reads versions 1 and %d", p.Version, Version)
	}
	if p.BaseRole == "" {
		errs.addf("baseRole is empty: set it to the realm role that every caller needs")
	}
	p.validateLimits(&errs)
	seen := map[string]bool{}
	for i := range p.Models {
		m := &p.Models[i]
		if seen[m.Name] {
			errs.addf("model %q is declared twice", m.Name)
		}
		seen[m.Name] = true
		m.validate(&errs)
	}
	for _, c := range p.Clients {
		if c.Key && (c.Kind != "service" || c.Public) {
			errs.addf("client %q: key is for confidential clients of kind service", c.ClientID)
		}
	}
	return errors.Join(errs...)
}

func (m *Model) validate(errs *problems) {
	at := fmt.Sprintf("model %q: ", m.Name)
	errs.unenforced(at, member{"protocol " + m.Protocol, m.Protocol != "" && !slices.Contains(Protocols(), m.Protocol)})
	m.Allow.validate(at, m.Protocol, errs)
	if err := CheckModelName(m.Protocol, m.Name); err != nil {
		errs.addf("model name %q: %w", m.Name, err)
	}
	if (m.Embedded == "") == (m.Upstream == nil) {
		errs.addf("%sset either embedded or upstream", at)
	}
	if m.Embedded != "" && protocolOf(m.Protocol).name != ProtocolOIP {
		errs.addf("%sembedded models speak the protocol %s alone", at, ProtocolOIP)
	}
	if m.Body != nil && m.Embedded != "" {
		errs.addf("%sbody is for models that run elsewhere", at)
	}
	if m.Body != nil {
		for _, err := range m.Body.Check(m.Protocol) {
			errs.addf("%sbody: %w", at, err)
		}
	}
	if m.Stateful && m.Protocol != ProtocolOpenAI {
		errs.addf("%sstateful is for the protocol %s", at, ProtocolOpenAI)
	}
	if m.Authentication != nil {
		m.Authentication.validate(at, errs)
	}
	if u := m.Upstream; u != nil {
		if err := CheckUpstreamURL(m.Protocol, u.URL); err != nil {
			errs.addf("%supstream.url %w", at, err)
		}
		if err := CheckUpstreamModel(m.Protocol, u.Model); err != nil {
			errs.addf("%supstream.model %w", at, err)
		}
		if err := CheckPaths(m.Protocol, u.Paths); err != nil {
			errs.addf("%supstream.paths %w", at, err)
		}
		if u.TLS != nil {
			if err := u.TLS.Check(u.URL); err != nil {
				errs.addf("%supstream.tls %w", at, err)
			}
		}
		if u.Credential != nil && u.Credential.Header != "" && !slices.Contains(CredentialHeaders(), u.Credential.Header) {
			errs.addf("%supstream.credential.header: %q is none of %s", at, u.Credential.Header, strings.Join(CredentialHeaders(), ", "))
		}
		if u.Credential != nil && u.Credential.Env == "" {
			errs.addf("%supstream.credential.env is empty: name an environment variable of the API", at)
		}
		u.validateIdentity(at, errs)
	}
}

// validate refuses a kind that is present and empty: it would mean nobody to
// one reader and everybody to another.
func (c *Conditions) validate(at, protocol string, errs *problems) {
	for _, kind := range []struct {
		name   string
		values []string
	}{
		{"roles", c.Roles}, {"allRoles", c.AllRoles}, {"groups", c.Groups},
		{"clients", c.Clients}, {"scopes", c.Scopes}, {"actions", c.Actions},
	} {
		if kind.values != nil && len(kind.values) == 0 || slices.Contains(kind.values, "") {
			errs.addf("%sallow.%s is empty or holds an empty name: nobody could meet it, or everybody", at, kind.name)
		}
	}
	for _, g := range c.Groups {
		if g != "" && !strings.HasPrefix(g, "/") {
			errs.addf("%sallow.groups: %q is not a full path such as /research/vision", at, g)
		}
	}
	for _, a := range c.Actions {
		if known := Actions(protocol); a != "" && !slices.Contains(known, a) {
			errs.addf("%sallow.actions: %q is none of %s", at, a, strings.Join(known, ", "))
		}
	}
}

// problems are the errors of one document.
type problems []error

func (p *problems) addf(format string, args ...any) {
	*p = append(*p, fmt.Errorf("policy: "+format, args...))
}

// member is one member of the document, and whether it says something.
type member struct {
	name string
	said bool
}

func (p *problems) unenforced(at string, members ...member) {
	for _, m := range members {
		if m.said {
			p.addf("%s%s is not enforced by this version of the API: upgrade the API, or take it out of the stack", at, strings.TrimSpace(m.name))
		}
	}
}
