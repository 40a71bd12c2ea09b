#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/strong_id.h"
#include "ops/cpu/kernels.h"
#include "ops/sampling.h"

namespace weft::ops::cpu {

/// The uniform number in (0, 1) that token `token` draws at `position` of a sequence with `seed`:
/// word (token / 16) % 4 of Philox with key seed and counter (64 tokens make 16 counters, position,
/// 0, 0), the order in which Kernels::race draws them sixteen at a time.
float DrawFor(uint64_t seed, uint32_t position, TokenId token);

/// Chooses tokens from rows of logits. Penalties (repetition, then frequency and presence), then
/// bias, then forbidden tokens change the logits; temperature divides them; min_p drops what is
/// less likely than min_p times the likeliest; top_k keeps the k likeliest; top_p the fewest whose
/// sum, among those kept, reaches p (ties by smaller id, as vLLM orders the three). Of what
/// remains the winner of an exponential race is chosen, with draws keyed by (seed, position,
/// token): the same as a Gumbel-max. So a choice depends on nothing but the row and the request.
/// Owned by the operators. Threads may sample at once with different numbers.
class Sampler {
 public:
  Sampler(const Kernels& kernels, int32_t vocabulary, int threads);

  Bytes workspace_bytes() const;

  /// `logits` [vocabulary], unchanged. `thread` in [0, threads). NaN counts as less than every
  /// number; when there is nothing else the token is 0 and `valid` is false.
  SampledToken Sample(std::span<const float> logits, const SampleRow& row, int thread);

 private:
  struct Candidate {
    TokenId token = 0;
    float logit = 0.0F;
    float weight = 0.0F;
  };
  static bool Likelier(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
  }
  /// What one thread works in; sized for the vocabulary once.
  struct Scratch {
    std::vector<float> logits;
    std::vector<int32_t> counts;  ///< All zero between calls.
    std::vector<Candidate> candidates;
  };

  bool Adjust(std::span<const float> logits, const SampleRow& row, Scratch& scratch) const;
  void Penalize(const SampleRow& row, Scratch& scratch) const;
  TokenId Choose(std::span<const float> logits, const SampleRow& row, Scratch& scratch) const;
  void KeepLikely(std::span<const float> logits, float max, const SamplingParams& params,
                  Scratch& scratch) const;
  void Collect(std::span<const float> logits, float threshold, Scratch& scratch) const;
  void FillLogprobs(std::span<const float> logits, const SampleRow& row, Scratch& scratch,
                    SampledToken& result) const;

  const Kernels& kernels_;
  const int32_t vocabulary_;
  std::vector<Scratch> scratch_;
};

}  // namespace weft::ops::cpu
