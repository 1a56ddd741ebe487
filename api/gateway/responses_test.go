package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"keycloak-model-api/internal/oidctest"
	"keycloak-model-api/policy"
)

// A model server keeps the responses of all callers in one account. Each caller
// reaches the own ones alone: to others they are as if they were not there.
func TestResponsesOfOthers(t *testing.T) {
	var got sent
	var made atomic.Int64
	server := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = sent{r.Header, r.Method + " " + r.RequestURI, string(body)}
		if strings.Contains(got.body, `"stream":true`) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = fmt.Fprintf(w, "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_%d\"}}\n\n", made.Add(1))
			return
		}
		w.Header().Set("Content-Type", jsonType)
		_, _ = fmt.Fprintf(w, `{"id":"resp_%d","object":"response"}`, made.Add(1))
	}
	keeps, also, stateless := openAIOf(t, "keeps", server), openAIOf(t, "also", server), openAIOf(t, "stateless", server)
	keeps.Stateful, also.Stateful = true, true
	f := newFixture(t, keeps, also, stateless)
	ada, eve := f.issuer.Token("RS256"), f.issuer.Token("RS256", oidctest.Claims{"sub": "eve", "sid": "another"})
	const path = "/v1/responses"
	ask := func(token, body string) (int, string) {
		got = sent{}
		response, answer := f.do(t, "POST", path, token, jsonType, body)
		return response.StatusCode, answer
	}
	unknown := func(name, method, target, token, body string) {
		t.Helper()
		got = sent{}
		response, answer := f.do(t, method, target, token, jsonType, body)
		if response.StatusCode != 404 || !strings.Contains(answer, `"code":"response_unknown"`) || got.uri != "" {
			t.Errorf("%s: %s %s; the model server got %q", name, response.Status, answer, got.uri)
		}
	}

	if status, answer := ask(ada, `{"model":"keeps","input":"a"}`); status != 200 || !strings.Contains(answer, "resp_1") || got.body != `{"model":"keeps","input":"a"}` {
		t.Fatalf("%d %s; the model server got %s", status, answer, got.body)
	}
	if status, _ := ask(ada, `{"model":"keeps","input":"a","stream":true}`); status != 200 {
		t.Fatalf("stream: %d", status)
	}
	for _, id := range []string{"resp_1", "resp_2"} {
		unknown("another's", "GET", path+"/"+id, eve, "")
		unknown("another's, to delete", "DELETE", path+"/"+id, eve, "")
		unknown("another's, to continue", "POST", path, eve, `{"model":"keeps","previous_response_id":"`+id+`"}`)
		unknown("by another model", "POST", path, ada, `{"model":"also","previous_response_id":"`+id+`"}`)
		if response, _ := f.do(t, "GET", path+"/"+id, ada, "", ""); response.StatusCode != 200 || got.uri != "GET "+path+"/"+id {
			t.Errorf("own: %s, the model server got %s", response.Status, got.uri)
		}
		if status, _ := ask(ada, `{"model":"keeps","previous_response_id":"`+id+`"}`); status != 200 {
			t.Errorf("own, to continue: %d", status)
		}
	}
	records := f.decisions(t)
	if last := records[len(records)-1]; last["model"] != "keeps" || last["action"] != "responses" {
		t.Errorf("recorded as %v", last)
	}
	// An unknown one is the same answer, to the byte.
	_, other := f.do(t, "GET", path+"/resp_1", eve, "", "")
	if _, none := f.do(t, "GET", path+"/resp_none", eve, "", ""); none != other {
		t.Errorf("%s, of another %s", none, other)
	}
	unknown("a conversation", "POST", path, ada, `{"model":"keeps","conversation":"conv_1"}`)
	unknown("a conversation as an object", "POST", path, ada, `{"model":"keeps","conversation":{"id":"resp_1"}}`)
	unknown("an id that is a list", "POST", path, ada, `{"model":"keeps","previous_response_id":["resp_1"]}`)
	if status, answer := ask(ada, `{"model":"stateless","previous_response_id":"resp_1"}`); status != 400 || !strings.Contains(answer, "state_refused") {
		t.Errorf("of a model that keeps none: %d %s", status, answer)
	}
	if status, _ := ask(ada, `{"model":"keeps","store":false,"input":"a"}`); status != 200 || got.body != `{"model":"keeps","store":false,"input":"a"}` {
		t.Errorf("not to be stored: %d, the model server got %s", status, got.body)
	}
	unknown("one that is not stored", "GET", path+fmt.Sprintf("/resp_%d", made.Load()), ada, "")
	if response, _ := f.do(t, "PUT", path+"/resp_1", ada, jsonType, "{}"); response.StatusCode != 405 || response.Header.Get("Allow") != "GET, HEAD, DELETE" {
		t.Errorf("PUT: %s, Allow: %q", response.Status, response.Header.Get("Allow"))
	}
	for _, below := range []string{"/resp_1/cancel", "/resp_1/input_items"} {
		if response, answer := f.do(t, "POST", path+below, ada, jsonType, "{}"); response.StatusCode != 404 || !strings.Contains(answer, "not_found") {
			t.Errorf("%s: %s %s", below, response.Status, answer)
		}
	}

	if response, _ := f.do(t, "DELETE", path+"/resp_1", ada, "", ""); response.StatusCode != 200 || got.uri != "DELETE "+path+"/resp_1" || got.body != "" {
		t.Errorf("delete: %s, the model server got %s", response.Status, got.uri)
	}
	unknown("deleted", "GET", path+"/resp_1", ada, "")

	// Who may not call the model any more doesn't reach what was made with it.
	stricter := *f.gateway.access.Load().policy
	stricter.Models = append([]policy.Model(nil), stricter.Models...)
	for i := range stricter.Models {
		if stricter.Models[i].Name == "keeps" {
			stricter.Models[i].Allow = policy.Conditions{Roles: []string{"another"}}
		}
	}
	if err := f.gateway.Reload(&policy.Outputs{Issuer: f.issuer.URL, Audience: f.issuer.Audience, Policy: &stricter}); err != nil {
		t.Fatal(err)
	}
	if response, answer := f.do(t, "GET", path+"/resp_2", ada, "", ""); response.StatusCode != 404 || !strings.Contains(answer, "model_unknown") {
		t.Errorf("without the role: %s %s", response.Status, answer)
	}
}
