#include "ops/cpu/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/philox.h"
#include "ops/race_math.h"

namespace weft::ops::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int32_t kTokensPerDraw = 4;
constexpr int32_t kTokensPerBlock = 4 * kPanelColumns;

/// Tokens likelier than exp(-8) times the likeliest are looked at first.
constexpr float kFirstReach = -8.0F;

bool ChangesLogits(const SampleRow& row) {
  const SamplingParams& params = *row.params;
  return params.HasPenalties() || !params.logit_bias.empty() ||
         (row.forbidden != nullptr && !row.forbidden->empty());
}

}  // namespace

float DrawFor(uint64_t seed, uint32_t position, TokenId token) {
  const auto block = static_cast<uint32_t>(token / kTokensPerBlock);
  const auto lane = static_cast<uint32_t>(token % kPanelColumns);
  const auto words = Philox({block * kPanelColumns + lane, position, 0, 0},
                            {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return OpenUnitInterval(words[static_cast<size_t>(token / kPanelColumns % kTokensPerDraw)]);
}

Sampler::Sampler(const Kernels& kernels, int32_t vocabulary, int threads)
    : kernels_(kernels), vocabulary_(vocabulary), scratch_(static_cast<size_t>(threads)) {
  for (Scratch& scratch : scratch_) {
    scratch.logits.resize(static_cast<size_t>(vocabulary));
    scratch.counts.resize(static_cast<size_t>(vocabulary));
    scratch.candidates.reserve(static_cast<size_t>(vocabulary));
  }
}

Bytes Sampler::workspace_bytes() const {
  constexpr Bytes kPerToken = sizeof(float) + sizeof(int32_t) + sizeof(Candidate);
  return std::ssize(scratch_) * vocabulary_ * kPerToken;
}

SampledToken Sampler::Sample(std::span<const float> logits, const SampleRow& row, int thread) {
  WEFT_CHECK(std::ssize(logits) == vocabulary_);
  Scratch& scratch = scratch_[static_cast<size_t>(thread)];
  SampledToken result;
  result.token = row.given_token;
  if (row.sample) {
    const bool changed = Adjust(logits, row, scratch);
    result.token = Choose(changed ? std::span<const float>(scratch.logits) : logits, row, scratch);
  }
  if (result.token < 0) {
    result.token = 0;
    result.valid = false;
  }
  if (row.want_logprob || row.top_logprobs > 0) FillLogprobs(logits, row, scratch, result);
  return result;
}

bool Sampler::Adjust(std::span<const float> logits, const SampleRow& row, Scratch& scratch) const {
  WEFT_CHECK(row.params != nullptr);
  if (!ChangesLogits(row)) return false;
  std::copy(logits.begin(), logits.end(), scratch.logits.begin());
  Penalize(row, scratch);
  for (const auto& [token, bias] : row.params->logit_bias) {
    WEFT_CHECK(token >= 0 && token < vocabulary_);
    scratch.logits[static_cast<size_t>(token)] += bias;
  }
  if (row.forbidden != nullptr)
    for (const TokenId token : *row.forbidden)
      scratch.logits[static_cast<size_t>(token)] = -kInfinity;
  return true;
}

void Sampler::Penalize(const SampleRow& row, Scratch& scratch) const {
  const SamplingParams& params = *row.params;
  if (row.tokens == nullptr) return;
  // Whoever owns the tokens may append behind what this row reads, so never by their iterators.
  const TokenId* const known = row.tokens->data();
  const int32_t count_of_all = row.token_count + (row.last_token >= 0 ? 1 : 0);
  const auto token_at = [&](int32_t i) { return i < row.token_count ? known[i] : row.last_token; };
  if (params.repetition_penalty != 1.0F) {
    for (int32_t i = 0; i < count_of_all; ++i) {
      const TokenId token = token_at(i);
      int32_t& seen = scratch.counts[static_cast<size_t>(token)];
      if (seen++ > 0) continue;
      float& logit = scratch.logits[static_cast<size_t>(token)];
      logit = logit > 0.0F ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    }
    for (int32_t i = 0; i < count_of_all; ++i) scratch.counts[static_cast<size_t>(token_at(i))] = 0;
  }
  for (int32_t i = row.prompt_count; i < count_of_all; ++i)
    ++scratch.counts[static_cast<size_t>(token_at(i))];
  for (int32_t i = row.prompt_count; i < count_of_all; ++i) {
    const TokenId token = token_at(i);
    int32_t& count = scratch.counts[static_cast<size_t>(token)];
    if (count == 0) continue;
    scratch.logits[static_cast<size_t>(token)] -=
        params.frequency_penalty * static_cast<float>(count) + params.presence_penalty;
    count = 0;
  }
}

TokenId Sampler::Choose(std::span<const float> logits, const SampleRow& row,
                        Scratch& scratch) const {
  const SamplingParams& params = *row.params;
  const TokenId largest = kernels_.largest(logits.data(), vocabulary_);
  if (largest < 0) return -1;
  const float max = logits[static_cast<size_t>(largest)];
  if (max == -kInfinity) return -1;
  if (params.temperature <= 0.0F || params.top_k == 1 || max == kInfinity) return largest;
  const bool filtered = params.top_k > 0 || params.top_p < 1.0F || params.min_p > 0.0F;
  const auto position = static_cast<uint32_t>(row.position);
  if (!filtered) {
    return kernels_.race(
        {logits.data(), vocabulary_, max, 1.0F / params.temperature, params.seed, position});
  }
  KeepLikely(logits, max, params, scratch);
  TokenId winner = largest;
  float best = kInfinity;
  for (const Candidate& candidate : scratch.candidates) {
    const float time =
        race::TimeOf(DrawFor(params.seed, position, candidate.token), candidate.weight);
    if (time < best || (time == best && candidate.token < winner)) {
      best = time;
      winner = candidate.token;
    }
  }
  return winner;
}

void Sampler::Collect(std::span<const float> logits, float threshold, Scratch& scratch) const {
  scratch.candidates.clear();
  for (int32_t i = 0; i < vocabulary_; ++i) {
    const float logit = logits[static_cast<size_t>(i)];
    if (logit >= threshold) scratch.candidates.push_back({i, logit, 0.0F});
  }
}

void Sampler::KeepLikely(std::span<const float> logits, float max, const SamplingParams& params,
                         Scratch& scratch) const {
  const float inverse = 1.0F / params.temperature;
  const float lowest = params.min_p > 0.0F ? std::max(race::kNegligible, race::Log(params.min_p))
                                           : race::kNegligible;
  const size_t limit = static_cast<size_t>(params.top_k > 0 ? params.top_k : vocabulary_);
  const bool top_p_alone = params.top_p < 1.0F && params.top_k <= 0 && params.min_p <= 0.0F;
  const double everything =
      top_p_alone ? race::kWholeMass * kernels_.sum_exp(logits.data(), vocabulary_, max, inverse)
                  : 0.0;
  std::vector<Candidate>& candidates = scratch.candidates;
  // Few tokens make up most of the sum: look at the likely ones first, further down only if top_k
  // or top_p ask for more.
  float reach = params.min_p > 0.0F ? lowest : kFirstReach;
  for (;; reach = std::max(lowest, reach * 2.0F)) {
    const bool last = reach <= lowest;
    Collect(logits, max + reach * params.temperature, scratch);
    if (!last && params.top_k > 0 && candidates.size() < limit) continue;
    std::sort(candidates.begin(), candidates.end(), Likelier);
    if (candidates.size() > limit) candidates.resize(limit);
    uint64_t sum = 0;
    for (Candidate& candidate : candidates) {
      candidate.weight = race::Exp((candidate.logit - max) * inverse);
      sum += race::MassOf(candidate.weight);
    }
    if (params.top_p >= 1.0F) return;
    const double all = top_p_alone ? everything : static_cast<double>(sum);
    uint64_t kept = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      kept += race::MassOf(candidates[i].weight);
      if (race::Reaches(kept, params.top_p, all)) {
        candidates.resize(i + 1);
        return;
      }
    }
    if (last) return;
  }
}

void Sampler::FillLogprobs(std::span<const float> logits, const SampleRow& row, Scratch& scratch,
                           SampledToken& result) const {
  const TokenId largest = kernels_.largest(logits.data(), vocabulary_);
  if (largest < 0) return;
  const float max = logits[static_cast<size_t>(largest)];
  const float sum = kernels_.sum_exp(logits.data(), vocabulary_, max, 1.0F);
  if (!std::isfinite(sum)) {
    result.valid = false;
    return;
  }
  const float log_sum = race::Log(sum);
  const auto logprob = [&](TokenId token) {
    return logits[static_cast<size_t>(token)] - max - log_sum;
  };
  if (row.want_logprob) result.logprob = logprob(result.token);
  const auto wanted = static_cast<size_t>(std::clamp(row.top_logprobs, 0, vocabulary_));
  if (wanted == 0) return;
  std::vector<Candidate>& heap = scratch.candidates;  // The least likely of the best on top.
  heap.clear();
  for (int32_t i = 0; i < vocabulary_; ++i) {
    const Candidate candidate{i, logits[static_cast<size_t>(i)], 0.0F};
    if (heap.size() == wanted && !(candidate.logit > heap.front().logit)) continue;
    if (heap.size() == wanted) {
      std::pop_heap(heap.begin(), heap.end(), Likelier);
      heap.pop_back();
    }
    if (std::isnan(candidate.logit)) continue;
    heap.push_back(candidate);
    std::push_heap(heap.begin(), heap.end(), Likelier);
  }
  std::sort(heap.begin(), heap.end(), Likelier);
  for (const Candidate& candidate : heap)
    result.top.emplace_back(candidate.token, logprob(candidate.token));
}

}  // namespace weft::ops::cpu
