#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace weft::checkpoint {

/// How adapter_config.json chooses modules: PEFT's `target_modules` and `exclude_modules`.
struct ModuleSelector {
  enum class Kind : uint8_t { kNone, kList, kRegex, kAllLinear };
  Kind kind = Kind::kNone;
  std::vector<std::string> names;  ///< kList: module names or their ends, as "q_proj".
  std::string regex;               ///< kRegex: Python's, matched against the whole module name.
};

/// adapter_config.json of PEFT type LORA, checked for what Weft serves.
struct AdapterConfig {
  int32_t rank = 0;
  double alpha = 0;
  bool use_rslora = false;
  bool fan_in_fan_out = false;
  /// Pattern -> value in file order; the first that matches wins, as in PEFT.
  std::vector<std::pair<std::string, int32_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  ModuleSelector target_modules;
  ModuleSelector exclude_modules;
  std::optional<std::vector<int32_t>> layers_to_transform;
  std::vector<std::string> layers_pattern;
  std::string base_model_name_or_path;
  std::string peft_version;
  std::vector<std::string> warnings;  ///< What the file says that has no effect here.
};

/// Parses adapter_config.json. What Weft cannot serve (another peft_type, DoRA, modules_to_save,
/// bias, aLoRA, ...) is a kUnsupported error that names the field and the remedy. Pure.
Result<AdapterConfig> ParseAdapterConfig(std::string_view json);

}  // namespace weft::checkpoint
