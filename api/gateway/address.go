package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// fromTrusted tells whether the connection of a request comes from a trusted proxy.
func fromTrusted(r *http.Request, trusted []netip.Prefix) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(peer.Addr().Unmap()) })
}

// callerAddress returns the address that a request comes from, for the audit
// record. Where the connection comes from a trusted proxy, it is the last address
// in X-Forwarded-For that is not one: what stands before that is what the caller
// says of itself. It is empty if there is no address, such as behind a Unix socket.
func callerAddress(r *http.Request, trusted []netip.Prefix) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	address := peer.Addr().Unmap()
	if len(trusted) == 0 {
		return address.String()
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(address) }) {
			break
		}
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break // whoever wrote this is no proxy of ours
		}
		address = next.Unmap().WithZone("")
	}
	return address.String()
}
