#pragma once

#include <cstdint>
#include <memory>

namespace weft::adapter {

enum class LoadPolicyKind : uint8_t { kBlocking, kOverlapped };

/// What the policies decide on.
struct LoadSituation {
  bool step_in_flight = false;
  /// Whether a waiting request's adapter is absent and not on its way.
  bool loads_wanted = false;
  /// Loads under way that a waiting request needs.
  int32_t loads_pending = 0;
  /// Whether a step has completed since the last group of loads began.
  bool stepped_since_loads = true;
  /// Whether anything could run without a new load.
  bool runnable = false;
};

/// When loads may begin and when steps may run. Pure.
class LoadPolicy {
 public:
  virtual ~LoadPolicy() = default;
  virtual bool MayStartLoads(const LoadSituation& situation) const = 0;
  virtual bool MayRunStep(const LoadSituation& situation) const = 0;
};

/// kBlocking: as engines did before overlapping: loads begin between two steps, and no step runs
/// until the whole group has arrived; while a load is wanted no step is queued behind another, or
/// there would be no moment between two. kOverlapped: loads begin at any time and steps run with
/// what is there.
std::unique_ptr<LoadPolicy> MakeLoadPolicy(LoadPolicyKind kind);

}  // namespace weft::adapter
