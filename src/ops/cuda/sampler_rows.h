#pragma once

#include <cstdint>

namespace weft::ops::cuda {

/// How a row's token is found.
enum class SampleMode : int32_t {
  kUnused,    ///< Nothing of this row is wanted: padding of a captured graph.
  kGiven,     ///< No token is chosen; log-probabilities alone.
  kLargest,   ///< Greedy.
  kRace,      ///< From the whole vocabulary.
  kFiltered,  ///< From what min_p, top_k and top_p leave.
};

/// What one row asks for, as the kernels read it. Filled by SamplePlanner.
struct SampleRequest {
  uint64_t seed = 0;
  SampleMode mode = SampleMode::kUnused;
  int32_t logits_row = 0;
  uint32_t position = 0;
  int32_t given_token = -1;
  float inverse_temperature = 1.0F;
  /// Logits at least the largest plus this are looked at first, and plus this at all.
  float first_reach = 0.0F;
  float last_reach = 0.0F;
  int32_t top_k = 0;  ///< At most this many; the vocabulary when there is no limit.
  float top_p = 1.0F;
  int32_t top_p_of_all = 0;  ///< top_p counts the whole vocabulary, not what is kept.
  int32_t first_edit = 0;
  int32_t edits = 0;
  int32_t want_logprob = 0;
  int32_t top_logprobs = 0;
};

enum class EditKind : int32_t { kRepetition, kSubtract, kAdd, kForbid };

/// A change of one logit. A request's edits are sorted by token; those of one token apply in order.
struct LogitEdit {
  int32_t token = 0;
  EditKind kind = EditKind::kAdd;
  float value = 0.0F;
  float before =
      0.0F;  ///< The kernels' own: the first edit of a token keeps the model's logit here.
};

/// What a row became; `top_count` pairs of token and log-probability follow it.
struct SampleResult {
  int32_t token = 0;
  int32_t valid = 0;
  float logprob = 0.0F;
  int32_t top_count = 0;
};

struct TopLogprob {
  int32_t token = 0;
  float logprob = 0.0F;
};

}  // namespace weft::ops::cuda
