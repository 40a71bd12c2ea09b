#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/strong_id.h"
#include "ops/sampling.h"

namespace weft::engine {

/// One generation a client asked for, tokenized. `n` choices are `n` of these.
struct GenerationRequest {
  std::string client_id;  ///< SGLang's "rid"; need not be unique. Aborts may name it.
  std::string adapter;    ///< Empty: the base model alone.
  std::vector<TokenId> prompt;
  ops::SamplingParams
      sampling;  ///< `seed` is used only when `has_seed`; else the engine draws one.
  bool has_seed = false;
  int32_t max_new_tokens = 128;
  /// Nobody asked for so many: fewer where the pool has no room for them.
  bool max_is_default = false;
  int32_t min_new_tokens = 0;
  bool ignore_eos = false;
  std::vector<TokenId> stop_token_ids;
  bool want_logprobs = false;  ///< Of the generated tokens.
  int32_t top_logprobs = 0;    ///< Likeliest alternatives at each position, 0 to 20.
  /// Log-probabilities of the prompt's tokens from this position on; -1: none.
  int32_t prompt_logprobs_from = -1;
};

enum class FinishType : uint8_t { kStop, kLength, kAbort, kError };

struct Finish {
  FinishType type = FinishType::kStop;
  Error error;  ///< For kError (refused or failed), and why for kAbort.
  /// For kStop: the end or stop token, with its log-probability when asked for. It is not part of
  /// the text.
  std::optional<ops::SampledToken> matched;
};

/// What happened to one request in one step.
struct RequestEvent {
  RequestId id;
  /// New tokens, with log-probabilities when asked for. The matched stop token is not among them.
  std::vector<ops::SampledToken> tokens;
  /// With the first tokens: entry i is of prompt[prompt_logprobs_from + i]; position 0 has no
  /// log-probability (its entry's logprob is NaN).
  std::vector<ops::SampledToken> prompt_logprobs;
  std::optional<Finish> finish;
  int32_t cached_tokens =
      0;  ///< Prompt tokens taken from the prefix cache; set with the first tokens.
};

/// Where a request's events go: one sink an I/O shard. Deliver is called on the engine's thread, at
/// most once a turn with all events of the sink's requests (on the thread that submits, when the
/// engine's inbox is full): it must only post. The last event of a request has `finish`; none
/// follows.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void Deliver(std::vector<RequestEvent> events) = 0;
};

}  // namespace weft::engine
