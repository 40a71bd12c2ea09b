#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "checkpoint/model_config.h"
#include "checkpoint/tensor_source.h"

namespace weft::cli {

/// `weft make adapter`: one synthetic adapter, or `count` of them.
struct MakeAdapterOptions {
  std::string folder;
  std::string model;  ///< A model directory, its config.json, or a .gguf file.
  int32_t rank = 16;
  double alpha = 32;
  bool use_rslora = false;
  std::vector<Projection> targets;
  checkpoint::StoredType dtype = checkpoint::StoredType::kF32;
  uint64_t seed = 1;
  /// How much the adapter changes a projection's output, as a share of what weights of deviation
  /// 0.02 (Hugging Face's initialisation) put out.
  double strength = 0.1;
  /// Absent: the adapter is `folder` itself. Otherwise `folder`/`name`-0 and so on.
  int32_t count = 0;
  std::string name = "adapter";
};

/// "q_proj" ... "down_proj", or "all" or "all-linear" for all seven.
Result<std::vector<Projection>> ParseTargets(const std::vector<std::string>& names);

/// adapter_config.json as PEFT writes it.
std::string AdapterConfigJson(const MakeAdapterOptions& options);

/// The folders it would write.
std::vector<std::string> AdapterFolders(const MakeAdapterOptions& options);

/// Writes PEFT directories (adapter_config.json, adapter_model.safetensors), A as PEFT initialises
/// it, B not zero. Streams. Folders that hold an adapter are refused. Returns the bytes of all.
Result<Bytes> MakeAdapters(const MakeAdapterOptions& options);

}  // namespace weft::cli
