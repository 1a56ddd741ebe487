package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"keycloak-model-api/policy"
)

// irisRow is an inference request that the iris model answers.
const irisRow = `{"id":"1","inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2]}]}`

func testPolicy(more ...policy.Model) *policy.Policy {
	return &policy.Policy{
		Version: policy.Version, BaseRole: "model-api-access",
		Models: append([]policy.Model{
			{Name: "iris", Allow: policy.Conditions{Roles: []string{"model-api-access"}}, Embedded: "iris"},
			{Name: "forbidden", Allow: policy.Conditions{Roles: []string{"model-forbidden"}}, Embedded: "iris"},
		}, more...),
	}
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func send(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	response, err := http.DefaultTransport.RoundTrip(r.WithContext(ctx)) // follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// waitFor returns when ready does, or fails the test after ten seconds.
func waitFor(t *testing.T, what string, ready func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !ready() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited too long for %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// syncBuffer is a log that one goroutine reads while others write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
