package guardrails

import (
	"fmt"
	"slices"
	"strings"
)

// claims finds attributes that users may edit and that decide on access. Which
// users may edit is said by one resource, the realm's user profile, and what
// becomes a claim by others, in no certain order.
type claims struct {
	profiles map[string]map[string]bool // attributes that users may edit, by realm
	mappings []mapping                  // onto claims that decide
}

// mapping is a mapper from a user attribute to a claim.
type mapping struct {
	typ, name               string
	realm, attribute, claim string
	reported                bool
}

func (m mapping) sentence() string {
	return fmt.Sprintf("users may edit %s, and it becomes the claim %s, which decides on access: choose another claim, or an attribute "+
		"whose edit permission in the user profile is for admin only", m.attribute, m.claim)
}

// editable are what users may edit unless a user profile takes it from them.
// They make bad grounds for a decision all the same, and an answer that waited
// for a profile would depend on the order of resources.
var editable = []string{"email", "firstName", "lastName"}

// deciding are the claims that the API or Keycloak itself decides by.
var deciding = []string{
	"realm_access", "resource_access", "roles", "groups", "scope", "aud", "azp", "client_id",
	"iss", "sub", "sid", "acr", "auth_time", "loa_map", "amr", "typ", "cnf", "preferred_username",
}

// decides tells whether a claim name, whose dots nest, is or is within one of
// them.
func decides(claim string) bool {
	first, _, _ := strings.Cut(claim, ".")
	return slices.Contains(deciding, first)
}

// add takes one resource in and returns the mappings that it shows to be wrong.
func (c *claims) add(typ, name string, in *reader) []mapping {
	switch typ {
	case "keycloak:index/realmUserProfile:RealmUserProfile":
		edits := map[string]bool{}
		for _, a := range in.objects("attributes") {
			if slices.Contains(a.strings("permissions", "edits"), "user") {
				edits[a.text("name")] = true
			}
		}
		if c.profiles == nil {
			c.profiles = map[string]map[string]bool{}
		}
		c.profiles[in.text("realmId")] = edits
	case "keycloak:openid/userAttributeProtocolMapper:UserAttributeProtocolMapper":
		c.onto(typ, name, in, in.text("userAttribute"), in.text("claimName"))
	case "keycloak:openid/userPropertyProtocolMapper:UserPropertyProtocolMapper":
		c.onto(typ, name, in, in.text("userProperty"), in.text("claimName"))
	case "keycloak:index/genericProtocolMapper:GenericProtocolMapper", "keycloak:index/genericClientProtocolMapper:GenericClientProtocolMapper":
		switch in.text("protocolMapper") {
		case "oidc-usermodel-attribute-mapper", "oidc-usermodel-property-mapper":
			c.onto(typ, name, in, in.text("config", "user.attribute"), in.text("config", "claim.name"))
		}
	default:
		return nil
	}
	var wrong []mapping
	for i := range c.mappings {
		if m := &c.mappings[i]; !m.reported && c.userEdits(m.realm, m.attribute) {
			m.reported = true
			wrong = append(wrong, *m)
		}
	}
	return wrong
}

func (c *claims) onto(typ, name string, in *reader, attribute, claim string) {
	if attribute != "" && decides(claim) {
		c.mappings = append(c.mappings, mapping{typ: typ, name: name, realm: in.text("realmId"), attribute: attribute, claim: claim})
	}
}

// userEdits tells whether users may edit an attribute. The id of a realm that is
// still to be made is not known in a preview: it may then be any realm's.
func (c *claims) userEdits(realm, attribute string) bool {
	if slices.Contains(editable, attribute) {
		return true
	}
	for profile, edits := range c.profiles {
		if (profile == realm || profile == "" || realm == "") && edits[attribute] {
			return true
		}
	}
	return false
}
