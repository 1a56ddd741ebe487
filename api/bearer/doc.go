// Package bearer checks the credential of a request and says who calls: from
// an Authorization header to a Principal, or to one refusal with a stable code.
//
// A request must carry one credential: one Authorization header with one token,
// and nothing in the URL or a form. The checks of the token, in their order, are
// the table in checks.go, in short:
//
//   - Size and shape: a signed JWT of bounded size, three parts of strict
//     base64url, strict JSON without duplicate members.
//   - Algorithm: an asymmetric one; no `crit`.
//   - Issuer: the unverified `iss` picks one configured issuer by exact match.
//     Unverified claims have one more effect: they can save the fetch of a key.
//   - Key: the issuer publishes it, for signatures, for this algorithm.
//   - Signature.
//   - Introspection, where the token is a lightweight one or a model wants it:
//     the issuer's answer stands for audience, subject and roles.
//   - Audience: `aud` holds ours.
//   - Times: `exp`, `nbf`, `iat`, with one skew.
//   - Type: an access token by header and claim; sender-constrained ones with
//     the scheme DPoP, all others with Bearer; a subject.
//   - Revocation: no deny list covers it.
//
// With DPoP, every request also needs a fresh proof.
//
// A verified token is remembered by its SHA-256 until it expires. A hit still
// checks times, key, revocation and proof; see verified.usable.
//
// Keys are fetched in the background, by a schedule. A token with an unknown
// key id waits for a fetch of its own, of which there is at most one a second;
// see keySet.
package bearer
