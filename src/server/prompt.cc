#include "server/prompt.h"

#include <algorithm>

namespace weft::server {
namespace {

using text::SpecialTokens;

ApiStatus Encode(const PromptLimits& limits, std::string_view text, SpecialTokens special,
                 Prompt& prompt) {
  auto tokens = limits.tokenizer.Encode(text, special);
  if (!tokens) return ApiError{tokens.error().WithContext(prompt.param), prompt.param, ""};
  prompt.tokens = std::move(*tokens);
  return std::nullopt;
}

ApiStatus RenderAndEncode(const PromptLimits& limits, Prompt& prompt) {
  const auto& chat = std::get<ChatMessages>(prompt.source);
  if (limits.chat_template == nullptr) {
    return BadRequest(
        "this model has no chat template: start the server with --chat-template, or use "
        "/v1/completions",
        "messages");
  }
  auto text = limits.chat_template->Render(chat.messages_json, chat.options);
  if (!text) return ApiError{text.error().WithContext("chat template"), "messages", ""};
  return Encode(limits, *text, SpecialTokens::kDoNotAdd, prompt);
}

ApiStatus CheckIds(const PromptLimits& limits, const std::vector<TokenId>& ids,
                   const std::string& param) {
  const int32_t size = limits.tokenizer.vocabulary_size();
  const auto bad =
      std::find_if(ids.begin(), ids.end(), [&](TokenId id) { return id < 0 || id >= size; });
  if (bad == ids.end()) return std::nullopt;
  return BadRequest(fmt::format("{} has the token id {}: the vocabulary has {}", param, *bad, size),
                    param);
}

ApiStatus CheckSampling(const PromptLimits& limits, const Prompt& prompt) {
  std::vector<TokenId> ids;
  for (const auto& [id, bias] : prompt.sampling.params.logit_bias) ids.push_back(id);
  if (auto error = CheckIds(limits, ids, "logit_bias")) return error;
  if (auto error = CheckIds(limits, prompt.sampling.stop_token_ids, "stop_token_ids")) return error;
  const int32_t most = limits.service.max_top_logprobs;
  if (prompt.top_logprobs < 0 || prompt.top_logprobs > most) {
    return BadRequest(fmt::format("{} alternatives are asked for in {}: 0 to {} are served",
                                  prompt.top_logprobs, prompt.top_logprobs_param, most),
                      prompt.top_logprobs_param);
  }
  return std::nullopt;
}

ApiStatus CheckLength(const PromptLimits& limits, Prompt& prompt) {
  const int64_t context = limits.service.context_length;
  const auto length = static_cast<int64_t>(prompt.tokens.size());
  if (length == 0) return BadRequest(prompt.param + " must not be empty", prompt.param);
  const int64_t left = context - length;
  const int64_t wanted = prompt.sampling.max_new_tokens.value_or(std::max<int64_t>(left, 1));
  if (std::max<int64_t>(wanted, 1) > left) {  // Scoring a prompt runs one step as well.
    return BadRequest(
        fmt::format("This model's maximum context length is {} tokens. However, you requested {} "
                    "tokens ({} in the {}, {} in the completion). Please reduce the length of the "
                    "{} or completion.",
                    context, length + wanted, length, prompt.param, wanted, prompt.param),
        prompt.param);
  }
  prompt.max_is_default = !prompt.sampling.max_new_tokens.has_value();
  prompt.sampling.max_new_tokens = static_cast<int32_t>(wanted);
  if (prompt.sampling.min_new_tokens > wanted) {
    return BadRequest(fmt::format("{} tokens are asked for at the least, but only {} fit",
                                  prompt.sampling.min_new_tokens, wanted),
                      prompt.param);
  }
  return std::nullopt;
}

}  // namespace

ApiStatus PreparePrompt(const PromptLimits& limits, Prompt& prompt) {
  ApiStatus error;
  if (const auto* text = std::get_if<std::string>(&prompt.source)) {
    error = Encode(limits, *text, SpecialTokens::kAdd, prompt);
  } else if (auto* ids = std::get_if<std::vector<TokenId>>(&prompt.source)) {
    error = CheckIds(limits, *ids, prompt.param);
    prompt.tokens = std::move(*ids);
  } else {
    error = RenderAndEncode(limits, prompt);
  }
  if (error) return error;
  if ((error = CheckSampling(limits, prompt))) return error;
  if ((error = CheckLength(limits, prompt))) return error;
  const auto length = static_cast<int32_t>(prompt.tokens.size());
  if (prompt.prompt_logprobs_from >= length) prompt.prompt_logprobs_from = -1;
  return std::nullopt;
}

engine::GenerationRequest BuildRequest(const Prompt& prompt, int32_t choice) {
  engine::GenerationRequest request;
  request.client_id = prompt.client_id;
  request.adapter = prompt.adapter;
  request.prompt = prompt.tokens;
  request.sampling = prompt.sampling.params;
  request.sampling.seed += static_cast<uint64_t>(choice);
  request.has_seed = prompt.sampling.has_seed;
  // The engine makes at least one token; a Choice that wants none drops it.
  request.max_new_tokens = std::max(prompt.sampling.max_new_tokens.value_or(1), 1);
  request.max_is_default = prompt.max_is_default;
  request.min_new_tokens = prompt.sampling.min_new_tokens;
  request.ignore_eos = prompt.sampling.ignore_eos;
  request.stop_token_ids = prompt.sampling.stop_token_ids;
  request.want_logprobs = prompt.want_logprobs;
  request.top_logprobs = prompt.top_logprobs;
  request.prompt_logprobs_from = prompt.prompt_logprobs_from;
  return request;
}

std::string ResolveAdapter(std::string_view model, std::string_view lora_path,
                           std::string_view base_name) {
  if (model.empty() || model == base_name) return std::string(lora_path);
  if (model.size() > base_name.size() + 1 && model.starts_with(base_name) &&
      model[base_name.size()] == ':') {
    return std::string(model.substr(base_name.size() + 1));
  }
  return std::string(model);
}

}  // namespace weft::server
