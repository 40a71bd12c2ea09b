#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/strong_id.h"
#include "ops/sampling.h"
#include "server/json_reader.h"

namespace weft::server {

/// How a client wants its tokens chosen and when to stop, whatever its API calls the fields.
struct SamplingFields {
  ops::SamplingParams params;
  bool has_seed = false;
  std::optional<int32_t> max_new_tokens;  ///< Unset: all the context that the prompt leaves.
  int32_t min_new_tokens = 0;
  bool ignore_eos = false;
  std::vector<TokenId> stop_token_ids;
  std::vector<std::string> stop;
  bool skip_special_tokens = true;
  bool include_stop = false;  ///< The stop string stays in the text.
  int32_t n = 1;
};

inline constexpr int32_t kSglangMaxNewTokens = 128;  ///< SGLang's default.
inline constexpr int32_t kCompletionMaxTokens = 16;  ///< OpenAI's for /v1/completions.
inline constexpr int32_t kMaxChoices = 128;          ///< Of one prompt (`n`).
inline constexpr size_t kMaxStopStrings = 256;
/// Of all stop strings together: each choice watches for them with an automaton that takes about 70
/// bytes of memory for each of theirs.
inline constexpr size_t kMaxStopBytes = 16 * 1024;

/// SGLang's "sampling_params" object.
SamplingFields ReadSglangSampling(JsonFields& fields);
/// The fields of OpenAI's bodies, with vLLM's and SGLang's extras.
SamplingFields ReadOpenAiSampling(JsonFields& fields, bool chat);

}  // namespace weft::server
