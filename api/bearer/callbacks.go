package bearer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// adminAction is what Keycloak signs and posts below a client's admin URL.
// It has no `iss`, `aud`, `exp` or type of its own, so all members count.
type adminAction struct {
	Issuer     *string  `json:"iss"`
	Action     string   `json:"action"`
	Resource   string   `json:"resource"`   // client id that it is for
	Expiration int64    `json:"expiration"` // Unix seconds; Keycloak gives it 30 seconds
	NotBefore  int64    `json:"notBefore"`  // Unix seconds
	Sessions   []string `json:"keycloakSessionIds"`
}

// KeycloakLogout receives k_logout of Keycloak's admin callbacks, for one
// issuer and the client id of this resource server there. It comes when an
// administrator logs out everybody (with a not-before), or ends sessions of a
// client that told Keycloak of its own ones.
func (v *Verifier) KeycloakLogout(issuerURL, clientID string) http.Handler {
	return v.adminCallback(issuerURL, clientID, "LOGOUT")
}

// KeycloakNotBefore receives k_push_not_before: tokens issued before that time
// are refused from now on.
func (v *Verifier) KeycloakNotBefore(issuerURL, clientID string) http.Handler {
	return v.adminCallback(issuerURL, clientID, "PUSH_NOT_BEFORE")
}

func (v *Verifier) adminCallback(issuerURL, clientID, action string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := v.receive(w, r, "text/plain")
		var a adminAction
		if err == nil {
			a, err = v.verifyAction(r, token, issuerURL, clientID, action)
		}
		if err != nil {
			v.callbackRefused(w, r, "admin callback refused", err)
			return
		}
		known := v.issuer([]byte(issuerURL))
		for _, id := range a.Sessions {
			if id != "" {
				// The issuer's clock may be ahead.
				known.denied.add(denied{bySession, id}, v.clock.Now().Unix()+v.skew(), v.forget())
			}
		}
		v.setNotBefore(known, a.NotBefore)
		v.config.Logger.InfoContext(r.Context(), "admin callback", "issuer", issuerURL, "action", a.Action, "notBefore", unix(a.NotBefore).UTC().Format(time.RFC3339), "sessions", len(a.Sessions))
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	})
}

// verifyAction checks signature, action, resource and expiration. The keys
// are those of the issuer that the path belongs to.
func (v *Verifier) verifyAction(r *http.Request, token, issuerURL, clientID, action string) (adminAction, error) {
	var a adminAction
	keys := v.KeySet(issuerURL)
	if keys == nil {
		return a, fmt.Errorf("bearer: callback for issuer %.200q, which is not configured", issuerURL)
	}
	payload, err := keys.VerifySignature(r.Context(), token)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(payload, &a); err != nil {
		return a, refuse(ClaimsMalformed, err)
	}
	switch now := v.clock.Now().Unix(); {
	case a.Issuer != nil:
		// An access or ID token into which a mapper writes our members.
		return a, refuse(TokenTypeWrong, errors.New("it has iss, so it is no admin action"))
	case a.Action != action:
		return a, refuse(TokenTypeWrong, fmt.Errorf("action %.40q, want %s", a.Action, action))
	case a.Resource != clientID:
		return a, refuse(AudienceWrong, fmt.Errorf("resource %.200q, want %q", a.Resource, clientID))
	case now >= a.Expiration+v.skew():
		return a, refuse(TokenExpired, fmt.Errorf("expiration is %s", unix(a.Expiration).UTC().Format(time.RFC3339)))
	}
	return a, nil
}
