package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Body says what a caller may write in the body of a request to a model, and
// what the API writes there.
type Body struct {
	// Allow are members of Steering() that this model takes: names, or patterns
	// as they stand there.
	Allow []string `json:"allow,omitempty"`

	// Principal is the member that the API sets to the caller's id, whatever the
	// caller wrote: one of PrincipalMembers(). Empty for none. The id is 64 hex
	// digits: SHA-256 of issuer, a zero byte and subject.
	Principal string `json:"principal,omitempty"`
}

// PrincipalMembers are where model servers look for the id of a user.
func PrincipalMembers() []string { return []string{"user", "safety_identifier", "metadata.user_id"} }

// Steering are the members of a body by which a caller would steer the model
// server, or have it read what the caller can't: they are refused unless
// Body.Allow names them. A * at the end stands for any rest. Sources:
//
//   - LiteLLM: api_base, base_url, api_key, user_config, fallbacks and the
//     parameters of clouds send the request, and the server's keys, elsewhere
//     (CVE-2024-6587: api_base).
//   - OpenRouter: models, provider and route choose another model.
//   - vLLM: prompt_embeds is loaded as a tensor (CVE-2025-62164), chat_template
//     and chat_template_kwargs are programs (CVE-2025-61620), media URLs are
//     fetched (CVE-2025-6242), guided_* are compiled (CVE-2025-48942, CVE-2025-48943),
//     logits_processors names code to import, cache_salt chooses whose cache is
//     used, kv_transfer_params names another server, priority overtakes others.
//   - Triton: shared_memory_* of a tensor, at any depth in the body of an inference
//     request, read and write memory of the server that others may have registered.
//   - SGLang: custom_logit_processor is code, bootstrap_* names another server,
//     lora_path a file.
//   - OpenAI and Anthropic: server_url and mcp_servers are called, background,
//     file_id, vector_store_ids, item_reference and prompt.id are state of an
//     account that all callers of the model server share.
func Steering() []string { return slices.Concat(steeringAtTop(), steeringAnywhere()) }

// steeringAtTop are members of the body itself.
func steeringAtTop() []string {
	return []string{
		"api_base", "api_key", "api_type", "api_version", "base_url", "aws_*", "azure_*", "vertex_*", "litellm_*",
		"custom_llm_provider", "extra_body", "extra_headers", "headers", "user_config", "mock_response",
		"fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "models", "provider", "route",
		"prompt_embeds", "chat_template", "chat_template_kwargs", "mm_processor_kwargs", "guided_*", "structured_outputs",
		"logits_processors", "custom_logit_processor", "cache_salt", "kv_transfer_params", "bootstrap_*", "vllm_xargs",
		"lora*", "priority", "background", "mcp_servers", "shared_memory_*", "prompt.id",
	}
}

// steeringAnywhere are members at any depth, and item_reference, a type of item.
func steeringAnywhere() []string {
	return []string{
		"image_url", "video_url", "audio_url", "file_url", "document_url", "input_audio", "source.url", "server_url",
		"file_id", "vector_store_ids", "item_reference",
	}
}

// SteersAtTop says whether a member of the body itself is one of Steering().
func SteersAtTop(name string) bool {
	return slices.ContainsFunc(steeringAtTop(), func(pattern string) bool { return matches(pattern, name) })
}

// Steers says whether a name is one of Steering().
func Steers(name string) bool {
	return slices.ContainsFunc(Steering(), func(pattern string) bool { return matches(pattern, name) })
}

// Allows says whether callers may send a member of Steering(). A nil Body allows
// none.
func (b *Body) Allows(name string) bool {
	return b != nil && slices.ContainsFunc(b.Allow, func(pattern string) bool { return matches(pattern, name) })
}

func matches(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// Check says what is wrong with b for a model of this protocol.
func (b *Body) Check(protocol string) (errs []error) {
	p := protocolOf(protocol)
	if p.name == ProtocolPaths {
		return []error{errors.New("is for protocols whose bodies the API reads, which those of " + ProtocolPaths + " are not")}
	}
	if b.Principal != "" && !p.inBody {
		errs = append(errs, errors.New("principal: is for protocols in which the body names the model"))
	}
	if b.Allow != nil && len(b.Allow) == 0 {
		errs = append(errs, errors.New("allow is empty: leave it out"))
	}
	for _, name := range b.Allow {
		if !slices.ContainsFunc(Steering(), func(pattern string) bool { return pattern == name || matches(pattern, name) }) {
			errs = append(errs, fmt.Errorf("allow: %q is none of the members that are refused: %s", name, strings.Join(Steering(), ", ")))
		}
	}
	if b.Principal != "" && !slices.Contains(PrincipalMembers(), b.Principal) {
		errs = append(errs, fmt.Errorf("principal: %q is none of %s", b.Principal, strings.Join(PrincipalMembers(), ", ")))
	}
	return errs
}
