package bearer_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/internal/oidctest"
)

// bench is what attacks are made of: an issuer that is trusted, others that
// aren't, and the time.
type bench struct {
	issuer  *oidctest.Issuer
	sibling *oidctest.Issuer // another realm of the same host
	clone   *oidctest.Issuer // the same realm name on another host
	now     int64
}

func newBench() *bench {
	b := &bench{
		issuer:  newIssuer(),
		sibling: oidctest.New("https://id.example/realms/other-realm"),
		clone:   oidctest.New("https://id.attacker.example/realms/example-realm"),
		now:     time.Now().Unix(),
	}
	for _, algorithm := range []string{"PS256", "ES256", "ES384", "EdDSA"} {
		b.issuer.Key(algorithm)
	}
	return b
}

// header is what a token of the issuer has, with changes; nil removes.
func (b *bench) header(algorithm string, changes oidctest.Header) oidctest.Header {
	h := oidctest.Header{"alg": algorithm, "typ": "JWT", "kid": b.issuer.Key(algorithm).ID}
	for name, value := range changes {
		if h[name] = value; value == nil {
			delete(h, name)
		}
	}
	return h
}

// signed is a token of the issuer's RS256 key with changed header and claims.
func (b *bench) signed(header oidctest.Header, claims ...oidctest.Claims) string {
	return oidctest.Sign(b.issuer.Key("RS256"), b.header("RS256", header), b.issuer.Claims(claims...))
}

// raw is a token of the issuer's RS256 key whose claims are text after the
// opening brace of the JSON of otherwise good claims.
func (b *bench) raw(text string) string {
	good, err := json.Marshal(b.issuer.Claims())
	if err != nil {
		panic(err)
	}
	return oidctest.Sign(b.issuer.Key("RS256"), b.header("RS256", nil), json.RawMessage("{"+text+string(good[1:])))
}

// unsigned is a token with an algorithm name and a signature of one's choice.
func (b *bench) unsigned(algorithm string, signature []byte) string {
	return part(oidctest.Header{"alg": algorithm, "typ": "JWT", "kid": b.issuer.Key("RS256").ID}) + "." +
		part(b.issuer.Claims()) + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func part(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// hmacWith is a token that is signed with a symmetric algorithm and a secret
// that the attacker has.
func (b *bench) hmacWith(secret []byte) string {
	return oidctest.Sign(&oidctest.Key{Private: secret}, b.header("RS256", oidctest.Header{"alg": "HS256"}), b.issuer.Claims())
}

func (b *bench) publicPEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(b.issuer.Key("RS256").Public())
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// flip changes one character in the middle of a part of a token.
func flip(token string, n int) string {
	parts := strings.Split(token, ".")
	p := []byte(parts[n])
	at := len(p) / 2
	if p[at] == 'A' {
		p[at] = 'B'
	} else {
		p[at] = 'A'
	}
	parts[n] = string(p)
	return strings.Join(parts, ".")
}

// attacks are hostile tokens: what it is, who says that it must be refused,
// how it is made and with which code it is refused. Nothing but the token
// differs from a good request.
var attacks = []struct {
	name   string
	source string
	token  func(*bench) string
	want   bearer.Code
}{
	{"none", "RFC 8725, section 2.1; CVE-2015-9235", func(b *bench) string { return b.unsigned("none", []byte{1}) }, bearer.AlgorithmRefused},
	{"none without a signature", "RFC 8725, section 2.1", func(b *bench) string { return b.unsigned("none", nil) }, bearer.AlgorithmRefused},
	{"None", "CVE-2020-28042", func(b *bench) string { return b.unsigned("None", []byte{1}) }, bearer.AlgorithmRefused},
	{"NONE", "CVE-2020-28042", func(b *bench) string { return b.unsigned("NONE", []byte{1}) }, bearer.AlgorithmRefused},
	{"nOnE", "CVE-2020-28042", func(b *bench) string { return b.unsigned("nOnE", []byte{1}) }, bearer.AlgorithmRefused},
	{"no alg", "RFC 7515, section 4.1.1", func(b *bench) string { return b.signed(oidctest.Header{"alg": nil}) }, bearer.AlgorithmRefused},
	{"alg in lower case", "RFC 7515, section 4.1.1: case-sensitive", func(b *bench) string {
		return oidctest.Sign(b.issuer.Key("RS256"), b.header("RS256", oidctest.Header{"alg": "rs256"}), b.issuer.Claims())
	}, bearer.AlgorithmRefused},
	{"alg is a number", "RFC 7515, section 4.1.1", func(b *bench) string {
		return part(map[string]any{"alg": 256, "kid": "x"}) + "." + part(b.issuer.Claims()) + ".AAAA"
	}, bearer.HeaderMalformed},
	{"HS256 with the client secret", "RFC 8725, section 3.1", func(b *bench) string { return b.hmacWith([]byte("client-secret")) }, bearer.AlgorithmRefused},
	{"HS256 with the public key", "RFC 8725, section 2.1; CVE-2016-10555", func(b *bench) string { return b.hmacWith(b.publicPEM()) }, bearer.AlgorithmRefused},
	{"refresh token (HS512)", "Keycloak signs refresh tokens with HS512", func(b *bench) string {
		return oidctest.Sign(&oidctest.Key{Private: []byte("realm secret")}, b.header("RS256", oidctest.Header{"alg": "HS512"}), b.issuer.Claims(oidctest.Claims{"typ": "Refresh", "aud": b.issuer.URL}))
	}, bearer.AlgorithmRefused},
	{"ES256 under an RSA key", "RFC 8725, section 3.1", func(b *bench) string { return b.unsigned("ES256", make([]byte, 64)) }, bearer.KeyMismatch},
	{"RS256 under an EC key", "RFC 8725, section 3.1", func(b *bench) string {
		return oidctest.Sign(b.issuer.Key("RS256"), b.header("RS256", oidctest.Header{"kid": b.issuer.Key("ES256").ID}), b.issuer.Claims())
	}, bearer.KeyMismatch},
	{"PS256 under a key for RS256", "RFC 7517, section 4.4; RFC 8725, section 3.1", func(b *bench) string {
		return oidctest.Sign(b.issuer.Key("RS256"), b.header("RS256", oidctest.Header{"alg": "PS256"}), b.issuer.Claims())
	}, bearer.KeyMismatch},
	{"ES256 under a P-384 key", "RFC 7518, section 3.4", func(b *bench) string {
		return oidctest.Sign(b.issuer.Key("ES384"), b.header("ES256", oidctest.Header{"kid": b.issuer.Key("ES384").ID}), b.issuer.Claims())
	}, bearer.KeyMismatch},
	{"ES256 with a zero signature", "CVE-2022-21449", func(b *bench) string {
		return part(b.header("ES256", nil)) + "." + part(b.issuer.Claims()) + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64))
	}, bearer.SignatureInvalid},
	{"ES256 with r and s of the order", "CVE-2022-21449", func(b *bench) string {
		n := b.issuer.Key("ES256").Public().(*ecdsa.PublicKey).Params().N.Bytes()
		return part(b.header("ES256", nil)) + "." + part(b.issuer.Claims()) + "." + base64.RawURLEncoding.EncodeToString(append(n, n...))
	}, bearer.SignatureInvalid},
	{"ES256 with a signature in ASN.1", "RFC 7518, section 3.4", func(b *bench) string {
		signed := part(b.header("ES256", nil)) + "." + part(b.issuer.Claims())
		return signed + "." + base64.RawURLEncoding.EncodeToString(append([]byte{0x30, 0x44, 2, 32}, make([]byte, 66)...))
	}, bearer.SignatureInvalid},
	{"EdDSA with a short signature", "RFC 8032, section 5.1.7", func(b *bench) string {
		return part(b.header("EdDSA", nil)) + "." + part(b.issuer.Claims()) + ".AAAA"
	}, bearer.SignatureInvalid},
	{"tampered claims", "RFC 7515, section 5.2", func(b *bench) string {
		parts := strings.Split(b.issuer.Token("RS256"), ".")
		parts[1] = part(b.issuer.Claims(oidctest.Claims{"sub": "admin"}))
		return strings.Join(parts, ".")
	}, bearer.SignatureInvalid},
	{"tampered signature", "RFC 7515, section 5.2", func(b *bench) string { return flip(b.issuer.Token("RS256"), 2) }, bearer.SignatureInvalid},
	{"signed by another key under our kid", "RFC 8725, section 3.2", func(b *bench) string {
		return oidctest.Sign(oidctest.NewKey("x", "RS256"), b.header("RS256", nil), b.issuer.Claims())
	}, bearer.SignatureInvalid},
	{"expired and badly signed", "RFC 8725, section 3.2: signature first", func(b *bench) string {
		return flip(b.signed(nil, oidctest.Claims{"exp": b.now - 3600}), 2)
	}, bearer.SignatureInvalid},
	{"key in the header (jwk)", "RFC 7515, section 4.1.3; CVE-2018-0114", func(b *bench) string {
		forger := oidctest.NewKey("forged", "RS256")
		return oidctest.Sign(forger, b.header("RS256", oidctest.Header{"kid": "forged", "jwk": forger.JWK()}), b.issuer.Claims())
	}, bearer.KeyUnknown},
	{"jku and x5u of the attacker", "RFC 8725, section 3.10; CVE-2019-17195", func(b *bench) string {
		forger := oidctest.NewKey("forged", "RS256")
		return oidctest.Sign(forger, b.header("RS256", oidctest.Header{"kid": "forged", "jku": "https://id.attacker.example/jwks", "x5u": "https://id.attacker.example/cert"}), b.issuer.Claims())
	}, bearer.KeyUnknown},
	{"kid with a path and SQL", "RFC 8725, section 3.10", func(b *bench) string {
		return b.signed(oidctest.Header{"kid": "../../dev/null' OR 1=1 --"})
	}, bearer.KeyUnknown},
	{"no kid", "RFC 7515, section 4.1.4; Keycloak always names the key", func(b *bench) string { return b.signed(oidctest.Header{"kid": nil}) }, bearer.KeyIDMissing},
	{"kid of the encryption key", "RFC 7517, section 4.2", func(b *bench) string { return b.signed(oidctest.Header{"kid": "encryption-key"}) }, bearer.KeyUnknown},
	{"crit", "RFC 7515, section 4.1.11", func(b *bench) string {
		return b.signed(oidctest.Header{"crit": []string{"exp"}, "exp": b.now + 60})
	}, bearer.CriticalHeader},
	{"crit with b64", "RFC 7797, section 6", func(b *bench) string {
		return b.signed(oidctest.Header{"crit": []string{"b64"}, "b64": false})
	}, bearer.CriticalHeader},
	{"empty crit", "RFC 7515, section 4.1.11", func(b *bench) string { return b.signed(oidctest.Header{"crit": []string{}}) }, bearer.CriticalHeader},

	{"JWE", "RFC 7516, section 9", func(*bench) string { return "eyJhbGciOiJkaXIifQ..AAAA.AAAA.AAAA" }, bearer.TokenEncrypted},
	{"no dots", "RFC 7515, section 7.1", func(*bench) string { return "opaque" }, bearer.TokenMalformed},
	{"one dot", "RFC 7515, section 7.1", func(*bench) string { return "eyJh.AAAA" }, bearer.TokenMalformed},
	{"four parts", "RFC 7515, section 7.1", func(b *bench) string { return b.issuer.Token("RS256") + ".AAAA" }, bearer.TokenMalformed},
	{"10,000 dots", "CVE-2025-30204; CVE-2025-22868", func(*bench) string { return strings.Repeat(".", 10_000) }, bearer.TokenMalformed},
	{"100,000 dots", "CVE-2025-30204; CVE-2025-22868", func(*bench) string { return strings.Repeat(".", 100_000) }, bearer.TokenTooLarge},
	{"1 MiB", "RFC 8725, section 3.11; CVE-2025-27144", func(*bench) string { return strings.Repeat("A", 1<<20) }, bearer.TokenTooLarge},
	{"padding", "RFC 7515, section 2", func(b *bench) string { return b.issuer.Token("RS256") + "==" }, bearer.TokenMalformed},
	{"padding inside", "RFC 7515, section 2", func(b *bench) string { return strings.Replace(b.issuer.Token("RS256"), ".", "=.", 1) }, bearer.TokenMalformed},
	{"standard base64", "RFC 7515, section 2", func(b *bench) string { return "+/" + b.issuer.Token("RS256") }, bearer.TokenMalformed},
	{"other bits after the signature", "RFC 4648, section 3.5: not the canonical form", func(b *bench) string {
		token := b.issuer.Token("RS256") // 256 bytes: the last character holds two bits
		last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", token[len(token)-1])
		return token[:len(token)-1] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last+1])
	}, bearer.TokenMalformed},
	{"line end", "RFC 7515, section 2", func(b *bench) string { return strings.Replace(b.issuer.Token("RS256"), ".", "\n.", 1) }, bearer.TokenMalformed},
	{"NUL", "RFC 7515, section 2", func(b *bench) string { return b.issuer.Token("RS256") + "\x00" }, bearer.TokenMalformed},
	{"header is not JSON", "RFC 7515, section 5.2", func(b *bench) string { return "AAAA." + part(b.issuer.Claims()) + ".AAAA" }, bearer.HeaderMalformed},
	{"header is an array", "RFC 7515, section 4", func(b *bench) string { return part([]string{"alg"}) + "." + part(b.issuer.Claims()) + ".AAAA" }, bearer.HeaderMalformed},
	{"empty header", "RFC 7515, section 7.1", func(b *bench) string { return "." + part(b.issuer.Claims()) + ".AAAA" }, bearer.HeaderMalformed},
	{"duplicate alg", "RFC 7515, section 4", func(b *bench) string {
		return oidctest.Sign(b.issuer.Key("RS256"), json.RawMessage(`{"alg":"none","alg":"RS256","kid":"`+b.issuer.Key("RS256").ID+`"}`), b.issuer.Claims())
	}, bearer.HeaderMalformed},
	{"header in two values", "RFC 7515, section 4", func(b *bench) string {
		return oidctest.Sign(b.issuer.Key("RS256"), json.RawMessage(`{"alg":"RS256"}{"alg":"RS256"}`), b.issuer.Claims())
	}, bearer.HeaderMalformed},
	{"duplicate claim", "RFC 7519, section 4", func(b *bench) string { return b.raw(`"sub":"admin",`) }, bearer.ClaimsMalformed},
	{"duplicate claim by an escape", "RFC 7519, section 4", func(b *bench) string { return b.raw(`"\u0073ub":"admin",`) }, bearer.ClaimsMalformed},
	{"duplicate member within a claim", "RFC 8259, section 4", func(b *bench) string { return b.raw(`"x":{"a":1,"a":2},`) }, bearer.ClaimsMalformed},
	{"claims are not UTF-8", "RFC 7519, section 7.2", func(b *bench) string { return b.raw("\"x\":\"\xff\xfe\",") }, bearer.ClaimsMalformed},
	{"an open bracket too many", "RFC 8259, section 5; CVE-2022-28131", func(b *bench) string {
		return b.raw(`"x":` + strings.Repeat("[", 3_000) + strings.Repeat("]", 2_999) + ",")
	}, bearer.ClaimsMalformed},
	{"claims are an array", "RFC 7519, section 7.2", func(b *bench) string {
		return oidctest.Sign(b.issuer.Key("RS256"), b.header("RS256", nil), []string{"iss"})
	}, bearer.ClaimsMalformed},
	{"nested JWT", "RFC 7519, section 5.2", func(b *bench) string {
		return oidctest.Sign(b.issuer.Key("RS256"), b.header("RS256", oidctest.Header{"cty": "JWT"}), json.RawMessage(b.issuer.Token("RS256")))
	}, bearer.ClaimsMalformed},

	{"no issuer", "RFC 8725, section 3.8", func(b *bench) string { return b.signed(nil, oidctest.Claims{"iss": nil}) }, bearer.IssuerUnknown},
	{"issuer is a list", "RFC 7519, section 4.1.1", func(b *bench) string { return b.signed(nil, oidctest.Claims{"iss": []string{b.issuer.URL}}) }, bearer.ClaimsMalformed},
	{"issuer with a slash more", "OpenID Connect Core 1.0, section 3.1.3.7: exact", func(b *bench) string { return b.signed(nil, oidctest.Claims{"iss": b.issuer.URL + "/"}) }, bearer.IssuerUnknown},
	{"issuer in another case", "OpenID Connect Core 1.0, section 3.1.3.7: exact", func(b *bench) string {
		return b.signed(nil, oidctest.Claims{"iss": strings.ToUpper(b.issuer.URL)})
	}, bearer.IssuerUnknown},
	{"token of another realm", "RFC 8725, section 3.8", func(b *bench) string { return b.sibling.Token("RS256") }, bearer.IssuerUnknown},
	{"same realm name on another host", "RFC 8725, section 3.8", func(b *bench) string { return b.clone.Token("RS256") }, bearer.IssuerUnknown},
	{"key of another realm, our issuer", "RFC 8725, section 3.8: keys are not pooled", func(b *bench) string {
		key := b.sibling.Key("RS256")
		return oidctest.Sign(&oidctest.Key{Private: key.Private}, b.header("RS256", oidctest.Header{"kid": "sibling-key"}), b.issuer.Claims())
	}, bearer.KeyUnknown},

	{"no audience", "RFC 8725, section 3.9", func(b *bench) string { return b.signed(nil, oidctest.Claims{"aud": nil}) }, bearer.AudienceWrong},
	{"another audience", "RFC 8725, section 3.9", func(b *bench) string { return b.signed(nil, oidctest.Claims{"aud": "account"}) }, bearer.AudienceWrong},
	{"audience of a sibling", "RFC 8725, section 3.9", func(b *bench) string { return b.signed(nil, oidctest.Claims{"aud": b.issuer.Audience + "-admin"}) }, bearer.AudienceWrong},
	{"array of other audiences", "RFC 8725, section 3.9; CVE-2020-26160", func(b *bench) string {
		return b.signed(nil, oidctest.Claims{"aud": []string{"account", "broker"}})
	}, bearer.AudienceWrong},
	{"empty array of audiences", "RFC 8725, section 3.9; CVE-2020-26160", func(b *bench) string { return b.signed(nil, oidctest.Claims{"aud": []string{}}) }, bearer.AudienceWrong},
	{"audience is a number", "RFC 7519, section 4.1.3", func(b *bench) string { return b.signed(nil, oidctest.Claims{"aud": 1}) }, bearer.ClaimsMalformed},
	{"audience within an array", "RFC 7519, section 4.1.3", func(b *bench) string { return b.signed(nil, oidctest.Claims{"aud": [][]string{{b.issuer.Audience}}}) }, bearer.ClaimsMalformed},

	{"expired", "RFC 7519, section 4.1.4", func(b *bench) string { return b.signed(nil, oidctest.Claims{"exp": b.now - 31}) }, bearer.TokenExpired},
	{"no exp", "RFC 9068, section 2.2", func(b *bench) string { return b.signed(nil, oidctest.Claims{"exp": nil}) }, bearer.ClaimsMalformed},
	{"exp is a string", "RFC 7519, section 2: a number", func(b *bench) string { return b.signed(nil, oidctest.Claims{"exp": fmt.Sprint(b.now + 300)}) }, bearer.ClaimsMalformed},
	{"exp is null", "RFC 7519, section 2: a number", func(b *bench) string { return b.raw(`"nbf":null,`) }, bearer.ClaimsMalformed},
	{"exp is negative", "RFC 7519, section 4.1.4", func(b *bench) string { return b.signed(nil, oidctest.Claims{"exp": -1}) }, bearer.ClaimsMalformed},
	{"exp is huge", "RFC 8725, section 3.11", func(b *bench) string { return b.signed(nil, oidctest.Claims{"exp": json.Number("1e300")}) }, bearer.ClaimsMalformed},
	{"exp overflows 64 bits", "RFC 8725, section 3.11", func(b *bench) string {
		return b.signed(nil, oidctest.Claims{"exp": json.Number("18446744073709551616")})
	}, bearer.ClaimsMalformed},
	{"exp overflows a float", "RFC 8725, section 3.11", func(b *bench) string { return b.signed(nil, oidctest.Claims{"exp": json.Number("1e999")}) }, bearer.ClaimsMalformed},
	{"exp in a thousand years", "RFC 8725, section 3.11", func(b *bench) string { return b.signed(nil, oidctest.Claims{"exp": b.now + 1000*365*86400}) }, bearer.LifetimeTooLong},
	{"far future nbf", "RFC 7519, section 4.1.5", func(b *bench) string { return b.signed(nil, oidctest.Claims{"nbf": b.now + 100}) }, bearer.TokenNotYetValid},
	{"far future iat", "RFC 7519, section 4.1.6", func(b *bench) string { return b.signed(nil, oidctest.Claims{"iat": b.now + 3600, "exp": b.now + 3900}) }, bearer.IssuedInFuture},
	{"no iat", "RFC 9068, section 2.2", func(b *bench) string { return b.signed(nil, oidctest.Claims{"iat": nil}) }, bearer.ClaimsMalformed},

	{"ID token", "RFC 8725, section 3.12; RFC 9068, section 5", func(b *bench) string { return b.signed(nil, oidctest.Claims{"typ": "ID", "aud": b.issuer.Audience}) }, bearer.TokenTypeWrong},
	{"refresh token (RS256)", "RFC 8725, section 3.12", func(b *bench) string { return b.signed(nil, oidctest.Claims{"typ": "Refresh"}) }, bearer.TokenTypeWrong},
	{"offline token", "RFC 8725, section 3.12", func(b *bench) string { return b.signed(nil, oidctest.Claims{"typ": "Offline"}) }, bearer.TokenTypeWrong},
	{"logout token", "OpenID Connect Back-Channel Logout 1.0, section 2.4", func(b *bench) string {
		return b.signed(oidctest.Header{"typ": "logout+jwt"}, oidctest.Claims{"typ": "Logout"})
	}, bearer.TokenTypeWrong},
	{"logout token with header JWT", "RFC 8725, section 3.12", func(b *bench) string { return b.signed(nil, oidctest.Claims{"typ": "Logout"}) }, bearer.TokenTypeWrong},
	{"registration token", "RFC 8725, section 3.12", func(b *bench) string { return b.signed(nil, oidctest.Claims{"typ": "RegistrationAccessToken"}) }, bearer.TokenTypeWrong},
	{"DPoP proof as token", "RFC 8725, section 3.12", func(b *bench) string { return b.signed(oidctest.Header{"typ": "dpop+jwt"}) }, bearer.TokenTypeWrong},
	{"no header typ", "RFC 8725, section 3.11", func(b *bench) string { return b.signed(oidctest.Header{"typ": nil}) }, bearer.TokenTypeWrong},
	{"no typ claim", "RFC 8725, section 3.12", func(b *bench) string { return b.signed(nil, oidctest.Claims{"typ": nil}) }, bearer.TokenTypeWrong},
	{"typ in lower case", "RFC 8725, section 3.12", func(b *bench) string { return b.signed(nil, oidctest.Claims{"typ": "bearer"}) }, bearer.TokenTypeWrong},
	{"no subject", "RFC 9068, section 2.2", func(b *bench) string { return b.signed(nil, oidctest.Claims{"sub": nil}) }, bearer.SubjectMissing},
	{"empty subject", "RFC 9068, section 2.2", func(b *bench) string { return b.signed(nil, oidctest.Claims{"sub": ""}) }, bearer.SubjectMissing},
	{"subject is a number", "RFC 7519, section 4.1.2", func(b *bench) string { return b.signed(nil, oidctest.Claims{"sub": 7}) }, bearer.ClaimsMalformed},
	{"at+jwt without jti", "RFC 9068, section 2.2", func(b *bench) string {
		return b.signed(oidctest.Header{"typ": "at+jwt"}, oidctest.Claims{"jti": nil})
	}, bearer.ClaimsMalformed},
	{"at+jwt without client", "RFC 9068, section 2.2", func(b *bench) string {
		return b.signed(oidctest.Header{"typ": "application/at+jwt"}, oidctest.Claims{"azp": nil})
	}, bearer.ClaimsMalformed},
	{"roles are a string", "RFC 8725, section 3.11", func(b *bench) string {
		return b.signed(nil, oidctest.Claims{"realm_access": map[string]any{"roles": "model-api-access"}})
	}, bearer.ClaimsMalformed},
	{"bound token with the scheme Bearer", "RFC 9449, section 7.2", func(b *bench) string {
		return b.signed(nil, oidctest.Claims{"typ": "DPoP", "cnf": map[string]any{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}})
	}, bearer.SenderConstraint},
	{"typ Bearer with cnf", "RFC 9449, section 6", func(b *bench) string {
		return b.signed(nil, oidctest.Claims{"cnf": map[string]any{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}})
	}, bearer.SenderConstraint},
	{"bound to a certificate", "RFC 8705, section 3", func(b *bench) string {
		return b.signed(nil, oidctest.Claims{"cnf": map[string]any{"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}})
	}, bearer.SenderConstraint},
	{"empty cnf", "RFC 7800, section 3", func(b *bench) string { return b.signed(nil, oidctest.Claims{"cnf": map[string]any{}}) }, bearer.SenderConstraint},
	{"typ DPoP without cnf", "RFC 9449, section 6", func(b *bench) string { return b.signed(nil, oidctest.Claims{"typ": "DPoP"}) }, bearer.SenderConstraint},
}

func TestAttacks(t *testing.T) {
	b := newBench()
	v := newVerifier(t, b.issuer, nil)
	start := time.Now()
	t.Run("tokens", func(t *testing.T) {
		for _, attack := range attacks {
			t.Run(attack.name, func(t *testing.T) {
				t.Parallel()                                     // those with an unknown kid wait for a fetch
				for _, try := range []string{"first", "again"} { // nothing hostile is cached
					p, err := v.Check(request(attack.token(b)))
					wantCode(t, p, err, attack.want)
					if t.Failed() {
						t.Fatalf("%s time; %s", try, attack.source)
					}
				}
			})
		}
	})
	if discovery, jwks := b.issuer.Requests(); discovery != 1 || jwks > 2+int(time.Since(start)/time.Second) {
		t.Errorf("attacks made %d discoveries and %d fetches of keys, want one discovery and one fetch a second", discovery, jwks)
	}
	for _, other := range []*oidctest.Issuer{b.sibling, b.clone} {
		if discovery, jwks := other.Requests(); discovery+jwks != 0 {
			t.Errorf("issuer %s that nobody configured was asked", other.URL)
		}
	}
	if _, err := v.Check(request(b.issuer.Token("RS256"))); err != nil {
		t.Errorf("a good token afterwards: %v", err)
	}
}

func wantCode(t *testing.T, p *bearer.Principal, err error, want bearer.Code) {
	t.Helper()
	var e *bearer.Error
	switch {
	case err == nil:
		t.Errorf("accepted as %+v, want %s", p, want)
	case !errors.As(err, &e):
		t.Errorf("error %v is no *bearer.Error", err)
	case e.Code != want:
		t.Errorf("refused as %v, want %s", err, want)
	case p != nil:
		t.Error("a principal beside an error")
	}
}

// TestLegal are tokens that look odd and must pass.
func TestLegal(t *testing.T) {
	b := newBench()
	v := newVerifier(t, b.issuer, nil)
	for _, legal := range []struct {
		name, source string
		token        string
	}{
		{"RS256", "RFC 7518, section 3.3", b.issuer.Token("RS256")},
		{"PS256", "RFC 7518, section 3.5", b.issuer.Token("PS256")},
		{"ES256", "RFC 7518, section 3.4", b.issuer.Token("ES256")},
		{"ES384", "RFC 7518, section 3.4", b.issuer.Token("ES384")},
		{"EdDSA", "RFC 8037, section 3.1", b.issuer.Token("EdDSA")},
		{"audience alone", "RFC 7519, section 4.1.3", b.signed(nil, oidctest.Claims{"aud": b.issuer.Audience})},
		{"audience in an array", "RFC 7519, section 4.1.3", b.signed(nil, oidctest.Claims{"aud": []string{"account", b.issuer.Audience}})},
		{"fractional exp", "RFC 7519, section 2", b.signed(nil, oidctest.Claims{"exp": float64(b.now) + 60.5})},
		{"exp with an exponent", "RFC 8259, section 6", b.signed(nil, oidctest.Claims{"exp": json.Number(fmt.Sprintf("%d.0e0", b.now+60))})},
		{"exp within the skew", "RFC 7519, section 4.1.4", b.signed(nil, oidctest.Claims{"exp": b.now - 15})},
		{"iat and nbf within the skew", "RFC 7519, section 4.1.5", b.signed(nil, oidctest.Claims{"iat": b.now + 15, "nbf": b.now + 15})},
		{"nbf 0", "older Keycloak writes it", b.signed(nil, oidctest.Claims{"nbf": 0})},
		{"at+jwt", "RFC 9068, section 2.1", b.signed(oidctest.Header{"typ": "at+jwt"})},
		{"application/at+jwt", "RFC 9068, section 4", b.signed(oidctest.Header{"typ": "application/at+jwt"})},
		{"header typ in lower case", "RFC 7515, section 4.1.9", b.signed(oidctest.Header{"typ": "jwt"})},
		{"unknown header members", "RFC 7515, section 4", b.signed(oidctest.Header{"jku": "https://id.example/jwks", "x": 1})},
		{"unknown claims in another case", "RFC 7519, section 4", b.signed(nil, oidctest.Claims{"SUB": "admin", "Exp": 1})},
		{"service account", "no sid", b.issuer.Token("RS256", oidctest.ServiceAccount("batch"))},
		{"escaped claim name", "RFC 8259, section 8.3", oidctest.Sign(b.issuer.Key("RS256"), b.header("RS256", nil), json.RawMessage(fmt.Sprintf(
			`{"\u0069ss":%q,"aud":%q,"sub":"\u0061bc","typ":"Bearer","exp":%d,"iat":%d}`, b.issuer.URL, b.issuer.Audience, b.now+60, b.now)))},
	} {
		t.Run(legal.name, func(t *testing.T) {
			for range 2 { // verified, then cached
				p, err := v.Check(request(legal.token))
				if err != nil {
					t.Fatalf("%v (%s)", err, legal.source)
				}
				if p.Issuer != b.issuer.URL || p.Subject == "" {
					t.Errorf("principal %+v", p)
				}
			}
		})
	}
}

// TestCredential is about how a token comes, with a good token.
func TestCredential(t *testing.T) {
	b := newBench()
	v := newVerifier(t, b.issuer, nil)
	good := b.issuer.Token("RS256")
	for _, c := range []struct {
		name, source string
		change       func(*http.Request)
		want         bearer.Code // empty when it must pass
	}{
		{"scheme in lower case", "RFC 9110, section 11.1", authorization("bearer " + good), ""},
		{"scheme in upper case", "RFC 9110, section 11.1", authorization("BEARER " + good), ""},
		{"several spaces", "RFC 9110, section 11.4", authorization("Bearer    " + good), ""},
		{"another query", "RFC 6750, section 2.3", func(r *http.Request) { r.URL.RawQuery = "limit=1&token=x" }, ""},
		{"another cookie", "RFC 6265, section 4.2", func(r *http.Request) { r.Header.Set("Cookie", "theme=dark") }, ""},
		{"JSON body", "RFC 6750, section 2.2", func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, ""},

		{"none", "RFC 6750, section 3.1", func(r *http.Request) { r.Header.Del("Authorization") }, bearer.NoCredential},
		{"empty header", "RFC 6750, section 3.1", authorization(""), bearer.NoCredential},
		{"Basic", "RFC 6750, section 3.1", authorization("Basic dTpw"), bearer.NoCredential},
		{"DPoP without a public URL", "RFC 6750, section 3.1", authorization("DPoP " + good), bearer.NoCredential},
		{"scheme alone", "RFC 6750, section 2.1", authorization("Bearer"), bearer.MalformedCredential},
		{"scheme and spaces", "RFC 6750, section 2.1", authorization("Bearer   "), bearer.MalformedCredential},
		{"tab instead of a space", "RFC 9110, section 11.4", authorization("Bearer\t" + good), bearer.NoCredential},
		{"two headers", "RFC 6750, section 2", func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+good) }, bearer.SeveralCredentials},
		{"two headers of two schemes", "RFC 6750, section 2", func(r *http.Request) { r.Header.Add("Authorization", "Basic dTpw") }, bearer.SeveralCredentials},
		{"two tokens in one header", "RFC 6750, section 2.1", authorization("Bearer " + good + " " + good), bearer.MalformedCredential},
		{"two credentials with a comma", "RFC 6750, section 2.1", authorization("Bearer " + good + ",Bearer " + good), bearer.MalformedCredential},
		{"query too", "RFC 6750, section 2.3; RFC 9700, section 4.3.2", func(r *http.Request) { r.URL.RawQuery = "a=1&access_token=" + good }, bearer.TokenInQuery},
		{"query alone", "RFC 6750, section 2.3", func(r *http.Request) { r.URL.RawQuery = "access_token=x"; r.Header.Del("Authorization") }, bearer.TokenInQuery},
		{"query escaped", "RFC 6750, section 2.3", func(r *http.Request) { r.URL.RawQuery = "access%5Ftoken=x" }, bearer.TokenInQuery},
		{"form", "RFC 6750, section 2.2", form("application/x-www-form-urlencoded"), bearer.FormBody},
		{"form with a parameter", "RFC 6750, section 2.2", form("Application/X-WWW-Form-Urlencoded ; charset=utf-8"), bearer.FormBody},
		{"NUL in the header", "RFC 9110, section 5.5", authorization("Bearer \x00"), bearer.TokenMalformed},
		{"token in other characters", "RFC 6750, section 2.1", authorization("Bearer é.é.é"), bearer.TokenMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(good)
			c.change(r)
			r.Body = unread{t}
			p, err := v.Check(r)
			if c.want == "" {
				if err != nil {
					t.Fatalf("%v (%s)", err, c.source)
				}
				return
			}
			wantCode(t, p, err, c.want)
		})
	}
}

func authorization(value string) func(*http.Request) {
	return func(r *http.Request) { r.Header["Authorization"] = []string{value} }
}

func form(contentType string) func(*http.Request) {
	return func(r *http.Request) {
		r.Method = "POST"
		r.Header.Set("Content-Type", contentType)
	}
}

// unread is a body that nobody may read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, http.ErrBodyReadAfterClose
}
func (u unread) Close() error { return nil }

// TestAnswers holds the whole refusal to RFC 6750, section 3.
func TestAnswers(t *testing.T) {
	b := newBench()
	configured := func(c *bearer.Config) {
		c.ResourceMetadata = "https://api.example/.well-known/oauth-protected-resource"
	}
	v := newVerifier(t, b.issuer, configured)
	down := oidctest.New("https://down.example/realms/example-realm")
	down.SetOutage(true)
	const start = `Bearer realm="model-serving-api"`
	const end = `resource_metadata="https://api.example/.well-known/oauth-protected-resource"`
	for _, c := range []struct {
		name      string
		verifier  *bearer.Verifier
		token     string
		status    int
		challenge string
		code      bearer.Code
	}{
		{"no credential: no error", v, "", 401, start + ", " + end, bearer.NoCredential},
		{"expired", v, b.signed(nil, oidctest.Claims{"exp": b.now - 100}), 401, start + `, error="invalid_token", error_description="The access token has expired. Get a new one.", ` + end, bearer.TokenExpired},
		{"two tokens", v, "a b", 400, start + `, error="invalid_request", error_description="The Authorization header must be one scheme and one token: Bearer <token>.", ` + end, bearer.MalformedCredential},
		{"issuer down: no challenge", newVerifier(t, down, configured), down.Token("RS256"), 503, "", bearer.KeysUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(c.token)
			if c.token == "" {
				r.Header.Del("Authorization")
			}
			p, err := c.verifier.Check(r)
			if wantCode(t, p, err, c.code); t.Failed() {
				return
			}
			w := httptest.NewRecorder()
			refused, _ := errors.AsType[*bearer.Error](err)
			c.verifier.WriteChallenge(w, refused)
			h := w.Header()
			if refused.Status != c.status || h.Get("WWW-Authenticate") != c.challenge || refused.Message == "" {
				t.Errorf("status %d, challenge %q\nwant %d %q", refused.Status, h.Get("WWW-Authenticate"), c.status, c.challenge)
			}
			if h.Get("Cache-Control") != "no-store" || (h.Get("Retry-After") != "") != (c.status == 503) {
				t.Errorf("headers %v with %d", h, c.status)
			}
		})
	}
}
