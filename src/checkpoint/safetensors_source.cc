#include "checkpoint/safetensors_source.h"

#include <set>

#include "base/check.h"
#include "checkpoint/json_object.h"
#include "checkpoint/stored_reads.h"
#include "checkpoint/widen.h"

namespace weft::checkpoint {
namespace {

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";
constexpr size_t kMaxFiles = 4096;

bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

/// Tensor name -> file name.
Result<std::map<std::string, std::string>> ParseIndex(std::string_view json) {
  WEFT_ASSIGN_OR_RETURN(const JsonDocument document, JsonDocument::Parse(json, kIndexFile));
  WEFT_ASSIGN_OR_RETURN(const std::optional<JsonObject> weights,
                        document.root().GetObject("weight_map"));
  if (!weights || weights->object().size() == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "{}: 'weight_map' is missing or empty",
                     kIndexFile);
  }
  std::map<std::string, std::string> index;
  for (auto field : weights->object()) {
    std::string_view file;
    if (field.value.get_string().get(file) != simdjson::SUCCESS || !IsPlainFileName(file)) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "{}: tensor '{}' must name a file in the same folder", kIndexFile,
                       field.key);
    }
    index[std::string(field.key)] = file;
  }
  return index;
}

}  // namespace

Status SafetensorsSource::AddFile(FileSystem& files, const std::string& path,
                                  const std::map<std::string, std::string>* index,
                                  const std::string& file_name) {
  Result<std::unique_ptr<File>> file = files.Open(path);
  if (!file.ok() && index != nullptr) {
    return file.error().WithContext(fmt::format("{} names '{}'", kIndexFile, file_name));
  }
  if (!file.ok()) return file.error();
  WEFT_ASSIGN_OR_RETURN(SafetensorsHeader header, ReadSafetensorsHeader(**file, path));
  for (SafetensorsTensor& tensor : header.tensors) {
    if (index != nullptr) {
      const auto listed = index->find(tensor.name);
      if (listed == index->end() || listed->second != file_name) continue;
    }
    if (!tensor.type) {
      unreadable_.emplace(tensor.name, tensor.dtype);
      continue;
    }
    Entry entry{TensorInfo{tensor.name, *tensor.type, std::move(tensor.shape)}, file->get(),
                header.data_offset + tensor.offset};
    entries_.emplace(tensor.name, std::move(entry));
  }
  files_.push_back(std::move(*file));
  return OkStatus();
}

Result<std::unique_ptr<SafetensorsSource>> SafetensorsSource::Open(FileSystem& files,
                                                                   const std::string& folder) {
  std::unique_ptr<SafetensorsSource> source(new SafetensorsSource());
  const std::string single = fmt::format("{}/{}", folder, kSingleFile);
  const Result<std::string> index_json = files.ReadText(fmt::format("{}/{}", folder, kIndexFile));
  if (!index_json.ok()) {
    if (index_json.error().code != ErrorCode::kNotFound) return index_json.error();
    const Result<FileStamp> stamp = files.Stat(single);
    if (!stamp.ok() && stamp.error().code == ErrorCode::kNotFound) {
      const bool has_bin = files.Stat(folder + "/pytorch_model.bin").ok() ||
                           files.Stat(folder + "/pytorch_model.bin.index.json").ok();
      return MakeError(ErrorCode::kNotFound, "'{}' has neither {} nor {}{}", folder, kSingleFile,
                       kIndexFile,
                       has_bin ? "; convert its pytorch_model.bin: load it with transformers and "
                                 "call save_pretrained(path, safe_serialization=True)"
                               : ": are the weights downloaded?");
    }
    WEFT_RETURN_IF_ERROR(source->AddFile(files, single, nullptr, std::string(kSingleFile)));
    return source;
  }
  WEFT_ASSIGN_OR_RETURN(const auto index, ParseIndex(*index_json));
  std::set<std::string> names;
  for (const auto& [tensor, file] : index) names.insert(file);
  if (names.size() > kMaxFiles) {
    return MakeError(ErrorCode::kInvalidArgument, "{}/{}: names {} files, but at most {} are read",
                     folder, kIndexFile, names.size(), kMaxFiles);
  }
  for (const std::string& name : names) {
    WEFT_RETURN_IF_ERROR(source->AddFile(files, fmt::format("{}/{}", folder, name), &index, name));
  }
  for (const auto& [tensor, file] : index) {
    if (!source->entries_.contains(tensor) && !source->unreadable_.contains(tensor)) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "{}/{}: says that tensor '{}' is in '{}', but it is not", folder, kIndexFile,
                       tensor, file);
    }
  }
  return source;
}

const TensorInfo* SafetensorsSource::Find(std::string_view name) const {
  const auto entry = entries_.find(name);
  return entry == entries_.end() ? nullptr : &entry->second.info;
}

std::vector<std::string_view> SafetensorsSource::Names() const {
  std::vector<std::string_view> names;
  names.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

Bytes SafetensorsSource::file_bytes() const {
  Bytes bytes = 0;
  for (const auto& file : files_) bytes += file->size();
  return bytes;
}

template <typename Element>
Status SafetensorsSource::Read(const TensorInfo& tensor, int64_t first_row, int64_t rows,
                               std::span<Element> into) const {
  const auto entry = entries_.find(tensor.name);
  WEFT_CHECK(entry != entries_.end() && tensor.shape.size() <= 2);
  const int64_t columns = tensor.shape.empty() ? 1 : tensor.shape.back();
  const int64_t all_rows = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
  WEFT_CHECK(first_row >= 0 && rows >= 0 && first_row + rows <= all_rows);
  WEFT_CHECK(static_cast<int64_t>(into.size()) == rows * columns);
  const Bytes offset = entry->second.offset + StoredBytes(tensor.type, first_row * columns);
  Status status = ReadStored(*entry->second.file, tensor.type, offset, into);
  return status.ok() ? status : status.error().WithContext(tensor.name);
}

Status SafetensorsSource::CheckReadable(const std::vector<TensorInfo>& wanted) const {
  for (const TensorInfo& tensor : wanted) {
    const auto entry = unreadable_.find(tensor.name);
    if (entry == unreadable_.end()) continue;
    return MakeError(ErrorCode::kUnsupported,
                     "tensor '{}' is stored as {}, which is not supported; supported: F32, F16, "
                     "BF16",
                     entry->first, entry->second);
  }
  return OkStatus();
}

template Status SafetensorsSource::Read(const TensorInfo&, int64_t, int64_t,
                                        std::span<float>) const;
template Status SafetensorsSource::Read(const TensorInfo&, int64_t, int64_t,
                                        std::span<BFloat16>) const;

}  // namespace weft::checkpoint
