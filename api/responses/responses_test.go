package responses

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestOwners(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := New(func() time.Time { return now })
	ada, eve := Owner{"https://id", "ada", "m"}, Owner{"https://id", "eve", "m"}
	o.Keep("resp_1", ada)
	o.Keep("resp_1", eve) // a model server that gives another's id takes nothing
	if got, ok := o.Of("resp_1"); !ok || got != ada {
		t.Errorf("got %v, %v", got, ok)
	}
	if got, ok := o.Of("resp_2"); ok || got != (Owner{}) {
		t.Errorf("unknown: %v, %v", got, ok)
	}
	now = now.Add(Kept - time.Second)
	if _, ok := o.Of("resp_1"); !ok {
		t.Error("forgotten before its time")
	}
	now = now.Add(time.Second)
	if _, ok := o.Of("resp_1"); ok {
		t.Error("known after its time")
	}
	o.Keep("resp_1", eve)
	if got, _ := o.Of("resp_1"); got != eve {
		t.Errorf("after its time it is of %v", got)
	}
	o.Forget("resp_1")
	o.Forget("resp_1")
	if _, ok := o.Of("resp_1"); ok || o.all.Len() != 0 || len(o.each) != 0 || len(o.byID) != 0 {
		t.Errorf("something is left: %d, %d, %d", o.all.Len(), len(o.each), len(o.byID))
	}
}

// Who gets many responses drops the own oldest, not those of others (CWE-770).
func TestOwnersAreBounded(t *testing.T) {
	o := New(time.Now)
	o.Keep("of ada", Owner{"i", "ada", "m"})
	for i := range maxOne + 5 {
		o.Keep(fmt.Sprint("eve ", i), Owner{"i", "eve", "m"})
	}
	_, adas := o.Of("of ada")
	_, oldest := o.Of("eve 4")
	_, next := o.Of("eve 5")
	if !adas || oldest || !next || o.all.Len() != maxOne+1 {
		t.Errorf("ada's %v, the oldest %v, the next %v, %d in all", adas, oldest, next, o.all.Len())
	}
	for i := range maxAll {
		o.Keep(fmt.Sprint("many ", i), Owner{"i", fmt.Sprint(i % 1000), "m"})
	}
	if _, adas := o.Of("of ada"); adas || o.all.Len() != maxAll || len(o.byID) != maxAll {
		t.Errorf("%d in all", o.all.Len())
	}
}

// The id is known before the caller has it, in whatever parts a stream comes.
func TestWriter(t *testing.T) {
	const stream = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"object\":\"response\",\"id\":\"resp_1\"}}\n\n"
	for name, test := range map[string]struct {
		mediaType string
		status    int
		body      string
		want      string
	}{
		"JSON":                       {"application/json", 200, `{"id":"resp_1","output":[{"id":"msg_1"}]}`, "resp_1"},
		"JSON, behind others":        {"application/json; charset=utf-8", 200, ` {"output":[{"id":"msg_1"}],"x":{"id":"y"},"id":"resp_1"}`, "resp_1"},
		"escaped":                    {"application/json", 200, `{"i\u0064":"resp\u005f1"}`, "resp_1"},
		"a stream":                   {"text/event-stream", 200, ": hello\n\n" + stream + strings.ReplaceAll(stream, "resp_1", "resp_2"), "resp_1"},
		"a stream with CR LF":        {"text/event-stream", 200, strings.ReplaceAll(stream, "\n", "\r\n"), "resp_1"},
		"an error":                   {"application/json", 400, `{"id":"resp_1"}`, ""},
		"no id":                      {"application/json", 200, `{"output":[{"id":"msg_1"}]}`, ""},
		"an id that is a number":     {"application/json", 200, `{"id":1}`, ""},
		"an id within a list":        {"application/json", 200, `[{"id":"resp_1"}]`, ""},
		"no JSON":                    {"text/plain", 200, `id: resp_1`, ""},
		"an event that doesn't end":  {"text/event-stream", 200, strings.TrimSuffix(stream, "\n"), ""},
		"an event of something else": {"text/event-stream", 200, "data: {\"id\":\"chatcmpl-1\"}\n\n", ""},
	} {
		for _, size := range []int{1, 7, len(test.body)} {
			if size < len(test.body) && test.mediaType != "text/event-stream" {
				continue
			}
			got, passed := "", httptest.NewRecorder()
			w := NewWriter(passed, func(id string) {
				if got != "" {
					t.Errorf("%s: told of %s, too", name, id)
				}
				if size == len(test.body) && passed.Body.Len() > 0 {
					t.Errorf("%s: the caller had it before", name)
				}
				got = id
			})
			w.Header().Set("Content-Type", test.mediaType)
			w.WriteHeader(test.status)
			for rest := test.body; rest != ""; rest = rest[min(size, len(rest)):] {
				if _, err := io.WriteString(w, rest[:min(size, len(rest))]); err != nil {
					t.Fatal(err)
				}
			}
			if got != test.want || passed.Body.String() != test.body {
				t.Errorf("%s, in parts of %d: got %q, want %q", name, size, got, test.want)
			}
		}
	}
}
