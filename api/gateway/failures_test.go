package gateway

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"keycloak-model-api/api/refusal"
	"keycloak-model-api/internal/oidctest"
)

// Bad credentials from one address become 429, and a good one from there goes on
// working, as does one that has expired: its client must learn to get another.
func TestBadCredentialsOfAnAddress(t *testing.T) {
	f := newFixture(t)
	f.gateway.now = func() time.Time { return time.Unix(1_800_000_000, 0) } // one minute
	now := time.Now().Unix()
	bad, good := f.issuer.Token("RS256")+"x", f.issuer.Token("RS256")
	expired := f.issuer.Token("RS256", oidctest.Claims{"iat": now - 600, "exp": now - 300})
	for i := range failuresAllowed + 20 {
		response, body := f.do(t, "GET", "/v2", bad, "", "")
		if i < failuresAllowed {
			checkRefusal(t, response, body, "/v2", http.StatusUnauthorized, "token_malformed")
			continue
		}
		checkRefusal(t, response, body, "/v2", http.StatusTooManyRequests, "credentials_too_often")
		if response.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		if response, _ := f.do(t, "GET", "/v2", good, "", ""); response.StatusCode != http.StatusOK {
			t.Errorf("a good credential beside them: %s", response.Status)
		}
		fresh := f.issuer.Token("RS256", oidctest.Claims{"jti": fmt.Sprint(i)})
		if response, _ := f.do(t, "GET", "/v2", fresh, "", ""); response.StatusCode != http.StatusOK {
			t.Errorf("a good credential that was never seen: %s", response.Status)
		}
	}
	response, body := f.do(t, "GET", "/v2", expired, "", "")
	checkRefusal(t, response, body, "/v2", http.StatusUnauthorized, "token_expired")
	response, body = f.do(t, "GET", "/v2", "", "", "")
	checkRefusal(t, response, body, "/v2", http.StatusUnauthorized, "no_credential")
	checkNoToken(t, f, bad)
}

// Addresses are counted apart, those of one IPv6 network together, and more of them
// than there is room for are not counted (CWE-770).
func TestFailuresByAddress(t *testing.T) {
	var f failures
	now := time.Unix(1_800_000_000, 0)
	times := func(n int, address string, code refusal.Code) (last bool) {
		for range n {
			last = f.tooMany(address, code, now)
		}
		return last
	}
	for _, row := range []struct {
		name, address string
		code          refusal.Code
		n             int
		want          bool
	}{
		{"as many as are allowed", "192.0.2.1", refusal.SignatureInvalid, failuresAllowed, false},
		{"one more", "192.0.2.1", refusal.KeyUnknown, 1, true},
		{"another address", "192.0.2.2", refusal.KeyUnknown, 1, false},
		{"what was good once", "192.0.2.1", refusal.TokenExpired, 1, false},
		{"a role that is missing", "192.0.2.1", refusal.RoleMissing, 1000, false},
		{"no address, as behind a Unix socket", "", refusal.KeyUnknown, 1000, false},
		{"an IPv6 address", "2001:db8::1", refusal.KeyUnknown, failuresAllowed, false},
		{"its neighbour", "2001:db8::2", refusal.KeyUnknown, 1, true},
		{"another network", "2001:db8:0:1::1", refusal.KeyUnknown, 1, false},
	} {
		if got := times(row.n, row.address, row.code); got != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
	now = now.Add(time.Minute)
	if times(1, "192.0.2.1", refusal.KeyUnknown) {
		t.Error("the next minute does not begin anew")
	}
	for i := range 2 * failuresAddresses {
		times(1, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), refusal.KeyUnknown)
	}
	if len(f.counts) > failuresAddresses {
		t.Errorf("%d addresses are kept", len(f.counts))
	}
	if times(failuresAllowed, "192.0.2.1", refusal.KeyUnknown) != true {
		t.Error("an address that was counted before the others came is not any more")
	}
}
