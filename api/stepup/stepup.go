// Package stepup decides whether the person who calls a model has signed in as
// strongly and as lately as the model asks for (RFC 9470).
package stepup

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

// Asked says whether an action asks for the sign-in of its model. What a model
// is and whether it is ready can be seen without, as the list of models can.
func Asked(action string) bool { return action != "metadata" && action != "ready" }

// Check returns nil for a principal who may use a model with this
// authentication, and otherwise why not. A nil authentication asks for nothing.
// The skew is how far the issuer's clock may be from now.
//
// The time of a level decides. `acr` is of the client's session and survives
// each refresh; `auth_time` is of the person's session, and a sign-in by
// password alone at another client makes it new.
func Check(a *policy.Authentication, p *bearer.Principal, now time.Time, skew time.Duration) *refusal.Error {
	signIn := cmp.Or(p.SignIn, &bearer.SignIn{})
	switch {
	case a == nil, signIn.ServiceAccount && a.ServiceAccounts:
		return nil
	case p.SessionID == "":
		return refusal.New(refusal.ServiceAccountRefused, nil)
	case signIn.Offline:
		return refusal.New(refusal.OfflineTokenRefused, nil)
	case signIn.ACR == "":
		return refusal.New(refusal.SignInUntold, nil)
	}
	for _, acr := range a.ACR {
		if reached, ok := signIn.Levels[acr]; ok && young(reached, now, a.Within(), skew) {
			return nil
		}
	}
	return Challenge(a, p, now, skew)
}

// Challenge is the refusal that asks a person to sign in again as a model with
// this authentication wants it.
func Challenge(a *policy.Authentication, p *bearer.Principal, now time.Time, skew time.Duration) *refusal.Error {
	cause := fmt.Errorf("levels %v at %s", cmp.Or(p.SignIn, &bearer.SignIn{}).Levels, now.UTC().Format(time.RFC3339))
	refused := refusal.New(refusal.SignInTooWeak, cause, a.ACR[0], cmp.Or(a.MaxAge, a.LevelMaxAge))
	refused.ACR = a.ACR[0]
	if a.MaxAge != "" {
		refused.MaxAge = strconv.Itoa(int(a.Within() / time.Second))
		if now.Sub(p.AuthTime) <= a.Within()+skew {
			// For the issuer the person has just signed in, by password alone: it
			// would ask for nothing.
			refused.MaxAge = "0"
		}
	}
	return refused
}

// young says whether at, in whole seconds, is within a time before now, for just
// as long as the issuer says so: otherwise it would not ask anew whom we send
// back. A time to come counts as far as clocks may differ.
func young(at, now time.Time, within, skew time.Duration) bool {
	age := now.Truncate(time.Second).Sub(at)
	return -skew <= age && age <= within
}
