#include "checkpoint/safetensors.h"

#include <algorithm>
#include <array>

#include "checkpoint/json_object.h"

namespace weft::checkpoint {
namespace {

/// The format's dtypes (safetensors 0.7). Those below a byte are known by name and refused.
struct Dtype {
  std::string_view name;
  int bytes;
  std::optional<StoredType> type;
};
constexpr Dtype kDtypes[] = {
    {"F32", 4, StoredType::kF32},     {"F16", 2, StoredType::kF16},
    {"BF16", 2, StoredType::kBF16},   {"BOOL", 1, std::nullopt},
    {"U8", 1, std::nullopt},          {"I8", 1, std::nullopt},
    {"F8_E5M2", 1, std::nullopt},     {"F8_E4M3", 1, std::nullopt},
    {"F8_E8M0", 1, std::nullopt},     {"F8_E4M3FNUZ", 1, std::nullopt},
    {"F8_E5M2FNUZ", 1, std::nullopt}, {"I16", 2, std::nullopt},
    {"U16", 2, std::nullopt},         {"I32", 4, std::nullopt},
    {"U32", 4, std::nullopt},         {"F64", 8, std::nullopt},
    {"I64", 8, std::nullopt},         {"U64", 8, std::nullopt},
    {"C64", 8, std::nullopt},
};
constexpr size_t kMaxDimensions = 16;
constexpr Bytes kLengthBytes = 8;

Error Bad(std::string_view file, std::string_view tensor, std::string_view what) {
  return MakeError(ErrorCode::kInvalidArgument, "{}: tensor '{}' {}; the file is corrupt", file,
                   tensor, what);
}

/// Fills `sizes` from a list of non-negative integers.
bool ReadSizes(const JsonObject& entry, std::string_view key, size_t limit,
               std::vector<int64_t>& sizes) {
  const auto element = entry.Find(key);
  simdjson::dom::array array;
  if (!element || element->get_array().get(array) != simdjson::SUCCESS) return false;
  if (array.size() > limit) return false;
  for (simdjson::dom::element item : array) {
    int64_t value = -1;
    if (item.get_int64().get(value) != simdjson::SUCCESS || value < 0) return false;
    sizes.push_back(value);
  }
  return true;
}

Result<SafetensorsTensor> ParseTensor(std::string_view file, std::string_view name,
                                      const JsonObject& entry, Bytes data_bytes) {
  SafetensorsTensor tensor;
  tensor.name = name;
  WEFT_ASSIGN_OR_RETURN(tensor.dtype, entry.Require<std::string>("dtype"));
  const auto* dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                   [&](const Dtype& d) { return d.name == tensor.dtype; });
  if (dtype == std::end(kDtypes)) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: tensor '{}' has the dtype '{}', which is not supported; supported: F32, "
                     "F16, BF16",
                     file, name, tensor.dtype);
  }
  tensor.type = dtype->type;
  if (!ReadSizes(entry, "shape", kMaxDimensions, tensor.shape)) {
    return Bad(file, name, "has no 'shape' that is a list of at most 16 sizes");
  }
  std::vector<int64_t> offsets;
  if (!ReadSizes(entry, "data_offsets", 2, offsets) || offsets.size() != 2) {
    return Bad(file, name, "has no 'data_offsets' that are a begin and an end");
  }
  if (offsets[0] > offsets[1] || offsets[1] > data_bytes) {
    return Bad(file, name,
               fmt::format("lies at bytes {} to {}, but the data has {}", offsets[0], offsets[1],
                           data_bytes));
  }
  int64_t bytes = dtype->bytes;
  for (int64_t size : tensor.shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) {
      return Bad(file, name, "has a shape of more elements than 64 bits can count");
    }
  }
  tensor.offset = offsets[0];
  tensor.size = offsets[1] - offsets[0];
  if (bytes != tensor.size) {
    return Bad(file, name,
               fmt::format("has {} bytes, but its shape [{}] of {} takes {}", tensor.size,
                           fmt::join(tensor.shape, ", "), tensor.dtype, bytes));
  }
  return tensor;
}

Status CheckLayout(const std::vector<SafetensorsTensor>& tensors, Bytes data_bytes,
                   std::string_view name) {
  Bytes end = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.offset < end) {
      return Bad(name, tensor.name,
                 fmt::format("begins at byte {}, inside the one before it", tensor.offset));
    }
    if (tensor.offset > end) {
      return Bad(name, tensor.name,
                 fmt::format("begins at byte {}, after a hole of {} bytes that no tensor has",
                             tensor.offset, tensor.offset - end));
    }
    end = tensor.offset + tensor.size;
  }
  if (end != data_bytes) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: the tensors end at byte {} of the data, but the file has {}: it is "
                     "corrupt or not fully downloaded",
                     name, end, data_bytes);
  }
  return OkStatus();
}

Status CheckUnique(const std::vector<SafetensorsTensor>& tensors, std::string_view name) {
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const SafetensorsTensor& tensor : tensors) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) return Bad(name, *twice, "is listed twice");
  return OkStatus();
}

Status ParseMetadata(const JsonObject& entry, SafetensorsHeader& header) {
  for (auto field : entry.object()) {
    std::string_view value;
    if (field.value.get_string().get(value) != simdjson::SUCCESS) {
      return MakeError(ErrorCode::kInvalidArgument, "{}: '{}' must be a string", entry.path(),
                       field.key);
    }
    header.metadata[std::string(field.key)] = value;
  }
  return OkStatus();
}

}  // namespace

Result<SafetensorsHeader> ParseSafetensorsHeader(std::string_view header_json, Bytes data_bytes,
                                                 std::string_view name) {
  WEFT_ASSIGN_OR_RETURN(const JsonDocument document,
                        JsonDocument::Parse(header_json, fmt::format("{}: the header", name)));
  SafetensorsHeader header;
  for (auto field : document.root().object()) {
    simdjson::dom::object object;
    if (field.value.get_object().get(object) != simdjson::SUCCESS) {
      return Bad(name, field.key, "is not described by an object");
    }
    const JsonObject entry(object, fmt::format("{}: tensor '{}'", name, field.key));
    if (field.key == "__metadata__") {
      WEFT_RETURN_IF_ERROR(ParseMetadata(entry, header));
      continue;
    }
    WEFT_ASSIGN_OR_RETURN(SafetensorsTensor tensor,
                          ParseTensor(name, field.key, entry, data_bytes));
    header.tensors.push_back(std::move(tensor));
  }
  WEFT_RETURN_IF_ERROR(CheckUnique(header.tensors, name));
  // Empty tensors come before the one that begins at the same byte.
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.offset, a.size) < std::pair(b.offset, b.size);
  });
  WEFT_RETURN_IF_ERROR(CheckLayout(header.tensors, data_bytes, name));
  return header;
}

Result<SafetensorsHeader> ReadSafetensorsHeader(const File& file, std::string_view name,
                                                Bytes limit) {
  if (file.size() < kLengthBytes) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: has {} bytes, which is too short for a safetensors file", name,
                     file.size());
  }
  std::array<uint8_t, kLengthBytes> length_bytes{};
  WEFT_RETURN_IF_ERROR(file.Read(0, std::as_writable_bytes(std::span(length_bytes))));
  uint64_t length = 0;
  for (size_t i = length_bytes.size(); i-- > 0;) length = length << 8 | length_bytes[i];
  if (length > static_cast<uint64_t>(limit)) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}: announces a header of {} bytes, but at most {} are allowed; is it a "
                     "safetensors file?",
                     name, length, limit);
  }
  const Bytes data_offset = kLengthBytes + static_cast<Bytes>(length);
  if (data_offset > file.size()) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        "{}: announces a header of {} bytes, but the file has only {}: it is cut short", name,
        length, file.size());
  }
  std::string json(length, '\0');
  WEFT_RETURN_IF_ERROR(file.Read(kLengthBytes, std::as_writable_bytes(std::span(json))));
  WEFT_ASSIGN_OR_RETURN(SafetensorsHeader header,
                        ParseSafetensorsHeader(json, file.size() - data_offset, name));
  header.data_offset = data_offset;
  return header;
}

}  // namespace weft::checkpoint
