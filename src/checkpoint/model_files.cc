#include "checkpoint/model_files.h"

#include <algorithm>
#include <set>
#include <vector>

#include "checkpoint/config_json.h"
#include "checkpoint/gguf_model.h"
#include "checkpoint/gguf_source.h"
#include "checkpoint/required_tensors.h"
#include "checkpoint/safetensors_source.h"
#include "checkpoint/stored_reads.h"

namespace weft::checkpoint {
namespace {

constexpr Bytes kMaxConfig = 16 * kMiB;

/// Empty when there is no such file.
Result<std::string> ReadOptional(FileSystem& files, const std::string& path, Bytes limit) {
  Result<std::string> text = files.ReadText(path, limit);
  if (!text.ok() && text.error().code == ErrorCode::kNotFound) return std::string();
  return text;
}

/// "org/name" for a snapshot of the Hugging Face cache, otherwise the last part of the path.
std::string NameOf(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const size_t slash = path.rfind('/');
    const std::string_view part = slash == path.npos ? path : path.substr(slash + 1);
    if (!part.empty()) parts.push_back(part);
    path = slash == path.npos ? std::string_view() : path.substr(0, slash);
  }
  constexpr std::string_view kCached = "models--";
  if (parts.size() > 2 && parts[1] == "snapshots" && parts[2].starts_with(kCached)) {
    std::string name(parts[2].substr(kCached.size()));
    const size_t dashes = name.find("--");
    if (dashes != name.npos) name.replace(dashes, 2, "/");
    return name;
  }
  return parts.empty() ? std::string() : std::string(parts.front());
}

Status ReadFolderTexts(FileSystem& files, const std::string& folder, ModelFiles& model) {
  constexpr Bytes kMaxTokenizer = 256 * kMiB;
  WEFT_ASSIGN_OR_RETURN(model.tokenizer_json,
                        ReadOptional(files, folder + "/tokenizer.json", kMaxTokenizer));
  if (model.tokenizer_json.empty()) {
    WEFT_ASSIGN_OR_RETURN(model.tokenizer_model,
                          ReadOptional(files, folder + "/tokenizer.model", kMaxTokenizer));
  }
  WEFT_ASSIGN_OR_RETURN(model.tokenizer_config_json,
                        ReadOptional(files, folder + "/tokenizer_config.json", kMaxConfig));
  WEFT_ASSIGN_OR_RETURN(model.chat_template_jinja,
                        ReadOptional(files, folder + "/chat_template.jinja", kMaxConfig));
  WEFT_ASSIGN_OR_RETURN(model.generation_config_json,
                        ReadOptional(files, folder + "/generation_config.json", kMaxConfig));
  return OkStatus();
}

Result<ModelFiles> OpenFolderConfig(FileSystem& files, const std::string& folder) {
  ModelFiles model;
  model.path = folder;
  Result<std::string> config = files.ReadText(folder + "/config.json", kMaxConfig);
  if (!config.ok() && config.error().code == ErrorCode::kNotFound) {
    return MakeError(ErrorCode::kNotFound,
                     "'{}' has no config.json: a model is a Hugging Face folder, or a file whose "
                     "name ends with .gguf",
                     folder);
  }
  if (!config.ok()) return config.error();
  WEFT_RETURN_IF_ERROR(ReadFolderTexts(files, folder, model));
  Result<ModelConfig> parsed = ParseConfigJson(*config, model.generation_config_json);
  if (!parsed.ok()) return parsed.error().WithContext(folder);
  model.config = std::move(*parsed);
  model.config.name = NameOf(folder);
  return model;
}

/// Says which tensors the model does not use; transformers ignores them too.
void NoteUnusedTensors(const std::vector<TensorInfo>& required, const TensorSource& tensors,
                       ModelConfig& config) {
  std::set<std::string_view> known = {"lm_head.weight"};
  for (const TensorInfo& tensor : required) known.insert(tensor.name);
  std::string_view first;
  int count = 0;
  for (std::string_view name : tensors.Names()) {
    if (known.contains(name) || name.ends_with(".rotary_emb.inv_freq")) continue;
    if (count++ == 0) first = name;
  }
  if (count > 0) {
    config.notes.push_back(fmt::format(
        "{} tensors that this architecture does not use are ignored, such as '{}'", count, first));
  }
}

Result<ModelFiles> OpenFolder(FileSystem& files, const std::string& folder) {
  WEFT_ASSIGN_OR_RETURN(ModelFiles model, OpenFolderConfig(files, folder));
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsSource> source,
                        SafetensorsSource::Open(files, folder));
  const std::vector<TensorInfo> required = RequiredTensors(model.config);
  Status status = source->CheckReadable(required);
  if (status.ok()) status = CheckRequiredTensors(model.config, *source);
  if (!status.ok()) return status.error().WithContext(folder);
  NoteUnusedTensors(required, *source, model.config);
  model.tensors = std::move(source);
  return model;
}

Status ReadRopeFactors(const File& file, const GgufHeader& header, const std::string& path,
                       ModelConfig& config) {
  for (const GgufTensor& tensor : header.tensors) {
    if (tensor.name != kRopeFactorsTensor) continue;
    if (tensor.type != StoredType::kF32 || tensor.shape.size() != 1 || tensor.shape[0] > 1024) {
      return MakeError(ErrorCode::kUnsupported,
                       "{}: '{}' must be a vector of F32, one number a frequency", path,
                       kRopeFactorsTensor);
    }
    std::vector<float> factors(static_cast<size_t>(tensor.shape[0]));
    WEFT_RETURN_IF_ERROR(ReadStored(file, tensor.type, tensor.offset, factors));
    return ApplyRopeFactors(factors, header, path, config);
  }
  return OkStatus();
}

Result<ModelFiles> OpenGguf(FileSystem& files, const std::string& path, bool with_weights) {
  ModelFiles model;
  model.path = path;
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<File> file, files.Open(path));
  WEFT_ASSIGN_OR_RETURN(const GgufHeader header, ReadGgufHeader(*file, path));
  WEFT_ASSIGN_OR_RETURN(model.config, ParseGgufConfig(header, path));
  model.config.name = NameOf(path);
  WEFT_RETURN_IF_ERROR(ReadRopeFactors(*file, header, path, model.config));
  WEFT_ASSIGN_OR_RETURN(model.gguf_vocabulary, ParseGgufVocabulary(header, path));
  if (const auto* chat = header.Find<std::string>("tokenizer.chat_template")) {
    model.gguf_chat_template = *chat;
  }
  if (!with_weights) return model;
  auto source =
      std::make_unique<GgufSource>(std::move(file), header, model.config, HasPermutedRows(header));
  const Status status = CheckRequiredTensors(model.config, *source);
  if (!status.ok()) return status.error().WithContext(path);
  NoteUnusedTensors(RequiredTensors(model.config), *source, model.config);
  model.tensors = std::move(source);
  return model;
}

}  // namespace

Result<ModelFiles> OpenModel(FileSystem& files, const std::string& path) {
  if (path.ends_with(".gguf")) return OpenGguf(files, path, true);
  return OpenFolder(files, path);
}

Result<ModelFiles> OpenModelConfigOnly(FileSystem& files, const std::string& path) {
  if (path.ends_with(".gguf")) return OpenGguf(files, path, false);
  return OpenFolderConfig(files, path);
}

}  // namespace weft::checkpoint
