#include "checkpoint/gguf_model.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <utility>

namespace weft::checkpoint {
namespace {

constexpr int64_t kMaxVocabulary = 1 << 24;
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 8192;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxContext = 1 << 28;

/// Reads "ARCHITECTURE.key" values, with errors that name the file and the key.
class Metadata {
 public:
  Metadata(const GgufHeader& header, std::string_view architecture, std::string_view name)
      : header_(header), architecture_(architecture), name_(name) {}

  std::string Key(std::string_view key) const { return fmt::format("{}.{}", architecture_, key); }
  bool Has(std::string_view key) const { return header_.metadata.contains(Key(key)); }

  /// A fallback of 0 means that the value must be there.
  Result<int32_t> Integer(std::string_view key, int64_t fallback, int64_t limit) const {
    const std::string full = Key(key);
    const auto* value = header_.Find<int64_t>(full);
    if (value == nullptr && (fallback == 0 || Has(key))) {
      return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' is {}", name_, full,
                       Has(key) ? "not one integer, which is not supported" : "missing");
    }
    const int64_t found = value != nullptr ? *value : fallback;
    if (found < 1 || found > limit) {
      return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' is {}, but must be from 1 to {}",
                       name_, full, found, limit);
    }
    return static_cast<int32_t>(found);
  }

  Result<double> Number(std::string_view key, double fallback, double low, double high) const {
    const std::string full = Key(key);
    const auto* value = header_.Find<double>(full);
    if (value == nullptr && Has(key)) {
      return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' is not a float", name_, full);
    }
    const double found = value != nullptr ? *value : fallback;
    if (!(found >= low && found <= high)) {
      return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' is {}, but must be from {} to {}",
                       name_, full, found, low, high);
    }
    return found;
  }

  Error Unsupported(std::string_view what, std::string_view remedy) const {
    return MakeError(ErrorCode::kUnsupported, "{}: {} is not supported; {}", name_, what, remedy);
  }

 private:
  const GgufHeader& header_;
  const std::string_view architecture_;
  const std::string_view name_;
};

const GgufTensor* FindTensor(const GgufHeader& header, std::string_view name) {
  for (const GgufTensor& tensor : header.tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

Result<Architecture> FindArchitecture(const GgufHeader& header, std::string_view name) {
  const auto* architecture = header.Find<std::string>("general.architecture");
  if (architecture == nullptr) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: 'general.architecture' is missing", name);
  }
  if (*architecture == "llama") return Architecture::kLlama;
  if (*architecture == "qwen2") return Architecture::kQwen2;
  if (*architecture == "qwen3") return Architecture::kQwen3;
  return MakeError(ErrorCode::kUnsupported,
                   "{}: not supported: architecture {}; supported: llama, qwen2, qwen3", name,
                   *architecture);
}

Status ParseSizes(const Metadata& metadata, ModelConfig& config) {
  WEFT_ASSIGN_OR_RETURN(config.hidden, metadata.Integer("embedding_length", 0, kMaxWidth));
  WEFT_ASSIGN_OR_RETURN(config.intermediate, metadata.Integer("feed_forward_length", 0, kMaxWidth));
  WEFT_ASSIGN_OR_RETURN(config.layers, metadata.Integer("block_count", 0, kMaxLayers));
  WEFT_ASSIGN_OR_RETURN(config.heads, metadata.Integer("attention.head_count", 0, kMaxHeads));
  WEFT_ASSIGN_OR_RETURN(config.kv_heads,
                        metadata.Integer("attention.head_count_kv", config.heads, kMaxHeads));
  WEFT_ASSIGN_OR_RETURN(config.context_length, metadata.Integer("context_length", 0, kMaxContext));
  const int64_t even = std::max(config.hidden / config.heads, 1);
  WEFT_ASSIGN_OR_RETURN(config.head_dim,
                        metadata.Integer("attention.key_length", even, kMaxHeadDim));
  WEFT_ASSIGN_OR_RETURN(const int32_t value_dim,
                        metadata.Integer("attention.value_length", config.head_dim, kMaxHeadDim));
  WEFT_ASSIGN_OR_RETURN(const int32_t rotated,
                        metadata.Integer("rope.dimension_count", config.head_dim, kMaxHeadDim));
  if (config.heads % config.kv_heads != 0 || config.head_dim % 2 != 0) {
    return metadata.Unsupported(
        fmt::format("a model of {} heads, {} key and value heads and head dimension {}",
                    config.heads, config.kv_heads, config.head_dim),
        "heads must be a multiple of key and value heads, and the head dimension even");
  }
  if (value_dim != config.head_dim || rotated != config.head_dim) {
    return metadata.Unsupported(
        fmt::format("a model whose keys have {} elements, values {} and rotated parts {}",
                    config.head_dim, value_dim, rotated),
        "all three must be equal");
  }
  WEFT_ASSIGN_OR_RETURN(const double epsilon,
                        metadata.Number("attention.layer_norm_rms_epsilon", 1e-5, 1e-12, 1.0));
  config.rms_epsilon = static_cast<float>(epsilon);
  return OkStatus();
}

Status ParseRope(const GgufHeader& header, const Metadata& metadata, ModelConfig& config) {
  WEFT_ASSIGN_OR_RETURN(config.rope.theta, metadata.Number("rope.freq_base", 1e4, 1.0, 1e12));
  const auto* type = header.Find<std::string>(metadata.Key("rope.scaling.type"));
  if (type == nullptr || *type == "none") return OkStatus();
  if (*type != "linear") {
    return metadata.Unsupported(fmt::format("rope scaling '{}'", *type),
                                "supported: none, linear, and Llama 3.1's factors");
  }
  config.rope.scaling = RopeScaling::kLinear;
  WEFT_ASSIGN_OR_RETURN(config.rope.factor, metadata.Number("rope.scaling.factor", 1.0, 1.0, 1e4));
  return OkStatus();
}

Status ParseWindow(const Metadata& metadata, ModelConfig& config) {
  if (!metadata.Has("attention.sliding_window")) return OkStatus();
  WEFT_ASSIGN_OR_RETURN(const int32_t window,
                        metadata.Integer("attention.sliding_window", 0, kMaxContext));
  if (window < config.context_length) {
    config.notes.push_back(fmt::format(
        "context capped from {} to {} tokens: the model attends through a sliding window of that "
        "length, and Weft attends to the whole context",
        config.context_length, window));
    config.context_length = window;
  }
  return OkStatus();
}

void AddToken(const GgufHeader& header, std::string_view key, ModelConfig& config,
              std::vector<TokenId>& into) {
  const auto* id = header.Find<int64_t>(key);
  if (id == nullptr) return;
  if (*id < 0 || *id >= config.vocabulary) {
    config.notes.push_back(
        fmt::format("'{}' {} ignored: the vocabulary has {} tokens", key, *id, config.vocabulary));
  } else if (std::find(into.begin(), into.end(), static_cast<TokenId>(*id)) == into.end()) {
    into.push_back(static_cast<TokenId>(*id));
  }
}

/// What one layer's tensors are called, without "blk.N." and "model.layers.N.".
constexpr std::pair<std::string_view, std::string_view> kLayerNames[] = {
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"attn_q.bias", "self_attn.q_proj.bias"},
    {"attn_k.bias", "self_attn.k_proj.bias"},
    {"attn_v.bias", "self_attn.v_proj.bias"},
    {"attn_output.bias", "self_attn.o_proj.bias"},
    {"attn_q_norm.weight", "self_attn.q_norm.weight"},
    {"attn_k_norm.weight", "self_attn.k_norm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
};

}  // namespace

Result<ModelConfig> ParseGgufConfig(const GgufHeader& header, std::string_view name) {
  ModelConfig config;
  WEFT_ASSIGN_OR_RETURN(config.architecture, FindArchitecture(header, name));
  const Metadata metadata(header, *header.Find<std::string>("general.architecture"), name);
  if (metadata.Has("expert_count")) {
    WEFT_ASSIGN_OR_RETURN(const int32_t experts, metadata.Integer("expert_count", 0, kMaxWidth));
    return metadata.Unsupported(fmt::format("a mixture of {} experts", experts),
                                "use a dense model");
  }
  WEFT_RETURN_IF_ERROR(ParseSizes(metadata, config));
  WEFT_RETURN_IF_ERROR(ParseRope(header, metadata, config));
  WEFT_RETURN_IF_ERROR(ParseWindow(metadata, config));

  const GgufTensor* embeddings = FindTensor(header, "token_embd.weight");
  if (embeddings == nullptr || embeddings->shape.size() != 2 || embeddings->shape[0] < 1 ||
      embeddings->shape[0] > kMaxVocabulary) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: there is no 'token_embd.weight' of shape [vocabulary, {}]", name,
                     config.hidden);
  }
  config.vocabulary = static_cast<int32_t>(embeddings->shape[0]);
  config.tied_embeddings = FindTensor(header, "output.weight") == nullptr;
  config.qkv_bias = config.architecture == Architecture::kQwen2 ||
                    FindTensor(header, "blk.0.attn_q.bias") != nullptr;
  config.output_bias = FindTensor(header, "blk.0.attn_output.bias") != nullptr;
  config.qk_norm = config.architecture == Architecture::kQwen3;

  std::vector<TokenId> begin;
  AddToken(header, "tokenizer.ggml.bos_token_id", config, begin);
  if (!begin.empty()) config.begin_token = begin.front();
  AddToken(header, "tokenizer.ggml.eos_token_id", config, config.end_tokens);
  AddToken(header, "tokenizer.ggml.eot_token_id", config, config.end_tokens);
  return config;
}

std::optional<std::string> HuggingFaceName(std::string_view gguf_name) {
  if (gguf_name == "token_embd.weight") return "model.embed_tokens.weight";
  if (gguf_name == "output_norm.weight") return "model.norm.weight";
  if (gguf_name == "output.weight") return "lm_head.weight";
  if (!gguf_name.starts_with("blk.")) return std::nullopt;
  const size_t dot = gguf_name.find('.', 4);
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view layer = gguf_name.substr(4, dot - 4);
  int32_t number = 0;
  const auto [end, error] = std::from_chars(layer.data(), layer.data() + layer.size(), number);
  if (error != std::errc() || end != layer.data() + layer.size()) return std::nullopt;
  for (const auto& [theirs, ours] : kLayerNames) {
    if (gguf_name.substr(dot + 1) == theirs) {
      return fmt::format("model.layers.{}.{}", layer, ours);
    }
  }
  return std::nullopt;
}

Status ApplyRopeFactors(std::span<const float> factors, std::string_view name,
                        ModelConfig& config) {
  const auto refuse = [&](std::string_view why) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: '{}' {}; supported: the factors of Llama 3.1's rope scaling", name,
                     kRopeFactorsTensor, why);
  };
  if (static_cast<int64_t>(factors.size()) != config.head_dim / 2) {
    return refuse(
        fmt::format("has {} factors for a head dimension of {}", factors.size(), config.head_dim));
  }
  // The lowest frequency, which comes last, is divided by the whole factor.
  const double factor = factors.back();
  if (std::all_of(factors.begin(), factors.end(), [](float f) { return f == 1.0F; })) {
    return OkStatus();
  }
  if (config.rope.scaling != RopeScaling::kNone) return refuse("comes beside another scaling");
  if (!(factor > 1.0 && factor <= 1e4)) {
    return refuse(fmt::format("ends with the factor {}", factor));
  }
  RopeConfig rope = config.rope;
  rope.scaling = RopeScaling::kLlama3;
  rope.factor = factor;
  rope.low_frequency_factor = 1.0;
  rope.high_frequency_factor = 4.0;
  rope.original_context = 8192;
  for (size_t i = 0; i < factors.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / config.head_dim;
    const double wavelength = 2 * std::numbers::pi * std::pow(rope.theta, exponent);
    const double turns = static_cast<double>(rope.original_context) / wavelength;
    const double smooth = std::clamp((turns - rope.low_frequency_factor) /
                                         (rope.high_frequency_factor - rope.low_frequency_factor),
                                     0.0, 1.0);
    const double expected = 1.0 / ((1.0 - smooth) / factor + smooth);
    if (!(std::abs(factors[i] - expected) <= 1e-3 * expected)) {
      return refuse(fmt::format("has the factor {} at {}, where the scaling by {} has {}",
                                factors[i], i, factor, expected));
    }
  }
  config.rope = rope;
  return OkStatus();
}

bool HasPermutedRows(const GgufHeader& header) {
  const auto* architecture = header.Find<std::string>("general.architecture");
  return architecture != nullptr && *architecture == "llama";
}

}  // namespace weft::checkpoint
