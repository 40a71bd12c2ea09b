#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "ops/sampling.h"
#include "text/tokenizer.h"

namespace weft::server {

/// OpenAI's two forms of log-probabilities.

/// Of /v1/completions: parallel lists of tokens, their log-probabilities, alternatives and offsets
/// (in characters) in the text. Fed in the order of the text.
class CompletionLogprobs {
 public:
  /// `offset`: characters before the first token.
  CompletionLogprobs(const text::Tokenizer& tokenizer, int64_t offset)
      : tokenizer_(tokenizer), offset_(offset) {}

  /// The prompt's first token has no log-probability: NaN is written as null.
  void Add(std::span<const ops::SampledToken> tokens);
  std::string Json() const;
  int64_t offset() const { return offset_; }

 private:
  const text::Tokenizer& tokenizer_;
  int64_t offset_;
  std::string tokens_;
  std::string logprobs_;
  std::string tops_;
  std::string offsets_;
};

/// Of /v1/chat/completions: {"content": [{token, logprob, bytes, top_logprobs}]}.
std::string ChatLogprobsJson(const text::Tokenizer& tokenizer,
                             std::span<const ops::SampledToken> tokens);

}  // namespace weft::server
