package bearer

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
)

// Code names the reason of a refusal. Codes are stable: they stand in
// responses, logs and metrics.
type Code string

// The reasons, in the order in which they are looked for.
const (
	NoCredential        Code = "no_credential"
	MalformedCredential Code = "malformed_credential"
	SeveralCredentials  Code = "several_credentials"
	TokenInQuery        Code = "token_in_query"
	FormBody            Code = "form_body"

	TokenTooLarge    Code = "token_too_large"
	TokenMalformed   Code = "token_malformed"
	TokenEncrypted   Code = "token_encrypted"
	HeaderMalformed  Code = "header_malformed"
	CriticalHeader   Code = "critical_header"
	AlgorithmRefused Code = "algorithm_refused"
	ClaimsMalformed  Code = "claims_malformed"
	IssuerUnknown    Code = "issuer_unknown"
	KeysUnavailable  Code = "keys_unavailable"
	KeyIDMissing     Code = "key_id_missing"
	KeyNotChecked    Code = "key_not_checked"
	KeyUnknown       Code = "key_unknown"
	KeyMismatch      Code = "key_mismatch"
	SignatureInvalid Code = "signature_invalid"

	IntrospectionUnavailable Code = "introspection_unavailable"
	TokenInactive            Code = "token_inactive"

	AudienceWrong     Code = "audience_wrong"
	TokenExpired      Code = "token_expired"
	TokenNotYetValid  Code = "token_not_yet_valid"
	IssuedInFuture    Code = "issued_in_future"
	LifetimeTooLong   Code = "lifetime_too_long"
	TokenTypeWrong    Code = "token_type_wrong"
	SubjectMissing    Code = "subject_missing"
	SenderConstraint  Code = "sender_constraint"
	PartyUnauthorized Code = "authorized_party_wrong"
	TokenRevoked      Code = "token_revoked"
	LogoutJustNow     Code = "logout_just_now"
	ActionRepeated    Code = "action_repeated"

	ProofMissing  Code = "dpop_proof_missing"
	ProofInvalid  Code = "dpop_proof_invalid"
	ProofReplayed Code = "dpop_proof_replayed"
	ProofsTooMany Code = "dpop_proofs_too_many"

	ScopeMissing Code = "insufficient_scope"
)

// The error attribute of the challenge: RFC 6750, section 3.1, and RFC 9449,
// section 7.1.
const (
	invalidRequest    = "invalid_request"
	invalidToken      = "invalid_token"
	insufficientScope = "insufficient_scope"
	invalidDPoPProof  = "invalid_dpop_proof"
)

// refusal is what a Code means to the caller.
type refusal struct {
	status int
	oauth  string // error attribute of the challenge, empty for none
	advice string // one sentence for the caller: what was expected
}

// meaning returns the refusal that code stands for.
func (code Code) meaning() refusal {
	switch code {
	case NoCredential:
		return refusal{401, "", "Send an access token of this API's issuer: Authorization: Bearer <token>."}
	case MalformedCredential:
		return refusal{400, invalidRequest, "The Authorization header must be one scheme and one token: Bearer <token>."}
	case SeveralCredentials:
		return refusal{400, invalidRequest, "Send exactly one credential: one Authorization header, or the session cookie, not both."}
	case TokenInQuery:
		return refusal{400, invalidRequest, "Send the access token in the Authorization header, never in the URL. It may have been logged: let it expire or revoke it."}
	case FormBody:
		return refusal{400, invalidRequest, "Form bodies are not accepted, since a form can carry a token. Send the token in the Authorization header and the body as application/json."}
	case TokenTooLarge:
		return refusal{401, invalidToken, "The access token is larger than this API reads. Take roles and groups out of it that the API doesn't need."}
	case TokenMalformed:
		return refusal{401, invalidToken, "The access token is not a signed JSON Web Token."}
	case TokenEncrypted:
		return refusal{401, invalidToken, "Encrypted tokens are not accepted. Send the signed access token."}
	case HeaderMalformed:
		return refusal{401, invalidToken, "The header of the access token can't be read."}
	case CriticalHeader:
		return refusal{401, invalidToken, "The access token demands an extension (crit) that this API doesn't know."}
	case AlgorithmRefused:
		return refusal{401, invalidToken, "The signature algorithm of the access token is not accepted."}
	case ClaimsMalformed:
		return refusal{401, invalidToken, "The claims of the access token can't be read."}
	case IssuerUnknown:
		return refusal{401, invalidToken, "The access token is of an issuer that this API doesn't trust. Get one from the right realm, by its public URL."}
	case KeysUnavailable:
		return refusal{503, "", "The keys of the issuer can't be had at the moment. Try again later."}
	case KeyIDMissing:
		return refusal{401, invalidToken, "The access token doesn't say which key signed it: its header has no kid. Send the token as its issuer made it."}
	case KeyNotChecked:
		return refusal{503, "", "The access token is signed with a key that this API doesn't know yet, and its issuer could not be asked for it. Try again later."}
	case KeyUnknown:
		return refusal{401, invalidToken, "The access token is signed with a key that its issuer doesn't publish. Get a new one."}
	case KeyMismatch:
		return refusal{401, invalidToken, "The access token names a key that is not for its algorithm."}
	case SignatureInvalid:
		return refusal{401, invalidToken, "The signature of the access token is wrong."}
	case IntrospectionUnavailable:
		return refusal{503, "", "The issuer can't be asked about the access token at the moment. Try again later."}
	case TokenInactive:
		return refusal{401, invalidToken, "The issuer says that the access token is no longer active. Sign in again."}
	case AudienceWrong:
		return refusal{401, invalidToken, "The access token is not meant for this API: its audience is another. Request the client scope that adds this API."}
	case TokenExpired:
		return refusal{401, invalidToken, "The access token has expired. Get a new one."}
	case TokenNotYetValid:
		return refusal{401, invalidToken, "The access token is not valid yet. Check the clocks."}
	case IssuedInFuture:
		return refusal{401, invalidToken, "The access token was issued in the future. Check the clocks."}
	case LifetimeTooLong:
		return refusal{401, invalidToken, "The access token lives longer than this API accepts."}
	case TokenTypeWrong:
		return refusal{401, invalidToken, "This is not an access token. Send the access token, not an ID, refresh or logout token."}
	case SubjectMissing:
		return refusal{401, invalidToken, "The access token has no subject. Request the client scope basic."}
	case SenderConstraint:
		return refusal{401, invalidToken, "Send a sender-constrained token with the scheme DPoP and a proof, and any other with the scheme Bearer."}
	case PartyUnauthorized:
		return refusal{401, invalidToken, "The client that got this access token may not call this API."}
	case TokenRevoked:
		return refusal{401, invalidToken, "The access token was revoked or its session has ended. Sign in again."}
	case ActionRepeated:
		return refusal{400, invalidRequest, "This admin action was carried out before."}
	case LogoutJustNow:
		return refusal{401, invalidToken, "The user signed out in the second in which this access token was issued. Send the request once more after one second."}
	case ProofMissing:
		return refusal{401, invalidDPoPProof, "Send one DPoP header with a proof made for this request."}
	case ProofInvalid:
		return refusal{401, invalidDPoPProof, "The DPoP proof is not right for this request, token and key, or not fresh."}
	case ProofReplayed:
		return refusal{401, invalidDPoPProof, "This DPoP proof was used before. Make a new one for each request."}
	case ProofsTooMany:
		return refusal{429, "", "You sent more DPoP proofs than this API can remember for you. Send fewer requests a second."}
	case ScopeMissing:
		return refusal{403, insufficientScope, "The access token lacks a scope that this request needs."}
	}
	return refusal{401, invalidToken, "The access token is refused."}
}

// Error is a refusal: a stable code and a sentence for the caller, and apart
// from them the cause for the log.
type Error struct {
	Code    Code
	Status  int    // 400, 401, 403, 429 or 503
	Message string // for the caller: what was expected and what to do
	Scope   string // what ScopeMissing asks for, separated by spaces

	oauth string // error attribute of the challenge
	dpop  bool   // the credential came with the scheme DPoP
	cause error  // for the log only: what was found
}

// refuse makes the Error of a code.
func refuse(code Code, cause error) *Error {
	m := code.meaning()
	return &Error{Code: code, Status: m.status, Message: m.advice, oauth: m.oauth, cause: cause}
}

// InsufficientScope is the refusal of a token that lacks one of scopes
// (RFC 6750, section 3.1). A missing role is not a missing scope.
func InsufficientScope(scopes ...string) *Error {
	e := refuse(ScopeMissing, nil)
	e.Scope = strings.Join(scopes, " ")
	return e
}

// Error is for the log. It holds no token.
func (e *Error) Error() string {
	s := "bearer: " + string(e.Code)
	if e.cause != nil {
		s += ": " + strings.TrimPrefix(e.cause.Error(), "bearer: ")
	}
	return s
}

// Unwrap returns the cause, which is not for the caller.
func (e *Error) Unwrap() error { return e.cause }

// WriteChallenge sets the headers of a refusal: WWW-Authenticate as RFC 6750,
// section 3, RFC 9449, section 7.1, and RFC 9728, section 5.1, have it,
// Retry-After for 429, 503 and LogoutJustNow, and Cache-Control. It is the only place that does.
func (v *Verifier) WriteChallenge(w http.ResponseWriter, e *Error) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if e.Code == LogoutJustNow {
		h.Set("Retry-After", "1") // second: see denyList.covers
	}
	if e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests {
		h.Set("Retry-After", strconv.Itoa(retryAfter(e.Code)))
		return
	}
	h.Set("WWW-Authenticate", v.challenge("Bearer", e, !e.dpop))
	if v.config.PublicURL != "" {
		h.Add("WWW-Authenticate", v.challenge("DPoP", e, e.dpop)+`, algs="`+strings.Join(v.config.Algorithms, " ")+`"`)
	}
}

// retryAfter returns after how many seconds the caller of a 429 or 503 may try again.
// Many may have waited for the same fetch of keys: they come back spread.
func retryAfter(code Code) int {
	if code == KeyNotChecked {
		return 1 + rand.IntN(5)
	}
	return 5
}

// challenge returns one challenge. The error stands only in that of the
// scheme which the caller used.
func (v *Verifier) challenge(scheme string, e *Error, used bool) string {
	var b strings.Builder
	b.WriteString(scheme)
	b.WriteString(" realm=")
	b.WriteString(quote(v.config.Realm))
	if used && e.oauth != "" {
		b.WriteString(`, error="` + e.oauth + `", error_description=` + quote(e.Message))
	}
	if used && e.Scope != "" {
		b.WriteString(", scope=" + quote(e.Scope))
	}
	if v.config.ResourceMetadata != "" {
		b.WriteString(", resource_metadata=" + quote(v.config.ResourceMetadata))
	}
	return b.String()
}

// quote makes a quoted-string of the characters that RFC 6750 allows in it.
func quote(s string) string {
	return `"` + strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s) + `"`
}

// WriteProblem writes e as problem+json (RFC 9457) with the member `code`.
func WriteProblem(w http.ResponseWriter, _ *http.Request, e *Error) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(e.Status)
	// The caller may be gone; there is nobody left to tell.
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // people read it, too
	_ = encoder.Encode(struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Code   Code   `json:"code"`
	}{http.StatusText(e.Status), e.Status, e.Message, e.Code})
}
