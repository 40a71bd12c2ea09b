#pragma once

#include <vector>

#include "adapter/image_layout.h"
#include "checkpoint/model_config.h"

namespace weft::adapter {

/// The shapes of real models, as their config.json states them.
inline ModelConfig ShapeOf(int32_t hidden, int32_t intermediate, int32_t layers, int32_t heads,
                           int32_t kv_heads, int32_t head_dim) {
  ModelConfig config;
  config.hidden = hidden;
  config.intermediate = intermediate;
  config.layers = layers;
  config.heads = heads;
  config.kv_heads = kv_heads;
  config.head_dim = head_dim;
  return config;
}
inline ModelConfig Llama8B() { return ShapeOf(4096, 14336, 32, 32, 8, 128); }
inline ModelConfig Qwen7B() { return ShapeOf(3584, 18944, 28, 28, 4, 128); }
inline ModelConfig SmolLM2() { return ShapeOf(576, 1536, 30, 9, 3, 64); }

/// Bytes of 16 tokens of bf16 KV: the page.
inline Bytes KvPage(const ModelConfig& config) {
  return Bytes{16} * config.layers * 2 * config.kv_heads * config.head_dim * 2;
}

inline ModuleShape ModuleOf(const ModelConfig& config, int32_t layer, Projection projection,
                            int32_t rank) {
  return ModuleShape{.layer = LayerIndex(layer),
                     .projection = projection,
                     .rank = rank,
                     .in = config.InputSize(projection),
                     .out = config.OutputSize(projection),
                     .scaling = 2.0F};
}

/// An adapter of all seven projections in every layer.
inline std::vector<ModuleShape> AllModules(const ModelConfig& config, int32_t rank) {
  std::vector<ModuleShape> modules;
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    for (const Projection projection : kAllProjections) {
      modules.push_back(ModuleOf(config, layer, projection, rank));
    }
  }
  return modules;
}

}  // namespace weft::adapter
