#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/strong_id.h"
#include "checkpoint/adapter_config.h"
#include "checkpoint/bounded_regex.h"
#include "checkpoint/model_config.h"

namespace weft::checkpoint {

/// "model.layers.3.self_attn.q_proj": how PEFT sees a module's name.
std::string ModuleName(LayerIndex layer, Projection projection);

/// Decides as PEFT does (tuners_utils.check_target_module_exists) which modules a config adapts.
/// One thread at a time.
class TargetSelection {
 public:
  static Result<TargetSelection> Compile(const AdapterConfig& config);

  /// True when a module of that name is adapted. With kNone as target this is always true: PEFT
  /// then chose by architecture, and the tensors say which.
  Result<bool> Adapts(std::string_view module) const;

 private:
  explicit TargetSelection(const AdapterConfig& config) : config_(&config) {}
  Result<bool> LayerIsChosen(std::string_view module) const;

  const AdapterConfig* config_;
  std::optional<BoundedRegex> target_;
  std::optional<BoundedRegex> exclude_;
  std::vector<BoundedRegex> layer_patterns_;
};

/// The keys of rank_pattern or alpha_pattern. PEFT takes the first for which
/// re.match(rf"(.*\.)?({key})$", module) holds (utils/other.py, get_pattern_key). One thread at a
/// time.
class PatternKeys {
 public:
  static Result<PatternKeys> Compile(const std::vector<std::string>& keys, std::string_view field);
  /// Index of the first key that matches.
  Result<std::optional<size_t>> FirstMatch(std::string_view module) const;

 private:
  struct Key {
    std::string literal;                ///< Without regex: letters, digits, '_', '-', and '.'.
    std::optional<BoundedRegex> regex;  ///< Otherwise.
  };
  std::vector<Key> keys_;
};

}  // namespace weft::checkpoint
