#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/result.h"
#include "checkpoint/gguf_vocabulary.h"
#include "checkpoint/model_config.h"
#include "checkpoint/tensor_source.h"

namespace weft::checkpoint {

/// A base model as it lies on disk: what it is, its tensors, and the texts that text/ parses.
/// Strings are empty where the file is not there. Movable, owned by who opened it.
struct ModelFiles {
  ModelConfig config;
  std::unique_ptr<TensorSource> tensors;  ///< Null after OpenModelConfigOnly.
  std::string tokenizer_json;
  std::string tokenizer_model;  ///< sentencepiece's protobuf, when there is no tokenizer.json.
  std::string tokenizer_config_json;
  std::string chat_template_jinja;
  std::string generation_config_json;
  std::optional<GgufVocabulary> gguf_vocabulary;
  std::string gguf_chat_template;
  std::string path;
};

/// Opens a Hugging Face directory (config.json, model.safetensors or an index with its files) or a
/// .gguf file, checks every header, and that each tensor the architecture needs is there with its
/// shape. Reads headers only, no weights. Blocks.
Result<ModelFiles> OpenModel(FileSystem& files, const std::string& path);

/// The same without weights (`--load-format dummy`): the directory needs no safetensors.
Result<ModelFiles> OpenModelConfigOnly(FileSystem& files, const std::string& path);

/// A path that exists stays as it is; "org/name" is looked up in the Hugging Face cache at
/// `cache_root` (models--org--name/snapshots/<commit that refs/main names>). The error says how to
/// download it.
Result<std::string> ResolveModelPath(FileSystem& files, const std::string& path_or_org_name,
                                     const std::string& cache_root);

/// HF_HUB_CACHE, or HF_HOME/hub, or XDG_CACHE_HOME/huggingface/hub, or ~/.cache/huggingface/hub.
std::string HuggingFaceCacheRoot();

}  // namespace weft::checkpoint
