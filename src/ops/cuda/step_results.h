#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "device/device.h"
#include "ops/cuda/sample_plan.h"
#include "ops/operators.h"

namespace weft::ops::cuda {

/// What steps bring back: the results of their samples, and when the GPU began and ended each.
/// While one step computes the next may be queued. Owned by the operators; Await may be called on
/// another thread than the rest, once for each step that was begun.
class StepResults {
 public:
  static constexpr int32_t kStepsAtOnce = 2;

  /// `bytes`: of the results of one step.
  Status Allocate(device::Device& device, Bytes bytes);
  ~StepResults();

  /// A new step. No more than kStepsAtOnce are begun and not awaited.
  void Begin();
  /// The step's first kernel follows.
  void MarkBegin(cudaStream_t stream);
  /// Pinned memory where the GPU puts the results of samples; Await puts them `into`.
  std::byte* Place(std::span<SampledToken> into, Bytes bytes);
  bool has_samples() const { return used_ > 0; }
  /// The step's last kernel has been queued.
  void End(cudaStream_t stream);

  /// Blocks until the oldest step that was not awaited has ended.
  StepTimes Await(const SamplePlanner& planner);

 private:
  struct Piece {
    const std::byte* at = nullptr;
    std::span<SampledToken> into;
  };
  struct Slot {
    device::Buffer results;
    std::vector<Piece> pieces;
    cudaEvent_t begun = nullptr;
    cudaEvent_t ended = nullptr;
  };
  /// One more than are under way: a step's idle time is counted from the end of the one before.
  static constexpr int64_t kSlots = kStepsAtOnce + 1;

  Slot& SlotOf(int64_t step) { return slots_[static_cast<size_t>(step % kSlots)]; }

  std::array<Slot, kSlots> slots_;
  int64_t step_ = 0;  ///< Of the step being queued, counted from 1.
  Bytes used_ = 0;    ///< Of its results.
  std::atomic<int64_t> awaited_{0};
};

}  // namespace weft::ops::cuda
