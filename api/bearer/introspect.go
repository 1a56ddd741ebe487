package bearer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/singleflight"

	"keycloak-model-api/internal/clock"
)

// Introspect asks the issuer about the token of a request that passed Check
// (RFC 7662), and returns its principal with the audience checked and subject
// and roles taken from the answer, which are those of this moment. An answer
// counts for Config.IntrospectionTTL. It is an *Error if the token is no
// longer active, and one with status 503 if the issuer can't be asked.
func (v *Verifier) Introspect(r *http.Request) (*Principal, error) {
	scheme, token, refusal := v.credential(r)
	if refusal == nil {
		var found *verified
		if found, _, refusal = v.verify(r.Context(), scheme, token, true); refusal == nil {
			return &found.principal, nil
		}
	}
	refusal.DPoP = scheme == DPoP
	return nil, refusal
}

// IntrospectToken is Introspect for a token that didn't come in a request.
// Sender-constrained tokens are refused, as by Verify.
func (v *Verifier) IntrospectToken(ctx context.Context, token string) (*Principal, error) {
	found, _, refusal := v.verify(ctx, Bearer, token, true)
	if refusal != nil {
		return nil, refusal
	}
	return &found.principal, nil
}

// introspection: the issuer says that the token is active. It is asked about
// lightweight tokens, which have no audience, and where a model wants it, and
// only about what could be accepted so far. What the answer says of audience,
// subject, roles, groups and the sign-in (RFC 9470, section 6.2) takes the place
// of what the token says; everything else stays as it was signed.
func (c *tokenCheck) introspection() *Error {
	if !c.ask && !c.lightweight() {
		return nil
	}
	if refusal := c.pass((*tokenCheck).times, (*tokenCheck).kind); refusal != nil {
		return refusal
	}
	payload, err := c.found.issuer.introspect(c)
	if err != nil {
		return refuse(IntrospectionUnavailable, err)
	}
	if payload == nil {
		return refuse(TokenInactive, nil)
	}
	answer := claims{payload: payload, tops: c.v.paths.tops}
	if err := json.Unmarshal(payload, &answer); err != nil {
		return refuse(IntrospectionUnavailable, fmt.Errorf("introspection answer: %w", err))
	}
	for _, same := range []struct {
		name      string
		said, got []byte
	}{{"iss", c.claims.issuer, answer.issuer}, {"sub", c.claims.subject, answer.subject}, {"jti", c.claims.id, answer.id}} {
		if same.said != nil && same.got != nil && string(same.said) != string(same.got) {
			return refuse(IntrospectionUnavailable, fmt.Errorf("introspection answer is about another token: its %s differs", same.name))
		}
	}
	c.asked = true
	c.claims.audience, c.claims.found = answer.audience, answer.found
	c.claims.acr, c.claims.levels, c.claims.authTime = answer.acr, answer.levels, answer.authTime
	if answer.subject != nil {
		c.claims.subject = answer.subject
	}
	return nil
}

// lightweight tells whether the issuer is asked for the audience, since the
// token has none.
func (c *tokenCheck) lightweight() bool {
	return c.claims.audience == nil && c.found.issuer.ClientID != ""
}

// introspector asks one issuer about tokens.
type introspector struct {
	flights singleflight.Group // one request for each token at a time

	mu      sync.Mutex
	failure error        // why the last request failed
	failed  clock.Moment // when
}

const (
	maxReplies  = 10_000
	failureWait = time.Second // between requests while the issuer fails
)

// newReplies makes the memory for young answers: the claims, or nil for a token
// that is not active. Where a principal's share is full, the issuer is asked
// each time.
func newReplies(c Config) *shares[[]byte] {
	return newShares[[]byte](maxReplies, c.IntrospectionTTL, true)
}

// introspect returns the issuer's answer about a token, nil if it is not
// active. It waits no longer than waitTimeout.
func (t *trusted) introspect(c *tokenCheck) ([]byte, error) {
	now := c.v.clock.Now()
	if payload, ok := c.v.replies.get(c.found.hash, now); ok {
		return payload, nil
	}
	s := &t.introspector
	s.mu.Lock()
	failure := s.failure
	if now.Stepped(s.failed) || now.Youngest(s.failed) > failureWait {
		failure = nil
	}
	s.mu.Unlock()
	if failure != nil {
		return nil, failure
	}
	if t.ClientID == "" {
		return nil, errors.New("bearer: no client id and secret to introspect with")
	}
	flight := s.flights.DoChan(string(c.found.hash[:]), func() (any, error) {
		// It serves all who wait for it: its own time-out ends it.
		payload, err := t.request(context.Background(), c.token)
		s.ended(err, c.v.clock.Now())
		if err == nil {
			// What isn't kept is asked for again.
			_ = c.v.replies.put(c.found.hash, c.replyOwner(payload), payload, now)
		}
		return payload, err
	})
	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	select {
	case done := <-flight:
		if done.Err != nil {
			return nil, done.Err
		}
		return done.Val.([]byte), nil
	case <-timer.C:
		return nil, errors.New("bearer: the issuer takes too long to answer")
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
}

// replyOwner is whose share an answer takes: its subject's; of a token that is not
// active the subject's or, where a lightweight one names none, the session's.
func (c *tokenCheck) replyOwner(payload []byte) identity {
	var answer struct {
		Subject jsontext.Value `json:"sub"`
	}
	if payload != nil {
		_ = json.Unmarshal(payload, &answer) // which the checks read again
	}
	for _, name := range []jsontext.Value{answer.Subject, c.claims.subject, c.claims.session} {
		if s, err := text(name); err == nil && s != "" {
			return identity{c.found.issuer.URL, s}
		}
	}
	return identity{issuer: c.found.issuer.URL}
}

// ended keeps why a request failed, if it did.
func (s *introspector) ended(err error, now clock.Moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.failed = err, now
}

// request sends one introspection request.
func (t *trusted) request(ctx context.Context, token string) (payload []byte, err error) {
	defer func() {
		if err != nil {
			t.Forget()
		}
	}()
	metadata, err := t.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	if metadata.Introspection == "" {
		return nil, errors.New("bearer: the issuer has no introspection_endpoint")
	}
	return t.Issuer.Introspect(ctx, metadata.Introspection, token)
}
