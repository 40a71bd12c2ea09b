#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "device/ceilings.h"
#include "model/step_work.h"

namespace weft::model {

enum class StepKind : uint8_t { kDecode, kPrefill, kMixed };
inline constexpr size_t kStepKindCount = 3;

/// What steps of one kind did.
struct KindProfile {
  struct Part {
    uint64_t calls = 0;
    Duration time{};
    Work work;
  };
  uint64_t steps = 0;
  uint64_t rows = 0;
  std::array<Part, kStepPartCount> parts;

  const Part& operator[](StepPart part) const { return parts[static_cast<size_t>(part)]; }
  Part& operator[](StepPart part) { return parts[static_cast<size_t>(part)]; }
  /// From the end of one step to the end of the next, without what was idle.
  Duration busy() const;
};

struct Profile {
  device::Ceilings ceilings;
  DType dtype = DType::kBFloat16;
  std::array<KindProfile, kStepKindCount> kinds;
};

/// What the engine knows of the time before a step.
struct StepGap {
  Duration planned{};    ///< Of the engine's thread, until it submitted the step.
  bool at_once = false;  ///< Submitted in the turn that collected the step before.
};

/// Times the parts of steps. Owned by the command; the thread that computes steps calls Before,
/// then Begin, Lap after each operator, and End; any thread may read. Costs a look at the clock for
/// each operator and a short lock for each step.
class StepProfiler {
 public:
  StepProfiler(const ModelConfig& config, DType dtype, device::Ceilings ceilings,
               const Clock& clock);

  void Before(const StepGap& gap) { gap_ = gap; }
  void Begin();
  /// What passed since Begin or the last Lap went into `part`.
  void Lap(StepPart part);
  void End(const StepShape& shape);

  Profile Read() const;

 private:
  void AddGap(KindProfile& kind) const;

  const ModelConfig& config_;
  const Clock& clock_;

  StepGap gap_;
  std::optional<Moment> last_end_;
  Moment begin_{};
  Moment lap_{};
  std::array<KindProfile::Part, kStepPartCount> step_;

  mutable std::mutex mutex_;
  Profile profile_;
};

}  // namespace weft::model
