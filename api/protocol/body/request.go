package body

import "keycloak-model-api/api/protocol"

// Request reads a body of which no more is asked than of all.
func Request(raw []byte) (*protocol.Request, error) {
	return RequestThat(raw, func(*Body) error { return nil })
}

// RequestThat reads a body for which holds also what more asks: its error is a
// *refusal.Error.
func RequestThat(raw []byte, more func(*Body) error) (*protocol.Request, error) {
	b, err := Read(raw)
	if err != nil {
		return nil, err
	}
	return &protocol.Request{Model: b.Model, For: func(rules protocol.Rules) ([]byte, error) {
		if err := b.Check(rules.Body); err != nil {
			return nil, err
		}
		if err := more(b); err != nil {
			return nil, err
		}
		b.Apply(rules)
		return b.Bytes(), nil
	}}, nil
}
