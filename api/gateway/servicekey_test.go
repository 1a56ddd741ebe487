package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

const keySecret = "b1946ac92492d2347c6235b4d2611184a3f07c1e5d8b9620c7d4e5f60718293a"

// keyedClient has the policy of outputs name a client with a service key, and
// returns its key.
func keyedClient(t *testing.T, issuer *oidctest.Issuer, p *policy.Policy) string {
	t.Helper()
	p.Clients = append(p.Clients, policy.Client{ClientID: "batch", Kind: "service", Key: true}, policy.Client{ClientID: "other", Kind: "service"})
	issuer.Secrets["batch"], issuer.Secrets["other"] = keySecret, keySecret
	return serviceKey(t, "batch", keySecret)
}

func serviceKey(t *testing.T, id, secret string) string {
	t.Helper()
	key, err := policy.NewServiceKey(id, secret)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A service key is a credential wherever an access token is: from there on
// everything is as with a token of that client. Nothing of it reaches a model server
// or a record but which one it was.
func TestServiceKeys(t *testing.T) {
	var got sent
	f := newFixture(t, openAIOf(t, "talks", keeping(&got)), upstreamOf(t, "tensors", keeping(&got)))
	p := *f.gateway.access.Load().policy
	key := keyedClient(t, f.issuer, &p)
	if err := f.gateway.Reload(&policy.Outputs{Issuer: f.issuer.URL, Audience: f.issuer.Audience, Policy: &p}); err != nil {
		t.Fatal(err)
	}
	wrong, unnamed := serviceKey(t, "batch", keySecret[1:]), serviceKey(t, "other", keySecret)
	const chat, tensors = "/v1/chat/completions", "/v2/models/tensors/infer"
	bearer := func(s string) http.Header { return http.Header{"Authorization": {"Bearer " + s}} }
	for _, test := range []struct {
		name, path string
		headers    http.Header
		status     int
		code       string
	}{
		{"bearer", chat, bearer(key), 200, ""},
		{"bearer at tensors", tensors, bearer(key), 200, ""},
		{"scheme in another case (RFC 9110, 11.1)", tensors, http.Header{"Authorization": {"bearer " + key}}, 200, ""},
		{"x-api-key", chat, http.Header{"X-Api-Key": {key}}, 200, ""},
		{"api-key (Azure)", tensors, http.Header{"Api-Key": {key}}, 200, ""},
		{"the same in two", chat, http.Header{"X-Api-Key": {key}, "Authorization": {"Bearer " + key}}, 200, ""},
		{"two keys", chat, http.Header{"X-Api-Key": {key}, "Authorization": {"Bearer " + wrong}}, 400, "several_credentials"},
		{"beside a token", chat, http.Header{"X-Api-Key": {key}, "Authorization": {"Bearer " + f.issuer.Token("RS256")}}, 400, "several_credentials"},
		{"beside a cookie", chat, http.Header{"X-Api-Key": {key}, "Cookie": {"insecure-loopback-session=x"}}, 400, "several_credentials"},
		{"twice", chat, http.Header{"Authorization": {"Bearer " + key, "Bearer " + key}}, 400, "several_credentials"},
		{"with the scheme DPoP", chat, http.Header{"Authorization": {"DPoP " + key}}, 401, "token_malformed"},
		{"with the scheme Basic", chat, http.Header{"Authorization": {"Basic " + key}}, 401, "no_credential"},
		{"in the query", chat + "?key=" + key, http.Header{}, 400, "token_in_query"},
		{"where no protocol is", "/nothing", http.Header{"X-Api-Key": {key}}, 401, "no_credential"},
		{"cut off", chat, bearer(key[:len(key)-1]), 401, "service_key_malformed"},
		{"of another version", chat, bearer("kma_2" + key[5:]), 401, "service_key_malformed"},
		{"another secret", chat, bearer(wrong), 401, "service_key_refused"},
		{"a client without a key", chat, bearer(unnamed), 401, "service_key_refused"},
		{"no client", chat, bearer(serviceKey(t, "nobody", keySecret)), 401, "service_key_refused"},
		{"a model of others", "/v2/models/forbidden/infer", bearer(key), 404, "model_unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got = sent{}
			response, body := f.with(t, "POST", test.path, `{"model":"talks"}`, test.headers)
			if response.StatusCode != test.status || test.code != "" && !strings.Contains(body, `"`+test.code+`"`) {
				t.Errorf("got %s: %s, want %d %s", response.Status, body, test.status, test.code)
			}
			if test.status == 401 && response.Header.Get("WWW-Authenticate") == "" { // RFC 9110, 15.5.2
				t.Error("no challenge")
			}
			if test.status == 200 && (got.header.Get("X-Principal-Client") != "batch" || got.header["Authorization"] != nil || got.header["X-Api-Key"] != nil || got.header["Api-Key"] != nil) {
				t.Errorf("the model server got %v", got.header)
			}
		})
	}
	response, body := f.do(t, "POST", chat, key, "application/x-www-form-urlencoded", "a=b") // RFC 6750, 2.2
	checkOpenAIRefusal(t, response, body, 400, "invalid_request_error", "form_body")
	f.do(t, "GET", "/v2/models/"+key, "", "", "")
	for _, secret := range []string{key, wrong, unnamed, keySecret} {
		checkNoToken(t, f, secret)
		if strings.Contains(f.log.String(), secret[:20]) {
			t.Errorf("the log has the beginning of %.20s", secret)
		}
	}
	hash := func(key string) string { sum := sha256.Sum256([]byte(key)); return hex.EncodeToString(sum[:4]) }
	seen := map[any]int{}
	for _, record := range f.decisions(t) {
		seen[record["key"]]++
		if record["key"] == "batch/"+hash(key) && record["decision"] == "allow" && record["client"] != "batch" {
			t.Errorf("a record of a key has %v", record)
		}
	}
	for _, want := range []string{"batch/" + hash(key), "batch/" + hash(wrong), "/" + hash(unnamed)} {
		if seen[want] == 0 {
			t.Errorf("no record has the key %s: %v", want, seen)
		}
	}
}

// Where the policy names no client with a key, none is exchanged, and a key that a
// reload takes away ends at once.
func TestServiceKeysAreOff(t *testing.T) {
	f := newFixture(t)
	f.issuer.SetSecret("batch", keySecret)
	asked := 0
	f.issuer.Override(nil)
	key := serviceKey(t, "batch", keySecret)
	response, body := f.do(t, "GET", "/v2", key, "", "")
	checkRefusal(t, response, body, "/v2", http.StatusUnauthorized, "service_key_refused")
	f.issuer.Override(func(http.ResponseWriter, *http.Request) { asked++ })
	f.do(t, "GET", "/v2", key, "", "")
	f.issuer.Override(nil)
	if asked != 0 {
		t.Errorf("the issuer was asked %d times", asked)
	}
}

// While another key of the client is being checked, or the issuer is away, a key that
// is not known is neither right nor wrong.
func TestServiceKeysNotChecked(t *testing.T) {
	f := newFixture(t)
	p := *f.gateway.access.Load().policy
	key := keyedClient(t, f.issuer, &p)
	if err := f.gateway.Reload(&policy.Outputs{Issuer: f.issuer.URL, Audience: f.issuer.Audience, Policy: &p}); err != nil {
		t.Fatal(err)
	}
	asked, release := make(chan bool, 10), make(chan bool)
	f.issuer.Override(func(w http.ResponseWriter, _ *http.Request) {
		asked <- true
		<-release
		w.WriteHeader(http.StatusBadGateway)
	})
	done := make(chan string)
	go func() {
		response, body := f.do(t, "GET", "/v2", key, "", "")
		done <- response.Status + body
	}()
	<-asked
	response, body := f.do(t, "GET", "/v2", serviceKey(t, "batch", keySecret[1:]), "", "")
	checkRefusal(t, response, body, "/v2", http.StatusTooManyRequests, "service_key_waits")
	close(release)
	if got := <-done; !strings.Contains(got, "service_key_unavailable") || !strings.HasPrefix(got, "503") || response.Header.Get("Retry-After") == "" {
		t.Errorf("got %s", got)
	}
	f.issuer.SetOutage(false)
}

// A stream of who has sent a key outlasts the access token and an outage of the
// issuer, and ends within a minute of the client's.
func TestStreamsOfServiceKeys(t *testing.T) {
	for _, test := range []struct {
		name   string
		happen func(*oidctest.Issuer)
		ends   bool
	}{
		{"the token expires", func(*oidctest.Issuer) {}, false},
		{"the issuer is away", func(i *oidctest.Issuer) { i.SetOutage(true) }, false},
		{"a not-before", func(i *oidctest.Issuer) { i.SetNotBefore(time.Now()) }, false},
		{"the client is disabled", func(i *oidctest.Issuer) { i.Override(nil); i.SetSecret("batch", "") }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			issuer := oidctest.New("https://id.example/realms/example-realm")
			options := testOptions(issuer, &syncBuffer{})
			key := keyedClient(t, issuer, options.Outputs.Policy)
			synctest.Test(t, func(t *testing.T) {
				g, gone := streamingGateway(t, issuer, options, time.Hour)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				r := httptest.NewRequestWithContext(ctx, "POST", "/v1/chat/completions", strings.NewReader(`{"model":"talks","stream":true}`))
				r.Header = http.Header{"Content-Type": {jsonType}, "X-Api-Key": {key}}
				go (&answered{ResponseRecorder: httptest.NewRecorder()}).take(g, r)
				time.Sleep(10 * time.Second)
				began := time.Now()
				test.happen(issuer)
				select {
				case <-gone:
				case <-time.After(20 * time.Minute):
					leave()
					<-gone
				}
				if took := time.Since(began); took < 10*time.Second || test.ends != (took <= time.Minute) {
					t.Errorf("it went on for %v", took)
				}
			})
		})
	}
}
