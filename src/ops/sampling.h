#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/strong_id.h"

namespace weft::ops {

/// How the next token is chosen. The defaults change nothing: temperature 1, the whole vocabulary.
struct SamplingParams {
  float temperature = 1.0F;  ///< 0: greedy, the smallest id among equals.
  int32_t top_k = -1;        ///< -1: all.
  float top_p = 1.0F;
  float min_p = 0.0F;
  float frequency_penalty = 0.0F;
  float presence_penalty = 0.0F;
  float repetition_penalty = 1.0F;  ///< Over prompt and output, as transformers and vLLM do.
  std::vector<std::pair<TokenId, float>> logit_bias;  ///< Ids of the vocabulary: whoever parses
                                                      ///< the request checks.
  uint64_t seed = 0;  ///< Always set: from the request, else drawn once by the engine.

  /// Whether the choice depends on the tokens before.
  bool HasPenalties() const {
    return frequency_penalty != 0.0F || presence_penalty != 0.0F || repetition_penalty != 1.0F;
  }
};

/// What is wanted of one row of logits.
struct SampleRow {
  int32_t logits_row = 0;
  /// Choose a token; else only log-probabilities are wanted (a prompt's).
  bool sample = true;
  std::shared_ptr<const SamplingParams> params;
  /// Index of the token to choose, counted from the start of the sequence: part of the generator's
  /// counter, so that the choice depends on (seed, position, token) and never on the batch (DESIGN:
  /// promise P4).
  int32_t position = 0;
  /// The prompt followed by what was generated so far, and how many of it are the prompt. Read for
  /// penalties only.
  std::shared_ptr<const std::vector<TokenId>> tokens;
  int32_t token_count = 0;
  /// When >= 0, one more generated token after those: the one the step before chose, which was not
  /// known when this row was planned.
  TokenId last_token = -1;
  int32_t prompt_count = 0;
  /// Tokens that may not be chosen (end of text before min_new_tokens).
  std::shared_ptr<const std::vector<TokenId>> forbidden;
  bool want_logprob = false;
  int32_t top_logprobs = 0;
  /// Log-probability wanted of this token when not sampling.
  TokenId given_token = -1;
};

/// Log-probabilities are of the distribution the model gives (log softmax of the raw logits), as
/// OpenAI's API, SGLang and vLLM report by default: before temperature, penalties and bias.
struct SampledToken {
  TokenId token = -1;  ///< The chosen, or the given one.
  float logprob = 0.0F;
  std::vector<std::pair<TokenId, float>> top;  ///< The likeliest, likeliest first.
  /// False when the logits are not numbers to choose by or take log-probabilities of (none above
  /// minus infinity; NaN among them): the model or an adapter is broken.
  bool valid = true;
};

}  // namespace weft::ops
