#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/request.h"
#include "server/prompt.h"
#include "text/detokenizer.h"
#include "text/stop_strings.h"
#include "text/tokenizer.h"

namespace weft::server {

/// How a choice ended. Errors never become one: they fail the whole request.
struct ChoiceFinish {
  enum class Type : uint8_t { kStop, kLength, kAbort };
  Type type = Type::kStop;
  TokenId matched_token = -1;               ///< The end or stop token, or -1.
  std::optional<std::string> matched_text;  ///< The stop string.
  std::string message;                      ///< Why, for kAbort.
};

/// "stop", "length", "abort".
std::string_view FinishName(ChoiceFinish::Type type);

/// What one event added to a choice.
struct ChoiceDelta {
  std::string text;
  size_t logprobs_from = 0;  ///< Choice::logprobs() from here on are new.
  bool stop_string = false;  ///< A stop string ended it: the engine must be told.
};

/// One generation as its client sees it: tokens become text, stop strings end it, and what counts
/// for usage is kept. A stop string ends text, ids, log-probabilities and usage at the token that
/// completed it; the end or stop token the engine matched is counted and listed, as SGLang and vLLM
/// do. Owned by a Generation, on its shard's thread.
class Choice {
 public:
  Choice(size_t index, size_t prompt_index, std::string id, const Prompt& prompt,
         std::shared_ptr<const text::Tokenizer> tokenizer);

  ChoiceDelta Consume(engine::RequestEvent& event);

  size_t index() const { return index_; }
  size_t prompt_index() const { return prompt_index_; }
  const std::string& id() const { return id_; }
  const Prompt& prompt() const { return prompt_; }
  const std::string& text() const { return text_; }
  const std::vector<TokenId>& output_ids() const { return output_ids_; }
  /// One for each of output_ids, when asked for.
  const std::vector<ops::SampledToken>& logprobs() const { return logprobs_; }
  const std::vector<ops::SampledToken>& prompt_logprobs() const { return prompt_logprobs_; }
  int32_t cached_tokens() const { return cached_tokens_; }
  const std::optional<ChoiceFinish>& finish() const { return finish_; }
  Duration latency() const { return latency_; }
  void set_latency(Duration latency) { latency_ = latency; }

 private:
  void AddToken(const ops::SampledToken& token);
  void ConsumeToken(const ops::SampledToken& token, ChoiceDelta& delta);
  void Finish(const engine::Finish& finish, ChoiceDelta& delta);

  const size_t index_;
  const size_t prompt_index_;
  const std::string id_;
  const Prompt& prompt_;
  text::Detokenizer detokenizer_;
  text::StopStringMatcher matcher_;
  std::string text_;
  std::vector<TokenId> output_ids_;
  std::vector<ops::SampledToken> logprobs_;
  std::vector<ops::SampledToken> prompt_logprobs_;
  int32_t cached_tokens_ = 0;
  std::optional<ChoiceFinish> finish_;
  Duration latency_{};
};

}  // namespace weft::server
