// Package usage reads from the answers of language models how many tokens they
// used, as the answers pass: of OpenAI's APIs (chat completions, completions,
// embeddings, responses) and Anthropic's (messages), as JSON and as streams of
// events.
package usage

import (
	"bytes"
	"mime"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"keycloak-model-api/api/eventstream"
)

// Usage is what one request used, in tokens.
type Usage struct {
	Input, Output int64 // all of them: cached and reasoning tokens are parts of these
	Cached        int64 // of Input, read from the model server's cache
	Reasoning     int64 // of Output
	Estimated     bool  // by bytes, since the model server told nothing
}

// Total is what a limit is charged with: 0 for nil.
func (u *Usage) Total() int64 {
	if u == nil {
		return 0
	}
	return u.Input + u.Output
}

// Bounds of what is kept of an answer to read it.
const (
	maxAnswer = 4 << 20 // of JSON; a larger one is estimated
	maxEvent  = 1 << 20 // of a stream; a larger one passes unread
	// bytesPerToken is what English text takes, about.
	bytesPerToken = 4
)

// Writer passes an answer on to a caller and reads it. It is for one answer.
type Writer struct {
	http.ResponseWriter
	hide    bool // drop the event that only tells the usage
	request int  // bytes of the request
	stream  bool // of events
	events  eventstream.Splitter
	failed  bool   // the status tells of an error, which used nothing
	kept    []byte // JSON so far, or an event that has not ended
	passed  int64  // bytes of the answer
	counted Usage
	told    bool // the model server told its usage
}

// NewWriter reads the answer to a request whose body had so many bytes. hide drops
// the event of a stream of chat completions that only tells the usage, which came
// since the API asked for it and not the caller.
func NewWriter(w http.ResponseWriter, request int, hide bool) *Writer {
	return &Writer{ResponseWriter: w, request: request, hide: hide}
}

// Unwrap lets http.ResponseController flush and set deadlines.
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader looks at what kind of answer begins.
func (w *Writer) WriteHeader(status int) {
	mediaType := w.Header().Get("Content-Type")
	if mediaType != "application/json" { // as most are
		mediaType, _, _ = mime.ParseMediaType(mediaType)
	}
	w.stream, w.failed = mediaType == "text/event-stream", status >= 300
	if length, err := strconv.Atoi(w.Header().Get("Content-Length")); err == nil && length > 0 && length <= maxAnswer && !w.stream {
		w.kept = make([]byte, 0, length)
	}
	if w.stream && w.hide {
		w.Header().Del("Content-Length")
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write passes b on. An event that must be read whole waits for its end.
func (w *Writer) Write(b []byte) (int, error) {
	w.passed += int64(len(b))
	if !w.stream {
		if len(w.kept)+len(b) <= maxAnswer {
			w.kept = append(w.kept, b...)
		}
		return w.ResponseWriter.Write(b)
	}
	read := len(w.kept)
	w.kept = append(w.kept, b...)
	for {
		n := w.events.Next(w.kept[read:])
		if n == 0 {
			break
		}
		n, read = read+n, 0
		event := w.kept[:n]
		if usageAlone := w.event(event); !usageAlone || !w.hide {
			if _, err := w.ResponseWriter.Write(event); err != nil {
				return 0, err
			}
		}
		w.kept = w.kept[n:]
	}
	if len(w.kept) > maxEvent {
		return len(b), w.rest()
	}
	if len(w.kept) == 0 {
		w.kept = nil // not the whole answer's memory for as long as it lasts
	}
	return len(b), nil
}

// rest passes on what is kept of an event that has not ended.
func (w *Writer) rest() error {
	kept := w.kept
	w.kept = nil
	if len(kept) == 0 {
		return nil
	}
	_, err := w.ResponseWriter.Write(kept)
	return err
}

// End ends the answer and returns what it used. Of one that broke off it is what
// was told before, or an estimate of what was seen.
func (w *Writer) End() Usage {
	switch {
	case w.stream:
		_ = w.rest() // the caller is told by the connection if it is gone
	case int64(len(w.kept)) == w.passed:
		w.read(w.kept)
	}
	switch {
	case w.failed:
		return Usage{}
	case w.told:
		return w.counted
	}
	estimate := func(n int64) int64 { return (n + bytesPerToken - 1) / bytesPerToken }
	return Usage{Input: estimate(int64(w.request)), Output: estimate(w.passed), Estimated: true}
}

// event reads one event and says whether it only tells the usage.
func (w *Writer) event(event []byte) (usageAlone bool) {
	if !bytes.Contains(event, []byte(`"usage"`)) {
		return false
	}
	return w.read(eventstream.Data(event))
}

// counts are the members of usage in all APIs.
type counts struct {
	PromptTokens     int64 `json:"prompt_tokens"`     // OpenAI: chat completions, completions, embeddings
	CompletionTokens int64 `json:"completion_tokens"` // OpenAI: chat completions, completions
	InputTokens      int64 `json:"input_tokens"`      // OpenAI: responses. Anthropic: without those of the cache
	OutputTokens     int64 `json:"output_tokens"`     // OpenAI: responses. Anthropic

	PromptDetails     details `json:"prompt_tokens_details"`
	CompletionDetails details `json:"completion_tokens_details"`
	InputDetails      details `json:"input_tokens_details"`
	OutputDetails     details `json:"output_tokens_details"`

	CacheRead     int64 `json:"cache_read_input_tokens"`     // Anthropic
	CacheCreation int64 `json:"cache_creation_input_tokens"` // Anthropic
}

type details struct {
	Cached    int64 `json:"cached_tokens"`
	Reasoning int64 `json:"reasoning_tokens"`
}

// holder is what holds them in an event.
type holder struct {
	Usage *counts `json:"usage"`
}

// read takes the usage out of a JSON text: a whole answer, or the data of an event.
// Every API tells totals so far, so the largest of each counts, and none twice.
func (w *Writer) read(text []byte) (usageAlone bool) {
	var answer struct {
		Usage    *counts   `json:"usage"`
		Choices  *elements `json:"choices"`
		Response holder    `json:"response"` // of response.completed, .incomplete and .failed
		Message  holder    `json:"message"`  // of message_start
	}
	if json.Unmarshal(text, &answer, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) != nil {
		return false // it is the caller's to make something of it
	}
	for _, c := range []*counts{answer.Usage, answer.Response.Usage, answer.Message.Usage} {
		if c == nil {
			continue
		}
		w.told = true
		cached := c.PromptDetails.Cached + c.InputDetails.Cached + c.CacheRead
		w.counted.Input = max(w.counted.Input, c.PromptTokens+c.InputTokens+c.CacheRead+c.CacheCreation)
		w.counted.Output = max(w.counted.Output, c.CompletionTokens+c.OutputTokens)
		w.counted.Cached = max(w.counted.Cached, cached)
		w.counted.Reasoning = max(w.counted.Reasoning, c.CompletionDetails.Reasoning+c.OutputDetails.Reasoning)
	}
	return answer.Usage != nil && answer.Choices != nil && *answer.Choices == 0
}

// elements is how many elements an array has.
type elements int

// UnmarshalJSONFrom counts them, and copies none.
func (n *elements) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '[' {
		*n = -1
		return dec.SkipValue()
	}
	_, err := dec.ReadToken()
	for ; err == nil && dec.PeekKind() != ']'; *n++ {
		err = dec.SkipValue()
	}
	if err == nil {
		_, err = dec.ReadToken()
	}
	return err
}
