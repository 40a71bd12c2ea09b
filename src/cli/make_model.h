#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "checkpoint/model_config.h"
#include "checkpoint/tensor_source.h"

namespace weft::cli {

/// `weft make model`: what to write where.
struct MakeModelOptions {
  std::string folder;
  ModelConfig config;
  checkpoint::StoredType dtype = checkpoint::StoredType::kBF16;
  uint64_t seed = 1;
  std::string tokenizer;  ///< A directory or a file whose tokenizer is copied; empty: none.
  Bytes max_shard_bytes = 5'000'000'000;
};

/// The shape of a known model ("llama-3.1-8b"), without weights.
Result<ModelConfig> KnownModel(std::string_view name);
std::vector<std::string> KnownModelNames();

/// config.json as transformers writes it; ParseConfigJson reads it back.
std::string ConfigJson(const ModelConfig& config, checkpoint::StoredType dtype);

/// The tensors of such a model, under Hugging Face's names, in the order of the layers.
std::vector<checkpoint::TensorInfo> ModelTensors(const ModelConfig& config,
                                                 checkpoint::StoredType dtype);

/// Writes a Hugging Face directory with random weights: config.json, generation_config.json,
/// model.safetensors or shards with their index, and the tokenizer's files. Streams, so memory does
/// not grow with the model. Refuses a folder that holds a model. Returns the bytes of weights.
Result<Bytes> MakeModel(const MakeModelOptions& options);

/// "float32" and its siblings, as config.json and the flags name a type.
std::string_view DtypeName(checkpoint::StoredType type);

/// Writes a small text file whole; an error names the file, and what was written of it is removed.
Status WriteTextFile(const std::string& path, std::string_view text);

}  // namespace weft::cli
