#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "device/device.h"
#include "device/work_thread.h"
#include "engine/step_executor.h"
#include "model/transformer.h"

namespace weft::engine {

/// Runs steps on the device's compute stream, in order. On a device that takes several at once the
/// stream's thread only starts them, so that the next lies on the device's queue while one is
/// computed, and a thread of its own waits for each. Owned by the command; the model, the device
/// and the clock outlive it. Answers come from either thread.
class ModelExecutor final : public StepExecutor {
 public:
  /// `profiler` is null, or the model's own, on a device that takes steps one at a time.
  ModelExecutor(model::Transformer& model, device::Device& device, const Clock& clock,
                std::function<void(StepDone)> done, model::StepProfiler* profiler = nullptr);
  /// Waits for the steps under way.
  ~ModelExecutor() override;

  void Submit(StepJob job) override;

 private:
  void Compute(std::shared_ptr<StepJob> job);
  void Start(std::shared_ptr<StepJob> job);
  void Collect(std::shared_ptr<StepJob> job, model::StartedStep step);
  void Remember(const std::vector<ops::SampledToken>& samples);

  model::Transformer& model_;
  const Clock& clock_;
  const std::function<void(StepDone)> done_;
  model::StepProfiler* const profiler_;

  std::mutex mutex_;
  std::condition_variable collected_;
  int uncollected_ = 0;          ///< Steps that were started.
  std::vector<TokenId> chosen_;  ///< By the step collected last, by its samples.
  Moment last_end_{};            ///< The collector's.

  std::unique_ptr<device::WorkThread> collector_;  ///< Null where steps are taken one at a time.
  std::unique_ptr<device::Stream> stream_;         // Last: what it runs uses all of the above.
};

}  // namespace weft::engine
