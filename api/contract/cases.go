package contract

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
)

// Case is one request and the statuses that it may get.
type Case struct {
	Name  string
	Cites string // RFC and section, or CVE
	// Want are the statuses allowed; 0 is a connection closed without an
	// answer. None means that the request is legal: anything but 400, 401,
	// a redirect and 5xx.
	Want []int

	noError bool // the challenge must have no error
	needs   need
	request func(*kit) request
}

// need is what a case can't be made without, beside the good token.
type need int

const (
	needNothing need = iota
	needOtherAudience
	needIDToken
	needClientSecret
	needEncryptionKey
)

// baseline is the case that gives the others their meaning.
const baseline = "good token"

// What a case may want.
var (
	accepted     []int
	unauthorized = []int{401}
	bad          = []int{400}
	badOrNot     = []int{400, 401}
	tooLarge     = []int{400, 401, 413, 431, 0}
)

// withToken makes a request with a bearer token.
func withToken(token func(*kit) string) func(*kit) request {
	return func(k *kit) request { return request{headers: []string{"Authorization: Bearer " + token(k)}} }
}

// headers makes a request with header lines.
func headers(lines ...func(*kit) string) func(*kit) request {
	return func(k *kit) request {
		var r request
		for _, line := range lines {
			r.headers = append(r.headers, line(k))
		}
		return r
	}
}

// none makes an unsigned token whose alg is some spelling of none.
func none(spelling string, signed bool) func(*kit) request {
	return withToken(func(k *kit) string {
		return encode(k.with(map[string]any{"alg": spelling})) + "." + k.payload + "." + map[bool]string{true: k.signature}[signed]
	})
}

// claim changes one claim and keeps the signature.
func claim(name string, value any) func(*kit) request {
	return withToken(func(k *kit) string {
		return k.head + "." + encode(changed(k.claims, map[string]any{name: value})) + "." + k.signature
	})
}

// header signs with our own key under a changed header.
func header(changes func(*kit) map[string]any) func(*kit) request {
	return withToken(func(k *kit) string { return k.ours(changed(k.with(map[string]any{"alg": "RS256"}), changes(k))) })
}

func good(k *kit) string { return "Authorization: Bearer " + k.Token }

// cases are the contract. Each is one request, so their number bounds the run.
var cases = []Case{
	{Name: "no credential", Cites: "RFC 6750 3.1", Want: unauthorized, noError: true, request: headers()},
	{Name: baseline, Cites: "RFC 6750 2.1", Want: accepted, request: headers(good)},
	{Name: "scheme in lower case", Cites: "RFC 9110 11.1", Want: accepted, request: headers(func(k *kit) string { return "Authorization: bearer " + k.Token })},
	{Name: "scheme in upper case", Cites: "RFC 9110 11.1", Want: accepted, request: headers(func(k *kit) string { return "Authorization: BEARER " + k.Token })},
	{Name: "several spaces after the scheme", Cites: "RFC 9110 11.4", Want: accepted, request: headers(func(k *kit) string { return "Authorization: Bearer   " + k.Token })},

	{Name: "alg none", Cites: "RFC 8725 3.2", Want: unauthorized, request: none("none", false)},
	{Name: "alg None", Cites: "RFC 8725 3.2", Want: unauthorized, request: none("None", false)},
	{Name: "alg NONE", Cites: "RFC 8725 3.2", Want: unauthorized, request: none("NONE", false)},
	{Name: "alg nOnE", Cites: "RFC 8725 3.2", Want: unauthorized, request: none("nOnE", false)},
	{Name: "alg none with a signature", Cites: "RFC 8725 3.2", Want: unauthorized, request: none("none", true)},
	{Name: "alg empty", Cites: "RFC 7515 4.1.1", Want: unauthorized, request: none("", false)},
	{Name: "alg missing", Cites: "RFC 7515 4.1.1", Want: unauthorized, request: header(func(*kit) map[string]any { return map[string]any{"alg": nil} })},
	{Name: "HS256 with the client secret", Cites: "RFC 8725 3.1", Want: unauthorized, needs: needClientSecret, request: withToken(func(k *kit) string { return k.hmac([]byte(k.ClientSecret)) })},
	{Name: "HS256 with the public key in PEM", Cites: "RFC 8725 2.1, CVE-2015-9235", Want: unauthorized, request: withToken(func(k *kit) string { return k.hmac(k.publicKey("PEM")) })},
	{Name: "HS256 with the public key in DER", Cites: "RFC 8725 2.1", Want: unauthorized, request: withToken(func(k *kit) string { return k.hmac(k.publicKey("DER")) })},
	{Name: "HS256 with the public key as JWK", Cites: "RFC 8725 2.1", Want: unauthorized, request: withToken(func(k *kit) string { return k.hmac(k.publicKey("JWK")) })},
	{Name: "HS256 with an empty secret", Cites: "RFC 8725 3.5", Want: unauthorized, request: withToken(func(k *kit) string { return k.hmac(nil) })},
	{Name: "ES256 under an RSA key's kid", Cites: "RFC 8725 3.1", Want: unauthorized, request: withToken(func(k *kit) string { return k.es256(nil) })},
	{Name: "ES256 with a zero signature", Cites: "CVE-2022-21449", Want: unauthorized, request: withToken(func(k *kit) string { return k.es256(make([]byte, 64)) })},

	{Name: "signature changed", Cites: "RFC 7515 5.2", Want: unauthorized, request: withToken(func(k *kit) string { return k.head + "." + k.payload + "." + flip(k.signature) })},
	{Name: "signature of zeros", Cites: "RFC 7515 5.2", Want: unauthorized, request: withToken(func(k *kit) string {
		return k.head + "." + k.payload + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 256))
	})},
	{Name: "signature empty", Cites: "RFC 7515 5.2", Want: unauthorized, request: withToken(func(k *kit) string { return k.head + "." + k.payload + "." })},
	{Name: "signature cut short", Cites: "RFC 7515 5.2", Want: unauthorized, request: withToken(func(k *kit) string { return k.Token[:len(k.Token)-8] })},
	{Name: "another audience in changed claims", Cites: "RFC 7515 5.2", Want: unauthorized, request: claim("aud", "another")},
	{Name: "another subject in changed claims", Cites: "RFC 7515 5.2", Want: unauthorized, request: claim("sub", "00000000-0000-0000-0000-000000000000")},
	{Name: "far exp in changed claims", Cites: "RFC 7515 5.2", Want: unauthorized, request: claim("exp", 4102444800)},
	{Name: "more roles in changed claims", Cites: "RFC 7515 5.2", Want: unauthorized, request: claim("realm_access", map[string]any{"roles": []string{"admin"}})},
	{Name: "another issuer in changed claims", Cites: "RFC 8725 3.8", Want: unauthorized, request: withToken(func(k *kit) string {
		return k.head + "." + encode(changed(k.claims, map[string]any{"iss": k.bait.URL})) + "." + k.signature
	})},

	{Name: "own key under the issuer's kid", Cites: "RFC 7515 5.2", Want: unauthorized, request: header(func(*kit) map[string]any { return nil })},
	{Name: "own key in the header jwk", Cites: "RFC 7515 4.1.3, CVE-2018-0114", Want: unauthorized, request: header(func(k *kit) map[string]any { return map[string]any{"jwk": k.ownKey()} })},
	{Name: "own key behind jku", Cites: "RFC 8725 3.10", Want: unauthorized, request: header(func(k *kit) map[string]any { return map[string]any{"jku": k.bait.URL} })},
	{Name: "own key behind jku, kid unknown", Cites: "RFC 8725 3.10", Want: unauthorized, request: header(func(k *kit) map[string]any { return map[string]any{"jku": k.bait.URL, "kid": rand.Text()} })},
	{Name: "own key behind x5u", Cites: "RFC 8725 3.10", Want: unauthorized, request: header(func(k *kit) map[string]any { return map[string]any{"x5u": k.bait.URL} })},
	{Name: "kid unknown", Cites: "RFC 8725 3.10", Want: unauthorized, request: header(func(*kit) map[string]any { return map[string]any{"kid": rand.Text()} })},
	{Name: "kid unknown again", Cites: "RFC 8725 3.10", Want: unauthorized, request: header(func(*kit) map[string]any { return map[string]any{"kid": rand.Text()} })},
	{Name: "kid missing", Cites: "RFC 7515 4.1.4", Want: unauthorized, request: header(func(*kit) map[string]any { return map[string]any{"kid": nil} })},
	{Name: "kid is a path", Cites: "RFC 8725 3.10", Want: unauthorized, request: header(func(*kit) map[string]any { return map[string]any{"kid": "../../../../dev/null"} })},
	{Name: "kid is SQL", Cites: "RFC 8725 3.10", Want: unauthorized, request: header(func(*kit) map[string]any { return map[string]any{"kid": "x' UNION SELECT 'key"} })},
	{Name: "kid is a number", Cites: "RFC 7515 4.1.4", Want: unauthorized, request: header(func(*kit) map[string]any { return map[string]any{"kid": 1} })},
	{Name: "crit", Cites: "RFC 7515 4.1.11", Want: unauthorized, request: header(func(*kit) map[string]any { return map[string]any{"crit": []string{"x"}, "x": true} })},
	{Name: "b64 false", Cites: "RFC 7797 6", Want: unauthorized, request: header(func(*kit) map[string]any { return map[string]any{"crit": []string{"b64"}, "b64": false} })},
	{Name: "header typ logout+jwt", Cites: "RFC 8725 3.11", Want: unauthorized, request: header(func(*kit) map[string]any { return map[string]any{"typ": "logout+jwt"} })},
	{Name: "encrypted (JWE)", Cites: "RFC 7516 9, RFC 8725 3.3", Want: unauthorized, needs: needEncryptionKey, request: withToken(func(k *kit) string { return k.encrypted(k.Token) })},

	{Name: "token of another audience", Cites: "RFC 8725 3.9, RFC 9068 4", Want: unauthorized, needs: needOtherAudience, request: withToken(func(k *kit) string { return k.OtherAudience })},
	{Name: "ID token", Cites: "RFC 8725 3.12, RFC 9068 5", Want: unauthorized, needs: needIDToken, request: withToken(func(k *kit) string { return k.IDToken })},
	{Name: "bearer token with the scheme DPoP", Cites: "RFC 9449 7.1", Want: badOrNot, request: headers(func(k *kit) string { return "Authorization: DPoP " + k.Token })},

	{Name: "no token after the scheme", Cites: "RFC 6750 2.1", Want: badOrNot, request: headers(func(*kit) string { return "Authorization: Bearer" })},
	{Name: "another scheme", Cites: "RFC 6750 3.1", Want: unauthorized, request: headers(func(*kit) string { return "Authorization: Basic YWRtaW46YWRtaW4=" })},
	{Name: "not a token", Cites: "RFC 7519 7.2", Want: unauthorized, request: withToken(func(*kit) string { return "x" })},
	{Name: "two parts", Cites: "RFC 7515 7.1", Want: unauthorized, request: withToken(func(k *kit) string { return k.head + "." + k.payload })},
	{Name: "four parts", Cites: "RFC 7515 7.1", Want: unauthorized, request: withToken(func(k *kit) string { return k.Token + ".x" })},
	{Name: "padded base64url", Cites: "RFC 7515 2", Want: unauthorized, request: withToken(func(k *kit) string { return k.Token + "==" })},
	{Name: "base64url with loose bits at the end", Cites: "RFC 4648 3.5", Want: unauthorized, request: withToken(func(k *kit) string { return looseBits(k.Token) })},
	{Name: "NUL at the end", Cites: "RFC 9110 5.5", Want: tooLarge, request: withToken(func(k *kit) string { return k.Token + "\x00" })},
	{Name: "bytes that are not UTF-8", Cites: "RFC 9110 5.5", Want: badOrNot, request: withToken(func(k *kit) string { return k.Token + "\xff\xfe" })},
	{Name: "100,000 dots", Cites: "CVE-2025-27144", Want: tooLarge, request: withToken(func(*kit) string { return strings.Repeat(".", 100_000) })},
	{Name: "10,000 dots", Cites: "CVE-2025-27144", Want: tooLarge, request: withToken(func(*kit) string { return strings.Repeat(".", 10_000) })},
	{Name: "token of 1 MiB", Cites: "RFC 6585 5", Want: tooLarge, request: withToken(func(k *kit) string {
		return k.head + "." + strings.Repeat("A", 1<<20) + "." + k.signature
	})},

	{Name: "two Authorization headers, good and forged", Cites: "RFC 9110 5.3, RFC 6750 2", Want: badOrNot, request: headers(good, func(*kit) string { return "Authorization: Bearer x" })},
	{Name: "two Authorization headers, forged and good", Cites: "RFC 9110 5.3, RFC 6750 2", Want: badOrNot, request: headers(func(*kit) string { return "Authorization: Bearer x" }, good)},
	{Name: "two good Authorization headers", Cites: "RFC 9110 5.3, RFC 6750 2", Want: badOrNot, request: headers(good, good)},
	{Name: "two tokens in one header", Cites: "RFC 6750 2.1", Want: badOrNot, request: headers(func(k *kit) string { return "Authorization: Bearer " + k.Token + ", Bearer " + k.Token })},
	{Name: "token in the query", Cites: "RFC 6750 2.3, RFC 9700 4.3.2", Want: badOrNot, request: func(k *kit) request { return request{query: "access_token=" + url.QueryEscape(k.Token)} }},
	{Name: "token in the query and the header", Cites: "RFC 6750 2", Want: bad, request: func(k *kit) request {
		return request{headers: []string{good(k)}, query: "access_token=" + url.QueryEscape(k.Token)}
	}},
	{Name: "token in the form", Cites: "RFC 6750 2.2", Want: []int{400, 401, 405, 415}, request: func(k *kit) request {
		return request{method: "POST", body: "access_token=" + url.QueryEscape(k.Token), headers: []string{"Content-Type: application/x-www-form-urlencoded"}}
	}},
	{Name: "token in another header", Cites: "RFC 6750 2", Want: unauthorized, request: headers(func(k *kit) string { return "X-Access-Token: " + k.Token }, func(k *kit) string { return "X-Forwarded-Authorization: Bearer " + k.Token })},
	{Name: "identity headers without a token", Cites: "CWE-290", Want: unauthorized, request: headers(func(*kit) string { return "X-Forwarded-User: admin" }, func(*kit) string { return "X-Auth-Request-User: admin" }, func(*kit) string { return "X-Userinfo: e30=" })},

	{Name: "good token after all this", Cites: "RFC 6750 2.1", Want: accepted, request: headers(good)},
}

// flip changes a signature's first byte.
func flip(signature string) string {
	raw := must(base64.RawURLEncoding.DecodeString(signature))
	raw = bytes.Clone(raw)
	raw[0] ^= 1
	return base64.RawURLEncoding.EncodeToString(raw)
}

// looseBits sets bits of the last character that belong to no byte: a lenient
// decoder reads the same signature from another token.
func looseBits(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, token[len(token)-1])
	if last < 0 {
		panic(fmt.Errorf("contract: %q is not base64url", token[len(token)-1]))
	}
	return token[:len(token)-1] + string(alphabet[last^1])
}
