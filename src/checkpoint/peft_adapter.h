#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bfloat16.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/result.h"
#include "base/strong_id.h"
#include "checkpoint/adapter_config.h"
#include "checkpoint/model_config.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/tensor_source.h"

namespace weft::checkpoint {

/// Where one matrix of an adapter lies in its file.
struct TensorRef {
  std::string name;
  StoredType type = StoredType::kF32;  ///< kF32, kF16 or kBF16.
  int64_t rows = 0;
  int64_t columns = 0;
  Bytes offset = 0;  ///< From the start of the file.
  Bytes size = 0;
};

/// One adapted matrix: y += scaling * B (A x).
struct AdapterModule {
  LayerIndex layer;
  Projection projection = Projection::kQ;
  int32_t rank = 0;
  float scaling = 0;
  TensorRef a;  ///< [rank, in]
  TensorRef b;  ///< [out, rank]
};

/// What the server was started to accept.
struct AdapterLimits {
  int32_t max_rank = 512;
  std::array<bool, kProjectionCount> allowed = {true, true, true, true, true, true, true};
};

/// An adapter folder whose config and header were checked against the base model; no weight has
/// been read. Immutable once made, so threads may share it.
struct AdapterFiles {
  std::string folder;
  std::string weights_path;  ///< Its adapter_model.safetensors.
  FileStamp config_stamp;    ///< To notice that the files have changed since.
  FileStamp weights_stamp;
  AdapterConfig config;
  std::vector<AdapterModule> modules;  ///< By layer, then projection; at least one.
  std::vector<std::string> warnings;
  Bytes file_bytes = 0;
  int32_t max_rank = 0;
};

/// Pure core: checks a parsed config and header against the base model. `name` is for messages.
/// Fills everything of AdapterFiles but paths and stamps.
Result<AdapterFiles> CheckAdapter(const AdapterConfig& config, const SafetensorsHeader& header,
                                  const ModelConfig& model, const AdapterLimits& limits,
                                  std::string_view name);

/// The same as far as it goes without a base model, for whoever wants to know what is in an
/// adapter: a size that a model would state is taken as it is stored. What this refuses, every
/// model does.
Result<AdapterFiles> CheckAdapterByItself(const AdapterConfig& config,
                                          const SafetensorsHeader& header,
                                          const AdapterLimits& limits, std::string_view name);

/// Opens a PEFT folder (adapter_config.json, adapter_model.safetensors): reads the config and the
/// header only. Blocks; for loader threads.
Result<AdapterFiles> OpenAdapter(FileSystem& files, const std::string& folder,
                                 const ModelConfig& model, const AdapterLimits& limits);

/// The same with CheckAdapterByItself. Blocks.
Result<AdapterFiles> OpenAdapterByItself(FileSystem& files, const std::string& folder,
                                         const AdapterLimits& limits);

/// Opens the weights of a checked adapter for reading. When they are no longer the file that was
/// checked, that is an error, so that no offset is used on another file. Blocks.
Result<std::unique_ptr<File>> OpenAdapterWeights(FileSystem& files, const AdapterFiles& adapter);

/// Reads one module's matrices as float, row-major ([rank, in] and [out, rank]). An element that is
/// NaN or infinite is an error that names the tensor and the index. Blocks.
Status ReadModule(const File& file, const AdapterModule& module, std::span<float> a,
                  std::span<float> b);

}  // namespace weft::checkpoint
