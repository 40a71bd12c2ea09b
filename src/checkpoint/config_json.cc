#include "checkpoint/config_json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "checkpoint/json_object.h"

namespace weft::checkpoint {
namespace {

using simdjson::dom::element;

/// What transformers assumes where config.json is silent.
struct Family {
  std::string_view class_name;
  std::string_view model_type;
  Architecture architecture;
  int64_t kv_heads;  ///< 0: as many as heads.
  int64_t head_dim;  ///< 0: hidden / heads.
  int64_t context;
  double rope_theta;
  bool tied;
};
constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", Architecture::kLlama, 0, 0, 2048, 1e4, false},
    {"MistralForCausalLM", "mistral", Architecture::kMistral, 8, 0, 131072, 1e4, false},
    {"Qwen2ForCausalLM", "qwen2", Architecture::kQwen2, 32, 0, 32768, 1e4, false},
    {"Qwen3ForCausalLM", "qwen3", Architecture::kQwen3, 32, 128, 32768, 1e4, false},
    {"SmolLM3ForCausalLM", "smollm3", Architecture::kLlama, 4, 0, 32768, 2e6, true},
};
constexpr std::string_view kSupported =
    "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, SmolLM3ForCausalLM";

// Far above any model there is, and low enough that products of two fit 64 bits and the sizes of
// projections fit 32.
constexpr int64_t kMaxVocabulary = 1 << 24;
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 8192;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxContext = 1 << 28;

Error Unsupported(const JsonObject& json, std::string_view what, std::string_view remedy) {
  return MakeError(ErrorCode::kUnsupported, "{}: {} is not supported; {}", json.path(), what,
                   remedy);
}

Result<const Family*> FindFamily(const JsonObject& json) {
  std::string name;
  if (auto list = json.Find("architectures"); list && list->is_array()) {
    std::string_view first;
    if (list->at(0).get_string().get(first) == simdjson::SUCCESS) name = first;
  }
  WEFT_ASSIGN_OR_RETURN(const std::string type, json.GetOr<std::string>("model_type", ""));
  for (const Family& family : kFamilies) {
    if (name.empty() ? type == family.model_type : name == family.class_name) return &family;
  }
  if (name.empty() && type.empty()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: neither 'architectures' nor 'model_type' names the model's architecture",
                     json.path());
  }
  return MakeError(ErrorCode::kUnsupported, "{}: not supported: architecture {}; supported: {}",
                   json.path(), name.empty() ? type : name, kSupported);
}

Result<int32_t> InRange(const JsonObject& json, std::string_view key, int64_t fallback,
                        int64_t limit) {
  // A fallback of 0 means that the field must be there.
  Result<int64_t> value =
      fallback == 0 ? json.Require<int64_t>(key) : json.GetOr<int64_t>(key, fallback);
  if (!value.ok()) return value.error();
  if (*value < 1 || *value > limit) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' is {}, but must be from 1 to {}",
                     json.path(), key, *value, limit);
  }
  return static_cast<int32_t>(*value);
}

Result<double> InRange(const JsonObject& json, std::string_view key, double fallback, double low,
                       double high) {
  WEFT_ASSIGN_OR_RETURN(const double value, json.GetOr<double>(key, fallback));
  if (!(value >= low && value <= high)) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' is {}, but must be from {} to {}",
                     json.path(), key, value, low, high);
  }
  return value;
}

Status ParseSizes(const JsonObject& json, const Family& family, ModelConfig& config) {
  WEFT_ASSIGN_OR_RETURN(config.vocabulary, InRange(json, "vocab_size", 0, kMaxVocabulary));
  WEFT_ASSIGN_OR_RETURN(config.hidden, InRange(json, "hidden_size", 0, kMaxWidth));
  WEFT_ASSIGN_OR_RETURN(config.intermediate, InRange(json, "intermediate_size", 0, kMaxWidth));
  WEFT_ASSIGN_OR_RETURN(config.layers, InRange(json, "num_hidden_layers", 0, kMaxLayers));
  WEFT_ASSIGN_OR_RETURN(config.heads, InRange(json, "num_attention_heads", 0, kMaxHeads));
  // A null is "as many as heads" for every family; an absent field is the family's own default.
  const int64_t kv_default =
      json.Has("num_key_value_heads") || family.kv_heads == 0 ? config.heads : family.kv_heads;
  WEFT_ASSIGN_OR_RETURN(config.kv_heads,
                        InRange(json, "num_key_value_heads", kv_default, kMaxHeads));
  if (config.heads % config.kv_heads != 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: 'num_attention_heads' ({}) is not a multiple of 'num_key_value_heads' "
                     "({})",
                     json.path(), config.heads, config.kv_heads);
  }
  int64_t head_dim = json.Has("head_dim") ? 0 : family.head_dim;
  if (!json.Find("head_dim") && head_dim == 0) {
    if (config.hidden % config.heads != 0) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "{}: 'hidden_size' ({}) is not a multiple of 'num_attention_heads' ({}) and "
                       "there is no 'head_dim'",
                       json.path(), config.hidden, config.heads);
    }
    head_dim = config.hidden / config.heads;
  }
  WEFT_ASSIGN_OR_RETURN(config.head_dim, InRange(json, "head_dim", head_dim, kMaxHeadDim));
  if (config.head_dim % 2 != 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: the head dimension is {}, but must be even for rotary embeddings",
                     json.path(), config.head_dim);
  }
  WEFT_ASSIGN_OR_RETURN(config.context_length,
                        InRange(json, "max_position_embeddings", family.context, kMaxContext));
  WEFT_ASSIGN_OR_RETURN(const double epsilon, InRange(json, "rms_norm_eps", 1e-6, 1e-12, 1.0));
  config.rms_epsilon = static_cast<float>(epsilon);
  return OkStatus();
}

Status ParseRopeScaling(const JsonObject& rope, int64_t context, RopeConfig& config) {
  WEFT_ASSIGN_OR_RETURN(std::string type, rope.GetOr<std::string>("rope_type", ""));
  if (type.empty()) {
    WEFT_ASSIGN_OR_RETURN(type, rope.GetOr<std::string>("type", "default"));
  }
  WEFT_ASSIGN_OR_RETURN(const double partial, rope.GetOr<double>("partial_rotary_factor", 1.0));
  if (partial != 1.0)
    return Unsupported(rope, "'partial_rotary_factor' other than 1",
                       "use a model that rotates whole heads");
  if (type == "default") return OkStatus();
  if (type != "linear" && type != "llama3") {
    return Unsupported(rope, fmt::format("rope type '{}'", type),
                       "supported: default, linear, llama3");
  }
  config.scaling = type == "linear" ? RopeScaling::kLinear : RopeScaling::kLlama3;
  WEFT_RETURN_IF_ERROR(rope.Require<double>("factor"));
  WEFT_ASSIGN_OR_RETURN(config.factor, InRange(rope, "factor", 1.0, 1.0, 1e4));
  if (config.scaling == RopeScaling::kLinear) return OkStatus();
  WEFT_RETURN_IF_ERROR(rope.Require<double>("low_freq_factor"));
  WEFT_RETURN_IF_ERROR(rope.Require<double>("high_freq_factor"));
  WEFT_ASSIGN_OR_RETURN(config.low_frequency_factor,
                        InRange(rope, "low_freq_factor", 1.0, 1e-3, 1e4));
  WEFT_ASSIGN_OR_RETURN(config.high_frequency_factor,
                        InRange(rope, "high_freq_factor", 4.0, 1e-3, 1e4));
  if (config.high_frequency_factor <= config.low_frequency_factor) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: 'high_freq_factor' ({}) must be greater than 'low_freq_factor' ({})",
                     rope.path(), config.high_frequency_factor, config.low_frequency_factor);
  }
  WEFT_ASSIGN_OR_RETURN(config.original_context,
                        InRange(rope, "original_max_position_embeddings", context, kMaxContext));
  return OkStatus();
}

/// transformers 4 writes rope_theta and rope_scaling; 5 writes rope_parameters with both.
Status ParseRope(const JsonObject& json, const Family& family, ModelConfig& config) {
  WEFT_ASSIGN_OR_RETURN(std::optional<JsonObject> parameters, json.GetObject("rope_parameters"));
  WEFT_ASSIGN_OR_RETURN(std::optional<JsonObject> scaling, json.GetObject("rope_scaling"));
  WEFT_ASSIGN_OR_RETURN(config.rope.theta,
                        InRange(json, "rope_theta", family.rope_theta, 1.0, 1e12));
  if (parameters) {
    for (auto field : parameters->object()) {
      if (field.value.is_object()) {
        return Unsupported(*parameters, "a different rope for each kind of layer",
                           "use a model with one for all");
      }
    }
    WEFT_ASSIGN_OR_RETURN(config.rope.theta,
                          InRange(*parameters, "rope_theta", config.rope.theta, 1.0, 1e12));
    return ParseRopeScaling(*parameters, config.context_length, config.rope);
  }
  if (scaling) return ParseRopeScaling(*scaling, config.context_length, config.rope);
  return OkStatus();
}

Status ParseBiases(const JsonObject& json, ModelConfig& config) {
  WEFT_ASSIGN_OR_RETURN(const bool attention, json.GetOr<bool>("attention_bias", false));
  WEFT_ASSIGN_OR_RETURN(const bool mlp, json.GetOr<bool>("mlp_bias", false));
  if (mlp) return Unsupported(json, "'mlp_bias': true", "use a model without biases in its MLP");
  switch (config.architecture) {
    case Architecture::kLlama:
      config.qkv_bias = config.output_bias = attention;
      break;
    case Architecture::kMistral:
      break;
    case Architecture::kQwen2:
      config.qkv_bias = true;
      break;
    case Architecture::kQwen3:
      config.qkv_bias = config.output_bias = attention;
      config.qk_norm = true;
      break;
  }
  return OkStatus();
}

/// The list `layer_types`, if there: whether any layer slides.
Result<std::optional<bool>> AnyLayerSlides(const JsonObject& json) {
  const std::optional<element> types = json.Find("layer_types");
  if (!types || !types->is_array()) return std::optional<bool>();
  bool slides = false;
  for (element type : types->get_array()) {
    std::string_view name;
    if (type.get_string().get(name) != simdjson::SUCCESS ||
        (name != "full_attention" && name != "sliding_attention")) {
      return Unsupported(json, fmt::format("a layer of type '{}' in 'layer_types'", name),
                         "supported: full_attention, sliding_attention");
    }
    slides = slides || name == "sliding_attention";
  }
  return std::optional<bool>(slides);
}

/// Up to a window's length, sliding and full attention are the same; so the context is capped.
Status CapToSlidingWindow(const JsonObject& json, const Family& family, ModelConfig& config) {
  int64_t window_default = 0;
  if (family.architecture == Architecture::kMistral) {
    if (!json.Has("sliding_window")) window_default = 4096;
  } else {
    WEFT_ASSIGN_OR_RETURN(const bool used, json.GetOr<bool>("use_sliding_window", false));
    if (family.architecture != Architecture::kLlama || family.model_type == "smollm3") {
      WEFT_ASSIGN_OR_RETURN(const std::optional<bool> slides, AnyLayerSlides(json));
      WEFT_ASSIGN_OR_RETURN(const int64_t first, json.GetOr<int64_t>("max_window_layers", 0));
      if (!used || !slides.value_or(first < config.layers)) return OkStatus();
    } else {
      return OkStatus();
    }
  }
  WEFT_ASSIGN_OR_RETURN(const int64_t window,
                        json.GetOr<int64_t>("sliding_window", window_default));
  if (window == 0) return OkStatus();
  if (window < 1) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: 'sliding_window' is {}, but must be positive", json.path(), window);
  }
  if (window < config.context_length) {
    config.notes.push_back(fmt::format(
        "context capped from {} to {} tokens: the model attends through a sliding window of that "
        "length, and Weft attends to the whole context",
        config.context_length, window));
    config.context_length = static_cast<int32_t>(window);
  }
  return OkStatus();
}

Status ParseLayersWithoutRope(const JsonObject& json, ModelConfig& config) {
  WEFT_ASSIGN_OR_RETURN(const int32_t interval,
                        InRange(json, "no_rope_layer_interval", 4, kMaxLayers));
  config.layer_without_rope.resize(static_cast<size_t>(config.layers));
  const std::optional<element> list = json.Find("no_rope_layers");
  if (!list) {
    for (int32_t i = 0; i < config.layers; ++i) {
      config.layer_without_rope[static_cast<size_t>(i)] = (i + 1) % interval == 0;
    }
    return OkStatus();
  }
  simdjson::dom::array array;
  if (list->get_array().get(array) != simdjson::SUCCESS ||
      array.size() < static_cast<size_t>(config.layers)) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        "{}: 'no_rope_layers' must be a list with one number for each of the {} layers",
        json.path(), config.layers);
  }
  size_t layer = 0;
  for (element entry : array) {
    if (layer == config.layer_without_rope.size()) break;
    int64_t uses_rope = -1;
    if (entry.get_int64().get(uses_rope) != simdjson::SUCCESS ||
        (uses_rope != 0 && uses_rope != 1)) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "{}: 'no_rope_layers' must hold only 1 (the layer uses rope) and 0",
                       json.path());
    }
    config.layer_without_rope[layer++] = uses_rope == 0;
  }
  return OkStatus();
}

Status AddToken(const JsonObject& json, std::string_view key, element value, ModelConfig& config,
                std::vector<TokenId>& into) {
  int64_t id = -1;
  if (value.get_int64().get(id) != simdjson::SUCCESS) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: '{}' must be a token id or a list of token ids", json.path(), key);
  }
  if (id < 0 || id >= config.vocabulary) {
    config.notes.push_back(fmt::format("{}: '{}' {} ignored: the vocabulary has {} tokens",
                                       json.path(), key, id, config.vocabulary));
  } else if (std::find(into.begin(), into.end(), static_cast<TokenId>(id)) == into.end()) {
    into.push_back(static_cast<TokenId>(id));
  }
  return OkStatus();
}

Status ParseTokens(const JsonObject& json, std::string_view key, ModelConfig& config,
                   std::vector<TokenId>& into) {
  const std::optional<element> value = json.Find(key);
  if (!value) return OkStatus();
  if (!value->is_array()) return AddToken(json, key, *value, config, into);
  for (element id : value->get_array()) {
    WEFT_RETURN_IF_ERROR(AddToken(json, key, id, config, into));
  }
  return OkStatus();
}

Status RefuseQuantised(const JsonObject& json) {
  WEFT_ASSIGN_OR_RETURN(const std::optional<JsonObject> quantisation,
                        json.GetObject("quantization_config"));
  if (!quantisation) return OkStatus();
  WEFT_ASSIGN_OR_RETURN(const std::string method,
                        quantisation->GetOr<std::string>("quant_method", "unnamed"));
  return Unsupported(json, fmt::format("a model quantised with '{}'", method),
                     "use the original model in float32, float16 or bfloat16, or a GGUF file");
}

}  // namespace

Result<ModelConfig> ParseConfigJson(std::string_view config_json,
                                    std::string_view generation_config_json) {
  WEFT_ASSIGN_OR_RETURN(const JsonDocument document,
                        JsonDocument::Parse(config_json, "config.json"));
  const JsonObject& json = document.root();
  WEFT_ASSIGN_OR_RETURN(const Family* family, FindFamily(json));
  WEFT_RETURN_IF_ERROR(RefuseQuantised(json));
  WEFT_ASSIGN_OR_RETURN(const std::string activation,
                        json.GetOr<std::string>("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") {
    return Unsupported(json, fmt::format("'hidden_act': '{}'", activation), "supported: silu");
  }
  ModelConfig config;
  config.architecture = family->architecture;
  WEFT_RETURN_IF_ERROR(ParseSizes(json, *family, config));
  WEFT_RETURN_IF_ERROR(ParseRope(json, *family, config));
  WEFT_RETURN_IF_ERROR(ParseBiases(json, config));
  WEFT_RETURN_IF_ERROR(CapToSlidingWindow(json, *family, config));
  if (family->model_type == "smollm3") WEFT_RETURN_IF_ERROR(ParseLayersWithoutRope(json, config));
  WEFT_ASSIGN_OR_RETURN(config.tied_embeddings,
                        json.GetOr<bool>("tie_word_embeddings", family->tied));
  WEFT_ASSIGN_OR_RETURN(config.stored_dtype, json.GetOr<std::string>("torch_dtype", ""));
  WEFT_ASSIGN_OR_RETURN(config.stored_dtype, json.GetOr<std::string>("dtype", config.stored_dtype));

  std::vector<TokenId> begin;
  WEFT_RETURN_IF_ERROR(ParseTokens(json, "bos_token_id", config, begin));
  if (!begin.empty()) config.begin_token = begin.front();
  WEFT_RETURN_IF_ERROR(ParseTokens(json, "eos_token_id", config, config.end_tokens));
  if (!generation_config_json.empty()) {
    WEFT_ASSIGN_OR_RETURN(const JsonDocument generation,
                          JsonDocument::Parse(generation_config_json, "generation_config.json"));
    WEFT_RETURN_IF_ERROR(ParseTokens(generation.root(), "eos_token_id", config, config.end_tokens));
  }
  return config;
}

}  // namespace weft::checkpoint
