#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "engine/step_executor.h"
#include "sim/random.h"
#include "sim/virtual_memory.h"
#include "sim/virtual_time.h"

namespace weft::sim {

/// Steps in virtual time over virtual pages. What a step finds in the pages it was given is checked
/// when it begins and again when it ends, against what the pages hold and never against the
/// engine's books.
class VirtualExecutor final : public engine::StepExecutor {
 public:
  struct Timing {
    Duration step = std::chrono::milliseconds(2);
    Duration row = std::chrono::microseconds(50);
    int32_t jitter_percent = 20;
  };

  /// `max_jobs`: steps that may be submitted and not yet answered.
  VirtualExecutor(EventQueue& events, const Clock& clock, Random random, Timing timing,
                  VirtualArena& device, int32_t tokens_per_page, int32_t max_jobs);

  void Submit(engine::StepJob job) override;

  std::function<void(engine::StepDone)> done;
  /// Called with what is wrong; the history ends there.
  std::function<void(std::string)> violation;
  /// The step submitted last.
  StepId last_step() const { return last_step_; }

 private:
  void Begin();
  void Finish(Moment begin);
  /// The adapter's content as its pages have it; 0 for the base model.
  uint64_t ReadAdapter(const model::SequenceSlice& slice, const char* when);
  /// Checks every cell of [0, position) and returns the state there.
  uint64_t ReadHistory(const model::SequenceSlice& slice, uint64_t content, const char* when);
  KvCell& Cell(const model::SequenceSlice& slice, int32_t position);

  EventQueue& events_;
  const Clock& clock_;
  Random random_;
  const Timing timing_;
  VirtualArena& device_;
  const int32_t tokens_per_page_;
  const size_t max_jobs_;
  StepId last_step_{0};
  std::deque<engine::StepJob> jobs_;  ///< The first is under way, others wait for its end.
  std::vector<TokenId> chosen_;       ///< By the step before, by its samples.
};

}  // namespace weft::sim
