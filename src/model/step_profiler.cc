#include "model/step_profiler.h"

#include <algorithm>
#include <utility>

namespace weft::model {

Duration KindProfile::busy() const {
  Duration sum{};
  for (const Part& part : parts) sum += part.time;
  return sum - (*this)[StepPart::kIdle].time;
}

StepProfiler::StepProfiler(const ModelConfig& config, DType dtype, device::Ceilings ceilings,
                           const Clock& clock)
    : config_(config), clock_(clock) {
  profile_.ceilings = std::move(ceilings);
  profile_.dtype = dtype;
}

void StepProfiler::Begin() {
  step_.fill({});
  begin_ = clock_.Now();
  lap_ = begin_;
}

void StepProfiler::Lap(StepPart part) {
  const Moment now = clock_.Now();
  KindProfile::Part& timed = step_[static_cast<size_t>(part)];
  ++timed.calls;
  timed.time += now - lap_;
  lap_ = now;
}

void StepProfiler::End(const StepShape& shape) {
  const StepWork work = WorkOf(config_, profile_.dtype, shape);
  const StepKind which = !shape.has_prefill() ? StepKind::kDecode
                         : shape.has_decode() ? StepKind::kMixed
                                              : StepKind::kPrefill;
  std::lock_guard lock(mutex_);
  KindProfile& kind = profile_.kinds[static_cast<size_t>(which)];
  ++kind.steps;
  for (const ops::SequenceRows& sequence : shape.sequences)
    kind.rows += static_cast<uint64_t>(sequence.rows);
  for (size_t i = 0; i < kStepPartCount; ++i) {
    kind.parts[i].calls += step_[i].calls;
    kind.parts[i].time += step_[i].time;
    kind.parts[i].work += work[i];
  }
  AddGap(kind);
  last_end_ = lap_;
}

/// The time from the last step's end to this one's begin.
void StepProfiler::AddGap(KindProfile& kind) const {
  if (!last_end_) return;
  const Duration gap = begin_ - *last_end_;
  const Duration planned = std::clamp(gap_.planned, Duration{}, gap);
  KindProfile::Part& plan = kind[StepPart::kPlan];
  ++plan.calls;
  plan.time += planned;
  KindProfile::Part& rest = kind[gap_.at_once ? StepPart::kHandOver : StepPart::kIdle];
  ++rest.calls;
  rest.time += gap - planned;
}

Profile StepProfiler::Read() const {
  std::lock_guard lock(mutex_);
  return profile_;
}

}  // namespace weft::model
