package bearer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
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
// subject, roles and groups takes the place of what the token says; all else
// stays as it was signed.
func (a *attempt) introspection() *Error {
	if !a.ask && !a.lightweight() {
		return nil
	}
	for _, check := range []func(*attempt) *Error{(*attempt).times, (*attempt).kind} {
		if refusal := check(a); refusal != nil {
			return refusal
		}
	}
	payload, err := a.found.issuer.introspect(a)
	if err != nil {
		return refuse(IntrospectionUnavailable, err)
	}
	if payload == nil {
		return refuse(TokenInactive, nil)
	}
	answer := claims{payload: payload, tops: a.v.paths.tops}
	if err := json.Unmarshal(payload, &answer); err != nil {
		return refuse(IntrospectionUnavailable, fmt.Errorf("introspection answer: %w", err))
	}
	for _, same := range []struct {
		name      string
		said, got []byte
	}{{"iss", a.claims.issuer, answer.issuer}, {"sub", a.claims.subject, answer.subject}, {"jti", a.claims.id, answer.id}} {
		if same.said != nil && same.got != nil && string(same.said) != string(same.got) {
			return refuse(IntrospectionUnavailable, fmt.Errorf("introspection answer is about another token: its %s differs", same.name))
		}
	}
	a.asked = true
	a.claims.audience, a.claims.found = answer.audience, answer.found
	if answer.subject != nil {
		a.claims.subject = answer.subject
	}
	return nil
}

// lightweight tells whether the issuer is asked for the audience, since the
// token has none.
func (a *attempt) lightweight() bool {
	return a.claims.audience == nil && a.found.issuer.ClientID != ""
}

// asker asks one issuer about tokens.
type asker struct {
	flights singleflight.Group // one request for each token at a time

	mu       sync.Mutex
	endpoint string       // from discovery; empty to ask again
	failure  error        // why the last request failed
	failed   clock.Moment // when
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
func (i *issuer) introspect(a *attempt) ([]byte, error) {
	now := a.v.clock.Now()
	if payload, ok := a.v.replies.get(a.found.hash, now); ok {
		return payload, nil
	}
	s := &i.asker
	s.mu.Lock()
	failure := s.failure
	if now.Stepped(s.failed) || now.Youngest(s.failed) > failureWait {
		failure = nil
	}
	s.mu.Unlock()
	if failure != nil {
		return nil, failure
	}
	if i.ClientID == "" {
		return nil, errors.New("bearer: no client id and secret to introspect with")
	}
	flight := s.flights.DoChan(string(a.found.hash[:]), func() (any, error) {
		// It serves all who wait for it: its own time-out ends it.
		payload, err := i.request(context.Background(), a.token)
		s.ended(err, a.v.clock.Now())
		if err == nil {
			// What isn't kept is asked for again.
			_ = a.v.replies.put(a.found.hash, a.asker(payload), payload, now)
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
	case <-a.ctx.Done():
		return nil, a.ctx.Err()
	}
}

// asker is whose share an answer takes: its subject's; of a token that is not
// active the subject's or, where a lightweight one names none, the session's.
func (a *attempt) asker(payload []byte) identity {
	var answer struct {
		Subject jsontext.Value `json:"sub"`
	}
	if payload != nil {
		_ = json.Unmarshal(payload, &answer) // which the checks read again
	}
	for _, name := range []jsontext.Value{answer.Subject, a.claims.subject, a.claims.session} {
		if s, err := text(name); err == nil && s != "" {
			return identity{a.found.issuer.URL, s}
		}
	}
	return identity{issuer: a.found.issuer.URL}
}

// ended keeps why a request failed, if it did.
func (s *asker) ended(err error, now clock.Moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure, s.failed = err, now; err != nil {
		s.endpoint = ""
	}
}

// request sends one introspection request (RFC 7662, section 2.1).
func (i *issuer) request(ctx context.Context, token string) ([]byte, error) {
	i.asker.mu.Lock()
	endpoint := i.asker.endpoint
	i.asker.mu.Unlock()
	if endpoint == "" {
		at, err := i.keys.endpoints(ctx)
		if err != nil {
			return nil, err
		}
		if endpoint = at.Introspection; endpoint == "" {
			return nil, errors.New("bearer: the issuer has no introspection_endpoint")
		}
		i.asker.mu.Lock()
		i.asker.endpoint = endpoint
		i.asker.mu.Unlock()
	}
	body := url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("bearer: introspection: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	i.basic(r)
	response, err := i.keys.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("bearer: introspection: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("bearer: introspection endpoint answered %s", response.Status)
	}
	payload, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("bearer: introspection: %w", err)
	}
	if len(payload) > maxBody {
		return nil, fmt.Errorf("bearer: introspection answer of more than %d bytes", maxBody)
	}
	return parseIntrospection(payload)
}

// parseIntrospection returns the answer about an active token, nil for any
// other (RFC 7662, section 2.2).
func parseIntrospection(payload []byte) ([]byte, error) {
	var answer struct {
		Active *bool `json:"active"`
	}
	if err := json.Unmarshal(payload, &answer); err != nil || answer.Active == nil {
		return nil, errors.New("bearer: introspection answer has no active")
	}
	if !*answer.Active {
		return nil, nil
	}
	return payload, nil
}
