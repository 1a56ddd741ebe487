package bearer_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
)

// newVerifier makes a verifier of an issuer without a network and waits for
// its keys.
func newVerifier(t testing.TB, issuer *oidctest.Issuer, change func(*bearer.Config)) *bearer.Verifier {
	t.Helper()
	config := bearer.Config{
		Issuers:    []bearer.Issuer{{URL: issuer.URL}},
		Audience:   issuer.Audience,
		HTTPClient: issuer.Client(),
		Logger:     slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&config)
	}
	v, err := bearer.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func request(token string) *http.Request {
	r := httptest.NewRequest("GET", "http://api.example/v2/models/iris", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func newIssuer() *oidctest.Issuer {
	return oidctest.New("https://id.example/realms/example-realm")
}

// BenchmarkSHA256 is the part of a warm check that can't be saved.
func BenchmarkSHA256(b *testing.B) {
	token := []byte(newIssuer().Token("RS256"))
	b.ReportAllocs()
	for b.Loop() {
		sha256.Sum256(token)
	}
}

func BenchmarkWarm(b *testing.B) {
	for _, tokens := range []int{1, 5_000, 100_000} {
		b.Run(strconv.Itoa(tokens), func(b *testing.B) {
			issuer := newIssuer()
			issuer.Key("EdDSA")
			v := newVerifier(b, issuer, nil)
			requests := make([]*http.Request, tokens)
			for i := range requests {
				// EdDSA is the fastest to sign; a warm check doesn't verify.
				requests[i] = request(issuer.Token("EdDSA", oidctest.Claims{"sub": strconv.Itoa(i), "exp": issuer.Now().Unix() + 3600}))
				if _, err := v.Check(requests[i]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := v.Check(requests[i]); err != nil {
					b.Fatal(err)
				}
				if i++; i == tokens {
					i = 0
				}
			}
		})
	}
}

// BenchmarkColdAgainstBare holds a cold check against the bare verification of
// the same token: SHA-256 and RSA by the same Go crypto, and nothing else.
func BenchmarkColdAgainstBare(b *testing.B) {
	issuer := newIssuer()
	token := issuer.Token("RS256")
	key := issuer.Key("RS256").Public().(*rsa.PublicKey)
	dot := strings.LastIndexByte(token, '.')
	signed := []byte(token[:dot])
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		b.Fatal(err)
	}
	r := request(token)
	v := newVerifier(b, issuer, func(c *bearer.Config) { c.CacheEntries = -1 })
	against(b, 5, func() error {
		digest := sha256.Sum256(signed)
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature)
	}, func() error { _, err := v.Check(r); return err })
}

// BenchmarkWarmAgainstSHA256 holds a warm check against hashing the token.
func BenchmarkWarmAgainstSHA256(b *testing.B) {
	issuer := newIssuer()
	token := issuer.Token("RS256")
	v, r, hashed := newVerifier(b, issuer, nil), request(token), []byte(token)
	against(b, 100, func() error { sha256.Sum256(hashed); return nil }, func() error { _, err := v.Check(r); return err })
}

// against runs base and ours by turns, n calls each, and reports the fastest
// round of both, so that other load on the machine hits both alike.
func against(b *testing.B, n int, base, ours func() error) {
	var fastest [2]time.Duration
	for b.Loop() {
		for i, f := range [...]func() error{base, ours} {
			start := time.Now()
			for range n {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
			if d := time.Since(start); fastest[i] == 0 || d < fastest[i] {
				fastest[i] = d
			}
		}
	}
	b.ReportMetric(float64(fastest[0])/float64(n), "base-ns")
	b.ReportMetric(float64(fastest[1])/float64(n), "ours-ns")
	b.ReportMetric(float64(fastest[1])/float64(fastest[0]), "ours/base")
}

func BenchmarkCold(b *testing.B) {
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		b.Run(algorithm, func(b *testing.B) {
			issuer := newIssuer()
			r := request(issuer.Token(algorithm))
			v := newVerifier(b, issuer, func(c *bearer.Config) { c.CacheEntries = -1 })
			if _, err := v.Check(r); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Check(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestCacheMemory holds cached tokens of as many users to 64 MiB for 100,000.
func TestCacheMemory(t *testing.T) {
	const tokens, bound = 5_000, 64 << 20 / 100_000
	issuer := newIssuer()
	issuer.Key("EdDSA")
	v := newVerifier(t, issuer, func(c *bearer.Config) { c.CacheEntries = tokens })
	before := heap()
	for i := range tokens {
		n := strconv.Itoa(i)
		id := "6b0c2a7e-3f0d-4d5b-9c1a-" + strings.Repeat("0", 12-len(n)) + n
		token := issuer.Token("EdDSA", oidctest.Claims{"jti": "onrtac:" + id, "sub": id, "sid": id[12:], "preferred_username": "user-" + n})
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	used := (heap() - before) / tokens
	t.Logf("%d bytes for each token", used)
	if used > bound {
		t.Errorf("a cached token takes %d bytes, want at most %d", used, bound)
	}
	runtime.KeepAlive(v)
}

// TestCacheMemoryOfLargeTokens: the bound holds for users with hundreds of
// roles of their own too, one of whom could refresh a token as fast as Keycloak
// gives them (CWE-770).
func TestCacheMemoryOfLargeTokens(t *testing.T) {
	const entries, bound = 1_000, 8 << 20
	issuer := newIssuer()
	issuer.Key("EdDSA")
	v := newVerifier(t, issuer, func(c *bearer.Config) { c.CacheEntries = entries })
	before := heap()
	for i := range entries {
		var roles []string
		for n := range 300 {
			roles = append(roles, fmt.Sprintf("role-%06d-of-user-%06d", n, i))
		}
		if _, err := v.Verify(t.Context(), issuer.Token("EdDSA", oidctest.Claims{"realm_access": map[string]any{"roles": roles}})); err != nil {
			t.Fatal(err)
		}
	}
	if used := heap() - before; used > bound {
		t.Errorf("%d large tokens take %d bytes, want at most %d", entries, used, bound)
	}
	runtime.KeepAlive(v)
}

// heap may shrink between two calls: verifiers of tests before end when they
// please.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
