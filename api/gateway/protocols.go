package gateway

import (
	"fmt"

	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/protocol/oip"
)

// protocols are all that the API speaks.
func protocols() []*protocol.Protocol {
	return []*protocol.Protocol{oip.Protocol()}
}

// named returns the protocol that the policy calls by this name.
func named(all []*protocol.Protocol, name string) (*protocol.Protocol, error) {
	for _, p := range all {
		if p.Name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("there is no protocol %q", name)
}

// protocolOf returns the protocol that owns a path; nil for none.
func (g *Gateway) protocolOf(path string) *protocol.Protocol {
	for _, p := range g.protocols {
		if p.Owns(path) {
			return p
		}
	}
	return nil
}
