#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/strong_id.h"

namespace weft {

/// The seven matrices of a decoder layer that an adapter may change ("target modules" in PEFT).
enum class Projection : uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown };

inline constexpr int kProjectionCount = 7;
inline constexpr std::array<Projection, kProjectionCount> kAllProjections = {
    Projection::kQ,    Projection::kK,  Projection::kV,   Projection::kO,
    Projection::kGate, Projection::kUp, Projection::kDown};

/// "q_proj", "k_proj", ... as the files call them.
std::string_view ProjectionName(Projection projection);

enum class Architecture : uint8_t { kLlama, kMistral, kQwen2, kQwen3 };

inline constexpr std::array<Architecture, 4> kAllArchitectures = {
    Architecture::kLlama, Architecture::kMistral, Architecture::kQwen2, Architecture::kQwen3};

/// "llama", "mistral", "qwen2" or "qwen3".
std::string_view ArchitectureName(Architecture architecture);

enum class RopeScaling : uint8_t { kNone, kLinear, kLlama3 };

/// Rotary position embedding. `factor` and the three below it are for the scaled kinds only.
struct RopeConfig {
  double theta = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  double low_frequency_factor = 1.0;
  double high_frequency_factor = 4.0;
  int64_t original_context = 8192;
};

/// The shape of a decoder-only transformer, as config.json or a GGUF's metadata states it.
struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  std::string name;  ///< Folder or file name, for messages.
  int32_t vocabulary = 0;
  int32_t hidden = 0;
  int32_t intermediate = 0;
  int32_t layers = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t context_length = 0;
  float rms_epsilon = 1e-5F;
  RopeConfig rope;
  bool qkv_bias = false;
  bool output_bias = false;
  bool qk_norm = false;
  bool tied_embeddings = false;
  /// Layers that skip rope (SmolLM3); empty when all use it.
  std::vector<bool> layer_without_rope;
  /// End-of-text ids from config.json and generation_config.json or the GGUF.
  std::vector<TokenId> end_tokens;
  TokenId begin_token = -1;  ///< -1: none.
  /// What the file stores, as it says: "bfloat16", "float32", "float16"; empty when it does not.
  std::string stored_dtype;
  /// What was read differently from what the file asks for, for the log ("context capped ...").
  std::vector<std::string> notes;

  /// Rows of the projection's weight: what it puts out.
  int32_t OutputSize(Projection projection) const;
  /// Columns of the projection's weight: what it takes in.
  int32_t InputSize(Projection projection) const;
};

}  // namespace weft
