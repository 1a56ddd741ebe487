package bearer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
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
		asked := v.clock.Now().Time()
		notBefore, issuedAt, err := known.notBefore(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			// What was known stays in force.
			wait = min(wait, maxRetryDelay)
			v.config.Logger.Warn("not-before could not be asked for", "issuer", known.URL, "err", err)
		default:
			v.compareClocks(known, asked, issuedAt)
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

// maxApart is how far the issuer's clock may be from ours. What is further apart is
// no drift: tokens would be refused that are good, or pass that have expired.
const maxApart = 2 * time.Minute

// compareClocks holds the time at which the issuer says that it made a token against
// ours while it was asked for.
func (v *Verifier) compareClocks(known *trusted, asked time.Time, issuedAt int64) {
	apart := time.Duration(0)
	if now := v.clock.Now().Time(); issuedAt < asked.Unix() {
		apart = unix(issuedAt).Sub(asked)
	} else if issuedAt > now.Unix() {
		apart = unix(issuedAt).Sub(now)
	}
	before := known.clockWrong()
	known.apart.Store(int64(apart))
	if now := known.clockWrong(); now != nil {
		v.config.Logger.Error("no token can be judged", "issuer", known.URL, "err", now)
	} else if before != nil {
		v.config.Logger.Info("the clocks agree again", "issuer", known.URL)
	}
}

// clockWrong returns an error that says by how much, if this computer's clock and the
// issuer's are too far apart to judge tokens.
func (t *trusted) clockWrong() error {
	apart := time.Duration(t.apart.Load())
	if apart.Abs() <= maxApart {
		return nil
	}
	side := "ahead of"
	if apart > 0 {
		side = "behind"
	}
	return fmt.Errorf("bearer: this computer's clock is %v %s the issuer's", apart.Abs().Round(time.Second), side)
}

// notBefore returns what a token answer says of it: the latest of the realm's,
// this client's and its service account's, or 0; and when the token was made. The
// token itself is dropped.
func (t *trusted) notBefore(ctx context.Context) (notBefore, issuedAt int64, err error) {
	metadata, err := t.Metadata(ctx)
	if err != nil {
		return 0, 0, err
	}
	answer, err := t.Grant(ctx, metadata.Token, t.ClientID, t.ClientSecret)
	if err != nil {
		t.Forget()
		return 0, 0, err
	}
	if answer.NotBefore == nil {
		return 0, 0, errors.New("bearer: the token answer has no not-before-policy: is the issuer a Keycloak?")
	}
	token, refusal := parseCompact(answer.AccessToken)
	if refusal != nil {
		return 0, 0, fmt.Errorf("bearer: the token answer: %w", refusal)
	}
	// The issuer itself has sent it, as it sends its keys.
	read := claims{payload: token.payload}
	if err := json.Unmarshal(token.payload, &read); err != nil {
		return 0, 0, fmt.Errorf("bearer: the token answer: %w", err)
	}
	issuedAt, there, err := seconds(read.issuedAt)
	if err == nil && !there {
		err = errors.New("there is no iat")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("bearer: the token answer: %w", err)
	}
	return *answer.NotBefore, issuedAt, nil
}
