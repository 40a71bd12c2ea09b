// Any bytes as a safetensors header: an error or a header whose tensors fill the data.
#include <cstdint>

#include "base/check.h"
#include "checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // The first two bytes say how much data follows the header.
  if (size < 2) return 0;
  const weft::Bytes data_bytes = data[0] | data[1] << 8;
  const std::string_view json(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto header = weft::checkpoint::ParseSafetensorsHeader(json, data_bytes, "fuzz");
  if (!header.ok()) {
    WEFT_CHECK(!header.error().message.empty());
    return 0;
  }
  weft::Bytes end = 0;
  for (const auto& tensor : header->tensors) {
    WEFT_CHECK(tensor.offset == end);
    end += tensor.size;
  }
  WEFT_CHECK(end == data_bytes);
  return 0;
}
