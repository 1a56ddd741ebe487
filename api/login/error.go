package login

import "net/http"

// Code names what went wrong. Codes are stable: they stand in responses and
// logs.
type Code string

// What can go wrong with a session, and on the way to one.
const (
	NoSession         Code = "no_session"           // the browser has none
	SessionEnded      Code = "session_ended"        // it had one
	SeveralSessions   Code = "several_sessions"     // more than one session cookie
	CrossOrigin       Code = "cross_origin"         // another site's page sent the request
	IssuerUnavailable Code = "issuer_unavailable"   // the issuer can't be asked
	IssuerUnfit       Code = "issuer_unfit"         // its metadata rule a safe sign-in out
	CallbackMalformed Code = "callback_malformed"   // a parameter twice, or missing
	StateMismatch     Code = "state_mismatch"       // not begun in this browser, or too long ago
	IssuerMismatch    Code = "issuer_mismatch"      // another issuer answered
	AccessDenied      Code = "access_denied"        // the person, or the issuer, said no
	SignInFailed      Code = "sign_in_failed"       // any other answer of the issuer
	CodeRefused       Code = "code_refused"         // used before, or not for this browser
	IDTokenRefused    Code = "id_token_refused"     // not for this sign-in
	TokenRefused      Code = "access_token_refused" // this API would not take it
	StoreFailed       Code = "session_store_failed"
)

// Error is a failure: a stable code, a status and a sentence for the person,
// and apart from them the cause for the log.
type Error struct {
	Code    Code
	Status  int    // 400, 401, 403, 500, 502 or 503
	Message string // for the person: what happened and what to do
	cause   error
}

// Error is for the log. It holds no token, code or cookie.
func (e *Error) Error() string {
	if e.cause != nil {
		return "login: " + string(e.Code) + ": " + e.cause.Error()
	}
	return "login: " + string(e.Code)
}

// Unwrap returns the cause, which is not for the person.
func (e *Error) Unwrap() error { return e.cause }

// fail makes the Error of a code.
func fail(code Code, cause error) *Error {
	status, message := code.meaning()
	return &Error{Code: code, Status: status, Message: message, cause: cause}
}

// meaning returns what a code means to the person.
func (code Code) meaning() (status int, message string) {
	switch code {
	case NoSession:
		return http.StatusUnauthorized, "You are not signed in."
	case SessionEnded:
		return http.StatusUnauthorized, "Your session has ended. Sign in again."
	case SeveralSessions:
		return http.StatusBadRequest, "The browser sent more than one session cookie. Delete this site's cookies, then sign in again."
	case CrossOrigin:
		return http.StatusForbidden, "The request came from a page of another site, so nothing was done. Start from the playground."
	case IssuerUnavailable:
		return http.StatusServiceUnavailable, "The identity provider can't be reached at the moment. Try again in a minute."
	case IssuerUnfit:
		return http.StatusBadGateway, "The identity provider doesn't offer a safe sign-in. Tell the people who run this API."
	case CallbackMalformed:
		return http.StatusBadRequest, "The answer of the identity provider can't be read. Sign in again."
	case StateMismatch:
		return http.StatusBadRequest, "This sign-in was not begun in this browser, or too long ago, or it is used up. Sign in again."
	case IssuerMismatch:
		return http.StatusBadRequest, "The answer came from another identity provider than the one that was asked. Sign in again, and tell the people who run this API if it happens twice."
	case AccessDenied:
		return http.StatusForbidden, "The identity provider says that the sign-in was cancelled or denied."
	case SignInFailed:
		return http.StatusBadGateway, "The identity provider could not finish the sign-in. Sign in again."
	case CodeRefused:
		return http.StatusBadRequest, "The identity provider refused to complete this sign-in: it was used before, or it is not for this browser. Sign in again."
	case IDTokenRefused:
		return http.StatusBadGateway, "The identity provider's answer is not for this sign-in. Sign in again."
	case TokenRefused:
		return http.StatusBadGateway, "You are signed in at the identity provider, but this API doesn't accept the token that it gave. Tell the people who run this API."
	}
	return http.StatusInternalServerError, "The session could not be kept. Try again."
}
