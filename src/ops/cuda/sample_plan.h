#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/cuda/sampler_rows.h"
#include "ops/cuda/step_slot.h"
#include "ops/sampling.h"

namespace weft::ops::cuda {

struct SamplerLimits {
  int32_t vocabulary = 0;
  int32_t max_rows = 0;
  int32_t max_edits = 0;  ///< Of all rows of a step together; sized for the longest history.
  int32_t max_top_logprobs = 0;
};

/// Where a step's requests lie in its slot (step_slot.h), in bytes.
struct SamplePlanLayout {
  int64_t requests = 0;  ///< SampleRequest [max_rows]
  int64_t edits = 0;     ///< LogitEdit [max_edits]
  int64_t bytes = 0;
};

/// Writes a step's sampling requests for the device, and reads its results. On the host alone; one
/// thread at a time.
class SamplePlanner {
 public:
  explicit SamplePlanner(const SamplerLimits& limits);

  int64_t plan_bytes() const { return layout_.bytes; }
  const SamplePlanLayout& layout() const { return layout_; }
  const SamplerLimits& limits() const { return limits_; }
  /// Bytes of one row's results.
  int64_t result_bytes() const;

  /// Whether the rows' edits (penalised tokens, biases, forbidden tokens) fit.
  bool Fits(std::span<const SampleRow> rows) const;
  /// Fills `slot` (plan_bytes) for `rows`, and marks the others up to `bucket` as unused. More
  /// top_logprobs than the limit are cut to it. Costs nothing per token of history where there are
  /// no penalties.
  void Plan(std::span<const SampleRow> rows, int32_t bucket, std::byte* slot);
  /// Reads what came back for `rows` rows.
  void Collect(const std::byte* results, std::span<SampledToken> into) const;

 private:
  void AddEdits(const SampleRow& row, LogitEdit* edits, SampleRequest* request);
  void AddPenalties(const SampleRow& row);

  const SamplerLimits limits_;
  SamplePlanLayout layout_;
  int32_t used_edits_ = 0;
  std::vector<LogitEdit> pending_;
  std::vector<int32_t> counts_;  ///< [vocabulary], all zero between calls.
};

}  // namespace weft::ops::cuda
