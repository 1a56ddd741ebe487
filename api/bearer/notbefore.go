package bearer

import (
	"context"
	"errors"
	"time"
)

// notBeforeMark is the mark that refuses the issuer's tokens whose `iat` is before a
// second (Unix), as Keycloak itself does; ok is false for none. A time in the
// future, beyond the skew, counts as now, so that a mistaken one stops nobody once
// the administrator has taken it back.
func (v *Verifier) notBeforeMark(notBefore int64) (m mark, ok bool) {
	upTo, now := notBefore-1, v.clock.Now()
	if upTo > now.Unix()+v.skew() {
		upTo = now.Unix()
	}
	return mark{upTo: upTo, at: now}, notBefore > 0
}

// followNotBefore asks an issuer for its not-before until ctx ends. Pushes get
// lost; this bounds the time for which that goes unnoticed.
func (v *Verifier) followNotBefore(ctx context.Context, known *trusted) {
	last := int64(0)
	for {
		wait := v.config.NotBeforeInterval
		notBefore, err := known.notBefore(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			// What was known stays in force.
			wait = min(wait, maxRetryDelay)
			v.config.Logger.Warn("not-before could not be asked for", "issuer", known.URL, "err", err)
		default:
			if m, ok := v.notBeforeMark(notBefore); ok {
				known.denied.add(denied{kind: wholeIssuer}, m, m.at) // each replica asks by itself
			}
			if notBefore != last {
				last = notBefore
				v.config.Logger.Info("not-before of the issuer", "issuer", known.URL, "notBefore", unix(notBefore).UTC().Format(time.RFC3339))
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// notBefore returns what a token answer says of it: the latest of the realm's,
// this client's and its service account's, or 0. The token itself is dropped.
func (t *trusted) notBefore(ctx context.Context) (int64, error) {
	metadata, err := t.Metadata(ctx)
	if err != nil {
		return 0, err
	}
	answer, err := t.Grant(ctx, metadata.Token, t.ClientID, t.ClientSecret)
	if err != nil {
		t.Forget()
		return 0, err
	}
	if answer.NotBefore == nil {
		return 0, errors.New("bearer: the token answer has no not-before-policy: is the issuer a Keycloak?")
	}
	return *answer.NotBefore, nil
}
