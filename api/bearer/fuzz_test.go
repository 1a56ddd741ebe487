package bearer

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"keycloak-model-api/api/issuer"
)

// The fuzz targets are the parsers of what strangers send. Each states what
// must hold for whatever is accepted; the seeds run with every test.

func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{"", "Bearer", "Bearer ", "Bearer a.b.c", "bearer   a", "DPoP a", "Basic dTpw", "Bearer a b", "Bearer a,Bearer b", "\x00", "Bearer \xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		scheme, token, refusal := parseAuthorization(value)
		switch {
		case refusal != nil:
			if refusal.Status != 400 && refusal.Status != 401 || scheme != "" || token != "" {
				t.Errorf("refused as %v with %q %q", refusal, scheme, token)
			}
		case scheme != Bearer && scheme != DPoP:
			t.Errorf("scheme %q", scheme)
		case token == "" || token[0] == ' ' || !strings.HasSuffix(value, token):
			t.Errorf("token %q of %q", token, value)
		}
	})
}

func FuzzToken(f *testing.F) {
	for _, seed := range []string{"", ".", "..", "...", "....", "e30.e30.", "e30.e30.AA", "eyJhbGciOiJub25lIn0.e30.", "e30.e30.AB", "e30=.e30.AA", "e3\n0.e30.AA", "bnVsbA.e30.AA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, refusal := parseCompact(token)
		if refusal != nil {
			return
		}
		// What is accepted has one spelling only: encoded again it is the same.
		parts := strings.Split(token, ".")
		if len(parts) != 3 || c.signed != parts[0]+"."+parts[1] ||
			base64.RawURLEncoding.EncodeToString(c.payload) != parts[1] ||
			base64.RawURLEncoding.EncodeToString(c.signature) != parts[2] {
			t.Errorf("token %q was taken apart wrongly", token)
		}
	})
}

func FuzzHeader(f *testing.F) {
	for _, seed := range []string{`{}`, `null`, `[]`, `{"alg":"RS256","kid":"a","typ":"JWT"}`, `{"alg":1}`, `{"alg":"a","alg":"b"}`, `{"\u0061lg":"a"}`, `{"crit":null}`, `{"jwk":{"kty":"oct"}}`, "{\"kid\":\"\xff\"}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var h header
		if err := json.Unmarshal(raw, &h); err != nil {
			return
		}
		// A plain strict decoder sees the same.
		var members map[string]any
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatalf("%s is accepted though %v", raw, err)
		}
		if alg, ok := members["alg"].(string); ok != (h.algorithm != "") && alg != "" || alg != h.algorithm {
			t.Errorf("alg %q of %s", h.algorithm, raw)
		}
		if _, critical := members["crit"]; critical != h.critical {
			t.Errorf("crit %t of %s", h.critical, raw)
		}
	})
}

func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, `{"iss":"a"}`, `{"iss":1}`, `{"exp":1e3,"iat":0.5}`, `{"exp":-0}`, `{"exp":1e999}`, `{"aud":["a",1]}`, `{"aud":null}`, `{"sub":"a","sub":"b"}`,
		`{"\u0073ub":"\ud83d\ude00"}`, `{"sub":"\ud800"}`, `{"realm_access":{"roles":["a"]}}`, `{"realm_access":{"roles":null}}`, `{"realm_access":[]}`, `{"resource_access":{"a.b":{"roles":["c"]}}}`,
		`{"resource_access":{"a":1}}`, `{"cnf":{"jkt":"a"}}`, `{"cnf":{"jkt":"a","x":1}}`, `{"scope":" a  b "}`, `{"groups":"/a"}`,
	} {
		f.Add([]byte(seed))
	}
	config := Config{Audience: "a"}.withDefaults()
	paths, err := newPaths(config.Claims)
	if err != nil {
		f.Fatal(err)
	}
	v := &Verifier{config: config, paths: paths}
	known := &trusted{Issuer: issuer.New(Issuer{URL: "a"}, nil, time.Second)}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := &tokenCheck{v: v, scheme: Bearer, now: time.Now().Unix()}
		c.claims.payload, c.claims.tops = raw, v.paths.tops
		if json.Unmarshal(raw, &c.claims) != nil {
			return
		}
		var members map[string]jsontext.Value
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatalf("%s is accepted though %v", raw, err)
		}
		c.found.issuer = known
		if at, ok, err := seconds(c.claims.expiry); err == nil && ok && (at < 0 || at > maxTime) {
			t.Errorf("exp %d", at)
		}
		if _, err := confirmation(c.claims.confirmation); err != nil {
			return
		}
		if c.fill() != nil {
			return
		}
		if sub, err := text(members["sub"]); err != nil || sub != c.found.principal.Subject {
			t.Errorf("sub %q, want %q, %v", c.found.principal.Subject, sub, err)
		}
	})
}

func FuzzKeySet(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"keys":null}`, `{"keys":[{}]}`, `{"keys":[{"kty":"oct","kid":"a","k":"AA"}]}`,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","use":"sig","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AA"}]}`, `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"AA","y":"AA"}]}`,
		`{"keys":[{"kty":"RSA","kid":"a","n":"AA","e":"AQAB"}]}`, `{"keys":[{"kty":"RSA","kid":"a","n":"","e":""}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, _, err := parseKeySet(body)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys with error %v", len(keys), err)
		}
		for _, key := range keys {
			if key.id == "" {
				t.Error("a key without an id")
			}
			for _, a := range algorithms {
				if key.fits(a) {
					a.verify(key.public, a.hash, "message", make([]byte, 64)) // must not panic
				}
			}
		}
	})
}
