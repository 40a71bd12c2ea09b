#include "checkpoint/write_safetensors.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/thread_role.h"
#include "checkpoint/half_float.h"
#include "checkpoint/widen.h"

namespace weft::checkpoint {
namespace {

/// The text as a JSON string. Names and metadata are UTF-8 and stay as they are.
std::string Quote(std::string_view text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      quoted += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      quoted += c;
    }
  }
  return quoted += '"';
}

int64_t Elements(const TensorInfo& tensor) {
  int64_t elements = 1;
  for (int64_t size : tensor.shape) elements *= size;
  return elements;
}

std::string MakeHeader(const std::vector<TensorInfo>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::string json = "{";
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      if (json.back() != '{') json += ',';
      json += Quote(key) + ':' + Quote(value);
    }
    json += '}';
  }
  Bytes offset = 0;
  for (const TensorInfo& tensor : tensors) {
    if (json.back() != '{') json += ',';
    const Bytes end = offset + StoredBytes(tensor.type, Elements(tensor));
    json += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                        Quote(tensor.name), StoredTypeName(tensor.type),
                        fmt::join(tensor.shape, ","), offset, end);
    offset = end;
  }
  json += '}';
  // The reference library pads, so that the data begins at a multiple of 8.
  json.append((8 - json.size() % 8) % 8, ' ');
  return json;
}

}  // namespace

struct SafetensorsWriter::State {
  std::string path;
  std::string partial_path;
  std::FILE* file = nullptr;
  std::vector<TensorInfo> tensors;
  std::vector<Bytes> ends;  ///< Of each tensor, from the start of the data.
  Bytes written = 0;        ///< Of the data.
  std::vector<std::byte> converted;

  ~State() {
    if (file == nullptr) return;
    std::fclose(file);
    std::remove(partial_path.c_str());
  }

  Error Failed(std::string_view action) const {
    return MakeError(ErrorCode::kIo, "cannot {} '{}': {}", action, partial_path,
                     std::strerror(errno));
  }

  Status Write(const void* data, size_t bytes) {
    if (std::fwrite(data, 1, bytes, file) != bytes) return Failed("write");
    return OkStatus();
  }
};

SafetensorsWriter::SafetensorsWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter& SafetensorsWriter::operator=(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter::~SafetensorsWriter() = default;

Result<SafetensorsWriter> SafetensorsWriter::Create(
    const std::string& path, std::vector<TensorInfo> tensors,
    const std::map<std::string, std::string>& metadata) {
  AssertMayBlock("SafetensorsWriter::Create");
  auto state = std::make_unique<State>();
  Bytes end = 0;
  for (const TensorInfo& tensor : tensors) {
    WEFT_CHECK(BlockOf(tensor.type).elements == 1);
    end += StoredBytes(tensor.type, Elements(tensor));
    state->ends.push_back(end);
  }
  state->path = path;
  state->partial_path = path + ".partial";
  state->file = std::fopen(state->partial_path.c_str(), "wb");
  if (state->file == nullptr) return state->Failed("create");
  const std::string header = MakeHeader(tensors, metadata);
  state->tensors = std::move(tensors);
  uint8_t length[8];
  for (size_t i = 0; i < 8; ++i) {
    length[i] = static_cast<uint8_t>(static_cast<uint64_t>(header.size()) >> (8 * i));
  }
  WEFT_RETURN_IF_ERROR(state->Write(length, sizeof(length)));
  WEFT_RETURN_IF_ERROR(state->Write(header.data(), header.size()));
  return SafetensorsWriter(std::move(state));
}

Status SafetensorsWriter::Append(std::span<const std::byte> raw) {
  AssertMayBlock("SafetensorsWriter::Append");
  const Bytes all = state_->ends.empty() ? 0 : state_->ends.back();
  WEFT_CHECK(static_cast<Bytes>(raw.size()) <= all - state_->written);
  state_->written += static_cast<Bytes>(raw.size());
  return state_->Write(raw.data(), raw.size());
}

Status SafetensorsWriter::AppendFloats(std::span<const float> values) {
  if (values.empty()) return OkStatus();
  const auto tensor = std::upper_bound(state_->ends.begin(), state_->ends.end(), state_->written);
  WEFT_CHECK(tensor != state_->ends.end());
  const StoredType type = state_->tensors[static_cast<size_t>(tensor - state_->ends.begin())].type;
  const Bytes bytes = StoredBytes(type, static_cast<int64_t>(values.size()));
  WEFT_CHECK(state_->written + bytes <= *tensor);
  if (type == StoredType::kF32) return Append(std::as_bytes(values));
  state_->converted.resize(static_cast<size_t>(bytes));
  if (type == StoredType::kBF16) {
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t bits = ToBFloat16(values[i]).bits;
      std::memcpy(state_->converted.data() + 2 * i, &bits, 2);
    }
  } else {
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t bits = FloatToHalf(values[i]);
      std::memcpy(state_->converted.data() + 2 * i, &bits, 2);
    }
  }
  return Append(state_->converted);
}

Status SafetensorsWriter::Finish() {
  AssertMayBlock("SafetensorsWriter::Finish");
  WEFT_CHECK(state_->written == (state_->ends.empty() ? 0 : state_->ends.back()));
  std::FILE* file = std::exchange(state_->file, nullptr);
  if (std::fclose(file) != 0 ||
      std::rename(state_->partial_path.c_str(), state_->path.c_str()) != 0) {
    const Error error = state_->Failed("finish");
    std::remove(state_->partial_path.c_str());
    return error;
  }
  return OkStatus();
}

}  // namespace weft::checkpoint
