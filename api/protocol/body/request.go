package body

import "keycloak-model-api/api/protocol"

// Request reads a body of which no more is asked than of all.
func Request(raw []byte) (*protocol.Request, error) {
	return RequestThat(raw, func(*protocol.Request, *Body, protocol.Rules) error { return nil })
}

// RequestThat reads a body for which holds also what more asks: its error is a
// *refusal.Error.
func RequestThat(raw []byte, more func(*protocol.Request, *Body, protocol.Rules) error) (*protocol.Request, error) {
	b, err := Read(raw)
	if err != nil {
		return nil, err
	}
	request := &protocol.Request{Model: b.Model}
	request.For = func(rules protocol.Rules) ([]byte, error) {
		if err := b.Check(rules.Body); err != nil {
			return nil, err
		}
		if err := more(request, b, rules); err != nil {
			return nil, err
		}
		b.Apply(rules)
		return b.Bytes(), nil
	}
	return request, nil
}
