#include "checkpoint/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

#include "checkpoint/widen.h"

namespace weft::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read as it lies in memory");

// The format's numbers for types of values (gguf/constants.py, GGUFValueType).
enum class ValueType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

// The format's numbers for types of tensors (gguf/constants.py, GGMLQuantizationType).
constexpr std::string_view kTensorTypes[] = {
    "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
    "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
    "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
    "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
    "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
    "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",    "NVFP4",    "Q1_0"};

constexpr uint64_t kMaxString = 1 << 26;
constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kMaxValues = 1 << 20;
constexpr uint32_t kMaxDimensions = 4;
constexpr Bytes kMaxHeader = 1 << 30;

std::optional<StoredType> Supported(uint32_t type) {
  if (type >= std::size(kTensorTypes)) return std::nullopt;
  const auto names = StoredTypeNames();
  const auto name = std::find(names.begin(), names.end(), kTensorTypes[type]);
  if (name == names.end()) return std::nullopt;
  return static_cast<StoredType>(name - names.begin());
}

/// Walks the prefix. After a failed read every later one fails too, so that callers may check once.
class Reader {
 public:
  Reader(std::span<const std::byte> prefix, Bytes file_size, std::string_view name)
      : prefix_(prefix), file_size_(static_cast<uint64_t>(file_size)), name_(name) {}

  bool stopped() const { return stopped_; }
  const std::optional<Error>& error() const { return error_; }
  size_t position() const { return position_; }

  template <typename... Args>
  void Fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
    if (stopped_) return;
    stopped_ = true;
    error_ = MakeError(code, format, std::forward<Args>(args)...).WithContext(name_);
  }

  /// True when `count` things of at least `bytes` each are in the prefix. Compares with the file
  /// before with the prefix, so that no length that a file cannot have asks for more bytes.
  bool Have(uint64_t count, uint64_t bytes, std::string_view what) {
    if (stopped_) return false;
    uint64_t total = 0;
    if (__builtin_mul_overflow(count, bytes, &total) || total > file_size_ - position_) {
      Fail(ErrorCode::kInvalidArgument,
           "{} at byte {} takes {} x {} bytes, but the file has {}: it is cut short or corrupt",
           what, position_, count, bytes, file_size_);
      return false;
    }
    if (total > prefix_.size() - position_) stopped_ = true;
    return !stopped_;
  }

  template <typename T>
  T Number(std::string_view what) {
    T value{};
    if (!Have(1, sizeof(T), what)) return value;
    std::memcpy(&value, prefix_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  std::string String(std::string_view what) {
    const uint64_t length = Number<uint64_t>(what);
    if (length > kMaxString) {
      Fail(ErrorCode::kInvalidArgument, "{} at byte {} has a length of {}, but at most {} are read",
           what, position_, length, kMaxString);
    }
    if (!Have(length, 1, what)) return {};
    std::string text(reinterpret_cast<const char*>(prefix_.data() + position_), length);
    position_ += length;
    return text;
  }

 private:
  const std::span<const std::byte> prefix_;
  const uint64_t file_size_;
  const std::string_view name_;
  size_t position_ = 0;
  bool stopped_ = false;
  std::optional<Error> error_;
};

template <typename T>
int64_t Integer(Reader& reader, std::string_view key) {
  const T value = reader.Number<T>(key);
  if constexpr (std::is_same_v<T, uint64_t>) {
    if (value > static_cast<uint64_t>(INT64_MAX)) {
      reader.Fail(ErrorCode::kInvalidArgument, "'{}' is {}, which is more than 2^63 - 1", key,
                  value);
    }
  }
  return static_cast<int64_t>(value);
}

template <typename T, typename Read>
GgufArray ReadArray(Reader& reader, std::string_view key, uint64_t count, uint64_t least_bytes,
                    Read read) {
  std::vector<T> values;
  if (!reader.Have(count, least_bytes, key)) return values;
  values.reserve(count);
  for (uint64_t i = 0; i < count && !reader.stopped(); ++i) values.push_back(read());
  return values;
}

GgufArray ParseArray(Reader& r, std::string_view key) {
  const auto type = static_cast<ValueType>(r.Number<uint32_t>(key));
  const uint64_t n = r.Number<uint64_t>(key);
  const auto integers = [&]<typename T>(T) {
    return ReadArray<int64_t>(r, key, n, sizeof(T), [&] { return Integer<T>(r, key); });
  };
  switch (type) {
    case ValueType::kUint8:
      return integers(uint8_t{});
    case ValueType::kInt8:
      return integers(int8_t{});
    case ValueType::kUint16:
      return integers(uint16_t{});
    case ValueType::kInt16:
      return integers(int16_t{});
    case ValueType::kUint32:
      return integers(uint32_t{});
    case ValueType::kInt32:
      return integers(int32_t{});
    case ValueType::kUint64:
      return integers(uint64_t{});
    case ValueType::kInt64:
      return integers(int64_t{});
    case ValueType::kFloat32:
      return ReadArray<double>(r, key, n, 4, [&] { return double{r.Number<float>(key)}; });
    case ValueType::kFloat64:
      return ReadArray<double>(r, key, n, 8, [&] { return r.Number<double>(key); });
    case ValueType::kBool:
      return ReadArray<bool>(r, key, n, 1, [&] { return r.Number<uint8_t>(key) != 0; });
    case ValueType::kString:
      return ReadArray<std::string>(r, key, n, 8, [&] { return r.String(key); });
    case ValueType::kArray:
      r.Fail(ErrorCode::kUnsupported, "'{}' is an array of arrays, which is not supported", key);
      return {};
  }
  r.Fail(ErrorCode::kInvalidArgument, "'{}' is an array of the unknown type {}", key,
         static_cast<uint32_t>(type));
  return {};
}

GgufValue ParseValue(Reader& r, std::string_view key) {
  const auto type = static_cast<ValueType>(r.Number<uint32_t>(key));
  switch (type) {
    case ValueType::kUint8:
      return Integer<uint8_t>(r, key);
    case ValueType::kInt8:
      return Integer<int8_t>(r, key);
    case ValueType::kUint16:
      return Integer<uint16_t>(r, key);
    case ValueType::kInt16:
      return Integer<int16_t>(r, key);
    case ValueType::kUint32:
      return Integer<uint32_t>(r, key);
    case ValueType::kInt32:
      return Integer<int32_t>(r, key);
    case ValueType::kUint64:
      return Integer<uint64_t>(r, key);
    case ValueType::kInt64:
      return Integer<int64_t>(r, key);
    case ValueType::kFloat32:
      return double{r.Number<float>(key)};
    case ValueType::kFloat64:
      return r.Number<double>(key);
    case ValueType::kBool:
      return r.Number<uint8_t>(key) != 0;
    case ValueType::kString:
      return r.String(key);
    case ValueType::kArray:
      return ParseArray(r, key);
  }
  r.Fail(ErrorCode::kInvalidArgument, "'{}' has a value of the unknown type {}", key,
         static_cast<uint32_t>(type));
  return int64_t{0};
}

void ParseMetadata(Reader& r, uint64_t count, GgufHeader& header) {
  for (uint64_t i = 0; i < count && !r.stopped(); ++i) {
    std::string key = r.String("a key of the metadata");
    GgufValue value = ParseValue(r, key);
    if (r.stopped()) return;
    if (!header.metadata.emplace(key, std::move(value)).second) {
      r.Fail(ErrorCode::kInvalidArgument, "the metadata has '{}' twice", key);
    }
  }
}

/// Leaves `offset` relative to the data, as the file has it.
GgufTensor ParseTensor(Reader& r) {
  GgufTensor tensor;
  tensor.name = r.String("a tensor's name");
  const uint32_t dimensions = r.Number<uint32_t>("a tensor's dimensions");
  if (dimensions > kMaxDimensions) {
    r.Fail(ErrorCode::kInvalidArgument, "tensor '{}' has {} dimensions, but at most {} are allowed",
           tensor.name, dimensions, kMaxDimensions);
  }
  int64_t elements = 1;
  for (uint32_t i = 0; i < dimensions && !r.stopped(); ++i) {
    const int64_t size = Integer<uint64_t>(r, tensor.name);
    tensor.shape.insert(tensor.shape.begin(), size);
    if (__builtin_mul_overflow(elements, size, &elements) || elements > INT64_MAX / 8) {
      r.Fail(ErrorCode::kInvalidArgument, "tensor '{}' has more elements than 64 bits can count",
             tensor.name);
    }
  }
  const uint32_t type = r.Number<uint32_t>("a tensor's type");
  tensor.offset = Integer<uint64_t>(r, tensor.name);
  if (r.stopped()) return tensor;
  const std::optional<StoredType> stored = Supported(type);
  if (!stored) {
    r.Fail(ErrorCode::kUnsupported, "tensor '{}': {} is not supported; supported: {}", tensor.name,
           type < std::size(kTensorTypes) ? std::string(kTensorTypes[type])
                                          : fmt::format("tensor type {}", type),
           fmt::join(StoredTypeNames(), ", "));
    return tensor;
  }
  tensor.type = *stored;
  const int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % BlockOf(*stored).elements != 0) {
    r.Fail(
        ErrorCode::kInvalidArgument,
        "tensor '{}' has rows of {} elements, but {} needs a multiple of {}: the file is corrupt, "
        "or must be made again with this tensor as F16",
        tensor.name, row, StoredTypeName(*stored), BlockOf(*stored).elements);
    return tensor;
  }
  tensor.size = StoredBytes(*stored, elements);
  return tensor;
}

/// Turns offsets into the file's, and checks that each tensor lies inside it and none overlaps.
void PlaceTensors(Reader& r, Bytes file_size, GgufHeader& header) {
  const Bytes front = static_cast<Bytes>(r.position());
  const Bytes data = (front + header.alignment - 1) / header.alignment * header.alignment;
  std::vector<const GgufTensor*> by_offset;
  std::vector<std::string_view> names;
  for (GgufTensor& tensor : header.tensors) {
    if (tensor.offset % header.alignment != 0) {
      return r.Fail(ErrorCode::kInvalidArgument,
                    "tensor '{}' begins at byte {}, which is not a multiple of the alignment {}",
                    tensor.name, tensor.offset, header.alignment);
    }
    if (data > file_size || tensor.offset > file_size - data ||
        tensor.size > file_size - data - tensor.offset) {
      return r.Fail(ErrorCode::kInvalidArgument,
                    "tensor '{}' of {} bytes at {} + {} reaches beyond the file's {}: the file is "
                    "cut short or corrupt",
                    tensor.name, tensor.size, data, tensor.offset, file_size);
    }
    tensor.offset += data;
    by_offset.push_back(&tensor);
    names.push_back(tensor.name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) {
    return r.Fail(ErrorCode::kInvalidArgument, "tensor '{}' is listed twice", *twice);
  }
  std::sort(by_offset.begin(), by_offset.end(), [](const GgufTensor* a, const GgufTensor* b) {
    return std::pair(a->offset, a->size) < std::pair(b->offset, b->size);
  });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    if (by_offset[i - 1]->offset + by_offset[i - 1]->size > by_offset[i]->offset) {
      return r.Fail(ErrorCode::kInvalidArgument, "tensors '{}' and '{}' overlap",
                    by_offset[i - 1]->name, by_offset[i]->name);
    }
  }
}

void ParseHeader(Reader& r, Bytes file_size, GgufHeader& header) {
  constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
  if (r.Number<uint32_t>("the magic") != kMagic) {
    return r.Fail(ErrorCode::kInvalidArgument, "does not begin with 'GGUF': not a GGUF file");
  }
  header.version = r.Number<uint32_t>("the version");
  if (!r.stopped() && header.version != 2 && header.version != 3) {
    return r.Fail(ErrorCode::kUnsupported,
                  "GGUF version {} is not supported; supported: 2 and 3, little endian",
                  header.version);
  }
  const uint64_t tensors = r.Number<uint64_t>("the number of tensors");
  const uint64_t values = r.Number<uint64_t>("the number of values");
  if (tensors > kMaxTensors || values > kMaxValues) {
    return r.Fail(ErrorCode::kInvalidArgument,
                  "announces {} tensors and {} values, but at most {} of each are read", tensors,
                  values, kMaxTensors);
  }
  ParseMetadata(r, values, header);
  if (r.stopped()) return;
  if (const auto* alignment = header.Find<int64_t>("general.alignment")) {
    if (*alignment < 1 || *alignment > 65536 || (*alignment & (*alignment - 1)) != 0) {
      return r.Fail(ErrorCode::kInvalidArgument,
                    "'general.alignment' is {}, but must be a power of two up to 65536",
                    *alignment);
    }
    header.alignment = *alignment;
  }
  for (uint64_t i = 0; i < tensors && !r.stopped(); ++i) header.tensors.push_back(ParseTensor(r));
  if (!r.stopped()) PlaceTensors(r, file_size, header);
}

}  // namespace

Result<std::optional<GgufHeader>> ParseGguf(std::span<const std::byte> prefix, Bytes file_size,
                                            std::string_view name) {
  WEFT_CHECK(static_cast<Bytes>(prefix.size()) <= file_size);
  Reader reader(prefix, file_size, name);
  GgufHeader header;
  ParseHeader(reader, file_size, header);
  if (reader.error()) return *reader.error();
  if (reader.stopped()) return std::optional<GgufHeader>();
  return std::optional<GgufHeader>(std::move(header));
}

Result<GgufHeader> ReadGgufHeader(const File& file, std::string_view name) {
  std::vector<std::byte> prefix;
  for (Bytes size = 4 * kMiB; size <= kMaxHeader; size *= 4) {
    const size_t known = prefix.size();
    prefix.resize(static_cast<size_t>(std::min(size, file.size())));
    WEFT_RETURN_IF_ERROR(file.Read(static_cast<Bytes>(known), std::span(prefix).subspan(known)));
    WEFT_ASSIGN_OR_RETURN(std::optional<GgufHeader> header, ParseGguf(prefix, file.size(), name));
    if (header) return std::move(*header);
  }
  return MakeError(ErrorCode::kInvalidArgument, "{}: the header is longer than {}", name,
                   FormatBytes(kMaxHeader));
}

}  // namespace weft::checkpoint
