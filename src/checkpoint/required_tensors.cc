#include "checkpoint/required_tensors.h"

#include <string>

namespace weft::checkpoint {
namespace {

void AddLayer(const ModelConfig& config, int32_t layer, std::vector<TensorInfo>& tensors) {
  const auto add = [&](std::string_view name, std::vector<int64_t> shape) {
    tensors.push_back(TensorInfo{fmt::format("model.layers.{}.{}", layer, name), StoredType::kF32,
                                 std::move(shape)});
  };
  add("input_layernorm.weight", {config.hidden});
  for (Projection projection : kAllProjections) {
    const bool attention = projection <= Projection::kO;
    if (projection == Projection::kGate) add("post_attention_layernorm.weight", {config.hidden});
    const std::string module =
        fmt::format("{}.{}", attention ? "self_attn" : "mlp", ProjectionName(projection));
    const int64_t out = config.OutputSize(projection);
    add(module + ".weight", {out, config.InputSize(projection)});
    const bool biased = projection == Projection::kO ? config.output_bias : config.qkv_bias;
    if (attention && biased) add(module + ".bias", {out});
  }
  if (config.qk_norm) {
    add("self_attn.q_norm.weight", {config.head_dim});
    add("self_attn.k_norm.weight", {config.head_dim});
  }
}

}  // namespace

std::vector<TensorInfo> RequiredTensors(const ModelConfig& config) {
  std::vector<TensorInfo> tensors;
  const auto add = [&](std::string name, std::vector<int64_t> shape) {
    tensors.push_back(TensorInfo{std::move(name), StoredType::kF32, std::move(shape)});
  };
  add("model.embed_tokens.weight", {config.vocabulary, config.hidden});
  for (int32_t layer = 0; layer < config.layers; ++layer) AddLayer(config, layer, tensors);
  add("model.norm.weight", {config.hidden});
  if (!config.tied_embeddings) add("lm_head.weight", {config.vocabulary, config.hidden});
  return tensors;
}

Status CheckRequiredTensors(const ModelConfig& config, const TensorSource& tensors) {
  std::string first;
  int wrong = 0;
  for (const TensorInfo& wanted : RequiredTensors(config)) {
    const TensorInfo* found = tensors.Find(wanted.name);
    if (found != nullptr && found->shape == wanted.shape) continue;
    if (wrong++ > 0) continue;
    first =
        found == nullptr
            ? fmt::format("tensor '{}' of shape [{}] is missing", wanted.name,
                          fmt::join(wanted.shape, ", "))
            : fmt::format("tensor '{}' has shape [{}], but the config asks for [{}]", wanted.name,
                          fmt::join(found->shape, ", "), fmt::join(wanted.shape, ", "));
  }
  if (wrong == 0) return OkStatus();
  if (wrong > 1) first += fmt::format(" (and {} more are missing or misshapen)", wrong - 1);
  return Error{ErrorCode::kInvalidArgument, std::move(first)};
}

}  // namespace weft::checkpoint
