#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"
#include "base/result.h"
#include "checkpoint/tensor_source.h"

namespace weft::checkpoint {

/// An array of the metadata; all integers are widened to 64 bits, all floats to double.
using GgufArray = std::variant<std::vector<int64_t>, std::vector<double>, std::vector<bool>,
                               std::vector<std::string>>;
/// A value of the metadata. An integer above 2^63 - 1 is refused while parsing.
using GgufValue = std::variant<int64_t, double, bool, std::string, GgufArray>;

/// One tensor as the file states it: GGUF's name, and the shape turned to row-major order.
struct GgufTensor {
  std::string name;
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;
  Bytes offset = 0;  ///< From the start of the file.
  Bytes size = 0;
};

/// The checked front part of a GGUF file: every tensor lies inside the file, sizes fit shapes.
struct GgufHeader {
  uint32_t version = 0;
  Bytes alignment = 32;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensor> tensors;

  /// The value of that key and kind; null when there is none. A key with another kind of value is
  /// null as well.
  template <typename T>
  const T* Find(std::string_view key) const {
    auto it = metadata.find(key);
    return it == metadata.end() ? nullptr : std::get_if<T>(&it->second);
  }
};

/// Parses versions 2 and 3, little endian, from the first bytes of a file of `file_size` bytes.
/// Empty when the bytes end inside the header and the file goes on: call again with more. Every
/// length is compared with what is there before anything is allocated. Pure.
Result<std::optional<GgufHeader>> ParseGguf(std::span<const std::byte> prefix, Bytes file_size,
                                            std::string_view name);

/// Reads as much of the file's front as the header takes. Blocks.
Result<GgufHeader> ReadGgufHeader(const File& file, std::string_view name);

}  // namespace weft::checkpoint
