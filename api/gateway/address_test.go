package gateway

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestCallerAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	tests := []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"a caller", "203.0.113.7:4711", nil, "203.0.113.7"},
		{"a caller that claims to be a proxy (CWE-348)", "203.0.113.7:4711", []string{"198.51.100.1"}, "203.0.113.7"},
		{"behind a proxy", "10.0.0.1:80", []string{"203.0.113.7"}, "203.0.113.7"},
		{"behind two proxies", "10.0.0.1:80", []string{"203.0.113.7, 10.0.0.2"}, "203.0.113.7"},
		{"in two headers", "10.0.0.1:80", []string{"203.0.113.7", "10.0.0.2"}, "203.0.113.7"},
		{"a caller that sends the header through a proxy", "10.0.0.1:80", []string{"10.9.9.9, 198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"a proxy that calls by itself", "10.0.0.1:80", nil, "10.0.0.1"},
		{"something else than an address", "10.0.0.1:80", []string{"203.0.113.7, unknown"}, "10.0.0.1"},
		{"IPv6", "[fd00::1]:80", []string{"2001:db8::7"}, "2001:db8::7"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:80", []string{"::ffff:203.0.113.7"}, "203.0.113.7"},
		{"a zone, which is not of this host", "10.0.0.1:80", []string{"fe80::1%eth0"}, "fe80::1"},
		{"no address", "@", []string{"203.0.113.7"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: test.peer, Header: http.Header{"X-Forwarded-For": test.forwarded}}
			if got := callerAddress(r, trusted); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
