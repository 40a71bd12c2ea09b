#include "checkpoint/model_config.h"

#include "base/check.h"

namespace weft {

std::string_view ProjectionName(Projection projection) {
  constexpr std::array<std::string_view, kProjectionCount> kNames = {
      "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  return kNames[static_cast<size_t>(projection)];
}

std::string_view ArchitectureName(Architecture architecture) {
  constexpr std::array<std::string_view, kAllArchitectures.size()> kNames = {"llama", "mistral",
                                                                             "qwen2", "qwen3"};
  return kNames[static_cast<size_t>(architecture)];
}

int32_t ModelConfig::OutputSize(Projection projection) const {
  switch (projection) {
    case Projection::kQ:
      return heads * head_dim;
    case Projection::kK:
    case Projection::kV:
      return kv_heads * head_dim;
    case Projection::kO:
    case Projection::kDown:
      return hidden;
    case Projection::kGate:
    case Projection::kUp:
      return intermediate;
  }
  WEFT_CHECK(false);
}

int32_t ModelConfig::InputSize(Projection projection) const {
  switch (projection) {
    case Projection::kO:
      return heads * head_dim;
    case Projection::kDown:
      return intermediate;
    default:
      return hidden;
  }
}

}  // namespace weft
