package bearer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
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
// policy. ended, which may be nil, ends what else hangs on the session, such
// as a browser's; its error makes the issuer hear that the logout failed.
func (v *Verifier) BackchannelLogout(clients func() []string, ended func(context.Context, Logout) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := v.receive(w, r, "application/x-www-form-urlencoded")
		var logout Logout
		if err == nil {
			logout, err = v.verifyLogout(r.Context(), token, clients())
		}
		if err == nil {
			err = v.Revoke(Revocation{Issuer: logout.Issuer, Session: logout.SessionID, Subject: subjectOf(logout), UpTo: logout.IssuedAt})
		}
		if err == nil && ended != nil {
			err = ended(r.Context(), logout)
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

// subjectOf returns whose sessions have all ended.
func subjectOf(l Logout) string {
	if l.SessionID != "" {
		return ""
	}
	return l.Subject
}

// maxLogoutAge is how old a logout token may be, beside the skew. Keycloak's
// live for two minutes. Within it a replay has no effect beyond the first.
const maxLogoutAge = 5 * time.Minute

// verifyLogout checks a logout token as Back-Channel Logout 1.0, section 2.6,
// has it. Like an access token's its unverified `iss` only picks one
// configured issuer.
func (v *Verifier) verifyLogout(ctx context.Context, token string, clients []string) (Logout, error) {
	if len(token) > v.config.MaxTokenBytes {
		return Logout{}, refuse(TokenTooLarge, nil)
	}
	a := &attempt{v: v, ctx: ctx, token: token}
	for _, check := range []func(*attempt) *Error{(*attempt).shape, (*attempt).algorithm, (*attempt).issuer} {
		if refusal := check(a); refusal != nil {
			return Logout{}, refusal
		}
	}
	switch strings.ToLower(a.header.mediaType) {
	case "", "logout+jwt", "application/logout+jwt":
	default:
		return Logout{}, refuse(TokenTypeWrong, fmt.Errorf("header typ %.40q, want logout+jwt", a.header.mediaType))
	}
	issuer := a.found.issuer.URL
	verified, err := oidc.NewVerifier(issuer, v.KeySet(issuer), &oidc.Config{
		SupportedSigningAlgs: v.config.Algorithms,
		SkipClientIDCheck:    true, // there are several: below
		SkipExpiryCheck:      true, // it knows no skew: below
	}).VerifyLogout(ctx, token)
	if err != nil {
		return Logout{}, fmt.Errorf("bearer: %w", err)
	}
	now := v.clock.Now().Time()
	switch {
	case !slices.ContainsFunc(verified.Audience, func(aud string) bool { return slices.Contains(clients, aud) }):
		return Logout{}, refuse(AudienceWrong, fmt.Errorf("aud %.200q is no client of the policy", verified.Audience))
	case verified.IssuedAt.Unix() <= 0:
		return Logout{}, refuse(ClaimsMalformed, errors.New("no iat"))
	case now.After(verified.Expiry.Add(v.config.Skew)):
		return Logout{}, refuse(TokenExpired, fmt.Errorf("exp is %s", verified.Expiry.UTC().Format(time.RFC3339)))
	case now.After(verified.IssuedAt.Add(maxLogoutAge + v.config.Skew)):
		return Logout{}, refuse(TokenExpired, fmt.Errorf("iat is %s, want at most %v ago", verified.IssuedAt.UTC().Format(time.RFC3339), maxLogoutAge))
	case verified.IssuedAt.After(now.Add(v.config.Skew)):
		return Logout{}, refuse(IssuedInFuture, fmt.Errorf("iat is %s", verified.IssuedAt.UTC().Format(time.RFC3339)))
	}
	var claims struct {
		Events map[string]json.RawMessage `json:"events"`
		Type   string                     `json:"typ"` // Keycloak's own claim
	}
	if err := verified.Claims(&claims); err != nil {
		return Logout{}, refuse(ClaimsMalformed, err)
	}
	var event map[string]json.RawMessage
	if err := json.Unmarshal(claims.Events["http://schemas.openid.net/event/backchannel-logout"], &event); err != nil || event == nil {
		return Logout{}, refuse(ClaimsMalformed, errors.New("the logout event is not a JSON object"))
	}
	if claims.Type != "" && claims.Type != "Logout" {
		return Logout{}, refuse(TokenTypeWrong, fmt.Errorf("typ %.40q, want Logout", claims.Type))
	}
	return Logout{Issuer: issuer, Subject: verified.Subject, SessionID: verified.SessionID, IssuedAt: verified.IssuedAt}, nil
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
	r.Body = http.MaxBytesReader(w, r.Body, int64(v.config.MaxTokenBytes)+100)
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
// has it: 400 for whatever keeps the logout from being done.
func (v *Verifier) callbackRefused(w http.ResponseWriter, r *http.Request, message string, err error) {
	v.config.Logger.WarnContext(r.Context(), message, "err", err)
	status, description := http.StatusBadRequest, "The request could not be carried out."
	var malformed *callbackError
	var refused *Error
	switch {
	case errors.As(err, &malformed):
		status, description = malformed.status, malformed.problem
	case errors.As(err, &refused):
		description = string(refused.Code)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error here means that the issuer is gone: there is nobody to tell.
	_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_request", "error_description": description})
}
