package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"
)

// openaiNodeVersion is the last one that Node 20 runs.
const openaiNodeVersion = "6.49.0"

// callsTo is what a client's calls are sent to: an API, one whose issuer is away,
// one that waits a second for its model servers.
type callsTo struct{ url, outage, impatient, token string }

// env are the variables that the scripts in testdata/llmclients read.
func (c callsTo) env() []string {
	return []string{"URL=" + c.url, "OUTAGE=" + c.outage, "IMPATIENT=" + c.impatient, "TOKEN=" + c.token}
}

// nodeScript runs a script in a folder of installNode.
func nodeScript(folder, script string) *exec.Cmd {
	command := exec.Command("node", script)
	command.Dir = folder
	return command
}

// gpt is OpenAI's client for Go.
func (c callsTo) gpt(more ...option.RequestOption) openai.Client {
	return openai.NewClient(append([]option.RequestOption{option.WithBaseURL(c.url + "/v1"), option.WithAPIKey(c.token), option.WithMaxRetries(0)}, more...)...)
}

// asking is a request for a chat completion.
func asking(model, content string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(content)}}
}

// callGo returns what OpenAI's client for Go gets, as runClient returns it of others.
func (c callsTo) callGo(t *testing.T) map[string]any {
	t.Helper()
	ctx, came := t.Context(), map[string]any{}
	call := func(name string, work func() (any, error)) {
		got, err := work()
		if refused, ok := errors.AsType[*openai.Error](err); ok {
			got = map[string]any{"status": float64(refused.StatusCode), "code": refused.Code}
		} else if err != nil {
			got = map[string]any{"message": err.Error()}
		}
		came[name] = got
	}
	text := func(model, content string, more ...option.RequestOption) func() (any, error) {
		return func() (any, error) {
			client := c.gpt(more...)
			completion, err := client.Chat.Completions.New(ctx, asking(model, content))
			if err != nil {
				return nil, err
			}
			return completion.Choices[0].Message.Content, nil
		}
	}
	tools := asking("tools", "Hello")
	tools.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
		Name:       "weather",
		Parameters: shared.FunctionParameters{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}},
	})}
	tool := func(completion *openai.ChatCompletion) (any, error) {
		called := completion.Choices[0].Message.ToolCalls[0].Function
		var arguments map[string]any
		err := json.Unmarshal([]byte(called.Arguments), &arguments)
		return []any{called.Name, arguments}, err
	}
	stream := func(params openai.ChatCompletionNewParams) (whole openai.ChatCompletionAccumulator, chunks int, err error) {
		client := c.gpt()
		s := client.Chat.Completions.NewStreaming(ctx, params)
		defer s.Close()
		for ; s.Next(); chunks++ {
			if !whole.AddChunk(s.Current()) {
				return whole, chunks, fmt.Errorf("chunk %d does not fit", chunks)
			}
		}
		return whole, chunks, s.Err()
	}
	to := func(url string) option.RequestOption { return option.WithBaseURL(url + "/v1") }

	call("chat", text("org/talks:8b", "Hello"))
	call("chat stream", func() (any, error) {
		whole, chunks, err := stream(asking("org/talks:8b", "Hello"))
		if err != nil {
			return nil, err
		}
		return map[string]any{"text": whole.Choices[0].Message.Content, "several": chunks > 2}, nil
	})
	call("tools", func() (any, error) {
		client := c.gpt()
		completion, err := client.Chat.Completions.New(ctx, tools)
		if err != nil {
			return nil, err
		}
		return tool(completion)
	})
	call("tools stream", func() (any, error) {
		whole, _, err := stream(tools)
		if err != nil {
			return nil, err
		}
		return tool(&whole.ChatCompletion)
	})
	call("cut stream", func() (any, error) { _, _, err := stream(asking("broken", "Hello")); return nil, err })
	call("headers", func() (any, error) {
		names, err := text("headers", "Hello", option.WithOrganization("org-x"), option.WithProject("p"), option.WithHeader("OpenAI-Beta", "assistants=v2"))()
		if err != nil {
			return nil, err
		}
		var list []any
		err = json.Unmarshal([]byte(names.(string)), &list)
		return list, err
	})
	call("401", text("org/talks:8b", "Hello", option.WithAPIKey("sk-none")))
	call("403", text("vectors", "Hello"))
	call("404", text("nothing", "Hello"))
	call("413", text("org/talks:8b", strings.Repeat("x", 17<<20)))
	call("429", text("busy", "Hello"))
	call("503", text("org/talks:8b", "Hello", to(c.outage)))
	call("repeated", text("flaky", "go", option.WithMaxRetries(2)))
	call("time-out", text("slow", "go", option.WithMaxRetries(2), to(c.impatient)))
	return came
}
