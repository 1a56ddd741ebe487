package gateway

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keycloak-model-api/api/limit"
	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/internal/redistest"
	"keycloak-model-api/policy"
)

// replicas are several gateways that share a Redis.
func replicas(t *testing.T, server *redistest.Server, n int, change func(*Options), more ...policy.Model) (all []*fixture) {
	t.Helper()
	issuer := oidctest.Start()
	t.Cleanup(issuer.Close)
	for range n {
		all = append(all, newFixtureOf(t, issuer, func(o *Options) {
			o.Store = server.Store(t, issuer.URL)
			o.Outputs.Policy.Models = append(o.Outputs.Policy.Models, more...)
			if change != nil {
				change(o)
			}
		}))
	}
	return all
}

// A request with a proof of possession is answered by one replica of several, and
// by none while nobody can tell whether the proof was used. A bearer token needs no
// Redis.
func TestRequestsWhileRedisIsAway(t *testing.T) {
	server := redistest.Start(t)
	all := replicas(t, server, 2, nil)
	// The same request, wherever it goes.
	request := all[0].proven(t, inferIris, nil)
	to := func(f *fixture) *http.Request {
		r := request()
		r.URL.Host = f.url[len("http://"):]
		return r
	}
	if response, body := send(t, to(all[0])); response.StatusCode != 200 {
		t.Fatal(body)
	}
	response, body := send(t, to(all[1]))
	checkRefusal(t, response, body, inferIris, 401, "dpop_proof_replayed")

	server.Stop()
	request = all[0].proven(t, inferIris, oidctest.Claims{"sub": "somebody else"})
	response, body = send(t, to(all[0]))
	checkRefusal(t, response, body, inferIris, 503, "shared_state_unavailable")
	if response.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	token := all[0].issuer.Token("RS256")
	for _, as := range []struct{ method, path, token, contentType, body string }{
		{"POST", inferIris, token, jsonType, irisRow}, {"GET", "/v2/models/iris", token, "", ""}, {"GET", "/v1/models", token, "", ""}, {"GET", "/readyz", "", "", ""},
	} {
		if response, body := all[0].do(t, as.method, as.path, as.token, as.contentType, as.body); response.StatusCode != 200 {
			t.Errorf("%s %s: %s: %s", as.method, as.path, response.Status, body)
		}
	}
}

// usageOfTalks is how many tokens each answer of talks tells.
const usageOfTalks = 60

// talks is a language model of which running counts the requests under way.
func talks(t *testing.T, running, most *atomic.Int64) policy.Model {
	return openAIOf(t, "talks", func(w http.ResponseWriter, _ *http.Request) {
		if now := running.Add(1); now > most.Load() {
			most.Store(now) // nearly: the limit is held by Redis, not by this
		}
		defer running.Add(-1)
		time.Sleep(5 * time.Millisecond)
		w.Header().Set("Content-Type", jsonType)
		_, _ = io.WriteString(w, `{"choices":[{}],"usage":{"prompt_tokens":20,"completion_tokens":40}}`)
	})
}

// load sends n requests to all replicas at the same time, from callers that each
// wait for their answer, and returns how many got which status.
func load(t *testing.T, all []*fixture, n int) map[int]int {
	t.Helper()
	token := all[0].issuer.Token("RS256")
	var mu sync.Mutex
	statuses := map[int]int{}
	var group sync.WaitGroup
	for caller := range 12 {
		group.Go(func() {
			for i := range n / 12 {
				response, _ := all[(caller+i)%len(all)].do(t, "POST", "/v1/chat/completions", token, jsonType, `{"model":"talks"}`)
				mu.Lock()
				statuses[response.StatusCode]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return statuses
}

// Three gateways under load: never more requests than the limit, never more at once,
// and of tokens never more than the answers use that were under way when the limit
// was reached.
func TestLimitsOnAllReplicas(t *testing.T) {
	for _, row := range []struct {
		name  string
		limit policy.Limit
		least int // answers
		most  int
	}{
		{"requests", policy.Limit{Model: "talks", Requests: policy.Rate{Day: 50}}, 50, 50},
		{"a tier's requests", policy.Limit{Role: "model-api-access", Requests: policy.Rate{Hour: 50, Day: 70}}, 50, 50},
		{"tokens", policy.Limit{Model: "talks", Tokens: policy.Rate{Day: 50 * usageOfTalks}, Concurrent: 4}, 50, 53},
	} {
		t.Run(row.name, func(t *testing.T) {
			var running, most atomic.Int64
			all := replicas(t, redistest.Start(t), 3, nil, talks(t, &running, &most))
			for _, f := range all {
				f.limited(t, row.limit)
			}
			answered := 0
			for answered < row.least { // those that a full pool refuses try again
				got := load(t, all, 120)
				answered += got[200]
				if got[200]+got[429] != 120 {
					t.Fatalf("statuses %v", got)
				}
				if got[200] == 0 {
					break
				}
			}
			if answered += load(t, all, 60)[200]; answered < row.least || answered > row.most {
				t.Errorf("%d answers, want %d to %d", answered, row.least, row.most)
			}
			if row.limit.Concurrent > 0 && most.Load() > int64(row.limit.Concurrent) {
				t.Errorf("%d at once, want at most %d", most.Load(), row.limit.Concurrent)
			}
		})
	}
}

// While Redis is away, requests with limits get what -limits-without-redis says, and
// a metric tells; without a restart they are counted together again once it is back.
func TestRequestsWithLimitsWhileRedisIsAway(t *testing.T) {
	for _, row := range []struct {
		without  limit.Without
		answered int // of 60
		status   int // of the others
	}{{limit.Open, 60, 0}, {limit.Closed, 0, 503}, {limit.Local, 9, 429}} {
		t.Run(string(row.without), func(t *testing.T) {
			var running, most atomic.Int64
			server := redistest.Start(t)
			all := replicas(t, server, 3, func(o *Options) { o.LimitsWithoutRedis = row.without }, talks(t, &running, &most))
			for _, f := range all {
				f.limited(t, policy.Limit{Model: "talks", Requests: policy.Rate{Day: 11}})
			}
			waitFor(t, "the replicas to know how many they are", func() bool {
				for _, f := range all {
					if f.gateway.limiter.(*limit.Shared).Replicas() != 3 {
						return false
					}
				}
				return true
			})
			server.Stop()
			got := load(t, all, 60)
			if got[200] != row.answered || got[row.status] != 60-row.answered {
				t.Errorf("statuses %v", got)
			}
			response, body := all[0].do(t, "POST", "/v1/chat/completions", all[0].issuer.Token("RS256"), jsonType, `{"model":"talks"}`)
			if row.without == limit.Closed && (response.StatusCode != 503 || !strings.Contains(body, "shared_state_unavailable") || response.Header.Get("Retry-After") == "") {
				t.Errorf("%s: %s", response.Status, body)
			}
			server.Start()
			waitFor(t, "Redis to be used again", func() bool {
				for _, f := range all {
					if !f.gateway.options.Store.Status().Up {
						return false
					}
				}
				return true
			})
			if got := load(t, all, 60); got[200] != 11 || got[429] != 49 {
				t.Errorf("once Redis is back: statuses %v", got)
			}
		})
	}
}

// On a cluster the keys of each script are on one node.
func TestReplicasOnACluster(t *testing.T) {
	var running, most atomic.Int64
	all := replicas(t, redistest.StartCluster(t), 2, nil, talks(t, &running, &most))
	for _, f := range all {
		f.limited(t, policy.Limit{Model: "talks", Requests: policy.Rate{Day: 5}}, policy.Limit{Role: "model-api-access", Tokens: policy.Rate{Day: 10_000}, Concurrent: 20})
	}
	if got := load(t, all, 24); got[200] != 5 || got[429] != 19 {
		t.Errorf("limits: statuses %v", got)
	}
	request := all[0].proven(t, inferIris, nil)
	for _, want := range []int{200, 401} {
		if response, body := send(t, request()); response.StatusCode != want {
			t.Errorf("proof: %s, want %d: %s", response.Status, want, body)
		}
	}
	if response, body := all[1].do(t, "GET", "/readyz", "", "", ""); response.StatusCode != 200 {
		t.Error(body)
	}
	if got := all[0].gateway.options.Store.Status(); !got.Up || got.Failures != 0 {
		t.Errorf("%+v", got)
	}
}
