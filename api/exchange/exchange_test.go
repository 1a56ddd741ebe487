package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/api/bearer"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/internal/oidctest"
)

// bench is an Exchange in front of an issuer that is asked without a network.
type bench struct {
	*testing.T
	*Exchange
	issuer   *oidctest.Issuer
	verifier *bearer.Verifier
	asked    atomic.Int32

	mu     sync.Mutex
	forms  []url.Values
	change oidctest.Claims // to the token that the issuer gives
	answer string          // instead of one
	status int
}

func inBubble(t *testing.T, test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, issuer: oidctest.New("http://issuer.example/realms/r"), status: 200}
		transport := b.issuer.Client().Transport
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/token") {
				return b.token(r), nil
			}
			return transport.RoundTrip(r)
		})}
		log := slog.New(slog.DiscardHandler)
		var err error
		b.verifier, err = bearer.New(t.Context(), bearer.Config{Issuers: []bearer.Issuer{{URL: b.issuer.URL}}, Audience: b.issuer.Audience, HTTPClient: client, Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.Exchange = New(Config{
			Issuer: b.issuer.URL, ClientID: "model-exchange", ClientSecret: "its secret", Keys: b.verifier.KeySet(b.issuer.URL),
			Revoked: b.verifier.Revoked, HTTPClient: client, Logger: log,
		})
		test(b)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// token is the token endpoint.
func (b *bench) token(r *http.Request) *http.Response {
	b.asked.Add(1)
	time.Sleep(time.Second)
	_ = r.ParseForm()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forms = append(b.forms, r.PostForm)
	body := b.answer
	if id, secret, _ := r.BasicAuth(); id != "model-exchange" || secret != "its+secret" {
		b.Errorf("the client is %s", id)
	}
	if body == "" {
		claims := oidctest.Claims{"aud": r.PostForm.Get("audience"), "azp": "model-exchange", "jti": fmt.Sprint(b.asked.Load())}
		for name, value := range b.change {
			claims[name] = value
		}
		body = fmt.Sprintf(`{"access_token":%q,"issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer"}`, b.issuer.Token("RS256", claims))
	}
	return &http.Response{StatusCode: b.status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}, Request: r}
}

// who checks a token, and returns its principal.
func (b *bench) who(token string) *bearer.Principal {
	b.Helper()
	p, err := b.verifier.Verify(context.Background(), token)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func (b *bench) want(code refusal.Code, token, audience string) string {
	b.Helper()
	got, err := b.Token(context.Background(), b.who(token), token, audience)
	var refused *refusal.Error
	errors.As(err, &refused)
	if code == "" && err != nil || code != "" && (refused == nil || refused.Code != code || got != "") {
		b.Errorf("got %v, want code %q", err, code)
	}
	return got
}

// A token is exchanged once for all who come with it, for one audience alone, and again
// shortly before the earlier expiry.
func TestExchangedOnce(t *testing.T) {
	inBubble(t, func(b *bench) {
		token := b.issuer.Token("RS256") // lives for 5 minutes
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { b.want("", token, "triton") })
		}
		all.Wait()
		first := b.want("", token, "triton")
		if n := b.asked.Load(); n != 1 {
			t.Errorf("the issuer was asked %d times", n)
		}
		if other := b.want("", token, "vllm"); other == first || b.asked.Load() != 2 {
			t.Error("another audience has the same token")
		}
		if f := b.forms[0]; f.Get("audience") != "triton" || f.Get("subject_token") != token || f.Get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" || len(f["audience"]) != 1 {
			t.Errorf("the issuer got %v", f)
		}
		b.mu.Lock()
		b.change = oidctest.Claims{"exp": time.Now().Unix() + 60}
		b.mu.Unlock()
		second := b.issuer.Token("RS256", oidctest.Claims{"jti": "second"})
		b.want("", second, "triton")
		time.Sleep(48 * time.Second)
		b.want("", second, "triton")
		if n := b.asked.Load(); n != 3 {
			t.Errorf("asked %d times before the expiry", n)
		}
		time.Sleep(2 * time.Second)
		b.change = nil
		b.want("", second, "triton")
		if n := b.asked.Load(); n != 4 {
			t.Errorf("asked %d times after it", n)
		}
	})
}

// What the issuer gives must be of this person, for this model server and no other.
func TestAnswersOfTheIssuer(t *testing.T) {
	for name, change := range map[string]oidctest.Claims{
		"another audience":        {"aud": "vllm"},
		"more audiences":          {"aud": []string{"triton", "vllm"}},
		"the API's own audience":  {"aud": []string{"triton", "model-serving-api"}},
		"no audience":             {"aud": nil},
		"another person":          {"sub": "somebody-else"},
		"no person":               {"sub": nil},
		"another issuer":          {"iss": "http://issuer.example/realms/other"},
		"another client":          {"azp": "my-api-client"},
		"expired":                 {"exp": int64(1)},
		"an ID token":             {"typ": "ID"},
		"bound to a key":          {"typ": "DPoP"},
		"claims of another shape": {"exp": "soon"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.change = change
				token := b.issuer.Token("RS256")
				b.want(refusal.ExchangeRefused, token, "triton")
				b.change = nil
				b.want("", token, "triton") // nothing of it was kept
			})
		})
	}
	for name, test := range map[string]struct {
		status int
		body   string
		code   refusal.Code
	}{
		"no token":                      {200, `{"token_type":"Bearer"}`, refusal.ExchangeUnavailable},
		"a refresh token":               {200, `{"access_token":"x","issued_token_type":"urn:ietf:params:oauth:token-type:refresh_token","token_type":"Bearer"}`, refusal.ExchangeUnavailable},
		"not signed":                    {200, `{"access_token":"e30.e30.e30","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer"}`, refusal.ExchangeRefused},
		"not allowed":                   {403, `{"error":"access_denied","error_description":"Client is not within the token audience"}`, refusal.ExchangeRefused},
		"no such audience":              {400, `{"error":"invalid_client","error_description":"Audience not found"}`, refusal.ExchangeRefused},
		"the session has ended":         {400, `{"error":"invalid_request","error_description":"Invalid token"}`, refusal.TokenInactive},
		"the issuer is away":            {502, "", refusal.ExchangeUnavailable},
		"the issuer has too much to do": {429, "", refusal.ExchangeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.status, b.answer = test.status, test.body
				b.want(test.code, b.issuer.Token("RS256"), "triton")
			})
		})
	}
}

// An exchanged token goes with the one that it was made of: at a logout, and at a step
// of the clock.
func TestDroppedWithItsToken(t *testing.T) {
	inBubble(t, func(b *bench) {
		token := b.issuer.Token("RS256")
		who := b.who(token)
		b.want("", token, "triton")
		k := key{audience: "triton"}
		for k = range b.kept {
		}
		time.Sleep(time.Second)
		if err := b.verifier.Revoke(context.Background(), bearer.Revocation{Issuer: b.issuer.URL, Session: who.SessionID, UpTo: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if b.find(k) != nil || len(b.kept) != 0 {
			t.Error("it is still kept")
		}
	})
}

// However many tokens come, the memory for them is bounded.
func TestBounded(t *testing.T) {
	inBubble(t, func(b *bench) {
		who := b.who(b.issuer.Token("RS256"))
		for i := range maxKept + 100 {
			b.keep(key{audience: fmt.Sprint(i)}, &kept{who: who, at: b.clock.Now(), lives: time.Minute})
		}
		if n := len(b.kept); n != maxKept {
			t.Errorf("%d are kept", n)
		}
	})
}
