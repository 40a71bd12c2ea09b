#include "checkpoint/adapter_config.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "checkpoint/json_object.h"

namespace weft::checkpoint {
namespace {

using simdjson::dom::element;

constexpr int64_t kMaxRank = 65'536;
constexpr std::string_view kName = "adapter_config.json";

/// A field that changes what the adapter computes in a way that Weft does not serve, unless it is
/// absent, null, false or empty.
struct Refused {
  std::string_view field;
  std::string_view what;
  std::string_view remedy;
};
constexpr Refused kRefused[] = {
    {"use_dora", "DoRA", "train with use_dora=False, or merge the adapter into the base model"},
    {"modules_to_save", "an adapter that replaces whole modules",
     "train without modules_to_save, or merge the adapter into the base model"},
    {"alora_invocation_tokens", "an activated LoRA (aLoRA)",
     "train without alora_invocation_tokens"},
    {"trainable_token_indices", "an adapter with trained token embeddings",
     "train without trainable_token_indices, or merge the adapter into the base model"},
    {"lora_bias", "a bias in lora_B", "train with lora_bias=False"},
    {"layer_replication", "an adapter that replicates layers", "train without layer_replication"},
    {"megatron_config", "an adapter of Megatron's parallel layers",
     "train without megatron_config"},
    {"target_parameters", "an adapter of parameters that are not modules",
     "train with target_modules alone"},
    {"use_qalora", "QALoRA, whose lora_A takes pooled inputs", "train with use_qalora=False"},
    {"use_bdlora", "a block-diagonal LoRA", "train without use_bdlora"},
    {"arrow_config", "an Arrow router of adapters", "load its adapters one by one"},
    {"kasa_config", "KaSA, which changes the base weights", "train without kasa_config"},
    {"monteclora_config", "MonteCLoRA", "train without monteclora_config"},
};

/// Fields that are read here, or that do not change what a trained adapter computes.
constexpr std::string_view kKnown[] = {"alpha_pattern",
                                       "auto_mapping",
                                       "base_model_name_or_path",
                                       "bias",
                                       "corda_config",
                                       "ensure_weight_tying",
                                       "eva_config",
                                       "exclude_modules",
                                       "fan_in_fan_out",
                                       "inference_mode",
                                       "init_lora_weights",
                                       "layers_pattern",
                                       "layers_to_transform",
                                       "loftq_config",
                                       "lora_alpha",
                                       "lora_dropout",
                                       "lora_ga_config",
                                       "megatron_core",
                                       "peft_type",
                                       "peft_version",
                                       "qalora_group_size",
                                       "r",
                                       "rank_pattern",
                                       "revision",
                                       "runtime_config",
                                       "target_modules",
                                       "task_type",
                                       "use_rslora",
                                       "velora_config"};

bool IsEmpty(element value) {
  bool flag = false;
  if (value.get_bool().get(flag) == simdjson::SUCCESS) return !flag;
  if (value.is_array()) return value.get_array().value_unsafe().size() == 0;
  if (value.is_object()) return value.get_object().value_unsafe().size() == 0;
  return value.is_null();
}

Error Unsupported(std::string_view field, std::string_view what, std::string_view remedy) {
  return MakeError(ErrorCode::kUnsupported, "{}: '{}': {} is not supported; {}", kName, field, what,
                   remedy);
}

Status RefuseUnsupported(const JsonObject& json) {
  WEFT_ASSIGN_OR_RETURN(const std::string type, json.Require<std::string>("peft_type"));
  if (type != "LORA") {
    return Unsupported("peft_type", type, "supported: LORA; merge the adapter into the base model");
  }
  for (const Refused& refused : kRefused) {
    const std::optional<element> value = json.Find(refused.field);
    if (value && !IsEmpty(*value)) return Unsupported(refused.field, refused.what, refused.remedy);
  }
  WEFT_ASSIGN_OR_RETURN(const std::string bias, json.GetOr<std::string>("bias", "none"));
  if (bias != "none") {
    return Unsupported("bias", fmt::format("a trained bias ('{}')", bias),
                       "train with bias=\"none\", or merge the adapter into the base model");
  }
  return OkStatus();
}

/// PiSSA, OLoRA, CorDA and LoRA-GA subtract what A and B begin with from the base model's weights
/// (peft/tuners/lora/layer.py), so such an adapter is right on that changed base only, unless PEFT
/// converted it while saving; then the field says true.
Status CheckInitialisation(const JsonObject& json, AdapterConfig& config) {
  const std::optional<element> value = json.Find("init_lora_weights");
  std::string_view text;
  if (!value || value->get_string().get(text) != simdjson::SUCCESS) return OkStatus();
  std::string name(text);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (name.starts_with("pissa") || name == "olora" || name.starts_with("corda") ||
      name == "lora_ga") {
    return Unsupported("init_lora_weights",
                       fmt::format("an adapter on the base weights that '{}' changed", text),
                       "save it as a plain LoRA: save_pretrained(..., "
                       "path_initial_model_for_weight_conversion=...)");
  }
  if (name == "loftq") {
    config.warnings.push_back(
        "it was trained on base weights that LoftQ quantised; served on others its answers may "
        "differ a little");
  }
  return OkStatus();
}

Result<std::vector<std::string>> Strings(std::string_view field, element value) {
  std::vector<std::string> strings;
  for (element item : value.get_array()) {
    std::string_view text;
    if (item.get_string().get(text) != simdjson::SUCCESS) {
      return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' must hold only strings", kName,
                       field);
    }
    strings.emplace_back(text);
  }
  return strings;
}

Result<ModuleSelector> ParseSelector(const JsonObject& json, std::string_view field) {
  ModuleSelector selector;
  const std::optional<element> value = json.Find(field);
  if (!value) return selector;
  if (value->is_array()) {
    selector.kind = ModuleSelector::Kind::kList;
    WEFT_ASSIGN_OR_RETURN(selector.names, Strings(field, *value));
    return selector;
  }
  std::string_view text;
  if (value->get_string().get(text) != simdjson::SUCCESS) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: '{}' is {}, but must be a list of names or a regular expression", kName,
                     field, KindName(*value));
  }
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool all_linear = field == "target_modules" && lower == "all-linear";
  selector.kind = all_linear ? ModuleSelector::Kind::kAllLinear : ModuleSelector::Kind::kRegex;
  if (!all_linear) selector.regex = text;
  if (field == "exclude_modules" && text.empty()) selector.kind = ModuleSelector::Kind::kNone;
  return selector;
}

Status ParseLayers(const JsonObject& json, AdapterConfig& config) {
  if (const std::optional<element> value = json.Find("layers_to_transform")) {
    config.layers_to_transform.emplace();
    std::vector<element> items;
    if (value->is_array()) {
      for (element item : value->get_array()) items.push_back(item);
    } else {
      items.push_back(*value);
    }
    for (element item : items) {
      int64_t layer = -1;
      if (item.get_int64().get(layer) != simdjson::SUCCESS || layer < 0 || layer > INT32_MAX) {
        return MakeError(ErrorCode::kInvalidArgument,
                         "{}: 'layers_to_transform' must be a layer's number or a list of them",
                         kName);
      }
      config.layers_to_transform->push_back(static_cast<int32_t>(layer));
    }
  }
  if (const std::optional<element> value = json.Find("layers_pattern")) {
    std::string_view one;
    if (value->is_array()) {
      WEFT_ASSIGN_OR_RETURN(config.layers_pattern, Strings("layers_pattern", *value));
    } else if (value->get_string().get(one) == simdjson::SUCCESS) {
      if (!one.empty()) config.layers_pattern.emplace_back(one);
    } else {
      return MakeError(ErrorCode::kInvalidArgument,
                       "{}: 'layers_pattern' must be a string or a list of strings", kName);
    }
  }
  // PEFT refuses these combinations too (tuners/lora/config.py).
  const bool regex = config.target_modules.kind == ModuleSelector::Kind::kRegex ||
                     config.target_modules.kind == ModuleSelector::Kind::kAllLinear;
  if (regex && (config.layers_to_transform || !config.layers_pattern.empty())) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: 'layers_to_transform' and 'layers_pattern' need a list in "
                     "'target_modules', but it is a string",
                     kName);
  }
  if (!config.layers_pattern.empty() && !config.layers_to_transform) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: 'layers_pattern' needs 'layers_to_transform' beside it", kName);
  }
  return OkStatus();
}

Result<int32_t> CheckRank(std::string_view field, int64_t rank) {
  if (rank < 1 || rank > kMaxRank) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' is {}, but must be from 1 to {}", kName,
                     field, rank, kMaxRank);
  }
  return static_cast<int32_t>(rank);
}

Result<double> CheckAlpha(std::string_view field, double alpha) {
  if (!(std::abs(alpha) <= 1e9)) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' is {}, but must be within 1e9 of 0",
                     kName, field, alpha);
  }
  return alpha;
}

/// Python keeps a repeated key where it stood first, with the last value.
template <typename T>
void Put(std::vector<std::pair<std::string, T>>& pattern, std::string_view key, T value) {
  for (auto& [known, old] : pattern) {
    if (known == key) {
      old = value;
      return;
    }
  }
  pattern.emplace_back(key, value);
}

Status ParsePatterns(const JsonObject& json, AdapterConfig& config) {
  constexpr size_t kMaxPatterns = 8192;
  for (std::string_view field : {"rank_pattern", "alpha_pattern"}) {
    WEFT_ASSIGN_OR_RETURN(const std::optional<JsonObject> pattern, json.GetObject(field));
    if (!pattern) continue;
    if (pattern->object().size() > kMaxPatterns) {
      return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' has more than {} patterns", kName,
                       field, kMaxPatterns);
    }
    for (auto entry : pattern->object()) {
      const std::string name = fmt::format("{}: {}", field, entry.key);
      int64_t rank = 0;
      double alpha = 0;
      if (field == "rank_pattern") {
        if (entry.value.get_int64().get(rank) != simdjson::SUCCESS) {
          return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' must be an integer", kName, name);
        }
        WEFT_ASSIGN_OR_RETURN(const int32_t checked, CheckRank(name, rank));
        Put(config.rank_pattern, entry.key, checked);
      } else {
        if (entry.value.get_double().get(alpha) != simdjson::SUCCESS) {
          return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' must be a number", kName, name);
        }
        WEFT_ASSIGN_OR_RETURN(const double checked, CheckAlpha(name, alpha));
        Put(config.alpha_pattern, entry.key, checked);
      }
    }
  }
  return OkStatus();
}

void WarnOfUnknownFields(const JsonObject& json, AdapterConfig& config) {
  for (auto field : json.object()) {
    const bool refused = std::any_of(std::begin(kRefused), std::end(kRefused),
                                     [&](const Refused& r) { return r.field == field.key; });
    const bool known =
        refused || std::find(std::begin(kKnown), std::end(kKnown), field.key) != std::end(kKnown);
    if (!known && !IsEmpty(field.value) && config.warnings.size() < 16) {
      config.warnings.push_back(
          fmt::format("{}: the unknown field '{}' is ignored", kName, field.key));
    }
  }
}

}  // namespace

Result<AdapterConfig> ParseAdapterConfig(std::string_view text) {
  WEFT_ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::Parse(text, kName));
  const JsonObject& json = document.root();
  WEFT_RETURN_IF_ERROR(RefuseUnsupported(json));
  AdapterConfig config;
  WEFT_RETURN_IF_ERROR(CheckInitialisation(json, config));
  // The defaults are PEFT's.
  WEFT_ASSIGN_OR_RETURN(const int64_t rank, json.GetOr<int64_t>("r", 8));
  WEFT_ASSIGN_OR_RETURN(config.rank, CheckRank("r", rank));
  WEFT_ASSIGN_OR_RETURN(const double alpha, json.GetOr<double>("lora_alpha", 8.0));
  WEFT_ASSIGN_OR_RETURN(config.alpha, CheckAlpha("lora_alpha", alpha));
  WEFT_ASSIGN_OR_RETURN(config.use_rslora, json.GetOr<bool>("use_rslora", false));
  WEFT_ASSIGN_OR_RETURN(config.fan_in_fan_out, json.GetOr<bool>("fan_in_fan_out", false));
  WEFT_RETURN_IF_ERROR(ParsePatterns(json, config));
  WEFT_ASSIGN_OR_RETURN(config.target_modules, ParseSelector(json, "target_modules"));
  WEFT_ASSIGN_OR_RETURN(config.exclude_modules, ParseSelector(json, "exclude_modules"));
  WEFT_RETURN_IF_ERROR(ParseLayers(json, config));
  WEFT_ASSIGN_OR_RETURN(config.base_model_name_or_path,
                        json.GetOr<std::string>("base_model_name_or_path", ""));
  WEFT_ASSIGN_OR_RETURN(config.peft_version, json.GetOr<std::string>("peft_version", ""));
  // Only GPT-2's Conv1D stores [in, out]. PEFT keeps lora_A [r, in] and lora_B [out, r] there too,
  // and sets the field to False with a warning for a Linear (tuners/lora/layer.py,
  // dispatch_default); it matters when an adapter is merged, never for how one is stored.
  if (config.fan_in_fan_out) {
    config.warnings.push_back(
        "'fan_in_fan_out' has no effect: the projections of this model are Linear");
  }
  WarnOfUnknownFields(json, config);
  return config;
}

}  // namespace weft::checkpoint
