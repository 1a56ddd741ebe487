// Package drift tells how a live realm differs from what a stack declares, what
// becomes of each difference with the next pulumi up, and what the stack could say so
// that it stays.
package drift

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"keycloak-model-api/internal/monitor"
	"keycloak-model-api/internal/render"
)

// Finding is one difference between the live realm and the declared one.
type Finding struct {
	Path     string `json:"path"`               // such as clients.portal.consentRequired
	Declared any    `json:"declared,omitempty"` // by the stack, or Keycloak's own value where the stack is silent
	Live     any    `json:"live,omitempty"`     // in the realm

	// Plain says which plain up loses the live value, such as "changes the realm".
	// Empty: none does.
	Plain string `json:"plain,omitempty"`
	// Refresh says that each up --refresh loses it, whatever has changed.
	Refresh bool `json:"refresh"`

	Note   string   `json:"note,omitempty"`   // what the difference means
	Remedy []string `json:"remedy,omitempty"` // commands that end it by hand
}

func (f *Finding) overwritten() bool { return f.Plain != "" || f.Refresh }

// Report is what Find found.
type Report struct {
	Realm       string        `json:"realm"`
	Overwritten []Finding     `json:"overwritten"` // by an up of the kind that each names
	Left        []Finding     `json:"left"`        // by every up
	Declarable  []Declaration `json:"declarable"`  // what the stack could say of either
}

// Drifted reports whether the realm differs from what the stack declares.
func (r *Report) Drifted() bool { return len(r.Overwritten)+len(r.Left) > 0 }

// Live is a realm as Keycloak has it.
type Live struct {
	Realm []byte                    // as keycloak.Admin.Read returns it
	Users map[string]map[string]any // as ReadUser returns them, nil where there is none; by username
	Own   string                    // client id of the account that read it, if it is one of this realm

	// MadeUp says that secrets of the program may be random ones, which are not
	// compared.
	MadeUp bool
}

// Find compares a live realm with the declared one, which the resources make.
func Find(declared *render.Realm, resources []*monitor.Resource, live Live) (*Report, error) {
	differences, err := render.Compare(declared, live.Realm)
	if err != nil {
		return nil, fmt.Errorf("drift: %w", err)
	}
	p := newProgram(declared.Name, resources)
	known, err := factsOf(live.Realm)
	if err != nil {
		return nil, err
	}
	report := &Report{Realm: declared.Name, Overwritten: []Finding{}, Left: []Finding{}, Declarable: []Declaration{}}
	var d declarer
	add := func(f Finding, keys []string) {
		f.Declared, f.Live = shown(keys, f.Declared), shown(keys, f.Live)
		if f.overwritten() {
			report.Overwritten = append(report.Overwritten, f)
		} else {
			report.Left = append(report.Left, f)
		}
	}
	for _, x := range fold(expand(differences)) {
		if aside(x, live.Own, p, known) {
			continue
		}
		d.declare(x.Keys, x.Want, x.Got)
		for _, part := range split(x) {
			f := p.judge(part)
			f.Path = strings.Join(part.Keys, ".")
			explain(&f, part, p, known)
			add(f, part.Keys)
		}
	}
	if !live.MadeUp {
		for _, id := range p.otherSecrets(known) {
			add(Finding{
				Path: "clients." + id + ".secret", Declared: "the configuration's", Live: "another one",
				Plain: "changes client " + id, Refresh: true,
			}, []string{"clients", id, "secret of the client"})
		}
	}
	for _, name := range p.usernames() {
		for _, part := range p.userDifferences(name, live.Users[name]) {
			d.declare(part.keys, part.Declared, part.Live)
			add(part.Finding, part.keys)
		}
	}
	byPath := func(x, y Finding) int { return cmp.Compare(x.Path, y.Path) }
	slices.SortStableFunc(report.Overwritten, byPath)
	slices.SortStableFunc(report.Left, byPath)
	report.Declarable = d.done()
	return report, nil
}

// aside are differences that say nothing: what reading can't see, the account that
// reads, what Keycloak repeats, and groups that a directory brings.
func aside(d render.Difference, own string, p *program, live facts) bool {
	switch d.Keys[0] {
	case "attributes": // Keycloak repeats settings of the realm there, after any update
		name := d.Keys[len(d.Keys)-1]
		return live.fields[name] != nil || name == "realmReusableOtpCode" || name == "webAuthnPolicyExtraOriginsPasswordless"
	case "authenticationFlows":
		return d.Keys[1] == "saml ecp" && d.Got == nil
	case "clients":
		return own != "" && d.Keys[1] == own
	case "users":
		return own != "" && d.Keys[1] == "service-account-"+strings.ToLower(own)
	case "groups":
		return len(d.Keys) == 2 && d.Want == nil && p.has("keycloak:ldap/groupMapper:GroupMapper")
	}
	return false
}

// expand makes one difference for each object of a list that only one side has.
func expand(differences []render.Difference) []render.Difference {
	var all []render.Difference
	for _, d := range differences {
		want, wok := d.Want.(map[string]any)
		got, gok := d.Got.(map[string]any)
		if !holdsObjects(d.Keys) || !wok && d.Want != nil || !gok && d.Got != nil {
			all = append(all, d)
			continue
		}
		var inside []render.Difference
		for _, k := range keysOf(want, got) {
			inside = append(inside, render.Difference{Keys: append(slices.Clone(d.Keys), k), Want: want[k], Got: got[k]})
		}
		all = append(all, expand(inside)...)
	}
	return all
}

// fold makes one difference of those inside an attribute that is JSON.
func fold(differences []render.Difference) []render.Difference {
	var all []render.Difference
	for _, d := range differences {
		n := map[string]int{"attributes": 2, "clients": 4}[d.Keys[0]]
		if n == 0 || len(d.Keys) <= n || d.Keys[0] == "clients" && d.Keys[2] != "attributes" {
			all = append(all, d)
			continue
		}
		inside := strings.Join(d.Keys[n:], ".")
		d.Keys = d.Keys[:n]
		if last := len(all) - 1; last < 0 || !slices.Equal(all[last].Keys, d.Keys) {
			all = append(all, render.Difference{Keys: d.Keys, Want: map[string]any{}, Got: map[string]any{}})
		}
		whole := all[len(all)-1]
		if d.Want != nil {
			whole.Want.(map[string]any)[inside] = d.Want
		}
		if d.Got != nil {
			whole.Got.(map[string]any)[inside] = d.Got
		}
	}
	return all
}

// holdsObjects reports whether that part of a realm is a list of objects, by name.
func holdsObjects(keys []string) bool {
	n, last := len(keys), keys[len(keys)-1]
	switch keys[0] {
	case "clients", "clientScopes", "users":
		return n == 1 || n == 3 && slices.Contains([]string{"protocolMappers", "attributes", "clientRoles"}, last)
	case "groups":
		return n == 1 || last == "subGroups"
	case "roles":
		return n <= 2 || n == 3 && keys[1] == "client"
	case "components":
		return n <= 2 || n > 3 && (last == "subComponents" || keys[n-2] == "subComponents")
	case "clientScopeMappings":
		return n <= 2
	case "identityProviders", "identityProviderMappers", "requiredActions", "authenticationFlows", "authenticatorConfig",
		"scopeMappings", "attributes":
		return n == 1
	}
	return false
}

// split turns a difference of two lists that are added to and taken from one by one
// into what is missing and what is too much.
func split(d render.Difference) []render.Difference {
	k := d.Keys
	additive := k[0] == "users" && len(k) >= 3 && (k[2] == "realmRoles" || k[2] == "clientRoles") ||
		k[0] == "scopeMappings" || k[0] == "clientScopeMappings"
	if !additive {
		return []render.Difference{d}
	}
	want, wok := stringsOf(d.Want)
	got, gok := stringsOf(d.Got)
	if !wok || !gok {
		return []render.Difference{d}
	}
	missing, extra := d, d
	missing.Want, missing.Got = without(want, got), nil
	extra.Want, extra.Got = nil, without(got, want)
	var parts []render.Difference
	if len(missing.Want.([]string)) > 0 {
		parts = append(parts, missing)
	}
	if len(extra.Got.([]string)) > 0 {
		parts = append(parts, extra)
	}
	return parts
}

// stringsOf are the elements of a list of texts; nil is an empty one.
func stringsOf(v any) ([]string, bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case []string:
		return v, true
	case []any:
		list := make([]string, len(v))
		for i, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			list[i] = s
		}
		return list, true
	}
	return nil, false
}

func without(list, taken []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(taken, s) })
}
