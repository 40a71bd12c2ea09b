#include "checkpoint/module_selection.h"

#include <algorithm>

namespace weft::checkpoint {
namespace {

constexpr size_t kMaxKeys = 8192;
// With at most this many steps each, a model's modules are matched within seconds at the worst.
constexpr size_t kMaxRegexKeys = 64;

bool EndsWithName(std::string_view module, std::string_view name) {
  return module.size() > name.size() && module.ends_with(name) &&
         module[module.size() - name.size() - 1] == '.';
}

bool InList(const std::vector<std::string>& names, std::string_view module) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return module == name || EndsWithName(module, name);
  });
}

bool IsLiteral(std::string_view key) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
  return key.find_first_not_of(kPlain) == key.npos;
}

/// What re.match(rf"(.*\.)?({key})$") means for a literal key, whose '.' stands for any character.
bool LiteralMatches(std::string_view key, std::string_view module) {
  if (key.size() > module.size()) return false;
  const size_t start = module.size() - key.size();
  if (start > 0 && module[start - 1] != '.') return false;
  return std::equal(key.begin(), key.end(), module.begin() + static_cast<std::ptrdiff_t>(start),
                    [](char wanted, char found) { return wanted == found || wanted == '.'; });
}

}  // namespace

std::string ModuleName(LayerIndex layer, Projection projection) {
  return fmt::format("model.layers.{}.{}.{}", layer.value(),
                     projection <= Projection::kO ? "self_attn" : "mlp",
                     ProjectionName(projection));
}

Result<TargetSelection> TargetSelection::Compile(const AdapterConfig& config) {
  TargetSelection selection(config);
  if (config.target_modules.kind == ModuleSelector::Kind::kRegex) {
    WEFT_ASSIGN_OR_RETURN(selection.target_,
                          BoundedRegex::Compile(config.target_modules.regex, "target_modules"));
  }
  if (config.exclude_modules.kind == ModuleSelector::Kind::kRegex) {
    WEFT_ASSIGN_OR_RETURN(selection.exclude_,
                          BoundedRegex::Compile(config.exclude_modules.regex, "exclude_modules"));
  }
  if (config.layers_pattern.size() > kMaxRegexKeys) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "'layers_pattern' has {} patterns, but at most {} are allowed",
                     config.layers_pattern.size(), kMaxRegexKeys);
  }
  for (const std::string& pattern : config.layers_pattern) {
    WEFT_ASSIGN_OR_RETURN(
        BoundedRegex regex,
        BoundedRegex::Compile(fmt::format(R"((?:^|.*?\.){}\.(?P<idx>\d+)\.)", pattern),
                              "layers_pattern"));
    selection.layer_patterns_.push_back(std::move(regex));
  }
  return selection;
}

/// The layer's index is the first number that follows the pattern, or without one the first
/// segment that is a number, which for "model.layers.N. ..." is N.
Result<bool> TargetSelection::LayerIsChosen(std::string_view module) const {
  std::optional<int64_t> index;
  if (layer_patterns_.empty()) {
    constexpr std::string_view kPrefix = "model.layers.";
    if (!module.starts_with(kPrefix)) return false;
    index = std::atoll(std::string(module.substr(kPrefix.size())).c_str());
  }
  for (const BoundedRegex& pattern : layer_patterns_) {
    WEFT_ASSIGN_OR_RETURN(index, pattern.MatchIndex(module));
    if (index) break;
  }
  const std::vector<int32_t>& layers = *config_->layers_to_transform;
  return index && std::find(layers.begin(), layers.end(), *index) != layers.end();
}

Result<bool> TargetSelection::Adapts(std::string_view module) const {
  using Kind = ModuleSelector::Kind;
  if (config_->exclude_modules.kind == Kind::kList &&
      InList(config_->exclude_modules.names, module)) {
    return false;
  }
  if (exclude_) {
    WEFT_ASSIGN_OR_RETURN(const bool excluded, exclude_->FullMatch(module));
    if (excluded) return false;
  }
  const ModuleSelector& target = config_->target_modules;
  if (target.kind == Kind::kNone || target.kind == Kind::kAllLinear) return true;
  if (target.kind == Kind::kRegex) return target_->FullMatch(module);
  // PEFT applies layers_to_transform to names that match by their end only.
  if (std::find(target.names.begin(), target.names.end(), module) != target.names.end()) {
    return true;
  }
  if (!InList(target.names, module)) return false;
  const auto& layers = config_->layers_to_transform;
  return !layers || layers->empty() ? Result<bool>(true) : LayerIsChosen(module);
}

Result<PatternKeys> PatternKeys::Compile(const std::vector<std::string>& keys,
                                         std::string_view field) {
  PatternKeys compiled;
  size_t regexes = 0;
  for (const std::string& key : keys) {
    if (IsLiteral(key)) {
      compiled.keys_.push_back(Key{key, std::nullopt});
      continue;
    }
    ++regexes;
    WEFT_ASSIGN_OR_RETURN(BoundedRegex regex,
                          BoundedRegex::Compile(fmt::format(R"((.*\.)?({})$)", key), field));
    compiled.keys_.push_back(Key{{}, std::move(regex)});
  }
  if (keys.size() > kMaxKeys || regexes > kMaxRegexKeys) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "'{}' has {} keys, {} of them regular expressions, but at most {} and {} are "
                     "allowed",
                     field, keys.size(), regexes, kMaxKeys, kMaxRegexKeys);
  }
  return compiled;
}

Result<std::optional<size_t>> PatternKeys::FirstMatch(std::string_view module) const {
  for (size_t i = 0; i < keys_.size(); ++i) {
    bool matches = false;
    if (keys_[i].regex) {
      WEFT_ASSIGN_OR_RETURN(matches, keys_[i].regex->Match(module));
    } else {
      matches = LiteralMatches(keys_[i].literal, module);
    }
    if (matches) return std::optional<size_t>(i);
  }
  return std::optional<size_t>();
}

}  // namespace weft::checkpoint
