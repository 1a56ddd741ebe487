package bearer

// LimitProofs makes the memory for DPoP proofs small.
func (c *Config) LimitProofs(n int) { c.limits = usualLimits; c.limits.proofs = n }

// LimitRevocations makes the deny lists small.
func (c *Config) LimitRevocations(n int) { c.limits = usualLimits; c.limits.revocations = n }
