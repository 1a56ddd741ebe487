package bearer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"keycloak-model-api/api/issuer"
)

// Logout is what a logout token says: one session has ended, or without
// SessionID all sessions of a user.
type Logout struct {
	Issuer    string
	Subject   string    // `sub`; may be empty when SessionID isn't
	SessionID string    // `sid`
	IssuedAt  time.Time // `iat` of the logout token
}

// BackchannelLogout receives the issuers' logout tokens (OpenID Connect
// Back-Channel Logout 1.0). What a token is about is refused from then on;
// tokens issued later pass, since an offline session keeps its `sid`.
//
// clients returns the client ids whose logout tokens count: those of the
// policy. ended, which may be nil, ends what depends on the session, such
// as a browser's; its error makes the issuer hear that the logout failed.
func (v *Verifier) BackchannelLogout(clients func() []string, ended func(context.Context, Logout) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := v.receive(w, r, "application/x-www-form-urlencoded")
		var logout Logout
		if err == nil {
			logout, err = v.verifyLogout(r.Context(), token, clients())
		}
		if err == nil {
			err = v.end(r.Context(), logout)
			if ended != nil {
				err = errors.Join(err, ended(r.Context(), logout))
			}
		}
		if err != nil {
			v.callbackRefused(w, r, "logout token refused", err)
			return
		}
		v.config.Logger.InfoContext(r.Context(), "session ended by the issuer", "issuer", logout.Issuer, "subject", logout.Subject, "session", logout.SessionID)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
	})
}

// end refuses what l is about. Without `sid` nothing orders the tokens of the
// logout's own second: see denyList.covers. The error is deny's.
func (v *Verifier) end(ctx context.Context, l Logout) error {
	now := v.clock.Now()
	key := denied{bySession, l.SessionID}
	m := mark{upTo: l.IssuedAt.Unix(), at: now, subject: l.Subject}
	if l.SessionID == "" {
		key = denied{bySubject, l.Subject}
		m.subject, m.unordered = "", true
	}
	return v.deny(ctx, v.issuer([]byte(l.Issuer)), key, m)
}

// maxLogoutAge is how old a logout token may be, beside the skew. Keycloak's
// live for two minutes. Within it a replay has no effect beyond the first.
const maxLogoutAge = 5 * time.Minute

// verifyLogout checks a logout token as Back-Channel Logout 1.0, section 2.6,
// has it. Like an access token's its unverified `iss` only picks one
// configured issuer.
func (v *Verifier) verifyLogout(ctx context.Context, token string, clients []string) (Logout, error) {
	c := &tokenCheck{v: v, ctx: ctx, token: token, now: v.clock.Now().Unix(), fetches: true}
	if refusal := c.pass((*tokenCheck).size, (*tokenCheck).shape, (*tokenCheck).algorithm, (*tokenCheck).issuer); refusal != nil {
		return Logout{}, refusal
	}
	switch strings.ToLower(c.header.mediaType) {
	case "logout+jwt", "application/logout+jwt":
	default:
		return Logout{}, refuse(TokenTypeWrong, fmt.Errorf("header typ %.40q, want logout+jwt", c.header.mediaType))
	}
	// The claims come first, so that no key is fetched for a token that can't be one.
	logout, err := c.logout(clients)
	if err != nil {
		return Logout{}, err
	}
	if refusal := c.pass((*tokenCheck).key, (*tokenCheck).signature); refusal != nil {
		return Logout{}, refusal
	}
	return logout, nil
}

// logoutEvent is the member of `events` that makes a token a logout token.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logout checks the claims of a logout token.
func (c *tokenCheck) logout(clients []string) (Logout, error) {
	var claims logoutClaims
	if err := issuer.Decode(c.payload, &claims); err != nil {
		return Logout{}, refuse(ClaimsMalformed, err)
	}
	audiences, err := oneOrMore(claims.Audience)
	if err != nil {
		return Logout{}, refuse(ClaimsMalformed, err)
	}
	issuedAt, refusal := c.logoutTimes(claims.IssuedAt, claims.Expiry)
	switch {
	case claims.Type != "" && claims.Type != "Logout":
		return Logout{}, refuse(TokenTypeWrong, fmt.Errorf("typ %.40q, want Logout", claims.Type))
	case claims.Events[logoutEvent].Kind() != '{':
		return Logout{}, refuse(ClaimsMalformed, errors.New("events has no logout event that is an object"))
	case claims.Nonce != nil:
		return Logout{}, refuse(ClaimsMalformed, errors.New("it has a nonce"))
	case claims.ID == "" || claims.Subject == "" && claims.SessionID == "":
		return Logout{}, refuse(ClaimsMalformed, errors.New("no jti, or neither sub nor sid"))
	case !slices.ContainsFunc(audiences, func(aud string) bool { return slices.Contains(clients, aud) }):
		return Logout{}, refuse(AudienceWrong, fmt.Errorf("aud %.200q is no client of the policy", audiences))
	case refusal != nil:
		return Logout{}, refusal
	}
	return Logout{Issuer: c.found.issuer.URL, Subject: claims.Subject, SessionID: claims.SessionID, IssuedAt: unix(issuedAt)}, nil
}

// logoutTimes returns when the logout token was issued, if it is young and alive.
func (c *tokenCheck) logoutTimes(issued, expires jsontext.Value) (issuedAt int64, refusal *Error) {
	issuedAt, okIssued, errIssued := seconds(issued)
	expiry, okExpiry, errExpiry := seconds(expires)
	skew := c.v.skew()
	switch oldest := c.now - int64(maxLogoutAge/time.Second) - skew; {
	case errIssued != nil || errExpiry != nil:
		return 0, refuse(ClaimsMalformed, errors.Join(errIssued, errExpiry))
	case !okIssued || !okExpiry || issuedAt == 0:
		return 0, refuse(ClaimsMalformed, errors.New("no iat or no exp"))
	case c.now >= expiry+skew:
		return 0, refuse(TokenExpired, fmt.Errorf("exp is %s", date(expiry)))
	case issuedAt < oldest:
		return 0, refuse(TokenExpired, fmt.Errorf("iat is %s, want at most %v ago", date(issuedAt), maxLogoutAge))
	case issuedAt > c.now+skew:
		return 0, refuse(IssuedInFuture, fmt.Errorf("iat is %s", date(issuedAt)))
	}
	return issuedAt, nil
}

// logoutClaims are the claims that decide about a logout token (Back-Channel
// Logout 1.0, section 2.4). It may have others.
type logoutClaims struct {
	Issuer    string                    `json:"iss"`
	Audience  jsontext.Value            `json:"aud"`
	Subject   string                    `json:"sub"`
	SessionID string                    `json:"sid"`
	ID        string                    `json:"jti"`
	Type      string                    `json:"typ"` // Keycloak's own
	IssuedAt  jsontext.Value            `json:"iat"`
	Expiry    jsontext.Value            `json:"exp"`
	Nonce     jsontext.Value            `json:"nonce"`
	Events    map[string]jsontext.Value `json:"events"`
}

// receive takes the one token out of an issuer's POST: the body, or for a form
// its logout_token. The error is a *callbackError.
func (v *Verifier) receive(w http.ResponseWriter, r *http.Request, mediaType string) (string, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return "", &callbackError{http.StatusMethodNotAllowed, "want POST"}
	}
	if got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || got != mediaType {
		return "", &callbackError{http.StatusBadRequest, "want a body of type " + mediaType}
	}
	// A form has the name of the field beside the token.
	r.Body = http.MaxBytesReader(w, r.Body, int64(maxTokenBytes)+100)
	if mediaType == "text/plain" {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return "", &callbackError{http.StatusBadRequest, "body too large or broken off"}
		}
		return strings.TrimSpace(string(body)), nil
	}
	if err := r.ParseForm(); err != nil {
		return "", &callbackError{http.StatusBadRequest, "body too large or not a form"}
	}
	if tokens := r.PostForm["logout_token"]; len(tokens) == 1 && tokens[0] != "" {
		return tokens[0], nil
	}
	return "", &callbackError{http.StatusBadRequest, "want exactly one logout_token"}
}

// callbackError is a request that doesn't even have a token.
type callbackError struct {
	status  int
	problem string
}

func (e *callbackError) Error() string { return "bearer: " + e.problem }

// callbackRefused answers an issuer as Back-Channel Logout 1.0, section 2.8,
// has it: 400 for whatever keeps the logout from being done, but 503 where the
// signature could not be checked yet, so that the issuer may try again.
func (v *Verifier) callbackRefused(w http.ResponseWriter, r *http.Request, message string, err error) {
	v.config.Logger.WarnContext(r.Context(), message, "err", err)
	status, code, description := http.StatusBadRequest, "invalid_request", "The request could not be carried out."
	var malformed *callbackError
	var refused *Error
	switch {
	case errors.As(err, &malformed):
		status, description = malformed.status, malformed.problem
	case errors.As(err, &refused):
		description = string(refused.Code)
		if refused.Retry() {
			status, code = refused.Status, "temporarily_unavailable"
			w.Header().Set("Retry-After", strconv.Itoa(retryAfter(refused.Code)))
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error here means that the issuer is gone: there is nobody to tell.
	_ = json.MarshalWrite(w, map[string]string{"error": code, "error_description": description}, json.Deterministic(true))
}
