#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"
#include "base/result.h"
#include "checkpoint/tensor_source.h"

namespace weft::checkpoint {

/// The reference library refuses longer headers; so does Weft, before allocating anything.
inline constexpr Bytes kMaxSafetensorsHeader = 100'000'000;

/// One tensor as the header states it.
struct SafetensorsTensor {
  std::string name;
  std::string dtype;               ///< As written: "BF16", "F8_E4M3", ...
  std::optional<StoredType> type;  ///< Empty for a known dtype that Weft cannot read.
  std::vector<int64_t> shape;
  Bytes offset = 0;  ///< From the start of the file's data, which is `data_offset` in the file.
  Bytes size = 0;
};

/// A checked header: tensors follow each other in `offset` order without hole or overlap and fill
/// the data exactly, and each one's size is its shape times its dtype.
struct SafetensorsHeader {
  std::vector<SafetensorsTensor> tensors;  ///< In offset order.
  std::map<std::string, std::string> metadata;
  Bytes data_offset = 0;  ///< Where the data begins in the file; 0 when parsed from bytes alone.
};

/// Parses and checks a header (the JSON without its length prefix) of a file with `data_bytes`
/// after it. `name` is for messages. Pure; cost grows with the header only.
Result<SafetensorsHeader> ParseSafetensorsHeader(std::string_view header_json, Bytes data_bytes,
                                                 std::string_view name);

/// Reads the length and the header of an open file; one longer than `limit` is an error. Blocks.
Result<SafetensorsHeader> ReadSafetensorsHeader(const File& file, std::string_view name,
                                                Bytes limit = kMaxSafetensorsHeader);

}  // namespace weft::checkpoint
