#include "ops/cuda/sample_plan.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "ops/race_math.h"

namespace weft::ops::cuda {
namespace {

constexpr int64_t kAlignment = 128;
/// Tokens likelier than exp(-8) times the likeliest are looked at first.
constexpr float kFirstReach = -8.0F;

int64_t Aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

SampleMode ModeOf(const SamplingParams& params) {
  if (params.temperature <= 0.0F || params.top_k == 1) return SampleMode::kLargest;
  const bool filtered = params.top_k > 0 || params.top_p < 1.0F || params.min_p > 0.0F;
  return filtered ? SampleMode::kFiltered : SampleMode::kRace;
}

/// The parameters of a row that chooses, as Sampler::KeepLikely of the CPU takes them.
void FillChoice(const SamplingParams& params, int32_t vocabulary, SampleRequest* request) {
  request->mode = ModeOf(params);
  request->seed = params.seed;
  if (request->mode == SampleMode::kLargest) return;
  const float lowest = params.min_p > 0.0F ? std::max(race::kNegligible, race::Log(params.min_p))
                                           : race::kNegligible;
  request->inverse_temperature = 1.0F / params.temperature;
  request->first_reach = (params.min_p > 0.0F ? lowest : kFirstReach) * params.temperature;
  request->last_reach = lowest * params.temperature;
  request->top_k = params.top_k > 0 ? std::min(params.top_k, vocabulary) : vocabulary;
  request->top_p = params.top_p;
  request->top_p_of_all = params.top_p < 1.0F && params.top_k <= 0 && params.min_p <= 0.0F;
}

}  // namespace

SamplePlanner::SamplePlanner(const SamplerLimits& limits)
    : limits_(limits), counts_(static_cast<size_t>(limits.vocabulary)) {
  layout_.requests = Aligned(kMaxSegments * 2 * 4);
  layout_.edits =
      layout_.requests + Aligned(limits.max_rows * static_cast<int64_t>(sizeof(SampleRequest)));
  layout_.bytes =
      layout_.edits + Aligned(limits.max_edits * static_cast<int64_t>(sizeof(LogitEdit)));
}

int64_t SamplePlanner::result_bytes() const {
  return static_cast<int64_t>(sizeof(SampleResult)) +
         limits_.max_top_logprobs * static_cast<int64_t>(sizeof(TopLogprob));
}

bool SamplePlanner::Fits(std::span<const SampleRow> rows) const {
  int64_t edits = 0;
  for (const SampleRow& row : rows) {
    if (!row.sample) continue;
    edits += std::ssize(row.params->logit_bias);
    if (row.forbidden != nullptr) edits += std::ssize(*row.forbidden);
    if (row.params->HasPenalties()) edits += 2 * (int64_t{row.token_count} + 1);
  }
  return edits <= limits_.max_edits;
}

/// In the CPU's order: each token of prompt and output once for repetition, then each of the output
/// once for frequency and presence.
void SamplePlanner::AddPenalties(const SampleRow& row) {
  const SamplingParams& params = *row.params;
  if (row.tokens == nullptr || !params.HasPenalties()) return;
  // Whoever owns the tokens may append behind what this row reads, so never by their iterators.
  const TokenId* const known = row.tokens->data();
  const int32_t count_of_all = row.token_count + (row.last_token >= 0 ? 1 : 0);
  const auto token_at = [&](int32_t i) { return i < row.token_count ? known[i] : row.last_token; };
  const auto count_at = [&](int32_t i) -> int32_t& {
    return counts_[static_cast<size_t>(token_at(i))];
  };
  if (params.repetition_penalty != 1.0F) {
    for (int32_t i = 0; i < count_of_all; ++i)
      if (count_at(i)++ == 0)
        pending_.push_back({token_at(i), EditKind::kRepetition, params.repetition_penalty});
    for (int32_t i = 0; i < count_of_all; ++i) count_at(i) = 0;
  }
  if (params.frequency_penalty == 0.0F && params.presence_penalty == 0.0F) return;
  for (int32_t i = row.prompt_count; i < count_of_all; ++i) ++count_at(i);
  for (int32_t i = row.prompt_count; i < count_of_all; ++i) {
    const TokenId token = token_at(i);
    int32_t& count = count_at(i);
    if (count == 0) continue;
    const float scaled = race::Multiply(params.frequency_penalty, static_cast<float>(count));
    pending_.push_back({token, EditKind::kSubtract, race::Add(scaled, params.presence_penalty)});
    count = 0;
  }
}

void SamplePlanner::AddEdits(const SampleRow& row, LogitEdit* edits, SampleRequest* request) {
  pending_.clear();
  AddPenalties(row);
  for (const auto& [token, bias] : row.params->logit_bias) {
    WEFT_CHECK(token >= 0 && token < limits_.vocabulary);
    pending_.push_back({token, EditKind::kAdd, bias});
  }
  if (row.forbidden != nullptr)
    for (const TokenId token : *row.forbidden) pending_.push_back({token, EditKind::kForbid, 0.0F});
  std::stable_sort(pending_.begin(), pending_.end(),
                   [](const LogitEdit& a, const LogitEdit& b) { return a.token < b.token; });
  WEFT_CHECK(used_edits_ + std::ssize(pending_) <= limits_.max_edits);
  request->first_edit = used_edits_;
  request->edits = static_cast<int32_t>(pending_.size());
  std::copy(pending_.begin(), pending_.end(), edits + used_edits_);
  used_edits_ += request->edits;
}

void SamplePlanner::Plan(std::span<const SampleRow> rows, int32_t bucket, std::byte* slot) {
  WEFT_CHECK(std::ssize(rows) <= bucket && bucket <= limits_.max_rows);
  used_edits_ = 0;
  auto* requests = reinterpret_cast<SampleRequest*>(slot + layout_.requests);
  auto* edits = reinterpret_cast<LogitEdit*>(slot + layout_.edits);
  for (int32_t i = 0; i < bucket; ++i) {
    SampleRequest request;
    if (i < std::ssize(rows)) {
      const SampleRow& row = rows[static_cast<size_t>(i)];
      request.mode = SampleMode::kGiven;
      request.logits_row = row.logits_row;
      request.position = static_cast<uint32_t>(row.position);
      request.given_token = row.given_token;
      request.want_logprob = row.want_logprob ? 1 : 0;
      request.top_logprobs =
          std::clamp(row.top_logprobs, 0, std::min(limits_.max_top_logprobs, limits_.vocabulary));
      if (row.sample) {
        FillChoice(*row.params, limits_.vocabulary, &request);
        AddEdits(row, edits, &request);
      }
    }
    std::memcpy(requests + i, &request, sizeof request);
  }
  auto* segments = reinterpret_cast<int32_t*>(slot);
  std::fill(segments, segments + kMaxSegments * 2, 0);
  segments[0] = static_cast<int32_t>(layout_.requests);
  segments[1] = bucket * static_cast<int32_t>(sizeof(SampleRequest));
  segments[2] = static_cast<int32_t>(layout_.edits);
  segments[3] = used_edits_ * static_cast<int32_t>(sizeof(LogitEdit));
}

void SamplePlanner::Collect(const std::byte* results, std::span<SampledToken> into) const {
  for (size_t i = 0; i < into.size(); ++i) {
    const std::byte* at = results + static_cast<int64_t>(i) * result_bytes();
    SampleResult result;
    std::memcpy(&result, at, sizeof result);
    into[i] = SampledToken();
    into[i].token = result.token;
    into[i].valid = result.valid != 0;
    into[i].logprob = result.logprob;
    WEFT_CHECK(result.top_count >= 0 && result.top_count <= limits_.max_top_logprobs);
    for (int32_t k = 0; k < result.top_count; ++k) {
      TopLogprob top;
      std::memcpy(&top, at + sizeof result + static_cast<size_t>(k) * sizeof top, sizeof top);
      into[i].top.emplace_back(top.token, top.logprob);
    }
  }
}

}  // namespace weft::ops::cuda
