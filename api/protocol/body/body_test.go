package body

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"keycloak-model-api/api/protocol"
	"keycloak-model-api/api/refusal"
	"keycloak-model-api/policy"
)

func code(err error) refusal.Code {
	var refused *refusal.Error
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// A body in which two readers may find two models is one of two (CWE-436): what
// was judged would not be what runs.
func TestReadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                                "",
		"no object":                              `["model"]`,
		"text":                                   `"model"`,
		"no model":                               `{"messages":[]}`,
		"model null":                             `{"model":null}`,
		"model empty":                            `{"model":""}`,
		"model a number":                         `{"model":1}`,
		"model a list":                           `{"model":["a","b"]}`,
		"twice (RFC 8259, 4)":                    `{"model":"a","model":"b"}`,
		"twice, once escaped":                    `{"model":"a","mod\u0065l":"b"}`,
		"twice with a surrogate pair":            `{"model":"a","\ud83d\ude00":1,"😀":2}`,
		"in another case, as Go reads it":        `{"model":"a","Model":"b"}`,
		"in another case first":                  `{"MODEL":"b","model":"a"}`,
		"in another case alone":                  `{"Model":"a"}`,
		"in another case, escaped":               `{"model":"a","\u004dodel":"b"}`,
		"another member in two cases":            `{"model":"a","x":1,"X":2}`,
		"stream with a long s (Unicode folding)": `{"model":"a","ſtream":true}`,
		"store in another case":                  `{"model":"a","Store":true}`,
		"a steering member in another case":      `{"model":"a","Api_Base":"http://x"}`,
		"twice within":                           `{"model":"a","messages":[{"content":"x","content":"y"}]}`,
		"a byte order mark (RFC 8259, 8.1)":      "\ufeff{\"model\":\"a\"}",
		"a second value":                         `{"model":"a"}{"model":"b"}`,
		"a second line":                          "{\"model\":\"a\"}\n{\"model\":\"b\"}",
		"something behind it":                    `{"model":"a"} x`,
		"NUL behind it":                          "{\"model\":\"a\"}\x00",
		"a comma at the end":                     `{"model":"a",}`,
		"a comment":                              `{"model":"a"/*,"model":"b"*/}`,
		"single quotes":                          `{'model':'a'}`,
		"NaN, as Python's json reads it":         `{"model":"a","temperature":NaN}`,
		"invalid UTF-8 (RFC 8259, 8.1)":          "{\"model\":\"a\xff\"}",
		"overlong UTF-8":                         "{\"mod\xc1\xa5l\":\"b\",\"model\":\"a\"}",
		"half a surrogate pair":                  `{"model":"\ud800"}`,
		"UTF-16":                                 "\xff\xfe{\x00}\x00",
		"cut":                                    `{"model":"a"`,
		"deeper than anybody needs":              `{"model":"a","x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}",
		"cut in the deep":                        `{"model":"a","x":` + strings.Repeat("[", 9_000),
	} {
		if b, err := Read([]byte(text)); code(err) != refusal.BodyMalformed {
			t.Errorf("%s: got %v, %v", name, b, err)
		}
	}
	for name, text := range map[string]string{
		"plain":                        `{"model":"m"}`,
		"escaped name and value":       `{"mod\u0065l":"\u006d"}`,
		"last, behind what is ours":    `{"messages":[{"role":"user","content":"model"}],"model":"m"}`,
		"members within in two cases":  `{"model":"m","tools":[{"Model":1,"model":2,"MODEL":3}]}`,
		"space around":                 "\r\n\t {\"model\" : \"m\" } \n",
		"a model within":               `{"metadata":{"model":"other"},"model":"m"}`,
		"names that only look like it": `{"models_":1,"mоdel":"with a Cyrillic o","model":"m","":0}`,
	} {
		if b, err := Read([]byte(text)); err != nil || b.Model != "m" {
			t.Errorf("%s: got %v, %v", name, b, err)
		}
	}
}

// Members by which a caller would steer the model server, or have it read what
// the caller can't, each with its source. None passes unless the model allows it.
func TestSteering(t *testing.T) {
	image := func(url string) string {
		return `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":` + url + `}}]}]`
	}
	for _, test := range []struct{ name, text, member string }{
		{"another server (LiteLLM, CVE-2024-6587)", `"api_base":"http://169.254.169.254"`, "api_base"},
		{"another server by OpenAI's name", `"base_url":"http://169.254.169.254"`, "base_url"},
		{"a key of the caller's", `"api_key":"sk-x"`, "api_key"},
		{"a configuration (LiteLLM)", `"user_config":{"model_list":[]}`, "user_config"},
		{"a cloud's parameters (LiteLLM)", `"aws_sts_endpoint":"http://x"`, "aws_sts_endpoint"},
		{"another model on failure (LiteLLM)", `"fallbacks":["gpt-4"]`, "fallbacks"},
		{"another model on failure (OpenRouter)", `"models":["gpt-4"]`, "models"},
		{"headers", `"extra_headers":{"x":"y"}`, "extra_headers"},
		{"a tensor that is loaded (vLLM, CVE-2025-62164)", `"prompt_embeds":"gAJ9"`, "prompt_embeds"},
		{"a template, which is a program (vLLM, CVE-2025-61620)", `"chat_template":"{{ x }}"`, "chat_template"},
		{"its arguments", `"chat_template_kwargs":{"chat_template":"x"}`, "chat_template_kwargs"},
		{"a grammar that is compiled (vLLM, CVE-2025-48943)", `"guided_regex":"("`, "guided_regex"},
		{"an import (vLLM)", `"logits_processors":["os.system"]`, "logits_processors"},
		{"code (SGLang)", `"custom_logit_processor":"x"`, "custom_logit_processor"},
		{"an adapter from a path", `"lora_path":"/etc"`, "lora_path"},
		{"another tenant's cache (vLLM)", `"cache_salt":"x"`, "cache_salt"},
		{"before all others (vLLM)", `"priority":-100`, "priority"},
		{"work without an end (OpenAI)", `"background":true`, "background"},
		{"processing of media (vLLM)", `"mm_processor_kwargs":{}`, "mm_processor_kwargs"},
		{"memory of the server (Triton)", `"shared_memory_region":"x"`, "shared_memory_region"},
		{"a stored prompt (OpenAI)", `"prompt":{"id":"pmpt_1"}`, "prompt.id"},

		{"an image of the inner network (vLLM, CVE-2025-6242)", image(`"http://169.254.169.254/latest"`), "image_url"},
		{"an image of a file", image(`"file:///etc/passwd"`), "image_url"},
		{"an image of a path", image(`"/etc/passwd"`), "image_url"},
		{"an image in capitals", image(`"HTTPS://x"`), "image_url"},
		{"an image behind a space", image(`" http://x"`), "image_url"},
		{"an image with an escape", image(`"\u0068ttp://x"`), "image_url"},
		{"an image without a scheme", image(`"//x/y"`), "image_url"},
		{"an image as text (OpenAI's responses)", `"input":[{"type":"message","content":[{"type":"input_image","image_url":"http://x"}]}]`, "image_url"},
		{"an image in capitals of the member", strings.Replace(image(`"http://x"`), `"image_url":`, `"Image_URL":`, 1), "image_url"},
		{"an image deep within", `"input":[[[{"x":{"image_url":{"url":"http://x"}}}]]]`, "image_url"},
		{"a video (vLLM)", `"messages":[{"content":[{"video_url":{"url":"http://x"}}]}]`, "video_url"},
		{"sound by URL (vLLM)", `"messages":[{"content":[{"input_audio":{"data":"http://x"}}]}]`, "input_audio"},
		{"a file by URL (OpenAI)", `"input":[{"content":[{"type":"input_file","file_url":"http://x"}]}]`, "file_url"},
		{"an image by URL (Anthropic)", `"messages":[{"content":[{"type":"image","source":{"type":"url","url":"http://x"}}]}]`, "source.url"},
		{"a tool server (OpenAI)", `"tools":[{"type":"mcp","server_url":"http://x"}]`, "server_url"},
		{"tool servers (Anthropic)", `"mcp_servers":[{"url":"http://x"}]`, "mcp_servers"},
		{"a stored file", `"messages":[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}]`, "file_id"},
		{"stored documents", `"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]`, "vector_store_ids"},
		{"a stored item", `"input":[{"type":"item_reference","id":"msg_1"}]`, "item_reference"},
		{"a stored item without a type", `"input":[{"id":"msg_1"}]`, "item_reference"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := Read([]byte(`{"model":"m",` + test.text + `}`))
			if err != nil {
				t.Fatal(err)
			}
			var refused *refusal.Error
			if err := b.Check(nil); !errors.As(err, &refused) || refused.Code != refusal.MemberRefused || !strings.Contains(refused.Message, " "+test.member+",") {
				t.Errorf("got %v, want %s", err, test.member)
			}
			if err := b.Check(&policy.Body{Allow: []string{"echo", test.member}}); err != nil {
				t.Errorf("allowed: %v", err)
			}
		})
	}
	for name, text := range map[string]string{
		"an image that the body holds":          image(`"data:image/png;base64,AAAA"`),
		"one with an escape":                    image(`"\u0064ata:image/png;base64,AAAA"`),
		"sound that the body holds, as MP3":     `"messages":[{"content":[{"input_audio":{"data":"//uQxAAA","format":"mp3"}}]}]`,
		"a tool with parameters of these names": `"tools":[{"function":{"parameters":{"type":"object","properties":{"image_url":{"type":"string"},"priority":{"type":"integer"},"file_id":{"type":"string"}},"required":["image_url"]}}}]`,
		"text about URLs":                       `"messages":[{"content":"http://x image_url"}]`,
		"left out by null":                      `"fallbacks":null`,
		"a prompt":                              `"prompt":["a","b"]`,
		"a message with an id":                  `"input":[{"type":"message","id":"msg_1","content":[]},{"role":"user","id":"1","content":"x"}]`,
	} {
		b, err := Read([]byte(`{"model":"m",` + text + `}`))
		if err == nil {
			err = b.Check(nil)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is written stands in its place, and no other byte changes.
func TestApply(t *testing.T) {
	user := protocol.Rules{Body: &policy.Body{Principal: "user"}, Principal: "id"}
	nested := protocol.Rules{Body: &policy.Body{Principal: "metadata.user_id"}, Principal: "id"}
	for _, test := range []struct {
		name, text string
		rules      protocol.Rules
		want       string
	}{
		{"nothing to do", ` {"model" : "m","x":1.0e5}` + "\n", protocol.Rules{}, ` {"model" : "m","x":1.0e5}` + "\n"},
		{"a name", ` {"x":[1, 2],"model" :` + "\t" + `"m" ,"y":"\u00e9"}`, protocol.Rules{Model: "org/n:8b"}, ` {"x":[1, 2],"model" :` + "\t" + `"org/n:8b" ,"y":"\u00e9"}`},
		{"a name for an escaped one", `{"mod\u0065l":"\u006d"}`, protocol.Rules{Model: "n"}, `{"mod\u0065l":"n"}`},
		{"the name that is there", `{"model":"\u006d"}`, protocol.Rules{Model: "m"}, `{"model":"\u006d"}`},
		{"only the body's own", `{"metadata":{"model":"m"},"model":"m"}`, protocol.Rules{Model: "n"}, `{"metadata":{"model":"m"},"model":"n"}`},
		{"the user, where there is none", `{"model":"m"}`, user, `{"user":"id","model":"m"}`},
		{"the user, whatever was sent", `{"model":"m","user":"root" , "x":1}`, user, `{"model":"m","user":"id" , "x":1}`},
		{"the user in place of an object", `{"model":"m","user":{"a":[1]}}`, user, `{"model":"m","user":"id"}`},
		{"nested, where there is none", `{"model":"m"}`, nested, `{"metadata":{"user_id":"id"},"model":"m"}`},
		{"nested, beside another", `{"model":"m","metadata": { "a":1}}`, nested, `{"model":"m","metadata": {"user_id":"id", "a":1}}`},
		{"nested, whatever was sent", `{"metadata":{"a":1,"user_id": "root"},"model":"m"}`, nested, `{"metadata":{"a":1,"user_id": "id"},"model":"m"}`},
		{"nested, in an empty object", `{"metadata":{ },"model":"m"}`, nested, `{"metadata":{"user_id":"id"},"model":"m"}`},
		{"nested, in place of null", `{"metadata":null,"model":"m"}`, nested, `{"metadata":{"user_id":"id"},"model":"m"}`},
		{"name and user", `{"model":"m"}`, protocol.Rules{Model: "n", Body: user.Body, Principal: "id"}, `{"user":"id","model":"n"}`},
	} {
		b, err := Read([]byte(test.text))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if b.Apply(test.rules); string(b.Bytes()) != test.want {
			t.Errorf("%s: got %s, want %s", test.name, b.Bytes(), test.want)
		}
	}
}

// FuzzRead: what is accepted, other readers find the same model in, and what is
// written changes nothing else.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{`{"model":"m"}`, `{"model":"m","Model":"x"}`, `{"mod\u0065l":"a","metadata":{"user_id":1}}`, `{"model":"a","metadata":{},"user":[{}]}`, " {\n\"x\":{\"model\":2},\"model\" : \"b\"}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		b, err := Read(raw)
		if err != nil {
			if code(err) == "" {
				t.Fatalf("%q: %v is no refusal", raw, err)
			}
			return
		}
		var loose struct{ Model string } // without regard to case, the last one counts
		if err := json.Unmarshal(raw, &loose); err != nil || loose.Model != b.Model {
			t.Fatalf("%q: encoding/json finds %q, %v, here it is %q", raw, loose.Model, err, b.Model)
		}
		_ = b.Check(nil)
		name := fmt.Sprintf("%.10x", b.Model)
		b.Apply(protocol.Rules{Model: "up/" + name, Body: &policy.Body{Principal: "metadata.user_id"}, Principal: "id"})
		out := b.Bytes()
		if !bytes.Equal(raw, before) {
			t.Fatalf("%q became %q", before, raw)
		}
		again, err := Read(out)
		if err != nil || again.Model != "up/"+name {
			t.Fatalf("%q: %q is %v, %v", raw, out, again, err)
		}
		var was, is map[string]json.RawMessage
		if json.Unmarshal(raw, &was) != nil || json.Unmarshal(out, &is) != nil {
			t.Fatalf("%q: %q is not JSON", raw, out)
		}
		for name, value := range was {
			if name != "model" && name != "metadata" && !bytes.Equal(value, is[name]) {
				t.Fatalf("%q: %s is %s", raw, name, is[name])
			}
		}
		var metadata struct {
			UserID string `json:"user_id"`
		}
		if json.Unmarshal(is["metadata"], &metadata) != nil || metadata.UserID != "id" {
			t.Fatalf("%q: %q", raw, out)
		}
	})
}
