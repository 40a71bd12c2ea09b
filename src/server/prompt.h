#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/strong_id.h"
#include "engine/request.h"
#include "engine/service.h"
#include "server/api_error.h"
#include "server/sampling_fields.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace weft::server {

/// A conversation that the chat template turns into text.
struct ChatMessages {
  std::string messages_json;
  text::RenderOptions options;
};

/// One prompt of a request as its body says it, before it is tokenized.
struct Prompt {
  std::variant<std::string, std::vector<TokenId>, ChatMessages> source;
  std::string param = "prompt";  ///< The body's field, for messages.
  std::string adapter;           ///< Empty: the base model.
  std::string client_id;         ///< What an abort may name.
  SamplingFields sampling;
  bool want_logprobs = false;
  int32_t top_logprobs = 0;
  std::string top_logprobs_param = "top_logprobs";  ///< The field that asked for them.
  int32_t prompt_logprobs_from = -1;
  std::vector<TokenId> tokens;  ///< Filled by PreparePrompt, like the next.
  bool max_is_default = false;  ///< max_new_tokens is what the context leaves.
};

/// What turns a prompt into tokens and says what fits. Immutable; any thread.
struct PromptLimits {
  const text::Tokenizer& tokenizer;
  const text::ChatTemplate* chat_template;  ///< Null: the model has none.
  engine::ServiceLimits service;
};

/// Renders and tokenizes, fills `tokens` and sets sampling.max_new_tokens. Refuses what is empty,
/// outside the vocabulary or too long. May take milliseconds for text; token ids are only checked.
ApiStatus PreparePrompt(const PromptLimits& limits, Prompt& prompt);

/// The engine's request for choice number `choice` of a prepared prompt. Choices of one seed
/// differ.
engine::GenerationRequest BuildRequest(const Prompt& prompt, int32_t choice);

/// The adapter that `model` ("base", "adapter" or "base:adapter") names; else `lora_path`; empty:
/// the base model.
std::string ResolveAdapter(std::string_view model, std::string_view lora_path,
                           std::string_view base_name);

}  // namespace weft::server
