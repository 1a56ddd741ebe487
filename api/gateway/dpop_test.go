package gateway

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"keycloak-model-api/internal/oidctest"
)

// proven returns a function that makes requests of one user with one and the
// same DPoP proof.
func (f *fixture) proven(t *testing.T, path string, claims oidctest.Claims) func() *http.Request {
	t.Helper()
	key := oidctest.NewKey("", "ES256")
	jwk := key.JWK()
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	token := f.issuer.Token("RS256", claims, oidctest.Claims{"typ": "DPoP", "cnf": map[string]any{"jkt": base64.RawURLEncoding.EncodeToString(thumbprint)}})
	hash := sha256.Sum256([]byte(token))
	proof := oidctest.Sign(key, oidctest.Header{"typ": "dpop+jwt", "alg": "ES256", "jwk": jose.JSONWebKey{Key: key.Public()}}, oidctest.Claims{
		"jti": "once", "htm": "POST", "htu": "http://127.0.0.1:8000" + path, "iat": time.Now().Unix(), "ath": base64.RawURLEncoding.EncodeToString(hash[:]),
	})
	return func() *http.Request {
		r, err := http.NewRequest("POST", f.url+path, strings.NewReader(irisRow))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "DPoP "+token)
		r.Header.Set("DPoP", proof)
		r.Header.Set("Content-Type", "application/json")
		return r
	}
}

// TestOneProofCallsOnce: of 100 uses of one proof at a time one calls the model
// (RFC 9449, section 11.1).
func TestOneProofCallsOnce(t *testing.T) {
	f := newFixture(t)
	request := f.proven(t, inferIris, nil)
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for range 100 {
		r := request()
		all.Go(func() {
			response, _ := send(t, r)
			mu.Lock()
			defer mu.Unlock()
			statuses[response.StatusCode]++
		})
	}
	all.Wait()
	if statuses[200] != 1 || statuses[401] != 99 {
		t.Errorf("statuses %v, want one 200 and 99 times 401", statuses)
	}
}

// TestProofsWithoutRoleAreNotRecorded: what a caller without the base role
// sends takes no memory (CWE-770); once the role is there the proof counts,
// before anything is said about the model.
func TestProofsWithoutRoleAreNotRecorded(t *testing.T) {
	f := newFixture(t)
	request := f.proven(t, inferIris, oidctest.Claims{"realm_access": map[string]any{"roles": []string{"other"}}})
	for range 3 {
		response, body := send(t, request())
		checkRefusal(t, response, body, inferIris, http.StatusForbidden, "role_missing")
	}
	const unknown = "/v2/models/unknown/infer"
	request = f.proven(t, unknown, nil)
	response, body := send(t, request())
	checkRefusal(t, response, body, unknown, http.StatusNotFound, "model_unknown")
	response, body = send(t, request())
	checkRefusal(t, response, body, unknown, http.StatusUnauthorized, "dpop_proof_replayed")
}
