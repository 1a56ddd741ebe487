package bill

import (
	"fmt"
	"math/big"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Prices are what models cost.
type Prices struct {
	Currency string           `json:"currency"` // such as EUR
	Models   map[string]Price `json:"models"`   // by the name in the policy
}

// Price is that of one model.
type Price struct {
	Input   Amount  `json:"input,omitzero"`   // for a million tokens
	Output  Amount  `json:"output,omitzero"`  // for a million tokens
	Cached  *Amount `json:"cached,omitempty"` // for a million tokens of the input that were cached; nil for Input
	Request Amount  `json:"request,omitzero"` // for each request
}

func (p *Price) cached() *Amount {
	if p.Cached != nil {
		return p.Cached
	}
	return &p.Input
}

// Amount is an exact amount of money: a tenth has no exact binary fraction.
type Amount struct{ big.Rat }

// UnmarshalJSON reads a number that is not below 0.
func (a *Amount) UnmarshalJSON(text []byte) error {
	if jsontext.Value(text).Kind() != '0' || len(text) > 32 {
		return fmt.Errorf("%.32s is not an amount such as 0.25", text)
	}
	if _, ok := a.SetString(string(text)); !ok || a.Sign() < 0 {
		return fmt.Errorf("%s is not an amount such as 0.25", text)
	}
	return nil
}

// million is the price of n tokens.
func (a *Amount) million(n int64) *big.Rat {
	return new(big.Rat).Mul(&a.Rat, big.NewRat(n, 1_000_000))
}

// ParsePrices reads prices. Members that it doesn't know are an error: a price that
// counts for nothing is one that somebody has mistyped.
func ParsePrices(text []byte) (*Prices, error) {
	var p Prices
	if err := json.Unmarshal(text, &p, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("bill: not a list of prices: %w", err)
	}
	if len(p.Models) == 0 {
		return nil, fmt.Errorf("bill: there are no prices: give models, by name, with input, output, cached or request")
	}
	return &p, nil
}
