package bearer

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"keycloak-model-api/api/refusal"
)

// Code names the reason of a refusal.
type Code = refusal.Code

// Error is a refusal: a stable code and a sentence for the caller, and apart
// from them the cause for the log.
type Error = refusal.Error

// The reasons, which package refusal explains.
const (
	NoCredential             = refusal.NoCredential
	MalformedCredential      = refusal.MalformedCredential
	SeveralCredentials       = refusal.SeveralCredentials
	TokenInQuery             = refusal.TokenInQuery
	FormBody                 = refusal.FormBody
	TokenTooLarge            = refusal.TokenTooLarge
	TokenMalformed           = refusal.TokenMalformed
	TokenEncrypted           = refusal.TokenEncrypted
	HeaderMalformed          = refusal.HeaderMalformed
	CriticalHeader           = refusal.CriticalHeader
	AlgorithmRefused         = refusal.AlgorithmRefused
	ClaimsMalformed          = refusal.ClaimsMalformed
	IssuerUnknown            = refusal.IssuerUnknown
	KeysUnavailable          = refusal.KeysUnavailable
	KeyIDMissing             = refusal.KeyIDMissing
	KeyNotChecked            = refusal.KeyNotChecked
	KeyUnknown               = refusal.KeyUnknown
	KeyMismatch              = refusal.KeyMismatch
	SignatureInvalid         = refusal.SignatureInvalid
	IntrospectionUnavailable = refusal.IntrospectionUnavailable
	TokenInactive            = refusal.TokenInactive
	AudienceWrong            = refusal.AudienceWrong
	TokenExpired             = refusal.TokenExpired
	TokenNotYetValid         = refusal.TokenNotYetValid
	IssuedInFuture           = refusal.IssuedInFuture
	LifetimeTooLong          = refusal.LifetimeTooLong
	TokenTypeWrong           = refusal.TokenTypeWrong
	SubjectMissing           = refusal.SubjectMissing
	SenderConstraint         = refusal.SenderConstraint
	TokenRevoked             = refusal.TokenRevoked
	LogoutJustNow            = refusal.LogoutJustNow
	ActionRepeated           = refusal.ActionRepeated
	ProofMissing             = refusal.ProofMissing
	ProofInvalid             = refusal.ProofInvalid
	ProofReplayed            = refusal.ProofReplayed
	ProofsTooMany            = refusal.ProofsTooMany
	SharedStateUnavailable   = refusal.SharedStateUnavailable
)

// refuse makes the Error of a code.
func refuse(code Code, cause error) *Error { return refusal.New(code, cause) }

// WriteChallenge sets the headers of a refusal: WWW-Authenticate as RFC 6750,
// section 3, RFC 9449, section 7.1, and RFC 9728, section 5.1, have it,
// Retry-After for 429, 503 and LogoutJustNow, and Cache-Control. It is the only place that does.
func (v *Verifier) WriteChallenge(w http.ResponseWriter, e *Error) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if e.Code == LogoutJustNow {
		h.Set("Retry-After", "1") // second: see denyList.covers
	}
	if e.Retry() {
		h.Set("Retry-After", strconv.Itoa(retryAfter(e.Code)))
		return
	}
	h.Set("WWW-Authenticate", v.challenge("Bearer", e, !e.DPoP))
	if v.config.PublicURL != "" {
		h.Add("WWW-Authenticate", v.challenge("DPoP", e, e.DPoP)+`, algs="`+strings.Join(Algorithms(), " ")+`"`)
	}
}

// retryAfter returns after how many seconds the caller of a 429 or 503 may try again.
// Many may have waited for the same: they come back spread.
func retryAfter(code Code) int {
	if code == KeyNotChecked || code == refusal.ServiceKeyWaits {
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
	b.WriteString(quote(v.config.Audience))
	if used && e.OAuth != "" {
		b.WriteString(`, error="` + e.OAuth + `", error_description=` + quote(e.Message))
	}
	if used && e.ACR != "" { // RFC 9470, section 3
		b.WriteString(", acr_values=" + quote(e.ACR))
		if e.MaxAge != "" {
			b.WriteString(", max_age=" + quote(e.MaxAge))
		}
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
