#pragma once

#include <functional>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/strong_id.h"
#include "model/forward_batch.h"
#include "model/step_profiler.h"

namespace weft::engine {

struct StepJob {
  StepId id;
  model::ForwardBatch batch;
  model::StepGap gap;  ///< For the profile alone.
};

struct StepDone {
  StepId id;
  /// One for each entry of batch.samples.
  std::vector<ops::SampledToken> samples;
  Moment begin{};
  Moment end{};
  Duration idle{};  ///< Of a device that says so: between the step before and this one.
};

/// Where steps are computed, so that the engine never waits and simulation can own it. A step does
/// not fail: a device that is lost ends the process (device/cuda/cuda_error.h). Submit is
/// called on the engine's thread and returns at once; every job is answered by exactly one
/// StepDone, in order, from any thread.
class StepExecutor {
 public:
  virtual ~StepExecutor() = default;
  virtual void Submit(StepJob job) = 0;
};

}  // namespace weft::engine
