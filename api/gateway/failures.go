package gateway

import (
	"net/netip"
	"sync"
	"time"

	"keycloak-model-api/api/refusal"
)

// Bounds of how many bad credentials an address may send in a minute before it is
// told to slow down, and of how many addresses are counted. Others are not.
const (
	failuresAllowed   = 300
	failuresAddresses = 10_000
)

// failures counts the bad credentials of addresses. It is asked after a credential
// was refused, so a good one is never held up, whoever sends bad ones beside it. It
// is safe for concurrent use.
type failures struct {
	mu     sync.Mutex
	minute int64 // Unix time that the counts are of
	counts map[netip.Addr]int
}

// tooMany counts a refusal, and says whether the address had too many in this minute.
func (f *failures) tooMany(address string, code refusal.Code, now time.Time) bool {
	a, err := netip.ParseAddr(address)
	if err != nil || !forged(code) {
		return false
	}
	if a.Is6() { // who has one address of a network has them all (RFC 6177)
		network, _ := a.Prefix(64) // of an address of 128 bits
		a = network.Masked().Addr()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if minute := now.Unix() / 60; minute != f.minute {
		f.minute, f.counts = minute, map[netip.Addr]int{}
	}
	if _, counted := f.counts[a]; !counted && len(f.counts) >= failuresAddresses {
		return false
	}
	f.counts[a]++
	return f.counts[a] > failuresAllowed
}

// forged says that a credential with this refusal was never good here. One that has
// expired or was revoked was, and whoever sends it must learn to get another.
func forged(code refusal.Code) bool {
	switch code {
	case refusal.MalformedCredential, refusal.TokenTooLarge, refusal.TokenMalformed, refusal.HeaderMalformed, refusal.CriticalHeader,
		refusal.AlgorithmRefused, refusal.ClaimsMalformed, refusal.IssuerUnknown, refusal.KeyIDMissing, refusal.KeyUnknown,
		refusal.KeyMismatch, refusal.SignatureInvalid, refusal.ProofInvalid, refusal.ServiceKeyMalformed, refusal.ServiceKeyRefused:
		return true
	}
	return false
}
