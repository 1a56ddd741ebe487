package bearer_test

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
)

// holder is a client with a DPoP key.
type holder struct {
	key    *oidctest.Key
	serial int
}

func (h *holder) thumbprint() string {
	jwk := h.key.JWK()
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// token is bound to the holder's key, as Keycloak binds one.
func (h *holder) token(issuer *oidctest.Issuer) string {
	return issuer.Token("RS256", oidctest.Claims{"typ": "DPoP", "cnf": map[string]any{"jkt": h.thumbprint(), "kc-jkt-type": "DPoP"}})
}

// proof is a fresh proof for a request, with changed header and claims.
func (h *holder) proof(r *http.Request, token string, header oidctest.Header, claims oidctest.Claims) string {
	h.serial++
	hash := sha256.Sum256([]byte(token))
	head := oidctest.Header{"typ": "dpop+jwt", "alg": h.key.Algorithm, "jwk": jose.JSONWebKey{Key: h.key.Public()}}
	body := oidctest.Claims{
		"jti": fmt.Sprint("proof-", h.serial), "htm": r.Method, "htu": "https://api.example" + r.URL.EscapedPath(),
		"iat": time.Now().Unix(), "ath": base64.RawURLEncoding.EncodeToString(hash[:]),
	}
	for name, value := range header {
		if head[name] = value; value == nil {
			delete(head, name)
		}
	}
	for name, value := range claims {
		if body[name] = value; value == nil {
			delete(body, name)
		}
	}
	return oidctest.Sign(h.key, head, body)
}

func TestDPoP(t *testing.T) {
	issuer := newIssuer()
	v := newVerifier(t, issuer, func(c *bearer.Config) { c.PublicURL = "https://api.example" })
	h := &holder{key: oidctest.NewKey("", "ES256")}
	other := &holder{key: oidctest.NewKey("", "ES256")}
	token, unbound := h.token(issuer), issuer.Token("RS256")
	now := time.Now().Unix()

	type change = func(r *http.Request)
	proof := func(header oidctest.Header, claims oidctest.Claims) change {
		return func(r *http.Request) { r.Header.Set("DPoP", h.proof(r, token, header, claims)) }
	}
	privateJWK := jose.JSONWebKey{Key: h.key.Private}
	for _, c := range []struct {
		name, source string
		change       change
		want         bearer.Code
	}{
		{"fresh proof", "RFC 9449, section 7.1", proof(nil, nil), ""},
		{"htu with default port and upper-case host", "RFC 9449, section 4.3, item 9", proof(nil, oidctest.Claims{"htu": "HTTPS://API.example:443/v2/models/iris"}), ""},
		{"htu with query and fragment", "RFC 9449, section 4.3, item 9", proof(nil, oidctest.Claims{"htu": "https://api.example/v2/models/iris?a=b#c"}), ""},
		{"iat a little ahead", "RFC 9449, section 11.1", proof(nil, oidctest.Claims{"iat": now + 10}), ""},

		{"no proof", "RFC 9449, section 7.1", func(*http.Request) {}, bearer.ProofMissing},
		{"two proofs", "RFC 9449, section 4.3, item 1", func(r *http.Request) {
			r.Header.Add("DPoP", h.proof(r, token, nil, nil))
			r.Header.Add("DPoP", h.proof(r, token, nil, nil))
		}, bearer.ProofMissing},
		{"not a JWT", "RFC 9449, section 4.3, item 2", func(r *http.Request) { r.Header.Set("DPoP", "x") }, bearer.ProofInvalid},
		{"20 KiB", "RFC 8725, section 3.11", func(r *http.Request) { r.Header.Set("DPoP", strings.Repeat("A", 20<<10)) }, bearer.ProofInvalid},
		{"typ JWT", "RFC 9449, section 4.3, item 4", proof(oidctest.Header{"typ": "JWT"}, nil), bearer.ProofInvalid},
		{"none", "RFC 9449, section 4.3, item 5", proof(oidctest.Header{"alg": "none"}, nil), bearer.ProofInvalid},
		{"HS256", "RFC 9449, section 4.3, item 5", func(r *http.Request) {
			forger := &holder{key: &oidctest.Key{Algorithm: "HS256", Private: []byte("k")}}
			forged := oidctest.Sign(forger.key, oidctest.Header{"typ": "dpop+jwt", "alg": "HS256", "jwk": map[string]string{"kty": "oct", "k": "aw"}}, oidctest.Claims{})
			r.Header.Set("DPoP", forged)
		}, bearer.ProofInvalid},
		{"crit", "RFC 7515, section 4.1.11", proof(oidctest.Header{"crit": []string{"x"}, "x": 1}, nil), bearer.ProofInvalid},
		{"no jwk", "RFC 9449, section 4.3, item 3", proof(oidctest.Header{"jwk": nil}, nil), bearer.ProofInvalid},
		{"private jwk", "RFC 9449, section 4.3, item 7", proof(oidctest.Header{"jwk": privateJWK}, nil), bearer.ProofInvalid},
		{"jwk of another algorithm", "RFC 9449, section 4.3, item 6", proof(oidctest.Header{"alg": "ES384"}, nil), bearer.ProofInvalid},
		{"another key", "RFC 9449, section 7.1", func(r *http.Request) { r.Header.Set("DPoP", other.proof(r, token, nil, nil)) }, bearer.ProofInvalid},
		{"our jwk, another signature", "RFC 9449, section 4.3, item 6", func(r *http.Request) {
			r.Header.Set("DPoP", other.proof(r, token, oidctest.Header{"jwk": jose.JSONWebKey{Key: h.key.Public()}}, nil))
		}, bearer.ProofInvalid},
		{"no jti", "RFC 9449, section 4.2", proof(nil, oidctest.Claims{"jti": nil}), bearer.ProofInvalid},
		{"long jti", "RFC 9449, section 11.1", proof(nil, oidctest.Claims{"jti": strings.Repeat("x", 300)}), bearer.ProofInvalid},
		{"another method", "RFC 9449, section 4.3, item 8", proof(nil, oidctest.Claims{"htm": "POST"}), bearer.ProofInvalid},
		{"another host", "RFC 9449, section 4.3, item 9", proof(nil, oidctest.Claims{"htu": "https://other.example/v2/models/iris"}), bearer.ProofInvalid},
		{"another path", "RFC 9449, section 4.3, item 9", proof(nil, oidctest.Claims{"htu": "https://api.example/v2/models/digits"}), bearer.ProofInvalid},
		{"plain HTTP", "RFC 9449, section 4.3, item 9", proof(nil, oidctest.Claims{"htu": "http://api.example/v2/models/iris"}), bearer.ProofInvalid},
		{"address of the request, not the public one", "RFC 9449, section 4.3, item 9", proof(nil, oidctest.Claims{"htu": "http://127.0.0.1:8080/v2/models/iris"}), bearer.ProofInvalid},
		{"old", "RFC 9449, section 11.1", proof(nil, oidctest.Claims{"iat": now - 120}), bearer.ProofInvalid},
		{"of the future", "RFC 9449, section 11.1", proof(nil, oidctest.Claims{"iat": now + 120}), bearer.ProofInvalid},
		{"no iat", "RFC 9449, section 4.2", proof(nil, oidctest.Claims{"iat": nil}), bearer.ProofInvalid},
		{"no ath", "RFC 9449, section 4.3, item 12", proof(nil, oidctest.Claims{"ath": nil}), bearer.ProofInvalid},
		{"ath of another token", "RFC 9449, section 4.3, item 12", func(r *http.Request) { r.Header.Set("DPoP", h.proof(r, unbound, nil, nil)) }, bearer.ProofInvalid},
		{"duplicate claim", "RFC 7519, section 4", func(r *http.Request) {
			r.Header.Set("DPoP", oidctest.Sign(h.key, oidctest.Header{"typ": "dpop+jwt", "alg": "ES256", "jwk": jose.JSONWebKey{Key: h.key.Public()}}, json.RawMessage(`{"htm":"GET","htm":"POST"}`)))
		}, bearer.ProofInvalid},
		{"unbound token with scheme DPoP", "RFC 9449, section 7.1", func(r *http.Request) {
			r.Header.Set("Authorization", "DPoP "+unbound)
			r.Header.Set("DPoP", h.proof(r, unbound, nil, nil))
		}, bearer.SenderConstraint},
		{"bound to a certificate too", "RFC 8705, section 3.1", func(r *http.Request) {
			both := issuer.Token("RS256", oidctest.Claims{"typ": "DPoP", "cnf": map[string]any{"jkt": h.thumbprint(), "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}})
			r.Header.Set("Authorization", "DPoP "+both)
			r.Header.Set("DPoP", h.proof(r, both, nil, nil))
		}, bearer.SenderConstraint},
		{"bound token with scheme Bearer, proof and all", "RFC 9449, section 7.2", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("DPoP", h.proof(r, token, nil, nil))
		}, bearer.SenderConstraint},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://127.0.0.1:8080/v2/models/iris?x=y", nil)
			r.Header.Set("Authorization", "DPoP "+token)
			c.change(r)
			p, err := v.Check(r)
			if c.want != "" {
				if wantCode(t, p, err, c.want); t.Failed() {
					t.Log(c.source)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v (%s)", err, c.source)
			}
			// The token is cached now; the proof is used up all the same
			// (RFC 9449, section 11.1).
			p, err = v.Check(r)
			wantCode(t, p, err, bearer.ProofReplayed)
		})
	}

	t.Run("Verify takes no bound token", func(t *testing.T) {
		p, err := v.Verify(t.Context(), token)
		wantCode(t, p, err, bearer.SenderConstraint)
	})
	t.Run("challenge", func(t *testing.T) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "DPoP "+token)
		_, err := v.Check(r)
		refused, _ := errors.AsType[*bearer.Error](err)
		w := httptest.NewRecorder()
		v.WriteChallenge(w, refused)
		got := w.Header().Values("WWW-Authenticate")
		if len(got) != 2 || strings.Contains(got[0], "error") || !strings.Contains(got[1], `error="invalid_dpop_proof"`) || !strings.Contains(got[1], `algs="RS256`) {
			t.Errorf("challenges %q", got)
		}
	})
}

// request is a request with a token of h and a fresh proof.
func (h *holder) request(token string) *http.Request {
	r := httptest.NewRequest("GET", "/v2/models/iris", nil)
	r.Header.Set("Authorization", "DPoP "+token)
	r.Header.Set("DPoP", h.proof(r, token, nil, nil))
	return r
}

// boundToken is a token of one user that is bound to h's key.
func (h *holder) boundToken(issuer *oidctest.Issuer, subject string) string {
	return issuer.Token("RS256", oidctest.Claims{"sub": subject, "typ": "DPoP", "cnf": map[string]any{"jkt": h.thumbprint()}})
}

func withPublicURL(c *bearer.Config) { c.PublicURL = "https://api.example" }

// TestOneProofPassesOnce: check and record are one step (RFC 9449, section
// 11.1).
func TestOneProofPassesOnce(t *testing.T) {
	issuer := newIssuer()
	v := newVerifier(t, issuer, withPublicURL)
	h := &holder{key: oidctest.NewKey("", "ES256")}
	r := h.request(h.boundToken(issuer, "alice"))
	var passed, replayed atomic.Int64
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			switch _, err := v.Check(r); code(err) {
			case "":
				passed.Add(1)
			case bearer.ProofReplayed:
				replayed.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if passed.Load() != 1 || replayed.Load() != 99 {
		t.Errorf("%d passed, %d were refused as replayed", passed.Load(), replayed.Load())
	}
}

// TestProofsAreShared: one principal can't fill the memory for the others
// (CWE-770); its own proofs get 429, and none that could pass again is
// forgotten for a new one.
func TestProofsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer()
		v := newVerifier(t, issuer, func(c *bearer.Config) { c.PublicURL = "https://api.example"; c.LimitProofs(100) })
		synctest.Wait()
		h := &holder{key: oidctest.NewKey("", "ES256")}
		flooder := h.boundToken(issuer, "flooder")
		first := h.request(flooder)
		if _, err := v.Check(first); err != nil {
			t.Fatal(err)
		}
		passed := 1
		for range 500 {
			switch _, err := v.Check(h.request(flooder)); code(err) {
			case "":
				passed++
			case bearer.ProofsTooMany:
				refused, _ := errors.AsType[*bearer.Error](err)
				w := httptest.NewRecorder()
				v.WriteChallenge(w, refused)
				if refused.Status != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
					t.Fatalf("status %d, %v", refused.Status, w.Header())
				}
			default:
				t.Fatal(err)
			}
		}
		if passed != 50 {
			t.Errorf("%d proofs of the flooder passed, want 50 of 100", passed)
		}
		if _, err := v.Check(first); code(err) != bearer.ProofReplayed {
			t.Errorf("the flooder's first proof again: %v", err)
		}
		for i := range 10 {
			if _, err := v.Check(h.request(h.boundToken(issuer, fmt.Sprint("user-", i)))); err != nil {
				t.Errorf("another principal: %v", err)
			}
		}
		// Who was not let in takes no memory.
		for range 500 {
			if _, proof, err := v.Authenticate(h.request(h.boundToken(issuer, "nobody"))); err != nil || proof == nil {
				t.Fatalf("%v, %v", proof, err)
			}
		}
		if _, err := v.Check(h.request(h.boundToken(issuer, "late"))); err != nil {
			t.Errorf("after proofs that were never used: %v", err)
		}
		time.Sleep(92 * time.Second) // a proof of 30 s, with the skew before and after
		if _, err := v.Check(h.request(h.boundToken(issuer, "flooder"))); err != nil {
			t.Errorf("after all could not pass any more: %v", err)
		}
	})
}

// TestStepsForgetNoProof: a proof can't be used again after the clock went
// ahead and back, or the machine was suspended.
func TestStepsForgetNoProof(t *testing.T) {
	for _, step := range []time.Duration{25 * time.Hour, -25 * time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := newIssuer()
				var offset atomic.Int64
				v := newVerifier(t, issuer, func(c *bearer.Config) {
					c.PublicURL = "https://api.example"
					c.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
				})
				synctest.Wait()
				h := &holder{key: oidctest.NewKey("", "ES256")}
				used := h.request(h.boundToken(issuer, "alice"))
				if _, err := v.Check(used); err != nil {
					t.Fatal(err)
				}
				offset.Store(int64(step))
				at := time.Now().Add(step).Unix()
				moved := issuer.Token("RS256", oidctest.Claims{"sub": "alice", "iat": at, "exp": at + 300, "typ": "DPoP", "cnf": map[string]any{"jkt": h.thumbprint()}})
				other := httptest.NewRequest("GET", "/v2/models/iris", nil)
				other.Header.Set("Authorization", "DPoP "+moved)
				other.Header.Set("DPoP", h.proof(other, moved, nil, oidctest.Claims{"iat": at}))
				if _, err := v.Check(other); err != nil {
					t.Fatal(err)
				}
				if _, err := v.Check(other); code(err) != bearer.ProofReplayed {
					t.Errorf("again, the clock off by %v: %v", step, err)
				}
				offset.Store(0)
				if _, err := v.Check(used); code(err) != bearer.ProofReplayed {
					t.Errorf("again, after the clock came back: %v", err)
				}
			})
		})
	}
}
