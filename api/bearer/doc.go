// Package bearer checks the credential of a request and says who calls: from
// an Authorization header to a Principal, or to one refusal with a stable code.
//
// The checks of a token, in their order (the table in checks.go):
//
//  1. One credential: one Authorization header, or the session cookie, and
//     nothing in the URL or a form.
//  2. Size and shape: a signed JWT of bounded size, three parts of strict
//     base64url, strict JSON without duplicate members.
//  3. Algorithm: on the allow-list; no `crit`.
//  4. Issuer: the unverified `iss` picks one configured issuer by exact match.
//     Nothing else that an unverified token says has an effect.
//  5. Key: the issuer publishes it, for signatures, for this algorithm.
//  6. Signature.
//     Then introspection, where the token is a lightweight one or a model
//     wants it: the issuer's answer stands for audience, subject and roles.
//  7. Audience: `aud` holds ours.
//  8. Times: `exp`, `nbf`, `iat`, with one skew.
//  9. Type: an access token by header and claim; sender-constrained ones with
//     the scheme DPoP, all others with Bearer; a subject.
//  10. Authorized party: `azp`, where a list is configured.
//  11. Revocation: no deny list covers it.
//  12. With DPoP, a fresh proof, on every request.
//
// A verified token is remembered by its SHA-256 until it expires. A hit still
// checks times, key, revocation and proof; see verified.usable.
//
// Keys are fetched in the background, by a schedule. A token with an unknown
// key id waits for a fetch of its own, of which there is at most one a second;
// see keySet.
package bearer
