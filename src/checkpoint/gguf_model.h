#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "checkpoint/gguf.h"
#include "checkpoint/model_config.h"

namespace weft::checkpoint {

/// The config of a llama, qwen2 or qwen3 GGUF from its metadata and the tensors it lists (biases,
/// tied embeddings, vocabulary). Mistral models are "llama" in GGUF. The rope scaling of Llama 3.1
/// lies in a tensor: see ApplyRopeFactors. Another architecture is a kUnsupported error. Pure.
Result<ModelConfig> ParseGgufConfig(const GgufHeader& header, std::string_view name);

/// Hugging Face's name of a GGUF tensor ("blk.3.attn_q.weight" ->
/// "model.layers.3.self_attn.q_proj.weight"); empty for one that has no counterpart.
std::optional<std::string> HuggingFaceName(std::string_view gguf_name);

/// Converters write Llama 3.1's rope scaling as factors, one a frequency ("rope_freqs.weight").
/// Finds the kLlama3 scaling that they come from, with Llama's own low and high factors 1 and 4,
/// and sets it in `config`. Factors that are all 1 are no scaling; others are refused. Pure.
Status ApplyRopeFactors(std::span<const float> factors, std::string_view name, ModelConfig& config);
inline constexpr std::string_view kRopeFactorsTensor = "rope_freqs.weight";

/// True when the file's q and k rows are in llama.cpp's order, that is, for architecture "llama".
bool HasPermutedRows(const GgufHeader& header);

}  // namespace weft::checkpoint
