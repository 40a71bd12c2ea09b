#include "checkpoint/peft_adapter.h"

#include "checkpoint/adapter_reads.h"

namespace weft::checkpoint {
namespace {

constexpr Bytes kMaxConfig = 4 * kMiB;
// Seven modules of a thousand layers take a tenth of this.
constexpr Bytes kMaxHeader = 32 * kMiB;

/// Says what is wrong with a folder that lacks one of the two files.
Error ExplainMissing(FileSystem& files, const std::string& folder, std::string_view missing) {
  if (!files.Stat(folder).ok()) {
    return MakeError(ErrorCode::kNotFound, "there is no adapter folder '{}'", folder);
  }
  if (missing == "adapter_model.safetensors" && files.Stat(folder + "/adapter_model.bin").ok()) {
    return MakeError(ErrorCode::kUnsupported,
                     "'{}' has adapter_model.bin, which is not read because it can hold code; "
                     "convert it to safetensors: load it with PEFT and call save_pretrained(path, "
                     "safe_serialization=True)",
                     folder);
  }
  return MakeError(ErrorCode::kNotFound,
                   "'{}' has no {}: an adapter is a folder that PEFT's save_pretrained wrote",
                   folder, missing);
}

/// `check`: what makes AdapterFiles of a config and a header.
template <typename Check>
Result<AdapterFiles> Open(FileSystem& files, const std::string& folder, const Check& check) {
  const std::string config_path = folder + "/adapter_config.json";
  const std::string weights_path = folder + "/adapter_model.safetensors";
  // Stamps are taken first, so that a change while reading shows later.
  const Result<FileStamp> config_stamp = files.Stat(config_path);
  if (!config_stamp.ok()) {
    if (config_stamp.error().code != ErrorCode::kNotFound) return config_stamp.error();
    return ExplainMissing(files, folder, "adapter_config.json");
  }
  WEFT_ASSIGN_OR_RETURN(const std::string json, files.ReadText(config_path, kMaxConfig));
  const Result<AdapterConfig> config = ParseAdapterConfig(json);
  if (!config.ok()) return config.error().WithContext(folder);
  const Result<FileStamp> weights_stamp = files.Stat(weights_path);
  if (!weights_stamp.ok()) {
    if (weights_stamp.error().code != ErrorCode::kNotFound) return weights_stamp.error();
    return ExplainMissing(files, folder, "adapter_model.safetensors");
  }
  WEFT_ASSIGN_OR_RETURN(const std::unique_ptr<File> file, files.Open(weights_path));
  WEFT_ASSIGN_OR_RETURN(const SafetensorsHeader header,
                        ReadSafetensorsHeader(*file, weights_path, kMaxHeader));
  WEFT_ASSIGN_OR_RETURN(AdapterFiles adapter, check(*config, header));
  adapter.folder = folder;
  adapter.weights_path = weights_path;
  adapter.config_stamp = *config_stamp;
  adapter.weights_stamp = *weights_stamp;
  adapter.file_bytes = file->size();
  return adapter;
}

}  // namespace

Result<AdapterFiles> OpenAdapter(FileSystem& files, const std::string& folder,
                                 const ModelConfig& model, const AdapterLimits& limits) {
  return Open(files, folder, [&](const AdapterConfig& config, const SafetensorsHeader& header) {
    return CheckAdapter(config, header, model, limits, folder);
  });
}

Result<AdapterFiles> OpenAdapterByItself(FileSystem& files, const std::string& folder,
                                         const AdapterLimits& limits) {
  return Open(files, folder, [&](const AdapterConfig& config, const SafetensorsHeader& header) {
    return CheckAdapterByItself(config, header, limits, folder);
  });
}

Result<std::unique_ptr<File>> OpenAdapterWeights(FileSystem& files, const AdapterFiles& adapter) {
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<File> file, files.Open(adapter.weights_path));
  // After opening: a file that was put in its place before shows now, one put there later is not
  // the one that is open.
  WEFT_ASSIGN_OR_RETURN(const FileStamp stamp, files.Stat(adapter.weights_path));
  if (stamp != adapter.weights_stamp || file->size() != adapter.weights_stamp.size) {
    return MakeError(ErrorCode::kUnavailable,
                     "'{}' has changed since it was checked; load the adapter again",
                     adapter.weights_path);
  }
  return file;
}

Status ReadModule(const File& file, const AdapterModule& module, std::span<float> a,
                  std::span<float> b) {
  const std::pair<const TensorRef*, std::span<float>> both[] = {{&module.a, a}, {&module.b, b}};
  std::vector<std::byte> raw;
  for (const auto& [tensor, into] : both) {
    raw.resize(static_cast<size_t>(tensor->size));
    WEFT_RETURN_IF_ERROR(file.Read(tensor->offset, raw));
    WEFT_RETURN_IF_ERROR(ConvertTensor(*tensor, raw, into));
  }
  return OkStatus();
}

}  // namespace weft::checkpoint
