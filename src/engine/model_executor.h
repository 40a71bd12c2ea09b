#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "device/device.h"
#include "engine/step_executor.h"
#include "model/transformer.h"

namespace weft::engine {

/// Runs steps on the device's compute stream, in order. Owned by the command; the model, the device
/// and the clock outlive it. Answers come from the stream's thread.
class ModelExecutor final : public StepExecutor {
 public:
  /// `profiler` is null, or the model's own.
  ModelExecutor(model::Transformer& model, device::Device& device, const Clock& clock,
                std::function<void(StepDone)> done, model::StepProfiler* profiler = nullptr);
  /// Waits for the step under way.
  ~ModelExecutor() override;

  void Submit(StepJob job) override;

 private:
  model::Transformer& model_;
  const Clock& clock_;
  const std::function<void(StepDone)> done_;
  model::StepProfiler* const profiler_;
  std::vector<TokenId> chosen_;  ///< By the step before, by its samples; the stream's thread alone.
  std::unique_ptr<device::Stream> stream_;
};

}  // namespace weft::engine
