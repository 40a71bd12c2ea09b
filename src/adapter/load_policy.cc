#include "adapter/load_policy.h"

namespace weft::adapter {
namespace {

class Blocking final : public LoadPolicy {
 public:
  bool MayStartLoads(const LoadSituation& situation) const override {
    if (situation.step_in_flight || situation.loads_pending > 0) return false;
    return situation.stepped_since_loads || !situation.runnable;
  }
  bool MayRunStep(const LoadSituation& situation) const override {
    if (situation.step_in_flight && situation.loads_wanted) return false;
    return situation.loads_pending == 0;
  }
};

class Overlapped final : public LoadPolicy {
 public:
  bool MayStartLoads(const LoadSituation&) const override { return true; }
  bool MayRunStep(const LoadSituation&) const override { return true; }
};

}  // namespace

std::unique_ptr<LoadPolicy> MakeLoadPolicy(LoadPolicyKind kind) {
  if (kind == LoadPolicyKind::kBlocking) return std::make_unique<Blocking>();
  return std::make_unique<Overlapped>();
}

}  // namespace weft::adapter
