package playground

import (
	"encoding/json"
	"slices"

	"keycloak-model-api/policy"
)

// way is one way to ask a language model. The script sends the request: answers
// come as streams, in the words of the API that is named here.
type way struct {
	Action string // as the policy names it
	Label  string
	Path   string // of the API, as its clients know it
	Stream bool   // answers can be read while they are made
}

// waysOf returns how pages can ask the models of a protocol; none of one that has no
// page.
func waysOf(protocol string) []way {
	switch protocol {
	case policy.ProtocolOpenAI:
		return []way{
			{"chat", "Chat", "/v1/chat/completions", true},
			{"completions", "Completion", "/v1/completions", true},
			{"embeddings", "Embeddings", "/v1/embeddings", false},
		}
	case policy.ProtocolAnthropic:
		return []way{{"messages", "Chat", "/v1/messages", true}}
	}
	return nil
}

// Chat says whether the way is a conversation.
func (w way) Chat() bool { return w.Action == "chat" || w.Action == "messages" }

// converse prepares the page for one of the model's ways, the first unless another
// is asked for.
func (m *modelView) converse(action string) {
	m.Way = m.Ways[max(0, slices.IndexFunc(m.Ways, func(w way) bool { return w.Action == action }))]
	m.URL = m.API + m.Way.Path
	m.Request = m.Way.example(m.Name)
}

// example is a request as the page shows it before anything was sent.
func (w way) example(model string) string {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	request := struct {
		Model     string    `json:"model"`
		MaxTokens int       `json:"max_tokens,omitempty"`
		Messages  []message `json:"messages,omitempty"`
		Prompt    string    `json:"prompt,omitempty"`
		Input     []string  `json:"input,omitempty"`
	}{Model: model}
	switch w.Action {
	case "messages":
		request.MaxTokens = 1024 // Anthropic's API demands it
		fallthrough
	case "chat":
		request.Messages = []message{{"user", "Hello!"}}
	case "completions":
		request.Prompt = "Once upon a time"
	case "embeddings":
		request.Input = []string{"A cat sat on a mat.", "A feline was resting on a rug."}
	}
	text, _ := json.Marshal(request) // of strings and a number
	return string(text)
}
