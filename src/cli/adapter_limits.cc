#include "cli/adapter_limits.h"

#include <algorithm>

namespace weft::cli {

checkpoint::AdapterLimits AdapterLimitsOf(int32_t max_rank, const std::vector<std::string>& names) {
  checkpoint::AdapterLimits limits;
  limits.max_rank = max_rank;
  if (names.empty() || std::find(names.begin(), names.end(), "all") != names.end()) return limits;
  for (const Projection projection : kAllProjections) {
    limits.allowed[static_cast<size_t>(projection)] =
        std::find(names.begin(), names.end(), ProjectionName(projection)) != names.end();
  }
  return limits;
}

Status CheckTargetModules(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const bool known =
        name == "all" || std::any_of(kAllProjections.begin(), kAllProjections.end(),
                                     [&](Projection p) { return ProjectionName(p) == name; });
    if (!known) {
      return MakeError(
          ErrorCode::kInvalidArgument,
          "--lora-target-modules '{}': not a projection; use q_proj, k_proj, v_proj, o_proj, "
          "gate_proj, up_proj, down_proj or all",
          name);
    }
  }
  return OkStatus();
}

}  // namespace weft::cli
