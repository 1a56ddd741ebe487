package usage

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// pass sends an answer through a Writer in pieces of so many bytes.
func pass(mediaType, answer string, status, size int, hide bool) (Usage, string) {
	out := httptest.NewRecorder()
	w := NewWriter(out, 400, hide)
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	for len(answer) > 0 {
		n := min(size, len(answer))
		if _, err := w.Write([]byte(answer[:n])); err != nil {
			panic(err)
		}
		answer = answer[n:]
	}
	return w.End(), out.Body.String()
}

// TestUsage: the shapes are those of the APIs' references: OpenAI's for chat
// completions, completions, embeddings and responses; Anthropic's for messages.
func TestUsage(t *testing.T) {
	const events, object = "text/event-stream", "application/json"
	for _, row := range []struct {
		name, mediaType, answer string
		want                    Usage
	}{
		{"chat completion", object, `{"id":"c","choices":[{"index":0}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":5}}}`,
			Usage{Input: 9, Output: 12, Cached: 4, Reasoning: 5}},
		{"embeddings", object, `{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}`, Usage{Input: 8}},
		{"response", object, `{"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":1},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":123}}`,
			Usage{Input: 36, Output: 87, Cached: 1, Reasoning: 2}},
		{"message", object, `{"type":"message","usage":{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":7,"output_tokens":3}}`,
			Usage{Input: 22, Output: 3, Cached: 7}},
		{"stream of chat completions", events,
			"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
			Usage{Input: 5, Output: 2}},
		{"usage in every chunk, as vLLM's continuous_usage_stats has it", events,
			"data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\ndata: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n",
			Usage{Input: 5, Output: 2}},
		{"stream of a response", events,
			"event: response.created\ndata: {\"response\":{\"usage\":null}}\n\nevent: response.completed\ndata: {\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}}\n\n",
			Usage{Input: 3, Output: 4}},
		{"stream of a response that is cut at its limit", events,
			"event: response.incomplete\ndata: {\"type\":\"response.incomplete\",\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}}\n\n", Usage{Input: 3, Output: 4}},
		{"stream of a response that fails", events,
			"event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n", Usage{Input: 3, Output: 1}},
		{"transcription", object, `{"text":"a","usage":{"type":"tokens","input_tokens":14,"output_tokens":5,"total_tokens":19}}`, Usage{Input: 14, Output: 5}},
		{"stream of a message, whose output counts up", events,
			"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":15}}\n\n",
			Usage{Input: 25, Output: 15}},
		{"lines that end with CR LF", events, "data: {\"usage\":{\"prompt_tokens\":1}}\r\n\r\n", Usage{Input: 1}},
		{"data in two lines", events, "data: {\"usage\":\ndata: {\"prompt_tokens\":1}}\n\n", Usage{Input: 1}},
		{"nothing told", object, `{"choices":[]}`, Usage{Input: 100, Output: 4, Estimated: true}},
		{"a stream that breaks off", events, "data: {\"choices\":[{}]}\n\ndata: {\"cho", Usage{Input: 100, Output: 9, Estimated: true}},
		{"no JSON", object, `usage`, Usage{Input: 100, Output: 2, Estimated: true}},
		{"a text that speaks of usage", events, "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\": {\\\"prompt_tokens\\\": 9000}\"}}]}\n\n",
			Usage{Input: 100, Output: 21, Estimated: true}},
	} {
		for _, size := range []int{1, 7, 1 << 20} {
			got, passed := pass(row.mediaType, row.answer, http.StatusOK, size, false)
			if got != row.want {
				t.Errorf("%s, in pieces of %d: %+v, not %+v", row.name, size, got, row.want)
			}
			if passed != row.answer {
				t.Errorf("%s, in pieces of %d: the caller got\n%q, not\n%q", row.name, size, passed, row.answer)
			}
		}
	}
}

// An error used nothing, whatever it says.
func TestErrorUsesNothing(t *testing.T) {
	if got, _ := pass("application/json", `{"usage":{"prompt_tokens":9}}`, http.StatusBadRequest, 9, false); got != (Usage{}) {
		t.Errorf("%+v", got)
	}
}

// The event that only tells the usage goes, and every other one stays, byte for byte.
func TestHidden(t *testing.T) {
	first, usage, done := "data: {\"choices\":[{}],\"usage\":null}\n\n", "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5}}\n\n", "data: [DONE]\n\n"
	for _, size := range []int{1, 2, 5, 1000} {
		got, passed := pass("text/event-stream", first+usage+done, http.StatusOK, size, true)
		if got.Input != 5 || passed != first+done {
			t.Errorf("in pieces of %d: %+v, %q", size, got, passed)
		}
	}
	// Azure OpenAI sends results of its filter with no choices and no usage first.
	filter := "data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\n"
	if _, passed := pass("text/event-stream", filter+first, http.StatusOK, 3, true); passed != filter+first {
		t.Errorf("%q", passed)
	}
}

// A model server that never ends an event takes no more memory than one may have.
func TestEndlessEvent(t *testing.T) {
	out := httptest.NewRecorder()
	w := NewWriter(out, 0, true)
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	piece := strings.Repeat("x", 64<<10)
	for range 64 {
		if _, err := w.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
		if len(w.kept) > maxEvent {
			t.Fatalf("%d bytes are kept", len(w.kept))
		}
	}
	w.End()
	if out.Body.Len() != 64*len(piece) {
		t.Errorf("%d of %d bytes passed", out.Body.Len(), 64*len(piece))
	}
}

// FuzzStream: whatever a model server sends, the caller gets every byte of it, in
// however many pieces, and no more is kept than may be.
func FuzzStream(f *testing.F) {
	f.Add("data: {\"choices\":[],\"usage\":{}}\n\n", 3)
	f.Add("\r\r\n\n\r\n", 1)
	f.Fuzz(func(t *testing.T, answer string, size int) {
		if _, passed := pass("text/event-stream", answer, http.StatusOK, max(size, 1), false); passed != answer {
			t.Errorf("%q became %q", answer, passed)
		}
	})
}
