package bearer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The actions that Keycloak signs and posts below a client's admin URL.
const (
	pushAction   = "PUSH_NOT_BEFORE"
	logoutAction = "LOGOUT"
)

// adminAction is what such an action says. It has no `iss`, `aud`, `exp` or
// type of its own, and the same keys sign tokens, user info and authorization
// responses, all of which mappers can write members into. So the members must
// be exactly these: a further one, a duplicate, or one in another case is no
// admin action (RFC 8725, section 3.12).
type adminAction struct {
	ID         string `json:"id"`
	Action     string `json:"action"`
	Resource   string `json:"resource"`   // client id that it is for
	Expiration int64  `json:"expiration"` // Unix seconds; Keycloak gives it 30 seconds
	NotBefore  int64  `json:"notBefore"`  // Unix seconds

	// Of LOGOUT only, and only where Keycloak knows some.
	AdapterSessions  []string `json:"adapterSessionIds,omitempty"`
	KeycloakSessions []string `json:"keycloakSessionIds,omitempty"`
}

// maxActionTime is how far ahead an action may end, beside the skew.
const maxActionTime = 5 * time.Minute

// parseAction reads the payload of an action: all of its members and no other.
func parseAction(payload []byte, action string) (a adminAction, err error) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(payload, &members); err != nil {
		return a, err
	}
	optional := []string{}
	if action == logoutAction {
		optional = []string{"adapterSessionIds", "keycloakSessionIds"}
	}
	required := []string{"id", "action", "resource", "expiration", "notBefore"}
	for _, name := range required {
		if value := members[name]; value == nil || value.Kind() == 'n' {
			return a, fmt.Errorf("no member %s", name)
		}
	}
	for name := range members {
		if !slices.Contains(required, name) && !slices.Contains(optional, name) {
			return a, fmt.Errorf("member %.40q, which no %s has", name, action)
		}
	}
	err = json.Unmarshal(payload, &a, json.RejectUnknownMembers(true))
	return a, err
}

// KeycloakLogout receives k_logout of Keycloak's admin callbacks, for one
// issuer and the client id of this resource server there. It comes when an
// administrator logs out everybody (with a not-before), or ends sessions of a
// client that told Keycloak of its own ones.
func (v *Verifier) KeycloakLogout(issuerURL, clientID string) http.Handler {
	return v.adminCallback(issuerURL, clientID, logoutAction)
}

// KeycloakNotBefore receives k_push_not_before: tokens issued before that time
// are refused from now on.
func (v *Verifier) KeycloakNotBefore(issuerURL, clientID string) http.Handler {
	return v.adminCallback(issuerURL, clientID, pushAction)
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
		if err := v.carryOut(r.Context(), v.issuer([]byte(issuerURL)), a); err != nil {
			v.callbackRefused(w, r, "admin callback not shared", err)
			return
		}
		v.config.Logger.InfoContext(r.Context(), "admin callback", "issuer", issuerURL, "action", a.Action, "notBefore", unix(a.NotBefore).UTC().Format(time.RFC3339), "sessions", len(a.KeycloakSessions))
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	})
}

// carryOut refuses what an action is about. The error is deny's.
func (v *Verifier) carryOut(ctx context.Context, known *trusted, a adminAction) error {
	var errs []error
	now := v.clock.Now()
	for _, id := range a.KeycloakSessions {
		if id != "" {
			// The issuer's clock may be ahead.
			errs = append(errs, v.deny(ctx, known, denied{bySession, id}, mark{upTo: now.Unix() + v.skew(), at: now}))
		}
	}
	if m, ok := v.notBeforeMark(a.NotBefore); ok {
		errs = append(errs, v.deny(ctx, known, denied{kind: wholeIssuer}, m))
	}
	return errors.Join(errs...)
}

// verifyAction checks signature, members, action, resource and expiration, and
// that the action is carried out once. The keys are those of the issuer that
// the path belongs to.
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
	if a, err = parseAction(payload, action); err != nil {
		return a, refuse(TokenTypeWrong, fmt.Errorf("no admin action: %w", err))
	}
	until := func() string { return unix(a.Expiration).UTC().Format(time.RFC3339) }
	now := v.clock.Now()
	switch {
	case a.Action != action:
		return a, refuse(TokenTypeWrong, fmt.Errorf("action %.40q, want %s", a.Action, action))
	case a.Resource != clientID:
		return a, refuse(AudienceWrong, fmt.Errorf("resource %.200q, want %q", a.Resource, clientID))
	case a.ID == "":
		return a, refuse(ClaimsMalformed, errors.New("id is empty"))
	case now.Unix() >= a.Expiration+v.skew():
		return a, refuse(TokenExpired, fmt.Errorf("expiration is %s", until()))
	case a.Expiration > now.Unix()+int64(maxActionTime/time.Second)+v.skew():
		return a, refuse(LifetimeTooLong, fmt.Errorf("expiration is %s, want at most %v ahead", until(), maxActionTime))
	}
	err = v.actions.use(r.Context(), sha256.Sum256([]byte(issuerURL+" "+a.ID)), identity{issuer: issuerURL}, now)
	if errors.Is(err, errThere) || errors.Is(err, errFull) {
		return a, refuse(ActionRepeated, fmt.Errorf("id %.80q: %w", a.ID, err))
	} else if err != nil {
		// Carried out all the same: another replica that repeats it takes nothing back.
		v.config.Logger.WarnContext(r.Context(), "nobody can tell whether another replica carried out this admin action", "err", err)
	}
	return a, nil
}

// maxActions bounds the memory for the ids of actions; half of it is for one
// issuer. Only the issuer makes them, a few for each click of an administrator.
const maxActions = 20_000

// newActions makes that memory. An id is kept for as long as its action could
// be sent again.
func newActions(c Config) once {
	return c.shareOnce("actions", newShares[struct{}](maxActions, maxActionTime+2*c.Skew+time.Second, false))
}
